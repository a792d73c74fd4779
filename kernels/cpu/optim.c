/* optim - AdamW in float32, operation for operation as torch.optim.AdamW without foreach; see kernels.h */
#include "kernels/cpu/cpu.h"

#include <math.h>

#define CHUNK 16384

struct adamw {
	float *w, *m, *v;
	const float *g;
	float grad_scale, decay, lerp, beta2, rest2, step_size, root2, eps;
	int64_t n;
};

/* beta^step by squaring, since pow() is not the same everywhere */
static double power(double beta, int64_t step)
{
	double result = 1;
	for (; step > 0; step >>= 1, beta *= beta)
		if (step & 1)
			result *= beta;
	return result;
}

static void adamw_step(const struct adamw *a, float *w, float *m, float *v, const float *g)
{
	v16 grad = v16_mul(v16_load(g), v16_set(a->grad_scale)), mt = v16_load(m), vt = v16_load(v);
	mt = v16_fma(v16_sub(grad, mt), v16_set(a->lerp), mt);
	vt = v16_fma(v16_mul(grad, grad), v16_set(a->rest2), v16_mul(vt, v16_set(a->beta2)));
	v16 denominator = v16_add(v16_div(v16_sqrt(vt), v16_set(a->root2)), v16_set(a->eps));
	v16 decayed = v16_mul(v16_load(w), v16_set(a->decay));
	v16_store(w, v16_fma(v16_set(-a->step_size), v16_div(mt, denominator), decayed));
	v16_store(m, mt);
	v16_store(v, vt);
}

static void adamw_tail(const struct adamw *a, int64_t i, int64_t n)
{
	float w[16] = {0}, m[16] = {0}, v[16] = {0}, g[16] = {0};
	size_t bytes = (size_t)n * sizeof *w;
	memcpy(w, a->w + i, bytes);
	memcpy(m, a->m + i, bytes);
	memcpy(v, a->v + i, bytes);
	memcpy(g, a->g + i, bytes);
	adamw_step(a, w, m, v, g);
	memcpy(a->w + i, w, bytes);
	memcpy(a->m + i, m, bytes);
	memcpy(a->v + i, v, bytes);
}

static void adamw_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct adamw *a = arg;
	int64_t i = item * CHUNK, end = min64(i + CHUNK, a->n);
	for (; i + 16 <= end; i += 16)
		adamw_step(a, a->w + i, a->m + i, a->v + i, a->g + i);
	if (i < end)
		adamw_tail(a, i, end - i);
}

void KN(adamw)(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *o, int64_t n)
{
	struct adamw a = {.w = w, .m = m, .v = v, .g = g, .n = n};
	a.grad_scale = (float)o->grad_scale;
	a.decay = (float)(1 - o->lr * o->weight_decay);
	a.lerp = (float)(1 - o->beta1);
	a.beta2 = (float)o->beta2;
	a.rest2 = (float)(1 - o->beta2);
	a.step_size = (float)(o->lr / (1 - power(o->beta1, o->step)));
	a.root2 = (float)sqrt(1 - power(o->beta2, o->step));
	a.eps = (float)o->eps;
	cpu_for(ctx, ceil_div(n, CHUNK), 10 * (double)n, adamw_item, &a);
}
