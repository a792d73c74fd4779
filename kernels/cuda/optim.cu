/* optim - AdamW in float32; see kernels.h */
#include "kernels/cuda/optim.cuh"

static __global__ void adamw_kernel(const struct adamw_rates a, float *w, float *m, float *v, const float *g, int64_t n)
{
	for (CU_EACH(i, n)) {
		float mt = m[i], vt = v[i];
		w[i] = adamw_element(a, w[i], &mt, &vt, g[i]);
		m[i] = mt;
		v[i] = vt;
	}
}

void cu_adamw(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *o, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, adamw_kernel, cu_grid(cu, n), CU_THREADS, adamw_rates_of(o), w, m, v, g, n);
}
