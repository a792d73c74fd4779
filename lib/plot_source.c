/* plot_source - metrics out of files and stores; see plot.h */
#include "lib/plot.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/store.h"
#include "lib/stream.h"

bool plot_is_store(const char *path)
{
	uint32_t magic = 0; /* of LMDB's first page, behind the page's own header */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is = fd >= 0 && pread(fd, &magic, sizeof magic, 16) == sizeof magic && magic == 0xbeefc0de;
	if (fd >= 0)
		close(fd);
	return is;
}

/* ---- lines ---- */

static int add_line(struct plot *p, struct record *r, struct stream *in, const char *line, size_t len, struct err *e)
{
	if (strspn(line, " \t") == len)
		return 0;
	if (record_parse(r, line, len, e) || plot_add(p, r, e))
		return err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
	return 0;
}

int plot_read_file(struct plot *p, const char *path, bool growing, struct err *e)
{
	struct stream *in = stream_open(path, e);
	struct record *r = record_new();
	struct err later;
	char *line;
	size_t len;
	int got = in ? 1 : -1, bad = 0;
	str_clear(&p->title);
	str_adds(&p->title, in ? stream_name(in) : path);
	while (got > 0 && !bad && (got = stream_next(in, &line, &len, e)) > 0)
		bad = add_line(p, r, in, line, len, e);
	/* A line that is still being written is the last one. */
	if (bad && growing && (got = stream_next(in, &line, &len, &later)) <= 0)
		bad = 0;
	if (got < 0 && in && growing)
		got = 0;
	record_free(r);
	stream_close(in);
	return got < 0 || bad ? -1 : 0;
}

/* ---- a store's log ---- */

struct log_reader {
	struct plot *p;
	struct record *r;
	const char *want; /* name of a run, or NULL */
	/* of the entry that was last looked at, then of the one that is wanted */
	struct str tool, run, slot;
	bool choosing, found;
	struct err *e;
};

static int text_of(struct log_reader *l, const char *field, struct str *out)
{
	const char *text;
	size_t len;
	str_clear(out);
	if (record_str(l->r, field, &text, &len, l->e) <= 0)
		return 0;
	str_add(out, text, len);
	return 1;
}

static bool same(struct log_reader *l, const char *field, const struct str *want)
{
	const char *text;
	size_t len;
	return record_str(l->r, field, &text, &len, l->e) > 0 && len == want->len && !memcmp(text, want->buf, len);
}

static int one_entry(void *arg, int64_t index, const char *json, size_t len)
{
	struct log_reader *l = arg;
	struct json metrics;
	const char *run;
	size_t run_len;
	(void)index;
	if (record_parse(l->r, json, len, l->e) || record_json(l->r, "metrics", &metrics, l->e) < 0)
		return -1;
	if (metrics.kind != JSON_OBJECT)
		return 0;
	if (!l->choosing)
		return same(l, "tool", &l->tool) && same(l, "run", &l->run) && same(l, "slot", &l->slot)
		               ? plot_add_object(l->p, &metrics, l->e)
		               : 0;
	if (record_str(l->r, "run", &run, &run_len, l->e) <= 0)
		return 0;
	if (l->want && (strlen(l->want) != run_len || memcmp(l->want, run, run_len)))
		return 0;
	l->found = text_of(l, "tool", &l->tool) && text_of(l, "run", &l->run) && text_of(l, "slot", &l->slot);
	return 0;
}

static int read_log(struct log_reader *l, struct store_view *v, const char *path, struct err *e)
{
	l->choosing = true;
	if (store_each_log(v, one_entry, l, e))
		return -1;
	if (!l->found)
		return l->want ? err_set(e, "the log of '%s' has no metrics of a run '%s'", path, l->want)
		               : err_set(e, "the log of '%s' has no metrics yet", path);
	l->choosing = false;
	if (store_each_log(v, one_entry, l, e))
		return -1;
	str_clear(&l->p->title);
	str_addf(&l->p->title, "%s: %s", path, l->tool.buf);
	if (l->run.len)
		str_addf(&l->p->title, ", run '%s'", l->run.buf);
	if (strcmp(l->slot.buf, "policy"))
		str_addf(&l->p->title, ", of '%s'", l->slot.buf);
	return 0;
}

int plot_read_store(struct plot *p, const char *path, const char *run, struct err *e)
{
	struct log_reader l = {.p = p, .want = run, .r = record_new(), .e = e};
	struct store *s = store_open(path, STORE_READ, e);
	struct store_view *v = s ? store_view_open(s, e) : NULL;
	str_init(&l.tool);
	str_init(&l.run);
	str_init(&l.slot);
	int failed = v ? read_log(&l, v, path, e) : -1;
	store_view_close(v);
	store_close(s);
	str_release(&l.tool);
	str_release(&l.run);
	str_release(&l.slot);
	record_free(l.r);
	return failed;
}
