/*
 * invariance - what a row gets does not depend on what else is in the call:
 * batches, decoding, shared prefixes and micro-batches give the same bits.
 */
#include "kernels/checks/check.h"

#include <stdlib.h>
#include <string.h>

/* memory of the backend against other, in bits */
static int same_bytes(struct run *r, const void *a, const void *b, size_t bytes)
{
	char *x = malloc(bytes), *y = malloc(bytes);
	if (!x || !y)
		abort();
	r->k->get(r->k->ctx, x, a, bytes);
	r->k->get(r->k->ctx, y, b, bytes);
	int ok = !memcmp(x, y, bytes);
	free(x);
	free(y);
	return ok;
}

static int same(struct run *r, const float *a, const float *b, int64_t n)
{
	return same_bytes(r, a, b, (size_t)n * sizeof *a);
}

static int same_reals(struct run *r, const kn_real *a, const kn_real *b, int64_t n)
{
	return same_bytes(r, a, b, (size_t)((char *)check_at(r, a, n) - (char *)a));
}

/* ranges of rows that stand for other batches */
static const int64_t ranges[][2] = {{0, 1}, {149, 150}, {3, 5}, {5, 12}, {20, 60}, {100, 150}};
#define RANGES ((int)(sizeof ranges / sizeof *ranges))
#define ROWS 150

static int matmul_rows(struct run *r, enum kn_dtype dtype)
{
	const int64_t I = 1043, O = 77;
	struct kn_mat w = check_mat(r, dtype, O, I, 1, 1);
	kn_real *x = check_real_in(r, ROWS * I, 1), *dy = check_real_in(r, ROWS * O, 1);
	kn_real *y = check_real_out(r, ROWS * O), *dx = check_real_out(r, ROWS * I),
	        *part = check_real_out(r, ROWS * I);
	float *b = check_in(r, O, 1);
	int ok = 1;
	r->k->matmul_fwd(r->k->ctx, y, x, &w, b, ROWS);
	r->k->matmul_dx(r->k->ctx, dx, dy, &w, ROWS, 0);
	for (int i = 0; i < RANGES; i++) {
		int64_t n0 = ranges[i][0], n = ranges[i][1] - n0;
		r->k->matmul_fwd(r->k->ctx, part, check_at(r, x, n0 * I), &w, b, n);
		ok &= same_reals(r, part, check_at(r, y, n0 * O), n * O);
		r->k->matmul_dx(r->k->ctx, part, check_at(r, dy, n0 * O), &w, n, 0);
		ok &= same_reals(r, part, check_at(r, dx, n0 * I), n * I);
	}
	return ok;
}

static int matmul_f32(struct run *r)
{
	return matmul_rows(r, KN_F32);
}

static int matmul_bf16(struct run *r)
{
	return matmul_rows(r, KN_BF16);
}

static int matmul_f16(struct run *r)
{
	return matmul_rows(r, KN_F16);
}

static int matmul_tokens(struct run *r)
{
	const int64_t N = 700, O = 41, I = 70, cut = 237;
	kn_real *dy = check_real_in(r, N * O, 1), *x = check_real_in(r, N * I, 1);
	float *zero = check_in(r, O * I, 0);
	float *dw = check_in_from(r, zero, O * I), *db = check_in_from(r, zero, O);
	float *dw2 = check_in_from(r, zero, O * I), *db2 = check_in_from(r, zero, O);
	r->k->matmul_dw(r->k->ctx, dw, db, dy, x, N, O, I);
	r->k->matmul_dw(r->k->ctx, dw2, db2, dy, x, cut, O, I);
	r->k->matmul_dw(r->k->ctx, dw2, db2, check_at(r, dy, cut * O), check_at(r, x, cut * I), N - cut, O, I);
	return same(r, dw, dw2, O * I) && same(r, db, db2, O);
}

static int norm_rows(struct run *r)
{
	const int64_t C = 83;
	kn_real *x = check_real_in(r, ROWS * C, 1), *y = check_real_out(r, ROWS * C), *z = check_real_out(r, ROWS * C);
	kn_real *part = check_real_out(r, ROWS * C);
	float *g = check_in(r, C, 1);
	int ok = 1;
	r->k->layernorm_fwd(r->k->ctx, y, NULL, NULL, x, g, g, 1e-5f, ROWS, C);
	r->k->rmsnorm_fwd(r->k->ctx, z, NULL, x, g, 1e-5f, ROWS, C);
	for (int i = 0; i < RANGES; i++) {
		int64_t n0 = ranges[i][0], n = ranges[i][1] - n0;
		r->k->layernorm_fwd(r->k->ctx, part, NULL, NULL, check_at(r, x, n0 * C), g, g, 1e-5f, n, C);
		ok &= same_reals(r, part, check_at(r, y, n0 * C), n * C);
		r->k->rmsnorm_fwd(r->k->ctx, part, NULL, check_at(r, x, n0 * C), g, 1e-5f, n, C);
		ok &= same_reals(r, part, check_at(r, z, n0 * C), n * C);
	}
	return ok;
}

/* elements in vectors and in tails */
static int act_elements(struct run *r)
{
	const int64_t n = 1000;
	kn_real *x = check_real_in(r, n, 4), *y = check_real_out(r, n), *part = check_real_out(r, n);
	int ok = 1;
	for (enum kn_act act = KN_GELU_TANH; act <= KN_SILU; act++) {
		r->k->act_fwd(r->k->ctx, y, x, act, n);
		for (int64_t at = 0; at + 7 <= n; at += 111) {
			r->k->act_fwd(r->k->ctx, part, check_at(r, x, at), act, 7);
			ok &= same_reals(r, part, check_at(r, y, at), 7);
		}
	}
	return ok;
}

struct head_out {
	float *logprob, *lse, *entropy, *argmax;
};

static struct head_out head_out(struct run *r)
{
	return (struct head_out){check_out(r, ROWS), check_out(r, ROWS), check_out(r, ROWS), check_out(r, ROWS)};
}

static int head_same(struct run *r, const struct head_out *a, int64_t at, const struct head_out *b, int64_t n)
{
	return same(r, a->logprob + at, b->logprob, n) && same(r, a->lse + at, b->lse, n) &&
	       same(r, a->entropy + at, b->entropy, n) && same(r, a->argmax + at, b->argmax, n);
}

static int head_rows(struct run *r)
{
	const int64_t C = 45, V = 1333;
	struct kn_mat w = check_mat(r, KN_F32, V, C, 1, 1);
	kn_real *h = check_real_in(r, ROWS * C, 1);
	float *b = check_in(r, V, 1), *logits = check_out(r, ROWS * V);
	float *inv_temp = check_host(r, ROWS * sizeof *inv_temp);
	int32_t *target = check_ids(r, ROWS, V);
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, ROWS, V, C), ROLE_SCRATCH);
	struct head_out all = head_out(r), part = head_out(r);
	for (int64_t m = 0; m < ROWS; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	r->k->head_fwd(r->k->ctx, all.logprob, all.lse, all.entropy, (int32_t *)all.argmax, h, &w, b, target, inv_temp,
	               ROWS, NULL, NULL, scratch);
	r->k->head_logits(r->k->ctx, logits, h, &w, b, ROWS);
	r->k->logits_stats(r->k->ctx, part.logprob, part.lse, part.entropy, (int32_t *)part.argmax, logits, target,
	                   inv_temp, ROWS, V);
	int ok = head_same(r, &all, 0, &part, ROWS);
	for (int i = 0; i < RANGES; i++) {
		int64_t m = ranges[i][0], n = ranges[i][1] - m;
		r->k->head_fwd(r->k->ctx, part.logprob, part.lse, part.entropy, (int32_t *)part.argmax,
		               check_at(r, h, m * C), &w, b, target + m, inv_temp + m, n, NULL, NULL, scratch);
		ok &= head_same(r, &all, m, &part, n);
	}
	return ok;
}

static int head_tokens(struct run *r)
{
	const int64_t C = 45, V = 4200, M = 300, cut = 131;
	struct kn_mat w = check_mat(r, KN_F32, V, C, 1, 1);
	kn_real *h = check_real_in(r, M * C, 1), *dh = check_real_out(r, M * C), *dh2 = check_real_out(r, M * C);
	float *lse = check_out(r, M), *d = check_in(r, M, 1), *zero = check_in(r, V * C, 0);
	float *dw = check_in_from(r, zero, V * C), *dw2 = check_in_from(r, zero, V * C);
	float *keep = check_bytes(r, (size_t)(cut * KN_KEEP_STRIDE(V)) * sizeof *keep, ROLE_SCRATCH);
	int32_t *target = check_ids(r, M, V);
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, NULL, lse, NULL, NULL, h, &w, NULL, NULL, NULL, M, NULL, NULL, scratch);
	r->k->head_bwd(r->k->ctx, dh, dw, NULL, d, NULL, h, &w, NULL, target, NULL, lse, NULL, M, NULL, NULL, scratch);
	r->k->head_fwd(r->k->ctx, NULL, lse, NULL, NULL, h, &w, NULL, NULL, NULL, cut, NULL, keep, scratch);
	r->k->head_bwd(r->k->ctx, dh2, dw2, NULL, d, NULL, h, &w, NULL, target, NULL, lse, NULL, cut, NULL, keep,
	               scratch);
	r->k->head_bwd(r->k->ctx, check_at(r, dh2, cut * C), dw2, NULL, d + cut, NULL, check_at(r, h, cut * C), &w,
	               NULL, target + cut, NULL, lse + cut, NULL, M - cut, NULL, NULL, scratch);
	/* of bf16 dw is another sum */
	return same_reals(r, dh, dh2, M * C) && (r->k->real != KN_F32 || same(r, dw, dw2, V * C));
}

/* A reference of 30 channels for M rows. */
static struct kn_reference reference(struct run *r, struct kn_mat *w, int64_t M, int64_t V)
{
	*w = check_mat(r, KN_F32, V, 30, 1, 1);
	return (struct kn_reference){.h = check_real_in(r, M * 30, 1),
	                             .w = w,
	                             .kl = check_out(r, M),
	                             .gap = check_out(r, M),
	                             .dkl = check_in(r, M, 1)};
}

static struct kn_reference reference_from(const struct run *r, const struct kn_reference *ref, int64_t m)
{
	return (struct kn_reference){
	        check_at(r, ref->h, 30 * m), ref->w, NULL, ref->kl + m, ref->gap + m, ref->dkl + m, NULL};
}

static int reference_rows(struct run *r)
{
	const int64_t C = 45, V = 1333;
	struct kn_mat w = check_mat(r, KN_F32, V, C, 1, 1), rw;
	struct kn_reference all = reference(r, &rw, ROWS, V);
	kn_real *h = check_real_in(r, ROWS * C, 1);
	float *lse = check_out(r, ROWS), *kl = check_out(r, ROWS), *gap = check_out(r, ROWS);
	float *plain = check_out(r, ROWS), *logprob = check_out(r, ROWS), *logprob2 = check_out(r, ROWS);
	float *zero = check_in_from(r, check_host(r, ROWS * sizeof *zero), ROWS);
	int32_t *target = check_ids(r, ROWS, V);
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, ROWS, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, logprob, lse, NULL, NULL, h, &w, NULL, target, NULL, ROWS, &all, NULL, scratch);
	r->k->head_fwd(r->k->ctx, logprob2, plain, NULL, NULL, h, &w, NULL, target, NULL, ROWS, NULL, NULL, scratch);
	int ok = same(r, lse, plain, ROWS) && same(r, logprob, logprob2, ROWS);
	struct kn_reference self = {.h = h, .w = &w, .kl = kl, .gap = gap};
	r->k->head_fwd(r->k->ctx, NULL, plain, NULL, NULL, h, &w, NULL, NULL, NULL, ROWS, &self, NULL, scratch);
	ok &= same(r, kl, zero, ROWS);
	for (int i = 0; i < RANGES; i++) {
		int64_t m = ranges[i][0], n = ranges[i][1] - m;
		struct kn_reference part = reference_from(r, &all, m);
		part.kl = kl;
		part.gap = gap;
		r->k->head_fwd(r->k->ctx, NULL, plain, NULL, NULL, check_at(r, h, m * C), &w, NULL, NULL, NULL, n,
		               &part, NULL, scratch);
		ok &= same(r, kl, all.kl + m, n) && same(r, gap, all.gap + m, n) && same(r, plain, lse + m, n);
	}
	return ok;
}

static int reference_tokens(struct run *r)
{
	const int64_t C = 45, V = 4200, M = 300, cut = 131;
	struct kn_mat w = check_mat(r, KN_F32, V, C, 1, 1), rw;
	struct kn_reference all = reference(r, &rw, M, V), kept = all, rest = reference_from(r, &all, cut);
	kn_real *h = check_real_in(r, M * C, 1), *dh = check_real_out(r, M * C), *dh2 = check_real_out(r, M * C);
	float *lse = check_out(r, M), *d = check_in(r, M, 1), *zero = check_in(r, V * C, 0);
	float *dw = check_in_from(r, zero, V * C), *dw2 = check_in_from(r, zero, V * C);
	float *keep = check_bytes(r, (size_t)(2 * cut * KN_KEEP_STRIDE(V)) * sizeof *keep, ROLE_SCRATCH);
	int32_t *target = check_ids(r, M, V);
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	kept.keep = keep + cut * KN_KEEP_STRIDE(V);
	r->k->head_fwd(r->k->ctx, NULL, lse, NULL, NULL, h, &w, NULL, NULL, NULL, M, &all, NULL, scratch);
	r->k->head_bwd(r->k->ctx, dh, dw, NULL, d, NULL, h, &w, NULL, target, NULL, lse, NULL, M, &all, NULL, scratch);
	r->k->head_fwd(r->k->ctx, NULL, lse, NULL, NULL, h, &w, NULL, NULL, NULL, cut, &kept, keep, scratch);
	r->k->head_bwd(r->k->ctx, dh2, dw2, NULL, d, NULL, h, &w, NULL, target, NULL, lse, NULL, cut, &kept, keep,
	               scratch);
	r->k->head_bwd(r->k->ctx, check_at(r, dh2, cut * C), dw2, NULL, d + cut, NULL, check_at(r, h, cut * C), &w,
	               NULL, target + cut, NULL, lse + cut, NULL, M - cut, &rest, NULL, scratch);
	return same_reals(r, dh, dh2, M * C) && (r->k->real != KN_F32 || same(r, dw, dw2, V * C));
}

#define AT_H 6
#define AT_G 2
#define AT_D 21
#define AT_PAGES 7
#define AT_T 100 /* tokens of the sequence; its keys are rows 0.. of k and v */

struct attention {
	kn_real *q, *k, *v, *o, *part;
	float *lse, *part_lse;
};

static void attend(struct run *r, const struct attention *t, kn_real *o, float *lse, struct kn_seq s, int64_t window)
{
	struct kn_attn a = {AT_H, AT_G, AT_D, window, 0.4f, AT_H * AT_D, AT_G * AT_D, 1, &s};
	r->k->attention_fwd(r->k->ctx, o, lse, t->q, t->k, t->v, &a);
}

/* The keys of rows 0.. in pages, those of the prefix and the others: the page of rows i * KN_PAGE.. is page[i]. */
static float *paged(struct run *r, const float *x, int64_t prompt, const int32_t *prefix_page, const int32_t *page)
{
	const int64_t kw = AT_G * AT_D;
	struct kn_seq s = {.prefix_n = prompt, .prefix_page = prefix_page, .page = page};
	float *to = check_out(r, AT_PAGES * KN_PAGE * kw);
	int64_t *row = check_host(r, AT_T * sizeof *row);
	for (int64_t p = 0; p < AT_T; p++)
		row[p] = kn_key_row(&s, p);
	r->k->store_rows(r->k->ctx, to, row, x, kw, AT_T, kw);
	return to;
}

/* The same sequence in one piece, in pieces, token by token, with its first 45 keys as a prefix elsewhere, in pages. */
static int attention_queries(struct run *r)
{
	const int64_t qw = AT_H * AT_D, kw = AT_G * AT_D, prompt = 45;
	struct attention t = {.q = check_real_in(r, AT_T * qw, 1), .k = check_real_in(r, AT_T * kw, 1)};
	t.v = check_real_in(r, AT_T * kw, 1);
	struct attention moved = t;
	t.o = check_real_out(r, AT_T * qw);
	t.lse = check_out(r, AT_T * AT_H);
	t.part = check_real_out(r, AT_T * qw);
	t.part_lse = check_out(r, AT_T * AT_H);
	/* own keys first, the prompt's behind them: the prefix is at row AT_T - prompt */
	moved.k = check_real_out(r, AT_T * kw);
	moved.v = check_real_out(r, AT_T * kw);
	int64_t *order = check_host(r, AT_T * sizeof *order);
	for (int64_t i = 0; i < AT_T; i++)
		order[i] = i < AT_T - prompt ? i + prompt : i - (AT_T - prompt);
	r->k->gather_rows(r->k->ctx, moved.k, t.k, order, AT_T, kw);
	r->k->gather_rows(r->k->ctx, moved.v, t.v, order, AT_T, kw);
	static const int32_t prefix_page[] = {6, 2}, page[] = {3, 0};
	struct attention pages = t;
	pages.k = paged(r, t.k, prompt, prefix_page, page);
	pages.v = paged(r, t.v, prompt, prefix_page, page);
	int ok = 1;
	for (int64_t window = 0; window <= 38; window += 38) {
		attend(r, &t, t.o, t.lse, (struct kn_seq){.n_q = AT_T}, window);
		for (int64_t p = 0; p < AT_T; p++)
			attend(r, &t, t.part, t.part_lse, (struct kn_seq){.q_row = p, .n_q = 1, .pos = p}, window);
		ok &= same_reals(r, t.o, t.part, AT_T * qw) && same(r, t.lse, t.part_lse, AT_T * AT_H);
		for (int64_t p = 0; p < AT_T; p += 13)
			attend(r, &t, t.part, t.part_lse,
			       (struct kn_seq){.q_row = p, .n_q = AT_T - p < 13 ? AT_T - p : 13, .pos = p}, window);
		ok &= same_reals(r, t.o, t.part, AT_T * qw) && same(r, t.lse, t.part_lse, AT_T * AT_H);
		attend(r, &moved, t.part, t.part_lse,
		       (struct kn_seq){prompt, AT_T - prompt, prompt, AT_T - prompt, prompt, 0}, window);
		ok &= same_reals(r, check_at(r, t.o, prompt * qw), check_at(r, t.part, prompt * qw),
		                 (AT_T - prompt) * qw);
		for (int64_t p = prompt; p < AT_T; p++)
			attend(r, &pages, t.part, t.part_lse,
			       (struct kn_seq){p, 1, p, -1, prompt, -1, prefix_page, page}, window);
		ok &= same_reals(r, check_at(r, t.o, prompt * qw), check_at(r, t.part, prompt * qw),
		                 (AT_T - prompt) * qw);
	}
	return ok;
}

/* Two sequences in one call and in two. */
static int attention_batches(struct run *r)
{
	const int64_t qw = AT_H * AT_D, kw = AT_G * AT_D, n = AT_T * qw;
	struct kn_seq seq[2] = {{.n_q = 37}, {.q_row = 37, .n_q = AT_T - 37, .own_row = 37}};
	struct kn_attn a = {AT_H, AT_G, AT_D, 0, 0.4f, qw, kw, 2, seq};
	kn_real *q = check_real_in(r, n, 1), *k = check_real_in(r, AT_T * kw, 1), *v = check_real_in(r, AT_T * kw, 1);
	kn_real *d = check_real_in(r, n, 1), *o = check_real_out(r, n), *g[2][3];
	float *lse = check_out(r, AT_T * AT_H), *scratch = check_out(r, AT_T * AT_H);
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 3; j++) {
			int64_t count = j ? AT_T * kw : n;
			g[i][j] = check_real_out(r, count);
			r->k->zero(r->k->ctx, g[i][j], (size_t)((char *)check_at(r, g[i][j], count) - (char *)g[i][j]));
		}
	r->k->attention_fwd(r->k->ctx, o, lse, q, k, v, &a);
	r->k->attention_bwd(r->k->ctx, g[0][0], g[0][1], g[0][2], d, o, lse, q, k, v, &a, scratch);
	a.n_seq = 1;
	for (int i = 1; i >= 0; i--) {
		a.seq = seq + i;
		r->k->attention_bwd(r->k->ctx, g[1][0], g[1][1], g[1][2], d, o, lse, q, k, v, &a, scratch);
	}
	return same_reals(r, g[0][0], g[1][0], n) && same_reals(r, g[0][1], g[1][1], AT_T * kw) &&
	       same_reals(r, g[0][2], g[1][2], AT_T * kw);
}

#define STEP_V 19
#define STEP_TOKENS 70

struct stepped {
	struct kn_mat tokens, q;
	kn_real *x, *keys, *qs, *o;
};

/* The token t of n sequences, of which the second is seven tokens ahead; keys are values here. */
static void decode(struct run *r, const struct stepped *s, int64_t t, int64_t n, int in_step, int waits)
{
	static const int32_t page[2][3] = {{3, 0, 5}, {1, 4, 2}};
	const int64_t kw = AT_G * AT_D, qw = AT_H * AT_D;
	const struct kernels *k = r->k;
	int32_t token[2], pos[2];
	int64_t row[2];
	struct kn_seq seq[2];
	struct kn_attn a = {AT_H, AT_G, AT_D, 0, 0.4f, qw, kw, n, seq};
	char why[64];
	for (int64_t i = 0; i < n; i++) {
		pos[i] = (int32_t)(t + 7 * i);
		token[i] = (int32_t)((5 * t + 3 * i) % STEP_V);
		seq[i] = (struct kn_seq){.q_row = i, .n_q = 1, .pos = pos[i], .page = page[i]};
		row[i] = kn_key_row(seq + i, pos[i]);
	}
	if (in_step)
		k->step_begin(k->ctx, 3);
	k->embed_fwd(k->ctx, s->x, &s->tokens, NULL, token, pos, n);
	k->store_rows(k->ctx, s->keys, row, s->x, kw, n, kw);
	if (waits)
		k->sync(k->ctx, why, sizeof why);
	k->matmul_fwd(k->ctx, s->qs, s->x, &s->q, NULL, n);
	k->attention_fwd(k->ctx, s->o, NULL, s->qs, s->keys, s->keys, &a);
	if (in_step)
		k->step_end(k->ctx);
}

/* Tokens in steps and outside; then with other sizes under the same key, other weights, and a wait in between. */
static int steps(struct run *r)
{
	const int64_t kw = AT_G * AT_D, qw = AT_H * AT_D;
	struct stepped s[2];
	s[0].tokens = check_mat(r, KN_F32, STEP_V, kw, 1, 1);
	s[0].q = check_mat(r, KN_F32, qw, kw, 1, 1);
	struct kn_mat other = check_mat(r, KN_F32, qw, kw, 1, 1);
	s[1] = s[0];
	for (int i = 0; i < 2; i++) {
		s[i].x = check_real_out(r, 2 * kw);
		s[i].keys = check_real_out(r, 6 * KN_PAGE * kw);
		s[i].qs = check_real_out(r, 2 * qw);
		s[i].o = check_real_out(r, 2 * qw);
	}
	int ok = 1;
	for (int64_t t = 0; t < STEP_TOKENS; t++) {
		int64_t n = t > 30 && t < 34 ? 1 : 2;
		if (t == 40)
			s[0].q = s[1].q = other;
		for (int i = 0; i < 2; i++)
			decode(r, s + i, t, n, i, t > 50 && t < 54);
		ok &= same_reals(r, s[0].o, s[1].o, n * qw);
	}
	return ok;
}

static const struct invariance {
	const char *what;
	int (*fn)(struct run *r);
	int of_float32; /* a sum over tokens, which bf16 does not promise */
} all[] = {
        {"matmul: a row alone and in a batch, float32", matmul_f32},
        {"matmul: a row alone and in a batch, bfloat16", matmul_bf16},
        {"matmul: a row alone and in a batch, float16", matmul_f16},
        {"matmul_dw: tokens in one call and in two", matmul_tokens, 1},
        {"norms: a row alone and in a batch", norm_rows},
        {"act: an element in a vector and in a tail", act_elements},
        {"head_fwd: rows alone, in a batch, and by head_logits and logits_stats", head_rows},
        {"head_bwd: tokens in one call and in two, logits kept or not", head_tokens},
        {"head_fwd with a reference: rows alone and in a batch, the rest as without one, 0 to itself", reference_rows},
        {"head_bwd with a reference: tokens in one call and in two, logits kept or not", reference_tokens},
        {"attention_fwd: at once, in pieces, token by token, behind a prefix, in pages", attention_queries},
        {"attention_bwd: two sequences in one call and in two", attention_batches},
        {"step_begin, step_end: calls in steps and outside", steps},
};

void check_invariance(const struct kernels *k)
{
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct run r = {.k = k, .random = 5, .round = k->real != KN_F32};
		if (r.round && all[i].of_float32)
			continue;
		check_result(all[i].fn(&r), "%s %s", k->name, all[i].what);
		check_run_free(&r);
	}
}
