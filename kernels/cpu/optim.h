/* optim - one step of AdamW on sixteen elements, in float32, operation for operation as torch.optim.AdamW without
 * foreach; see kernels.h */
#ifndef KERNELS_CPU_OPTIM_H
#define KERNELS_CPU_OPTIM_H

#include "kernels/cpu/cpu.h"

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
	return (struct adamw_rates){.grad_scale = (float)o->grad_scale,
	                            .decay = (float)(1 - o->lr * o->weight_decay),
	                            .lerp = (float)(1 - o->beta1),
	                            .beta2 = (float)o->beta2,
	                            .rest2 = (float)(1 - o->beta2),
	                            .step_size = (float)(o->lr / (1 - adamw_power(o->beta1, o->step))),
	                            .root2 = (float)sqrt(1 - adamw_power(o->beta2, o->step)),
	                            .eps = (float)o->eps};
}

KN_INLINE void adamw_step(const struct adamw_rates *a, float *w, float *m, float *v, const float *g)
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

#endif
