/* The losses against TRL, OpenRLHF and verl, and against finite differences. */
#include "lib/policy_loss.h"

#include "lib/record.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

enum { MAX_ROWS = 64, MAX_CELLS = 64 };

/* A ragged matrix of the golden files; NAN where they say null. */
struct ragged {
	int64_t n, len[MAX_ROWS];
	float x[MAX_ROWS][MAX_CELLS];
};

static int take_cell(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)key, (void)key_len;
	if (i >= MAX_CELLS)
		return -1;
	((float *)arg)[i] = item->kind == JSON_NUMBER ? (float)item->number : NAN;
	return 0;
}

static int take_row(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct ragged *m = arg;
	(void)key, (void)key_len;
	if (i >= MAX_ROWS)
		return -1;
	m->n = i + 1;
	m->len[i] = json_length(item);
	return json_each(item, take_cell, m->x[i]);
}

static struct ragged *ragged(const struct json *object, const char *key)
{
	struct json v;
	struct ragged *m = xcalloc(1, sizeof *m);
	if (json_member(object, key, &v) != 1 || json_each(&v, take_row, m))
		test_fail(__FILE__, __LINE__, "no matrix '%s'", key);
	return m;
}

static double number(const struct json *object, const char *path)
{
	struct json v = *object;
	char *copy = xstrdup(path), *save, *key;
	for (key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save))
		if (json_member(&v, key, &v) != 1)
			v.number = NAN;
	free(copy);
	return v.number;
}

/* A mini-batch: rows, their outputs and the sums. */
struct mini {
	struct policy_loss_config config;
	struct policy_loss_scale scale;
	int64_t n;
	struct policy_loss_row row[MAX_ROWS];
	int32_t mask[MAX_ROWS][MAX_CELLS];
	float dlogprobs[MAX_ROWS][MAX_CELLS], dvalues[MAX_ROWS][MAX_CELLS];
	struct policy_loss_stats means;
};

static void run(struct mini *m)
{
	struct policy_loss_stats sums = {0};
	m->scale.tokens = m->scale.cells = 0;
	for (int64_t i = 0; i < m->n; i++) {
		struct policy_loss_row *r = &m->row[i];
		r->dlogprobs = m->dlogprobs[i];
		r->dvalues = m->dvalues[i];
		for (int64_t t = 0; t < r->n; t++)
			m->scale.tokens += !r->mask || r->mask[t];
		for (int64_t t = 0; t < r->cells; t++)
			m->scale.cells += t == r->n || !r->mask || r->mask[t];
	}
	if (!m->scale.places)
		m->scale.places = m->scale.tokens;
	for (int64_t i = 0; i < m->n; i++) {
		if (m->row[i].advantages)
			policy_loss_tokens(&m->config, &m->scale, &m->row[i], &sums);
		if (m->row[i].returns)
			policy_loss_cells(&m->config, &m->scale, &m->row[i], &sums);
	}
	m->means = policy_loss_means(&sums, &m->scale);
}

static void compare(float got[MAX_ROWS][MAX_CELLS], const struct ragged *want, double rtol, double atol)
{
	for (int64_t i = 0; i < want->n; i++)
		for (int64_t t = 0; t < want->len[i]; t++)
			if (!isnan(want->x[i][t]))
				CHECK_NEAR(got[i][t], want->x[i][t], atol + rtol * fabs(want->x[i][t]));
}

static void take_mask(struct mini *m, const struct ragged *mask)
{
	for (int64_t i = 0; i < mask->n; i++) {
		for (int64_t t = 0; t < mask->len[i]; t++)
			m->mask[i][t] = mask->x[i][t] != 0;
		m->row[i].mask = m->mask[i];
	}
}

/* ---- the pure estimators ---- */

static int trl_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg, (void)i, (void)key, (void)key_len;
	struct ragged *old = ragged(c, "old_logprobs"), *new = ragged(c, "logprobs"), *adv = ragged(c, "advantages");
	struct ragged *old_v = ragged(c, "old_values"), *v = ragged(c, "values"), *ret = ragged(c, "returns");
	struct mini *m = xcalloc(1, sizeof *m);
	struct json want;
	m->config = (struct policy_loss_config){number(c, "config.cliprange"), number(c, "config.cliprange_value"),
	                                        number(c, "config.vf_coef")};
	m->n = old->n;
	for (int64_t r = 0; r < m->n; r++)
		m->row[r] = (struct policy_loss_row){.n = old->len[r],
		                                     .cells = ret->len[r],
		                                     .old_logprobs = old->x[r],
		                                     .logprobs = new->x[r],
		                                     .advantages = adv->x[r],
		                                     .old_values = old_v->x[r],
		                                     .values = v->x[r],
		                                     .returns = ret->x[r]};
	run(m);
	json_member(c, "expected", &want);
	CHECK_NEAR(m->means.policy, number(&want, "pg_loss"), 1e-6);
	CHECK_NEAR(m->means.value, number(&want, "vf_loss"), 1e-6);
	CHECK_NEAR(m->means.policy + m->config.vf_coef * m->means.value, number(&want, "loss"), 1e-6);
	CHECK_NEAR(m->means.clipfrac, number(&want, "pg_clipfrac"), 1e-6);
	CHECK_NEAR(m->means.value_clipfrac, number(&want, "vf_clipfrac"), 1e-6);
	struct ragged *dl = ragged(&want, "dlogprobs"), *dv = ragged(&want, "dvalues");
	compare(m->dlogprobs, dl, 1e-6, 1e-6);
	compare(m->dvalues, dv, 1e-6, 1e-6);
	struct ragged *all[] = {old, new, adv, old_v, v, ret, dl, dv};
	for (size_t a = 0; a < ARRAY_LEN(all); a++)
		free(all[a]);
	free(m);
	return 0;
}

static int openrlhf_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg, (void)i, (void)key, (void)key_len;
	struct ragged *old = ragged(c, "old_logprobs"), *new = ragged(c, "logprobs"), *adv = ragged(c, "advantages");
	struct ragged *mask = ragged(c, "mask");
	struct mini *m = xcalloc(1, sizeof *m);
	struct json want;
	m->config = (struct policy_loss_config){.cliprange = 0.2};
	m->n = old->n;
	for (int64_t r = 0; r < m->n; r++)
		m->row[r] = (struct policy_loss_row){
		        .n = old->len[r], .old_logprobs = old->x[r], .logprobs = new->x[r], .advantages = adv->x[r]};
	take_mask(m, mask);
	run(m);
	json_member(c, "expected", &want);
	json_member(&want, "openrlhf/ppo", &want);
	CHECK_NEAR(m->means.policy, number(&want, "loss"), 1e-6);
	CHECK_NEAR(m->means.clipfrac, number(&want, "clip_ratio"), 1e-6);
	struct ragged *dl = ragged(&want, "dlogprobs");
	compare(m->dlogprobs, dl, 1e-6, 1e-6);
	for (int64_t r = 0; r < m->n; r++)
		for (int64_t t = 0; t < m->row[r].n; t++)
			if (!m->mask[r][t])
				CHECK(m->dlogprobs[r][t] == 0);
	struct ragged *all[] = {old, new, adv, mask, dl};
	for (size_t a = 0; a < ARRAY_LEN(all); a++)
		free(all[a]);
	free(m);
	return 0;
}

static int value_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg, (void)i, (void)key, (void)key_len;
	struct ragged *old = ragged(c, "old_values"), *new = ragged(c, "values"), *ret = ragged(c, "returns");
	struct ragged *mask = ragged(c, "mask");
	struct mini *m = xcalloc(1, sizeof *m);
	struct json want, verl, openrlhf;
	m->config = (struct policy_loss_config){.cliprange_value = number(c, "clip"), .vf_coef = 1};
	m->n = old->n;
	for (int64_t r = 0; r < m->n; r++)
		m->row[r] = (struct policy_loss_row){.n = old->len[r],
		                                     .cells = old->len[r],
		                                     .old_values = old->x[r],
		                                     .values = new->x[r],
		                                     .returns = ret->x[r]};
	take_mask(m, mask);
	run(m);
	json_member(c, "expected", &want);
	json_member(&want, "verl/token-mean", &verl);
	json_member(&want, "openrlhf/clip", &openrlhf);
	CHECK_NEAR(m->means.value, number(&verl, "loss"), 1e-6);
	CHECK_NEAR(m->means.value, number(&openrlhf, "loss"), 1e-6);
	CHECK_NEAR(m->means.value_clipfrac, number(&verl, "clipfrac"), 1e-6);
	struct ragged *a = ragged(&verl, "dvalues"), *b = ragged(&openrlhf, "dvalues");
	compare(m->dvalues, a, 1e-6, 1e-6);
	compare(m->dvalues, b, 1e-6, 1e-6);
	struct ragged *all[] = {old, new, ret, mask, a, b};
	for (size_t k = 0; k < ARRAY_LEN(all); k++)
		free(all[k]);
	free(m);
	return 0;
}

static char *read_whole(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	struct str s;
	char buf[65536];
	size_t got;
	str_init(&s);
	while (f && (got = fread(buf, 1, sizeof buf, f)) > 0)
		str_add(&s, buf, got);
	if (f)
		fclose(f);
	*len = s.len;
	return str_detach(&s);
}

static void each_case(const char *name, int (*fn)(void *, int64_t, const char *, size_t, const struct json *))
{
	char path[128];
	struct record *r = record_new();
	struct json cases;
	struct err e;
	size_t len;
	snprintf(path, sizeof path, "golden/rl/estimators/%s.json", name);
	const char *file = test_shared(path);
	if (!file) {
		test_skip("no ../shared/golden");
		record_free(r);
		return;
	}
	char *text = read_whole(file, &len);
	CHECK(!record_parse(r, text, len, &e) && record_json(r, "cases", &cases, &e) == 1);
	CHECK(json_length(&cases) >= 7);
	CHECK_INT(json_each(&cases, fn, NULL), 0);
	record_free(r);
	free(text);
}

/* ---- PPOTrainer, an epoch of a real update ---- */

struct lines {
	char *text;
	int64_t n;
	struct record *row[256];
};

static void lines_open(struct lines *l, const char *dir, const char *name)
{
	char path[256];
	struct err e;
	size_t len;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	l->text = read_whole(path, &len);
	l->n = 0;
	for (char *line = l->text, *end; *line && l->n < 256; line = end + 1, l->n++) {
		end = strchr(line, '\n');
		l->row[l->n] = record_new();
		if (record_parse(l->row[l->n], line, (size_t)(end - line), &e))
			test_fail(__FILE__, __LINE__, "%s", e.msg);
	}
}

static void lines_close(struct lines *l)
{
	for (int64_t i = 0; i < l->n; i++)
		record_free(l->row[i]);
	free(l->text);
}

static int64_t floats(const struct record *r, const char *name, float *out)
{
	struct err e;
	struct json v;
	if (record_json(r, name, &v, &e) != 1 || v.kind != JSON_ARRAY || json_each(&v, take_cell, out))
		return -1;
	return json_length(&v);
}

/* What one row needs, by id: records and expected in the same order. */
struct trl_row {
	float old_logprobs[MAX_CELLS], logprobs[MAX_CELLS], advantages[MAX_CELLS];
	float old_values[MAX_CELLS], values[MAX_CELLS], returns[MAX_CELLS];
	float dlogprobs[MAX_CELLS], dvalues[MAX_CELLS];
};

static struct policy_loss_row trl_row(struct trl_row *x, const struct record *record, const struct record *expected,
                                      const struct record *epoch)
{
	struct err e;
	double bootstrap;
	int64_t n = floats(record, "logprobs", x->old_logprobs), cells = floats(expected, "returns", x->returns);
	CHECK_INT(floats(record, "values", x->old_values), n);
	if (cells > n) {
		CHECK_INT(record_num(record, "bootstrap_value", &bootstrap, &e), 1);
		x->old_values[n] = (float)bootstrap;
	}
	CHECK_INT(floats(expected, "advantages", x->advantages), n);
	CHECK_INT(floats(epoch, "logprobs", x->logprobs), n);
	CHECK_INT(floats(epoch, "values", x->values), cells);
	CHECK_INT(floats(epoch, "dlogprobs", x->dlogprobs), n);
	CHECK_INT(floats(epoch, "dvalues", x->dvalues), cells);
	return (struct policy_loss_row){.n = n,
	                                .cells = cells,
	                                .old_logprobs = x->old_logprobs,
	                                .logprobs = x->logprobs,
	                                .advantages = x->advantages,
	                                .old_values = x->old_values,
	                                .values = x->values,
	                                .returns = x->returns};
}

static const char *text_of(const struct record *r, const char *name)
{
	const char *s = "";
	size_t len;
	struct err e;
	record_str(r, name, &s, &len, &e);
	return s;
}

/* Index of the epoch line of a record. */
static int64_t find_epoch(const struct lines *epochs, const char *id, int64_t epoch)
{
	struct err e;
	for (int64_t i = 0; i < epochs->n; i++) {
		int64_t k = -1;
		record_int(epochs->row[i], "epoch", &k, &e);
		if (k == epoch && !strcmp(text_of(epochs->row[i], "id"), id))
			return i;
	}
	return -1;
}

static void check_stats(const struct mini *m, const struct json *s)
{
	const struct {
		const char *name;
		double got;
	} same[] = {{"pg_loss", m->means.policy},
	            {"vf_loss", m->means.value},
	            {"approxkl", m->means.approxkl},
	            {"pg_clipfrac", m->means.clipfrac},
	            {"vf_clipfrac", m->means.value_clipfrac},
	            {"ratio", m->means.ratio},
	            {"loss", m->means.policy + m->config.vf_coef * m->means.value}};
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		double want = number(s, same[i].name);
		if (!(fabs(same[i].got - want) <= 2e-6 + 1e-4 * fabs(want)))
			test_fail(__FILE__, __LINE__, "%s is %.9g, expected %.9g", same[i].name, same[i].got, want);
	}
}

struct trl {
	struct lines records, expected, epochs;
	struct policy_loss_config config;
	double columns;
	int64_t n_epochs, row; /* of a batch; stats seen so far */
};

static int trl_epoch(void *arg, int64_t index, const char *key, size_t key_len, const struct json *s)
{
	struct trl *t = arg;
	struct mini *m = xcalloc(1, sizeof *m);
	struct trl_row *x = xcalloc(MAX_ROWS, sizeof *x);
	int64_t update = (int64_t)number(s, "update"), epoch = (int64_t)number(s, "epoch");
	struct err e;
	(void)index, (void)key, (void)key_len;
	m->config = t->config;
	for (int64_t i = 0; i < t->records.n; i++) {
		int64_t batch = -1, at = find_epoch(&t->epochs, text_of(t->records.row[i], "id"), epoch);
		record_int(t->records.row[i], "batch", &batch, &e);
		if (batch != update)
			continue;
		CHECK(at >= 0);
		CHECK_STR(text_of(t->expected.row[i], "id"), text_of(t->records.row[i], "id"));
		m->row[m->n] = trl_row(&x[m->n], t->records.row[i], t->expected.row[i], t->epochs.row[at]);
		m->n++;
	}
	CHECK(m->n == 8);
	m->scale.places = (double)m->n * t->columns;
	run(m);
	check_stats(m, s);
	for (int64_t i = 0; i < m->n; i++) {
		for (int64_t c = 0; c < m->row[i].n; c++)
			CHECK_NEAR(m->dlogprobs[i][c], x[i].dlogprobs[c], 2e-6 + 1e-4 * fabs(x[i].dlogprobs[c]));
		for (int64_t c = 0; c < m->row[i].cells; c++)
			CHECK_NEAR(m->dvalues[i][c], x[i].dvalues[c], 2e-6 + 1e-4 * fabs(x[i].dvalues[c]));
	}
	free(x);
	free(m);
	t->n_epochs++;
	return 0;
}

static double setting(const struct record *r, const char *name)
{
	struct err e;
	double x = NAN;
	CHECK_INT(record_num(r, name, &x, &e), 1);
	return x;
}

static void test_trl_run(const char *name, int64_t epochs)
{
	char dir[256];
	struct trl t = {0};
	struct err e;
	struct json stats;
	size_t len;
	snprintf(dir, sizeof dir, "golden/rl/ppo/%s", name);
	const char *found = test_shared(dir);
	if (!found) {
		test_skip("no ../shared/golden");
		return;
	}
	snprintf(dir, sizeof dir, "%s", found);
	lines_open(&t.records, dir, "records.jsonl");
	lines_open(&t.expected, dir, "expected.jsonl");
	lines_open(&t.epochs, dir, "epochs.jsonl");
	char path[300];
	struct record *config = record_new(), *stat = record_new();
	snprintf(path, sizeof path, "%s/config.json", dir);
	char *config_text = read_whole(path, &len);
	CHECK(!record_parse(config, config_text, len, &e));
	t.config = (struct policy_loss_config){setting(config, "cliprange"), setting(config, "cliprange_value"),
	                                       setting(config, "vf_coef")};
	t.columns = setting(config, "response_columns");
	snprintf(path, sizeof path, "%s/stats.json", dir);
	char *stats_text = read_whole(path, &len);
	CHECK(!record_parse(stat, stats_text, len, &e));
	record_json(stat, "epochs", &stats, &e);
	CHECK_INT(json_each(&stats, trl_epoch, &t), 0);
	CHECK_INT(t.n_epochs, epochs);
	record_free(config);
	record_free(stat);
	free(config_text);
	free(stats_text);
	lines_close(&t.records);
	lines_close(&t.expected);
	lines_close(&t.epochs);
}

/* ---- finite differences ---- */

static double loss_of(struct mini *m)
{
	run(m);
	return m->means.policy + m->config.vf_coef * m->means.value;
}

/* In float32 arrays a step of 2^-10 is exact near 1, and the losses are smooth on it but at a clip's corner. */
static void difference(struct mini *m, float *x, double analytic)
{
	float kept = *x, h = 1.0f / 1024;
	*x = kept + h;
	double up = loss_of(m);
	*x = kept - h;
	double down = loss_of(m);
	*x = kept;
	CHECK_NEAR((up - down) / (2 * (double)h), analytic, 2e-5);
}

static float draw(uint64_t id, int64_t i, int64_t t, double low, double high)
{
	double u = rng_uniform(1, id, (uint32_t)i, (uint32_t)t);
	return (float)((low + (high - low) * u) * 1024) / 1024;
}

static void test_differences(void)
{
	enum { N = 5 };
	struct mini *m = xcalloc(1, sizeof *m);
	static struct trl_row x[N];
	m->config = (struct policy_loss_config){.2, .3, .7};
	m->n = N;
	for (int64_t i = 0; i < N; i++) {
		int64_t n = 3 * i, cells = n + (i % 2);
		for (int64_t t = 0; t < cells; t++) {
			m->mask[i][t] = (t + i) % 4 != 0;
			/* away from the corners: ratio 1.2 or .8, |v - old| = .3 and r = 1, where both sides agree */
			float ratio_log = t % 3 == 0 ? .05f : t % 3 == 1 ? .6f : -.7f, move = t % 2 ? .1f : -.9f;
			x[i].old_logprobs[t] = draw(1, i, t, -3, -1);
			x[i].logprobs[t] = x[i].old_logprobs[t] + ratio_log;
			x[i].advantages[t] = draw(2, i, t, -2, 2);
			x[i].old_values[t] = draw(3, i, t, -1, 1);
			x[i].values[t] = x[i].old_values[t] + move;
			x[i].returns[t] = draw(4, i, t, -1, 1);
		}
		m->row[i] = (struct policy_loss_row){.n = n,
		                                     .cells = cells,
		                                     .mask = m->mask[i],
		                                     .old_logprobs = x[i].old_logprobs,
		                                     .logprobs = x[i].logprobs,
		                                     .advantages = x[i].advantages,
		                                     .old_values = x[i].old_values,
		                                     .values = x[i].values,
		                                     .returns = x[i].returns};
	}
	run(m);
	struct mini *g = xcalloc(1, sizeof *g);
	memcpy(g, m, sizeof *g);
	int moved = 0, flat = 0;
	for (int64_t i = 0; i < N; i++) {
		for (int64_t t = 0; t < m->row[i].n; t++)
			difference(m, &x[i].logprobs[t], g->dlogprobs[i][t]);
		for (int64_t t = 0; t < m->row[i].cells; t++) {
			difference(m, &x[i].values[t], g->dvalues[i][t]);
			g->dvalues[i][t] != 0 ? moved++ : flat++;
		}
	}
	CHECK(moved > 5 && flat > 5);
	free(g);
	free(m);
}

static void test_empty(void)
{
	struct policy_loss_config c = {.2, .2, .1};
	struct policy_loss_scale s = {0};
	struct policy_loss_stats sums = {0};
	struct policy_loss_row row = {0};
	policy_loss_tokens(&c, &s, &row, &sums);
	policy_loss_cells(&c, &s, &row, &sums);
	struct policy_loss_stats means = policy_loss_means(&sums, &s);
	CHECK(means.policy == 0 && means.value == 0 && means.ratio == 0);
}

int main(void)
{
	test_case("policy_loss: TRL's PPO losses and their gradients");
	each_case("trl_losses", trl_case);
	test_case("policy_loss: OpenRLHF's PPO loss under a mask");
	each_case("policy_losses", openrlhf_case);
	test_case("policy_loss: verl's and OpenRLHF's clipped value loss under a mask");
	each_case("value_losses", value_case);
	test_case("policy_loss: every epoch of PPOTrainer, k1-llama");
	test_trl_run("k1-llama", 4);
	test_case("policy_loss: every epoch of PPOTrainer, k3-whiten-gpt2");
	test_trl_run("k3-whiten-gpt2", 4);
	test_case("policy_loss: every epoch of PPOTrainer, clip-stop-llama");
	test_trl_run("clip-stop-llama", 4);
	test_case("policy_loss: every epoch of PPOTrainer, two-updates-llama");
	test_trl_run("two-updates-llama", 8);
	test_case("policy_loss: gradients are finite differences of the loss");
	test_differences();
	test_case("policy_loss: rows without tokens count for nothing");
	test_empty();
	return test_done();
}
