/*
 * optim - the numbers of a step of AdamW, as every fast backend has them: rounded to float32 once, on the host; see
 * kernels.h
 */
#ifndef KERNELS_OPTIM_H
#define KERNELS_OPTIM_H

#include "kernels/kernels.h"

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

#endif
