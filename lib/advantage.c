/* advantage - see advantage.h */
#include "lib/advantage.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/advantage_impl.h"
#include "lib/util.h"

const char *const advantage_name[] = {"gae", "rloo", "grpo", "reinforce"};

#define FIELD(name) offsetof(struct advantage_config, name)

/* Options without a default here take that of the method, see advantage_settle. */
const struct opt advantage_options[] = {
        {"gamma", 0, OPT_NUM, FIELD(gamma), "1", "X", "discount per token", 0, 1},
        {"kl-coef", 0, OPT_NUM, FIELD(kl_coef), NULL, "X", "weight of the KL penalty per token [.05; grpo 0]", 0, 1e9},
        {"kl-estimator", 0, OPT_CHOICE, FIELD(kl_estimator), "k1", "k1|k2|k3|exact",
         "estimate of the KL in the penalty", 0, 0},
        {"whiten", 0, OPT_FLAG, FIELD(whiten), NULL, NULL,
         "advantages to mean 0, variance 1 over the batch [by method]", 0, 0},
        {"missing-eos-penalty", 0, OPT_NUM, FIELD(missing_eos_penalty), "0", "X",
         "taken from completions without an end", 0, 1e9},
        {"eos", 0, OPT_INT, FIELD(eos), "-1", "ID", "the token that ends; -1: finish says", -1, INT32_MAX},
        {"compat", 0, OPT_CHOICE, FIELD(compat), "none", "none|trl-old|trl|verl|openrlhf",
         "follow another framework's defaults and conventions", 0, 0},
        {NULL},
};
const struct opt advantage_gae_options[] = {
        {"lam", 0, OPT_NUM, FIELD(lam), NULL, "X", "lambda of GAE: 1 trusts returns, 0 the critic [.95]", 0, 1},
        {"whiten-rewards", 0, OPT_FLAG, FIELD(whiten_rewards), NULL, NULL, "rewards to variance 1 over the batch", 0,
         0},
        {"bootstrap", 0, OPT_FLAG, FIELD(bootstrap), NULL, NULL, "cut completions go on at bootstrap_value", 0, 0},
        {NULL},
};
const struct opt advantage_grpo_options[] = {
        {"scale", 0, OPT_CHOICE, FIELD(scale), "group", "group|batch|none",
         "whose standard deviation divides advantages", 0, 0},
        {NULL},
};
const struct opt advantage_reinforce_options[] = {
        {"baseline", 0, OPT_CHOICE, FIELD(baseline), "batch", "none|batch|group|moving|greedy",
         "what is taken from the reward to go", 0, 0},
        {"baseline-decay", 0, OPT_NUM, FIELD(baseline_decay), ".9", "X", "of the running mean of --baseline moving", 0,
         1},
        {NULL},
};

/* ---- what is needed ---- */

static int check_rewards(const struct advantage_config *c, const struct advantage_row *r, struct err *e)
{
	if (!r->reward)
		return err_set(e, "there is no reward");
	if (c->kl_coef != 0 && c->kl_estimator == ADVANTAGE_EXACT)
		return r->exact_kl ? 0 : err_set(e, "there is no exact KL");
	if (c->kl_coef != 0 && !r->logprobs)
		return err_set(e, "there is no 'logprobs', which the KL penalty needs (--kl-coef 0 does without)");
	if (c->kl_coef != 0 && !r->ref_logprobs)
		return err_set(e, "there is no 'ref_logprobs', which the KL penalty needs (--kl-coef 0 does without)");
	if (c->missing_eos_penalty != 0 && c->eos >= 0 && !r->token)
		return err_set(e, "there is no 'tokens' to look for the end in");
	return 0;
}

static int check_row(const struct advantage_batch *b, const struct advantage_row *r, struct err *e)
{
	if (!b->given && !r->is_baseline && check_rewards(b->c, r, e))
		return -1;
	if (r->is_baseline && !r->reward)
		return err_set(e, "there is no reward");
	if (b->given && !r->given_rewards && !r->is_baseline)
		return err_set(e, "there is no 'rewards', but other rows of the batch have it");
	if (b->c->method == ADVANTAGE_GAE && b->c->bootstrap && r->cut && !r->has_bootstrap && r->values)
		return err_set(e, "there is no 'bootstrap_value', which --bootstrap needs");
	for (int64_t t = 0; b->k->mask == MASK_REFUSED && t < r->n; t++)
		if (!advantage_chosen(r, t))
			return err_set(e, "'mask' is 0 at index %lld, but TRL knows no mask", (long long)t);
	return 0;
}

static int begin(struct advantage_batch *b, struct err *e)
{
	int64_t total = 0;
	b->at = xcalloc((size_t)b->n_rows + 1, sizeof *b->at);
	for (int64_t i = 0; i < b->n_rows; i++) {
		struct advantage_row *r = b->row + i;
		r->is_baseline = !r->left_out && r->greedy && b->c->method == ADVANTAGE_REINFORCE &&
		                 b->c->baseline == BASELINE_GREEDY;
		b->given |= advantage_counts(r) && r->given_rewards;
	}
	for (int64_t i = 0; i < b->n_rows; i++) {
		const struct advantage_row *r = b->row + i;
		b->at[i] = total;
		if (r->left_out)
			continue;
		b->bad = i;
		if (check_row(b, r, e))
			return -1;
		total += r->n;
	}
	b->bad = -1;
	b->x = xcalloc((size_t)total + 1, sizeof *b->x);
	return 0;
}

/* ---- what comes out ---- */

/* A huge value in float32 is infinite; nothing may be trained on it. */
static int check_floats(const float *x, int64_t n, const char *name, struct err *e)
{
	for (int64_t t = 0; t < n; t++)
		if (!isfinite(x[t]))
			return err_set(e, "'%s' would be %g at index %lld", name, (double)x[t], (long long)t);
	return 0;
}

static int store(struct advantage_batch *b, bool rewards, struct err *e)
{
	for (int64_t i = 0; i < b->n_rows; i++) {
		struct advantage_row *r = b->row + i;
		const double *x = b->x + b->at[i];
		float *out = rewards ? r->rewards : r->advantages;
		if (!advantage_counts(r))
			continue;
		b->bad = i;
		for (int64_t t = 0; t < r->n; t++) {
			out[t] = (float)x[t] + 0.0f;
			if (!isfinite(out[t]))
				return err_set(e, "'%s' would be %g at index %lld", rewards ? "rewards" : "advantages",
				               x[t], (long long)t);
		}
		if (!rewards && check_floats(r->returns, r->n, "returns", e))
			return -1;
		if (!isfinite(r->bootstrap_return) || !isfinite(r->bootstrap_reward))
			return err_set(e, "'bootstrap_return' would be %g", r->bootstrap_return);
	}
	b->bad = -1;
	return 0;
}

static int estimate(struct advantage_batch *b, struct advantage_moving *moving, struct err *e)
{
	switch (b->c->method) {
	case ADVANTAGE_RLOO:
		return advantage_rloo(b, e);
	case ADVANTAGE_GRPO:
		return advantage_grpo(b, e);
	case ADVANTAGE_REINFORCE:
		return advantage_reinforce(b, moving, e);
	default:
		advantage_gae(b);
		return 0;
	}
}

static int compute(struct advantage_batch *b, struct advantage_moving *moving, struct err *e)
{
	const struct advantage_config *c = b->c;
	if (begin(b, e))
		return -1;
	advantage_rewards(b);
	if (c->method == ADVANTAGE_GAE && c->whiten_rewards && !b->given)
		advantage_whiten(b, true);
	if (store(b, true, e) || estimate(b, moving, e))
		return -1;
	if (c->whiten && !(c->method == ADVANTAGE_RLOO && b->k->rows_whiten))
		advantage_whiten(b, false);
	return store(b, false, e);
}

int advantage_compute(const struct advantage_config *c, struct advantage_moving *moving, struct advantage_row *row,
                      int64_t n_rows, int64_t *bad, struct err *e)
{
	struct advantage_batch b = {.c = c, .k = advantage_compat(c), .row = row, .n_rows = n_rows, .bad = -1};
	struct advantage_moving after = moving ? *moving : (struct advantage_moving){0};
	int rc = compute(&b, &after, e);
	if (!rc && moving)
		*moving = after;
	if (bad)
		*bad = b.bad;
	free(b.x);
	free(b.at);
	return rc;
}
