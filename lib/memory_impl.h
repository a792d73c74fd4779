/* memory_impl - what the files of memory share. */
#ifndef LIB_MEMORY_IMPL_H
#define LIB_MEMORY_IMPL_H

#include "lib/memory.h"

struct memory_piece {
	const void *p;
	size_t bytes;
	enum memory_kind kind;
};

struct memory_count {
	struct memory_use use;
	enum memory_kind one, all;  /* kind of the next piece, unless `all` says another */
	struct memory_piece *piece; /* that are allocated now */
	size_t n, cap;
};
void memory_count_take(struct memory_count *c, void *p, size_t bytes);
/* How large it was; 0 for one that is not known. */
size_t memory_count_give(struct memory_count *c, const void *p);

struct memory_count *memory_planner_count(const struct kernels *planner);
const struct kernels *memory_planner_of(const struct kernels *planner);

#endif
