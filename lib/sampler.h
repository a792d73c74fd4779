/*
 * sampler - one token from one row of logits.
 *
 * Order of the warpers: temperature, top-k, top-p, min-p, each on what the one before left, renormalised.  top-p keeps
 * the smallest set whose probability reaches p (ties in the order of ids); min-p keeps p_v >= min_p * max p.  The draw
 * is by the inverse of the cumulative distribution in the order of ids, summed in double.
 */
#ifndef LIB_SAMPLER_H
#define LIB_SAMPLER_H

#include <stdint.h>

struct sampler_config {
	double temperature; /* 0: greedy */
	int64_t top_k;
	double top_p, min_p;
};

struct sampler; /* scratch for V entries; one per thread */
struct sampler *sampler_new(int64_t V);
void sampler_free(struct sampler *s);

/* Greedy takes the lowest id of the largest logit.  u in (0,1).  sampling_logprob may be NULL.  -1: the row holds NaN
 * or +Inf, or is all -Inf. */
int32_t sampler_choose(struct sampler *s, const struct sampler_config *c, const float *logits, double u,
                       float *sampling_logprob);
/* The distribution after the warpers, p[V] in double (tests; rl-logprob). */
int sampler_probabilities(struct sampler *s, const struct sampler_config *c, const float *logits, double *p);

#endif
