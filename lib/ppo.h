/*
 * ppo - one rollout batch becomes one update: what is missing is computed, then epochs of mini-batches, then the
 * commit.
 *
 * Proximal policy optimization with a critic (Schulman et al. 2017), a token-level KL penalty against a reference, and
 * generalized advantage estimation, the numbers of TRL's PPOTrainer with compat trl; and the losses without a critic
 * that policy_loss.h has.
 *
 * target_kl: when the mean of (new - old)^2 / 2 over the tokens of a mini-batch is above 1.5 target_kl, that step is
 * not taken and the update ends there (the rule of OpenAI's Spinning Up).  critic_warmup: in the first batches of a run
 * only the separate critic takes steps.
 */
#ifndef LIB_PPO_H
#define LIB_PPO_H

#include <stdint.h>

#include "lib/advantage.h"
#include "lib/kl_control.h"
#include "lib/importance.h"
#include "lib/loop.h"
#include "lib/model.h"
#include "lib/optim.h"
#include "lib/policy_loss.h"
#include "lib/rollout_reader.h"
#include "lib/str.h"
#include "lib/trainer.h"

enum ppo_critic { CRITIC_SHARED, CRITIC_SEPARATE, CRITIC_NONE };

struct ppo_config {
	int64_t epochs, mini_batches, seed, max_lag, steps, snapshot_every, skip_bad_batches, checkpoint_every,
	        critic_warmup;
	int critic;              /* enum ppo_critic */
	double target_kl;        /* 0: none */
	const char *adaptive_kl; /* "TARGET,HORIZON" or "" */
	const char *run;
	const char *rollouts; /* directory (lib/ppo_rollouts.h), or NULL */
	struct importance_config importance;
	/* lib/ppo_eval.h */
	const char *best; /* metric of which the best version is kept, or NULL */
	int64_t patience;
};
/* After cli_parse: options that were not given take the defaults of --loss, of the advantage's method and of compat;
 * without GAE there is no critic, one pass over each batch and a learning rate of 1e-6.  Misuse ends the process. */
void ppo_settle(struct ppo_config *c, struct advantage_config *a, struct policy_loss_config *l, struct optim_config *o);
/* --advantage of struct advantage_config: a table of its own, since the filters have no such option. */
extern const struct opt ppo_advantage_options[];
/* --ppo-epochs, --mini-batches, --target-kl, --adaptive-kl, --critic, --critic-warmup, --seed, --max-lag, --steps,
 * --run, --rollouts, --snapshot-every, --skip-bad-batches,
 * --checkpoint-every */
extern const struct opt ppo_options[];

/* Where evaluations stand (lib/ppo_eval.h). */
struct ppo_eval_state {
	int64_t count, since, best_version; /* evaluations; of them since the best; version of that, -1: none */
	double best;
	bool improved; /* by that of this batch */
};

struct ppo {
	/* set by the caller before ppo_begin, k before ppo_open; borrowed */
	struct ppo_config *config;
	struct advantage_config *advantage;
	struct policy_loss_config *loss;
	struct optim_config *optim;
	const struct kernels *k;
	struct comm *comm; /* ranks that share the passes (lib/comm.h), NULL: none; only the first writes */
	struct store *store;
	const char *name;               /* of what is trained: "", or an adapter */
	const char *options, *operands; /* effective options and operands as JSON, for the log */
	double waited;                  /* seconds for the batch; set before each ppo_update */
	/* set by these */
	struct trainer policy, value; /* value only with CRITIC_SEPARATE */
	struct loop_run run;
	char slot[64];
	struct store_ref reference;
	bool needs_reference;
	struct advantage_moving moving;
	struct kl_control kl; /* whose coefficient is put into *advantage or *loss before each update */
	struct ppo_eval_state eval;
	int64_t checkpoint;    /* version of the last commit of the run's state, or its base */
	struct str pending;    /* log entries since then, a line each */
	double commit_seconds; /* seconds of the last commit; 0: none yet */
	bool bad;              /* what failed was the batch (lib/bad_batch.h) */
	bool bad_rows;         /* and that before any step: it is in its rows */
	struct str passed;     /* why the last batch was passed over; empty: it was not */
};

/* Reads the run, and forgets what is published of it; before samplers can see the trainer (loop_piped). */
int ppo_begin(struct ppo *p, struct err *e);
/* Its first half, which only reads. */
int ppo_load(struct ppo *p, struct err *e);
/* Then: reads the models and the reference.  A run that is closed loads no model. */
int ppo_open(struct ppo *p, struct err *e);
void ppo_close(struct ppo *p);
/* The part of ppo_open that takes memory: models and, where one is wanted, which reference. */
int ppo_open_models(struct ppo *p, struct store_view *v, struct err *e);

/* Trains on the rows that are not left out and commits.  *metrics: the line, without newline.  -1: the store is as it
 * was. */
int ppo_update(struct ppo *p, struct rollout_rows *rows, struct str *metrics, struct err *e);

/* The metrics of the run's committed updates, in order: fn returns non-zero to stop. */
int ppo_each_metrics(struct ppo *p, int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e);

#endif
