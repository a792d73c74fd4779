/*
 * matmul_bf16 - the products of bf16 numbers, with sums in float32.
 *
 * The tokens' side and the weights are bf16; a result is bf16 or float32.  Each
 * has two ways: cuBLASLt (cu->any_order), and ours, on tensor cores in fixed
 * tiles, in which a row has the same bits whatever else is in the call.  ours is
 * also what cuBLASLt does not do: weights of float32 or f16 (rounded as they
 * are read), and shapes for which it has no algorithm.
 */
#ifndef KERNELS_CUDA_MATMUL_BF16_CUH
#define KERNELS_CUDA_MATMUL_BF16_CUH

#include "kernels/cuda/common.cuh"

/* Where a product goes: rows `ld` elements apart, of float32 or of bf16; add: onto what is there. */
struct cu_result {
	void *data;
	int64_t ld;
	int wide, add;
};

/* y[N, o1-o0] = x[N, I] w[o0..o1-1]^T + b[o0..o1-1]; the caller has entered, as for all of these */
void cu_forward_bf16(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                     int64_t o0, int64_t o1, int64_t N);
/* dx[N, I] = dy[N, o1-o0; ldy] w[o0..o1-1] */
void cu_dx_bf16(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                int64_t o1, int64_t N);
/* dw[O, I] += dy[N, O; ldy]^T x[N, I]; db[O] += column sums; each may be NULL */
void cu_dw_bf16(struct cuda *cu, float *dw, float *db, const void *dy, int64_t ldy, const void *x, int64_t N, int64_t O,
                int64_t I);

/* ours; sizes may be 0 */
void cu_mma_forward(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                    int64_t o0, int64_t o1, int64_t N);
void cu_mma_dx(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
               int64_t o1, int64_t N);
void cu_mma_dw(struct cuda *cu, struct cu_result dw, const void *dy, int64_t ldy, const void *x, int64_t N, int64_t O,
               int64_t I);

/* cuBLASLt's; 0: it has no algorithm for this, and nothing has been done.  All sizes are above 0. */
int cu_lt_forward_bf16(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                       int64_t o0, int64_t o1, int64_t N);
int cu_lt_dx_bf16(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                  int64_t o1, int64_t N);
int cu_lt_dw_bf16(struct cuda *cu, struct cu_result dw, const void *dy, int64_t ldy, const void *x, int64_t N,
                  int64_t O, int64_t I);

#endif
