/* chunk - sentences packed into segments of a budget. */
#include "lib/chunk.h"

#include <string.h>

#include "lib/utf8.h"
#include "lib/util.h"

/* What is packed whole: a sentence, or a word or part of one where the sentence is over the budget; with the white
 * space behind it. */
struct unit {
	size_t from, to;
	int64_t cost;
	bool breaks; /* a segment begins here */
};

struct packing {
	const struct chunk_config *c;
	const char *text;
	size_t len;
	int64_t budget;
	struct unit *unit;
	int64_t n, cap;
	struct arena *arena;
	struct arena scratch; /* of one cost */
	struct chunk *chunk;
	int64_t n_chunks, cap_chunks;
	size_t at; /* bytes and code points so far */
	int64_t points;
};

static size_t skip(const char *s, size_t len, size_t at, bool space)
{
	uint32_t c;

	while (at < len) {
		size_t n = utf8_next(s + at, len - at, &c);
		if (utf8_is_space(c) != space)
			break;
		at += n;
	}
	return at;
}

/* Words or tokens of a stretch; 0 without a budget. */
static int cost_of(struct packing *p, size_t from, size_t to, int64_t *cost, struct err *e)
{
	int32_t *ids;

	*cost = 0;
	if (p->c->max_tokens > 0) {
		arena_reset(&p->scratch);
		return tokenizer_encode(p->c->tokenizer, p->text + from, to - from, TOKENIZER_PLAIN, &ids, cost,
		                        &p->scratch, e);
	}
	for (size_t at = skip(p->text, to, from, true); at < to;
	     at = skip(p->text, to, skip(p->text, to, at, false), true))
		++*cost;
	return 0;
}

static void add_unit(struct packing *p, size_t from, size_t to, int64_t cost, bool breaks)
{
	if (p->n == p->cap) {
		int64_t cap = p->cap ? p->cap * 2 : 64;
		struct unit *more = arena_alloc(p->arena, (size_t)cap * sizeof *more);
		if (p->n)
			memcpy(more, p->unit, (size_t)p->n * sizeof *more);
		p->unit = more;
		p->cap = cap;
	}
	p->unit[p->n++] = (struct unit){from, to, cost, breaks};
}

/* A word over the budget, in halves of whole characters. */
static int add_word(struct packing *p, size_t from, size_t to, bool breaks, struct err *e)
{
	size_t middle = from + (to - from) / 2;
	int64_t cost;

	if (cost_of(p, from, to, &cost, e))
		return -1;
	while (middle > from && ((unsigned char)p->text[middle] & 0xC0) == 0x80)
		middle--;
	if (middle == from)
		for (middle++; middle < to && ((unsigned char)p->text[middle] & 0xC0) == 0x80; middle++)
			;
	if (cost <= p->budget || middle == to) {
		add_unit(p, from, to, cost, breaks);
		return 0;
	}
	return add_word(p, from, middle, breaks, e) || add_word(p, middle, to, false, e) ? -1 : 0;
}

static int add_sentence(struct packing *p, size_t from, size_t to, struct err *e)
{
	int64_t cost;
	bool breaks = true;

	if (cost_of(p, from, to, &cost, e))
		return -1;
	if (!p->budget || cost <= p->budget) {
		add_unit(p, from, to, cost, p->c->sentences || !p->budget);
		return 0;
	}
	for (size_t at = from, end; at < to; at = end, breaks = false) {
		end = skip(p->text, to, skip(p->text, to, skip(p->text, to, at, true), false), true);
		if (add_word(p, at, end, breaks, e))
			return -1;
	}
	return 0;
}

static void add_chunk(struct packing *p, size_t from, size_t to)
{
	struct chunk *c;

	if (p->n_chunks == p->cap_chunks) {
		int64_t cap = p->cap_chunks ? p->cap_chunks * 2 : 16;
		struct chunk *more = arena_alloc(p->arena, (size_t)cap * sizeof *more);
		if (p->n_chunks)
			memcpy(more, p->chunk, (size_t)p->n_chunks * sizeof *more);
		p->chunk = more;
		p->cap_chunks = cap;
	}
	c = &p->chunk[p->n_chunks++];
	c->from = from;
	c->to = to;
	/* starts rise, and so do ends, but with overlap a start lies before the last end */
	if (from < p->at) {
		p->points -= utf8_length(p->text + from, p->at - from);
		p->at = from;
	}
	p->points += utf8_length(p->text + p->at, from - p->at);
	c->start = p->points;
	p->points += utf8_length(p->text + from, to - from);
	p->at = to;
	c->end = p->points;
}

/*
 * The unit after the last one of the segment that begins at unit `first`.  The costs of units add up to about that of
 * the segment; where tokens count, what was packed is encoded as a whole, to take one more that fits or to give one
 * back.
 */
static int pack(struct packing *p, int64_t first, int64_t least, int64_t *stop, struct err *e)
{
	int64_t i = first, sum = 0, whole;
	bool over = false;

	for (; i < p->n && (i == first || !p->unit[i].breaks || i < least); i++) {
		sum += p->unit[i].cost;
		if (sum <= p->budget || i < least)
			continue;
		if (!p->c->max_tokens || over)
			break;
		if (cost_of(p, p->unit[first].from, p->unit[i].to, &whole, e))
			return -1;
		over = whole > p->budget;
		if (over)
			break;
		sum = whole;
	}
	while (p->c->max_tokens > 0 && i > least && i > first + 1) {
		if (cost_of(p, p->unit[first].from, p->unit[i - 1].to, &whole, e))
			return -1;
		if (whole <= p->budget)
			break;
		i--;
	}
	*stop = i;
	return 0;
}

/* Where the next segment begins: as many whole units before `stop` as the overlap and the budget allow, and always
 * behind the start of the last one. */
static int64_t step_back(const struct packing *p, int64_t first, int64_t stop)
{
	int64_t i = stop, sum = 0;

	if (stop == p->n || p->unit[stop].breaks)
		return stop;
	for (; i - 1 > first; i--) {
		sum += p->unit[i - 1].cost;
		if (sum > p->c->overlap || sum + p->unit[stop].cost > p->budget)
			break;
	}
	return i;
}

/* Gives up overlap where the segment as a whole has more tokens than its units. */
static int shed_overlap(struct packing *p, int64_t *first, int64_t least, int64_t stop, struct err *e)
{
	int64_t whole;

	for (; p->c->max_tokens > 0 && *first + 1 < least; ++*first) {
		if (cost_of(p, p->unit[*first].from, p->unit[stop - 1].to, &whole, e))
			return -1;
		if (whole <= p->budget)
			break;
	}
	return 0;
}

static int pack_all(struct packing *p, struct err *e)
{
	int64_t first = 0, stop = 0, least;

	while (stop < p->n) {
		least = stop + 1; /* a segment has at least one unit that the one before had not */
		if (!p->budget || p->c->sentences)
			first = stop;
		if (pack(p, first, least, &stop, e) || shed_overlap(p, &first, least, stop, e))
			return -1;
		add_chunk(p, p->unit[first].from, p->unit[stop - 1].to);
		first = step_back(p, first, stop);
	}
	return 0;
}

int chunk_text(const struct chunk_config *c, const char *text, size_t len, struct chunk **out, int64_t *n,
               struct arena *a, struct err *e)
{
	struct packing p = {.c = c, .text = text, .len = len, .arena = a};
	size_t *end, from = 0, to;
	int64_t sentences;
	int failed = 0;

	p.budget = c->max_tokens > 0 ? c->max_tokens : c->max_words;
	arena_init(&p.scratch);
	chunk_sentences(text, len, &end, &sentences, a);
	for (int64_t i = 0; i < sentences && !failed; i++, from = to) {
		to = skip(text, len, end[i], true);
		if (to > from)
			failed = add_sentence(&p, from, to, e);
	}
	if (!failed)
		failed = pack_all(&p, e);
	arena_release(&p.scratch);
	*out = p.chunk;
	*n = p.n_chunks;
	return failed;
}
