/* Weights over batches, running statistics and percentiles; components as numbers. */
#include "lib/reward.h"
#include "lib/reward_running.h"
#include "lib/reward_weight.h"
#include "lib/test.h"

static struct arena arena;
static struct err e;

static double weight(const char *text, int64_t batch)
{
	struct reward_weight w;
	return reward_weight_parse(&w, text, &e) ? NAN : reward_weight_at(&w, batch);
}

static const char *refused(const char *text)
{
	struct reward_weight w;
	return reward_weight_parse(&w, text, &e) ? e.msg : "";
}

static void test_weights(void)
{
	test_case("reward_weight: a number is the weight of every batch");
	CHECK(weight("0.5", 0) == 0.5 && weight("-2e-1", 1000000) == -0.2);

	test_case("reward_weight: a path goes from point to point in straight lines, and stays at its ends");
	CHECK(weight("0..1:100", 0) == 0 && weight("0..1:100", 25) == 0.25 && weight("0..1:100", 100) == 1);
	CHECK(weight("0..1:100", 101) == 1);
	const char *path = "2:50..1:100..-3:104";
	CHECK(weight(path, 0) == 2 && weight(path, 50) == 2 && weight(path, 75) == 1.5 && weight(path, 100) == 1);
	CHECK(weight(path, 103) == -2 && weight(path, 104) == -3 && weight(path, 105) == -3);

	test_case("reward_weight: what it ends with");
	struct reward_weight w;
	CHECK(!reward_weight_parse(&w, path, &e) && reward_weight_last(&w) == -3);

	test_case("reward_weight: what is no path is refused");
	CHECK_STR(refused(""), "'' is no number");
	CHECK_STR(refused("1..2"), "'2' is reached at no batch: VALUE:BATCH");
	CHECK_STR(refused("1..2:x"), "'x' is no batch");
	CHECK_STR(refused("1..2:-1"), "'-1' is no batch");
	CHECK_STR(refused("1..2:0"), "batch 0 comes after batch 0");
	CHECK_STR(refused("1..2:9..3:8"), "batch 8 comes after batch 9");
	CHECK_STR(refused("1..inf:9"), "'inf' is no number");
}

/* The numbers of the project that kept (count, mean, std) and added batches: their std of one value is 1. */
static void check_case(const double *state, const double *x, int64_t n, const double *want)
{
	struct reward_running r = {(int64_t)state[0], state[1], state[2] * state[2] * state[0]};
	for (int64_t i = 0; i < n; i++)
		reward_running_add(&r, x[i]);
	CHECK_INT(r.n, (int64_t)want[0]);
	CHECK_NEAR(r.mean, want[1], 1e-11);
	CHECK_NEAR(reward_running_sd(&r), want[2], 1e-11);
}

static int check_json_case(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	struct json input, state, batch, expected;
	double *s, *x, *want;
	int64_t n;
	(void)i, (void)key, (void)len;
	CHECK(json_member(v, "input", &input) && json_member(&input, "state", &state) &&
	      json_member(&input, "batch", &batch) && json_member(v, "expected", &expected));
	CHECK(!json_doubles(&state, "state", &s, &n, &arena, &e) && n == 3);
	CHECK(!json_doubles(&expected, "expected", &want, &n, &arena, &e) && n == 3);
	CHECK(!json_doubles(&batch, "batch", &x, &n, &arena, &e));
	check_case(s, x, n, want);
	++*(int *)arg;
	return 0;
}

static int check_vector(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	struct json name, cases;
	(void)i, (void)key, (void)len;
	if (json_member(v, "name", &name) && !strcmp(name.text, "running statistics") &&
	    json_member(v, "cases", &cases))
		json_each(&cases, check_json_case, arg);
	return 0;
}

static void test_running(void)
{
	test_case("reward_running: the seed vectors 'running statistics'");
	const char *path = test_shared("golden/score/seed_vectors.json");
	if (path) {
		struct record *r = record_new();
		static char text[1 << 22];
		FILE *f = fopen(path, "r");
		size_t len = f ? fread(text, 1, sizeof text, f) : 0;
		struct json vectors;
		int cases = 0;
		CHECK(f && !fclose(f));
		CHECK_INT(record_parse(r, text, len, &e), 0);
		CHECK(record_json(r, "vectors", &vectors, &e) > 0);
		json_each(&vectors, check_vector, &cases);
		CHECK_INT(cases, 3);
		record_free(r);
	} else {
		test_skip("no ../shared/golden/score/seed_vectors.json");
	}

	test_case("reward_running: values far from zero keep their deviation");
	struct reward_running r = {0};
	for (int i = 0; i < 1000; i++)
		reward_running_add(&r, 1e9 + (i & 1));
	CHECK_NEAR(r.mean, 1e9 + 0.5, 1e-6);
	CHECK_NEAR(reward_running_sd(&r), 0.5, 1e-9);

	test_case("reward_running: values that are all equal are normally 0, and the first is too");
	struct reward_running same = {0};
	CHECK(reward_running_normal(&same, 7) == 7);
	for (int i = 0; i < 9; i++) {
		reward_running_add(&same, 0.1);
		CHECK_NEAR(reward_running_normal(&same, 0.1), 0, 1e-6);
	}
}

static void test_percentile(void)
{
	test_case("reward_percentile: between order statistics, as numpy");
	const double x[] = {3, 1, 2, 10};
	CHECK(reward_percentile(x, 4, 0) == 1 && reward_percentile(x, 4, 100) == 10);
	CHECK(reward_percentile(x, 4, 50) == 2.5);
	CHECK_NEAR(reward_percentile(x, 4, 90), 7.9, 1e-12);
	CHECK(reward_percentile(x, 1, 33) == 3);
}

static int part(const char *line, int64_t n, const int32_t *mask, struct reward_part *p)
{
	static struct record *rec;
	if (!rec)
		rec = record_new();
	CHECK_INT(record_parse(rec, line, strlen(line), &e), 0);
	return reward_part_read(rec, "x", n, mask, p, &arena, &e);
}

static void test_parts(void)
{
	struct reward_part p;
	test_case("reward_part: a scalar, an array and spans as numbers with their tokens");
	CHECK_INT(part("{\"x\":2}", 3, (int32_t[]){1, 1, 0}, &p), 1);
	CHECK(p.form == REWARD_SCALAR && p.n == 1 && p.x[0] == 2 && p.at[0] == 1);
	CHECK_INT(part("{\"x\":[1,2,3]}", 3, NULL, &p), 1);
	CHECK(p.form == REWARD_TOKENS && p.n == 3 && p.x[2] == 3 && p.at[2] == 2);
	CHECK_INT(part("{\"ends\":[1,2,3],\"x\":[[0,1,5],[0,3,6],[1,2,7]]}", 3, NULL, &p), 1);
	CHECK(p.form == REWARD_SPANS && p.n == 3 && p.at[0] == 0 && p.at[1] == 2 && p.at[2] == 1 && p.x[1] == 6);

	test_case("reward_part: null and nothing; without tokens only a scalar");
	CHECK_INT(part("{\"x\":null}", 3, NULL, &p), 0);
	CHECK(p.form == REWARD_NULL && p.n == 0);
	CHECK_INT(part("{\"x\":[]}", 3, NULL, &p), 1);
	CHECK(p.form == REWARD_SPANS && p.n == 0);
	CHECK_INT(part("{\"x\":4}", -1, NULL, &p), 1);
	CHECK(p.form == REWARD_SCALAR && p.at[0] == -1 && p.x[0] == 4);
	CHECK_INT(part("{\"x\":[4]}", -1, NULL, &p), -1);
	CHECK_STR(e.msg, "'x' is an array, but there is no 'tokens' that it could fall on");
}

int main(void)
{
	arena_init(&arena);
	test_weights();
	test_running();
	test_percentile();
	test_parts();
	return test_done();
}
