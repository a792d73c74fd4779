/*
 * rollout_reader - the trainer's side of the stream: records to whole batches, in order.
 *
 * Batches are in the stream (batch, row, batch_size, last); rows of one batch may arrive in any order, and a missing or
 * double row is an error.  Batches that were trained already are passed over.  Rows of an evaluation before a batch are
 * no rows of it: with the batch come their scores.  For streams without these fields a batch
 * is batch_size records, and the end of the input is the end.  While it waits it says, after ten seconds in which the
 * sampler has finished its batch, which rows are missing.  With keep_bad a line that is no record takes the place of a
 * row that is missing, if it did not say where the sampler stands.
 */
#ifndef LIB_ROLLOUT_READER_H
#define LIB_ROLLOUT_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/filter.h"
#include "lib/loop.h"
#include "lib/reward.h"
#include "lib/rollout_scores.h"
#include "lib/tool.h"

/* One completion.  Everything lives until the next batch is read. */
struct rollout_row {
	const char *id;
	/* which rows are compared with each other (lib/advantage_record.h); also of rows that are left out */
	const char *group;
	int64_t sample;
	bool greedy;
	int32_t *token; /* prompt, then completion */
	int64_t n_prompt, n;
	int32_t *mask;                                                 /* [n], or NULL: all 1 */
	float *logprobs;                                               /* [n] as sampled */
	float *ref_logprobs, *values, *rewards, *advantages, *returns; /* [n], or NULL: not there */
	bool has_bootstrap;
	double bootstrap_value;
	bool has_bootstrap_return; /* of the cell behind the last token (compat trl) */
	double bootstrap_return;
	bool has_kl_coef; /* --rollouts says which coefficient of --adaptive-kl is in the rewards */
	double kl_coef;
	double temperature; /* > 0 */
	bool cut;           /* finish is "length" */
	bool eos;           /* finish is "eos" */
	int64_t version;    /* of the policy that sampled it; -1: not said */
	bool has_reward;
	double *reward;                /* [n], the total before the KL penalty, on the tokens it belongs to */
	double score;                  /* its sum */
	struct reward_component *part; /* [n_parts] every reward_* that is not null, whatever the total is made of */
	int64_t n_parts;
	const char *skip; /* why the row is left out ("skip", "error", "no reward"), or NULL */
	const char *line; /* with keep_lines: the record as it came, without newline; else NULL */
	size_t line_len;
};

struct rollout_rows {
	struct rollout_row *row;
	int64_t n;
	int64_t batch;
	bool last, placed;         /* placed: the stream says which batch a record belongs to */
	int64_t skipped;           /* rows with skip, and error records that belong to no row */
	struct loop_cursor cursor; /* of the batch's last row, or empty; owned by the reader */
	const char *states;        /* {"NAME": value} of fields state_NAME (lib/rollout_states.h); NULL: none */
	/* with keep_bad: why a record cannot be used, of the first such ("row 3: ..."), and the same with its place in
	 * the input; NULL: all can.  Then rows are not to be looked at, but for their lines (NULL: it was no record).
	 */
	const char *bad, *bad_at;
	int64_t strays_n;   /* error records that belong to no row; counted in skipped */
	const char *strays; /* with keep_lines: what belongs to no row (evaluations, errors), a line each; else "" */
	/* the evaluation before this batch, of the reader; NULL: there is none */
	const struct rollout_scores *eval;
};

struct rollout_reader_config {
	int64_t batch_size;     /* for streams without batch fields */
	const char *reward;     /* --reward, or NULL */
	int64_t V, max_context; /* bounds of ids and of prompt + completion */
	int64_t first;          /* batches that were trained already */
	const char *run;        /* that the rollouts must be of, if they say; NULL: any */
	int64_t max_lag;        /* of a sampler that is in the loop */
	bool keep_lines;        /* rows have their records' text */
	bool keep_bad;          /* a record that cannot be used makes its batch a bad one; else it is an error */
};

struct rollout_reader;
/* t is open; locks may be NULL. */
struct rollout_reader *rollout_reader_new(struct tool *t, const struct rollout_reader_config *c,
                                          struct loop_locks *locks, struct err *e);
void rollout_reader_free(struct rollout_reader *r);
/* 1: a whole batch, borrowed until the next call; 0: the last batch was given out (or the input of a stream without
 * batch fields is at its end); -1, also when the input ends before the batch marked `last`. */
int rollout_reader_next(struct rollout_reader *r, struct rollout_rows *out, struct err *e)
        __attribute__((warn_unused_result));
/* Reads on to the end of the input, for a run that is complete. */
int rollout_reader_drain(struct rollout_reader *r, struct err *e);
/* What the total reward is made of, for the start line: ".reward", "reward_bm25 + reward_length", or the program. */
const char *rollout_reader_reward(const struct rollout_reader *r);

#endif
