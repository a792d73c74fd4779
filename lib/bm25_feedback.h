/*
 * bm25_feedback - RM3: a query grows by words of the documents that it finds first (pseudo-relevance feedback).
 *
 * Of the first `docs` documents d with their BM25 scores, and |d| tokens in each,
 *
 *     p(w) ~ sum over d of score(d) tf(w, d) / |d|       for the `terms` best words, then scaled to the sum 1
 *     weight(w) = original tf(w, q) / |q| + (1 - original) p(w)
 *
 * and the search is made again with each word's idf times its weight (Lavrenko and Croft 2001: the relevance model;
 * Abdul-Jaleel et al. 2004: mixing it with the query).  As in Anserini, the score takes the place of p(q | d), and
 * words in more than a tenth of all documents are not taken.  Equal words go by their bytes.
 */
#ifndef LIB_BM25_FEEDBACK_H
#define LIB_BM25_FEEDBACK_H

#include "lib/bm25.h"

struct bm25_feedback_params {
	int64_t docs, terms; /* at least 1 */
	double original;     /* 0 to 1 */
};

struct bm25_feedback;
/* Borrows the index, which keeps texts.  One for each thread. */
struct bm25_feedback *bm25_feedback_new(const struct bm25_index *x, const struct bm25_feedback_params *p);
void bm25_feedback_free(struct bm25_feedback *f);

/* As bm25_search; what the searcher knows of earlier searches is forgotten. */
int bm25_feedback_search(struct bm25_feedback *f, struct bm25_searcher *s, const char *query, size_t len, int64_t k,
                         const struct bm25_hit **hits, int64_t *n, struct err *e);

/* The query that the last search made: the i-th word and its weight; false behind the last. */
bool bm25_feedback_word(const struct bm25_feedback *f, size_t i, const char **word, size_t *len, double *weight);

#endif
