/*
 * weights_kept - the weights of a version, for call after call.
 *
 * A device gets them once and keeps them until another version is asked for; on the host they are mapped for each call
 * and nothing stays, since a view that stays open keeps the writer from using free pages again.  Zeroes: nothing kept.
 */
#ifndef LIB_WEIGHTS_KEPT_H
#define LIB_WEIGHTS_KEPT_H

#include <stdbool.h>

#include "lib/decoder.h"

struct weights_kept {
	struct weights w;
	struct store_ref ref; /* whose; a version never changes */
	bool there;
};

/* As weights_map; borrowed until weights_kept_end.  NULL: *e. */
const struct weights *weights_kept_begin(struct weights_kept *c, const struct kernels *k, const struct tensors *table,
                                         struct store_view *v, const struct store_ref *ref, struct err *e);
/* Before the view is closed. */
void weights_kept_end(struct weights_kept *c);
/* What a device keeps, too. */
void weights_kept_release(struct weights_kept *c);

#endif
