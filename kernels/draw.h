/*
 * draw - what every backend computes of a draw in the same way, to the bit; see `draw` in kernels.h.
 *
 * Weights are whole numbers, so that their sums have no order.  exp is ours (order 5), in double: 1e-15 of the truth.
 */
#ifndef KERNELS_DRAW_H
#define KERNELS_DRAW_H

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#define KN_DRAW_BITS 44 /* of the largest weight, which is 2^44: sums of 2^19 fit */
#define KN_DRAW_ONE ((uint64_t)1 << KN_DRAW_BITS)

/* 2^44 exp(x), x <= 0, to the nearest whole number: Taylor's series after x = k ln 2 + r, |r| <= ln 2 / 2. */
KN_ANYWHERE uint64_t kn_draw_weight(double x)
{
	const double ln2_high = 0x1.62e42fefap-1, ln2_low = 0x1.cf79abc9e3b39p-40, to_integer = 0x1.8p52;
	x = x > -40 ? x : -40; /* under a half already */
	double k = x * 0x1.71547652b82fep0 + to_integer;
	uint64_t shift, whole;
	memcpy(&shift, &k, sizeof shift);
	k -= to_integer;
	double r = (x - k * ln2_high) - k * ln2_low, y = 1 / 6227020800.0;
	y = y * r + 1 / 479001600.0;
	y = y * r + 1 / 39916800.0;
	y = y * r + 1 / 3628800.0;
	y = y * r + 1 / 362880.0;
	y = y * r + 1 / 40320.0;
	y = y * r + 1 / 5040.0;
	y = y * r + 1 / 720.0;
	y = y * r + 1 / 120.0;
	y = y * r + 1 / 24.0;
	y = y * r + 1 / 6.0;
	y = y * r + 1 / 2.0;
	y = y * r + 1;
	y = y * r + 1;
	uint64_t power = (shift + 1023 + KN_DRAW_BITS) << 52;
	double scale;
	memcpy(&scale, &power, sizeof scale);
	y = y * scale + 0x1p52;
	memcpy(&whole, &y, sizeof whole);
	return whole & (((uint64_t)1 << 52) - 1);
}

/* The share of `sum` that u in (0,1) points at, rounded down: the token is the first whose running sum is above. */
KN_ANYWHERE uint64_t kn_draw_goal(double u, uint64_t sum)
{
	uint64_t part = (uint64_t)(u * 0x1p64);
#ifdef __CUDA_ARCH__
	return __umul64hi(part, sum);
#else
	return (uint64_t)((unsigned __int128)part * sum >> 64);
#endif
}

/* The sum that top-p has to reach; at least 1. */
KN_ANYWHERE uint64_t kn_draw_mass(double top_p, uint64_t sum)
{
	double mass = ceil(top_p * (double)sum);
	return mass < 1 ? 1 : mass > (double)sum ? sum : (uint64_t)mass;
}

/* A token is kept by min-p when its weight is at least this. */
KN_ANYWHERE uint64_t kn_draw_least(double min_p)
{
	return min_p > 0 ? (uint64_t)ceil(min_p * (double)KN_DRAW_ONE) : 0;
}

#endif
