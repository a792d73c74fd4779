/*
 * norm - layer norm and RMS norm; see kernels.h.
 *
 * Sixteen lanes walk one row, so that lane j holds partial sum j of order 1
 * and the bits are those of the CPU; a warp does two rows.  The gradients of
 * gain and bias are a second pass in which a warp owns 32 columns and tokens
 * come in row order (order 2), fetched by the whole block ahead of the chain.
 */
#include "kernels/cuda/common.cuh"

#define ROWS (CU_THREADS / 16) /* of one block of threads */
#define GAIN_ROWS 32           /* rows fetched at a time for 32 columns */

struct norm {
	cu_real *y, *dx;
	float *mean, *rstd; /* forward; may be NULL */
	float *dg, *db;     /* backward: db NULL for the RMS norm */
	const cu_real *x, *dy;
	const float *g, *b;
	const float *mean_in, *rstd_in; /* mean_in NULL for the RMS norm, whose mean is 0 */
	float eps;
	int64_t N, C;
};

/* Rows beyond the last take part in the shuffles with an empty row. */
#define NORM_ROW(a)                                                                                                    \
	int64_t n = (int64_t)blockIdx.x * ROWS + threadIdx.x / 16, C = n < (a).N ? (a).C : 0;                          \
	int lane = threadIdx.x % 16

static __device__ inline float inverse_root(float sum, int64_t C, float eps)
{
	return 1 / sqrtf(sum / (float)C + eps);
}

static __global__ void layernorm_kernel(struct norm a)
{
	NORM_ROW(a);
	const cu_real *x = a.x + n * a.C;
	float sum = 0, spread = 0;
	for (int64_t c = lane; c < C; c += 16)
		sum += x[c];
	float mu = cu_tree_sum_all(sum) / (float)a.C;
	for (int64_t c = lane; c < C; c += 16)
		spread = fmaf(x[c] - mu, x[c] - mu, spread);
	float r = inverse_root(cu_tree_sum_all(spread), a.C, a.eps);
	for (int64_t c = lane; c < C; c += 16)
		a.y[n * a.C + c] = fmaf((x[c] - mu) * r, a.g[c], a.b[c]);
	if (lane == 0 && n < a.N && a.mean)
		a.mean[n] = mu;
	if (lane == 0 && n < a.N && a.rstd)
		a.rstd[n] = r;
}

static __global__ void rmsnorm_kernel(struct norm a)
{
	NORM_ROW(a);
	const cu_real *x = a.x + n * a.C;
	float sum = 0;
	for (int64_t c = lane; c < C; c += 16)
		sum = fmaf(x[c], x[c], sum);
	float r = inverse_root(cu_tree_sum_all(sum), a.C, a.eps);
	for (int64_t c = lane; c < C; c += 16)
		a.y[n * a.C + c] = x[c] * r * a.g[c];
	if (lane == 0 && n < a.N && a.rstd)
		a.rstd[n] = r;
}

/* With h = (x - mean) rstd and dh = dy g: dx += rstd (dh - mean(dh) - h mean(dh h)). */
static __global__ void gradient_kernel(struct norm a)
{
	NORM_ROW(a);
	const cu_real *x = a.x + n * a.C, *dy = a.dy + n * a.C;
	float mu = C && a.mean_in ? a.mean_in[n] : 0, r = C ? a.rstd_in[n] : 0, sum = 0, sum_h = 0;
	for (int64_t c = lane; c < C; c += 16) {
		float dh = dy[c] * a.g[c];
		sum += dh;
		sum_h = fmaf(dh, (x[c] - mu) * r, sum_h);
	}
	float mean_dh = cu_tree_sum_all(sum) / (float)a.C, mean_h = -cu_tree_sum_all(sum_h) / (float)a.C;
	if (!a.mean_in)
		mean_dh = 0;
	for (int64_t c = lane; c < C; c += 16) {
		float h = (x[c] - mu) * r, dh = dy[c] * a.g[c];
		a.dx[n * a.C + c] += r * fmaf(h, mean_h, dh - mean_dh);
	}
}

/* A block owns 32 columns.  All its threads fetch; the first warp continues the chains, one column each. */
static __global__ void gain_kernel(struct norm a)
{
	__shared__ float h[GAIN_ROWS][CU_WARP], dy[GAIN_ROWS][CU_WARP];
	int column = threadIdx.x % CU_WARP, group = threadIdx.x / CU_WARP;
	int64_t c = (int64_t)blockIdx.x * CU_WARP + column;
	int mine = group == 0 && c < a.C;
	float dg = mine ? a.dg[c] : 0, db = mine && a.db ? a.db[c] : 0;
	for (int64_t n0 = 0; n0 < a.N; n0 += GAIN_ROWS) {
		int rows = (int)(a.N - n0 < GAIN_ROWS ? a.N - n0 : GAIN_ROWS);
		for (int i = group; c < a.C && i < rows; i += CU_THREADS / CU_WARP) {
			int64_t n = n0 + i;
			dy[i][column] = a.dy[n * a.C + c];
			h[i][column] = (a.x[n * a.C + c] - (a.mean_in ? a.mean_in[n] : 0)) * a.rstd_in[n];
		}
		__syncthreads();
		for (int i = 0; mine && i < rows; i++) {
			dg = fmaf(dy[i][column], h[i][column], dg);
			db += dy[i][column];
		}
		__syncthreads();
	}
	if (mine)
		a.dg[c] = dg;
	if (mine && a.db)
		a.db[c] = db;
}

static unsigned row_blocks(const struct norm *a)
{
	return (unsigned)cu_ceil_div(a->N, ROWS);
}

static void norm_backward(struct cuda *cu, const struct norm *a)
{
	if (a->N == 0 || a->C == 0 || !cu_enter(cu))
		return;
	CU_LAUNCH(cu, gain_kernel, (unsigned)cu_ceil_div(a->C, CU_WARP), CU_THREADS, *a);
	CU_LAUNCH(cu, gradient_kernel, row_blocks(a), CU_THREADS, *a);
}

void CU(layernorm_fwd)(void *ctx, float *y, float *mean, float *rstd, const float *x, const float *g, const float *b,
                       float eps, int64_t N, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct norm a = {};
	a.y = cu_reals(y);
	a.mean = mean;
	a.rstd = rstd;
	a.x = cu_reals(x);
	a.g = g;
	a.b = b;
	a.eps = eps;
	a.N = N;
	a.C = C;
	if (N > 0 && cu_enter(cu))
		CU_LAUNCH(cu, layernorm_kernel, row_blocks(&a), CU_THREADS, a);
}

void CU(layernorm_bwd)(void *ctx, float *dx, float *dg, float *db, const float *dy, const float *x, const float *mean,
                       const float *rstd, const float *g, int64_t N, int64_t C)
{
	struct norm a = {};
	a.dx = cu_reals(dx);
	a.dg = dg;
	a.db = db;
	a.dy = cu_reals(dy);
	a.x = cu_reals(x);
	a.mean_in = mean;
	a.rstd_in = rstd;
	a.g = g;
	a.N = N;
	a.C = C;
	norm_backward((struct cuda *)ctx, &a);
}

void CU(rmsnorm_fwd)(void *ctx, float *y, float *rstd, const float *x, const float *g, float eps, int64_t N, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct norm a = {};
	a.y = cu_reals(y);
	a.rstd = rstd;
	a.x = cu_reals(x);
	a.g = g;
	a.eps = eps;
	a.N = N;
	a.C = C;
	if (N > 0 && cu_enter(cu))
		CU_LAUNCH(cu, rmsnorm_kernel, row_blocks(&a), CU_THREADS, a);
}

void CU(rmsnorm_bwd)(void *ctx, float *dx, float *dg, const float *dy, const float *x, const float *rstd,
                     const float *g, int64_t N, int64_t C)
{
	struct norm a = {};
	a.dx = cu_reals(dx);
	a.dg = dg;
	a.dy = cu_reals(dy);
	a.x = cu_reals(x);
	a.rstd_in = rstd;
	a.g = g;
	a.N = N;
	a.C = C;
	norm_backward((struct cuda *)ctx, &a);
}
