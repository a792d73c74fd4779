/*
 * model_show - what a store holds, in words or as JSON, and whether all of it is whole.
 */
#ifndef LIB_MODEL_SHOW_H
#define LIB_MODEL_SHOW_H

#include <stdbool.h>

#include "lib/err.h"
#include "lib/store.h"
#include "lib/str.h"

/* Slots with architecture, weights, files; snapshots; size.  One JSON object, or lines. */
int model_show(struct store_view *v, const char *path, bool json, struct str *out, struct err *e);

/*
 * The log (lib/model_log.c): entries as they are, or in words: a line for each with its metrics, and the command where
 * it is not that of the entry before.  name: "" for all of it; a slot; a snapshot or SLOT@VERSION (which need not be
 * there any more) for what made that version, in full.  -1 when the log has nothing of it.
 */
int model_show_log(struct store_view *v, const char *name, bool json, struct str *out, struct err *e);

/* Reads everything there is, and compares checksums.  Each fault becomes a line of *faults; 0 also when there are some.
 */
struct model_verified {
	int64_t versions, tensors, blobs, entries, faults;
	struct str lines;
};
void model_verify(struct store_view *v, struct model_verified *out);
/* The same in words: what was counted, and the faults, a line each. */
void model_show_verified(struct store_view *v, bool json, struct str *out, struct str *faults);

#endif
