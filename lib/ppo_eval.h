/*
 * ppo_eval - evaluations within a run: their metrics, the best version, and the end of a run that makes no progress.
 *
 * The rows of an evaluation before batch b (lib/rollout_scores.h) say how good the version is that batch b was sampled
 * from.  What holds after them (the best value and its version, evaluations since) is part of the run's state, and the
 * snapshot `best` (best/RUN of a run with a name) goes into the same transaction as the update, so that a run that is
 * killed and goes on ends with the same bits and metrics.
 */
#ifndef LIB_PPO_EVAL_H
#define LIB_PPO_EVAL_H

#include "lib/ppo.h"

/* --best, --patience over a struct ppo_config. */
extern const struct opt ppo_eval_options[];
/* Misuse ends the process. */
void ppo_eval_check(const struct ppo_config *c);

/* The state out of the run; after loop_run_load. */
int ppo_eval_load(struct ppo *p, struct err *e);
/* Takes the evaluation that came with a batch, if one did, into the run's state; closes the run when patience is at its
 * end.  -1 when the metric of --best is not there, or its version has gone. */
int ppo_eval_take(struct ppo *p, const struct rollout_rows *rows, struct err *e);
/* The snapshot, into the update, when this evaluation is the best. */
int ppo_eval_put(const struct ppo *p, struct store_update *u, struct err *e);
/* Adds to a line of metrics, before its closing brace. */
void ppo_eval_metrics(struct str *out, const struct ppo *p, const struct rollout_rows *rows);

#endif
