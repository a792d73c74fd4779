/*
 * matmul_lt - the products through cuBLASLt, for who wants speed and not an order: of float32 (TF32 off), or of bf16
 * with sums in float32.
 *
 * A row-major matrix is a column-major one seen transposed, so all three
 * products are c = op(a) op(b) with c the transpose of the result.  16-bit
 * weights are widened a block of rows at a time, which is exact.  Split
 * products may reduce only through the workspace, so that the same call gives
 * the same bits; but the order of a sum is cuBLASLt's and changes with N.
 */
#include "kernels/cuda/matmul_bf16.cuh"

#include <stdlib.h>

#define LT_BIAS ((size_t)1 << 20) /* bytes of a bias in bf16 */

struct cu_product {
	int64_t m, n, k; /* c is m x n, column-major */
	int64_t lda, ldb, ldc;
	int64_t transpose_a, transpose_b;
	int64_t narrow;                     /* a and b are bf16, else float32 */
	int64_t narrow_c;                   /* c is bf16 */
	const void *bias;                   /* [m] of the type of c; NULL: none */
	uint32_t align_a, align_b, align_c; /* bytes */
	uint32_t none;                      /* calls are compared byte for byte, padding too */
};

struct cu_plan {
	int known, none; /* none: there is no algorithm for it */
	struct cu_product product;
	cublasLtMatmulAlgo_t algo;
};

/* What one call of cuBLASLt takes besides the numbers. */
struct lt_call {
	cublasLtMatmulDescOpaque_t desc;
	cublasLtMatrixLayoutOpaque_t a, b, c;
};

int cu_lt_init(struct cuda *cu)
{
	cu->plans = (struct cu_plan *)calloc(CU_PLANS, sizeof *cu->plans);
	return cu->plans && !cu_lt_failed(cu, cublasLtCreate(&cu->lt), "cublasLtCreate") &&
	       cu_take(cu, &cu->lt_workspace, CU_LT_WORKSPACE, "device memory for cuBLASLt") &&
	       cu_take(cu, (void **)&cu->convert, cu->bf16 ? LT_BIAS : CU_CONVERT, "device memory for weights");
}

void cu_lt_release(struct cuda *cu)
{
	if (cu->lt)
		cublasLtDestroy(cu->lt);
	cudaFree(cu->lt_workspace);
	cudaFree(cu->convert);
	free(cu->plans);
}

/* ---- one product ---- */

static uint32_t alignment(const void *p)
{
	uintptr_t bits = (uintptr_t)p | 256;
	return (uint32_t)(bits & -bits);
}

static cublasStatus_t set_bias(struct lt_call *call, const void *bias)
{
	cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
	cublasStatus_t status =
	        cublasLtMatmulDescSetAttribute(&call->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatmulDescSetAttribute(&call->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
		                                        sizeof bias);
	return status;
}

static cublasStatus_t call_init(struct lt_call *call, const struct cu_product *p)
{
	cublasOperation_t ta = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
	                  tb = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
	int64_t rows_a = p->transpose_a ? p->k : p->m, rows_b = p->transpose_b ? p->n : p->k;
	cublasComputeType_t compute = p->narrow ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC;
	cudaDataType_t type = p->narrow ? CUDA_R_16BF : CUDA_R_32F, type_c = p->narrow_c ? CUDA_R_16BF : CUDA_R_32F;
	cublasStatus_t status = cublasLtMatmulDescInit(&call->desc, compute, CUDA_R_32F);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatmulDescSetAttribute(&call->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatmulDescSetAttribute(&call->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
	if (status == CUBLAS_STATUS_SUCCESS && p->bias)
		status = set_bias(call, p->bias);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatrixLayoutInit(&call->a, type, (uint64_t)rows_a, (uint64_t)(p->m + p->k - rows_a),
		                                  p->lda);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatrixLayoutInit(&call->b, type, (uint64_t)rows_b, (uint64_t)(p->n + p->k - rows_b),
		                                  p->ldb);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatrixLayoutInit(&call->c, type_c, (uint64_t)p->m, (uint64_t)p->n, p->ldc);
	return status;
}

static cublasStatus_t preference_init(cublasLtMatmulPreferenceOpaque_t *prefer, const struct cu_product *p)
{
	uint64_t workspace = CU_LT_WORKSPACE;
	uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
	const struct {
		cublasLtMatmulPreferenceAttributes_t name;
		const void *value;
		size_t bytes;
	} set[] = {
	        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
	        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction},
	        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &p->align_a, sizeof p->align_a},
	        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &p->align_b, sizeof p->align_b},
	        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &p->align_c, sizeof p->align_c},
	        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &p->align_c, sizeof p->align_c},
	};
	cublasStatus_t status = cublasLtMatmulPreferenceInit(prefer);
	for (size_t i = 0; status == CUBLAS_STATUS_SUCCESS && i < sizeof set / sizeof *set; i++)
		status = cublasLtMatmulPreferenceSetAttribute(prefer, set[i].name, set[i].value, set[i].bytes);
	return status;
}

static struct cu_plan *plan_slot(struct cuda *cu, const struct cu_product *p)
{
	uint64_t hash = 0;
	const int64_t parts[] = {p->m,   p->n,           p->k,           p->lda,      p->ldb,
	                         p->ldc, p->transpose_a, p->transpose_b, p->narrow_c, p->bias != NULL};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		hash = (hash ^ (uint64_t)parts[i]) * 0x9e3779b97f4a7c15u;
	return &cu->plans[hash >> 32 & (CU_PLANS - 1)];
}

static int same_product(const struct cu_product *a, const struct cu_product *b)
{
	return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb &&
	       a->ldc == b->ldc && a->transpose_a == b->transpose_a && a->transpose_b == b->transpose_b &&
	       a->narrow == b->narrow && a->narrow_c == b->narrow_c && !a->bias == !b->bias &&
	       a->align_a == b->align_a && a->align_b == b->align_b && a->align_c == b->align_c;
}

/* The algorithm for this shape: asked for once, so that a call costs no search.  NULL after an error, or *none. */
static const cublasLtMatmulAlgo_t *plan_find(struct cuda *cu, const struct cu_product *p, struct lt_call *call,
                                             int *none)
{
	struct cu_plan *plan = plan_slot(cu, p);
	if (plan->known && same_product(&plan->product, p)) {
		*none = plan->none;
		return plan->none ? NULL : &plan->algo;
	}
	cublasLtMatmulPreferenceOpaque_t prefer;
	cublasLtMatmulHeuristicResult_t found;
	int n = 0;
	cublasStatus_t status = preference_init(&prefer, p);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasLtMatmulAlgoGetHeuristic(cu->lt, &call->desc, &call->a, &call->b, &call->c, &call->c,
		                                        &prefer, 1, &found, &n);
	*none = status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && n == 0);
	if (!*none && cu_lt_failed(cu, status, "cublasLtMatmulAlgoGetHeuristic"))
		return NULL;
	plan->known = 1;
	plan->none = *none;
	plan->product = *p;
	if (*none)
		return NULL;
	plan->algo = found.algo;
	return &plan->algo;
}

static void product_now(struct cuda *cu, const struct cu_product &p, const void *a, const void *b, float beta, void *c)
{
	struct lt_call call;
	float alpha = 1;
	int none = 0;
	if (cu_lt_failed(cu, call_init(&call, &p), "cublasLtMatmulDescInit"))
		return;
	const cublasLtMatmulAlgo_t *algo = plan_find(cu, &p, &call, &none);
	if (algo)
		cu_lt_failed(cu,
		             cublasLtMatmul(cu->lt, &call.desc, &alpha, a, &call.a, b, &call.b, &beta, c, &call.c, c,
		                            &call.c, algo, cu->lt_workspace, CU_LT_WORKSPACE, cu->stream),
		             "cublasLtMatmul");
}

/* Is there an algorithm for this? */
static int product_possible(struct cuda *cu, const struct cu_product *p)
{
	struct lt_call call;
	int none = 0;
	if (!cu_lt_failed(cu, call_init(&call, p), "cublasLtMatmulDescInit"))
		plan_find(cu, p, &call, &none);
	return !none;
}

/* c = op(a) op(b) + beta c (+ bias).  0: there is no algorithm for this. */
static int product(struct cuda *cu, struct cu_product p, const void *a, const void *b, float beta, void *c)
{
	if (p.m == 0 || p.n == 0 || p.k == 0 || cu->failed)
		return 1;
	p.align_a = alignment(a);
	p.align_b = alignment(b);
	p.align_c = alignment(c);
	if (!product_possible(cu, &p))
		return 0;
	struct cu_call what;
	what.n = 0;
	cu_call_put(&what, &product_now);
	cu_call_put(&what, p);
	cu_call_put(&what, a);
	cu_call_put(&what, b);
	cu_call_put(&what, c);
	cu_call_put(&what, beta);
	if (!cu_step_now(cu))
		product_now(cu, p, a, b, beta, c);
	else if (!cu_step_same(cu, what.bytes, what.n))
		cu_step_add(cu, what.bytes, what.n, [=]() { product_now(cu, p, a, b, beta, c); });
	return 1;
}

/* Of float32, for which there is always one. */
static void float_product(struct cuda *cu, struct cu_product p, const float *a, const float *b, float beta, float *c)
{
	if (!product(cu, p, a, b, beta, c))
		cu_lt_failed(cu, CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
}

/* ---- weights ---- */

static __global__ void widen_kernel(float *to, const uint16_t *from, enum kn_dtype dtype, int64_t n)
{
	for (CU_EACH(i, n))
		to[i] = cu_at(from, dtype, i);
}

/* Some rows of a matrix as float32; `first` is counted from the first row asked for. */
struct rows {
	const float *data;
	int64_t first, count;
};

/* Calls fn for rows o0..o1-1 of w in rising order, as many at a time as lie together and CU_CONVERT holds. */
template <typename F> static void each_rows(struct cuda *cu, const struct kn_mat *w, int64_t o0, int64_t o1, F fn)
{
	int64_t first = 0, most = w->cols ? (int64_t)(CU_CONVERT / sizeof(float)) / w->cols : w->rows;
	if (w->dtype != KN_F32 && w->rows > 0 && most == 0)
		cu_failed(cu, cudaErrorInvalidValue, "a row of 16-bit weights is too long");
	for (int i = 0; i < w->n_blocks; first += w->blocks[i++].rows) {
		int64_t at = o0 > first ? o0 - first : 0, end = cu_min(w->blocks[i].rows, o1 - first);
		for (int64_t count; at < end && !cu->failed; at += count) {
			const void *data = w->blocks[i].data;
			count = w->dtype == KN_F32 ? end - at : cu_min(end - at, most);
			int64_t n = count * w->cols;
			if (w->dtype != KN_F32 && n > 0)
				CU_LAUNCH(cu, widen_kernel, cu_grid(cu, n), CU_THREADS, cu->convert,
				          (const uint16_t *)data + at * w->cols, w->dtype, n);
			fn(rows{w->dtype == KN_F32 ? (const float *)data + at * w->cols : cu->convert, first + at - o0,
			        count});
		}
	}
}

/* y[n,o] = b[o], or 0 */
static __global__ void fill_rows_kernel(float *y, int64_t ldy, const float *b, int64_t N, int64_t O)
{
	for (CU_EACH(i, N * O))
		y[i / O * ldy + i % O] = b ? b[i % O] : 0;
}

void cu_lt_forward_rows(struct cuda *cu, float *y, int64_t ldy, const float *x, const struct kn_mat *w, const float *b,
                        int64_t o0, int64_t o1, int64_t N)
{
	int64_t I = w->cols, O = o1 - o0;
	if (b || I == 0)
		CU_LAUNCH(cu, fill_rows_kernel, cu_grid(cu, N * O), CU_THREADS, y, ldy, b ? b + o0 : NULL, N, O);
	each_rows(cu, w, o0, o1, [=](struct rows r) {
		float_product(cu, cu_product{r.count, N, I, I, I, ldy, 1, 0}, r.data, x, b ? 1.0f : 0.0f, y + r.first);
	});
}

void cu_lt_dx_rows(struct cuda *cu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                   int64_t o1, int64_t N, int add)
{
	int64_t I = w->cols;
	cu_step_flush(cu);
	if (o1 == o0 && !add)
		cu_failed(cu, cudaMemsetAsync(dx, 0, (size_t)(N * I) * sizeof *dx, cu->stream), "matmul_dx");
	each_rows(cu, w, o0, o1, [=](struct rows r) {
		float_product(cu, cu_product{I, N, r.count, I, ldy, I, 0, 0}, r.data, dy + r.first,
		              add || r.first > 0 ? 1.0f : 0.0f, dx);
	});
}

void cu_lt_dw(struct cuda *cu, float *dw, const float *dy, int64_t ldy, const float *x, int64_t N, int64_t O, int64_t I)
{
	float_product(cu, cu_product{I, O, N, I, ldy, I, 0, 1}, x, dy, 1.0f, dw);
}

/* ---- bf16 ---- */

/* The bias as the epilogue takes it: of the type of y.  0: there is no room. */
static int bias_of(struct cuda *cu, const void **to, const struct cu_result *y, const float *b, int64_t n)
{
	*to = b;
	if (!b || y->wide)
		return 1;
	if ((size_t)n * sizeof(cu_bf16) > LT_BIAS)
		return 0;
	cu_to_bf16(cu, (uint16_t *)cu->convert, b, n);
	*to = cu->convert;
	return 1;
}

static const uint16_t *piece_at(const struct kn_mat *w, int i, int64_t row)
{
	return (const uint16_t *)w->blocks[i].data + row * w->cols;
}

int cu_lt_forward_bf16(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                       int64_t o0, int64_t o1, int64_t N)
{
	int64_t I = w->cols, first = 0, width = y.wide ? 4 : 2;
	const void *bias;
	if (!bias_of(cu, &bias, &y, b ? b + o0 : NULL, o1 - o0))
		return 0;
	for (int i = 0; i < w->n_blocks; first += w->blocks[i++].rows) {
		int64_t from = o0 > first ? o0 - first : 0, end = cu_min(w->blocks[i].rows, o1 - first);
		int64_t at = first + from - o0;
		struct cu_product p = {end - from, N, I, I, I, y.ld, 1, 0, 1, !y.wide};
		p.bias = bias ? (const char *)bias + at * width : NULL;
		if (from < end && !product(cu, p, piece_at(w, i, from), x, 0, (char *)y.data + at * width))
			return 0;
	}
	return 1;
}

/* In one piece: sums of several would be rounded between them. */
int cu_lt_dx_bf16(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                  int64_t o1, int64_t N)
{
	struct cu_product p = {w->cols, N, o1 - o0, w->cols, ldy, dx.ld, 0, 0, 1, !dx.wide};
	return w->n_blocks == 1 && product(cu, p, piece_at(w, 0, o0), dy, dx.add ? 1.0f : 0.0f, dx.data);
}

int cu_lt_dw_bf16(struct cuda *cu, struct cu_result dw, const void *dy, int64_t ldy, const void *x, int64_t N,
                  int64_t O, int64_t I)
{
	return product(cu, cu_product{I, O, N, I, ldy, dw.ld, 0, 1, 1, !dw.wide}, x, dy, dw.add ? 1.0f : 0.0f, dw.data);
}
