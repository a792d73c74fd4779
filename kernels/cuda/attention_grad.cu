/*
 * attention_grad - the backward pass; see kernels.h and attention.cuh.
 *
 * Scores are computed again, twice: once by the warp that owns dq of a row,
 * which walks the tiles of keys, and once by the block of threads that owns dk
 * and dv of a tile of keys, which walks the rows.  So every gradient is one
 * chain in the order of kernels.h, and nothing is summed across threads.
 *
 * When sequences share the rows of a prefix, the block of a tile walks all of
 * them in order.  This needs a row of the key array to stand for one position
 * in every sequence that sees it, as rows of a cache do.
 */
#include "kernels/cuda/attention.cuh"

#define GRAD_ROWS 32 /* virtual rows at a time */
#define RW (GRAD_ROWS / WARPS)

struct backward {
	float *dq, *dk, *dv, *delta;
	const float *do_, *o, *lse, *q, *k, *v;
	int64_t blocks; /* of rows (dq) or of keys (dk, dv), of the longest sequence */
	int shared;     /* a block walks all sequences */
};

/* p and ds of RW rows against this lane's key */
struct weights {
	float p[RW], ds[RW];
};

struct slices {
	float a[GRAD_ROWS][PITCH], b[GRAD_ROWS][PITCH], k[KEYS][PITCH], v[KEYS][PITCH];
};

/* delta[row, head] = do . o (order 1), sixteen lanes each */
static __global__ void delta_kernel(const struct backward b, const struct shape a)
{
	int64_t item = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 16, per_seq = b.blocks * a.H;
	int64_t seq = item / per_seq, i = item % per_seq, D = 0, at = 0;
	int lane = threadIdx.x % 16;
	if (seq < a.n_seq && i < a.seq[seq].n_q * a.H) {
		D = a.D;
		at = a.seq[seq].q_row * a.H + i;
	}
	float sum = 0;
	for (int64_t d = lane; d < D; d += 16)
		sum = fmaf(b.do_[at * D + d], b.o[at * D + d], sum);
	sum = cu_tree_sum(sum);
	if (lane == 0 && D)
		b.delta[at] = sum;
}

/* By all threads: the rows from row0 on against the tile at t0. */
static __device__ inline void tile_weights(struct weights *w, struct slices *s, const struct backward &b,
                                           const struct shape &a, const struct span &p, int64_t row0, int64_t t0,
                                           int64_t n)
{
	int lane = threadIdx.x % CU_WARP, first = threadIdx.x / CU_WARP * RW;
#pragma unroll
	for (int i = 0; i < RW; i++)
		w->p[i] = w->ds[i] = 0;
	for (int64_t d = 0; d < a.D; d += SLICE) {
		int columns = (int)cu_least(SLICE, a.D - d);
		keys_slice(s->k, a, p, b.k, t0, n, d);
		keys_slice(s->v, a, p, b.v, t0, n, d);
		rows_slice(s->a, GRAD_ROWS, a, p, b.q, 0, row0, d);
		rows_slice(s->b, GRAD_ROWS, a, p, b.do_, 1, row0, d);
		__syncthreads();
		chains<RW>(w->p, s->a + first, s->k[lane], columns);
		chains<RW>(w->ds, s->b + first, s->v[lane], columns);
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < RW; i++) {
		int64_t row = row0 + first + i;
		if (row >= p.rows)
			break;
		int64_t at = row_index(a, p, row);
		w->p[i] = cu_exp(w->p[i] * a.scale - b.lse[at]);
		w->ds[i] = w->p[i] * ((w->ds[i] - b.delta[at]) * a.scale);
	}
}

static __global__ void __launch_bounds__(CU_THREADS) dq_kernel(const struct backward b, const struct shape a)
{
	__shared__ struct slices s;
	int lane = threadIdx.x % CU_WARP, first = threadIdx.x / CU_WARP * RW;
	int64_t item = blockIdx.x / b.blocks, row0 = blockIdx.x % b.blocks * GRAD_ROWS;
	struct span p = span_of(a, item / a.G, item % a.G);
	struct weights w;
	if (row0 >= p.rows)
		return;
	int64_t end = row_position(p, cu_least(row0 + GRAD_ROWS, p.rows) - 1) + 1;
	for (int64_t t0 = row_first(a, p, row0) / KEYS * KEYS; t0 < end; t0 += KEYS) {
		int64_t n = cu_least(KEYS, end - t0);
		tile_weights(&w, &s, b, a, p, row0, t0, n);
		for (int64_t d = 0; d < a.D; d += SLICE) {
			keys_slice(s.k, a, p, b.k, t0, n, d);
			__syncthreads();
#pragma unroll
			for (int i = 0; i < RW; i++) {
				int64_t row = row0 + first + i;
				int lo, hi;
				row_range(a, p, row, t0, &lo, &hi);
				for (int c = lane; row < p.rows && lo < hi && c - lane < SLICE; c += CU_WARP) {
					float *dq = b.dq + q_offset(a, p, row) + d + c, sum = d + c < a.D ? *dq : 0;
					for (int j = lo; j < hi; j++)
						sum = fmaf(__shfl_sync(0xffffffffu, w.ds[i], j), s.k[j][c], sum);
					if (d + c < a.D)
						*dq = sum;
				}
			}
			__syncthreads();
		}
	}
}

/* Adds to dk and dv of the tile at t0 what the rows from row0 on give; p and ds are [GRAD_ROWS][KEYS]. */
static __device__ inline void keys_add(struct slices *s, const float (*pw)[KEYS + 1], const float (*dsw)[KEYS + 1],
                                       const struct backward &b, const struct shape &a, const struct span &p,
                                       int64_t row0, int64_t t0, int64_t n)
{
	int lane = threadIdx.x % CU_WARP;
	int64_t rows = cu_least(GRAD_ROWS, p.rows - row0);
	for (int64_t d = 0; d < a.D; d += SLICE) {
		rows_slice(s->a, GRAD_ROWS, a, p, b.q, 0, row0, d);
		rows_slice(s->b, GRAD_ROWS, a, p, b.do_, 1, row0, d);
		__syncthreads();
		for (int64_t j = threadIdx.x / CU_WARP; j < n; j += WARPS) {
			int64_t lo = (t0 + j - p.s.pos) * p.group - row0, hi = rows;
			if (a.window > 0)
				hi = cu_least(rows, (t0 + j + a.window - p.s.pos) * p.group - row0);
			lo = lo < 0 ? 0 : lo;
			int64_t at = kv_offset(a, p, t0 + j) + d;
			for (int c = lane; lo < hi && c < SLICE && d + c < a.D; c += CU_WARP) {
				float dk = b.dk[at + c], dv = b.dv[at + c];
				for (int64_t i = lo; i < hi; i++) {
					dk = fmaf(dsw[i][j], s->a[i][c], dk);
					dv = fmaf(pw[i][j], s->b[i][c], dv);
				}
				b.dk[at + c] = dk;
				b.dv[at + c] = dv;
			}
		}
		__syncthreads();
	}
}

/* One sequence's part of the tile at t0. */
static __device__ inline void span_keys(struct slices *s, float (*pw)[KEYS + 1], float (*dsw)[KEYS + 1],
                                        const struct backward &b, const struct shape &a, const struct span &p,
                                        int64_t t0)
{
	int lane = threadIdx.x % CU_WARP, first_row = threadIdx.x / CU_WARP * RW;
	int64_t n = cu_least(KEYS, p.s.pos + p.s.n_q - t0);
	int64_t first = (t0 - p.s.pos) * p.group, last = p.rows;
	if (a.window > 0)
		last = cu_least(last, (t0 + n - 1 + a.window - p.s.pos) * p.group);
	if (n <= 0)
		return;
	for (int64_t row = first < 0 ? 0 : first; row < last; row += GRAD_ROWS) {
		struct weights w;
		tile_weights(&w, s, b, a, p, row, t0, n);
#pragma unroll
		for (int i = 0; i < RW; i++) {
			pw[first_row + i][lane] = w.p[i];
			dsw[first_row + i][lane] = w.ds[i];
		}
		__syncthreads();
		keys_add(s, pw, dsw, b, a, p, row, t0, n);
	}
}

static __global__ void __launch_bounds__(CU_THREADS) dkv_kernel(const struct backward b, const struct shape a)
{
	__shared__ struct slices s;
	__shared__ float pw[GRAD_ROWS][KEYS + 1], dsw[GRAD_ROWS][KEYS + 1];
	int64_t item = blockIdx.x / b.blocks, t0 = blockIdx.x % b.blocks * KEYS;
	int64_t from = b.shared ? 0 : item / a.G, to = b.shared ? a.n_seq : from + 1;
	for (int64_t i = from; i < to; i++) {
		struct span p = span_of(a, i, item % a.G);
		span_keys(&s, pw, dsw, b, a, p, t0);
	}
}

void cu_attention_bwd(void *ctx, float *dq, float *dk, float *dv, const float *do_, const float *o, const float *lse,
                      const float *q, const float *k, const float *v, const struct kn_attn *a, float *scratch)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct backward b = {dq, dk, dv, scratch, do_, o, lse, q, k, v, 0, 0};
	struct shape shape;
	int64_t queries = 0, keys = 0, group = a->G ? a->H / a->G : 0;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		queries = s->n_q > queries ? s->n_q : queries;
		keys = s->n_q > 0 && s->pos + s->n_q > keys ? s->pos + s->n_q : keys;
		b.shared |= s->prefix_n > 0;
	}
	if (queries * group == 0 || !cu_enter(cu) || !cu_shape_of(cu, &shape, a))
		return;
	b.blocks = queries;
	CU_LAUNCH(cu, delta_kernel, (unsigned)cu_ceil_div(a->n_seq * queries * a->H * 16, CU_THREADS), CU_THREADS, b,
	          shape);
	b.blocks = cu_ceil_div(queries * group, GRAD_ROWS);
	CU_LAUNCH(cu, dq_kernel, (unsigned)(a->n_seq * a->G * b.blocks), CU_THREADS, b, shape);
	b.blocks = cu_ceil_div(keys, KEYS);
	CU_LAUNCH(cu, dkv_kernel, (unsigned)((b.shared ? 1 : a->n_seq) * a->G * b.blocks), CU_THREADS, b, shape);
}
