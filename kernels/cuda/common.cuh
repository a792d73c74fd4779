/*
 * common - what the files of this directory share: the context, launches,
 * errors, and the way of host arrays to the device.
 *
 * All work of a backend goes to one stream, in the order of the calls.  An op
 * returns as soon as its kernels are queued; get, sync, sum_squares and
 * count_nonfinite wait.  The first error stays: later ops do nothing and sync
 * names it.
 */
#ifndef KERNELS_CUDA_COMMON_CUH
#define KERNELS_CUDA_COMMON_CUH

#include "kernels/kernels.h"

#include <cuda_runtime.h>
#include <cublasLt.h>

#define CU_WARP 32
#define CU_THREADS 256               /* of a block, where nothing else decides */
#define CU_SEGMENTS 4                /* of the staging ring */
#define CU_SEGMENT ((size_t)4 << 20) /* bytes of one, at first */
#define CU_LT_WORKSPACE ((size_t)32 << 20)
#define CU_CONVERT ((size_t)64 << 20)   /* bytes of float32 that a 16-bit matrix is widened into, rows at a time */
#define CU_SUM_BLOCK 4096               /* elements of one block of sum_squares */
#define CU_SUM_SLOTS ((int64_t)1 << 16) /* blocks summed by one launch */
#define CU_PLANS 256                    /* shapes of products whose algorithm is remembered */

struct cu_plan; /* matmul.cu */

/*
 * Pinned memory with a mirror on the device, in segments that are used in
 * turn.  A segment is written again only after the copies out of it are done.
 */
struct cu_ring {
	char *host, *device;
	size_t segment, used; /* bytes of one, bytes given out of the current one */
	int current;
	cudaEvent_t done[CU_SEGMENTS];
};

struct cuda {
	int device, processors;
	cudaStream_t stream;
	struct cu_ring ring;
	cublasLtHandle_t lt;
	void *lt_workspace;
	float *convert;
	struct cu_plan *plans;  /* [CU_PLANS] */
	void *sums, *sums_host; /* CU_SUM_SLOTS doubles on the device and pinned */
	int failed;
	char why[192];
};

/* Keeps the first error.  1 if there is one, now or from before. */
int cu_failed(struct cuda *cu, cudaError_t error, const char *what);
int cu_lt_failed(struct cuda *cu, cublasStatus_t status, const char *what);

/* At the beginning of an op: makes the device current for this thread; 0 if an earlier error stops everything. */
int cu_enter(struct cuda *cu);

/*
 * Room for `bytes` in pinned memory, until the segment is used again; NULL when the memory cannot be had (a sticky
 * error).  A request beyond a segment makes the ring larger, once: after the first batch of a size no op allocates.
 */
void *cu_ring_take(struct cuda *cu, size_t bytes);
/* Where the first `bytes` of what cu_ring_take gave are on the device, for kernels queued from now on. */
const void *cu_ring_send(struct cuda *cu, const void *taken, size_t bytes);
/* A host array on the device; NULL for NULL.  Sets *ok to 0 if it cannot be done. */
const void *cu_stage(struct cuda *cu, const void *host, size_t bytes, int *ok);

#define CU_LAUNCH(cu, kernel, grid, block, ...)                                                                        \
	do {                                                                                                           \
		kernel<<<grid, block, 0, (cu)->stream>>>(__VA_ARGS__);                                                 \
		cu_failed(cu, cudaGetLastError(), #kernel);                                                            \
	} while (0)

static inline int64_t cu_ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static inline int64_t cu_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Blocks for a loop over n elements in steps of the whole grid. */
static inline unsigned cu_grid(const struct cuda *cu, int64_t n)
{
	return (unsigned)cu_min(cu_ceil_div(n, CU_THREADS), (int64_t)cu->processors * 16);
}

#define CU_EACH(i, n)                                                                                                  \
	int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;                                                    \
	i < (n);                                                                                                       \
	i += (int64_t)gridDim.x * blockDim.x

/* The tree of order 1 over 16 neighbouring lanes; the sum is in the first of each sixteen. */
template <typename T> static __device__ inline T cu_tree_sum(T s)
{
	for (int width = 8; width; width /= 2)
		s += __shfl_down_sync(0xffffffffu, s, width, 16);
	return s;
}

static __device__ inline float cu_tree_sum_all(float s)
{
	return __shfl_sync(0xffffffffu, cu_tree_sum(s), 0, 16);
}

/* the ops, by file */
void cu_matmul_fwd(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N);
void cu_matmul_dx(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add);
void cu_matmul_dw(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I);
int cu_matmul_init(struct cuda *cu);
void cu_matmul_release(struct cuda *cu);

void cu_layernorm_fwd(void *ctx, float *y, float *mean, float *rstd, const float *x, const float *g, const float *b,
                      float eps, int64_t N, int64_t C);
void cu_layernorm_bwd(void *ctx, float *dx, float *dg, float *db, const float *dy, const float *x, const float *mean,
                      const float *rstd, const float *g, int64_t N, int64_t C);
void cu_rmsnorm_fwd(void *ctx, float *y, float *rstd, const float *x, const float *g, float eps, int64_t N, int64_t C);
void cu_rmsnorm_bwd(void *ctx, float *dx, float *dg, const float *dy, const float *x, const float *rstd, const float *g,
                    int64_t N, int64_t C);

void cu_add(void *ctx, float *y, const float *x, int64_t n);
void cu_axpy(void *ctx, float *y, float a, const float *x, int64_t n);
double cu_sum_squares(void *ctx, const float *x, int64_t n);
int64_t cu_count_nonfinite(void *ctx, const float *x, int64_t n);
void cu_to_bf16(void *ctx, uint16_t *y, const float *x, int64_t n);
void cu_from_bf16(void *ctx, float *y, const uint16_t *x, int64_t n);

#endif
