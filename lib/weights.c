/* weights - tensors where the backend can read them; see decoder.h */
#include <stdlib.h>
#include <string.h>

#include "lib/decoder.h"
#include "lib/decoder_impl.h"
#include "lib/memory.h"
#include "lib/real.h"
#include "lib/util.h"

void weights_begin(struct weights *w, const struct kernels *k, const struct tensors *table)
{
	struct weights_impl *m = xcalloc(1, sizeof *m);
	*w = (struct weights){.k = k, .table = table, .impl = m};
	w->mat = xcalloc((size_t)table->n, sizeof *w->mat);
	m->block = xcalloc((size_t)table->n, sizeof *m->block);
	m->owned = xcalloc((size_t)table->n, sizeof *m->owned);
}

void weights_forget(struct weights *g)
{
	struct weights_impl *m = g->impl;
	for (int i = 0; i < m->n_chunks; i++) {
		g->k->free(g->k->ctx, m->pending[i].dx);
		free(m->pending[i].token);
		free(m->pending[i].pos);
	}
	free(m->pending);
	m->pending = NULL;
	m->n_pending = m->n_chunks = 0;
}

void weights_release(struct weights *w)
{
	struct weights_impl *m = w->impl;
	if (!m)
		return;
	for (int i = 0; i < m->n_owned; i++)
		w->k->free(w->k->ctx, m->owned[i]);
	weights_forget(w);
	w->k->free(w->k->ctx, w->slab);
	free(m->owned);
	free(m->block);
	free(w->mat);
	free(m);
	*w = (struct weights){0};
}

void weights_set_piece(struct weights *w, int i, enum kn_dtype dtype, const void *data)
{
	const struct tensor *t = w->table->tensor + i;
	struct weights_impl *m = w->impl;
	m->block[i] = (struct kn_block){data, t->rows};
	w->mat[i] = (struct kn_mat){dtype, t->rows, t->cols, 1, &m->block[i]};
}

void *weights_own(struct weights *w, size_t bytes)
{
	struct weights_impl *m = w->impl;
	void *p = memory_alloc(w->k, MEMORY_WEIGHTS, bytes ? bytes : 64);
	if (p)
		m->owned[m->n_owned++] = p;
	return p;
}

int weights_zero(struct weights *w, const struct kernels *k, const struct tensors *table, struct err *e)
{
	weights_begin(w, k, table);
	w->slab = memory_alloc(k, MEMORY_WEIGHTS, (size_t)table->size * sizeof(float));
	if (!w->slab) {
		weights_release(w);
		return memory_none(k, e, "no memory for a copy of the model: %lld MB",
		                   (long long)((size_t)table->size * sizeof(float) >> 20));
	}
	for (int i = 0; i < table->n; i++)
		if (!table->tensor[i].frozen)
			weights_set_piece(w, i, KN_F32, w->slab + table->tensor[i].offset);
	return 0;
}

int weights_shadow(struct weights *w, struct err *e)
{
	for (int i = 0; i < w->table->n && w->k->real == KN_BF16; i++) {
		const struct tensor *t = w->table->tensor + i;
		if (t->frozen || t->n_dims != 2)
			continue;
		void *shadow = weights_own(w, real_bytes(w->k, t->count));
		if (!shadow)
			return memory_none(w->k, e, "no memory for tensor '%s' in bfloat16", t->name);
		weights_set_piece(w, i, KN_BF16, shadow);
	}
	return 0;
}

const void *weights_shadow_of(const struct weights *w, int i)
{
	return w->mat[i].dtype == KN_BF16 ? w->mat[i].blocks[0].data : NULL;
}

void weights_refresh(struct weights *w)
{
	for (int i = 0; i < w->table->n; i++) {
		const struct tensor *t = w->table->tensor + i;
		uint16_t *shadow = t->frozen ? NULL : (uint16_t *)(uintptr_t)weights_shadow_of(w, i);
		if (shadow)
			w->k->to_bf16(w->k->ctx, shadow, w->slab + t->offset, t->count);
	}
}

/* ---- gradient rows that wait ---- */

static struct pending *next_chunk(struct weights_impl *m)
{
	if (m->n_pending == m->n_chunks) {
		m->pending = xrealloc_array(m->pending, (size_t)m->n_chunks + 1, sizeof *m->pending);
		m->pending[m->n_chunks++] = (struct pending){0};
	}
	return m->pending + m->n_pending;
}

int weights_pend(struct weights *g, const kn_real *dx, const struct batch *b, int64_t C, struct err *e)
{
	const struct kernels *k = g->k;
	struct weights_impl *m = g->impl;
	struct pending *p = next_chunk(m);
	if (b->N > p->cap) {
		k->free(k->ctx, p->dx);
		p->cap = 0;
		p->dx = memory_alloc_reals(k, MEMORY_GRADIENTS, b->N * C);
		p->token = xrealloc_array(p->token, (size_t)b->N, sizeof *p->token);
		p->pos = xrealloc_array(p->pos, (size_t)b->N, sizeof *p->pos);
		if (!p->dx)
			return memory_none(k, e, "no memory for the embedding's gradient of %lld tokens",
			                   (long long)b->N);
		p->cap = b->N;
	}
	p->N = b->N;
	memcpy(p->token, b->token, (size_t)b->N * sizeof *p->token);
	memcpy(p->pos, b->pos, (size_t)b->N * sizeof *p->pos);
	real_zero(k, p->dx, b->N * C);
	k->add(k->ctx, p->dx, dx, b->N * C);
	m->n_pending++;
	return 0;
}
