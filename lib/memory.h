/*
 * memory - what a run needs of the backend's memory: counted as it is allocated, or planned before.
 *
 * A table that is watched counts each alloc and free by kind.  A planner is a table that only counts: its ops do
 * nothing, and what it gives is address space that no memory is behind until it is touched.  So a plan comes from the
 * very code that computes later, run once over rows of the sizes in question, and cannot say another number than that.
 */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"
#include "lib/err.h"
#include "lib/str.h"

enum memory_kind {
	MEMORY_SCRATCH, /* what is said to be nothing else */
	MEMORY_WEIGHTS,
	MEMORY_GRADIENTS,   /* rows of an embedding's gradient that wait are among them */
	MEMORY_MOMENTS,     /* of the optimizer */
	MEMORY_ACTIVATIONS, /* of a pass */
	MEMORY_CACHE,       /* keys and values */
	MEMORY_LOGITS,      /* and scratch of the head */
	MEMORY_KINDS
};
extern const char *const memory_kind_names[MEMORY_KINDS];

/* Bytes, as they were asked for. */
struct memory_use {
	size_t now, high;             /* in all: now, and the most so far */
	size_t at_high[MEMORY_KINDS]; /* of which kinds that was */
	size_t of[MEMORY_KINDS];      /* now */
	size_t peak[MEMORY_KINDS];    /* the most of each, at different times */
};

/* From now on k->alloc and k->free count; until memory_unwatch, which leaves k as it was. */
void memory_watch(struct kernels *k);
void memory_unwatch(struct kernels *k);
/* NULL when nobody watches. */
const struct memory_use *memory_use(const struct kernels *k);

/* k->alloc of one kind; freed by k->free. */
void *memory_alloc(const struct kernels *k, enum memory_kind kind, size_t bytes);
kn_real *memory_alloc_reals(const struct kernels *k, enum memory_kind kind, int64_t n);
/* All that is allocated is of this kind, whatever memory_alloc says; until it is called with MEMORY_SCRATCH. */
void memory_as(const struct kernels *k, enum memory_kind kind);
/* An alloc gave NULL.  The error is the device's own, if it has failed before, else this line. */
int memory_none(const struct kernels *k, struct err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- plans ---- */

/* A table like k, for planning; k is borrowed.  Its name and real are those of k, and so is what head_scratch says. */
struct kernels *memory_planner(const struct kernels *k);
void memory_planner_free(struct kernels *planner);
/* Is k a planner?  Then numbers need not be read into it. */
bool memory_is_planner(const struct kernels *k);

struct memory_plan {
	struct memory_use use;
	size_t own;         /* what the backend has already for itself: staging, workspaces */
	size_t free, total; /* of the device, or of the host; 0: not known */
	bool device;
};
/* What the planner has counted, beside what there is. */
void memory_plan_take(struct memory_plan *p, const struct kernels *planner);
bool memory_plan_fits(const struct memory_plan *p);
/* One JSON object, without newline. */
void memory_plan_json(const struct memory_plan *p, const struct kernels *k, struct str *out);
/* -1 with needed, free and missing bytes when it does not fit. */
int memory_plan_check(const struct memory_plan *p, struct err *e);
/* Does anybody want a plan: to print it, or because k is a device, where it is checked? */
bool memory_plan_wanted(const struct kernels *k, bool print);
/*
 * What becomes of a plan.  print: it goes to standard output as a line, and nothing else is to be done: 1, or -1 when
 * it does not fit.  Else 0, or -1 when it does not fit on the device; of the host nobody knows.
 */
int memory_plan_settle(const struct kernels *planner, bool print, struct err *e);

/* What `use` has come to, as one JSON object without newline. */
void memory_use_json(const struct memory_use *use, const struct kernels *k, struct str *out);

#endif
