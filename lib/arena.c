/* arena - see arena.h */
#include "lib/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap;
	_Alignas(16) char data[];
};

enum { FIRST_CHUNK = 64 * 1024 };

void arena_init(struct arena *a)
{
	*a = (struct arena){0};
}

void arena_release(struct arena *a)
{
	for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	arena_init(a);
}

/* Keeps the newest chunk, which is the largest: after a few records there is just one. */
void arena_reset(struct arena *a)
{
	if (!a->chunks)
		return;
	for (struct arena_chunk *c = a->chunks->next, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	a->chunks->next = NULL;
	a->used = 0;
}

static void arena_grow(struct arena *a, size_t bytes)
{
	size_t cap = a->cap ? a->cap * 2 : FIRST_CHUNK;
	if (cap < bytes)
		cap = bytes;
	struct arena_chunk *c = xmalloc(sizeof *c + cap);
	c->next = a->chunks;
	c->cap = cap;
	a->chunks = c;
	a->used = 0;
	a->cap = cap;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	size_t rounded;
	if (!size_add(bytes, 15, &rounded))
		rounded = SIZE_MAX;
	rounded &= ~(size_t)15;
	if (!a->chunks || rounded > a->cap - a->used)
		arena_grow(a, rounded);
	void *p = a->chunks->data + a->used;
	a->used += rounded;
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;
	if (!size_mul(n, size, &bytes))
		bytes = SIZE_MAX - 64;
	void *p = arena_alloc(a, bytes);
	memset(p, 0, bytes);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = arena_alloc(a, n + 1);
	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}
