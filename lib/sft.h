/*
 * sft - supervised fine-tuning: the log-likelihood of completions, given their prompts.
 *
 * The loss of a batch is minus the mean of ln p over all its completion tokens (mask 1).  A record has prompt_tokens
 * and tokens, or prompt and completion, or text; a completion given as text ends with the model's end-of-sequence
 * token.
 */
#ifndef LIB_SFT_H
#define LIB_SFT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/loop.h"
#include "lib/model.h"
#include "lib/optim.h"
#include "lib/str.h"
#include "lib/tool.h"
#include "lib/trainer.h"

struct sft_config {
	int64_t batch_size, epochs, steps, seed, checkpoint_every;
	bool shuffle, append_eos;
	const char *run;
};
extern const struct opt sft_options[];

struct sft_row {
	int32_t *token; /* prompt, then completion */
	int32_t *mask;  /* [n], or NULL */
	int64_t n_prompt, n;
};

struct sft {
	/* set by the caller before sft_open; borrowed */
	struct sft_config *config;
	struct optim_config *optim;
	const struct kernels *k;
	struct store *store;
	const char *name;    /* of what is trained: "", or an adapter */
	const char *options; /* effective options as JSON, for the log */
	/* the rest is sft's own */
	struct trainer model;
	struct model_info info; /* with its tokenizer */
	char slot[64];
	struct loop_run run;
	struct loop_cursor input; /* hash of all records */
	struct arena arena;
	struct sft_row *row;
	int64_t n_rows, cap;
	int64_t batches; /* in all */
	int64_t tokens;  /* gone through by this process, prompts too */
	int64_t *order, order_epoch;
	struct str pending; /* log entries since the last commit, a line each */
	int64_t version;    /* committed */
};

/* Model and tokenizer; then sft_take for each record, then sft_begin. */
int sft_open(struct sft *s, struct err *e);
void sft_close(struct sft *s);
int sft_take(struct sft *s, struct record *r, struct err *e);
/* 1 there is something to do, 0 the run is complete, -1.  A complete run with another input or other options is begun
 * anew. */
int sft_begin(struct sft *s, struct err *e);
/* One batch: 1 with *metrics, 0 when all are done, -1.  A batch without any completion token changes nothing. */
int sft_step(struct sft *s, struct str *metrics, struct err *e);
/* The metrics of committed updates of the run. */
int sft_each_metrics(struct sft *s, int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e);

#endif
