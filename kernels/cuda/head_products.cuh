/*
 * head_products - the products of the head, tile by tile of the logits, for both types of activations.
 *
 * Logits are float32.  In bf16 their gradient is rounded for its two products,
 * and dh is summed over the vocabulary in float32.
 */
#ifndef KERNELS_CUDA_HEAD_PRODUCTS_CUH
#define KERNELS_CUDA_HEAD_PRODUCTS_CUH

#include "kernels/cuda/matmul_bf16.cuh"

#define HEAD_ROWS 1024
#define HEAD_VOCAB 8192

static_assert(HEAD_VOCAB % KN_VOCAB_BLOCK == 0 && HEAD_VOCAB % KN_OUT_BLOCK == 0, "blocks nest");

/* Rows m < M and columns v0 .. v0+n-1 of the logits, at z with row stride ldz; y: of a reference's, or NULL. */
struct tile {
	float *z, *y;
	int64_t ldz, v0, n, M;
};

/* Where bf16 has more: the gradient of a tile of logits in bf16, and dh in float32; `ld` between rows of the first. */
struct narrow {
	cu_bf16 *dz;
	float *dh;
	int64_t ld;
};

#ifdef CU_BF16

static int64_t narrow_ld(int64_t V)
{
	return (cu_min(V, HEAD_VOCAB) + 7) / 8 * 8;
}

/* In bytes; each part is a multiple of 16. */
static size_t narrow_bytes(int64_t M, int64_t V, int64_t C)
{
	int64_t rows = cu_min(M, HEAD_ROWS);
	return 16 + (size_t)(rows * narrow_ld(V)) * sizeof(cu_bf16) + (size_t)(rows * C) * sizeof(float);
}

static struct narrow narrow_at(void *p, int64_t M, int64_t V)
{
	int64_t ld = narrow_ld(V);
	cu_bf16 *dz = (cu_bf16 *)(((uintptr_t)p + 15) / 16 * 16);
	return {dz, (float *)(dz + cu_min(M, HEAD_ROWS) * ld), ld};
}

static void queue_logits(struct cuda *cu, float *z, int64_t ldz, const float *h, const struct kn_mat *w, const float *b,
                         int64_t v0, int64_t n, int64_t M)
{
	cu_forward_bf16(cu, {z, ldz, 1, 0}, h, w, b, v0, v0 + n, M);
}

static __global__ void round_kernel(cu_bf16 *to, int64_t ld, const float *from, int64_t ldz, int64_t M, int64_t n)
{
	for (CU_EACH(i, M * n))
		to[i / n * ld + i % n] = __float2bfloat16_rn(from[i / n * ldz + i % n]);
}

/* What the gradient of a tile of logits adds to dh, dw, db. */
static void queue_gradients(struct cuda *cu, const struct tile *t, const struct narrow *s, float *dh, float *dw,
                            float *db, const float *h, const struct kn_mat *w)
{
	int64_t C = w->cols, n = t->M * t->n;
	(void)dh;
	CU_LAUNCH(cu, round_kernel, cu_grid(cu, n), CU_THREADS, s->dz, s->ld, t->z, t->ldz, t->M, t->n);
	cu_dx_bf16(cu, {s->dh, C, 1, t->v0 > 0}, s->dz, s->ld, w, t->v0, t->v0 + t->n, t->M);
	cu_dw_bf16(cu, dw ? dw + t->v0 * C : NULL, db ? db + t->v0 : NULL, s->dz, s->ld, h, t->M, t->n, C);
}

static void queue_dh(struct cuda *cu, float *dh, const struct narrow *s, int64_t M, int64_t C)
{
	if (M * C > 0)
		CU_LAUNCH(cu, round_kernel, cu_grid(cu, M * C), CU_THREADS, (cu_bf16 *)dh, C, s->dh, C, M, C);
}

#else

static size_t narrow_bytes(int64_t M, int64_t V, int64_t C)
{
	(void)M, (void)V, (void)C;
	return 0;
}

static struct narrow narrow_at(void *p, int64_t M, int64_t V)
{
	(void)p, (void)M, (void)V;
	return {NULL, NULL, 0};
}

static void queue_logits(struct cuda *cu, float *z, int64_t ldz, const float *h, const struct kn_mat *w, const float *b,
                         int64_t v0, int64_t n, int64_t M)
{
	cu_forward_rows(cu, z, ldz, h, w, b, v0, v0 + n, M);
}

static void queue_gradients(struct cuda *cu, const struct tile *t, const struct narrow *s, float *dh, float *dw,
                            float *db, const float *h, const struct kn_mat *w)
{
	int64_t C = w->cols;
	(void)s;
	cu_dx_rows(cu, dh, t->z, t->ldz, w, t->v0, t->v0 + t->n, t->M, t->v0 > 0);
	cu_dw_rows(cu, dw ? dw + t->v0 * C : NULL, db ? db + t->v0 : NULL, t->z, t->ldz, h, t->M, t->n, C);
}

static void queue_dh(struct cuda *cu, float *dh, const struct narrow *s, int64_t M, int64_t C)
{
	(void)cu, (void)dh, (void)s, (void)M, (void)C;
}

#endif

/* Row m of h or dh. */
static float *row_at(const float *h, int64_t m, int64_t C)
{
	return (float *)((char *)h + (size_t)(m * C) * sizeof(cu_real));
}

#endif
