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
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cublasLt.h>

#include <string.h>

#include <functional>

/*
 * Files of ops on activations are compiled twice: as they stand for the table "cuda", with -DCU_BF16 for "cuda-bf16".
 * CU(name) is a function of one of them; cu_real is what a kn_real is there.  Arithmetic is float32 in both: a bf16
 * number is widened where it is read and rounded to nearest even where it is written.
 */
#ifdef CU_BF16
#define CU(name) cu_##name##_bf16
struct cu_real {
	__nv_bfloat16 x;
	__device__ operator float() const
	{
		return __bfloat162float(x);
	}
	__device__ cu_real &operator=(float y)
	{
		x = __float2bfloat16_rn(y);
		return *this;
	}
	__device__ cu_real &operator+=(float y)
	{
		return *this = (float)*this + y;
	}
};
#else
#define CU(name) cu_##name
typedef float cu_real;
#endif
typedef __nv_bfloat16 cu_bf16;

static inline cu_real *cu_reals(kn_real *p)
{
	return (cu_real *)p;
}

static inline const cu_real *cu_reals(const kn_real *p)
{
	return (const cu_real *)p;
}

#define CU_WARP 32
#define CU_THREADS 256               /* of a block, where nothing else decides */
#define CU_SEGMENTS 4                /* of the staging ring */
#define CU_SEGMENT ((size_t)4 << 20) /* bytes of one, at first */
#define CU_LT_WORKSPACE ((size_t)32 << 20)
#define CU_CONVERT ((size_t)64 << 20)   /* bytes of float32 that a 16-bit matrix is widened into, rows at a time */
#define CU_SUM_BLOCK 4096               /* elements of one block of sum_squares */
#define CU_SUM_SLOTS ((int64_t)1 << 16) /* blocks summed by one launch */
#define CU_PIECES 8                     /* of a matrix that go to a kernel by value */
#define CU_PLANS 256                    /* shapes of products whose algorithm is remembered */

struct cu_plan;  /* matmul_lt.cu */
struct cu_steps; /* graph.cu */

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
	int bf16;      /* the table is "cuda-bf16" */
	int any_order; /* products through cuBLASLt instead of in a fixed order */
	cudaStream_t stream;
	struct cu_ring ring;
	struct cu_steps *steps;
	cublasLtHandle_t lt;
	void *lt_workspace;
	float *convert;
	struct cu_plan *plans;  /* [CU_PLANS] */
	void *sums, *sums_host; /* CU_SUM_SLOTS doubles on the device and pinned */
	size_t own;             /* bytes of the device that the backend has for itself */
	int failed;
	char why[256];
};

/* cudaMalloc for the backend itself, counted in cu->own. */
int cu_take(struct cuda *cu, void **p, size_t bytes, const char *what);

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
/* Where that will be on the device, when it is sent. */
const void *cu_ring_mirror(const struct cuda *cu, const void *taken);
/* Where the first `bytes` of what cu_ring_take gave are on the device, for kernels queued from now on. */
const void *cu_ring_send(struct cuda *cu, const void *taken, size_t bytes);
/* A host array on the device; NULL for NULL.  Sets *ok to 0 if it cannot be done. */
const void *cu_stage(struct cuda *cu, const void *host, size_t bytes, int *ok);

/*
 * Steps (graph.cu).  Between step_begin and step_end calls are kept, not made: what is one is told from others by its
 * bytes, and go makes it.  Whatever does not go through CU_LAUNCH calls cu_step_flush first, which makes them.
 */
int cu_steps_init(struct cuda *cu, int off);
/* RL_CUDA_GRAPHS: "on" (the default), or "off", with which steps are launched call by call.  0 if it is neither. */
int cu_graphs_off(int *off, char *why, size_t why_len);
void cu_steps_release(struct cuda *cu);
int cu_step_now(const struct cuda *cu);
void cu_step_flush(struct cuda *cu);
/* 1: this is the next call of the step before.  Else cu_step_add. */
int cu_step_same(struct cuda *cu, const void *what, size_t bytes);
void cu_step_add(struct cuda *cu, const void *what, size_t bytes, const std::function<void()> &go);
/* Pinned memory that is copied to its mirror at the end of the step; NULL when there is none left. */
void *cu_step_take(struct cuda *cu, size_t bytes);
int cu_step_holds(const struct cuda *cu, const void *taken);
const void *cu_step_mirror(const struct cuda *cu, const void *taken);
/* Where a host array that this step has met already is on the device, or NULL; and that it is there. */
const void *cu_step_find(const struct cuda *cu, const void *host, size_t bytes);
void cu_step_keep(struct cuda *cu, const void *host, size_t bytes, const void *there);

#ifdef CU_EMULATED /* kernels/cuda/emu */
#define CU_QUEUE_AS(name, kernel, grid, block, shared, stream, ...)                                                    \
	emu_launch(name, grid, block, shared, stream, kernel, __VA_ARGS__)
#define CU_DYNAMIC_SHARED(name) char *name = emu_dynamic_shared()
#else
#define CU_QUEUE_AS(name, kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define CU_DYNAMIC_SHARED(name)                                                                                        \
	extern __shared__ __align__(128) char cu_dynamic_shared[];                                                     \
	char *name = cu_dynamic_shared
#endif
#define CU_QUEUE(kernel, grid, block, shared, stream, ...)                                                             \
	CU_QUEUE_AS(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)

#define CU_CALL_BYTES 1024

/* What a launch is: kernel, sizes and arguments, byte for byte. */
struct cu_call {
	size_t n;
	char bytes[CU_CALL_BYTES];
};

template <typename T> static inline void cu_call_put(struct cu_call *c, const T &x)
{
	memcpy(c->bytes + c->n, &x, sizeof x);
	c->n += sizeof x;
}

template <typename T> struct cu_same {
	typedef T type;
};

/* Internal to each file, since types of one name differ between files. */
template <typename... P>
static void cu_launch(struct cuda *cu, const char *name, dim3 grid, dim3 block, size_t shared, void (*kernel)(P...),
                      typename cu_same<P>::type... args)
{
	static_assert(sizeof kernel + 2 * sizeof grid + sizeof shared + (0 + ... + sizeof args) <= CU_CALL_BYTES,
	              "the arguments fit");
	auto go = [=]() {
		CU_QUEUE_AS(name, kernel, grid, block, shared, cu->stream, args...);
		cu_failed(cu, cudaGetLastError(), name);
	};
	if (!cu_step_now(cu)) {
		go();
		return;
	}
	struct cu_call call;
	call.n = 0;
	cu_call_put(&call, kernel);
	cu_call_put(&call, grid);
	cu_call_put(&call, block);
	cu_call_put(&call, shared);
	(cu_call_put(&call, args), ...);
	if (!cu_step_same(cu, call.bytes, call.n))
		cu_step_add(cu, call.bytes, call.n, go);
}

#define CU_LAUNCH(cu, kernel, grid, block, ...) cu_launch(cu, #kernel, grid, block, 0, kernel, __VA_ARGS__)

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

static __device__ inline int64_t cu_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* A weight matrix as kernels take it, a __grid_constant__ parameter.  Pieces are in row order. */
struct cu_piece {
	const void *data;
	int64_t first; /* row */
};
struct cu_weights {
	struct cu_piece piece[CU_PIECES];
	const struct cu_piece *more; /* on the device, when there are more than CU_PIECES; else NULL */
	int n;
	enum kn_dtype dtype;
	int64_t rows, cols;
};

/* 0 after a sticky error. */
int cu_weights_of(struct cuda *cu, struct cu_weights *to, const struct kn_mat *w);

static __device__ inline const void *cu_row(const struct cu_weights &w, int64_t row)
{
	const struct cu_piece *p = w.more ? w.more : w.piece;
	for (int i = 1; i < w.n && row >= p[1].first; i++)
		p++;
	return (const char *)p->data + (row - p->first) * w.cols * (w.dtype == KN_F32 ? 4 : 2);
}

/* Element i of a row, widened exactly. */
static __device__ inline float cu_at(const void *row, enum kn_dtype dtype, int64_t i)
{
	if (dtype == KN_F32)
		return ((const float *)row)[i];
	uint16_t half = ((const uint16_t *)row)[i];
	return dtype == KN_BF16 ? __uint_as_float((uint32_t)half << 16) : __half2float(__ushort_as_half(half));
}

/*
 * Products with rows o0..o1-1 of a matrix; o0 is a multiple of KN_OUT_BLOCK.  Each is queued on the stream; the
 * caller has entered.  ld is the distance between rows, in floats.
 */
/* y[N, o1-o0; ldy] = x[N, I] w[o0..o1-1]^T + b[o0..o1-1] (order 1) */
void cu_forward_rows(struct cuda *cu, float *y, int64_t ldy, const float *x, const struct kn_mat *w, const float *b,
                     int64_t o0, int64_t o1, int64_t N);
/* dx[N, I] = (add: +=) dy[N, o1-o0; ldy] w[o0..o1-1] (order 6) */
void cu_dx_rows(struct cuda *cu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                int64_t o1, int64_t N, int add);
/* dw[O, I] += dy[N, O; ldy]^T x[N, I]; db[O] += column sums; each may be NULL (order 2) */
void cu_dw_rows(struct cuda *cu, float *dw, float *db, const float *dy, int64_t ldy, const float *x, int64_t N,
                int64_t O, int64_t I);
/* The same by cuBLASLt, in its own orders. */
void cu_lt_forward_rows(struct cuda *cu, float *y, int64_t ldy, const float *x, const struct kn_mat *w, const float *b,
                        int64_t o0, int64_t o1, int64_t N);
void cu_lt_dx_rows(struct cuda *cu, float *dx, const float *dy, int64_t ldy, const struct kn_mat *w, int64_t o0,
                   int64_t o1, int64_t N, int add);
void cu_lt_dw(struct cuda *cu, float *dw, const float *dy, int64_t ldy, const float *x, int64_t N, int64_t O,
              int64_t I);
int cu_lt_init(struct cuda *cu);
void cu_lt_release(struct cuda *cu);

/* the ops, by file; fill puts those that are compiled for each type of activations into a table */
void cu_fill(struct kernels *k);
void cu_fill_bf16(struct kernels *k);
void CU(matmul_fwd)(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N);
void CU(matmul_dx)(void *ctx, float *dx, const float *dy, const struct kn_mat *w, int64_t N, int add);
void CU(matmul_dw)(void *ctx, float *dw, float *db, const float *dy, const float *x, int64_t N, int64_t O, int64_t I);

void CU(layernorm_fwd)(void *ctx, float *y, float *mean, float *rstd, const float *x, const float *g, const float *b,
                       float eps, int64_t N, int64_t C);
void CU(layernorm_bwd)(void *ctx, float *dx, float *dg, float *db, const float *dy, const float *x, const float *mean,
                       const float *rstd, const float *g, int64_t N, int64_t C);
void CU(rmsnorm_fwd)(void *ctx, float *y, float *rstd, const float *x, const float *g, float eps, int64_t N, int64_t C);
void CU(rmsnorm_bwd)(void *ctx, float *dx, float *dg, const float *dy, const float *x, const float *rstd,
                     const float *g, int64_t N, int64_t C);

void CU(embed_fwd)(void *ctx, float *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                   const int32_t *pos, int64_t N);
void CU(embed_bwd)(void *ctx, float *dtok, float *dpos, const float *dy, const int32_t *token, const int32_t *pos,
                   int64_t N, int64_t C);

void CU(rope)(void *ctx, float *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads, int64_t D,
              int64_t stride, int dir);

void CU(attention_fwd)(void *ctx, float *o, float *lse, const float *q, const float *k, const float *v,
                       const struct kn_attn *a);
void CU(attention_bwd)(void *ctx, float *dq, float *dk, float *dv, const float *do_, const float *o, const float *lse,
                       const float *q, const float *k, const float *v, const struct kn_attn *a, float *scratch);

void CU(act_fwd)(void *ctx, float *y, const float *x, enum kn_act act, int64_t n);
void CU(act_bwd)(void *ctx, float *dx, const float *dy, const float *x, enum kn_act act, int64_t n);
void CU(glu_fwd)(void *ctx, float *y, const float *g, const float *u, enum kn_act act, int64_t n);
void CU(glu_bwd)(void *ctx, float *dg, float *du, const float *dy, const float *g, const float *u, enum kn_act act,
                 int64_t n);

size_t CU(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C);
void CU(head_fwd)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *h,
                  const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp, int64_t M,
                  const struct kn_reference *ref, float *keep, void *scratch);
void CU(head_bwd)(void *ctx, float *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
                  const float *h, const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
                  const float *lse, const float *entropy, int64_t M, const struct kn_reference *ref, float *keep,
                  void *scratch);
void CU(head_logits)(void *ctx, float *logits, const float *h, const struct kn_mat *w, const float *b, int64_t M);
void CU(logits_stats)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *logits,
                      const int32_t *target, const float *inv_temp, int64_t M, int64_t V);

void cu_draw(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
             const struct kn_warp *c, int64_t M, int64_t V);

void cu_step_begin(void *ctx, int64_t key);
void cu_step_end(void *ctx);

void cu_adamw(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *a, int64_t n);
void cu_adamw8(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
               const struct kn_adamw *a, int64_t n);

void CU(gather_rows)(void *ctx, float *y, const float *x, const int64_t *row, int64_t M, int64_t C);
void CU(scatter_rows)(void *ctx, float *x, const float *y, const int64_t *row, int64_t M, int64_t C);
void CU(store_rows)(void *ctx, float *y, const int64_t *row, const float *x, int64_t x_stride, int64_t M, int64_t C);
/* to[row[m]] += from[m] for rows of C, those of one row in rising m order */
void CU(add_to_table)(struct cuda *cu, float *to, const kn_real *from, const int32_t *row, int64_t M, int64_t C);
void CU(add)(void *ctx, float *y, const float *x, int64_t n);
void CU(scale)(void *ctx, float *y, float a, const float *x, int64_t n);
void cu_axpy(void *ctx, float *y, float a, const float *x, int64_t n);
double cu_sum_squares(void *ctx, const float *x, int64_t n);
int64_t cu_count_nonfinite(void *ctx, const float *x, int64_t n);
void cu_to_bf16(void *ctx, uint16_t *y, const float *x, int64_t n);
void cu_from_bf16(void *ctx, float *y, const uint16_t *x, int64_t n);

#endif
