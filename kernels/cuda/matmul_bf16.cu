/* matmul_bf16 - the three products of the table "cuda-bf16"; see kernels.h and matmul_bf16.cuh */
#define CU_BF16 /* the only type of activations that this file is for */
#include "kernels/cuda/matmul_bf16.cuh"

#define SUM_THREADS 1024
#define SUM_WARPS (SUM_THREADS / CU_WARP)

/*
 * A block owns 32 columns of dy: a warp adds every SUM_WARPS'th row, and the first warp adds up what the others have,
 * in order.
 */
static __global__ void __launch_bounds__(SUM_THREADS)
        column_sums_kernel(float *db, const cu_bf16 *dy, int64_t ldy, int64_t N, int64_t O)
{
	__shared__ float part[SUM_WARPS][CU_WARP];
	int column = threadIdx.x % CU_WARP, warp = threadIdx.x / CU_WARP;
	int64_t o = (int64_t)blockIdx.x * CU_WARP + column;
	float sum = 0;
#pragma unroll 8
	for (int64_t n = warp; n < N; n += SUM_WARPS)
		sum += o < O ? __bfloat162float(dy[n * ldy + o]) : 0;
	part[warp][column] = sum;
	__syncthreads();
	if (warp > 0 || o >= O)
		return;
	for (int i = 1; i < SUM_WARPS; i++)
		sum += part[i][column];
	db[o] += sum;
}

void cu_forward_bf16(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                     int64_t o0, int64_t o1, int64_t N)
{
	int library = cu->any_order && w->dtype == KN_BF16 && N > 0 && o1 > o0 && w->cols > 0;
	if (!library || !cu_lt_forward_bf16(cu, y, x, w, b, o0, o1, N))
		cu_mma_forward(cu, y, x, w, b, o0, o1, N);
}

void cu_dx_bf16(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                int64_t o1, int64_t N)
{
	int library = cu->any_order && w->dtype == KN_BF16 && N > 0 && o1 > o0 && w->cols > 0;
	if (!library || !cu_lt_dx_bf16(cu, dx, dy, ldy, w, o0, o1, N))
		cu_mma_dx(cu, dx, dy, ldy, w, o0, o1, N);
}

void cu_dw_bf16(struct cuda *cu, float *dw, float *db, const void *dy, int64_t ldy, const void *x, int64_t N, int64_t O,
                int64_t I)
{
	struct cu_result to = {dw, I, 1, 1};
	if (N == 0 || O == 0)
		return;
	if (db)
		CU_LAUNCH(cu, column_sums_kernel, (unsigned)cu_ceil_div(O, CU_WARP), SUM_THREADS, db,
		          (const cu_bf16 *)dy, ldy, N, O);
	if (!dw || I == 0)
		return;
	if (!cu->any_order || !cu_lt_dw_bf16(cu, to, dy, ldy, x, N, O, I))
		cu_mma_dw(cu, to, dy, ldy, x, N, O, I);
}

void CU(matmul_fwd)(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_forward_bf16(cu, {y, w->rows, 0, 0}, x, w, b, 0, w->rows, N);
}

void CU(matmul_dx)(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_dx_bf16(cu, {dx, w->cols, 0, add}, dy, w->rows, w, 0, w->rows, N);
}

void CU(matmul_dw)(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_dw_bf16(cu, dw, db, dy, O, x, N, O, I);
}
