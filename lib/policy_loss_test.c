/* The losses against TRL, OpenRLHF and verl, and against finite differences. */
#include "lib/policy_loss_test.h"
#include "lib/rng.h"

/* ---- the pure estimators ---- */

static int trl_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg, (void)i, (void)key, (void)key_len;
	struct ragged *old = ragged(c, "old_logprobs"), *new = ragged(c, "logprobs"), *adv = ragged(c, "advantages");
	struct ragged *old_v = ragged(c, "old_values"), *v = ragged(c, "values"), *ret = ragged(c, "returns");
	struct mini *m = xcalloc(1, sizeof *m);
	struct json want;
	m->config = (struct policy_loss_config){.cliprange = number(c, "config.cliprange"),
	                                        .cliprange_high = number(c, "config.cliprange"),
	                                        .cliprange_value = number(c, "config.cliprange_value"),
	                                        .vf_coef = number(c, "config.vf_coef")};
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
	t.config = (struct policy_loss_config){.cliprange = setting(config, "cliprange"),
	                                       .cliprange_high = setting(config, "cliprange"),
	                                       .cliprange_value = setting(config, "cliprange_value"),
	                                       .vf_coef = setting(config, "vf_coef")};
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

/* cispo's ratio has no gradient of its own: there the difference moves old and new together, which leaves it. */
static bool frozen(const struct policy_loss_config *c)
{
	return c->loss == LOSS_CISPO;
}

/* Central difference of the whole loss by *x, and *with in step with it.  The values are multiples of 2^-10, so that a
 * step of that size is exact in float32; the losses are smooth on it but at a clip's corner, which no value is near. */
static double difference(struct mini *m, float *x, float *with)
{
	float kept = *x, beside = with ? *with : 0, h = 1.0f / 1024;
	double loss[2];
	for (int i = 0; i < 2; i++) {
		*x = kept + (i ? -h : h);
		if (with)
			*with = beside + (i ? -h : h);
		run(m);
		loss[i] = policy_loss_total(&m->config, &m->means);
	}
	*x = kept;
	if (with)
		*with = beside;
	return (loss[0] - loss[1]) / (2 * (double)h);
}

static float draw(uint64_t id, int64_t i, int64_t t, double low, double high)
{
	double u = rng_uniform(1, id, (uint32_t)i, (uint32_t)t);
	return (float)floor((low + (high - low) * u) * 1024) / 1024;
}

enum { ROWS = 6 };
struct difference_row {
	struct trl_row x;
	float entropy[MAX_CELLS], ref[MAX_CELLS];
};
static struct difference_row data[ROWS];

/* Ragged rows under a mask, one cut, one without tokens.  Log-ratios of tokens lie at .05, .6 and -.7 and those of rows
 * at .05 or so; advantages of a row are equal or not. */
static void make_rows(struct mini *m, bool of_rows, bool whole)
{
	m->n = ROWS;
	for (int64_t i = 0; i < ROWS; i++) {
		int64_t n = 2 * i, cells = n + (i % 2);
		struct trl_row *x = &data[i].x;
		for (int64_t t = 0; t < cells; t++) {
			m->mask[i][t] = (t + i) % 4 != 0;
			float of_token = t % 3 == 0 ? .0498046875f : t % 3 == 1 ? .6005859375f : -.7001953125f;
			float of_row = i % 3 == 0 ? .005859375f : i % 3 == 1 ? .0625f : -.0703125f;
			x->old_logprobs[t] = draw(1, i, t, -3, -1);
			x->logprobs[t] = x->old_logprobs[t] + (of_rows ? of_row : of_token);
			x->advantages[t] = draw(2, i, whole ? 0 : t, -2, 2);
			x->old_values[t] = draw(3, i, t, -1, 1);
			x->values[t] = x->old_values[t] + (t % 2 ? .1005859375f : -.900390625f);
			x->returns[t] = draw(4, i, t, -1, 1);
			data[i].entropy[t] = draw(5, i, t, .1, 3);
			data[i].ref[t] = draw(6, i, t, -3, -1);
		}
		m->row[i] = (struct policy_loss_row){.n = n,
		                                     .cells = cells,
		                                     .id = (uint64_t)i,
		                                     .cut = i == 4,
		                                     .mask = m->mask[i],
		                                     .old_logprobs = x->old_logprobs,
		                                     .ref_logprobs = data[i].ref,
		                                     .logprobs = x->logprobs,
		                                     .entropy = data[i].entropy,
		                                     .advantages = x->advantages,
		                                     .old_values = x->old_values,
		                                     .values = x->values,
		                                     .returns = x->returns};
	}
}

/* Compares every gradient; counts those that are not zero by the policy's loss. */
static void check_differences(const struct policy_loss_config *c, bool whole, int64_t *moved)
{
	struct mini *m = xcalloc(1, sizeof *m), *g = xcalloc(1, sizeof *g);
	m->config = *c;
	make_rows(m, c->ratio == RATIO_SEQUENCE && c->loss != LOSS_GEO_MEAN, whole);
	if (c->agg == AGG_SEQ_MEAN_TOKEN_SUM)
		m->scale.length = 10;
	if (c->top_entropy < 1)
		m->scale.least_entropy = 1;
	if (policy_loss_chooses(c))
		policy_loss_choose(c, m->row, m->n, &m->scale);
	run(m);
	if (policy_loss_chooses(c))
		CHECK(m->means.cov > 0 && m->means.cov < 1);
	memcpy(g, m, sizeof *g);
	for (int64_t i = 0; i < ROWS; i++) {
		struct difference_row *d = &data[i];
		for (int64_t t = 0; t < m->row[i].n; t++) {
			float *with = frozen(c) ? &d->x.old_logprobs[t] : NULL;
			CHECK_NEAR(difference(m, &d->x.logprobs[t], with), g->dlogprobs[i][t], 2e-5);
			if (c->top_entropy == 1)
				CHECK_NEAR(difference(m, &d->entropy[t], NULL), g->dentropy[i][t], 2e-5);
			if (!m->mask[i][t])
				CHECK(g->dlogprobs[i][t] == 0 && g->dentropy[i][t] == 0);
			*moved += g->dlogprobs[i][t] != 0;
		}
		for (int64_t t = 0; t < m->row[i].cells; t++)
			CHECK_NEAR(difference(m, &d->x.values[t], NULL), g->dvalues[i][t], 2e-5);
	}
	free(g);
	free(m);
}

/* Every loss, ratio and way to add up, with every option on and off. */
static void test_differences(void)
{
	int64_t moved = 0, checked = 0;
	struct advantage_config estimator = {.kl_estimator = ADVANTAGE_K3};
	for (int loss = LOSS_PPO; loss <= LOSS_KL_COV; loss++)
		for (int ratio = RATIO_TOKEN; ratio <= RATIO_PRODUCT; ratio++)
			for (int agg = AGG_TOKEN_MEAN; agg <= AGG_SEQ_MEAN_TOKEN_MEAN; agg++)
				for (int with = 0; with < 64; with++) {
					if (loss >= LOSS_GEO_MEAN &&
					    ratio != (loss == LOSS_GEO_MEAN ? RATIO_SEQUENCE : RATIO_TOKEN))
						continue;
					/* a ratio of rows: .02 and .03 */
					bool narrow = ratio == RATIO_SEQUENCE && loss != LOSS_GEO_MEAN;
					struct policy_loss_config c = {.loss = loss,
					                               .ratio = ratio,
					                               .agg = agg,
					                               .cliprange = narrow ? .02 : .2,
					                               .cliprange_high = narrow ? .03 : .3,
					                               .top_entropy = 1,
					                               .tau_pos = 1.5,
					                               .tau_neg = 2,
					                               .cov_ratio = .25,
					                               .cov_low = .0625,
					                               .cov_high = 1.5,
					                               .cov_kl_coef = .75,
					                               .cliprange_value = with & 1 ? .3 : 0,
					                               .vf_coef = .7,
					                               .advantage = &estimator};
					c.dual_clip = with & 1 ? narrow ? 1.05 : 1.5 : 0;
					c.delta = with & 2 ? narrow ? 1.025 : 1.6 : 0;
					c.kl_coef = with & 4 ? .3 : 0;
					estimator.kl_estimator =
					        with & 4 ? with & 8 ? ADVANTAGE_K2 : ADVANTAGE_K3 : ADVANTAGE_K1;
					c.entropy_coef = with & 8 ? .2 : 0;
					c.mask_truncated = with & 16;
					c.top_entropy = with & 32 ? .5 : 1;
					check_differences(&c, with & 1, &moved);
					checked++;
				}
	CHECK_INT(checked, (9 * 3 + 3) * 3 * 64);
	CHECK(moved > checked * 5);
}

/* With estimator exact the gradient is by the KL that was given, and none goes through log-probabilities. */
static void test_exact(void)
{
	static float kl[ROWS][MAX_CELLS], dkl[ROWS][MAX_CELLS];
	struct advantage_config exact = {.kl_estimator = ADVANTAGE_EXACT};
	for (int agg = AGG_TOKEN_MEAN; agg <= AGG_SEQ_MEAN_TOKEN_MEAN; agg++) {
		struct mini *m = xcalloc(1, sizeof *m), *plain = xcalloc(1, sizeof *plain);
		m->config = (struct policy_loss_config){
		        .loss = LOSS_GRPO, .agg = agg, .cliprange = .2, .cliprange_high = .2, .top_entropy = 1};
		make_rows(m, false, true);
		memcpy(plain, m, sizeof *plain);
		for (int64_t i = 0; i < ROWS; i++)
			plain->row[i].mask = plain->mask[i];
		run(plain);
		m->config.advantage = &exact;
		m->config.kl_coef = .3;
		for (int64_t i = 0; i < ROWS; i++) {
			for (int64_t t = 0; t < m->row[i].n; t++)
				kl[i][t] = draw(7, i, t, 0, 2);
			m->row[i].kl = kl[i];
			m->row[i].dkl = dkl[i];
		}
		run(m);
		CHECK(!memcmp(m->dlogprobs, plain->dlogprobs, sizeof m->dlogprobs));
		CHECK(m->means.kl > 0 && m->means.kl_tokens > 0);
		for (int64_t i = 0; i < ROWS; i++)
			for (int64_t t = 0; t < m->row[i].n; t++) {
				CHECK_NEAR(difference(m, &kl[i][t], NULL), dkl[i][t], 2e-5);
				CHECK((dkl[i][t] != 0) == (m->mask[i][t] != 0));
			}
		free(plain);
		free(m);
	}
}

static void test_empty(void)
{
	struct policy_loss_config c = {.cliprange = .2, .cliprange_high = .2, .cliprange_value = .2, .vf_coef = .1};
	struct policy_loss_scale s = {0};
	struct policy_loss_stats sums = {0};
	struct policy_loss_row row = {0};
	policy_loss_count(&c, &row, &s);
	policy_loss_tokens(&c, &s, &row, &sums);
	policy_loss_cells(&c, &s, &row, &sums);
	struct policy_loss_stats means = policy_loss_means(&c, &sums, &s);
	CHECK(means.policy == 0 && means.value == 0 && means.ratio == 0);
}

/* TRL takes "entropy >= threshold". */
static void test_least_entropy(void)
{
	float logprobs[] = {-1, -1, -1}, advantages[] = {1, 1, 1}, entropy[] = {1, 2, 3}, dlogprobs[3];
	struct policy_loss_config c = {.cliprange = .2, .cliprange_high = .2, .top_entropy = .5};
	struct policy_loss_row row = {.n = 3,
	                              .cells = 3,
	                              .logprobs = logprobs,
	                              .old_logprobs = logprobs,
	                              .advantages = advantages,
	                              .entropy = entropy,
	                              .dlogprobs = dlogprobs};
	struct policy_loss_scale s = {.least_entropy = policy_loss_quantile((double[]){3, 1, 2}, 3, 1 - c.top_entropy)};
	struct policy_loss_stats sums = {0};
	policy_loss_count(&c, &row, &s);
	policy_loss_tokens(&c, &s, &row, &sums);
	CHECK(dlogprobs[0] == 0 && dlogprobs[1] != 0 && dlogprobs[2] != 0);
}

int main(void)
{
	test_case("policy_loss: TRL's PPO losses and their gradients");
	each_case("estimators/trl_losses", 7, trl_case);
	test_case("policy_loss: every epoch of PPOTrainer, k1-llama");
	test_trl_run("k1-llama", 4);
	test_case("policy_loss: every epoch of PPOTrainer, k3-whiten-gpt2");
	test_trl_run("k3-whiten-gpt2", 4);
	test_case("policy_loss: every epoch of PPOTrainer, clip-stop-llama");
	test_trl_run("clip-stop-llama", 4);
	test_case("policy_loss: every epoch of PPOTrainer, two-updates-llama");
	test_trl_run("two-updates-llama", 8);
	test_case("policy_loss: gradients of every loss are finite differences, every option on and off");
	test_differences();
	test_case("policy_loss: the exact KL and its gradient");
	test_exact();
	test_case("policy_loss: a token at the threshold of --top-entropy is trained on");
	test_least_entropy();
	test_case("policy_loss: rows without tokens count for nothing");
	test_empty();
	return test_done();
}
