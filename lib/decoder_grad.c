/*
 * decoder_grad - the backward pass; see decoder.h
 *
 * dx is the gradient of the residual stream: each block adds its own to it, from the last to the first.  Normed rows
 * and activations are computed again from what forward kept.
 */
#include <string.h>

#include "lib/decoder.h"
#include "lib/decoder_impl.h"

struct pass {
	struct decoder *d;
	const struct kernels *k;
	const struct arch *a;
	const struct weights *w;
	struct weights *g;
	const struct batch *b;
	int64_t N;
	kn_real *y, *act, *dx, *dy, *dqkv, *draw, *do_, *dgate, *dup;
	float *delta, *nowhere;
};

static int take_buffers(struct pass *p, struct err *e)
{
	const struct arch *a = p->a;
	int64_t widest = a->C > a->D ? a->C : a->D;
	p->nowhere = decoder_scratch(p->d, BUFFER_NOWHERE, (size_t)(2 * widest) * sizeof(float), e);
	p->delta = decoder_scratch(p->d, BUFFER_DELTA, (size_t)(p->N * a->H) * sizeof(float), e);
	if (!p->nowhere || !p->delta)
		return -1;
	struct {
		kn_real **p;
		enum decoder_buffer which;
		int64_t cols;
	} want[] = {
	        {&p->y, BUFFER_Y, a->C},
	        {&p->act, BUFFER_ACT, a->F},
	        {&p->dx, BUFFER_DX, a->C},
	        {&p->dy, BUFFER_DY, a->C},
	        {&p->dqkv, BUFFER_DQKV, arch_qkv_width(a)},
	        {&p->draw, BUFFER_DRAW, a->qk_norm ? arch_q_width(a) + arch_kv_width(a) : 0},
	        {&p->do_, BUFFER_DO, arch_q_width(a)},
	        {&p->dgate, BUFFER_DGATE, a->gated ? a->F : 0},
	        {&p->dup, BUFFER_DUP, a->F},
	};
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		*want[i].p = decoder_rows(p->d, want[i].which, p->N, want[i].cols, e);
		if (!*want[i].p)
			return -1;
	}
	return 0;
}

/* Gradient of y = x W^T + b by W and b, unless they are frozen, and by x into dx (add: adds); and of the adapter. */
static int back_project(struct pass *p, int64_t layer, enum tensor_part part, kn_real *dx, const kn_real *dy,
                        const kn_real *x, int add, struct err *e)
{
	const struct kn_mat *mat = decoder_mat(p->d, p->w, layer, part);
	float *dw = decoder_grad(p->d, p->g, layer, part);
	if (dw)
		p->k->matmul_dw(p->k->ctx, dw, decoder_grad(p->d, p->g, layer, part + 1), dy, x, p->N, mat->rows,
		                mat->cols);
	p->k->matmul_dx(p->k->ctx, dx, dy, mat, p->N, add);
	return decoder_lora_backward(p->d, p->w, p->g, layer, part, dx, dy, x, p->N, e);
}

/* Where the gradient of a gain or its bias (second: 1) goes. */
static float *vector_grad(struct pass *p, int64_t layer, enum tensor_part part, int second)
{
	float *at = decoder_grad(p->d, p->g, layer, part + (enum tensor_part)second);
	return at ? at : p->nowhere + second * (p->a->C > p->a->D ? p->a->C : p->a->D);
}

/* dx += gradient of norm(x) */
static void back_norm(struct pass *p, int64_t layer, enum tensor_part part, kn_real *dx, const kn_real *dy,
                      const kn_real *x, const float *mean, const float *rstd)
{
	const float *gain = decoder_vec(p->d, p->w, layer, part);
	float *dgain = vector_grad(p, layer, part, 0);
	if (p->a->rms_norm)
		p->k->rmsnorm_bwd(p->k->ctx, dx, dgain, dy, x, rstd, gain, p->N, p->a->C);
	else
		p->k->layernorm_bwd(p->k->ctx, dx, dgain, vector_grad(p, layer, part, 1), dy, x, mean, rstd, gain, p->N,
		                    p->a->C);
}

static int back_mlp(struct pass *p, int64_t layer, const struct layer_acts *l, struct err *e)
{
	const struct kernels *k = p->k;
	const struct arch *a = p->a;
	decoder_act(p->d, l, p->act, p->N);
	if (back_project(p, layer, PART_DOWN, p->dup, p->dx, p->act, 0, e))
		return -1;
	decoder_norm(p->d, p->w, layer, PART_NORM2, p->y, NULL, NULL, l->x_mid, p->N);
	if (a->gated) {
		/* the gradient of the product is not needed behind the gates', so it lies where the product was */
		k->glu_bwd(k->ctx, p->dgate, p->act, p->dup, l->gate, l->up, a->act, p->N * a->F);
		if (back_project(p, layer, PART_GATE, p->dy, p->dgate, p->y, 0, e) ||
		    back_project(p, layer, PART_UP, p->dy, p->act, p->y, 1, e))
			return -1;
	} else {
		k->act_bwd(k->ctx, p->dup, p->dup, l->up, a->act, p->N * a->F);
		if (back_project(p, layer, PART_UP, p->dy, p->dup, p->y, 0, e))
			return -1;
	}
	back_norm(p, layer, PART_NORM2, p->dx, p->dy, l->x_mid, l->mean2, l->rstd2);
	return 0;
}

/* Through the norm of each head: *dq becomes the gradient before it. */
static void back_head_norm(struct pass *p, int64_t layer, enum tensor_part part, kn_real *draw, kn_real **dq,
                           const kn_real *raw, const float *rstd, int64_t heads)
{
	const struct kernels *k = p->k;
	real_zero(k, draw, p->N * heads * p->a->D);
	k->rmsnorm_bwd(k->ctx, draw, vector_grad(p, layer, part, 0), *dq, raw, rstd,
	               decoder_vec(p->d, p->w, layer, part), p->N * heads, p->a->D);
	*dq = draw;
}

/* dy = gradient by the normed input of the block; p->do_ is that of attention's output. */
static int back_qkv(struct pass *p, int64_t layer, const struct layer_acts *l, struct err *e)
{
	const struct kernels *k = p->k;
	const struct arch *a = p->a;
	const struct decoder_impl *m = p->d->impl;
	int64_t q = arch_q_width(a), kv = arch_kv_width(a);
	struct kn_attn at = decoder_attn(p->d, p->b, layer);
	kn_real *dq = p->dqkv, *dk = real_at(k, dq, a->fused_qkv ? q : p->N * q),
	        *dv = real_at(k, dk, a->fused_qkv ? kv : p->N * kv);
	real_zero(k, p->dqkv, p->N * (q + 2 * kv));
	k->attention_bwd(k->ctx, dq, dk, dv, p->do_, l->o, l->lse, l->q, l->k, l->v, &at, p->delta);
	if (m->inv_freq) {
		k->rope(k->ctx, dq, p->b->pos, m->inv_freq, p->N, a->H, a->D, at.q_stride, -1);
		k->rope(k->ctx, dk, p->b->pos, m->inv_freq, p->N, a->G, a->D, at.kv_stride, -1);
	}
	if (a->qk_norm) {
		back_head_norm(p, layer, PART_Q_NORM, p->draw, &dq, l->q_raw, l->q_rstd, a->H);
		back_head_norm(p, layer, PART_K_NORM, real_at(k, p->draw, p->N * q), &dk, l->k_raw, l->k_rstd, a->G);
	}
	if (a->fused_qkv)
		return back_project(p, layer, PART_QKV, p->dy, dq, p->y, 0, e);
	return back_project(p, layer, PART_Q, p->dy, dq, p->y, 0, e) ||
	                       back_project(p, layer, PART_K, p->dy, dk, p->y, 1, e) ||
	                       back_project(p, layer, PART_V, p->dy, dv, p->y, 1, e)
	               ? -1
	               : 0;
}

static int back_attention(struct pass *p, int64_t layer, const struct layer_acts *l, struct err *e)
{
	if (back_project(p, layer, PART_O, p->do_, p->dx, l->o, 0, e))
		return -1;
	decoder_norm(p->d, p->w, layer, PART_NORM1, p->y, NULL, NULL, l->x, p->N);
	if (back_qkv(p, layer, l, e))
		return -1;
	back_norm(p, layer, PART_NORM1, p->dx, p->dy, l->x, l->mean1, l->rstd1);
	return 0;
}

/*
 * One chain of sums per element of a tied embedding, whatever the micro-batches: first the head's share, then the
 * tokens', which waits until the last micro-batch.
 */
static int back_embedding(struct pass *p, struct err *e)
{
	if (p->d->table->tensor[0].frozen)
		return 0;
	if (p->a->tied && !p->a->value_model)
		return weights_pend(p->g, p->dx, p->b, p->a->C, e);
	p->k->embed_bwd(p->k->ctx, decoder_grad(p->d, p->g, -1, PART_TOKENS),
	                decoder_grad(p->d, p->g, -1, PART_POSITIONS), p->dx, p->b->token, p->b->pos, p->N, p->a->C);
	return 0;
}

void decoder_backward_finish(struct decoder *d, struct weights *g)
{
	struct weights_impl *m = g->impl;
	for (struct pending *p = m->pending; p < m->pending + m->n_pending; p++)
		d->k->embed_bwd(d->k->ctx, decoder_grad(d, g, -1, PART_TOKENS), decoder_grad(d, g, -1, PART_POSITIONS),
		                p->dx, p->token, p->pos, p->N, d->arch->C);
	m->n_pending = 0;
}

int decoder_backward(struct decoder *d, const struct weights *w, const struct batch *b, struct activations *acts,
                     kn_real *dh, struct weights *g, struct err *e)
{
	struct pass p = {.d = d, .k = d->k, .a = d->arch, .w = w, .g = g, .b = b, .N = b->N};
	struct decoder_impl *m = d->impl;
	if (take_buffers(&p, e))
		return -1;
	m->drop_key = d->table->lora_dropout > 0 ? d->dropout : 0;
	m->drop_first = b->first;
	real_zero(p.k, p.dx, p.N * p.a->C);
	back_norm(&p, -1, PART_NORM, p.dx, dh, acts->x, acts->mean, acts->rstd);
	for (int64_t l = p.a->L; l-- > 0;) {
		if (back_mlp(&p, l, acts->layer + l, e) || back_attention(&p, l, acts->layer + l, e))
			return -1;
	}
	return back_embedding(&p, e) ? -1 : decoder_sync(d, e);
}
