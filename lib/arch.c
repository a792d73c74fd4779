/* arch - see arch.h */
#include "lib/arch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/record.h"
#include "lib/util.h"

/* Limits: far above any model there is, and low enough that every product of four of them fits 63 bits. */
#define MAX_V ((int64_t)1 << 24)
#define MAX_P ((int64_t)1 << 28)
#define MAX_C ((int64_t)1 << 18)
#define MAX_F ((int64_t)1 << 20)
#define MAX_H 4096
#define MAX_L 4096
#define MAX_CONFIG (1 << 24)

/* ---- typed keys of an object: absent and null give the default ---- */

static bool there(const struct json *object, const char *key, struct json *out)
{
	return json_member(object, key, out) && out->kind != JSON_NULL;
}

static int get_int(const struct json *o, const char *key, int64_t fallback, int64_t min, int64_t max, int64_t *out,
                   struct err *e)
{
	struct json v;
	if (!there(o, key, &v)) {
		if (fallback < min)
			return err_set(e, "'%s' is missing", key);
		*out = fallback;
		return 0;
	}
	if (v.kind != JSON_NUMBER || !v.is_int)
		return err_set(e, "'%s' is not an integer", key);
	if (v.integer < min || v.integer > max)
		return err_set(e, "'%s' is %" PRId64 ", expected %" PRId64 " to %" PRId64, key, v.integer, min, max);
	*out = v.integer;
	return 0;
}

/* fallback NAN: the key must be there */
static int get_num(const struct json *o, const char *key, double fallback, double min, double max, double *out,
                   struct err *e)
{
	struct json v;
	if (!there(o, key, &v)) {
		if (isnan(fallback))
			return err_set(e, "'%s' is missing", key);
		*out = fallback;
		return 0;
	}
	if (v.kind != JSON_NUMBER)
		return err_set(e, "'%s' is not a number", key);
	if (!(v.number >= min && v.number <= max))
		return err_set(e, "'%s' is %g, expected %g to %g", key, v.number, min, max);
	*out = v.number;
	return 0;
}

static int get_bool(const struct json *o, const char *key, bool fallback, bool *out, struct err *e)
{
	struct json v;
	*out = fallback;
	if (!there(o, key, &v))
		return 0;
	if (v.kind != JSON_BOOL)
		return err_set(e, "'%s' is not true or false", key);
	*out = v.boolean;
	return 0;
}

/* A string into a terminated buffer; what does not fit is cut, which no known word survives. */
static int get_word(const struct json *o, const char *key, const char *fallback, char *out, size_t size, struct err *e)
{
	struct json v;
	if (!there(o, key, &v)) {
		snprintf(out, size, "%s", fallback);
		return 0;
	}
	if (v.kind != JSON_STRING)
		return err_set(e, "'%s' is not a string", key);
	snprintf(out, size, "%.*s", (int)(v.len < 4096 ? v.len : 4096), v.text);
	return 0;
}

/* ---- what is not implemented is refused ---- */

enum refuse { UNLESS_NULL, UNLESS_FALSE, UNLESS_ONE };
static const struct {
	const char *key;
	enum refuse when;
} refused[] = {
        {"quantization_config", UNLESS_NULL},
        {"num_local_experts", UNLESS_NULL},
        {"num_experts", UNLESS_NULL},
        {"n_routed_experts", UNLESS_NULL},
        {"attn_logit_softcapping", UNLESS_NULL},
        {"final_logit_softcapping", UNLESS_NULL},
        {"query_pre_attn_scalar", UNLESS_NULL},
        {"partial_rotary_factor", UNLESS_ONE},
        {"rope_interleaved", UNLESS_FALSE},
        {"scale_attn_by_inverse_layer_idx", UNLESS_FALSE},
        {"add_cross_attention", UNLESS_FALSE},
        {"is_encoder_decoder", UNLESS_FALSE},
        {"qk_layernorm", UNLESS_FALSE},
        {"use_qk_norm", UNLESS_FALSE},
        {"attention_multiplier", UNLESS_ONE},
        {"residual_multiplier", UNLESS_ONE},
        {"embedding_multiplier", UNLESS_ONE},
        {"logits_scaling", UNLESS_ONE},
        {"logit_scale", UNLESS_ONE},
};

static int refuse_keys(const struct json *o, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct json v;
		if (!there(o, refused[i].key, &v))
			continue;
		if (refused[i].when == UNLESS_FALSE && v.kind == JSON_BOOL && !v.boolean)
			continue;
		if (refused[i].when == UNLESS_ONE && v.kind == JSON_NUMBER && v.number == 1)
			continue;
		return err_set(e, "'%s' changes what the model computes and is not implemented", refused[i].key);
	}
	return 0;
}

/* ---- the parts that differ ---- */

static int read_activation(struct arch *a, const struct json *o, const char *key, const char *fallback, struct err *e)
{
	static const struct {
		const char *name;
		enum kn_act act;
	} known[] = {
	        {"gelu_new", KN_GELU_TANH},  {"gelu_pytorch_tanh", KN_GELU_TANH},
	        {"gelu_fast", KN_GELU_TANH}, {"gelu", KN_GELU_ERF},
	        {"relu", KN_RELU},           {"silu", KN_SILU},
	        {"swish", KN_SILU},
	};
	char word[48];
	if (get_word(o, key, fallback, word, sizeof word, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(word, known[i].name)) {
			a->act = known[i].act;
			return 0;
		}
	return err_set(e, "'%s' is '%s'; known are gelu_new, gelu, relu, silu", key, word);
}

static int read_rope_type(struct arch *a, const struct json *o, const char *key, struct err *e)
{
	static const char *const known[] = {"none", "default", "linear", "llama3"};
	char word[32];
	struct json v;
	const char *name = there(o, "rope_type", &v) ? "rope_type" : "type";
	if (get_word(o, name, "default", word, sizeof word, e))
		return err_where(e, "%s", key);
	for (size_t i = ARCH_ROPE_DEFAULT; i < ARRAY_LEN(known); i++)
		if (!strcmp(word, known[i])) {
			a->rope = (enum arch_rope)i;
			return 0;
		}
	return err_set(e, "%s: '%s' is '%s'; known are default, linear, llama3", key, name, word);
}

static int read_rope_scaling(struct arch *a, const struct json *o, const char *key, struct err *e)
{
	struct json v;
	if (o->kind != JSON_OBJECT)
		return err_set(e, "'%s' is not an object", key);
	if (there(o, "mrope_section", &v) || there(o, "full_attention", &v) || there(o, "sliding_attention", &v))
		return err_set(e, "'%s' has rope of several kinds, which is not implemented", key);
	if (refuse_keys(o, e) || read_rope_type(a, o, key, e) ||
	    get_num(o, "rope_theta", a->rope_theta, 1, 1e12, &a->rope_theta, e))
		return -1;
	if (a->rope == ARCH_ROPE_DEFAULT)
		return 0;
	if (get_num(o, "factor", NAN, 1e-3, 1e6, &a->rope_factor, e))
		return err_where(e, "%s", key);
	if (a->rope == ARCH_ROPE_LINEAR)
		return 0;
	if (get_num(o, "low_freq_factor", NAN, 1e-3, 1e6, &a->rope_low, e) ||
	    get_num(o, "high_freq_factor", NAN, 1e-3, 1e6, &a->rope_high, e) ||
	    get_int(o, "original_max_position_embeddings", -1, 1, MAX_P, &a->rope_original, e))
		return err_where(e, "%s", key);
	if (a->rope_high <= a->rope_low)
		return err_set(e, "%s: 'high_freq_factor' is %g, not above 'low_freq_factor', %g", key, a->rope_high,
		               a->rope_low);
	return 0;
}

static int read_rope(struct arch *a, const struct json *o, struct err *e)
{
	struct json v;
	a->rope = ARCH_ROPE_DEFAULT;
	if (get_num(o, "rope_theta", 10000, 1, 1e12, &a->rope_theta, e))
		return -1;
	if (there(o, "rope_parameters", &v) && read_rope_scaling(a, &v, "rope_parameters", e))
		return -1;
	if (there(o, "rope_scaling", &v) && read_rope_scaling(a, &v, "rope_scaling", e))
		return -1;
	return a->D % 2 ? err_set(e, "the head size is %" PRId64 ", odd, and rope turns pairs", a->D) : 0;
}

/* layer_types must be full attention up to some layer and sliding from there on: that is what a model has whose layers
 * are counted by max_window_layers. */
struct layer_types {
	int64_t n, first_sliding;
	bool bad;
};

static int layer_type(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct layer_types *t = arg;
	(void)key, (void)key_len;
	bool full = item->kind == JSON_STRING && item->len == 14 && !memcmp(item->text, "full_attention", 14);
	bool sliding = item->kind == JSON_STRING && item->len == 17 && !memcmp(item->text, "sliding_attention", 17);
	if ((!full && !sliding) || (full && t->first_sliding >= 0))
		t->bad = true;
	if (sliding && t->first_sliding < 0)
		t->first_sliding = i;
	t->n = i + 1;
	return t->bad;
}

/* Mistral: every layer.  Qwen: only with use_sliding_window, layers from max_window_layers or as layer_types says. */
static int read_window(struct arch *a, const struct json *o, struct err *e)
{
	bool qwen = !strncmp(a->model_type, "qwen", 4), used = true;
	int64_t window, from = 0;
	struct json v;
	if (!strcmp(a->model_type, "llama"))
		return 0;
	if (qwen && get_bool(o, "use_sliding_window", false, &used, e))
		return -1;
	/* null is none, an absent key is the default of both. */
	if (get_int(o, "sliding_window", json_member(o, "sliding_window", &v) ? 0 : 4096, 0, MAX_P, &window, e))
		return -1;
	if (qwen && get_int(o, "max_window_layers", 28, 0, INT32_MAX, &from, e))
		return -1;
	if (there(o, "layer_types", &v)) {
		struct layer_types t = {.first_sliding = -1};
		if (v.kind != JSON_ARRAY)
			return err_set(e, "'layer_types' is not an array");
		json_each(&v, layer_type, &t);
		if (t.bad || t.n != a->L)
			return err_set(e,
			               "'layer_types' must be %" PRId64
			               " of full_attention, then sliding_attention; at %" PRId64 " it is not",
			               a->L, t.n);
		from = t.first_sliding < 0 ? a->L : t.first_sliding;
	}
	if (used && from < a->L) {
		a->window = window;
		a->window_from = from;
	}
	return 0;
}

static int read_gpt2(struct arch *a, const struct json *o, struct err *e)
{
	bool scaled;
	double eps;
	int64_t n_ctx;
	if (get_int(o, "n_ctx", 0, 0, MAX_P, &n_ctx, e) || get_int(o, "n_positions", n_ctx, 1, MAX_P, &a->P, e) ||
	    get_int(o, "n_embd", -1, 1, MAX_C, &a->C, e) || get_int(o, "n_layer", -1, 1, MAX_L, &a->L, e) ||
	    get_int(o, "n_head", -1, 1, MAX_H, &a->H, e) || get_int(o, "n_inner", 4 * a->C, 1, MAX_F, &a->F, e) ||
	    get_num(o, "layer_norm_epsilon", 1e-5, 1e-12, 1, &eps, e) ||
	    get_bool(o, "scale_attn_weights", true, &scaled, e) ||
	    get_bool(o, "tie_word_embeddings", true, &a->tied, e) ||
	    read_activation(a, o, "activation_function", "gelu_new", e))
		return -1;
	if (a->C % a->H)
		return err_set(e, "'n_embd' is %" PRId64 ", not a multiple of 'n_head', %" PRId64, a->C, a->H);
	a->G = a->H;
	a->D = a->C / a->H;
	a->norm_eps = (float)eps;
	a->fused_qkv = a->bias_qkv = a->bias_o = a->bias_mlp = true;
	a->init_residual = a->transposed_file = true;
	a->attn_scale = scaled ? (float)(1 / sqrt((double)a->D)) : 1;
	return 0;
}

static int read_biases(struct arch *a, const struct json *o, struct err *e)
{
	bool attention;
	if (get_bool(o, "attention_bias", false, &attention, e) || get_bool(o, "mlp_bias", false, &a->bias_mlp, e))
		return -1;
	/* Qwen2 has biases on q, k and v that no key speaks of. */
	a->bias_qkv = attention || !strcmp(a->model_type, "qwen2");
	a->bias_o = attention;
	return 0;
}

static int read_head_dim(struct arch *a, const struct json *o, struct err *e)
{
	struct json v;
	if (there(o, "head_dim", &v))
		return get_int(o, "head_dim", -1, 1, KN_MAX_HEAD, &a->D, e);
	if (a->C % a->H)
		return err_set(e, "'hidden_size' is %" PRId64 ", not a multiple of 'num_attention_heads', %" PRId64,
		               a->C, a->H);
	a->D = a->C / a->H;
	return 0;
}

static int read_llama(struct arch *a, const struct json *o, struct err *e)
{
	double eps;
	if (get_int(o, "max_position_embeddings", -1, 1, MAX_P, &a->P, e) ||
	    get_int(o, "hidden_size", -1, 1, MAX_C, &a->C, e) ||
	    get_int(o, "num_hidden_layers", -1, 1, MAX_L, &a->L, e) ||
	    get_int(o, "num_attention_heads", -1, 1, MAX_H, &a->H, e) ||
	    get_int(o, "num_key_value_heads", a->H, 1, MAX_H, &a->G, e) ||
	    get_int(o, "intermediate_size", -1, 1, MAX_F, &a->F, e) ||
	    get_num(o, "rms_norm_eps", 1e-6, 1e-12, 1, &eps, e) ||
	    get_bool(o, "tie_word_embeddings", false, &a->tied, e) || read_activation(a, o, "hidden_act", "silu", e) ||
	    read_biases(a, o, e) || read_head_dim(a, o, e) || read_rope(a, o, e) || read_window(a, o, e))
		return -1;
	if (a->H % a->G)
		return err_set(
		        e, "'num_attention_heads' is %" PRId64 ", not a multiple of 'num_key_value_heads', %" PRId64,
		        a->H, a->G);
	a->norm_eps = (float)eps;
	a->rms_norm = a->gated = true;
	a->qk_norm = !strcmp(a->model_type, "qwen3");
	a->attn_scale = (float)(1 / sqrt((double)a->D));
	return 0;
}

/* ---- what all have ---- */

static void take_id(struct arch *a, const struct json *v)
{
	/* Ids outside the vocabulary (some files say -1) are never sampled: they are left out. */
	if (v->kind == JSON_NUMBER && v->is_int && v->integer >= 0 && v->integer < a->V && a->n_eos < ARCH_MAX_EOS)
		a->eos[a->n_eos++] = (int32_t)v->integer;
}

static int take_eos(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)i, (void)key, (void)key_len;
	take_id(arg, item);
	return 0;
}

static int read_special(struct arch *a, const struct json *o, struct err *e)
{
	struct json v;
	int64_t bos;
	if (get_int(o, "bos_token_id", -1, -1, INT32_MAX, &bos, e))
		return -1;
	a->bos = bos < a->V ? (int32_t)bos : -1;
	if (!there(o, "eos_token_id", &v))
		return 0;
	if (v.kind == JSON_ARRAY)
		json_each(&v, take_eos, a);
	else if (v.kind == JSON_NUMBER && v.is_int)
		take_id(a, &v);
	else
		return err_set(e, "'eos_token_id' is neither an integer nor a list of integers");
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

static int first_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)i, (void)key, (void)key_len;
	*(struct json *)arg = *item;
	return 1;
}

/* The class the weights were saved by: a language model, its backbone alone, or a value model. */
static int read_class(struct arch *a, const struct json *o, struct err *e)
{
	struct json list, v = {.kind = JSON_ABSENT};
	if (!there(o, "architectures", &list))
		return 0;
	if (list.kind != JSON_ARRAY)
		return err_set(e, "'architectures' is not an array");
	if (!json_each(&list, first_item, &v))
		return 0;
	if (v.kind != JSON_STRING)
		return err_set(e, "'architectures' is not an array of strings");
	char word[64];
	snprintf(word, sizeof word, "%.*s", (int)(v.len < 4096 ? v.len : 4096), v.text);
	a->value_model = ends_with(word, "ForSequenceClassification");
	if (a->value_model || ends_with(word, "ForCausalLM") || ends_with(word, "LMHeadModel") ||
	    ends_with(word, "Model"))
		if (!ends_with(word, "DoubleHeadsModel"))
			return 0;
	return err_set(e, "unknown architecture '%s'; known are ForCausalLM, LMHeadModel and ForSequenceClassification",
	               word);
}

static const struct {
	const char *type;
	int (*read)(struct arch *a, const struct json *o, struct err *e);
} known[] = {
        {"gpt2", read_gpt2},   {"llama", read_llama}, {"mistral", read_llama},
        {"qwen2", read_llama}, {"qwen3", read_llama},
};

static int read_type(struct arch *a, const struct json *o, struct err *e)
{
	char word[48];
	if (get_word(o, "model_type", "", word, sizeof word, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(word, known[i].type)) {
			snprintf(a->model_type, sizeof a->model_type, "%s", known[i].type);
			if (refuse_keys(o, e) || read_class(a, o, e) ||
			    get_int(o, "vocab_size", -1, 1, MAX_V, &a->V, e) ||
			    get_num(o, "initializer_range", .02, 0, 10, &a->init_std, e))
				return -1;
			return known[i].read(a, o, e);
		}
	if (!*word)
		return err_set(e, "'model_type' is missing; known are gpt2, llama, mistral, qwen2, qwen3");
	return err_set(e, "unknown architecture '%s'; known are gpt2, llama, mistral, qwen2, qwen3", word);
}

int arch_from_config(struct arch *a, const char *text, size_t len, struct err *e)
{
	*a = (struct arch){.bos = -1};
	if (len > MAX_CONFIG)
		return err_set(e, "%zu bytes, at most %d", len, MAX_CONFIG);
	struct record *r = record_new();
	struct json top;
	int failed = record_parse_value(r, text, len, &top, e);
	if (!failed && top.kind != JSON_OBJECT)
		failed = err_set(e, "not a JSON object");
	if (!failed)
		failed = read_type(a, &top, e);
	if (!failed)
		failed = read_special(a, &top, e);
	if (!failed && a->D > KN_MAX_HEAD)
		failed = err_set(e, "the head size is %" PRId64 ", at most %d", a->D, KN_MAX_HEAD);
	record_free(r);
	return failed;
}

/* ---- questions ---- */

bool arch_same(const struct arch *a, const struct arch *b)
{
	bool sizes = a->V == b->V && a->P == b->P && a->C == b->C && a->H == b->H && a->G == b->G && a->D == b->D &&
	             a->F == b->F && a->L == b->L;
	bool blocks = a->rms_norm == b->rms_norm && a->norm_eps == b->norm_eps && a->fused_qkv == b->fused_qkv &&
	              a->bias_qkv == b->bias_qkv && a->bias_o == b->bias_o && a->bias_mlp == b->bias_mlp &&
	              a->qk_norm == b->qk_norm && a->gated == b->gated && a->act == b->act && a->tied == b->tied &&
	              a->attn_scale == b->attn_scale && a->window == b->window && a->window_from == b->window_from;
	bool rope = a->rope == b->rope && a->rope_theta == b->rope_theta && a->rope_factor == b->rope_factor &&
	            a->rope_low == b->rope_low && a->rope_high == b->rope_high && a->rope_original == b->rope_original;
	return !strcmp(a->model_type, b->model_type) && sizes && blocks && rope && a->value_model == b->value_model;
}

int64_t arch_window(const struct arch *a, int64_t layer)
{
	return layer >= a->window_from ? a->window : 0;
}

static double llama3_frequency(const struct arch *a, double f)
{
	double wave = 2 * M_PI / f, original = (double)a->rope_original;
	if (wave < original / a->rope_high)
		return f;
	if (wave > original / a->rope_low)
		return f / a->rope_factor;
	double s = (original / wave - a->rope_low) / (a->rope_high - a->rope_low);
	return (1 - s) * f / a->rope_factor + s * f;
}

void arch_rope_frequencies(const struct arch *a, float *inv_freq)
{
	for (int64_t i = 0; i < a->D / 2; i++) {
		double f = pow(a->rope_theta, -2.0 * (double)i / (double)a->D);
		if (a->rope == ARCH_ROPE_LINEAR)
			f /= a->rope_factor;
		else if (a->rope == ARCH_ROPE_LLAMA3)
			f = llama3_frequency(a, f);
		inv_freq[i] = (float)f;
	}
}
