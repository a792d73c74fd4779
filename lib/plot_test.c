/* Rows, columns and pictures of metrics; expected pictures are drawn by hand. */
#include "lib/plot.h"

#include "lib/test.h"

static void add(struct plot *p, const char *line)
{
	struct err e = {""};
	struct record *r = record_new();
	if (record_parse(r, line, strlen(line), &e) || plot_add(p, r, &e))
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	record_free(r);
}

static const double *column(const struct plot *p, const char *key)
{
	for (int i = 0; i < p->n; i++)
		if (!strcmp(p->column[i].key, key))
			return p->column[i].y;
	test_fail(__FILE__, __LINE__, "no column '%s'", key);
	return NULL;
}

static void test_rows(void)
{
	struct plot p;
	plot_init(&p, NULL);
	add(&p, "{\"step\":1,\"a\":5,\"text\":\"7\",\"none\":null,\"list\":[1]}");
	add(&p, "{\"step\":2,\"deep\":{\"b\":-1,\"c\":{\"d\":2}},\"none\":3}");
	add(&p, "{\"note\":\"no number at all\"}");
	CHECK_INT(p.rows, 2);
	CHECK_INT(p.n, 5);
	CHECK(column(&p, "a")[0] == 5 && isnan(column(&p, "a")[1]));
	CHECK(isnan(column(&p, "deep/b")[0]) && column(&p, "deep/b")[1] == -1 && column(&p, "deep/c/d")[1] == 2);
	CHECK(isnan(column(&p, "none")[0]) && column(&p, "none")[1] == 3);
	CHECK(p.x[0] == 1 && p.x[1] == 2);

	test_case("plot: a trainer that is started again takes the place of its rows");
	add(&p, "{\"step\":3,\"a\":6}");
	add(&p, "{\"step\":2,\"a\":7}");
	CHECK_INT(p.rows, 2);
	CHECK(p.x[0] == 1 && p.x[1] == 2 && column(&p, "a")[1] == 7 && isnan(column(&p, "deep/b")[1]));
	for (int i = 3; i < 1000; i++) {
		char line[64];
		snprintf(line, sizeof line, "{\"step\":%d,\"a\":%d}", i, -i);
		add(&p, line);
	}
	CHECK(p.rows == 999 && p.x[998] == 999 && column(&p, "a")[998] == -999 && isnan(column(&p, "deep/b")[998]));

	test_case("plot: by the row nothing takes another's place; a key that is missing is an error");
	plot_release(&p);
	plot_init(&p, "row");
	add(&p, "{\"step\":3}");
	add(&p, "{\"step\":3}");
	CHECK(p.rows == 2 && p.x[0] == 1 && p.x[1] == 2);
	plot_release(&p);
	plot_init(&p, "t");
	add(&p, "{\"t\":-0.5,\"y\":1}");
	struct err e;
	struct record *r = record_new();
	CHECK(!record_parse(r, "{\"y\":1}", 7, &e) && plot_add(&p, r, &e) == -1);
	CHECK_STR(e.msg, "there is no number 't'");
	record_free(r);
	plot_release(&p);
}

static void test_pick(void)
{
	struct plot p;
	int pick[8];
	struct err e = {""};
	plot_init(&p, NULL);
	add(&p, "{\"step\":1,\"time/a\":5,\"time/b\":5,\"lr\":1,\"loss\":2}");
	CHECK_INT(plot_pick(&p, &(struct cli_list){0}, false, pick, &e), 2); /* the main ones, in their order */
	CHECK_STR(p.column[pick[0]].key, "loss");
	const char *some[] = {"*b", "time/*"};
	CHECK_INT(plot_pick(&p, &(struct cli_list){some, 2}, false, pick, &e), 2);
	CHECK_STR(p.column[pick[0]].key, "time/b");
	CHECK_STR(p.column[pick[1]].key, "time/a");
	const char *none[] = {"lo"};
	CHECK_INT(plot_pick(&p, &(struct cli_list){none, 1}, false, pick, &e), -1);
	CHECK(strstr(e.msg, "no metric is called 'lo'"));
	CHECK_INT(plot_pick(&p, &(struct cli_list){none, 1}, true, pick, &e), 0);
	plot_release(&p);
}

static void check_picture(struct plot *p, int n, struct plot_text how, const char *want)
{
	struct str s;
	int pick[8] = {0, 1, 2, 3};
	str_init(&s);
	plot_draw(&s, p, pick, n, &how);
	CHECK_STR(s.buf, want);
	str_release(&s);
}

static void test_pictures(void)
{
	struct plot p;
	plot_init(&p, "row");
	str_adds(&p.title, "m");
	add(&p, "{\"up\":0,\"flat\":7}");
	add(&p, "{\"up\":1}");
	add(&p, "{\"up\":2}");
	add(&p, "{\"up\":3}");
	check_picture(&p, 1, (struct plot_text){13, 4, true},
	              "m: 4 rows, row 1 to 4\n"
	              "\n"
	              "up          3\n"
	              "       3|   *\n"
	              "        |  *\n"
	              "        | *\n"
	              "       0|*\n");

	test_case("plot: a single value, and one that never changes");
	check_picture(&p, 2, (struct plot_text){13, 3, true},
	              "m: 4 rows, row 1 to 4\n"
	              "\n"
	              "up          3\n"
	              "       3|   *\n"
	              "        | **\n"
	              "       0|*\n"
	              "\n"
	              "flat        7\n"
	              "        |\n"
	              "       7|*\n"
	              "        |\n");

	test_case("plot: Braille has eight dots in a character");
	check_picture(&p, 1, (struct plot_text){13, 1, false},
	              "m: 4 rows, row 1 to 4\n"
	              "\n"
	              "up          3\n"
	              "       3|\u28c0\u2824\u2812\u280a\n");
	plot_release(&p);
}

int main(void)
{
	test_case("plot: numbers become columns, those of inner objects too");
	test_rows();
	test_case("plot: patterns say what is drawn, in their order");
	test_pick();
	test_case("plot: a line from the lower left to the upper right");
	test_pictures();
	return test_done();
}
