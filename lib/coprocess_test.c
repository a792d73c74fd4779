/* coprocess: answers, failures by kind, and that a failure costs one request only. */
#include "lib/coprocess.h"

#include <signal.h>

#include "lib/test.h"

static struct coprocess *program(const char *script, double timeout)
{
	static char *argv[4][4];
	static int turn;
	char **a = argv[turn++ & 3];
	a[0] = (char *)"sh";
	a[1] = (char *)"-c";
	a[2] = (char *)script;
	return coprocess_new(
	        &(struct coprocess_config){.argv = a, .timeout = timeout, .longest = 1000, .network = true});
}

static enum coprocess_state ask(struct coprocess *c, const char *line)
{
	struct err e;
	if (coprocess_ask(c, line, strlen(line), &e)) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		return COPROCESS_IDLE;
	}
	if (coprocess_state(c) == COPROCESS_WORKING)
		coprocess_run(&c, 1, true, -1);
	return coprocess_state(c);
}

static void expect_failure(const char *script, enum coprocess_state state, const char *why)
{
	struct coprocess *c = program(script, .3);
	CHECK_INT(ask(c, "x"), state);
	if (!strstr(coprocess_why(c), why))
		test_fail(__FILE__, __LINE__, "'%s' instead of '%s'", coprocess_why(c), why);
	coprocess_free(c, 0);
}

int main(void)
{
	size_t len;
	struct err e;
	signal(SIGPIPE, SIG_IGN);

	test_case("one line in, one line out, again and again");
	struct coprocess *c = program("while read -r x; do echo \"<$x>\"; done", 5);
	CHECK_INT(ask(c, "a"), COPROCESS_ANSWERED);
	CHECK_STR(coprocess_answer(c, &len), "<a>");
	CHECK_INT(len, 3);
	coprocess_done(c);
	CHECK_INT(ask(c, "b"), COPROCESS_ANSWERED);
	CHECK_STR(coprocess_answer(c, &len), "<b>");
	coprocess_done(c);

	test_case("after a rejection a new process answers");
	coprocess_reject(c);
	CHECK_INT(coprocess_state(c), COPROCESS_IDLE);
	CHECK_INT(ask(c, "c"), COPROCESS_ANSWERED);
	CHECK_STR(coprocess_answer(c, &len), "<c>");
	coprocess_free(c, 1);

	test_case("failures say what they are");
	expect_failure("read x; sleep 9", COPROCESS_FAILED, "no answer within 0.3 seconds");
	expect_failure("read x; printf '1\\n2\\n'", COPROCESS_FAILED, "more than one line");
	expect_failure("cat /dev/zero", COPROCESS_FAILED, "longer than 1000 bytes");
	expect_failure("exit 7", COPROCESS_DIED, "status 7");
	expect_failure("kill -TERM $$", COPROCESS_DIED, "signal 15");
	expect_failure("exec >&-; sleep 9", COPROCESS_DIED, "closed its output");

	test_case("a death between two requests is seen at the second");
	c = program("read x; echo 1; exit 4", 5);
	CHECK_INT(ask(c, "a"), COPROCESS_ANSWERED);
	coprocess_done(c);
	usleep(200000);
	CHECK_INT(ask(c, "b"), COPROCESS_DIED);
	CHECK(strstr(coprocess_why(c), "status 4"));
	coprocess_free(c, 0);

	test_case("so is a line that nobody asked for, by the request behind it");
	c = program("while read -r x; do echo 1; sleep .1; echo 2; done", 5);
	CHECK_INT(ask(c, "a"), COPROCESS_ANSWERED);
	coprocess_done(c);
	usleep(400000);
	CHECK_INT(ask(c, "b"), COPROCESS_FAILED);
	CHECK(strstr(coprocess_why(c), "more than one line to the record before"));
	coprocess_done(c);
	CHECK_INT(ask(c, "c"), COPROCESS_ANSWERED);
	coprocess_free(c, 0);

	test_case("several work at once");
	struct coprocess *two[2] = {program("read x; sleep .2; echo 1; read x", 5),
	                            program("read x; echo 2; read x", 5)};
	for (int i = 0; i < 2; i++)
		CHECK(!coprocess_ask(two[i], "x", 1, &e));
	while (coprocess_state(two[0]) == COPROCESS_WORKING || coprocess_state(two[1]) == COPROCESS_WORKING)
		coprocess_run(two, 2, true, -1);
	for (int i = 0; i < 2; i++) {
		CHECK_STR(coprocess_answer(two[i], &len), i ? "2" : "1");
		coprocess_free(two[i], 1);
	}

	test_case("a program that is not there");
	char *nothing[] = {(char *)"/no/such/program", NULL};
	c = coprocess_new(&(struct coprocess_config){.argv = nothing, .timeout = 1, .longest = 1000, .network = true});
	CHECK(coprocess_ask(c, "x", 1, &e) == -1);
	CHECK_STR(e.msg, "cannot run '/no/such/program': No such file or directory");
	coprocess_free(c, 0);
	return test_done();
}
