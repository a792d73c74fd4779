/* advantage: estimators without a critic, conventions of --compat, against TRL, verl and OpenRLHF.  What we do not
 * follow is in the tables below with the reason. */
#include "lib/advantage_compat.h"
#include "lib/advantage_test.h"
#include "lib/kl_control.h"

static struct advantage_config config(int method, int compat)
{
	struct advantage_config c = defaults();
	c.method = method;
	c.compat = compat;
	c.kl_coef = 0;
	c.whiten = false;
	return c;
}

static void check_advantages(int n_rows, const char *path, int i, const char *what)
{
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].advantages, row[k].n, at(path, i, k), 1e-6, 1e-6, what);
}

/* ---- GAE and whitening as OpenRLHF does them ---- */

static int gae_rows(int i)
{
	struct json rewards = at(".cases[%d].rewards", i);
	int n_rows = (int)json_length(&rewards);
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		int32_t *mask;
		struct json v = at(".cases[%d].mask[%d]", i, k);
		row[k].given_rewards = floats(at(".cases[%d].rewards[%d]", i, k), &row[k].n);
		row[k].values = floats(at(".cases[%d].values[%d]", i, k), &row[k].n);
		CHECK_INT(json_ints(&v, "mask", &mask, &row[k].n, &a, &e), 0);
		row[k].mask = mask;
	}
	return n_rows;
}

static void openrlhf_gae(int i)
{
	struct advantage_config c = config(ADVANTAGE_GAE, ADVANTAGE_OPENRLHF);
	int n_rows = gae_rows(i);
	c.gamma = at(".cases[%d].gamma", i).number;
	c.lam = at(".cases[%d].lam", i).number;
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
	check_advantages(n_rows, ".cases[%d].expected.openrlhf.advantages[%d]", i, "advantages");
	for (int k = 0; k < n_rows; k++)
		check_array(row[k].returns, row[k].n, at(".cases[%d].expected.openrlhf.returns[%d]", i, k), 1e-6, 1e-6,
		            "returns");
	c.method = ADVANTAGE_REINFORCE;
	c.baseline = BASELINE_NONE;
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
	check_advantages(n_rows, ".cases[%d].expected.openrlhf_cumulative_returns[%d]", i, "returns to go");
}

/* Every value is a row of one token, since all of a row's score falls on its last one.  expected.openrlhf_per_row is of
 * rewards of one prompt, a setting that is not offered. */
static void population_case(int i)
{
	struct advantage_config c = config(ADVANTAGE_GAE, ADVANTAGE_OPENRLHF);
	struct json values = at(".cases[%d].values", i);
	double mean = at(".cases[%d].expected.mean", i).number, var = at(".cases[%d].expected.var_biased", i).number;
	int n = 0;
	c.whiten = true;
	clear_rows();
	for (int k = 0; k < (int)json_length(&values); k++) {
		struct json line = at(".cases[%d].values[%d]", i, k);
		for (int t = 0; t < (int)json_length(&line); t++) {
			if (at(".cases[%d].mask[%d][%d]", i, k, t).integer == 0)
				continue;
			row[n].n = 1;
			row[n++].reward = score_row(1, at(".cases[%d].values[%d][%d]", i, k, t).number);
		}
	}
	CHECK_INT(advantage_compute(&c, NULL, row, n, NULL, &e), 0);
	for (int k = 0; k < n; k++)
		CHECK_NEAR(row[k].advantages[0], (row[k].reward[0] - mean) / sqrt(fmax(var, 1e-8)), 2e-6);
}

/* ---- KL ---- */

/* `abs` has no gradient where it matters and is not offered; k3+ has the value of low_var_kl. */
static void kl_case(int i)
{
	static const struct {
		const char *name;
		int compat, estimator;
	} kinds[] = {
	        {"verl/kl", ADVANTAGE_VERL, ADVANTAGE_K1},         {"verl/mse", ADVANTAGE_VERL, ADVANTAGE_K2},
	        {"verl/low_var_kl", ADVANTAGE_VERL, ADVANTAGE_K3}, {"verl/k3+", ADVANTAGE_VERL, ADVANTAGE_K3},
	        {"openrlhf/k1", ADVANTAGE_OPENRLHF, ADVANTAGE_K1}, {"openrlhf/k2", ADVANTAGE_OPENRLHF, ADVANTAGE_K2},
	        {"openrlhf/k3", ADVANTAGE_OPENRLHF, ADVANTAGE_K3}};
	struct json rows = at(".cases[%d].logprobs", i);
	int n_rows = (int)json_length(&rows);
	for (size_t which = 0; which < sizeof kinds / sizeof *kinds; which++) {
		struct advantage_config c = config(ADVANTAGE_GAE, kinds[which].compat);
		c.kl_estimator = kinds[which].estimator;
		for (int k = 0; k < n_rows; k++) {
			int64_t n;
			float *p = floats(at(".cases[%d].logprobs[%d]", i, k), &n);
			float *q = floats(at(".cases[%d].ref_logprobs[%d]", i, k), &n);
			for (int64_t t = 0; t < n; t++)
				p[t] = (float)advantage_kl_of(&c, (double)p[t] - (double)q[t]);
			check_array(p, n, at(".cases[%d].expected.%s.kl[%d]", i, kinds[which].name, k), 1e-6, 1e-6,
			            kinds[which].name);
		}
	}
}

static double last_of(struct json v)
{
	int64_t n;
	float *x = floats(v, &n);
	return (double)x[n - 1];
}

/* The coefficient is what the case had after its earlier batches: that it moves is not offered; nor is `abs`. */
static void kl_reward_case(int i)
{
	static const char *const kinds[] = {"kl", "mse", "low_var_kl", NULL};
	struct advantage_config c = config(ADVANTAGE_GAE, ADVANTAGE_VERL);
	c.kl_estimator = index_of(at(".cases[%d].kl_penalty", i).text, kinds);
	if (c.kl_estimator > ADVANTAGE_K3)
		return;
	struct kl_control control;
	char text[64] = "";
	if (at(".cases[%d].adaptive", i).boolean)
		snprintf(text, sizeof text, "%.17g,%.17g", at(".cases[%d].target", i).number,
		         at(".cases[%d].horizon", i).number);
	CHECK_INT(kl_control_init(&control, text, at(".cases[%d].init", i).number), 0);
	for (int batch = 0; batch < 3; batch++) {
		struct json rows = at(".cases[%d].batches[%d].scores", i, batch);
		int n_rows = (int)json_length(&rows);
		c.kl_coef = control.coef;
		CHECK_NEAR(c.kl_coef, at(".cases[%d].batches[%d].expected.coef", i, batch).number, 1e-9);
		clear_rows();
		for (int k = 0; k < n_rows; k++) {
			row[k].logprobs = floats(at(".cases[%d].batches[%d].logprobs[%d]", i, batch, k), &row[k].n);
			row[k].ref_logprobs =
			        floats(at(".cases[%d].batches[%d].ref_logprobs[%d]", i, batch, k), &row[k].n);
			row[k].reward =
			        score_row(row[k].n, last_of(at(".cases[%d].batches[%d].scores[%d]", i, batch, k)));
		}
		CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
		for (int k = 0; k < n_rows; k++)
			check_array(row[k].rewards, row[k].n,
			            at(".cases[%d].batches[%d].expected.rewards[%d]", i, batch, k), 1e-6, 1e-6,
			            "rewards");
		double kl = 0;
		for (int k = 0; k < n_rows; k++)
			kl += row[k].kl / (double)row[k].n / n_rows;
		CHECK(advantage_compat(&c)->kl_of_means);
		CHECK_NEAR(kl, at(".cases[%d].batches[%d].expected.kl", i, batch).number, 2e-6);
		CHECK_INT(kl_control_update(&control, kl, n_rows, &e), 0);
		double after = at(".cases[%d].batches[%d].expected.coef_after", i, batch).number;
		CHECK_NEAR(control.coef, after, 1e-7 * after);
	}
}

/* ---- verl: estimators of outcomes ---- */

static const struct outcome {
	const char *name;
	const char *not_ours; /* why it is not followed, or NULL */
	int method, scale, baseline;
	bool whiten, returns; /* where theirs are not rewards to go but the advantages again, they are not compared */
	bool no_gamma, no_lone;
} outcomes[] = {
        {"grpo", NULL, ADVANTAGE_GRPO, SCALE_GROUP, 0, false, false, false, false},
        {"grpo_no_std", NULL, ADVANTAGE_GRPO, SCALE_NONE, 0, false, false, false, false},
        {"grpo_vectorized", "in float32, with a variance of at least 1e-6: grpo is followed", 0, 0, 0, 0, 0, 0, 0},
        {"rloo", NULL, ADVANTAGE_RLOO, 0, 0, false, false, false, false},
        /* a group of one gets 0 there, its score in rloo, which is the one followed */
        {"rloo_vectorized", NULL, ADVANTAGE_RLOO, 0, 0, false, false, false, true},
        {"opo", "a baseline weighted by length; not offered", 0, 0, 0, 0, 0, 0, 0},
        {"reinforce_plus_plus", NULL, ADVANTAGE_REINFORCE, 0, BASELINE_NONE, true, true, false, false},
        {"reinforce_plus_plus_baseline", NULL, ADVANTAGE_REINFORCE, 0, BASELINE_GROUP, true, false, false, false},
        {"remax", NULL, ADVANTAGE_REINFORCE, 0, BASELINE_GREEDY, false, true, true, false},
        {"gpg", "scaled by the share of rows with a score; not offered", 0, 0, 0, 0, 0, 0, 0},
        {"optimal_token_baseline", "a baseline from gradients of logits; not offered", 0, 0, 0, 0, 0, 0, 0},
        {"grpo_passk", "only the best of a group counts; not offered", 0, 0, 0, 0, 0, 0, 0},
};

static const struct outcome *find_outcome(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
		if (strlen(outcomes[i].name) == len && !memcmp(outcomes[i].name, name, len))
			return outcomes + i;
	return NULL;
}

/* With a greedy baseline row k is a group with row n + k, whose score is reward_baselines[k]. */
static int outcome_rows(int i, bool greedy)
{
	struct json rewards = at(".cases[%d].rewards", i);
	int n_rows = (int)json_length(&rewards);
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		row[k].given_rewards = floats(at(".cases[%d].rewards[%d]", i, k), &row[k].n);
		row[k].group = greedy ? arena_printf(&a, "%d", k) : at(".cases[%d].groups[%d]", i, k).text;
		if (!greedy)
			continue;
		struct advantage_row *b = row + n_rows + k;
		b->n = 1;
		b->reward = score_row(1, at(".cases[%d].reward_baselines[%d]", i, k).number);
		b->group = row[k].group;
		b->greedy = true;
	}
	return n_rows;
}

static bool has_lone(int n_rows)
{
	for (int i = 0; i < n_rows; i++) {
		int same = 0;
		for (int k = 0; k < n_rows; k++)
			same += !strcmp(row[i].group, row[k].group);
		if (same == 1)
			return true;
	}
	return false;
}

static int case_number;

static int one_outcome(void *arg, int64_t index, const char *key, size_t len, const struct json *item)
{
	const struct outcome *o = find_outcome(key, len);
	(void)arg, (void)index, (void)item;
	if (!o)
		test_fail(__FILE__, __LINE__, "verl's %.*s is not in the table", (int)len, key);
	if (!o || o->not_ours)
		return 0;
	int i = case_number, n_rows = outcome_rows(i, o->baseline == BASELINE_GREEDY);
	if (o->no_lone && has_lone(n_rows))
		return 0;
	/* Without any spread theirs is the rounding of a mean divided by count + 1e-8, times 1e4. */
	if (o->baseline == BASELINE_GROUP && n_rows == 1)
		return 0;
	struct advantage_config c = config(o->method, ADVANTAGE_VERL);
	char path[2][100];
	c.gamma = o->no_gamma ? 1 : at(".cases[%d].gamma", i).number;
	c.scale = o->scale;
	c.baseline = o->baseline;
	c.whiten = o->whiten;
	CHECK_INT(advantage_compute(&c, NULL, row, n_rows << (o->baseline == BASELINE_GREEDY), NULL, &e), 0);
	snprintf(path[0], sizeof path[0], ".cases[%%d].expected.%s.advantages[%%d]", o->name);
	snprintf(path[1], sizeof path[1], ".cases[%%d].expected.%s.returns[%%d]", o->name);
	for (int k = 0; k < n_rows; k++) {
		check_array(row[k].advantages, row[k].n, at(path[0], i, k), 1e-6, 1e-6, o->name);
		if (o->returns)
			check_array(row[k].returns, row[k].n, at(path[1], i, k), 1e-6, 1e-6, o->name);
		CHECK_INT(row[n_rows + k].is_baseline, o->baseline == BASELINE_GREEDY);
	}
	return 0;
}

static void outcome_case(int i)
{
	struct json expected = at(".cases[%d].expected", i);
	case_number = i;
	CHECK(json_length(&expected) >= 11);
	json_each(&expected, one_outcome, NULL);
}

/* ---- OpenRLHF: from scores to advantages ---- */

/* In its estimators group_norm and dr_grpo are grpo, reinforce_baseline has the baseline of the group. */
static const struct {
	const char *name;
	int method, scale, baseline;
	bool whiten, returns;
} pipelines[] = {{"gae", ADVANTAGE_GAE, 0, 0, true, true},
                 {"reinforce", ADVANTAGE_REINFORCE, 0, BASELINE_NONE, true, true},
                 {"rloo", ADVANTAGE_RLOO, 0, 0, false, false},
                 {"reinforce_baseline", ADVANTAGE_REINFORCE, 0, BASELINE_GROUP, true, false},
                 {"group_norm", ADVANTAGE_GRPO, SCALE_GROUP, 0, false, false},
                 {"dr_grpo", ADVANTAGE_GRPO, SCALE_NONE, 0, false, false}};

/* Length penalties and clipping shape a score; here that is a program, --reward; the test does what it would say. */
static double shaped_score(int i, int k, int64_t n)
{
	double x = at(".cases[%d].rewards[%d]", i, k).number;
	struct json buffer = at(".cases[%d].config.overlong_buffer_len", i);
	struct json stop = at(".cases[%d].config.stop_properly", i), clip = at(".cases[%d].config.clip", i);
	double over = buffer.kind == JSON_NUMBER ? (double)n - (8 - buffer.number) : 0;
	if (over > 0)
		x -= fmin(over, buffer.number) / buffer.number *
		     at(".cases[%d].config.overlong_penalty_factor", i).number;
	if (stop.kind == JSON_NUMBER && at(".cases[%d].truncated[%d]", i, k).boolean)
		x = stop.number >= 0 ? x * stop.number : stop.number;
	if (clip.kind == JSON_ARRAY)
		x = fmin(fmax(x, at(".cases[%d].config.clip[0]", i).number), at(".cases[%d].config.clip[1]", i).number);
	return x;
}

/* no_std_norm takes the mean away without dividing; not offered, so that the test does it. */
static void center(int n_rows)
{
	double sum = 0;
	int64_t n = 0;
	for (int k = 0; k < n_rows; k++)
		for (int64_t t = 0; t < row[k].n; t++, n++)
			sum += (double)row[k].advantages[t];
	for (int k = 0; k < n_rows; k++)
		for (int64_t t = 0; t < row[k].n; t++)
			row[k].advantages[t] -= (float)(sum / (double)n);
}

static void pipeline_case(int i)
{
	size_t p = 0;
	const char *estimator = at(".cases[%d].estimator", i).text;
	while (p < sizeof pipelines / sizeof *pipelines && strcmp(pipelines[p].name, estimator))
		p++;
	CHECK(p < sizeof pipelines / sizeof *pipelines);
	if (pipelines[p].method != ADVANTAGE_GAE && at(".cases[%d].config.clip", i).kind == JSON_ARRAY)
		return; /* it clips what is left after the baseline; here scores are clipped, before it */
	struct advantage_config c = config(pipelines[p].method, ADVANTAGE_OPENRLHF);
	bool no_std = at(".cases[%d].config.no_std_norm", i).boolean;
	c.gamma = at(".cases[%d].config.gamma", i).number;
	c.lam = at(".cases[%d].config.lambd", i).number;
	c.kl_coef = at(".cases[%d].config.kl_coef", i).number;
	c.whiten = pipelines[p].whiten && !no_std;
	c.scale = pipelines[p].scale;
	c.baseline = pipelines[p].baseline;
	clear_rows();
	for (int k = 0; k < 6; k++) {
		row[k].logprobs = floats(at(".cases[%d].kl[%d]", i, k), &row[k].n);
		row[k].ref_logprobs = arena_array(&a, (size_t)row[k].n, sizeof(float));
		row[k].values = floats(at(".cases[%d].values[%d]", i, k), &row[k].n);
		row[k].group = at(".cases[%d].groups[%d]", i, k).text;
		row[k].reward = score_row(row[k].n, shaped_score(i, k, row[k].n));
	}
	CHECK_INT(advantage_compute(&c, NULL, row, 6, NULL, &e), 0);
	if (no_std)
		center(6);
	check_advantages(6, ".cases[%d].expected.advantages[%d]", i, estimator);
	for (int k = 0; k < 6 && pipelines[p].returns; k++)
		check_array(row[k].returns, row[k].n, at(".cases[%d].expected.returns[%d]", i, k), 1e-6, 1e-6,
		            estimator);
}

/* ---- TRL: GRPOTrainer and RLOOTrainer ---- */

static bool load_trainer(const char *dir)
{
	struct str text;
	str_init(&text);
	str_adds(&text, "{\"golden\":");
	bool ok = add_lines(&text, dir, "advantages.json", "\n");
	str_adds(&text, ",\"records\":[");
	ok = ok && add_lines(&text, dir, "records.jsonl", ",");
	str_adds(&text, "]}");
	arena_reset(&a);
	if (ok)
		CHECK_INT(record_parse(r, text.buf, text.len, &e), 0);
	str_release(&text);
	return ok;
}

/* The weighted sum of the case's rewards, clipped as it says.  A null counts as 0 in TRL 0.24; our tools leave such a
 * row out, as TRL 1 does, so that the test puts the 0. */
static double trainer_score(int i, int k)
{
	struct json names = at(".golden.cases[%d].rewards", i),
	            clip = at(".golden.cases[%d].config.reward_clip_range", i);
	double sum = 0;
	for (int j = 0; j < (int)json_length(&names); j++) {
		struct json x = at(".records[%d].reward_%s", k, at(".golden.cases[%d].rewards[%d]", i, j).text);
		sum += x.kind == JSON_NUMBER ? x.number * at(".golden.cases[%d].config.reward_weights[%d]", i, j).number
		                             : 0;
	}
	if (clip.kind == JSON_ARRAY)
		sum = fmin(fmax(sum, at(".golden.cases[%d].config.reward_clip_range[0]", i).number),
		           at(".golden.cases[%d].config.reward_clip_range[1]", i).number);
	return sum;
}

static void trainer_rows(int i, int n_rows)
{
	clear_rows();
	for (int k = 0; k < n_rows; k++) {
		row[k].logprobs = floats(at(".records[%d].logprobs", k), &row[k].n);
		row[k].ref_logprobs = floats(at(".records[%d].ref_logprobs", k), &row[k].n);
		row[k].group = at(".records[%d].group", k).text;
		row[k].reward = score_row(row[k].n, trainer_score(i, k));
	}
}

static void trainer(const char *dir, int method)
{
	static const char *const scales[] = {"group", "batch", "none", NULL};
	if (!load_trainer(dir))
		return;
	struct json cases = at(".golden.cases"), records = at(".records");
	int n = (int)json_length(&cases), n_rows = (int)json_length(&records);
	CHECK(n > 5 && n_rows == 12);
	for (int i = 0; i < n; i++) {
		struct advantage_config c = config(method, ADVANTAGE_TRL);
		if (method == ADVANTAGE_GRPO) { /* its beta is of the loss */
			c.scale = index_of(at(".golden.cases[%d].config.scale_rewards", i).text, scales);
		} else {
			c.kl_coef = at(".golden.cases[%d].config.beta", i).number;
			c.whiten = at(".golden.cases[%d].config.normalize_advantages", i).boolean;
		}
		trainer_rows(i, n_rows);
		CHECK_INT(advantage_compute(&c, NULL, row, n_rows, NULL, &e), 0);
		for (int k = 0; k < n_rows; k++) {
			double want = at(".golden.cases[%d].advantages[%d]", i, k).number;
			for (int64_t t = 0; t < row[k].n; t++)
				CHECK_NEAR(row[k].advantages[t], want, 2e-6 + 1e-5 * fabs(want));
		}
	}
}

int main(void)
{
	r = record_new();
	arena_init(&a);
	test_case("advantage: GAE and returns to go of OpenRLHF, masks as zeros");
	run_cases("golden/rl/estimators/gae.json", openrlhf_gae);
	test_case("advantage: OpenRLHF whitens by the population's variance");
	run_cases("golden/rl/estimators/whiten.json", population_case);
	test_case("advantage: KL estimates of verl and OpenRLHF, with their bounds");
	run_cases("golden/rl/estimators/kl_estimates.json", kl_case);
	test_case("advantage: verl's KL in the reward");
	run_cases("golden/rl/estimators/kl_reward.json", kl_reward_case);
	test_case("advantage: verl's estimators without a critic");
	run_cases("golden/rl/estimators/verl_outcome.json", outcome_case);
	test_case("advantage: OpenRLHF's scores to advantages");
	run_cases("golden/rl/estimators/openrlhf_pipeline.json", pipeline_case);
	test_case("advantage: TRL's GRPOTrainer");
	trainer("grpo", ADVANTAGE_GRPO);
	test_case("advantage: TRL's RLOOTrainer");
	trainer("rloo", ADVANTAGE_RLOO);
	arena_release(&a);
	record_free(r);
	return test_done();
}
