/* record_raw: the bytes of values as they stand in a line. */
#include "lib/record_raw.h"
#include "lib/test.h"

static struct record *r;
static struct err e;

static const char *field(const char *line, const char *name)
{
	static char out[500];
	struct raw v;
	if (record_parse(r, line, strlen(line), &e) < 0)
		test_fail(__FILE__, __LINE__, "%s: %s", line, e.msg);
	if (!record_raw_field(r, name, &v))
		return "absent";
	snprintf(out, sizeof out, "%.*s", (int)v.len, v.text);
	return out;
}

static int join(void *arg, int64_t i, struct raw item)
{
	struct str *s = arg;
	str_addf(s, "%lld<%.*s>", (long long)i, (int)item.len, item.text);
	return i == 3 ? 7 : 0;
}

static const char *each(const char *text, int want)
{
	static char out[500];
	struct str s;
	str_init(&s);
	CHECK(record_raw_each((struct raw){text, strlen(text)}, join, &s) == want);
	snprintf(out, sizeof out, "%s", s.buf);
	str_release(&s);
	return out;
}

int main(void)
{
	r = record_new();
	test_case("record_raw: fields keep their bytes");
	CHECK_STR(field("{\"a\":1.50,\"b\":\"\\u00e9}\"}", "a"), "1.50");
	CHECK_STR(field("{\"a\":1.50,\"b\":\"\\u00e9}\"}", "b"), "\"\\u00e9}\"");
	CHECK_STR(field(" { \"a\" : [ 1 , {\"x\": \"]\\\"}\\\\\"} ] , \"b\" : -1e3 } ", "a"),
	          "[ 1 , {\"x\": \"]\\\"}\\\\\"} ]");
	CHECK_STR(field(" { \"a\" : [ ] , \"b\" : -1e3 } ", "b"), "-1e3");
	CHECK_STR(field("{\"a,\\\":{\":true,\"b\":null}", "b"), "null");
	CHECK_STR(field("{\"\\u0061\":{}}", "a"), "{}");
	CHECK_STR(field("{\"b\":{\"a\":1}}", "a"), "absent");
	CHECK_STR(field("{}", "a"), "absent");
	test_case("record_raw: what was added does not count");
	CHECK_STR(field("{\"b\":1}", "b"), "1");
	CHECK(record_add_int(r, "c", 5, &e) == 0);
	struct raw v, *items;
	CHECK(record_raw_field(r, "c", &v) == 0);
	CHECK(record_raw_field(r, "b", &v) == 1 && v.len == 1 && *v.text == '1');
	test_case("record_raw: elements of arrays and values of objects");
	CHECK_STR(each("[ {\"a\":[1,2]} ,\"x,]\",3]", 0), "0<{\"a\":[1,2]}>1<\"x,]\">2<3>");
	CHECK_STR(each("{\"a\":1,\"b\" : [] }", 0), "0<1>1<[]>");
	CHECK_STR(each("[[[]],[\"[\"]]", 0), "0<[[]]>1<[\"[\"]>");
	CHECK_STR(each("[]", 0), "");
	CHECK_STR(each(" [ ] ", 0), "");
	CHECK_STR(each("\"[1]\"", 0), "");
	CHECK_STR(each("[1,2,3,4,5]", 7), "0<1>1<2>2<3>3<4>");
	test_case("record_raw: an array as its elements");
	struct arena a;
	int64_t n;
	arena_init(&a);
	CHECK_STR(field("{\"a\":[1.0, {\"b\":[]}],\"c\":{},\"d\":[]}", "c"), "{}");
	CHECK(record_raw_array(r, "a", &items, &n, &a, &e) == 1 && n == 2);
	CHECK(items[0].len == 3 && !memcmp(items[1].text, "{\"b\":[]}", items[1].len) && items[1].len == 8);
	CHECK(record_raw_array(r, "d", &items, &n, &a, &e) == 1 && n == 0);
	CHECK(record_raw_array(r, "e", &items, &n, &a, &e) == 0);
	CHECK(record_raw_array(r, "c", &items, &n, &a, &e) == -1);
	CHECK_STR(e.msg, "'c' is no array");
	arena_release(&a);
	record_free(r);
	return test_done();
}
