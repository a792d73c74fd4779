/*
 * vec - sixteen float lanes on any instruction set.
 *
 * `vf` is one register of KN_LANES floats and `v16` is sixteen floats in
 * KN_PARTS registers.  All code above this file is written in terms of the
 * two, so that lane j means the same element everywhere and every
 * instruction set computes the same bits.  What is here rounds as IEEE 754
 * says (add, multiply, divide, square root, fma) or does not round at all.
 *
 * The ops are macros over the parts (V16_EACH) rather than loops, because
 * gcc keeps a struct in registers only when its members are named.
 */
#ifndef KERNELS_CPU_VEC_H
#define KERNELS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#define KN_IS_avx512 4
#define KN_IS_avx2 3
#define KN_IS_neon 2
#define KN_IS_plain 1
#define KN_IS_CAT(isa) KN_IS_##isa
#define KN_IS(isa) KN_IS_CAT(isa)

#if KN_IS(KN_ISA) == KN_IS_avx512
#include <immintrin.h>
#define KN_LANES 16
#elif KN_IS(KN_ISA) == KN_IS_avx2
#include <immintrin.h>
#define KN_LANES 8
#elif KN_IS(KN_ISA) == KN_IS_neon
#include <arm_neon.h>
#define KN_LANES 4
#else
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#define KN_LANES 4
#endif
#define KN_PARTS (16 / KN_LANES)

typedef float vf __attribute__((vector_size(4 * KN_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * KN_LANES)));
typedef float vf_any __attribute__((vector_size(4 * KN_LANES), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef float v4_any __attribute__((vector_size(16), aligned(4), may_alias));

#define KN_INLINE static inline __attribute__((always_inline, unused))

/* four of the eight floats of a and b, by number: clang's spelling, which gcc has since 12, and that of older gcc */
#if defined(__clang__)
#define V4_PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define V4_PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, (v4i){i, j, k, l})
#endif

KN_INLINE vf vf_set(float a)
{
	return a - (vf){0};
}

KN_INLINE vf vf_load(const float *p)
{
	return *(const vf_any *)p;
}

KN_INLINE void vf_store(float *p, vf a)
{
	*(vf_any *)p = a;
}

/* mask lanes are 0 or -1, as comparisons of vectors give them */
KN_INLINE vf vf_select(vi mask, vf yes, vf no)
{
	return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

#if KN_IS(KN_ISA) == KN_IS_plain && defined(__SSE2__) && !defined(__FP_FAST_FMAF)
typedef int64_t vl2 __attribute__((vector_size(16)));

/*
 * fma without the instruction: the product of two floats is exact in double;
 * the sum is rounded to odd (the last bit set when inexact), after which the
 * second rounding, to float, is the only one that counts (Boldo and Melquiond,
 * Emulation of a FMA and correctly rounded sums, 2008).  NaN and infinity make
 * `error` NaN, which both comparisons leave alone.
 *
 * Intrinsics convert, because gcc 12.2 at -O2 loses a rounding when it builds
 * the same from vector elements (check finds it in exp).
 */
KN_INLINE __m128d fma_to_odd(__m128d a, __m128d b, __m128d c)
{
	__m128d product = a * b, sum = product + c, back = sum - product;
	__m128d error = (product - (sum - back)) + (c - back);
	vl2 up = (error > 0) ^ (sum < 0), inexact = (error > 0) | (error < 0);
	vl2 even = ((vl2)sum & 1) - 1;
	return (__m128d)((vl2)sum + (inexact & even & (-1 - 2 * up)));
}

KN_INLINE vf vf_fma(vf a, vf b, vf c)
{
	__m128d lo = fma_to_odd(_mm_cvtps_pd((__m128)a), _mm_cvtps_pd((__m128)b), _mm_cvtps_pd((__m128)c));
	__m128 a2 = _mm_movehl_ps((__m128)a, (__m128)a), b2 = _mm_movehl_ps((__m128)b, (__m128)b);
	__m128d hi = fma_to_odd(_mm_cvtps_pd(a2), _mm_cvtps_pd(b2), _mm_cvtps_pd(_mm_movehl_ps((__m128)c, (__m128)c)));
	return (vf)_mm_movelh_ps(_mm_cvtpd_ps(lo), _mm_cvtpd_ps(hi));
}
#else
KN_INLINE vf vf_fma(vf a, vf b, vf c)
{
#if KN_IS(KN_ISA) == KN_IS_avx512
	return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif KN_IS(KN_ISA) == KN_IS_avx2
	return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif KN_IS(KN_ISA) == KN_IS_neon
	return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
	return (vf){__builtin_fmaf(a[0], b[0], c[0]), __builtin_fmaf(a[1], b[1], c[1]),
	            __builtin_fmaf(a[2], b[2], c[2]), __builtin_fmaf(a[3], b[3], c[3])};
#endif
}
#endif

/* a > b ? a : b in each lane, so b where a is NaN */
KN_INLINE vf vf_max(vf a, vf b)
{
#if KN_IS(KN_ISA) == KN_IS_avx512
	return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif KN_IS(KN_ISA) == KN_IS_avx2
	return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
	return vf_select(a > b, a, b);
#endif
}

KN_INLINE vf vf_sqrt(vf a)
{
#if KN_IS(KN_ISA) == KN_IS_avx512
	return (vf)_mm512_sqrt_ps((__m512)a);
#elif KN_IS(KN_ISA) == KN_IS_avx2
	return (vf)_mm256_sqrt_ps((__m256)a);
#elif KN_IS(KN_ISA) == KN_IS_neon
	return (vf)vsqrtq_f32((float32x4_t)a);
#else
	return (vf){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
#endif
}

KN_INLINE float half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff, bits;
	if (rest >= 0x7c00)
		bits = sign | 0x7f800000 | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000 : 0);
	else if (rest >= 0x400)
		bits = sign | ((rest << 13) + (112u << 23));
	else {
		float small = (float)rest * 0x1p-24f;
		memcpy(&bits, &small, sizeof bits);
		bits |= sign;
	}
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

/* KN_LANES float16 numbers, exactly */
KN_INLINE vf vf_from_half(const uint16_t *p)
{
#if KN_IS(KN_ISA) == KN_IS_avx512
	return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif KN_IS(KN_ISA) == KN_IS_avx2
	return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#elif KN_IS(KN_ISA) == KN_IS_neon
	return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
	return (vf){half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
#endif
}

/* KN_LANES bfloat16 numbers, exactly */
KN_INLINE vf vf_from_brain(const uint16_t *p)
{
#if KN_IS(KN_ISA) == KN_IS_avx512
	return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#elif KN_IS(KN_ISA) == KN_IS_avx2
	return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
#elif KN_IS(KN_ISA) == KN_IS_neon
	return (vf)vshll_n_u16(vld1_u16(p), 16);
#else
	uint32_t bits[4] = {(uint32_t)p[0] << 16, (uint32_t)p[1] << 16, (uint32_t)p[2] << 16, (uint32_t)p[3] << 16};
	vf f;
	memcpy(&f, bits, sizeof f);
	return f;
#endif
}

typedef struct {
	vf part[KN_PARTS];
} v16;

#if KN_PARTS == 1
#define V16_EACH(STATEMENT) STATEMENT(0)
#elif KN_PARTS == 2
#define V16_EACH(STATEMENT) STATEMENT(0) STATEMENT(1)
#else
#define V16_EACH(STATEMENT) STATEMENT(0) STATEMENT(1) STATEMENT(2) STATEMENT(3)
#endif

/* v16_NAME(a, ...) applies EXPR, in the i-th parts, to every part */
#define V16_DEFINE(NAME, ARGS, EXPR)                                                                                   \
	KN_INLINE v16 NAME ARGS                                                                                        \
	{                                                                                                              \
		v16 r;                                                                                                 \
		V16_EACH(EXPR)                                                                                         \
		return r;                                                                                              \
	}

#define V16_SET(i) r.part[i] = vf_set(a);
#define V16_LOAD(i) r.part[i] = vf_load(p + i * KN_LANES);
#define V16_FROM_HALF(i) r.part[i] = vf_from_half(p + i * KN_LANES);
#define V16_FROM_BRAIN(i) r.part[i] = vf_from_brain(p + i * KN_LANES);
#define V16_ADD(i) r.part[i] = a.part[i] + b.part[i];
#define V16_SUB(i) r.part[i] = a.part[i] - b.part[i];
#define V16_MUL(i) r.part[i] = a.part[i] * b.part[i];
#define V16_DIV(i) r.part[i] = a.part[i] / b.part[i];
#define V16_FMA(i) r.part[i] = vf_fma(a.part[i], b.part[i], c.part[i]);
#define V16_MAX(i) r.part[i] = vf_max(a.part[i], b.part[i]);
#define V16_SQRT(i) r.part[i] = vf_sqrt(a.part[i]);
#define V16_POSITIVE(i) r.part[i] = vf_select(a.part[i] > 0, b.part[i], vf_set(0));

V16_DEFINE(v16_set, (float a), V16_SET)
V16_DEFINE(v16_load, (const float *p), V16_LOAD)
V16_DEFINE(v16_from_half, (const uint16_t *p), V16_FROM_HALF)
V16_DEFINE(v16_from_brain, (const uint16_t *p), V16_FROM_BRAIN)
V16_DEFINE(v16_add, (v16 a, v16 b), V16_ADD)
V16_DEFINE(v16_sub, (v16 a, v16 b), V16_SUB)
V16_DEFINE(v16_mul, (v16 a, v16 b), V16_MUL)
V16_DEFINE(v16_div, (v16 a, v16 b), V16_DIV)
V16_DEFINE(v16_fma, (v16 a, v16 b, v16 c), V16_FMA)
V16_DEFINE(v16_max, (v16 a, v16 b), V16_MAX)
V16_DEFINE(v16_sqrt, (v16 a), V16_SQRT)
V16_DEFINE(v16_if_positive, (v16 a, v16 b), V16_POSITIVE)

KN_INLINE void v16_store(float *p, v16 a)
{
#define V16_STORE(i) vf_store(p + i * KN_LANES, a.part[i]);
	V16_EACH(V16_STORE)
}

/* the first n lanes (0 < n < 16), `fill` in the rest */
KN_INLINE v16 v16_load_tail(const float *p, int64_t n, float fill)
{
	float lane[16];
	v16_store(lane, v16_set(fill));
	memcpy(lane, p, (size_t)n * sizeof *lane);
	return v16_load(lane);
}

KN_INLINE void v16_store_tail(float *p, v16 a, int64_t n)
{
	float lane[16];
	v16_store(lane, a);
	memcpy(p, lane, (size_t)n * sizeof *lane);
}

/* the tree of order 1: s[j] += s[j+8], then +4, +2, +1 */
KN_INLINE float tree_sum(const float *s)
{
	v4 a = (*(const v4_any *)s + *(const v4_any *)(s + 8)) + (*(const v4_any *)(s + 4) + *(const v4_any *)(s + 12));
	return (a[0] + a[2]) + (a[1] + a[3]);
}

KN_INLINE float v16_sum(v16 a)
{
	float lane[16];
	v16_store(lane, a);
	return tree_sum(lane);
}

/* four trees at once: the sums of s0, s1, s2, s3 */
KN_INLINE v4 tree_sum4(const float *s0, const float *s1, const float *s2, const float *s3)
{
#define TREE_HEAD(s)                                                                                                   \
	((*(const v4_any *)(s) + *(const v4_any *)((s) + 8)) +                                                         \
	 (*(const v4_any *)((s) + 4) + *(const v4_any *)((s) + 12)))
	v4 a = TREE_HEAD(s0), b = TREE_HEAD(s1), c = TREE_HEAD(s2), d = TREE_HEAD(s3);
	v4 ab = V4_PICK(a, b, 0, 1, 4, 5) + V4_PICK(a, b, 2, 3, 6, 7);
	v4 cd = V4_PICK(c, d, 0, 1, 4, 5) + V4_PICK(c, d, 2, 3, 6, 7);
	return V4_PICK(ab, cd, 0, 2, 4, 6) + V4_PICK(ab, cd, 1, 3, 5, 7);
}

KN_INLINE float v16_largest(v16 a)
{
	float lane[16];
	v16_store(lane, a);
	float best = lane[0];
	for (int j = 1; j < 16; j++)
		best = lane[j] > best ? lane[j] : best;
	return best;
}

#endif
