/*
 * tokenizer_bpe - one word to ids: symbols in a list, candidates in a heap.
 *
 * Of all adjacent pairs the one with the lowest rank, then the leftmost, is joined first.  A candidate is pushed when
 * its pair comes to be and dropped when it is popped after one side has changed: O(n log n) in the symbols of a word.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- scratch ---- */

static struct tokenizer_scratch *scratch_new(void)
{
	struct tokenizer_scratch *x = xcalloc(1, sizeof *x);

	x->cache = xcalloc(TOK_CACHE_SLOTS, sizeof *x->cache);
	str_init(&x->word);
	str_init(&x->normal[0]);
	str_init(&x->normal[1]);
	for (int i = 0; i < TOK_MAX_STEPS; i++) {
		str_init(&x->step[i]);
		str_init(&x->mapped[i]);
	}
	return x;
}

void tok_scratch_free(struct tokenizer_scratch *x)
{
	if (!x)
		return;
	for (int i = 0; i < TOK_MAX_STEPS; i++) {
		str_release(&x->step[i]);
		str_release(&x->mapped[i]);
	}
	str_release(&x->normal[0]);
	str_release(&x->normal[1]);
	str_release(&x->word);
	tok_region_free(x->region);
	free(x->cache);
	free(x->heap);
	free(x->symbol);
	free(x->id);
	free(x);
}

struct tokenizer_scratch *tok_scratch_take(const struct tokenizer *t)
{
	struct tokenizer *shelf = (struct tokenizer *)t; /* only the shelf of spares changes, atomically */
	struct tokenizer_scratch *x;

	for (size_t i = 0; i < ARRAY_LEN(shelf->spare); i++) {
		x = __atomic_exchange_n(&shelf->spare[i], NULL, __ATOMIC_ACQUIRE);
		if (x) {
			x->n_ids = 0;
			return x;
		}
	}
	return scratch_new();
}

void tok_scratch_give(const struct tokenizer *t, struct tokenizer_scratch *x)
{
	struct tokenizer *shelf = (struct tokenizer *)t;

	for (size_t i = 0; i < ARRAY_LEN(shelf->spare) && x; i++) {
		struct tokenizer_scratch *none = NULL;
		if (__atomic_compare_exchange_n(&shelf->spare[i], &none, x, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return;
	}
	tok_scratch_free(x);
}

void tok_push(struct tokenizer_scratch *x, int32_t id)
{
	if (x->n_ids == x->cap_ids) {
		x->cap_ids = x->cap_ids ? x->cap_ids * 2 : 1024;
		x->id = xrealloc_array(x->id, (size_t)x->cap_ids, sizeof *x->id);
	}
	x->id[x->n_ids++] = id;
}

static void push_symbol(struct tokenizer_scratch *x, int32_t id)
{
	int32_t n = (int32_t)x->n_symbols;

	if (x->n_symbols == x->cap_symbols) {
		x->cap_symbols = x->cap_symbols ? x->cap_symbols * 2 : 256;
		x->symbol = xrealloc_array(x->symbol, x->cap_symbols, sizeof *x->symbol);
	}
	x->symbol[x->n_symbols++] = (struct tok_symbol){id, n - 1, n + 1};
}

/* ---- the heap ---- */

static void heap_push(struct tokenizer_scratch *x, struct tok_candidate c)
{
	size_t i = x->n_heap++;

	if (x->n_heap > x->cap_heap) {
		x->cap_heap = x->cap_heap ? x->cap_heap * 2 : 256;
		x->heap = xrealloc_array(x->heap, x->cap_heap, sizeof *x->heap);
	}
	for (; i > 0 && x->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
		x->heap[i] = x->heap[(i - 1) / 2];
	x->heap[i] = c;
}

static struct tok_candidate heap_pop(struct tokenizer_scratch *x)
{
	struct tok_candidate *h = x->heap, top = h[0], last = h[--x->n_heap];
	size_t i = 0, n = x->n_heap;

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && h[child + 1].key < h[child].key)
			child++;
		if (h[child].key >= last.key)
			break;
		h[i] = h[child];
	}
	h[i] = last;
	return top;
}

/* ---- merging ---- */

static void offer(const struct tokenizer *t, struct tokenizer_scratch *x, int32_t at)
{
	const struct tok_merge *m;
	int32_t next;

	if (at < 0 || (size_t)(next = x->symbol[at].next) >= x->n_symbols)
		return;
	m = tok_merges_find(&t->merges, TOK_PAIR(x->symbol[at].id, x->symbol[next].id));
	if (m)
		heap_push(x, (struct tok_candidate){(uint64_t)m->rank << 32 | (uint32_t)at,
		                                    (uint32_t)(m - t->merges.slot)});
}

/* Joins the symbol with the next one. */
static void join(const struct tokenizer *t, struct tokenizer_scratch *x, int32_t at, int32_t id)
{
	struct tok_symbol *s = x->symbol + at, *gone = x->symbol + s->next;

	s->id = id;
	s->next = gone->next;
	gone->id = -1;
	if ((size_t)s->next < x->n_symbols)
		x->symbol[s->next].prev = at;
	offer(t, x, s->prev);
	offer(t, x, at);
}

static void merge_symbols(const struct tokenizer *t, struct tokenizer_scratch *x)
{
	x->n_heap = 0;
	for (size_t i = 0; i + 1 < x->n_symbols; i++)
		offer(t, x, (int32_t)i);
	while (x->n_heap) {
		struct tok_candidate c = heap_pop(x);
		const struct tok_merge *m = &t->merges.slot[c.slot];
		int32_t at = (int32_t)(uint32_t)c.key, next = x->symbol[at].next;
		if (x->symbol[at].id >= 0 && (size_t)next < x->n_symbols &&
		    m->pair == TOK_PAIR(x->symbol[at].id, x->symbol[next].id))
			join(t, x, at, m->id);
	}
	for (size_t i = 0; i < x->n_symbols; i = (size_t)x->symbol[i].next)
		tok_push(x, x->symbol[i].id);
}

/* ---- words seen before ---- */

static struct tok_cached *cache_slot(struct tokenizer_scratch *x, const char *s, size_t len)
{
	uint64_t h = len, word;

	for (size_t i = 0; i < len; i += 8) {
		word = 0;
		memcpy(&word, s + i, len - i < 8 ? len - i : 8);
		h = (h ^ word) * 0x9E3779B97F4A7C15u;
		h ^= h >> 29;
	}
	return &x->cache[h % TOK_CACHE_SLOTS];
}

/* 1 when the word's ids were appended. */
static int cache_use(struct tokenizer_scratch *x, const char *s, size_t len)
{
	struct tok_cached *c;

	if (len > sizeof c->text)
		return 0;
	c = cache_slot(x, s, len);
	if (!c->n || c->len != len || memcmp(c->text, s, len))
		return 0;
	for (int i = 0; i < c->n; i++)
		tok_push(x, c->id[i]);
	return 1;
}

static void cache_keep(struct tokenizer_scratch *x, const char *s, size_t len, int64_t from)
{
	int64_t n = x->n_ids - from;
	struct tok_cached *c;

	if (len > sizeof c->text || n < 1 || n > (int64_t)ARRAY_LEN(c->id))
		return;
	c = cache_slot(x, s, len);
	c->len = (uint8_t)len;
	c->n = (uint8_t)n;
	memcpy(c->text, s, len);
	memcpy(c->id, x->id + from, (size_t)n * sizeof *c->id);
}

/* ---- words ---- */

static bool all_byte_tokens(const struct tokenizer *t, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (t->byte_token[(unsigned char)s[i]] < 0)
			return false;
	return true;
}

static void text_symbols(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len)
{
	bool unknown = false, before;
	uint32_t cp;

	x->n_symbols = 0;
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_next(s + i, len - i, &cp);
		int32_t id = tok_vocab_id(&t->vocab, s + i, n);
		before = unknown;
		unknown = false;
		if (id >= 0) {
			push_symbol(x, id);
		} else if (t->byte_fallback && all_byte_tokens(t, s + i, n)) {
			for (size_t b = 0; b < n; b++)
				push_symbol(x, t->byte_token[(unsigned char)s[i + b]]);
		} else {
			unknown = true;
			if (t->unk >= 0 && !(before && t->fuse_unk))
				push_symbol(x, t->unk);
		}
	}
}

static void text_word(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len)
{
	int64_t from = x->n_ids;
	int32_t whole;

	if (cache_use(x, s, len))
		return;
	whole = t->ignore_merges ? tok_vocab_id(&t->vocab, s, len) : -1;
	if (whole >= 0) {
		tok_push(x, whole);
	} else {
		text_symbols(t, x, s, len);
		merge_symbols(t, x);
	}
	cache_keep(x, s, len, from);
}

#define BAR "\xE2\x96\x81"

int tok_bpe_text(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, struct err *e)
{
	size_t from = 0;

	if (len > TOK_MAX_TEXT)
		return err_set(e, "a word of %zu bytes; at most %zu", len, TOK_MAX_TEXT);
	for (size_t i = 1; t->cut_bars && i + 3 <= len; i++)
		if (s[i] == BAR[0] && !memcmp(s + i, BAR, 3) && (i < 3 || memcmp(s + i - 3, BAR, 3))) {
			text_word(t, x, s + from, i - from);
			from = i;
		}
	text_word(t, x, s + from, len - from);
	return 0;
}

int tok_bpe_bytes(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, struct err *e)
{
	int64_t from = x->n_ids;
	int32_t whole = -1;

	if (x->on_word)
		return x->on_word(x->arg, s, len, e);
	if (!t->all_bytes) {
		str_clear(&x->word);
		tok_map_bytes(s, len, &x->word);
		return tok_bpe_text(t, x, x->word.buf, x->word.len, e);
	}
	if (len > TOK_MAX_TEXT)
		return err_set(e, "a word of %zu bytes; at most %zu", len, TOK_MAX_TEXT);
	if (cache_use(x, s, len))
		return 0;
	if (t->ignore_merges) {
		str_clear(&x->word);
		tok_map_bytes(s, len, &x->word);
		whole = tok_vocab_id(&t->vocab, x->word.buf, x->word.len);
	}
	if (whole >= 0) {
		tok_push(x, whole);
	} else {
		x->n_symbols = 0;
		for (size_t i = 0; i < len; i++)
			push_symbol(x, t->byte_id[(unsigned char)s[i]]);
		merge_symbols(t, x);
	}
	cache_keep(x, s, len, from);
	return 0;
}
