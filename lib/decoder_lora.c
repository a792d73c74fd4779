/*
 * decoder_lora - what an adapter adds to a product and its gradients; see lora.h
 *
 * In fixed order: u = A x, us = s u, y += B us; backward dB += dy us^T, du = s B^T dy, dA += du x^T, dx += A^T du.
 * u is computed again in the backward pass: it is as cheap as keeping it.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/decoder_impl.h"
#include "lib/rng.h"
#include "lib/util.h"

struct pair {
	const struct kn_mat *a, *b;
	int at; /* of A in the table; B is the next */
	float scale;
};

/* The adapter of a block's matrix: false when it has none. */
static bool find_pair(const struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part,
                      struct pair *p)
{
	int i = tensors_part(d->table, layer, part);
	int at = i < 0 ? -1 : d->table->tensor[i].lora;
	if (at < 0)
		return false;
	*p = (struct pair){&w->mat[at], &w->mat[at + 1], at, (float)d->table->lora_scale};
	return true;
}

/*
 * x with a share of its elements taken out and the others made larger for it.  The draw of an element depends on the
 * key, the matrix, the token's place in the mini-batch and the column: on nothing that micro-batches or threads change.
 */
static const kn_real *dropped(struct decoder *d, int at, const kn_real *x, int64_t N, int64_t cols, kn_real *mask,
                              kn_real *y)
{
	const struct decoder_impl *m = d->impl;
	const char *name = d->table->tensor[at].name;
	uint64_t id = rng_id(name, strlen(name));
	uint32_t least = (uint32_t)(d->table->lora_dropout * 4294967296.0);
	float kept = (float)(1 / (1 - d->table->lora_dropout));
	float *host = xmalloc((size_t)(N * cols) * sizeof *host);
	for (int64_t n = 0; n < N; n++)
		for (int64_t c = 0; c < cols; c++) {
			uint32_t word[4];
			if (c % 4 == 0)
				rng_words(word, m->drop_key, id, (uint32_t)(m->drop_first + n), (uint32_t)(c / 4));
			host[n * cols + c] = word[c % 4] < least ? 0 : kept;
		}
	real_put(d->k, mask, host, N * cols);
	free(host);
	d->k->glu_fwd(d->k->ctx, y, mask, x, KN_RELU, N * cols);
	return y;
}

/* us[N,r] = s A x; *x becomes what A was given.  NULL without memory. */
static kn_real *down(struct decoder *d, const struct pair *p, const kn_real **x, int64_t N, struct err *e)
{
	const struct decoder_impl *m = d->impl;
	int64_t r = p->a->rows, in = p->a->cols;
	kn_real *u = decoder_rows(d, BUFFER_LORA, 2 * N, r, e), *us = real_at(d->k, u, N * r);
	kn_real *mask = m->drop_key ? decoder_rows(d, BUFFER_LORA_X, 2 * N, in, e) : NULL;
	if (!u || (m->drop_key && !mask))
		return NULL;
	if (mask)
		*x = dropped(d, p->at, *x, N, in, mask, real_at(d->k, mask, N * in));
	d->k->matmul_fwd(d->k->ctx, u, *x, p->a, NULL, N);
	d->k->scale(d->k->ctx, us, p->scale, u, N * r);
	return us;
}

int decoder_lora_forward(struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part, kn_real *y,
                         const kn_real *x, int64_t N, struct err *e)
{
	struct pair p;
	if (!find_pair(d, w, layer, part, &p))
		return 0;
	kn_real *us = down(d, &p, &x, N, e), *add = decoder_rows(d, BUFFER_LORA_Y, N, p.b->rows, e);
	if (!us || !add)
		return -1;
	d->k->matmul_fwd(d->k->ctx, add, us, p.b, NULL, N);
	d->k->add(d->k->ctx, y, add, N * p.b->rows);
	return 0;
}

int decoder_lora_backward(struct decoder *d, const struct weights *w, const struct weights *g, int64_t layer,
                          enum tensor_part part, kn_real *dx, const kn_real *dy, const kn_real *x, int64_t N,
                          struct err *e)
{
	const struct decoder_impl *m = d->impl;
	const struct kernels *k = d->k;
	struct pair p;
	if (!find_pair(d, w, layer, part, &p))
		return 0;
	int64_t r = p.a->rows, in = p.a->cols, out = p.b->rows;
	kn_real *us = down(d, &p, &x, N, e), *du = m->buffer[BUFFER_LORA].p;
	kn_real *dropped_dx = m->drop_key ? decoder_rows(d, BUFFER_LORA_Y, N, in, e) : dx;
	if (!us || !dropped_dx)
		return -1;
	const struct tensor *a = &d->table->tensor[p.at], *b = a + 1;
	k->matmul_dw(k->ctx, g->slab + b->offset, NULL, dy, us, N, out, r);
	/* us is not needed any more: it becomes the gradient before the factor s */
	k->matmul_dx(k->ctx, us, dy, p.b, N, 0);
	k->scale(k->ctx, du, p.scale, us, N * r);
	k->matmul_dw(k->ctx, g->slab + a->offset, NULL, du, x, N, r, in);
	k->matmul_dx(k->ctx, dropped_dx, du, p.a, N, !m->drop_key);
	if (m->drop_key) {
		/* the mask is where down() left it */
		kn_real *mask = m->buffer[BUFFER_LORA_X].p, *y = real_at(k, mask, N * in);
		k->glu_fwd(k->ctx, y, mask, dropped_dx, KN_RELU, N * in);
		k->add(k->ctx, dx, y, N * in);
	}
	return 0;
}
