/* optim8 - AdamW with moments in 8 bits: a block is widened, moved as in float32, and rounded again */
#include "kernels/cpu/optim.h"

#define BLOCKS 64 /* of an item */

/*
 * A code is the number of middles below y.  Cells of y, by sign, exponent and the first six bits of the mantissa, know
 * a code that is never too high, and how many steps up from there are enough in any cell: of the optimizer's maps two.
 * What is smaller than 2^-23 is in the first cell of its sign.
 */
#define LEAST ((127 - 23) << 6)
#define CELLS (23 * 64 + 1)
struct finder {
	float middle[256]; /* between neighbours of the map; behind them infinity */
	uint8_t start[2 * CELLS];
	int steps;
};

struct adamw8 {
	struct adamw_rates rates;
	float *w;
	const float *g;
	struct kn_moment8 m, v;
	struct finder m_find, v_find;
	int64_t n;
};

/* Where a cell begins, away from 0. */
static float edge(int cell)
{
	uint32_t bits = cell ? (uint32_t)(cell + LEAST) << 17 : 0;
	float y;
	memcpy(&y, &bits, sizeof y);
	return y;
}

static int below(const float *middle, float y)
{
	int code = 0;
	for (int half = 128; half; half /= 2)
		code += half & -(middle[code + half - 1] < y);
	return code;
}

static int larger(int a, int b)
{
	return a > b ? a : b;
}

static void finder_init(struct finder *f, const float *map)
{
	for (int i = 0; i < 255; i++)
		f->middle[i] = (map[i] + map[i + 1]) / 2;
	f->middle[255] = INFINITY;
	f->steps = 0;
	for (int cell = 0; cell < CELLS; cell++) {
		int up[2] = {below(f->middle, edge(cell)), below(f->middle, edge(cell + 1))};
		int down[2] = {below(f->middle, -edge(cell + 1)), below(f->middle, -edge(cell))};
		f->start[cell] = (uint8_t)up[0];
		f->start[CELLS + cell] = (uint8_t)down[0];
		f->steps = larger(f->steps, larger(up[1] - up[0], down[1] - down[0]));
	}
}

static inline int cell_of(float y)
{
	uint32_t bits;
	memcpy(&bits, &y, sizeof bits);
	int cell = (int)(bits >> 17 & 0x3fff) - LEAST;
	cell = cell < 0 ? 0 : cell;
	cell = cell < CELLS ? cell : CELLS - 1;
	return cell + (bits >> 31 ? CELLS : 0);
}

static void widen(float *x, const struct kn_moment8 *m, int64_t block, int64_t n)
{
	const uint8_t *code = m->code + block * KN_BLOCK8;
	float absmax = m->absmax[block];
	for (int64_t i = 0; i < n; i++)
		x[i] = m->map[code[i]] * absmax;
}

static float largest_of(const float *x)
{
	v16 best = v16_set(0);
	for (int i = 0; i < KN_BLOCK8; i += 16) {
		v16 a = v16_load(x + i);
		best = v16_max(v16_max(a, v16_sub(v16_set(0), a)), best);
	}
	return v16_largest(best);
}

/* The code is 0 where x / absmax is NaN. */
static void narrow(const struct kn_moment8 *m, int64_t block, int64_t n, const struct finder *f, float *x)
{
	uint8_t *code = m->code + block * KN_BLOCK8;
	int at[KN_BLOCK8];
	float absmax = m->absmax[block] = largest_of(x);
	for (int i = 0; i < KN_BLOCK8; i++)
		x[i] /= absmax;
	for (int i = 0; i < KN_BLOCK8; i++)
		at[i] = f->start[cell_of(x[i])];
	for (int step = 0; step < f->steps; step++)
		for (int i = 0; i < KN_BLOCK8; i++)
			at[i] += f->middle[at[i]] < x[i];
	for (int64_t i = 0; i < n; i++)
		code[i] = (uint8_t)(x[i] == x[i] ? at[i] : 0);
}

/* n: of the block's elements, how many there are; beyond them are zeros. */
static void adamw8_block(const struct adamw8 *a, int64_t block, int64_t n)
{
	float m[KN_BLOCK8] = {0}, v[KN_BLOCK8] = {0}, last[2][KN_BLOCK8] = {{0}};
	float *w = a->w + block * KN_BLOCK8;
	const float *g = a->g + block * KN_BLOCK8;
	if (n < KN_BLOCK8) {
		memcpy(last[0], w, (size_t)n * sizeof *w);
		memcpy(last[1], g, (size_t)n * sizeof *g);
		w = last[0];
		g = last[1];
	}
	widen(m, &a->m, block, n);
	widen(v, &a->v, block, n);
	for (int i = 0; i < KN_BLOCK8; i += 16)
		adamw_step(&a->rates, w + i, m + i, v + i, g + i);
	if (n < KN_BLOCK8)
		memcpy(a->w + block * KN_BLOCK8, w, (size_t)n * sizeof *w);
	narrow(&a->m, block, n, &a->m_find, m);
	narrow(&a->v, block, n, &a->v_find, v);
}

static void adamw8_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct adamw8 *a = arg;
	int64_t end = min64((item + 1) * BLOCKS, ceil_div(a->n, KN_BLOCK8));
	for (int64_t block = item * BLOCKS; block < end; block++)
		adamw8_block(a, block, min64(KN_BLOCK8, a->n - block * KN_BLOCK8));
}

void KN(adamw8)(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
                const struct kn_adamw *o, int64_t n)
{
	struct adamw8 a = {.rates = adamw_rates_of(o), .w = w, .g = g, .m = *m, .v = *v, .n = n};
	finder_init(&a.m_find, m->map);
	finder_init(&a.v_find, v->map);
	cpu_for(ctx, ceil_div(n, BLOCKS * KN_BLOCK8), 40 * (double)n, adamw8_item, &a);
}
