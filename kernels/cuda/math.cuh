/*
 * math - exp, log, tanh, erf in float32, sin and cos in double: the routines of
 * kernels/cpu/vec_math.h, operation for operation, so that both backends give
 * the same bits.  What the polynomials are fits of is said there.
 */
#ifndef KERNELS_CUDA_MATH_CUH
#define KERNELS_CUDA_MATH_CUH

#include "kernels/cuda/common.cuh"

#define CU_ROUND_MAGIC 0x1.8p23f
#define CU_ROUND_MAGIC_BITS 0x4b400000

static __device__ inline float cu_power_of_two(int k)
{
	return __int_as_float((k + 127) << 23);
}

static __device__ inline float cu_exp(float x)
{
	x = x > 89 ? 89 : x;
	x = x < -105 ? -105 : x;
	float magic = fmaf(x, 0x1.715476p+0f, CU_ROUND_MAGIC);
	float k = magic - CU_ROUND_MAGIC;
	float r = fmaf(k, -0x1.62e4p-1f, x);
	r = fmaf(k, -0x1.7f7d1cp-20f, r);
	float p = fmaf(0.001395065683f, r, 0.008368953316f);
	p = fmaf(p, r, 0.04166620326f);
	p = fmaf(p, r, 0.1666651831f);
	p = fmaf(p, r, 0.5000000096f);
	p = fmaf(r * r, p, r) + 1;
	int whole = __float_as_int(magic) - CU_ROUND_MAGIC_BITS, half = whole >> 1;
	return p * cu_power_of_two(half) * cu_power_of_two(whole - half);
}

static __device__ inline float cu_log(float x)
{
	int bits = __float_as_int(x), exponent = (bits - 0x3f3504f3) >> 23;
	float f = __int_as_float(bits - (int)((unsigned)exponent << 23)) - 1;
	float k = __int_as_float(exponent + CU_ROUND_MAGIC_BITS) - CU_ROUND_MAGIC;
	float p = fmaf(0.06915586176f, f, -0.1178983923f);
	p = fmaf(p, f, 0.118728949f);
	p = fmaf(p, f, -0.1238433849f);
	p = fmaf(p, f, 0.1421866826f);
	p = fmaf(p, f, -0.1666925173f);
	p = fmaf(p, f, 0.2000222611f);
	p = fmaf(p, f, -0.2499998658f);
	p = fmaf(p, f, 0.3333331045f);
	float f2 = f * f;
	float low = fmaf(k, -0x1.05c610p-29f, f2 * f * p);
	low = fmaf(f2, -0.5f, low);
	return fmaf(k, 0x1.62e430p-1f, f + low);
}

static __device__ inline float cu_tanh(float x)
{
	float a = fabsf(x), s = x * x;
	float p = fmaf(-0.005660789378f, s, 0.02060200799f);
	p = fmaf(p, s, -0.05372923001f);
	p = fmaf(p, s, 0.1333132896f);
	p = fmaf(p, s, -0.3333327831f);
	float near = fmaf(x * s, p, x);
	float far = 1 - 2 / (cu_exp(a + a) + 1);
	return a < 0.625f ? near : copysignf(far, x);
}

static __device__ inline float cu_erf(float x)
{
	float a = fabsf(x), s = x * x;
	float p = fmaf(-9.680197746e-6f, s, 0.000112705654f);
	p = fmaf(p, s, -0.0008484714242f);
	p = fmaf(p, s, 0.005221075063f);
	p = fmaf(p, s, -0.02686544588f);
	p = fmaf(p, s, 0.1128378275f);
	p = fmaf(p, s, -0.3761263848f);
	p = fmaf(p, s, 0.1283791671f);
	float near = fmaf(x, p, x);
	float t = a > 4 ? 3 : a - 1;
	float q = fmaf(-2.168662799e-5f, t, 0.0002895272442f);
	q = fmaf(q, t, -0.00201196506f);
	q = fmaf(q, t, 0.01004645092f);
	q = fmaf(q, t, -0.04156348017f);
	q = fmaf(q, t, -0.8431070819f);
	q = fmaf(q, t, -2.638967515f);
	q = fmaf(q, t, -1.84960551f);
	float far = 1 - cu_exp(q);
	return a < 1 ? near : copysignf(far, x);
}

static __device__ inline void cu_sincos(double x, double *sine, double *cosine)
{
	const double magic = 0x1.8p52;
	double shifted = x * 0x1.45f306dc9c883p-1 + magic, k = shifted - magic;
	double r = ((x - k * 0x1.921fb4p+0) - k * 0x1.4442dp-24) - k * 0x1.8469898cc5170p-48;
	double s = r * r;
	double p = 1.0 / 362880 + s * (-1.0 / 39916800 + s * (1.0 / 6227020800.0));
	double sin_r = r + r * s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * p)));
	p = 1.0 / 40320 + s * (-1.0 / 3628800 + s * (1.0 / 479001600 + s * (-1.0 / 87178291200.0)));
	double cos_r = 1 + s * (-0.5 + s * (1.0 / 24 + s * (-1.0 / 720 + s * p)));
	long long quadrant = __double_as_longlong(shifted);
	double a = quadrant & 1 ? cos_r : sin_r, b = quadrant & 1 ? sin_r : cos_r;
	*sine = quadrant & 2 ? -a : a;
	*cosine = (quadrant + 1) & 2 ? -b : b;
}

#endif
