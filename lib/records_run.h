/*
 * records_run - a training run over records that are all read first: epochs, order, batches, commits, and going on.
 *
 * The trainers that need no rollouts (lib/sft.h, lib/dpo.h, lib/reward_model.h) say what a record is and what the loss
 * of a batch is; what is here is alike for them.  Batches run on across epochs.  A run that was killed goes on at its
 * last commit and ends with the same bits; the metrics of committed updates are given out again first.
 */
#ifndef LIB_RECORDS_RUN_H
#define LIB_RECORDS_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/loop.h"
#include "lib/model.h"
#include "lib/optim.h"
#include "lib/str.h"
#include "lib/tool.h"
#include "lib/trainer.h"

struct records_run_config {
	int64_t batch_size, epochs, steps, seed, checkpoint_every, skip_bad_batches;
	bool shuffle;
	const char *run;
};
/* --run, --batch-size, --epochs, --steps, --shuffle, --seed, --checkpoint-every, --skip-bad-batches */
extern const struct opt records_run_options[];
/* After cli_parse.  Misuse ends the process. */
void records_run_settle(const struct records_run_config *c);

struct records_run_method {
	const char *tool; /* in the log */
	const char *kind; /* the run's state lies under KIND/RUN: runs of other tools may have the same name */
	/* Keeps what a record says as the next row, in r->arena or memory of its own. */
	int (*take)(void *arg, struct record *record, struct err *e);
	/* Further " name=value" words for what decides the updates; NULL: none. */
	void (*describe)(void *arg, struct str *out);
	/* Before the first update of this process; NULL: nothing.  r->anew says whether the run begins with it. */
	int (*begin)(void *arg, struct err *e);
	/* Adds the gradient of the loss of n rows (their numbers, in order): 1; 0 when nothing in them is learned from;
	 * -1.  Sets r->learned, and lets records_run_finite look at what it computed. */
	int (*gradient)(void *arg, const int64_t *row, int64_t n, struct arena *a, struct err *e);
	/* The members of the metrics of the last batch that are the method's own, "loss" first: ,"loss":1. */
	void (*metrics)(void *arg, struct str *out);
	/* What else goes into an update; NULL: nothing. */
	int (*commit)(void *arg, struct store_update *u, struct err *e);
};

struct records_run_place {
	const char *source;
	int64_t line;
};

struct records_run {
	/* set by the caller before records_run_open; borrowed */
	const struct records_run_method *method;
	void *arg;
	struct records_run_config *config;
	struct optim_config *optim;
	const struct kernels *k;
	struct comm *comm; /* ranks that share the passes (lib/comm.h), NULL: none; only the first writes */
	struct store *store;
	const char *name;               /* of what is trained: "", or an adapter */
	const char *options, *operands; /* effective options and operands as JSON, for the log */
	/* A model with a scalar head instead: in the slot `name`, which begins as a copy of `from` when it is not
	 * there. */
	bool with_value;
	bool plan; /* print what memory is needed, and train nothing */
	const char *from;
	/* the rest is its own */
	struct trainer model;
	struct model_info info; /* with its tokenizer */
	char slot[64];
	char *key; /* of the run's state in the store */
	struct loop_run run;
	struct loop_cursor input; /* hash of all records */
	struct arena arena;       /* of the rows */
	int64_t n_rows;
	int64_t batches; /* in all */
	int64_t tokens;  /* gone through by this process, prompts too; counted by the method */
	double learned;  /* tokens that the loss of the last batch is of */
	int64_t *order, order_epoch;
	struct str pending; /* log entries since the last commit, a line each */
	int64_t version;    /* committed; -1: the slot is not there yet */
	bool anew;
	struct records_run_place *place; /* [n_rows] where the record of a row stands, for messages */
	int64_t place_cap;
	bool bad;          /* what failed was the batch (lib/bad_batch.h) */
	struct str passed; /* why the last batch was passed over; empty: it was not */
};

/* Model and tokenizer; then records_run_take for each record, then records_run_begin.  source: for messages, borrowed
 * as long as the run. */
int records_run_open(struct records_run *r, struct err *e);
void records_run_close(struct records_run *r);
int records_run_take(struct records_run *r, struct record *record, const char *source, int64_t line, struct err *e);
/* 1 there is something to do, 0 the run is complete, -1.  A complete run with another input or other options is begun
 * anew. */
int records_run_begin(struct records_run *r, struct err *e);
/* One batch: 1 with *metrics, 0 when all are done, -1.  A batch that nothing is learned from changes nothing. */
int records_run_step(struct records_run *r, struct str *metrics, struct err *e);
/* The metrics of committed updates of the run. */
int records_run_each_metrics(struct records_run *r, int (*fn)(void *arg, const char *line, size_t len), void *arg,
                             struct err *e);

/* The row at place i of the sequence of all epochs, and how many places there are. */
int64_t records_run_row(struct records_run *r, int64_t i);
int64_t records_run_places(const struct records_run *r);

/* For gradient, after its pass: -1 naming the record of the first of n passes whose numbers are not finite; `each` of
 * them, in order, are of one row.  value: lib/bad_batch.h. */
int records_run_finite(struct records_run *r, const struct trainer_row *pass, int64_t n, int each, const int64_t *row,
                       const char *value, struct err *e);

/* Opening, all records of the tool's input, all updates, with their metrics on the tool's output.  t: after tool_init
 * and tool_open. */
int records_run_all(struct records_run *r, struct tool *t, struct err *e);

/* ---- rows of ids, in r->arena ---- */
/* a, b, and where eos is set the model's end-of-sequence token. */
int32_t *records_run_join(struct records_run *r, const int32_t *a, int64_t n, const int32_t *b, int64_t m, bool eos);
/* A prompt of at least one token, the whole within the model's context and vocabulary. */
int records_run_check(const struct records_run *r, const char *field, const int32_t *token, int64_t n_prompt, int64_t n,
                      struct err *e);

#endif
