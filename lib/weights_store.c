/* weights_store - tensors of a version in the store, mapped or copied; see decoder.h */
#include <stdlib.h>
#include <string.h>

#include "lib/decoder.h"
#include "lib/decoder_impl.h"
#include "lib/lora.h"
#include "lib/memory.h"
#include "lib/real.h"
#include "lib/safetensors.h"
#include "lib/util.h"

bool weights_on_host(const struct kernels *k)
{
	return strncmp(k->name, "cuda", 4) != 0;
}

static size_t width(enum kn_dtype dtype)
{
	return dtype == KN_F32 ? 4 : 2;
}

/* ---- conversion on the host ---- */

static void to_float(float *y, enum kn_dtype dtype, const void *x, int64_t n)
{
	const uint16_t *h = x;
	if (dtype == KN_F32)
		memcpy(y, x, (size_t)n * sizeof *y);
	for (int64_t i = 0; i < n && dtype != KN_F32; i++)
		y[i] = dtype == KN_BF16 ? bf16_to_float(h[i]) : half_to_float(h[i]);
}

/* A stored tensor to float32 in backend memory. */
static int put_floats(const struct kernels *k, float *dst, const struct store_tensor *t, int64_t cols)
{
	for (int b = 0; b < t->n_blocks; b++) {
		int64_t n = t->blocks[b].rows * cols;
		if (t->dtype == KN_F32) {
			k->put(k->ctx, dst, t->blocks[b].data, (size_t)n * sizeof(float));
		} else {
			float *host = xmalloc((size_t)n * sizeof(float));
			to_float(host, t->dtype, t->blocks[b].data, n);
			k->put(k->ctx, dst, host, (size_t)n * sizeof(float));
			free(host);
		}
		dst += n;
	}
	return 0;
}

/* The same to bf16, on a table of bf16. */
static void put_reals(const struct kernels *k, kn_real *dst, const struct store_tensor *t, int64_t cols)
{
	for (int b = 0; b < t->n_blocks; b++) {
		int64_t n = t->blocks[b].rows * cols;
		const void *data = t->blocks[b].data;
		if (t->dtype == KN_BF16) {
			k->put(k->ctx, dst, data, real_bytes(k, n));
		} else {
			float *host = t->dtype == KN_F32 ? NULL : xmalloc((size_t)n * sizeof(float));
			if (host)
				to_float(host, t->dtype, data, n);
			real_put(k, dst, host ? host : data, n);
			free(host);
		}
		dst = real_at(k, dst, n);
	}
}

/* ---- from the store ---- */

/* A tensor shaped as t, as it is stored under `name`: 1 with shape and pieces checked, 0 when there is none, -1. */
static int look_up(const struct tensor *t, const char *name, struct store_view *v, const struct store_ref *ref,
                   struct store_tensor *out, struct err *e)
{
	char have[TENSOR_SHAPE_TEXT], want[TENSOR_SHAPE_TEXT];
	int found = store_get(v, ref, name, out, e);
	if (found <= 0)
		return found;
	if (out->n_dims != t->n_dims || memcmp(out->shape, t->shape, (size_t)t->n_dims * sizeof *t->shape))
		return err_set(e, "tensor '%s' is %s, expected %s", name,
		               tensor_shape_text(have, out->n_dims, out->shape),
		               tensor_shape_text(want, t->n_dims, t->shape));
	if (out->dtype == KN_U8)
		return err_set(e, "tensor '%s' is codes of 8 bits, expected numbers", name);
	int64_t rows = 0;
	for (int b = 0; b < out->n_blocks; b++)
		rows += out->blocks[b].rows;
	if (rows != t->rows || (t->n_dims == 1 && out->n_blocks != 1))
		return err_set(e, "tensor '%s' is stored in pieces of %lld rows, expected %lld", name, (long long)rows,
		               (long long)t->rows);
	return 1;
}

/* A tensor of the table: 1; 0 for a value head that this version does not have yet (it is zero then); -1. */
static int find(const struct tensor *t, struct store_view *v, const struct store_ref *ref, struct store_tensor *out,
                struct err *e)
{
	int found = look_up(t, t->name, v, ref, out, e);
	if (found || t->part == PART_SCORE)
		return found;
	return err_set(e, "%s@%lld has no tensor '%s'", ref->slot, (long long)ref->version, t->name);
}

int weights_read(const struct kernels *k, float *dst, const struct tensor *t, const char *name, struct store_view *v,
                 const struct store_ref *ref, struct err *e)
{
	struct store_tensor s;
	int found = look_up(t, name, v, ref, &s, e);
	if (found > 0)
		put_floats(k, dst, &s, t->cols);
	return found;
}

/* As it lies in the file, but vectors in float32. */
static int map_host(struct weights *w, int i, const struct store_tensor *s, struct err *e)
{
	const struct tensor *t = w->table->tensor + i;
	if (t->n_dims == 2) {
		w->mat[i] = (struct kn_mat){s->dtype, t->rows, t->cols, s->n_blocks, s->blocks};
		return 0;
	}
	if (s->dtype == KN_F32) {
		weights_set_piece(w, i, KN_F32, s->blocks[0].data);
		return 0;
	}
	float *copy = weights_own(w, (size_t)t->count * sizeof *copy);
	if (!copy)
		return memory_none(w->k, e, "no memory for tensor '%s'", t->name);
	to_float(copy, s->dtype, s->blocks[0].data, t->count);
	weights_set_piece(w, i, KN_F32, copy);
	return 0;
}

static int map_zero(struct weights *w, int i, struct err *e)
{
	float *zero = weights_own(w, (size_t)w->table->tensor[i].count * sizeof *zero);
	if (!zero)
		return memory_none(w->k, e, "no memory for tensor '%s'", w->table->tensor[i].name);
	weights_set_piece(w, i, KN_F32, zero);
	return 0;
}

/* A copy in device memory; matrices keep their dtype, but on a table of bf16, where they are that. */
static int map_device(struct weights *w, int i, const struct store_tensor *s, struct err *e)
{
	const struct tensor *t = w->table->tensor + i;
	bool narrow = t->n_dims == 2 && w->k->real == KN_BF16;
	enum kn_dtype dtype = narrow ? KN_BF16 : t->n_dims == 2 ? s->dtype : KN_F32;
	void *owned = weights_own(w, (size_t)t->count * width(dtype));
	char *copy = owned;
	if (!owned)
		return memory_none(w->k, e, "no memory on the device for tensor '%s'", t->name);
	weights_set_piece(w, i, dtype, owned);
	if (narrow)
		put_reals(w->k, owned, s, t->cols);
	if (narrow || dtype != s->dtype)
		return narrow ? 0 : put_floats(w->k, owned, s, t->cols);
	for (int b = 0; b < s->n_blocks; b++) {
		size_t bytes = (size_t)(s->blocks[b].rows * t->cols) * width(dtype);
		w->k->put(w->k->ctx, copy, s->blocks[b].data, bytes);
		copy += bytes;
	}
	return 0;
}

static int map_one(struct weights *w, int i, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	struct store_tensor s;
	int found = find(w->table->tensor + i, v, ref, &s, e);
	if (found <= 0)
		return found ? -1 : map_zero(w, i, e);
	return (weights_on_host(w->k) ? map_host : map_device)(w, i, &s, e);
}

static bool any_frozen(const struct tensors *t)
{
	return t->n && t->tensor[0].frozen; /* what comes first in a table is the base's */
}

int weights_map(struct weights *w, const struct kernels *k, const struct tensors *table, struct store_view *v,
                const struct store_ref *ref, struct err *e)
{
	struct store_ref base = *ref;
	if (any_frozen(table) && lora_base(v, ref->slot, &base, e))
		return -1;
	weights_begin(w, k, table);
	for (int i = 0; i < table->n; i++)
		if (map_one(w, i, v, table->tensor[i].frozen ? &base : ref, e)) {
			weights_release(w);
			return -1;
		}
	return 0;
}

int weights_map_frozen(struct weights *w, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	struct store_ref base;
	struct weights_impl *m = w->impl;
	bool host = weights_on_host(w->k);
	if (!any_frozen(w->table) || (!host && w->mat[0].n_blocks))
		return 0;
	if (lora_base(v, ref->slot, &base, e))
		return -1;
	while (host && m->n_owned) /* vectors that were converted for the view before */
		w->k->free(w->k->ctx, m->owned[--m->n_owned]);
	for (int i = 0; i < w->table->n; i++)
		if (w->table->tensor[i].frozen && map_one(w, i, v, &base, e))
			return -1;
	return 0;
}

int weights_copy(struct weights *w, const struct kernels *k, const struct tensors *table, struct store_view *v,
                 const struct store_ref *ref, struct err *e)
{
	if (weights_zero(w, k, table, e))
		return -1;
	for (int i = 0; i < table->n; i++) {
		const struct tensor *t = table->tensor + i;
		struct store_tensor s;
		int found = t->frozen ? 0 : find(t, v, ref, &s, e);
		if (found < 0) {
			weights_release(w);
			return -1;
		}
		if (found)
			put_floats(k, w->slab + t->offset, &s, t->cols);
	}
	return 0;
}
