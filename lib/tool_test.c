/* tool and progress: the loop over records, as a child process whose output and status are looked at. */
#include "lib/tool.h"
#include "lib/progress.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static char dir[] = P_tmpdir "/rl-tool-test.XXXXXX";

/* `x` decides: a number is doubled, "consume" goes, "fail" fails, "fatal" ends the tool. */
static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	const char *text;
	size_t len;
	double x;
	(void)t, (void)arg;
	if (record_kind(r, "x") == JSON_NUMBER)
		return record_num(r, "x", &x, e) < 0 ? -1 : record_add_num(r, "y", 2 * x, e);
	if (record_str(r, "x", &text, &len, e) < 0)
		return -1;
	if (!strcmp(text, "consume"))
		return 1;
	if (record_add_int(r, "half_done", 1, e) < 0)
		return -1;
	err_set(e, "it says \x1b[1m%s", text);
	return strcmp(text, "fatal") ? -1 : -2;
}

static int finish(struct tool *t, void *arg, struct err *e)
{
	(void)arg;
	record_clear(t->record);
	return record_add_int(t->record, "end", t->n_in, e) < 0 ? -1 : tool_write(t, t->record, e);
}

struct child {
	pid_t pid;
	int in, out; /* pipes to and from it */
	char err[100];
};

static struct child start(struct tool_config config, char **operands, int n, bool with_finish, bool fails_when_empty)
{
	struct child c;
	int in[2], out[2];
	snprintf(c.err, sizeof c.err, "%s/err", dir);
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		exit(1);
	fflush(stdout);
	c.pid = fork();
	if (c.pid == 0) {
		int err = open(c.err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err, 2);
		close(in[0]), close(in[1]), close(out[0]), close(out[1]);
		struct tool t;
		tool_init(&t, &config);
		t.count[0].name = "unscored";
		t.fails_when_empty = fails_when_empty;
		_exit(tool_run(&t, operands, n, process, with_finish ? finish : NULL, NULL));
	}
	close(in[0]);
	close(out[1]);
	c.in = in[1];
	c.out = out[0];
	return c;
}

static int end(struct child *c)
{
	int status;
	close(c->out);
	waitpid(c->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static const char *read_fd(int fd)
{
	static char buf[4][4000];
	static int turn;
	char *p = buf[turn++ & 3];
	size_t n = 0;
	ssize_t got;
	while (n < sizeof buf[0] - 1 && (got = read(fd, p + n, sizeof buf[0] - 1 - n)) > 0)
		n += (size_t)got;
	p[n] = 0;
	return p;
}

static const char *said(const struct child *c)
{
	int fd = open(c->err, O_RDONLY);
	const char *p = read_fd(fd);
	close(fd);
	return p;
}

static void check_run(struct tool_config config, const char *in, int status, const char *out, const char *err)
{
	struct child c = start(config, NULL, 0, false, false);
	CHECK(write_all(c.in, in, strlen(in)) == 0);
	close(c.in);
	CHECK_STR(read_fd(c.out), out);
	CHECK_INT(end(&c), status);
	CHECK_STR(said(&c), err);
}

static void test_loop(void)
{
	struct tool_config plain = {0}, quiet = {.quiet = true}, keep = {.keep_going = true};
	test_case("tool: records go on with what was added, are consumed, or pass when they carry skip or error");
	check_run(plain,
	          "{\"x\":1}\n{\"x\":\"consume\"}\n{\"x\":\"fail\",\"skip\":\"s\"}\n{\"x\":\"fail\",\"error\":\"e\"}\n{"
	          "\"x\":2,\"skip\":null}",
	          0,
	          "{\"x\":1,\"y\":2}\n{\"x\":\"fail\",\"skip\":\"s\"}\n{\"x\":\"fail\",\"error\":\"e\"}\n{\"x\":2,"
	          "\"skip\":null,\"y\":4}\n",
	          "rl: 5 records in, 4 out, 2 passed over\n");

	test_case("tool: a failure ends it with file, line and reason, and what was before is written");
	check_run(plain, "{\"x\":1}\n\n{\"x\":\"fail\"}\n{\"x\":2}\n", 1, "{\"x\":1,\"y\":2}\n",
	          "rl: standard input:3: it says \\u001b[1mfail\n");
	check_run(quiet, "{\"x\":1}\n]\n", 1, "{\"x\":1,\"y\":2}\n", "rl: standard input:2: not JSON\n");

	test_case("tool: with -k a failure is a field, without what was half done, and the status is 3");
	check_run(keep, "{\"x\":\"fail\"}\n]\n{\"x\":1}\n", 3,
	          "{\"x\":\"fail\",\"error\":\"standard input:1: it says \\u001b[1mfail\"}\n"
	          "{\"error\":\"standard input:2: not JSON\"}\n{\"x\":1,\"y\":2}\n",
	          "rl: standard input:1: it says \\u001b[1mfail\nrl: standard input:2: not JSON\n"
	          "rl: 3 records in, 3 out, 2 errors\n");
	check_run(keep, "{\"x\":\"fatal\"}\n{\"x\":1}\n", 1, "", "rl: it says \\u001b[1mfatal\n");

	test_case("tool: no records at all are an error for those who say so");
	struct child c = start(quiet, NULL, 0, false, true);
	close(c.in);
	CHECK_INT(end(&c), 1);
	CHECK_STR(said(&c), "rl: no records came in\n");
}

static void test_operands(void)
{
	char a[100], b[100], dash[] = "-", none[] = "/nonexistent";
	snprintf(a, sizeof a, "%s/a.jsonl", dir);
	snprintf(b, sizeof b, "%s/b.jsonl", dir);
	FILE *f = fopen(a, "w");
	CHECK(f && fputs("{\"x\":1}\n{\"x\":2}\n", f) >= 0 && fclose(f) == 0);
	f = fopen(b, "w");
	CHECK(f && fputs("\n{\"x\":\"fail\"}\n", f) >= 0 && fclose(f) == 0);
	test_case("tool: files and standard input in order; each has its own lines; finish comes last");
	char *all[] = {a, dash, a, NULL}, *bad[] = {a, b, NULL}, *missing[] = {a, none, NULL};
	struct child c = start((struct tool_config){0}, all, 3, true, false);
	CHECK(write_all(c.in, "{\"x\":3}", 7) == 0);
	close(c.in);
	CHECK_STR(read_fd(c.out), "{\"x\":1,\"y\":2}\n{\"x\":2,\"y\":4}\n{\"x\":3,\"y\":6}\n{\"x\":1,\"y\":2}\n{\"x\":"
	                          "2,\"y\":4}\n{\"end\":5}\n");
	CHECK_INT(end(&c), 0);
	c = start((struct tool_config){.quiet = true}, bad, 2, true, false);
	close(c.in);
	CHECK_STR(read_fd(c.out), "{\"x\":1,\"y\":2}\n{\"x\":2,\"y\":4}\n");
	CHECK_INT(end(&c), 1);
	CHECK(strstr(said(&c), "/b.jsonl:2: it says"));
	c = start((struct tool_config){.quiet = true}, missing, 2, true, false);
	close(c.in);
	CHECK_INT(end(&c), 1);
	CHECK_STR(said(&c), "rl: /nonexistent: No such file or directory\n");
}

/* Waits up to five seconds for something to read. */
static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 5000) == 1;
}

static void test_waiting(void)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		test_case(zstd ? "tool: what is done is flushed before it waits, zstd too"
		               : "tool: what is done is flushed before it waits");
		struct err e;
		struct child c = start((struct tool_config){.zstd = zstd, .quiet = true}, NULL, 0, false, false);
		struct stream *s = stream_open_fd(c.out, "child", &e);
		char *line;
		size_t len;
		CHECK(write_all(c.in, "{\"x\":1}\n{\"x\":", 13) == 0);
		CHECK(readable(c.out) && stream_next(s, &line, &len, &e) == 1 && !strcmp(line, "{\"x\":1,\"y\":2}"));
		CHECK(write_all(c.in, "2}\n", 3) == 0);
		CHECK(readable(c.out) && stream_next(s, &line, &len, &e) == 1 && !strcmp(line, "{\"x\":2,\"y\":4}"));
		close(c.in);
		CHECK(stream_next(s, &line, &len, &e) == 0);
		stream_close(s);
		c.out = -1;
		CHECK_INT(end(&c), 0);
	}

	test_case("tool: while it waits for input it notices that its reader has gone");
	struct child c = start((struct tool_config){0}, NULL, 0, false, false);
	CHECK_INT(end(&c), 1);
	close(c.in);
	CHECK_STR(said(&c), "rl: standard output: the reader has gone\n");
}

static void test_escape(void)
{
	char out[200];
	test_case("progress: control characters are made visible, text and its length are not");
	const char *text = "a\tb\x1b[31m\x07\x7f\xc2\x9b"
	                   "1m\xc3\xa9\r\n";
	progress_escape(out, sizeof out, text, strlen(text));
	CHECK_STR(out, "a\tb\\u001b[31m\\u0007\\u007f\\u009b1m\xc3\xa9\\u000d\n");
	char small[12];
	progress_escape(small, sizeof small, "abcdefghijklmnop", 16);
	CHECK_STR(small, "abcde");

	test_case("tool: on a terminal, what a model wrote does not steer it");
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master)) {
		test_skip("no pseudo terminal here");
		return;
	}
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int in[2];
		if (pipe(in) || write_all(in[1],
		                          "{\"x\":1,\"t\":\"\xc2\x9b"
		                          "31m\x7f\"}\n",
		                          21))
			_exit(1);
		close(in[1]);
		dup2(in[0], 0);
		dup2(slave, 1);
		struct tool t;
		tool_init(&t, &(struct tool_config){.quiet = true});
		_exit(tool_run(&t, NULL, 0, process, NULL, NULL));
	}
	int status;
	waitpid(pid, &status, 0);
	CHECK_INT(status, 0);
	ssize_t n = readable(master) ? read(master, out, sizeof out - 1) : 0;
	out[n > 0 ? n : 0] = 0;
	CHECK_STR(out, "{\"x\":1,\"t\":\"\\u009b31m\\u007f\",\"y\":2}\r\n");
	close(slave);
	close(master);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		return 1;
	test_loop();
	test_operands();
	test_waiting();
	test_escape();
	char command[100];
	snprintf(command, sizeof command, "rm -r %s", dir);
	return test_done() | (system(command) != 0);
}
