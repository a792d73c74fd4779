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
	cu_real *dq, *dk, *dv;
	float *delta;
	const float *lse;
	const cu_real *do_, *o, *q, *k, *v;
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
		sum = fmaf((float)b.do_[at * D + d], (float)b.o[at * D + d], sum);
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

/* x[c] = from[out0 + lane + 32 c], for the columns that there are; and the other way. */
template <int N> static __device__ inline void columns_load(float *x, const cu_real *from, int64_t out0, int64_t D)
{
#pragma unroll
	for (int c = 0; c < N; c++) {
		int64_t d = out0 + c * CU_WARP + threadIdx.x % CU_WARP;
		x[c] = d < D ? (float)from[d] : 0;
	}
}

template <int N> static __device__ inline void columns_store(cu_real *to, const float *x, int64_t out0, int64_t D)
{
#pragma unroll
	for (int c = 0; c < N; c++) {
		int64_t d = out0 + c * CU_WARP + threadIdx.x % CU_WARP;
		if (d < D)
			to[d] = x[c];
	}
}

/* By all threads: columns out0 .. out0+COLUMNS-1 of dq of the rows from row0 on. */
static __device__ inline void rows_backward(struct slices *s, const struct backward &b, const struct shape &a,
                                            const struct span &p, int64_t row0, int64_t out0)
{
	int lane = threadIdx.x % CU_WARP, first = threadIdx.x / CU_WARP * RW;
	struct weights w;
	float dq[RW][COLUMNS / CU_WARP];
#pragma unroll
	for (int i = 0; i < RW; i++)
		columns_load<COLUMNS / CU_WARP>(dq[i], b.dq + q_offset(a, p, cu_least(row0 + first + i, p.rows - 1)),
		                                out0, a.D);
	int64_t end = row_position(p, cu_least(row0 + GRAD_ROWS, p.rows) - 1) + 1;
	for (int64_t t0 = row_first(a, p, row0) / KEYS * KEYS; t0 < end; t0 += KEYS) {
		int64_t n = cu_least(KEYS, end - t0);
		tile_weights(&w, s, b, a, p, row0, t0, n);
#pragma unroll
		for (int d = 0; d < COLUMNS / SLICE; d++) {
			if (out0 + d * SLICE >= a.D)
				continue;
			keys_slice(s->k, a, p, b.k, t0, n, out0 + d * SLICE);
			__syncthreads();
#pragma unroll
			for (int i = 0; i < RW; i++) {
				int64_t row = row0 + first + i;
				int lo, hi;
				row_range(a, p, row, t0, &lo, &hi);
				for (int j = lo; row < p.rows && j < hi; j++) {
					float ds = __shfl_sync(0xffffffffu, w.ds[i], j);
#pragma unroll
					for (int c = 0; c < OWN; c++)
						dq[i][d * OWN + c] =
						        fmaf(ds, s->k[j][lane + c * CU_WARP], dq[i][d * OWN + c]);
				}
			}
			__syncthreads();
		}
	}
#pragma unroll
	for (int i = 0; i < RW; i++)
		if (row0 + first + i < p.rows)
			columns_store<COLUMNS / CU_WARP>(b.dq + q_offset(a, p, row0 + first + i), dq[i], out0, a.D);
}

static __global__ void __launch_bounds__(CU_THREADS, 2) dq_kernel(const struct backward b, const struct shape a)
{
	__shared__ struct slices s;
	int64_t item = blockIdx.x / b.blocks, row0 = blockIdx.x % b.blocks * GRAD_ROWS;
	struct span p = span_of(a, item / a.G, item % a.G);
	if (row0 < p.rows)
		for (int64_t out0 = 0; out0 < a.D; out0 += COLUMNS)
			rows_backward(&s, b, a, p, row0, out0);
}

#define KEYS_OWN (KEYS / WARPS)
/* dk and dv of the keys of a warp, every WARPS'th of the tile, and of the columns of a lane */
struct key_sums {
	float dk[KEYS_OWN][KEY_COLUMNS / CU_WARP], dv[KEYS_OWN][KEY_COLUMNS / CU_WARP];
};

/* Adds what the rows from row0 on give; p and ds are [GRAD_ROWS][KEYS]. */
static __device__ inline void keys_add(struct key_sums *sum, struct slices *s, const float (*pw)[KEYS + 1],
                                       const float (*dsw)[KEYS + 1], const struct backward &b, const struct shape &a,
                                       const struct span &p, int64_t row0, int64_t t0, int64_t n, int64_t out0)
{
	int lane = threadIdx.x % CU_WARP;
	int64_t rows = cu_least(GRAD_ROWS, p.rows - row0);
#pragma unroll
	for (int d = 0; d < KEY_COLUMNS / SLICE; d++) {
		if (out0 + d * SLICE >= a.D)
			continue;
		rows_slice(s->a, GRAD_ROWS, a, p, b.q, 0, row0, out0 + d * SLICE);
		rows_slice(s->b, GRAD_ROWS, a, p, b.do_, 1, row0, out0 + d * SLICE);
		__syncthreads();
#pragma unroll
		for (int q = 0; q < KEYS_OWN; q++) {
			int64_t j = threadIdx.x / CU_WARP + q * WARPS, lo = (t0 + j - p.s.pos) * p.group - row0,
			        hi = rows;
			if (a.window > 0)
				hi = cu_least(rows, (t0 + j + a.window - p.s.pos) * p.group - row0);
			lo = lo < 0 ? 0 : lo;
			for (int64_t i = lo; j < n && i < hi; i++)
#pragma unroll
				for (int c = 0; c < OWN; c++) {
					float *dk = &sum->dk[q][d * OWN + c], *dv = &sum->dv[q][d * OWN + c];
					*dk = fmaf(dsw[i][j], s->a[i][lane + c * CU_WARP], *dk);
					*dv = fmaf(pw[i][j], s->b[i][lane + c * CU_WARP], *dv);
				}
		}
		__syncthreads();
	}
}

/* One sequence's part of the tile at t0, columns out0 .. out0+KEY_COLUMNS-1. */
static __device__ inline void span_keys(struct slices *s, float (*pw)[KEYS + 1], float (*dsw)[KEYS + 1],
                                        const struct backward &b, const struct shape &a, const struct span &p,
                                        int64_t t0, int64_t out0)
{
	int lane = threadIdx.x % CU_WARP, warp = threadIdx.x / CU_WARP;
	int64_t n = cu_least(KEYS, p.s.pos + p.s.n_q - t0);
	int64_t first = (t0 - p.s.pos) * p.group, last = p.rows;
	if (a.window > 0)
		last = cu_least(last, (t0 + n - 1 + a.window - p.s.pos) * p.group);
	first = first < 0 ? 0 : first;
	if (n <= 0 || first >= last)
		return;
	struct key_sums sum;
#pragma unroll
	for (int q = 0; q < KEYS_OWN; q++) {
		int64_t at = kv_offset(a, p, t0 + cu_least(warp + q * WARPS, n - 1));
		columns_load<KEY_COLUMNS / CU_WARP>(sum.dk[q], b.dk + at, out0, a.D);
		columns_load<KEY_COLUMNS / CU_WARP>(sum.dv[q], b.dv + at, out0, a.D);
	}
	for (int64_t row = first; row < last; row += GRAD_ROWS) {
		struct weights w;
		tile_weights(&w, s, b, a, p, row, t0, n);
#pragma unroll
		for (int i = 0; i < RW; i++) {
			pw[warp * RW + i][lane] = w.p[i];
			dsw[warp * RW + i][lane] = w.ds[i];
		}
		__syncthreads();
		keys_add(&sum, s, pw, dsw, b, a, p, row, t0, n, out0);
	}
#pragma unroll
	for (int q = 0; q < KEYS_OWN; q++) {
		int64_t at = kv_offset(a, p, t0 + cu_least(warp + q * WARPS, n - 1));
		if (warp + q * WARPS >= n)
			continue;
		columns_store<KEY_COLUMNS / CU_WARP>(b.dk + at, sum.dk[q], out0, a.D);
		columns_store<KEY_COLUMNS / CU_WARP>(b.dv + at, sum.dv[q], out0, a.D);
	}
}

static __global__ void __launch_bounds__(CU_THREADS, 2) dkv_kernel(const struct backward b, const struct shape a)
{
	__shared__ struct slices s;
	__shared__ float pw[GRAD_ROWS][KEYS + 1], dsw[GRAD_ROWS][KEYS + 1];
	int64_t item = blockIdx.x / b.blocks, t0 = blockIdx.x % b.blocks * KEYS;
	int64_t from = b.shared ? 0 : item / a.G, to = b.shared ? a.n_seq : from + 1;
	for (int64_t i = from; i < to; i++) {
		struct span p = span_of(a, i, item % a.G);
		for (int64_t out0 = 0; out0 < a.D; out0 += KEY_COLUMNS)
			span_keys(&s, pw, dsw, b, a, p, t0, out0);
	}
}

void CU(attention_bwd)(void *ctx, float *dq, float *dk, float *dv, const float *do_, const float *o, const float *lse,
                       const float *q, const float *k, const float *v, const struct kn_attn *a, float *scratch)
{
	struct cuda *cu = (struct cuda *)ctx;
#ifdef CU_BF16
	if (cu_attention_mma_takes_grad(cu, a)) {
		cu_attention_mma_bwd(ctx, dq, dk, dv, do_, o, lse, q, k, v, a, scratch);
		return;
	}
#endif
	struct backward b = {cu_reals(dq), cu_reals(dk), cu_reals(dv), scratch,     lse, cu_reals(do_),
	                     cu_reals(o),  cu_reals(q),  cu_reals(k),  cu_reals(v), 0,   0};
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
