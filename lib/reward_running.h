/*
 * reward_running - statistics that go on from batch to batch: mean and deviation, and the newest values for
 * percentiles.
 *
 * Mean and sum of squared deviations are Welford's (1962), value by value, so that a stream that is cut anywhere and
 * goes on has the same bits.
 */
#ifndef LIB_REWARD_RUNNING_H
#define LIB_REWARD_RUNNING_H

#include <stdint.h>

struct reward_running {
	int64_t n;
	double mean, m2; /* m2: sum of squared deviations from the mean */
};
void reward_running_add(struct reward_running *r, double x);
/* Of the population: sqrt(m2 / n); 1 where there are fewer than two values, and nothing to scale by. */
double reward_running_sd(const struct reward_running *r);
/* (x - mean) / (sd + 1e-8); x itself while there is no value. */
double reward_running_normal(const struct reward_running *r, double x);

/* The p-th percentile of x [n > 0], p from 0 to 100, between two order statistics by linear interpolation (numpy's
 * default, type 7 of Hyndman and Fan 1996). */
double reward_percentile(const double *x, int64_t n, double p);

#endif
