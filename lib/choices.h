/*
 * choices - log-probabilities of several continuations of one prompt, which is run once.
 *
 * The prompt's keys and values lie in a cache, and every choice reads them there; a choice's last token is not run at
 * all, and the first tokens of all choices are read off one row of logits.  The numbers are those of a pass over prompt
 * and choice alone, to the last bit, whatever is computed together.
 */
#ifndef LIB_CHOICES_H
#define LIB_CHOICES_H

#include <stdint.h>

#include "lib/decoder.h"
#include "lib/err.h"

struct choice {
	const int32_t *token; /* [n], n >= 1 */
	int64_t n;
	float *logprobs; /* out, [n]: ln p(token t | prompt, tokens before t) at the row's temperature */
};

/* A prompt of at least one token; ids and length of prompt and each choice fit the model (checked by the caller). */
struct choices_row {
	const int32_t *prompt;
	int64_t n_prompt;
	double temperature; /* > 0 */
	const struct choice *choice;
	int64_t n;
};

/* Tokens that a row takes of a pass, and rows of the cache. */
int64_t choices_tokens(const struct choices_row *row);

/* max_tokens: of a forward pass; a longer row takes several. */
int choices_score(struct decoder *d, const struct weights *w, const struct choices_row *row, int64_t n_rows,
                  int64_t max_tokens, struct err *e);

#endif
