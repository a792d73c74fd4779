/*
 * matmul_many - y = x w^T for more than one row of x; see matmul.h.
 *
 * Rows are packed tile by tile, one group of lanes after the other: a register
 * tile then reads two streams, and one part of a tile of x and of GROUP_O rows
 * of w fit the first cache together.  Without that split a tile would read all
 * of its new rows during its first group of lanes, faster than the second
 * cache delivers.
 */
#include "kernels/cpu/matmul.h"

#define BLOCK_STEPS (KN_LANES == 16 ? 24 : 48) /* sixteens of a row in a packed block */
#define GROUP_TILES 4
#define GROUP_O (GROUP_TILES * TILE_O) /* rows of w packed at a time */
#define CHUNK_N 84                     /* rows of x packed at a time; a multiple of every TILE_N */
#define PACK_X (64 * 4096)             /* floats of x packed at a time */
#define PACK_W (GROUP_O * BLOCK_STEPS * 16)
#define SUMS (CHUNK_N * GROUP_O * 16)
#define TREES (CHUNK_N * GROUP_O + 4) /* group_out reads past the last */

_Static_assert((PACK_X + PACK_W + SUMS + TREES) * sizeof(float) <= KN_FORWARD_SCRATCH, "packed rows and sums fit");

/* One call: a chunk of n rows of x, packed, against rows of w. */
struct pack {
	float *x;                   /* per tile of TILE_N rows: per block of k: [part][step][TILE_N][KN_LANES] */
	float *w;                   /* per tile of TILE_O rows: the same with TILE_O, of one block of k */
	float *sums;                /* per tile of x and tile of the group: [TILE][16] */
	float *trees;               /* the same: [TILE] */
	int64_t n, I, steps, block; /* steps of a row, and of a block of k */
};

/* Sixteens first..first+steps-1 of `count` rows, zero-filled at the end of the row, to [part][step][count][KN_LANES].
 */
KN_INLINE void pack_rows(float *to, const void *const *row, int count, enum kn_dtype dtype, int64_t I, int64_t first,
                         int64_t steps)
{
	int64_t whole = min64(steps, I / 16 - first), part = steps * count * KN_LANES;
	for (int r = 0; r < count; r++) {
		float *out = to + r * KN_LANES;
		for (int64_t s = 0; s < whole; s++, out += count * KN_LANES) {
			v16 a = mat_load(row[r], dtype, (first + s) * 16);
#define STORE_PART(i) vf_store(out + i * part, a.part[i]);
			V16_EACH(STORE_PART)
		}
		if (whole < steps) {
			v16 a = mat_load_tail(row[r], dtype, I / 16 * 16, I % 16);
			V16_EACH(STORE_PART)
		}
	}
}

static void pack_x(const struct pack *p, const float *x)
{
	for (int64_t n = 0; n < p->n; n += TILE_N) {
		const void *row[TILE_N];
		for (int64_t r = 0; r < TILE_N; r++)
			row[r] = x + min64(n + r, p->n - 1) * p->I;
		float *to = p->x + n * p->steps * 16;
		for (int64_t s = 0; s < p->steps; s += p->block)
			pack_rows(to + s * 16 * TILE_N, row, TILE_N, KN_F32, p->I, s, min64(p->block, p->steps - s));
	}
}

static void pack_w(const struct pack *p, const struct kn_mat *w, int64_t o0, int64_t o1, int64_t first, int64_t steps)
{
	float *to = p->w;
	for (int64_t o = o0; o < o1; o += TILE_O, to += steps * 16 * TILE_O) {
		const void *row[TILE_O];
		for (int64_t r = 0; r < TILE_O; r++)
			row[r] = mat_row(w, min64(o + r, o1 - 1));
		if (w->dtype == KN_F32)
			pack_rows(to, row, TILE_O, KN_F32, p->I, first, steps);
		else
			pack_rows(to, row, TILE_O, w->dtype, p->I, first, steps);
	}
}

/* trees: where the results go when these were the last products, else NULL */
static __attribute__((noinline)) void packed_tile(float *sums, float *trees, const float *x, const float *w,
                                                  int64_t steps, int first)
{
	const float *rows[TILE_N], *columns[TILE_O];
	for (int n = 0; n < TILE_N; n++)
		rows[n] = x + n * KN_LANES;
	for (int o = 0; o < TILE_O; o++)
		columns[o] = w + o * KN_LANES;
	tile_lanes(sums, rows, TILE_N * KN_LANES, columns, TILE_O * KN_LANES, steps, first);
	if (trees)
		tile_trees(trees, sums - (KN_PARTS - 1) * KN_LANES);
}

/* Rows of w that will be packed next, from `at` on, fetched a few lines at a time while tiles are computed. */
struct ahead {
	const char *row[GROUP_O];
	int64_t rows, lines; /* of 64 bytes, of each row */
	int64_t r, line;     /* the next one */
	int64_t at_once;     /* lines */
};

/* calls of ahead_fetch fetch them all */
static struct ahead ahead_of(const struct kn_mat *w, int64_t o0, int64_t o1, int64_t first, int64_t steps,
                             int64_t calls)
{
	size_t width = w->dtype == KN_F32 ? 64 : 32; /* of a step */
	struct ahead a = {.rows = o1 - o0, .lines = steps * (int64_t)width / 64};
	a.at_once = ceil_div(a.rows * a.lines, calls);
	for (int64_t o = o0; o < o1; o++)
		a.row[o - o0] = (const char *)mat_row(w, o) + (size_t)first * width;
	return a;
}

KN_INLINE void ahead_fetch(struct ahead *a)
{
	for (int64_t i = 0; i < a->at_once && a->r < a->rows; i++) {
		__builtin_prefetch(a->row[a->r] + a->line * 64, 0, 2);
		if (++a->line >= a->lines) {
			a->line = 0;
			a->r++;
		}
	}
}

/* Every tile of the chunk against every tile of the group, over one block of k. */
static void group_block(const struct pack *p, int64_t tiles, int64_t first, int64_t steps, struct ahead *ahead)
{
	int last = first + steps == p->steps;
	for (int part = 0; part < KN_PARTS; part++)
		for (int64_t n = 0; n < p->n; n += TILE_N) {
			const float *x = p->x + n * p->steps * 16 + (first * 16 + part * steps * KN_LANES) * TILE_N;
			for (int64_t t = 0; t < tiles; t++) {
				int64_t at = n / TILE_N * GROUP_TILES + t;
				float *trees = last && part == KN_PARTS - 1 ? p->trees + at * TILE : NULL;
				packed_tile(p->sums + at * TILE * 16 + part * KN_LANES, trees, x,
				            p->w + (t * 16 + part * KN_LANES) * steps * TILE_O, steps, first == 0);
				ahead_fetch(ahead);
			}
		}
}

/* Row n of the group's outputs, y[o]: four at a time, of which the next tile may overwrite the last. */
KN_INLINE void group_out(float *y, const struct pack *p, int64_t n, const float *b, int64_t o)
{
	const float *trees = p->trees + n / TILE_N * GROUP_TILES * TILE + n % TILE_N * TILE_O;
	for (; o > 4; o -= TILE_O, trees += TILE, y += TILE_O) {
		v4 out = *(const v4_any *)trees;
		*(v4_any *)y = b ? out + *(const v4_any *)b : out;
		b = b ? b + TILE_O : NULL;
	}
	for (int64_t c = 0; c < o; c++)
		y[c] = b ? trees[c / TILE_O * TILE + c % TILE_O] + b[c] : trees[c / TILE_O * TILE + c % TILE_O];
}

static void group_run(const struct pack *p, float *y, int64_t ldy, const struct kn_mat *w, const float *b, int64_t o0,
                      int64_t o1, int64_t end)
{
	int64_t tiles = ceil_div(o1 - o0, TILE_O);
	for (int64_t s = 0; s < p->steps; s += p->block) {
		int64_t steps = min64(p->block, p->steps - s), next = s + steps;
		int64_t calls = ceil_div(p->n, TILE_N) * tiles * KN_PARTS;
		struct ahead ahead;
		if (next < p->steps)
			ahead = ahead_of(w, o0, o1, next, min64(p->block, p->steps - next), calls);
		else
			ahead = ahead_of(w, o1, min64(o1 + GROUP_O, end), 0, min64(p->block, p->steps), calls);
		pack_w(p, w, o0, o1, s, steps);
		group_block(p, tiles, s, steps, &ahead);
	}
	for (int64_t n = 0; n < p->n; n++)
		group_out(y + n * ldy, p, n, b ? b + o0 : NULL, o1 - o0);
}

int KN(forward_many)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                     const float *b, int64_t o0, int64_t o1, int64_t N)
{
	struct pack p = {.x = cpu_scratch(cpu, worker), .I = w->cols, .steps = ceil_div(w->cols, 16)};
	if (p.steps == 0 || p.steps * 16 * TILE_N > PACK_X)
		return 0;
	p.w = p.x + PACK_X;
	p.sums = p.w + PACK_W;
	p.trees = p.sums + SUMS;
	p.block = ceil_div(p.steps, ceil_div(p.steps, BLOCK_STEPS));
	int64_t most = min64(CHUNK_N, PACK_X / (p.steps * 16) / TILE_N * TILE_N);
	int64_t chunk = ceil_div(ceil_div(N, ceil_div(N, most)), TILE_N) * TILE_N;
	for (int64_t n = 0; n < N; n += chunk) {
		p.n = min64(chunk, N - n);
		pack_x(&p, x + n * p.I);
		for (int64_t o = o0; o < o1; o += GROUP_O)
			group_run(&p, y + n * ldy + o - o0, ldy, w, b, o, min64(o + GROUP_O, o1), o1);
	}
	return 1;
}
