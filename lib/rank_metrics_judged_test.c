/* rank_metrics_judged: the shapes of a value, what is not relevant, and what is none of the shapes. */
#include "lib/rank_metrics_judged.h"

#include "lib/test.h"

static struct record *record;
static struct arena arena;
static struct str shown;

/* "id:grade ..." in rows' order, then "| grades falling"; "!message" when it is refused. */
static const char *judged(const char *text)
{
	struct json v;
	struct rank_judgements j;
	struct err e;
	str_clear(&shown);
	arena_reset(&arena);
	if (record_parse_value(record, text, strlen(text), &v, &e)) {
		str_addf(&shown, "not JSON: %s", e.msg);
	} else if (rank_judgements_read(&j, &v, &arena, &e)) {
		str_addf(&shown, "!%s", e.msg);
	} else {
		for (int64_t i = 0; i < j.n; i++)
			str_addf(&shown, "%.*s:%g ", (int)j.row[i].len, j.row[i].id, j.row[i].grade);
		str_adds(&shown, "|");
		for (int64_t i = 0; i < j.n; i++)
			str_addf(&shown, " %g", j.ideal[i]);
		CHECK(rank_judgements_grade(&j, "nobody", 6) == 0);
		for (int64_t i = 0; i < j.n; i++)
			CHECK(rank_judgements_grade(&j, j.row[i].id, j.row[i].len) == j.row[i].grade);
	}
	return shown.buf;
}

int main(void)
{
	record = record_new();
	arena_init(&arena);
	str_init(&shown);
	test_case("ids alone, in an array, with grades, and mixed");
	CHECK_STR(judged("\"a\""), "a:1 | 1");
	CHECK_STR(judged("7"), "7:1 | 1");
	CHECK_STR(judged("[\"bb\",\"a\",7]"), "7:1 a:1 bb:1 | 1 1 1");
	CHECK_STR(judged("{\"a\":2,\"b\":0.5}"), "a:2 b:0.5 | 2 0.5");
	CHECK_STR(judged("[{\"id\":\"a\",\"grade\":3},\"b\",{\"grade\":2,\"id\":9}]"), "9:2 a:3 b:1 | 3 2 1");
	CHECK_STR(judged("[]"), "|");
	test_case("what is not above 0 is not relevant; of one id the highest grade counts");
	CHECK_STR(judged("{\"a\":0,\"b\":-1,\"c\":1}"), "c:1 | 1");
	CHECK_STR(judged("[\"a\",{\"id\":\"a\",\"grade\":3},{\"id\":\"a\",\"grade\":0},\"a\"]"), "a:3 | 3");
	test_case("what is none, by its place");
	CHECK_STR(judged("[\"a\",1.5]"), "!element 2 is neither a string nor an integer");
	CHECK_STR(judged("true"), "!element 1 is neither a string nor an integer");
	CHECK_STR(judged("[{\"id\":\"a\"}]"), "!element 1 has no 'id', or no number as 'grade'");
	CHECK_STR(judged("{\"a\":\"2\"}"), "!the grade of 'a' is no number");
	record_free(record);
	arena_release(&arena);
	str_release(&shown);
	return test_done();
}
