/*
 * eval_group - the value that records are grouped by.
 */
#ifndef LIB_EVAL_GROUP_H
#define LIB_EVAL_GROUP_H

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/filter.h"
#include "lib/record.h"

/* Its JSON text, the same for equal numbers however they are written (*name is the caller's): 1; 0 with NULL when it is
 * absent or null; -1 when it is an array or an object. */
int eval_group_of(struct filter *f, struct record *r, char **name, struct arena *a, struct err *e);
/* The order of two: false, true, numbers by size, strings in natural order ("2k" before "16k"). */
int eval_group_order(const char *a, const char *b);

#endif
