/*
 * attention_mma_grad - the backward pass of attention on tensor cores: what its two kernels share; see
 * attention_mma.cuh.
 *
 * With p = exp(s - lse), delta = do . o and ds = p (do . v - delta):
 *     dv += p^T do;  dk += scale ds^T q;  dq += scale ds k.
 * Nothing is added by two blocks: one kernel owns rows and walks keys (dq), another owns keys and walks rows (dk, dv).
 * That computes scores twice, seven products where five would do, and needs no atomics and no room for partial sums.
 * The second kernel computes scores transposed (keys are rows of the product), so that a warp has p^T and ds^T in
 * registers as the operands that it needs next.
 */
#ifndef KERNELS_CUDA_ATTENTION_MMA_GRAD_CUH
#define KERNELS_CUDA_ATTENTION_MMA_GRAD_CUH

#include "kernels/cuda/attention_mma.cuh"

struct backward {
	bf16 *dq, *dk, *dv;
	float *delta;
	const bf16 *do_, *o, *q, *k, *v;
	const float *lse;
	int most; /* queries times H, of the longest sequence (delta), or tiles of rows or keys */
};

/* What is known of a row: lse in units of log 2, delta, and its position, -1 beyond the last row. */
struct known {
	float lse, delta;
	int at;
};

static __device__ inline struct known known_of(const struct backward &b, const struct shape &a, const struct part &p,
                                               int row)
{
	if (row >= p.rows)
		return {0, 0, -1};
	int64_t at = o_at(a, p, row);
	return {b.lse[at] * LOG2E, b.delta[at], position_of(p, row)};
}

/* The weight of a key, 0 if the row does not see it. */
static __device__ inline float weight_of(const struct shape &a, const struct known &row, int key, float score)
{
	float weight = cu_exp2(fmaf(score, a.scale * LOG2E, -row.lse));
	return key <= row.at && key >= first_seen(a, row.at) ? weight : 0;
}

/* Two neighbours in memory get what is added to them. */
static __device__ inline void add_two(bf16 *to, float low, float high)
{
	uint32_t old = *(const uint32_t *)to;
	*(uint32_t *)to = cu_pack_bf16(bf16_low(old) + low, bf16_high(old) + high);
}

/* dk and dv of sequences with at most `keys` positions; b.delta is there.  Bytes of shared memory that a block needs.
 */
void cu_attention_grad_keys(struct cuda *cu, struct backward b, const struct shape &a, int64_t keys);
int cu_attention_grad_keys_shared(int64_t D);

#endif
