/*
 * rollout_eval - held-out prompts in the sampler's stream: before batch 0, K, 2K, ... all of them, greedy, from the
 * version that the batch is sampled from.
 *
 * Their records are marked "eval": true; batch is the batch that they come before, row and batch_size their place among
 * themselves.  They have no part in the batch: its records are the same with them and without.
 */
#ifndef LIB_ROLLOUT_EVAL_H
#define LIB_ROLLOUT_EVAL_H

#include <stdint.h>

#include "lib/rollout_batch.h"

struct rollout_eval_config {
	const char *file; /* NULL: none */
	int64_t every;
};
/* --eval, --eval-every */
extern const struct opt rollout_eval_options[];

struct rollout_eval {
	const struct rollout_eval_config *config; /* borrowed; file NULL: nothing here does anything */
	/* private */
	struct tool tool; /* of the file; writes to the sampler's sink */
	struct prompts *prompts;
	struct rollout_batch *batch;
	int64_t n;
};

/* Reads the file, which must have a record, and adds what it is to the options that decide rollouts.  Everything is
 * borrowed; c: that of the training prompts; t is open. */
int rollout_eval_open(struct rollout_eval *v, const struct rollout_eval_config *c,
                      const struct rollout_batch_config *batch, const struct model_info *m, struct filter *prompt,
                      struct tool *t, struct str *options, struct err *e);
/* Before batch `batch` is sampled from ref: samples and writes what is due. */
int rollout_eval_before(struct rollout_eval *v, const struct kernels *k, struct store_view *view,
                        const struct store_ref *ref, int64_t batch, struct err *e);
/* Adds its counts to the sampler's. */
void rollout_eval_close(struct rollout_eval *v, struct tool *t);

#endif
