/*
 * lt - the products of cuBLASLt by plain loops: column-major, LT_CHAINS fma chains over k in float32, of float32 or of
 * bf16.
 *
 * The arguments are held to what the library asks for: sizes that fit, leading
 * dimensions, and pointers aligned as was promised to the heuristic.
 */
#include <cublasLt.h>

#include "kernels/cuda/emu/emu.h"

#include <cuda_bf16.h>

#define LT_CHAINS                                                                                                      \
	16 /* any order will do, since the library promises none; this one is as exact as that of kernels.h            \
	    */

struct emu_lt {
	int open;
};

const char *cublasLtGetStatusString(cublasStatus_t status)
{
	switch (status) {
	case CUBLAS_STATUS_SUCCESS:
		return "CUBLAS_STATUS_SUCCESS";
	case CUBLAS_STATUS_ALLOC_FAILED:
		return "CUBLAS_STATUS_ALLOC_FAILED";
	case CUBLAS_STATUS_INVALID_VALUE:
		return "CUBLAS_STATUS_INVALID_VALUE";
	case CUBLAS_STATUS_EXECUTION_FAILED:
		return "CUBLAS_STATUS_EXECUTION_FAILED";
	case CUBLAS_STATUS_NOT_SUPPORTED:
		return "CUBLAS_STATUS_NOT_SUPPORTED";
	}
	return "unknown status";
}

static cublasStatus_t enter(cublasStatus_t injected)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		cudaGetLastError(); /* the library has its own way to say it */
	return error ? injected : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
	cublasStatus_t status = enter(CUBLAS_STATUS_ALLOC_FAILED);
	if (!status)
		*handle = new emu_lt{1};
	return status;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
	delete handle;
	return enter(CUBLAS_STATUS_EXECUTION_FAILED);
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDescOpaque_t *desc, cublasComputeType_t compute, cudaDataType_t)
{
	*desc = {CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, compute};
	return enter(CUBLAS_STATUS_ALLOC_FAILED);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDescOpaque_t *desc, cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes)
{
	void *to = NULL;
	size_t wanted = sizeof desc->transpose_a;
	switch (name) {
	case CUBLASLT_MATMUL_DESC_TRANSA:
		to = &desc->transpose_a;
		break;
	case CUBLASLT_MATMUL_DESC_TRANSB:
		to = &desc->transpose_b;
		break;
	case CUBLASLT_MATMUL_DESC_EPILOGUE:
		to = &desc->epilogue;
		break;
	case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
		to = &desc->bias;
		wanted = sizeof desc->bias;
		break;
	}
	if (!to || bytes != wanted)
		return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(to, value, bytes);
	return enter(CUBLAS_STATUS_INVALID_VALUE);
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayoutOpaque_t *layout, cudaDataType_t type, uint64_t rows,
                                        uint64_t cols, int64_t ld)
{
	*layout = {rows, cols, ld, type};
	return enter(CUBLAS_STATUS_ALLOC_FAILED);
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreferenceOpaque_t *preference)
{
	*preference = {0, 0, {256, 256, 256, 256}};
	return enter(CUBLAS_STATUS_ALLOC_FAILED);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreferenceOpaque_t *preference,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void *value,
                                                    size_t bytes)
{
	void *to = &preference->workspace;
	size_t wanted = sizeof preference->workspace;
	if (name != CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
		to = name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
		             ? &preference->reduction
		             : &preference->align[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
		wanted = sizeof preference->reduction;
	}
	if (bytes != wanted)
		return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(to, value, bytes);
	return enter(CUBLAS_STATUS_INVALID_VALUE);
}

/* float32 throughout, or a and b of bf16 and c of either, with sums that may be fast */
static int types(const cublasLtMatmulDescOpaque_t *desc, const cublasLtMatrixLayoutOpaque_t *a,
                 const cublasLtMatrixLayoutOpaque_t *b, const cublasLtMatrixLayoutOpaque_t *c)
{
	if (desc->epilogue == CUBLASLT_EPILOGUE_BIAS && !desc->bias)
		return 0;
	if (a->type == CUDA_R_32F)
		return b->type == CUDA_R_32F && c->type == CUDA_R_32F;
	return b->type == CUDA_R_16BF && desc->compute == CUBLAS_COMPUTE_32F;
}

/* m, n, k of a product whose matrices fit each other; 0 if they do not. */
static int sizes(const cublasLtMatmulDescOpaque_t *desc, const cublasLtMatrixLayoutOpaque_t *a,
                 const cublasLtMatrixLayoutOpaque_t *b, const cublasLtMatrixLayoutOpaque_t *c, uint64_t *m, uint64_t *n,
                 uint64_t *k)
{
	*m = desc->transpose_a ? a->cols : a->rows;
	*k = desc->transpose_a ? a->rows : a->cols;
	*n = desc->transpose_b ? b->rows : b->cols;
	return *m && *n && *k && *k == (desc->transpose_b ? b->cols : b->rows) && c->rows == *m && c->cols == *n &&
	       a->ld >= (int64_t)a->rows && b->ld >= (int64_t)b->rows && c->ld >= (int64_t)c->rows &&
	       types(desc, a, b, c);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, const cublasLtMatmulDescOpaque_t *desc,
                                              const cublasLtMatrixLayoutOpaque_t *a,
                                              const cublasLtMatrixLayoutOpaque_t *b,
                                              const cublasLtMatrixLayoutOpaque_t *c,
                                              const cublasLtMatrixLayoutOpaque_t *d,
                                              const cublasLtMatmulPreferenceOpaque_t *preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *n_results)
{
	uint64_t m, n, k;
	if (!handle || wanted < 1 || !sizes(desc, a, b, c, &m, &n, &k) || !sizes(desc, a, b, d, &m, &n, &k))
		return CUBLAS_STATUS_INVALID_VALUE;
	*n_results = 1;
	results->algo.promised = *preference;
	return enter(CUBLAS_STATUS_NOT_SUPPORTED);
}

static size_t width(const cublasLtMatrixLayoutOpaque_t &x)
{
	return x.type == CUDA_R_32F ? 4 : 2;
}

static size_t extent(const cublasLtMatrixLayoutOpaque_t &x)
{
	return (size_t)(((int64_t)x.cols - 1) * x.ld + (int64_t)x.rows) * width(x);
}

static float at(const void *x, cudaDataType_t type, int64_t i)
{
	return type == CUDA_R_32F ? ((const float *)x)[i] : __bfloat162float(((const __nv_bfloat16 *)x)[i]);
}

static void put(void *x, cudaDataType_t type, int64_t i, float value)
{
	if (type == CUDA_R_32F)
		((float *)x)[i] = value;
	else
		((__nv_bfloat16 *)x)[i] = __float2bfloat16_rn(value);
}

static void product(const cublasLtMatmulDescOpaque_t &desc, float alpha, const void *a,
                    const cublasLtMatrixLayoutOpaque_t &la, const void *b, const cublasLtMatrixLayoutOpaque_t &lb,
                    float beta, const void *c, void *d, const cublasLtMatrixLayoutOpaque_t &lc)
{
	uint64_t m, n, k;
	sizes(&desc, &la, &lb, &lc, &m, &n, &k);
	int64_t a_row = desc.transpose_a ? la.ld : 1, a_step = desc.transpose_a ? 1 : la.ld;
	int64_t b_col = desc.transpose_b ? 1 : lb.ld, b_step = desc.transpose_b ? lb.ld : 1;
	for (int64_t j = 0; j < (int64_t)n; j++)
		for (int64_t i = 0; i < (int64_t)m; i++) {
			float part[LT_CHAINS] = {}, sum = 0;
			for (int64_t t = 0; t < (int64_t)k; t++)
				part[t % LT_CHAINS] = fmaf(at(a, la.type, i * a_row + t * a_step),
				                           at(b, lb.type, j * b_col + t * b_step), part[t % LT_CHAINS]);
			for (int p = 0; p < LT_CHAINS; p++)
				sum += part[p];
			/* beta 0: c is not read */
			sum = beta == 0 ? alpha * sum : fmaf(beta, at(c, lc.type, j * lc.ld + i), alpha * sum);
			if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
				sum += at(desc.bias, lc.type, i);
			put(d, lc.type, j * lc.ld + i, sum);
		}
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, const cublasLtMatmulDescOpaque_t *desc, const void *alpha,
                              const void *a, const cublasLtMatrixLayoutOpaque_t *layout_a, const void *b,
                              const cublasLtMatrixLayoutOpaque_t *layout_b, const void *beta, const void *c,
                              const cublasLtMatrixLayoutOpaque_t *layout_c, void *d,
                              const cublasLtMatrixLayoutOpaque_t *layout_d, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
	uint64_t m, n, k;
	if (!handle || !algo || !sizes(desc, layout_a, layout_b, layout_c, &m, &n, &k) ||
	    layout_c->ld != layout_d->ld || workspace_bytes < algo->promised.workspace ||
	    !emu_is_device(workspace, workspace_bytes) || (algo->promised.reduction & ~2u))
		return CUBLAS_STATUS_INVALID_VALUE;
	const void *pointers[] = {a, b, c, d};
	const cublasLtMatrixLayoutOpaque_t *layouts[] = {layout_a, layout_b, layout_c, layout_d};
	for (int i = 0; i < 4; i++)
		if ((uintptr_t)pointers[i] % algo->promised.align[i] ||
		    !emu_is_device(pointers[i], extent(*layouts[i])))
			return CUBLAS_STATUS_INVALID_VALUE;
	if (desc->epilogue == CUBLASLT_EPILOGUE_BIAS && !emu_is_device(desc->bias, m * width(*layout_d)))
		return CUBLAS_STATUS_INVALID_VALUE;
	cublasStatus_t status = enter(CUBLAS_STATUS_EXECUTION_FAILED);
	if (status)
		return status;
	float by = *(const float *)alpha, keep = *(const float *)beta;
	cublasLtMatmulDescOpaque_t how = *desc;
	cublasLtMatrixLayoutOpaque_t la = *layout_a, lb = *layout_b, lc = *layout_c;
	emu_queue(stream, [=]() { product(how, by, a, la, b, lb, keep, c, d, lc); });
	return CUBLAS_STATUS_SUCCESS;
}
