/* optim8 - AdamW with moments in 8 bits, in float32 as kernels.h says: a code leaves no room for a nearer truth */
#include "kernels/ref/ref.h"

/* 1 - beta^step, the power by squaring: pow() is not the same everywhere */
static double correction(double beta, int64_t step)
{
	double power = 1;
	for (; step > 0; step >>= 1, beta *= beta)
		power *= step & 1 ? beta : 1;
	return 1 - power;
}

static uint8_t nearest(const float *map, float x)
{
	int code = 0;
	for (int i = 0; i < 255; i++)
		code += (map[i] + map[i + 1]) / 2 < x;
	return (uint8_t)code;
}

static void narrow(const struct kn_moment8 *to, int64_t first, int64_t end, const float *x)
{
	float largest = 0;
	for (int64_t i = first; i < end; i++)
		largest = fabsf(x[i - first]) > largest ? fabsf(x[i - first]) : largest;
	to->absmax[first / KN_BLOCK8] = largest;
	for (int64_t i = first; i < end; i++)
		to->code[i] = nearest(to->map, x[i - first] / largest);
}

void ref_adamw8(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
                const struct kn_adamw *a, int64_t n)
{
	(void)ctx;
	float lerp = (float)(1 - a->beta1), beta2 = (float)a->beta2, rest2 = (float)(1 - a->beta2);
	float size = (float)(a->lr / correction(a->beta1, a->step)), root2 = (float)sqrt(correction(a->beta2, a->step));
	float decay = (float)(1 - a->lr * a->weight_decay);
	for (int64_t first = 0; first < n; first += KN_BLOCK8) {
		int64_t end = first + KN_BLOCK8 < n ? first + KN_BLOCK8 : n, block = first / KN_BLOCK8;
		float mt[KN_BLOCK8], vt[KN_BLOCK8];
		for (int64_t i = first; i < end; i++) {
			float grad = g[i] * (float)a->grad_scale, *mi = &mt[i - first], *vi = &vt[i - first];
			*mi = m->map[m->code[i]] * m->absmax[block];
			*mi = fmaf(grad - *mi, lerp, *mi);
			*vi = fmaf(grad * grad, rest2, v->map[v->code[i]] * v->absmax[block] * beta2);
			w[i] = fmaf(-size, *mi / (sqrtf(*vi) / root2 + (float)a->eps), w[i] * decay);
		}
		narrow(m, first, end, mt);
		narrow(v, first, end, vt);
	}
}
