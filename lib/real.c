/* real - see real.h */
#include "lib/real.h"

#include <stdlib.h>
#include <string.h>

#include "lib/safetensors.h"
#include "lib/util.h"

/* Numbers converted at a time: they stay in the cache, and a device copies some while the next are made. */
enum { PUT_NUMBERS = 1 << 18 };

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
	int64_t most = n < PUT_NUMBERS ? n : PUT_NUMBERS;
	uint16_t *half = xmalloc((size_t)most * sizeof *half);
	for (int64_t at = 0, m; at < n; at += m) {
		m = n - at < most ? n - at : most;
		for (int64_t i = 0; i < m; i++)
			half[i] = float_to_bf16(host[at + i]);
		k->put(k->ctx, real_at(k, p, at), half, real_bytes(k, m));
	}
	free(half);
}
