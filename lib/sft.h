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

#include "lib/records_run.h"

struct sft_config {
	bool append_eos;
};
/* --append-eos */
extern const struct opt sft_options[];

struct sft_row {
	int32_t *token; /* prompt, then completion */
	int32_t *mask;  /* [n], or NULL */
	int64_t n_prompt, n;
};

struct sft {
	struct sft_config config;
	struct records_run run; /* what its caller sets is set by sft_init's too, but method and arg */
	/* private */
	struct sft_row *row;
	int64_t n, cap;
	double sum; /* of the last batch: minus ln p */
};

/* Sets method and arg of s->run; then records_run_all. */
void sft_init(struct sft *s);
void sft_release(struct sft *s);

#endif
