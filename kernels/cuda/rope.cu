/* rope - rotary position embedding, rotate-half form; see kernels.h */
#include "kernels/cuda/math.cuh"

/* A block of threads turns one row: first the angles, which all heads share, then every pair. */
static __global__ void rope_kernel(cu_real *x, const int32_t *pos, const float *inv_freq, int64_t heads, int64_t half,
                                   int64_t stride, int dir)
{
	__shared__ float cosine[KN_MAX_HEAD / 2], sine[KN_MAX_HEAD / 2];
	cu_real *row = x + blockIdx.x * stride;
	for (int64_t j = threadIdx.x; j < half; j += blockDim.x) {
		double s, c;
		cu_sincos((double)pos[blockIdx.x] * inv_freq[j], &s, &c);
		cosine[j] = (float)c;
		sine[j] = (float)(dir * s);
	}
	__syncthreads();
	for (int64_t i = threadIdx.x; i < heads * half; i += blockDim.x) {
		int64_t j = i % half;
		cu_real *a = row + i / half * 2 * half + j, *b = a + half;
		float a0 = *a, b0 = *b;
		*a = fmaf(a0, cosine[j], -b0 * sine[j]);
		*b = fmaf(b0, cosine[j], a0 * sine[j]);
	}
}

void CU(rope)(void *ctx, float *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
              int64_t stride, int dir)
{
	struct cuda *cu = (struct cuda *)ctx;
	int ok = 1;
	if (N == 0 || heads == 0 || D < 2 || !cu_enter(cu))
		return;
	const int32_t *places = (const int32_t *)cu_stage(cu, pos, (size_t)N * sizeof *pos, &ok);
	const float *freq = (const float *)cu_stage(cu, inv_freq, (size_t)(D / 2) * sizeof *inv_freq, &ok);
	if (ok)
		CU_LAUNCH(cu, rope_kernel, (unsigned)N, CU_THREADS, cu_reals(x), places, freq, heads, D / 2, stride,
		          dir);
}
