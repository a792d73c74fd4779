/* optim_moment - see optim_moment.h */
#include "lib/optim_moment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/memory.h"
#include "lib/util.h"

/* ---- the map ---- */

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

void optim_moment_map(float map[OPTIM_MOMENT_CODES], bool with_sign)
{
	static const double decade[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
	int n = 0;
	for (int d = 0; d < 7; d++) {
		int parts = (with_sign ? 1 : 2) << d;
		for (int i = 0; i < parts; i++) {
			float x = (float)(decade[d] * (.1 + .9 * (i + .5) / parts));
			map[n++] = x;
			if (with_sign)
				map[n++] = -x;
		}
	}
	map[n++] = 0;
	map[n++] = 1;
	qsort(map, OPTIM_MOMENT_CODES, sizeof *map, by_size);
}

/* ---- memory ---- */

static bool packs(const struct tensor *t)
{
	return t->count >= OPTIM_MOMENT_LEAST && t->role != TENSOR_EMBEDDING && t->role != TENSOR_POSITION;
}

static int64_t rounded(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

/* Where each tensor goes. */
static void lay_out(struct optim_moment *m, bool eight)
{
	m->at = xcalloc((size_t)m->table->n, sizeof *m->at);
	for (int i = 0; i < m->table->n; i++) {
		const struct tensor *t = &m->table->tensor[i];
		bool packed = eight && packs(t);
		int64_t *end = packed ? &m->n_code : &m->n_slab;
		m->at[i] = t->frozen ? -1 : eight ? *end : t->offset;
		if (!t->frozen)
			*end += rounded(t->count, packed ? KN_BLOCK8 : 16);
	}
	if (!eight)
		m->n_slab = m->table->size;
}

static size_t code_bytes(const struct optim_moment *m)
{
	return (size_t)m->n_code;
}

static size_t absmax_bytes(const struct optim_moment *m)
{
	return (size_t)(m->n_code / KN_BLOCK8) * sizeof(float);
}

static size_t slab_bytes(const struct optim_moment *m)
{
	return (size_t)m->n_slab * sizeof(float);
}

int optim_moment_init(struct optim_moment *m, const struct kernels *k, const struct tensors *table, bool second,
                      bool eight, struct err *e)
{
	float map[OPTIM_MOMENT_CODES];
	*m = (struct optim_moment){.k = k, .table = table, .name = second ? "adam.v" : "adam.m"};
	lay_out(m, eight);
	m->slab = memory_alloc(k, MEMORY_MOMENTS, m->n_slab ? slab_bytes(m) : 64);
	if (m->n_code) {
		m->code = memory_alloc(k, MEMORY_MOMENTS, code_bytes(m));
		m->absmax = memory_alloc(k, MEMORY_MOMENTS, absmax_bytes(m));
		m->map = memory_alloc(k, MEMORY_MOMENTS, sizeof map);
	}
	if (!m->slab || (m->n_code && (!m->code || !m->absmax || !m->map))) {
		size_t bytes = slab_bytes(m) + code_bytes(m) + absmax_bytes(m);
		optim_moment_release(m);
		return memory_none(k, e, "no memory for a moment of the optimizer: %zu MB", bytes >> 20);
	}
	optim_moment_map(map, !second);
	if (m->map)
		k->put(k->ctx, m->map, map, sizeof map);
	return 0;
}

void optim_moment_release(struct optim_moment *m)
{
	if (!m->k)
		return;
	m->k->free(m->k->ctx, m->slab);
	m->k->free(m->k->ctx, m->code);
	m->k->free(m->k->ctx, m->absmax);
	m->k->free(m->k->ctx, m->map);
	free(m->at);
	*m = (struct optim_moment){0};
}

void optim_moment_zero(struct optim_moment *m)
{
	m->k->zero(m->k->ctx, m->slab, slab_bytes(m));
	if (!m->n_code)
		return;
	m->k->zero(m->k->ctx, m->code, code_bytes(m));
	m->k->zero(m->k->ctx, m->absmax, absmax_bytes(m));
}

bool optim_moment_in_8_bits(const struct optim_moment *m, int i)
{
	return m->code && packs(&m->table->tensor[i]);
}

static int64_t blocks_of(const struct tensor *t)
{
	return (t->count + KN_BLOCK8 - 1) / KN_BLOCK8;
}

struct kn_moment8 optim_moment_view(const struct optim_moment *m, int i)
{
	return (struct kn_moment8){m->code + m->at[i], m->absmax + m->at[i] / KN_BLOCK8, m->map};
}

int optim_moment_check_finite(const struct optim_moment *m, const char *what, struct err *e)
{
	for (int i = 0; i < m->table->n; i++) {
		const struct tensor *t = &m->table->tensor[i];
		if (t->frozen)
			continue;
		bool packed = optim_moment_in_8_bits(m, i);
		const float *x = packed ? optim_moment_view(m, i).absmax : m->slab + m->at[i];
		int64_t n = packed ? blocks_of(t) : t->count, bad = m->k->count_nonfinite(m->k->ctx, x, n);
		if (bad)
			return err_set(e, "%s '%s' has %lld of %lld %s that are NaN or infinite", what, t->name,
			               (long long)bad, (long long)n, packed ? "blocks" : "elements");
	}
	return 0;
}

/* ---- the store ---- */

#define NAME_SIZE 128

static void name_of(char name[NAME_SIZE], const struct optim_moment *m, const struct tensor *t, bool absmax)
{
	snprintf(name, NAME_SIZE, "%s%s/%s", m->name, absmax ? ".absmax" : "", t->name);
}

/* absmax of a tensor, as a tensor. */
static struct tensor absmax_of(const struct tensor *t)
{
	int64_t n = blocks_of(t);
	return (struct tensor){.n_dims = 1, .shape = {n}, .rows = 1, .cols = n, .count = n};
}

/* 1, 0 when there is none, -1. */
static int read_floats(const struct optim_moment *m, float *to, const struct tensor *shape, const char *name,
                       struct store_view *v, const struct store_ref *ref, struct err *e)
{
	int got = weights_read(m->k, to, shape, name, v, ref, e);
	return got > 0 && store_check(v, ref, name, e) ? -1 : got;
}

static int read_codes(const struct optim_moment *m, uint8_t *to, const struct tensor *t, const char *name,
                      struct store_view *v, const struct store_ref *ref, struct err *e)
{
	struct store_tensor s;
	int got = store_get(v, ref, name, &s, e);
	if (got <= 0)
		return got;
	if (s.dtype != KN_U8 || s.bytes != (size_t)t->count)
		return err_set(e, "tensor '%s' is %zu bytes%s, expected %lld codes of 8 bits", name, s.bytes,
		               s.dtype == KN_U8 ? "" : " that are no codes", (long long)t->count);
	if (store_check(v, ref, name, e))
		return -1;
	for (int b = 0; b < s.n_blocks; b++) {
		size_t bytes = (size_t)(s.blocks[b].rows * t->cols);
		m->k->put(m->k->ctx, to, s.blocks[b].data, bytes);
		to += bytes;
	}
	return 1;
}

static int read_packed(struct optim_moment *m, int i, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	char name[NAME_SIZE];
	const struct tensor *t = &m->table->tensor[i], shape = absmax_of(t);
	struct kn_moment8 to = optim_moment_view(m, i);
	name_of(name, m, t, false);
	int got = read_codes(m, to.code, t, name, v, ref, e);
	if (got <= 0)
		return got;
	name_of(name, m, t, true);
	got = read_floats(m, to.absmax, &shape, name, v, ref, e);
	return got == 0 ? err_set(e, "%s@%lld has no tensor '%s'", ref->slot, (long long)ref->version, name) : got;
}

int optim_moment_read(struct optim_moment *m, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	for (int i = 0; i < m->table->n; i++) {
		const struct tensor *t = &m->table->tensor[i];
		char name[NAME_SIZE];
		if (t->frozen)
			continue;
		name_of(name, m, t, false);
		int got = optim_moment_in_8_bits(m, i) ? read_packed(m, i, v, ref, e)
		                                       : read_floats(m, m->slab + m->at[i], t, name, v, ref, e);
		if (got < 0)
			return -1;
	}
	return 0;
}

static const void *fetched(const struct optim_moment *m, const void *from, size_t bytes, void *host)
{
	if (host)
		m->k->get(m->k->ctx, host, from, bytes);
	return host ? host : from;
}

int optim_moment_put(const struct optim_moment *m, int i, struct store_update *u, const char *slot, int64_t version,
                     float *host, struct err *e)
{
	char name[NAME_SIZE];
	const struct tensor *t = &m->table->tensor[i], shape = absmax_of(t);
	name_of(name, m, t, false);
	if (!optim_moment_in_8_bits(m, i))
		return store_put(u, slot, version, name, KN_F32, t->n_dims, t->shape,
		                 fetched(m, m->slab + m->at[i], (size_t)t->count * sizeof *host, host), e);
	struct kn_moment8 x = optim_moment_view(m, i);
	if (store_put(u, slot, version, name, KN_U8, t->n_dims, t->shape, fetched(m, x.code, (size_t)t->count, host),
	              e))
		return -1;
	name_of(name, m, t, true);
	return store_put(u, slot, version, name, KN_F32, 1, shape.shape,
	                 fetched(m, x.absmax, (size_t)shape.count * sizeof *host, host), e);
}
