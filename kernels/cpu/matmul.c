/*
 * matmul - y = x w^T, the forward product; matmul_grad.c has the other two.
 *
 * An output is sixteen partial sums over k (order 1).  A register tile holds
 * TILE_N x TILE_O outputs, KN_LANES partial sums of each; it runs over k once
 * per group of lanes, so that AVX2 can hold a tile as square as AVX-512 does.
 * Partial sums rest in `sums` between the runs and between blocks of k, which
 * keep the rows of a tile in the first cache.
 */
#include "kernels/cpu/cpu.h"

#if KN_LANES == 16 || KN_IS(KN_ISA) == KN_IS_neon
#define TILE_N 6
#define TILE_O 4
#else
#define TILE_N 4
#define TILE_O 3
#endif
#define TILE (TILE_N * TILE_O)
#define BLOCK_K 1024       /* floats of a row that a tile reads before it moves on */
#define CHUNK_N 132        /* rows of x whose partial sums are kept; a multiple of every TILE_N */
#define CHUNK_FLOATS 65536 /* of x, so that the chunk stays in the second cache */
#define BLOCK_O 60         /* rows of w of one work item */
#define DECODE_O 4         /* rows of w walked together for a single row of x */

_Static_assert((CHUNK_N * TILE_O + TILE_O * BLOCK_K / 16 + CHUNK_N) * 64 <= KN_FORWARD_SCRATCH,
               "sums, room and tails fit");

struct forward {
	const struct cpu *cpu;
	float *y;
	const float *x;
	const struct kn_mat *w;
	const float *b;
	int64_t N, n_step;
};

/* What one call works on: a chunk of rows of x against TILE_O rows of w. */
struct strip {
	const float *x;        /* rows of I floats */
	const float *x_tail;   /* [rows][16]: the last I % 16 floats of each, zero-filled */
	const void *w[TILE_O]; /* in their own dtype; the last one repeats when there are fewer */
	int64_t n, I;
	enum kn_dtype dtype;
};

/*
 * sums[TILE][16] += the products of TILE_N rows of x and TILE_O rows of w over `len` floats, one group of lanes;
 * `first` takes the sums as zero.
 */
KN_INLINE void tile_lanes(float *sums, const float *const *x, const float *const *w, int64_t len, int first)
{
	vf acc[TILE_N][TILE_O];
#pragma GCC unroll 8
	for (int n = 0; n < TILE_N; n++)
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++)
			acc[n][o] = first ? vf_set(0) : vf_load(sums + (n * TILE_O + o) * 16);
	for (int64_t k = 0; k < len; k += 16) {
		vf a[TILE_N];
#pragma GCC unroll 8
		for (int n = 0; n < TILE_N; n++)
			a[n] = vf_load(x[n] + k);
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++) {
			vf b = vf_load(w[o] + k);
#pragma GCC unroll 8
			for (int n = 0; n < TILE_N; n++)
				acc[n][o] = vf_fma(a[n], b, acc[n][o]);
		}
	}
#pragma GCC unroll 8
	for (int n = 0; n < TILE_N; n++)
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++)
			vf_store(sums + (n * TILE_O + o) * 16, acc[n][o]);
}

static __attribute__((noinline)) void tile_sums(float *sums, const float *const *x, const float *const *w, int64_t len,
                                                int first)
{
	for (int part = 0; part < KN_PARTS; part++) {
		const float *xp[TILE_N], *wp[TILE_O];
		for (int n = 0; n < TILE_N; n++)
			xp[n] = x[n] + part * KN_LANES;
		for (int o = 0; o < TILE_O; o++)
			wp[o] = w[o] + part * KN_LANES;
		tile_lanes(sums + part * KN_LANES, xp, wp, len, first);
	}
}

/* The trees of a tile, and out. */
static void tile_finish(float *y, int64_t ldy, const float *sums, const float *b, int64_t n, int64_t o)
{
	float out[TILE];
	for (int i = 0; i < TILE; i += 4) {
		const float *s = sums + i * 16;
		*(v4_any *)(out + i) = tree_sum4(s, s + 16, s + 32, s + 48);
	}
	for (int64_t r = 0; r < n; r++)
		for (int64_t c = 0; c < o; c++)
			y[r * ldy + c] = b ? out[r * TILE_O + c] + b[c] : out[r * TILE_O + c];
}

/* Rows of w from k on as floats: where they are, or converted into `room`. */
static void strip_weights(const float **w, float *room, const struct strip *s, int64_t k, int64_t len)
{
	for (int o = 0; o < TILE_O; o++) {
		float *to = room + o * BLOCK_K;
		w[o] = s->dtype == KN_F32 ? (const float *)s->w[o] + k : to;
		if (s->dtype == KN_F32)
			continue;
		for (int64_t i = 0; i < len; i += 16)
			v16_store(to + i, mat_load(s->w[o], s->dtype, k + i));
	}
}

/* All tiles of the strip over k..k+len-1; sums move on by `step` floats from tile to tile. */
static void strip_block(float *sums, int64_t step, const struct strip *s, const float *const *w, const float *x,
                        int64_t ldx, int64_t len, int first)
{
	for (int64_t n = 0; n < s->n; n += TILE_N, sums += step) {
		const float *rows[TILE_N];
		for (int64_t r = 0; r < TILE_N; r++)
			rows[r] = x + min64(n + r, s->n - 1) * ldx;
		tile_sums(sums, rows, w, len, first);
	}
}

/* One strip: y[s->n, o] */
static void strip_run(float *y, int64_t ldy, const struct strip *s, const float *b, int64_t o, float *sums, float *room)
{
	int64_t whole = s->I / 16 * 16;
	const float *w[TILE_O];
	for (int64_t k = 0; k < whole; k += BLOCK_K) {
		int64_t len = min64(BLOCK_K, whole - k);
		strip_weights(w, room, s, k, len);
		strip_block(sums, TILE * 16, s, w, s->x + k, s->I, len, k == 0);
	}
	if (whole < s->I || s->I == 0) {
		for (int c = 0; c < TILE_O; c++) {
			v16 tail = s->I ? mat_load_tail(s->w[c], s->dtype, whole, s->I - whole) : v16_set(0);
			v16_store(room + c * 16, tail);
			w[c] = room + c * 16;
		}
		strip_block(sums, TILE * 16, s, w, s->x_tail, 16, 16, whole == 0);
	}
	for (int64_t n = 0; n < s->n; n += TILE_N)
		tile_finish(y + n * ldy, ldy, sums + n / TILE_N * TILE * 16, b, min64(TILE_N, s->n - n), o);
}

/* The rows of a chunk, beyond the last multiple of 16. */
static void pack_tails(float *tail, const float *x, int64_t n, int64_t I)
{
	int64_t left = I % 16;
	for (int64_t r = 0; r < n; r++)
		v16_store(tail + r * 16, left ? v16_load_tail(x + r * I + I - left, left, 0) : v16_set(0));
}

/* One row of x against DECODE_O rows of w, straight through memory. */
KN_INLINE void decode_rows(float *y, const float *x, const void *const *w, enum kn_dtype dtype, const float *b,
                           int64_t I, int64_t o)
{
	v16 acc[DECODE_O];
	float sums[DECODE_O * 16];
	int64_t whole = I / 16 * 16;
#pragma GCC unroll 4
	for (int r = 0; r < DECODE_O; r++)
		acc[r] = v16_set(0);
	for (int64_t k = 0; k < whole; k += 16) {
		v16 a = v16_load(x + k);
#pragma GCC unroll 4
		for (int r = 0; r < DECODE_O; r++)
			acc[r] = v16_fma(a, mat_load(w[r], dtype, k), acc[r]);
	}
	if (whole < I) {
		v16 a = v16_load_tail(x + whole, I - whole, 0);
		for (int r = 0; r < DECODE_O; r++)
			acc[r] = v16_fma(a, mat_load_tail(w[r], dtype, whole, I - whole), acc[r]);
	}
	for (int r = 0; r < DECODE_O; r++)
		v16_store(sums + r * 16, acc[r]);
	v4 out = tree_sum4(sums, sums + 16, sums + 32, sums + 48);
	for (int64_t r = 0; r < o; r++)
		y[r] = b ? out[r] + b[r] : out[r];
}

static void decode_block(float *y, const float *x, const struct kn_mat *w, const float *b, int64_t o0, int64_t o1)
{
	for (int64_t o = o0; o < o1; o += DECODE_O) {
		const void *rows[DECODE_O];
		int64_t left = min64(DECODE_O, o1 - o);
		for (int r = 0; r < DECODE_O; r++)
			rows[r] = mat_row(w, o + min64(r, left - 1));
		const float *bias = b ? b + o : NULL;
		if (w->dtype == KN_F32)
			decode_rows(y + o - o0, x, rows, KN_F32, bias, w->cols, left);
		else if (w->dtype == KN_BF16)
			decode_rows(y + o - o0, x, rows, KN_BF16, bias, w->cols, left);
		else
			decode_rows(y + o - o0, x, rows, KN_F16, bias, w->cols, left);
	}
}

/* As many rows of x as the second cache takes, in equal chunks of whole tiles. */
static int64_t chunk_rows(int64_t N, int64_t I)
{
	int64_t most = I ? CHUNK_FLOATS / I / TILE_N * TILE_N : CHUNK_N;
	most = most < TILE_N ? TILE_N : min64(most, CHUNK_N);
	int64_t chunks = ceil_div(N, most);
	return ceil_div(ceil_div(N, chunks), TILE_N) * TILE_N;
}

void KN(forward_block)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                       const float *b, int64_t o0, int64_t o1, int64_t N)
{
	if (N == 1) {
		decode_block(y, x, w, b, o0, o1);
		return;
	}
	int64_t I = w->cols, step = chunk_rows(N, I);
	float *sums = cpu_scratch(cpu, worker), *room = sums + CHUNK_N * TILE_O * 16, *tail = room + TILE_O * BLOCK_K;
	for (int64_t n = 0; n < N; n += step) {
		struct strip s = {.x = x + n * I, .x_tail = tail, .n = min64(step, N - n), .I = I, .dtype = w->dtype};
		pack_tails(tail, s.x, s.n, I);
		for (int64_t o = o0; o < o1; o += TILE_O) {
			int64_t left = min64(TILE_O, o1 - o);
			for (int64_t c = 0; c < TILE_O; c++)
				s.w[c] = mat_row(w, o + min64(c, left - 1));
			strip_run(y + n * ldy + o - o0, ldy, &s, b ? b + o : NULL, left, sums, room);
		}
	}
}

static void forward_item(void *arg, int64_t i, int worker)
{
	const struct forward *f = arg;
	int64_t O = f->w->rows, I = f->w->cols, columns = ceil_div(O, BLOCK_O);
	int64_t o = i % columns * BLOCK_O, n = i / columns * f->n_step;
	KN(forward_block)
	(f->cpu, worker, f->y + n * O + o, O, f->x + n * I, f->w, f->b, o, min64(o + BLOCK_O, O),
	 min64(f->n_step, f->N - n));
}

void KN(matmul_fwd)(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N)
{
	const struct cpu *cpu = ctx;
	if (N == 0 || w->rows == 0)
		return;
	int64_t columns = ceil_div(w->rows, BLOCK_O), rows = 1;
	while (rows * columns < 4 * cpu->par.threads && N / (rows + 1) >= 8 * TILE_N)
		rows++;
	int64_t n_step = ceil_div(ceil_div(N, rows), TILE_N) * TILE_N;
	struct forward f = {cpu, y, x, w, b, N, n_step};
	cpu_for(cpu, ceil_div(N, n_step) * columns, (double)N * (double)w->rows * (double)w->cols, forward_item, &f);
}
