/* optim - AdamW over tensors in float32 */
#include "kernels/cpu/optim.h"

#define CHUNK 16384

struct adamw {
	struct adamw_rates rates;
	float *w, *m, *v;
	const float *g;
	int64_t n;
};

static void adamw_tail(const struct adamw *a, int64_t i, int64_t n)
{
	float w[16] = {0}, m[16] = {0}, v[16] = {0}, g[16] = {0};
	size_t bytes = (size_t)n * sizeof *w;
	memcpy(w, a->w + i, bytes);
	memcpy(m, a->m + i, bytes);
	memcpy(v, a->v + i, bytes);
	memcpy(g, a->g + i, bytes);
	adamw_step(&a->rates, w, m, v, g);
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
		adamw_step(&a->rates, a->w + i, a->m + i, a->v + i, a->g + i);
	if (i < end)
		adamw_tail(a, i, end - i);
}

void KN(adamw)(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *o, int64_t n)
{
	struct adamw a = {.rates = adamw_rates_of(o), .w = w, .m = m, .v = v, .g = g, .n = n};
	cpu_for(ctx, ceil_div(n, CHUNK), 10 * (double)n, adamw_item, &a);
}
