/*
 * rollout_record - a completion as the fields of a record (rl-record(5)).
 */
#ifndef LIB_ROLLOUT_RECORD_H
#define LIB_ROLLOUT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/generate.h"
#include "lib/loop.h"
#include "lib/record.h"

/* What a record says besides its completion. */
struct rollout_place {
	const char *id; /* terminated */
	size_t id_len;
	const char *prompt; /* text, or NULL when the ids were given */
	size_t prompt_len;
	const int32_t *prompt_ids;
	int64_t n_prompt;
	int64_t epoch, sample, n_samples;
	double temperature;
	int64_t version;
	int64_t batch, row, batch_size;
	bool last;
	bool evaluation; /* of held-out prompts: batch is the one they come before, row and batch_size are their own */
	const struct loop_cursor *cursor; /* on the batch's last row; else NULL */
};

/* Adds everything to r, which holds the input line.  Fields that are there with the same meaning (id, prompt,
 * prompt_tokens) stay as they are; any other that is already there is an error. */
int rollout_record_completion(struct record *r, const struct rollout_place *p, const struct generate_result *g,
                              const struct tokenizer *t, struct arena *a, struct err *e);
/* What was sampled alone: prompt, prompt_tokens, the completion, policy_version. */
int rollout_record_sample(struct record *r, const struct rollout_place *p, const struct generate_result *g,
                          const struct tokenizer *t, struct arena *a, struct err *e);
/* For a prompt that failed (-k), or came with `skip` or `error`: its place in the batch only. */
int rollout_record_place(struct record *r, const struct rollout_place *p, struct err *e);

/* Does the record belong to an evaluation: is `eval` true? */
bool rollout_is_evaluation(const struct record *r);

/* The cursor out of a batch's last row: 1; 0 when there is none; -1.  c is filled and owned by the caller. */
int rollout_read_cursor(struct record *r, struct loop_cursor *c, struct err *e);

#endif
