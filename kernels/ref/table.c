/* table - kernels_ref(), and what every backend shares */
#include "kernels/ref/ref.h"

#include <stdlib.h>

static void *ref_alloc(void *ctx, size_t bytes)
{
	(void)ctx;
	size_t whole = (bytes + 63) / 64 * 64;
	if (whole < bytes)
		return NULL;
	void *p = aligned_alloc(64, whole ? whole : 64);
	return p ? memset(p, 0, whole) : NULL;
}

static void ref_release_memory(void *ctx, void *p)
{
	(void)ctx;
	free(p);
}

static void ref_copy(void *ctx, void *dst, const void *src, size_t bytes)
{
	(void)ctx;
	if (bytes)
		memcpy(dst, src, bytes);
}

static void ref_zero(void *ctx, void *dst, size_t bytes)
{
	(void)ctx;
	if (bytes)
		memset(dst, 0, bytes);
}

static int ref_sync(void *ctx, char *why, size_t why_len)
{
	(void)ctx;
	(void)why;
	(void)why_len;
	return 0;
}

static void ref_step_begin(void *ctx, int64_t key)
{
	(void)ctx;
	(void)key;
}

static void ref_step_end(void *ctx)
{
	(void)ctx;
}

static void ref_memory(void *ctx, size_t *free_bytes, size_t *total, size_t *own)
{
	(void)ctx;
	*free_bytes = *total = *own = 0;
}

static void ref_release(struct kernels *k)
{
	free(k);
}

static const struct kernels ref_table = {
        .name = "ref",
        .alloc = ref_alloc,
        .free = ref_release_memory,
        .put = ref_copy,
        .get = ref_copy,
        .zero = ref_zero,
        .sync = ref_sync,
        .step_begin = ref_step_begin,
        .step_end = ref_step_end,
        .memory = ref_memory,
        .embed_fwd = ref_embed_fwd,
        .embed_bwd = ref_embed_bwd,
        .matmul_fwd = ref_matmul_fwd,
        .matmul_dx = ref_matmul_dx,
        .matmul_dw = ref_matmul_dw,
        .layernorm_fwd = ref_layernorm_fwd,
        .layernorm_bwd = ref_layernorm_bwd,
        .rmsnorm_fwd = ref_rmsnorm_fwd,
        .rmsnorm_bwd = ref_rmsnorm_bwd,
        .rope = ref_rope,
        .attention_fwd = ref_attention_fwd,
        .attention_bwd = ref_attention_bwd,
        .act_fwd = ref_act_fwd,
        .act_bwd = ref_act_bwd,
        .glu_fwd = ref_glu_fwd,
        .glu_bwd = ref_glu_bwd,
        .add = ref_add,
        .scale = ref_scale,
        .axpy = ref_axpy,
        .gather_rows = ref_gather_rows,
        .scatter_rows = ref_scatter_rows,
        .store_rows = ref_store_rows,
        .head_scratch = ref_head_scratch,
        .head_fwd = ref_head_fwd,
        .head_bwd = ref_head_bwd,
        .head_logits = ref_head_logits,
        .logits_stats = ref_logits_stats,
        .draw = ref_draw,
        .sum_squares = ref_sum_squares,
        .count_nonfinite = ref_count_nonfinite,
        .adamw = ref_adamw,
        .adamw8 = ref_adamw8,
        .to_bf16 = ref_to_bf16,
        .from_bf16 = ref_from_bf16,
        .release = ref_release,
};

/* Serial: the truth is not meant to be fast. */
struct kernels *kernels_ref(const struct kn_par *par)
{
	(void)par;
	struct kernels *k = malloc(sizeof *k);
	if (k)
		*k = ref_table;
	return k;
}

void kernels_free(struct kernels *k)
{
	if (k)
		k->release(k);
}
