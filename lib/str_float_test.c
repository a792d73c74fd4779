/* str_float: against what the C++ library prints (json_put_float), over every exponent and many digits. */
#include "lib/str_float.h"

#include <stdlib.h>

#include "lib/record.h"
#include "lib/test.h"

static struct str want;

static int64_t tried, printed;

static void one(uint32_t bits)
{
	float x;
	char got[STR_FLOAT_ROOM];
	memcpy(&x, &bits, sizeof x);
	tried++;
	char *end = str_put_float(got, x);
	if (!end)
		return;
	printed++;
	*end = 0;
	str_clear(&want);
	json_put_float(&want, x);
	if (strcmp(got, want.buf))
		test_fail(__FILE__, __LINE__, "%08x prints as %s, expected %s", bits, got, want.buf);
}

static void decimal(double x)
{
	float f = (float)x;
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	one(bits);
	one(bits ^ 0x80000000);
}

int main(void)
{
	str_init(&want);
	test_case("str_float: mantissas of every exponent, spread and at both ends");
	for (uint32_t exponent = 0; exponent < 256; exponent++) {
		for (uint32_t i = 0; i < 2000; i++) {
			uint32_t m = i < 500 ? i : i < 1000 ? 0x7fffff - (i - 500) : i * 2654435761u >> 9;
			one(exponent << 23 | m);
			one(exponent << 23 | m | 0x80000000);
		}
	}
	test_case("str_float: decimals of few digits");
	for (int n = 0; n < 8; n++)
		for (int i = 1; i < 20000; i++)
			decimal(i / pow(10, n));
	test_case("str_float: what logprobs and rewards look like is not left to others");
	CHECK(printed > tried / 10);
	for (int i = 1; i < 1000; i++) {
		char got[STR_FLOAT_ROOM];
		CHECK(str_put_float(got, -(float)i / 37.37f) != NULL);
	}
	/* every one of them, 15 s of CPU time; asked for by hand */
	if (getenv("RL_TEST_ALL_FLOATS"))
		for (uint64_t bits = 0x38000000; bits < 0x4a000000; bits++)
			one((uint32_t)bits);
	str_release(&want);
	return test_done();
}
