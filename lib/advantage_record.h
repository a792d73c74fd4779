/*
 * advantage_record - records to rows of advantage.h and back, alike for every estimator.
 */
#ifndef LIB_ADVANTAGE_RECORD_H
#define LIB_ADVANTAGE_RECORD_H

#include "lib/advantage.h"
#include "lib/arena.h"
#include "lib/record.h"
#include "lib/reward.h"

/*
 * Reads tokens, mask, logprobs, ref_logprobs, values, bootstrap_value, finish and the total reward; lengths are
 * checked.  A record without a reward or without a token is left_out.  Input and output arrays are in the arena.  -1
 * when a field is wrong, `tokens` or `values` is missing, or a field that advantage_record_add makes is there.
 */
int advantage_record_read(const struct advantage_config *c, struct reward *reward, struct record *r,
                          struct advantage_row *row, struct arena *a, struct err *e);

/* Adds rewards, advantages and returns, and for a terminal cell bootstrap_reward and bootstrap_return. */
int advantage_record_add(struct record *r, const struct advantage_row *row, struct err *e);

#endif
