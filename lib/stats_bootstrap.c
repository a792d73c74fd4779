/* stats_bootstrap - see stats.h */
#include <math.h>
#include <stdlib.h>

#include "lib/par.h"
#include "lib/rng.h"
#include "lib/stats.h"
#include "lib/util.h"

/* Below this many values drawn, threads cost more than they bring. */
enum { ALONE = 4000000, PART = 64 };

static int rising(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a > b) - (a < b);
}

static double normal_share(double z)
{
	return erfc(-z / sqrt(2)) / 2;
}

static double normal_quantile(double share)
{
	double low = -40, high = 40;
	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2;
		if (normal_share(middle) < share)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

struct draws {
	const double *x, *w;
	int64_t n, n_draws;
	uint64_t key;
	double *mean; /* [n_draws] */
};

static double one_draw(const struct draws *d, int64_t draw)
{
	double sum = 0, weight = 0;
	uint32_t words[4];
	for (int64_t i = 0; i < d->n; i++) {
		if (i % 4 == 0)
			rng_words(words, d->key, (uint64_t)draw, (uint32_t)(i / 4), 0);
		int64_t at = (int64_t)(((uint64_t)words[i % 4] * (uint64_t)d->n) >> 32);
		sum += d->x[at];
		weight += d->w ? d->w[at] : 1;
	}
	return sum / weight;
}

static void part(void *arg, int64_t p, int worker)
{
	struct draws *d = arg;
	(void)worker;
	for (int64_t i = p * PART; i < (p + 1) * PART && i < d->n_draws; i++)
		d->mean[i] = one_draw(d, i);
}

/* sum of cubes / 6 (sum of squares)^1.5 of what leaving one out takes from their mean. */
static double acceleration(const double *x, const double *w, int64_t n)
{
	double *left = xcalloc((size_t)n, sizeof *left), sum = 0, weight = 0, mean = 0, squares = 0, cubes = 0;
	for (int64_t i = 0; i < n; i++) {
		sum += x[i];
		weight += w ? w[i] : 1;
	}
	for (int64_t i = 0; i < n; i++) {
		left[i] = (sum - x[i]) / (weight - (w ? w[i] : 1));
		mean += left[i] / (double)n;
	}
	for (int64_t i = 0; i < n; i++) {
		double d = mean - left[i];
		squares += d * d;
		cubes += d * d * d;
	}
	free(left);
	return squares > 0 ? cubes / (6 * pow(squares, 1.5)) : 0;
}

/* The value below which a share of the sorted draws lies. */
static double quantile(const double *sorted, int64_t n, double share)
{
	double at = fmin(fmax(share, 0), 1) * (double)(n - 1);
	int64_t below = (int64_t)at;
	double next = sorted[below + 1 < n ? below + 1 : below];
	return sorted[below] + (at - (double)below) * (next - sorted[below]);
}

double stats_bootstrap(double *low, double *high, const double *x, const double *w, int64_t n,
                       const struct stats_config *c)
{
	struct draws d = {.x = x, .w = w, .n = n, .n_draws = c->draws};
	double sum = 0, weight = 0, below = 0, a = 0, share[2] = {.025, .975};
	d.key = rng_key("bootstrap", (uint64_t)c->seed, "", 0);
	d.mean = xcalloc((size_t)d.n_draws, sizeof *d.mean);
	struct par *pool = par_new((double)n * (double)d.n_draws < ALONE ? 1 : 0);
	par_run(pool, (d.n_draws + PART - 1) / PART, part, &d);
	par_free(pool);
	qsort(d.mean, (size_t)d.n_draws, sizeof *d.mean, rising);
	if (c->interval == STATS_BCA) {
		a = acceleration(x, w, n);
		for (int64_t i = 0; i < n; i++) {
			sum += x[i];
			weight += w ? w[i] : 1;
		}
		/* a draw that gives the observed mean again is half below it */
		for (int64_t i = 0; i < d.n_draws; i++)
			below += d.mean[i] < sum / weight ? 1 : d.mean[i] > sum / weight ? 0 : .5;
		double bias = normal_quantile(below / (double)d.n_draws), z = normal_quantile(.975);
		for (int i = 0; i < 2; i++) {
			double shifted = bias + (i ? z : -z);
			share[i] = normal_share(bias + shifted / (1 - a * shifted));
		}
	}
	*low = quantile(d.mean, d.n_draws, share[0]);
	*high = quantile(d.mean, d.n_draws, share[1]);
	free(d.mean);
	return a;
}
