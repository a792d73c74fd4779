/*
 * stats - means with intervals, and paired comparisons of two systems.
 *
 * Student's t distribution by the regularised incomplete beta function (continued fraction, Numerical Recipes 6.4's
 * form written anew).  Differences are rounded to 12 decimals first, so that .3 - .2 and .2 - .1 tie.
 */
#ifndef LIB_STATS_H
#define LIB_STATS_H

#include <stdint.h>

struct stats_mean {
	int64_t n;
	double mean, sd;  /* unbiased; 0 for n < 2 */
	double low, high; /* 95 % t interval of the mean; NaN for n < 2 */
};
void stats_mean(struct stats_mean *out, const double *x, int64_t n);

struct stats_paired {
	int64_t n;
	double mean_a, mean_b, difference; /* a - b */
	double low, high;                  /* 95 % t interval of the difference; NaN for n < 2 */
	double dz;                         /* Cohen: difference / its standard deviation */
	double t, p_t;
	double w_plus, w_minus, p_wilcoxon; /* zero differences left out, tied ranks averaged, normal approximation with
	                                     * the variance of ties, no continuity correction */
	double p_randomization; /* share of sign flips whose |mean| is at least the observed: all of them for
	                         * n <= 16, else 100,000 drawn by seed */
};
/* n >= 1; a difference that is the same everywhere has p 1 where it is 0, and p_t 0 else. */
void stats_paired(struct stats_paired *out, const double *a, const double *b, int64_t n, uint64_t seed);

/* Holm's step-down adjustment (Holm 1979); adjusted may be p. */
void stats_holm(double *adjusted, const double *p, int64_t n);

/* Two-sided p of a t value, and the t value that a share of 1 - alpha lies within. */
double stats_t_p(double t, double df);
double stats_t_quantile(double alpha, double df);

#endif
