/*
 * matmul_grad - the two products of the backward pass, dx = dy w and dw = dy^T x.
 *
 * Both are c[row][col] = sum over t of a[row][t] b[t][col], with t the rows of
 * w (dx, order 6) or the tokens (dw, order 2), and each element one chain of
 * fma over t.  A block of threads owns SIDE x SIDE elements and a thread
 * MICRO x MICRO of them, so nothing is ever summed across threads.
 */
#include "kernels/cuda/common.cuh"

#define SIDE 64
#define MICRO 4
#define STEP 16          /* of t staged at a time */
#define PITCH (SIDE + 4) /* keeps 16-byte alignment and moves rows to other banks */
#define FETCH (SIDE * STEP / CU_THREADS)
#define GROUP (SIDE / MICRO) /* threads along a side */

struct grad {
	float *c; /* [rows, cols] */
	const float *dy;
	int64_t ldy;
	const float *x; /* dw */
	int64_t o0, rows, cols, steps;
	int add; /* dx */
};

struct fetched {
	float a[FETCH], b[FETCH];
};

/* Neighbouring threads fetch neighbouring floats: steps of one row of dy for dx, rows of one step for dw. */
template <int DX>
static __device__ inline void fetch(struct fetched *f, const struct grad &g, const struct cu_weights &w, int64_t row0,
                                    int64_t col0, int64_t t0)
{
#pragma unroll
	for (int i = 0; i < FETCH; i++) {
		int at = threadIdx.x + i * CU_THREADS;
		int64_t row = row0 + (DX ? at / STEP : at % SIDE), t = t0 + (DX ? at % STEP : at / SIDE);
		f->a[i] = row < g.rows && t < g.steps ? g.dy[DX ? row * g.ldy + t : t * g.ldy + row] : 0;
		int64_t col = col0 + at % SIDE;
		t = t0 + at / SIDE;
		f->b[i] = 0;
		if (col < g.cols && t < g.steps)
			f->b[i] = DX ? cu_at(cu_row(w, g.o0 + t), w.dtype, col) : g.x[t * g.cols + col];
	}
}

template <int DX>
static __device__ inline void fetched_store(const struct fetched &f, float (*as)[PITCH], float (*bs)[PITCH])
{
#pragma unroll
	for (int i = 0; i < FETCH; i++) {
		int at = threadIdx.x + i * CU_THREADS;
		if (DX)
			as[at % STEP][at / STEP] = f.a[i];
		else
			as[at / SIDE][at % SIDE] = f.a[i];
		bs[at / SIDE][at % SIDE] = f.b[i];
	}
}

static __device__ inline void chain_step(float *sum, const float *as, const float *bs)
{
	float a[MICRO], b[MICRO];
#pragma unroll
	for (int i = 0; i < MICRO; i++) {
		a[i] = as[i];
		b[i] = bs[i];
	}
#pragma unroll
	for (int i = 0; i < MICRO * MICRO; i++)
		sum[i] = fmaf(a[i / MICRO], b[i % MICRO], sum[i]);
}

template <int DX>
static __global__ void __launch_bounds__(CU_THREADS)
        grad_kernel(const struct grad g, const __grid_constant__ struct cu_weights w)
{
	__shared__ __align__(16) float as[STEP][PITCH], bs[STEP][PITCH];
	int row = threadIdx.x / GROUP * MICRO, col = threadIdx.x % GROUP * MICRO;
	int64_t columns = (g.cols + SIDE - 1) / SIDE;
	int64_t row0 = blockIdx.x / columns * SIDE, col0 = blockIdx.x % columns * SIDE;
	/* dw goes on with the chain in memory; dx sums a block of rows of w on its own and adds it to `total` */
	float sum[MICRO * MICRO] = {}, total[MICRO * MICRO] = {};
#pragma unroll
	for (int i = 0; i < MICRO * MICRO; i++) {
		int64_t r = row0 + row + i / MICRO, c = col0 + col + i % MICRO;
		if (r < g.rows && c < g.cols && (!DX || g.add))
			(DX ? total : sum)[i] = g.c[r * g.cols + c];
	}
	int fresh = !g.add;
	struct fetched next;
	fetch<DX>(&next, g, w, row0, col0, 0);
	for (int64_t t0 = 0; t0 < g.steps; t0 += STEP) {
		fetched_store<DX>(next, as, bs);
		__syncthreads();
		if (t0 + STEP < g.steps)
			fetch<DX>(&next, g, w, row0, col0, t0 + STEP);
		if (t0 + STEP <= g.steps) {
#pragma unroll
			for (int t = 0; t < STEP; t++)
				chain_step(sum, as[t] + row, bs[t] + col);
		} else
			for (int t = 0; t < (int)(g.steps - t0); t++)
				chain_step(sum, as[t] + row, bs[t] + col);
		__syncthreads();
		if (DX && ((t0 + STEP) % KN_OUT_BLOCK == 0 || t0 + STEP >= g.steps)) {
#pragma unroll
			for (int i = 0; i < MICRO * MICRO; i++) {
				total[i] = fresh ? sum[i] : total[i] + sum[i];
				sum[i] = 0;
			}
			fresh = 0;
		}
	}
#pragma unroll
	for (int i = 0; i < MICRO * MICRO; i++) {
		int64_t r = row0 + row + i / MICRO, c = col0 + col + i % MICRO;
		if (r < g.rows && c < g.cols)
			g.c[r * g.cols + c] = (DX ? total : sum)[i];
	}
}

static unsigned grad_blocks(const struct grad *g)
{
	return (unsigned)(cu_ceil_div(g->rows, SIDE) * cu_ceil_div(g->cols, SIDE));
}

void cu_dx_rows(struct cuda *cu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                int64_t o1, int64_t N, int add)
{
	struct grad g = {dx, dy, ldy, NULL, o0, N, w->cols, o1 - o0, add};
	struct cu_weights weights;
	if (N == 0 || w->cols == 0)
		return;
	if (cu->any_order)
		cu_lt_dx_rows(cu, dx, dy, ldy, w, o0, o1, N, add);
	else if (cu_weights_of(cu, &weights, w))
		CU_LAUNCH(cu, grad_kernel<1>, grad_blocks(&g), CU_THREADS, g, weights);
}

/* A block owns 32 columns of dy.  All its threads fetch; the first warp continues the sums, one column each. */
static __global__ void column_sums_kernel(float *db, const float *dy, int64_t ldy, int64_t N, int64_t O)
{
	__shared__ float part[CU_WARP][CU_WARP];
	int column = threadIdx.x % CU_WARP, group = threadIdx.x / CU_WARP;
	int64_t o = (int64_t)blockIdx.x * CU_WARP + column;
	int mine = group == 0 && o < O;
	float sum = mine ? db[o] : 0;
	for (int64_t n0 = 0; n0 < N; n0 += CU_WARP) {
		int rows = (int)cu_least(CU_WARP, N - n0);
		for (int i = group; o < O && i < rows; i += CU_THREADS / CU_WARP)
			part[i][column] = dy[(n0 + i) * ldy + o];
		__syncthreads();
		for (int i = 0; mine && i < rows; i++)
			sum += part[i][column];
		__syncthreads();
	}
	if (mine)
		db[o] = sum;
}

void cu_dw_rows(struct cuda *cu, float *dw, float *db, const float *dy, int64_t ldy, const float *x, int64_t N,
                int64_t O, int64_t I)
{
	struct grad g = {dw, dy, ldy, x, 0, O, I, N, 0};
	struct cu_weights none = {};
	if (N == 0 || O == 0)
		return;
	if (db)
		CU_LAUNCH(cu, column_sums_kernel, (unsigned)cu_ceil_div(O, CU_WARP), CU_THREADS, db, dy, ldy, N, O);
	if (dw && I > 0 && cu->any_order)
		cu_lt_dw(cu, dw, dy, ldy, x, N, O, I);
	else if (dw && I > 0)
		CU_LAUNCH(cu, grad_kernel<0>, grad_blocks(&g), CU_THREADS, g, none);
}
