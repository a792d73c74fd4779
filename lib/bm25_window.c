/*
 * bm25_window - the best k documents for a list of terms, some of which are left alone; see bm25_impl.h
 *
 * MaxScore (Turtle and Flood 1995) by windows of documents, so that bounds are those of the blocks that reach into a
 * window (Ding and Suel 2011; Mallia et al. 2017), and hold for any k1 and b.  Lists whose bounds together cannot lift
 * a document over the worst of the best k are only looked into for documents that the other lists, the essential ones,
 * bring.  Essential lists are unpacked and added up one after the other, which decides who may be among the best; those
 * few are then summed in the order of the query's terms, and a bound is only trusted when it is below by more than
 * rounding: the result is bit for bit that of scoring everything.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { WINDOW = 2048 };
#define NOT_MUCH 1.5

struct list {
	const struct bm25_term_list *term;
	double bound;         /* of its parts in the window */
	uint32_t max_tf;      /* in the window */
	uint32_t order;       /* place in the query */
	uint32_t bound_block; /* the first block that may reach into the window */
	uint32_t next_block;  /* the first one behind those that are unpacked here: */
	uint32_t *docs, *tfs; /* room for those of a window */
	uint32_t n, at, end;
	struct bm25_tfs packed; /* in place of tfs, when one block is there */
};

/* A list that is not essential but may have documents in the window. */
struct other {
	struct list *list;
	double idf;
	const double *row; /* of the weights of its largest tf there */
};

struct scan {
	struct bm25_searcher *s;
	const struct bm25_weights *weights;
	const uint32_t *lengths;
	uint32_t n_docs, lo, hi; /* the window: documents lo to hi - 1 */
	struct list *lists, **sorted;
	double *parts;        /* by place in the query: the current document's */
	double *prefix;       /* prefix[i]: sum of the bounds of sorted[0..i-1] */
	struct other *others; /* of sorted[0..essential-1] */
	double *rest;         /* rest[i]: bound of the parts of others[0..i-1] in a document of known length */
	size_t n_others;
	size_t n, essential;
	double limit; /* as bm25_best_limit */
	double *sums; /* by document of the window, over the essential lists; zero between windows */
};

/* ---- lists ---- */

/* The block that holds the first document not before `doc`, not before `block`, by doubling steps. */
static uint32_t find_block(const struct bm25_postings *p, uint32_t block, uint32_t doc)
{
	uint32_t lo = block, hi = lo, n = p->n_blocks;
	for (uint32_t width = 1; hi < n && bm25_postings_entry(p, hi).last_doc < doc; width *= 2) {
		lo = hi + 1;
		hi = width < n - hi ? hi + width : n;
	}
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (bm25_postings_entry(p, mid).last_doc < doc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Unpacks the next block behind what is there. */
static int unpack_next(const struct scan *x, struct list *l, struct err *e)
{
	uint32_t count;
	struct bm25_tfs tfs;
	if (bm25_postings_docs(&l->term->list, l->next_block++, x->n_docs, l->docs + l->n, &count, &tfs, e))
		return -1;
	bm25_tfs_unpack(&tfs, l->tfs + l->n, count);
	l->n += count;
	return 0;
}

/* To the first document not before `doc`, never back: l->at, l->n at the end. */
static int seek(const struct scan *x, struct list *l, uint32_t doc, struct err *e)
{
	if (l->at < l->n && l->docs[l->at] >= doc)
		return 0;
	if (l->at == l->n || l->docs[l->n - 1] < doc) {
		l->next_block = find_block(&l->term->list, l->next_block, doc);
		l->n = l->at = 0;
		if (l->next_block == l->term->list.n_blocks)
			return 0;
		if (bm25_postings_docs(&l->term->list, l->next_block++, x->n_docs, l->docs, &l->n, &l->packed, e))
			return -1;
	}
	uint32_t lo = l->at, hi = l->n;
	for (uint32_t width = 1; lo + width < hi && l->docs[lo + width - 1] < doc; width *= 2)
		lo += width;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (l->docs[mid] < doc)
			lo = mid + 1;
		else
			hi = mid;
	}
	l->at = lo;
	return 0;
}

/* All of its documents in the window, from l->at; *end is behind the last of them. */
static int fill(const struct scan *x, struct list *l, uint32_t *end, struct err *e)
{
	if (seek(x, l, x->lo, e))
		return -1;
	if (l->packed.in) {
		bm25_tfs_unpack(&l->packed, l->tfs, l->n);
		l->packed.in = NULL;
	}
	if (l->at < l->n && l->docs[l->n - 1] < x->hi && l->next_block < l->term->list.n_blocks) {
		l->n -= l->at;
		memmove(l->docs, l->docs + l->at, l->n * sizeof *l->docs);
		memmove(l->tfs, l->tfs + l->at, l->n * sizeof *l->tfs);
		l->at = 0;
		while (l->docs[l->n - 1] < x->hi && l->next_block < l->term->list.n_blocks)
			if (unpack_next(x, l, e))
				return -1;
	}
	uint32_t lo = l->at, hi = l->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (l->docs[mid] < x->hi)
			lo = mid + 1;
		else
			hi = mid;
	}
	*end = lo;
	return 0;
}

static inline double part(const struct scan *x, const struct list *l, uint32_t i)
{
	return l->term->idf * bm25_weight(x->weights, l->tfs[i], x->lengths[l->docs[i]]);
}

/* What it adds to the score of a document. */
static inline int part_of(const struct scan *x, struct list *l, uint32_t doc, double *out, struct err *e)
{
	*out = 0;
	if (seek(x, l, doc, e))
		return -1;
	if (l->at == l->n || l->docs[l->at] != doc)
		return 0;
	uint32_t tf = l->packed.in ? bm25_tfs_get(&l->packed, l->at) : l->tfs[l->at];
	*out = l->term->idf * bm25_weight(x->weights, tf, x->lengths[doc]);
	return 0;
}

/* ---- bounds ---- */

static void bound(const struct scan *x, struct list *l)
{
	const struct bm25_postings *p = &l->term->list;
	double most = 0;
	l->bound = 0;
	l->max_tf = 0;
	if (l->at < l->n && l->docs[l->at] >= x->hi)
		return;
	while (l->bound_block < p->n_blocks) {
		struct bm25_block entry = bm25_postings_entry(p, l->bound_block);
		if (entry.last_doc >= x->lo) {
			double w = bm25_weight_row(x->weights, entry.max_tf)[bm25_weight_column(entry.min_len)];
			most = w > most ? w : most;
			l->max_tf = entry.max_tf > l->max_tf ? entry.max_tf : l->max_tf;
		}
		if (entry.last_doc >= x->hi)
			break;
		l->bound_block++;
	}
	l->bound = most * l->term->idf;
}

/* A list that is not much longer than the essential ones together is sooner added up than looked into for each document
 * that they bring. */
static void take_short(struct scan *x)
{
	double postings = 0;
	for (size_t i = x->essential; i < x->n; i++)
		postings += x->sorted[i]->term->list.df;
	for (; x->essential; x->essential--) {
		const struct list *l = x->sorted[x->essential - 1];
		if (!(l->bound > 0) || l->term->list.df > NOT_MUCH * postings)
			break;
	}
}

/* Bounds of the window, lists sorted by them, and which of them are essential. */
static void bound_window(struct scan *x)
{
	for (size_t i = 0; i < x->n; i++) {
		struct list *l = x->sorted[i];
		size_t at = i;
		bound(x, l);
		for (; at && x->sorted[at - 1]->bound > l->bound; at--)
			x->sorted[at] = x->sorted[at - 1];
		x->sorted[at] = l;
	}
	for (size_t i = 0; i < x->n; i++)
		x->prefix[i + 1] = x->prefix[i] + x->sorted[i]->bound;
	x->essential = 0;
	while (x->essential < x->n && x->prefix[x->essential + 1] * BM25_SLACK <= x->limit)
		x->essential++;
	take_short(x);
	x->n_others = 0;
	for (size_t i = 0; i < x->essential; i++) {
		struct list *l = x->sorted[i];
		if (l->bound > 0)
			x->others[x->n_others++] =
			        (struct other){l, l->term->idf, bm25_weight_row(x->weights, l->max_tf)};
	}
}

/* ---- documents ---- */

/* sum: of its essential parts.  What the other lists can add is bounded once more, now that the document's length is
 * known; then they are looked into, the heaviest first, as long as the document can still enter. */
static int candidate(struct scan *x, uint32_t doc, double sum, struct err *e)
{
	double limit = x->limit, score = 0;
	uint32_t column = bm25_weight_column(x->lengths[doc]);
	if ((sum + x->prefix[x->essential]) * BM25_SLACK <= limit)
		return 0;
	for (size_t i = 0; i < x->n_others; i++)
		x->rest[i + 1] = x->rest[i] + x->others[i].idf * x->others[i].row[column];
	if ((sum + x->rest[x->n_others]) * BM25_SLACK <= limit)
		return 0;
	memset(x->parts, 0, x->n * sizeof *x->parts);
	for (size_t i = x->n_others; i-- > 0;) {
		struct list *l = x->others[i].list;
		double *p = &x->parts[l->order];
		if (part_of(x, l, doc, p, e))
			return -1;
		sum += *p;
		if ((sum + x->rest[i]) * BM25_SLACK <= limit)
			return 0;
	}
	for (size_t i = x->essential; i < x->n; i++)
		if (part_of(x, x->sorted[i], doc, &x->parts[x->sorted[i]->order], e))
			return -1;
	for (size_t i = 0; i < x->n; i++)
		score += x->parts[i];
	if (bm25_best_takes(x->s, doc, score)) {
		bm25_best_add(x->s, doc, score);
		x->limit = bm25_best_limit(x->s);
	}
	return 0;
}

/* One essential list: its documents are the candidates. */
static int scan_list(struct scan *x, struct list *l, struct err *e)
{
	uint32_t end;
	if (fill(x, l, &end, e))
		return -1;
	for (uint32_t i = l->at; i < end; i++) {
		double sum = part(x, l, i);
		if ((sum + x->prefix[x->essential]) * BM25_SLACK > x->limit && candidate(x, l->docs[i], sum, e))
			return -1;
	}
	return 0;
}

static void add_parts(const struct scan *x, const struct list *l)
{
	const uint32_t *docs = l->docs, *tfs = l->tfs, *lengths = x->lengths, end = l->end, lo = x->lo;
	const struct bm25_weights *weights = x->weights;
	double *sums = x->sums, idf = l->term->idf;
	for (uint32_t i = l->at; i < end; i++)
		sums[docs[i] - lo] += idf * bm25_weight(weights, tfs[i], lengths[docs[i]]);
}

/* Several: what they add up to says who is a candidate. */
static int scan_sums(struct scan *x, struct err *e)
{
	uint64_t bits[WINDOW / 64] = {0};
	for (size_t i = x->essential; i < x->n; i++) {
		struct list *l = x->sorted[i];
		if (fill(x, l, &l->end, e))
			return -1;
		add_parts(x, l);
	}
	/* a little below what candidate() asks for */
	double least = x->limit * (1 - 4e-9) - x->prefix[x->essential];
	for (size_t i = x->essential; i < x->n; i++) {
		const struct list *l = x->sorted[i];
		const uint32_t *docs = l->docs, end = l->end, lo = x->lo;
		const double *sums = x->sums;
		for (uint32_t j = l->at; j < end; j++)
			bits[(docs[j] - lo) / 64] |= (uint64_t)(sums[docs[j] - lo] > least) << (docs[j] - lo) % 64;
	}
	for (uint32_t i = 0; i < WINDOW / 64; i++)
		for (uint64_t left = bits[i]; left; left &= left - 1) {
			uint32_t at = i * 64 + (uint32_t)__builtin_ctzll(left);
			if (candidate(x, x->lo + at, x->sums[at], e))
				return -1;
		}
	memset(x->sums, 0, WINDOW * sizeof *x->sums);
	return 0;
}

int bm25_scan_windows(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, struct arena *a,
                      struct err *e)
{
	struct scan x = {.s = s, .weights = bm25_searcher_weights(s), .lengths = bm25_searcher_lengths(s), .n = n};
	x.limit = bm25_best_limit(s);
	x.n_docs = bm25_searcher_documents(s);
	x.lists = arena_array(a, n, sizeof *x.lists);
	x.sorted = arena_array(a, n, sizeof *x.sorted);
	x.parts = arena_array(a, n, sizeof *x.parts);
	x.prefix = arena_array(a, n + 1, sizeof *x.prefix);
	x.others = arena_array(a, n, sizeof *x.others);
	x.rest = arena_array(a, n + 1, sizeof *x.rest);
	x.sums = arena_array(a, WINDOW, sizeof *x.sums);
	for (size_t i = 0; i < n; i++) {
		size_t most = WINDOW + 2 * BM25_BLOCK, all = (size_t)terms[i].list.n_blocks * BM25_BLOCK;
		size_t room = all < most ? all : most;
		struct list *l = &x.lists[i];
		*l = (struct list){.term = &terms[i], .order = (uint32_t)i};
		l->docs = arena_alloc(a, room * sizeof *l->docs);
		l->tfs = arena_alloc(a, room * sizeof *l->tfs);
		x.sorted[i] = l;
	}
	for (; x.lo < x.n_docs; x.lo = x.hi) {
		x.hi = x.n_docs - x.lo < WINDOW ? x.n_docs : x.lo + WINDOW;
		bound_window(&x);
		size_t essential = n - x.essential;
		if (essential && (essential == 1 ? scan_list(&x, x.sorted[n - 1], e) : scan_sums(&x, e)))
			return -1;
	}
	return 0;
}
