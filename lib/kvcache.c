/* kvcache - see decoder.h */
#include <stdlib.h>
#include <string.h>

#include "lib/decoder.h"
#include "lib/memory.h"
#include "lib/real.h"
#include "lib/util.h"

int kvcache_init(struct kvcache *c, const struct kernels *k, const struct arch *arch, int64_t rows, struct err *e)
{
	memset(c, 0, sizeof *c);
	c->k = k;
	c->L = arch->L;
	c->rows = rows;
	c->width = arch_kv_width(arch);
	c->key = xcalloc((size_t)c->L, sizeof *c->key);
	c->value = xcalloc((size_t)c->L, sizeof *c->value);
	size_t bytes;
	bool fits = size_mul((size_t)rows, real_bytes(k, c->width), &bytes);
	for (int64_t l = 0; fits && l < c->L; l++) {
		c->key[l] = memory_alloc(k, MEMORY_CACHE, bytes);
		c->value[l] = memory_alloc(k, MEMORY_CACHE, bytes);
		fits = c->key[l] && c->value[l];
	}
	if (fits)
		return 0;
	kvcache_release(c);
	return memory_none(k, e, "no memory for a cache of %lld tokens: %lld layers of 2 x %lld numbers each",
	                   (long long)rows, (long long)arch->L, (long long)arch_kv_width(arch));
}

void kvcache_release(struct kvcache *c)
{
	for (int64_t l = 0; l < c->L; l++) {
		c->k->free(c->k->ctx, c->key[l]);
		c->k->free(c->k->ctx, c->value[l]);
	}
	free(c->key);
	free(c->value);
	memset(c, 0, sizeof *c);
}

void kvpages_init(struct kvpages *p, int64_t total)
{
	*p = (struct kvpages){xcalloc((size_t)total, sizeof *p->free), total, total};
	for (int64_t i = 0; i < total; i++)
		p->free[i] = (int32_t)(total - 1 - i);
}

void kvpages_release(struct kvpages *p)
{
	free(p->free);
	memset(p, 0, sizeof *p);
}

int64_t kvpages_of(int64_t rows)
{
	return (rows + KN_PAGE - 1) / KN_PAGE;
}

void kvpages_take(struct kvpages *p, int32_t *page, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		page[i] = p->free[--p->n_free];
}

void kvpages_give(struct kvpages *p, const int32_t *page, int64_t n)
{
	while (n > 0)
		p->free[p->n_free++] = page[--n];
}
