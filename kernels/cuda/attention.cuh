/*
 * attention - what the forward and the backward pass share.
 *
 * The query rows of one sequence and one key/value head are walked as virtual
 * rows: row r is token r / (H/G), head r % (H/G) of the group, so that a tile
 * of keys in shared memory serves all heads of the group.  A warp owns a row
 * and its lanes are the KN_KEY_TILE keys of a tile: a score is one fma chain
 * over D (order 3), done SLICE floats of D at a time so that any D fits.  Sums
 * stay in registers, float32, until they are done; so a pass makes COLUMNS
 * columns of them, and heads that are larger take several passes.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/math.cuh"

#define KEYS KN_KEY_TILE
#define WARPS (CU_THREADS / CU_WARP)
#define SLICE 64
#define COLUMNS 128 /* of o or dq in a pass; of dk and dv KEY_COLUMNS */
#define KEY_COLUMNS 128
#define OWN (SLICE / CU_WARP) /* columns of a slice that a lane has: lane, lane + 32 */
#define PITCH (SLICE + 1)     /* lanes that read one column of different rows meet different banks */

static_assert(KEYS == CU_WARP, "a lane is a key");

/* kn_attn without the host's array of sequences, which is on the device here, as are their pages. */
struct shape {
	int64_t H, G, D, window, q_stride, kv_stride, n_seq;
	float scale, none; /* none: launches are compared byte for byte, padding too */
	const struct kn_seq *seq;
};

/* One sequence and one key/value head. */
struct span {
	struct kn_seq s;
	int64_t group, g; /* H / G, and which key/value head */
	int64_t rows;     /* virtual */
};

static __device__ inline struct span span_of(const struct shape &a, int64_t seq, int64_t g)
{
	struct span p = {a.seq[seq], a.H / a.G, g, 0};
	p.rows = p.s.n_q * p.group;
	return p;
}

/* position of a virtual row, and the first position it sees */
static __device__ inline int64_t row_position(const struct span &p, int64_t row)
{
	return p.s.pos + row / p.group;
}

static __device__ inline int64_t row_first(const struct shape &a, const struct span &p, int64_t row)
{
	int64_t at = row_position(p, row);
	return a.window > 0 && at >= a.window ? at - a.window + 1 : 0;
}

/* index of a virtual row in lse; times D its offset in o */
static __device__ inline int64_t row_index(const struct shape &a, const struct span &p, int64_t row)
{
	return (p.s.q_row + row / p.group) * a.H + p.g * p.group + row % p.group;
}

static __device__ inline int64_t q_offset(const struct shape &a, const struct span &p, int64_t row)
{
	return (p.s.q_row + row / p.group) * a.q_stride + (p.g * p.group + row % p.group) * a.D;
}

/* offset of position `at` in k and v */
static __device__ inline int64_t kv_offset(const struct shape &a, const struct span &p, int64_t at)
{
	return kn_key_row(&p.s, at) * a.kv_stride + p.g * a.D;
}

/* Which keys of the tile at t0 a row sees: lo..hi-1; none if lo >= hi. */
static __device__ inline void row_range(const struct shape &a, const struct span &p, int64_t row, int64_t t0, int *lo,
                                        int *hi)
{
	int64_t first = row_first(a, p, row) - t0, end = row_position(p, row) + 1 - t0;
	*lo = first < 0 ? 0 : first > KEYS ? KEYS : (int)first;
	*hi = end < 0 ? 0 : end > KEYS ? KEYS : (int)end;
}

/* to[j][0..SLICE) = x of position t0 + j from column d0 on, zeros beyond n positions and D columns.  By all threads. */
static __device__ inline void keys_slice(float (*to)[PITCH], const struct shape &a, const struct span &p,
                                         const cu_real *x, int64_t t0, int64_t n, int64_t d0)
{
	int64_t d = d0 + threadIdx.x % SLICE;
	for (int j = threadIdx.x / SLICE; j < KEYS; j += CU_THREADS / SLICE)
		to[j][threadIdx.x % SLICE] = j < n && d < a.D ? (float)x[kv_offset(a, p, t0 + j) + d] : 0;
}

/* The same for `count` virtual rows from row0 on, of q (`dense` 0) or of an array like o (1). */
static __device__ inline void rows_slice(float (*to)[PITCH], int count, const struct shape &a, const struct span &p,
                                         const cu_real *x, int dense, int64_t row0, int64_t d0)
{
	int64_t d = d0 + threadIdx.x % SLICE;
	for (int i = threadIdx.x / SLICE; i < count; i += CU_THREADS / SLICE) {
		int64_t row = row0 + i;
		float value = 0;
		if (row < p.rows && d < a.D)
			value = x[(dense ? row_index(a, p, row) * a.D : q_offset(a, p, row)) + d];
		to[i][threadIdx.x % SLICE] = value;
	}
}

/* The chains of RW rows of a warp, and this lane's key, over the n columns of a slice. */
template <int RW> static __device__ inline void chains(float *sum, const float (*rows)[PITCH], const float *key, int n)
{
	for (int d = 0; d < n; d++) {
		float k = key[d];
#pragma unroll
		for (int i = 0; i < RW; i++)
			sum[i] = fmaf(rows[i][d], k, sum[i]);
	}
}

/* Stages the sequences and their pages; 0 after a sticky error. */
int cu_shape_of(struct cuda *cu, struct shape *to, const struct kn_attn *a);

/* ---- attention_mma*.cu ---- */

/*
 * 1 if the tensor-core kernels take this: D of 32..256 in steps of 16, strides in steps of 8 numbers (a row begins at a
 * multiple of 16 bytes, as the arrays must), scale above 0.  The backward pass takes no shared prefix besides, and D
 * above 96 only where a block can have more than 99 KiB of shared memory (compute capability 8.0, 9.0, 10.0).
 */
int cu_attention_mma_takes(const struct kn_attn *a);
int cu_attention_mma_takes_grad(const struct cuda *cu, const struct kn_attn *a);

/*
 * The ops of kernels.h; a kn_real is bf16.  Only where the functions above say 1.
 * Where cu->any_order, decoding of few sequences splits the context among blocks (cu->lt_workspace is used).
 */
void cu_attention_mma_fwd(void *ctx, kn_real *o, float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
                          const struct kn_attn *a);
void cu_attention_mma_bwd(void *ctx, kn_real *dq, kn_real *dk, kn_real *dv, const kn_real *do_, const kn_real *o,
                          const float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
                          const struct kn_attn *a, float *scratch);

#endif
