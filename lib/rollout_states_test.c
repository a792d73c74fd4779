/* States of filters with memory: of each name the first row that has it. */
#include "lib/rollout_states.h"
#include "lib/test.h"

static void take(struct rollout_states *s, const char *line, int64_t row)
{
	static struct record *r;
	struct err e;
	if (!r)
		r = record_new();
	CHECK_INT(record_parse(r, line, strlen(line), &e), 0);
	rollout_states_take(s, r, row);
}

int main(void)
{
	struct rollout_states s;
	rollout_states_init(&s);

	test_case("rollout_states: no field, no object");
	rollout_states_begin(&s);
	take(&s, "{\"state\":1,\"state_\":2,\"x\":3}", 0);
	CHECK(!rollout_states_object(&s));

	test_case("rollout_states: of each name the first row that has it, whatever came first");
	take(&s, "{\"state_mix\":{\"n\":2}}", 3);
	take(&s, "{\"state_reinforce\":[1.5]}", 2);
	take(&s, "{\"state_mix\":{\"n\":1},\"x\":0}", 1);
	take(&s, "{\"state_reinforce\":9,\"state_mix\":9}", 4);
	CHECK_STR(rollout_states_object(&s), "{\"mix\":{\"n\":1},\"reinforce\":[1.5]}");

	test_case("rollout_states: another batch has its own");
	rollout_states_begin(&s);
	CHECK(!rollout_states_object(&s));
	take(&s, "{\"state_reinforce\":7,\"state_a\":null}", 5);
	CHECK_STR(rollout_states_object(&s), "{\"a\":null,\"reinforce\":7}");
	rollout_states_release(&s);
	return test_done();
}
