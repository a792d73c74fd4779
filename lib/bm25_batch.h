/*
 * bm25_batch - searches for several queries at the same time, and how a query is searched for.
 *
 * A request is one query, or several whose results are fused: each is searched for; a document has a vote from each
 * that found it; more votes are better, then the place in the results of the first query that found it, then of the
 * second.  A hit's score is then its votes.  The result of a request depends on nothing but itself: not on the number
 * of threads, nor on what else is in the batch.
 */
#ifndef LIB_BM25_BATCH_H
#define LIB_BM25_BATCH_H

#include "lib/bm25.h"
#include "lib/cli.h"

struct bm25_batch_config {
	int variant;
	double k1, b;
	bool boolean, exhaustive;
	bool feedback; /* lib/bm25_feedback.h; needs the texts, and not boolean */
	int64_t feedback_docs, feedback_terms;
	double original_weight;
	int64_t threads; /* 0: as many as there are processors */
};
/* The options of searching: a group of a tool's table, over the struct above. */
extern const struct opt bm25_batch_options[];

enum { BM25_BATCH_QUERIES = 256 };

struct bm25_answer {
	const char *text; /* of answers_tokens */
	size_t len;
};

struct bm25_request {
	/* what is asked */
	const char **query; /* [n_queries], borrowed; at most BM25_BATCH_QUERIES */
	size_t *len;
	int64_t n_queries;
	int64_t depth; /* how many documents are wanted */
	/* answers that are looked for in the texts of the first `answers_depth` hits; until one is found, with
	 * first_only */
	const struct bm25_answer *answers; /* [n_answers], borrowed */
	int64_t n_answers, answers_depth;
	bool first_only;
	/* what is found */
	int found; /* 1; 0 with e: none of the queries is one (boolean); -1 with e: the index is damaged */
	struct err e;
	struct bm25_hit *hits; /* [n], best first, owned by the request */
	bool *holds;           /* [n], one of the answers; false where none was looked for */
	int64_t n, room;
};
void bm25_request_release(struct bm25_request *r);

struct bm25_batch;
/* Borrows the index.  NULL with *e: the index has not what the options need. */
struct bm25_batch *bm25_batch_new(const struct bm25_index *x, const struct bm25_batch_config *c, struct err *e);
void bm25_batch_free(struct bm25_batch *b);
/* Threads that work. */
int bm25_batch_threads(const struct bm25_batch *b);
/* Answers n requests.  From one thread only. */
void bm25_batch_run(struct bm25_batch *b, struct bm25_request *const *r, int64_t n);
/* A searcher for ids and texts, when nothing runs. */
const struct bm25_searcher *bm25_batch_searcher(const struct bm25_batch *b);

#endif
