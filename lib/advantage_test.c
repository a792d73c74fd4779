/* advantage: against TRL, verl and OpenRLHF, and rules of our own. */
#include "lib/advantage.h"
#include "lib/arena.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"

enum { ROWS = 16, TOKENS = 64 };

static struct record *r;
static struct arena a;
static struct err e;
static struct advantage_row row[ROWS];
static float out[ROWS][3][TOKENS];

static struct advantage_config defaults(void)
{
	return (struct advantage_config){.gamma = 1, .lam = .95, .kl_coef = .05, .whiten = true, .eos = -1};
}

static void clear_rows(void)
{
	memset(row, 0, sizeof row);
	for (int i = 0; i < ROWS; i++) {
		row[i].rewards = out[i][0];
		row[i].advantages = out[i][1];
		row[i].returns = out[i][2];
	}
}

/* One JSON document in a file. */
static bool load(const char *name)
{
	const char *path = test_shared(name);
	struct stream *s = path ? stream_open(path, &e) : NULL;
	struct str text;
	char *line;
	size_t len;
	bool ok = false;
	if (!s) {
		test_skip("the golden data is not beside the tree");
		return false;
	}
	str_init(&text);
	while (stream_next(s, &line, &len, &e) > 0) {
		str_add(&text, line, len);
		str_addc(&text, '\n');
	}
	arena_reset(&a);
	ok = record_parse(r, text.buf, text.len, &e) == 0;
	CHECK(ok);
	str_release(&text);
	stream_close(s);
	return ok;
}

static struct json at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct json at(const char *fmt, ...)
{
	char path[200];
	struct json v;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof path, fmt, ap);
	va_end(ap);
	record_path(r, path, &v, &e);
	return v;
}

static float *floats(struct json v, int64_t *n)
{
	float *x = NULL;
	*n = 0;
	if (v.kind == JSON_ARRAY && json_floats(&v, "golden", &x, n, &a, &e) < 0)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return x;
}

struct nullable {
	double x[TOKENS];
	int64_t n;
};

static int put_item(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	struct nullable *l = arg;
	(void)key, (void)len;
	l->x[i] = item->kind == JSON_NUMBER ? item->number : NAN;
	l->n = i + 1;
	return 0;
}

/* x agrees with the array v wherever that is not null. */
static void check_array(const float *x, int64_t n, struct json v, double rtol, double atol, const char *what)
{
	struct nullable want = {.n = 0};
	json_each(&v, put_item, &want);
	if (want.n != n)
		test_fail(__FILE__, __LINE__, "%s: %lld numbers, expected %lld", what, (long long)n, (long long)want.n);
	for (int64_t i = 0; i < want.n && i < n; i++)
		if (!isnan(want.x[i]) && !(fabs((double)x[i] - want.x[i]) <= atol + rtol * fabs(want.x[i])))
			test_fail(__FILE__, __LINE__, "%s[%lld] is %.9g, expected %.9g", what, (long long)i,
			          (double)x[i], want.x[i]);
}

/* The cells of a row with the one behind its last token. */
static void check_cells(const float *x, const struct advantage_row *p, double terminal, struct json v, double rtol,
                        double atol, const char *what)
{
	float cells[TOKENS + 1];
	memcpy(cells, x, (size_t)p->n * sizeof *x);
	cells[p->n] = (float)terminal;
	check_array(cells, p->n + p->has_terminal, v, rtol, atol, what);
}

static int index_of(const char *text, const char *const *words)
{
	int i = 0;
	while (words[i] && strcmp(text, words[i]))
		i++;
	return i;
}

static const char *const estimators[] = {"k1", "k2", "k3", NULL};

static double *score_row(int64_t n, double score)
{
	double *x = arena_array(&a, (size_t)n, sizeof *x);
	x[n - 1] = score;
	return x;
}

/* ---- estimators/ ---- */

static void trl_case(int i)
{
	struct advantage_config c = defaults();
	c.compat = ADVANTAGE_TRL;
	c.kl_estimator = index_of(at(".cases[%d].config.kl_estimator", i).text, estimators);
	c.kl_coef = at(".cases[%d].config.kl_coef", i).number;
	c.gamma = at(".cases[%d].config.gamma", i).number;
	c.lam = at(".cases[%d].config.lam", i).number;
	c.whiten_rewards = at(".cases[%d].config.whiten_rewards", i).boolean;
	struct json scores = at(".cases[%d].scores", i);
	int n_rows = (int)json_length(&scores);
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		int64_t n_values;
		row[k].logprobs = floats(at(".cases[%d].logprobs[%d]", i, k), &row[k].n);
		row[k].ref_logprobs = floats(at(".cases[%d].ref_logprobs[%d]", i, k), &row[k].n);
		row[k].values = floats(at(".cases[%d].values[%d]", i, k), &n_values);
		row[k].has_bootstrap = n_values > row[k].n;
		row[k].bootstrap_value = row[k].has_bootstrap ? (double)row[k].values[row[k].n] : 0;
		row[k].reward = score_row(row[k].n, at(".cases[%d].scores[%d]", i, k).number);
	}
	CHECK_INT(advantage_gae(&c, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++) {
		const struct advantage_row *p = row + k;
		check_cells(p->rewards, p, p->bootstrap_reward, at(".cases[%d].expected.rewards[%d]", i, k), 1e-6, 1e-6,
		            "rewards");
		check_cells(p->returns, p, p->bootstrap_return, at(".cases[%d].expected.returns[%d]", i, k), 1e-6, 1e-6,
		            "returns");
		check_array(p->advantages, p->n, at(".cases[%d].expected.advantages[%d]", i, k), 1e-6, 1e-6,
		            "advantages");
	}
}

static void verl_case(int i)
{
	struct advantage_config c = defaults();
	c.gamma = at(".cases[%d].gamma", i).number;
	c.lam = at(".cases[%d].lam", i).number;
	struct json rewards = at(".cases[%d].rewards", i);
	int n_rows = (int)json_length(&rewards);
	bool all = true;
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		int32_t *mask;
		struct json v = at(".cases[%d].mask[%d]", i, k);
		row[k].given_rewards = floats(at(".cases[%d].rewards[%d]", i, k), &row[k].n);
		row[k].values = floats(at(".cases[%d].values[%d]", i, k), &row[k].n);
		CHECK_INT(json_ints(&v, "mask", &mask, &row[k].n, &a, &e), 0);
		row[k].mask = mask;
		for (int64_t t = 0; t < row[k].n; t++)
			all &= mask[t] == 1;
	}
	CHECK_INT(advantage_gae(&c, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++) {
		check_array(row[k].returns, row[k].n, at(".cases[%d].expected.verl.returns[%d]", i, k), 1e-6, 1e-6,
		            "returns");
		check_array(row[k].advantages, row[k].n, at(".cases[%d].expected.verl.advantages_whitened[%d]", i, k),
		            1e-6, 1e-6, "advantages");
	}
	c.whiten = false;
	CHECK_INT(advantage_gae(&c, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows && all; k++)
		check_array(row[k].advantages, row[k].n, at(".cases[%d].expected.openrlhf.advantages[%d]", i, k), 1e-6,
		            1e-6, "advantages (OpenRLHF)");
}

/* With gamma 0 and no critic the advantage is the reward. */
static void whiten_case(int i)
{
	struct advantage_config c = defaults();
	c.gamma = c.kl_coef = 0;
	struct json values = at(".cases[%d].values", i);
	int n_rows = (int)json_length(&values);
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		int32_t *mask;
		double *reward;
		struct json m = at(".cases[%d].mask[%d]", i, k), v = at(".cases[%d].values[%d]", i, k);
		CHECK_INT(json_ints(&m, "mask", &mask, &row[k].n, &a, &e), 0);
		CHECK_INT(json_doubles(&v, "values", &reward, &row[k].n, &a, &e), 0);
		row[k].mask = mask;
		for (int64_t t = 0; t < row[k].n; t++)
			reward[t] = mask[t] ? reward[t] : 0;
		row[k].reward = reward;
	}
	CHECK_INT(advantage_gae(&c, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].advantages, row[k].n, at(".cases[%d].expected.trl[%d]", i, k), 1e-6, 1e-6,
		            "whitened");
	c.whiten_rewards = true;
	CHECK_INT(advantage_gae(&c, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].rewards, row[k].n, at(".cases[%d].expected.trl_keep_mean[%d]", i, k), 1e-6, 1e-6,
		            "keep_mean");
}

static void kl_case(int i)
{
	static const char *const names[] = {"verl/kl", "verl/mse", "verl/low_var_kl"};
	struct json rows = at(".cases[%d].logprobs", i);
	int n_rows = (int)json_length(&rows);
	for (int which = ADVANTAGE_K1; which <= ADVANTAGE_K3; which++)
		for (int k = 0; k < n_rows; k++) {
			int64_t n;
			float *p = floats(at(".cases[%d].logprobs[%d]", i, k), &n);
			float *q = floats(at(".cases[%d].ref_logprobs[%d]", i, k), &n);
			for (int64_t t = 0; t < n; t++) {
				p[t] = (float)advantage_kl(which, (double)p[t] - (double)q[t]);
				/* verl cuts the result of this one at 10; TRL and we do not */
				p[t] = which == ADVANTAGE_K3 && p[t] > 10 ? 10 : p[t];
			}
			check_array(p, n, at(".cases[%d].expected.%s.kl[%d]", i, names[which], k), 1e-6, 1e-6,
			            names[which]);
		}
}

static void run_cases(const char *file, void (*one)(int))
{
	if (!load(file))
		return;
	struct json cases = at(".cases");
	int n = (int)json_length(&cases);
	CHECK(n > 0);
	for (int i = 0; i < n; i++)
		one(i);
}

static void test_seed_vectors(void)
{
	if (!load("golden/score/seed_vectors.json"))
		return;
	struct json vectors = at(".vectors");
	int n = (int)json_length(&vectors), found = 0;
	for (int i = 0; i < n; i++) {
		struct json name = at(".vectors[%d].name", i);
		if (name.kind != JSON_STRING || strncmp(name.text, "GAE", 3))
			continue;
		struct advantage_config c = defaults();
		clear_rows();
		row[0].given_rewards = floats(at(".vectors[%d].cases[0].input.rewards", i), &row[0].n);
		row[0].values = floats(at(".vectors[%d].cases[0].input.values", i), &row[0].n);
		c.gamma = at(".vectors[%d].cases[0].input.gamma", i).number;
		c.lam = at(".vectors[%d].cases[0].input.lambda", i).number;
		c.whiten = false;
		CHECK_INT(advantage_gae(&c, row, 1, NULL, &e), 0);
		check_array(row[0].advantages, row[0].n, at(".vectors[%d].cases[0].expected", i), 1e-6, 1e-6,
		            name.text);
		found++;
	}
	CHECK_INT(found, 2);
}

/* ---- ppo/: whole rollouts of TRL's trainer ---- */

/* Appends the lines of a file, `between` them. */
static bool add_lines(struct str *text, const char *dir, const char *name, const char *between)
{
	char path[200];
	snprintf(path, sizeof path, "golden/rl/ppo/%s/%s", dir, name);
	const char *found = test_shared(path);
	struct stream *s = found ? stream_open(found, &e) : NULL;
	char *line;
	size_t len;
	if (!s) {
		test_skip("the golden data is not beside the tree");
		return false;
	}
	for (int i = 0; stream_next(s, &line, &len, &e) > 0; i++)
		str_addf(text, "%s%s", i ? between : "", line);
	stream_close(s);
	return true;
}

/* config, records and expected as one object, so that at() reaches all of it. */
static bool load_rollout(const char *dir)
{
	struct str text;
	str_init(&text);
	str_adds(&text, "{\"config\":");
	bool ok = add_lines(&text, dir, "config.json", "\n");
	str_adds(&text, ",\"records\":[");
	ok = ok && add_lines(&text, dir, "records.jsonl", ",");
	str_adds(&text, "],\"expected\":[");
	ok = ok && add_lines(&text, dir, "expected.jsonl", ",");
	str_adds(&text, "]}");
	arena_reset(&a);
	if (ok)
		CHECK_INT(record_parse(r, text.buf, text.len, &e), 0);
	str_release(&text);
	return ok;
}

static struct advantage_config rollout_config(void)
{
	struct advantage_config c = defaults();
	struct json penalty = at(".config.missing_eos_penalty");
	c.compat = ADVANTAGE_TRL;
	c.kl_estimator = index_of(at(".config.kl_estimator").text, estimators);
	c.kl_coef = at(".config.kl_coef").number;
	c.gamma = at(".config.gamma").number;
	c.lam = at(".config.lam").number;
	c.whiten_rewards = at(".config.whiten_rewards").boolean;
	c.missing_eos_penalty = penalty.kind == JSON_NUMBER ? penalty.number : 0;
	c.eos = at(".config.eos_token_id").integer;
	return c;
}

static void fill_row(struct advantage_row *p, int i)
{
	int64_t n;
	struct json tokens = at(".records[%d].tokens", i), bootstrap = at(".records[%d].bootstrap_value", i);
	int32_t *ids;
	CHECK_INT(json_ints(&tokens, "tokens", &ids, &p->n, &a, &e), 0);
	p->token = ids;
	p->logprobs = floats(at(".records[%d].logprobs", i), &n);
	p->ref_logprobs = floats(at(".records[%d].ref_logprobs", i), &n);
	p->values = floats(at(".records[%d].values", i), &n);
	p->reward = score_row(p->n, at(".records[%d].reward", i).number);
	p->has_bootstrap = bootstrap.kind == JSON_NUMBER;
	p->bootstrap_value = bootstrap.number;
	p->cut = !strcmp(at(".records[%d].finish", i).text, "length");
}

static void ppo_rollout(const char *dir)
{
	if (!load_rollout(dir))
		return;
	struct advantage_config c = rollout_config();
	struct json records = at(".records");
	int n = (int)json_length(&records), batch = 0;
	for (int first = 0; first < n; batch++) {
		int rows = 0;
		clear_rows();
		while (first + rows < n && at(".records[%d].batch", first + rows).integer == batch) {
			fill_row(row + rows, first + rows);
			rows++;
		}
		CHECK(rows > 1 && advantage_gae(&c, row, rows, NULL, &e) == 0);
		for (int k = 0; k < rows; k++) {
			const struct advantage_row *p = row + k;
			int i = first + k;
			CHECK_STR(at(".expected[%d].id", i).text, at(".records[%d].id", i).text);
			check_cells(p->rewards, p, p->bootstrap_reward, at(".expected[%d].rewards", i), 1e-4, 2e-6,
			            "rewards");
			check_cells(p->returns, p, p->bootstrap_return, at(".expected[%d].returns", i), 1e-4, 2e-6,
			            "returns");
			check_array(p->advantages, p->n, at(".expected[%d].advantages", i), 1e-4, 2e-6, "advantages");
			CHECK_NEAR(p->score, at(".expected[%d].score", i).number, 2e-6);
		}
		first += rows;
	}
	CHECK(batch > 0);
}

static void test_ppo(void)
{
	test_case("advantage: TRL's PPOTrainer, k1-llama");
	ppo_rollout("k1-llama");
	test_case("advantage: TRL's PPOTrainer, k3-whiten-gpt2");
	ppo_rollout("k3-whiten-gpt2");
	test_case("advantage: TRL's PPOTrainer, clip-stop-llama");
	ppo_rollout("clip-stop-llama");
	test_case("advantage: TRL's PPOTrainer, two-updates-llama");
	ppo_rollout("two-updates-llama");
}

/* ---- our own rules ---- */

static void test_rules(void)
{
	static const float p[] = {-1, -2, -1, -3}, q[] = {-1.5f, -2, -1, -3}, v[] = {.5f, .25f, 9, .125f};
	static const int32_t mask[] = {1, 1, 0, 1}, tokens[] = {5, 6, 7, 8};
	static const double score[] = {0, 0, 2, 1};
	struct advantage_config c = defaults();
	c.whiten = false;
	c.lam = 1;
	c.kl_coef = .1;
	clear_rows();
	row[0].n = 4;
	row[0].logprobs = p;
	row[0].ref_logprobs = q;
	row[0].values = v;
	row[0].mask = mask;
	row[0].token = tokens;
	row[0].reward = score;

	test_case("advantage: score on a token not chosen moves to the one before; no value or KL counts there");
	CHECK_INT(advantage_gae(&c, row, 1, NULL, &e), 0);
	CHECK(row[0].rewards[0] == -.05f && row[0].rewards[1] == 2 && row[0].rewards[2] == 0 && row[0].rewards[3] == 1);
	CHECK_NEAR(row[0].returns[0], 2.95, 1e-6);
	CHECK(row[0].returns[1] == 3 && row[0].returns[2] == 0 && row[0].returns[3] == 1);
	CHECK(row[0].advantages[2] == 0 && row[0].advantages[3] == .875f);
	CHECK_NEAR(row[0].kl, .5, 1e-12);
	CHECK_NEAR(row[0].score, 3, 1e-12);

	test_case("advantage: nothing follows a cut completion, unless --bootstrap says so");
	row[0].cut = row[0].has_bootstrap = true;
	row[0].bootstrap_value = 7;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].returns[3] == 1);
	c.bootstrap = true;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].returns[3] == 8 && !row[0].has_terminal);
	row[0].has_bootstrap = false;
	int64_t bad;
	CHECK(advantage_gae(&c, row, 1, &bad, &e) == -1 && bad == 0);
	CHECK_STR(e.msg, "there is no 'bootstrap_value', which --bootstrap needs");
	c.bootstrap = false;

	test_case("advantage: the penalty is for completions that did not end, by finish or by token");
	c.missing_eos_penalty = 4;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].rewards[3] == -3 && row[0].score == -1);
	row[0].cut = false;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].rewards[3] == 1);
	c.eos = 6;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].rewards[3] == 1);
	c.eos = 7;
	CHECK(advantage_gae(&c, row, 1, NULL, &e) == 0 && row[0].rewards[3] == -3);
	c.missing_eos_penalty = 0;

	test_case("advantage: rows left out count in nothing; one token whitens to 0");
	c.whiten = true;
	row[1] = row[0];
	row[1].rewards = row[1].advantages = row[1].returns = NULL;
	row[1].left_out = true;
	row[2] = row[1];
	CHECK_INT(advantage_gae(&c, row, 3, NULL, &e), 0);
	CHECK_NEAR(row[0].advantages[0] + row[0].advantages[1] + row[0].advantages[3], 0, 1e-5);
	row[0].n = 1;
	CHECK(advantage_gae(&c, row, 3, NULL, &e) == 0 && row[0].advantages[0] == 0);
	row[0].n = 0;
	CHECK_INT(advantage_gae(&c, row, 3, NULL, &e), 0);
	CHECK_INT(advantage_gae(&c, row, 0, NULL, &e), 0);
	row[0].n = 4;

	test_case("advantage: what is missing is named, and infinity is refused");
	row[0].ref_logprobs = NULL;
	CHECK_INT(advantage_gae(&c, row, 1, NULL, &e), -1);
	CHECK(strstr(e.msg, "'ref_logprobs'"));
	c.kl_coef = 0;
	CHECK_INT(advantage_gae(&c, row, 1, NULL, &e), 0);
	c.compat = ADVANTAGE_TRL;
	CHECK_INT(advantage_gae(&c, row, 1, NULL, &e), -1);
	CHECK_STR(e.msg, "'mask' is 0 at index 2, but TRL knows no mask");
	c.compat = ADVANTAGE_OURS;
	static const double huge[] = {0, 0, 0, 1e39};
	row[0].reward = huge;
	CHECK_INT(advantage_gae(&c, row, 1, &bad, &e), -1);
	CHECK_STR(e.msg, "'rewards' would be 1e+39 at index 3");
}

int main(void)
{
	r = record_new();
	arena_init(&a);
	test_case("advantage: TRL's rollout lines");
	run_cases("golden/rl/estimators/trl_rollout.json", trl_case);
	test_case("advantage: GAE of verl with masks, and of OpenRLHF");
	run_cases("golden/rl/estimators/gae.json", verl_case);
	test_case("advantage: whitening, with and without the mean");
	run_cases("golden/rl/estimators/whiten.json", whiten_case);
	test_case("advantage: KL estimates");
	run_cases("golden/rl/estimators/kl_estimates.json", kl_case);
	test_case("advantage: the seeds' rows of GAE");
	test_seed_vectors();
	test_ppo();
	test_rules();
	arena_release(&a);
	record_free(r);
	return test_done();
}
