/* tool - see tool.h */
#include "lib/tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/progress.h"
#include "lib/str.h"
#include "lib/util.h"

#define FLUSH_SECONDS 1.0 /* written records wait no longer, even when input never pauses */

enum { WARNINGS_MAX = 5 }; /* rejected records that are named; the rest is counted */

const struct opt tool_options[] = {
        {"keep-going", 'k', OPT_FLAG, offsetof(struct tool_config, keep_going), NULL, NULL,
         "a record that fails goes on with a field 'error'; exit 3", 0, 0},
        {"zstd", 'z', OPT_FLAG, offsetof(struct tool_config, zstd), NULL, NULL, "write zstd, with checksums", 0, 0},
        {"quiet", 'q', OPT_FLAG, offsetof(struct tool_config, quiet), NULL, NULL, "no progress, no closing line", 0, 0},
        {NULL},
};

void tool_init(struct tool *t, const struct tool_config *config)
{
	*t = (struct tool){.config = *config};
	t->record = record_new();
	arena_init(&t->arena);
}

int tool_open(struct tool *t, char **operands, int n_operands, struct err *e)
{
	static char dash[] = "-", *standard_input[] = {dash};
	t->operands = n_operands ? operands : standard_input;
	t->n_operands = n_operands ? n_operands : 1;
	t->started = t->flushed = now_seconds();
	t->terminal = isatty(STDOUT_FILENO);
	/* A write to a pipe without a reader is to be an error that is seen, not a death without a word. */
	signal(SIGPIPE, SIG_IGN);
	t->progress = progress_new(cli_tool(), t->config.quiet);
	if (!n_operands && isatty(STDIN_FILENO) && !t->config.quiet)
		cli_warn("reading records from the terminal");
	if (!t->out) {
		t->own_out = true;
		t->out = sink_open_fd(STDOUT_FILENO, "standard output", t->config.zstd, e);
	}
	return t->out ? 0 : -1;
}

/* ---- out ---- */

/* Inside a JSON string any character may be written as \uXXXX; outside there are no control characters. */
static int write_to_terminal(struct tool *t, const char *line, size_t len, struct err *e)
{
	size_t cap = 6 * len + 16;
	char *shown = xmalloc(cap);
	progress_wipe(t->progress);
	progress_escape(shown, cap, line, len);
	int rc = sink_write(t->out, shown, strlen(shown), e);
	free(shown);
	return rc < 0 ? -1 : sink_flush(t->out, e);
}

static int flush(struct tool *t, struct err *e)
{
	t->flushed = now_seconds();
	return sink_flush(t->out, e);
}

int tool_write(struct tool *t, struct record *r, struct err *e)
{
	size_t len;
	const char *line = record_line(r, &len);
	t->n_out++;
	if (t->terminal && t->own_out)
		return write_to_terminal(t, line, len, e);
	if (sink_write(t->out, line, len, e) < 0)
		return -1;
	return now_seconds() - t->flushed > FLUSH_SECONDS ? flush(t, e) : 0;
}

/* ---- in ---- */

static int next_input(struct tool *t, struct err *e)
{
	const char *path = t->operands[t->next_operand++];
	t->source = strcmp(path, "-") ? path : "standard input";
	t->in = stream_open(path, e);
	return t->in ? 0 : -1;
}

int tool_open_input(struct tool *t, struct err *e)
{
	return t->in || t->next_operand == t->n_operands ? 0 : next_input(t, e);
}

static int wait_line(struct tool *t, struct err *e)
{
	if (stream_poll(t->in))
		return 0;
	progress_show(t->progress, t->n_in, t->n_tokens, stream_consumed(t->in), stream_size(t->in));
	if (flush(t, e) < 0)
		return -1;
	if (!stream_wait(t->in, t->own_out ? STDOUT_FILENO : -1))
		return err_set(e, "standard output: the reader has gone");
	return 0;
}

static bool blank(const char *line, size_t len)
{
	return strspn(line, " \t\r") >= len;
}

/* What the next line is, for whoever else reads it: returns got, or -1. */
static int fed(struct tool *t, int got, const char *line, size_t len, struct err *e)
{
	return t->feed && t->feed(t->feed_arg, got ? line : NULL, len, e) ? -1 : got;
}

/* The next line that is not blank, of any operand: 1, 0, -1. */
static int next_line(struct tool *t, char **line, size_t *len, struct err *e)
{
	for (;;) {
		if (!t->in && t->next_operand == t->n_operands)
			return fed(t, 0, NULL, 0, e);
		if ((!t->in && next_input(t, e) < 0) || wait_line(t, e) < 0)
			return -1;
		int got = stream_next(t->in, line, len, e);
		if (got < 0)
			return -1;
		if (got > 0 && !blank(*line, *len)) {
			t->line = stream_line(t->in);
			return fed(t, 1, *line, *len, e);
		}
		if (got == 0 && t->next_operand == t->n_operands)
			return fed(t, 0, NULL, 0, e);
		if (got == 0) {
			stream_close(t->in);
			t->in = NULL;
		}
	}
}

int tool_mark(struct tool *t, struct record *r, int64_t line, struct err *e)
{
	err_where(e, "%s:%lld", t->source, (long long)(line ? line : t->line));
	if (!t->config.keep_going)
		return -1;
	record_undo(r);
	struct err why = *e;
	if (record_add_str(r, "error", why.msg, strlen(why.msg), e) < 0)
		return -1;
	if (t->n_errors++ < WARNINGS_MAX) {
		char shown[2048];
		progress_escape(shown, sizeof shown, why.msg, strlen(why.msg));
		progress_wipe(t->progress);
		cli_warn("%s", shown);
	}
	return 0;
}

int tool_reject(struct tool *t, struct record *r, int64_t line, struct err *e)
{
	if (tool_mark(t, r, line, e) < 0)
		return -1;
	return t->drops_errors ? 0 : tool_write(t, r, e);
}

int tool_next(struct tool *t, struct err *e)
{
	char *line;
	size_t len;
	int got;
	arena_reset(&t->arena);
	t->no_record = false;
	while ((got = next_line(t, &line, &len, e)) > 0) {
		t->n_in++;
		if ((t->n_in & 63) == 0)
			progress_show(t->progress, t->n_in, t->n_tokens, stream_consumed(t->in), stream_size(t->in));
		if (record_parse(t->record, line, len, e) == 0)
			return 1;
		struct err why = *e;
		if (t->config.keep_going && t->drain && t->drain(t, t->drain_arg, e) < 0)
			return -1;
		*e = why;
		record_clear(t->record);
		t->no_record = !t->config.keep_going;
		if (tool_reject(t, t->record, 0, e) < 0)
			return -1;
	}
	/* what came before the fault goes on, however many records are held back */
	struct err why = *e;
	if (got < 0 && t->drain && t->drain(t, t->drain_arg, e) == 0)
		*e = why;
	return got;
}

bool tool_passes(struct tool *t, const struct record *r)
{
	enum json_kind error = record_kind(r, "error"), skip = record_kind(r, "skip");
	bool passes = (error != JSON_ABSENT && error != JSON_NULL) || (skip != JSON_ABSENT && skip != JSON_NULL);
	t->n_skipped += passes;
	return passes;
}

/* ---- the end ---- */

static void put_count(struct str *s, int64_t n, const char *name)
{
	if (n)
		str_addf(s, ", %lld %s", (long long)n, name);
}

static void print_counts(struct tool *t)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "%lld records in, %lld out", (long long)t->n_in, (long long)t->n_out);
	put_count(&s, t->n_errors, "errors");
	put_count(&s, t->n_skipped, "passed over");
	for (size_t i = 0; i < ARRAY_LEN(t->count); i++)
		if (t->count[i].name)
			put_count(&s, t->count[i].n, t->count[i].name);
	cli_warn("%s", s.buf);
	str_release(&s);
}

void tool_progress(struct tool *t, int64_t records, int64_t done, int64_t total)
{
	progress_show(t->progress, records, t->n_tokens, done, total);
}

int tool_end(struct tool *t, int failed, const struct err *e)
{
	struct err why = {""}, at_close = {""};
	if (failed)
		why = *e;
	if (t->out && t->own_out && sink_close(t->out, &at_close) < 0 && !failed) {
		failed = 1;
		why = at_close;
	}
	t->out = NULL;
	if (!failed && t->fails_when_empty && !t->n_in)
		failed = err_set(&why, "no records came in");
	progress_free(t->progress);
	if (failed) {
		char shown[2048];
		progress_escape(shown, sizeof shown, why.msg, strlen(why.msg));
		cli_warn("%s", shown);
	} else if (!t->config.quiet) {
		print_counts(t);
	}
	stream_close(t->in);
	record_free(t->record);
	arena_release(&t->arena);
	if (failed)
		return 1;
	return t->n_errors ? 3 : 0;
}

static int run_one(struct tool *t, tool_process process, void *arg, struct err *e)
{
	if (!t->takes_all && tool_passes(t, t->record))
		return tool_write(t, t->record, e);
	int rc = process(t, t->record, arg, e);
	if (rc == -1)
		return tool_reject(t, t->record, 0, e);
	if (rc < 0)
		return -1;
	return rc == 0 ? tool_write(t, t->record, e) : 0;
}

int tool_run(struct tool *t, char **operands, int n_operands, tool_process process,
             int (*finish)(struct tool *t, void *arg, struct err *e), void *arg)
{
	struct err e;
	int got = tool_open(t, operands, n_operands, &e);
	while (got >= 0 && (got = tool_next(t, &e)) > 0)
		if (run_one(t, process, arg, &e) < 0)
			got = -1;
	if (got == 0 && finish)
		got = finish(t, arg, &e);
	return tool_end(t, got < 0, &e);
}
