/*
 * matmul_few - y = x w^T for a few rows of x: w is read once, from where it is; see matmul.h.
 */
#include "kernels/cpu/matmul.h"

#define BLOCK_K 1024       /* floats of a row that a tile reads before it moves on */
#define CHUNK_N 132        /* rows of x whose partial sums are kept; a multiple of every TILE_N */
#define CHUNK_FLOATS 65536 /* of x, so that the chunk stays in the second cache */

_Static_assert((CHUNK_N * TILE_O + TILE_O * BLOCK_K / 16 + CHUNK_N) * 64 <= KN_FORWARD_SCRATCH,
               "sums, room and tails fit");

/* What one call works on: a chunk of rows of x against TILE_O rows of w. */
struct strip {
	const float *x;        /* rows of I floats */
	const float *x_tail;   /* [rows][16]: the last I % 16 floats of each, zero-filled */
	const void *w[TILE_O]; /* in their own dtype; the last one repeats when there are fewer */
	int64_t n, I;
	enum kn_dtype dtype;
};

static __attribute__((noinline)) void tile_sums(float *sums, const float *const *x, const float *const *w, int64_t len,
                                                int first)
{
	for (int part = 0; part < KN_PARTS; part++) {
		const float *xp[TILE_N], *wp[TILE_O];
		for (int n = 0; n < TILE_N; n++)
			xp[n] = x[n] + part * KN_LANES;
		for (int o = 0; o < TILE_O; o++)
			wp[o] = w[o] + part * KN_LANES;
		tile_lanes(sums + part * KN_LANES, xp, 16, wp, 16, len / 16, first);
	}
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
	for (int64_t n = 0; n < s->n; n += TILE_N) {
		float trees[TILE];
		tile_trees(trees, sums + n / TILE_N * TILE * 16);
		tile_out(y + n * ldy, ldy, trees, b, min64(TILE_N, s->n - n), o);
	}
}

/* The rows of a chunk, beyond the last multiple of 16. */
static void pack_tails(float *tail, const float *x, int64_t n, int64_t I)
{
	int64_t left = I % 16;
	for (int64_t r = 0; r < n; r++)
		v16_store(tail + r * 16, left ? v16_load_tail(x + r * I + I - left, left, 0) : v16_set(0));
}

/* As many rows of x as the second cache takes, in equal chunks of whole tiles. */
static int64_t chunk_rows(int64_t N, int64_t I)
{
	int64_t most = I ? CHUNK_FLOATS / I / TILE_N * TILE_N : CHUNK_N;
	most = most < TILE_N ? TILE_N : min64(most, CHUNK_N);
	int64_t chunks = ceil_div(N, most);
	return ceil_div(ceil_div(N, chunks), TILE_N) * TILE_N;
}

void KN(forward_few)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                     const float *b, int64_t o0, int64_t o1, int64_t N)
{
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
