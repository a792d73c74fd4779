/* advantage - see advantage.h */
#include "lib/advantage.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/util.h"

#define WHITEN_EPS 1e-8
#define EXP_MAX 20.0

#define FIELD(name) offsetof(struct advantage_config, name)

const struct opt advantage_options[] = {
        {"gamma", 0, OPT_NUM, FIELD(gamma), "1", "X", "discount per token", 0, 1},
        {"lam", 0, OPT_NUM, FIELD(lam), ".95", "X", "lambda of GAE: 1 trusts returns, 0 the critic", 0, 1},
        {"kl-coef", 0, OPT_NUM, FIELD(kl_coef), ".05", "X", "weight of the KL penalty per token", 0, 1e9},
        {"kl-estimator", 0, OPT_CHOICE, FIELD(kl_estimator), "k1", "k1|k2|k3", "estimate of the KL in the penalty", 0,
         0},
        {"whiten", 0, OPT_FLAG, FIELD(whiten), "1", NULL, "advantages to mean 0, variance 1 over the batch", 0, 0},
        {"whiten-rewards", 0, OPT_FLAG, FIELD(whiten_rewards), NULL, NULL, "rewards to variance 1 over the batch", 0,
         0},
        {"missing-eos-penalty", 0, OPT_NUM, FIELD(missing_eos_penalty), "0", "X",
         "taken from completions without an end", 0, 1e9},
        {"eos", 0, OPT_INT, FIELD(eos), "-1", "ID", "the token that ends; -1: finish says", -1, INT32_MAX},
        {"bootstrap", 0, OPT_FLAG, FIELD(bootstrap), NULL, NULL, "cut completions go on at bootstrap_value", 0, 0},
        {"compat", 0, OPT_CHOICE, FIELD(compat), "none", "none|trl", "follow another framework in every detail", 0, 0},
        {NULL},
};

double advantage_kl(int estimator, double d)
{
	if (estimator == ADVANTAGE_K1)
		return d;
	if (estimator == ADVANTAGE_K2)
		return d * d / 2;
	double x = -d > EXP_MAX ? EXP_MAX : -d < -EXP_MAX ? -EXP_MAX : -d;
	return expm1(x) - x;
}

static bool chosen(const struct advantage_row *r, int64_t t)
{
	return !r->mask || r->mask[t];
}

/* The chosen token at or before t, else the first one after it; -1 where there is none. */
static int64_t nearest_chosen(const struct advantage_row *r, int64_t t)
{
	for (int64_t i = t; i >= 0; i--)
		if (chosen(r, i))
			return i;
	for (int64_t i = t + 1; i < r->n; i++)
		if (chosen(r, i))
			return i;
	return -1;
}

static int check_row(const struct advantage_config *c, const struct advantage_row *r, struct err *e)
{
	if (!r->given_rewards && !r->reward)
		return err_set(e, "there is no reward");
	if (!r->given_rewards && c->kl_coef != 0 && !r->logprobs)
		return err_set(e, "there is no 'logprobs', which the KL penalty needs (--kl-coef 0 does without)");
	if (!r->given_rewards && c->kl_coef != 0 && !r->ref_logprobs)
		return err_set(e, "there is no 'ref_logprobs', which the KL penalty needs (--kl-coef 0 does without)");
	if (!r->given_rewards && c->missing_eos_penalty != 0 && c->eos >= 0 && !r->token)
		return err_set(e, "there is no 'tokens' to look for the end in");
	if (c->bootstrap && r->cut && !r->has_bootstrap && r->values)
		return err_set(e, "there is no 'bootstrap_value', which --bootstrap needs");
	for (int64_t t = 0; c->compat == ADVANTAGE_TRL && t < r->n; t++)
		if (!chosen(r, t))
			return err_set(e, "'mask' is 0 at index %lld, but TRL knows no mask", (long long)t);
	return 0;
}

static bool any_given(const struct advantage_row *row, int64_t n_rows)
{
	for (int64_t i = 0; i < n_rows; i++)
		if (!row[i].left_out && row[i].given_rewards)
			return true;
	return false;
}

static int check_rows(const struct advantage_config *c, const struct advantage_row *row, int64_t n_rows, int64_t *total,
                      int64_t *bad, struct err *e)
{
	bool given = any_given(row, n_rows);
	*total = 0;
	for (*bad = 0; *bad < n_rows; ++*bad) {
		const struct advantage_row *r = row + *bad;
		if (r->left_out)
			continue;
		if (given && !r->given_rewards)
			return err_set(e, "there is no 'rewards', but other rows of the batch have it");
		if (check_row(c, r, e) < 0)
			return -1;
		*total += r->n;
	}
	*bad = -1;
	return 0;
}

/* ---- rewards ---- */

static bool ends_itself(const struct advantage_config *c, const struct advantage_row *r)
{
	if (c->eos < 0)
		return !r->cut;
	for (int64_t t = 0; t < r->n; t++)
		if (chosen(r, t) && r->token[t] == c->eos)
			return true;
	return false;
}

/* x[n] = score on chosen tokens; returns what belongs behind the last token. */
static double place_score(const struct advantage_config *c, struct advantage_row *r, double *x)
{
	double all = 0;
	for (int64_t t = 0; t < r->n; t++)
		x[t] = 0;
	for (int64_t t = 0; t < r->n; t++) {
		int64_t to = r->reward[t] != 0 ? nearest_chosen(r, t) : -1;
		all += r->reward[t];
		if (to >= 0)
			x[to] += r->reward[t];
	}
	int64_t last = r->n ? nearest_chosen(r, r->n - 1) : -1;
	if (c->missing_eos_penalty != 0 && !ends_itself(c, r)) {
		all -= c->missing_eos_penalty;
		if (last >= 0)
			x[last] -= c->missing_eos_penalty;
	}
	r->score = all;
	if (c->compat != ADVANTAGE_TRL)
		return 0;
	for (int64_t t = 0; t < r->n; t++)
		x[t] = 0;
	if (!r->has_terminal && last >= 0)
		x[last] = all;
	return r->has_terminal ? all : 0;
}

static void make_rewards(const struct advantage_config *c, struct advantage_row *r, double *x)
{
	r->has_terminal = c->compat == ADVANTAGE_TRL && r->has_bootstrap && !r->cut;
	r->score = r->kl = r->bootstrap_reward = r->bootstrap_return = 0;
	if (r->given_rewards) {
		for (int64_t t = 0; t < r->n; t++)
			r->score += x[t] = chosen(r, t) ? (double)r->given_rewards[t] : 0;
		return;
	}
	r->bootstrap_reward = place_score(c, r, x);
	if (!r->logprobs || !r->ref_logprobs)
		return;
	for (int64_t t = 0; t < r->n; t++) {
		if (!chosen(r, t))
			continue;
		double kl = advantage_kl(c->kl_estimator, (double)r->logprobs[t] - (double)r->ref_logprobs[t]);
		r->kl += kl;
		x[t] -= c->kl_coef * kl;
	}
}

/* ---- whitening ---- */

/* Two passes over the chosen cells of the batch; x holds the rows one after another. */
struct moments {
	int64_t n;
	double mean, scale; /* scale = 1/sqrt(unbiased variance + eps) */
};

static struct moments moments_of(const struct advantage_row *row, int64_t n_rows, const double *x, bool terminal)
{
	struct moments m = {0, 0, 1};
	double sum[2] = {0, 0};
	for (int pass = 0; pass < 2; pass++) {
		const double *p = x;
		for (int64_t i = 0; i < n_rows; i++) {
			const struct advantage_row *r = row + i;
			if (r->left_out)
				continue;
			for (int64_t t = 0; t < r->n; t++) {
				if (!chosen(r, t))
					continue;
				m.n += !pass;
				sum[pass] += pass ? (p[t] - m.mean) * (p[t] - m.mean) : p[t];
			}
			if (terminal && r->has_terminal) {
				double d = r->bootstrap_reward - m.mean;
				m.n += !pass;
				sum[pass] += pass ? d * d : r->bootstrap_reward;
			}
			p += r->n;
		}
		if (!pass)
			m.mean = m.n ? sum[0] / (double)m.n : 0;
	}
	double variance = m.n > 1 ? sum[1] / (double)(m.n - 1) : 0;
	m.scale = 1 / sqrt(variance + WHITEN_EPS);
	return m;
}

static void whiten(struct advantage_row *row, int64_t n_rows, double *x, bool rewards)
{
	struct moments m = moments_of(row, n_rows, x, rewards);
	double shift = rewards ? m.mean : 0;
	for (int64_t i = 0; i < n_rows; i++) {
		struct advantage_row *r = row + i;
		if (r->left_out)
			continue;
		for (int64_t t = 0; t < r->n; t++)
			x[t] = chosen(r, t) ? (x[t] - m.mean) * m.scale + shift : 0;
		if (rewards && r->has_terminal)
			r->bootstrap_reward = (r->bootstrap_reward - m.mean) * m.scale + shift;
		x += r->n;
	}
}

/* ---- GAE ---- */

/* r[n] becomes A[n]; returns are written. */
static void estimate(const struct advantage_config *c, struct advantage_row *r, double *x)
{
	double next_value = 0, next = 0;
	if (r->has_terminal) {
		next = r->bootstrap_reward - r->bootstrap_value;
		next_value = r->bootstrap_value;
		r->bootstrap_return = next + next_value;
	} else if (c->bootstrap && r->cut && r->has_bootstrap) {
		next_value = r->bootstrap_value;
	}
	for (int64_t t = r->n - 1; t >= 0; t--) {
		if (!chosen(r, t)) {
			x[t] = 0;
			r->returns[t] = 0;
			continue;
		}
		double value = r->values ? (double)r->values[t] : 0;
		double delta = x[t] + c->gamma * next_value - value;
		x[t] = next = delta + c->gamma * c->lam * next;
		next_value = value;
		r->returns[t] = (float)(x[t] + value);
	}
}

/* A huge value in float32 is infinite; nothing may be trained on it. */
static int store(const double *x, float *out, int64_t n, const char *name, struct err *e)
{
	for (int64_t t = 0; t < n; t++) {
		out[t] = (float)x[t] + 0.0f;
		if (!isfinite(out[t]))
			return err_set(e, "'%s' would be %g at index %lld", name, x[t], (long long)t);
	}
	return 0;
}

static int check_returns(const struct advantage_row *r, struct err *e)
{
	for (int64_t t = 0; t < r->n; t++)
		if (!isfinite(r->returns[t]))
			return err_set(e, "'returns' would be %g at index %lld", (double)r->returns[t], (long long)t);
	if (!isfinite(r->bootstrap_return) || !isfinite(r->bootstrap_reward))
		return err_set(e, "'bootstrap_return' would be %g", r->bootstrap_return);
	return 0;
}

int advantage_gae(const struct advantage_config *c, struct advantage_row *row, int64_t n_rows, int64_t *bad,
                  struct err *e)
{
	int64_t ignored, total, i;
	int rc = 0;
	bad = bad ? bad : &ignored;
	*bad = -1;
	if (check_rows(c, row, n_rows, &total, bad, e) < 0)
		return -1;
	double *all = xcalloc((size_t)total, sizeof *all), *x = all;
	for (i = 0; i < n_rows; i++)
		if (!row[i].left_out) {
			make_rewards(c, row + i, x);
			x += row[i].n;
		}
	if (c->whiten_rewards && !any_given(row, n_rows))
		whiten(row, n_rows, all, true);
	for (x = all, i = 0; i < n_rows && !rc; i++)
		if (!row[i].left_out) {
			rc = store(x, row[i].rewards, row[i].n, "rewards", e);
			estimate(c, row + i, x);
			rc = rc ? rc : check_returns(row + i, e);
			x += row[i].n;
			*bad = rc ? i : -1;
		}
	if (!rc && c->whiten)
		whiten(row, n_rows, all, false);
	for (x = all, i = 0; i < n_rows && !rc; i++)
		if (!row[i].left_out) {
			rc = store(x, row[i].advantages, row[i].n, "advantages", e);
			x += row[i].n;
			*bad = rc ? i : -1;
		}
	free(all);
	return rc;
}
