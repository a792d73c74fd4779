/* filter: plain paths, programs of jq, and what libjq would do to us if it could. */
#include "lib/filter.h"
#include "lib/test.h"

static struct record *r;
static struct arena a;
static struct err e;

static struct record *take(const char *line)
{
	arena_reset(&a);
	if (record_parse(r, line, strlen(line), &e) < 0)
		test_fail(__FILE__, __LINE__, "%s: %s", line, e.msg);
	return r;
}

/* The value as JSON text, "absent", or "error: ...". */
static const char *eval(const char *program, const char *line)
{
	static char out[2000];
	struct json v;
	struct filter *f = filter_new("query", program, NULL, 0, &e);
	if (!f || filter_run(f, take(line), &v, &a, &e) < 0) {
		snprintf(out, sizeof out, "error: %s", e.msg);
	} else if (v.kind == JSON_ABSENT) {
		snprintf(out, sizeof out, "absent");
	} else {
		struct str s;
		str_init(&s);
		json_text(&v, &s);
		snprintf(out, sizeof out, "%s", s.buf);
		str_release(&s);
	}
	filter_free(f);
	return out;
}

static void test_paths(void)
{
	const char *line = "{\"a\":{\"b\":[1,2,{\"c\":\"x\"}]},\"n\":null,\"f\":false,\"s\":\"t\"}";
	test_case("filter: plain paths");
	CHECK_STR(eval(".a.b[1]", line), "2");
	CHECK_STR(eval(".a.b[-1].c", line), "\"x\"");
	CHECK_STR(eval(".a", line), "{\"b\":[1,2,{\"c\":\"x\"}]}");
	CHECK_STR(eval(".", line), line);
	CHECK_STR(eval(".none.b", line), "absent");
	CHECK_STR(eval(".s.b", line), "absent");
	test_case("filter: alternatives skip null, false and what is absent");
	CHECK_STR(eval(".n // .f // .none // .s", line), "\"t\"");
	CHECK_STR(eval(".s//.a", line), "\"t\"");
	CHECK_STR(eval(".s // .n", line), "\"t\"");
	CHECK_STR(eval(".none // .n", line), "null");
}

static void test_programs(void)
{
	test_case("filter: programs");
	CHECK_STR(eval(".q + \" \" + .c", "{\"q\":\"a\",\"c\":\"b\"}"), "\"a b\"");
	CHECK_STR(eval("[.x[] | . * 2]", "{\"x\":[1,2.25]}"), "[2,4.5]");
	CHECK_STR(eval("{k: .x}", "{\"x\":\"\\u0000\\u00e9\"}"), "{\"k\":\"\\u0000\xc3\xa9\"}");
	CHECK_STR(eval("empty", "{}"), "absent");
	CHECK_STR(eval(".x[\"y\"]", "{\"x\":{\"y\":true}}"), "true");
	test_case("filter: what fails says how");
	CHECK_STR(eval("1,2", "{}"), "error: --query: '1,2' gives more than one value");
	CHECK_STR(eval("1, error(\"late\")", "{}"), "error: --query: late");
	CHECK_STR(eval("error({a: 1})", "{}"), "error: --query: {\"a\":1}");
	CHECK_STR(eval("halt", "{}"), "error: --query: 'halt' halted");
	CHECK_STR(eval("1e308 * 10 | . * 10", "{}"), "error: --query: the result is infinite");
	CHECK_STR(eval("{a: [1, nan]}", "{}"), "error: --query: a number in the result is not a number");
	CHECK_STR(eval("[{a: -infinite}]", "{}"), "error: --query: a number in the result is infinite");
	CHECK_STR(eval("[null, {a: {}}]", "{}"), "[null,{\"a\":{}}]");
	CHECK(strstr(eval(". +", "{}"), "--query: '. +' is no jq program: syntax error"));
	CHECK(strstr(eval(".a | .[", "{}"), "is no jq program"));
	CHECK(strstr(eval(".x + 1", "{\"x\":\"s\"}"), "cannot be added"));
	test_case("filter: an operand is named without dashes");
	CHECK(!filter_new("PROGRAM", ". +", NULL, 0, &e) && !strncmp(e.msg, "PROGRAM: '. +' is no jq program", 31));
	test_case("filter: a program goes on with the next record after a failure");
	struct json v;
	struct filter *f = filter_new("--query", ".x + 1", NULL, 0, &e);
	CHECK(f && filter_run(f, take("{\"x\":\"s\"}"), &v, &a, &e) < 0);
	CHECK(f && filter_run(f, take("{\"x\":2}"), &v, &a, &e) == 0 && v.is_int && v.integer == 3);
	filter_free(f);
}

static void test_traps(void)
{
	test_case("filter: import and include do not end the process");
	CHECK(strstr(eval("import \"no_such\" as m; .", "{}"), "error: --query"));
	CHECK(strstr(eval("include \"no_such\"; .", "{}"), "error: --query"));

	test_case("filter: modules come from the directories that are given");
	char dir[] = P_tmpdir "/rl-filter-test.XXXXXX", path[64];
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/m.jq", dir);
	FILE *file = fopen(path, "w");
	CHECK(file && fputs("def twice: . * 2;\n", file) >= 0 && fclose(file) == 0);
	const char *dirs[] = {dir};
	struct json v;
	struct filter *f = filter_new("query", "import \"m\" as m; .x | m::twice", dirs, 1, &e);
	CHECK(f && filter_run(f, take("{\"x\":4}"), &v, &a, &e) == 0 && v.number == 8);
	filter_free(f);

	test_case("filter: $HOME/.jq is not read, and HOME is as it was");
	char hidden[64];
	snprintf(hidden, sizeof hidden, "%s/.jq", dir);
	file = fopen(hidden, "w");
	CHECK(file && fputs("def length: 99;\n", file) >= 0 && fclose(file) == 0);
	setenv("HOME", dir, 1);
	CHECK_STR(eval("[1,2] | length", "{}"), "2");
	CHECK_STR(getenv("HOME"), dir);
	char quoted[70];
	snprintf(quoted, sizeof quoted, "\"%s\"", dir);
	CHECK_STR(eval("env.HOME", "{}"), quoted);
	unlink(hidden);
	unlink(path);
	rmdir(dir);

	test_case("filter: nesting that jq refuses is an error without the text in it");
	char deep[2000] = "{\"x\":";
	size_t n = strlen(deep);
	for (int i = 0; i < 400; i++)
		deep[n++] = '[';
	for (int i = 0; i < 400; i++)
		deep[n++] = ']';
	snprintf(deep + n, sizeof deep - n, "}");
	const char *got = eval("[.x]", deep);
	CHECK(!strncmp(got, "error: --query: ", 16) && strlen(got) < 100);
}

static void test_typed(void)
{
	const char *text, **texts;
	size_t len, *lens;
	int64_t n;
	test_case("filter: strings and lists of strings");
	struct filter *f = filter_new("relevant", ".ids", NULL, 0, &e),
	              *g = filter_new("relevant", "[.ids[]]", NULL, 0, &e);
	CHECK_INT(filter_strs(f, take("{\"ids\":[\"a\",12]}"), &texts, &lens, &n, &a, &e), 1);
	CHECK(n == 2 && !strcmp(texts[0], "a") && !strcmp(texts[1], "12") && lens[1] == 2);
	CHECK_INT(filter_strs(g, r, &texts, &lens, &n, &a, &e), 1);
	CHECK(n == 2 && !strcmp(texts[1], "12"));
	CHECK_INT(filter_strs(f, take("{\"ids\":\"one\"}"), &texts, &lens, &n, &a, &e), 1);
	CHECK(n == 1 && !strcmp(texts[0], "one"));
	CHECK_INT(filter_strs(f, take("{\"ids\":null}"), &texts, &lens, &n, &a, &e), 0);
	CHECK_INT(filter_strs(f, take("{\"ids\":[true]}"), &texts, &lens, &n, &a, &e), -1);
	CHECK_STR(e.msg, "--relevant: '.ids' holds a boolean at index 0, not a string");
	CHECK_INT(filter_str(f, take("{\"ids\":5}"), &text, &len, &a, &e), -1);
	CHECK_STR(e.msg, "--relevant: '.ids' is a number, not a string");
	CHECK_INT(filter_str(f, take("{}"), &text, &len, &a, &e), 0);

	test_case("filter: fields added here are seen, by paths and by jq, and earlier results stay");
	take("{\"ids\":\"a\"}");
	struct json first, second;
	struct filter *both = filter_new("text", "[.ids, .added]", NULL, 0, &e),
	              *path = filter_new("text", ".added[1]", NULL, 0, &e);
	CHECK_INT(record_add_raw(r, "added", "[1,2]", 5, &e), 0);
	CHECK_INT(filter_run(both, r, &first, &a, &e), 0);
	CHECK_INT(filter_run(path, r, &second, &a, &e), 0);
	CHECK(second.integer == 2 && json_length(&first) == 2);
	CHECK_INT(filter_run(both, r, &second, &a, &e), 0);
	struct str s;
	str_init(&s);
	json_text(&first, &s);
	CHECK_STR(s.buf, "[\"a\",[1,2]]");
	str_release(&s);
	filter_free(f);
	filter_free(g);
	filter_free(both);
	filter_free(path);
}

int main(void)
{
	r = record_new();
	arena_init(&a);
	test_paths();
	test_programs();
	test_traps();
	test_typed();
	arena_release(&a);
	record_free(r);
	return test_done();
}
