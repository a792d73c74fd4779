/* optim - AdamW in float32, operation for operation as kernels/cpu/optim.c; see kernels.h */
#include "kernels/cuda/common.cuh"

#include <math.h>

struct adamw {
	float *w, *m, *v;
	const float *g;
	float grad_scale, decay, lerp, beta2, rest2, step_size, root2, eps;
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

static __global__ void adamw_kernel(const struct adamw a, int64_t n)
{
	for (CU_EACH(i, n)) {
		float grad = a.g[i] * a.grad_scale, m = a.m[i], v = a.v[i];
		m = fmaf(grad - m, a.lerp, m);
		v = fmaf(grad * grad, a.rest2, v * a.beta2);
		float denominator = sqrtf(v) / a.root2 + a.eps;
		a.w[i] = fmaf(-a.step_size, m / denominator, a.w[i] * a.decay);
		a.m[i] = m;
		a.v[i] = v;
	}
}

void cu_adamw(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *o, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct adamw a = {w, m, v, g, (float)o->grad_scale, 0, 0, 0, 0, 0, 0, 0};
	a.decay = (float)(1 - o->lr * o->weight_decay);
	a.lerp = (float)(1 - o->beta1);
	a.beta2 = (float)o->beta2;
	a.rest2 = (float)(1 - o->beta2);
	a.step_size = (float)(o->lr / (1 - power(o->beta1, o->step)));
	a.root2 = (float)sqrt(1 - power(o->beta2, o->step));
	a.eps = (float)o->eps;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, adamw_kernel, cu_grid(cu, n), CU_THREADS, a, n);
}
