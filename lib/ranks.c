/* ranks - see ranks.h */
#include "lib/ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"

/* How long rank 0 has to come to its own end when another one is lost. */
enum { GRACE_MS = 500 };

const struct opt ranks_options[] = {
        {"ranks", 0, OPT_INT, offsetof(struct ranks_config, ranks), "1", "N",
         "processes that share each batch: with --device cuda a GPU each, else threads are divided", 1, COMM_MAX_RANKS},
        {NULL},
};

/* Of one other rank. */
struct other {
	pid_t pid;
	int input; /* our end of its standard input; -1: closed */
	int life;  /* a pipe of which it alone has the other end, so that its end is seen */
	int said;  /* a file of what it wrote to standard error */
	bool gone; /* waited for */
};

struct ranks_watch {
	struct comm *comm;
	int n; /* ranks, this one too */
	struct other other[COMM_MAX_RANKS];
	pthread_t thread;
	bool started;
	int stop[2]; /* closed when rank 0 has come to its end */
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- why a rank ended ---- */

/* The last line that the rank said, without the tool's name. */
static void last_line(const struct other *o, char *line, size_t cap)
{
	char text[4096];
	struct stat st;
	off_t most = sizeof text - 1, at = fstat(o->said, &st) || st.st_size < most ? 0 : st.st_size - most;
	ssize_t n = pread(o->said, text, sizeof text - 1, at);
	text[n > 0 ? n : 0] = 0;
	for (size_t len = strlen(text); len && text[len - 1] == '\n';)
		text[--len] = 0;
	char *last = strrchr(text, '\n'), *from = last ? last + 1 : text;
	size_t name = strlen(cli_tool());
	if (!strncmp(from, cli_tool(), name) && !strncmp(from + name, ": ", 2))
		from += name + 2;
	snprintf(line, cap, "%.*s", (int)cap - 1, from);
}

/* What became of rank q, once its end was seen: false when it ended as it should. */
static bool was_lost(struct ranks_watch *w, int q, struct err *why)
{
	struct other *o = &w->other[q];
	int status = 0;
	char line[sizeof why->msg - 64];
	while (waitpid(o->pid, &status, 0) < 0 && errno == EINTR)
		;
	o->gone = true;
	/* 3: records carry errors (lib/tool.h), for which rank 0 answers */
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3))
		return false;
	last_line(o, line, sizeof line);
	if (WIFSIGNALED(status))
		err_set(why, "rank %d was killed by signal %d (%s)%s%s", q, WTERMSIG(status),
		        strsignal(WTERMSIG(status)), *line ? ": " : "", line);
	else
		err_set(why, "rank %d: %s", q, *line ? line : "ended without a word");
	return true;
}

/* Waits for ends: of the others, and of rank 0's own. */
static void *watch(void *arg)
{
	struct ranks_watch *w = arg;
	struct err why;
	for (;;) {
		struct pollfd p[COMM_MAX_RANKS] = {{.fd = w->stop[0]}};
		for (int q = 1; q < w->n; q++)
			p[q] = (struct pollfd){.fd = w->other[q].gone ? -1 : w->other[q].life};
		if (poll(p, (nfds_t)w->n, -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		for (int q = 1; q < w->n; q++) {
			if (!p[q].revents || !was_lost(w, q, &why))
				continue;
			comm_fail(w->comm, why.msg);
			if (poll(p, 1, GRACE_MS) != 0)
				return NULL;
			cli_warn("%s", why.msg);
			_exit(1);
		}
	}
}

/* ---- input ---- */

/* A rank that does not read is lost, which the watch says in a moment. */
static int cannot_give(struct ranks_watch *w, int q, struct err *e)
{
	for (int i = 0; i < GRACE_MS / 10; i++) {
		if (comm_failed(w->comm, e))
			return -1;
		poll(NULL, 0, 10);
	}
	return err_set(e, "rank %d takes no input any more", q);
}

/* The tool's feed: a line for the others; NULL: there are no more. */
static int give(void *arg, const char *line, size_t len, struct err *e)
{
	struct ranks_watch *w = arg;
	for (int q = 1; q < w->n; q++) {
		struct other *o = &w->other[q];
		if (!line)
			close_fd(&o->input);
		else if (write_all(o->input, line, len) || write_all(o->input, "\n", 1))
			return cannot_give(w, q, e);
	}
	return 0;
}

/* ---- the fork ---- */

/* Everything of the other ranks that is open in this process. */
static void close_others(struct ranks_watch *w)
{
	for (int q = 1; q < w->n; q++) {
		close_fd(&w->other[q].input);
		close_fd(&w->other[q].life);
		close_fd(&w->other[q].said);
	}
}

/* This process, a fork, as rank q: its three streams, and its end with its parent's.  life: kept open. */
static int become(struct ranks_watch *w, int q, int input, pid_t parent)
{
	static const int keyboard[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent || null < 0 || dup2(input, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(w->other[q].said, STDERR_FILENO) < 0)
		return -1;
	close(input);
	close(null);
	for (size_t i = 0; i < ARRAY_LEN(keyboard); i++)
		signal(keyboard[i], SIG_IGN);
	comm_join(w->comm, q);
	close_others(w);
	return 0;
}

/* 1 in the fork, 0 in rank 0, -1. */
static int fork_rank(struct ranks_watch *w, int q, struct err *e)
{
	struct other *o = &w->other[q];
	int input[2] = {-1, -1}, life[2] = {-1, -1};
	pid_t parent = getpid();
	o->said = memfd_create("rank", MFD_CLOEXEC);
	if (o->said < 0 || pipe2(input, O_CLOEXEC) || pipe2(life, O_CLOEXEC) || (o->pid = fork()) < 0) {
		err_errno(e, "cannot start rank %d of %d", q, w->n);
		close_fd(&input[0]), close_fd(&input[1]), close_fd(&life[0]), close_fd(&life[1]);
		return -1;
	}
	if (o->pid == 0) {
		close(input[1]);
		close(life[0]);
		if (become(w, q, input[0], parent))
			_exit(1);
		return 1;
	}
	close(input[0]);
	close(life[1]);
	o->input = input[1];
	o->life = life[0];
	return 0;
}

/* Ends the others at once. */
static void kill_others(struct ranks_watch *w)
{
	for (int q = 1; q < w->n; q++)
		if (w->other[q].pid > 0 && !w->other[q].gone) {
			kill(w->other[q].pid, SIGKILL);
			while (waitpid(w->other[q].pid, NULL, 0) < 0 && errno == EINTR)
				;
			w->other[q].gone = true;
		}
}

static void stop_watching(struct ranks_watch *w)
{
	close_fd(&w->stop[1]);
	if (w->started)
		pthread_join(w->thread, NULL);
	close_fd(&w->stop[0]);
}

static void watch_free(struct ranks_watch *w)
{
	close_others(w);
	free(w);
}

static struct ranks_watch *watch_new(struct comm *comm, int n)
{
	struct ranks_watch *w = xcalloc(1, sizeof *w);
	*w = (struct ranks_watch){.comm = comm, .n = n, .stop = {-1, -1}};
	for (int q = 0; q < n; q++)
		w->other[q] = (struct other){.input = -1, .life = -1, .said = -1};
	return w;
}

int ranks_begin(struct ranks *r, const struct ranks_config *c, struct tool *t, int *n_operands, struct err *e)
{
	*r = (struct ranks){0};
	if (c->ranks == 1)
		return 0;
	if (!(r->comm = comm_new((int)c->ranks, e)))
		return -1;
	struct ranks_watch *w = r->watch = watch_new(r->comm, (int)c->ranks);
	for (int q = 1; q < w->n; q++) {
		int forked = fork_rank(w, q, e);
		if (forked < 0)
			return -1;
		if (forked) {
			watch_free(w);
			r->watch = NULL;
			t->config.quiet = true;
			t->fails_when_empty = false; /* rank 0 says so */
			*n_operands = 0;
			return 0;
		}
	}
	t->feed = give;
	t->feed_arg = w;
	if (pipe2(w->stop, O_CLOEXEC) || (errno = pthread_create(&w->thread, NULL, watch, w)))
		return err_errno(e, "cannot watch %d ranks", w->n);
	w->started = true;
	return 0;
}

/* Rank 0 has done its part: the others are about to end by themselves. */
static int wait_for_others(struct ranks_watch *w, struct err *e)
{
	struct err why;
	int failed = 0;
	for (int q = 1; q < w->n; q++)
		if (!w->other[q].gone && was_lost(w, q, &why) && !failed) {
			*e = why;
			failed = -1;
		}
	return failed;
}

int ranks_end(struct ranks *r, int failed, struct err *e)
{
	struct ranks_watch *w = r->watch;
	if (w) {
		give(w, NULL, 0, e);
		stop_watching(w);
		if (!failed && comm_failed(r->comm, e))
			failed = -1;
		if (!failed)
			failed = wait_for_others(w, e);
		kill_others(w);
		watch_free(w);
	}
	comm_free(r->comm);
	*r = (struct ranks){0};
	return failed;
}
