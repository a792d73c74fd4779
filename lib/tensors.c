/* tensors - see tensors.h */
#include "lib/tensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rng.h"
#include "lib/util.h"

/* Rows, columns of a part, from the descriptor. */
enum dim { ONE, DIM_V, DIM_P, DIM_C, DIM_D, DIM_F, DIM_Q, DIM_KV, DIM_QKV };

struct part_row {
	enum tensor_part part;
	enum tensor_role role;
	enum dim rows, cols; /* a vector has rows ONE */
	const char *gpt2, *llama;
};

static const struct part_row before[] = {
        {PART_TOKENS, TENSOR_EMBEDDING, DIM_V, DIM_C, "transformer.wte.weight", "model.embed_tokens.weight"},
        {PART_POSITIONS, TENSOR_POSITION, DIM_P, DIM_C, "transformer.wpe.weight", NULL},
};

#define ATTN "self_attn."
static const struct part_row block[] = {
        {PART_NORM1, TENSOR_GAIN, ONE, DIM_C, "ln_1.weight", "input_layernorm.weight"},
        {PART_NORM1_BIAS, TENSOR_BIAS, ONE, DIM_C, "ln_1.bias", NULL},
        {PART_QKV, TENSOR_MATRIX, DIM_QKV, DIM_C, "attn.c_attn.weight", NULL},
        {PART_QKV_BIAS, TENSOR_BIAS, ONE, DIM_QKV, "attn.c_attn.bias", NULL},
        {PART_Q, TENSOR_MATRIX, DIM_Q, DIM_C, NULL, ATTN "q_proj.weight"},
        {PART_Q_BIAS, TENSOR_BIAS, ONE, DIM_Q, NULL, ATTN "q_proj.bias"},
        {PART_K, TENSOR_MATRIX, DIM_KV, DIM_C, NULL, ATTN "k_proj.weight"},
        {PART_K_BIAS, TENSOR_BIAS, ONE, DIM_KV, NULL, ATTN "k_proj.bias"},
        {PART_V, TENSOR_MATRIX, DIM_KV, DIM_C, NULL, ATTN "v_proj.weight"},
        {PART_V_BIAS, TENSOR_BIAS, ONE, DIM_KV, NULL, ATTN "v_proj.bias"},
        {PART_Q_NORM, TENSOR_GAIN, ONE, DIM_D, NULL, ATTN "q_norm.weight"},
        {PART_K_NORM, TENSOR_GAIN, ONE, DIM_D, NULL, ATTN "k_norm.weight"},
        {PART_O, TENSOR_MATRIX, DIM_C, DIM_Q, "attn.c_proj.weight", ATTN "o_proj.weight"},
        {PART_O_BIAS, TENSOR_BIAS, ONE, DIM_C, "attn.c_proj.bias", ATTN "o_proj.bias"},
        {PART_NORM2, TENSOR_GAIN, ONE, DIM_C, "ln_2.weight", "post_attention_layernorm.weight"},
        {PART_NORM2_BIAS, TENSOR_BIAS, ONE, DIM_C, "ln_2.bias", NULL},
        {PART_GATE, TENSOR_MATRIX, DIM_F, DIM_C, NULL, "mlp.gate_proj.weight"},
        {PART_GATE_BIAS, TENSOR_BIAS, ONE, DIM_F, NULL, "mlp.gate_proj.bias"},
        {PART_UP, TENSOR_MATRIX, DIM_F, DIM_C, "mlp.c_fc.weight", "mlp.up_proj.weight"},
        {PART_UP_BIAS, TENSOR_BIAS, ONE, DIM_F, "mlp.c_fc.bias", "mlp.up_proj.bias"},
        {PART_DOWN, TENSOR_MATRIX, DIM_C, DIM_F, "mlp.c_proj.weight", "mlp.down_proj.weight"},
        {PART_DOWN_BIAS, TENSOR_BIAS, ONE, DIM_C, "mlp.c_proj.bias", "mlp.down_proj.bias"},
};

static const struct part_row after[] = {
        {PART_NORM, TENSOR_GAIN, ONE, DIM_C, "transformer.ln_f.weight", "model.norm.weight"},
        {PART_NORM_BIAS, TENSOR_BIAS, ONE, DIM_C, "transformer.ln_f.bias", NULL},
        {PART_HEAD, TENSOR_HEAD, DIM_V, DIM_C, "lm_head.weight", "lm_head.weight"},
        {PART_SCORE, TENSOR_VALUE, ONE, DIM_C, "score.weight", "score.weight"},
};

static int64_t dim_of(const struct arch *a, enum dim d)
{
	switch (d) {
	case DIM_V:
		return a->V;
	case DIM_P:
		return a->P;
	case DIM_C:
		return a->C;
	case DIM_D:
		return a->D;
	case DIM_F:
		return a->F;
	case DIM_Q:
		return arch_q_width(a);
	case DIM_KV:
		return arch_kv_width(a);
	case DIM_QKV:
		return arch_qkv_width(a);
	default:
		return 1;
	}
}

/* Does a model of this architecture have the part? */
static bool has_part(const struct arch *a, bool with_value, enum tensor_part p)
{
	switch (p) {
	case PART_POSITIONS:
		return a->rope == ARCH_ROPE_NONE;
	case PART_NORM_BIAS:
	case PART_NORM1_BIAS:
	case PART_NORM2_BIAS:
		return !a->rms_norm;
	case PART_HEAD:
		return !a->tied && !a->value_model;
	case PART_SCORE:
		return with_value || a->value_model;
	case PART_QKV:
		return a->fused_qkv;
	case PART_QKV_BIAS:
		return a->fused_qkv && a->bias_qkv;
	case PART_Q:
	case PART_K:
	case PART_V:
		return !a->fused_qkv;
	case PART_Q_BIAS:
	case PART_K_BIAS:
	case PART_V_BIAS:
		return !a->fused_qkv && a->bias_qkv;
	case PART_Q_NORM:
	case PART_K_NORM:
		return a->qk_norm;
	case PART_O_BIAS:
		return a->bias_o;
	case PART_GATE:
		return a->gated;
	case PART_GATE_BIAS:
		return a->gated && a->bias_mlp;
	case PART_UP_BIAS:
	case PART_DOWN_BIAS:
		return a->bias_mlp;
	default:
		return true;
	}
}

static void set_init(struct tensor *x, const struct arch *a)
{
	if (x->role == TENSOR_GAIN) {
		x->init = TENSOR_INIT_ONE;
	} else if (x->role == TENSOR_BIAS) {
		x->init = TENSOR_INIT_ZERO;
	} else {
		bool residual = a->init_residual && (x->part == PART_O || x->part == PART_DOWN);
		x->init = TENSOR_INIT_NORMAL;
		x->init_std = residual ? a->init_std / sqrt(2.0 * (double)a->L) : a->init_std;
	}
}

/* Room in the slab for the tensor at the end of the table. */
static int make_room(struct tensors *t, struct tensor *x, struct err *e)
{
	int64_t padded;
	x->offset = t->size;
	if (__builtin_mul_overflow(x->rows, x->cols, &x->count) || __builtin_add_overflow(x->count, 15, &padded) ||
	    __builtin_add_overflow(t->size, padded & ~(int64_t)15, &t->size) || t->size > INT64_MAX / 64)
		return err_set(e, "the model is too big: more than %" PRId64 " weights", t->count);
	t->count += x->count;
	return 0;
}

/* Appends one tensor and makes room for it in the slab. */
static int add_part(struct tensors *t, const struct arch *a, const struct part_row *row, int64_t layer, struct err *e)
{
	bool gpt2 = !strcmp(a->model_type, "gpt2");
	const char *name = gpt2 ? row->gpt2 : row->llama;
	struct tensor *x = &t->tensor[t->n];
	*x = (struct tensor){.role = row->role, .part = row->part, .layer = layer, .lora = -1};
	if (layer < 0)
		snprintf(x->name, sizeof x->name, "%s", name);
	else
		snprintf(x->name, sizeof x->name, "%s.%" PRId64 ".%s", gpt2 ? "transformer.h" : "model.layers", layer,
		         name);
	x->rows = dim_of(a, row->rows);
	x->cols = dim_of(a, row->cols);
	bool vector = row->rows == ONE && row->role != TENSOR_VALUE;
	x->n_dims = vector ? 1 : 2;
	x->shape[0] = vector ? x->cols : x->rows;
	x->shape[1] = vector ? 0 : x->cols;
	x->transposed = a->transposed_file && row->role == TENSOR_MATRIX;
	set_init(x, a);
	if (make_room(t, x, e))
		return -1;
	t->at[(1 + layer) * PART_COUNT + row->part] = t->n++;
	return 0;
}

static int add_parts(struct tensors *t, const struct arch *a, bool with_value, const struct part_row *rows, size_t n,
                     int64_t layer, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (has_part(a, with_value, rows[i].part) && add_part(t, a, &rows[i], layer, e))
			return -1;
	return 0;
}

static int by_name(const void *x, const void *y, void *arg)
{
	const struct tensor *tensor = arg;
	return strcmp(tensor[*(const int *)x].name, tensor[*(const int *)y].name);
}

int tensors_init(struct tensors *t, const struct arch *a, bool with_value, struct err *e)
{
	size_t most = ARRAY_LEN(before) + ARRAY_LEN(after) + (size_t)a->L * ARRAY_LEN(block);
	size_t slots = (size_t)(1 + a->L) * PART_COUNT;
	*t = (struct tensors){.L = a->L};
	t->tensor = xcalloc(most, sizeof t->tensor[0]);
	t->at = xcalloc(slots, sizeof t->at[0]);
	for (size_t i = 0; i < slots; i++)
		t->at[i] = -1;
	int failed = add_parts(t, a, with_value, before, ARRAY_LEN(before), -1, e);
	for (int64_t l = 0; l < a->L && !failed; l++)
		failed = add_parts(t, a, with_value, block, ARRAY_LEN(block), l, e);
	if (!failed)
		failed = add_parts(t, a, with_value, after, ARRAY_LEN(after), -1, e);
	if (failed) {
		tensors_release(t);
		return -1;
	}
	tensors_sort(t);
	return 0;
}

void tensors_sort(struct tensors *t)
{
	t->sorted = xrealloc_array(t->sorted, (size_t)t->n, sizeof t->sorted[0]);
	for (int i = 0; i < t->n; i++)
		t->sorted[i] = i;
	qsort_r(t->sorted, (size_t)t->n, sizeof t->sorted[0], by_name, t->tensor);
}

void tensors_freeze(struct tensors *t)
{
	struct err never; /* it was smaller than what fitted */
	t->size = t->count = 0;
	for (int i = 0; i < t->n; i++) {
		struct tensor *x = &t->tensor[i];
		x->frozen = x->part != PART_SCORE;
		if (x->frozen)
			x->offset = -1;
		else
			(void)make_room(t, x, &never);
	}
}

int tensors_append(struct tensors *t, const struct tensor *given, struct err *e)
{
	t->tensor = xrealloc_array(t->tensor, (size_t)t->n + 1, sizeof t->tensor[0]);
	struct tensor *x = &t->tensor[t->n++];
	*x = *given;
	x->n_dims = 2;
	x->shape[0] = x->rows;
	x->shape[1] = x->cols;
	x->lora = -1;
	return make_room(t, x, e);
}

void tensors_release(struct tensors *t)
{
	free(t->tensor);
	free(t->at);
	free(t->sorted);
	*t = (struct tensors){0};
}

int tensors_find(const struct tensors *t, const char *name)
{
	int lo = 0, hi = t->n;
	while (lo < hi) {
		int mid = lo + (hi - lo) / 2;
		int order = strcmp(name, t->tensor[t->sorted[mid]].name);
		if (!order)
			return t->sorted[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return -1;
}

int tensors_part(const struct tensors *t, int64_t layer, enum tensor_part part)
{
	if (layer < -1 || layer >= t->L)
		return -1;
	return t->at[(1 + layer) * PART_COUNT + part];
}

void tensors_fill(const struct tensors *t, int i, uint64_t seed, int64_t first, int64_t n, float *out)
{
	const struct tensor *x = &t->tensor[i];
	if (x->init != TENSOR_INIT_NORMAL && x->init != TENSOR_INIT_UNIFORM) {
		for (int64_t k = 0; k < n; k++)
			out[k] = x->init == TENSOR_INIT_ONE;
		return;
	}
	uint64_t key = rng_key("init", seed, "", 0), id = rng_id(x->name, strlen(x->name));
	for (int64_t k = 0; k < n; k++) {
		uint64_t at = (uint64_t)(first + k);
		uint32_t low = (uint32_t)at, high = (uint32_t)(at >> 32);
		double draw = x->init == TENSOR_INIT_NORMAL ? rng_normal(key, id, low, high)
		                                            : 2 * rng_uniform(key, id, low, high) - 1;
		out[k] = (float)(x->init_std * draw);
	}
}

void tensor_transpose(float *y, const float *x, int64_t rows, int64_t cols)
{
	/* Tiles, so that both sides stay in the cache. */
	enum { TILE = 32 };
	for (int64_t r0 = 0; r0 < rows; r0 += TILE)
		for (int64_t c0 = 0; c0 < cols; c0 += TILE)
			for (int64_t r = r0; r < rows && r < r0 + TILE; r++)
				for (int64_t c = c0; c < cols && c < c0 + TILE; c++)
					y[c * rows + r] = x[r * cols + c];
}

const char *tensor_shape_text(char buf[TENSOR_SHAPE_TEXT], int n_dims, const int64_t *shape)
{
	size_t used = 1;
	buf[0] = '[';
	for (int i = 0; i < n_dims && used < TENSOR_SHAPE_TEXT - 24; i++)
		used += (size_t)snprintf(buf + used, TENSOR_SHAPE_TEXT - used, "%s%" PRId64, i ? ", " : "", shape[i]);
	snprintf(buf + used, TENSOR_SHAPE_TEXT - used, "]");
	return buf;
}
