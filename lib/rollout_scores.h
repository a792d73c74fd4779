/*
 * rollout_scores - what the rows of an evaluation in the stream scored (rl-generate --eval), as columns: the total
 * `reward`, and every component reward_NAME.
 */
#ifndef LIB_ROLLOUT_SCORES_H
#define LIB_ROLLOUT_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/reward.h"

struct rollout_column {
	char *name;
	double *x; /* [n] by row; NaN where the row has none */
	int64_t n_x;
};

struct rollout_scores {
	int64_t batch;                 /* that the evaluation comes before; -1: none yet */
	int64_t n, got, skipped;       /* rows it has; that came; of them without a total */
	int64_t version;               /* of the policy that sampled it; -1: not said */
	struct rollout_column *column; /* [n_columns] by name */
	int64_t n_columns;
	/* private */
	bool *have;
};

void rollout_scores_init(struct rollout_scores *s);
void rollout_scores_release(struct rollout_scores *s);
/* Takes a record of the evaluation before batch `batch`. */
int rollout_scores_take(struct rollout_scores *s, struct record *r, struct reward *total, struct arena *a,
                        struct err *e);
/* Of the record: the batch that it comes before, or -1 with *e when it does not say. */
int64_t rollout_scores_batch(const struct record *r, struct err *e);
/* Did all rows of an evaluation that has begun come? */
bool rollout_scores_whole(const struct rollout_scores *s);
/* NULL when there is none. */
const struct rollout_column *rollout_scores_column(const struct rollout_scores *s, const char *name);

#endif
