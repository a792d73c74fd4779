/*
 * reward_weight - a weight as a function of the batch: a number, or a path of numbers.
 *
 *     0.5                  the same for all batches
 *     0..1:100             from 0 at batch 0 to 1 at batch 100, in a straight line; 1 ever after
 *     0:50..1:100..0.2:300 0 until batch 50, 1 at batch 100, 0.2 from batch 300 on
 *
 * Each point is VALUE:BATCH; the first has batch 0 where it does not say, the others must say.  Before the first point
 * and behind the last the weight is theirs.
 */
#ifndef LIB_REWARD_WEIGHT_H
#define LIB_REWARD_WEIGHT_H

#include <stdint.h>

#include "lib/err.h"

enum { REWARD_WEIGHT_POINTS = 64 };

struct reward_weight {
	int64_t n;
	int64_t batch[REWARD_WEIGHT_POINTS]; /* [n] growing */
	double value[REWARD_WEIGHT_POINTS];
};

/* -1: *e says what is wrong with text. */
int reward_weight_parse(struct reward_weight *w, const char *text, struct err *e);
double reward_weight_at(const struct reward_weight *w, int64_t batch);
/* What a schedule ends with. */
double reward_weight_last(const struct reward_weight *w);

#endif
