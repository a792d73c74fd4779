/*
 * ppo_batch - the rows of one update with everything the losses need, and the metrics line.
 */
#ifndef LIB_PPO_BATCH_H
#define LIB_PPO_BATCH_H

#include <stdint.h>

#include "lib/arena.h"
#include "lib/ppo.h"

/* One row that is trained on; arrays in the batch's arena or borrowed from the reader. */
struct ppo_row {
	const struct rollout_row *source;
	int64_t n, cells, chosen; /* tokens; cells of the value loss (n or n + 1); tokens with mask 1 */
	const int32_t *mask;
	float *logprobs, *ref_logprobs; /* [n] old */
	float *proximal, *weights;      /* [n] of the policy before the update, and importance; NULL: as logprobs, 1 */
	float *values;                  /* [n + 1] old; NULL without a critic */
	float *rewards, *advantages;    /* [n] */
	float *returns;                 /* [n + 1]: the terminal cell's last */
	float *exact_kl; /* [n] with --kl-estimator exact, of the policy before the update; NULL with kl_at_first_pass
	                  */
	double score, kl;
	struct trainer_row pass; /* outputs and gradients of the newest pass */
};

struct ppo_batch {
	struct arena arena;
	struct ppo_reference *reference; /* open until the update is done, with --kl-estimator exact; else NULL */
	/* The update's first pass is over all rows of the policy as it is, and has the exact KL: ppo_batch_first_pass.
	 */
	bool kl_at_first_pass;
	struct ppo_row *row;
	int64_t n, longest; /* rows; completion tokens of the longest */
	int64_t baselines;  /* rows that others are compared with, and that are not among those rows */
	int64_t tokens;     /* chosen ones */
	struct importance_stats importance;
	double lag; /* sum over rows: updates since their policy */
};

void ppo_batch_init(struct ppo_batch *b);
void ppo_batch_release(struct ppo_batch *b);
/* Takes the rows that are not left out (none where all carry `skip`: n is 0, and nothing is to be done); scores them
 * under reference and critic where that is missing; advantages. */
int ppo_batch_prepare(struct ppo_batch *b, struct ppo *p, struct rollout_rows *rows, struct err *e);
/* On a planner (lib/memory.h): the passes of ppo_batch_prepare, over rows that fill one; what stays with b until the
 * update is over stays here, too. */
int ppo_batch_plan(struct ppo_batch *b, struct ppo *p, struct trainer_row *row, int64_t n, struct err *e);

/* Called once the update has gone over all rows a first time: what the rows' pass says of the policy before it. */
void ppo_batch_first_pass(struct ppo_batch *b);

/* The KL of the policy that sampled to the reference, by the estimator: over rows, the mean of their sums and its
 * standard error, and the mean of their means over tokens; 0 without a reference. */
struct ppo_kl {
	double mean, standard_error, mean_of_means;
};
struct ppo_kl ppo_batch_kl(const struct ppo_batch *b);

/* Over the mini-batches of an update. */
struct ppo_stats {
	int64_t n, steps; /* mini-batches whose loss was taken; optimizer steps: one less where --target-kl ended it */
	struct policy_loss_stats sum;
	double ratio_squares, norm, lr, prepare_seconds, update_seconds, step_seconds;
	double group_norm[GROUP_COUNT], critic_norm; /* of the policy's parts; of a critic of its own */
	double critic_lr;
};
void ppo_stats_add(struct ppo_stats *s, const struct policy_loss_stats *means);

/* {"batch":...,"objective/kl":...}: TRL's names, their definitions in rl-ppo-step(1). */
void ppo_metrics(struct str *out, const struct ppo *p, const struct ppo_batch *b, const struct rollout_rows *rows,
                 const struct ppo_stats *s);

#endif
