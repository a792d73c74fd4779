/* advantage_compat - see advantage_compat.h */
#include "lib/advantage_compat.h"

enum {
	HAS_GAE = 1 << ADVANTAGE_GAE,
	HAS_RLOO = 1 << ADVANTAGE_RLOO,
	HAS_GRPO = 1 << ADVANTAGE_GRPO,
	HAS_REINFORCE = 1 << ADVANTAGE_REINFORCE,
	HAS_ALL = HAS_GAE | HAS_RLOO | HAS_GRPO | HAS_REINFORCE
};

/* In the order of the words of --compat. */
static const struct advantage_compat table[] = {
        {.name = "none",
         .methods = HAS_ALL,
         .std_eps = 1e-4,
         .lam = .95,
         .kl_coef = .05,
         .cliprange_value = .2,
         .vf_coef = .1,
         .lr = 3e-6,
         .critic_lr = -1,
         .epochs = 4,
         .betas = "0.9,0.999"},
        {.name = "trl-old",
         .methods = HAS_GAE,
         .score = SCORE_LAST_TOKEN,
         .mask = MASK_ZEROS,
         .std_eps = 1e-4,
         .lam = .95,
         .kl_coef = .2,
         .cliprange_value = .2,
         .vf_coef = .1,
         .lr = 1.41e-5,
         .critic_lr = -1,
         .epochs = 4,
         .betas = "0.9,0.999"},
        {.name = "trl",
         .methods = HAS_GAE | HAS_RLOO | HAS_GRPO,
         .score = SCORE_BEHIND,
         .mask = MASK_REFUSED,
         .rows_whiten = true,
         .std_eps = 1e-4,
         .lam = .95,
         .kl_coef = .05,
         .cliprange_value = .2,
         .vf_coef = .1,
         .rloo_product = true,
         .dapo_even = true,
         .lr = 3e-6,
         .critic_lr = -1,
         .epochs = 4,
         .betas = "0.9,0.999"},
        {.name = "verl",
         .methods = HAS_ALL,
         .std_eps = 1e-6,
         .lone = true,
         .group_whole = true,
         .k3_max = 10,
         .lam = 1,
         .cliprange_value = .5,
         .vf_coef = 1,
         .dual_clip = 3,
         .log_ratio_max = 20,
         .sequence_max = 10,
         .gspo_token = true,
         .cispo_range = .2,
         .kl_of_means = true,
         .lr = 1e-6,
         .critic_lr = 1e-5,
         .epochs = 1,
         .betas = "0.9,0.999",
         .weight_decay = .01,
         .decay_all = true},
        {.name = "openrlhf",
         .methods = HAS_ALL,
         .score = SCORE_LAST_TOKEN,
         .mask = MASK_ZEROS,
         .population = true,
         .std_eps = 1e-9,
         .kl_after = true,
         .kl_max = 10,
         .k3_max = 10,
         .lam = 1,
         .kl_coef = .01,
         .kl_coef_grpo = .01,
         .cliprange_value = .5,
         .vf_coef = 1,
         .log_ratio_max = 20,
         .kl_of_means = true,
         .lr = 1e-6,
         .critic_lr = 9e-6,
         .epochs = 1,
         .betas = "0.9,0.95"},
};

const struct advantage_compat *advantage_compat(const struct advantage_config *c)
{
	return &table[c->compat];
}

double advantage_temperature(int compat, double t)
{
	return compat == ADVANTAGE_TRL ? t + 1e-7 : t;
}

static bool whitens(const struct advantage_config *c)
{
	return c->method == ADVANTAGE_GAE ||
	       (c->method == ADVANTAGE_REINFORCE && (c->baseline == BASELINE_BATCH || c->baseline == BASELINE_GROUP));
}

/* OpenRLHF sets gamma to 1 where scores are compared in groups, whatever was asked for. */
static void check_gamma(const struct advantage_config *c, const struct advantage_compat *k)
{
	bool groups = c->method == ADVANTAGE_RLOO || c->method == ADVANTAGE_GRPO ||
	              (c->method == ADVANTAGE_REINFORCE && c->baseline == BASELINE_GROUP);
	if (k->kl_after && groups && c->gamma != 1)
		cli_misuse("--gamma is %g, but --compat %s has 1 where a group is compared", c->gamma, k->name);
}

void advantage_settle(struct advantage_config *c)
{
	const struct advantage_compat *k = advantage_compat(c);
	if (!(k->methods & 1u << c->method))
		cli_misuse("--compat %s: %s has no %s", k->name, k->name, advantage_name[c->method]);
	check_gamma(c, k);
	if (!cli_given("lam"))
		c->lam = k->lam;
	if (!cli_given("kl-coef"))
		c->kl_coef = c->method == ADVANTAGE_GRPO ? k->kl_coef_grpo : k->kl_coef;
	if (!cli_given("whiten"))
		c->whiten = whitens(c);
}
