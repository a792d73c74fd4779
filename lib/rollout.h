/*
 * rollout - the sampler's side of a loop: which records make which batch, and from which version of the policy.
 *
 * Order of prompts.  A plain pass keeps the order of its input and reads one record ahead, to know the last.  With
 * epochs or steps the lines are kept, each epoch is shuffled by seed, and batches run on across epochs.
 *
 * Versions.  Batch b of a run is sampled from exactly the version after max(0, b - lag) updates of the run.  A sampler
 * is in the loop when its output is a pipe, a trainer that reads a pipe is there, and it gets the sampler lock: on a
 * run that has begun this is settled before the first record, else within two seconds after the first batch.  Any other
 * sampler begins at record 0, never waits, and changes nothing.
 */
#ifndef LIB_ROLLOUT_H
#define LIB_ROLLOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/loop.h"
#include "lib/store.h"
#include "lib/tool.h"

#define ROLLOUT_LAG_NONE (-1)

/* ---- the order of prompts ---- */

struct prompts_config {
	int64_t epochs;    /* 0: not given */
	int64_t prompts;   /* stop after that many in all (steps x prompts per batch); 0: not given */
	bool shuffle;      /* with epochs or prompts */
	uint64_t key_seed; /* seed of the shuffle */
	const char *run;
};

struct prompts;
/* t is open (tool_open) and outlives p. */
struct prompts *prompts_new(struct tool *t, const struct prompts_config *c);
void prompts_free(struct prompts *p);

/* A line of the input, its number (from 1) and its epoch (from 0); the line is owned by the caller (free). */
struct prompt {
	char *line;
	size_t len;
	int64_t number, epoch;
};
/* 1, 0 at the end, -1.  After 1, prompts_last says whether it was the last one. */
int prompts_next(struct prompts *p, struct prompt *out, struct err *e) __attribute__((warn_unused_result));
/* 1 when no further prompt follows, 0 when one does, -1; may read ahead. */
int prompts_last(struct prompts *p, struct err *e) __attribute__((warn_unused_result));

/* With epochs or prompts: how many lines there are (reads them), or -1; begins again with the first of them. */
int64_t prompts_count(struct prompts *p, struct err *e);
void prompts_rewind(struct prompts *p);

/* ---- versions and waiting ---- */

struct rollout {
	struct store *store; /* borrowed */
	const char *run;     /* borrowed */
	const char *slot;    /* that the run trains; never in the loop: any name; borrowed */
	int64_t lag;         /* ROLLOUT_LAG_NONE: never in the loop */
	const char *options; /* "name=value ...", borrowed */
	struct loop_locks locks;
	bool in_loop, settled;
	int64_t batch;          /* the next batch to sample */
	struct store_ref first; /* outside a loop: the version of the first batch */
	struct loop_cursor cursor;
};

/*
 * Finds out where to begin: 1 with r->batch and r->cursor set (cursor.records input records are to be skipped, see
 * rollout_skip), 0 when the run is closed (nothing to do), -1.  output_is_pipe: whether standard output is one.
 */
int rollout_begin(struct rollout *r, struct store *s, const char *run, const char *slot, int64_t lag,
                  const char *options, bool output_is_pipe, struct err *e);
/* Can a trainer be behind standard output? */
bool rollout_output_is_pipe(void);
void rollout_end(struct rollout *r);

/* On resume: hashes the skipped prompts and compares them with what the run was begun with. */
int rollout_skip(struct rollout *r, struct prompts *p, struct err *e);

/*
 * Before batch r->batch is sampled: 1 with *ref the version to sample from, 0 when the run was closed meanwhile, -1
 * when the trainer or the reader of our output has gone.  No view may be open.
 */
int rollout_wait(struct rollout *r, struct store_ref *ref, struct err *e);
/* After the batch was written and flushed. */
void rollout_sampled(struct rollout *r);

#endif
