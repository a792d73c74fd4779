/* real - see real.h */
#include "lib/real.h"

#include <stdlib.h>
#include <string.h>

#include "lib/safetensors.h"
#include "lib/util.h"

void real_get(const struct kernels *k, float *host, const kn_real *p, int64_t n)
{
	k->get(k->ctx, host, p, real_bytes(k, n));
	if (k->real == KN_F32)
		return;
	/* in place, from the end: a wide number covers only narrow ones that are done */
	for (int64_t i = n; i-- > 0;) {
		uint16_t half;
		memcpy(&half, (const char *)host + 2 * i, sizeof half);
		host[i] = bf16_to_float(half);
	}
}

void real_put(const struct kernels *k, kn_real *p, const float *host, int64_t n)
{
	if (k->real == KN_F32) {
		k->put(k->ctx, p, host, real_bytes(k, n));
		return;
	}
	uint16_t *half = xmalloc((size_t)n * sizeof *half);
	for (int64_t i = 0; i < n; i++)
		half[i] = float_to_bf16(host[i]);
	k->put(k->ctx, p, half, real_bytes(k, n));
	free(half);
}
