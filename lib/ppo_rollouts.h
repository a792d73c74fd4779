/*
 * ppo_rollouts - the record of a run (--rollouts DIR): each batch as it was trained on, in a file of its own.
 *
 * DIR/000120.jsonl.zst has the rows of batch 120 in their order, each with what came in and everything that was
 * computed for it: ref_logprobs, values, bootstrap_value, rewards, kl_coef where it moves and is in them, advantages,
 * returns, bootstrap_return, and last_logprobs, the log-probabilities of the last pass.  The trainer takes what is
 * there as it is, so these files in their order end with the bits of the run.  A file is renamed into place before the
 * batch is committed; a batch that is done again after a crash gives the same file.
 */
#ifndef LIB_PPO_ROLLOUTS_H
#define LIB_PPO_ROLLOUTS_H

#include "lib/ppo_batch.h"

/* Makes the directory.  -1 when it has files of batches behind those that the run has trained: they are of another
 * run. */
int ppo_rollouts_open(const struct ppo *p, struct err *e);

/* The batch after its last pass; b NULL: one that is passed over (lib/bad_batch.h), of which nothing is added.  rows:
 * with their lines (keep_lines of the reader). */
int ppo_rollouts_write(const struct ppo *p, const struct ppo_batch *b, const struct rollout_rows *rows, struct err *e);

#endif
