/*
 * matmul_grad - the two products of the backward pass, dx = dy w and dw = dy^T x.
 *
 * Both are c[row][col] = sum over t of a[row][t] b[t][col], with t the rows of
 * w (dx, order 6) or the tokens (dw, order 2), and each element one fma chain
 * over t.  A block of BLOCK_T steps of a and b is packed so that both stay in
 * the second cache, then walked in register tiles of GRAD_ROWS x GRAD_VECS
 * sixteens.
 */
#include "kernels/cpu/cpu.h"

#if KN_LANES == 16
#define GRAD_ROWS 12
#define GRAD_VECS 2
#else
#define GRAD_ROWS 6
#define GRAD_VECS 1
#endif
#define GRAD_COLS (16 * GRAD_VECS)
#define BLOCK_T KN_OUT_BLOCK /* for dw any size would do */
#define BLOCK_ROWS 264       /* rows of c of one work item; a multiple of every GRAD_ROWS */
#define BLOCK_COLS 192       /* columns of c of one work item; a multiple of every GRAD_COLS */
/*
 * The packed a: for dx a row after the other, padded off a power of two; for dw tile by tile, [step][GRAD_ROWS], and
 * DW_TILE / GRAD_ROWS floats to a row.
 */
#define DX_STRIDE (BLOCK_T + 16)
#define DW_TILE ((BLOCK_T + 1) * GRAD_ROWS)
#define PACKED_A (BLOCK_ROWS * DX_STRIDE)
#define PANEL (BLOCK_T * GRAD_COLS + 16) /* floats from one panel of the packed b to the next */

_Static_assert((PACKED_A + BLOCK_COLS / GRAD_COLS * PANEL) * sizeof(float) <= KN_SCRATCH,
               "a worker's scratch holds a and b");

/* What becomes of a tile: it replaces c, is added to c, or goes on from what c holds. */
enum tile_mode { TILE_PUT, TILE_ADD, TILE_CHAIN };

struct grad {
	struct cpu *cpu;
	float *c;
	const float *dy;
	int64_t ldy;
	const struct kn_mat *w; /* dx */
	const float *x;         /* dw */
	float *db;              /* dw, or NULL */
	int64_t o0, o1, N, I;
	int64_t row_step, column_items;
	int add;
};

/* c[GRAD_ROWS][GRAD_COLS] over `steps`; a[r * row_stride + t * step_stride], b[t][GRAD_COLS] */
KN_INLINE void tile(float *c, int64_t ldc, const float *a, const float *b, int64_t steps, int64_t row_stride,
                    int64_t step_stride, enum tile_mode mode)
{
	v16 acc[GRAD_ROWS][GRAD_VECS];
#pragma GCC unroll 16
	for (int r = 0; r < GRAD_ROWS; r++)
#pragma GCC unroll 2
		for (int v = 0; v < GRAD_VECS; v++)
			acc[r][v] = mode == TILE_CHAIN ? v16_load(c + r * ldc + v * 16) : v16_set(0);
	for (int64_t t = 0; t < steps; t++, a += step_stride, b += GRAD_COLS) {
		v16 bt[GRAD_VECS];
#pragma GCC unroll 2
		for (int v = 0; v < GRAD_VECS; v++)
			bt[v] = v16_load(b + v * 16);
#pragma GCC unroll 16
		for (int r = 0; r < GRAD_ROWS; r++) {
			v16 at = v16_set(a[r * row_stride]);
#pragma GCC unroll 2
			for (int v = 0; v < GRAD_VECS; v++)
				acc[r][v] = v16_fma(at, bt[v], acc[r][v]);
		}
	}
#pragma GCC unroll 16
	for (int r = 0; r < GRAD_ROWS; r++)
#pragma GCC unroll 2
		for (int v = 0; v < GRAD_VECS; v++) {
			float *to = c + r * ldc + v * 16;
			v16_store(to, mode == TILE_ADD ? v16_add(v16_load(to), acc[r][v]) : acc[r][v]);
		}
}

static __attribute__((noinline)) void tile_dx_put(float *c, int64_t ldc, const float *a, const float *b, int64_t steps)
{
	tile(c, ldc, a, b, steps, DX_STRIDE, 1, TILE_PUT);
}

static __attribute__((noinline)) void tile_dx_add(float *c, int64_t ldc, const float *a, const float *b, int64_t steps)
{
	tile(c, ldc, a, b, steps, DX_STRIDE, 1, TILE_ADD);
}

static __attribute__((noinline)) void tile_dw(float *c, int64_t ldc, const float *a, const float *b, int64_t steps)
{
	tile(c, ldc, a, b, steps, 1, GRAD_ROWS, TILE_CHAIN);
}

typedef void tile_fn(float *c, int64_t ldc, const float *a, const float *b, int64_t steps);

/* A tile that hangs over the edge of c works on a copy. */
static void tile_edge(float *c, int64_t ldc, const float *a, const float *b, int64_t steps, tile_fn *fn, int64_t rows,
                      int64_t cols)
{
	float copy[GRAD_ROWS * GRAD_COLS] = {0};
	for (int64_t r = 0; r < rows; r++)
		memcpy(copy + r * GRAD_COLS, c + r * ldc, (size_t)cols * sizeof *copy);
	fn(copy, GRAD_COLS, a, b, steps);
	for (int64_t r = 0; r < rows; r++)
		memcpy(c + r * ldc, copy + r * GRAD_COLS, (size_t)cols * sizeof *copy);
}

/* The rows of b that will be packed next: one is fetched with every tile.  Beyond the end it does no harm. */
struct ahead {
	const char *at;
	size_t stride, bytes;
};

/* All tiles of c[rows, cols]; row r of the packed a is at a + r * tile_row */
static void tiles(float *c, int64_t ldc, const float *a, int64_t tile_row, const float *b, int64_t steps, int64_t rows,
                  int64_t cols, tile_fn *fn, struct ahead ahead)
{
	for (int64_t col = 0; col < cols; col += GRAD_COLS)
		for (int64_t row = 0; row < rows; row += GRAD_ROWS, ahead.at += ahead.stride) {
			float *to = c + row * ldc + col;
			const float *from = a + row * tile_row, *panel = b + col / GRAD_COLS * PANEL;
			for (size_t i = 0; i < ahead.bytes; i += 64)
				__builtin_prefetch(ahead.at + i, 0, 2);
			if (row + GRAD_ROWS <= rows && col + GRAD_COLS <= cols)
				fn(to, ldc, from, panel, steps);
			else
				tile_edge(to, ldc, from, panel, steps, fn, min64(GRAD_ROWS, rows - row),
				          min64(GRAD_COLS, cols - col));
		}
}

/* Row t of b, columns col..col+cols-1, into its panels of GRAD_COLS, zero-filled. */
static void pack_b_row(float *b, int64_t t, const void *row, enum kn_dtype dtype, int64_t col, int64_t cols)
{
	for (int64_t i = 0; i < cols; i += 16) {
		float *to = b + i / GRAD_COLS * PANEL + t * GRAD_COLS + i % GRAD_COLS;
		v16 part =
		        i + 16 <= cols ? mat_load(row, dtype, col + i) : mat_load_tail(row, dtype, col + i, cols - i);
		v16_store(to, part);
	}
}

/* memcpy is a string instruction or a call, both slower on rows this short */
KN_INLINE void copy_floats(float *to, const float *from, int64_t n)
{
	int64_t i = 0;
	for (; i + 16 <= n; i += 16)
		v16_store(to + i, v16_load(from + i));
	for (; i < n; i++)
		to[i] = from[i];
}

static int64_t round_up(int64_t n, int64_t to)
{
	return ceil_div(n, to) * to;
}

static void dx_item(void *arg, int64_t item, int worker)
{
	const struct grad *g = arg;
	int64_t n0 = item / g->column_items * g->row_step, col = item % g->column_items * BLOCK_COLS;
	int64_t rows = min64(g->row_step, g->N - n0), cols = min64(BLOCK_COLS, g->I - col);
	float *a = cpu_scratch(g->cpu, worker), *b = a + PACKED_A;
	size_t size = g->w->dtype == KN_F32 ? 4 : 2;
	for (int64_t o = g->o0; o < g->o1; o += BLOCK_T) {
		int64_t steps = min64(BLOCK_T, g->o1 - o);
		for (int64_t t = 0; t < steps; t++)
			pack_b_row(b, t, mat_row(g->w, o + t), g->w->dtype, col, cols);
		for (int64_t r = 0; r < rows; r++)
			copy_floats(a + r * DX_STRIDE, g->dy + (n0 + r) * g->ldy + o - g->o0, steps);
		for (int64_t r = rows; r < round_up(rows, GRAD_ROWS); r++)
			memset(a + r * DX_STRIDE, 0, (size_t)steps * sizeof *a);
		struct ahead ahead = {0};
		if (o + BLOCK_T < g->o1)
			ahead = (struct ahead){(const char *)mat_row(g->w, o + BLOCK_T) + (size_t)col * size,
			                       (size_t)g->I * size, (size_t)cols * size};
		tiles(g->c + n0 * g->I + col, g->I, a, DX_STRIDE, b, steps, rows, cols,
		      g->add || o > g->o0 ? tile_dx_add : tile_dx_put, ahead);
	}
}

/* db[rows] += the columns o.. of dy, one chain each */
static void sum_columns(float *db, const float *dy, int64_t ldy, int64_t N, int64_t rows)
{
	for (int64_t n = 0; n < N; n++)
		for (int64_t r = 0; r < rows; r++)
			db[r] += dy[n * ldy + r];
}

/* One step of a, n floats, to its tiles; a copy by fours may write into the next step, which comes later. */
KN_INLINE void pack_a_step(float *to, const float *from, int64_t n)
{
	for (; n >= GRAD_ROWS + 2; n -= GRAD_ROWS, from += GRAD_ROWS, to += DW_TILE)
		for (int i = 0; i < GRAD_ROWS; i += 4)
			*(v4_any *)(to + i) = *(const v4_any *)(from + i);
	for (; n > 0; n -= GRAD_ROWS, from += GRAD_ROWS, to += DW_TILE)
		for (int64_t i = 0; i < GRAD_ROWS; i++)
			to[i] = i < n ? from[i] : 0;
}

static void dw_item(void *arg, int64_t item, int worker)
{
	const struct grad *g = arg;
	int64_t O = g->o1, o0 = item / g->column_items * g->row_step, col = item % g->column_items * BLOCK_COLS;
	int64_t rows = min64(g->row_step, O - o0), cols = min64(BLOCK_COLS, g->I - col);
	float *a = cpu_scratch(g->cpu, worker), *b = a + PACKED_A;
	if (g->db && col == 0)
		sum_columns(g->db + o0, g->dy + o0, g->ldy, g->N, rows);
	for (int64_t n = 0; g->c && n < g->N; n += BLOCK_T) {
		int64_t steps = min64(BLOCK_T, g->N - n);
		for (int64_t t = 0; t < steps; t++) {
			pack_b_row(b, t, g->x + (n + t) * g->I, KN_F32, col, cols);
			pack_a_step(a + t * GRAD_ROWS, g->dy + (n + t) * g->ldy + o0, rows);
		}
		struct ahead ahead = {(const char *)(g->x + min64(n + BLOCK_T, g->N - 1) * g->I + col),
		                      (size_t)g->I * 4, (size_t)cols * 4};
		tiles(g->c + o0 * g->I + col, g->I, a, DW_TILE / GRAD_ROWS, b, steps, rows, cols, tile_dw, ahead);
	}
}

/* Equal shares of at most BLOCK_ROWS rows, and more of them when there are too few for the threads. */
static int64_t row_step(const struct cpu *cpu, int64_t rows, int64_t column_items)
{
	int64_t items = ceil_div(rows, BLOCK_ROWS);
	while (items * column_items < 4 * cpu->par.threads && rows / (items + 1) >= 2 * GRAD_ROWS)
		items++;
	return items ? round_up(ceil_div(rows, items), GRAD_ROWS) : GRAD_ROWS;
}

void KN(dx_rows)(struct cpu *cpu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                 int64_t o1, int64_t N, int add)
{
	struct grad g = {.cpu = cpu, .c = dx, .dy = dy, .ldy = ldy, .w = w, .o0 = o0, .o1 = o1, .N = N, .I = w->cols};
	g.add = add;
	g.column_items = ceil_div(g.I, BLOCK_COLS);
	g.row_step = row_step(cpu, N, g.column_items);
	if (o0 == o1 && !add && N * g.I > 0)
		memset(dx, 0, (size_t)(N * g.I) * sizeof *dx);
	cpu_for(cpu, ceil_div(N, g.row_step) * g.column_items, (double)N * (double)(o1 - o0) * (double)g.I, dx_item,
	        &g);
}

void KN(dw_rows)(struct cpu *cpu, float *dw, float *db, const float *dy, int64_t ldy, const float *x, int64_t N,
                 int64_t O, int64_t I)
{
	struct grad g = {.cpu = cpu, .c = dw, .db = db, .dy = dy, .ldy = ldy, .x = x, .o1 = O, .N = N, .I = I};
	g.column_items = dw ? ceil_div(I, BLOCK_COLS) : 1;
	if (g.column_items == 0 && db)
		g.column_items = 1;
	g.row_step = row_step(cpu, O, g.column_items);
	cpu_for(cpu, ceil_div(O, g.row_step) * g.column_items, (double)N * (double)O * (double)I, dw_item, &g);
}

void KN(matmul_dx)(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add)
{
	KN(dx_rows)(ctx, dx, dy, w->rows, w, 0, w->rows, N, add);
}

void KN(matmul_dw)(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I)
{
	KN(dw_rows)(ctx, dw, db, dy, O, x, N, O, I);
}
