/* plot_gnuplot - pictures by gnuplot; see plot.h */
#include "lib/plot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/stream.h"
#include "lib/util.h"

extern char **environ;

/* 'text', as gnuplot reads it: a quote twice, no control characters. */
static void put_quoted(struct str *s, const char *text)
{
	str_addc(s, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			str_addc(s, '\'');
		str_addc(s, (unsigned char)*text < ' ' ? ' ' : *text);
	}
	str_addc(s, '\'');
}

static void put_data(struct str *s, const struct plot *p, const double *y, int number)
{
	str_addf(s, "$d%d << EOD\n", number);
	for (int64_t i = 0; i < p->rows; i++)
		if (isfinite(y[i]))
			str_addf(s, "%.17g %.17g\n", p->x[i], y[i]);
	str_adds(s, "EOD\n");
}

/* The lowest and the highest; false when there is no number at all. */
static bool range_of(const struct plot *p, const double *y, double range[2])
{
	range[0] = INFINITY;
	range[1] = -INFINITY;
	for (int64_t i = 0; i < p->rows; i++)
		if (isfinite(y[i])) {
			range[0] = fmin(range[0], y[i]);
			range[1] = fmax(range[1], y[i]);
		}
	return range[0] <= range[1];
}

/* Gnuplot warns of a range that is empty. */
static void put_range(struct str *s, char axis, double low, double high)
{
	double half = low == 0 ? 1 : .05 * fabs(low);
	if (low < high)
		str_addf(s, "set autoscale %c\n", axis);
	else
		str_addf(s, "set %crange [%.17g:%.17g]\n", axis, low - half, low + half);
}

static void put_script(struct str *s, const struct plot *p, const int *pick, int n, bool svg)
{
	double range[2];
	int across = n < 3 ? n : 3, down = (n + across - 1) / across;
	for (int i = 0; i < n; i++)
		put_data(s, p, p->column[pick[i]].y, i);
	str_addf(s, "set terminal %s noenhanced size %d,%d\n", svg ? "svg" : "png", 420 * across, 280 * down + 30);
	str_addf(s, "set multiplot layout %d,%d title ", down, across);
	put_quoted(s, p->title.buf);
	str_adds(s, "\nset grid\nunset key\nset xlabel ");
	put_quoted(s, p->by_row || !p->x_key ? "row" : p->x_key);
	str_adds(s, "\n");
	put_range(s, 'x', p->x[0], p->x[p->rows - 1]);
	for (int i = 0; i < n; i++) {
		const struct plot_column *c = &p->column[pick[i]];
		str_adds(s, "set title ");
		put_quoted(s, c->key);
		str_adds(s, "\n");
		if (!range_of(p, c->y, range)) {
			str_adds(s, "set multiplot next\n");
			continue;
		}
		put_range(s, 'y', range[0], range[1]);
		str_addf(s, "plot $d%d using 1:2 with linespoints pointtype 7 pointsize 0.3\n", i);
	}
	str_adds(s, "unset multiplot\n");
}

/* Runs it between two files in memory. */
static int run(int in, int out, struct err *e)
{
	char *argv[] = {(char *)"gnuplot", NULL};
	posix_spawn_file_actions_t files;
	pid_t pid;
	int status = 0;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	int rc = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (rc == ENOENT)
		return err_set(e, "there is no gnuplot, which --png and --svg need (Debian: gnuplot-nox)");
	if (rc) {
		errno = rc;
		return err_errno(e, "cannot start gnuplot");
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(e, "gnuplot");
	if (WIFSIGNALED(status))
		return err_set(e, "gnuplot was ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) ? err_set(e, "gnuplot ended with status %d", WEXITSTATUS(status)) : 0;
}

static int keep(int fd, const char *path, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st))
		return err_errno(e, "what gnuplot wrote");
	if (st.st_size == 0)
		return err_set(e, "gnuplot wrote nothing for '%s'", path);
	void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return err_errno(e, "what gnuplot wrote");
	struct sink *s = sink_open_file(path, false, e);
	int failed = !s || sink_write(s, data, (size_t)st.st_size, e);
	if (s && failed)
		sink_abandon(s);
	else if (s)
		failed = sink_close(s, e);
	munmap(data, (size_t)st.st_size);
	return failed ? -1 : 0;
}

int plot_gnuplot(const struct plot *p, const int *pick, int n, bool svg, const char *path, struct err *e)
{
	struct str script;
	if (n == 0 || p->rows == 0)
		return err_set(e, "there is nothing to draw in '%s'", path);
	str_init(&script);
	put_script(&script, p, pick, n, svg);
	int in = memfd_create("script", MFD_CLOEXEC), out = memfd_create("picture", MFD_CLOEXEC);
	int failed = in < 0 || out < 0 || write_all(in, script.buf, script.len) || lseek(in, 0, SEEK_SET) < 0
	                     ? err_errno(e, "no memory for '%s'", path)
	                     : 0;
	if (!failed)
		failed = run(in, out, e) || keep(out, path, e);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	str_release(&script);
	return failed ? -1 : 0;
}
