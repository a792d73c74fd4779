/* stream - see stream.h; the reading half.  The writing half is stream_sink.c. */
#include "lib/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "lib/util.h"

enum {
	READ_SIZE = 256 << 10,
	HOLD_MAX = 16 << 20, /* decoded bytes of an unfinished frame that are kept back */
	PAUSE_MS = 500       /* a writer silent for so long inside a frame is waiting for us */
};

enum format { FORMAT_UNKNOWN, FORMAT_PLAIN, FORMAT_ZSTD };

struct stream {
	int fd;
	char *name;
	int64_t size;

	enum format format;
	char *raw; /* bytes read and not yet decoded: raw[raw_pos, raw_len) */
	size_t raw_pos, raw_len;
	int64_t raw_total;
	bool raw_end;
	ZSTD_DCtx *dctx;
	bool in_frame;
	size_t frame_size; /* decoded bytes of the frame so far */

	char *buf; /* text: buf[start, end), of which [start, usable) may be given out */
	size_t start, usable, end, cap;
	size_t scanned; /* no newline in [start, scanned) */
	bool have_line; /* buf[newline] ends the next line */
	size_t newline;
	int64_t line;

	bool complete; /* no more text will come */
	bool failed;   /* and that is an error */
	struct err why;
	bool why_has_line;
};

struct stream *stream_open_fd(int fd, const char *name, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st) < 0) {
		err_errno(e, "%s", name);
		return NULL;
	}
	if (S_ISDIR(st.st_mode)) {
		err_set(e, "%s is a directory", name);
		return NULL;
	}
	struct stream *s = xcalloc(1, sizeof *s);
	s->fd = fd;
	s->name = xstrdup(name);
	s->size = S_ISREG(st.st_mode) ? st.st_size : -1;
	s->raw = xmalloc(READ_SIZE);
	return s;
}

struct stream *stream_open(const char *path, struct err *e)
{
	if (!strcmp(path, "-"))
		return stream_open_fd(STDIN_FILENO, "standard input", e);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, "%s", path);
		return NULL;
	}
	struct stream *s = stream_open_fd(fd, path, e);
	if (!s)
		close(fd);
	return s;
}

void stream_close(struct stream *s)
{
	if (!s)
		return;
	if (s->fd > STDERR_FILENO)
		close(s->fd);
	ZSTD_freeDCtx(s->dctx);
	free(s->name);
	free(s->raw);
	free(s->buf);
	free(s);
}

/* ---- the end ---- */

static void fail(struct stream *s)
{
	s->failed = s->complete = true;
	s->usable = s->usable < s->start ? s->start : s->usable;
}

/* The line's number goes in front once everything before it has been given out. */
static void fail_here(struct stream *s)
{
	s->why_has_line = true;
	fail(s);
}

/* ---- room ---- */

/* Room for `extra` more bytes and a NUL; the text moves to the front when that frees at least half. */
static void make_room(struct stream *s, size_t extra)
{
	if (s->cap - s->end > extra)
		return;
	size_t len = s->end - s->start;
	if (s->start < len || s->cap - len <= extra) {
		size_t cap = s->cap ? s->cap : READ_SIZE;
		while (cap - s->end <= extra)
			cap *= 2;
		s->buf = xrealloc(s->buf, cap);
		s->cap = cap;
		return;
	}
	memmove(s->buf, s->buf + s->start, len);
	s->usable -= s->start;
	s->scanned -= s->start;
	s->end = len;
	s->start = 0;
}

/* ---- bytes in ---- */

/* Reads once into p: bytes, 0 at the end of the file or nothing there yet (*again), or fails. */
static size_t read_some(struct stream *s, char *p, size_t room, bool *again)
{
	ssize_t n;
	*again = false;
	do
		n = read(s->fd, p, room);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		s->raw_total += n;
		return (size_t)n;
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		*again = true;
	} else if (n < 0) {
		err_errno(&s->why, "%s", s->name);
		fail(s);
	} else {
		s->raw_end = true;
	}
	return 0;
}

/* What the first bytes are: 1 known, 0 more are needed. */
static int begins_with(const char *p, size_t n, const char *magic, size_t len)
{
	size_t m = n < len ? n : len;
	return memcmp(p, magic, m) ? -1 : m == len;
}

static void recognise(struct stream *s)
{
	static const struct {
		const char *magic, *name;
		size_t len;
	} foreign[] = {{"\x1f\x8b", "gzip", 2},
	               {"\xfd"
	                "7zXZ",
	                "xz", 5},
	               {"BZh", "bzip2", 3},
	               {"\x04\x22\x4d\x18", "lz4", 4}};
	const char *p = s->raw;
	size_t n = s->raw_len;
	int zstd = begins_with(p, n, "\x28\xb5\x2f\xfd", 4);
	if (zstd < 0 && n && (p[0] & 0xf0) == 0x50)
		zstd = n == 1 ? 0 : begins_with(p + 1, n - 1, "\x2a\x4d\x18", 3);
	if (zstd == 0 && !s->raw_end)
		return;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (begins_with(p, n, foreign[i].magic, foreign[i].len) > 0) {
			err_set(&s->why, "%s is compressed with %s; text and zstd are read", s->name, foreign[i].name);
			fail(s);
			return;
		}
	s->format = zstd > 0 ? FORMAT_ZSTD : FORMAT_PLAIN;
	if (s->format == FORMAT_ZSTD && !(s->dctx = ZSTD_createDCtx())) {
		err_set(&s->why, "%s: no memory for zstd", s->name);
		fail(s);
	}
}

static void decode_zstd(struct stream *s)
{
	size_t room = ZSTD_DStreamOutSize();
	bool more = s->raw_pos < s->raw_len;
	while (more && !s->failed) {
		make_room(s, room);
		ZSTD_inBuffer in = {s->raw, s->raw_len, s->raw_pos};
		ZSTD_outBuffer out = {s->buf + s->end, room, 0};
		size_t hint = ZSTD_decompressStream(s->dctx, &out, &in);
		s->raw_pos = in.pos;
		s->end += out.pos;
		s->frame_size += out.pos;
		if (ZSTD_isError(hint)) {
			err_set(&s->why, "the zstd stream is damaged: %s", ZSTD_getErrorName(hint));
			fail_here(s);
			return;
		}
		s->in_frame = hint != 0;
		if (!s->in_frame)
			s->frame_size = 0;
		if (!s->in_frame || s->frame_size > HOLD_MAX)
			s->usable = s->end;
		more = s->raw_pos < s->raw_len || (s->in_frame && out.pos == out.size);
	}
}

static void locate(struct stream *s)
{
	if (s->have_line)
		return;
	size_t from = s->scanned > s->start ? s->scanned : s->start;
	char *p = s->usable > from ? memchr(s->buf + from, '\n', s->usable - from) : NULL;
	if (p) {
		s->have_line = true;
		s->newline = (size_t)(p - s->buf);
		s->scanned = s->newline + 1;
		return;
	}
	s->scanned = s->usable > from ? s->usable : from;
	if (s->end - s->start > STREAM_MAX_LINE && !s->complete) {
		err_set(&s->why, "the line is longer than 1 GiB");
		fail_here(s);
	}
}

static void at_end(struct stream *s)
{
	if (s->in_frame) {
		err_set(&s->why, "the zstd stream ends inside a frame");
		fail_here(s);
	}
	s->complete = true;
}

/* Reads once and decodes; false when nothing was there (a descriptor that does not block). */
static bool take(struct stream *s)
{
	bool again;
	if (s->format == FORMAT_PLAIN) {
		make_room(s, READ_SIZE);
		s->end += read_some(s, s->buf + s->end, READ_SIZE, &again);
		s->usable = s->end;
	} else {
		if (s->format == FORMAT_ZSTD)
			s->raw_pos = s->raw_len = 0;
		s->raw_len += read_some(s, s->raw + s->raw_len, READ_SIZE - s->raw_len, &again);
		if (s->format == FORMAT_UNKNOWN && !s->failed)
			recognise(s);
		if (s->format == FORMAT_ZSTD && !s->failed) {
			decode_zstd(s);
		} else if (s->format == FORMAT_PLAIN) {
			make_room(s, s->raw_len);
			memcpy(s->buf + s->end, s->raw, s->raw_len);
			s->usable = s->end += s->raw_len;
			s->raw_pos = s->raw_len = 0;
		}
	}
	if (s->raw_end && !s->failed)
		at_end(s);
	locate(s);
	return !again;
}

/* ---- waiting ---- */

bool stream_ready(const struct stream *s)
{
	return s->have_line || s->complete;
}

/* Waits for input or for the reader of `watch` to go: 1 input, 0 time is up, -1 the reader has gone. */
static int wait_input(struct stream *s, int watch, int timeout)
{
	struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = watch}};
	int n;
	do
		n = poll(p, 2, timeout);
	while (n < 0 && errno == EINTR);
	if (n > 0 && p[1].revents & (POLLERR | POLLHUP | POLLNVAL))
		return -1;
	return n != 0;
}

bool stream_poll(struct stream *s)
{
	while (!stream_ready(s) && wait_input(s, -1, 0) > 0)
		if (!take(s))
			break;
	return stream_ready(s);
}

bool stream_wait(struct stream *s, int watch)
{
	while (!stream_ready(s)) {
		bool held = s->usable < s->end;
		int got = wait_input(s, watch, held ? PAUSE_MS : -1);
		if (got < 0)
			return false;
		if (got > 0) {
			take(s);
		} else {
			s->usable = s->end;
			locate(s);
		}
	}
	return true;
}

/* ---- lines ---- */

static void skip_bom(struct stream *s)
{
	if (s->line == 1 && s->newline - s->start >= 3 && !memcmp(s->buf + s->start, "\xef\xbb\xbf", 3))
		s->start += 3;
}

int stream_next(struct stream *s, char **line, size_t *len, struct err *e)
{
	stream_wait(s, -1);
	size_t next = s->newline + 1;
	if (!s->have_line) {
		if (s->failed) {
			*e = s->why;
			return s->why_has_line ? err_where(e, "%s:%lld", s->name, (long long)s->line + 1) : -1;
		}
		if (s->start == s->end)
			return 0;
		make_room(s, 1);
		next = s->newline = s->end;
	}
	s->line++;
	skip_bom(s);
	size_t n = s->newline - s->start;
	*line = s->buf + s->start;
	if (n && (*line)[n - 1] == '\r')
		n--;
	(*line)[n] = 0;
	*len = n;
	s->start = next < s->end ? next : s->end;
	s->have_line = false;
	locate(s);
	return 1;
}

int stream_fd(const struct stream *s)
{
	return s->complete ? -1 : s->fd;
}

const char *stream_name(const struct stream *s)
{
	return s->name;
}

int64_t stream_line(const struct stream *s)
{
	return s->line;
}

int64_t stream_consumed(const struct stream *s)
{
	int64_t waiting = s->format == FORMAT_PLAIN ? (int64_t)(s->end - s->start) : (int64_t)(s->raw_len - s->raw_pos);
	return s->raw_total - waiting;
}

int64_t stream_size(const struct stream *s)
{
	return s->size;
}
