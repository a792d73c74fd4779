/*
 * Adapters against PEFT (../shared/golden/models, whose README has keys and tolerances): logits, gradients, steps,
 * merged weights; configurations that are read, written and refused.  Finite differences: decoder_grad_test.
 */
#include "lib/lora.h"

#include "lib/decoder_test.h"
#include "lib/trainer.h"

/* ---- golden cases ---- */

enum { MAX_ROWS = 8, MAX_TOKENS = 64 };

struct golden {
	struct test_file file, adapter,
	        weights; /* golden.safetensors, ADAPTER.safetensors, adapter_model.safetensors */
	struct trainer_row row[MAX_ROWS];
	int32_t token[MAX_ROWS][MAX_TOKENS];
	float logprobs[MAX_ROWS][MAX_TOKENS], dlogprobs[MAX_ROWS][MAX_TOKENS];
	int64_t n;
	double tokens, loss;
};

static const char *golden_path(const char *name, const char *rest)
{
	char path[256];
	snprintf(path, sizeof path, "golden/models/%s/%s", name, rest);
	return test_shared(path);
}

static bool golden_open(struct golden *g, const char *name, const char *adapter)
{
	char rest[128];
	int64_t n, at = 0;
	memset(g, 0, sizeof *g);
	if (!test_file_open(&g->file, golden_path(name, "golden.safetensors")))
		return false;
	snprintf(rest, sizeof rest, "%s.safetensors", adapter);
	CHECK(test_file_open(&g->adapter, golden_path(name, rest)));
	snprintf(rest, sizeof rest, "%s/adapter_model.safetensors", adapter);
	CHECK(test_file_open(&g->weights, golden_path(name, rest)));
	double *token = test_tensor(&g->file, "tokens", &n), *length = test_tensor(&g->file, "lengths", &g->n);
	double *prompt = test_tensor(&g->file, "prompt_len", &n);
	for (int64_t i = 0; i < g->n; at += (int64_t)length[i++]) {
		for (int64_t j = 0; j < (int64_t)length[i]; j++)
			g->token[i][j] = (int32_t)token[at + j];
		g->row[i] = (struct trainer_row){.token = g->token[i],
		                                 .n_prompt = (int64_t)prompt[i],
		                                 .n = (int64_t)(length[i] - prompt[i]),
		                                 .temperature = 1,
		                                 .logprobs = g->logprobs[i],
		                                 .dlogprobs = g->dlogprobs[i]};
		g->tokens += (double)g->row[i].n;
	}
	free(token);
	free(length);
	free(prompt);
	return true;
}

static void golden_close(struct golden *g)
{
	test_file_close(&g->file);
	test_file_close(&g->adapter);
	test_file_close(&g->weights);
}

/* Minus the mean log-likelihood. */
static void likelihood(void *arg, int64_t first, int64_t end, bool count)
{
	(void)count;
	struct golden *g = arg;
	for (int64_t i = first; i < end; i++)
		for (int64_t t = 0; t < g->row[i].n; t++) {
			g->dlogprobs[i][t] = (float)(-1 / g->tokens);
			g->loss -= g->logprobs[i][t] / g->tokens;
		}
}

/* The adapter's table over a golden model, A and B as PEFT wrote them. */
static bool open_adapter(struct test_model *m, const struct kernels *k, const struct golden *g, const char *name,
                         const char *adapter)
{
	char rest[128], dir[1024];
	struct lora_config c;
	struct err e = {""};
	size_t len;
	snprintf(dir, sizeof dir, "%s", golden_path(name, "model"));
	snprintf(rest, sizeof rest, "%s/adapter_config.json", adapter);
	char *config = test_read(golden_path(name, rest), &len);
	if (!config || lora_config_read(&c, config, len, &e) || !test_model_open(m, k, dir, false)) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		return false;
	}
	bool ok = test_model_adapter(m, &c, false);
	int64_t found = 0;
	for (int i = m->base_table.n; ok && i < m->table.n; i++) {
		const struct tensor *t = &m->table.tensor[i];
		double *x = test_param(&g->weights, t, "");
		found += x != NULL;
		for (int64_t j = 0; x && j < t->count; j++)
			m->w.slab[t->offset + j] = (float)x[j];
		free(x);
	}
	CHECK_INT(found, m->table.n - m->base_table.n);
	/* all that the file has, but its metadata */
	struct json header;
	CHECK(record_parse_value(g->weights.r, g->weights.data + 8, g->weights.header, &header, &e) >= 0);
	CHECK_INT(found, json_length(&header) - 1);
	lora_config_release(&c);
	free(config);
	return ok;
}

static void near(const struct golden *g, const char *key, const float *x, int64_t n, double max, double nmse)
{
	int64_t have = 0;
	double *truth = test_tensor(&g->adapter, key, &have), wrong = 0, square = 0, most = 0;
	CHECK_INT(have, n);
	for (int64_t i = 0; truth && have == n && i < n; i++) {
		double by = fabs(x[i] - truth[i]);
		most = by > most ? by : most;
		wrong += by * by;
		square += truth[i] * truth[i];
	}
	if (!truth || !(most <= max && wrong <= nmse * square))
		test_fail(__FILE__, __LINE__, "%s: max %.3g, nmse %.3g", key, most, wrong / square);
	free(truth);
}

static void check_logits(const struct golden *g, struct test_model *m)
{
	struct kn_seq seq[MAX_ROWS];
	int32_t token[MAX_ROWS * MAX_TOKENS], pos[MAX_ROWS * MAX_TOKENS];
	struct batch b = {.token = token, .pos = pos, .seq = seq};
	struct err e = {""};
	for (; b.n_seq < g->n; b.n_seq++) {
		int64_t len = g->row[b.n_seq].n_prompt + g->row[b.n_seq].n;
		seq[b.n_seq] = (struct kn_seq){b.N, len, 0, 0, 0, b.N};
		for (int64_t t = 0; t < len; t++, b.N++) {
			token[b.N] = g->token[b.n_seq][t];
			pos[b.N] = (int32_t)t;
		}
	}
	float *h = xaligned((size_t)(b.N * m->arch.C) * 4), *logits = xaligned((size_t)(b.N * m->arch.V) * 4);
	CHECK_INT(decoder_forward(&m->d, &m->w, &b, NULL, NULL, h, &e), 0);
	CHECK_INT(decoder_logits(&m->d, &m->w, h, b.N, logits, &e), 0);
	near(g, "logits", logits, b.N * m->arch.V, 1e-4, 1e-11);
	free(h);
	free(logits);
}

/* Squared error over the square of the change; the golden file has the tensors of `prefix` KEY. */
static void check_steps(const struct golden *g, const struct trainer *t, const float *before, int n_base)
{
	for (int i = n_base; i < t->info.table.n; i++) {
		const struct tensor *x = &t->info.table.tensor[i];
		double *truth = test_param(&g->adapter, x, "step3."), wrong = 0, change = 0;
		for (int64_t j = 0; truth && j < x->count; j++) {
			double by = t->w.slab[x->offset + j] - truth[j], moved = truth[j] - before[x->offset + j];
			wrong += by * by;
			change += moved * moved;
		}
		if (!truth || !(wrong <= 1e-6 * change))
			test_fail(__FILE__, __LINE__, "step3 '%s': nmse of the change %.3g", x->name, wrong / change);
		free(truth);
	}
}

static void check_training(struct golden *g, struct test_model *m)
{
	struct trainer t = {.k = m->k, .micro_tokens = 4096};
	struct trainer *const one = &t;
	struct optim_config c = {.eps = 1e-8, .beta1 = .9, .beta2 = .999, .max_grad_norm = 1};
	struct err e = {""};
	char key[160];
	int64_t n;
	double *losses = test_tensor(&g->adapter, "losses", &n), *norms = test_tensor(&g->adapter, "grad_norms", &n);
	t.info.arch = m->arch;
	t.info.table = m->table;
	t.w = m->w;
	CHECK(!weights_zero(&t.g, m->k, &m->table, &e) && !optim_moment_init(&t.m, m->k, &m->table, false, false, &e) &&
	      !optim_moment_init(&t.v, m->k, &m->table, true, false, &e) &&
	      !decoder_init(&t.d, &m->arch, &m->table, m->k, &e));
	t.acts = activations_new(&t.d);
	float *before = xmalloc((size_t)m->table.size * sizeof *before);
	memcpy(before, m->w.slab, (size_t)m->table.size * sizeof *before);
	for (int step = 0; step < 3; step++) {
		double norm;
		g->loss = 0;
		trainer_zero_gradient(&t);
		CHECK_INT(trainer_backward(&t, g->row, g->n, likelihood, g, &e), 0);
		for (int i = m->base_table.n; step == 0 && i < m->table.n; i++) {
			snprintf(key, sizeof key, "grad.%s", m->table.tensor[i].name);
			near(g, key, t.g.slab + m->table.tensor[i].offset, m->table.tensor[i].count, INFINITY, 1e-9);
		}
		CHECK_INT(trainer_step(&one, 1, &c, 1e-3, 1e-3, &norm, &e), 0);
		CHECK_NEAR(g->loss, losses[step], 1e-5);
		CHECK_NEAR(norm, norms[step], 1e-4 * norms[step]);
	}
	check_steps(g, &t, before, m->base_table.n);
	free(before);
	free(losses);
	free(norms);
	activations_free(t.acts);
	decoder_release(&t.d);
	weights_release(&t.g);
	optim_moment_release(&t.m);
	optim_moment_release(&t.v);
}

static void check_merged(const struct golden *g, const struct test_model *m)
{
	for (int i = 0; i < m->base_table.n; i++) {
		const struct tensor *t = &m->table.tensor[i];
		if (t->lora < 0)
			continue;
		const struct tensor *a = &m->table.tensor[t->lora], *b = a + 1;
		float *w = xmalloc((size_t)t->count * sizeof *w);
		memcpy(w, m->base.slab + m->base_table.tensor[i].offset, (size_t)t->count * sizeof *w);
		lora_merge(w, m->w.slab + a->offset, m->w.slab + b->offset, t->rows, t->cols, a->rows,
		           m->table.lora_scale);
		double *truth = test_param(&g->adapter, t, "merged."), most = 0;
		for (int64_t j = 0; truth && j < t->count; j++)
			most = fmax(most, fabs(w[j] - truth[j]) / (fabs(truth[j]) + 1));
		if (!truth || !(most <= 3e-7))
			test_fail(__FILE__, __LINE__, "merged '%s' is off by %.3g", t->name, most);
		free(truth);
		free(w);
	}
}

static void test_golden(const char *name, const char *adapter, const char *isa)
{
	static char label[16][96];
	static int turn;
	struct golden *g = xmalloc(sizeof *g);
	struct test_backend b;
	struct test_model m;
	snprintf(label[turn], sizeof *label, "lora: %s %s on %s as PEFT computes it", name, adapter,
	         *isa ? isa : "cpu");
	test_case(label[turn++]);
	if (!golden_open(g, name, adapter)) {
		test_skip("no ../shared/golden");
	} else if (test_backend_open(&b, isa, 2)) {
		if (open_adapter(&m, b.k, g, name, adapter)) {
			check_logits(g, &m);
			check_merged(g, &m);
			check_training(g, &m);
		}
		test_model_close(&m);
		test_backend_close(&b);
	}
	golden_close(g);
	free(g);
}

/* ---- configurations ---- */

static const char *refusal(const char *json, struct err *e)
{
	struct lora_config c;
	if (!lora_config_read(&c, json, strlen(json), e)) {
		lora_config_release(&c);
		return "accepted";
	}
	return e->msg;
}

static void test_configs(void)
{
	struct err e;
	struct lora_config c, again;
	struct test_backend b;
	struct test_model m;
	struct str text;
	test_case("lora: what is not supported is refused by name");
#define LIST "\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"]"
	CHECK(strstr(refusal("{\"peft_type\":\"IA3\"}", &e), "'peft_type'"));
	CHECK(strstr(refusal("{" LIST ",\"use_dora\":true}", &e), "'use_dora' is set"));
	CHECK(strstr(refusal("{" LIST ",\"bias\":\"all\"}", &e), "'bias'"));
	CHECK(strstr(refusal("{" LIST ",\"modules_to_save\":[\"lm_head\"]}", &e), "'modules_to_save' is set"));
	CHECK(strstr(refusal("{" LIST ",\"rank_pattern\":{\"q_proj\":2}}", &e), "'rank_pattern' is set"));
	CHECK(strstr(refusal("{" LIST ",\"r\":0}", &e), "'r' is 0"));
	CHECK(strstr(refusal("{" LIST ",\"lora_dropout\":1}", &e), "'lora_dropout' is 1"));
	CHECK(strstr(refusal("{\"peft_type\":\"LORA\",\"target_modules\":\".*proj\"}", &e), "'target_modules'"));
	CHECK(strstr(refusal("[]", &e), "adapter_config.json"));

	test_case("lora: a written config reads the same");
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, test_gpt2_config, false));
	c = (struct lora_config){.r = 3, .alpha = 4.5, .dropout = .125, .rslora = true, .gaussian = true};
	c.modules = "all-linear";
	lora_config_targets(&c, &m.arch);
	str_init(&text);
	lora_config_write(&c, &m.table, true, &text);
	CHECK(strstr(text.buf, "[\"c_attn\", \"c_proj\", \"c_fc\"]") && strstr(text.buf, "\"fan_in_fan_out\": true"));
	CHECK(lora_config_read(&again, text.buf, text.len, &e) == 0);
	CHECK(again.r == 3 && again.alpha == 4.5 && again.dropout == .125 && again.rslora && again.gaussian);
	CHECK_INT(again.n_target, 3);
	str_release(&text);
	lora_config_release(&again);
	lora_config_release(&c);

	test_case("lora: targets by PEFT's defaults; one that is no matrix is named");
	c.modules = "";
	lora_config_targets(&c, &m.arch);
	CHECK(c.n_target == 1 && !strcmp(c.target[0], "c_attn"));
	lora_config_release(&c);
	c.r = 2;
	c.modules = "c_attn,q_proj";
	lora_config_targets(&c, &m.arch);
	CHECK_INT(lora_tensors(&m.table, &c, true, &e), -1);
	CHECK_STR(e.msg, "target 'q_proj' is no matrix of the model's blocks; they are c_attn, c_proj, c_fc, c_proj");
	lora_config_release(&c);
	test_model_close(&m);
	test_backend_close(&b);
}

int main(void)
{
	static const char *const golden[][2] = {
	        {"gpt2", "lora-attn"}, {"llama", "lora-qv"}, {"llama", "rslora-qv"}, {"llama", "lora-all"}};
	for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
		test_golden(golden[i][0], golden[i][1], "");
		test_golden(golden[i][0], golden[i][1], "ref");
	}
	test_configs();
	return test_done();
}
