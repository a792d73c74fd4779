/* policy_loss_cov - clip_cov and kl_cov: tokens by the covariance of advantage and log-probability; see policy_loss.h
 */
#include <math.h>
#include <stdlib.h>

#include "lib/policy_loss.h"
#include "lib/rng.h"
#include "lib/util.h"

static double covariance(const struct policy_loss_scale *s, const struct policy_loss_row *row, int64_t t)
{
	return (row->advantages[t] - s->mean_advantage) * (row->logprobs[t] - s->mean_logprob);
}

static bool counts(const struct policy_loss_config *c, const struct policy_loss_row *row, int64_t t)
{
	return (!row->mask || row->mask[t]) && !(c->mask_truncated && row->cut);
}

/* Held by the clip, so that it has no gradient anyway. */
static bool is_clipped(const struct policy_loss_config *c, double A, double r)
{
	return (A > 0 && r > 1 + c->cliprange_high) || (A < 0 && r < 1 - c->cliprange);
}

/* Among those that clip_cov draws from. */
static bool is_candidate(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                         const struct policy_loss_row *row, int64_t t, double r)
{
	double x = covariance(s, row, t);
	return x > c->cov_low && x < c->cov_high && !is_clipped(c, row->advantages[t], r);
}

static double drawn(const struct policy_loss_scale *s, const struct policy_loss_row *row, int64_t t)
{
	return rng_uniform(s->key, row->id, (uint32_t)t, 0);
}

bool policy_loss_chosen(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, int64_t t, double r)
{
	if (c->loss == LOSS_KL_COV)
		return covariance(s, row, t) >= s->least_cov;
	return c->loss == LOSS_CLIP_COV && is_candidate(c, s, row, t, r) && drawn(s, row, t) < s->draw_below;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* A bound between the k-th smallest of x[n] and the next: in the middle, so that rounding does not matter. */
static double bound_after(double *x, int64_t n, int64_t k)
{
	qsort(x, (size_t)n, sizeof *x, by_size);
	return k <= 0 ? -INFINITY : k >= n ? INFINITY : x[k - 1] + (x[k] - x[k - 1]) / 2;
}

static void take_means(const struct policy_loss_config *c, const struct policy_loss_row *row, int64_t n,
                       struct policy_loss_scale *s)
{
	double A = 0, logprob = 0, tokens = 0;
	for (int64_t i = 0; i < n; i++)
		for (int64_t t = 0; t < row[i].n; t++)
			if (counts(c, &row[i], t)) {
				A += row[i].advantages[t];
				logprob += row[i].logprobs[t];
				tokens++;
			}
	s->mean_advantage = tokens > 0 ? A / tokens : 0;
	s->mean_logprob = tokens > 0 ? logprob / tokens : 0;
}

void policy_loss_choose(const struct policy_loss_config *c, const struct policy_loss_row *row, int64_t n,
                        struct policy_loss_scale *s)
{
	int64_t all = 0, tokens = 0, held = 0;
	for (int64_t i = 0; i < n; i++)
		all += row[i].n;
	double *x = xcalloc((size_t)all + 1, sizeof *x);
	take_means(c, row, n, s);
	for (int64_t i = 0; i < n; i++)
		for (int64_t t = 0; t < row[i].n; t++) {
			if (!counts(c, &row[i], t))
				continue;
			tokens++;
			double r = exp((double)row[i].logprobs[t] - row[i].old_logprobs[t]);
			if (c->loss == LOSS_KL_COV)
				x[held++] = covariance(s, &row[i], t);
			else if (is_candidate(c, s, &row[i], t, r))
				x[held++] = drawn(s, &row[i], t);
		}
	int64_t wanted = (int64_t)((double)tokens * c->cov_ratio);
	wanted = wanted < 1 ? 1 : wanted;
	if (c->loss == LOSS_KL_COV)
		s->least_cov = bound_after(x, held, held - wanted);
	else
		s->draw_below = bound_after(x, held, wanted);
	free(x);
}
