/* optim - AdamW with decoupled decay, as torch.optim.AdamW; Loshchilov and Hutter 2019, algorithm 2 */
#include "kernels/ref/ref.h"

void REF(adamw)(void *ctx, real *w, real *m, real *v, const real *g, const struct kn_adamw *a, int64_t n)
{
	(void)ctx;
	double c1 = 1 - pow(a->beta1, (double)a->step), c2 = sqrt(1 - pow(a->beta2, (double)a->step));
	for (int64_t i = 0; i < n; i++) {
		double grad = a->grad_scale * g[i];
		double mi = a->beta1 * m[i] + (1 - a->beta1) * grad;
		double vi = a->beta2 * v[i] + (1 - a->beta2) * grad * grad;
		double decayed = w[i] * (1 - a->lr * a->weight_decay);
		w[i] = (real)(decayed - a->lr * (mi / c1) / (sqrt(vi) / c2 + a->eps));
		m[i] = (real)mi;
		v[i] = (real)vi;
	}
}
