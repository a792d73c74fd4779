/*
 * advantage - from scores to rewards, advantages and returns, over one rollout batch.
 *
 * rl-gae and rl-ppo-step call the same function with the same option table, so putting rl-gae into the pipe changes
 * nothing.  A batch is a list of ragged rows; row i has n tokens of a completion, t = 0 .. n-1.  Tokens whose mask is 0
 * were not chosen by the policy: they have no reward, KL, value or advantage (0 is written), and everything below
 * passes over them: "the last token", "the next token" mean chosen ones.
 *
 *   kl_t      by estimator, with d = logprobs - ref_logprobs: k1 d, k2 d^2/2, k3 exp(-d) - 1 + d  (Schulman 2020; the
 *             exponent is held to +-20)
 *   rewards   r_t = reward_t - kl_coef kl_t.  Score that lies on a token not chosen moves to the chosen one before it,
 *             else after it.  missing_eos_penalty is taken from the last token of a completion that did not end itself:
 *             `eos` is not among its tokens; where eos < 0: it was cut at its length.
 *   whiten_rewards   over all tokens of the batch, keeping the mean: (r - mean) / sqrt(var + 1e-8) + mean, var unbiased
 *   GAE       delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1}  (Schulman et al. 2016).
 *             returns_t = A_t + V_t.  Behind the last token V is 0, also where the completion was cut: the score was
 * given for the text as it stands, and adding the critic's guess of it would pay twice.  With --bootstrap, for scores
 * that are not about the end, V there is bootstrap_value when the completion was cut. whiten    A over all tokens of
 * the batch to mean 0 and variance 1, after returns are taken
 *
 * compat trl is TRL 0.24's PPOTrainer, for comparisons.  A row with a bootstrap value that was not cut has one cell
 * more, behind its last token: the whole score falls there (not on the last token), V there is bootstrap_value,
 * whiten_rewards counts it, it is trained on by the value loss, and has no advantage.  TRL knows no mask.
 *
 * Sums are in double, in row order: rows are to be given in the order of their place in the batch, in which they may
 * have arrived in any.
 */
#ifndef LIB_ADVANTAGE_H
#define LIB_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/err.h"

enum { ADVANTAGE_K1, ADVANTAGE_K2, ADVANTAGE_K3 };
enum { ADVANTAGE_OURS, ADVANTAGE_TRL };

struct advantage_config {
	double gamma, lam, kl_coef;
	int kl_estimator;
	bool whiten, whiten_rewards, bootstrap;
	double missing_eos_penalty; /* 0: none */
	int64_t eos;                /* -1: `cut` says */
	int compat;
};
extern const struct opt advantage_options[];

struct advantage_row {
	/* in; arrays [n] borrowed */
	bool left_out; /* counts in nothing; nothing is written */
	int64_t n;
	const int32_t *token;  /* for missing_eos_penalty with eos >= 0, else may be NULL */
	const int32_t *mask;   /* NULL: all 1 */
	const float *logprobs; /* may be NULL, like the next, when kl_coef is 0 or given_rewards is there */
	const float *ref_logprobs;
	const float *values;  /* NULL: 0 */
	const double *reward; /* the score, on the tokens it belongs to (lib/reward.h) */
	const float
	        *given_rewards; /* not NULL: finished rewards (of all rows): no reward, KL, penalty, whiten_rewards */
	bool cut;               /* finish is "length" */
	bool has_bootstrap;
	double bootstrap_value;
	/* out; arrays [n] of the caller, all three */
	float *rewards, *advantages, *returns;
	bool has_terminal; /* compat trl: the cell behind the last token */
	double bootstrap_reward, bootstrap_return;
	double score, kl; /* sums over the row: of the score after the penalty, of kl_t (also when kl_coef is 0 and both
	                   * log-probs are there) */
};

/* 0; -1 when something that is needed is missing, or a result is not finite: *e names the field and *bad (may be NULL)
 * the row. */
int advantage_gae(const struct advantage_config *c, struct advantage_row *row, int64_t n_rows, int64_t *bad,
                  struct err *e);

/* One KL estimate; d = logprob - ref_logprob. */
double advantage_kl(int estimator, double d);

#endif
