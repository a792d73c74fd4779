/* attention_mma_grad_keys - the backward pass of attention on tensor cores: dk and dv; see attention_mma_grad.cuh */
#include "kernels/cuda/attention_mma_grad.cuh"

/* Large heads have two warps for 16 keys, each with half of the columns of dk and dv; both compute the scores. */
template <int DT> struct keys_block {
	static const int tiles = DT <= 64 ? 2 : 1; /* of 16 keys, of a warp */
	static const int keys = MMA_WARPS * 16 * tiles, rows = 32;
	static const int halves = DT > 128 ? 2 : 1, columns = DT / halves, threads = MMA_THREADS * halves;
	static const int bytes =
	        (2 * keys + 4 * rows) * head_size<DT>::pitch * 2 + 2 * rows * (int)sizeof(struct known);
};

/* s becomes p and dp becomes ds, for keys at `key` and key + 8. */
template <int N>
static __device__ inline void key_weights(float (*s)[4], float (*dp)[4], const struct known *known, int key,
                                          const struct shape &a)
{
#pragma unroll
	for (int j = 0; j < N; j++)
#pragma unroll
		for (int e = 0; e < 2; e++) {
			struct known r = known[8 * j + threadIdx.x % 4 * 2 + e];
#pragma unroll
			for (int i = e; i < 4; i += 2) {
				s[j][i] = weight_of(a, r, key + i / 2 * 8, s[j][i]);
				dp[j][i] = s[j][i] * (dp[j][i] - r.delta);
			}
		}
}

/* Columns from `column` on of 16 keys from `first` on, before position `end`. */
template <int DT>
static __device__ inline void store_dkv(const struct backward &b, const struct shape &a, const struct part &p,
                                        int first, int end, int column, float (*dk)[4], float (*dv)[4])
{
	int lane = threadIdx.x % CU_WARP;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		int at = first + lane / 4 + 8 * h;
		if (at >= end)
			continue;
		int64_t to = key_at<0>(a, p, at) + column + lane % 4 * 2;
#pragma unroll
		for (int j = 0; j < keys_block<DT>::columns / 8; j++) {
			if (!has_columns<DT>(a, column + j / 2 * 16))
				continue;
			add_two(b.dk + to + j * 8, dk[j][2 * h] * a.scale, dk[j][2 * h + 1] * a.scale);
			add_two(b.dv + to + j * 8, dv[j][2 * h], dv[j][2 * h + 1]);
		}
	}
}

template <int DT>
static __global__ void __launch_bounds__(keys_block<DT>::threads)
        dkv_kernel(const struct backward b, const struct shape a)
{
	const int TILE_KEYS = keys_block<DT>::keys, ROWS = keys_block<DT>::rows, N = ROWS / 8;
	const int MT = keys_block<DT>::tiles, C = keys_block<DT>::columns, TILE = ROWS * head_size<DT>::pitch;
	CU_DYNAMIC_SHARED(shared);
	bf16 *k = (bf16 *)shared, *v = k + TILE_KEYS * head_size<DT>::pitch, *qd = v + TILE_KEYS * head_size<DT>::pitch;
	struct known *known = (struct known *)(qd + 4 * TILE);
	int lane = threadIdx.x % CU_WARP, warp = threadIdx.x / CU_WARP, own = warp % MMA_WARPS * 16 * MT;
	int column = warp / MMA_WARPS * C, items = (int)(a.n_seq * a.G), item = blockIdx.x % items;
	int t0 = blockIdx.x / items * TILE_KEYS; /* the first keys are seen by the most */
	struct part p = part_of(a, item / (int)a.G, item % (int)a.G);
	int end = p.pos + p.n_q, last = p.rows, first = t0 > p.pos ? (t0 - p.pos) * p.group : 0;
	if (t0 >= end || p.rows == 0)
		return;
	if (a.window > 0)
		last = (int)cu_least(last, (cu_least(t0 + TILE_KEYS, end) - 1 + a.window - p.pos) * p.group);
	float dk[MT][C / 8][4], dv[MT][C / 8][4];
#pragma unroll
	for (int m = 0; m < MT; m++)
#pragma unroll
		for (int j = 0; j < C / 8; j++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				dk[m][j][i] = dv[m][j][i] = 0;
	load_keys<DT, 0>(k, TILE_KEYS, a, p, b.k, t0, end);
	load_keys<DT, 0>(v, TILE_KEYS, a, p, b.v, t0, end);
	load_rows<DT>(qd, ROWS, a, p, b.q, 0, first);
	load_rows<DT>(qd + TILE, ROWS, a, p, b.do_, 1, first);
	cu_copy_commit();
	if (threadIdx.x < ROWS)
		known[threadIdx.x] = known_of(b, a, p, first + (int)threadIdx.x);
	for (int row = first, stage = 0; row < last; row += ROWS, stage ^= 1) {
		const bf16 *q = qd + stage * 2 * TILE, *do_ = q + TILE;
		bf16 *next = qd + (stage ^ 1) * 2 * TILE;
		struct known of_next = {0, 0, -1};
		if (row + ROWS < last) {
			load_rows<DT>(next, ROWS, a, p, b.q, 0, row + ROWS);
			load_rows<DT>(next + TILE, ROWS, a, p, b.do_, 1, row + ROWS);
			if (threadIdx.x < ROWS)
				of_next = known_of(b, a, p, row + ROWS + (int)threadIdx.x);
		}
		cu_copy_commit();
		cu_copy_wait<1>();
		__syncthreads();
		float s[MT][N][4], ds[MT][N][4];
		products<DT, MT, N>(s, k, own, q, a);
		products<DT, MT, N>(ds, v, own, do_, a);
#pragma unroll
		for (int m = 0; m < MT; m++)
			key_weights<N>(s[m], ds[m], known + stage * ROWS, t0 + own + m * 16 + lane / 4, a);
		add_products<DT, MT, N, C>(dv, s, do_, column, a);
		add_products<DT, MT, N, C>(dk, ds, q, column, a);
		if (threadIdx.x < ROWS)
			known[(stage ^ 1) * ROWS + threadIdx.x] = of_next;
		__syncthreads(); /* this stage is loaded into next */
	}
	cu_copy_wait<0>();
	p = part_of(a, item / (int)a.G, item % (int)a.G); /* again, so that less of it is in registers before */
#pragma unroll
	for (int m = 0; m < MT; m++)
		store_dkv<DT>(b, a, p, t0 + own + m * 16, end, column, dk[m], dv[m]);
}

template <int DT> static void launch(struct cuda *cu, struct backward b, const struct shape &a, int64_t keys)
{
	b.most = (int)cu_ceil_div(keys, keys_block<DT>::keys);
	CU_LAUNCH_SHARED(cu, dkv_kernel<DT>, (unsigned)(a.n_seq * a.G * b.most), keys_block<DT>::threads,
	                 keys_block<DT>::bytes, b, a);
}

template <int DT> static int shared_of(void)
{
	return keys_block<DT>::bytes;
}

void cu_attention_grad_keys(struct cuda *cu, struct backward b, const struct shape &a, int64_t keys)
{
	CU_BY_HEAD(a.D, launch, cu, b, a, keys);
}

int cu_attention_grad_keys_shared(int64_t D)
{
	return CU_BY_HEAD(D, shared_of);
}
