/*
 * rollout_stage - a further generation in a pipe (rl-generate --as): each record that comes by goes on with a
 * completion of its own.
 *
 * It has no part in the loop: it waits for no update, is no sampler, reads nothing ahead, and makes no batches.  What
 * has arrived is sampled together, and as soon as no more input is at hand; so a trainer that waits for a record gets
 * it.  For a run to end with the same bits after a crash, a record is sampled from the version that sampled it before,
 * which its policy_version names, or of a group (rl-group) that of its items.  The store has this version as long as
 * the trainer waits for the record.  What an evaluation measures is sampled as the evaluation is
 * (rollout_batch_held_out).
 */
#ifndef LIB_ROLLOUT_STAGE_H
#define LIB_ROLLOUT_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/rollout_batch.h"

struct rollout_stage {
	/* borrowed */
	struct rollout_batch *batch; /* with `as` */
	const struct kernels *k;
	struct store *store;
	struct loop_locks *locks; /* to say that it is at work (LOOP_STAGE); not open: it does not say so */
	const char *name;         /* a slot or a snapshot, for all records */
	const char *slot; /* instead, where it is not NULL: what runs train, at the version that the record names */
	/* private */
	struct store_ref ref;   /* of the records that are held, while there are any */
	bool evaluation;        /* they are */
	struct store_ref first; /* for records that name none: the version that was there at the first of them */
};

/* A tool_process over a struct rollout_stage, and what writes the records that are held (tool.drain, and the end). */
int rollout_stage_process(struct tool *t, struct record *r, void *arg, struct err *e);
int rollout_stage_drain(struct tool *t, void *arg, struct err *e);

#endif
