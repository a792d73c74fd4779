/*
 * vec_math - exp, log, tanh, erf in float32 on sixteen lanes, sin and cos in double.
 *
 * Our own, because the bits must not depend on the machine's math library,
 * and one routine for whole vectors and for tails.  Polynomials are minimax
 * fits (Remez, 50 digits) of the expression named beside them, evaluated by
 * fma from the highest power.  Worst error measured by check over the whole
 * range is in kernels/README.md.
 */
#ifndef KERNELS_CPU_VEC_MATH_H
#define KERNELS_CPU_VEC_MATH_H

#include "kernels/cpu/vec.h"

#define ROUND_MAGIC 0x1.8p23f /* adding it leaves the nearest integer in the low bits */

/* 2^k for -127 < k < 128, k from the low bits of a float that had ROUND_MAGIC added */
KN_INLINE vf vf_power_of_two(vi k)
{
	return (vf)((k + 127) << 23);
}

/*
 * exp(x) = 2^k exp(r), r = x - k ln 2, exp(r) = 1 + r + r^2 P(r) for |r| <= ln 2 / 2 (3e-9).
 * 2^k goes in as two factors, so that results become infinite or subnormal on the way as they should.
 */
KN_INLINE vf vf_exp(vf x)
{
	x = vf_select(x > 89, vf_set(89), x);
	x = vf_select(x < -105, vf_set(-105), x);
	vf magic = vf_fma(x, vf_set(0x1.715476p+0f), vf_set(ROUND_MAGIC));
	vf k = magic - ROUND_MAGIC;
	vf r = vf_fma(k, vf_set(-0x1.62e4p-1f), x);
	r = vf_fma(k, vf_set(-0x1.7f7d1cp-20f), r);
	vf p = vf_fma(vf_set(0.001395065683f), r, vf_set(0.008368953316f));
	p = vf_fma(p, r, vf_set(0.04166620326f));
	p = vf_fma(p, r, vf_set(0.1666651831f));
	p = vf_fma(p, r, vf_set(0.5000000096f));
	p = vf_fma(r * r, p, r) + 1;
	vi whole = (vi)magic - (vi)vf_set(ROUND_MAGIC), half = whole >> 1;
	return p * vf_power_of_two(half) * vf_power_of_two(whole - half);
}

/*
 * log(x) = k ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)), log(1 + f) = f - f^2/2 + f^3 P(f) (7e-10).
 * For positive finite normal x; other values give garbage or NaN, and no caller has them.
 */
KN_INLINE vf vf_log(vf x)
{
	vi bits = (vi)x, shifted = bits - 0x3f3504f3;
	vi exponent = shifted >> 23;
	vf f = (vf)(bits - (exponent << 23)) - 1;
	vf k = (vf)(exponent + (vi)vf_set(ROUND_MAGIC)) - ROUND_MAGIC;
	vf p = vf_fma(vf_set(0.06915586176f), f, vf_set(-0.1178983923f));
	p = vf_fma(p, f, vf_set(0.118728949f));
	p = vf_fma(p, f, vf_set(-0.1238433849f));
	p = vf_fma(p, f, vf_set(0.1421866826f));
	p = vf_fma(p, f, vf_set(-0.1666925173f));
	p = vf_fma(p, f, vf_set(0.2000222611f));
	p = vf_fma(p, f, vf_set(-0.2499998658f));
	p = vf_fma(p, f, vf_set(0.3333331045f));
	vf f2 = f * f;
	vf low = vf_fma(k, vf_set(-0x1.05c610p-29f), f2 * f * p);
	low = vf_fma(f2, vf_set(-0.5f), low);
	return vf_fma(k, vf_set(0x1.62e430p-1f), f + low);
}

/* |x| < .625: x + x^3 P(x^2) (5e-9 of x); beyond: 1 - 2 / (exp(2|x|) + 1), with the sign of x */
KN_INLINE vf vf_tanh(vf x)
{
	vi sign = (vi)x & (int32_t)0x80000000;
	vf a = (vf)((vi)x ^ sign), s = x * x;
	vf p = vf_fma(vf_set(-0.005660789378f), s, vf_set(0.02060200799f));
	p = vf_fma(p, s, vf_set(-0.05372923001f));
	p = vf_fma(p, s, vf_set(0.1333132896f));
	p = vf_fma(p, s, vf_set(-0.3333327831f));
	vf near = vf_fma(x * s, p, x);
	vf far = 1 - 2 / (vf_exp(a + a) + 1);
	return vf_select(a < 0.625f, near, (vf)((vi)far | sign));
}

/* |x| < 1: x + x P(x^2) (3e-11 of x); beyond: 1 - exp(Q(|x| - 1)), Q a fit of log erfc on [1, 4], with the sign of x */
KN_INLINE vf vf_erf(vf x)
{
	vi sign = (vi)x & (int32_t)0x80000000;
	vf a = (vf)((vi)x ^ sign), s = x * x;
	vf p = vf_fma(vf_set(-9.680197746e-6f), s, vf_set(0.000112705654f));
	p = vf_fma(p, s, vf_set(-0.0008484714242f));
	p = vf_fma(p, s, vf_set(0.005221075063f));
	p = vf_fma(p, s, vf_set(-0.02686544588f));
	p = vf_fma(p, s, vf_set(0.1128378275f));
	p = vf_fma(p, s, vf_set(-0.3761263848f));
	p = vf_fma(p, s, vf_set(0.1283791671f));
	vf near = vf_fma(x, p, x);
	vf t = vf_select(a > 4, vf_set(3), a - 1);
	vf q = vf_fma(vf_set(-2.168662799e-5f), t, vf_set(0.0002895272442f));
	q = vf_fma(q, t, vf_set(-0.00201196506f));
	q = vf_fma(q, t, vf_set(0.01004645092f));
	q = vf_fma(q, t, vf_set(-0.04156348017f));
	q = vf_fma(q, t, vf_set(-0.8431070819f));
	q = vf_fma(q, t, vf_set(-2.638967515f));
	q = vf_fma(q, t, vf_set(-1.84960551f));
	vf far = 1 - vf_exp(q);
	return vf_select(a < 1, near, (vf)((vi)far | sign));
}

#define V16_EXP(i) r.part[i] = vf_exp(a.part[i]);
#define V16_LOG(i) r.part[i] = vf_log(a.part[i]);
#define V16_TANH(i) r.part[i] = vf_tanh(a.part[i]);
#define V16_ERF(i) r.part[i] = vf_erf(a.part[i]);
V16_DEFINE(v16_exp, (v16 a), V16_EXP)
V16_DEFINE(v16_log, (v16 a), V16_LOG)
V16_DEFINE(v16_tanh, (v16 a), V16_TANH)
V16_DEFINE(v16_erf, (v16 a), V16_ERF)

KN_INLINE float kn_exp(float x)
{
	return vf_exp(vf_set(x))[0];
}

KN_INLINE float kn_log(float x)
{
	return vf_log(vf_set(x))[0];
}

/*
 * sin and cos in double for |x| < 8e8, without fma (one result everywhere); errors under 3e-14.
 * x - k pi/2 takes pi/2 in four pieces, of which the first three have 24 bits, so that k times each is exact.
 */
KN_INLINE void kn_sincos(double x, double *sine, double *cosine)
{
	const double magic = 0x1.8p52;
	double shifted = x * 0x1.45f306dc9c883p-1 + magic, k = shifted - magic;
	double r = ((x - k * 0x1.921fb4p+0) - k * 0x1.4442dp-24) - k * 0x1.8469898cc5170p-48;
	double s = r * r;
	double sin_r =
	        r + r * s *
	                    (-1.0 / 6 +
	                     s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 + s * (-1.0 / 39916800 +
	                                                                                  s * (1.0 / 6227020800.0))))));
	double cos_r =
	        1 + s * (-0.5 + s * (1.0 / 24 +
	                             s * (-1.0 / 720 + s * (1.0 / 40320 +
	                                                    s * (-1.0 / 3628800 + s * (1.0 / 479001600 +
	                                                                               s * (-1.0 / 87178291200.0)))))));
	int64_t quadrant; /* k in its low bits */
	memcpy(&quadrant, &shifted, sizeof quadrant);
	double a = quadrant & 1 ? cos_r : sin_r, b = quadrant & 1 ? sin_r : cos_r;
	*sine = quadrant & 2 ? -a : a;
	*cosine = (quadrant + 1) & 2 ? -b : b;
}

#endif
