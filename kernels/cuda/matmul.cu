/*
 * matmul - the forward product y = x w^T and the three ops; see kernels.h.
 *
 * An output is sixteen partial sums over k (order 1).  Sixteen lanes share a
 * tile of MICRO x MICRO outputs, lane j holding partial sum j of each, so that
 * a value fetched from shared memory serves MICRO products as in any other
 * tiled product; at the end the lanes exchange halves of what they hold, and
 * each is left with the finished sums of four outputs.  The bits are those of
 * the CPU for any N.
 */
#include "kernels/cuda/common.cuh"

#include <string.h>

#define MICRO 8
#define TILES 4              /* of 16 lanes, in each direction of a block */
#define SIDE (MICRO * TILES) /* rows of x, and rows of w, of a block */
#define STEP 32              /* floats of k staged at a time */
#define PITCH (STEP + 2)     /* rows MICRO apart lie in different banks */
#define FETCH (SIDE * STEP / CU_THREADS)
#define DECODE_ROWS 8 /* rows of x up to which w is streamed instead */

int cu_weights_of(struct cuda *cu, struct cu_weights *to, const struct kn_mat *w)
{
	memset(to, 0, sizeof *to);
	to->n = w->n_blocks;
	to->dtype = w->dtype;
	to->rows = w->rows;
	to->cols = w->cols;
	struct cu_piece *piece = to->piece;
	size_t bytes = (size_t)w->n_blocks * sizeof *piece;
	if (w->n_blocks > CU_PIECES)
		piece = (struct cu_piece *)cu_ring_take(cu, bytes);
	if (!piece)
		return 0;
	int64_t first = 0;
	for (int i = 0; i < w->n_blocks; first += w->blocks[i++].rows)
		piece[i] = cu_piece{w->blocks[i].data, first};
	if (w->n_blocks > CU_PIECES)
		to->more = (const struct cu_piece *)cu_ring_send(cu, piece, bytes);
	return !cu->failed;
}

/* What a block will put into shared memory next, held in registers meanwhile. */
struct fetched {
	float x[FETCH], w[FETCH];
};

struct forward {
	float *y;
	int64_t ldy;
	const float *x, *b;
	int64_t o0, o1, N;
};

static __device__ inline void fetch(struct fetched *f, const struct forward &a, const struct cu_weights &w, int64_t n0,
                                    int64_t o0, int64_t k0)
{
	int64_t k = k0 + threadIdx.x % STEP;
#pragma unroll
	for (int i = 0; i < FETCH; i++) {
		int64_t r = threadIdx.x / STEP + i * (CU_THREADS / STEP), n = n0 + r, o = o0 + r;
		f->x[i] = n < a.N && k < w.cols ? a.x[n * w.cols + k] : 0;
		f->w[i] = o < a.o1 && k < w.cols ? cu_at(cu_row(w, o), w.dtype, k) : 0;
	}
}

static __device__ inline void fetched_store(const struct fetched &f, float (*xs)[PITCH], float (*ws)[PITCH])
{
#pragma unroll
	for (int i = 0; i < FETCH; i++) {
		int r = threadIdx.x / STEP + i * (CU_THREADS / STEP), k = threadIdx.x % STEP;
		xs[r][k] = f.x[i];
		ws[r][k] = f.w[i];
	}
}

/*
 * One level of the tree for all sums at once: of the first 2 HALF sums, a lane keeps one half and gives the other to
 * the lane HALF / 4 away.
 */
template <int HALF> static __device__ inline void exchange(float *sum, int lane)
{
	int upper = lane & (HALF / 4);
#pragma unroll
	for (int i = 0; i < HALF; i++) {
		float keep = upper ? sum[i + HALF] : sum[i], give = upper ? sum[i] : sum[i + HALF];
		sum[i] = keep + __shfl_xor_sync(0xffffffffu, give, HALF / 4, 16);
	}
}

static __global__ void __launch_bounds__(CU_THREADS)
        forward_kernel(const struct forward a, const __grid_constant__ struct cu_weights w)
{
	__shared__ float xs[SIDE][PITCH], ws[SIDE][PITCH];
	int lane = threadIdx.x % 16, tile = threadIdx.x / 16;
	int64_t columns = (a.o1 - a.o0 + SIDE - 1) / SIDE;
	int64_t n0 = blockIdx.x / columns * SIDE, o0 = a.o0 + blockIdx.x % columns * SIDE;
	int row = tile / TILES * MICRO, col = tile % TILES * MICRO;
	float sum[MICRO * MICRO] = {};
	struct fetched next;
	fetch(&next, a, w, n0, o0, 0);
	for (int64_t k0 = 0; k0 < w.cols; k0 += STEP) {
		fetched_store(next, xs, ws);
		__syncthreads();
		if (k0 + STEP < w.cols)
			fetch(&next, a, w, n0, o0, k0 + STEP);
#pragma unroll
		for (int k = 0; k < STEP; k += 16) {
			float x[MICRO], v[MICRO];
#pragma unroll
			for (int i = 0; i < MICRO; i++) {
				x[i] = xs[row + i][k + lane];
				v[i] = ws[col + i][k + lane];
			}
#pragma unroll
			for (int i = 0; i < MICRO * MICRO; i++)
				sum[i] = fmaf(x[i / MICRO], v[i % MICRO], sum[i]);
		}
		__syncthreads();
	}
	exchange<32>(sum, lane);
	exchange<16>(sum, lane);
	exchange<8>(sum, lane);
	exchange<4>(sum, lane);
	int64_t n = n0 + row + lane / 2, o = o0 + col + lane % 2 * 4;
	for (int i = 0; i < 4; i++)
		if (n < a.N && o + i < a.o1)
			a.y[n * a.ldy + o + i - a.o0] = a.b ? sum[i] + a.b[o + i] : sum[i];
}

/* Sixteen lanes stream one row of w past ROWS rows of x at a time. */
template <int ROWS>
static __global__ void __launch_bounds__(CU_THREADS)
        decode_kernel(const struct forward a, const __grid_constant__ struct cu_weights w)
{
	int lane = threadIdx.x % 16;
	int64_t o = a.o0 + ((int64_t)blockIdx.x * CU_THREADS + threadIdx.x) / 16;
	const void *row = cu_row(w, o < a.o1 ? o : a.o1 - 1);
	for (int64_t n0 = 0; n0 < a.N; n0 += ROWS) {
		float sum[ROWS] = {};
#pragma unroll 4
		for (int64_t k = lane; k < w.cols; k += 16) {
			float v = cu_at(row, w.dtype, k);
#pragma unroll
			for (int r = 0; r < ROWS; r++)
				sum[r] = fmaf(a.x[cu_least(n0 + r, a.N - 1) * w.cols + k], v, sum[r]);
		}
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
			float s = cu_tree_sum(sum[r]);
			if (lane == 0 && o < a.o1 && n0 + r < a.N)
				a.y[(n0 + r) * a.ldy + o - a.o0] = a.b ? s + a.b[o] : s;
		}
	}
}

void cu_forward_rows(struct cuda *cu, float *y, int64_t ldy, const float *x, const struct kn_mat *w, const float *b,
                     int64_t o0, int64_t o1, int64_t N)
{
	struct forward a = {y, ldy, x, b, o0, o1, N};
	struct cu_weights weights;
	int64_t O = o1 - o0;
	if (N == 0 || O == 0)
		return;
	if (cu->any_order) {
		cu_lt_forward_rows(cu, y, ldy, x, w, b, o0, o1, N);
		return;
	}
	if (!cu_weights_of(cu, &weights, w))
		return;
	unsigned rows = (unsigned)cu_ceil_div(O * 16, CU_THREADS);
	if (N == 1)
		CU_LAUNCH(cu, decode_kernel<1>, rows, CU_THREADS, a, weights);
	else if (N <= DECODE_ROWS)
		CU_LAUNCH(cu, decode_kernel<4>, rows, CU_THREADS, a, weights);
	else
		CU_LAUNCH(cu, forward_kernel, (unsigned)(cu_ceil_div(N, SIDE) * cu_ceil_div(O, SIDE)), CU_THREADS, a,
		          weights);
}

void cu_matmul_fwd(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_forward_rows(cu, y, w->rows, x, w, b, 0, w->rows, N);
}

void cu_matmul_dx(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_dx_rows(cu, dx, dy, w->rows, w, 0, w->rows, N, add);
}

void cu_matmul_dw(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		cu_dw_rows(cu, dw, db, dy, O, x, N, O, I);
}
