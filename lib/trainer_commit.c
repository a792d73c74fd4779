/* trainer_commit - weights and moments into the store; see trainer.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/trainer.h"
#include "lib/util.h"

/* Tensor i.  as_read: in bf16, where passes read it so.  host: room for it, or NULL when the slab itself can be read.
 */
static int put_weights(struct trainer *t, struct store_update *u, int64_t version, int i, bool as_read, float *host,
                       struct err *e)
{
	const struct tensor *x = &t->info.table.tensor[i];
	const void *shadow = as_read ? weights_shadow_of(&t->w, i) : NULL, *data = t->w.slab + x->offset;
	enum kn_dtype dtype = shadow ? KN_BF16 : KN_F32;
	if (host) {
		t->k->get(t->k->ctx, host, shadow ? shadow : data, (size_t)x->count * (shadow ? 2 : sizeof *host));
		data = host;
	}
	return store_put(u, t->slot, version, x->name, dtype, x->n_dims, x->shape, data, e);
}

static int put_tensors(struct trainer *t, struct store_update *u, int64_t version, bool moments, struct err *e)
{
	const struct tensors *table = &t->info.table;
	int64_t largest = 0;
	for (int i = 0; i < table->n; i++)
		if (!table->tensor[i].frozen && table->tensor[i].count > largest)
			largest = table->tensor[i].count;
	float *host = weights_on_host(t->k) ? NULL : xaligned((size_t)largest * sizeof *host);
	int failed = 0;
	for (int i = 0; i < table->n && !failed; i++) {
		const struct tensor *x = &table->tensor[i];
		if (x->frozen)
			continue;
		failed = put_weights(t, u, version, i, !moments, host, e) ||
		         (moments && (optim_moment_put(&t->m, i, u, t->slot, version, host, e) ||
		                      (t->v.k && optim_moment_put(&t->v, i, u, t->slot, version, host, e))));
	}
	free(host);
	return failed ? -1 : 0;
}

int trainer_put(struct trainer *t, struct store_update *u, int64_t version, struct err *e)
{
	const char *optim = optim_kind_names[t->optim];
	char text[32];
	snprintf(text, sizeof text, "%lld", (long long)t->step);
	if (optim_check_finite(&t->w, "after the update tensor", e) || put_tensors(t, u, version, true, e) ||
	    (t->config && store_put_blob(u, t->slot, "file/config.json", t->config, strlen(t->config), e)) ||
	    store_put_blob(u, t->slot, "trainer/step", text, strlen(text), e) ||
	    store_put_blob(u, t->slot, "trainer/optim", optim, strlen(optim), e) ||
	    store_put_current(u, t->slot, version, e))
		return -1;
	t->version = version;
	return 0;
}

int trainer_publish(struct trainer *t, struct store_update *u, int64_t version, struct err *e)
{
	if (optim_check_finite(&t->w, "after the update tensor", e) || put_tensors(t, u, version, false, e))
		return -1;
	t->version = version;
	return 0;
}
