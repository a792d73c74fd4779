/*
 * schedule - the learning rate as a function of the update.
 *
 * With S updates in all, w of them warm-up, update u from 0:
 *     constant  lr
 *     linear    lr (S - u) / (S - w)
 *     cosine    lr (1 + cos(pi (u - w) / (S - w))) / 2
 *     warm-up   lr u / w for u < w
 * as transformers' get_*_schedule count them (the first warm-up step has rate 0 there; here too), S - w at least 1.
 * Behind the end the rate stays 0, where theirs rises again with cosine.
 */
#ifndef LIB_SCHEDULE_H
#define LIB_SCHEDULE_H

#include <stdint.h>

#include "lib/cli.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE };

struct schedule_config {
	double lr;
	int kind; /* enum schedule_kind */
	int64_t warmup;
};

/* Rate of update u of `total` (ignored when constant). */
double schedule_rate(const struct schedule_config *c, int64_t u, int64_t total);

#endif
