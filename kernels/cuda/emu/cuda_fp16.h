/* cuda_fp16 - what kernels/cuda uses of the half type; see cuda_runtime.h beside it */
#ifndef KERNELS_CUDA_EMU_CUDA_FP16_H
#define KERNELS_CUDA_EMU_CUDA_FP16_H

#include <cuda_runtime.h>

struct __half {
	uint16_t bits;
};

static inline __half __ushort_as_half(uint16_t bits)
{
	return {bits};
}

/* Exact: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
static inline float __half2float(__half h)
{
	uint32_t sign = (uint32_t)(h.bits & 0x8000) << 16, exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
	if (exponent == 0)
		return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
	if (exponent == 31)
		return __uint_as_float(sign | 0x7f800000 | fraction << 13);
	return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

#endif
