/* Learning rates against the definition in transformers' get_*_schedule_with_warmup. */
#include "lib/schedule.h"

#include "lib/test.h"

/* transformers.optimization, its get_*_schedule_with_warmup at num_cycles 1/2: the factor at a step. */
static double theirs(int kind, double step, double warmup, double total)
{
	double left = fmax(1, total - warmup);
	if (step < warmup)
		return step / fmax(1, warmup);
	if (kind == SCHEDULE_CONSTANT)
		return 1;
	if (kind == SCHEDULE_LINEAR)
		return fmax(0, (total - step) / left);
	return fmax(0, .5 * (1 + cos(M_PI * .5 * 2 * ((step - warmup) / left))));
}

static void test_theirs(void)
{
	for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_COSINE; kind++)
		for (int64_t total = 1; total <= 40; total += 3)
			for (int64_t warmup = 0; warmup <= total; warmup += 2)
				for (int64_t u = 0; u <= total; u++) {
					struct schedule_config c = {.lr = 3e-6, .kind = kind, .warmup = warmup};
					double want = 3e-6 * theirs(kind, (double)u, (double)warmup, (double)total);
					CHECK_NEAR(schedule_rate(&c, u, total), want, 1e-20);
				}
}

int main(void)
{
	struct schedule_config c = {.lr = 2, .kind = SCHEDULE_CONSTANT};

	test_case("schedule: constant, with and without warm-up");
	CHECK(schedule_rate(&c, 0, 0) == 2 && schedule_rate(&c, 1000000, 0) == 2);
	c.warmup = 4;
	CHECK(schedule_rate(&c, 0, 0) == 0 && schedule_rate(&c, 1, 0) == .5 && schedule_rate(&c, 3, 0) == 1.5);
	CHECK(schedule_rate(&c, 4, 0) == 2);

	test_case("schedule: linear falls to zero at the end");
	c = (struct schedule_config){.lr = 2, .kind = SCHEDULE_LINEAR};
	CHECK(schedule_rate(&c, 0, 4) == 2 && schedule_rate(&c, 1, 4) == 1.5 && schedule_rate(&c, 3, 4) == .5);
	CHECK(schedule_rate(&c, 4, 4) == 0 && schedule_rate(&c, 9, 4) == 0);
	c.warmup = 2;
	CHECK(schedule_rate(&c, 1, 6) == 1 && schedule_rate(&c, 2, 6) == 2 && schedule_rate(&c, 5, 6) == .5);

	test_case("schedule: cosine is half way in the middle");
	c = (struct schedule_config){.lr = 2, .kind = SCHEDULE_COSINE, .warmup = 2};
	CHECK(schedule_rate(&c, 1, 10) == 1 && schedule_rate(&c, 2, 10) == 2);
	CHECK_NEAR(schedule_rate(&c, 6, 10), 1, 1e-12);
	CHECK_NEAR(schedule_rate(&c, 4, 10), 1 + sqrt(.5), 1e-12);
	CHECK_NEAR(schedule_rate(&c, 10, 10), 0, 1e-12);

	test_case("schedule: a warm-up longer than the run only rises");
	c = (struct schedule_config){.lr = 2, .kind = SCHEDULE_LINEAR, .warmup = 10};
	CHECK(schedule_rate(&c, 3, 4) == 2 * .3);

	test_case("schedule: transformers' factors at every step of many runs");
	test_theirs();
	return test_done();
}
