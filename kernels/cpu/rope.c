/* rope - rotary position embedding, rotate-half form; see kernels.h */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

struct rope {
	float *x;
	const int32_t *pos;
	const float *inv_freq;
	int64_t heads, D, stride;
	int dir;
};

static void rotate_head(float *a, float *b, const float *cosine, const float *sine, int64_t half)
{
	int64_t j = 0;
	for (; j + 16 <= half; j += 16) {
		v16 x = v16_load(a + j), y = v16_load(b + j), c = v16_load(cosine + j), s = v16_load(sine + j);
		v16_store(a + j, v16_fma(x, c, v16_mul(v16_sub(v16_set(0), y), s)));
		v16_store(b + j, v16_fma(y, c, v16_mul(x, s)));
	}
	if (j < half) {
		int64_t n = half - j;
		v16 x = v16_load_tail(a + j, n, 0), y = v16_load_tail(b + j, n, 0);
		v16 c = v16_load_tail(cosine + j, n, 0), s = v16_load_tail(sine + j, n, 0);
		v16_store_tail(a + j, v16_fma(x, c, v16_mul(v16_sub(v16_set(0), y), s)), n);
		v16_store_tail(b + j, v16_fma(y, c, v16_mul(x, s)), n);
	}
}

static void rope_row(void *arg, int64_t n, int worker)
{
	(void)worker;
	const struct rope *r = arg;
	float cosine[KN_MAX_HEAD / 2], sine[KN_MAX_HEAD / 2];
	int64_t half = r->D / 2;
	for (int64_t j = 0; j < half; j++) {
		double s, c;
		kn_sincos((double)r->pos[n] * r->inv_freq[j], &s, &c);
		cosine[j] = (float)c;
		sine[j] = (float)(r->dir * s);
	}
	for (int64_t h = 0; h < r->heads; h++) {
		float *x = r->x + n * r->stride + h * r->D;
		rotate_head(x, x + half, cosine, sine, half);
	}
}

void KN(rope)(void *ctx, float *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
              int64_t stride, int dir)
{
	struct rope r = {x, pos, inv_freq, heads, D, stride, dir};
	cpu_for(ctx, N, (double)N * (double)(D * (heads + 10)), rope_row, &r);
}
