/* optim8 - AdamW with moments in 8 bits: a block is widened, moved as in float32, and rounded again */
#include "kernels/cpu/optim.h"

#define BLOCKS 64 /* of an item */

struct adamw8 {
	struct adamw_rates rates;
	float *w;
	const float *g;
	struct kn_moment8 m, v;
	float m_middle[255], v_middle[255]; /* between neighbours of the map */
	int64_t n;
};

static void middles(float *middle, const float *map)
{
	for (int i = 0; i < 255; i++)
		middle[i] = (map[i] + map[i + 1]) / 2;
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

/* The code is found by halves; it is 0 where x / absmax is NaN. */
static void narrow(const struct kn_moment8 *m, int64_t block, int64_t n, const float *middle, float *x)
{
	uint8_t *code = m->code + block * KN_BLOCK8;
	int32_t at[KN_BLOCK8] = {0};
	float absmax = m->absmax[block] = largest_of(x);
	for (int i = 0; i < KN_BLOCK8; i++)
		x[i] /= absmax;
	for (int half = 128; half; half /= 2)
		for (int i = 0; i < KN_BLOCK8; i++)
			at[i] += half & -(middle[at[i] + half - 1] < x[i]);
	for (int64_t i = 0; i < n; i++)
		code[i] = (uint8_t)at[i];
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
	narrow(&a->m, block, n, a->m_middle, m);
	narrow(&a->v, block, n, a->v_middle, v);
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
	middles(a.m_middle, m->map);
	middles(a.v_middle, v->map);
	cpu_for(ctx, ceil_div(n, BLOCKS * KN_BLOCK8), 40 * (double)n, adamw8_item, &a);
}
