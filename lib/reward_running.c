/* reward_running - see reward_running.h */
#include "lib/reward_running.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void reward_running_add(struct reward_running *r, double x)
{
	double before = x - r->mean;
	r->n++;
	r->mean += before / (double)r->n;
	r->m2 += before * (x - r->mean);
}

double reward_running_sd(const struct reward_running *r)
{
	return r->n < 2 ? 1 : sqrt(r->m2 / (double)r->n);
}

double reward_running_normal(const struct reward_running *r, double x)
{
	return r->n ? (x - r->mean) / (reward_running_sd(r) + 1e-8) : x;
}

static int compare(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;
	return a < b ? -1 : a > b;
}

double reward_percentile(const double *x, int64_t n, double p)
{
	double *sorted = xmalloc((size_t)n * sizeof *sorted);
	memcpy(sorted, x, (size_t)n * sizeof *sorted);
	qsort(sorted, (size_t)n, sizeof *sorted, compare);
	double place = p / 100 * (double)(n - 1);
	int64_t i = (int64_t)place;
	double value = sorted[i];
	if (i + 1 < n)
		value += (place - (double)i) * (sorted[i + 1] - value);
	free(sorted);
	return value;
}
