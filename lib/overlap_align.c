/* overlap_count - see overlap_count.h: alignment */
#include <stdlib.h>
#include <string.h>

#include "lib/overlap_count.h"
#include "lib/util.h"

void align_release(struct align *a)
{
	free(a->mask);
	free(a->carry);
	free(a->row);
	free(a->carries);
	free(a->line);
	free(a->ref_line);
	free(a->line_of);
	free(a->words);
	free(a->taken);
	pairs_release(&a->pairs);
	*a = (struct align){0};
}

static void *room(void *p, size_t *cap, size_t want, size_t size)
{
	if (want <= *cap)
		return p;
	size_t old = *cap;
	*cap = 2 * want;
	p = xrealloc_array(p, *cap, size);
	memset((char *)p + old * size, 0, (*cap - old) * size);
	return p;
}

static void mask_set(struct align *a, const int32_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a->mask[x[i]] |= (uint64_t)1 << i;
}

static void mask_clear(struct align *a, const int32_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a->mask[x[i]] = 0;
}

static size_t block_size(size_t n, size_t block)
{
	return n - 64 * block < 64 ? n - 64 * block : 64;
}

/* One step of the table of longest common subsequences: a 0 in v says that the length grows at that word of x. */
static inline uint64_t lcs_step(uint64_t v, uint64_t match, uint64_t carry_in, uint64_t *carry_out)
{
	uint64_t u = v & match, sum;
	bool over = __builtin_add_overflow(v, u, &sum);
	over |= __builtin_add_overflow(sum, carry_in, &sum);
	*carry_out = over;
	return sum | (v & ~match);
}

int64_t align_lcs(struct align *a, const int32_t *x, size_t nx, const int32_t *y, size_t ny, int32_t n_ids)
{
	int64_t length = 0;
	if (nx > ny)
		return align_lcs(a, y, ny, x, nx, n_ids);
	size_t blocks = (nx + 63) / 64;
	a->mask = room(a->mask, &a->mask_cap, (size_t)n_ids, sizeof *a->mask);
	a->carry = room(a->carry, &a->carry_cap, ny, sizeof *a->carry);
	for (size_t b = 0; b < blocks; b++) {
		const int32_t *part = x + 64 * b;
		size_t n = block_size(nx, b);
		uint64_t v = ~(uint64_t)0, carry;
		mask_set(a, part, n);
		for (size_t j = 0; j < ny; j++) {
			v = lcs_step(v, a->mask[y[j]], b ? (uint64_t)a->carry[j] : 0, &carry);
			a->carry[j] = (int8_t)carry;
		}
		mask_clear(a, part, n);
		length += __builtin_popcountll(n < 64 ? ~v & (((uint64_t)1 << n) - 1) : ~v);
	}
	return length;
}

int64_t align_distance(struct align *a, const int32_t *x, size_t nx, const int32_t *y, size_t ny, int32_t n_ids)
{
	if (nx > ny)
		return align_distance(a, y, ny, x, nx, n_ids);
	size_t blocks = (nx + 63) / 64;
	int64_t distance = nx ? (int64_t)nx : (int64_t)ny;
	a->mask = room(a->mask, &a->mask_cap, (size_t)n_ids, sizeof *a->mask);
	a->carry = room(a->carry, &a->carry_cap, ny, sizeof *a->carry);
	for (size_t b = 0; b < blocks; b++) {
		const int32_t *part = x + 64 * b;
		size_t n = block_size(nx, b);
		uint64_t plus = ~(uint64_t)0, minus = 0; /* vertical differences of +1 and -1 */
		mask_set(a, part, n);
		for (size_t j = 0; j < ny; j++) {
			int in = b ? a->carry[j] : 1; /* the first row grows by one a word */
			uint64_t match = a->mask[y[j]], v = match | minus;
			match |= in < 0;
			uint64_t h = (((match & plus) + plus) ^ plus) | match;
			uint64_t h_plus = minus | ~(h | plus), h_minus = plus & h;
			int out = (int)(h_plus >> (n - 1) & 1) - (int)(h_minus >> (n - 1) & 1);
			a->carry[j] = (int8_t)out;
			if (b + 1 == blocks)
				distance += out;
			h_plus = h_plus << 1 | (in > 0);
			h_minus = h_minus << 1 | (in < 0);
			plus = h_minus | ~(v | h_plus);
			minus = h_plus & v;
		}
		mask_clear(a, part, n);
	}
	return distance;
}

/* ---- ROUGE-Lsum ---- */

/* The different lines of a text, how often each is there, and its first place; empty ones are left out. */
static size_t find_lines(struct align *a, const struct words *w, size_t t, struct align_line **out, size_t *cap)
{
	size_t begin = w->text[t].at, end = begin + w->text[t].n, n = 0;
	pairs_clear(&a->pairs, w->text[t].n);
	a->line_of = room(a->line_of, &a->line_of_cap, w->text[t].n + 1, sizeof *a->line_of);
	memset(a->line_of, 0, (w->text[t].n + 1) * sizeof *a->line_of);
	for (size_t l = 0; l < w->n_lines; l++) {
		size_t from = w->line[l], to = l + 1 < w->n_lines ? w->line[l + 1] : w->n_ids;
		if (from < begin || to > end || from == to)
			continue;
		uint32_t id = 0; /* of the words so far; 0: none */
		for (size_t i = from; i < to; i++)
			id = (uint32_t)pairs_intern(&a->pairs, id, (uint32_t)w->ids[i]) + 1;
		if (!a->line_of[id]) {
			*out = room(*out, cap, n + 1, sizeof **out);
			(*out)[n] = (struct align_line){.at = from, .n = to - from};
			a->line_of[id] = ++n;
		}
		(*out)[a->line_of[id] - 1].times++;
	}
	return n;
}

/* The rows of one block of a line of the reference against all lines of the answer; the carries out of it are kept for
 * the block above, where there is one. */
static void fill_block(struct align *a, const struct words *w, size_t n_lines, const uint64_t *in, uint64_t *out)
{
	size_t p = 0;
	for (size_t l = 0; l < n_lines; l++) {
		const int32_t *y = w->ids + a->line[l].at;
		uint64_t v = ~(uint64_t)0, carry;
		for (size_t j = 0; j < a->line[l].n; j++, p++) {
			v = lcs_step(v, a->mask[y[j]], in ? in[p / 64] >> p % 64 & 1 : 0, &carry);
			a->row[p] = ~v;
			if (out && carry)
				out[p / 64] |= (uint64_t)1 << p % 64;
		}
	}
}

/* Walks back from the end of each line of the answer to the lower edge of the block. */
static void walk_block(struct align *a, const struct words *w, size_t n_lines, size_t block_n, uint8_t *taken)
{
	const uint64_t *row = a->row;
	for (size_t l = 0; l < n_lines; row += a->line[l++].n) {
		const int32_t *y = w->ids + a->line[l].at;
		uint64_t below = block_n < 64 ? ((uint64_t)1 << block_n) - 1 : ~(uint64_t)0;
		int64_t j = a->line[l].j;
		while (j > 0 && below) {
			uint64_t match = a->mask[y[j - 1]], here = (match | row[j - 1]) & below;
			if (!here)
				break; /* no step in the answer before the edge: the walk goes straight down */
			int i = 63 - __builtin_clzll(here);
			below &= i == 63 ? ~(uint64_t)0 : ((uint64_t)1 << (i + 1)) - 1;
			if (match >> i & 1) {
				taken[i] = 1;
				below &= ((uint64_t)1 << i) - 1;
			}
			j--;
		}
		a->line[l].j = j;
	}
}

/* Marks in a->taken the words of x that are in a longest common subsequence with some line of the answer. */
static void union_of_line(struct align *a, const struct words *w, size_t n_lines, size_t n_words, const int32_t *x,
                          size_t nx)
{
	size_t blocks = (nx + 63) / 64, bits = (n_words + 63) / 64;
	a->carries = room(a->carries, &a->carries_cap, blocks * bits, sizeof *a->carries);
	memset(a->carries, 0, blocks * bits * sizeof *a->carries);
	for (size_t l = 0; l < n_lines; l++)
		a->line[l].j = (int64_t)a->line[l].n;
	for (size_t b = 0; b + 1 < blocks; b++) {
		mask_set(a, x + 64 * b, 64);
		fill_block(a, w, n_lines, b ? a->carries + b * bits : NULL, a->carries + (b + 1) * bits);
		mask_clear(a, x + 64 * b, 64);
	}
	for (size_t b = blocks; b-- > 0;) {
		size_t n = block_size(nx, b);
		mask_set(a, x + 64 * b, n);
		fill_block(a, w, n_lines, b ? a->carries + b * bits : NULL, NULL);
		walk_block(a, w, n_lines, n, a->taken + 64 * b);
		mask_clear(a, x + 64 * b, n);
	}
}

int64_t align_union(struct align *a, const struct words *w, size_t reference)
{
	size_t n_words = 0, n_ids = (size_t)w->vocab.n;
	int64_t hits = 0;
	size_t n_lines = find_lines(a, w, 0, &a->line, &a->line_cap);
	size_t n_ref_lines = find_lines(a, w, reference, &a->ref_line, &a->ref_line_cap);
	for (size_t l = 0; l < n_lines; l++)
		n_words += a->line[l].n;
	a->mask = room(a->mask, &a->mask_cap, n_ids, sizeof *a->mask);
	a->row = room(a->row, &a->row_cap, n_words, sizeof *a->row);
	a->taken = room(a->taken, &a->taken_cap, w->text[reference].n, sizeof *a->taken);
	a->words = room(a->words, &a->words_cap, n_ids, sizeof *a->words);
	memset(a->words, 0, n_ids * sizeof *a->words);
	for (size_t i = 0; i < w->text[0].n; i++)
		a->words[w->ids[w->text[0].at + i]].in_answer++;
	for (size_t r = 0; r < n_ref_lines; r++) {
		const int32_t *x = w->ids + a->ref_line[r].at;
		size_t nx = a->ref_line[r].n;
		memset(a->taken, 0, nx);
		union_of_line(a, w, n_lines, n_words, x, nx);
		for (size_t i = 0; i < nx; i++)
			if (a->taken[i])
				a->words[x[i]].marked += a->ref_line[r].times;
	}
	for (size_t i = 0; i < n_ids; i++)
		hits += a->words[i].marked < a->words[i].in_answer ? a->words[i].marked : a->words[i].in_answer;
	return hits;
}
