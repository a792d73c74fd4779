/* optim - one step of AdamW on one element, in float32, operation for operation as kernels/cpu/optim.h */
#ifndef KERNELS_CUDA_OPTIM_CUH
#define KERNELS_CUDA_OPTIM_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/optim.h"

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
