/*
 * advantage_record - records to rows of advantage.h and back, alike for every estimator.
 */
#ifndef LIB_ADVANTAGE_RECORD_H
#define LIB_ADVANTAGE_RECORD_H

#include "lib/advantage.h"
#include "lib/arena.h"
#include "lib/loop.h"
#include "lib/record.h"
#include "lib/reward.h"

/*
 * Reads tokens, mask, logprobs, ref_logprobs, values and bootstrap_value (gae only), finish, the total reward and the
 * group; lengths are checked.  A record without a reward or without a token is left_out.  Input and output arrays are
 * in the arena.  -1 when a field is wrong, `tokens` or (gae) `values` is missing, or a field that advantage_record_add
 * makes is there; the group is read all the same.  line: of the source, for records without an id.
 */
int advantage_record_read(const struct advantage_config *c, struct reward *reward, struct record *r, int64_t line,
                          struct advantage_row *row, struct arena *a, struct err *e);

/*
 * Group, sample and greedy, as far as they can be read: for records that are left out too, since they count in the size
 * of their group.  The group is the field `group`; else id and epoch, as rl-generate names groups.
 */
void advantage_record_group(const struct record *r, int64_t line, struct advantage_row *row, struct arena *a);

/* What a row that only was a baseline gets as `skip`. */
#define ADVANTAGE_BASELINE_SKIP "greedy baseline"

/* What baseline moving holds, as JSON, and out of it: {"batches":3,"mean":0.5}.  In a run's states and in the field
 * state_ADVANTAGE_STATE. */
#define ADVANTAGE_STATE "reinforce"
void advantage_moving_put(struct str *s, const struct advantage_moving *m);
int advantage_moving_read(const struct json *v, struct advantage_moving *m, struct err *e);
/* Out of the state of a run; nothing held: zero. */
int advantage_moving_load(const struct loop_run *r, struct advantage_moving *m, struct err *e);

/* Adds rewards, advantages and returns, and for a terminal cell bootstrap_reward and bootstrap_return; to a baseline
 * `skip`. */
int advantage_record_add(struct record *r, const struct advantage_row *row, struct err *e);

#endif
