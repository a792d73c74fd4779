/* weights_kept - see weights_kept.h */
#include "lib/weights_kept.h"

#include <string.h>

void weights_kept_release(struct weights_kept *c)
{
	if (c->there)
		weights_release(&c->w);
	c->there = false;
}

const struct weights *weights_kept_begin(struct weights_kept *c, const struct kernels *k, const struct tensors *table,
                                         struct store_view *v, const struct store_ref *ref, struct err *e)
{
	if (c->there && c->ref.version == ref->version && !strcmp(c->ref.slot, ref->slot)) {
		c->w.table = table;
		return &c->w;
	}
	weights_kept_release(c);
	if (weights_map(&c->w, k, table, v, ref, e))
		return NULL;
	c->ref = *ref;
	c->there = true;
	return &c->w;
}

void weights_kept_end(struct weights_kept *c)
{
	if (c->there && weights_on_host(c->w.k))
		weights_kept_release(c);
}
