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
		while (d->slots[s])
			s = (s + 1) & (d->n_slots - 1);
		d->slots[s] = (uint32_t)i + 1;
	}
}

uint32_t bm25_dict_add(struct bm25_dict *d, const char *text, size_t len, bool *is_new)
{
	uint64_t hash = hash_bytes(text, len, 0x626d3235, 0x64696374);
	size_t s = hash & (d->n_slots - 1);
	for (; d->slots[s]; s = (s + 1) & (d->n_slots - 1)) {
		const struct bm25_word *w = &d->words[d->slots[s] - 1];
		if (w->hash == hash && w->len == len && !memcmp(w->text, text, len)) {
			*is_new = false;
			return d->slots[s] - 1;
		}
	}
	*is_new = true;
	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : FIRST_SLOTS;
		d->words = xrealloc_array(d->words, d->cap, sizeof *d->words);
	}
	d->words[d->n] = (struct bm25_word){arena_strndup(&d->arena, text, len), len, hash};
	d->slots[s] = (uint32_t)++d->n;
	if (2 * d->n > d->n_slots)
		grow_slots(d);
	return (uint32_t)d->n - 1;
}
