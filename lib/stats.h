/*
 * stats - means with intervals, and paired comparisons of two systems.
 *
 * Student's t distribution by the regularised incomplete beta function (continued fraction, Numerical Recipes 6.4's
 * form written anew).  Differences are rounded to 12 decimals first, so that .3 - .2 and .2 - .1 tie.
 *
 * Bootstrap (Efron and Tibshirani 1993): draws of n values with replacement; the percentile interval, or the one that
 * is corrected for bias and acceleration (BCa, Efron 1987; acceleration by jackknife).  Ends are interpolated between
 * the two draws beside them.  Draw d takes its indices from the Philox counter d, so that the result is the same on any
 * number of threads.
 */
#ifndef LIB_STATS_H
#define LIB_STATS_H

#include <stdint.h>

#include "lib/cli.h"

enum stats_interval { STATS_T, STATS_PERCENTILE, STATS_BCA };
#define STATS_INTERVALS "t|percentile|bca"
struct stats_config {
	int interval;  /* enum stats_interval */
	int64_t draws; /* of the bootstrap */
	int64_t seed;
};
extern const struct opt stats_options[];

struct stats_mean {
	int64_t n;
	double mean, sd;  /* sd: unbiased; 0 for n < 2 */
	double low, high; /* 95 % interval of the mean; NaN for n < 2 */
	double min, median, max;
};
/* Of x [n]; with weights w [n] > 0 (else NULL) the mean is sum x / sum w, as for values per token, its t interval that
 * of the linearised ratio, and sd, min, median, max those of x / w.  n = 0: all NaN. */
void stats_mean(struct stats_mean *out, const double *x, const double *w, int64_t n, const struct stats_config *c);

struct stats_paired {
	int64_t n;
	double mean_a, mean_b, difference; /* a - b */
	double low, high;                  /* 95 % interval of the difference; NaN for n < 2 */
	double dz;                         /* Cohen: difference / its standard deviation */
	double t, p_t;
	double w_plus, w_minus, p_wilcoxon; /* zero differences left out, tied ranks averaged, normal approximation with
	                                     * the variance of ties, no continuity correction */
	double p_wilcoxon_exact;            /* of all sign patterns; NaN with ties, or more than STATS_EXACT_RANKS */
	double rank_biserial;               /* (W+ - W-) / (W+ + W-) (Kerby 2014); 0 where all is equal */
	int64_t wins, losses, ties;
	double p_sign;          /* binomial, without ties */
	double p_randomization; /* share of sign flips whose |mean| is at least the observed: all of them for
	                         * n <= 16, else 100,000 drawn by seed */
};
enum { STATS_EXACT_RANKS = 50 };
/* n >= 1; a difference that is the same everywhere has p 1 where it is 0, and p_t 0 else. */
void stats_paired(struct stats_paired *out, const double *a, const double *b, int64_t n, const struct stats_config *c);

/* Adjustment of p for several comparisons: Holm's step-down (1979), Bonferroni, Benjamini and Hochberg's step-up (1995,
 * of the false discovery rate).  adjusted may be p. */
enum stats_adjust { STATS_HOLM, STATS_BONFERRONI, STATS_BH };
#define STATS_ADJUSTMENTS "holm|bonferroni|bh"
void stats_adjust(enum stats_adjust how, double *adjusted, const double *p, int64_t n);

/* Two-sided p of a t value, and the t value that a share of 1 - alpha lies within. */
double stats_t_p(double t, double df);
double stats_t_quantile(double alpha, double df);

/* 95 % interval of sum x / sum w by STATS_PERCENTILE or STATS_BCA; n >= 2.  Returns the acceleration (0 for the
 * percentile). */
double stats_bootstrap(double *low, double *high, const double *x, const double *w, int64_t n,
                       const struct stats_config *c);

#endif
