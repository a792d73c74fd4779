/* group - see group.h */
#include "lib/group.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

struct groups {
	struct group **slot; /* chains; a power of two of them */
	size_t n_slots, n;
	struct group *first, *last;
};

struct groups *groups_new(void)
{
	struct groups *g = xcalloc(1, sizeof *g);
	g->n_slots = 64;
	g->slot = xcalloc(g->n_slots, sizeof *g->slot);
	return g;
}

void groups_free(struct groups *g)
{
	if (!g)
		return;
	while (g->first)
		groups_remove(g, g->first);
	free(g->slot);
	free(g);
}

static struct group **slot_of(struct groups *g, uint64_t hash)
{
	return &g->slot[hash & (g->n_slots - 1)];
}

static void grow(struct groups *g)
{
	free(g->slot);
	g->n_slots *= 2;
	g->slot = xcalloc(g->n_slots, sizeof *g->slot);
	for (struct group *p = g->first; p; p = p->next) {
		struct group **slot = slot_of(g, p->hash);
		p->chain = *slot;
		*slot = p;
	}
}

static void append(struct groups *g, struct group *one)
{
	one->before = g->last;
	if (g->last)
		g->last->next = one;
	else
		g->first = one;
	g->last = one;
	one->chain = *slot_of(g, one->hash);
	*slot_of(g, one->hash) = one;
	if (++g->n > g->n_slots)
		grow(g);
}

struct group *groups_get(struct groups *g, const char *key, size_t len)
{
	uint64_t hash = hash_bytes(key, len, 0x67726f7570, 0);
	for (struct group *p = *slot_of(g, hash); p; p = p->chain)
		if (p->hash == hash && p->key_len == len && !memcmp(p->key, key, len))
			return p;
	struct group *one = xcalloc(1, sizeof *one);
	one->key = xstrndup(key, len);
	one->key_len = len;
	one->hash = hash;
	str_init(&one->text);
	append(g, one);
	return one;
}

struct group *groups_first(struct groups *g)
{
	return g->first;
}

void groups_remove(struct groups *g, struct group *one)
{
	struct group **p = slot_of(g, one->hash);
	while (*p != one)
		p = &(*p)->chain;
	*p = one->chain;
	*(one->before ? &one->before->next : &g->first) = one->next;
	*(one->next ? &one->next->before : &g->last) = one->before;
	g->n--;
	str_release(&one->text);
	free(one->key);
	free(one);
}
