/*
 * select_pool - the records that rl-select chooses from, and which of them are used.
 *
 * A pool is a file of records; each has an id (record_id) that no other has, and a key by a filter.  Which of them are
 * used is kept per name (a trajectory), in memory.
 */
#ifndef LIB_SELECT_POOL_H
#define LIB_SELECT_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/filter.h"
#include "lib/model.h"
#include "lib/select.h"

struct select_item {
	const char *id, *line; /* the line is the whole record */
	size_t id_len, len;
};

struct select_pool {
	struct select_item *item; /* [n], in the order of the file */
	struct select_text *key;  /* [n] */
	int64_t n;
	/* private */
	int64_t cap, *sorted;
	struct arena arena;
};

/* -1 with *e and the line: no record at all, an id that is there twice, a key without a token or too long.  Release in
 * either case. */
int select_pool_read(struct select_pool *p, const char *path, struct filter *key, const struct model_info *m,
                     struct err *e);
void select_pool_release(struct select_pool *p);
/* Its index, or -1. */
int64_t select_pool_find(const struct select_pool *p, const char *id, size_t len);

struct select_used;
struct select_used *select_used_new(int64_t n);
void select_used_free(struct select_used *u);
/* [n] of the name, all false when it is new; borrowed until the end. */
bool *select_used_of(struct select_used *u, const char *name, size_t len);

#endif
