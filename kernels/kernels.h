/*
 * kernels - all arithmetic on tensors, behind one table.
 *
 * A backend fills `struct kernels`: ref (plain loops in double, the truth),
 * cpu (fast, one table per instruction set, all of them the same bits) and
 * cuda (a shared object).  The model sees the table and nothing else.
 *
 * Letters, the same everywhere:
 *   N tokens of the batch, all sequences one after another (no padding)
 *   C channels   H query heads   G key/value heads (H % G == 0)   D head size
 *   F feed-forward size   V vocabulary   L layers   I, O in, out of a matrix
 *
 * Rules that hold for every op:
 *   - tensors are row-major in the backend's memory: kn_real is the backend's
 *     type of activations, all else float32 unless said;
 *   - forward overwrites, backward ADDS into gradients of parameters and of
 *     inputs (d + name), unless a comment says "overwrites";
 *   - outputs overlap no input unless a comment says "may be";
 *   - any size from 0 up works; no op allocates, prints, exits or fails on
 *     the CPU (a device error is sticky: see sync);
 *   - the same input gives the same bits, whatever the thread count, the
 *     number of other rows in the call or the instruction set.
 *
 * Orders of summation (fixed, so that decoding, batches and micro-batches
 * agree to the bit; kernels/README.md has the reasons):
 *   1. a dot product over k is 16 partial sums, sum j over k = j mod 16 in
 *      rising order by fma from zero, tails zero-filled, then the tree
 *      ((0+8)+(4+12)) ... : s[j] += s[j+8] for j<8, then +4, +2, +1;
 *   2. a weight gradient element is one fma chain over tokens in row order,
 *      continued from what is in memory;
 *   3. attention walks key tiles of KN_KEY_TILE positions counted from
 *      position 0, with a running maximum and sum per query row; a score is
 *      one fma chain over D; a key's gradient is one chain over the queries
 *      that see it, sequence by sequence, token by token, head by head;
 *   4. the vocabulary is walked in blocks of KN_VOCAB_BLOCK from 0, combined
 *      in rising order;
 *   5. exp, tanh, erf, log, sin, cos are ours, one routine for vectors and
 *      tails; no contraction by the compiler, fma only where written;
 *   6. a sum over the rows of a weight (matmul_dx, head_bwd's dh) is one fma
 *      chain from zero per block of KN_OUT_BLOCK rows counted from row 0, the
 *      blocks added in rising order (to what is there, where it adds).
 *
 * Calls on one backend are made one at a time.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define KN_KEY_TILE 32
#define KN_PAGE 32 /* rows of a page of the key and value arrays */
#define KN_VOCAB_BLOCK 512
#define KN_OUT_BLOCK 256
#define KN_MAX_THREADS 256
#define KN_MAX_DRAW (1 << 19) /* tokens that draw chooses from */
#define KN_MAX_HEAD 1024      /* largest D of attention and rope */

/* A function that host code and CUDA kernels share. */
#ifdef __CUDACC__
#define KN_ANYWHERE static inline __host__ __device__
#else
#define KN_ANYWHERE static inline __attribute__((always_inline))
#endif

enum kn_dtype { KN_F32 = 0, KN_BF16 = 1, KN_F16 = 2, KN_U8 = 3 }; /* KN_U8: codes of moments, never a matrix */

/*
 * A weight matrix [rows, cols], rows = outputs.  It may lie in several pieces
 * of whole rows (the store cuts tensors over 1 GiB); pieces are in row order
 * and their rows add up to `rows`.  Data is 64-byte aligned.  Borrowed.
 */
struct kn_block {
	const void *data;
	int64_t rows;
};
struct kn_mat {
	enum kn_dtype dtype;
	int64_t rows, cols;
	int n_blocks;
	const struct kn_block *blocks;
};

/*
 * How a CPU backend runs work on several threads: run(pool, n, fn, arg) calls
 * fn(arg, i, worker) once for each i in 0..n-1, in any order, on any thread,
 * 0 <= worker < threads, and returns when all are done.  Splitting never
 * changes a sum, because an item owns its outputs.
 */
struct kn_par {
	void *pool;
	int threads;
	void (*run)(void *pool, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);
};

/*
 * Where the keys of one sequence are.  Query rows q_row .. q_row+n_q-1 of the
 * batch sit at positions pos .. pos+n_q-1.  The key of position p is row
 *     prefix_row + p              for p <  prefix_n
 *     own_row + (p - prefix_n)    for p >= prefix_n
 * of the key and value arrays, so that samples of one prompt can share its
 * rows.  Query i sees positions j with j <= pos+i and, if window > 0,
 * pos+i - j < window.  Full forward: prefix_n = 0, own_row = q_row.
 *
 * Where the rows of the prefix, or its own, lie in pages, row i of them is
 *     page[i / KN_PAGE] * KN_PAGE + i % KN_PAGE
 * and prefix_row or own_row is not looked at.  A page is KN_PAGE rows, as many
 * as a tile has keys: larger ones would leave more rows unused at the end of
 * each sequence and save nothing, as a row is read at its own address anyway.
 * A tile then meets at most three pages (two, but for the tile where the
 * prefix ends).
 */
struct kn_seq {
	int64_t q_row, n_q, pos;
	int64_t prefix_row, prefix_n;
	int64_t own_row;
	const int32_t *prefix_page, *page; /* host memory; NULL: the rows follow one another */
};

/* The row of the key of position p. */
KN_ANYWHERE int64_t kn_key_row(const struct kn_seq *s, int64_t p)
{
	int in_prefix = p < s->prefix_n;
	int64_t i = in_prefix ? p : p - s->prefix_n;
	const int32_t *page = in_prefix ? s->prefix_page : s->page;
	if (page)
		return (int64_t)page[i / KN_PAGE] * KN_PAGE + i % KN_PAGE;
	return (in_prefix ? s->prefix_row : s->own_row) + i;
}

struct kn_attn {
	int64_t H, G, D;
	int64_t window;    /* 0: none */
	float scale;       /* usually 1/sqrt(D) */
	int64_t q_stride;  /* floats from one row of q to the next (q may lie in a fused qkv row) */
	int64_t kv_stride; /* the same for k and for v */
	int64_t n_seq;
	const struct kn_seq *seq; /* host memory */
};

#define KN_KEEP_STRIDE(V) (((V) + 15) / 16 * 16)

enum kn_act { KN_GELU_TANH, KN_GELU_ERF, KN_RELU, KN_SILU };

/*
 * One element of what flows through the model: activations, their gradients, cached keys and values.  The backend's
 * `real` says what it is: float32, or bf16 in cuda-bf16.  So outside a backend such an array has its size, addresses
 * and way to the host from lib/real.h, and is never indexed; lint compiles lib/ with KN_OPAQUE, where that is an error.
 */
#ifdef KN_OPAQUE
typedef struct kn_opaque kn_real;
#else
typedef float kn_real;
#endif

/*
 * What the output head needs of a reference, for the exact KL to it over the vocabulary: its hidden states
 * h[M, w->cols], its matrix, of as many rows as the policy's, and its bias (NULL or [V]).
 * With y = (h w^T + b) inv_temp[m], and q of y as p of z:
 *   kl[m]  = sum_v p_v (log p_v - log q_v)
 *   gap[m] = sum_v p_v (z_v - y_v)
 * and d kl / d z_v = p_v (z_v - y_v - gap): the gradient is made of gap, which unlike kl and the two lse has no offset
 * that both models share and that would be rounded away.  keep: as that of the head, and NULL where that is.
 */
struct kn_reference {
	const kn_real *h;
	const struct kn_mat *w;
	const float *b;
	float *kl;        /* [M] by head_fwd; head_bwd does not look at it */
	float *gap;       /* [M] by head_fwd, for head_bwd */
	const float *dkl; /* [M] to head_bwd */
	float *keep;
};

/* How a token is drawn: each warper works on what the one before left.  temperature 0: the largest logit. */
struct kn_warp {
	double temperature;
	int64_t top_k;       /* 0: off */
	double top_p, min_p; /* 1, 0: off */
};
struct kn_drawn {
	int64_t token;        /* -1: the row holds NaN or +inf, or is all -inf */
	uint64_t weight, sum; /* its own and that of all tokens that were left: weight / sum is its probability */
};

/* One parameter group for the optimizer: n elements, all float32. */
struct kn_adamw {
	double lr, beta1, beta2, eps, weight_decay;
	double grad_scale; /* multiplied into the gradient first (clipping) */
	int64_t step;      /* 1 at the first update; bias correction */
};

/*
 * A moment of n elements in 8 bits, in blocks of KN_BLOCK8 elements counted from 0 (the last may be shorter): element i
 * is map[code[i]] absmax[i / KN_BLOCK8].  Of a map the entries rise and none is beyond -1 and 1.  Backend memory.
 */
#define KN_BLOCK8 256
struct kn_moment8 {
	uint8_t *code;
	float *absmax;
	float *map; /* [256]; read */
};

struct kernels {
	const char *name;   /* "ref", "cpu-avx512", "cpu-avx2", "cpu-neon", "cpu-plain", "cuda", ... */
	void *ctx;          /* passed as the first argument of every op */
	enum kn_dtype real; /* what a kn_real is: KN_F32 or KN_BF16 */

	/* memory: alloc gives 64-byte aligned zeroed memory or NULL; put/get copy
	 * host<->backend; sync waits and returns 0, or -1 with the reason. */
	void *(*alloc)(void *ctx, size_t bytes);
	void (*free)(void *ctx, void *p);
	void (*put)(void *ctx, void *dst, const void *host, size_t bytes);
	void (*get)(void *ctx, void *host, const void *src, size_t bytes);
	void (*zero)(void *ctx, void *dst, size_t bytes);
	int (*sync)(void *ctx, char *why, size_t why_len);
	/* Around calls that come again and again with the same sizes and the same arrays in the backend's memory, such
	 * as those of a token that is decoded; key tells such calls from others (the number of rows).  It changes
	 * nothing but speed.  Between the two, what a host array holds is not changed. */
	void (*step_begin)(void *ctx, int64_t key);
	void (*step_end)(void *ctx);
	/* Bytes of the device: free now, in all, and what the backend itself has taken (staging, workspaces); 0 and 0
	 * where that is not known: on the CPU, and after an error. */
	void (*memory)(void *ctx, size_t *free, size_t *total, size_t *own);

	/* y[N,C] = tok[token[n],:] (+ pos_table[pos[n],:] unless pos_table is NULL);
	 * token, pos are host arrays [N], already checked against the tables. */
	void (*embed_fwd)(void *ctx, kn_real *y, const struct kn_mat *tok, const struct kn_mat *pos_table,
	                  const int32_t *token, const int32_t *pos, int64_t N);
	/* dtok[V,C], dpos[P,C] (or NULL) += rows of dy, tokens in row order */
	void (*embed_bwd)(void *ctx, float *dtok, float *dpos, const kn_real *dy, const int32_t *token,
	                  const int32_t *pos, int64_t N, int64_t C);

	/* y[N,O] = x[N,I] w[O,I]^T + b[O]; b may be NULL */
	void (*matmul_fwd)(void *ctx, kn_real *y, const kn_real *x, const struct kn_mat *w, const float *b, int64_t N);
	/* dx[N,I] = dy[N,O] w[O,I] (overwrites; add != 0: adds) */
	void (*matmul_dx)(void *ctx, kn_real *dx, const kn_real *dy, const struct kn_mat *w, int64_t N, int add);
	/* dw[O,I] += dy[N,O]^T x[N,I]; db[O] += column sums of dy; db may be NULL */
	void (*matmul_dw)(void *ctx, float *dw, float *db, const kn_real *dy, const kn_real *x, int64_t N, int64_t O,
	                  int64_t I);

	/* layer norm: y = (x - mean) rstd g + b, biased variance; mean[N], rstd[N] are kept for backward (may be NULL)
	 */
	void (*layernorm_fwd)(void *ctx, kn_real *y, float *mean, float *rstd, const kn_real *x, const float *g,
	                      const float *b, float eps, int64_t N, int64_t C);
	void (*layernorm_bwd)(void *ctx, kn_real *dx, float *dg, float *db, const kn_real *dy, const kn_real *x,
	                      const float *mean, const float *rstd, const float *g, int64_t N, int64_t C);
	/* rms norm: y = x rstd g, rstd = 1/sqrt(mean(x^2) + eps); rstd[N] may be NULL.  Rows may be heads (N*H, D). */
	void (*rmsnorm_fwd)(void *ctx, kn_real *y, float *rstd, const kn_real *x, const float *g, float eps, int64_t N,
	                    int64_t C);
	void (*rmsnorm_bwd)(void *ctx, kn_real *dx, float *dg, const kn_real *dy, const kn_real *x, const float *rstd,
	                    const float *g, int64_t N, int64_t C);

	/* rotate-half RoPE in place on x[N, heads, D] with row stride `stride`: pairs (j, j+D/2) turn by
	 * pos[n] * inv_freq[j]; dir = +1 forward, -1 backward (the transpose).  inv_freq: host [D/2]; pos: host [N].
	 * The angle is computed in double from the float32 inv_freq, so that it does not depend on the backend. */
	void (*rope)(void *ctx, kn_real *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads,
	             int64_t D, int64_t stride, int dir);

	/* causal attention.  o[N, H*D] (dense); lse[N,H] = log sum exp of the scaled scores (may be NULL) */
	void (*attention_fwd)(void *ctx, kn_real *o, float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
	                      const struct kn_attn *a);
	/* dq, dk, dv have the strides of q, k, v and are added to; o, lse from forward; scratch >= N*H floats */
	void (*attention_bwd)(void *ctx, kn_real *dq, kn_real *dk, kn_real *dv, const kn_real *do_, const kn_real *o,
	                      const float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
	                      const struct kn_attn *a, float *scratch);

	/* elementwise: y = act(x); dx = dy act'(x) (overwrites; dx may be dy) */
	void (*act_fwd)(void *ctx, kn_real *y, const kn_real *x, enum kn_act act, int64_t n);
	void (*act_bwd)(void *ctx, kn_real *dx, const kn_real *dy, const kn_real *x, enum kn_act act, int64_t n);
	/* gated: y[N,F] = act(g[N,F]) u[N,F]; backward overwrites dg, du (dg may be g's own gradient buffer) */
	void (*glu_fwd)(void *ctx, kn_real *y, const kn_real *g, const kn_real *u, enum kn_act act, int64_t n);
	void (*glu_bwd)(void *ctx, kn_real *dg, kn_real *du, const kn_real *dy, const kn_real *g, const kn_real *u,
	                enum kn_act act, int64_t n);

	/* y += x;  y = a x;  on float32, y = a x + y, where x may be y */
	void (*add)(void *ctx, kn_real *y, const kn_real *x, int64_t n);
	void (*scale)(void *ctx, kn_real *y, float a, const kn_real *x, int64_t n);
	void (*axpy)(void *ctx, float *y, float a, const float *x, int64_t n);
	/* y[m,C] = x[row[m],C];  x[row[m],C] += y[m,C] (rows in rising m order); row: host [M] */
	void (*gather_rows)(void *ctx, kn_real *y, const kn_real *x, const int64_t *row, int64_t M, int64_t C);
	void (*scatter_rows)(void *ctx, kn_real *x, const kn_real *y, const int64_t *row, int64_t M, int64_t C);
	/* y[row[m],C] = x[m], rows of x x_stride apart; no row twice; row: host [M] */
	void (*store_rows)(void *ctx, kn_real *y, const int64_t *row, const kn_real *x, int64_t x_stride, int64_t M,
	                   int64_t C);

	/*
	 * The fused output head over M rows: z = (h w^T + b) * inv_temp[m], then
	 *   lse[m]     log sum_v exp z
	 *   logprob[m] = z[target[m]] - lse[m]            (computed as (z - max) - log sum exp(z - max))
	 *   entropy[m] = lse - sum_v p_v z_v              (may be NULL)
	 *   argmax[m]  lowest index of the largest z       (may be NULL)
	 * target (host, may be NULL with logprob NULL) and inv_temp (host [M]; 1 for none) as given.
	 * Logits are never in memory at once: scratch holds head_scratch(ctx, M, V) bytes.
	 * b is NULL or [V].  ref: NULL, or the model that the exact KL is to.
	 * keep, unless NULL, is room for M rows of KN_KEEP_STRIDE(V) floats: what head_bwd would else compute again.
	 */
	size_t (*head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C);
	void (*head_fwd)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const kn_real *h,
	                 const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
	                 int64_t M, const struct kn_reference *ref, float *keep, void *scratch);
	/*
	 * Gradient of sum_m (dlogprob[m] logprob[m] + dentropy[m] entropy[m] + ref->dkl[m] ref->kl[m]) by h, w, b.
	 * dh[M,C] overwrites; dw[V,C], db[V] add (may be NULL: frozen head); dentropy and entropy may be NULL.
	 * keep: as head_fwd left it for the same rows, used up here; or NULL.  The bits are the same either way.
	 */
	void (*head_bwd)(void *ctx, kn_real *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
	                 const kn_real *h, const struct kn_mat *w, const float *b, const int32_t *target,
	                 const float *inv_temp, const float *lse, const float *entropy, int64_t M,
	                 const struct kn_reference *ref, float *keep, void *scratch);
	/* plain logits[M,V] = h w^T + b, same bits as inside head_fwd before inv_temp: for the sampler */
	void (*head_logits)(void *ctx, float *logits, const kn_real *h, const struct kn_mat *w, const float *b,
	                    int64_t M);
	/* the statistics of head_fwd from logits in memory (same bits); rows of V floats */
	void (*logits_stats)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax,
	                     const float *logits, const int32_t *target, const float *inv_temp, int64_t M, int64_t V);

	/*
	 * Draws a token of each row of logits[M,V], V at most KN_MAX_DRAW.  The weight of a token is
	 *     2^44 exp((z - max z) * (float)(1 / temperature))
	 * rounded to a whole number, so that no sum depends on an order.  top-k keeps the k largest, then top-p the
	 * smallest set that has a share of at least p of what is left, ties in the order of ids; then min-p keeps what
	 * has at least min_p of the largest.  The token is the first whose running sum in the order of ids is above
	 * u[m] times the sum.  weight[M,V] is left as it was drawn from: 0 for what the warpers took out.  With
	 * temperature 0 the token is the lowest id of the largest logit, alone with weight 1, and `weight` is not used.
	 * drawn, u: host; weight: the backend's.  The same on every backend, given the same logits.
	 */
	void (*draw)(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
	             const struct kn_warp *c, int64_t M, int64_t V);

	/* sum of squares in double: blocks of 4096 elements from 0, each in order 1 (16 partial sums) but with multiply
	 * and add instead of fma, blocks added in rising order */
	double (*sum_squares)(void *ctx, const float *x, int64_t n);
	/* number of elements that are NaN or infinite */
	int64_t (*count_nonfinite)(void *ctx, const float *x, int64_t n);
	/* w *= 1 - lr wd;  m, v moments;  w -= lr mhat / (sqrt(vhat) + eps), as torch.optim.AdamW; w, m, v in place */
	void (*adamw)(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *a, int64_t n);
	/*
	 * The same with moments in 8 bits (Dettmers et al. 2022, block-wise dynamic quantization): they are widened
	 * (one multiplication), the step is that of adamw, in float32, and moves w before they are rounded again.
	 * absmax of a block becomes its largest magnitude, and the code of x the number of i < 255 with (map[i] +
	 * map[i+1]) / 2 < x / absmax: the nearest entry, of two as near the lower, and 0 for 0 / 0. Here ref/ computes
	 * in float32 too, so that every table has the same bits.
	 */
	void (*adamw8)(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
	               const struct kn_adamw *a, int64_t n);
	/* float32 -> bf16 (round to nearest even) and back */
	void (*to_bf16)(void *ctx, uint16_t *y, const float *x, int64_t n);
	void (*from_bf16)(void *ctx, float *y, const uint16_t *x, int64_t n);

	/* frees the table and its ctx; called by kernels_free */
	void (*release)(struct kernels *k);
};

/*
 * Backends.  par is borrowed for the life of the backend.  kernels_cpu picks
 * the best instruction set the machine has, or the one named by `isa`
 * ("avx512", "avx2", "neon", "plain"; NULL or "" = best); NULL if the machine
 * or the build lacks it.  They are freed by kernels_free.
 */
struct kernels *kernels_ref(const struct kn_par *par);
struct kernels *kernels_cpu(const struct kn_par *par, const char *isa);
/*
 * A table of cuda.  real KN_F32 ("cuda"): float32, the bits of the CPU.  KN_BF16 ("cuda-bf16"): activations, their
 * gradients, caches and matrices are bf16; sums, statistics, log-probs and the gradients of parameters float32.  Of the
 * rules above it keeps all but two: its sums are in other orders, and what a row gets depends on the number of rows in
 * the call.  With batch_invariant ("cuda-bf16-invariant") it does not depend on that: the forward ops, dx and dh give a
 * row the same bits in any batch (sums over tokens, of dw, change with where the tokens are cut).
 */
struct kn_cuda {
	int device;          /* which GPU, from 0 */
	enum kn_dtype real;  /* KN_F32 or KN_BF16 */
	int batch_invariant; /* of KN_BF16 */
};
/* Loads rl-kernels-cuda.so; NULL with one clear line in why when it, the driver or a device is missing. */
struct kernels *kernels_cuda(const struct kn_cuda *config, char *why, size_t why_len);
void kernels_free(struct kernels *k);

/*
 * Sums over several GPUs, one process each: NCCL, which is opened when it is asked for (libnccl.so.2).  A sum is
 * ((x0 + x1) + x2) + ... in the order of ranks, element by element: the same bits in all of them.
 */
#define KN_COMM_ID 128
struct kn_comm {
	void *ctx;
	/* x[n] in this rank's device becomes the sum over ranks; all of them call it.  -1 with the reason; what fails
	 * on the device later is sticky there (sync). */
	int (*sum)(void *ctx, float *x, int64_t n, char *why, size_t why_len);
	void (*release)(struct kn_comm *comm);
};
/* After kernels_cuda.  One rank makes the id that all of them give; -1 with one line in why: no NCCL here. */
int kernels_cuda_comm_id(char id[KN_COMM_ID], char *why, size_t why_len);
/* Waits for the other ranks.  k: of kernels_cuda, which outlives it.  NULL with one line in why. */
struct kn_comm *kernels_cuda_comm(const struct kernels *k, const char id[KN_COMM_ID], int rank, int ranks, char *why,
                                  size_t why_len);

#endif
