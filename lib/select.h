/*
 * select - which key of a pool a query attends to.
 *
 * A text's embedding is the output of a layer's query projection (for a query) or key projection (for a key), before
 * norms of heads and positions, of its tokens run alone: their mean, or the last one's.  The probability of a key is
 * its attention: per head the softmax over the keys that are left of q.k / sqrt(D) / temperature, where head h reads
 * the key of group h / (H / G); then the mean over the heads that are named (Attention-Guided RL, whose key embeddings
 * came from the query projection as well).  All sums are in double, in the order of dimensions, heads and keys.
 */
#ifndef LIB_SELECT_H
#define LIB_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/decoder.h"
#include "lib/err.h"

/* A text of n >= 1 tokens that fit the model; token is borrowed. */
struct select_text {
	const int32_t *token;
	int64_t n;
};

enum select_side { SELECT_QUERY, SELECT_KEY };
enum select_position { SELECT_MEAN, SELECT_LAST };
#define SELECT_POSITIONS "mean|last"

/* Width of an embedding: H*D of a query, G*D of a key. */
int64_t select_width(const struct arch *a, enum select_side side);

/* out[n, width]; max_tokens: of a pass.  The same bits for any max_tokens. */
int select_embed(struct decoder *d, const struct weights *w, const struct select_text *text, int64_t n, int64_t layer,
                 enum select_side side, enum select_position position, int64_t max_tokens, float *out, struct err *e);

/* Heads from "all" or "0,3,5": use[H].  -1 when one is out of range, or named twice. */
int select_heads(const char *list, int64_t H, bool *use, struct err *e);

/*
 * p[n] of keys[n,GD] for query[HD]; used[i] ones get 0, as do, with top_k > 0, all but the top_k likeliest of the rest
 * (the first of equal ones), whose p is then divided by its sum.  temperature > 0.  How many have p; 0 when all are
 * used.  -1 when a score is not finite.  scratch [n].
 */
int64_t select_probabilities(const struct arch *a, const bool *heads, const float *query, const float *keys,
                             const bool *used, int64_t n, double temperature, int64_t top_k, double *p,
                             double *scratch);

/* By the inverse of the cumulative distribution in the order of keys; u in (0,1).  p as above, at least one > 0. */
int64_t select_draw(const double *p, int64_t n, double u);
/* The likeliest, the first of equal ones. */
int64_t select_best(const double *p, int64_t n);

#endif
