/*
 * eval_measure - measures of a record that are computed here: is the text the target?
 *
 *     accuracy    the text is the target, or one of several, but for white space at its ends
 *     babilong    the answer by BABILong's rule (Kuratov and others 2024, metrics.py): of the labels of the record's
 * .task (without one: qa1), those that are anywhere in the lower-cased text up to its first full stop, <context> or
 * <example>, and not in the question (.question, else .query), are the target and no other; where a target of more than
 * three bytes has commas, its parts and no other
 */
#ifndef LIB_EVAL_MEASURE_H
#define LIB_EVAL_MEASURE_H

#include <stdbool.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/eval_source.h"
#include "lib/filter.h"
#include "lib/record.h"

struct eval_texts {
	const struct eval_source *text;
	struct filter *target;
};

/* *x is 1 or 0 but for perplexity, which alone sets *w.  Returns 1; 0 when the record has no text or no target, or no
 * log-probabilities; -1 when one is something else than a string, or an array of numbers, or the task is unknown. */
typedef int (*eval_measure)(const struct eval_texts *texts, struct record *r, double *x, double *w, struct arena *a,
                            struct err *e);

/* NULL: *e names those that there are. */
eval_measure eval_measure_find(const char *name, struct err *e);
/* Whether its values are sums over *w tokens, and it is e to the power of their mean. */
bool eval_measure_is_exp(eval_measure m);

#endif
