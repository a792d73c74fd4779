/*
 * reward - the total reward of a record, token by token.
 *
 * The total is the jq program --reward; without one it is the field `reward`, else the sum of all reward_* fields that
 * are not null.  Each may be a number (it falls on the last token that the policy chose), an array with a number per
 * token, or an array of [start, end, x] spans in code points of the completion, each of which falls on the last token
 * that it touches.
 */
#ifndef LIB_REWARD_H
#define LIB_REWARD_H

#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/filter.h"
#include "lib/record.h"

struct reward;

/* program NULL or "": the default rule.  NULL with *e when it does not compile. */
struct reward *reward_new(const char *program, struct err *e);
void reward_free(struct reward *r);

/*
 * out[n] (arena, double), *score its sum.  mask [n] or NULL; the record's `ends` is read when there are spans.
 * 1; 0 when the record has no reward at all (absent or null); -1.
 */
int reward_read(struct reward *r, struct record *rec, int64_t n, const int32_t *mask, double **out, double *score,
                struct arena *a, struct err *e);

/* The names that made up totals so far: ".reward", "reward_bm25 + reward_length", or the program; borrowed. */
const char *reward_description(const struct reward *r);

#endif
