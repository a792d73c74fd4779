/*
 * loop - how the stages of a pipe find each other, wait, and go on after a crash.
 *
 * The pipe is the scheduler and the store is the only place where stages meet.  Beside the store lies STORE-loop, an
 * empty file for open-file-description locks: they die with their holders, so nothing has to be cleaned up.
 *
 *   trainer   whatever changes weights, for life; taken before anything else; a second one is refused
 *   piped     that trainer reads a pipe: a loop can be here
 *   sampler   the one rl-generate in the loop, until the run is closed
 *   busy      that rl-generate is sampling (not held while it waits): lets the trainer tell a slow sampler from a stage
 * that holds records back
 *   stage     every further rl-generate of a pipe (--as) that is sampling, shared between them; for the same reason
 *
 * The state of a run is a blob in the store, written with each update in the same transaction.
 */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/record.h"
#include "lib/store.h"

enum loop_lock { LOOP_TRAINER, LOOP_PIPED, LOOP_SAMPLER, LOOP_BUSY, LOOP_STAGE };

struct loop_locks {
	int fd; /* -1: not open */
};
/* Opens (makes) STORE-loop; close-on-exec. */
int loop_open(struct loop_locks *l, const char *store_path, struct err *e);
void loop_close(struct loop_locks *l); /* frees the locks held through l */

/* 1 taken, 0 somebody else has it, -1. */
int loop_try(struct loop_locks *l, enum loop_lock which, struct err *e);
/* Taken together with others: loop_held sees it, others that share it do not mind. */
void loop_share(struct loop_locks *l, enum loop_lock which);
void loop_free(struct loop_locks *l, enum loop_lock which);
/* Does another open file description hold it? */
bool loop_held(struct loop_locks *l, enum loop_lock which);

/* What every tool that changes weights calls first: opens the locks and takes `trainer`.  -1 with "another trainer has
 * STORE" when it is taken. */
int loop_trainer(struct loop_locks *l, const char *store_path, struct err *e);
/* Takes `piped` when stdin is a pipe: from now on a sampler believes what the store says of the run. */
int loop_piped(struct loop_locks *l, struct err *e);

/*
 * For those who write to a store and are no trainer: opens STORE of "STORE[:NAME]" under the trainer's lock, calls fn,
 * and closes it.  With STORE_CREATE a store that was not there is taken away again when fn fails.
 */
int loop_store_with(const char *spec, enum store_mode mode,
                    int (*fn)(void *arg, struct store *s, const char *name, struct err *e), void *arg, struct err *e);

/* ---- runs ---- */

/* Where the sampler stands after a batch: it travels in the `cursor` field of the batch's last row and is committed
 * with the update.  All owned by the struct. */
struct loop_cursor {
	int64_t records; /* input records taken since the run began */
	uint64_t lines;  /* running hash of their lines */
	char *options;   /* "name=value name=value": the options that decide rollouts */
};
void loop_cursor_init(struct loop_cursor *c);
void loop_cursor_release(struct loop_cursor *c);
/* Takes one more line into the hash. */
void loop_cursor_take(struct loop_cursor *c, const char *line, size_t len);

struct loop_run {
	bool begun; /* there is a state in the store */
	bool closed;
	int64_t updates;  /* committed batches */
	int64_t base;     /* version of the policy the run began with */
	int64_t batches;  /* batches consumed; = updates unless batches were skipped */
	int64_t bad;      /* of the batches, those that were passed over (--skip-bad-batches) */
	int64_t episodes; /* rows that were trained on */
	int64_t version;  /* of the policy, as the run's last update left it */
	char slot[64];    /* that the run trains: "policy", or an adapter */
	char *states;     /* {"NAME": value}: what filters with memory held after the last batch; NULL: nothing */
	struct loop_cursor cursor;
};
void loop_run_release(struct loop_run *r);
/* Reads the state of a run; begun = false when there is none. */
int loop_run_load(struct loop_run *r, struct store_view *v, const char *run, struct err *e);
/* -1 when another run has changed the policy (now at `version`) since this one's last update: going on would not end
 * with the same bits. */
int loop_run_undisturbed(const struct loop_run *r, const char *run, int64_t version, struct err *e);
/* Puts it into an update. */
int loop_run_save(const struct loop_run *r, struct store_update *u, const char *run, struct err *e);

/*
 * Between two commits of the state (--checkpoint-every) a trainer puts what samplers need alone: versions up to
 * base + batches, which nobody holds but the trainer's lag, and this note of them.  A restart forgets them.
 */
int loop_publish(const struct loop_run *r, struct store_update *u, const char *run, struct err *e);
int loop_unpublish(struct store_update *u, const char *run, struct err *e);
/* 1 with the base and how many batches samplers have versions of; 0 nothing is published; -1. */
int loop_published(struct store_view *v, const char *run, int64_t *base, int64_t *batches, struct err *e);

/* What the filter NAME held (its field state_NAME), in rec: 1; 0 nothing; -1. */
int loop_run_state(const struct loop_run *r, const char *name, struct record *rec, struct json *out, struct err *e);
/* Puts the members of a JSON object in their place. */
int loop_run_set_states(struct loop_run *r, const char *object, size_t len, struct err *e);

/* What a name says to those who take part in a loop: 1 when it is what runs train ("", or an adapter), with its slot; 0
 * when it is a model that is taken as it is ("policy" too, when it is written out), with the name as slot; -1. */
int loop_slot(struct store_view *v, const char *name, char slot[64], struct err *e);
/* -1 when the run trains another slot. */
int loop_same_slot(const struct loop_run *r, const char *run, const char *slot, struct err *e);

/* The reference of a run on a slot: the slot `ref` when one was imported; else of an adapter its base; else the name
 * kept for the run; else the current policy, -1 when the run has begun.  run NULL: a run that begins, whatever had its
 * name. */
int loop_reference(struct store_view *v, const char *run, const char *slot, struct store_ref *out, struct err *e);
/* Holds the version a run began with by name; goes into the run's first update. */
int loop_hold_reference(struct store_update *u, const char *run, const struct store_ref *ref, struct err *e);

/* -1 when a batch with these options was sampled for another run than this. */
int loop_same_run(const char *options, const char *run, struct err *e);
/* -1 when a sampler with these options is further behind than the versions that are kept: it would find its own as long
 * as it is fast enough, and after a restart never again. */
int loop_keeps_lag(const char *options, int64_t max_lag, struct err *e);
/* -1 naming what differs, when the options a run was begun with are not these. */
int loop_same_options(const char *then, const char *now, struct err *e);

#endif
