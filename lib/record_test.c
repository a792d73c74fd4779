/* record: what is read, what is refused, and that the input stays as it was, byte for byte. */
#include "lib/record.h"
#include "lib/rng.h"
#include "lib/test.h"

static struct record *r;
static struct arena a;
static struct err e;

static int parse(const char *line)
{
	arena_reset(&a);
	return record_parse(r, line, strlen(line), &e);
}

/* The output line without its newline. */
static const char *line(void)
{
	static char out[4000];
	size_t len;
	const char *p = record_line(r, &len);
	snprintf(out, sizeof out, "%.*s", (int)len - 1, p);
	return out;
}

static void check_refused(const char *text, const char *why)
{
	if (parse(text) == 0)
		test_fail(__FILE__, __LINE__, "'%s' was taken", text);
	else
		CHECK_STR(e.msg, why);
}

static void test_refused(void)
{
	test_case("record: what is no record is refused with a reason");
	check_refused("[1]", "the line is an array, not an object");
	check_refused("3", "the line is a number, not an object");
	check_refused("{\"a\":1", "not JSON");
	check_refused("{\"a\":1} {}", "not JSON");
	check_refused("{\"a\":1,}", "not JSON");
	check_refused("{\"NaN\":\"\\\"NaN\",\"a\":NaN}",
	              "not JSON: NaN and infinity are no numbers there (null: it cannot be scored)");
	check_refused("{\"a\":[-Infinity]}",
	              "not JSON: NaN and infinity are no numbers there (null: it cannot be scored)");
	check_refused("{\"inf\":\"nan\",}", "not JSON");
	check_refused("{'a':1}", "not JSON");
	check_refused("{'info':1}", "not JSON");
	check_refused("{\"a\":\"x}", "not JSON: a string does not end");
	check_refused("{\"a\":\"\x01\"}", "not JSON: a string holds a control character");
	check_refused("{\"a\":\"\xff\"}", "not JSON: the line is not UTF-8");
	check_refused("{\"a\":\"\xed\xa0\x80\"}", "not JSON: the line is not UTF-8");
	check_refused("{\"a\":nul}", "not JSON: a word that is not true, false or null");

	test_case("record: numbers that do not fit are refused");
	const char *number = "not JSON: a number is malformed, infinite, or an integer beyond 64 bits";
	check_refused("{\"a\":18446744073709551616}", number);
	check_refused("{\"a\":-9223372036854775809}", number);
	check_refused("{\"a\":1e400}", number);
	check_refused("{\"a\":01}", number);
	CHECK_INT(parse("{\"a\":18446744073709551615,\"b\":-9223372036854775808}"), 0);

	test_case("record: half a surrogate pair is refused, a pair is not");
	const char *half = "not JSON: a string holds half of a surrogate pair";
	check_refused("{\"a\":\"\\ud83d\"}", half);
	check_refused("{\"a\":\"\\ude00\"}", half);
	check_refused("{\"a\":\"\\ud83dx\\ude00\"}", half);
	check_refused("{\"a\":\"\\ud83d\\ud83d\"}", half);
	CHECK_INT(parse("{\"a\":\"\\ud83d\\ude00 \\\\ud83d\"}"), 0);

	test_case("record: a key twice is refused, among few and among many, also when written otherwise");
	check_refused("{\"a\":1,\"b\":2,\"a\":3}", "the key 'a' is there twice");
	check_refused("{\"a\":1,\"\\u0061\":2}", "the key 'a' is there twice");
	char many[4000] = "{";
	size_t n = 1;
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(many + n, sizeof many - n, "\"k%d\":%d,", i, i);
	snprintf(many + n, sizeof many - n, "\"x\":0}");
	double x;
	CHECK_INT(parse(many), 0);
	CHECK(record_num(r, "k77", &x, &e) == 1 && x == 77 && !record_has(r, "k100"));
	snprintf(many + n, sizeof many - n, "\"k31\":0}");
	check_refused(many, "the key 'k31' is there twice");
	CHECK_INT(parse("{\"a\":{\"b\":1,\"b\":2}}"), 0);
}

static void test_read(void)
{
	const char *text;
	size_t len;
	int64_t i;
	bool b;
	double x;
	test_case("record: fields by type; null counts as absent");
	CHECK_INT(parse("{\"s\":\"a\\u0000b\",\"i\":-7,\"f\":5.0,\"h\":.5e0}"), -1);
	CHECK_INT(parse("{\"s\":\"a\\u0000b\",\"i\":-7,\"f\":5.0,\"h\":0.5,\"t\":true,\"n\":null,\"u\":"
	                "18446744073709551615}"),
	          0);
	CHECK(record_str(r, "s", &text, &len, &e) == 1 && len == 3 && !memcmp(text, "a\0b", 4));
	CHECK(record_int(r, "i", &i, &e) == 1 && i == -7);
	CHECK(record_int(r, "f", &i, &e) == 1 && i == 5);
	CHECK(record_int(r, "h", &i, &e) == -1);
	CHECK_STR(e.msg, "'h' is 0.5, not an integer");
	CHECK(record_num(r, "u", &x, &e) == 1 && x == 18446744073709551615.0);
	CHECK(record_int(r, "u", &i, &e) == -1);
	CHECK(record_bool(r, "t", &b, &e) == 1 && b);
	CHECK(record_str(r, "n", &text, &len, &e) == 0 && record_num(r, "none", &x, &e) == 0);
	CHECK(record_num(r, "s", &x, &e) == -1);
	CHECK_STR(e.msg, "'s' is a string, not a number");
	CHECK(record_has(r, "n") && record_kind(r, "n") == JSON_NULL && record_kind(r, "none") == JSON_ABSENT);

	test_case("record: arrays have the length they must have");
	float *f;
	int32_t *k;
	CHECK_INT(parse("{\"v\":[1,2.5,-0.0],\"w\":[1,null],\"k\":[1,2147483648],\"big\":[1e39],\"e\":[]}"), 0);
	CHECK(record_floats(r, "v", &f, &i, 3, "tokens", &a, &e) == 1 && f[1] == 2.5f && !signbit(f[2]));
	CHECK(record_floats(r, "v", &f, &i, 9, NULL, &a, &e) == -1);
	CHECK_STR(e.msg, "'v' has 3 numbers, expected 9");
	CHECK(record_floats(r, "v", &f, &i, 2, "tokens", &a, &e) == -1);
	CHECK_STR(e.msg, "'v' has 3 numbers, expected 2 (as 'tokens')");
	CHECK(record_floats(r, "w", &f, &i, -1, NULL, &a, &e) == -1);
	CHECK_STR(e.msg, "'w' holds null at index 1, not a number");
	CHECK(record_floats(r, "big", &f, &i, -1, NULL, &a, &e) == -1);
	CHECK_STR(e.msg, "'big' holds 1e+39 at index 0, not a float32");
	CHECK(record_ints(r, "k", &k, &i, -1, NULL, &a, &e) == -1);
	CHECK_STR(e.msg, "'k' holds 2.14748365e+09 at index 1, not an integer of 32 bits");
	CHECK(record_ints(r, "v", &k, &i, -1, NULL, &a, &e) == -1);
	CHECK(record_floats(r, "e", &f, &i, 0, NULL, &a, &e) == 1 && i == 0);

	test_case("record: the id is the first of four names, an integer by its digits, else the line number");
	CHECK(parse("{\"doc_id\":\"d\",\"_id\":12345678901234567890}") == 0 &&
	      record_id(r, 3, &text, &len, &a, &e) == 1);
	CHECK_STR(text, "12345678901234567890");
	CHECK(parse("{\"id\":null}") == 0 && record_id(r, 3, &text, &len, &a, &e) == 1 && !strcmp(text, "3"));
	CHECK(parse("{\"id\":1.5}") == 0 && record_id(r, 3, &text, &len, &a, &e) == -1);
}

static float as_float(const char *number)
{
	char text[200];
	float *f;
	int64_t n;
	snprintf(text, sizeof text, "{\"s\":\"-1 [2] \\\" 3\",\"o\":{\"p\":[4,5.0e0]},\"v\":[7.25,%s]}", number);
	if (parse(text) || record_floats(r, "v", &f, &n, 2, NULL, &a, &e) != 1)
		return NAN;
	return f[1];
}

static void test_rounding(void)
{
	test_case("record: decimals are rounded to float32 once");
	/* Halfway between 1 and the next float, and a hair above and below, closer than a double can tell. */
	CHECK(as_float("1.000000059604644775390625") == 1.0f);
	CHECK(as_float("1.00000005960464477539062500000001") == nextafterf(1, 2));
	CHECK(as_float("1.00000005960464477539062499999999") == 1.0f);
	CHECK(as_float("-1.00000017881393432617187500000001") == -1.00000024f);
	CHECK(as_float("16777217") == 16777216.0f);
	CHECK(as_float("1.401298464324817e-45") == 1.401298464324817e-45f);
	CHECK(as_float("7.0064923216240853546186479164495806564013097093825788587853e-46") == 0);
	CHECK(as_float("7.0064923216240853546186479164495806564013097093825788587854e-46") == 1.401298464324817e-45f);

	test_case("record: any float32 comes back from its text");
	float x[64], *y;
	int64_t n;
	bool same = true;
	for (uint32_t round = 0; round < 4000; round++) {
		for (uint32_t i = 0; i < 64; i += 4) {
			uint32_t words[4];
			rng_words(words, 1, round, i, 0);
			memcpy(x + i, words, sizeof words);
		}
		for (int i = 0; i < 64; i++)
			x[i] = isfinite(x[i]) ? x[i] : (float)i;
		record_clear(r);
		arena_reset(&a);
		same &= record_add_floats(r, "x", x, 64, &e) == 0 &&
		        record_floats(r, "x", &y, &n, 64, NULL, &a, &e) == 1 && !memcmp(x, y, sizeof x);
	}
	CHECK(same);
}

static void test_add(void)
{
	float f[] = {0.1f, -0.0f, 1e10f, 3}, bad[] = {1, INFINITY};
	int32_t k[] = {-5, 0, 2147483647};
	int64_t n;
	test_case("record: the input is a prefix of the output, byte for byte");
	CHECK_INT(parse(" { \"a\" : 1.10 , \"b\":\"\\u00e9\\/\" }\t\r"), 0);
	CHECK_STR(line(), " { \"a\" : 1.10 , \"b\":\"\\u00e9\\/\" }");
	CHECK_INT(record_add_floats(r, "f", f, 4, &e), 0);
	CHECK_INT(record_add_ints(r, "k", k, 3, &e), 0);
	CHECK_INT(record_add_str(r, "s \"\n", "\x01\"\\\xc3\xa9\xff\x7f", 7, &e), 0);
	CHECK_INT(record_add_num(r, "x", 0.1, &e), 0);
	CHECK_INT(record_add_num(r, "z", -0.0, &e), 0);
	CHECK_INT(record_add_int(r, "i", INT64_MIN, &e), 0);
	CHECK_INT(record_add_bool(r, "t", true, &e), 0);
	CHECK_INT(record_add_null(r, "n", &e), 0);
	CHECK_STR(line(),
	          " { \"a\" : 1.10 , \"b\":\"\\u00e9\\/\" ,\"f\":[0.1,0,1e+10,3],\"k\":[-5,0,2147483647],\"s \\\"\\n\":"
	          "\"\\u0001\\\"\\\\\xc3\xa9\xef\xbf\xbd\x7f\",\"x\":0.1,\"z\":0,\"i\":-9223372036854775808,"
	          "\"t\":true,\"n\":null}");
	int32_t *back;
	CHECK(record_ints(r, "k", &back, &n, 3, NULL, &a, &e) == 1 && back[0] == -5);
	record_undo(r);
	CHECK_STR(line(), " { \"a\" : 1.10 , \"b\":\"\\u00e9\\/\" }");

	test_case("record: an empty object gets no leading comma, also when it is taken up again");
	CHECK(parse("{ }") == 0 && record_add_int(r, "i", 1, &e) == 0 && record_add_int(r, "j", 2, &e) == 0);
	CHECK_STR(line(), "{ \"i\":1,\"j\":2}");
	record_resume(r, "{}", 2);
	CHECK_INT(record_add_int(r, "i", 1, &e), 0);
	CHECK_STR(line(), "{\"i\":1}");
	record_resume(r, " {\"a\":1} ", 9);
	CHECK_INT(record_add_int(r, "i", 1, &e), 0);
	CHECK_STR(line(), " {\"a\":1,\"i\":1}");

	test_case("record: nothing is added twice, and no number that JSON lacks");
	CHECK_INT(parse("{\"a\":1}"), 0);
	CHECK_INT(record_add_int(r, "a", 1, &e), -1);
	CHECK(strstr(e.msg, "'a' is already there") && strstr(e.msg, "--as") && strstr(e.msg, "del(.a)"));
	CHECK_INT(record_add_int(r, "b", 1, &e), 0);
	CHECK_INT(record_add_int(r, "b", 1, &e), -1);
	CHECK_INT(record_add_num(r, "c", NAN, &e), -1);
	CHECK_INT(record_add_floats(r, "c", bad, 2, &e), -1);
	CHECK_STR(e.msg, "'c' would hold infinity at index 1");
	CHECK_STR(line(), "{\"a\":1,\"b\":1}");
}

static int sum_item(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	*(double *)arg += item->number * (double)(i + 1) + (key ? (double)len : 0);
	return 0;
}

static void test_values(void)
{
	struct json v, w;
	double sum = 0;
	struct str s;
	str_init(&s);
	test_case("record: values inside, their parts and their text");
	CHECK_INT(parse("{\"o\": {\"k\" :[1, 2.50,\"x\\u00e9\"], "
	                "\"k2\":7},\"u\":[18446744073709551615,1e2,true,null,{}]}"),
	          0);
	CHECK(record_json(r, "o", &v, &e) == 1 && v.kind == JSON_OBJECT && json_length(&v) == 2);
	CHECK(json_member(&v, "k2", &w) == 1 && w.integer == 7 && json_member(&v, "k3", &w) == 0);
	CHECK(json_member(&v, "k", &w) == 1 && json_length(&w) == 3);
	CHECK(json_each(&w, sum_item, &sum) == 0 && sum == 6);
	json_text(&v, &s);
	CHECK_STR(s.buf, "{\"k\":[1,2.5,\"x\xc3\xa9\"],\"k2\":7}");
	str_clear(&s);
	CHECK(record_path(r, ".u", &v, &e) == 1);
	json_text(&v, &s);
	CHECK_STR(s.buf, "[18446744073709551615,100,true,null,{}]");
	CHECK(record_path(r, ".o.k[1]", &v, &e) == 1 && v.number == 2.5);
	CHECK(record_path(r, ".o.k[-1]", &v, &e) == 1 && v.kind == JSON_STRING);
	CHECK(record_path(r, ".o.k[3]", &v, &e) == 0 && record_path(r, ".o.k.x", &v, &e) == 0);
	CHECK(record_path(r, ".o.k[x]", &v, &e) == -1);
	str_release(&s);

	test_case("record: values parsed on the way live as long as the record");
	CHECK_INT(record_parse_value(r, "[1,2]", 5, &v, &e), 0);
	CHECK_INT(record_parse_value(r, "\"later\"", 7, &w, &e), 0);
	CHECK(json_length(&v) == 2 && !strcmp(w.text, "later"));
	CHECK_INT(record_parse_value(r, "[1,", 3, &w, &e), -1);
}

/* Lines that are nearly JSON: whatever is accepted must come out as it went in, and be accepted again with a field
 * more. */
static void test_mutations(void)
{
	static const char *const seeds[] = {
	        ("{\"id\":\"a\\u00e9\\ud83d\\ude00\",\"v\":[1,-2.5e-3,0.1],\"o\":{\"k\":[true,false,null]},\"n\":"
	         "18446744073709551615}"),
	        " { } ",
	        "{\"t\":[[0,1,2.5],[]],\"\":\"\\\\\\\"\\n\",\"x\":-0,\"e\":1E+2}",
	};
	static const char bytes[] = "{}[]\",:\\u0189.-+eEtfn \x01\x80\xc3\xed\xff";
	test_case("record: what is accepted of damaged lines comes out as it went in");
	struct record *again = record_new();
	int accepted = 0;
	for (uint32_t i = 0; i < 200000; i++) {
		char text[200];
		uint32_t w[4];
		snprintf(text, sizeof text, "%s", seeds[i % 3]);
		size_t n = strlen(text), len;
		for (uint32_t k = 0; k <= i % 4; k++) {
			rng_words(w, 7, i, k, 0);
			text[w[0] % n] = w[1] % 3 ? bytes[w[2] % (sizeof bytes - 1)] : (char)w[3];
		}
		arena_reset(&a);
		if (record_parse(r, text, n, &e) < 0)
			continue;
		accepted++;
		const char *out = record_line(r, &len);
		while (n && strchr(" \t\r\n", text[n - 1]))
			n--;
		CHECK(len == n + 1 && !memcmp(out, text, n));
		CHECK_INT(record_add_num(r, "added by the test", 1.5, &e), 0);
		out = record_line(r, &len);
		CHECK(!memcmp(out, text, n - 1));
		CHECK_INT(record_parse(again, out, len, &e), 0);
		CHECK(record_kind(again, "added by the test") == JSON_NUMBER &&
		      record_kind(again, "t") == record_kind(r, "t"));
	}
	CHECK(accepted > 3000);
	record_free(again);
}

int main(void)
{
	r = record_new();
	arena_init(&a);
	test_refused();
	test_read();
	test_rounding();
	test_add();
	test_values();
	test_mutations();
	arena_release(&a);
	record_free(r);
	return test_done();
}
