/* rope - rotary position embedding, rotate-half form; see kernels.h */
#include "kernels/ref/ref.h"

void REF(rope)(void *ctx, real *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
               int64_t stride, int dir)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++)
		for (int64_t j = 0; j < D / 2; j++) {
			double angle = (double)pos[n] * inv_freq[j];
			double c = cos(angle), s = dir * sin(angle);
			for (int64_t h = 0; h < heads; h++) {
				real *a = x + n * stride + h * D + j, *b = a + D / 2;
				double a0 = *a, b0 = *b;
				*a = (real)(a0 * c - b0 * s);
				*b = (real)(b0 * c + a0 * s);
			}
		}
}
