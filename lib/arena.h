/*
 * arena - memory that is given back all at once.
 *
 * One arena per record: everything made while a record is processed lives in
 * it, and nothing there is freed by hand.  arena_reset keeps the memory.
 */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include <stddef.h>

struct arena_chunk;
struct arena {
	struct arena_chunk *chunks; /* newest first */
	size_t used, cap;           /* of the newest chunk */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a);
/* Forgets all that was allocated; pointers into the arena end here. */
void arena_reset(struct arena *a);

/* 16-byte aligned, not zeroed; never NULL. */
void *arena_alloc(struct arena *a, size_t bytes);
/* n elements of `size` bytes, product checked, zeroed. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* A terminated copy. */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
