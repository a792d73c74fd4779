/*
 * group - things collected by key until their group is whole.
 *
 * Groups are kept in the order in which they began, and found by key in constant time.  What is collected is text; the
 * caller says when a group is whole and takes it out.
 */
#ifndef LIB_GROUP_H
#define LIB_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

struct group {
	char *key;
	size_t key_len;
	struct str text; /* the caller's */
	int64_t n, of, passed;
	/* private */
	uint64_t hash;
	struct group *next, *before, *chain;
};

struct groups;

struct groups *groups_new(void);
void groups_free(struct groups *g); /* with all that are left */
/* The group of this key, begun (zeroed) when there is none. */
struct group *groups_get(struct groups *g, const char *key, size_t len);
/* The one that began first, or NULL. */
struct group *groups_first(struct groups *g);
void groups_remove(struct groups *g, struct group *one); /* and frees it */

#endif
