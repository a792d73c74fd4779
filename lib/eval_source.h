/*
 * eval_source - what a system says in a record: its text, or what a baseline says in its place.
 *
 *     query   the question as it came
 *     copy    all of the context
 *     lead    the context's first sentence (lib/chunk.h)
 *     NAME=FILTER   anything else
 */
#ifndef LIB_EVAL_SOURCE_H
#define LIB_EVAL_SOURCE_H

#include <stdbool.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/filter.h"

/* The options that name the texts: a group over a struct eval_texts_config. */
struct eval_texts_config {
	const char *text, *query, *context; /* filters */
	struct cli_list baselines;          /* names as above; `all` for the first three */
};
extern const struct opt eval_texts_options[];

struct eval_source {
	char *name; /* NULL: the text itself */
	struct filter *filter;
	bool lead;
};

struct eval_sources {
	struct eval_source *source; /* the text itself, then the baselines */
	int64_t n;
};

int eval_sources_init(struct eval_sources *s, const struct eval_texts_config *c, struct err *e);
void eval_sources_release(struct eval_sources *s);
/* 1 with the text; 0 when it is absent or null, of a baseline: an error; -1. */
int eval_source_text(const struct eval_source *s, struct record *r, const char **text, size_t *len, struct arena *a,
                     struct err *e);

#endif
