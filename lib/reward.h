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

/* One component as numbers, each with the token that it falls on.  In the arena. */
enum reward_form { REWARD_NULL, REWARD_SCALAR, REWARD_TOKENS, REWARD_SPANS };
struct reward_part {
	enum reward_form form;
	int64_t n;   /* 1 of a scalar, one per token, one per span */
	double *x;   /* [n] */
	int64_t *at; /* [n]; -1 where there is no token */
};
/*
 * The field `name` of a record of n tokens.  n -1: the record has none, and only a scalar will do.  1; 0 when it is
 * absent or null (REWARD_NULL); -1.
 */
int reward_part_read(struct record *rec, const char *name, int64_t n, const int32_t *mask, struct reward_part *out,
                     struct arena *a, struct err *e);

/* Every field reward_NAME that is a number, an array of numbers or of spans, by the sum of what it gives; arena. */
struct reward_component {
	const char *name; /* without reward_ */
	double sum;
};
int64_t reward_components(struct record *rec, struct reward_component **out, struct arena *a);

/* The names that made up totals so far: ".reward", "reward_bm25 + reward_length", or the program; borrowed. */
const char *reward_description(const struct reward *r);

#endif
