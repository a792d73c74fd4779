/*
 * bm25_runs - sorted pieces of an index, on disk until they are merged; see bm25_impl.h
 *
 * A run is a file without a name: records of a key, a number of postings and their bytes, keys rising.  Documents rise
 * from run to run, so records of one key, taken run by run, are its postings in order.  FANIN runs of a level become
 * one of the next, in which a key may have several records: merging copies bytes, and each posting is copied as often
 * as there are levels.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { FANIN = 64, RECORD_HEAD = BM25_KEY_MAX + 32, BUFFER_MIN = 4096, BUFFER_MAX = 1 << 20 };

struct run {
	int fd, level;
};

struct bm25_runs {
	char *beside;
	struct run *run;
	size_t n, cap;
	size_t memory;
	struct str out; /* of the run that is being written */
	size_t out_cap;
	int out_fd;
};

struct bm25_runs *bm25_runs_new(const char *beside, size_t memory)
{
	struct bm25_runs *r = xcalloc(1, sizeof *r);
	r->beside = xstrdup(beside);
	r->memory = memory;
	r->out_cap = memory / 8 < BUFFER_MAX ? memory / 8 : BUFFER_MAX;
	r->out_fd = -1;
	str_init(&r->out);
	return r;
}

void bm25_runs_free(struct bm25_runs *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n; i++)
		close(r->run[i].fd);
	if (r->out_fd >= 0)
		close(r->out_fd);
	str_release(&r->out);
	free(r->run);
	free(r->beside);
	free(r);
}

/* ---- writing ---- */

/* A file beside the index that is gone when it is closed, or when this process is killed. */
static int open_nameless(const char *beside, struct err *e)
{
	struct str name;
	str_init(&name);
	str_adds(&name, beside);
	char *slash = strrchr(name.buf, '/');
	if (slash)
		slash[slash == name.buf] = 0;
	int fd = open(slash ? name.buf : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		str_clear(&name);
		str_addf(&name, "%s.run-XXXXXX", beside);
		fd = mkostemp(name.buf, O_CLOEXEC);
		if (fd >= 0)
			unlink(name.buf);
	}
	if (fd < 0)
		err_errno(e, "%s: cannot make a file beside it", beside);
	str_release(&name);
	return fd;
}

static int flush_out(struct bm25_runs *r, struct err *e)
{
	if (write_all(r->out_fd, r->out.buf, r->out.len))
		return err_errno(e, "%s: cannot write a file beside it", r->beside);
	str_clear(&r->out);
	return 0;
}

int bm25_runs_bytes(struct bm25_runs *r, const void *bytes, size_t len, struct err *e)
{
	if (r->out.len + len > r->out_cap && flush_out(r, e))
		return -1;
	if (len > r->out_cap) {
		if (write_all(r->out_fd, bytes, len))
			return err_errno(e, "%s: cannot write a file beside it", r->beside);
		return 0;
	}
	str_add(&r->out, bytes, len);
	return 0;
}

int bm25_runs_record(struct bm25_runs *r, const char *key, size_t key_len, uint32_t df, uint64_t len, struct err *e)
{
	unsigned char head[RECORD_HEAD], *p = head;
	p = bm25_put_varint(p, key_len);
	memcpy(p, key, key_len);
	p = bm25_put_varint(p + key_len, df);
	p = bm25_put_varint(p, len);
	return bm25_runs_bytes(r, head, (size_t)(p - head), e);
}

int bm25_runs_begin(struct bm25_runs *r, struct err *e)
{
	str_clear(&r->out);
	r->out_fd = open_nameless(r->beside, e);
	return r->out_fd < 0 ? -1 : 0;
}

static int end_run(struct bm25_runs *r, int level, struct err *e)
{
	if (flush_out(r, e))
		return -1;
	if (r->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : FANIN;
		r->run = xrealloc_array(r->run, r->cap, sizeof *r->run);
	}
	r->run[r->n++] = (struct run){r->out_fd, level};
	r->out_fd = -1;
	return 0;
}

static int copy_record(void *arg, struct bm25_record *record, struct err *e)
{
	struct bm25_runs *r = arg;
	const unsigned char *bytes;
	size_t len;
	if (bm25_runs_record(r, record->key, record->key_len, record->df, record->left, e))
		return -1;
	while (record->left) {
		if (bm25_record_bytes(record, &bytes, &len, e) || bm25_runs_bytes(r, bytes, len, e))
			return -1;
	}
	return 0;
}

int bm25_runs_end(struct bm25_runs *r, struct err *e)
{
	if (end_run(r, 0, e))
		return -1;
	for (;;) {
		size_t same = 0;
		while (same < r->n && r->run[r->n - 1 - same].level == r->run[r->n - 1].level)
			same++;
		if (same < FANIN)
			return 0;
		size_t first = r->n - FANIN;
		int level = r->run[first].level + 1;
		if (bm25_runs_begin(r, e) || bm25_runs_merge(r, first, r->memory / 2, copy_record, r, e))
			return -1;
		for (size_t i = first; i < r->n; i++)
			close(r->run[i].fd);
		r->n = first;
		if (end_run(r, level, e))
			return -1;
	}
}

/* ---- reading ---- */

struct bm25_run_reader {
	int fd;
	size_t index; /* among the runs */
	off_t at;
	unsigned char *buf;
	size_t pos, len, cap;
	bool end;
	struct bm25_record record;
};

static int fill(struct bm25_run_reader *in, struct err *e)
{
	memmove(in->buf, in->buf + in->pos, in->len - in->pos);
	in->len -= in->pos;
	in->pos = 0;
	while (in->len < in->cap && !in->end) {
		ssize_t n = pread(in->fd, in->buf + in->len, in->cap - in->len, in->at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "cannot read a run of the index");
		in->end = n == 0;
		in->len += (size_t)n;
		in->at += n;
	}
	return 0;
}

int bm25_record_bytes(struct bm25_record *r, const unsigned char **bytes, size_t *len, struct err *e)
{
	struct bm25_run_reader *in = r->in;
	if (in->pos == in->len && fill(in, e))
		return -1;
	*bytes = in->buf + in->pos;
	*len = in->len - in->pos < r->left ? in->len - in->pos : (size_t)r->left;
	if (!*len)
		return err_set(e, "a run of the index is cut short");
	in->pos += *len;
	r->left -= *len;
	return 0;
}

int bm25_record_varint(struct bm25_record *r, uint32_t *x, struct err *e)
{
	struct bm25_run_reader *in = r->in;
	if (in->len - in->pos < 16 && !in->end && fill(in, e))
		return -1;
	uint64_t v;
	const unsigned char *p = bm25_get_varint(in->buf + in->pos, &v);
	size_t n = (size_t)(p - in->buf) - in->pos;
	if (n > r->left || n > in->len - in->pos)
		return err_set(e, "a run of the index is cut short");
	in->pos += n;
	r->left -= n;
	*x = (uint32_t)v;
	return 0;
}

/* 1; 0 at the end of the run. */
static int next_record(struct bm25_run_reader *in, struct err *e)
{
	uint64_t key_len, df, left;
	if (in->len - in->pos < RECORD_HEAD && !in->end && fill(in, e))
		return -1;
	if (in->pos == in->len)
		return 0;
	const unsigned char *p = bm25_get_varint(in->buf + in->pos, &key_len);
	if (key_len > BM25_KEY_MAX)
		return err_set(e, "a run of the index is damaged");
	memcpy(in->record.key, p, key_len);
	p = bm25_get_varint(p + key_len, &df);
	p = bm25_get_varint(p, &left);
	in->record.key_len = (size_t)key_len;
	in->record.df = (uint32_t)df;
	in->record.left = left;
	in->record.in = in;
	in->pos = (size_t)(p - in->buf);
	return 1;
}

int bm25_compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static bool before(const struct bm25_run_reader *a, const struct bm25_run_reader *b)
{
	int c = bm25_compare_keys(a->record.key, a->record.key_len, b->record.key, b->record.key_len);
	return c ? c < 0 : a->index < b->index;
}

static void settle(struct bm25_run_reader **heap, size_t n, size_t i)
{
	struct bm25_run_reader *x = heap[i];
	for (size_t c; (c = 2 * i + 1) < n; i = c) {
		if (c + 1 < n && before(heap[c + 1], heap[c]))
			c++;
		if (!before(heap[c], x))
			break;
		heap[i] = heap[c];
	}
	heap[i] = x;
}

static int merge(struct bm25_run_reader **heap, size_t n, bm25_record_fn fn, void *arg, struct err *e)
{
	for (size_t i = n; i-- > 0;)
		settle(heap, n, i);
	while (n) {
		if (fn(arg, &heap[0]->record, e))
			return -1;
		int more = next_record(heap[0], e);
		if (more < 0)
			return -1;
		if (!more)
			heap[0] = heap[--n];
		if (n)
			settle(heap, n, 0);
	}
	return 0;
}

int bm25_runs_merge(struct bm25_runs *r, size_t first, size_t memory, bm25_record_fn fn, void *arg, struct err *e)
{
	size_t n = r->n - first, live = 0, cap = n ? memory / n : 0;
	struct bm25_run_reader *reader = xcalloc(n + 1, sizeof *reader), **heap = xcalloc(n + 1, sizeof *heap);
	int rc = 0, more;
	cap = cap < BUFFER_MIN ? BUFFER_MIN : cap > BUFFER_MAX ? BUFFER_MAX : cap;
	for (size_t i = 0; i < n && !rc; i++) {
		/* the bytes behind it let a varint be read without looking for the end */
		reader[i] = (struct bm25_run_reader){r->run[first + i].fd, i, 0, xcalloc(cap + 16, 1), 0, 0, cap, false,
		                                     {{0}, 0, 0, 0, NULL}};
		if ((more = next_record(&reader[i], e)) < 0)
			rc = -1;
		if (more > 0)
			heap[live++] = &reader[i];
	}
	if (!rc)
		rc = merge(heap, live, fn, arg, e);
	for (size_t i = 0; i < n; i++)
		free(reader[i].buf);
	free(reader);
	free(heap);
	return rc;
}
