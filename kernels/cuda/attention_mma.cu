/* attention_mma - the forward pass of attention on tensor cores; see kernels.h and attention_mma_rows.cuh */
#include "kernels/cuda/attention_mma_rows.cuh"

template <int DT> struct many {
	static const int keys = head_size<DT>::keys, pitch = head_size<DT>::pitch, scores = keys / 8;
	static const int tiles = DT <= 128 ? 2 : 1; /* of 16 rows, of a warp: what it loads of k, v serves them all */
	static const int rows = MMA_WARPS * 16 * tiles;
	static const int bytes = (rows + 2 * keys) * pitch * 2;
};

/* 16 rows from `first` on */
template <int DT>
static __device__ inline void many_store(const struct forward &f, const struct shape &a, const struct part &p,
                                         int first, const struct state &w, float (*o)[4])
{
	int lane = threadIdx.x % CU_WARP;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		int row = first + lane / 4 + h * 8;
		float sum = row_sum(w.sum[h]), by = 1 / sum;
		if (row >= p.rows)
			continue;
		int64_t to = o_at(a, p, row);
		bf16 *out = f.o + to * a.D + lane % 4 * 2;
		if (f.lse && lane % 4 == 0)
			f.lse[to] = w.max[h] * a.scale + cu_log(sum);
#pragma unroll
		for (int j = 0; j < DT / 8; j++)
			if (has_columns<DT>(a, j / 2 * 16))
				*(uint32_t *)(out + j * 8) = cu_pack_bf16(o[j][2 * h] * by, o[j][2 * h + 1] * by);
	}
}

/* Values of a tile are loaded while its scores are computed, the next keys while its values are used. */
template <int DT>
static __global__ void __launch_bounds__(MMA_THREADS) many_kernel(const struct forward f, const struct shape a)
{
	const int TILE = many<DT>::keys, MT = many<DT>::tiles, ROWS = many<DT>::rows, SCORES = many<DT>::scores;
	CU_DYNAMIC_SHARED(shared);
	bf16 *q = (bf16 *)shared, *k = q + ROWS * head_size<DT>::pitch, *v = k + TILE * head_size<DT>::pitch;
	int items = (int)(a.n_seq * a.G), item = blockIdx.x % items;
	int row0 = (f.blocks - 1 - blockIdx.x / items) * ROWS; /* the longest first */
	struct part p = part_of(a, item / (int)a.G, item % (int)a.G);
	if (row0 >= p.rows)
		return;
	int begin = first_seen(a, position_of(p, row0)) / TILE * TILE;
	int end = position_of(p, least(row0 + ROWS, p.rows) - 1) + 1;
	/* this warp's rows: the first, and the positions of the first and the last, -1 if there is none */
	int own = threadIdx.x / CU_WARP * 16 * MT, first = row0 + own, first_at = position_of(p, first);
	int last_at = first < p.rows ? position_of(p, least(first + 16 * MT, p.rows) - 1) : -1;
	struct state w[MT];
	float o[MT][DT / 8][4];
#pragma unroll
	for (int m = 0; m < MT; m++) {
		w[m] = {{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
		for (int j = 0; j < DT / 8; j++)
			o[m][j][0] = o[m][j][1] = o[m][j][2] = o[m][j][3] = 0;
	}
	load_rows<DT>(q, ROWS, a, p, f.q, 0, row0);
	load_keys<DT, 1>(k, TILE, a, p, f.k, begin, end);
	cu_copy_commit();
	for (int t0 = begin; t0 < end; t0 += TILE) {
		int seen = t0 <= last_at && t0 + TILE > first_seen(a, first_at);
		int partly = t0 + TILE - 1 > first_at || t0 < first_seen(a, last_at);
		float s[MT][SCORES][4];
		cu_copy_wait<0>();
		__syncthreads(); /* keys are here, and the values of the last tile have been used */
		load_keys<DT, 1>(v, TILE, a, p, f.v, t0, end);
		cu_copy_commit();
		if (seen) {
			products<DT, MT, SCORES>(s, q, own, k, a);
#pragma unroll
			for (int m = 0; m < MT; m++) {
				if (partly)
					hide<SCORES>(s[m], a, p, first + m * 16, t0);
				weigh<SCORES, DT / 8>(&w[m], s[m], o[m], a.scale * LOG2E);
			}
		}
		cu_copy_wait<0>();
		__syncthreads(); /* values are here, and the keys have been used */
		if (t0 + TILE < end)
			load_keys<DT, 1>(k, TILE, a, p, f.k, t0 + TILE, end);
		cu_copy_commit();
		if (seen)
			add_products<DT, MT, SCORES, DT>(o, s, v, 0, a);
	}
	p = part_of(a, item / (int)a.G, item % (int)a.G); /* again, so that less of it is in registers before */
#pragma unroll
	for (int m = 0; m < MT; m++)
		many_store<DT>(f, a, p, first + m * 16, w[m], o[m]);
}

/* ---- on the host ---- */

int cu_attention_mma_takes(const struct kn_attn *a)
{
	return a->D >= 32 && a->D <= 256 && a->D % 16 == 0 && a->q_stride % 8 == 0 && a->kv_stride % 8 == 0 &&
	       a->scale > 0;
}

template <int DT> static void many_launch(struct cuda *cu, struct forward f, const struct shape &shape)
{
	f.blocks = (f.most + many<DT>::rows - 1) / many<DT>::rows;
	CU_LAUNCH_SHARED(cu, many_kernel<DT>, (unsigned)(shape.n_seq * shape.G * f.blocks), MMA_THREADS,
	                 many<DT>::bytes, f, shape);
}

void cu_attention_mma_fwd(void *ctx, kn_real *o, float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
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
	struct forward f = {(bf16 *)o, lse, (const bf16 *)q, (const bf16 *)k, (const bf16 *)v, 0, 1, (int)most, NULL};
	if (most <= FEW)
		cu_attention_few(cu, a, f, shape);
	else
		CU_BY_HEAD(a->D, many_launch, cu, f, shape);
}
