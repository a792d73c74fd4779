/*
 * attention_mma_few - attention of few rows, as in decoding; see attention_mma_rows.cuh.
 *
 * A block has one tile of 16 virtual rows.  Its four warps share the scores of a tile of keys, 16 keys each, and then
 * the columns of the values: every number is the same chain of products as where a warp computes them all.  What
 * counts here is how many bytes of keys and values are on their way: a tile of both is loaded while one is used.
 *
 * Where there are fewer blocks than processors the context is split among blocks, and another kernel adds their parts
 * in order.  That order depends on where splits are, so it is not done when rows must have the same bits in any batch.
 */
#include "kernels/cuda/attention_mma_rows.cuh"

#define MOST_SPLITS 32  /* of a context */
#define LEAST_SPLIT 128 /* keys */

/* The tiles of keys that rows from `first` to `last` see, and how they are split: a function of the positions alone. */
struct context {
	int begin, end; /* positions; begin is of a tile */
	int per, used;  /* keys of a split, splits */
};

static __host__ __device__ inline struct context context_of(int first, int last, int keys)
{
	struct context c = {first / keys * keys, last + 1, 0, 0};
	int tiles = (c.end - c.begin + keys - 1) / keys;
	int per = (tiles + MOST_SPLITS - 1) / MOST_SPLITS, least = LEAST_SPLIT / keys;
	per = per < least ? least : per;
	c.per = per * keys;
	c.used = (tiles + per - 1) / per;
	return c;
}

template <int DT> struct few {
	static const int keys = head_size<DT>::keys, pitch = head_size<DT>::pitch, s_pitch = keys + 8;
	static const int parts = (DT / 16 + MMA_WARPS - 1) / MMA_WARPS; /* of 16 columns, of a warp */
	static const int bytes = (FEW + 4 * keys) * pitch * 2 + FEW * s_pitch * 4;
};

/* This warp's 16 keys of the scores, to shared memory. */
template <int DT>
static __device__ inline void few_scores(float *scores, const bf16 *q, const bf16 *k, const struct shape &a)
{
	int lane = threadIdx.x % CU_WARP, key = threadIdx.x / CU_WARP * 16;
	float s[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
	if (key >= few<DT>::keys)
		return;
#pragma unroll
	for (int c = 0; c < DT; c += 16) {
		uint32_t qa[4], kb[4];
		if (!has_columns<DT>(a, c))
			continue;
		load_a<DT>(qa, q, 0, c);
		load_b_rows<DT>(kb, k, key, c);
		cu_mma_bf16(s[0], qa, kb);
		cu_mma_bf16(s[1], qa, kb + 2);
	}
#pragma unroll
	for (int j = 0; j < 2; j++)
#pragma unroll
		for (int h = 0; h < 2; h++) {
			float *to = scores + (lane / 4 + 8 * h) * few<DT>::s_pitch + key + 8 * j + lane % 4 * 2;
			*(float2 *)to = {s[j][2 * h], s[j][2 * h + 1]};
		}
}

template <int DT>
static __device__ inline void few_values(float (*o)[4], float (*s)[4], const bf16 *v, const struct shape &a)
{
	int warp = threadIdx.x / CU_WARP;
#pragma unroll
	for (int j = 0; j < few<DT>::keys / 8; j += 2) {
		uint32_t pa[4], vb[4];
		pack_a(pa, s[j], s[j + 1]);
#pragma unroll
		for (int i = 0; i < few<DT>::parts; i++) {
			int c = (i * MMA_WARPS + warp) * 16;
			if (c >= a.D)
				continue;
			load_b_columns<DT>(vb, v, j * 8, c);
			cu_mma_bf16(o[2 * i], pa, vb);
			cu_mma_bf16(o[2 * i + 1], pa, vb + 2);
		}
	}
}

/* The rows of the tile: the result, or a split's part of it. */
template <int DT>
static __device__ inline void few_store(const struct forward &f, const struct shape &a, const struct part &p,
                                        const struct state &w, float (*o)[4], int item, int split)
{
	int lane = threadIdx.x % CU_WARP, warp = threadIdx.x / CU_WARP;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		int row = lane / 4 + 8 * h, first = warp == 0 && lane % 4 == 0;
		float sum = row_sum(w.sum[h]), by = 1 / sum;
		if (row >= p.rows)
			continue;
		int64_t to = o_at(a, p, row);
		float *part = f.parts + (((int64_t)item * f.splits + split) * f.most + row) * (a.D + 2);
		if (f.splits > 1 && first)
			*(float2 *)(part + a.D) = {w.max[h], sum};
		else if (f.lse && first)
			f.lse[to] = w.max[h] * a.scale + cu_log(sum);
#pragma unroll
		for (int j = 0; j < 2 * few<DT>::parts; j++) {
			int c = (j / 2 * MMA_WARPS + warp) * 16 + j % 2 * 8 + lane % 4 * 2;
			if (c >= a.D)
				continue;
			if (f.splits > 1)
				*(float2 *)(part + c) = {o[j][2 * h], o[j][2 * h + 1]};
			else
				*(uint32_t *)(f.o + to * a.D + c) =
				        cu_pack_bf16(o[j][2 * h] * by, o[j][2 * h + 1] * by);
		}
	}
}

template <int DT>
static __global__ void __launch_bounds__(MMA_THREADS) few_kernel(const struct forward f, const struct shape a)
{
	const int TILE_KEYS = few<DT>::keys, SCORES = TILE_KEYS / 8, TILE = TILE_KEYS * head_size<DT>::pitch;
	CU_DYNAMIC_SHARED(shared);
	float *scores = (float *)shared;
	bf16 *q = (bf16 *)(scores + FEW * few<DT>::s_pitch), *kv = q + FEW * head_size<DT>::pitch;
	int lane = threadIdx.x % CU_WARP, item = blockIdx.x / f.splits, split = blockIdx.x % f.splits;
	struct part p = part_of(a, item / (int)a.G, item % (int)a.G);
	if (p.rows == 0)
		return;
	struct context x = context_of(first_seen(a, p.pos), position_of(p, p.rows - 1), TILE_KEYS);
	int begin = x.begin, end = x.end;
	if (f.splits > 1) {
		begin += split * x.per;
		end = least(begin + x.per, end);
	}
	if (begin >= end)
		return;
	struct state w = {{-INFINITY, -INFINITY}, {0, 0}};
	float o[2 * few<DT>::parts][4];
#pragma unroll
	for (int j = 0; j < 2 * few<DT>::parts; j++)
		o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
	load_rows<DT>(q, FEW, a, p, f.q, 0, 0);
	load_keys<DT, 1>(kv, TILE_KEYS, a, p, f.k, begin, end);
	load_keys<DT, 1>(kv + TILE, TILE_KEYS, a, p, f.v, begin, end);
	cu_copy_commit();
	for (int t0 = begin, stage = 0; t0 < end; t0 += TILE_KEYS, stage ^= 1) {
		const bf16 *k = kv + stage * 2 * TILE, *v = k + TILE;
		bf16 *next = kv + (stage ^ 1) * 2 * TILE;
		if (t0 + TILE_KEYS < end) {
			load_keys<DT, 1>(next, TILE_KEYS, a, p, f.k, t0 + TILE_KEYS, end);
			load_keys<DT, 1>(next + TILE, TILE_KEYS, a, p, f.v, t0 + TILE_KEYS, end);
		}
		cu_copy_commit();
		cu_copy_wait<1>();
		__syncthreads();
		few_scores<DT>(scores, q, k, a);
		__syncthreads();
		float s[SCORES][4];
#pragma unroll
		for (int j = 0; j < SCORES; j++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				const float *from = scores + (lane / 4 + 8 * h) * few<DT>::s_pitch;
				float2 two = *(const float2 *)(from + 8 * j + lane % 4 * 2);
				s[j][2 * h] = two.x;
				s[j][2 * h + 1] = two.y;
			}
		hide<SCORES>(s, a, p, 0, t0);
		weigh<SCORES, 2 * few<DT>::parts>(&w, s, o, a.scale * LOG2E);
		few_values<DT>(o, s, v, a);
		__syncthreads(); /* this stage is loaded into next */
	}
	few_store<DT>(f, a, p, w, o, item, split);
}

/* The parts of a row added in the order of the context, a warp a row. */
static __global__ void __launch_bounds__(MMA_THREADS)
        combine_kernel(const struct forward f, const struct shape a, int keys)
{
	int lane = threadIdx.x % CU_WARP, at = blockIdx.x * MMA_WARPS + threadIdx.x / CU_WARP;
	int item = at / f.most, row = at % f.most;
	if (item >= a.n_seq * a.G)
		return;
	struct part p = part_of(a, item / (int)a.G, item % (int)a.G);
	if (row >= p.rows)
		return;
	struct context x = context_of(first_seen(a, p.pos), position_of(p, p.rows - 1), keys);
	int64_t step = f.most * (a.D + 2);
	const float *part = f.parts + (int64_t)item * f.splits * step + row * (a.D + 2);
	float max = -INFINITY, sum = 0, scale = a.scale * LOG2E;
	for (int i = 0; i < x.used; i++)
		max = fmaxf(max, part[i * step + a.D]);
	for (int i = 0; i < x.used; i++)
		sum += part[i * step + a.D + 1] * cu_exp2((part[i * step + a.D] - max) * scale);
	int64_t to = o_at(a, p, row);
	float by = 1 / sum;
	for (int c = lane * 2; c < a.D; c += 2 * CU_WARP) {
		float2 o = {0, 0};
		for (int i = 0; i < x.used; i++) {
			float weight = cu_exp2((part[i * step + a.D] - max) * scale);
			float2 two = *(const float2 *)(part + i * step + c);
			o.x = fmaf(two.x, weight, o.x);
			o.y = fmaf(two.y, weight, o.y);
		}
		*(uint32_t *)(f.o + to * a.D + c) = cu_pack_bf16(o.x * by, o.y * by);
	}
	if (f.lse && lane == 0)
		f.lse[to] = max * a.scale + cu_log(sum);
}

/* ---- on the host ---- */

/* Into how many parts contexts are split at most: 1 where there are blocks enough, or no room for the parts. */
static int splits_of(const struct cuda *cu, const struct kn_attn *a, int most, int keys)
{
	int splits = 1;
	if (!cu->any_order || a->n_seq * a->G >= cu->processors)
		return 1;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		int64_t first = a->window > 0 && s->pos >= a->window ? s->pos - a->window + 1 : 0;
		int used = s->n_q > 0 ? context_of((int)first, (int)(s->pos + s->n_q) - 1, keys).used : 1;
		splits = used > splits ? used : splits;
	}
	size_t bytes = (size_t)(a->n_seq * a->G) * splits * most * (size_t)(a->D + 2) * sizeof(float);
	return bytes <= CU_LT_WORKSPACE ? splits : 1;
}

template <int DT> static void few_launch(struct cuda *cu, struct forward f, const struct shape &shape)
{
	unsigned items = (unsigned)(shape.n_seq * shape.G);
	CU_LAUNCH_SHARED(cu, few_kernel<DT>, items * f.splits, MMA_THREADS, few<DT>::bytes, f, shape);
	if (f.splits > 1)
		CU_LAUNCH(cu, combine_kernel, (unsigned)cu_ceil_div((int64_t)items * f.most, MMA_WARPS), MMA_THREADS, f,
		          shape, head_size<DT>::keys);
}

void cu_attention_few(struct cuda *cu, const struct kn_attn *a, struct forward f, const struct shape &shape)
{
	f.parts = (float *)cu->lt_workspace;
	f.splits = splits_of(cu, a, f.most, a->D <= 128 ? head_size<128>::keys : head_size<256>::keys);
	CU_BY_HEAD(a->D, few_launch, cu, f, shape);
}
