/*
 * Generation: the same tokens and bits as full forward passes, whatever runs together; golden and real models' greedy
 * text.
 */
#include "lib/decoder_test.h"

#include "lib/generate.h"
#include "lib/rng.h"

enum { REQUESTS = 7, SAMPLES = 3 };

struct world {
	struct test_backend backend;
	struct test_model m;
	struct model_info info; /* arch and eos alone */
};

static bool world_open(struct world *w, const char *isa, int threads, const char *config)
{
	memset(w, 0, sizeof *w);
	if (!test_backend_open(&w->backend, isa, threads))
		return false;
	if (!test_model_random(&w->m, w->backend.k, config, false))
		return false;
	w->info.arch = w->m.arch;
	return true;
}

static void world_close(struct world *w)
{
	test_model_close(&w->m);
	test_backend_close(&w->backend);
}

static int32_t prompt_ids[REQUESTS][40];

/* Prompts of lengths 1, 6, 11, ... and completions of 12, 11, ... tokens. */
static void make_requests(struct generate_request *q, int64_t V, int64_t n_samples)
{
	for (int i = 0; i < REQUESTS; i++) {
		int64_t n = 1 + 5 * i;
		for (int64_t t = 0; t < n; t++)
			prompt_ids[i][t] = (int32_t)((7 + 31 * i + 13 * t) % V);
		q[i] = (struct generate_request){prompt_ids[i], n, (uint64_t)(100 + i), 0, 0, n_samples, 12 - i};
	}
}

static void release(struct generate_result *r, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		generate_result_release(r + i);
}

static bool same(const struct generate_result *a, const struct generate_result *b, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		size_t count = (size_t)a[i].n;
		if (a[i].n != b[i].n || a[i].finish != b[i].finish || memcmp(a[i].token, b[i].token, count * 4) ||
		    memcmp(a[i].logprob, b[i].logprob, count * 4))
			return false;
		if (a[i].sampling_logprob && memcmp(a[i].sampling_logprob, b[i].sampling_logprob, count * 4))
			return false;
	}
	return true;
}

/* Log-probs of one completion by a full forward pass over prompt and completion. */
static void full_logprobs(struct world *w, const struct generate_request *q, const struct generate_result *r,
                          float inv_temp, float *logprob)
{
	int64_t N = q->n_prompt + r->n, C = w->m.arch.C;
	int32_t token[128], pos[128];
	float temp[128], lse[128];
	float *h = xaligned((size_t)(N * C) * 4);
	struct kn_seq seq = {0, N, 0, 0, 0, 0};
	struct batch b = {N, 1, token, pos, &seq};
	struct err e = {""};
	for (int64_t i = 0; i < N; i++) {
		token[i] = i < q->n_prompt ? q->prompt[i] : r->token[i - q->n_prompt];
		pos[i] = (int32_t)i;
		temp[i] = inv_temp;
	}
	CHECK_INT(decoder_forward(&w->m.d, &w->m.w, &b, NULL, NULL, h, &e), 0);
	CHECK_INT(decoder_head(&w->m.d, &w->m.w, h + (q->n_prompt - 1) * C, r->n, r->token, temp, logprob, lse, NULL,
	                       NULL, false, &e),
	          0);
	free(h);
}

/* Every way of running must give the bits of the first. */
static void check_same(const char *label, const char *config, const struct generate_config *c)
{
	static const struct {
		const char *isa;
		int threads;
		int64_t max_running, max_rows;
	} way[] = {{"", 1, 0, 0}, {"", 2, 0, 0},      {"", 1, 1, 0},     {"", 2, 7, 0},       {"", 1, 4, 60},
	           {"", 1, 3, 1}, {"plain", 1, 0, 0}, {"avx2", 1, 2, 0}, {"avx512", 1, 0, 0}, {"neon", 1, 0, 0}};
	struct generate_request q[REQUESTS];
	struct generate_result first[REQUESTS * SAMPLES], r[REQUESTS * SAMPLES];
	test_case(label);
	for (size_t i = 0; i < ARRAY_LEN(way); i++) {
		struct world w;
		struct err e = {""};
		struct generate_config mine = *c;
		if (!world_open(&w, way[i].isa, way[i].threads, config))
			continue;
		make_requests(q, w.m.arch.V, SAMPLES);
		mine.max_running = way[i].max_running;
		mine.max_rows = way[i].max_rows;
		struct generate_result *to = i ? r : first;
		CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &mine, q, REQUESTS, to, &e), 0);
		if (i)
			CHECK(same(first, r, REQUESTS * SAMPLES));
		for (int s = 0; s < REQUESTS * SAMPLES; s++) {
			float logprob[128];
			full_logprobs(&w, q + s / SAMPLES, to + s, c->temperature > 0 ? (float)(1 / c->temperature) : 1,
			              logprob);
			CHECK(!memcmp(logprob, to[s].logprob, (size_t)to[s].n * 4));
		}
		if (i)
			release(r, REQUESTS * SAMPLES);
		world_close(&w);
	}
	release(first, REQUESTS * SAMPLES);
}

static void test_bits(void)
{
	struct generate_config plain = {.temperature = 1, .top_p = 1, .ignore_eos = true, .key = 5};
	struct generate_config warped = {
	        .temperature = .7, .top_k = 20, .top_p = .9, .min_p = .01, .ignore_eos = true, .key = 6};
	struct generate_config greedy = {.temperature = 0, .top_p = 1, .ignore_eos = true};
	check_same("gpt2: log-probs are those of a full pass, for any batch, threads, cache, instruction set",
	           test_gpt2_config, &plain);
	check_same("llama, with top-k, top-p, min-p: the same", test_llama_config, &warped);
	check_same("llama, greedy: the same", test_llama_config, &greedy);
}

/*
 * Completions that outgrow the cache: sequences give up their pages and are run again.  The least cache holds one of
 * them, so that each waits while the one before it is finished.
 */
static void check_pages(const char *label, const char *config, const struct generate_config *c)
{
	static const int64_t rows[] = {0, 5 * KN_PAGE, 7 * KN_PAGE, 9 * KN_PAGE, 1};
	struct generate_request q[REQUESTS];
	struct generate_result first[REQUESTS * SAMPLES], r[REQUESTS * SAMPLES];
	struct world w;
	struct err e = {""};
	test_case(label);
	CHECK(world_open(&w, "", 2, config));
	make_requests(q, w.m.arch.V, SAMPLES);
	for (int i = 0; i < REQUESTS; i++)
		q[i].max_tokens = 64 - q[i].n_prompt - i;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct generate_config mine = *c;
		mine.max_rows = rows[i];
		CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &mine, q, REQUESTS, i ? r : first, &e), 0);
		if (!i)
			continue;
		CHECK(same(first, r, REQUESTS * SAMPLES));
		release(r, REQUESTS * SAMPLES);
	}
	release(first, REQUESTS * SAMPLES);
	world_close(&w);
}

static void test_pages(void)
{
	struct generate_config plain = {.temperature = 1, .top_p = 1, .ignore_eos = true, .key = 5};
	struct generate_config warped = {.temperature = .7, .top_k = 20, .top_p = .9, .ignore_eos = true, .key = 6};
	check_pages("gpt2: a small cache gives the bits of a large one", test_gpt2_config, &plain);
	check_pages("llama, with top-k, top-p: the same", test_llama_config, &warped);
}

static void test_ends(void)
{
	struct world w;
	struct generate_request q[REQUESTS];
	struct generate_result r[REQUESTS], cut[REQUESTS];
	struct err e;
	struct generate_config c = {.temperature = 1, .top_p = 1, .key = 9};
	test_case("EOS ends a completion and is its last token; others go on as without it");
	CHECK(world_open(&w, "", 1, test_gpt2_config));
	make_requests(q, w.m.arch.V, 1);
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, q, REQUESTS, r, &e), 0);
	int32_t eos = r[0].token[3];
	w.info.eos = &eos;
	w.info.n_eos = 1;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, q, REQUESTS, cut, &e), 0);
	int ended = 0;
	for (int i = 0; i < REQUESTS; i++) {
		bool at_eos = cut[i].token[cut[i].n - 1] == eos;
		CHECK(!memcmp(r[i].token, cut[i].token, (size_t)cut[i].n * 4));
		CHECK_STR(generate_finish_name[cut[i].finish], at_eos ? "eos" : "length");
		CHECK(at_eos || cut[i].n == r[i].n);
		for (int64_t t = 0; t + 1 < cut[i].n; t++)
			CHECK(cut[i].token[t] != eos);
		ended += at_eos;
	}
	CHECK(ended > 0);
	release(cut, REQUESTS);
	c.ignore_eos = true;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, q, REQUESTS, cut, &e), 0);
	CHECK(same(r, cut, REQUESTS));
	release(r, REQUESTS);
	release(cut, REQUESTS);
	w.info.eos = NULL;
	w.info.n_eos = 0;

	test_case("a sample is known by its number: samples 2 of 3 and 2 alone are the same");
	struct generate_request alone = q[2];
	struct generate_result three[3], one[1];
	alone.n_samples = 3;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &alone, 1, three, &e), 0);
	alone.first_sample = 2;
	alone.n_samples = 1;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &alone, 1, one, &e), 0);
	CHECK(same(three + 2, one, 1) && !same(three, one, 1));
	release(three, 3);
	release(one, 1);

	test_case("no tokens wanted: empty results; no requests: nothing");
	alone.max_tokens = 0;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &alone, 1, one, &e), 0);
	CHECK_INT(one[0].n, 0);
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &alone, 0, one, &e), 0);
	world_close(&w);
}

static void test_errors(void)
{
	struct world w;
	struct err e;
	struct generate_result r[1];
	int32_t token[128] = {0};
	struct generate_config c = {.temperature = 1, .top_p = 1};
	struct generate_request q = {token, 64, 1, 0, 0, 1, 5};
	CHECK(world_open(&w, "", 1, test_gpt2_config));
	test_case("a prompt as long as the context is refused with both numbers");
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	CHECK(strstr(e.msg, "64 tokens") && strstr(e.msg, "context is 64"));
	q.n_prompt = 60;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	CHECK(strstr(e.msg, "60 prompt tokens and 5"));
	test_case("an id outside the vocabulary, an empty prompt, a temperature that is none");
	q.n_prompt = 3;
	token[1] = 131;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	CHECK(strstr(e.msg, "131"));
	token[1] = 0;
	q.n_prompt = 0;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	q.n_prompt = 3;
	c.temperature = 1e-300;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	c.temperature = 1;
	test_case("weights that are NaN are an error, not a token");
	w.m.w.slab[w.m.table.tensor[tensors_part(&w.m.table, -1, PART_NORM)].offset] = NAN;
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), -1);
	CHECK(strstr(e.msg, "not finite"));
	world_close(&w);
}

static void test_distribution(void)
{
	struct world w;
	struct err e;
	enum { DRAWS = 20000 };
	test_case("tokens come as often as their probability says");
	CHECK(world_open(&w, "", 2, test_gpt2_config));
	int32_t prompt[3] = {5, 17, 99};
	struct generate_request q = {prompt, 3, 1, 0, 0, DRAWS, 1};
	struct generate_config c = {.temperature = 1, .top_p = 1, .key = 3, .ignore_eos = true};
	struct generate_result *r = xcalloc(DRAWS, sizeof *r);
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), 0);
	double count[131] = {0}, p[131] = {0}, chi = 0;
	int cells = 0;
	for (int i = 0; i < DRAWS; i++) {
		count[r[i].token[0]]++;
		p[r[i].token[0]] = exp(r[i].logprob[0]);
	}
	for (int v = 0; v < 131; v++)
		if (p[v] * DRAWS >= 5) {
			chi += (count[v] - p[v] * DRAWS) * (count[v] - p[v] * DRAWS) / (p[v] * DRAWS);
			cells++;
		}
	/* mean `cells`, deviation sqrt(2 cells): five of these */
	CHECK(cells > 10 && chi < cells + 5 * sqrt(2.0 * cells));
	release(r, DRAWS);
	free(r);
	world_close(&w);
}

/* ---- models of others ---- */

static void test_golden_greedy(const char *name)
{
	char path[256], label[128];
	struct world w = {0};
	struct test_file f;
	struct err e = {""};
	snprintf(label, sizeof label, "%s: greedy tokens from the cache", name);
	test_case(label);
	snprintf(path, sizeof path, "golden/models/%s/model", name);
	const char *dir = test_shared(path);
	snprintf(path, sizeof path, "golden/models/%s/golden.safetensors", name);
	if (!dir || !test_file_open(&f, test_shared(path))) {
		test_skip("../shared/golden is absent");
		test_close();
		return;
	}
	CHECK(test_backend_open(&w.backend, "", 2) && test_model_open(&w.m, w.backend.k, dir, false));
	w.info.arch = w.m.arch;
	int64_t n, N, n_seq;
	double *tokens = test_tensor(&f, "tokens", &N), *len = test_tensor(&f, "lengths", &n_seq),
	       *prompt = test_tensor(&f, "prompt_len", &n), *greedy = test_tensor(&f, "greedy", &n);
	int32_t ids[64];
	struct generate_request q[8];
	struct generate_result r[8];
	struct generate_config c = {.temperature = 0, .top_p = 1, .ignore_eos = true};
	for (int64_t i = 0; i < N; i++)
		ids[i] = (int32_t)tokens[i];
	for (int64_t s = 0, at = 0; s < n_seq; at += (int64_t)len[s++])
		q[s] = (struct generate_request){ids + at, (int64_t)prompt[s], (uint64_t)s, 0, 0, 1, n / n_seq};
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, q, n_seq, r, &e), 0);
	int wrong = 0;
	for (int64_t i = 0; i < n; i++)
		wrong += r[i / (n / n_seq)].token[i % (n / n_seq)] != (int32_t)greedy[i];
	CHECK_INT(wrong, 0);
	release(r, n_seq);
	double *all[] = {tokens, len, prompt, greedy};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	test_file_close(&f);
	world_close(&w);
	test_close(); /* the label ends here */
}

/* Pieces of llama2.c's tokenizer file: int32 longest, then per token float score, int32 length, bytes. */
static void add_piece(struct str *out, const char *file, size_t size, int32_t id, bool first)
{
	size_t at = 4;
	int32_t len = 0;
	for (int32_t i = 0; i <= id && at + 8 <= size; i++) {
		memcpy(&len, file + at + 4, 4);
		at += 8 + (i < id ? (size_t)len : 0);
	}
	unsigned byte;
	if (len == 6 && sscanf(file + at, "<0x%2X>", &byte) == 1)
		str_addc(out, (char)byte);
	else
		str_add(out, file + at + (first && file[at] == ' '), (size_t)len - (first && file[at] == ' '));
}

static void test_stories(void)
{
	struct world w = {0};
	struct err e = {""};
	struct str text;
	size_t size, len;
	test_case("stories260K: the published greedy story");
	const char *dir = test_shared("data/models/stories260K/hf-derived");
	if (!dir) {
		test_skip("../shared/data is absent");
		return;
	}
	char *pieces = test_read(test_shared("data/models/stories260K/tok512.bin"), &size);
	char *expected = test_read(test_shared("data/models/stories260K/expected_greedy_t0.txt"), &len);
	CHECK(pieces && expected && test_backend_open(&w.backend, "", 2) &&
	      test_model_open(&w.m, w.backend.k, dir, false));
	w.info.arch = w.m.arch;
	int32_t bos = 1;
	struct generate_request q = {&bos, 1, 0, 0, 0, 1, 256};
	struct generate_result r[1];
	struct generate_config c = {.temperature = 0, .top_p = 1, .ignore_eos = true};
	CHECK_INT(generate_run(&w.m.d, &w.m.w, &w.info, &c, &q, 1, r, &e), 0);
	str_init(&text);
	for (int64_t t = 0; t < r[0].n && text.len < len; t++)
		add_piece(&text, pieces, size, r[0].token[t], t == 0);
	while (len && (expected[len - 1] == '\n' || expected[len - 1] == ' '))
		expected[--len] = 0;
	CHECK(len > 200 && text.len >= len);
	if (text.len > len)
		text.buf[len] = 0;
	CHECK_STR(text.buf, expected);
	str_release(&text);
	generate_result_release(r);
	free(pieces);
	free(expected);
	world_close(&w);
}

int main(void)
{
	static const char *const golden[] = {"gpt2",  "gpt2-gelu", "llama",         "llama-rope3", "mistral",
	                                     "qwen2", "qwen3",     "llama-sharded", "llama-bf16"};
	test_bits();
	test_pages();
	test_ends();
	test_errors();
	test_distribution();
	for (size_t i = 0; i < ARRAY_LEN(golden); i++)
		test_golden_greedy(golden[i]);
	test_stories();
	return test_done();
}
