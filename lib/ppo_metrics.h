/*
 * ppo_metrics - what users watch of a batch beside the objective: parts of the reward, lengths, groups, the critic,
 * time.
 *
 * Names are TRL's where it has them: those of GRPOTrainer, and val/var_explained of its PPO before 0.12. rl-ppo-step(1)
 * says what each is.
 */
#ifndef LIB_PPO_METRICS_H
#define LIB_PPO_METRICS_H

#include "lib/ppo_batch.h"

/* Each appends ,"NAME":X for what there is of this batch. */

/* completions/min_length, max_length, clipped_ratio; of groups with several rows completions/distinct_ratio,
 * reward_std, frac_reward_zero_std */
void ppo_metrics_completions(struct str *out, const struct ppo_batch *b);
/* rewards/NAME/mean, std of each reward_NAME; std over two rows at least */
void ppo_metrics_rewards(struct str *out, const struct ppo_batch *b);
/* skipped/REASON */
void ppo_metrics_skipped(struct str *out, const struct ppo_batch *b, const struct rollout_rows *rows);
/* val/var_explained: 1 - mean (return - old value)^2 / variance of the returns, over chosen tokens; null where the
 * variance is 0 */
void ppo_metrics_critic(struct str *out, const struct ppo_batch *b);
/* off-policy rows: offpolicy/rows, their mean lag, sampling/... of the weights; nothing when there are none */
void ppo_metrics_importance(struct str *out, const struct ppo_batch *b);
/* After each optimizer step: takes the norms of its gradient's parts; then grad_norm/GROUP of each that the policy has,
 * grad_norm/critic of a critic of its own, lr/critic where it is not lr. */
void ppo_metrics_add_norms(struct ppo_stats *s, const struct ppo *p);
void ppo_metrics_norms(struct str *out, const struct ppo *p, const struct ppo_stats *s);
/* time/rollout, prepare, update, step, commit; time/tokens_per_second/...; time/peak_rss_mib */
void ppo_metrics_time(struct str *out, const struct ppo *p, const struct ppo_batch *b, const struct ppo_stats *s);

#endif
