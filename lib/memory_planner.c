/* memory_planner - the table that only counts; see memory.h */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/memory_impl.h"
#include "lib/util.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

struct planner {
	struct memory_count count;
	const struct kernels *k; /* for which is planned */
};

static struct planner *of(void *ctx)
{
	return ctx;
}

/* ---- memory ---- */

/* Addresses without memory behind them, zeroed should somebody touch them (a vector that the host widens). */
static void *plan_alloc(void *ctx, size_t bytes)
{
	void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	               0);
	if (p == MAP_FAILED)
		return NULL;
	memory_count_take(&of(ctx)->count, p, bytes);
	return p;
}

static void plan_free(void *ctx, void *p)
{
	size_t bytes = memory_count_give(&of(ctx)->count, p);
	if (p)
		munmap(p, bytes ? bytes : 1);
}

static void plan_put(void *ctx, void *dst, const void *host, size_t bytes)
{
}

/* Zero is a number that all can go on with. */
static void plan_get(void *ctx, void *host, const void *src, size_t bytes)
{
	if (bytes)
		memset(host, 0, bytes);
}

static void plan_zero(void *ctx, void *dst, size_t bytes)
{
}

static int plan_sync(void *ctx, char *why, size_t why_len)
{
	return 0;
}

static void plan_memory(void *ctx, size_t *free_bytes, size_t *total, size_t *own)
{
	const struct kernels *k = of(ctx)->k;
	k->memory(k->ctx, free_bytes, total, own);
}

static size_t plan_head_scratch(void *ctx, int64_t M, int64_t V, int64_t C)
{
	const struct kernels *k = of(ctx)->k;
	return k->head_scratch(k->ctx, M, V, C);
}

static void plan_draw(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
                      const struct kn_warp *c, int64_t M, int64_t V)
{
	for (int64_t m = 0; m < M; m++)
		drawn[m] = (struct kn_drawn){.token = 0, .weight = 1, .sum = 1};
}

/* ---- ops that do nothing ---- */

static void plan_step_begin(void *ctx, int64_t key)
{
}

static void plan_step_end(void *ctx)
{
}

static void plan_embed_fwd(void *ctx, kn_real *y, const struct kn_mat *tok, const struct kn_mat *pos_table,
                           const int32_t *token, const int32_t *pos, int64_t N)
{
}

static void plan_embed_bwd(void *ctx, float *dtok, float *dpos, const kn_real *dy, const int32_t *token,
                           const int32_t *pos, int64_t N, int64_t C)
{
}

static void plan_matmul_fwd(void *ctx, kn_real *y, const kn_real *x, const struct kn_mat *w, const float *b, int64_t N)
{
}

static void plan_matmul_dx(void *ctx, kn_real *dx, const kn_real *dy, const struct kn_mat *w, int64_t N, int add)
{
}

static void plan_matmul_dw(void *ctx, float *dw, float *db, const kn_real *dy, const kn_real *x, int64_t N, int64_t O,
                           int64_t I)
{
}

static void plan_layernorm_fwd(void *ctx, kn_real *y, float *mean, float *rstd, const kn_real *x, const float *g,
                               const float *b, float eps, int64_t N, int64_t C)
{
}

static void plan_layernorm_bwd(void *ctx, kn_real *dx, float *dg, float *db, const kn_real *dy, const kn_real *x,
                               const float *mean, const float *rstd, const float *g, int64_t N, int64_t C)
{
}

static void plan_rmsnorm_fwd(void *ctx, kn_real *y, float *rstd, const kn_real *x, const float *g, float eps, int64_t N,
                             int64_t C)
{
}

static void plan_rmsnorm_bwd(void *ctx, kn_real *dx, float *dg, const kn_real *dy, const kn_real *x, const float *rstd,
                             const float *g, int64_t N, int64_t C)
{
}

static void plan_rope(void *ctx, kn_real *x, const int32_t *pos, const float *inv_freq, int64_t N, int64_t heads,
                      int64_t D, int64_t stride, int dir)
{
}

static void plan_attention_fwd(void *ctx, kn_real *o, float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
                               const struct kn_attn *a)
{
}

static void plan_attention_bwd(void *ctx, kn_real *dq, kn_real *dk, kn_real *dv, const kn_real *do_, const kn_real *o,
                               const float *lse, const kn_real *q, const kn_real *k, const kn_real *v,
                               const struct kn_attn *a, float *scratch)
{
}

static void plan_act_fwd(void *ctx, kn_real *y, const kn_real *x, enum kn_act act, int64_t n)
{
}

static void plan_act_bwd(void *ctx, kn_real *dx, const kn_real *dy, const kn_real *x, enum kn_act act, int64_t n)
{
}

static void plan_glu_fwd(void *ctx, kn_real *y, const kn_real *g, const kn_real *u, enum kn_act act, int64_t n)
{
}

static void plan_glu_bwd(void *ctx, kn_real *dg, kn_real *du, const kn_real *dy, const kn_real *g, const kn_real *u,
                         enum kn_act act, int64_t n)
{
}

static void plan_add(void *ctx, kn_real *y, const kn_real *x, int64_t n)
{
}

static void plan_scale(void *ctx, kn_real *y, float a, const kn_real *x, int64_t n)
{
}

static void plan_axpy(void *ctx, float *y, float a, const float *x, int64_t n)
{
}

static void plan_gather_rows(void *ctx, kn_real *y, const kn_real *x, const int64_t *row, int64_t M, int64_t C)
{
}

static void plan_scatter_rows(void *ctx, kn_real *x, const kn_real *y, const int64_t *row, int64_t M, int64_t C)
{
}

static void plan_store_rows(void *ctx, kn_real *y, const int64_t *row, const kn_real *x, int64_t x_stride, int64_t M,
                            int64_t C)
{
}

static void plan_head_fwd(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const kn_real *h,
                          const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
                          int64_t M, const struct kn_reference *ref, float *keep, void *scratch)
{
}

static void plan_head_bwd(void *ctx, kn_real *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
                          const kn_real *h, const struct kn_mat *w, const float *b, const int32_t *target,
                          const float *inv_temp, const float *lse, const float *entropy, int64_t M,
                          const struct kn_reference *ref, float *keep, void *scratch)
{
}

static void plan_head_logits(void *ctx, float *logits, const kn_real *h, const struct kn_mat *w, const float *b,
                             int64_t M)
{
}

static void plan_logits_stats(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax,
                              const float *logits, const int32_t *target, const float *inv_temp, int64_t M, int64_t V)
{
}

static double plan_sum_squares(void *ctx, const float *x, int64_t n)
{
	return 0;
}

static int64_t plan_count_nonfinite(void *ctx, const float *x, int64_t n)
{
	return 0;
}

static void plan_adamw(void *ctx, float *w, float *m, float *v, const float *g, const struct kn_adamw *a, int64_t n)
{
}

static void plan_adamw8(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
                        const struct kn_adamw *a, int64_t n)
{
}

static void plan_to_bf16(void *ctx, uint16_t *y, const float *x, int64_t n)
{
}

static void plan_from_bf16(void *ctx, float *y, const uint16_t *x, int64_t n)
{
}

/* ---- the table ---- */

static void plan_release(struct kernels *k)
{
	free(of(k->ctx)->count.piece);
	free(k->ctx);
	free(k);
}

_Static_assert(sizeof(struct kernels) == 47 * sizeof(void *), "an op that is new wants its place here, too");

struct kernels *memory_planner(const struct kernels *k)
{
	struct kernels *p = xcalloc(1, sizeof *p);
	struct planner *ctx = xcalloc(1, sizeof *ctx);
	ctx->k = k;
	*p = (struct kernels){
	        .name = k->name,
	        .ctx = ctx,
	        .real = k->real,
	        .alloc = plan_alloc,
	        .free = plan_free,
	        .put = plan_put,
	        .get = plan_get,
	        .zero = plan_zero,
	        .sync = plan_sync,
	        .step_begin = plan_step_begin,
	        .step_end = plan_step_end,
	        .memory = plan_memory,
	        .embed_fwd = plan_embed_fwd,
	        .embed_bwd = plan_embed_bwd,
	        .matmul_fwd = plan_matmul_fwd,
	        .matmul_dx = plan_matmul_dx,
	        .matmul_dw = plan_matmul_dw,
	        .layernorm_fwd = plan_layernorm_fwd,
	        .layernorm_bwd = plan_layernorm_bwd,
	        .rmsnorm_fwd = plan_rmsnorm_fwd,
	        .rmsnorm_bwd = plan_rmsnorm_bwd,
	        .rope = plan_rope,
	        .attention_fwd = plan_attention_fwd,
	        .attention_bwd = plan_attention_bwd,
	        .act_fwd = plan_act_fwd,
	        .act_bwd = plan_act_bwd,
	        .glu_fwd = plan_glu_fwd,
	        .glu_bwd = plan_glu_bwd,
	        .add = plan_add,
	        .scale = plan_scale,
	        .axpy = plan_axpy,
	        .gather_rows = plan_gather_rows,
	        .scatter_rows = plan_scatter_rows,
	        .store_rows = plan_store_rows,
	        .head_scratch = plan_head_scratch,
	        .head_fwd = plan_head_fwd,
	        .head_bwd = plan_head_bwd,
	        .head_logits = plan_head_logits,
	        .logits_stats = plan_logits_stats,
	        .draw = plan_draw,
	        .sum_squares = plan_sum_squares,
	        .count_nonfinite = plan_count_nonfinite,
	        .adamw = plan_adamw,
	        .adamw8 = plan_adamw8,
	        .to_bf16 = plan_to_bf16,
	        .from_bf16 = plan_from_bf16,
	        .release = plan_release,
	};
	return p;
}

void memory_planner_free(struct kernels *planner)
{
	if (planner)
		planner->release(planner);
}

bool memory_is_planner(const struct kernels *k)
{
	return k->alloc == plan_alloc;
}

struct memory_count *memory_planner_count(const struct kernels *planner)
{
	return &of(planner->ctx)->count;
}

const struct kernels *memory_planner_of(const struct kernels *planner)
{
	return of(planner->ctx)->k;
}
