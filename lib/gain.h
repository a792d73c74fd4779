/*
 * gain - how much likelier a value is behind its context than behind another one, or than under another model.
 *
 *     gain_t = ln p(value_t | context, value before t) - ln p_base(value_t | base context, value before t)
 *
 * at temperature 1; its mean over the value's tokens, its sum, or each.  The reward of a query by what it makes
 * predictable (Attention-Guided RL), the base being a counterfactual context or a fixed model.
 */
#ifndef LIB_GAIN_H
#define LIB_GAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/record.h"
#include "lib/scorer.h"

enum gain_reduce { GAIN_MEAN, GAIN_SUM };
#define GAIN_REDUCES "mean|sum"

/* One of the two terms. */
struct gain_term {
	const struct scorer_model *model;
	int64_t version;      /* of the model's slot */
	const int32_t *token; /* [n_context + n], context then value */
	int64_t n_context;
	float *logprobs; /* out, [n] */
};
struct gain {
	struct gain_term of, base;
	int64_t n;     /* tokens of the value */
	bool has_base; /* else the gain is the first term */
	bool unscored; /* what a model wrote has no terms: it gets another reward */
};

/* Joins context and value in the arena.  -1: the context is empty, or the whole does not fit the model. */
int gain_term_set(struct gain_term *t, const struct scorer_model *m, const int32_t *context, int64_t n_context,
                  const int32_t *value, int64_t n, struct arena *a, struct err *e);

/* Computes the terms of n gains; neighbours with the same base share one pass. */
int gain_compute(struct scorer *s, struct gain *const *gain, int64_t n, struct err *e);

/*
 * Adds NAME and, named without its reward_ (or NAME_terms), {logp, base, tokens}.  per_token: NAME, logp and base are
 * arrays.  An unscored one gets `otherwise`, with per_token on the last token, and terms that are null.  -1: a term is
 * not finite.
 */
int gain_check_new(const struct record *r, const char *name, struct arena *a, struct err *e);
int gain_add(struct record *r, const char *name, enum gain_reduce reduce, bool per_token, double otherwise,
             const struct gain *x, struct arena *a, struct err *e);

#endif
