/* The decoder against activations that PyTorch gave for real models, in ../shared/data/models. */
#include "lib/decoder_test.h"

#include "lib/decoder_impl.h"
#include "lib/select.h"

static bool read_json(struct record *r, const char *name)
{
	size_t len;
	struct err e;
	const char *path = test_shared(name);
	char *text = path ? test_read(path, &len) : NULL;
	bool ok = text && record_parse(r, text, len, &e) == 0;
	free(text);
	return ok;
}

static void compare(const char *what, const float *x, const float *truth, int64_t n)
{
	double square = 0, wrong = 0, max = 0;
	for (int64_t i = 0; i < n; i++) {
		double by = fabs((double)x[i] - truth[i]);
		max = by > max ? by : max;
		wrong += by * by;
		square += (double)truth[i] * truth[i];
	}
	if (!(max <= 1e-4 && wrong <= 1e-11 * square))
		test_fail(__FILE__, __LINE__, "%s: max %.3g, nmse %.3g", what, max, wrong / square);
}

/* ---- tiny-gpt2-golden: GPT2LMHeadModel, one sequence of eight tokens ---- */

static void test_tiny_gpt2(void)
{
	static const char config[] =
	        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2LMHeadModel\"],\"activation_function\":\"gelu_new\","
	        "\"n_embd\":32,\"n_head\":2,\"n_layer\":2,\"n_inner\":64,\"n_positions\":16,\"vocab_size\":61,"
	        "\"layer_norm_epsilon\":1e-5,\"tie_word_embeddings\":true}";
	static const char dir[] = "data/models/tiny-gpt2-golden";
	struct test_backend b;
	struct test_model m;
	struct arena a;
	struct err e = {""};
	struct record *r = record_new();
	struct test_file f;
	float *logits, *embed, *block0, *last;
	int32_t *token;
	int64_t N, n;
	test_case("tiny-gpt2-golden: embeddings, a block, the final norm, logits");
	if (!read_json(r, "data/models/tiny-gpt2-golden/gpt2_tiny_golden.json")) {
		test_skip("../shared/data is absent");
		record_free(r);
		return;
	}
	char path[256];
	snprintf(path, sizeof path, "%s/model.safetensors", dir);
	arena_init(&a);
	CHECK(test_file_open(&f, test_shared(path)));
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, config, false));
	for (int i = 0; i < m.table.n; i++) {
		double *x = test_param(&f, m.table.tensor + i, "");
		CHECK(x != NULL);
		for (int64_t j = 0; x && j < m.table.tensor[i].count; j++)
			m.w.slab[m.table.tensor[i].offset + j] = (float)x[j];
		free(x);
	}
	CHECK(record_ints(r, "input_ids", &token, &N, 8, "tokens", &a, &e) == 1 &&
	      record_floats(r, "logits", &logits, &n, 8 * 61, "logits", &a, &e) == 1 &&
	      record_floats(r, "hidden_after_embed", &embed, &n, 8 * 32, "rows", &a, &e) == 1 &&
	      record_floats(r, "hidden_after_block0", &block0, &n, 8 * 32, "rows", &a, &e) == 1 &&
	      record_floats(r, "hidden_after_lnf", &last, &n, 8 * 32, "rows", &a, &e) == 1);
	int32_t pos[8] = {0, 1, 2, 3, 4, 5, 6, 7};
	struct kn_seq seq = {0, 8, 0, 0, 0, 0};
	struct batch batch = {8, 1, token, pos, &seq};
	struct activations *acts = activations_new(&m.d);
	float h[8 * 32], z[8 * 61];
	CHECK_INT(decoder_forward(&m.d, &m.w, &batch, NULL, acts, h, &e), 0);
	CHECK_INT(decoder_logits(&m.d, &m.w, h, 8, z, &e), 0);
	compare("embeddings", acts->layer[0].x, embed, 8 * 32);
	compare("block 0", acts->layer[1].x, block0, 8 * 32);
	compare("final norm", h, last, 8 * 32);
	compare("logits", z, logits, 8 * 61);
	activations_free(acts);
	test_file_close(&f);
	test_model_close(&m);
	test_backend_close(&b);
	arena_release(&a);
	record_free(r);
}

/* ---- gpt-nano-sort: minGPT, three sequences of eleven, every stage of the first block ---- */

static int sextet(char c)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = strchr(digit, c);
	return at && c ? (int)(at - digit) : 0;
}

/* The base64 floats of a stage. */
static float *stage(const struct record *r, const char *name, int64_t n)
{
	struct json v, data = {0};
	struct err e;
	float *x = xcalloc((size_t)n + 2, sizeof *x);
	if (record_json(r, name, &v, &e) < 0 || v.kind != JSON_OBJECT || !json_member(&v, "data", &data) ||
	    data.len / 4 != ((size_t)n * 4 + 2) / 3) {
		test_fail(__FILE__, __LINE__, "no stage '%s' of %lld numbers", name, (long long)n);
		return x;
	}
	unsigned char *to = (unsigned char *)x;
	for (size_t i = 0; i + 4 <= data.len; i += 4) {
		unsigned bits = (unsigned)sextet(data.text[i]) << 18 | (unsigned)sextet(data.text[i + 1]) << 12 |
		                (unsigned)sextet(data.text[i + 2]) << 6 | (unsigned)sextet(data.text[i + 3]);
		*to++ = (unsigned char)(bits >> 16);
		*to++ = (unsigned char)(bits >> 8);
		*to++ = (unsigned char)bits;
	}
	return x;
}

static void compare_stage(const struct record *r, const char *name, const float *x, int64_t n)
{
	float *truth = stage(r, name, n);
	compare(name, x, truth, n);
	free(truth);
}

/* The projections that decoder_project gives are the columns of the forward pass's fused buffer, layer by layer. */
static void check_projections(struct test_model *m, const struct batch *b, const struct activations *acts)
{
	enum { C = 48 };
	struct err e = {""};
	for (int64_t l = 0; l < m->arch.L; l++) {
		float q[33 * C], k[33 * C], only[33 * C];
		CHECK_INT(decoder_project(&m->d, &m->w, b, l, q, k, &e), 0);
		CHECK_INT(decoder_project(&m->d, &m->w, b, l, NULL, only, &e), 0);
		CHECK(!memcmp(k, only, sizeof k));
		for (int64_t i = 0; i < b->N; i++) {
			CHECK(!memcmp(q + i * C, acts->layer[l].q + i * 3 * C, C * 4));
			CHECK(!memcmp(k + i * C, acts->layer[l].k + i * 3 * C, C * 4));
		}
	}
	CHECK(decoder_project(&m->d, &m->w, b, m->arch.L, NULL, acts->layer[0].q, &e) == -1);
}

/* One token's attention to those up to it, per head and as the mean over heads, against the stage attSm [3,3,11,11]. */
static void check_attention(struct test_model *m, const struct batch *b, const struct record *r)
{
	enum { C = 48, T = 11, HEADS = 3 };
	struct err e = {""};
	float *truth = stage(r, "attSm", 3 * HEADS * T * T), q[33 * C], k[33 * C];
	CHECK_INT(decoder_project(&m->d, &m->w, b, 0, q, k, &e), 0);
	for (int64_t s = 0; s < 3; s++)
		for (int64_t i = 0; i < T; i++) {
			bool used[T] = {false}, all[HEADS] = {true, true, true};
			double p[T], scratch[T], mean[T] = {0};
			for (int64_t h = 0; h < HEADS; h++) {
				bool one[HEADS] = {h == 0, h == 1, h == 2};
				const float *row = truth + ((s * HEADS + h) * T + i) * T;
				CHECK_INT(select_probabilities(&m->arch, one, q + (s * T + i) * C, k + s * T * C, used,
				                               i + 1, 1, 0, p, scratch),
				          i + 1);
				for (int64_t j = 0; j <= i; j++) {
					CHECK_NEAR(p[j], row[j], 1e-5);
					mean[j] += row[j] / (double)HEADS;
				}
			}
			for (int64_t j = i + 1; j < T; j++)
				used[j] = true; /* left out is the same as not there */
			CHECK_INT(select_probabilities(&m->arch, all, q + (s * T + i) * C, k + s * T * C, used, T, 1, 0,
			                               p, scratch),
			          i + 1);
			for (int64_t j = 0; j < T; j++)
				CHECK_NEAR(p[j], mean[j], 1e-5);
		}
	free(truth);
}

static void test_gpt_nano(void)
{
	enum { N = 33, C = 48 };
	struct test_backend b;
	struct test_model m;
	struct err e = {""};
	struct record *r = record_new();
	test_case("gpt-nano-sort: every stage of the first block, and the rest");
	const char *dir = test_shared("data/models/gpt-nano-sort/hf-derived");
	if (!dir || !read_json(r, "data/models/gpt-nano-sort/gpt-nano-sort-t0-partials.json")) {
		test_skip("../shared/data is absent");
		record_free(r);
		return;
	}
	CHECK(test_backend_open(&b, "", 1) && test_model_open(&m, b.k, dir, false));
	float *idx = stage(r, "idx", N), h[N * C], z[N * 3];
	int32_t token[N], pos[N];
	struct kn_seq seq[3];
	for (int i = 0; i < N; i++) {
		token[i] = (int32_t)idx[i];
		pos[i] = i % 11;
		seq[i / 11] = (struct kn_seq){i / 11 * 11, 11, 0, 0, 0, i / 11 * 11};
	}
	struct batch batch = {N, 3, token, pos, seq};
	struct activations *acts = activations_new(&m.d);
	CHECK_INT(decoder_forward(&m.d, &m.w, &batch, NULL, acts, h, &e), 0);
	CHECK_INT(decoder_logits(&m.d, &m.w, h, N, z, &e), 0);
	const struct layer_acts *l = acts->layer;
	compare_stage(r, "x", l->x, N * C);
	compare_stage(r, "qkv", l->q, N * 3 * C);
	compare_stage(r, "y", l->o, N * C);
	compare_stage(r, "attnResid", l->x_mid, N * C);
	compare_stage(r, "fc", l->up, N * 4 * C);
	compare_stage(r, "block0", l[1].x, N * C);
	compare_stage(r, "block1", l[2].x, N * C);
	compare_stage(r, "block2", acts->x, N * C);
	compare_stage(r, "ln_f", h, N * C);
	compare_stage(r, "lm_head", z, N * 3);
	check_projections(&m, &batch, acts);
	check_attention(&m, &batch, r);
	activations_free(acts);
	free(idx);
	test_model_close(&m);
	test_backend_close(&b);
	record_free(r);
}

/* ---- tinystories-char-gpt2: relu, an untied head; it was trained, so it knows a story when it sees one ---- */

static void test_tinystories(void)
{
	static const char text[] = "She was very happy and wanted to";
	struct test_backend b;
	struct test_model m;
	struct err e = {""};
	struct json list;
	struct record *r = record_new();
	test_case("tinystories-char-gpt2: a story is likely, its letters in another order are not");
	const char *dir = test_shared("data/models/tinystories-char-gpt2");
	if (!dir || !read_json(r, "data/models/tinystories-char-gpt2/vocab_inferred.json")) {
		test_skip("../shared/data is absent");
		record_free(r);
		return;
	}
	CHECK(test_backend_open(&b, "", 1) && test_model_open(&m, b.k, dir, false));
	CHECK(m.arch.act == KN_RELU && !m.arch.tied);
	enum { N = sizeof text - 1 };
	double mean[2];
	for (int turned = 0; turned < 2; turned++) {
		int32_t token[N], pos[N];
		float *h = xaligned(N * (size_t)m.arch.C * 4), logprob[N], lse[N];
		for (int i = 0; i < N; i++) {
			/* ids as the file infers them: tab, newline, then printable ASCII without ^ */
			char c = text[turned ? (i * 5) % N : i];
			token[i] = c - ' ' + 2 - (c > '^');
			pos[i] = i;
		}
		struct kn_seq seq = {0, N, 0, 0, 0, 0};
		struct batch batch = {N, 1, token, pos, &seq};
		CHECK_INT(decoder_forward(&m.d, &m.w, &batch, NULL, NULL, h, &e), 0);
		CHECK_INT(decoder_head(&m.d, &m.w, h, N - 1, token + 1, NULL, logprob, lse, NULL, NULL, false, &e), 0);
		mean[turned] = 0;
		for (int i = 0; i < N - 1; i++)
			mean[turned] += logprob[i] / (N - 1);
		free(h);
	}
	CHECK(record_json(r, "id_to_char", &list, &e) == 1 || list.kind == JSON_ARRAY);
	printf("# mean log-prob per character: %.3f and %.3f\n", mean[0], mean[1]);
	CHECK(mean[0] > -1.5 && mean[1] < -3);
	test_model_close(&m);
	test_backend_close(&b);
	record_free(r);
}

int main(void)
{
	test_tiny_gpt2();
	test_gpt_nano();
	test_tinystories();
	return test_done();
}
