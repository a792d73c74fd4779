/*
 * matmul_mma - products of bf16 on tensor cores whose rows have the same bits in any batch.
 *
 * c[m][n] = sum over k of a[m][k] b[k][n].  An element is one chain of mma
 * m16n8k16 over k from 0, sixteen at a time, from zero; what is in memory and
 * the bias are added behind it.  A tensor core gives an element by its row, its
 * column and its sum alone, so neither the tile it lies in nor other rows
 * matter, and tiles may be chosen by the shape: small ones read weights at the
 * speed of memory in decoding, large ones keep the tensor cores busy.
 *
 * Tiles of STEP steps of k come to shared memory STAGES - 1 ahead, by cp.async
 * of 16 bytes.  A chunk of 16 bytes lies at its column XOR its row, so that
 * the eight rows of an ldmatrix meet all banks.
 */
#include "kernels/cuda/matmul_bf16.cuh"
#include "kernels/cuda/mma.cuh"

#define CHUNK 8 /* numbers of 16 bytes */

/* A matrix as it lies: rows along k (ALONG), or k by rows.  Rows and columns beyond these are zeros. */
struct operand {
	struct cu_weights w; /* w.cols: from one row to the next */
	int64_t first;       /* row of w that is row 0 */
	int64_t rows, cols;
	int whole; /* chunks of every row are aligned, and bf16 */
};

struct product {
	struct operand a, b;
	int64_t M, N, K;
	struct cu_result c;
	const float *bias; /* [N] */
	int pairs;         /* two neighbours of c can be written at once */
};

/* TM x TN elements by a block, WM x WN by a warp.  How a and b lie is part of it, so that one name is one kernel. */
template <int A_ALONG, int B_ALONG, int TM_, int TN_, int WM_, int WN_, int STEP_, int STAGES_> struct shape {
	static constexpr int a_along = A_ALONG, b_along = B_ALONG, TM = TM_, TN = TN_, WM = WM_, WN = WN_, STEP = STEP_,
	                     STAGES = STAGES_, THREADS = TM / WM * (TN / WN) * CU_WARP, A = TM * STEP, B = TN * STEP;
	static_assert(STAGES * (A + B) * 2 <= 48 << 10, "static shared memory");
};

/* 16 x 32: bytes under way decide, 20 KB of w for a block; 64 x 32: the same for batches of decoding */
typedef shape<1, 1, 16, 32, 16, 16, 64, 6> decode;
typedef shape<1, 1, 64, 32, 32, 16, 64, 4> decode_batch;
typedef shape<1, 1, 64, 64, 32, 32, 32, 4> forward_middle;
typedef shape<1, 1, 128, 128, 64, 32, 32, 3> forward_large;
typedef shape<1, 0, 64, 64, 32, 32, 32, 4> dx_middle;
typedef shape<1, 0, 128, 128, 64, 32, 32, 3> dx_large;
typedef shape<0, 0, 64, 64, 32, 32, 32, 4> dw_middle;
typedef shape<0, 0, 128, 128, 64, 32, 32, 3> dw_large;

/* Where chunk `chunk` of row `row` lies, in chunks from the row's first. */
template <int CHUNKS> static __device__ inline int swizzled(int row, int chunk)
{
	return CHUNKS == 4 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7);
}

/* The first n numbers of a chunk, one by one, rounded to bf16; zeros behind them. */
static __device__ inline void chunk_store(uint16_t *to, const void *row, enum kn_dtype dtype, int64_t col, int n)
{
	for (int i = 0; i < CHUNK; i++) {
		cu_bf16 x = __float2bfloat16_rn(i < n ? cu_at(row, dtype, col + i) : 0);
		to[i] = __bfloat16_as_ushort(x);
	}
}

template <int ROWS, int COLS, int THREADS>
static __device__ inline void tile_load(uint16_t *to, const struct operand &o, int64_t row0, int64_t col0)
{
	constexpr int CHUNKS = COLS / CHUNK;
	for (int i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
		int row = i / CHUNKS, chunk = i % CHUNKS;
		int64_t col = col0 + chunk * CHUNK;
		int n = row0 + row < o.rows && col < o.cols ? (int)cu_least(CHUNK, o.cols - col) : 0;
		uint16_t *at = to + (row * CHUNKS + swizzled<CHUNKS>(row, chunk)) * CHUNK;
		const void *from = cu_row(o.w, o.first + (n ? row0 + row : 0));
		if (o.whole)
			cu_copy_async(at, (const uint16_t *)from + (n ? col : 0), n * 2);
		else
			chunk_store(at, from, o.w.dtype, col, n);
	}
}

/* The tiles of both operands from k0 on. */
template <typename T>
static __device__ inline void stage_load(uint16_t *to, const struct product &p, int64_t m0, int64_t n0, int64_t k0)
{
	if (T::a_along)
		tile_load<T::TM, T::STEP, T::THREADS>(to, p.a, m0, k0);
	else
		tile_load<T::STEP, T::TM, T::THREADS>(to, p.a, k0, m0);
	if (T::b_along)
		tile_load<T::TN, T::STEP, T::THREADS>(to + T::A, p.b, n0, k0);
	else
		tile_load<T::STEP, T::TN, T::THREADS>(to + T::A, p.b, k0, n0);
}

/* Four matrices of 8 x 8 of a stored tile: `down` says which are in the lower rows, `right` in the right columns. */
template <int COLS, int TRANSPOSED>
static __device__ inline void fragment(uint32_t *to, const uint16_t *tile, int row, int col, int down, int right)
{
	constexpr int CHUNKS = COLS / CHUNK;
	int lane = threadIdx.x % CU_WARP, i = lane / 8;
	int r = row + (down >> i & 1) * 8 + lane % 8, chunk = col / CHUNK + (right >> i & 1);
	cu_ldmatrix<4, TRANSPOSED>(to, tile + (r * CHUNKS + swizzled<CHUNKS>(r, chunk)) * CHUNK);
}

/* matrices 1 and 3, or 2 and 3, of the four */
#define ODD 0xa
#define LAST 0xc

template <typename T>
static __device__ inline void stage_multiply(float (*c)[T::WN / 8][4], const uint16_t *a, const uint16_t *b, int wm,
                                             int wn)
{
#pragma unroll
	for (int k = 0; k < T::STEP; k += 16) {
		uint32_t x[T::WM / 16][4], w[T::WN / 8][2];
#pragma unroll
		for (int i = 0; i < T::WM / 16; i++)
			if (T::a_along)
				fragment<T::STEP, 0>(x[i], a, wm + i * 16, k, ODD, LAST);
			else
				fragment<T::TM, 1>(x[i], a, k, wm + i * 16, LAST, ODD);
#pragma unroll
		for (int j = 0; j < T::WN / 8; j += 2) /* two blocks of eight columns */
			if (T::b_along)
				fragment<T::STEP, 0>(w[j], b, wn + j * 8, k, LAST, ODD);
			else
				fragment<T::TN, 1>(w[j], b, k, wn + j * 8, ODD, LAST);
#pragma unroll
		for (int i = 0; i < T::WM / 16; i++)
#pragma unroll
			for (int j = 0; j < T::WN / 8; j++)
				cu_mma_bf16(c[i][j], x[i], w[j]);
	}
}

static __device__ inline float finished(const struct product &p, int64_t row, int64_t col, float sum)
{
	int64_t at = row * p.c.ld + col;
	if (p.bias)
		sum += p.bias[col];
	if (p.c.add)
		sum += p.c.wide ? ((const float *)p.c.data)[at] : __bfloat162float(((const cu_bf16 *)p.c.data)[at]);
	return sum;
}

static __device__ inline void one_store(const struct product &p, int64_t at, float y)
{
	if (p.c.wide)
		((float *)p.c.data)[at] = y;
	else
		((cu_bf16 *)p.c.data)[at] = __float2bfloat16_rn(y);
}

/* Columns col and col + 1 of a row.  By value: an array that is indexed at run time would not stay in registers. */
static __device__ inline void pair_store(const struct product &p, int64_t row, int64_t col, float left, float right)
{
	int64_t at = row * p.c.ld + col;
	if (row >= p.M || col >= p.N)
		return;
	left = finished(p, row, col, left);
	if (col + 1 == p.N) {
		one_store(p, at, left);
		return;
	}
	right = finished(p, row, col + 1, right);
	if (!p.pairs) {
		one_store(p, at, left);
		one_store(p, at + 1, right);
	} else if (p.c.wide) {
		*(float2 *)((float *)p.c.data + at) = make_float2(left, right);
	} else {
		uint32_t low = __bfloat16_as_ushort(__float2bfloat16_rn(left)),
		         high = __bfloat16_as_ushort(__float2bfloat16_rn(right));
		*(uint32_t *)((uint16_t *)p.c.data + at) = low | high << 16;
	}
}

template <typename T>
static __global__ void __launch_bounds__(T::THREADS) product_kernel(const __grid_constant__ struct product p)
{
	__shared__ __align__(128) uint16_t tiles[T::STAGES * (T::A + T::B)];
	constexpr int STAGE = T::A + T::B;
	int warp = threadIdx.x / CU_WARP, lane = threadIdx.x % CU_WARP;
	int wm = warp / (T::TN / T::WN) * T::WM, wn = warp % (T::TN / T::WN) * T::WN;
	/* neighbouring blocks share columns: where b is weights they are fetched once */
	int64_t down = (p.M + T::TM - 1) / T::TM, m0 = blockIdx.x % down * T::TM, n0 = blockIdx.x / down * T::TN;
	int steps = (int)((p.K + T::STEP - 1) / T::STEP);
	float c[T::WM / 16][T::WN / 8][4] = {};
	for (int s = 0; s < T::STAGES - 1; s++) {
		if (s < steps)
			stage_load<T>(tiles + s * STAGE, p, m0, n0, (int64_t)s * T::STEP);
		cu_copy_commit();
	}
	for (int s = 0, stage = 0; s < steps; s++) {
		cu_copy_wait<T::STAGES - 2>();
		__syncthreads(); /* the tile is there, and all have done with the one before */
		int next = s + T::STAGES - 1, into = stage ? stage - 1 : T::STAGES - 1;
		if (next < steps)
			stage_load<T>(tiles + into * STAGE, p, m0, n0, (int64_t)next * T::STEP);
		cu_copy_commit();
		stage_multiply<T>(c, tiles + stage * STAGE, tiles + stage * STAGE + T::A, wm, wn);
		stage = stage + 1 == T::STAGES ? 0 : stage + 1;
	}
#pragma unroll
	for (int i = 0; i < T::WM / 16; i++)
#pragma unroll
		for (int j = 0; j < T::WN / 8; j++)
#pragma unroll
			for (int h = 0; h < 2; h++)
				pair_store(p, m0 + wm + i * 16 + h * 8 + lane / 4, n0 + wn + j * 8 + lane % 4 * 2,
				           c[i][j][2 * h], c[i][j][2 * h + 1]);
}

/* ---- on the host ---- */

/* [rows, cols] of bf16 with this distance between rows. */
static struct operand dense(const void *data, int64_t ld, int64_t rows, int64_t cols)
{
	struct operand o = {};
	o.w.piece[0].data = data;
	o.w.n = 1;
	o.w.dtype = KN_BF16;
	o.w.rows = o.rows = rows;
	o.w.cols = ld;
	o.cols = cols;
	o.whole = ld % CHUNK == 0 && (uintptr_t)data % 16 == 0;
	return o;
}

/* Rows o0..o1-1 of a matrix; 0 after an error. */
static int rows_of(struct cuda *cu, struct operand *o, const struct kn_mat *w, int64_t o0, int64_t o1)
{
	*o = {};
	o->first = o0;
	o->rows = o1 - o0;
	o->cols = w->cols;
	o->whole = w->dtype == KN_BF16 && w->cols % CHUNK == 0;
	for (int i = 0; i < w->n_blocks; i++)
		o->whole = o->whole && (uintptr_t)w->blocks[i].data % 16 == 0;
	return cu_weights_of(cu, &o->w, w);
}

template <typename T> static int64_t blocks(const struct product *p)
{
	return cu_ceil_div(p->M, T::TM) * cu_ceil_div(p->N, T::TN);
}

template <typename T> static void queue(struct cuda *cu, struct product *p)
{
	uintptr_t two = p->c.wide ? 8 : 4;
	p->pairs = p->c.ld % 2 == 0 && (uintptr_t)p->c.data % two == 0;
	auto *kernel = product_kernel<T>;
	CU_LAUNCH(cu, kernel, (unsigned)blocks<T>(p), T::THREADS, *p);
}

void cu_mma_forward(struct cuda *cu, struct cu_result y, const void *x, const struct kn_mat *w, const float *b,
                    int64_t o0, int64_t o1, int64_t N)
{
	struct product p = {dense(x, w->cols, N, w->cols), {}, N, o1 - o0, w->cols, y, b ? b + o0 : NULL, 0};
	if (N == 0 || o1 == o0 || !rows_of(cu, &p.b, w, o0, o1))
		return;
	if (N <= decode::TM)
		queue<decode>(cu, &p);
	else if (N <= decode_batch::TM)
		queue<decode_batch>(cu, &p);
	else if (blocks<forward_large>(&p) < cu->processors)
		queue<forward_middle>(cu, &p);
	else
		queue<forward_large>(cu, &p);
}

void cu_mma_dx(struct cuda *cu, struct cu_result dx, const void *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
               int64_t o1, int64_t N)
{
	struct product p = {dense(dy, ldy, N, o1 - o0), {}, N, w->cols, o1 - o0, dx, NULL, 0};
	if (N == 0 || w->cols == 0 || !rows_of(cu, &p.b, w, o0, o1))
		return;
	if (blocks<dx_large>(&p) < cu->processors)
		queue<dx_middle>(cu, &p);
	else
		queue<dx_large>(cu, &p);
}

void cu_mma_dw(struct cuda *cu, struct cu_result dw, const void *dy, int64_t ldy, const void *x, int64_t N, int64_t O,
               int64_t I)
{
	struct product p = {dense(dy, ldy, N, O), dense(x, I, N, I), O, I, N, dw, NULL, 0};
	if (N == 0 || O == 0 || I == 0)
		return;
	if (blocks<dw_large>(&p) < cu->processors)
		queue<dw_middle>(cu, &p);
	else
		queue<dw_large>(cu, &p);
}
