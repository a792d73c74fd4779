/*
 * attention_mma - attention of bf16 numbers on tensor cores: what the forward and the backward pass share.
 *
 * The method is FlashAttention-2 (Dao 2023): a block owns a tile of query rows and walks tiles of keys, with a running
 * maximum and sum per row; scores are never in memory.  Rows are the virtual rows of attention.cuh.  Products are
 * bf16 x bf16 with float32 sums; weights p and their gradients ds are rounded to bf16 before they are multiplied.
 *
 * A row's result depends on its tiles of keys alone: they are counted from position 0 and have one size per head
 * size, a product of a tile has one order, and a tile in which a row sees nothing changes nothing of it.
 *
 * Tiles in shared memory are rows of DT numbers, 16 bytes further apart than they are long: DT / 8 is even, so that the
 * eight rows that one ldmatrix reads lie in different banks.
 */
#ifndef KERNELS_CUDA_ATTENTION_MMA_CUH
#define KERNELS_CUDA_ATTENTION_MMA_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

#define MMA_WARPS 4
#define MMA_THREADS (MMA_WARPS * CU_WARP)
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

typedef uint16_t bf16; /* bits of a bf16 number */

/* Head sizes are compiled for DT = 32, 64, 96, 128, 192 and 256, for D above the one before it. */
template <int DT> struct head_size {
	static const int most = DT, pitch = DT + 8, keys = DT <= 128 ? 64 : 32;
	static const int least = DT <= 32 ? 32 : DT <= 128 ? DT - 16 : DT - 48;
};

/* Calls the launcher for a head size. */
#define CU_BY_HEAD(D, function, ...)                                                                                   \
	((D) <= 32    ? function<32>(__VA_ARGS__)                                                                      \
	 : (D) <= 64  ? function<64>(__VA_ARGS__)                                                                      \
	 : (D) <= 96  ? function<96>(__VA_ARGS__)                                                                      \
	 : (D) <= 128 ? function<128>(__VA_ARGS__)                                                                     \
	 : (D) <= 192 ? function<192>(__VA_ARGS__)                                                                     \
	              : function<256>(__VA_ARGS__))

/* Launches a kernel with `bytes` of dynamic shared memory. */
#define CU_LAUNCH_SHARED(cu, kernel, grid, block, bytes, ...)                                                          \
	do {                                                                                                           \
		cudaError_t allowed =                                                                                  \
		        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes));       \
		if (!cu_failed(cu, allowed, "shared memory of " #kernel))                                              \
			cu_launch(cu, #kernel, grid, block, bytes, kernel, __VA_ARGS__);                               \
	} while (0)

static __device__ inline int least(int a, int b)
{
	return a < b ? a : b;
}

/* ---- rows and keys: 32 bits where that is enough, since division is slow and registers are few ---- */

/* One sequence and one key/value head. */
struct part {
	int64_t q, o;        /* where its first row is, in q and, in rows of D numbers, in o */
	int64_t prefix, own; /* a position is in k and v at itself times kv_stride plus one of these */
	int64_t head;        /* where pages say the row, what is added to it times kv_stride */
	const int32_t *prefix_page, *page;
	int prefix_n, pos, n_q, group, rows;
};

static __device__ inline struct part part_of(const struct shape &a, int seq, int g)
{
	const struct kn_seq &s = a.seq[seq];
	int group = (int)(a.H / a.G);
	return {s.q_row * a.q_stride + g * group * a.D,
	        s.q_row * a.H + g * group,
	        s.prefix_row * a.kv_stride + g * a.D,
	        (s.own_row - s.prefix_n) * a.kv_stride + g * a.D,
	        g * a.D,
	        s.prefix_page,
	        s.page,
	        (int)s.prefix_n,
	        (int)s.pos,
	        (int)s.n_q,
	        group,
	        (int)s.n_q * group};
}

/* token of a virtual row, counted from the first of the sequence; the rest is the head, of the group */
static __device__ inline int token_of(const struct part &p, int row)
{
	return (int)((unsigned)row / (unsigned)p.group);
}

static __device__ inline int position_of(const struct part &p, int row)
{
	return p.pos + token_of(p, row);
}

/* the first position that a query at a position sees */
static __device__ inline int first_seen(const struct shape &a, int at)
{
	return a.window > 0 && at >= a.window ? at - (int)a.window + 1 : 0;
}

static __device__ inline int64_t q_at(const struct shape &a, const struct part &p, int row)
{
	int token = token_of(p, row);
	return p.q + token * a.q_stride + (row - token * p.group) * a.D;
}

/* index in lse; times D the offset in o */
static __device__ inline int64_t o_at(const struct shape &a, const struct part &p, int row)
{
	int token = token_of(p, row);
	return p.o + token * a.H + (row - token * p.group);
}

/* PAGED 0: the rows follow one another, as in training. */
template <int PAGED> static __device__ inline int64_t key_at(const struct shape &a, const struct part &p, int at)
{
	const int32_t *page = at < p.prefix_n ? p.prefix_page : p.page;
	if (PAGED && page) {
		int i = at < p.prefix_n ? at : at - p.prefix_n;
		return ((int64_t)page[i / KN_PAGE] * KN_PAGE + i % KN_PAGE) * a.kv_stride + p.head;
	}
	return (at < p.prefix_n ? p.prefix : p.own) + at * a.kv_stride;
}

/* ---- tiles to shared memory; the caller commits and waits ---- */

/* `count` keys from position t0 on, before `end`; zeros from there on and beyond D. */
template <int DT, int PAGED>
static __device__ inline void load_keys(bf16 *tile, int count, const struct shape &a, const struct part &p,
                                        const bf16 *x, int t0, int end)
{
	const int chunks = DT / 8;
	for (int i = threadIdx.x; i < count * chunks; i += blockDim.x) {
		int j = i / chunks, c = i % chunks * 8, there = t0 + j < end && c < a.D;
		cu_copy_async(tile + j * head_size<DT>::pitch + c, there ? x + key_at<PAGED>(a, p, t0 + j) + c : x,
		              there ? 16 : 0);
	}
}

/* `count` virtual rows from row0 on, of q (`dense` 0) or of an array like o (1); zeros beyond the last and D. */
template <int DT>
static __device__ inline void load_rows(bf16 *tile, int count, const struct shape &a, const struct part &p,
                                        const bf16 *x, int dense, int row0)
{
	const int chunks = DT / 8;
	for (int i = threadIdx.x; i < count * chunks; i += blockDim.x) {
		int j = i / chunks, c = i % chunks * 8, row = row0 + j, there = row < p.rows && c < a.D;
		int64_t at = dense ? o_at(a, p, row) * a.D : q_at(a, p, row);
		cu_copy_async(tile + j * head_size<DT>::pitch + c, there ? x + at + c : x, there ? 16 : 0);
	}
}

/* ---- operands of products from tiles in shared memory ---- */

/* a of 16 rows from `row` on, columns c..c+15 */
template <int DT> static __device__ inline void load_a(uint32_t *a, const bf16 *tile, int row, int c)
{
	int lane = threadIdx.x % CU_WARP;
	cu_ldmatrix<4, 0>(a, tile + (row + lane % 16) * head_size<DT>::pitch + c + lane / 16 * 8);
}

/* b of the transposed tile: its columns are 16 rows of the tile, its k columns c..c+15; b[0..1] rows 0-7, b[2..3] 8-15
 */
template <int DT> static __device__ inline void load_b_rows(uint32_t *b, const bf16 *tile, int row, int c)
{
	int lane = threadIdx.x % CU_WARP;
	cu_ldmatrix<4, 0>(b, tile + (row + lane % 8 + lane / 16 * 8) * head_size<DT>::pitch + c + lane / 8 % 2 * 8);
}

/* b of the tile as it lies: k is 16 rows, its columns are columns c..c+15; b[0..1] columns 0-7, b[2..3] 8-15 */
template <int DT> static __device__ inline void load_b_columns(uint32_t *b, const bf16 *tile, int row, int c)
{
	int lane = threadIdx.x % CU_WARP;
	cu_ldmatrix<4, 1>(b, tile + (row + lane % 16) * head_size<DT>::pitch + c + lane / 16 * 8);
}

/* Whether columns c..c+15 of a tile hold something; known to the compiler for most. */
template <int DT> static __device__ inline int has_columns(const struct shape &a, int c)
{
	return c < head_size<DT>::least || c < a.D;
}

/* Two blocks of 16 x 8 sums side by side, rounded, are an operand a of 16 x 16. */
static __device__ inline void pack_a(uint32_t *a, const float *left, const float *right)
{
	a[0] = cu_pack_bf16(left[0], left[1]);
	a[1] = cu_pack_bf16(left[2], left[3]);
	a[2] = cu_pack_bf16(right[0], right[1]);
	a[3] = cu_pack_bf16(right[2], right[3]);
}

static __device__ inline float bf16_low(uint32_t both)
{
	return __uint_as_float(both << 16);
}

static __device__ inline float bf16_high(uint32_t both)
{
	return __uint_as_float(both & 0xffff0000u);
}

/* s[MT][N] = 16 MT rows of tile x, from `row` on, times 8 N rows of tile y, transposed */
template <int DT, int MT, int N>
static __device__ inline void products(float (*s)[N][4], const bf16 *x, int row, const bf16 *y, const struct shape &a)
{
#pragma unroll
	for (int m = 0; m < MT; m++)
#pragma unroll
		for (int j = 0; j < N; j++)
			s[m][j][0] = s[m][j][1] = s[m][j][2] = s[m][j][3] = 0;
#pragma unroll
	for (int c = 0; c < DT; c += 16) {
		uint32_t xa[MT][4], yb[4];
		if (!has_columns<DT>(a, c))
			continue;
#pragma unroll
		for (int m = 0; m < MT; m++)
			load_a<DT>(xa[m], x, row + m * 16, c);
#pragma unroll
		for (int j = 0; j < N; j += 2) {
			load_b_rows<DT>(yb, y, j * 8, c);
#pragma unroll
			for (int m = 0; m < MT; m++) {
				cu_mma_bf16(s[m][j], xa[m], yb);
				cu_mma_bf16(s[m][j + 1], xa[m], yb + 2);
			}
		}
	}
}

/* sum[MT][C / 8] += w[MT][N], rounded, times columns column..column+C-1 of a tile of 8 N rows */
template <int DT, int MT, int N, int C>
static __device__ inline void add_products(float (*sum)[C / 8][4], float (*w)[N][4], const bf16 *tile, int column,
                                           const struct shape &a)
{
#pragma unroll
	for (int j = 0; j < N; j += 2) {
		uint32_t wa[MT][4], both[4];
#pragma unroll
		for (int m = 0; m < MT; m++)
			pack_a(wa[m], w[m][j], w[m][j + 1]);
#pragma unroll
		for (int c = 0; c < C; c += 16) {
			if (!has_columns<DT>(a, column + c))
				continue;
			load_b_columns<DT>(both, tile, j * 8, column + c);
#pragma unroll
			for (int m = 0; m < MT; m++) {
				cu_mma_bf16(sum[m][c / 8], wa[m], both);
				cu_mma_bf16(sum[m][c / 8 + 1], wa[m], both + 2);
			}
		}
	}
}

#endif
