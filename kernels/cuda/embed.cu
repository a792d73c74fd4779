/* embed - rows of the token and position tables; see kernels.h */
#include "kernels/cuda/common.cuh"

/* A block of threads makes one row of y. */
static __global__ void embed_kernel(cu_real *y, const __grid_constant__ struct cu_weights tok,
                                    const __grid_constant__ struct cu_weights table, const int32_t *token,
                                    const int32_t *pos)
{
	int64_t n = blockIdx.x, C = tok.cols;
	const void *a = cu_row(tok, token[n]), *b = pos ? cu_row(table, pos[n]) : NULL;
	for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
		float sum = cu_at(a, tok.dtype, c);
		y[n * C + c] = b ? sum + cu_at(b, table.dtype, c) : sum;
	}
}

void CU(embed_fwd)(void *ctx, float *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                   const int32_t *pos, int64_t N)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct cu_weights a, b = {};
	int ok = 1;
	if (N == 0 || tok->cols == 0 || !cu_enter(cu) || !cu_weights_of(cu, &a, tok) ||
	    (pos_table && !cu_weights_of(cu, &b, pos_table)))
		return;
	size_t bytes = (size_t)N * sizeof *token;
	const int32_t *tokens = (const int32_t *)cu_stage(cu, token, bytes, &ok);
	const int32_t *places = (const int32_t *)cu_stage(cu, pos_table ? pos : NULL, bytes, &ok);
	if (ok)
		CU_LAUNCH(cu, embed_kernel, (unsigned)N, CU_THREADS, cu_reals(y), a, b, tokens, places);
}

void CU(embed_bwd)(void *ctx, float *dtok, float *dpos, const float *dy, const int32_t *token, const int32_t *pos,
                   int64_t N, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (!cu_enter(cu))
		return;
	if (dtok)
		CU(add_to_table)(cu, dtok, dy, token, N, C);
	if (dpos)
		CU(add_to_table)(cu, dpos, dy, pos, N, C);
}
