/* Unit tests of tensors: the table against names and counts written down by hand. */
#include "lib/tensors.h"

#include "lib/test.h"

static struct err e;

static struct arch make(const char *text)
{
	struct arch a;
	if (arch_from_config(&a, text, strlen(text), &e))
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return a;
}

#define GPT2                                                                                                           \
	"{\"model_type\":\"gpt2\",\"vocab_size\":50257,\"n_positions\":1024,\"n_embd\":768,\"n_layer\":12,\"n_head\":" \
	"12}"
#define LLAMA(extra)                                                                                                   \
	"{\"model_type\":\"llama\",\"vocab_size\":512,\"hidden_size\":64,\"intermediate_size\":172,"                   \
	"\"num_hidden_layers\":5,\"num_attention_heads\":8,\"num_key_value_heads\":4,"                                 \
	"\"max_position_embeddings\":512" extra "}"

static void is(const struct tensors *t, int64_t layer, enum tensor_part part, const char *name, int64_t rows,
               int64_t cols)
{
	int i = tensors_part(t, layer, part);
	CHECK(i >= 0);
	if (i < 0)
		return;
	const struct tensor *x = &t->tensor[i];
	CHECK_STR(x->name, name);
	CHECK_INT(tensors_find(t, name), i);
	CHECK_INT(x->rows, rows);
	CHECK_INT(x->cols, cols);
	CHECK_INT(x->count, rows * cols);
	CHECK_INT(x->layer, layer);
}

static void test_table(void)
{
	struct tensors t;
	test_case("gpt2: 124,439,808 weights in 148 tensors");
	struct arch a = make(GPT2);
	CHECK_INT(tensors_init(&t, &a, false, &e), 0);
	CHECK_INT(t.n, 148);
	CHECK_INT(t.count, 124439808);
	is(&t, -1, PART_TOKENS, "transformer.wte.weight", 50257, 768);
	is(&t, -1, PART_POSITIONS, "transformer.wpe.weight", 1024, 768);
	is(&t, 11, PART_QKV, "transformer.h.11.attn.c_attn.weight", 2304, 768);
	is(&t, 3, PART_QKV_BIAS, "transformer.h.3.attn.c_attn.bias", 1, 2304);
	is(&t, 0, PART_DOWN, "transformer.h.0.mlp.c_proj.weight", 768, 3072);
	CHECK(t.tensor[tensors_part(&t, 0, PART_DOWN)].transposed);
	CHECK(!t.tensor[tensors_part(&t, -1, PART_TOKENS)].transposed);
	CHECK_INT(tensors_part(&t, 0, PART_GATE), -1);
	CHECK_INT(tensors_part(&t, -1, PART_HEAD), -1);
	CHECK_INT(tensors_part(&t, 12, PART_O), -1);
	CHECK_INT(tensors_find(&t, "wte.weight"), -1);
	tensors_release(&t);

	test_case("llama: untied, with a value head; offsets are aligned and do not overlap");
	a = make(LLAMA(""));
	CHECK_INT(tensors_init(&t, &a, true, &e), 0);
	is(&t, -1, PART_HEAD, "lm_head.weight", 512, 64);
	is(&t, -1, PART_SCORE, "score.weight", 1, 64);
	CHECK_INT(t.tensor[tensors_part(&t, -1, PART_SCORE)].n_dims, 2);
	is(&t, 4, PART_K, "model.layers.4.self_attn.k_proj.weight", 32, 64);
	is(&t, 4, PART_UP, "model.layers.4.mlp.up_proj.weight", 172, 64);
	is(&t, -1, PART_NORM, "model.norm.weight", 1, 64);
	int64_t end = 0;
	for (int i = 0; i < t.n; i++) {
		CHECK_INT(t.tensor[i].offset % 16, 0);
		CHECK(t.tensor[i].offset >= end && t.tensor[i].offset < end + 16);
		end = t.tensor[i].offset + t.tensor[i].count;
	}
	CHECK(end <= t.size);
	tensors_release(&t);

	test_case("a value model has no head");
	a = make(LLAMA(",\"architectures\":[\"LlamaForSequenceClassification\"]"));
	CHECK_INT(tensors_init(&t, &a, false, &e), 0);
	CHECK_INT(tensors_part(&t, -1, PART_HEAD), -1);
	CHECK(tensors_part(&t, -1, PART_SCORE) >= 0);
	tensors_release(&t);

	test_case("biases and norms of qwen");
	a = make("{\"model_type\":\"qwen2\",\"vocab_size\":7,\"hidden_size\":8,\"intermediate_size\":9,"
	         "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"max_position_embeddings\":5}");
	CHECK_INT(tensors_init(&t, &a, false, &e), 0);
	is(&t, 0, PART_K_BIAS, "model.layers.0.self_attn.k_proj.bias", 1, 8);
	CHECK_INT(tensors_part(&t, 0, PART_O_BIAS), -1);
	tensors_release(&t);
}

static void test_fill(void)
{
	test_case("initialisation: the architecture's spread, the same in any pieces");
	struct tensors t;
	struct arch a = make(GPT2);
	CHECK_INT(tensors_init(&t, &a, false, &e), 0);
	enum { N = 20000 };
	static float x[N], y[N];
	static const struct {
		enum tensor_part part;
		double std;
	} want[] = {{PART_QKV, .02}, {PART_O, .02 / 4.898979486}, {PART_UP, .02}, {PART_DOWN, .02 / 4.898979486}};
	for (size_t i = 0; i < 4; i++) {
		tensors_fill(&t, tensors_part(&t, 2, want[i].part), 7, 0, N, x);
		double sum = 0, square = 0;
		for (int k = 0; k < N; k++) {
			sum += x[k];
			square += (double)x[k] * x[k];
		}
		CHECK_NEAR(sqrt(square / N) / want[i].std, 1, .03); /* the standard error is .005 */
		CHECK_NEAR(sum / N / want[i].std, 0, .04);
	}
	int q = tensors_part(&t, 2, PART_DOWN);
	tensors_fill(&t, q, 7, 5000, 3, y);
	CHECK(!memcmp(y, x + 5000, sizeof(float) * 3));
	tensors_fill(&t, q, 8, 5000, 3, y);
	CHECK(memcmp(y, x + 5000, sizeof(float) * 3) != 0);
	tensors_fill(&t, tensors_part(&t, 2, PART_NORM1), 7, 0, 768, x);
	CHECK(x[0] == 1 && x[767] == 1);
	tensors_fill(&t, tensors_part(&t, 2, PART_NORM1_BIAS), 7, 0, 768, x);
	CHECK(x[0] == 0 && x[767] == 0);
	tensors_release(&t);
	test_case("shapes as text");
	char buf[TENSOR_SHAPE_TEXT];
	CHECK_STR(tensor_shape_text(buf, 2, (int64_t[]){768, 2304}), "[768, 2304]");
	CHECK_STR(tensor_shape_text(buf, 0, NULL), "[]");
}

int main(void)
{
	test_table();
	test_fill();
	return test_done();
}
