/* Weights by hand; those of OpenRLHF's three corrections are in policy_loss_golden_test. */
#include "lib/importance.h"

#include <math.h>

#include "lib/test.h"

static float weight[4];
static struct importance_stats stats;

/* exp(proximal - behaviour) is 4, .25, 1 and, not chosen, 1000. */
static void weigh(int kind, double least, double most)
{
	static const int32_t mask[] = {1, 1, 1, 0};
	const float behaviour[] = {-2, -1, -3, -7};
	const float proximal[] = {(float)(-2 + log(4)), (float)(-1 - log(4)), -3, (float)(-7 + log(1000))};
	const struct importance_config c = {.kind = kind, .least = least, .most = most};
	stats = (struct importance_stats){0};
	importance_weights(&c, 4, mask, proximal, behaviour, weight, &stats);
}

static void is(double a, double b, double c)
{
	CHECK_NEAR(weight[0], a, 1e-6);
	CHECK_NEAR(weight[1], b, 1e-7);
	CHECK_NEAR(weight[2], c, 0);
	CHECK_NEAR(weight[3], 0, 0);
}

int main(void)
{
	test_case("importance: truncated, masked, and not weighed at all");
	weigh(IMPORTANCE_TRUNCATE, 0, 2);
	is(2, .25, 1);
	CHECK(stats.rows == 1 && stats.tokens == 3 && stats.bounded == 1);
	CHECK_NEAR(stats.sum, 5.25, 1e-6);
	CHECK_NEAR(stats.min, .25, 1e-7);
	CHECK_NEAR(stats.max, 4, 1e-6);
	CHECK_NEAR(stats.difference, 2 * log(4), 1e-6);
	CHECK_NEAR(stats.largest, log(4), 1e-6);
	weigh(IMPORTANCE_TRUNCATE, .5, 2);
	is(2, .5, 1);
	weigh(IMPORTANCE_MASK, .5, 2);
	is(0, 0, 1);
	CHECK_INT(stats.bounded, 2);
	weigh(IMPORTANCE_NONE, .5, 2);
	is(1, 1, 1);
	CHECK_INT(stats.bounded, 0);

	test_case("importance: a row by the mean of its differences, which is 0 here");
	weigh(IMPORTANCE_SEQUENCE_MASK, .999, 1.001);
	is(4, .25, 1);
	weigh(IMPORTANCE_SEQUENCE_MASK, 1.001, 2);
	is(0, 0, 0);
	CHECK_INT(stats.bounded, 3);
	return test_done();
}
