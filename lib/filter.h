/*
 * filter - a jq program that names an input.
 *
 * Any option that names an input takes one: `--query '.query + " " + .completion'`.  A plain path (`.a.b`, `.a[0]`,
 * `.`) never starts jq, whose compiler alone costs 13 ms; a list of plain paths joined by // (`.prompt // .query`) does
 * not either.  Everything else is compiled once by libjq and run on the record's text, with HOME pointing nowhere;
 * modules are looked for in the directories from -L, then in our own, PREFIX/share/rlpipe/lib.  A program must give
 * exactly one value; none is JSON_ABSENT, more is an error, as is NaN or infinity anywhere in it.
 *
 * A plain path reads the record exactly.  In a program, libjq's rules hold: numbers are doubles (an integer beyond 2^53
 * is rounded), nesting beyond 256 is refused, and a step into what is no object is an error (`.a?` is not).
 */
#ifndef LIB_FILTER_H
#define LIB_FILTER_H

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/record.h"

struct filter;

/* NULL with *e ("--query: ...") when the program does not compile.  `option` names it in messages; capitals name
 * an operand, without dashes.  library_dirs: NULL or a list of n directories for import and include. */
struct filter *filter_new(const char *option, const char *program, const char *const *library_dirs, size_t n_dirs,
                          struct err *e);
void filter_free(struct filter *f);

/* 0, or -1 when the program failed on this record (*e says how).  The value is borrowed from record and arena.  The
 * fields that tools added to the record in this process are visible. */
int filter_run(struct filter *f, struct record *r, struct json *out, struct arena *a, struct err *e);

/* The same, and the value must be a string (numbers are not turned into one): 1; 0 when absent or null. */
int filter_str(struct filter *f, struct record *r, const char **text, size_t *len, struct arena *a, struct err *e);
/* An array of strings (a single string or integer counts as one element): 1; 0 when absent or null. */
int filter_strs(struct filter *f, struct record *r, const char ***text, size_t **len, int64_t *n, struct arena *a,
                struct err *e);
/* The program's text. */
const char *filter_program(const struct filter *f);

#endif
