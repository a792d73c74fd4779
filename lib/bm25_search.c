/*
 * bm25_search - the best k documents; see bm25.h
 *
 * MaxScore (Turtle and Flood 1995), document at a time: terms whose bounds together cannot lift a document over the
 * worst of the best k are only looked up for documents that the other terms bring.  Bounds are of blocks (the largest
 * tf with the shortest document), so they hold for any k1 and b.  A score is summed in the order of the query's terms,
 * whichever of them found the document, and a bound is only trusted when it is below by more than rounding: the result
 * is bit for bit that of scoring everything.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { NORM_TABLE = 4096 };

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
	double norms[NORM_TABLE]; /* by length of a document */
	struct bm25_dict words;
	int64_t *counts; /* by number in words */
	size_t count_cap;
	struct bm25_cursor *cursors, **sorted; /* sorted by rising bound */
	double *parts;                         /* by place in the query: the current document's */
	double *prefix;                        /* prefix[i]: sum of the bounds of sorted[0..i-1] */
	size_t n, cap;
	struct heap_item *heap; /* the worst on top */
	int64_t heap_n, heap_cap, heap_room;
	struct bm25_hit *hits;
};

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
	double mean = info->average_length > 0 ? info->average_length : 1;
	for (int i = 0; i < NORM_TABLE; i++)
		s->norms[i] = 1 - p->b + p->b * i / mean;
	return s;
}

void bm25_searcher_free(struct bm25_searcher *s)
{
	if (!s)
		return;
	bm25_view_free(s->view);
	bm25_analysis_free(s->analysis);
	free(s->counts);
	free(s->cursors);
	free(s->sorted);
	free(s->parts);
	free(s->prefix);
	free(s->heap);
	free(s->hits);
	free(s);
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

/* ---- the formulas ---- */

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

/* Rises with tf and falls with length, in every form. */
static double weight(const struct bm25_searcher *s, double tf, uint32_t length)
{
	double mean = bm25_info(s->index)->average_length, k1 = s->params.k1;
	double norm = length < NORM_TABLE ? s->norms[length] : 1 - s->params.b + s->params.b * length / mean;
	switch (s->params.variant) {
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
	return c->idf * weight(s, c->tfs[c->at], s->lengths[c->doc]);
}

int bm25_open_cursor(struct bm25_searcher *s, struct bm25_cursor *c, const struct bm25_postings *list, int64_t count,
                     struct err *e)
{
	c->list = *list;
	c->idf = (double)count * bm25_idf(s, list->df);
	return load_block(s, c, 0, e);
}

double bm25_bound(const struct bm25_searcher *s, const struct bm25_cursor *c)
{
	double most = 0;
	for (uint32_t b = 0; b < c->list.n_blocks; b++) {
		struct bm25_block entry = bm25_postings_entry(&c->list, b);
		most = fmax(most, weight(s, entry.max_tf, entry.min_len));
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

static void reserve(struct bm25_searcher *s, size_t n)
{
	if (s->prefix && n <= s->cap)
		return;
	s->cap = n + n / 2 + 1;
	s->cursors = xrealloc_array(s->cursors, s->cap, sizeof *s->cursors);
	s->sorted = xrealloc_array(s->sorted, s->cap, sizeof *s->sorted);
	s->parts = xrealloc_array(s->parts, s->cap, sizeof *s->parts);
	s->prefix = xrealloc_array(s->prefix, s->cap + 1, sizeof *s->prefix);
}

static int by_bound(const void *pa, const void *pb)
{
	const struct bm25_cursor *a = *(const struct bm25_cursor *const *)pa,
	                         *b = *(const struct bm25_cursor *const *)pb;
	if (a->bound != b->bound)
		return a->bound < b->bound ? -1 : 1;
	return (a->order > b->order) - (a->order < b->order);
}

static void sort_cursors(struct bm25_searcher *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->sorted[i] = &s->cursors[i];
	qsort(s->sorted, s->n, sizeof *s->sorted, by_bound);
	s->prefix[0] = 0;
	for (size_t i = 0; i < s->n; i++)
		s->prefix[i + 1] = s->prefix[i] + s->sorted[i]->bound;
}

/* Cursors for the terms of the query that are in the index and weigh anything. */
static int open_query(struct bm25_searcher *s, const char *query, size_t len, struct err *e)
{
	struct bm25_postings list;
	int rc = -1;
	s->n = 0;
	bm25_dict_init(&s->words);
	bm25_analyze(s->analysis, query, len, count_term, s);
	reserve(s, s->words.n);
	for (size_t w = 0; w < s->words.n; w++) {
		int found = bm25_view_lookup(s->view, s->words.words[w].text, s->words.words[w].len, &list, e);
		if (found < 0)
			goto out;
		if (!found || !(bm25_idf(s, list.df) > 0))
			continue;
		struct bm25_cursor *c = &s->cursors[s->n];
		if (bm25_open_cursor(s, c, &list, s->counts[w], e))
			goto out;
		c->order = (uint32_t)s->n++;
		c->bound = bm25_bound(s, c);
	}
	sort_cursors(s);
	rc = 0;
out:
	bm25_dict_release(&s->words);
	return rc;
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

/* Looks the document up in the terms before `essential`, the heaviest first, as long as it can still enter. */
static int complete(struct bm25_searcher *s, uint32_t doc, size_t essential, double sum, double limit, bool *pruned,
                    struct err *e)
{
	*pruned = false;
	for (size_t i = essential; i-- > 0;) {
		struct bm25_cursor *c = s->sorted[i];
		if ((sum + s->prefix[i + 1]) * BM25_SLACK <= limit) {
			*pruned = true;
			return 0;
		}
		if (bm25_seek(s, c, doc, e))
			return -1;
		if (c->doc != doc)
			continue;
		s->parts[c->order] = bm25_part(s, c);
		sum += s->parts[c->order];
	}
	return 0;
}

static int scan(struct bm25_searcher *s, struct err *e)
{
	size_t essential = 0;
	for (;;) {
		double limit = bm25_best_limit(s), sum = 0;
		while (essential < s->n && s->prefix[essential + 1] * BM25_SLACK <= limit)
			essential++;
		uint32_t doc = BM25_NO_DOC;
		for (size_t i = essential; i < s->n; i++)
			doc = s->sorted[i]->doc < doc ? s->sorted[i]->doc : doc;
		if (doc == BM25_NO_DOC)
			return 0;
		memset(s->parts, 0, s->n * sizeof *s->parts);
		for (size_t i = essential; i < s->n; i++) {
			struct bm25_cursor *c = s->sorted[i];
			if (c->doc != doc)
				continue;
			s->parts[c->order] = bm25_part(s, c);
			sum += s->parts[c->order];
			if (step(s, c, e))
				return -1;
		}
		bool pruned;
		if (complete(s, doc, essential, sum, limit, &pruned, e))
			return -1;
		if (pruned)
			continue;
		double score = 0;
		for (size_t i = 0; i < s->n; i++)
			score += s->parts[i];
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

int bm25_search(struct bm25_searcher *s, const char *query, size_t len, int64_t k, const struct bm25_hit **hits,
                int64_t *n, struct err *e)
{
	*n = 0;
	*hits = s->hits;
	if (!bm25_best_begin(s, k))
		return 0;
	if (open_query(s, query, len, e) || scan(s, e))
		return -1;
	*n = bm25_best_end(s, hits);
	return 0;
}

int bm25_search_terms(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, int64_t k,
                      const struct bm25_hit **hits, int64_t *n_hits, struct err *e)
{
	*n_hits = 0;
	*hits = s->hits;
	if (!bm25_best_begin(s, k))
		return 0;
	reserve(s, n);
	for (s->n = 0; s->n < n; s->n++) {
		struct bm25_cursor *c = &s->cursors[s->n];
		c->list = terms[s->n].list;
		c->idf = terms[s->n].idf;
		if (load_block(s, c, 0, e))
			return -1;
		c->order = (uint32_t)s->n;
		c->bound = bm25_bound(s, c);
	}
	sort_cursors(s);
	if (scan(s, e))
		return -1;
	*n_hits = bm25_best_end(s, hits);
	return 0;
}
