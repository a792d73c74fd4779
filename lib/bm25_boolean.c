/*
 * bm25_boolean - Boolean queries; see bm25.h
 *
 * Words with nothing but OR between them are a plain search, done as one.  Any other query becomes a tree in which NOT
 * stands at words and phrases only (De Morgan).  Every word and phrase walks postings of its own; a node tells the
 * first document, not before a given one, that it may match, so that a rare word of an AND leads all others; so do the
 * words that a document needs to be among the best k, by bounds as in bm25_search. The documents so found are scored,
 * and judged where they could be among the best: phrases, which need positions, come last.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

/* ---- the tree ---- */

/* A term at its place in a leaf. */
struct walker {
	struct bm25_cursor cursor;
	size_t word;     /* number in the dictionary */
	uint32_t offset; /* of the word in the phrase */
	bool negated;
	/* positions: of block `block`, read up to posting `at` of it */
	const unsigned char *p, *end;
	uint32_t block, at;
	uint32_t *positions; /* of the current document */
	size_t n, cap;
};

enum kind { NODE_AND, NODE_OR, NODE_LEAF };
struct node {
	enum kind kind;
	bool negated;              /* a leaf */
	bool phrase;               /* a leaf: at the offsets, else anywhere */
	struct node *child, *next; /* children in a chain */
	size_t first, n;           /* a leaf's walkers */
};

struct boolean {
	struct bm25_searcher *s;
	struct arena arena;
	struct bm25_dict words;
	int64_t *counts;             /* by word: how often it is asked for */
	struct bm25_postings *lists; /* by word */
	size_t counts_cap;
	/* parsing */
	const char *start, *p, *end;
	int depth;
	struct walker *walkers;
	size_t n_walkers, walkers_cap;
	/* scoring: the words that are asked for */
	struct bm25_cursor *scored, **sorted; /* sorted by rising bound */
	double *prefix;                       /* prefix[i]: sum of the bounds of sorted[0..i-1] */
	size_t n_scored;
	size_t essential; /* documents that have only words before it cannot be among the best */
};

/* ---- words of the query ---- */

enum token { TOKEN_END, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_QUOTE, TOKEN_AND, TOKEN_OR, TOKEN_NOT, TOKEN_WORD };

static bool is_space(char c)
{
	return (unsigned char)c <= ' ';
}

static bool is_token(const char *p, size_t len, const char *name)
{
	return len == strlen(name) && !memcmp(p, name, len);
}

/* What stands next, *len bytes at q->p. */
static enum token peek(struct boolean *q, size_t *len)
{
	while (q->p < q->end && is_space(*q->p))
		q->p++;
	*len = q->p < q->end;
	if (q->p == q->end)
		return TOKEN_END;
	if (*q->p == '(')
		return TOKEN_OPEN;
	if (*q->p == ')')
		return TOKEN_CLOSE;
	if (*q->p == '"')
		return TOKEN_QUOTE;
	const char *p = q->p;
	while (p < q->end && !is_space(*p) && *p != '(' && *p != ')' && *p != '"')
		p++;
	*len = (size_t)(p - q->p);
	if (is_token(q->p, *len, "AND"))
		return TOKEN_AND;
	if (is_token(q->p, *len, "OR"))
		return TOKEN_OR;
	return is_token(q->p, *len, "NOT") ? TOKEN_NOT : TOKEN_WORD;
}

static int wrong(const struct boolean *q, struct err *e, const char *what)
{
	return err_set(e, "byte %lld of the query: %s", (long long)(q->p - q->start) + 1, what);
}

static void add_term(void *arg, const char *term, size_t len, uint32_t position)
{
	struct boolean *q = arg;
	bool is_new;
	if (q->n_walkers > BM25_BOOLEAN_TERMS)
		return;
	if (q->n_walkers == q->walkers_cap) {
		q->walkers_cap = q->walkers_cap ? 2 * q->walkers_cap : 8;
		q->walkers = xrealloc_array(q->walkers, q->walkers_cap, sizeof *q->walkers);
	}
	struct walker *w = &q->walkers[q->n_walkers++];
	memset(w, 0, sizeof *w);
	w->offset = position;
	w->word = bm25_dict_add(&q->words, term, len, &is_new);
	if (q->counts_cap < q->words.cap) {
		q->counts_cap = q->words.cap;
		q->counts = xrealloc_array(q->counts, q->counts_cap, sizeof *q->counts);
	}
	if (is_new)
		q->counts[w->word] = 0;
}

/* *out is NULL when the analyzer leaves nothing of the text. */
static int add_leaf(struct boolean *q, const char *text, size_t len, bool phrase, bool negated, struct node **out,
                    struct err *e)
{
	size_t first = q->n_walkers;
	bm25_analyze(bm25_searcher_analysis(q->s), text, len, add_term, q);
	if (q->n_walkers > BM25_BOOLEAN_TERMS)
		return err_set(e, "the query has more than %d terms", BM25_BOOLEAN_TERMS);
	*out = NULL;
	if (q->n_walkers == first)
		return 0;
	*out = arena_array(&q->arena, 1, sizeof **out);
	**out = (struct node){.kind = NODE_LEAF,
	                      .negated = negated,
	                      .phrase = phrase && q->n_walkers - first > 1,
	                      .first = first,
	                      .n = q->n_walkers - first};
	for (size_t i = first; i < q->n_walkers; i++) {
		q->walkers[i].negated = negated;
		q->counts[q->walkers[i].word] += !negated;
	}
	return 0;
}

static int parse_or(struct boolean *q, bool negated, struct node **out, struct err *e);

static int parse_not(struct boolean *q, bool negated, struct node **out, struct err *e)
{
	size_t len;
	enum token t;
	while ((t = peek(q, &len)) == TOKEN_NOT) {
		negated = !negated;
		q->p += len;
	}
	if (t == TOKEN_OPEN) {
		if (q->depth == BM25_BOOLEAN_DEPTH)
			return err_set(e, "the query has more than %d parentheses in each other", BM25_BOOLEAN_DEPTH);
		q->depth++;
		q->p++;
		if (parse_or(q, negated, out, e))
			return -1;
		if (peek(q, &len) != TOKEN_CLOSE)
			return wrong(q, e, "')' is missing");
		q->depth--;
		q->p++;
		return 0;
	}
	if (t == TOKEN_QUOTE) {
		const char *close = memchr(q->p + 1, '"', (size_t)(q->end - q->p) - 1), *text = q->p + 1;
		if (!close)
			return wrong(q, e, "a phrase without its end");
		q->p = close + 1;
		return add_leaf(q, text, (size_t)(close - text), true, negated, out, e);
	}
	if (t != TOKEN_WORD)
		return wrong(q, e, "a word, a phrase or '(' is missing");
	const char *text = q->p;
	q->p += len;
	return add_leaf(q, text, len, false, negated, out, e);
}

/* A chain of children becomes a node; one child stands for itself, none for nothing. */
static struct node *join(struct boolean *q, enum kind kind, struct node *children)
{
	if (!children || !children->next)
		return children;
	struct node *x = arena_array(&q->arena, 1, sizeof *x);
	x->kind = kind;
	x->child = children;
	return x;
}

static int parse_and(struct boolean *q, bool negated, struct node **out, struct err *e)
{
	struct node *first = NULL, **tail = &first;
	size_t len;
	for (;;) {
		if (parse_not(q, negated, tail, e))
			return -1;
		if (*tail)
			tail = &(*tail)->next;
		enum token t = peek(q, &len);
		if (t == TOKEN_AND)
			q->p += len;
		else if (t == TOKEN_OR || t == TOKEN_CLOSE || t == TOKEN_END)
			break;
	}
	*out = join(q, negated ? NODE_OR : NODE_AND, first);
	return 0;
}

static int parse_or(struct boolean *q, bool negated, struct node **out, struct err *e)
{
	struct node *first = NULL, **tail = &first;
	size_t len;
	for (;;) {
		if (parse_and(q, negated, tail, e))
			return -1;
		if (*tail)
			tail = &(*tail)->next;
		if (peek(q, &len) != TOKEN_OR)
			break;
		q->p += len;
	}
	*out = join(q, negated ? NODE_AND : NODE_OR, first);
	return 0;
}

static int parse(struct boolean *q, struct node **root, struct err *e)
{
	size_t len;
	*root = NULL;
	if (q->end - q->start > BM25_BOOLEAN_BYTES)
		return err_set(e, "the query has %lld bytes, more than %d", (long long)(q->end - q->start),
		               BM25_BOOLEAN_BYTES);
	if (peek(q, &len) == TOKEN_END)
		return 0;
	if (parse_or(q, false, root, e))
		return -1;
	return peek(q, &len) == TOKEN_END ? 0 : wrong(q, e, "')' without '('");
}

/* ---- postings ---- */

static int by_bound(const void *pa, const void *pb)
{
	const struct bm25_cursor *a = *(const struct bm25_cursor *const *)pa,
	                         *b = *(const struct bm25_cursor *const *)pb;
	return a->bound != b->bound ? (a->bound > b->bound) - (a->bound < b->bound) : (a > b) - (a < b);
}

static void sort_scored(struct boolean *q)
{
	q->sorted = arena_array(&q->arena, q->n_scored + 1, sizeof *q->sorted);
	q->prefix = arena_array(&q->arena, q->n_scored + 1, sizeof *q->prefix);
	for (size_t i = 0; i < q->n_scored; i++) {
		q->scored[i].bound = bm25_bound(q->s, &q->scored[i]);
		q->sorted[i] = &q->scored[i];
	}
	qsort(q->sorted, q->n_scored, sizeof *q->sorted, by_bound);
	for (size_t i = 0; i < q->n_scored; i++)
		q->prefix[i + 1] = q->prefix[i] + q->sorted[i]->bound;
}

static int find_lists(struct boolean *q, struct err *e)
{
	q->lists = arena_array(&q->arena, q->words.n, sizeof *q->lists);
	for (size_t i = 0; i < q->words.n; i++) {
		const struct bm25_word *w = &q->words.words[i];
		if (bm25_view_lookup(bm25_searcher_view(q->s), w->text, w->len, &q->lists[i], e) < 0)
			return -1;
	}
	return 0;
}

/* Cursors of all leaves; and of the words that are asked for, in that order, which is that of the sum. */
static int open_cursors(struct boolean *q, struct err *e)
{
	q->scored = xrealloc_array(NULL, q->words.n, sizeof *q->scored);
	for (size_t i = 0; i < q->n_walkers; i++) {
		struct walker *w = &q->walkers[i];
		const struct bm25_postings *list = &q->lists[w->word];
		w->cursor.doc = BM25_NO_DOC;
		w->block = UINT32_MAX;
		if (!list->df)
			continue;
		if (bm25_open_cursor(q->s, &w->cursor, list, 0, e))
			return -1;
		double idf = (double)q->counts[w->word] * bm25_idf(q->s, list->df);
		if (w->negated || !(idf > 0))
			continue;
		if (bm25_open_cursor(q->s, &q->scored[q->n_scored++], list, idf, e))
			return -1;
		q->counts[w->word] = 0;
	}
	sort_scored(q);
	return 0;
}

static int damaged(const struct boolean *q, const struct walker *w, struct err *e)
{
	return err_set(e, "the index is damaged: positions of '%.*s' in document %u", (int)q->words.words[w->word].len,
	               q->words.words[w->word].text, w->cursor.doc);
}

/* Reads the positions of the current document, passing those of documents before it in the block. */
static int read_positions(struct boolean *q, struct walker *w, struct err *e)
{
	struct bm25_cursor *c = &w->cursor;
	const struct bm25_word *word = &q->words.words[w->word];
	if (w->block != c->block) {
		char key[BM25_KEY_MAX];
		size_t len;
		if (bm25_view_positions(bm25_searcher_view(q->s), key, bm25_key(word->text, word->len, key), c->block,
		                        c->list.n_blocks, &w->p, &len, e))
			return -1;
		w->end = w->p + len;
		w->block = c->block;
		w->at = 0;
	}
	for (; w->at < c->at; w->at++)
		for (uint32_t left = c->tfs[w->at]; left; w->p++) {
			if (w->p == w->end)
				return damaged(q, w, e);
			left -= !(*w->p & 0x80);
		}
	w->n = 0;
	uint64_t position = 0, gap = 0;
	unsigned shift = 0;
	if (w->cap < c->tfs[c->at]) {
		w->cap = 2 * (size_t)c->tfs[c->at];
		w->positions = xrealloc_array(w->positions, w->cap, sizeof *w->positions);
	}
	for (; w->n < c->tfs[c->at]; w->p++) {
		if (w->p == w->end || shift > 28)
			return damaged(q, w, e);
		gap |= (uint64_t)(*w->p & 0x7f) << shift;
		shift += 7;
		if (*w->p & 0x80)
			continue;
		position += gap;
		w->positions[w->n++] = (uint32_t)position;
		gap = 0;
		shift = 0;
	}
	w->at++;
	return 0;
}

/* ---- which documents ---- */

/* The first document, not before `doc`, that all terms of the leaf are in. */
static int next_leaf(struct boolean *q, const struct node *x, uint32_t doc, uint32_t *out, struct err *e)
{
	for (size_t i = 0; i < x->n;) {
		struct bm25_cursor *c = &q->walkers[x->first + i].cursor;
		if (bm25_seek(q->s, c, doc, e))
			return -1;
		i = c->doc > doc && i ? 0 : i + 1;
		doc = c->doc;
	}
	*out = doc;
	return 0;
}

/* A document, not before `doc`, before which none can match. */
static int next(struct boolean *q, const struct node *x, uint32_t doc, uint32_t *out, struct err *e)
{
	uint32_t d, least = BM25_NO_DOC;
	*out = doc;
	if (x->kind == NODE_LEAF)
		return x->negated ? 0 : next_leaf(q, x, doc, out, e);
	for (const struct node *c = x->child; c;) {
		if (next(q, c, doc, &d, e))
			return -1;
		least = d < least ? d : least;
		bool again = x->kind == NODE_AND && d > doc && c != x->child;
		if (x->kind == NODE_AND)
			doc = d;
		c = again ? x->child : c->next;
	}
	*out = x->kind == NODE_AND ? doc : least;
	return 0;
}

/* Whether the positions of the leaf's terms stand as the phrase has them.  All are in the current document. */
static int has_phrase(struct boolean *q, const struct node *x, bool *has, struct err *e)
{
	struct walker *w = &q->walkers[x->first];
	size_t at[BM25_BOOLEAN_TERMS];
	memset(at, 0, x->n * sizeof *at);
	for (size_t i = 0; i < x->n; i++)
		if (read_positions(q, &w[i], e))
			return -1;
	*has = false;
	/* where the phrase's first word would stand, raised by each term until all agree */
	int64_t start = (int64_t)w[0].positions[0] - w[0].offset;
	for (size_t i = 0; i < x->n;) {
		while (at[i] < w[i].n && (int64_t)w[i].positions[at[i]] - w[i].offset < start)
			at[i]++;
		if (at[i] == w[i].n)
			return 0;
		int64_t found = (int64_t)w[i].positions[at[i]] - w[i].offset;
		i = found > start && i ? 0 : i + 1;
		start = found;
	}
	*has = true;
	return 0;
}

static int matches_leaf(struct boolean *q, const struct node *x, uint32_t doc, bool *yes, struct err *e)
{
	*yes = false;
	for (size_t i = 0; i < x->n; i++) {
		struct bm25_cursor *c = &q->walkers[x->first + i].cursor;
		if (bm25_seek(q->s, c, doc, e))
			return -1;
		if (c->doc != doc)
			return 0;
	}
	*yes = true;
	return x->phrase ? has_phrase(q, x, yes, e) : 0;
}

static int matches(struct boolean *q, const struct node *x, uint32_t doc, bool *yes, struct err *e)
{
	if (x->kind == NODE_LEAF) {
		if (matches_leaf(q, x, doc, yes, e))
			return -1;
		*yes = *yes != x->negated;
		return 0;
	}
	for (const struct node *c = x->child; c; c = c->next) {
		if (matches(q, c, doc, yes, e))
			return -1;
		if (*yes == (x->kind == NODE_OR))
			return 0;
	}
	return 0;
}

/* ---- the search ---- */

/* The first document, not before `doc`, that may match and may be among the best; the essential words stand there. */
static int next_candidate(struct boolean *q, const struct node *root, uint32_t *doc, struct err *e)
{
	double limit = bm25_best_limit(q->s);
	while (q->essential < q->n_scored && q->prefix[q->essential + 1] * BM25_SLACK <= limit)
		q->essential++;
	for (;;) {
		uint32_t least = BM25_NO_DOC, d;
		for (size_t i = q->essential; i < q->n_scored; i++) {
			if (bm25_seek(q->s, q->sorted[i], *doc, e))
				return -1;
			least = q->sorted[i]->doc < least ? q->sorted[i]->doc : least;
		}
		*doc = least;
		if (least == BM25_NO_DOC)
			return 0;
		double most = q->prefix[q->essential];
		for (size_t i = q->essential; i < q->n_scored; i++)
			most += q->sorted[i]->doc == least ? bm25_part(q->s, q->sorted[i]) : 0;
		if (most * BM25_SLACK <= limit) {
			++*doc;
			continue;
		}
		if (next(q, root, least, &d, e))
			return -1;
		if (d == least)
			return 0;
		*doc = d;
	}
}

/* In the order of the query's words, as everywhere. */
static int score(struct boolean *q, uint32_t doc, double *sum, struct err *e)
{
	*sum = 0;
	for (size_t i = 0; i < q->essential; i++)
		if (bm25_seek(q->s, q->sorted[i], doc, e))
			return -1;
	for (size_t i = 0; i < q->n_scored; i++)
		*sum += q->scored[i].doc == doc ? bm25_part(q->s, &q->scored[i]) : 0;
	return 0;
}

static int scan(struct boolean *q, const struct node *root, struct err *e)
{
	for (uint32_t doc = 0;; doc++) {
		double sum;
		bool yes;
		if (next_candidate(q, root, &doc, e))
			return -1;
		if (doc == BM25_NO_DOC)
			return 0;
		if (score(q, doc, &sum, e))
			return -1;
		if (!bm25_best_takes(q->s, doc, sum))
			continue;
		if (matches(q, root, doc, &yes, e))
			return -1;
		if (yes)
			bm25_best_add(q->s, doc, sum);
	}
}

/* Words with OR between them: any of them will do, and each counts. */
static bool is_any(const struct node *root)
{
	if (root->kind == NODE_OR)
		for (const struct node *c = root->child; c; c = c->next)
			if (!is_any(c))
				return false;
	return root->kind == NODE_OR || (root->kind == NODE_LEAF && root->n == 1 && !root->negated);
}

/* Which is the plain search: bm25_window.c leaves most postings alone. */
static int search_any(struct boolean *q, int64_t k, const struct bm25_hit **hits, int64_t *n, struct err *e)
{
	struct bm25_term_list *terms = arena_array(&q->arena, q->words.n, sizeof *terms);
	size_t n_terms = 0;
	for (size_t i = 0; i < q->words.n; i++) {
		if (!q->lists[i].df)
			continue;
		terms[n_terms].list = q->lists[i];
		terms[n_terms].idf = (double)q->counts[i] * bm25_idf(q->s, q->lists[i].df);
		n_terms += terms[n_terms].idf > 0;
	}
	return bm25_search_terms(q->s, terms, n_terms, k, hits, n, e);
}

int bm25_search_boolean(struct bm25_searcher *s, const char *query, size_t len, int64_t k, const struct bm25_hit **hits,
                        int64_t *n, struct err *e)
{
	struct boolean q = {.s = s, .start = query, .p = query, .end = query + len};
	struct node *root;
	int rc = 0;
	arena_init(&q.arena);
	bm25_dict_init(&q.words);
	*n = 0;
	*hits = NULL;
	if (parse(&q, &root, e))
		goto out;
	rc = -1;
	if (root && bm25_best_begin(s, k)) {
		if (find_lists(&q, e))
			goto out;
		if (is_any(root)) {
			if (search_any(&q, k, hits, n, e))
				goto out;
		} else {
			if (open_cursors(&q, e) || scan(&q, root, e))
				goto out;
			*n = bm25_best_end(s, hits);
		}
	}
	rc = 1;
out:
	for (size_t i = 0; i < q.n_walkers; i++)
		free(q.walkers[i].positions);
	free(q.walkers);
	free(q.scored);
	free(q.counts);
	bm25_dict_release(&q.words);
	arena_release(&q.arena);
	return rc;
}
