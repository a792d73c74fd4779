/* The table of a run for people: rows written out by hand. */
#include "lib/metrics_table.h"

#include "lib/test.h"

static void put(struct metrics_table *t, struct str *s, const char *line, int64_t step, int64_t total)
{
	metrics_table_put(t, line, strlen(line), step, total, s);
}

static const char titles_ppo[] = "      step    reward     eval       kl length  clipped grad norm       s    left\n";

static void test_ppo(void)
{
	struct metrics_table t;
	struct str s;
	str_init(&s);
	metrics_table_init(&t, metrics_columns_ppo);
	put(&t, &s,
	    "{\"batch\":0,\"objective/scores\":0.25,\"objective/kl\":-0.0625,\"completions/mean_length\":7.5,"
	    "\"policy/clipfrac_avg\":0.125,\"grad_norm\":12.3456,\"time/rollout\":1.5,\"time/prepare\":0.25,\"time/"
	    "update\":0.25}",
	    1, 4);
	put(&t, &s, "{\"objective/scores\":null,\"time/update\":4,\"time/other\":100}", 2, 4);
	char want[400];
	snprintf(want, sizeof want, "%s%s%s", titles_ppo,
	         "       1/4    0.2500            -0.062    7.5   0.1250      12.3    2.00    0:06\n",
	         "       2/4         -                 -      -        -         -    4.00    0:06\n");
	CHECK_STR(s.buf, want);

	test_case("metrics_table: without a total there is no time left; hours; names again after 20 rows");
	str_clear(&s);
	put(&t, &s, "{\"time/update\":1}", 3, 0);
	CHECK_STR(s.buf, "         3         -                 -      -        -         -    1.00       -\n");
	str_clear(&s);
	metrics_table_init(&t, metrics_columns_ppo);
	put(&t, &s, "{\"time/update\":10}", 1, 1000);
	CHECK(strstr(s.buf, "    2h46\n"));
	for (int i = 2; i <= 21; i++) {
		str_clear(&s);
		put(&t, &s, "{}", i, 0);
		CHECK(!strncmp(s.buf, titles_ppo, sizeof titles_ppo - 1) == (i == 21));
	}
	str_release(&s);
}

static void test_evaluation(void)
{
	static const char line[] =
	        "{\"objective/scores\":1,\"eval/reward\":-0.125,\"eval/reward_x\":2,\"time/update\":1}";
	struct metrics_table t;
	struct str s;
	str_init(&s);
	metrics_table_init(&t, metrics_columns_ppo);
	put(&t, &s, "{}", 1, 0);
	CHECK_INT((int64_t)strcspn(s.buf, "\n"), 80);
	str_clear(&s);
	put(&t, &s, line, 2, 0);
	CHECK_STR(s.buf, "         2    1.0000  -0.1250        -      -        -         -    1.00       -\n");
	str_clear(&s);
	t.evaluation = "eval/reward_x";
	put(&t, &s, line, 3, 0);
	CHECK_STR(s.buf, "         3    1.0000   2.0000        -      -        -         -    1.00       -\n");
	str_release(&s);
}

static void test_sft(void)
{
	struct metrics_table t;
	struct str s;
	str_init(&s);
	metrics_table_init(&t, metrics_columns_sft);
	put(&t, &s,
	    "{\"step\":3,\"loss\":2.5,\"grad_norm\":0.001234,\"lr\":0.00002,\"rows\":4,\"tokens\":96,\"epoch\":0.5,"
	    "\"time/update\":0.125}",
	    3, 3);
	CHECK_STR(s.buf, "      step      loss  grad norm        lr   tokens   epoch       s    left\n"
	                 "       3/3    2.5000    0.00123     2e-05       96    0.50    0.12    0:00\n");
	str_release(&s);
}

int main(void)
{
	test_case("metrics_table: a row of PPO; what is not there is a dash");
	test_ppo();
	test_case("metrics_table: an evaluation, of the total or what --best names, where there is one");
	test_evaluation();
	test_case("metrics_table: a row of SFT");
	test_sft();
	return test_done();
}
