/* decoder - buffers and the forward pass; see decoder.h */
#include "lib/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "lib/decoder_impl.h"
#include "lib/memory.h"
#include "lib/util.h"

/* ---- buffers ---- */

/* A piece of a slab: alignment of 64 bytes, which is what a backend gives to the slab. */
struct carver {
	char *slab; /* NULL: only counts */
	size_t used;
	const struct kernels *k;
	int64_t N;
};

static void *carve(struct carver *c, int64_t cols, size_t width)
{
	void *at = c->slab && cols ? c->slab + c->used : NULL;
	c->used += ((size_t)(c->N * cols) * width + 63) & ~(size_t)63;
	return at;
}

static kn_real *carve_reals(struct carver *c, int64_t cols)
{
	return carve(c, cols, real_bytes(c->k, 1));
}

static float *carve_floats(struct carver *c, int64_t cols)
{
	return carve(c, cols, sizeof(float));
}

static void carve_qkv(struct layer_acts *l, struct carver *c, const struct arch *a)
{
	int64_t q = arch_q_width(a), kv = arch_kv_width(a);
	if (a->fused_qkv) {
		l->q = carve_reals(c, q + 2 * kv);
		l->k = real_at(c->k, l->q, q);
		l->v = real_at(c->k, l->q, q + kv);
	} else {
		l->q = carve_reals(c, q);
		l->k = carve_reals(c, kv);
		l->v = carve_reals(c, kv);
	}
	l->q_raw = carve_reals(c, a->qk_norm ? q : 0);
	l->k_raw = carve_reals(c, a->qk_norm ? kv : 0);
	l->q_rstd = carve_floats(c, a->qk_norm ? a->H : 0);
	l->k_rstd = carve_floats(c, a->qk_norm ? a->G : 0);
}

static void carve_layer(struct layer_acts *l, struct carver *c, const struct arch *a)
{
	int64_t mean = a->rms_norm ? 0 : 1;
	l->x = carve_reals(c, a->C);
	l->mean1 = carve_floats(c, mean);
	l->rstd1 = carve_floats(c, 1);
	carve_qkv(l, c, a);
	l->lse = carve_floats(c, a->H);
	l->o = carve_reals(c, arch_q_width(a));
	l->x_mid = carve_reals(c, a->C);
	l->mean2 = carve_floats(c, mean);
	l->rstd2 = carve_floats(c, 1);
	l->gate = carve_reals(c, a->gated ? a->F : 0);
	l->up = carve_reals(c, a->F);
}

/* All pieces of N rows; without a slab: how large it has to be. */
static size_t carve_all(struct activations *a, char *slab, int64_t N)
{
	struct carver c = {.slab = slab, .k = a->k, .N = N};
	for (int64_t l = 0; l < a->n_layers; l++)
		carve_layer(a->layer + l, &c, a->arch);
	a->x = carve_reals(&c, a->arch->C);
	a->mean = carve_floats(&c, 1);
	a->rstd = carve_floats(&c, 1);
	return c.used;
}

static struct activations *activations_of(const struct decoder *d, int64_t layers)
{
	struct activations *a = xcalloc(1, sizeof *a);
	a->k = d->k;
	a->arch = d->arch;
	a->n_layers = layers;
	a->layer = xcalloc((size_t)layers, sizeof *a->layer);
	return a;
}

struct activations *activations_new(const struct decoder *d)
{
	return activations_of(d, d->arch->L);
}

void activations_free(struct activations *a)
{
	if (!a)
		return;
	a->k->free(a->k->ctx, a->slab);
	free(a->layer);
	free(a);
}

void activations_forget(struct activations *a)
{
	a->k->free(a->k->ctx, a->slab);
	a->slab = NULL;
	a->cap = 0;
}

int activations_reserve(struct activations *a, int64_t N, struct err *e)
{
	if (N <= a->cap)
		return 0;
	size_t bytes = carve_all(a, NULL, N);
	activations_forget(a);
	a->slab = memory_alloc(a->k, MEMORY_ACTIVATIONS, bytes);
	if (!a->slab)
		return memory_none(a->k, e, "no memory for the activations of %lld tokens: %zu MB", (long long)N,
		                   bytes >> 20);
	a->cap = N;
	carve_all(a, a->slab, N);
	return 0;
}

void *decoder_scratch(struct decoder *d, enum decoder_buffer which, size_t bytes, struct err *e)
{
	struct decoder_impl *m = d->impl;
	if (bytes > m->buffer[which].bytes || !m->buffer[which].p) {
		d->k->free(d->k->ctx, m->buffer[which].p);
		m->buffer[which].bytes = bytes;
		m->buffer[which].p = memory_alloc(
		        d->k, which == BUFFER_HEAD || which == BUFFER_KEEP ? MEMORY_LOGITS : MEMORY_SCRATCH,
		        bytes ? bytes : 64);
	}
	if (!m->buffer[which].p) {
		m->buffer[which].bytes = 0;
		memory_none(d->k, e, "no memory for %zu MB of scratch", bytes >> 20);
	}
	return m->buffer[which].p;
}

kn_real *decoder_rows(struct decoder *d, enum decoder_buffer which, int64_t N, int64_t cols, struct err *e)
{
	return decoder_scratch(d, which, real_bytes(d->k, N * cols), e);
}

int decoder_init(struct decoder *d, const struct arch *arch, const struct tensors *table, const struct kernels *k,
                 struct err *e)
{
	*d = (struct decoder){.arch = arch, .table = table, .k = k};
	if (arch->D > KN_MAX_HEAD)
		return err_set(e, "the heads have size %lld, at most %d is possible", (long long)arch->D, KN_MAX_HEAD);
	struct decoder_impl *m = d->impl = xcalloc(1, sizeof *m);
	if (arch->rope != ARCH_ROPE_NONE) {
		m->inv_freq = xcalloc((size_t)arch->D, sizeof *m->inv_freq);
		arch_rope_frequencies(arch, m->inv_freq);
	}
	m->one = activations_of(d, 1);
	return 0;
}

void decoder_forget(struct decoder *d)
{
	struct decoder_impl *m = d->impl;
	for (int i = 0; i < BUFFER_COUNT; i++) {
		d->k->free(d->k->ctx, m->buffer[i].p);
		m->buffer[i].p = NULL;
		m->buffer[i].bytes = 0;
	}
	m->kept = 0;
	activations_forget(m->one);
}

void decoder_release(struct decoder *d)
{
	struct decoder_impl *m = d->impl;
	if (!m)
		return;
	decoder_forget(d);
	activations_free(m->one);
	free(m->inv_freq);
	free(m->row);
	free(m);
	d->impl = NULL;
}

/* ---- tensors ---- */

const struct kn_mat *decoder_mat(const struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part)
{
	int i = tensors_part(d->table, layer, part);
	return i < 0 ? NULL : &w->mat[i];
}

const float *decoder_vec(const struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part)
{
	int i = tensors_part(d->table, layer, part);
	return i < 0 ? NULL : weights_vector(w, i);
}

float *decoder_grad(const struct decoder *d, const struct weights *g, int64_t layer, enum tensor_part part)
{
	int i = tensors_part(d->table, layer, part);
	return i < 0 || d->table->tensor[i].frozen ? NULL : g->slab + d->table->tensor[i].offset;
}

/* ---- forward ---- */

void decoder_norm(struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part, kn_real *y,
                  float *mean, float *rstd, const kn_real *x, int64_t N)
{
	const struct kernels *k = d->k;
	const struct arch *a = d->arch;
	const float *gain = decoder_vec(d, w, layer, part);
	if (a->rms_norm)
		k->rmsnorm_fwd(k->ctx, y, rstd, x, gain, a->norm_eps, N, a->C);
	else
		k->layernorm_fwd(k->ctx, y, mean, rstd, x, gain, decoder_vec(d, w, layer, part + 1), a->norm_eps, N,
		                 a->C);
}

_Static_assert(PART_NORM_BIAS == PART_NORM + 1 && PART_NORM1_BIAS == PART_NORM1 + 1 &&
                       PART_NORM2_BIAS == PART_NORM2 + 1,
               "a norm's bias comes after its gain");

/* y = x W^T + b for a matrix of the block and its bias, which is the next part; and its adapter. */
static int project(struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part, kn_real *y,
                   const kn_real *x, int64_t N, struct err *e)
{
	d->k->matmul_fwd(d->k->ctx, y, x, decoder_mat(d, w, layer, part), decoder_vec(d, w, layer, part + 1), N);
	return decoder_lora_forward(d, w, layer, part, y, x, N, e);
}

_Static_assert(PART_QKV_BIAS == PART_QKV + 1 && PART_Q_BIAS == PART_Q + 1 && PART_K_BIAS == PART_K + 1 &&
                       PART_V_BIAS == PART_V + 1 && PART_O_BIAS == PART_O + 1 && PART_GATE_BIAS == PART_GATE + 1 &&
                       PART_UP_BIAS == PART_UP + 1 && PART_DOWN_BIAS == PART_DOWN + 1,
               "a matrix's bias comes after it");

struct kn_attn decoder_attn(const struct decoder *d, const struct batch *b, int64_t layer)
{
	const struct arch *a = d->arch;
	return (struct kn_attn){
	        .H = a->H,
	        .G = a->G,
	        .D = a->D,
	        .window = arch_window(a, layer),
	        .scale = a->attn_scale,
	        .q_stride = a->fused_qkv ? arch_qkv_width(a) : arch_q_width(a),
	        .kv_stride = a->fused_qkv ? arch_qkv_width(a) : arch_kv_width(a),
	        .n_seq = b->n_seq,
	        .seq = b->seq,
	};
}

/* q, k, v of a layer from its normed input: norms of heads, positions. */
static int forward_qkv(struct decoder *d, const struct weights *w, const struct batch *b, int64_t layer,
                       const struct layer_acts *l, const kn_real *y, struct err *e)
{
	const struct kernels *k = d->k;
	const struct arch *a = d->arch;
	const struct decoder_impl *m = d->impl;
	struct kn_attn at = decoder_attn(d, b, layer);
	int failed;
	if (a->fused_qkv)
		failed = project(d, w, layer, PART_QKV, l->q, y, b->N, e);
	else
		failed = project(d, w, layer, PART_Q, a->qk_norm ? l->q_raw : l->q, y, b->N, e) ||
		         project(d, w, layer, PART_K, a->qk_norm ? l->k_raw : l->k, y, b->N, e) ||
		         project(d, w, layer, PART_V, l->v, y, b->N, e);
	if (failed)
		return -1;
	if (a->qk_norm) {
		k->rmsnorm_fwd(k->ctx, l->q, l->q_rstd, l->q_raw, decoder_vec(d, w, layer, PART_Q_NORM), a->norm_eps,
		               b->N * a->H, a->D);
		k->rmsnorm_fwd(k->ctx, l->k, l->k_rstd, l->k_raw, decoder_vec(d, w, layer, PART_K_NORM), a->norm_eps,
		               b->N * a->G, a->D);
	}
	if (m->inv_freq) {
		k->rope(k->ctx, l->q, b->pos, m->inv_freq, b->N, a->H, a->D, at.q_stride, 1);
		k->rope(k->ctx, l->k, b->pos, m->inv_freq, b->N, a->G, a->D, at.kv_stride, 1);
	}
	return 0;
}

/* Which row of the cache has the key of each row of the batch. */
static void find_key_rows(struct decoder_impl *m, const struct batch *b)
{
	for (const struct kn_seq *s = b->seq; s < b->seq + b->n_seq; s++)
		for (int64_t i = 0; i < s->n_q; i++)
			m->row[s->q_row + i] = kn_key_row(s, s->pos + i);
}

static void forward_attention(struct decoder *d, const struct batch *b, int64_t layer, const struct layer_acts *l,
                              struct kvcache *c)
{
	const struct kernels *k = d->k;
	struct kn_attn at = decoder_attn(d, b, layer);
	if (!c) {
		k->attention_fwd(k->ctx, l->o, l->lse, l->q, l->k, l->v, &at);
		return;
	}
	const struct decoder_impl *m = d->impl;
	k->store_rows(k->ctx, c->key[layer], m->row, l->k, at.kv_stride, b->N, c->width);
	k->store_rows(k->ctx, c->value[layer], m->row, l->v, at.kv_stride, b->N, c->width);
	at.kv_stride = c->width;
	k->attention_fwd(k->ctx, l->o, l->lse, l->q, c->key[layer], c->value[layer], &at);
}

void decoder_act(struct decoder *d, const struct layer_acts *a, kn_real *y, int64_t N)
{
	const struct kernels *k = d->k;
	if (d->arch->gated)
		k->glu_fwd(k->ctx, y, a->gate, a->up, d->arch->act, N * d->arch->F);
	else
		k->act_fwd(k->ctx, y, a->up, d->arch->act, N * d->arch->F);
}

/* next = the layer's output; it may be l->x. */
static int forward_layer(struct decoder *d, const struct weights *w, const struct batch *b, int64_t layer,
                         const struct layer_acts *l, struct kvcache *c, kn_real *next, struct err *e)
{
	const struct kernels *k = d->k;
	const struct arch *a = d->arch;
	kn_real *y = decoder_rows(d, BUFFER_Y, b->N, a->C, e), *act = decoder_rows(d, BUFFER_ACT, b->N, a->F, e);
	if (!y || !act)
		return -1;
	decoder_norm(d, w, layer, PART_NORM1, y, l->mean1, l->rstd1, l->x, b->N);
	if (forward_qkv(d, w, b, layer, l, y, e))
		return -1;
	forward_attention(d, b, layer, l, c);
	if (project(d, w, layer, PART_O, l->x_mid, l->o, b->N, e))
		return -1;
	k->add(k->ctx, l->x_mid, l->x, b->N * a->C);

	decoder_norm(d, w, layer, PART_NORM2, y, l->mean2, l->rstd2, l->x_mid, b->N);
	if ((a->gated && project(d, w, layer, PART_GATE, l->gate, y, b->N, e)) ||
	    project(d, w, layer, PART_UP, l->up, y, b->N, e))
		return -1;
	decoder_act(d, l, act, b->N);
	if (project(d, w, layer, PART_DOWN, next, act, b->N, e))
		return -1;
	k->add(k->ctx, next, l->x_mid, b->N * a->C);
	return 0;
}

static int check_batch(const struct decoder *d, const struct batch *b, struct err *e)
{
	for (int64_t i = 0; i < b->N; i++) {
		if (b->token[i] < 0 || b->token[i] >= d->arch->V)
			return err_set(e, "token %d is not one of the model's %lld", b->token[i],
			               (long long)d->arch->V);
		if (b->pos[i] < 0 || b->pos[i] >= d->arch->P)
			return err_set(e, "a sequence has a token at position %d, but the model's context is %lld",
			               b->pos[i], (long long)d->arch->P);
	}
	return 0;
}

int decoder_sync(const struct decoder *d, struct err *e)
{
	char why[256];
	return d->k->sync(d->k->ctx, why, sizeof why) ? err_set(e, "%s: %s", d->k->name, why) : 0;
}

static void reserve_copy_rows(struct decoder_impl *m, int64_t n)
{
	if (n <= m->row_cap)
		return;
	m->row = xrealloc_array(m->row, (size_t)n, sizeof *m->row);
	m->row_cap = n;
}

/* All that is queued between two waits. */
static int forward_all(struct decoder *d, const struct weights *w, const struct batch *b, struct kvcache *cache,
                       struct activations *a, bool keep, kn_real *h, struct err *e)
{
	d->k->embed_fwd(d->k->ctx, a->layer[0].x, decoder_mat(d, w, -1, PART_TOKENS),
	                decoder_mat(d, w, -1, PART_POSITIONS), b->token, b->pos, b->N);
	for (int64_t l = 0; l < d->arch->L; l++) {
		const struct layer_acts *at = a->layer + (keep ? l : 0);
		kn_real *next = l + 1 == d->arch->L ? a->x : keep ? a->layer[l + 1].x : at->x;
		if (forward_layer(d, w, b, l, at, cache, next, e))
			return -1;
	}
	decoder_norm(d, w, -1, PART_NORM, h, a->mean, a->rstd, a->x, b->N);
	return 0;
}

int decoder_forward(struct decoder *d, const struct weights *w, const struct batch *b, struct kvcache *cache,
                    struct activations *acts, kn_real *h, struct err *e)
{
	struct decoder_impl *m = d->impl;
	struct activations *a = acts ? acts : m->one;
	bool decoding = cache && b->N == b->n_seq; /* the same calls for each token */
	if (check_batch(d, b, e) || activations_reserve(a, b->N, e))
		return -1;
	reserve_copy_rows(m, b->N);
	if (cache)
		find_key_rows(m, b);
	m->drop_key = acts && d->table->lora_dropout > 0 ? d->dropout : 0;
	m->drop_first = b->first;
	if (decoding)
		d->k->step_begin(d->k->ctx, b->N);
	int failed = forward_all(d, w, b, cache, a, acts != NULL, h, e);
	if (decoding)
		d->k->step_end(d->k->ctx);
	return failed ? -1 : decoder_sync(d, e);
}

/* ---- projections of one layer ---- */

/* Columns of q and k out of rows of a fused buffer, in pieces as wide as a key. */
static void split_columns(struct decoder *d, const kn_real *fused, int64_t N, kn_real *q, kn_real *k)
{
	const struct kernels *kn = d->k;
	struct decoder_impl *m = d->impl;
	int64_t ratio = d->arch->H / d->arch->G, width = arch_kv_width(d->arch);
	reserve_copy_rows(m, N * ratio);
	for (int64_t i = 0; q && i < N * ratio; i++)
		m->row[i] = i / ratio * (ratio + 2) + i % ratio;
	if (q)
		kn->gather_rows(kn->ctx, q, fused, m->row, N * ratio, width);
	for (int64_t i = 0; k && i < N; i++)
		m->row[i] = i * (ratio + 2) + ratio;
	if (k)
		kn->gather_rows(kn->ctx, k, fused, m->row, N, width);
}

int decoder_project(struct decoder *d, const struct weights *w, const struct batch *b, int64_t layer, kn_real *q,
                    kn_real *k, struct err *e)
{
	const struct kernels *kn = d->k;
	struct decoder_impl *m = d->impl;
	struct activations *a = m->one;
	const struct layer_acts *l = a->layer;
	if (layer < 0 || layer >= d->arch->L)
		return err_set(e, "there is no layer %lld: the model has %lld", (long long)layer,
		               (long long)d->arch->L);
	if (check_batch(d, b, e) || activations_reserve(a, b->N, e))
		return -1;
	kn_real *y = decoder_rows(d, BUFFER_Y, b->N, d->arch->C, e);
	if (!y)
		return -1;
	m->drop_key = 0;
	kn->embed_fwd(kn->ctx, l->x, decoder_mat(d, w, -1, PART_TOKENS), decoder_mat(d, w, -1, PART_POSITIONS),
	              b->token, b->pos, b->N);
	for (int64_t i = 0; i < layer; i++)
		if (forward_layer(d, w, b, i, l, NULL, l->x, e))
			return -1;
	decoder_norm(d, w, layer, PART_NORM1, y, l->mean1, l->rstd1, l->x, b->N);
	if (d->arch->fused_qkv) {
		if (project(d, w, layer, PART_QKV, l->q, y, b->N, e))
			return -1;
		split_columns(d, l->q, b->N, q, k);
	} else if ((q && project(d, w, layer, PART_Q, q, y, b->N, e)) ||
	           (k && project(d, w, layer, PART_K, k, y, b->N, e))) {
		return -1;
	}
	return decoder_sync(d, e);
}
