/* The total reward: where scalars, arrays and spans fall. */
#include "lib/reward.h"
#include "lib/test.h"

static struct arena arena;
static struct err e;

/* Reads `line` as a record of n tokens; returns the code of reward_read. */
static int read_line(struct reward *r, const char *line, int64_t n, const int32_t *mask, double **out, double *score)
{
	static struct record *rec;
	if (!rec)
		rec = record_new();
	if (record_parse(rec, line, strlen(line), &e))
		return -2;
	return reward_read(r, rec, n, mask, out, score, &arena, &e);
}

static void test_default(void)
{
	double *x, score;
	struct reward *r = reward_new(NULL, &e);

	test_case("reward: a scalar falls on the last token");
	CHECK_INT(read_line(r, "{\"reward\":2.5,\"reward_a\":9}", 3, NULL, &x, &score), 1);
	CHECK(x[0] == 0 && x[1] == 0 && x[2] == 2.5 && score == 2.5);

	test_case("reward: a scalar falls on the last token that the policy chose");
	CHECK_INT(read_line(r, "{\"reward\":1}", 3, (int32_t[]){1, 1, 0}, &x, &score), 1);
	CHECK(x[1] == 1 && x[2] == 0);

	test_case("reward: reward_* that are not null are added, arrays token by token");
	CHECK_INT(read_line(r, "{\"reward_a\":1,\"reward_b\":null,\"reward_c\":[0.5,-1,2]}", 3, NULL, &x, &score), 1);
	CHECK(x[0] == 0.5 && x[1] == -1 && x[2] == 3 && score == 2.5);

	test_case("reward: without any it is absent");
	CHECK_INT(read_line(r, "{\"reward_a\":null,\"x\":1}", 3, NULL, &x, &score), 0);

	test_case("reward: a span falls on the last token that it touches");
	const char *spans = "{\"ends\":[2,5,5,9],\"reward_s\":[[0,2,1],[1,3,10],[5,6,100],[0,9,1000],[4,50,1e4]]}";
	CHECK_INT(read_line(r, spans, 4, NULL, &x, &score), 1);
	CHECK(x[0] == 1 && x[1] == 10 && x[2] == 0 && x[3] == 11100 && score == 11111);

	test_case("reward: the names that were used are told");
	CHECK_STR(reward_description(r), "reward + reward_a + reward_c + reward_s");

	test_case("reward: what cannot be placed is refused with both numbers");
	CHECK_INT(read_line(r, "{\"reward\":[1,2]}", 3, NULL, &x, &score), -1);
	CHECK_STR(e.msg, "'reward' has 2 numbers, but 'tokens' has 3");
	CHECK_INT(read_line(r, "{\"reward\":[[0,1,1]]}", 3, NULL, &x, &score), -1);
	CHECK_INT(read_line(r, "{\"reward\":\"good\"}", 3, NULL, &x, &score), -1);
	CHECK_INT(read_line(r, "{\"ends\":[1,2,3],\"reward\":[[2,1,1]]}", 3, NULL, &x, &score), -1);
	reward_free(r);
}

static void test_parts(void)
{
	struct record *rec = record_new();
	struct reward_component *part;
	const char *line =
	        "{\"reward\":7,\"reward_a\":-1.5,\"reward_none\":null,\"reward_t\":[0.5,-1,2],\"reward_yes\":true,"
	        "\"reward_s\":[[0,2,1],[1,3,10]],\"reward_word\":\"x\",\"reward_\":3,\"reward_o\":{\"a\":1},"
	        "\"reward_empty\":[]}";
	static const struct reward_component want[] = {{"a", -1.5}, {"t", 1.5}, {"yes", 1}, {"s", 11}, {"empty", 0}};
	CHECK(!record_parse(rec, line, strlen(line), &e));
	CHECK_INT(reward_components(rec, &part, &arena), 5);
	for (int i = 0; i < 5; i++) {
		CHECK_STR(part[i].name, want[i].name);
		CHECK(part[i].sum == want[i].sum);
	}
	record_free(rec);
}

int main(void)
{
	arena_init(&arena);
	test_default();
	test_case("reward: the parts by name, each by its sum");
	test_parts();
	return test_done();
}
