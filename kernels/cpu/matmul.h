/*
 * matmul - what the files of the forward product share.
 *
 * An output is sixteen partial sums over k (order 1).  A register tile holds
 * TILE_N x TILE_O outputs, KN_LANES partial sums of each; it runs over k once
 * per group of lanes, so that AVX2 can hold a tile as square as AVX-512 does.
 * Partial sums rest in memory, [TILE][16], between the runs and between blocks
 * of k.
 */
#ifndef KERNELS_CPU_MATMUL_H
#define KERNELS_CPU_MATMUL_H

#include "kernels/cpu/cpu.h"

#if KN_LANES == 16 || KN_IS(KN_ISA) == KN_IS_neon
#define TILE_N 6
#define TILE_O 4
#else
#define TILE_N 4
#define TILE_O 3
#endif
#define TILE (TILE_N * TILE_O)

/*
 * sums[TILE][16] (first: =, else +=) the products of TILE_N rows of x and TILE_O rows of w, one group of lanes:
 * step s of row r is KN_LANES floats at x[r] + s * x_step.
 */
KN_INLINE void tile_lanes(float *sums, const float *const *x, int64_t x_step, const float *const *w, int64_t w_step,
                          int64_t steps, int first)
{
	vf acc[TILE_N][TILE_O];
#pragma GCC unroll 8
	for (int n = 0; n < TILE_N; n++)
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++)
			acc[n][o] = first ? vf_set(0) : vf_load(sums + (n * TILE_O + o) * 16);
	for (int64_t s = 0; s < steps; s++) {
		vf a[TILE_N];
#pragma GCC unroll 8
		for (int n = 0; n < TILE_N; n++)
			a[n] = vf_load(x[n] + s * x_step);
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++) {
			vf b = vf_load(w[o] + s * w_step);
#pragma GCC unroll 8
			for (int n = 0; n < TILE_N; n++)
				acc[n][o] = vf_fma(a[n], b, acc[n][o]);
		}
	}
#pragma GCC unroll 8
	for (int n = 0; n < TILE_N; n++)
#pragma GCC unroll 8
		for (int o = 0; o < TILE_O; o++)
			vf_store(sums + (n * TILE_O + o) * 16, acc[n][o]);
}

/* out[TILE] = the trees of sums[TILE][16] */
KN_INLINE void tile_trees(float *out, const float *sums)
{
	for (int i = 0; i < TILE; i += 4) {
		const float *s = sums + i * 16;
		*(v4_any *)(out + i) = tree_sum4(s, s + 16, s + 32, s + 48);
	}
}

/* Like forward_block, for several rows of x; returns 0 when a row is too long for its scratch. */
int KN(forward_many)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                     const float *b, int64_t o0, int64_t o1, int64_t N);

#endif
