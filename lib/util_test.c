/* The base row: err, util, arena, str, rng, par. */
#include "lib/arena.h"
#include "lib/err.h"
#include "lib/par.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

#include <math.h>

static void test_err(void)
{
	struct err e;
	test_case("err: a line that is too long ends in dots");
	char big[3000];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	CHECK_INT(err_set(&e, "%s", big), -1);
	CHECK_STR(e.msg + strlen(e.msg) - 4, "x...");
	test_case("err: where goes in front");
	err_set(&e, "has %d numbers, expected %d", 7, 9);
	err_where(&e, "%s:%d", "f.jsonl", 12);
	CHECK_STR(e.msg, "f.jsonl:12: has 7 numbers, expected 9");
}

static void test_hashes(void)
{
	test_case("crc32c: the check value of the catalogue, in one piece and in two");
	CHECK_INT(crc32c(0, "123456789", 9), 0xe3069283);
	CHECK_INT(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
	char zeros[32] = {0};
	CHECK_INT(crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */

	test_case("crc32c: long pieces as byte by byte");
	static unsigned char text[10000];
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (unsigned char)((uint32_t)i * 2654435761u >> 24);
	for (size_t len = 3000; len <= sizeof text; len += 7) {
		uint32_t crc = 0;
		for (size_t i = 0; i < len; i++)
			crc = crc32c(crc, text + i, 1);
		if (crc32c(0, text, len) != crc || crc32c(crc32c(0, text, 5), text + 5, len - 5) != crc)
			test_fail(__FILE__, __LINE__, "%zu bytes", len);
	}

	test_case("siphash: the vector of the paper's appendix");
	unsigned char in[15];
	for (int i = 0; i < 15; i++)
		in[i] = (unsigned char)i;
	CHECK(hash_bytes(in, 15, 0x0706050403020100, 0x0f0e0d0c0b0a0908) == 0xa129ca6149be45e5);
}

static void test_rng(void)
{
	test_case("philox: the known answer of the library's own file");
	uint32_t w[4];
	rng_words(w, 0, 0, 0, 0);
	CHECK(w[0] == 0x6627e8d5 && w[1] == 0xe169c58d && w[2] == 0xbc57ac4c && w[3] == 0x9b00dbd8);
	rng_words(w, 0x299f31d0a4093822, 0x85a308d3243f6a88, 0x13198a2e, 0x03707344);
	CHECK(w[0] == 0xd16cfe09 && w[1] == 0x94fdcceb && w[2] == 0x5001e420 && w[3] == 0x24126ea1);

	test_case("rng: keys differ by each of purpose, seed, run and epoch");
	uint64_t k = rng_key("sample", 1, "a", 0);
	CHECK(k == rng_key("sample", 1, "a", 0));
	CHECK(k != rng_key("shuffle", 1, "a", 0) && k != rng_key("sample", 2, "a", 0));
	CHECK(k != rng_key("sample", 1, "b", 0) && k != rng_key("sample", 1, "a", 1));
	CHECK(rng_key("ab", 1, "c", 0) != rng_key("a", 1, "bc", 0));

	test_case("rng: uniforms lie inside (0,1) and have the mean and variance they should");
	double sum = 0, square = 0, normal = 0, normal2 = 0;
	enum { N = 200000 };
	bool inside = true;
	for (uint32_t i = 0; i < N; i++) {
		double u = rng_uniform(k, 7, i, 0), z = rng_normal(k, 8, i, 0);
		inside &= u > 0 && u < 1;
		sum += u;
		square += u * u;
		normal += z;
		normal2 += z * z;
	}
	CHECK(inside);
	CHECK_NEAR(sum / N, 0.5, 0.003);
	CHECK_NEAR(square / N, 1.0 / 3, 0.003);
	CHECK_NEAR(normal / N, 0, 0.01);
	CHECK_NEAR(normal2 / N, 1, 0.02);

	test_case("rng: a shuffle is a permutation, and every place is equally likely");
	int count[5][5] = {{0}};
	for (uint64_t key = 0; key < 20000; key++) {
		int64_t p[5];
		int seen = 0;
		rng_shuffle(p, 5, key);
		for (int i = 0; i < 5; i++) {
			seen |= 1 << p[i];
			count[i][p[i]]++;
		}
		if (seen != 31)
			CHECK(seen == 31);
	}
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < 5; j++)
			CHECK_NEAR(count[i][j], 4000, 300);
}

static void test_memory(void)
{
	test_case("arena: allocations are aligned, apart, and survive growth");
	struct arena a;
	arena_init(&a);
	char *p[100];
	for (int i = 0; i < 100; i++) {
		p[i] = arena_alloc(&a, 3000);
		CHECK((uintptr_t)p[i] % 16 == 0);
		memset(p[i], i, 3000);
	}
	for (int i = 0; i < 100; i++)
		CHECK(p[i][0] == i && p[i][2999] == i);
	arena_reset(&a);
	CHECK_STR(arena_printf(&a, "%s-%d", "x", 7), "x-7");
	arena_release(&a);

	test_case("str: grows, formats, detaches");
	struct str s;
	str_init(&s);
	CHECK_STR(s.buf, "");
	for (int i = 0; i < 1000; i++)
		str_addf(&s, "%d,", i);
	CHECK_INT(s.len, 3890);
	char *text = str_detach(&s);
	CHECK(!strncmp(text, "0,1,2,", 6) && s.len == 0);
	free(text);
	str_release(&s);

	test_case("sizes that wrap are refused");
	size_t out;
	CHECK(!size_mul(SIZE_MAX / 2, 3, &out) && size_mul(1 << 20, 1 << 20, &out) && out == (size_t)1 << 40);
	CHECK(!size_add(SIZE_MAX, 1, &out));
}

static void test_words(void)
{
	test_case("numbers are read whole or not at all");
	int64_t i;
	double x;
	CHECK(parse_i64("-12", &i) && i == -12);
	CHECK(!parse_i64("1hello", &i) && !parse_i64("", &i) && !parse_i64(" 1", &i));
	CHECK(!parse_i64("99999999999999999999", &i));
	CHECK(parse_double("1e-3", &x) && x == 1e-3);
	CHECK(!parse_double("1,5", &x) && !parse_double("nan", &x) && !parse_double("inf", &x));
	CHECK(!parse_double(".", &x) && !parse_double("-", &x) && !parse_double("", &x) && !parse_double("1.2.3", &x));
	CHECK(parse_double("-0", &x) && x == 0 && signbit(x) && parse_double(".5", &x) && x == .5);

	test_case("decimals of every length are rounded as strtod does");
	uint64_t state = 1;
	for (int trial = 0; trial < 20000; trial++) {
		char text[64];
		state = state * 6364136223846793005u + 1442695040888963407u;
		int whole = (int)(state >> 60), behind = (int)(state >> 56 & 15);
		snprintf(text, sizeof text, "%s%.*s.%.*s", state & 1 << 20 ? "-" : "", whole, "9007199254740993",
		         behind, "4503599627370497");
		for (char *c = text; *c; c++)
			if (*c >= '0' && *c <= '9' && (state >> (c - text) & 3) == 0)
				*c = (char)('0' + (state >> (2 * (c - text) % 60)) % 10);
		if (whole + behind)
			CHECK(parse_double(text, &x) && x == strtod(text, NULL));
	}

	test_case("the nearest word is near");
	const char *words[] = {"kl-coef", "gamma", "temperature"};
	CHECK_STR(nearest_word("tempreature", words, 3), "temperature");
	CHECK(!nearest_word("zebra", words, 3));
}

static void mark(void *arg, int64_t i, int worker)
{
	(void)worker;
	((int *)arg)[i]++;
}

static void test_par(void)
{
	test_case("par: each item runs once, for many jobs, on one thread and on several");
	for (int threads = 1; threads <= 4; threads++) {
		struct par *p = par_new(threads);
		static int count[1000];
		memset(count, 0, sizeof count);
		for (int job = 0; job < 300; job++)
			par_run(p, job % 3 ? 1000 : 1, mark, count);
		bool all = count[0] == 300;
		for (int i = 1; i < 1000; i++)
			all &= count[i] == 200;
		CHECK(all);
		par_free(p);
	}
}

int main(void)
{
	test_err();
	test_hashes();
	test_rng();
	test_memory();
	test_words();
	test_par();
	return test_done();
}
