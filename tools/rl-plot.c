/*
 * rl-plot - metrics to pictures: in the terminal, as PNG or SVG, for TensorBoard.
 *
 * The end of a pipe: it reads records and writes none.  With -f it goes on looking (lib/plot.h).
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cli.h"
#include "lib/plot.h"
#include "lib/stream.h"
#include "lib/util.h"

struct config {
	struct cli_list keys;
	const char *png, *svg, *tensorboard, *x, *run;
	int64_t width, height;
	bool follow, ascii, quiet;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"key", 'k', OPT_LIST, AT(keys), NULL, "PATTERN", "what is drawn, as 'time/*'; may be given several times", 0,
         0},
        {"x", 0, OPT_STR, AT(x), NULL, "KEY", "what runs to the right; default step or batch; row: the line", 0, 0},
        {"run", 0, OPT_STR, AT(run), NULL, "NAME", "of a store: this run; default the one that wrote last", 0, 0},
        {"png", 0, OPT_STR, AT(png), NULL, "FILE", "draw a PNG file by gnuplot", 0, 0},
        {"svg", 0, OPT_STR, AT(svg), NULL, "FILE", "draw an SVG file by gnuplot", 0, 0},
        {"tensorboard", 0, OPT_STR, AT(tensorboard), NULL, "DIR", "write an event file into DIR", 0, 0},
        {"follow", 'f', OPT_FLAG, AT(follow), NULL, NULL, "draw again whenever there is more", 0, 0},
        {"width", 0, OPT_INT, AT(width), "0", "N", "columns; 0: of the terminal, or 80", 0, 1000},
        {"height", 0, OPT_INT, AT(height), "6", "N", "lines of a picture", 1, 200},
        {"ascii", 0, OPT_FLAG, AT(ascii), NULL, NULL, "stars in place of Braille dots", 0, 0},
        {"quiet", 'q', OPT_FLAG, AT(quiet), NULL, NULL, "no closing line", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	const char *source;
	struct plot plot;
	struct plot_events *events;
	int64_t drawn;
};

/* ---- out ---- */

static int width_of_terminal(const struct config *c)
{
	struct winsize w;
	if (c->width)
		return (int)c->width;
	return isatty(1) && !ioctl(1, TIOCGWINSZ, &w) && w.ws_col > 20 ? w.ws_col : 80;
}

static int draw(struct state *s, const int *pick, int n, struct err *e)
{
	const struct plot_text how = {width_of_terminal(&s->c), (int)s->c.height, s->c.ascii};
	struct str out;
	str_init(&out);
	if (s->c.follow && isatty(1))
		str_adds(&out, "\033[H\033[J");
	else if (s->drawn)
		str_addc(&out, '\n');
	plot_draw(&out, &s->plot, pick, n, &how);
	int failed = write_all(1, out.buf, out.len) ? err_errno(e, "standard output") : 0;
	str_release(&out);
	s->drawn++;
	return failed;
}

static bool to_files(const struct config *c)
{
	return c->png || c->svg || c->tensorboard;
}

/* What a picture is of goes into an event file whole, unless keys were named. */
static int write_events(struct state *s, const int *pick, int n, struct err *e)
{
	static const char *const everything[] = {"*"};
	const struct cli_list all = {(const char **)(const void *)everything, 1};
	int *each = xcalloc((size_t)s->plot.n + 1, sizeof *each);
	if (!s->events && !(s->events = plot_events_open(s->c.tensorboard, e))) {
		free(each);
		return -1;
	}
	int m = plot_pick(&s->plot, &all, true, each, e);
	int failed = s->c.keys.n ? plot_events_write(s->events, &s->plot, pick, n, e)
	                         : plot_events_write(s->events, &s->plot, each, m, e);
	free(each);
	return failed;
}

static int show(struct state *s, struct err *e)
{
	int *pick = xcalloc((size_t)s->plot.n + 1, sizeof *pick);
	int n = plot_pick(&s->plot, &s->c.keys, s->c.follow, pick, e), failed = n < 0;
	bool nothing = s->plot.rows == 0 && s->c.follow;
	if (!failed && s->c.tensorboard && !nothing)
		failed = write_events(s, pick, n, e);
	if (!failed && s->c.png && !nothing)
		failed = plot_gnuplot(&s->plot, pick, n, false, s->c.png, e);
	if (!failed && s->c.svg && !nothing)
		failed = plot_gnuplot(&s->plot, pick, n, true, s->c.svg, e);
	if (!failed && !to_files(&s->c))
		failed = draw(s, pick, n, e);
	free(pick);
	return failed ? -1 : 0;
}

/* ---- in ---- */

static int read_all(struct state *s, bool store, struct err *e)
{
	plot_clear(&s->plot);
	return store ? plot_read_store(&s->plot, s->source, s->c.run, e)
	             : plot_read_file(&s->plot, s->source, s->c.follow, e);
}

static int once(struct state *s, bool store, struct err *e)
{
	if (read_all(s, store, e))
		return -1;
	if (s->plot.rows == 0)
		return err_set(e, "%s: there are no metrics", s->plot.title.buf);
	if (show(s, e))
		return -1;
	if (!s->c.quiet && (to_files(&s->c) || !isatty(1)))
		cli_warn("%lld records in, %lld rows", (long long)s->plot.lines, (long long)s->plot.rows);
	return 0;
}

/* Looks twice a second whether the file is another than it was. */
static int watch(struct state *s, bool store, struct err *e)
{
	const struct timespec half = {.tv_nsec = 500000000};
	struct stat was = {0}, is;
	for (;; nanosleep(&half, NULL)) {
		if (stat(s->source, &is))
			return err_errno(e, "'%s'", s->source);
		if (was.st_mtim.tv_sec == is.st_mtim.tv_sec && was.st_mtim.tv_nsec == is.st_mtim.tv_nsec &&
		    was.st_size == is.st_size)
			continue;
		was = is;
		int64_t before = s->plot.rows;
		if (read_all(s, store, e) || ((s->plot.rows != before || !s->drawn) && show(s, e)))
			return -1;
	}
}

/* Draws when no further line is waiting. */
static int follow_pipe(struct state *s, struct err *e)
{
	struct stream *in = stream_open(s->source, e);
	struct record *r = record_new();
	char *line;
	size_t len;
	int got = in ? 1 : -1;
	str_adds(&s->plot.title, s->source);
	while (got > 0 && (got = stream_next(in, &line, &len, e)) > 0) {
		if (record_parse(r, line, len, e) || plot_add(&s->plot, r, e))
			got = err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
		else if (!stream_poll(in))
			got = show(s, e) ? -1 : 1;
	}
	if (got == 0 && s->plot.rows == 0)
		got = err_set(e, "%s: there are no metrics", stream_name(in));
	else if (got == 0)
		got = show(s, e);
	record_free(r);
	stream_close(in);
	return got;
}

static int run(struct state *s, struct err *e)
{
	struct stat st;
	bool store = strcmp(s->source, "-") && plot_is_store(s->source);
	if (s->c.run && !store)
		return err_set(e, "--run is for stores, but '%s' is none", s->source);
	if (!s->c.follow)
		return once(s, store, e);
	if (strcmp(s->source, "-") && !stat(s->source, &st) && S_ISREG(st.st_mode))
		return watch(s, store, e);
	return follow_pipe(s, e);
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {{NULL, options, &s.c}};
	const struct cli cli = {.tool = "rl-plot",
	                        .summary = "draw metrics: in the terminal, by gnuplot, for TensorBoard",
	                        .usage = "[OPTION]... [METRICS|STORE]",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = 1};
	struct err e, late;
	int n;
	char **operands = cli_parse(&cli, argc, argv, &n);
	s.source = n ? operands[0] : "-";
	plot_init(&s.plot, s.c.x);
	int failed = run(&s, &e);
	if (plot_events_close(s.events, &late) && !failed) {
		failed = -1;
		e = late;
	}
	plot_release(&s.plot);
	if (failed)
		cli_warn("%s", e.msg);
	return failed ? 1 : 0;
}
