/* optim - one step of AdamW on one element, in float32, operation for operation as kernels/cpu/optim.h */
#ifndef KERNELS_CUDA_OPTIM_CUH
#define KERNELS_CUDA_OPTIM_CUH

#include "kernels/cuda/common.cuh"

#include <math.h>

struct adamw_rates {
	float grad_scale, decay, lerp, beta2, rest2, step_size, root2, eps;
};

/* beta^step by squaring, since pow() is not the same everywhere */
static inline double adamw_power(double beta, int64_t step)
{
	double result = 1;
	for (; step > 0; step >>= 1, beta *= beta)
		if (step & 1)
			result *= beta;
	return result;
}

static inline struct adamw_rates adamw_rates_of(const struct kn_adamw *o)
{
	struct adamw_rates a;
	a.grad_scale = (float)o->grad_scale;
	a.decay = (float)(1 - o->lr * o->weight_decay);
	a.lerp = (float)(1 - o->beta1);
	a.beta2 = (float)o->beta2;
	a.rest2 = (float)(1 - o->beta2);
	a.step_size = (float)(o->lr / (1 - adamw_power(o->beta1, o->step)));
	a.root2 = (float)sqrt(1 - adamw_power(o->beta2, o->step));
	a.eps = (float)o->eps;
	return a;
}

/* The weight after the step; m and v are moved. */
static __device__ inline float adamw_element(const struct adamw_rates &a, float w, float *m, float *v, float g)
{
	float grad = g * a.grad_scale;
	*m = fmaf(grad - *m, a.lerp, *m);
	*v = fmaf(grad * grad, a.rest2, *v * a.beta2);
	float denominator = sqrtf(*v) / a.root2 + a.eps;
	return fmaf(-a.step_size, *m / denominator, w * a.decay);
}

#endif
