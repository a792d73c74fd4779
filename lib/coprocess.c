/* coprocess - see coprocess.h */
#include "lib/coprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/str.h"
#include "lib/util.h"

enum { MAX_WATCHED = 1024 };

#define AT(field) offsetof(struct coprocess_config, field)
const struct opt coprocess_options[] = {
        {"once", 0, OPT_FLAG, AT(once), NULL, NULL, "run the program anew for each record", 0, 0},
        {"timeout", 0, OPT_NUM, AT(timeout), "60", "S", "seconds that an answer may take; 0: any", 0, 1e9},
        {"max-memory", 0, OPT_INT, AT(max_memory), "0", "MB", "address space of each of its processes; 0: any", 0, 1e9},
        {"network", 0, OPT_FLAG, AT(network), "1", NULL, "the program has the network", 0, 0},
        {NULL},
};

struct coprocess {
	struct coprocess_config config;
	pid_t pid;   /* 0: none runs */
	int in, out; /* our ends: its input, its output; -1 when closed */
	enum coprocess_state state;
	struct str request, answer;
	size_t sent;
	char user_map[2][32]; /* of a user namespace, made before fork */
	double deadline;
	char why[256];
};

struct coprocess *coprocess_new(const struct coprocess_config *config)
{
	struct coprocess *c = xcalloc(1, sizeof *c);
	c->config = *config;
	c->in = c->out = -1;
	str_init(&c->request);
	str_init(&c->answer);
	return c;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- start and end ---- */

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	int failed = fd < 0 || write(fd, text, len) != (ssize_t)len;
	int why = errno;
	if (fd >= 0)
		close(fd);
	errno = why;
	return failed;
}

/* A namespace without a network; by who may not make one, inside a user namespace where it is itself. */
static int leave_network(const struct coprocess *c)
{
	if (!unshare(CLONE_NEWNET))
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	return write_to("/proc/self/setgroups", "deny") || write_to("/proc/self/uid_map", c->user_map[0]) ||
	       write_to("/proc/self/gid_map", c->user_map[1]);
}

static int limit(const struct coprocess *c)
{
	struct rlimit most;
	most.rlim_cur = most.rlim_max = (rlim_t)c->config.max_memory << 20;
	if (c->config.max_memory && setrlimit(RLIMIT_AS, &most))
		return -1;
	return c->config.network ? 0 : leave_network(c);
}

/* Between fork and exec: only what is safe there. */
static void become(const struct coprocess *c, const int in[2], const int out[2], int report, pid_t parent)
{
	static const int defaults[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
	sigset_t none;
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
		signal(defaults[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	bool limited = limit(c) == 0;
	if (limited && dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0) {
#ifdef SYS_close_range
		/* whatever else is open and was not made close-on-exec */
		syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
		execvp(c->config.argv[0], c->config.argv);
	}
	int why = limited ? errno : -errno;
	if (write(report, &why, sizeof why) < 0)
		_exit(126);
	_exit(127);
}

/* A pipe end must not be 0, 1 or 2, which the child sets up. */
static int make_pipe(int fd[2])
{
	if (pipe2(fd, O_CLOEXEC))
		return -1;
	for (int i = 0; i < 2; i++) {
		int high = fcntl(fd[i], F_DUPFD_CLOEXEC, 3);
		close(fd[i]);
		fd[i] = high;
	}
	return fd[0] < 0 || fd[1] < 0 ? -1 : 0;
}

static void kill_group(struct coprocess *c)
{
	if (!c->pid)
		return;
	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL); /* had it not made its group yet */
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
	close_fd(&c->in);
	close_fd(&c->out);
}

static int start(struct coprocess *c, struct err *e)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, report[2] = {-1, -1}, why = 0, rc = -1;
	ssize_t got;
	setenv("PYTHONUNBUFFERED", "1", 1);
	snprintf(c->user_map[0], sizeof c->user_map[0], "%u %u 1", geteuid(), geteuid());
	snprintf(c->user_map[1], sizeof c->user_map[1], "%u %u 1", getegid(), getegid());
	if (make_pipe(in) || make_pipe(out) || make_pipe(report)) {
		err_errno(e, "cannot make a pipe");
		goto out;
	}
	pid_t parent = getpid();
	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		err_errno(e, "cannot start '%s'", c->config.argv[0]);
		goto out;
	}
	if (!c->pid)
		become(c, in, out, report[1], parent);
	setpgid(c->pid, c->pid);
	close_fd(&report[1]);
	while ((got = read(report[0], &why, sizeof why)) < 0 && errno == EINTR)
		;
	if (got == sizeof why) {
		kill_group(c);
		errno = why < 0 ? -why : why;
		if (why < 0)
			err_errno(e, "cannot take %s from the program", c->config.network ? "memory" : "the network");
		else
			err_errno(e, "cannot run '%s'", c->config.argv[0]);
		goto out;
	}
	c->in = in[1];
	c->out = out[0];
	in[1] = out[0] = -1;
	fcntl(c->in, F_SETFL, O_NONBLOCK);
	fcntl(c->out, F_SETFL, O_NONBLOCK);
	rc = 0;
out:
	for (int i = 0; i < 2; i++) {
		close_fd(&in[i]);
		close_fd(&out[i]);
		close_fd(&report[i]);
	}
	return rc;
}

/* Waits for the process to end by itself; true with its status. */
static bool wait_end(struct coprocess *c, double patience, int *status)
{
	double end = now_seconds() + patience;
	for (;;) {
		pid_t got = waitpid(c->pid, status, WNOHANG);
		if (got == c->pid)
			return true;
		if (now_seconds() >= end || (got < 0 && errno != EINTR))
			return false;
		poll(NULL, 0, 5);
	}
}

/* It is gone: what is left of its group goes too. */
static void reaped(struct coprocess *c)
{
	kill(-c->pid, SIGKILL);
	c->pid = 0;
	close_fd(&c->in);
	close_fd(&c->out);
}

bool coprocess_free(struct coprocess *c, double patience)
{
	int status;
	char byte;
	bool all_asked = true;
	if (!c)
		return true;
	if (c->pid) {
		close_fd(&c->in);
		if (wait_end(c, patience, &status)) {
			all_asked = c->state != COPROCESS_IDLE || read(c->out, &byte, 1) <= 0;
			reaped(c);
		} else {
			kill_group(c);
		}
	}
	str_release(&c->request);
	str_release(&c->answer);
	free(c);
	return all_asked;
}

/* ---- a request ---- */

static void fail(struct coprocess *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct coprocess *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->why, sizeof c->why, fmt, ap);
	va_end(ap);
	c->state = COPROCESS_FAILED;
	kill_group(c);
}

static void say_end(struct coprocess *c, int status, const char *when)
{
	if (WIFSIGNALED(status))
		snprintf(c->why, sizeof c->why, "it was killed by signal %d (%s)", WTERMSIG(status),
		         strsignal(WTERMSIG(status)));
	else
		snprintf(c->why, sizeof c->why, "it ended with status %d%s", WEXITSTATUS(status), when);
}

static void died(struct coprocess *c)
{
	enum { PATIENCE_MS = 500 };
	int status = 0;
	if (!wait_end(c, PATIENCE_MS * 1e-3, &status)) {
		snprintf(c->why, sizeof c->why, "it closed its output before it answered");
		kill_group(c);
	} else {
		say_end(c, status, " before it answered");
		reaped(c);
	}
	c->state = COPROCESS_DIED;
}

static void send_more(struct coprocess *c)
{
	while (c->sent < c->request.len) {
		ssize_t n = write(c->in, c->request.buf + c->sent, c->request.len - c->sent);
		if (n >= 0)
			c->sent += (size_t)n;
		else if (errno == EPIPE)
			c->sent = c->request.len; /* whether it answers all the same, its output says */
		else if (errno != EINTR)
			return;
	}
	if (c->config.once)
		close_fd(&c->in);
}

/* All that a program which is run for one record has written is there. */
static void ended(struct coprocess *c)
{
	enum { PATIENCE_MS = 500 };
	int status = 0;
	size_t len = strcspn(c->answer.buf, "\n");
	if (!wait_end(c, PATIENCE_MS * 1e-3, &status)) {
		fail(c, "it closed its output and did not end");
		return;
	}
	reaped(c);
	if (WIFSIGNALED(status) || WEXITSTATUS(status)) {
		say_end(c, status, "");
		c->state = COPROCESS_DIED;
	} else if (c->answer.len > len + 1) {
		fail(c, "it answered more than one line");
	} else {
		c->answer.buf[len] = 0;
		c->answer.len = len;
		c->state = COPROCESS_ANSWERED;
	}
}

/* The answer of a program that goes on is whole, or cannot be one. */
static void check_answer(struct coprocess *c, const char *end)
{
	if (end + 1 < c->answer.buf + c->answer.len) {
		fail(c, "it answered more than one line");
	} else if (c->sent < c->request.len) {
		fail(c, "it answered before it had read the record");
	} else {
		c->answer.len = (size_t)(end - c->answer.buf);
		c->answer.buf[c->answer.len] = 0;
		c->state = COPROCESS_ANSWERED;
	}
}

static void read_more(struct coprocess *c)
{
	enum { PIECE = 65536 };
	for (;;) {
		str_reserve(&c->answer, PIECE);
		ssize_t n = read(c->out, c->answer.buf + c->answer.len, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		if (!n) {
			(c->config.once ? ended : died)(c);
			return;
		}
		char *new = c->answer.buf + c->answer.len, *end = memchr(new, '\n', (size_t)n);
		c->answer.len += (size_t)n;
		c->answer.buf[c->answer.len] = 0;
		size_t len = end ? (size_t)(end - c->answer.buf) : c->answer.len;
		if (len > c->config.longest || (c->config.once && c->answer.len > c->config.longest + 1))
			fail(c, "its answer is longer than %zu bytes", c->config.longest);
		else if (end && !c->config.once)
			check_answer(c, end);
		if (c->state != COPROCESS_WORKING)
			return;
	}
}

int coprocess_ask(struct coprocess *c, const char *line, size_t len, struct err *e)
{
	struct pollfd p = {.fd = c->out, .events = POLLIN};
	if (c->pid && poll(&p, 1, 0) > 0) {
		/* whose answer would the next line be? */
		if (p.revents & POLLIN)
			fail(c, "it answered more than one line to the record before");
		else
			died(c);
		return 0;
	}
	if (!c->pid && start(c, e))
		return -1;
	str_clear(&c->request);
	str_add(&c->request, line, len);
	str_addc(&c->request, '\n');
	str_clear(&c->answer);
	c->sent = 0;
	c->state = COPROCESS_WORKING;
	c->deadline = now_seconds() + c->config.timeout;
	send_more(c);
	return 0;
}

enum coprocess_state coprocess_state(const struct coprocess *c)
{
	return c->state;
}

const char *coprocess_answer(const struct coprocess *c, size_t *len)
{
	*len = c->answer.len;
	return c->answer.buf;
}

const char *coprocess_why(const struct coprocess *c)
{
	return c->why;
}

void coprocess_done(struct coprocess *c)
{
	c->state = COPROCESS_IDLE;
}

void coprocess_reject(struct coprocess *c)
{
	kill_group(c);
	c->state = COPROCESS_IDLE;
}

/* ---- all of them ---- */

/* Fills fds by process, input and output; the time to the first deadline in ms, -1 for none. */
static int prepare(struct coprocess *const *c, int n, struct pollfd *fds)
{
	double first = -1, now = now_seconds();
	for (int i = 0; i < n; i++) {
		bool working = c[i]->state == COPROCESS_WORKING;
		fds[2 * i] = (struct pollfd){.fd = working && c[i]->sent < c[i]->request.len ? c[i]->in : -1,
		                             .events = POLLOUT};
		fds[2 * i + 1] = (struct pollfd){.fd = working ? c[i]->out : -1, .events = POLLIN};
		double left = c[i]->deadline - now;
		if (working && c[i]->config.timeout > 0 && (first < 0 || left < first))
			first = left > 0 ? left : 0;
	}
	if (first < 0)
		return -1;
	return first > 1e6 ? 1000000000 : (int)(first * 1e3) + 1;
}

bool coprocess_run(struct coprocess *const *c, int n, bool wait, int watch)
{
	struct pollfd fds[MAX_WATCHED];
	if (n > (MAX_WATCHED - 1) / 2)
		n = (MAX_WATCHED - 1) / 2;
	for (bool changed = false; !changed;) {
		int ms = prepare(c, n, fds);
		/* no events: an error of the watched pipe is told all the same */
		fds[2 * n] = (struct pollfd){.fd = watch};
		if (poll(fds, (nfds_t)(2 * n + 1), wait ? ms : 0) < 0 && errno != EINTR)
			return true;
		if (watch >= 0 && fds[2 * n].revents & POLLERR)
			return false;
		for (int i = 0; i < n; i++) {
			if (c[i]->state != COPROCESS_WORKING)
				continue;
			if (fds[2 * i].revents)
				send_more(c[i]);
			if (fds[2 * i + 1].revents)
				read_more(c[i]);
			if (c[i]->state == COPROCESS_WORKING && c[i]->config.timeout > 0 &&
			    now_seconds() >= c[i]->deadline)
				fail(c[i], "no answer within %g seconds", c[i]->config.timeout);
			changed |= c[i]->state != COPROCESS_WORKING;
		}
		if (!wait)
			break;
	}
	return true;
}
