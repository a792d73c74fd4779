/*
 * attention_mma_rows - the forward pass of attention on tensor cores: what its kernels for many and for few rows share.
 *
 * Both keep scores as the sums of products of 16 rows and a tile of keys, and turn them into weights by the same
 * operations in the same lanes, so that a row has the same bits from either.
 */
#ifndef KERNELS_CUDA_ATTENTION_MMA_ROWS_CUH
#define KERNELS_CUDA_ATTENTION_MMA_ROWS_CUH

#include "kernels/cuda/attention_mma.cuh"

#include <math.h>

struct forward {
	bf16 *o;
	float *lse;
	const bf16 *q, *k, *v;
	int blocks;   /* of rows, of the longest sequence */
	int splits;   /* of the context, at most; 1: none */
	int most;     /* rows of a sequence and key/value head */
	float *parts; /* [item][split][most][D + 2]: sums of values, maximum, sum of weights */
};

/* What the two rows of a lane (g and g + 8 of a tile of 16) have seen; `sum` is of this lane's columns. */
struct state {
	float max[2], sum[2];
};

/* Scores become weights, and sums of values o are scaled to the new maximum. */
template <int SCORES, int VALUES>
static __device__ inline void weigh(struct state *w, float (*s)[4], float (*o)[4], float scale)
{
	float by[2];
#pragma unroll
	for (int h = 0; h < 2; h++) {
		float max = w->max[h], sum = 0;
#pragma unroll
		for (int j = 0; j < SCORES; j++)
			max = fmaxf(max, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
		max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
		max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
		float base = max > -INFINITY ? max * scale : 0;
#pragma unroll
		for (int j = 0; j < SCORES; j++) {
			s[j][2 * h] = cu_exp2(fmaf(s[j][2 * h], scale, -base));
			s[j][2 * h + 1] = cu_exp2(fmaf(s[j][2 * h + 1], scale, -base));
			sum += s[j][2 * h] + s[j][2 * h + 1];
		}
		by[h] = max > w->max[h] ? cu_exp2((w->max[h] - max) * scale) : 1;
		w->sum[h] = w->sum[h] * by[h] + sum;
		w->max[h] = max;
	}
	if (__any_sync(0xffffffffu, by[0] != 1 || by[1] != 1)) {
#pragma unroll
		for (int j = 0; j < VALUES; j++)
#pragma unroll
			for (int i = 0; i < 4; i++)
				o[j][i] *= by[i / 2];
	}
}

static __device__ inline float row_sum(float sum)
{
	sum += __shfl_xor_sync(0xffffffffu, sum, 1);
	return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

/* Takes out of the scores of 16 rows from `row` on the keys that they do not see. */
template <int SCORES>
static __device__ inline void hide(float (*s)[4], const struct shape &a, const struct part &p, int row, int t0)
{
	int column = t0 + threadIdx.x % 4 * 2;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		int last = position_of(p, row + (int)threadIdx.x % CU_WARP / 4 + 8 * h);
		int first = first_seen(a, last);
#pragma unroll
		for (int j = 0; j < SCORES; j++)
#pragma unroll
			for (int i = 2 * h; i < 2 * h + 2; i++) {
				int key = column + 8 * j + i % 2;
				s[j][i] = key >= first && key <= last ? s[j][i] : -INFINITY;
			}
	}
}

/* The kernel for few rows, FEW at most for any sequence and key/value head; f.splits and f.blocks are its own. */
#define FEW 16
void cu_attention_few(struct cuda *cu, const struct kn_attn *a, struct forward f, const struct shape &shape);

#endif
