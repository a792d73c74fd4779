/*
 * ref - the truth: every op as its formula, plain loops, arithmetic in double.
 *
 * The files of this directory are compiled twice.  As they stand they store
 * float32 and fill the table of kernels_ref().  kernels/checks/ref64.c includes
 * them again with KN_REF_DOUBLE, so that tensors are double too and central
 * differences of a forward pass are exact enough to hold a backward to.
 */
#ifndef KERNELS_REF_H
#define KERNELS_REF_H

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#ifdef KN_REF_DOUBLE
typedef double real;
#define REF(name) ref64_##name
#define REFERENCE ref64_reference
/* struct kn_reference with tensors of this build */
struct ref64_reference {
	const real *h;
	const struct kn_mat *w;
	const real *b;
	real *kl, *gap;
	const real *dkl;
	real *keep;
};
#else
typedef float real;
#define REF(name) ref_##name
#define REFERENCE kn_reference
#endif

/* In the double build a matrix of dtype KN_F32 holds `real`. */
double REF(mat_at)(const struct kn_mat *w, int64_t row, int64_t col);

void REF(embed_fwd)(void *ctx, real *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                    const int32_t *pos, int64_t N);
void REF(embed_bwd)(void *ctx, real *dtok, real *dpos, const real *dy, const int32_t *token, const int32_t *pos,
                    int64_t N, int64_t C);

void REF(matmul_fwd)(void *ctx, real *y, const real *x, const struct kn_mat *w, const real *b, int64_t N);
void REF(matmul_dx)(void *ctx, real *dx, const real *dy, const struct kn_mat *w, int64_t N, int add);
void REF(matmul_dw)(void *ctx, real *dw, real *db, const real *dy, const real *x, int64_t N, int64_t O, int64_t I);

void REF(layernorm_fwd)(void *ctx, real *y, real *mean, real *rstd, const real *x, const real *g, const real *b,
                        float eps, int64_t N, int64_t C);
void REF(layernorm_bwd)(void *ctx, real *dx, real *dg, real *db, const real *dy, const real *x, const real *mean,
                        const real *rstd, const real *g, int64_t N, int64_t C);
void REF(rmsnorm_fwd)(void *ctx, real *y, real *rstd, const real *x, const real *g, float eps, int64_t N, int64_t C);
void REF(rmsnorm_bwd)(void *ctx, real *dx, real *dg, const real *dy, const real *x, const real *rstd, const real *g,
                      int64_t N, int64_t C);

void REF(rope)(void *ctx, real *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
               int64_t stride, int dir);

void REF(attention_fwd)(void *ctx, real *o, real *lse, const real *q, const real *k, const real *v,
                        const struct kn_attn *a);
void REF(attention_bwd)(void *ctx, real *dq, real *dk, real *dv, const real *do_, const real *o, const real *lse,
                        const real *q, const real *k, const real *v, const struct kn_attn *a, real *scratch);

void REF(act_fwd)(void *ctx, real *y, const real *x, enum kn_act act, int64_t n);
void REF(act_bwd)(void *ctx, real *dx, const real *dy, const real *x, enum kn_act act, int64_t n);
void REF(glu_fwd)(void *ctx, real *y, const real *g, const real *u, enum kn_act act, int64_t n);
void REF(glu_bwd)(void *ctx, real *dg, real *du, const real *dy, const real *g, const real *u, enum kn_act act,
                  int64_t n);

void REF(add)(void *ctx, real *y, const real *x, int64_t n);
void ref_draw(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
              const struct kn_warp *c, int64_t M, int64_t V);

void REF(scale)(void *ctx, real *y, float a, const real *x, int64_t n);
void REF(axpy)(void *ctx, real *y, float a, const real *x, int64_t n);
void REF(gather_rows)(void *ctx, real *y, const real *x, const int64_t *row, int64_t M, int64_t C);
void REF(store_rows)(void *ctx, real *y, const int64_t *row, const real *x, int64_t x_stride, int64_t M, int64_t C);
void REF(scatter_rows)(void *ctx, real *x, const real *y, const int64_t *row, int64_t M, int64_t C);
double REF(sum_squares)(void *ctx, const real *x, int64_t n);
int64_t REF(count_nonfinite)(void *ctx, const real *x, int64_t n);
void REF(to_bf16)(void *ctx, uint16_t *y, const real *x, int64_t n);
void REF(from_bf16)(void *ctx, real *y, const uint16_t *x, int64_t n);

size_t REF(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C);
void REF(head_fwd)(void *ctx, real *logprob, real *lse, real *entropy, int32_t *argmax, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, int64_t M,
                   const struct REFERENCE *ref, real *keep, void *scratch);
void REF(head_bwd)(void *ctx, real *dh, real *dw, real *db, const real *dlogprob, const real *dentropy, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, const real *lse,
                   const real *entropy, int64_t M, const struct REFERENCE *ref, real *keep, void *scratch);
void REF(head_logits)(void *ctx, real *logits, const real *h, const struct kn_mat *w, const real *b, int64_t M);
void REF(logits_stats)(void *ctx, real *logprob, real *lse, real *entropy, int32_t *argmax, const real *logits,
                       const int32_t *target, const float *inv_temp, int64_t M, int64_t V);

void REF(adamw)(void *ctx, real *w, real *m, real *v, const real *g, const struct kn_adamw *a, int64_t n);
/* In float32, and so in no double build. */
void ref_adamw8(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
                const struct kn_adamw *a, int64_t n);

#endif
