/*
 * rollout_batch - one batch of prompts: read, sampled, written.
 *
 * Either the batch is made of prompts (rollout_batch_read), and each completion is a record with its place in the
 * batch; or, with `as`, of records that come by (rollout_batch_add, lib/rollout_stage.h), each of which goes on with
 * one completion as an object under that name.
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
	int64_t n;                /* completions per prompt that are sampled */
	bool greedy;              /* and one more at temperature 0, the last of its group */
	bool evaluation;          /* held-out prompts, which are marked */
	int64_t max_prompts;      /* per batch */
	int64_t min_new, max_new; /* completion tokens at most: drawn between these per prompt */
	uint64_t seed;
	const char *run;
	const char *as;                  /* NULL; else the name of the object; n is 1, and greedy false */
	struct generate_config generate; /* key is set per prompt */
};

/* How held-out prompts are sampled where others are as c says: greedy, nothing cut off, as many tokens as may be. */
struct rollout_batch_config rollout_batch_held_out(const struct rollout_batch_config *c);

struct rollout_batch;
/* All borrowed for the life of the batch; `prompt` is the --prompt filter. */
struct rollout_batch *rollout_batch_new(const struct rollout_batch_config *c, const struct model_info *m,
                                        struct filter *prompt, struct tool *t);
/* Gives back the weights that a device keeps for the next batch. */
void rollout_batch_rest(struct rollout_batch *b);
void rollout_batch_free(struct rollout_batch *b);

/* Takes the next prompts (what was there before is forgotten) and hashes them into the cursor; returns how many, or -1.
 * A prompt that cannot be used is an error, or with -k keeps its place and carries `error`; one that came with
 * `skip` or `error` keeps its place, and gets nothing else. */
int64_t rollout_batch_read(struct rollout_batch *b, struct prompts *p, struct loop_cursor *cursor, struct err *e);

/* With `as`: takes the tool's current record.  -1: it cannot be used, and nothing was taken.  The record's `sample` (or
 * 0) and the epoch that is given say, with its id, which numbers are drawn; its own prompt_tokens are not looked at.
 * evaluation, the same for all that are held: sampled as held-out prompts are (rollout_batch_held_out). */
int rollout_batch_add(struct rollout_batch *b, int64_t epoch, bool evaluation, struct err *e);
/* Takes it to go out as it is, in its place. */
void rollout_batch_pass(struct rollout_batch *b);
/* Records taken since the last write, and whether there is room for another. */
int64_t rollout_batch_held(const struct rollout_batch *b);
bool rollout_batch_full(const struct rollout_batch *b);

/* Samples every completion from one version. */
int rollout_batch_generate(struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                           const struct store_ref *ref, struct err *e);
/* Prints what memory the largest batch takes: each prompt fills the context, but for max_new.  1, or -1 when it does
 * not fit (lib/memory.h).  Before the first batch on a device rollout_batch_generate looks itself whether that one
 * fits. */
int rollout_batch_plan(struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                       const struct store_ref *ref, struct err *e);

/* Writes the records and flushes. */
int rollout_batch_write(struct rollout_batch *b, const struct store_ref *ref, int64_t batch, bool last,
                        const struct loop_cursor *cursor, struct err *e);
/* With `as`; forgets the records. */
int rollout_batch_write_as(struct rollout_batch *b, const struct store_ref *ref, struct err *e);

#endif
