/* bm25_dict - byte strings to small numbers; see bm25_impl.h */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { FIRST_SLOTS = 1024 };

void bm25_dict_init(struct bm25_dict *d)
{
	memset(d, 0, sizeof *d);
	arena_init(&d->arena);
	d->n_slots = FIRST_SLOTS;
	d->slots = xcalloc(d->n_slots, sizeof *d->slots);
}

void bm25_dict_release(struct bm25_dict *d)
{
	arena_release(&d->arena);
	free(d->words);
	free(d->slots);
}

static void grow_slots(struct bm25_dict *d)
{
	free(d->slots);
	d->n_slots *= 2;
	d->slots = xcalloc(d->n_slots, sizeof *d->slots);
	for (size_t i = 0; i < d->n; i++) {
		size_t s = d->words[i].hash & (d->n_slots - 1);
		while (d->slots[s].number)
			s = (s + 1) & (d->n_slots - 1);
		d->slots[s] = (struct bm25_slot){(uint32_t)i + 1, (uint32_t)(d->words[i].hash >> 32)};
	}
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Fewer than eight, by loads of fixed size. */
static uint64_t last_bytes(const unsigned char *p, size_t len)
{
	uint32_t head, tail;
	if (len < 4)
		return len ? (uint64_t)p[0] << 16 | (uint64_t)p[len / 2] << 8 | p[len - 1] : 0;
	memcpy(&head, p, sizeof head);
	memcpy(&tail, p + len - sizeof tail, sizeof tail);
	return (uint64_t)head << 32 | tail;
}

/* Eight bytes a step by folded multiplication: words are short, and their numbers do not depend on the hash. */
uint64_t bm25_dict_hash(const char *text, size_t len)
{
	uint64_t h = len ^ 0x9e3779b97f4a7c15, x;
	for (; len >= 8; len -= 8, text += 8) {
		memcpy(&x, text, 8);
		h = mix(h ^ x, 0xd6e8feb86659fd93);
	}
	return mix(h ^ last_bytes((const unsigned char *)text, len), 0xa0761d6478bd642f);
}

static bool is_word(const struct bm25_word *w, uint64_t hash, const char *text, size_t len)
{
	if (w->hash != hash || w->len != len)
		return false;
	return len <= BM25_WORD_HEAD ? !memcmp(w->head, text, len) : !memcmp(w->text, text, len);
}

void bm25_dict_fetch_slot(const struct bm25_dict *d, uint64_t hash)
{
	__builtin_prefetch(&d->slots[hash & (d->n_slots - 1)]);
}

void bm25_dict_fetch_word(const struct bm25_dict *d, uint64_t hash)
{
	uint32_t number = d->slots[hash & (d->n_slots - 1)].number;
	if (number)
		__builtin_prefetch(&d->words[number - 1]);
}

uint32_t bm25_dict_add(struct bm25_dict *d, const char *text, size_t len, bool *is_new)
{
	return bm25_dict_add_hashed(d, text, len, bm25_dict_hash(text, len), is_new);
}

uint32_t bm25_dict_add_hashed(struct bm25_dict *d, const char *text, size_t len, uint64_t hash, bool *is_new)
{
	size_t s = hash & (d->n_slots - 1);
	for (; d->slots[s].number; s = (s + 1) & (d->n_slots - 1)) {
		if (d->slots[s].tag != (uint32_t)(hash >> 32) ||
		    !is_word(&d->words[d->slots[s].number - 1], hash, text, len))
			continue;
		*is_new = false;
		return d->slots[s].number - 1;
	}
	*is_new = true;
	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : FIRST_SLOTS;
		d->words = xrealloc_array(d->words, d->cap, sizeof *d->words);
	}
	struct bm25_word *w = &d->words[d->n];
	*w = (struct bm25_word){arena_strndup(&d->arena, text, len), hash, (uint32_t)len, {0}};
	memcpy(w->head, text, len < BM25_WORD_HEAD ? len : BM25_WORD_HEAD);
	d->text_bytes += len + 17; /* rounded up to 16 */
	d->slots[s] = (struct bm25_slot){(uint32_t)++d->n, (uint32_t)(hash >> 32)};
	if (2 * d->n > d->n_slots)
		grow_slots(d);
	return (uint32_t)d->n - 1;
}

size_t bm25_dict_arrays(const struct bm25_dict *d)
{
	return d->cap * sizeof *d->words + d->n_slots * sizeof *d->slots;
}
