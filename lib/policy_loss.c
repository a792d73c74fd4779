/* policy_loss - options, defaults and denominators; see policy_loss.h */
#include "lib/policy_loss.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage_compat.h"

#define AT(field) offsetof(struct policy_loss_config, field)
#define LOSSES "ppo|reinforce|grpo|dr_grpo|dapo|bnpo|gspo|cispo|sapo|geo_mean|clip_cov|kl_cov"
/* Options without a default here take that of --loss or of compat, see policy_loss_settle. */
const struct opt policy_loss_options[] = {
        {"loss", 0, OPT_CHOICE, AT(loss), "ppo", LOSSES, "the policy's loss; sets defaults of others", 0, 0},
        {"loss-agg", 0, OPT_CHOICE, AT(agg), NULL, "token-mean|seq-mean-token-sum|seq-mean-token-mean",
         "from tokens to the loss [by --loss]", 0, 0},
        {"loss-length", 0, OPT_INT, AT(length), "0", "N", "what seq-mean-token-sum divides by; 0: see the page", 0,
         1e9},
        {"ratio", 0, OPT_CHOICE, AT(ratio), NULL, "token|sequence|product", "what the ratio is of [by --loss]", 0, 0},
        {"cliprange", 0, OPT_NUM, AT(cliprange), NULL, "X",
         "clip the ratio at 1 - X below [.2; gspo 3e-4, cispo 1, geo_mean .4]", 0, 1e9},
        {"cliprange-high", 0, OPT_NUM, AT(cliprange_high), NULL, "X",
         "and at 1 + X above [--cliprange; dapo .28, gspo 4e-4, cispo 4]", 0, 1e9},
        {"dual-clip", 0, OPT_NUM, AT(dual_clip), NULL, "X",
         "hold the loss of a negative advantage to X times it; 0: off", 0, 1e9},
        {"delta", 0, OPT_NUM, AT(delta), "0", "X", "hold the ratio that is not clipped to X; 0: off", 0, 1e9},
        {"tau-pos", 0, OPT_NUM, AT(tau_pos), "1", "X", "of sapo: how sharply the ratio is held where A is above 0",
         1e-9, 1e9},
        {"tau-neg", 0, OPT_NUM, AT(tau_neg), "1.05", "X", "and where it is below", 1e-9, 1e9},
        {"cov-ratio", 0, OPT_NUM, AT(cov_ratio), "2e-4", "X", "of clip_cov and kl_cov: share of the tokens", 0, 1},
        {"cov-low", 0, OPT_NUM, AT(cov_low), "1", "X", "of clip_cov: least covariance", -1e9, 1e9},
        {"cov-high", 0, OPT_NUM, AT(cov_high), "5", "X", "and the largest", -1e9, 1e9},
        {"cov-kl-coef", 0, OPT_NUM, AT(cov_kl_coef), "1", "X", "of kl_cov: weight of |new - old|", 0, 1e9},
        {"kl-in", 0, OPT_CHOICE, AT(kl_in), NULL, "reward|loss", "where the KL penalty is [by --loss]", 0, 0},
        {"entropy-coef", 0, OPT_NUM, AT(entropy_coef), "0", "X", "weight of the entropy bonus", -1e9, 1e9},
        {"top-entropy", 0, OPT_NUM, AT(top_entropy), "1", "X", "train only this share of tokens, of highest entropy", 0,
         1},
        {"mask-truncated", 0, OPT_FLAG, AT(mask_truncated), NULL, NULL, "no policy loss of completions that were cut",
         0, 0},
        {"cliprange-value", 0, OPT_NUM, AT(cliprange_value), NULL, "X",
         "clip the value to X around the old one; 0: off [.2]", 0, 1e9},
        {"vf-coef", 0, OPT_NUM, AT(vf_coef), NULL, "X", "weight of the value loss [.1]", 0, 1e9},
        {NULL},
};

/* ---- defaults ---- */

struct recipe {
	int advantage, scale, ratio, agg, kl_in, estimator;
	double low, high;
};

#define GROUPS(scale, ratio, agg, low, high)                                                                           \
	{                                                                                                              \
		ADVANTAGE_GRPO, scale, ratio, agg, KL_IN_LOSS, ADVANTAGE_K3, low, high                                 \
	}
static const struct recipe recipe[] = {
        {ADVANTAGE_GAE, SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, KL_IN_REWARD, ADVANTAGE_K1, .2, .2},
        {ADVANTAGE_REINFORCE, SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, KL_IN_REWARD, ADVANTAGE_K1, .2, .2},
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_SEQ_MEAN_TOKEN_MEAN, .2, .2),
        GROUPS(SCALE_NONE, RATIO_TOKEN, AGG_SEQ_MEAN_TOKEN_SUM, .2, .2),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, .2, .28),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, .2, .2),
        GROUPS(SCALE_GROUP, RATIO_SEQUENCE, AGG_SEQ_MEAN_TOKEN_MEAN, 3e-4, 4e-4),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, 1, 4),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_SEQ_MEAN_TOKEN_MEAN, .2, .2),
        GROUPS(SCALE_GROUP, RATIO_SEQUENCE, AGG_SEQ_MEAN_TOKEN_MEAN, .4, .4),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, .2, .2),
        GROUPS(SCALE_GROUP, RATIO_TOKEN, AGG_TOKEN_MEAN, .2, .2),
};

/* Where the framework has other ranges for a loss than the paper. */
static void settle_range(struct policy_loss_config *c, const struct advantage_compat *k)
{
	double low = recipe[c->loss].low, high = recipe[c->loss].high;
	if (c->loss == LOSS_CISPO && k->cispo_range > 0)
		low = high = k->cispo_range;
	if (c->loss == LOSS_DAPO && k->dapo_even)
		high = low;
	if (!cli_given("cliprange-high"))
		c->cliprange_high = cli_given("cliprange") ? c->cliprange : high;
	if (!cli_given("cliprange"))
		c->cliprange = low;
}

static bool clips(const struct policy_loss_config *c)
{
	return c->loss != LOSS_REINFORCE && c->loss < LOSS_CISPO;
}

/* The word of --loss. */
static const char *loss_name(int loss, int *len)
{
	const char *name = LOSSES;
	for (; loss > 0; loss--)
		name += strcspn(name, "|") + 1;
	*len = (int)strcspn(name, "|");
	return name;
}

/* Losses that say themselves what the ratio is of. */
static void check_ratio(const struct policy_loss_config *c)
{
	int len, of = c->loss == LOSS_GEO_MEAN ? RATIO_SEQUENCE : RATIO_TOKEN;
	const char *name = loss_name(c->loss, &len);
	if ((c->loss == LOSS_GEO_MEAN || policy_loss_chooses(c)) && c->ratio != of)
		cli_misuse("--loss %.*s has a ratio of %s", len, name, of == RATIO_TOKEN ? "tokens" : "the sequence");
	if (c->loss == LOSS_CLIP_COV && c->cov_low >= c->cov_high)
		cli_misuse("--cov-low is %g, but must be below --cov-high, which is %g", c->cov_low, c->cov_high);
}

static void check(const struct policy_loss_config *c)
{
	const char *const only[] = {"dual-clip", "delta"};
	int len;
	const char *name = loss_name(c->loss, &len);
	for (int i = 0; i < 2; i++)
		if (cli_typed(only[i]) && (i ? c->delta : c->dual_clip) > 0 && !clips(c))
			cli_misuse("--%s is of losses that are clipped, not of --loss %.*s", only[i], len, name);
	check_ratio(c);
	if (c->length > 0 && c->agg != AGG_SEQ_MEAN_TOKEN_SUM)
		cli_misuse("--loss-length is what seq-mean-token-sum divides by: give --loss-agg seq-mean-token-sum");
	if (c->dual_clip > 0 && c->dual_clip < 1)
		cli_misuse("--dual-clip is %g, but must be at least 1: it is above the ratio of an old policy",
		           c->dual_clip);
	if (c->top_entropy == 0)
		cli_misuse("--top-entropy 0 trains no token");
}

void policy_loss_settle(struct policy_loss_config *c, struct advantage_config *a)
{
	const struct recipe *r = &recipe[c->loss];
	const struct advantage_compat *k = advantage_compat(a);
	if (!cli_given("advantage") && cli_given("loss"))
		a->method = r->advantage;
	if (!cli_given("scale") && r->scale != SCALE_GROUP)
		a->scale = r->scale;
	if (!cli_given("kl-in"))
		c->kl_in = r->kl_in;
	if (!cli_given("kl-estimator"))
		a->kl_estimator = r->estimator;
	bool product = k->rloo_product && a->method == ADVANTAGE_RLOO && !cli_given("loss");
	if (!cli_given("ratio"))
		c->ratio = product ? RATIO_PRODUCT : r->ratio;
	if (!cli_given("loss-agg"))
		c->agg = product ? AGG_SEQ_MEAN_TOKEN_MEAN : r->agg;
	settle_range(c, k);
	if (!cli_given("dual-clip"))
		c->dual_clip = clips(c) && c->ratio == RATIO_TOKEN ? k->dual_clip : 0;
	if (!cli_given("cliprange-value"))
		c->cliprange_value = k->cliprange_value;
	if (!cli_given("vf-coef"))
		c->vf_coef = k->vf_coef;
	c->advantage = a;
	check(c);
}

/* ---- denominators and means ---- */

void policy_loss_count(const struct policy_loss_config *c, const struct policy_loss_row *row,
                       struct policy_loss_scale *s)
{
	double chosen = 0;
	for (int64_t t = 0; t < row->n; t++)
		chosen += !row->mask || row->mask[t];
	s->all_tokens += chosen;
	s->all_rows += chosen > 0;
	s->cells += chosen + (double)(row->cells - row->n);
	if (c->mask_truncated && row->cut)
		return;
	s->tokens += chosen;
	s->rows += chosen > 0;
}

static double at_least_one(double x)
{
	return x > 0 ? x : 1;
}

/* What the sum over rows of policy_loss_tokens is divided by. */
static double divisor(const struct policy_loss_config *c, const struct policy_loss_scale *s)
{
	if (c->agg != AGG_TOKEN_MEAN)
		return at_least_one(s->all_rows);
	return at_least_one(c->loss == LOSS_DAPO ? s->all_tokens : s->tokens);
}

struct policy_loss_stats policy_loss_means(const struct policy_loss_config *c, const struct policy_loss_stats *sums,
                                           const struct policy_loss_scale *s)
{
	double whole = divisor(c, s), tokens = at_least_one(s->tokens), cells = at_least_one(s->cells);
	double all_places = s->places > 0 ? s->places : s->tokens, places = at_least_one(all_places);
	bool of_tokens = c->ratio == RATIO_TOKEN || c->loss == LOSS_GEO_MEAN;
	double units = of_tokens ? tokens : at_least_one(s->all_rows);
	return (struct policy_loss_stats){.policy = sums->policy / whole,
	                                  .kl = sums->kl / whole,
	                                  .bonus = sums->bonus / whole,
	                                  .value = sums->value / cells,
	                                  .approxkl = sums->approxkl / places,
	                                  .policykl = sums->policykl / tokens,
	                                  .clipfrac = sums->clipfrac / units,
	                                  .clip_low = sums->clip_low / units,
	                                  .clip_high = sums->clip_high / units,
	                                  .clip_dual = sums->clip_dual / units,
	                                  .cov = sums->cov / tokens,
	                                  .value_clipfrac = sums->value_clipfrac / cells,
	                                  .entropy = sums->entropy / tokens,
	                                  .ratio = (sums->ratio + (all_places - s->tokens)) / places,
	                                  .kl_tokens = sums->kl_tokens / tokens};
}

double policy_loss_total(const struct policy_loss_config *c, const struct policy_loss_stats *means)
{
	return means->policy + c->kl_coef * means->kl - c->entropy_coef * means->bonus + c->vf_coef * means->value;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

double policy_loss_quantile(double *x, int64_t n, double q)
{
	qsort(x, (size_t)n, sizeof *x, by_size);
	double place = q * (double)(n - 1);
	int64_t below = (int64_t)place, above = below + 1 < n ? below + 1 : below;
	return x[below] + (place - (double)below) * (x[above] - x[below]);
}
