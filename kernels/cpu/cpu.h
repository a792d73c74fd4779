/*
 * cpu - what the files of this directory share: the context, the splitting
 * over threads, and the ops of one instruction set.
 *
 * Every file but dispatch.c is compiled once per instruction set with
 * -DKN_ISA=<isa>, and KN(name) gives each copy its own external names.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/kernels.h"
#include "kernels/cpu/vec.h"

#define KN_CAT2(a, b) a##_##b
#define KN_CAT(a, b) KN_CAT2(a, b)
#define KN(name) KN_CAT(kn_##name, KN_ISA)

#define KN_SUM_BLOCK 4096    /* elements of one block of sum_squares */
#define KN_SUM_SLOTS 1024    /* blocks summed side by side */
#define KN_SERIAL_WORK 40000 /* multiply-adds, about 2 us, under which threads cost more than they bring */

struct cpu {
	struct kn_par par;
	char *scratch; /* par.threads pieces of KN_SCRATCH bytes, 64-byte aligned */
	double sums[KN_SUM_SLOTS];
};

/* Bytes of scratch of one worker: the larger of what a product and attention need (asserted where they are used). */
#define KN_SCRATCH ((size_t)3 << 20)
#define KN_FORWARD_SCRATCH ((size_t)2 << 20) /* of which forward_block uses this much, at the beginning */

KN_INLINE void *cpu_scratch(const struct cpu *cpu, int worker)
{
	return cpu->scratch + (size_t)worker * KN_SCRATCH;
}

/* fn(arg, i, worker) for each i < n; on this thread alone when `work` multiply-adds are not worth waking others. */
KN_INLINE void cpu_for(const struct cpu *cpu, int64_t n, double work, void (*fn)(void *arg, int64_t i, int worker),
                       void *arg)
{
	if (n > 1 && cpu->par.threads > 1 && work >= KN_SERIAL_WORK) {
		cpu->par.run(cpu->par.pool, n, fn, arg);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		fn(arg, i, 0);
}

KN_INLINE int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

KN_INLINE int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* Row `row` of a matrix, in its own dtype. */
KN_INLINE const void *mat_row(const struct kn_mat *w, int64_t row)
{
	const struct kn_block *piece = w->blocks;
	while (row >= piece->rows)
		row -= piece++->rows;
	return (const char *)piece->data + (size_t)(row * w->cols) * (w->dtype == KN_F32 ? 4 : 2);
}

/* Sixteen elements at p of a row of this dtype, the same with the first n (0 < n < 16) and zeros. */
KN_INLINE v16 mat_load(const void *p, enum kn_dtype dtype, int64_t at)
{
	if (dtype == KN_F32)
		return v16_load((const float *)p + at);
	const uint16_t *h = (const uint16_t *)p + at;
	return dtype == KN_BF16 ? v16_from_brain(h) : v16_from_half(h);
}

KN_INLINE v16 mat_load_tail(const void *p, enum kn_dtype dtype, int64_t at, int64_t n)
{
	if (dtype == KN_F32)
		return v16_load_tail((const float *)p + at, n, 0);
	uint16_t lane[16] = {0};
	memcpy(lane, (const uint16_t *)p + at, (size_t)n * sizeof *lane);
	return dtype == KN_BF16 ? v16_from_brain(lane) : v16_from_half(lane);
}

/* order 1 over two float rows */
KN_INLINE float dot_order1(const float *a, const float *b, int64_t n)
{
	v16 sum = v16_set(0);
	int64_t i = 0;
	for (; i + 16 <= n; i += 16)
		sum = v16_fma(v16_load(a + i), v16_load(b + i), sum);
	if (i < n)
		sum = v16_fma(v16_load_tail(a + i, n - i, 0), v16_load_tail(b + i, n - i, 0), sum);
	return v16_sum(sum);
}

/*
 * y[n * ldy + o - o0] = x[n] . w[o] + b[o] for o0 <= o < o1, all n < N (order 1).  On the calling thread.
 */
void KN(forward_block)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                       const float *b, int64_t o0, int64_t o1, int64_t N);
/*
 * dx[N, I] = (add: +=) dy[N, o1-o0; row stride ldy] w[o0..o1-1, I] by order 6; o0 is a multiple of KN_OUT_BLOCK.
 */
void KN(dx_rows)(struct cpu *cpu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                 int64_t o1, int64_t N, int add);
/* dw[O, I] += dy[N, O; row stride ldy]^T x[N, I], db[O] += column sums; each may be NULL (order 2) */
void KN(dw_rows)(struct cpu *cpu, float *dw, float *db, const float *dy, int64_t ldy, const float *x, int64_t N,
                 int64_t O, int64_t I);

/* The table of this instruction set; name and ctx are the caller's to fill. */
void KN(fill_table)(struct kernels *k);

void KN(embed_fwd)(void *ctx, float *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                   const int32_t *pos, int64_t N);
void KN(embed_bwd)(void *ctx, float *dtok, float *dpos, const float *dy, const int32_t *token, const int32_t *pos,
                   int64_t N, int64_t C);
void KN(matmul_fwd)(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N);
void KN(matmul_dx)(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add);
void KN(matmul_dw)(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I);
void KN(layernorm_fwd)(void *ctx, float *y, float *mean, float *rstd, const float *x, const float *g, const float *b,
                       float eps, int64_t N, int64_t C);
void KN(layernorm_bwd)(void *ctx, float *dx, float *dg, float *db, const float *dy, const float *x, const float *mean,
                       const float *rstd, const float *g, int64_t N, int64_t C);
void KN(rmsnorm_fwd)(void *ctx, float *y, float *rstd, const float *x, const float *g, float eps, int64_t N, int64_t C);
void KN(rmsnorm_bwd)(void *ctx, float *dx, float *dg, const float *dy, const float *x, const float *rstd,
                     const float *g, int64_t N, int64_t C);
void KN(rope)(void *ctx, float *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
              int64_t stride, int dir);
void KN(attention_fwd)(void *ctx, float *o, float *lse, const float *q, const float *k, const float *v,
                       const struct kn_attn *a);
void KN(attention_bwd)(void *ctx, float *dq, float *dk, float *dv, const float *do_, const float *o, const float *lse,
                       const float *q, const float *k, const float *v, const struct kn_attn *a, float *scratch);
void KN(act_fwd)(void *ctx, float *y, const float *x, enum kn_act act, int64_t n);
void KN(act_bwd)(void *ctx, float *dx, const float *dy, const float *x, enum kn_act act, int64_t n);
void KN(glu_fwd)(void *ctx, float *y, const float *g, const float *u, enum kn_act act, int64_t n);
void KN(glu_bwd)(void *ctx, float *dg, float *du, const float *dy, const float *g, const float *u, enum kn_act act,
                 int64_t n);
void KN(add)(void *ctx, float *y, const float *x, int64_t n);
void KN(draw)(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
              const struct kn_warp *c, int64_t M, int64_t V);

void KN(scale)(void *ctx, float *y, float a, const float *x, int64_t n);
void KN(axpy)(void *ctx, float *y, float a, const float *x, int64_t n);
void KN(gather_rows)(void *ctx, float *y, const float *x, const int64_t *row, int64_t M, int64_t C);
void KN(store_rows)(void *ctx, float *y, const int64_t *row, const float *x, int64_t x_stride, int64_t M, int64_t C);
void KN(scatter_rows)(void *ctx, float *x, const float *y, const int64_t *row, int64_t M, int64_t C);
size_t KN(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C);
void KN(head_fwd)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *h,
                  const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp, int64_t M,
                  const struct kn_reference *ref, float *keep, void *scratch);
void KN(head_bwd)(void *ctx, float *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
                  const float *h, const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
                  const float *lse, const float *entropy, int64_t M, const struct kn_reference *ref, float *keep,
                  void *scratch);
void KN(head_logits)(void *ctx, float *logits, const float *h, const struct kn_mat *w, const float *b, int64_t M);
void KN(logits_stats)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *logits,
                      const int32_t *target, const float *inv_temp, int64_t M, int64_t V);
double KN(sum_squares)(void *ctx, const float *x, int64_t n);
int64_t KN(count_nonfinite)(void *ctx, const float *x, int64_t n);
void KN(adamw)(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *a, int64_t n);
void KN(adamw8)(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
                const struct kn_adamw *a, int64_t n);
void KN(to_bf16)(void *ctx, uint16_t *y, const float *x, int64_t n);
void KN(from_bf16)(void *ctx, float *y, const uint16_t *x, int64_t n);

#endif
