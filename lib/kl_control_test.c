/* The KL controller on the numbers of the projects that used it, and its state; kl_control against other
 * implementations is in policy_loss_golden_test and advantage_golden_test. */
#include "lib/kl_control.h"

#include <math.h>
#include <stdlib.h>

#include "lib/record.h"
#include "lib/str.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static int64_t checked;

static double input(const struct json *c, const char *name, double otherwise)
{
	struct json in, v;
	return json_member(c, "input", &in) == 1 && json_member(&in, name, &v) == 1 ? v.number : otherwise;
}

static int seed_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct kl_control k;
	struct json want;
	struct err e;
	(void)arg, (void)i, (void)key, (void)key_len;
	CHECK_INT(kl_control_init(&k, "6,10000", input(c, "beta", NAN)), 0);
	for (int64_t step = 0; step < (int64_t)input(c, "steps", 1); step++)
		CHECK_INT(kl_control_update(&k, input(c, "kl", NAN), (int64_t)input(c, "n", NAN), &e), 0);
	CHECK_INT(json_member(c, "expected", &want), 1);
	CHECK_NEAR(k.coef, want.number, 1e-11);
	checked++;
	return 0;
}

static int seed_vector(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct json name, cases;
	(void)arg, (void)i, (void)key, (void)key_len;
	if (json_member(v, "name", &name) == 1 && !strncmp(name.text, "adaptive KL controller", 22) &&
	    json_member(v, "cases", &cases) == 1)
		json_each(&cases, seed_case, NULL);
	return 0;
}

static void test_seed_vectors(void)
{
	const char *path = test_shared("golden/score/seed_vectors.json");
	struct err e;
	if (!path) {
		test_skip("no ../shared/golden");
		return;
	}
	struct stream *s = stream_open(path, &e);
	struct record *r = record_new();
	struct json all;
	struct str text;
	char *line;
	size_t len;
	str_init(&text);
	while (s && stream_next(s, &line, &len, &e) > 0)
		str_add(&text, line, len);
	CHECK(!record_parse(r, text.buf, text.len, &e) && record_json(r, "vectors", &all, &e) == 1);
	json_each(&all, seed_vector, NULL);
	CHECK_INT(checked, 6);
	record_free(r);
	str_release(&text);
	stream_close(s);
}

static void test_words(void)
{
	struct kl_control k;
	struct err e;
	CHECK_INT(kl_control_init(&k, "", .05), 0);
	CHECK(!k.adaptive && k.coef == .05);
	const char *const wrong[] = {"6",   "6,",     ",100",    "6,100,1", "6 100", "0,100",
	                             "6,0", "-1,100", "inf,100", "x,100",   "6,nan"};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		CHECK_INT(kl_control_init(&k, wrong[i], .05), -1);
	CHECK_INT(kl_control_init(&k, "6,100", .05), 0);
	CHECK_INT(kl_control_update(&k, 7, 501, &e), -1);
	CHECK_STR(e.msg, "501 rows are more than 5 times the horizon 100 of --adaptive-kl");
	CHECK_INT(kl_control_update(&k, NAN, 4, &e), -1);
	CHECK(k.coef == .05 && k.batches == 0);
	/* five horizons at once and no KL: down to nothing, but not below */
	CHECK_INT(kl_control_update(&k, 0, 500, &e), 0);
	CHECK(k.coef == 0 && k.batches == 1);
}

static void test_state(void)
{
	struct kl_control k, again;
	struct loop_run run = {0};
	struct err e;
	kl_control_init(&k, "6,10000", .2);
	kl_control_init(&again, "6,10000", .2);
	CHECK_INT(kl_control_load(&again, &run, &e), 0);
	CHECK(again.coef == .2 && again.batches == 0);
	for (int i = 0; i < 7; i++)
		CHECK_INT(kl_control_update(&k, 5.7 + .1 * i, 100 + i, &e), 0);
	CHECK_INT(kl_control_keep(&k, &run, &e), 0);
	CHECK_INT(kl_control_load(&again, &run, &e), 0);
	CHECK(again.coef == k.coef && again.batches == 7);
	free(run.states);
	run.states = xstrdup("{\"kl_control\":{\"batches\":7}}");
	CHECK_INT(kl_control_load(&again, &run, &e), -1);
	free(run.states);
}

int main(void)
{
	test_case("kl_control: the numbers of the projects that used it");
	test_seed_vectors();
	test_case("kl_control: what is no TARGET,HORIZON, and what it refuses to follow");
	test_words();
	test_case("kl_control: the state of a run has every bit of it");
	test_state();
	return test_done();
}
