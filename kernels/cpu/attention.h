/*
 * attention - what the forward and the backward pass share.
 *
 * The query rows of one sequence and one key/value head are walked as virtual
 * rows: row r is token r / (H/G), head r % (H/G) of the group, so that a tile
 * of keys serves all heads of the group.  A tile of KN_KEY_TILE keys is kept
 * transposed, [D][KN_KEY_TILE]: lanes are keys, and a score is one fma chain
 * over D (order 3).
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

#define KEYS KN_KEY_TILE
#define ATT_ROWS 32 /* virtual rows of one work item (forward) or one tile (backward) */
#define WIDE 4      /* sixteens of D summed side by side */

_Static_assert(KEYS == 32, "a row of scores is two sixteens");

/* One sequence and one key/value head. */
struct span {
	const struct kn_attn *a;
	const struct kn_seq *s;
	int64_t group; /* H / G */
	int64_t g;     /* which key/value head */
	int64_t width; /* D rounded up to a multiple of 16: the row stride of tiles in scratch */
};

KN_INLINE struct span span_of(const struct kn_attn *a, int64_t seq, int64_t g)
{
	return (struct span){a, a->seq + seq, a->H / a->G, g, ceil_div(a->D, 16) * 16};
}

KN_INLINE int64_t span_rows(const struct span *p)
{
	return p->s->n_q * p->group;
}

/* position of a virtual row, and the first position it sees */
KN_INLINE int64_t row_position(const struct span *p, int64_t row)
{
	return p->s->pos + row / p->group;
}

KN_INLINE int64_t row_first(const struct span *p, int64_t row)
{
	int64_t at = row_position(p, row);
	return p->a->window > 0 && at >= p->a->window ? at - p->a->window + 1 : 0;
}

/* offset of a virtual row in q, and in o (whose rows are H * D) */
KN_INLINE int64_t q_offset(const struct span *p, int64_t row)
{
	return (p->s->q_row + row / p->group) * p->a->q_stride + (p->g * p->group + row % p->group) * p->a->D;
}

KN_INLINE int64_t o_offset(const struct span *p, int64_t row)
{
	return ((p->s->q_row + row / p->group) * p->a->H + p->g * p->group + row % p->group) * p->a->D;
}

KN_INLINE int64_t lse_offset(const struct span *p, int64_t row)
{
	return (p->s->q_row + row / p->group) * p->a->H + p->g * p->group + row % p->group;
}

/* offset of position `at` in k and v */
KN_INLINE int64_t kv_offset(const struct span *p, int64_t at)
{
	return kn_key_row(p->s, at) * p->a->kv_stride + p->g * p->a->D;
}

/* A row of D floats into one of `width`, zero-filled. */
KN_INLINE void copy_row(float *to, const float *from, int64_t D, int64_t width)
{
	memcpy(to, from, (size_t)D * sizeof *to);
	memset(to + D, 0, (size_t)(width - D) * sizeof *to);
}

/* to[D][KEYS] from the n rows of positions t0.. of x, zeros for the others. */
KN_INLINE void transpose_keys(float *to, const struct span *p, const float *x, int64_t t0, int64_t n)
{
	static const float none[KN_MAX_HEAD];
	int64_t D = p->a->D;
	for (int64_t j = 0; j < KEYS; j += 4) {
		const float *row[4];
		for (int64_t i = 0; i < 4; i++)
			row[i] = j + i < n ? x + kv_offset(p, t0 + j + i) : none;
		int64_t d = 0;
		for (; d + 4 <= D; d += 4) {
			v4 a = *(const v4_any *)(row[0] + d), b = *(const v4_any *)(row[1] + d);
			v4 c = *(const v4_any *)(row[2] + d), e = *(const v4_any *)(row[3] + d);
			v4 ab0 = V4_PICK(a, b, 0, 4, 1, 5), ab1 = V4_PICK(a, b, 2, 6, 3, 7);
			v4 ce0 = V4_PICK(c, e, 0, 4, 1, 5), ce1 = V4_PICK(c, e, 2, 6, 3, 7);
			float *out = to + d * KEYS + j;
			*(v4_any *)out = V4_PICK(ab0, ce0, 0, 1, 4, 5);
			*(v4_any *)(out + KEYS) = V4_PICK(ab0, ce0, 2, 3, 6, 7);
			*(v4_any *)(out + 2 * KEYS) = V4_PICK(ab1, ce1, 0, 1, 4, 5);
			*(v4_any *)(out + 3 * KEYS) = V4_PICK(ab1, ce1, 2, 3, 6, 7);
		}
		for (; d < D; d++)
			for (int64_t i = 0; i < 4; i++)
				to[d * KEYS + j + i] = row[i][d];
	}
}

/* out0[KEYS], out1[KEYS]: two rows of D floats times the transposed tile; out1 may be out0 and x1 x0. */
KN_INLINE void score_rows(float *out0, float *out1, const float *x0, const float *x1, const float *tile, int64_t D)
{
	v16 a0 = v16_set(0), a1 = a0, b0 = a0, b1 = a0;
	for (int64_t d = 0; d < D; d++) {
		v16 k0 = v16_load(tile + d * KEYS), k1 = v16_load(tile + d * KEYS + 16);
		v16 a = v16_set(x0[d]), b = v16_set(x1[d]);
		a0 = v16_fma(a, k0, a0);
		a1 = v16_fma(a, k1, a1);
		b0 = v16_fma(b, k0, b0);
		b1 = v16_fma(b, k1, b1);
	}
	v16_store(out0, a0);
	v16_store(out0 + 16, a1);
	v16_store(out1, b0);
	v16_store(out1 + 16, b1);
}

/* acc[16 n] = acc * by + sum over i < count, in rising order, of c[i * c_stride] rows[i * stride ..]: chains of fma */
KN_INLINE void weighted_part(float *acc, float by, const float *c, int64_t c_stride, const float *rows, int64_t stride,
                             int64_t count, int n)
{
	v16 sum[WIDE];
#pragma GCC unroll 4
	for (int k = 0; k < n; k++)
		sum[k] = v16_mul(v16_load(acc + 16 * k), v16_set(by));
	for (int64_t i = 0; i < count; i++, rows += stride) {
		v16 w = v16_set(c[i * c_stride]);
#pragma GCC unroll 4
		for (int k = 0; k < n; k++)
			sum[k] = v16_fma(w, v16_load(rows + 16 * k), sum[k]);
	}
#pragma GCC unroll 4
	for (int k = 0; k < n; k++)
		v16_store(acc + 16 * k, sum[k]);
}

/* the same over `width` floats, a multiple of 16 */
KN_INLINE void weighted_rows(float *acc, float by, const float *c, int64_t c_stride, const float *rows, int64_t stride,
                             int64_t count, int64_t width)
{
	int64_t d = 0;
	for (; d + 16 * WIDE <= width; d += 16 * WIDE)
		weighted_part(acc + d, by, c, c_stride, rows + d, stride, count, WIDE);
	for (; d < width; d += 16)
		weighted_part(acc + d, by, c, c_stride, rows + d, stride, count, 1);
}

#endif
