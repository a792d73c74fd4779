/*
 * importance - how much a token counts that another policy sampled than the one that is being updated.
 *
 * Rows may come from earlier versions of the policy (a lag), or from a sampler whose numbers are not the trainer's. The
 * decoupled objective (Hilton, Cobbe and Schulman 2022, Batch size-invariance for policy optimization; as AReaL has it)
 * takes ratios against a proximal policy, here the policy before the update, and weighs each token's loss by
 *
 *     w = exp(proximal - behaviour)
 *
 * of the log-probabilities of the proximal policy and of the one that sampled, without a gradient.  Kept in bounds:
 *
 *     truncate       min(max(w, least), most)                               (truncated importance sampling, TIS)
 *     mask           w, 0 outside of them                                   (IcePop)
 *     sequence-mask  w; 0 for a row whose exp(mean of proximal - behaviour) is outside of them
 *     none           1
 */
#ifndef LIB_IMPORTANCE_H
#define LIB_IMPORTANCE_H

#include <stdint.h>

#include "lib/cli.h"

enum { PROXIMAL_AUTO, PROXIMAL_ALWAYS, PROXIMAL_NEVER };
enum { IMPORTANCE_TRUNCATE, IMPORTANCE_MASK, IMPORTANCE_SEQUENCE_MASK, IMPORTANCE_NONE };

struct importance_config {
	int proximal, kind;
	double least, most;
};
/* --proximal, --importance, --importance-min, --importance-max */
extern const struct opt importance_options[];
/* Ends the process (misuse) when the bounds are none. */
void importance_check(const struct importance_config *c);

/* Over the tokens of a batch that were weighed; begin with zero. */
struct importance_stats {
	int64_t rows, tokens;
	double difference, largest; /* |proximal - behaviour|: sum, maximum */
	double sum, min, max;       /* of w before bounds */
	int64_t bounded;            /* tokens outside of them */
};

/* weight[n] of a row; mask NULL: all 1.  0 where the mask is 0. */
void importance_weights(const struct importance_config *c, int64_t n, const int32_t *mask, const float *proximal,
                        const float *behaviour, float *weight, struct importance_stats *stats);

#endif
