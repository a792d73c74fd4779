/* attention - the forward pass; see kernels.h and attention.cuh */
#include "kernels/cuda/attention.cuh"

#include <math.h>

struct forward {
	cu_real *o;
	float *lse;
	const cu_real *q, *k, *v;
	int64_t blocks; /* of rows, of the longest sequence */
};

/* What one row has seen so far.  `by`: what its sum of values is multiplied with before those of the tile are added. */
struct state {
	float max, sum, by;
};

/* Scores of one row, a lane each, become weights; lo < hi. */
static __device__ inline float row_weights(struct state *r, float score, int lo, int hi, int lane)
{
	float s = lane >= lo && lane < hi ? score : -INFINITY, largest = s;
	for (int width = 16; width; width /= 2) {
		float other = __shfl_xor_sync(0xffffffffu, largest, width);
		largest = other > largest ? other : largest;
	}
	float max = largest > r->max ? largest : r->max, p = cu_exp(s - max);
	float sum = cu_tree_sum(p + __shfl_down_sync(0xffffffffu, p, 16));
	r->by = max > r->max ? cu_exp(r->max - max) : 1;
	r->sum = r->sum * r->by + __shfl_sync(0xffffffffu, sum, 0);
	r->max = max;
	return p;
}

/* sum = sum * by + the chain of weights and values over keys lo..hi-1, this lane's columns of a slice */
static __device__ inline void row_values(float *sum, const float (*v)[PITCH], float p, float by, int lo, int hi,
                                         int lane)
{
#pragma unroll
	for (int c = 0; c < OWN; c++)
		sum[c] = by > 0 ? sum[c] * by : 0;
	for (int j = lo; j < hi; j++) {
		float weight = __shfl_sync(0xffffffffu, p, j);
#pragma unroll
		for (int c = 0; c < OWN; c++)
			sum[c] = fmaf(weight, v[j][lane + c * CU_WARP], sum[c]);
	}
}

/* By all threads: columns out0 .. out0+COLUMNS-1 of the WARPS * RW rows from row0 on. */
template <int RW>
static __device__ inline void rows_forward(float (*keys)[PITCH], float (*rows)[PITCH], const struct forward &f,
                                           const struct shape &a, const struct span &p, int64_t row0, int64_t out0)
{
	int lane = threadIdx.x % CU_WARP, first = threadIdx.x / CU_WARP * RW;
	struct state state[RW];
	float score[RW], sum[RW][COLUMNS / CU_WARP] = {};
#pragma unroll
	for (int i = 0; i < RW; i++)
		state[i] = {-INFINITY, 0, 0};
	int64_t last = cu_least(row0 + WARPS * RW, p.rows) - 1, end = row_position(p, last) + 1;
	for (int64_t t0 = row_first(a, p, row0) / KEYS * KEYS; t0 < end; t0 += KEYS) {
		int64_t n = cu_least(KEYS, end - t0);
#pragma unroll
		for (int i = 0; i < RW; i++)
			score[i] = 0;
		for (int64_t d = 0; d < a.D; d += SLICE) {
			keys_slice(keys, a, p, f.k, t0, n, d);
			rows_slice(rows, WARPS * RW, a, p, f.q, 0, row0, d);
			__syncthreads();
			chains<RW>(score, rows + first, keys[lane], (int)cu_least(SLICE, a.D - d));
			__syncthreads();
		}
#pragma unroll
		for (int i = 0; i < RW; i++) {
			int lo, hi;
			row_range(a, p, row0 + first + i, t0, &lo, &hi);
			if (row0 + first + i < p.rows && lo < hi)
				score[i] = row_weights(&state[i], score[i] * a.scale, lo, hi, lane);
		}
#pragma unroll
		for (int s = 0; s < COLUMNS / SLICE; s++) {
			if (out0 + s * SLICE >= a.D)
				continue;
			keys_slice(keys, a, p, f.v, t0, n, out0 + s * SLICE);
			__syncthreads();
#pragma unroll
			for (int i = 0; i < RW; i++) {
				int lo, hi;
				row_range(a, p, row0 + first + i, t0, &lo, &hi);
				if (row0 + first + i < p.rows && lo < hi)
					row_values(sum[i] + s * OWN, keys, score[i], state[i].by, lo, hi, lane);
			}
			__syncthreads();
		}
	}
#pragma unroll
	for (int i = 0; i < RW; i++) {
		int64_t row = row0 + first + i;
		if (row >= p.rows)
			break;
		float by = 1 / state[i].sum;
		cu_real *o = f.o + row_index(a, p, row) * a.D;
#pragma unroll
		for (int c = 0; c < COLUMNS / CU_WARP; c++)
			if (out0 + c * CU_WARP + lane < a.D)
				o[out0 + c * CU_WARP + lane] = sum[i][c] * by;
		if (f.lse && lane == 0)
			f.lse[row_index(a, p, row)] = state[i].max + cu_log(state[i].sum);
	}
}

template <int RW>
static __global__ void __launch_bounds__(CU_THREADS, 2) forward_kernel(const struct forward f, const struct shape a)
{
	__shared__ float keys[KEYS][PITCH], rows[WARPS * RW][PITCH];
	int64_t item = blockIdx.x / f.blocks, row0 = blockIdx.x % f.blocks * (WARPS * RW);
	struct span p = span_of(a, item / a.G, item % a.G);
	if (row0 < p.rows)
		for (int64_t out0 = 0; out0 < a.D; out0 += COLUMNS)
			rows_forward<RW>(keys, rows, f, a, p, row0, out0);
}

void CU(attention_fwd)(void *ctx, float *o, float *lse, const float *q, const float *k, const float *v,
                       const struct kn_attn *a)
{
#ifdef CU_BF16
	if (cu_attention_mma_takes(a)) {
		cu_attention_mma_fwd(ctx, o, lse, q, k, v, a);
		return;
	}
#endif
	struct cuda *cu = (struct cuda *)ctx;
	struct shape shape;
	int64_t most = 0;
	for (int64_t i = 0; i < a->n_seq; i++)
		most = a->seq[i].n_q > most ? a->seq[i].n_q : most;
	most *= a->G ? a->H / a->G : 0;
	if (most == 0 || !cu_enter(cu) || !cu_shape_of(cu, &shape, a))
		return;
	int few = most <= WARPS; /* decoding: a warp for each row */
	struct forward f = {cu_reals(o), lse,         cu_reals(q),
	                    cu_reals(k), cu_reals(v), cu_ceil_div(most, WARPS * (few ? 1 : 4))};
	unsigned grid = (unsigned)(a->n_seq * a->G * f.blocks);
	if (few)
		CU_LAUNCH(cu, forward_kernel<1>, grid, CU_THREADS, f, shape);
	else
		CU_LAUNCH(cu, forward_kernel<4>, grid, CU_THREADS, f, shape);
}
