/*
 * record - one JSON object of the stream: typed fields out, new fields in.
 *
 * A record is parsed whole (simdjson validates it) and never printed again:
 * the output line is the input line without its closing brace, byte for byte,
 * then the new fields, then the brace.  A filter can add, never change.
 *
 * Errors: every getter names the field and what it found ("'values' has 7
 * numbers, expected 9").  Position ("FILE:LINE:") is put in front by the
 * caller who knows it (lib/tool.c).  Getters return 1 found, 0 absent (or
 * null where said), -1 wrong (*e).
 *
 * Numbers.  Arrays of length n are float32: every reader rounds the decimal to
 * float32 once, correctly; they are printed with the fewest digits that read
 * back as the same float32, zero without a sign.  All other numbers are
 * doubles, shortest digits.  Infinite and NaN are refused when written and
 * cannot be read.  Integers beyond 64 bits, lone surrogates, a top-level key
 * twice, and anything that is not an object are refused when parsed.
 */
#ifndef LIB_RECORD_H
#define LIB_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/str.h"

struct record;

#ifdef __cplusplus
extern "C" {
#endif

enum json_kind { JSON_ABSENT, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value inside a record, or the result of a filter.  Everything it points at is borrowed: from the record until it is
 * parsed anew, or from the arena it was made in. */
struct json {
	enum json_kind kind;
	bool boolean;
	double number;
	bool is_int; /* the number was written as an integer that fits; then `integer` holds it exactly */
	int64_t integer;
	const char *text; /* string: UTF-8, terminated, may hold NUL; otherwise NULL */
	size_t len;
	/* where it is in the parsed text */
	const void *doc;
	size_t at;
};

struct record *record_new(void);
void record_free(struct record *r);

/* Takes one line (borrowed until the next record_parse); forgets the fields added to the one before.
 * Leading and trailing white space is ignored. */
int record_parse(struct record *r, const char *line, size_t len, struct err *e);
/* An empty record, for tools that make new ones: `{}` and fields added. */
void record_clear(struct record *r);

/* ---- reading; fields that were added can be read too ---- */
bool record_has(const struct record *r, const char *name);
enum json_kind record_kind(const struct record *r, const char *name);
/* null counts as absent in these */
int record_str(const struct record *r, const char *name, const char **text, size_t *len, struct err *e);
int record_num(const struct record *r, const char *name, double *out, struct err *e);
int record_int(const struct record *r, const char *name, int64_t *out, struct err *e);
int record_bool(const struct record *r, const char *name, bool *out, struct err *e);
/* Arrays: memory from the arena.  want >= 0: the length that it must have (`of` names what it must agree with). */
int record_floats(const struct record *r, const char *name, float **out, int64_t *n, int64_t want, const char *of,
                  struct arena *a, struct err *e);
int record_ints(const struct record *r, const char *name, int32_t **out, int64_t *n, int64_t want, const char *of,
                struct arena *a, struct err *e);
/* Any value: 1; 0 with JSON_ABSENT when it is not there. */
int record_json(const struct record *r, const char *name, struct json *out, struct err *e);
/* The i-th top-level key of the input and its value, for reading all fields: 1, or 0 past the last. */
int record_field(const struct record *r, int64_t i, const char **name, size_t *name_len, struct json *out);
/* Walks a plain path (".a.b"; ".a[0]" too): 1; 0 with
 * JSON_ABSENT where a step is missing or not an object; -1 when it is no path. */
int record_path(const struct record *r, const char *path, struct json *out, struct err *e);

/* Parts of a value of kind array or object (in document order; linear in i, see json_each). */
int64_t json_length(const struct json *v);
int json_each(const struct json *v,
              int (*fn)(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item),
              void *arg); /* stops at the first non-zero result and returns it */
int json_member(const struct json *v, const char *key, struct json *out); /* 1 or 0 */
/* Array of numbers -> arena; names `what` in messages. */
int json_floats(const struct json *v, const char *what, float **out, int64_t *n, struct arena *a, struct err *e);
int json_doubles(const struct json *v, const char *what, double **out, int64_t *n, struct arena *a, struct err *e);
int json_ints(const struct json *v, const char *what, int32_t **out, int64_t *n, struct arena *a, struct err *e);
/* Appends the value as compact JSON text. */
void json_text(const struct json *v, struct str *out);
/* A text of its own parsed as any JSON value; valid until the next record_parse or record_clear. */
int record_parse_value(struct record *r, const char *text, size_t len, struct json *out, struct err *e);

/*
 * The record's id (rl-record(5)): .id, ._id, .query_id, .doc_id, the first that is there, a string or an integer (as
 * its digits); otherwise the decimal line number.  In the arena, terminated.
 */
int record_id(const struct record *r, int64_t line, const char **id, size_t *len, struct arena *a, struct err *e);

/* ---- adding; -1 when the name is already there (input or added): the message names jq's del() and --as ---- */
int record_add_str(struct record *r, const char *name, const char *text, size_t len, struct err *e);
int record_add_num(struct record *r, const char *name, double x, struct err *e); /* -1 if not finite */
int record_add_int(struct record *r, const char *name, int64_t x, struct err *e);
int record_add_bool(struct record *r, const char *name, bool x, struct err *e);
int record_add_null(struct record *r, const char *name, struct err *e);
int record_add_floats(struct record *r, const char *name, const float *x, int64_t n, struct err *e);
int record_add_ints(struct record *r, const char *name, const int32_t *x, int64_t n, struct err *e);
/* Text that already is JSON; not checked. */
int record_add_raw(struct record *r, const char *name, const char *text, size_t len, struct err *e);
/* Forgets all fields added since record_parse. */
void record_undo(struct record *r);
/* Takes a line that record_parse has accepted before, for adding to it only: it is not parsed, its fields are not seen,
 * and that a new name is not in it yet is for the caller to have checked (record_check_new). */
void record_resume(struct record *r, const char *line, size_t len);
/* -1 with the message of record_add_* when the name is there. */
int record_check_new(const struct record *r, const char *name, struct err *e);

/* The whole output line with its newline; borrowed until the record changes. */
const char *record_line(struct record *r, size_t *len);

/* The pieces of a JSON text, for those who print objects of their own (metrics). */
void json_put_str(struct str *s, const char *text, size_t len); /* quoted; invalid UTF-8 becomes U+FFFD */
void json_put_num(struct str *s, double x);                     /* shortest; null when not finite */
void json_put_float(struct str *s, float x);                    /* shortest float32 */
void json_put_int(struct str *s, int64_t x);
void json_put_floats(struct str *s, const float *x, int64_t n); /* as an array; all finite */
void json_put_ints(struct str *s, const int32_t *x, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
