/*
 * advantage - from scores to rewards, advantages and returns, over one rollout batch.
 *
 * rl-gae, rl-rloo, rl-grpo, rl-reinforce and rl-ppo-step call the same function with the same option tables, so putting
 * one of the filters into the pipe changes nothing.  A batch is a list of ragged rows; row i has n tokens of a
 * completion, t = 0 .. n-1.  Tokens whose mask is 0 were not chosen by the policy: they have no reward, KL, value or
 * advantage (0 is written), and everything below passes over them: "the last token", "the next token" mean chosen ones.
 *
 *     kl_t     by estimator, with d = logprobs - ref_logprobs: k1 d, k2 d^2/2, k3 exp(-d) - 1 + d (Schulman 2020; the
 *              exponent is held to +-20), exact: over the vocabulary, as given
 *     rewards  r_t = reward_t - kl_coef kl_t.  Score that lies on a token not chosen moves to the chosen one before it,
 *              else after it.  missing_eos_penalty is taken from the last token of a completion that did not end
 *              itself: `eos` is not among its tokens; where eos < 0: it was cut at its length.
 *     R, G_t   the sum of a row's rewards, and its reward to go: G_t = r_t + gamma G_{t+1}
 *
 * Methods (rloo and grpo have one A for all tokens of a row; without a critic returns are G, which one could learn):
 *
 *     gae        delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1}  (Schulman et al. 2016),
 *                returns_t = A_t + V_t.  Behind the last token V is 0, also where the completion was cut: the score was
 *                given for the text as it stands, and adding the critic's guess of it would pay twice.  With bootstrap,
 *                for scores that are not about the end, V there is bootstrap_value when the completion was cut.
 *                whiten_rewards: first, over all tokens of the batch, keeping the mean:
 *                (r - mean) / sqrt(var + 1e-8) + mean
 *     rloo       A = R - mean of the R of the other rows of its group  (Ahmadian et al. 2024)
 *     grpo       A = (R - mean of the group) / (std + 1e-4), std unbiased, of the group or of all R of the batch; or
 *                not divided  (Shao et al. 2024; none: Liu et al. 2025)
 *     reinforce  A_t = G_t - b  (Williams 1992).  b: none 0; batch the mean of R over the rows; group that over its
 *                group; moving a running mean of earlier batches, see below; greedy the score of the row of its group
 *                that was sampled at temperature 0 (ReMax, Li et al. 2024), which is left out of the update itself
 *
 * whiten: A over all tokens of the batch to mean 0 and variance 1, last.  Of reinforce with batch or group this is
 * REINFORCE++ and REINFORCE++-baseline (Hu et al. 2025).
 *
 * A group is the rows of the batch with the same `group`.  One that has fewer rows than its `sample` numbers say, or
 * fewer than a method can compare, is an error that says how many of how many.
 *
 * Moving baseline: b before a batch is used for it, then b becomes decay b + (1 - decay) mean R; the first batch has
 * its own mean.
 *
 * Sums are in double, in row order: rows are to be given in the order of their place in the batch, in which they may
 * have arrived in any.  What other frameworks do differently is in advantage_compat.h.
 */
#ifndef LIB_ADVANTAGE_H
#define LIB_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/err.h"

enum { ADVANTAGE_K1, ADVANTAGE_K2, ADVANTAGE_K3, ADVANTAGE_EXACT };
enum { ADVANTAGE_OURS, ADVANTAGE_TRL_OLD, ADVANTAGE_TRL, ADVANTAGE_VERL, ADVANTAGE_OPENRLHF };
enum { ADVANTAGE_GAE, ADVANTAGE_RLOO, ADVANTAGE_GRPO, ADVANTAGE_REINFORCE };
enum { SCALE_GROUP, SCALE_BATCH, SCALE_NONE };
enum { BASELINE_NONE, BASELINE_BATCH, BASELINE_GROUP, BASELINE_MOVING, BASELINE_GREEDY };

struct advantage_config {
	int method;
	double gamma, lam, kl_coef;
	int kl_estimator;
	bool whiten, whiten_rewards, bootstrap;
	double missing_eos_penalty; /* 0: none */
	int64_t eos;                /* -1: `cut` says */
	int scale, baseline;
	double baseline_decay;
	int compat;
};
/* Of every method; of one. */
extern const struct opt advantage_options[], advantage_gae_options[], advantage_grpo_options[],
        advantage_reinforce_options[];

/* After cli_parse: options that were not given take the defaults of method and compat (advantage_compat.h); misuse ends
 * the process. */
void advantage_settle(struct advantage_config *c);
/* "gae", ... */
extern const char *const advantage_name[];

struct advantage_row {
	/* in; arrays [n] borrowed */
	bool left_out; /* counts in nothing but the size of its group; nothing is written */
	int64_t n;
	const int32_t *token;  /* for missing_eos_penalty with eos >= 0, else may be NULL */
	const int32_t *mask;   /* NULL: all 1 */
	const float *logprobs; /* may be NULL, like the next, when kl_coef is 0 or given_rewards is there */
	const float *ref_logprobs;
	const float *exact_kl; /* kl_t of estimator exact, which needs both models: rl-ppo-step's */
	const float *values;   /* NULL: 0 */
	const double *reward;  /* the score, on the tokens it belongs to (lib/reward.h) */
	const float
	        *given_rewards; /* not NULL: finished rewards (of all rows): no reward, KL, penalty, whiten_rewards */
	bool cut;               /* finish is "length" */
	bool has_bootstrap;
	double bootstrap_value;
	bool fills_batch;  /* compat trl: no cell behind the last token, see advantage_widths */
	const char *group; /* NULL: a group of its own */
	int64_t sample;    /* its number in the group, from 0; 0 where not known */
	bool greedy;       /* sampled at temperature 0 */
	/* out; arrays [n] of the caller, all three */
	float *rewards, *advantages, *returns;
	bool is_baseline;  /* was only compared with: no array is written, and it is not to be trained on */
	bool has_terminal; /* compat trl: the cell behind the last token */
	double bootstrap_reward, bootstrap_return;
	double score, kl; /* sums over the row: of the score after the penalty, of kl_t (also when kl_coef is 0 and both
	                   * log-probs are there) */
};

/* The running mean of baseline moving. */
struct advantage_moving {
	int64_t batches; /* that it has seen */
	double mean;
};

/* 0; -1 when something that is needed is missing, or a result is not finite: *e names the field and *bad (may be NULL)
 * the row.  moving: read and, on success, updated by baseline moving; may be NULL for the others. */
int advantage_compute(const struct advantage_config *c, struct advantage_moving *moving, struct advantage_row *row,
                      int64_t n_rows, int64_t *bad, struct err *e);

/* Sets fills_batch of those rows that none of the batch is longer than: TRL has as many columns as they have tokens,
 * and so no cell behind their end.  For callers whose bootstrap_value says no more than what the critic thinks there.
 */
void advantage_widths(struct advantage_row *row, int64_t n_rows);

/* What logits are divided by of a record that was sampled at t: TRL adds 1e-7. */
double advantage_temperature(int compat, double t);

/* What missing_eos_penalty takes from the row's score: 0 when it ended itself. */
double advantage_penalty(const struct advantage_config *c, const struct advantage_row *r);
/* One KL estimate; d = logprob - ref_logprob. */
double advantage_kl(int estimator, double d);
/* The same within the bounds that compat has. */
double advantage_kl_of(const struct advantage_config *c, double d);

#endif
