/* Choices after a prompt that is run once: the bits of passes over each alone, and golden logits. */
#include "lib/decoder_test.h"

#include "lib/choices.h"
#include "lib/trainer.h"

enum { ROWS = 6, MOST = 5, LONGEST = 40 };

/* Prompts of 1, 8, 15, ... tokens; 1 to 5 choices of 1 to 9 tokens. */
struct job {
	int32_t prompt[ROWS][LONGEST], token[ROWS][MOST][9];
	float logprobs[ROWS][MOST][9];
	struct choice choice[ROWS][MOST];
	struct choices_row row[ROWS];
};

static void make(struct job *x, int64_t V)
{
	memset(x, 0, sizeof *x);
	for (int i = 0; i < ROWS; i++) {
		int64_t n_prompt = 1 + 7 * i, n = 1 + (i * 3) % MOST;
		for (int64_t t = 0; t < n_prompt; t++)
			x->prompt[i][t] = (int32_t)((5 + 17 * i + 11 * t) % V);
		for (int64_t c = 0; c < n; c++) {
			int64_t len = 1 + (i + 4 * c) % 9;
			for (int64_t t = 0; t < len; t++)
				x->token[i][c][t] = (int32_t)((c + 23 * i + 7 * t) % V);
			x->choice[i][c] = (struct choice){x->token[i][c], len, x->logprobs[i][c]};
		}
		x->row[i] = (struct choices_row){x->prompt[i], n_prompt, i % 2 ? 1 : .7, x->choice[i], n};
	}
}

/* The same numbers by passes over prompt and choice alone. */
static void alone(struct job *x, struct test_model *m, float out[ROWS][MOST][9])
{
	struct err e = {""};
	memset(out, 0, sizeof x->logprobs);
	for (int i = 0; i < ROWS; i++)
		for (int64_t c = 0; c < x->row[i].n; c++) {
			const struct choices_row *row = x->row + i;
			int32_t token[LONGEST + 9];
			memcpy(token, row->prompt, (size_t)row->n_prompt * 4);
			memcpy(token + row->n_prompt, row->choice[c].token, (size_t)row->choice[c].n * 4);
			struct trainer_row r = {token, row->n_prompt, row->choice[c].n, row->temperature,
			                        .logprobs = out[i][c]};
			CHECK_INT(trainer_score(&m->d, &m->w, &r, 1, 4096, &e), 0);
		}
}

static void test_bits(const char *name, const char *config)
{
	static const char *const isa[] = {"", "", "plain", "avx2", "ref"};
	static const int threads[] = {1, 2, 2, 1, 1};
	static const int64_t max_tokens[] = {4096, 50, 7, 1, 29};
	float truth[ROWS][MOST][9];
	struct job x;
	test_case(name);
	for (size_t i = 0; i < ARRAY_LEN(isa); i++) {
		struct test_backend b;
		struct test_model m;
		struct err e = {""};
		if (!test_backend_open(&b, isa[i], threads[i]))
			continue; /* not on this machine */
		CHECK(test_model_random(&m, b.k, config, false));
		make(&x, m.arch.V);
		alone(&x, &m, truth);
		for (size_t j = 0; j < ARRAY_LEN(max_tokens); j++) {
			make(&x, m.arch.V);
			CHECK_INT(choices_score(&m.d, &m.w, x.row, ROWS, max_tokens[j], &e), 0);
			if (memcmp(truth, x.logprobs, sizeof truth))
				test_fail(__FILE__, __LINE__, "%s, %d threads, %d tokens: other bits", b.k->name,
				          threads[i], (int)max_tokens[j]);
		}
		test_model_close(&m);
		test_backend_close(&b);
	}
	CHECK(truth[0][0][0] < 0);
}

/* ---- golden: ln p out of logits that transformers gave, by a softmax in double ---- */

static double golden_logprob(const double *z, int64_t V, int32_t target)
{
	double max = z[0], sum = 0;
	for (int64_t v = 1; v < V; v++)
		max = z[v] > max ? z[v] : max;
	for (int64_t v = 0; v < V; v++)
		sum += exp(z[v] - max);
	return z[target] - max - log(sum);
}

/* At each of n prompts (every place of the sequence): all V ids as choices, and the rest of the sequence as one. */
static void golden_sequence(struct test_model *m, const double *tokens, const double *logits, int64_t len,
                            double *worst)
{
	int64_t V = m->arch.V;
	struct err e = {""};
	int32_t *ids = xcalloc((size_t)len, sizeof *ids), *every = xcalloc((size_t)V, sizeof *every);
	float *first = xcalloc((size_t)V, sizeof *first), *rest = xcalloc((size_t)len, sizeof *rest);
	struct choice *c = xcalloc((size_t)V + 1, sizeof *c);
	for (int64_t i = 0; i < len; i++)
		ids[i] = (int32_t)tokens[i];
	for (int64_t v = 0; v < V; v++) {
		every[v] = (int32_t)v;
		c[v] = (struct choice){every + v, 1, first + v};
	}
	for (int64_t n = 1; n < len; n++) {
		c[V] = (struct choice){ids + n, len - n, rest};
		struct choices_row row = {ids, n, 1, c, V + 1};
		CHECK_INT(choices_score(&m->d, &m->w, &row, 1, 4096, &e), 0);
		for (int64_t v = 0; v < V; v++)
			*worst = fmax(*worst, fabs(first[v] - golden_logprob(logits + (n - 1) * V, V, (int32_t)v)));
		for (int64_t t = n; t < len; t++)
			*worst = fmax(*worst, fabs(rest[t - n] - golden_logprob(logits + (t - 1) * V, V, ids[t])));
	}
	free(ids);
	free(every);
	free(first);
	free(rest);
	free(c);
}

static void test_golden(const char *which)
{
	char path[256], name[128];
	struct test_backend b;
	struct test_model m;
	struct test_file f;
	int64_t n_tokens, n_logits, n_lengths;
	double worst = 0;
	snprintf(name, sizeof name, "golden %s: ln p of every id at every place, within 5e-5", which);
	test_case(name);
	snprintf(path, sizeof path, "golden/models/%s/golden.safetensors", which);
	if (!test_shared(path)) {
		test_skip("../shared/golden is absent");
		test_close();
		return;
	}
	CHECK(test_file_open(&f, test_shared(path)));
	snprintf(path, sizeof path, "golden/models/%s/model", which);
	CHECK(test_backend_open(&b, "", 2) && test_model_open(&m, b.k, test_shared(path), false));
	double *tokens = test_tensor(&f, "tokens", &n_tokens), *logits = test_tensor(&f, "logits", &n_logits),
	       *lengths = test_tensor(&f, "lengths", &n_lengths);
	CHECK(tokens && logits && lengths && n_logits == n_tokens * m.arch.V);
	for (int64_t s = 0, at = 0; s < n_lengths; at += (int64_t)lengths[s++])
		golden_sequence(&m, tokens + at, logits + at * m.arch.V, (int64_t)lengths[s], &worst);
	CHECK_NEAR(worst, 0, 5e-5);
	printf("# %s: worst %.3g\n", which, worst);
	free(tokens);
	free(logits);
	free(lengths);
	test_file_close(&f);
	test_model_close(&m);
	test_backend_close(&b);
	test_close();
}

int main(void)
{
	test_bits("gpt2: the bits of passes over each choice alone, any pass, threads, instruction set",
	          test_gpt2_config);
	test_bits("llama: the same", test_llama_config);
	static const char *const golden[] = {"gpt2", "gpt2-gelu", "llama", "llama-rope3", "mistral", "qwen2", "qwen3"};
	for (size_t i = 0; i < ARRAY_LEN(golden); i++)
		test_golden(golden[i]);
	return test_done();
}
