/* advantage: against TRL, verl and OpenRLHF, and rules of our own. */
#include "lib/advantage_test.h"

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
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
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
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++) {
		check_array(row[k].returns, row[k].n, at(".cases[%d].expected.verl.returns[%d]", i, k), 1e-6, 1e-6,
		            "returns");
		check_array(row[k].advantages, row[k].n, at(".cases[%d].expected.verl.advantages_whitened[%d]", i, k),
		            1e-6, 1e-6, "advantages");
	}
	c.whiten = false;
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
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
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].advantages, row[k].n, at(".cases[%d].expected.trl[%d]", i, k), 1e-6, 1e-6,
		            "whitened");
	c.whiten_rewards = true;
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].rewards, row[k].n, at(".cases[%d].expected.trl_keep_mean[%d]", i, k), 1e-6, 1e-6,
		            "keep_mean");
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
		CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), 0);
		check_array(row[0].advantages, row[0].n, at(".vectors[%d].cases[0].expected", i), 1e-6, 1e-6,
		            name.text);
		found++;
	}
	CHECK_INT(found, 2);
}

/* ---- ppo/: whole rollouts of TRL's trainer ---- */

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
		CHECK(rows > 1 && advantage_compute(&c, NULL, row, rows, NULL, &e) == 0);
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
	ppo_rollout("ppo/k1-llama");
	test_case("advantage: TRL's PPOTrainer, k3-whiten-gpt2");
	ppo_rollout("ppo/k3-whiten-gpt2");
	test_case("advantage: TRL's PPOTrainer, clip-stop-llama");
	ppo_rollout("ppo/clip-stop-llama");
	test_case("advantage: TRL's PPOTrainer, two-updates-llama");
	ppo_rollout("ppo/two-updates-llama");
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
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), 0);
	CHECK(row[0].rewards[0] == -.05f && row[0].rewards[1] == 2 && row[0].rewards[2] == 0 && row[0].rewards[3] == 1);
	CHECK_NEAR(row[0].returns[0], 2.95, 1e-6);
	CHECK(row[0].returns[1] == 3 && row[0].returns[2] == 0 && row[0].returns[3] == 1);
	CHECK(row[0].advantages[2] == 0 && row[0].advantages[3] == .875f);
	CHECK_NEAR(row[0].kl, .5, 1e-12);
	CHECK_NEAR(row[0].score, 3, 1e-12);

	test_case("advantage: nothing follows a cut completion, unless --bootstrap says so");
	row[0].cut = row[0].has_bootstrap = true;
	row[0].bootstrap_value = 7;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].returns[3] == 1);
	c.bootstrap = true;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].returns[3] == 8 && !row[0].has_terminal);
	row[0].has_bootstrap = false;
	int64_t bad;
	CHECK(advantage_compute(&c, NULL, row, 1, &bad, &e) == -1 && bad == 0);
	CHECK_STR(e.msg, "there is no 'bootstrap_value', which --bootstrap needs");
	c.bootstrap = false;

	test_case("advantage: the penalty is for completions that did not end, by finish or by token");
	c.missing_eos_penalty = 4;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].rewards[3] == -3 && row[0].score == -1);
	row[0].cut = false;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].rewards[3] == 1);
	c.eos = 6;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].rewards[3] == 1);
	c.eos = 7;
	CHECK(advantage_compute(&c, NULL, row, 1, NULL, &e) == 0 && row[0].rewards[3] == -3);
	c.missing_eos_penalty = 0;

	test_case("advantage: rows left out count in nothing; one token whitens to 0");
	c.whiten = true;
	row[1] = row[0];
	row[1].rewards = row[1].advantages = row[1].returns = NULL;
	row[1].left_out = true;
	row[2] = row[1];
	CHECK_INT(advantage_compute(&c, NULL, row, 3, NULL, &e), 0);
	CHECK_NEAR(row[0].advantages[0] + row[0].advantages[1] + row[0].advantages[3], 0, 1e-5);
	row[0].n = 1;
	CHECK(advantage_compute(&c, NULL, row, 3, NULL, &e) == 0 && row[0].advantages[0] == 0);
	row[0].n = 0;
	CHECK_INT(advantage_compute(&c, NULL, row, 3, NULL, &e), 0);
	CHECK_INT(advantage_compute(&c, NULL, row, 0, NULL, &e), 0);
	row[0].n = 4;

	test_case("advantage: what is missing is named, and infinity is refused");
	row[0].ref_logprobs = NULL;
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), -1);
	CHECK(strstr(e.msg, "'ref_logprobs'"));
	c.kl_coef = 0;
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), 0);
	c.compat = ADVANTAGE_TRL;
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), -1);
	CHECK_STR(e.msg, "'mask' is 0 at index 2, but TRL knows no mask");
	c.compat = ADVANTAGE_OURS;
	static const double huge[] = {0, 0, 0, 1e39};
	row[0].reward = huge;
	CHECK_INT(advantage_compute(&c, NULL, row, 1, &bad, &e), -1);
	CHECK_STR(e.msg, "'rewards' would be 1e+39 at index 3");
}

/* Four rows of two tokens, of groups p and q; scores 1, 3 and 2, 6; the second token of row 3 was not chosen. */
static void group_rows(void)
{
	static const double score[4][2] = {{0, 1}, {0, 3}, {0, 2}, {0, 6}};
	static const int32_t half[] = {1, 0};
	clear_rows();
	for (int i = 0; i < 4; i++) {
		row[i].n = 2;
		row[i].reward = score[i];
		row[i].group = i < 2 ? "p" : "q";
		row[i].sample = i % 2;
	}
	row[3].mask = half;
}

static struct advantage_config method(int which)
{
	struct advantage_config c = defaults();
	c.method = which;
	c.kl_coef = 0;
	c.whiten = false;
	return c;
}

static void check_rows(const double *want, const char *what)
{
	for (int i = 0; i < 4; i++) {
		double second = i == 3 ? 0 : want[i];
		if (fabs((double)row[i].advantages[0] - want[i]) > 1e-6 ||
		    fabs((double)row[i].advantages[1] - second) > 1e-6)
			test_fail(__FILE__, __LINE__, "%s: row %d has %g %g, expected %g %g", what, i,
			          (double)row[i].advantages[0], (double)row[i].advantages[1], want[i], second);
	}
}

static void test_groups(void)
{
	static const double rloo[] = {-2, 2, -4, 4}, none[] = {-1, 1, -2, 2};
	static const float p[] = {-1, -2}, q[] = {-1, -3};
	struct advantage_config c = method(ADVANTAGE_RLOO);
	int64_t bad;

	test_case("advantage: rloo and grpo, one number for the tokens that were chosen; returns are rewards to go");
	group_rows();
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	check_rows(rloo, "rloo");
	CHECK(row[1].returns[0] == 3 && row[1].returns[1] == 3 && row[3].returns[0] == 6 && row[3].returns[1] == 0);
	c = method(ADVANTAGE_GRPO);
	c.scale = SCALE_NONE;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	check_rows(none, "grpo");
	c.scale = SCALE_GROUP;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	CHECK_NEAR(row[3].advantages[0], 2 / (sqrt(8) + 1e-4), 1e-6);

	test_case("advantage: the KL of a row is in what its group compares");
	row[1].logprobs = p;
	row[1].ref_logprobs = q;
	row[0].logprobs = row[0].ref_logprobs = row[2].logprobs = row[2].ref_logprobs = p;
	row[3].logprobs = row[3].ref_logprobs = p;
	c.kl_coef = .5;
	c.scale = SCALE_NONE;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	CHECK(row[1].advantages[0] == .75f && row[0].advantages[0] == -.75f && row[1].rewards[1] == 2.5f);

	test_case("advantage: a group that is not whole, or too small, says how many of how many");
	c = method(ADVANTAGE_RLOO);
	row[1].left_out = true;
	CHECK(advantage_compute(&c, NULL, row, 4, &bad, &e) == -1 && bad == 0);
	CHECK_STR(e.msg, "group 'p' has 1 of 2 completions to compare, and rloo needs 2");
	row[0].left_out = true; /* nothing is left that could be compared */
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	group_rows();
	row[2].sample = 3;
	CHECK(advantage_compute(&c, NULL, row, 4, &bad, &e) == -1 && bad == 2);
	CHECK_STR(e.msg, "group 'q' is not whole: 2 of 4 completions are in the batch");
	row[2].group = NULL;
	row[2].sample = row[3].sample = 0;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), -1);
	CHECK_STR(e.msg, "group 'q' has 1 of 1 completions to compare, and rloo needs 2");
	c.method = ADVANTAGE_REINFORCE;
	c.baseline = BASELINE_BATCH;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
}

static void test_baselines(void)
{
	static const double raw[] = {1, 3, 2, 6}, batch[] = {-2, 0, -1, 3}, group[] = {-1, 1, -2, 2};
	struct advantage_config c = method(ADVANTAGE_REINFORCE);
	struct advantage_moving m = {0};
	int64_t bad;

	test_case("advantage: reinforce with no baseline, that of the batch, of the group");
	group_rows();
	c.baseline = BASELINE_NONE;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	check_rows(raw, "none");
	c.baseline = BASELINE_BATCH;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	check_rows(batch, "batch");
	c.baseline = BASELINE_GROUP;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	check_rows(group, "group");
	c.baseline = BASELINE_NONE;
	c.gamma = .5;
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	CHECK(row[1].advantages[0] == 1.5f && row[1].advantages[1] == 3 && row[3].advantages[0] == 6);
	c.gamma = 1;

	test_case("advantage: a moving baseline is of the batches before, the first has its own; it stays after an "
	          "error");
	c.baseline = BASELINE_MOVING;
	c.baseline_decay = .75;
	CHECK_INT(advantage_compute(&c, &m, row, 4, NULL, &e), 0);
	check_rows(batch, "first batch");
	CHECK(m.batches == 1 && m.mean == 3);
	static const double ten[] = {0, 11};
	row[1].reward = ten;
	CHECK_INT(advantage_compute(&c, &m, row, 4, NULL, &e), 0);
	CHECK(row[1].advantages[0] == 8 && row[0].advantages[0] == -2);
	CHECK_NEAR(m.mean, .75 * 3 + .25 * 5, 1e-12);
	row[1].reward = NULL;
	CHECK_INT(advantage_compute(&c, &m, row, 4, NULL, &e), -1);
	CHECK(m.batches == 2);

	test_case("advantage: the greedy row of a group is its baseline and nothing else");
	group_rows();
	c.baseline = BASELINE_GREEDY;
	row[0].greedy = row[3].greedy = true;
	row[0].rewards = row[0].advantages = row[0].returns = NULL; /* nothing is written */
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	CHECK(row[0].is_baseline && !row[1].is_baseline && row[3].is_baseline);
	CHECK(row[1].advantages[0] == 2 && row[2].advantages[0] == -4);
	c.whiten = true; /* over the four tokens that count */
	CHECK_INT(advantage_compute(&c, NULL, row, 4, NULL, &e), 0);
	CHECK_NEAR(row[1].advantages[0], 3 / sqrt(12), 1e-6);
	row[3].greedy = false;
	CHECK(advantage_compute(&c, NULL, row, 4, &bad, &e) == -1 && bad == 2);
	CHECK_STR(e.msg, "group 'q' has 0 completions at temperature 0, and --baseline greedy wants 1");
}

static void test_conventions(void)
{
	static const double spans[] = {2, 0, 1};
	static const int32_t hole[] = {1, 0, 1};
	static const float v[] = {0, 5, 0};
	struct advantage_config c = method(ADVANTAGE_GAE);
	c.lam = .5;
	clear_rows();
	row[0].n = 3;
	row[0].reward = spans;
	row[0].mask = hole;
	row[0].values = v;
	test_case("advantage: where the score falls, and whether time passes at tokens not chosen");
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), 0);
	CHECK(row[0].rewards[0] == 2 && row[0].rewards[2] == 1 && row[0].advantages[0] == 2.5f);
	c.compat = ADVANTAGE_TRL_OLD;
	CHECK_INT(advantage_compute(&c, NULL, row, 1, NULL, &e), 0);
	CHECK(row[0].rewards[0] == 0 && row[0].rewards[2] == 3 && row[0].advantages[0] == .75f);
	CHECK(row[0].advantages[1] == 0 && row[0].returns[1] == 0);
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
	test_case("advantage: the seeds' rows of GAE");
	test_seed_vectors();
	test_ppo();
	test_rules();
	test_groups();
	test_baselines();
	test_conventions();
	arena_release(&a);
	record_free(r);
	return test_done();
}
