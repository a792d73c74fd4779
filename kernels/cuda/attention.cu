/* attention - the forward pass; see kernels.h and attention.cuh */
#include "kernels/cuda/attention.cuh"

#include <math.h>
#include <string.h>

/* Pages of n rows; a table that follows itself, as that of a prompt does in its samples, is sent once. */
static int64_t pages_of(const int32_t *page, int64_t n, const int32_t *before)
{
	return page && page != before && n > 0 ? cu_ceil_div(n, KN_PAGE) : 0;
}

static int64_t prefix_pages(const struct kn_attn *a, int64_t i)
{
	const struct kn_seq *s = a->seq + i;
	return pages_of(s->prefix_page, s->prefix_n, i ? s[-1].prefix_page : NULL);
}

static int64_t own_pages(const struct kn_seq *s)
{
	return pages_of(s->page, s->pos + s->n_q - s->prefix_n, NULL);
}

/* The sequences, then their pages: *seq is an array of `there`, where the device has it. */
static void place_pages(struct kn_seq *seq, const struct kn_seq *there, const struct kn_attn *a)
{
	int32_t *to = (int32_t *)(seq + a->n_seq);
	const int32_t *at = (const int32_t *)(there + a->n_seq), *prefix = NULL;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		int64_t shared = prefix_pages(a, i), own = own_pages(s);
		seq[i] = *s;
		if (shared) {
			memcpy(to, s->prefix_page, (size_t)shared * sizeof *to);
			prefix = at;
		}
		if (own)
			memcpy(to + shared, s->page, (size_t)own * sizeof *to);
		seq[i].prefix_page = s->prefix_page ? prefix : NULL;
		seq[i].page = s->page ? at + shared : NULL;
		to += shared + own;
		at += shared + own;
	}
}

int cu_shape_of(struct cuda *cu, struct shape *to, const struct kn_attn *a)
{
	size_t seqs = (size_t)a->n_seq * sizeof *a->seq, bytes = seqs;
	*to = {a->H, a->G, a->D, a->window, a->q_stride, a->kv_stride, a->n_seq, a->scale, 0, NULL};
	to->seq = (const struct kn_seq *)cu_step_find(cu, a->seq, seqs);
	if (to->seq)
		return 1;
	for (int64_t i = 0; i < a->n_seq; i++)
		bytes += (size_t)(prefix_pages(a, i) + own_pages(a->seq + i)) * sizeof *a->seq->page;
	struct kn_seq *taken = (struct kn_seq *)cu_ring_take(cu, bytes);
	if (!taken)
		return 0;
	place_pages(taken, (const struct kn_seq *)cu_ring_mirror(cu, taken), a);
	to->seq = (const struct kn_seq *)cu_ring_send(cu, taken, bytes);
	cu_step_keep(cu, a->seq, seqs, to->seq);
	return to->seq != NULL;
}

struct forward {
	float *o, *lse;
	const float *q, *k, *v;
	int64_t blocks; /* of rows, of the longest sequence */
};

/*
 * What one row has seen so far.  Its sum of values is in o, as only its warp touches it; `by` is what that sum is to be
 * multiplied with before the values of the tile are added.
 */
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

/* o = o * by + the chain of weights and values over keys lo..hi-1, this lane's columns of a slice */
static __device__ inline void row_values(float *o, const float (*v)[PITCH], float p, float by, int lo, int hi, int lane,
                                         int64_t columns)
{
	for (int c = lane; c - lane < SLICE; c += CU_WARP) {
		float sum = c < columns && by > 0 ? o[c] * by : 0;
		for (int j = lo; j < hi; j++)
			sum = fmaf(__shfl_sync(0xffffffffu, p, j), v[j][c], sum);
		if (c < columns)
			o[c] = sum;
	}
}

template <int RW>
static __global__ void __launch_bounds__(CU_THREADS) forward_kernel(const struct forward f, const struct shape a)
{
	__shared__ float keys[KEYS][PITCH], rows[WARPS * RW][PITCH];
	int lane = threadIdx.x % CU_WARP, first = threadIdx.x / CU_WARP * RW;
	int64_t item = blockIdx.x / f.blocks, row0 = blockIdx.x % f.blocks * (WARPS * RW);
	struct span p = span_of(a, item / a.G, item % a.G);
	struct state state[RW];
	float score[RW];
	if (row0 >= p.rows)
		return;
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
		for (int64_t d = 0; d < a.D; d += SLICE) {
			keys_slice(keys, a, p, f.v, t0, n, d);
			__syncthreads();
#pragma unroll
			for (int i = 0; i < RW; i++) {
				int64_t row = row0 + first + i;
				int lo, hi;
				row_range(a, p, row, t0, &lo, &hi);
				if (row < p.rows && lo < hi)
					row_values(f.o + row_index(a, p, row) * a.D + d, keys, score[i], state[i].by,
					           lo, hi, lane, a.D - d);
			}
			__syncthreads();
		}
	}
#pragma unroll
	for (int i = 0; i < RW; i++) {
		int64_t row = row0 + first + i;
		if (row >= p.rows)
			break;
		float by = 1 / state[i].sum, *o = f.o + row_index(a, p, row) * a.D;
		for (int64_t c = lane; c < a.D; c += CU_WARP)
			o[c] *= by;
		if (f.lse && lane == 0)
			f.lse[row_index(a, p, row)] = state[i].max + cu_log(state[i].sum);
	}
}

void cu_attention_fwd(void *ctx, float *o, float *lse, const float *q, const float *k, const float *v,
                      const struct kn_attn *a)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct shape shape;
	int64_t most = 0;
	for (int64_t i = 0; i < a->n_seq; i++)
		most = a->seq[i].n_q > most ? a->seq[i].n_q : most;
	most *= a->G ? a->H / a->G : 0;
	if (most == 0 || !cu_enter(cu) || !cu_shape_of(cu, &shape, a))
		return;
	int few = most <= WARPS; /* decoding: a warp for each row */
	struct forward f = {o, lse, q, k, v, cu_ceil_div(most, WARPS * (few ? 1 : 4))};
	unsigned grid = (unsigned)(a->n_seq * a->G * f.blocks);
	if (few)
		CU_LAUNCH(cu, forward_kernel<1>, grid, CU_THREADS, f, shape);
	else
		CU_LAUNCH(cu, forward_kernel<4>, grid, CU_THREADS, f, shape);
}
