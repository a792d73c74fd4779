/*
 * rollout_batch - one batch of prompts: read, sampled, written.
 */
#ifndef LIB_ROLLOUT_BATCH_H
#define LIB_ROLLOUT_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/filter.h"
#include "lib/generate.h"
#include "lib/rollout.h"
#include "lib/tool.h"

struct rollout_batch_config {
	int64_t n;                /* completions per prompt */
	int64_t max_prompts;      /* per batch */
	int64_t min_new, max_new; /* completion tokens at most: drawn between these per prompt */
	uint64_t seed;
	const char *run;
	struct generate_config generate; /* key is set per prompt */
};

struct rollout_batch;
/* All borrowed for the life of the batch; `prompt` is the --prompt filter. */
struct rollout_batch *rollout_batch_new(const struct rollout_batch_config *c, const struct model_info *m,
                                        struct filter *prompt, struct tool *t);
void rollout_batch_free(struct rollout_batch *b);

/* Takes the next prompts (what was there before is forgotten) and hashes them into the cursor; returns how many, or -1.
 * A prompt that cannot be used is an error, or with -k keeps its place and carries `error`; one that came with
 * `skip` or `error` keeps its place, and gets nothing else. */
int64_t rollout_batch_read(struct rollout_batch *b, struct prompts *p, struct loop_cursor *cursor, struct err *e);

/* Samples every completion from one version. */
int rollout_batch_generate(struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                           const struct store_ref *ref, struct err *e);

/* Writes the records and flushes. */
int rollout_batch_write(struct rollout_batch *b, const struct store_ref *ref, int64_t batch, bool last,
                        const struct loop_cursor *cursor, struct err *e);

#endif
