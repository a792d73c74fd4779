/* optim - one step of AdamW on sixteen elements, in float32, operation for operation as torch.optim.AdamW without
 * foreach; see kernels.h */
#ifndef KERNELS_CPU_OPTIM_H
#define KERNELS_CPU_OPTIM_H

#include "kernels/cpu/cpu.h"
#include "kernels/optim.h"

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
