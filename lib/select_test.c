/*
 * Selection: embeddings of golden models from their raw weights in double, the same bits in any pass; probabilities and
 * draws.  The attention of a real model is in decoder_real_test.
 */
#include "lib/decoder_test.h"

#include "lib/rng.h"
#include "lib/select.h"

/* ---- embeddings ---- */

static const double *param(const struct test_model *m, const struct test_file *f, enum tensor_part part, int64_t layer)
{
	int i = tensors_part(&m->table, layer, part);
	return i < 0 ? NULL : test_param(f, m->table.tensor + i, "");
}

/* The first layer's projection of one token, from the file: norm of the embedding, matrix, bias. */
static void project_plainly(const struct test_model *m, const struct test_file *f, int32_t token, int64_t pos,
                            bool query, double *out)
{
	const struct arch *a = &m->arch;
	const double *tok = param(m, f, PART_TOKENS, -1), *at = param(m, f, PART_POSITIONS, -1),
	             *gain = param(m, f, PART_NORM1, 0), *shift = param(m, f, PART_NORM1_BIAS, 0);
	const double *w = param(m, f,
	                        a->fused_qkv ? PART_QKV
	                        : query      ? PART_Q
	                                     : PART_K,
	                        0),
	             *b = param(m, f,
	                        a->fused_qkv ? PART_QKV_BIAS
	                        : query      ? PART_Q_BIAS
	                                     : PART_K_BIAS,
	                        0);
	double x[128], mean = 0, square = 0;
	int64_t first = a->fused_qkv && !query ? arch_q_width(a) : 0;
	for (int64_t c = 0; c < a->C; c++) {
		x[c] = tok[token * a->C + c] + (at ? at[pos * a->C + c] : 0);
		mean += a->rms_norm ? 0 : x[c] / (double)a->C;
	}
	for (int64_t c = 0; c < a->C; c++)
		square += (x[c] - mean) * (x[c] - mean) / (double)a->C;
	for (int64_t c = 0; c < a->C; c++)
		x[c] = (x[c] - mean) / sqrt(square + a->norm_eps) * gain[c] + (shift ? shift[c] : 0);
	for (int64_t o = 0; o < select_width(a, query ? SELECT_QUERY : SELECT_KEY); o++) {
		out[o] = b ? b[first + o] : 0;
		for (int64_t c = 0; c < a->C; c++)
			out[o] += w[(first + o) * a->C + c] * x[c];
	}
	const double *const used[] = {tok, at, gain, shift, w, b};
	for (size_t i = 0; i < ARRAY_LEN(used); i++)
		free((void *)(uintptr_t)used[i]);
}

static void check_side(struct test_model *m, const struct test_file *f, enum select_side side)
{
	enum { N = 4, WIDE = 128 };
	static const int32_t token[] = {5, 91, 17, 260, 5};
	struct select_text text = {token, N};
	float mean[WIDE], last[WIDE];
	double one[WIDE], sum[WIDE] = {0};
	struct err e = {""};
	CHECK_INT(select_embed(&m->d, &m->w, &text, 1, 0, side, SELECT_MEAN, 4096, mean, &e), 0);
	CHECK_INT(select_embed(&m->d, &m->w, &text, 1, 0, side, SELECT_LAST, 4096, last, &e), 0);
	for (int64_t t = 0; t < N; t++) {
		project_plainly(m, f, token[t], t, side == SELECT_QUERY, one);
		for (int64_t i = 0; i < select_width(&m->arch, side); i++)
			sum[i] += one[i] / N;
	}
	for (int64_t i = 0; i < select_width(&m->arch, side); i++) {
		CHECK_NEAR(mean[i], sum[i], 2e-5);
		CHECK_NEAR(last[i], one[i], 2e-5);
	}
}

static void test_golden(const char *which)
{
	char path[256], name[128];
	struct test_backend b;
	struct test_model m;
	struct test_file f;
	snprintf(name, sizeof name, "golden %s: embeddings of the first layer are those of its raw weights", which);
	test_case(name);
	snprintf(path, sizeof path, "golden/models/%s/model/model.safetensors", which);
	if (!test_shared(path)) {
		test_skip("../shared/golden is absent");
		test_close();
		return;
	}
	CHECK(test_file_open(&f, test_shared(path)));
	snprintf(path, sizeof path, "golden/models/%s/model", which);
	CHECK(test_backend_open(&b, "", 2) && test_model_open(&m, b.k, test_shared(path), false));
	check_side(&m, &f, SELECT_QUERY);
	check_side(&m, &f, SELECT_KEY);
	test_file_close(&f);
	test_model_close(&m);
	test_backend_close(&b);
	test_close();
}

/* Texts of 1 to 9 tokens at layer 1: what is in a pass together, threads and instruction set change no bit. */
static void test_bits(const char *name, const char *config)
{
	enum { TEXTS = 12, WIDE = 64 };
	static const char *const isa[] = {"", "", "plain", "avx2"};
	static const int64_t max_tokens[] = {4096, 20, 1, 9};
	static int32_t token[TEXTS][9];
	static float truth[TEXTS * WIDE], out[TEXTS * WIDE];
	struct select_text text[TEXTS];
	test_case(name);
	for (int i = 0; i < TEXTS; i++) {
		text[i] = (struct select_text){token[i], 1 + i * 4 % 9};
		for (int t = 0; t < 9; t++)
			token[i][t] = (int32_t)((7 * i + 31 * t) % 131);
	}
	for (int side = SELECT_QUERY; side <= SELECT_KEY; side++)
		for (size_t i = 0; i < ARRAY_LEN(isa); i++) {
			struct test_backend b;
			struct test_model m;
			struct err e = {""};
			if (!test_backend_open(&b, isa[i], 1 + (int)i % 2))
				continue; /* not on this machine */
			CHECK(test_model_random(&m, b.k, config, false));
			int64_t width = select_width(&m.arch, (enum select_side)side);
			for (int j = 0; j < TEXTS && i == 0; j++)
				CHECK_INT(select_embed(&m.d, &m.w, text + j, 1, 1, (enum select_side)side, SELECT_MEAN,
				                       4096, truth + j * width, &e),
				          0);
			CHECK_INT(select_embed(&m.d, &m.w, text, TEXTS, 1, (enum select_side)side, SELECT_MEAN,
			                       max_tokens[i], out, &e),
			          0);
			CHECK(!memcmp(out, truth, (size_t)(TEXTS * width) * 4));
			test_model_close(&m);
			test_backend_close(&b);
		}
	CHECK(truth[0] != 0 && truth[0] != truth[1]);
}

/* ---- probabilities ---- */

enum { KEYS = 7 };
static const struct arch grouped = {.H = 4, .G = 2, .D = 3}, plain = {.H = 4, .G = 4, .D = 3};
static const bool every[4] = {true, true, true, true};

static void make_vectors(float *query, float *keys, float *repeated)
{
	for (int i = 0; i < 12; i++)
		query[i] = (float)rng_normal(1, 2, (uint32_t)i, 0);
	for (int i = 0; i < KEYS; i++)
		for (int h = 0; h < 4; h++)
			for (int j = 0; j < 3; j++) {
				keys[i * 6 + h / 2 * 3 + j] =
				        (float)rng_normal(1, 3, (uint32_t)i, (uint32_t)(h / 2 * 3 + j));
				repeated[i * 12 + h * 3 + j] = keys[i * 6 + h / 2 * 3 + j];
			}
}

static double total(const double *p)
{
	double sum = 0;
	for (int i = 0; i < KEYS; i++)
		sum += p[i];
	return sum;
}

static void test_probabilities(void)
{
	float query[12], keys[KEYS * 6], repeated[KEYS * 12];
	double p[KEYS], q[KEYS], scratch[KEYS];
	bool used[KEYS] = {false};
	make_vectors(query, keys, repeated);
	test_case("probabilities: the mean over heads of softmaxes, by hand; a group's key is that of its heads");
	CHECK_INT(select_probabilities(&grouped, every, query, keys, used, KEYS, .5, 0, p, scratch), KEYS);
	CHECK_INT(select_probabilities(&plain, every, query, repeated, used, KEYS, .5, 0, q, scratch), KEYS);
	CHECK(!memcmp(p, q, sizeof p));
	CHECK_NEAR(total(p), 1, 1e-12);
	for (int i = 0; i < KEYS; i++) {
		long double sum = 0;
		for (int h = 0; h < 4; h++) {
			long double e[KEYS], all = 0;
			for (int k = 0; k < KEYS; k++) {
				long double dot = 0;
				for (int j = 0; j < 3; j++)
					dot += (long double)query[h * 3 + j] * repeated[k * 12 + h * 3 + j];
				all += e[k] = expl(dot / sqrtl(3) / .5L);
			}
			sum += e[i] / all / 4;
		}
		CHECK_NEAR(p[i], (double)sum, 1e-13);
	}
	test_case("probabilities: used keys have none, the others as if they alone were there");
	used[1] = used[4] = true;
	CHECK_INT(select_probabilities(&grouped, every, query, keys, used, KEYS, 1, 0, p, scratch), KEYS - 2);
	CHECK(p[1] == 0 && p[4] == 0);
	memmove(keys + 4 * 6, keys + 5 * 6, 2 * 6 * sizeof *keys);
	memmove(keys + 1 * 6, keys + 2 * 6, 4 * 6 * sizeof *keys);
	bool none[KEYS] = {false}, all[KEYS] = {true, true, true, true, true, true, true};
	CHECK_INT(select_probabilities(&grouped, every, query, keys, none, KEYS - 2, 1, 0, q, scratch), KEYS - 2);
	CHECK(p[0] == q[0] && p[2] == q[1] && p[3] == q[2] && p[5] == q[3] && p[6] == q[4]);
	CHECK_INT(select_probabilities(&grouped, every, query, keys, all, KEYS, 1, 0, p, scratch), 0);

	test_case("probabilities: equal keys share them; heat levels, cold sharpens; top-k keeps the first of the "
	          "likeliest");
	for (int i = 0; i < KEYS * 6; i++)
		repeated[i] = keys[i % 6];
	select_probabilities(&grouped, every, query, repeated, none, KEYS, 1, 0, p, scratch);
	for (int i = 0; i < KEYS; i++)
		CHECK_NEAR(p[i], 1. / KEYS, 1e-12);
	CHECK_INT(select_probabilities(&grouped, every, query, repeated, none, KEYS, 1, 3, p, scratch), 3);
	CHECK(p[0] == p[1] && p[1] == p[2] && p[3] == 0);
	make_vectors(query, keys, repeated);
	double sharpest = 0;
	for (double t = 100; t > .01; t /= 4) {
		CHECK_INT(select_probabilities(&grouped, (const bool[]){true, false, false, false}, query, keys, none,
		                               KEYS, t, 0, p, scratch),
		          KEYS);
		double most = p[select_best(p, KEYS)];
		CHECK(most > sharpest || most == 1);
		sharpest = most;
	}
	CHECK(sharpest > .99);
	select_probabilities(&grouped, every, query, keys, none, KEYS, 1, 0, q, scratch);
	CHECK_INT(select_probabilities(&grouped, every, query, keys, none, KEYS, 1, 2, p, scratch), 2);
	CHECK_NEAR(total(p), 1, 1e-12);
	int kept = 0;
	for (int i = 0; i < KEYS; i++)
		kept += p[i] > 0;
	CHECK_INT(kept, 2);
	CHECK(p[select_best(q, KEYS)] == p[select_best(p, KEYS)]);
	keys[3] = NAN;
	CHECK_INT(select_probabilities(&grouped, every, query, keys, none, KEYS, 1, 0, p, scratch), -1);
}

static void test_draw(void)
{
	const double p[] = {0, .5, 0, .125, .375, 0};
	int64_t count[6] = {0};
	enum { DRAWS = 40000 };
	test_case("draws: the edges of the distribution, never what has no probability, shares within four deviations");
	CHECK_INT(select_draw(p, 6, 1e-17), 1);
	CHECK_INT(select_draw(p, 6, .4999), 1);
	CHECK_INT(select_draw(p, 6, .5), 3);
	CHECK_INT(select_draw(p, 6, .62501), 4);
	CHECK_INT(select_draw(p, 6, 1 - 1e-16), 4);
	for (uint32_t i = 0; i < DRAWS; i++)
		count[select_draw(p, 6, rng_uniform(rng_key("select", 1, "", 0), i, 0, 0))]++;
	for (int i = 0; i < 6; i++)
		CHECK_NEAR((double)count[i] / DRAWS, p[i], 4 * sqrt(p[i] * (1 - p[i]) / DRAWS));
}

static void test_heads(void)
{
	bool use[4];
	struct err e = {""};
	test_case("heads: all or a list; what is none of them is said");
	CHECK(select_heads("all", 4, use, &e) == 0 && use[0] && use[1] && use[2] && use[3]);
	CHECK(select_heads("0,3", 4, use, &e) == 0 && use[0] && !use[1] && !use[2] && use[3]);
	CHECK(select_heads("4", 4, use, &e) == -1);
	CHECK_STR(e.msg, "--heads: '4' is no head: the model has 4, from 0");
	CHECK(select_heads("1,1", 4, use, &e) == -1 && select_heads("", 4, use, &e) == -1 &&
	      select_heads("1,", 4, use, &e) == -1 && select_heads("-1", 4, use, &e) == -1);
}

int main(void)
{
	static const char *const golden[] = {"gpt2", "llama", "qwen2", "qwen3"};
	for (size_t i = 0; i < ARRAY_LEN(golden); i++)
		test_golden(golden[i]);
	test_bits("gpt2: the same bits in any pass, on any threads and instruction set", test_gpt2_config);
	test_bits("llama: the same", test_llama_config);
	test_probabilities();
	test_draw();
	test_heads();
	return test_done();
}
