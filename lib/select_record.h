/*
 * select_record - what a record asks of a pool, and what it is given.
 */
#ifndef LIB_SELECT_RECORD_H
#define LIB_SELECT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/cli.h"
#include "lib/filter.h"
#include "lib/model.h"
#include "lib/record.h"
#include "lib/select.h"
#include "lib/select_pool.h"

struct select_config {
	const char *query, *key, *heads, *per, *exclude, *as, *run;
	bool without_replacement, probabilities, items;
	int64_t layer, top_k, n, seed;
	int position;       /* enum select_position */
	double temperature; /* 0: the likeliest, by the probabilities at 1 */
};
extern const struct opt select_options[];

/* The pool and all that is kept between records. */
struct selection {
	const struct select_config *c;
	const struct model_info *m; /* borrowed */
	int64_t layer;              /* from 0 */
	struct select_pool pool;
	float *keys; /* [pool.n, GD], filled by the caller */
	/* private */
	struct filter *query, *key, *per, *exclude;
	struct select_used *used;
	bool *heads, *mask;  /* [H] [pool.n] */
	double *p, *scratch; /* [pool.n] */
};
/* Compiles the filters.  -1 with *e; selection_release is right in either case. */
int selection_init(struct selection *s, const struct select_config *c, struct err *e);
/* Reads the pool; m has the tokenizer.  Layer and heads are looked at. */
int selection_open(struct selection *s, const struct model_info *m, const char *pool, struct err *e);
void selection_release(struct selection *s);

/* A record that waits for its choice; memory of the arena. */
struct select_request {
	struct select_text query; /* n 0: there is none */
	float *embedding;         /* [HD]; zeros without a query, to which all keys are alike */
	uint64_t key, id;         /* the place of its draws */
	uint32_t sample, n_excluded;
	bool *excluded; /* [pool.n] or NULL */
	bool *taken;    /* [pool.n], by the choices before; NULL: with replacement */
	/* the choice: keys and the probability that each was drawn with [n]; of the first draw [pool.n], where wanted
	 */
	int64_t *pick;
	double *pick_p, *first;
	const char *why; /* there is none */
};
/*
 * 0; 1: a record with a completion has no query that could be run, and *e says why; -1.  line: of the record, its id
 * when it has none.
 */
int selection_read(struct selection *s, struct record *r, int64_t line, struct select_request *x, struct arena *a,
                   struct err *e);
/* Chooses by the embeddings, in s->keys and of the record; what it takes is taken from those after it.  Draw i of a
 * record is at place (id, sample, n_excluded + i), so that one that names what it had before draws anew. */
void selection_choose(struct selection *s, struct select_request *x, struct arena *a);
/* Adds NAME, ids; NAME_p, probabilities; with --probabilities NAME_probabilities, {id: p} of the first draw; with
 * --items NAME_items, the records.  -1: too few keys were left. */
int selection_add(const struct selection *s, struct record *r, const struct select_request *x, struct arena *a,
                  struct err *e);

#endif
