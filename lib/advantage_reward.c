/* advantage_reward - rewards out of scores and KL, and whitening; see advantage.h */
#include <math.h>

#include "lib/advantage_impl.h"

#define WHITEN_EPS 1e-8
#define EXP_MAX 20.0

/* ---- KL ---- */

double advantage_kl(int estimator, double d)
{
	if (estimator == ADVANTAGE_K1)
		return d;
	if (estimator == ADVANTAGE_K2)
		return d * d / 2;
	double x = -d > EXP_MAX ? EXP_MAX : -d < -EXP_MAX ? -EXP_MAX : -d;
	return expm1(x) - x;
}

double advantage_kl_of(const struct advantage_config *c, double d)
{
	const struct advantage_compat *k = advantage_compat(c);
	double kl = advantage_kl(c->kl_estimator, d), max = c->kl_estimator == ADVANTAGE_K3 ? k->k3_max : k->kl_max;
	return max == 0 || fabs(kl) <= max ? kl : copysign(max, kl);
}

/* ---- rewards ---- */

void advantage_widths(struct advantage_row *row, int64_t n_rows)
{
	int64_t longest = 0;
	for (int64_t i = 0; i < n_rows; i++)
		if (!row[i].left_out && row[i].n > longest)
			longest = row[i].n;
	for (int64_t i = 0; i < n_rows; i++)
		row[i].fills_batch = row[i].n == longest;
}

int64_t advantage_nearest(const struct advantage_row *r, int64_t t)
{
	for (int64_t i = t; i >= 0; i--)
		if (advantage_chosen(r, i))
			return i;
	for (int64_t i = t + 1; i < r->n; i++)
		if (advantage_chosen(r, i))
			return i;
	return -1;
}

static bool ends_itself(const struct advantage_config *c, const struct advantage_row *r)
{
	if (c->eos < 0)
		return !r->cut;
	for (int64_t t = 0; t < r->n; t++)
		if (advantage_chosen(r, t) && r->token[t] == c->eos)
			return true;
	return false;
}

double advantage_penalty(const struct advantage_config *c, const struct advantage_row *r)
{
	return c->missing_eos_penalty != 0 && !ends_itself(c, r) ? c->missing_eos_penalty : 0;
}

/* x[n] = score on chosen tokens; returns what belongs behind the last token. */
static double place_score(const struct advantage_batch *b, struct advantage_row *r, double *x)
{
	double all = 0;
	for (int64_t t = 0; t < r->n; t++)
		x[t] = 0;
	for (int64_t t = 0; t < r->n; t++) {
		if (r->reward[t] == 0)
			continue;
		int64_t to = advantage_nearest(r, t);
		all += r->reward[t];
		if (to >= 0)
			x[to] += r->reward[t];
	}
	int64_t last = r->n ? advantage_nearest(r, r->n - 1) : -1;
	double penalty = advantage_penalty(b->c, r);
	if (last >= 0)
		x[last] -= penalty;
	all -= penalty;
	r->score = all;
	if (b->k->score == SCORE_ITS_TOKENS)
		return 0;
	for (int64_t t = 0; t < r->n; t++)
		x[t] = 0;
	if (!r->has_terminal && last >= 0)
		x[last] = all;
	return r->has_terminal ? all : 0;
}

static void make_rewards(const struct advantage_batch *b, struct advantage_row *r, double *x)
{
	r->has_terminal = b->k->score == SCORE_BEHIND && b->c->method == ADVANTAGE_GAE && r->has_bootstrap && !r->cut &&
	                  !r->fills_batch;
	r->score = r->kl = r->bootstrap_reward = r->bootstrap_return = 0;
	if (b->given && !r->is_baseline) {
		for (int64_t t = 0; t < r->n; t++)
			r->score += x[t] = advantage_chosen(r, t) ? (double)r->given_rewards[t] : 0;
		return;
	}
	r->bootstrap_reward = place_score(b, r, x);
	bool exact = b->c->kl_estimator == ADVANTAGE_EXACT;
	if (exact ? !r->exact_kl : !r->logprobs || !r->ref_logprobs)
		return;
	for (int64_t t = 0; t < r->n; t++) {
		if (!advantage_chosen(r, t))
			continue;
		double kl = exact ? (double)r->exact_kl[t]
		                  : advantage_kl_of(b->c, (double)r->logprobs[t] - (double)r->ref_logprobs[t]);
		r->kl += kl;
		x[t] -= b->c->kl_coef * kl;
	}
}

void advantage_rewards(struct advantage_batch *b)
{
	for (int64_t i = 0; i < b->n_rows; i++)
		if (!b->row[i].left_out)
			make_rewards(b, b->row + i, b->x + b->at[i]);
}

/* ---- whitening ---- */

struct moments {
	int64_t n;
	double mean, scale;
};

static double scale_of(const struct advantage_batch *b, int64_t n, double squares)
{
	if (b->k->population) {
		double variance = n ? squares / (double)n : 0;
		return 1 / sqrt(variance < WHITEN_EPS ? WHITEN_EPS : variance);
	}
	return 1 / sqrt((n > 1 ? squares / (double)(n - 1) : 0) + WHITEN_EPS);
}

/* Two passes over the chosen cells of the batch. */
static struct moments moments_of(const struct advantage_batch *b, bool terminal)
{
	struct moments m = {0, 0, 1};
	double sum[2] = {0, 0};
	for (int pass = 0; pass < 2; pass++) {
		for (int64_t i = 0; i < b->n_rows; i++) {
			const struct advantage_row *r = b->row + i;
			const double *p = b->x + b->at[i];
			if (!advantage_counts(r))
				continue;
			for (int64_t t = 0; t < r->n; t++) {
				if (!advantage_chosen(r, t))
					continue;
				m.n += !pass;
				sum[pass] += pass ? (p[t] - m.mean) * (p[t] - m.mean) : p[t];
			}
			if (terminal && r->has_terminal) {
				double d = r->bootstrap_reward - m.mean;
				m.n += !pass;
				sum[pass] += pass ? d * d : r->bootstrap_reward;
			}
		}
		if (!pass)
			m.mean = m.n ? sum[0] / (double)m.n : 0;
	}
	m.scale = scale_of(b, m.n, sum[1]);
	return m;
}

void advantage_whiten(struct advantage_batch *b, bool keep_mean)
{
	struct moments m = moments_of(b, keep_mean);
	double shift = keep_mean ? m.mean : 0;
	for (int64_t i = 0; i < b->n_rows; i++) {
		struct advantage_row *r = b->row + i;
		double *x = b->x + b->at[i];
		if (!advantage_counts(r))
			continue;
		for (int64_t t = 0; t < r->n; t++)
			x[t] = advantage_chosen(r, t) ? (x[t] - m.mean) * m.scale + shift : 0;
		if (keep_mean && r->has_terminal)
			r->bootstrap_reward = (r->bootstrap_reward - m.mean) * m.scale + shift;
	}
}
