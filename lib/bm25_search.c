/*
 * bm25_search - the formulas, the best k documents, and scoring all that match; see bm25.h
 *
 * A score is summed in the order of the query's terms; bm25_window.c finds the same documents without looking at all.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

struct heap_item {
	double rank; /* score in units of 1e-10, rounded */
	double score;
	uint32_t doc;
};

struct bm25_searcher {
	const struct bm25_index *index;
	struct bm25_view *view;
	const uint32_t *lengths;
	int64_t n_docs;
	struct bm25_params params;
	struct bm25_analysis *analysis;
	struct bm25_weights weights;
	struct arena arena; /* of a query */
	struct bm25_dict words;
	int64_t *counts; /* by number in words */
	size_t count_cap;
	struct heap_item *heap; /* the worst on top */
	int64_t heap_n, heap_cap, heap_room;
	struct bm25_hit *hits;
};

/* ---- weights ---- */

double bm25_weight_formula(const struct bm25_weights *w, uint32_t frequency, uint32_t length)
{
	double tf = frequency, k1 = w->k1, norm = 1 - w->b + w->b * length / w->mean;
	switch (w->variant) {
	case BM25_ROBERTSON:
	case BM25_LUCENE:
		return tf / (tf + k1 * norm);
	case BM25_ATIRE:
		return tf * (k1 + 1) / (tf + k1 * norm);
	case BM25_PLUS:
		return tf * (k1 + 1) / (tf + k1 * norm) + 1;
	case BM25_L:
		/* b = 1 and a length of 0 cannot meet: the document has the term */
		return (k1 + 1) * (tf / norm + .5) / (k1 + tf / norm + .5);
	}
	return 0;
}

static void weights_init(struct bm25_weights *w, const struct bm25_params *p, double mean)
{
	w->variant = p->variant;
	w->k1 = p->k1;
	w->b = p->b;
	w->mean = mean;
	for (uint32_t tf = 1; tf <= BM25_TF_TABLE; tf++)
		for (uint32_t length = 1; length < BM25_LENGTH_TABLE; length++)
			w->table[tf - 1][length] = bm25_weight_formula(w, tf, length);
	for (uint32_t length = 1; length < BM25_LENGTH_TABLE; length++)
		w->table[BM25_TF_TABLE][length] = bm25_weight_formula(w, UINT32_MAX, length);
}

/* ---- the searcher ---- */

struct bm25_searcher *bm25_searcher_new(const struct bm25_index *x, const struct bm25_params *p, struct err *e)
{
	struct bm25_view *view = bm25_view_new(x, e);
	if (!view)
		return NULL;
	struct bm25_searcher *s = xcalloc(1, sizeof *s);
	s->view = view;
	const struct bm25_info *info = bm25_info(x);
	s->index = x;
	s->params = *p;
	s->lengths = bm25_lengths(x);
	s->n_docs = info->documents;
	s->analysis = bm25_analysis_new(info->analyzer);
	arena_init(&s->arena);
	weights_init(&s->weights, p, info->average_length > 0 ? info->average_length : 1);
	return s;
}

void bm25_searcher_free(struct bm25_searcher *s)
{
	if (!s)
		return;
	bm25_view_free(s->view);
	bm25_analysis_free(s->analysis);
	arena_release(&s->arena);
	free(s->counts);
	free(s->heap);
	free(s->hits);
	free(s);
}

const struct bm25_weights *bm25_searcher_weights(const struct bm25_searcher *s)
{
	return &s->weights;
}

const uint32_t *bm25_searcher_lengths(const struct bm25_searcher *s)
{
	return s->lengths;
}

uint32_t bm25_searcher_documents(const struct bm25_searcher *s)
{
	return (uint32_t)s->n_docs;
}

struct bm25_view *bm25_searcher_view(const struct bm25_searcher *s)
{
	return s->view;
}

struct bm25_analysis *bm25_searcher_analysis(const struct bm25_searcher *s)
{
	return s->analysis;
}

int bm25_doc_id(const struct bm25_searcher *s, uint32_t doc, const char **id, size_t *len, struct err *e)
{
	return bm25_view_id(s->view, doc, id, len, e);
}

int bm25_doc_text(const struct bm25_searcher *s, uint32_t doc, const char **text, size_t *len, struct err *e)
{
	return bm25_view_text(s->view, doc, text, len, e);
}

double bm25_idf(const struct bm25_searcher *s, double n)
{
	double N = (double)s->n_docs;
	switch (s->params.variant) {
	case BM25_ROBERTSON:
		return fmax(0, log((N - n + .5) / (n + .5)));
	case BM25_ATIRE:
		return log(N / n);
	case BM25_LUCENE:
		return log(1 + (N - n + .5) / (n + .5));
	case BM25_L:
		return log((N + 1) / (n + .5));
	case BM25_PLUS:
		return log((N + 1) / n);
	}
	return 0;
}

/* ---- cursors ---- */

static int load_block(struct bm25_searcher *s, struct bm25_cursor *c, uint32_t block, struct err *e)
{
	c->block = block;
	c->at = 0;
	if (block == c->list.n_blocks) {
		c->doc = BM25_NO_DOC;
		return 0;
	}
	if (bm25_postings_block(&c->list, block, s->n_docs, c->docs, c->tfs, &c->n, e))
		return -1;
	c->doc = c->docs[0];
	return 0;
}

static int step(struct bm25_searcher *s, struct bm25_cursor *c, struct err *e)
{
	if (++c->at == c->n)
		return load_block(s, c, c->block + 1, e);
	c->doc = c->docs[c->at];
	return 0;
}

/* The block that holds the first document not before `doc`, by doubling steps from the current one. */
static uint32_t find_block(const struct bm25_cursor *c, uint32_t doc)
{
	uint32_t lo = c->block, hi = lo, n = c->list.n_blocks;
	for (uint32_t width = 1; hi < n && bm25_postings_entry(&c->list, hi).last_doc < doc; width *= 2) {
		lo = hi + 1;
		hi = width < n - hi ? hi + width : n;
	}
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (bm25_postings_entry(&c->list, mid).last_doc < doc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* To the first document not before `doc`. */
int bm25_seek(struct bm25_searcher *s, struct bm25_cursor *c, uint32_t doc, struct err *e)
{
	if (c->doc >= doc)
		return 0;
	if (c->docs[c->n - 1] < doc) {
		if (load_block(s, c, find_block(c, doc), e))
			return -1;
		if (c->doc >= doc)
			return 0;
	}
	uint32_t lo = c->at, hi = c->n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (c->docs[mid] < doc)
			lo = mid + 1;
		else
			hi = mid;
	}
	c->at = lo;
	c->doc = c->docs[lo];
	return 0;
}

double bm25_part(const struct bm25_searcher *s, const struct bm25_cursor *c)
{
	return c->idf * bm25_weight(&s->weights, c->tfs[c->at], s->lengths[c->doc]);
}

int bm25_open_cursor(struct bm25_searcher *s, struct bm25_cursor *c, const struct bm25_postings *list, double idf,
                     struct err *e)
{
	c->list = *list;
	c->idf = idf;
	return load_block(s, c, 0, e);
}

double bm25_bound(const struct bm25_searcher *s, const struct bm25_cursor *c)
{
	double most = 0;
	for (uint32_t b = 0; b < c->list.n_blocks; b++) {
		struct bm25_block entry = bm25_postings_entry(&c->list, b);
		most = fmax(most, bm25_weight_row(&s->weights, entry.max_tf)[bm25_weight_column(entry.min_len)]);
	}
	return most * c->idf;
}

/* ---- the query ---- */

static void count_term(void *arg, const char *term, size_t len, uint32_t position)
{
	(void)position;
	struct bm25_searcher *s = arg;
	bool is_new;
	uint32_t w = bm25_dict_add(&s->words, term, len, &is_new);
	if (s->count_cap < s->words.cap) {
		s->count_cap = s->words.cap;
		s->counts = xrealloc_array(s->counts, s->count_cap, sizeof *s->counts);
	}
	s->counts[w] = is_new ? 1 : s->counts[w] + 1;
}

/* The terms of the query that are in the index and weigh anything. */
static int find_terms(struct bm25_searcher *s, const char *query, size_t len, struct bm25_term_list **terms, size_t *n,
                      struct err *e)
{
	int rc = 0;
	*n = 0;
	bm25_dict_init(&s->words);
	bm25_analyze(s->analysis, query, len, count_term, s);
	*terms = arena_array(&s->arena, s->words.n, sizeof **terms);
	for (size_t w = 0; w < s->words.n && rc >= 0; w++) {
		struct bm25_term_list *t = &(*terms)[*n];
		rc = bm25_view_lookup(s->view, s->words.words[w].text, s->words.words[w].len, &t->list, e);
		if (rc <= 0)
			continue;
		t->idf = (double)s->counts[w] * bm25_idf(s, t->list.df);
		*n += t->idf > 0;
	}
	bm25_dict_release(&s->words);
	return rc < 0 ? -1 : 0;
}

/* ---- the best k ---- */

static bool worse(const struct heap_item *a, const struct heap_item *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->doc > b->doc;
}

static void sift_down(struct heap_item *h, int64_t n, int64_t i)
{
	struct heap_item x = h[i];
	for (int64_t c; (c = 2 * i + 1) < n; i = c) {
		if (c + 1 < n && worse(&h[c + 1], &h[c]))
			c++;
		if (!worse(&h[c], &x))
			break;
		h[i] = h[c];
	}
	h[i] = x;
}

bool bm25_best_takes(const struct bm25_searcher *s, uint32_t doc, double score)
{
	struct heap_item x = {rint(score * 1e10), score, doc};
	return score > 0 && (s->heap_n < s->heap_cap || worse(&s->heap[0], &x));
}

void bm25_best_add(struct bm25_searcher *s, uint32_t doc, double score)
{
	struct heap_item x = {rint(score * 1e10), score, doc}, *h = s->heap;
	if (s->heap_n == s->heap_cap) {
		h[0] = x;
		sift_down(h, s->heap_n, 0);
		return;
	}
	int64_t i = s->heap_n++;
	for (; i && worse(&x, &h[(i - 1) / 2]); i = (i - 1) / 2)
		h[i] = h[(i - 1) / 2];
	h[i] = x;
}

double bm25_best_limit(const struct bm25_searcher *s)
{
	return s->heap_n < s->heap_cap || s->params.exhaustive ? 0 : s->heap[0].rank * 1e-10;
}

/* Scores every document that has a term: what pruning is compared with, and as plain as can be. */
static int scan_all(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, struct err *e)
{
	struct bm25_cursor *c = arena_array(&s->arena, n, sizeof *c);
	for (size_t i = 0; i < n; i++)
		if (bm25_open_cursor(s, &c[i], &terms[i].list, terms[i].idf, e))
			return -1;
	for (;;) {
		uint32_t doc = BM25_NO_DOC;
		double score = 0;
		for (size_t i = 0; i < n; i++)
			doc = c[i].doc < doc ? c[i].doc : doc;
		if (doc == BM25_NO_DOC)
			return 0;
		for (size_t i = 0; i < n; i++) {
			if (c[i].doc != doc)
				continue;
			score += bm25_part(s, &c[i]);
			if (step(s, &c[i], e))
				return -1;
		}
		if (bm25_best_takes(s, doc, score))
			bm25_best_add(s, doc, score);
	}
}

bool bm25_best_begin(struct bm25_searcher *s, int64_t k)
{
	if (k > s->n_docs)
		k = s->n_docs;
	if (k > s->heap_room) {
		s->heap_room = k;
		s->heap = xrealloc_array(s->heap, (size_t)k, sizeof *s->heap);
		s->hits = xrealloc_array(s->hits, (size_t)k, sizeof *s->hits);
	}
	s->heap_cap = k;
	s->heap_n = 0;
	return k > 0;
}

int64_t bm25_best_end(struct bm25_searcher *s, const struct bm25_hit **hits)
{
	int64_t n = s->heap_n;
	*hits = s->hits;
	while (s->heap_n) {
		struct heap_item *h = s->heap;
		s->hits[s->heap_n - 1] = (struct bm25_hit){h[0].doc, h[0].score};
		h[0] = h[--s->heap_n];
		if (s->heap_n)
			sift_down(h, s->heap_n, 0);
	}
	return n;
}

int bm25_search_terms(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, int64_t k,
                      const struct bm25_hit **hits, int64_t *n_hits, struct err *e)
{
	int rc = 0;
	*n_hits = 0;
	*hits = s->hits;
	if (bm25_best_begin(s, k)) {
		rc = s->params.exhaustive ? scan_all(s, terms, n, e) : bm25_scan_windows(s, terms, n, &s->arena, e);
		if (!rc)
			*n_hits = bm25_best_end(s, hits);
	}
	arena_reset(&s->arena);
	return rc;
}

int bm25_search(struct bm25_searcher *s, const char *query, size_t len, int64_t k, const struct bm25_hit **hits,
                int64_t *n, struct err *e)
{
	struct bm25_term_list *terms;
	size_t n_terms;
	*n = 0;
	*hits = s->hits;
	return find_terms(s, query, len, &terms, &n_terms, e) ? -1
	                                                      : bm25_search_terms(s, terms, n_terms, k, hits, n, e);
}
