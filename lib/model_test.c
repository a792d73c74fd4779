/* What a tool opens: engine, a slot's files, weights mapped from the store in every dtype. */
#include "lib/decoder_test.h"

#include <unistd.h>

#include "lib/model.h"

static char store_file[64];

static uint16_t to_brain(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, 4);
	return (uint16_t)(bits >> 16);
}

/* Exact for multiples of 1/64 below 16. */
static uint16_t to_half(float x)
{
	int exponent;
	float mantissa = frexpf(fabsf(x), &exponent);
	uint16_t sign = x < 0 ? 0x8000 : 0;
	if (x == 0)
		return sign;
	return (uint16_t)(sign | (exponent + 14) << 10 | ((int)ldexpf(mantissa, 11) & 1023));
}

/* Weights that every dtype holds exactly. */
static void round_weights(struct test_model *m)
{
	for (int64_t i = 0; i < m->table.size; i++)
		m->w.slab[i] = rintf(m->w.slab[i] * 64) / 64;
}

struct fault {
	const char *missing, *misshapen;
};

static void put_model(struct store *s, const struct test_model *m, const char *config, enum kn_dtype dtype,
                      const struct fault *f)
{
	static const char generation[] = "{\"eos_token_id\": [3, 5], \"bos_token_id\": 1}";
	struct err e = {""};
	struct store_update *u = store_update_begin(s, &e);
	CHECK(u != NULL);
	for (int i = 0; i < m->table.n; i++) {
		const struct tensor *t = m->table.tensor + i;
		const float *x = m->w.slab + t->offset;
		uint16_t *half = xcalloc((size_t)t->count, sizeof *half);
		int64_t shape[2] = {t->shape[0], t->shape[1]};
		for (int64_t j = 0; dtype != KN_F32 && j < t->count; j++)
			half[j] = dtype == KN_BF16 ? to_brain(x[j]) : to_half(x[j]);
		if (f && f->misshapen && !strcmp(t->name, f->misshapen))
			shape[0]--;
		if (!f || !f->missing || strcmp(t->name, f->missing))
			CHECK_INT(store_put(u, "policy", 0, t->name, dtype, t->n_dims, shape,
			                    dtype == KN_F32 ? (const void *)x : half, &e),
			          0);
		free(half);
	}
	CHECK_INT(store_put_blob(u, "policy", "file/config.json", config, strlen(config), &e), 0);
	CHECK_INT(store_put_blob(u, "policy", "file/generation_config.json", generation, strlen(generation), &e), 0);
	CHECK_INT(store_put_current(u, "policy", 0, &e), 0);
	if (store_update_commit(u, &e))
		test_fail(__FILE__, __LINE__, "%s", e.msg);
}

static struct store *new_store(const struct test_model *m, const char *config, enum kn_dtype dtype,
                               const struct fault *f)
{
	struct err e = {""};
	unlink(store_file);
	struct store *s = store_open(store_file, STORE_CREATE, &e);
	if (s)
		put_model(s, m, config, dtype, f);
	else
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return s;
}

/* Logits of a few tokens. */
static void logits_of(struct decoder *d, const struct weights *w, float *logits)
{
	static const int32_t token[6] = {4, 9, 33, 2, 9, 70}, pos[6] = {0, 1, 2, 3, 4, 5};
	struct kn_seq seq = {0, 6, 0, 0, 0, 0};
	struct batch b = {6, 1, token, pos, &seq};
	struct err e = {""};
	float *h = xaligned(6 * (size_t)d->arch->C * 4);
	CHECK_INT(decoder_forward(d, w, &b, NULL, NULL, h, &e), 0);
	CHECK_INT(decoder_logits(d, w, h, 6, logits, &e), 0);
	free(h);
}

/* Mapped from the store, any dtype gives the bits of the float32 slab. */
static void test_dtypes(const char *name, const char *config)
{
	static const char *const dtype_name[] = {"float32", "bfloat16", "float16"};
	struct test_backend b;
	struct test_model m;
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, config, false));
	round_weights(&m);
	size_t bytes = 6 * (size_t)m.arch.V * 4;
	float *want = xaligned(bytes), *got = xaligned(bytes);
	logits_of(&m.d, &m.w, want);
	for (enum kn_dtype t = KN_F32; t <= KN_F16; t++) {
		char label[128];
		struct err e = {""};
		struct model_info info;
		struct store_ref ref;
		struct weights w;
		struct decoder d;
		snprintf(label, sizeof label, "%s in %s: mapped and copied weights give the same bits", name,
		         dtype_name[t]);
		test_case(label);
		struct store *s = new_store(&m, config, t, NULL);
		struct store_view *v = store_view_open(s, &e);
		CHECK(v && store_resolve(v, "", &ref, &e) == 0);
		CHECK_INT(model_info_load(&info, v, "policy", true, &e), 0);
		CHECK(!info.tokenizer && info.n_eos == 2 && model_is_eos(&info, 5) && !model_is_eos(&info, 4));
		CHECK_INT(decoder_init(&d, &info.arch, &info.table, b.k, &e), 0);
		if (weights_map(&w, b.k, &info.table, v, &ref, &e)) {
			test_fail(__FILE__, __LINE__, "%s", e.msg);
			exit(test_done());
		}
		struct store_tensor raw;
		int embedding = tensors_part(&info.table, -1, PART_TOKENS);
		CHECK(store_get(v, &ref, info.table.tensor[embedding].name, &raw, &e) == 1 &&
		      w.mat[embedding].blocks[0].data == raw.blocks[0].data);
		logits_of(&d, &w, got);
		CHECK(!memcmp(want, got, bytes));
		weights_release(&w);
		CHECK_INT(weights_copy(&w, b.k, &info.table, v, &ref, &e), 0);
		memset(got, 0, bytes);
		logits_of(&d, &w, got);
		CHECK(!memcmp(want, got, bytes));
		weights_release(&w);
		decoder_release(&d);
		model_info_release(&info);
		store_view_close(v);
		store_close(s);
		test_close();
	}
	free(want);
	free(got);
	test_model_close(&m);
	test_backend_close(&b);
}

static void check_refused(const struct test_model *m, const struct fault *f, const char *text)
{
	struct err e = {""};
	struct weights w;
	struct model_info info;
	struct store_ref ref;
	struct store *s = new_store(m, test_llama_config, KN_F32, f);
	struct store_view *v = store_view_open(s, &e);
	CHECK(v && store_resolve(v, "", &ref, &e) == 0 && model_info_load(&info, v, "policy", true, &e) == 0);
	CHECK_INT(weights_map(&w, m->k, &info.table, v, &ref, &e), -1);
	if (!strstr(e.msg, text))
		test_fail(__FILE__, __LINE__, "'%s' is not in: %s", text, e.msg);
	CHECK_INT(weights_copy(&w, m->k, &info.table, v, &ref, &e), -1);
	model_info_release(&info);
	store_view_close(v);
	store_close(s);
}

static void test_faults(void)
{
	struct test_backend b;
	struct test_model m;
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, test_llama_config, false));
	test_case("a tensor that is missing is named");
	check_refused(&m, &(struct fault){"model.layers.1.mlp.up_proj.weight", NULL},
	              "no tensor 'model.layers.1.mlp.up_proj.weight'");
	test_case("a tensor of another shape is named with both");
	check_refused(&m, &(struct fault){NULL, "model.layers.0.self_attn.q_proj.weight"},
	              "'model.layers.0.self_attn.q_proj.weight' is [39, 40], expected [40, 40]");
	test_case("a vector of another length too");
	check_refused(&m, &(struct fault){NULL, "model.norm.weight"}, "'model.norm.weight' is [39], expected [40]");
	test_model_close(&m);
	test_backend_close(&b);
}

static void test_value_head(void)
{
	struct test_backend b;
	struct test_model m;
	struct err e = {""};
	struct model_info info;
	test_case("a value head in the store is in the table, and zero where a version lacks it");
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, test_llama_config, true));
	for (int has = 0; has < 2; has++) {
		struct store_ref ref;
		struct weights w;
		struct fault without = {"score.weight", NULL};
		struct store *s = new_store(&m, test_llama_config, KN_F32, has ? NULL : &without);
		struct store_view *v = store_view_open(s, &e);
		CHECK(v && store_resolve(v, "", &ref, &e) == 0 && model_info_load(&info, v, "policy@0", true, &e) == 0);
		CHECK_INT(tensors_part(&info.table, -1, PART_SCORE) >= 0, has);
		CHECK_INT(weights_map(&w, b.k, &m.table, v, &ref, &e), 0);
		float at = weights_vector(&w, tensors_part(&m.table, -1, PART_SCORE))[3];
		CHECK(has ? at == m.w.slab[m.table.tensor[tensors_part(&m.table, -1, PART_SCORE)].offset + 3]
		          : at == 0);
		weights_release(&w);
		model_info_release(&info);
		store_view_close(v);
		store_close(s);
	}
	test_model_close(&m);
	test_backend_close(&b);
}

static void test_engine(void)
{
	struct engine g;
	struct err e = {""};
	test_case("engine: what is not there is named");
	CHECK_INT(engine_open(&g, &(struct engine_config){1, "gpu", ""}, &e), -1);
	CHECK(strstr(e.msg, "'gpu'"));
	CHECK_INT(engine_open(&g, &(struct engine_config){1, "cpu", "avx1024"}, &e), -1);
	CHECK(strstr(e.msg, "'avx1024'"));
	CHECK_INT(engine_open(&g, &(struct engine_config){1, "cuda:x", ""}, &e), -1);
	CHECK(strstr(e.msg, "'cuda:x'"));
	CHECK_INT(engine_open(&g, &(struct engine_config){2, "cpu", "plain"}, &e), 0);
	CHECK_STR(g.k->name, "cpu-plain");
	engine_close(&g);
	CHECK_INT(engine_open(&g, &(struct engine_config){1, "ref", ""}, &e), 0);
	CHECK_STR(g.k->name, "ref");
	engine_close(&g);
}

int main(void)
{
	snprintf(store_file, sizeof store_file, P_tmpdir "/model_test.%ld.lmdb", (long)getpid());
	test_dtypes("gpt2", test_gpt2_config);
	test_dtypes("llama", test_llama_config);
	test_faults();
	test_value_head();
	test_engine();
	unlink(store_file);
	char lock[96];
	snprintf(lock, sizeof lock, "%s-lock", store_file);
	unlink(lock);
	return test_done();
}
