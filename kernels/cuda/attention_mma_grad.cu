/* attention_mma_grad - the backward pass of attention on tensor cores: delta and dq; see attention_mma_grad.cuh */
#include "kernels/cuda/attention_mma_grad.cuh"

/* ---- delta ---- */

/* `width` lanes (a power of two, at least D / 8) for a token and head, 8 numbers each */
static __global__ void __launch_bounds__(MMA_THREADS)
        delta_kernel(const struct backward b, const struct shape a, int width)
{
	int64_t at = ((int64_t)blockIdx.x * MMA_THREADS + threadIdx.x) / width, seq = at / b.most, i = at % b.most;
	int c = threadIdx.x % width * 8, there = seq < a.n_seq && i < a.seq[seq].n_q * a.H;
	int64_t row = there ? a.seq[seq].q_row * a.H + i : 0;
	float sum = 0;
	if (there && c < a.D) {
		uint4 x = *(const uint4 *)(b.do_ + row * a.D + c), y = *(const uint4 *)(b.o + row * a.D + c);
		const uint32_t xs[] = {x.x, x.y, x.z, x.w}, ys[] = {y.x, y.y, y.z, y.w};
#pragma unroll
		for (int j = 0; j < 4; j++) {
			sum = fmaf(bf16_low(xs[j]), bf16_low(ys[j]), sum);
			sum = fmaf(bf16_high(xs[j]), bf16_high(ys[j]), sum);
		}
	}
	for (int by = width / 2; by; by /= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, by);
	if (there && c == 0)
		b.delta[row] = sum;
}

/* ---- dq ---- */

template <int DT> struct rows_block {
	static const int tiles = DT <= 128 ? 2 : 1; /* of 16 rows, of a warp: what it loads of k, v serves them all */
	static const int keys = 32, columns = keys / 8, rows = MMA_WARPS * 16 * tiles;
	static const int bytes = (2 * rows + 4 * keys) * head_size<DT>::pitch * 2;
};

template <int DT>
static __device__ inline void store_dq(const struct backward &b, const struct shape &a, const struct part &p, int first,
                                       float (*dq)[4])
{
	int lane = threadIdx.x % CU_WARP;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		int row = first + lane / 4 + 8 * h;
		if (row >= p.rows)
			continue;
		bf16 *to = b.dq + q_at(a, p, row) + lane % 4 * 2;
#pragma unroll
		for (int j = 0; j < DT / 8; j++)
			if (has_columns<DT>(a, j / 2 * 16))
				add_two(to + j * 8, dq[j][2 * h] * a.scale, dq[j][2 * h + 1] * a.scale);
	}
}

template <int DT>
static __global__ void __launch_bounds__(MMA_THREADS) dq_kernel(const struct backward b, const struct shape a)
{
	const int TILE_KEYS = rows_block<DT>::keys, ROWS = rows_block<DT>::rows, N = rows_block<DT>::columns;
	const int MT = rows_block<DT>::tiles, TILE = TILE_KEYS * head_size<DT>::pitch;
	CU_DYNAMIC_SHARED(shared);
	bf16 *q = (bf16 *)shared, *do_ = q + ROWS * head_size<DT>::pitch, *kv = do_ + ROWS * head_size<DT>::pitch;
	int lane = threadIdx.x % CU_WARP, items = (int)(a.n_seq * a.G), item = blockIdx.x % items;
	int row0 = (b.most - 1 - blockIdx.x / items) * ROWS; /* the longest first */
	struct part p = part_of(a, item / (int)a.G, item % (int)a.G);
	int own = threadIdx.x / CU_WARP * 16 * MT, mine = row0 + own;
	if (row0 >= p.rows)
		return;
	int end = position_of(p, least(row0 + ROWS, p.rows) - 1) + 1;
	int begin = first_seen(a, position_of(p, row0)) / TILE_KEYS * TILE_KEYS;
	int first = first_seen(a, position_of(p, mine));
	int last = mine < p.rows ? position_of(p, least(mine + 16 * MT, p.rows) - 1) : -1;
	struct known row[MT][2];
	float dq[MT][DT / 8][4];
#pragma unroll
	for (int m = 0; m < MT; m++) {
		row[m][0] = known_of(b, a, p, mine + m * 16 + lane / 4);
		row[m][1] = known_of(b, a, p, mine + m * 16 + lane / 4 + 8);
#pragma unroll
		for (int j = 0; j < DT / 8; j++)
			dq[m][j][0] = dq[m][j][1] = dq[m][j][2] = dq[m][j][3] = 0;
	}
	load_rows<DT>(q, ROWS, a, p, b.q, 0, row0);
	load_rows<DT>(do_, ROWS, a, p, b.do_, 1, row0);
	load_keys<DT, 0>(kv, TILE_KEYS, a, p, b.k, begin, end);
	load_keys<DT, 0>(kv + TILE, TILE_KEYS, a, p, b.v, begin, end);
	cu_copy_commit();
	for (int t0 = begin, stage = 0; t0 < end; t0 += TILE_KEYS, stage ^= 1) {
		const bf16 *k = kv + stage * 2 * TILE, *v = k + TILE;
		bf16 *next = kv + (stage ^ 1) * 2 * TILE;
		if (t0 + TILE_KEYS < end) {
			load_keys<DT, 0>(next, TILE_KEYS, a, p, b.k, t0 + TILE_KEYS, end);
			load_keys<DT, 0>(next + TILE, TILE_KEYS, a, p, b.v, t0 + TILE_KEYS, end);
		}
		cu_copy_commit();
		cu_copy_wait<1>();
		__syncthreads();
		if (t0 <= last && t0 + TILE_KEYS > first) {
			float s[MT][N][4], ds[MT][N][4];
			products<DT, MT, N>(s, q, own, k, a);
			products<DT, MT, N>(ds, do_, own, v, a);
#pragma unroll
			for (int m = 0; m < MT; m++)
#pragma unroll
				for (int j = 0; j < N; j++)
#pragma unroll
					for (int i = 0; i < 4; i++) {
						const struct known &r = row[m][i / 2];
						int key = t0 + 8 * j + lane % 4 * 2 + i % 2;
						ds[m][j][i] =
						        weight_of(a, r, key, s[m][j][i]) * (ds[m][j][i] - r.delta);
					}
			add_products<DT, MT, N, DT>(dq, ds, k, 0, a);
		}
		__syncthreads(); /* this stage is loaded into next */
	}
#pragma unroll
	for (int m = 0; m < MT; m++)
		store_dq<DT>(b, a, p, mine + m * 16, dq[m]);
}

/* ---- on the host ---- */

/* bytes of shared memory that a block needs */
template <int DT> static int shared_of(void)
{
	return rows_block<DT>::bytes;
}

int cu_attention_mma_takes_grad(const struct cuda *cu, const struct kn_attn *a)
{
	int most = 0;
	for (int64_t i = 0; i < a->n_seq; i++)
		if (a->seq[i].prefix_n > 0)
			return 0;
	return cu_attention_mma_takes(a) &&
	       cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, cu->device) == cudaSuccess &&
	       CU_BY_HEAD(a->D, shared_of) <= most && cu_attention_grad_keys_shared(a->D) <= most;
}

template <int DT> static void launch(struct cuda *cu, struct backward b, const struct shape &a, int64_t queries)
{
	int64_t items = a.n_seq * a.G;
	b.most = (int)cu_ceil_div(queries * (a.H / a.G), rows_block<DT>::rows);
	CU_LAUNCH_SHARED(cu, dq_kernel<DT>, (unsigned)(items * b.most), MMA_THREADS, rows_block<DT>::bytes, b, a);
}

void cu_attention_mma_bwd(void *ctx, kn_real *dq, kn_real *dk, kn_real *dv, const kn_real *do_, const kn_real *o,
                          const float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
                          const struct kn_attn *a, float *scratch)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct backward b = {(bf16 *)dq, (bf16 *)dk, (bf16 *)dv, scratch, NULL, NULL, NULL, NULL, NULL, lse, 0};
	struct shape shape;
	int64_t queries = 0, keys = 0, group = a->G ? a->H / a->G : 0;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		queries = s->n_q > queries ? s->n_q : queries;
		keys = s->n_q > 0 && s->pos + s->n_q > keys ? s->pos + s->n_q : keys;
	}
	if (queries * group == 0 || !cu_enter(cu) || !cu_shape_of(cu, &shape, a))
		return;
	b.do_ = (const bf16 *)do_;
	b.o = (const bf16 *)o;
	b.q = (const bf16 *)q;
	b.k = (const bf16 *)k;
	b.v = (const bf16 *)v;
	int width = a->D <= 32 ? 4 : a->D <= 64 ? 8 : a->D <= 128 ? 16 : 32;
	b.most = (int)(queries * a->H);
	CU_LAUNCH(cu, delta_kernel, (unsigned)cu_ceil_div(a->n_seq * b.most * width, MMA_THREADS), MMA_THREADS, b,
	          shape, width);
	CU_BY_HEAD(a->D, launch, cu, b, shape, queries);
	cu_attention_grad_keys(cu, b, shape, keys);
}
