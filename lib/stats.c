/* stats - see stats.h */
#include "lib/stats.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"
#include "lib/util.h"

#define AT(field) offsetof(struct stats_config, field)
const struct opt stats_options[] = {
        {"interval", 0, OPT_CHOICE, AT(interval), "t", STATS_INTERVALS, "how the 95 % interval is made", 0, 0},
        {"bootstrap", 0, OPT_INT, AT(draws), "10000", "N", "draws of the bootstrap", 100, 1e8},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "of the bootstrap and the randomisation test", 0, 9e18},
        {NULL},
};

enum { EXACT_FLIPS = 16, DRAWS = 100000 };

/* ---- Student's t ---- */

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double c = 1, d = 1 - (a + b) * x / (a + 1);
	d = 1 / (fabs(d) < tiny ? tiny : d);
	double f = d;
	for (int m = 1; m < 10000; m++) {
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		for (int i = 0; i < 2; i++) {
			double k = i ? odd : even;
			d = 1 + k * d;
			d = 1 / (fabs(d) < tiny ? tiny : d);
			c = 1 + k / c;
			c = fabs(c) < tiny ? tiny : c;
			f *= d * c;
		}
		if (fabs(d * c - 1) < 1e-16)
			break;
	}
	return f;
}

static double incomplete_beta(double a, double b, double x)
{
	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double stats_t_p(double t, double df)
{
	return isinf(t) ? 0 : incomplete_beta(df / 2, 0.5, df / (df + t * t));
}

double stats_t_quantile(double alpha, double df)
{
	double low = 0, high = 1;
	while (stats_t_p(high, df) > alpha)
		high *= 2;
	for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
		double middle = (low + high) / 2;
		if (stats_t_p(middle, df) > alpha)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

/* ---- means ---- */

static int rising(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

/* sd, min, median and max of the sorted values. */
static void spread(struct stats_mean *out, double *x, int64_t n)
{
	double sum = 0, squares = 0;
	qsort(x, (size_t)n, sizeof *x, rising);
	for (int64_t i = 0; i < n; i++)
		sum += x[i];
	for (int64_t i = 0; i < n; i++)
		squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
	out->sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
	out->min = x[0];
	out->median = (x[(n - 1) / 2] + x[n / 2]) / 2;
	out->max = x[n - 1];
}

void stats_mean(struct stats_mean *out, const double *x, const double *w, int64_t n, const struct stats_config *c)
{
	double sum = 0, weight = 0, squares = 0;
	*out = (struct stats_mean){n, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
	if (!n)
		return;
	for (int64_t i = 0; i < n; i++) {
		sum += x[i];
		weight += w ? w[i] : 1;
	}
	double mean = sum / weight, *each = xcalloc((size_t)n, sizeof *each);
	for (int64_t i = 0; i < n; i++) {
		double rest = x[i] - mean * (w ? w[i] : 1);
		squares += rest * rest;
		each[i] = w ? x[i] / w[i] : x[i];
	}
	out->mean = mean;
	spread(out, each, n);
	free(each);
	if (n > 1 && c->interval == STATS_T) {
		double half = stats_t_quantile(0.05, (double)(n - 1)) * sqrt(squares / (double)(n - 1)) /
		              (sqrt((double)n) * (weight / (double)n));
		out->low = mean - half;
		out->high = mean + half;
	} else if (n > 1) {
		stats_bootstrap(&out->low, &out->high, x, w, n, c);
	}
}

/* ---- Wilcoxon's signed ranks ---- */

static int by_size(const void *a, const void *b)
{
	double x = fabs(*(const double *)a), y = fabs(*(const double *)b);
	return (x > y) - (x < y);
}

/* Of the 2^m sign patterns, those whose smaller sum is at most w: counted by sum, rank after rank. */
static double wilcoxon_exact(int64_t m, double w)
{
	int64_t most = m * (m + 1) / 2;
	double *share = xcalloc((size_t)most + 1, sizeof *share), p = 0;
	share[0] = 1;
	for (int64_t rank = 1; rank <= m; rank++)
		for (int64_t sum = rank * (rank + 1) / 2; sum >= 0; sum--)
			share[sum] = (share[sum] + (sum >= rank ? share[sum - rank] : 0)) / 2;
	for (int64_t sum = 0; sum <= most && (double)sum <= w; sum++)
		p += 2 * share[sum];
	free(share);
	return p < 1 ? p : 1;
}

static void wilcoxon(struct stats_paired *out, const double *d, int64_t n)
{
	double *s = xcalloc((size_t)n, sizeof *s), ties = 0;
	int64_t m = 0;
	for (int64_t i = 0; i < n; i++)
		if (d[i] != 0)
			s[m++] = d[i];
	qsort(s, (size_t)m, sizeof *s, by_size);
	for (int64_t i = 0, j; i < m; i = j) {
		for (j = i; j < m && fabs(s[j]) == fabs(s[i]); j++)
			;
		double rank = (double)(i + 1 + j) / 2, t = (double)(j - i);
		ties += t * t * t - t;
		for (int64_t k = i; k < j; k++)
			*(s[k] > 0 ? &out->w_plus : &out->w_minus) += rank;
	}
	free(s);
	double mm = (double)m, variance = mm * (mm + 1) * (2 * mm + 1) / 24 - ties / 48;
	double z = (out->w_plus - mm * (mm + 1) / 4) / sqrt(variance);
	out->p_wilcoxon = m && variance > 0 ? erfc(fabs(z) / sqrt(2)) : 1;
	out->p_wilcoxon_exact = NAN;
	if (ties == 0 && m <= STATS_EXACT_RANKS)
		out->p_wilcoxon_exact = wilcoxon_exact(m, fmin(out->w_plus, out->w_minus));
	out->rank_biserial = m ? (out->w_plus - out->w_minus) / (out->w_plus + out->w_minus) : 0;
}

/* ---- signs ---- */

static void signs(struct stats_paired *out, const double *d, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		++*(d[i] > 0 ? &out->wins : d[i] < 0 ? &out->losses : &out->ties);
	double fewer = (double)(out->wins < out->losses ? out->wins : out->losses);
	/* twice the binomial's tail, which is an incomplete beta function */
	double tail = incomplete_beta((double)(out->wins + out->losses) - fewer, fewer + 1, 0.5);
	out->p_sign = out->wins == out->losses ? 1 : fmin(1, 2 * tail);
}

/* ---- sign flips ---- */

static double randomization(const double *d, int64_t n, double observed, uint64_t seed)
{
	int64_t draws = n <= EXACT_FLIPS ? (int64_t)1 << n : DRAWS, hits = 0;
	uint64_t key = rng_key("sign flips", seed, "", 0);
	/* What rounding may take from a sum that ties with the observed one. */
	double limit = fabs(observed) * (1 - 1e-12) - 1e-15;
	for (int64_t draw = 0; draw < draws; draw++) {
		double sum = 0;
		uint32_t words[4] = {(uint32_t)draw};
		for (int64_t i = 0; i < n; i++) {
			if (n > EXACT_FLIPS && i % 128 == 0)
				rng_words(words, key, (uint64_t)draw, (uint32_t)(i / 128), 0);
			sum += words[i % 128 / 32] >> i % 32 & 1 ? -d[i] : d[i];
		}
		hits += fabs(sum) >= limit;
	}
	/* Of drawn flips the observed one counts as one more, so that no p is 0 (Phipson and Smyth 2010). */
	return n > EXACT_FLIPS ? (double)(hits + 1) / (double)(draws + 1) : (double)hits / (double)draws;
}

void stats_paired(struct stats_paired *out, const double *a, const double *b, int64_t n, const struct stats_config *c)
{
	const struct stats_config plain = {.interval = STATS_T};
	double *d = xcalloc((size_t)n, sizeof *d), sum = 0;
	struct stats_mean ma, mb, md;
	for (int64_t i = 0; i < n; i++) {
		d[i] = nearbyint((a[i] - b[i]) * 1e12) / 1e12;
		sum += d[i];
	}
	stats_mean(&ma, a, NULL, n, &plain);
	stats_mean(&mb, b, NULL, n, &plain);
	stats_mean(&md, d, NULL, n, c);
	*out = (struct stats_paired){.n = n, .mean_a = ma.mean, .mean_b = mb.mean, .difference = md.mean};
	out->low = md.low;
	out->high = md.high;
	/* of one pair nothing is known; of differences that are all the same it is beyond bounds, as t is */
	out->dz = n < 2 ? NAN : md.sd > 0 ? md.mean / md.sd : md.mean == 0 ? 0 : copysign(INFINITY, md.mean);
	out->t = md.sd > 0 ? md.mean / (md.sd / sqrt((double)n)) : md.mean == 0 ? 0 : copysign(INFINITY, md.mean);
	out->p_t = n > 1 ? stats_t_p(out->t, (double)(n - 1)) : 1;
	wilcoxon(out, d, n);
	signs(out, d, n);
	out->p_randomization = randomization(d, n, sum, (uint64_t)c->seed);
	free(d);
}

/* ---- several comparisons ---- */

struct ranked {
	double p;
	int64_t at;
};

static int by_p(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	return x->p != y->p ? (x->p > y->p) - (x->p < y->p) : (x->at > y->at) - (x->at < y->at);
}

void stats_adjust(enum stats_adjust how, double *adjusted, const double *p, int64_t n)
{
	struct ranked *r = xcalloc((size_t)n, sizeof *r);
	double largest = 0, smallest = 1;
	for (int64_t i = 0; i < n; i++)
		r[i] = (struct ranked){p[i], i};
	qsort(r, (size_t)n, sizeof *r, by_p);
	for (int64_t i = 0; i < n; i++) {
		largest = fmax(largest, r[i].p * (double)(n - i));
		if (how == STATS_HOLM)
			adjusted[r[i].at] = fmin(1, largest);
		else if (how == STATS_BONFERRONI)
			adjusted[r[i].at] = fmin(1, r[i].p * (double)n);
	}
	for (int64_t i = n - 1; i >= 0 && how == STATS_BH; i--) {
		smallest = fmin(smallest, r[i].p * (double)n / (double)(i + 1));
		adjusted[r[i].at] = smallest;
	}
	free(r);
}
