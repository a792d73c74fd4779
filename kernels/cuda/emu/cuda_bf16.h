/* cuda_bf16 - what kernels/cuda uses of the bf16 type; see cuda_runtime.h beside it */
#ifndef KERNELS_CUDA_EMU_CUDA_BF16_H
#define KERNELS_CUDA_EMU_CUDA_BF16_H

#include <cuda_runtime.h>

struct __nv_bfloat16 {
	uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x)
{
	return __uint_as_float((uint32_t)x.bits << 16);
}

/* To nearest even; what is no number becomes the one that the device makes of it. */
static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
	uint32_t bits = __float_as_uint(x);
	if ((bits & 0x7fffffff) > 0x7f800000)
		return {0x7fff};
	return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

static inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 x)
{
	return x.bits;
}

#endif
