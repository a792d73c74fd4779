/* Unit tests of arch: every published spelling, and what is refused. */
#include "lib/arch.h"

#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

static struct err e;

static int from(struct arch *a, const char *text)
{
	e.msg[0] = 0;
	return arch_from_config(a, text, strlen(text), &e);
}

#define GPT2 "\"model_type\":\"gpt2\",\"vocab_size\":307,\"n_positions\":40,\"n_embd\":48,\"n_layer\":2,\"n_head\":4"
#define LLAMA                                                                                                          \
	"\"vocab_size\":320,\"hidden_size\":48,\"intermediate_size\":72,\"num_hidden_layers\":2,"                      \
	"\"num_attention_heads\":4,\"max_position_embeddings\":128"

static void test_gpt2(void)
{
	struct arch a;
	test_case("gpt2: defaults of the architecture");
	CHECK_INT(from(&a, "{" GPT2 ",\"n_inner\":null,\"bos_token_id\":0,\"eos_token_id\":1}"), 0);
	CHECK_STR(a.model_type, "gpt2");
	CHECK_INT(a.F, 192);
	CHECK_INT(a.G, 4);
	CHECK_INT(a.D, 12);
	CHECK(a.tied && a.fused_qkv && a.bias_o && a.bias_mlp && !a.gated && !a.rms_norm && !a.value_model);
	CHECK_INT(a.act, KN_GELU_TANH);
	CHECK_INT(a.rope, ARCH_ROPE_NONE);
	CHECK_NEAR(a.attn_scale, 1 / sqrt(12.0), 1e-7);
	CHECK_INT(a.n_eos, 1);
	CHECK_INT(a.eos[0], 1);
	test_case("gpt2: gelu, n_inner, epsilon, untied, unscaled attention, n_ctx of old files");
	CHECK_INT(
	        from(&a,
	             "{\"model_type\":\"gpt2\",\"vocab_size\":3,\"n_ctx\":11,\"n_embd\":48,\"n_layer\":1,\"n_head\":3,"
	             "\"activation_function\":\"gelu\",\"n_inner\":90,\"layer_norm_epsilon\":1e-3,"
	             "\"tie_word_embeddings\":false,\"scale_attn_weights\":false}"),
	        0);
	CHECK_INT(a.P, 11);
	CHECK_INT(a.F, 90);
	CHECK_INT(a.act, KN_GELU_ERF);
	CHECK(!a.tied && a.attn_scale == 1 && a.bos == -1 && a.n_eos == 0);
	CHECK_NEAR(a.norm_eps, 1e-3, 1e-9);
}

static void test_llama(void)
{
	struct arch a;
	test_case("llama: defaults, list of ends, ids outside the vocabulary are left out");
	CHECK_INT(from(&a, "{\"model_type\":\"llama\"," LLAMA ",\"eos_token_id\":[1,5,-1,320],\"bos_token_id\":-1}"),
	          0);
	CHECK_INT(a.G, 4);
	CHECK_INT(a.n_eos, 2);
	CHECK_INT(a.eos[1], 5);
	CHECK(a.gated && a.rms_norm && !a.tied && !a.bias_qkv && !a.qk_norm && a.window == 0 && a.bos == -1);
	CHECK_NEAR(a.rope_theta, 10000, 0);
	test_case("rope: the spelling of transformers 5, linear scaling");
	CHECK_INT(from(&a, "{\"model_type\":\"llama\"," LLAMA
	                   ",\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":500000,\"factor\":2.0}}"),
	          0);
	float f[6];
	arch_rope_frequencies(&a, f);
	CHECK_NEAR(f[0], .5, 0);
	CHECK_NEAR(f[3], .5 * pow(500000, -.5), 1e-9);
	test_case("rope: llama3 keeps, blends and slows");
	CHECK_INT(from(&a, "{\"model_type\":\"llama\"," LLAMA
	                   ",\"head_dim\":16,\"rope_theta\":500000.0,\"rope_scaling\":{\"factor\":8.0,"
	                   "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,\"original_max_position_embeddings\":64,"
	                   "\"rope_type\":\"llama3\"}}"),
	          0);
	float g[8];
	arch_rope_frequencies(&a, g);
	CHECK_NEAR(g[0], 1, 0); /* wavelength 6.3, below 64/4 */
	double f1 = pow(500000, -1.0 / 8), s = (64 * f1 / (2 * M_PI) - 1) / 3;
	CHECK_NEAR(g[1], (1 - s) * f1 / 8 + s * f1, 1e-8);
	CHECK_NEAR(g[7], pow(500000, -7.0 / 8) / 8, 1e-12);
	test_case("qwen: biases, q and k norm, window of the upper layers");
	CHECK_INT(from(&a, "{\"model_type\":\"qwen2\"," LLAMA ",\"sliding_window\":32}"), 0);
	CHECK(a.bias_qkv && !a.bias_o && a.window == 0);
	CHECK_INT(from(&a, "{\"model_type\":\"qwen3\"," LLAMA ",\"head_dim\":16,\"use_sliding_window\":true,"
	                   "\"sliding_window\":32,\"max_window_layers\":1}"),
	          0);
	CHECK(a.qk_norm && a.D == 16 && arch_window(&a, 0) == 0 && arch_window(&a, 1) == 32);
	CHECK_INT(from(&a, "{\"model_type\":\"qwen2\"," LLAMA ",\"use_sliding_window\":true,\"sliding_window\":8,"
	                   "\"layer_types\":[\"full_attention\",\"full_attention\"]}"),
	          0);
	CHECK_INT(arch_window(&a, 1), 0);
	test_case("mistral: the window is there, null, or the default");
	CHECK_INT(from(&a, "{\"model_type\":\"mistral\"," LLAMA ",\"sliding_window\":8}"), 0);
	CHECK_INT(arch_window(&a, 0), 8);
	CHECK_INT(from(&a, "{\"model_type\":\"mistral\"," LLAMA ",\"sliding_window\":null}"), 0);
	CHECK_INT(arch_window(&a, 0), 0);
	CHECK_INT(from(&a, "{\"model_type\":\"mistral\"," LLAMA "}"), 0);
	CHECK_INT(arch_window(&a, 0), 4096);
	test_case("a sequence classifier is a value model");
	CHECK_INT(
	        from(&a, "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForSequenceClassification\"]," LLAMA "}"),
	        0);
	CHECK(a.value_model);
}

static void refused(const char *text, const char *says)
{
	struct arch a;
	CHECK_INT(from(&a, text), -1);
	if (!strstr(e.msg, says))
		test_fail(__FILE__, __LINE__, "'%s' says '%s', not '%s'", text, e.msg, says);
}

static void test_refused(void)
{
	test_case("an unknown architecture is named, and those known");
	refused("{\"model_type\":\"mamba\"}",
	        "unknown architecture 'mamba'; known are gpt2, llama, mistral, qwen2, qwen3");
	refused("{}", "'model_type' is missing");
	refused("[]", "not a JSON object");
	refused("{\"model_type\":\"llama\",", "");
	refused("{\"model_type\":\"llama\",\"architectures\":[\"LlamaForTokenClassification\"]," LLAMA "}",
	        "LlamaForTokenClassification");
	test_case("keys that change the computation are not ignored");
	static const char *const keys[] = {
	        "\"quantization_config\":{}",
	        "\"num_local_experts\":8",
	        "\"attn_logit_softcapping\":50.0",
	        "\"partial_rotary_factor\":0.5",
	        "\"add_cross_attention\":true",
	        "\"scale_attn_by_inverse_layer_idx\":true",
	        "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0}",
	        "\"rope_scaling\":{\"rope_type\":\"linear\"}",
	        "\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}",
	        "\"hidden_act\":\"mish\"",
	        "\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[1]}",
	};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct str s;
		str_init(&s);
		str_addf(&s, "{\"model_type\":\"llama\"," LLAMA ",%s}", keys[i]);
		refused(s.buf, "");
		str_release(&s);
	}
	test_case("numbers out of bounds, of the wrong kind, that do not divide");
	refused("{\"model_type\":\"gpt2\",\"vocab_size\":307,\"n_positions\":40,\"n_embd\":48,\"n_layer\":2,\"n_head\":"
	        "5}",
	        "'n_embd' is 48, not a multiple of 'n_head', 5");
	refused("{" GPT2 ",\"n_inner\":9223372036854775807}", "'n_inner' is 9223372036854775807, expected 1 to");
	refused("{" GPT2 ",\"n_inner\":1e3}", "'n_inner' is not an integer");
	refused("{" GPT2 ",\"layer_norm_epsilon\":0}", "'layer_norm_epsilon' is 0");
	refused("{" GPT2 ",\"tie_word_embeddings\":\"no\"}", "not true or false");
	refused("{" GPT2 ",\"eos_token_id\":\"x\"}", "'eos_token_id'");
	refused("{\"model_type\":\"gpt2\",\"vocab_size\":-1}", "'vocab_size' is -1");
	refused("{\"model_type\":\"llama\"," LLAMA ",\"num_key_value_heads\":3}", "'num_key_value_heads', 3");
	refused("{\"model_type\":\"llama\"," LLAMA ",\"head_dim\":7}", "odd");
	refused("{\"model_type\":\"llama\"," LLAMA ",\"head_dim\":4096}", "'head_dim' is 4096");
	refused("{\"model_type\":\"qwen2\"," LLAMA
	        ",\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\","
	        "\"full_attention\"]}",
	        "'layer_types'");
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 1 << 16);
	if (f && fread(text, 1, (1 << 16) - 1, f) > 0)
		fclose(f);
	return text;
}

static void test_shared_configs(void)
{
	static const char *const names[] = {
	        "golden/models/gpt2/model/config.json",          "golden/models/gpt2-gelu/model/config.json",
	        "golden/models/llama/model/config.json",         "golden/models/llama-rope3/model/config.json",
	        "golden/models/mistral/model/config.json",       "golden/models/qwen2/model/config.json",
	        "golden/models/qwen3/model/config.json",         "golden/models/llama-sharded/model/config.json",
	        "golden/models/llama-bf16/model/config.json",    "data/models/stories260K/hf-derived/config.json",
	        "data/models/tinystories-char-gpt2/config.json", "data/models/gpt-nano-sort/hf-derived/config.json",
	        "data/models/verl-arith-seq/config.json",
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		test_case(names[i]);
		const char *path = test_shared(names[i]);
		if (!path) {
			test_skip("../shared is not here");
			continue;
		}
		char *text = slurp(path);
		struct arch a;
		if (from(&a, text))
			test_fail(__FILE__, __LINE__, "%s", e.msg);
		CHECK(a.V > 0 && a.L > 0 && a.H % a.G == 0);
		free(text);
	}
}

int main(void)
{
	test_gpt2();
	test_llama();
	test_refused();
	test_shared_configs();
	return test_done();
}
