/* stream_sink - the writing half of stream.h. */
#include "lib/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "lib/util.h"

enum { BUFFER = 128 << 10, FRAME_MAX = 4 << 20 };

struct sink {
	int fd;
	char *name;
	char *path, *temporary; /* of sink_open_file, else NULL */
	ZSTD_CCtx *cctx;        /* NULL: plain */
	size_t frame;           /* text in the open frame */
	size_t len;
	char buf[BUFFER];
};

static struct sink *sink_new(int fd, const char *name, bool zstd, struct err *e)
{
	struct sink *s = xcalloc(1, sizeof *s);
	s->fd = fd;
	s->name = xstrdup(name);
	if (zstd) {
		s->cctx = ZSTD_createCCtx();
		if (!s->cctx || ZSTD_isError(ZSTD_CCtx_setParameter(s->cctx, ZSTD_c_compressionLevel, 1)) ||
		    ZSTD_isError(ZSTD_CCtx_setParameter(s->cctx, ZSTD_c_checksumFlag, 1))) {
			err_set(e, "%s: cannot start zstd", name);
			sink_abandon(s);
			return NULL;
		}
	}
	return s;
}

struct sink *sink_open_fd(int fd, const char *name, bool zstd, struct err *e)
{
	if (zstd && isatty(fd)) {
		err_set(e, "%s is a terminal; compressed bytes are not written to it", name);
		return NULL;
	}
	return sink_new(fd, name, zstd, e);
}

/* What is not a regular file (a pipe, /dev/null) is written in place. */
static int open_in_place(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return -1;
	return open(path, O_WRONLY | O_CLOEXEC);
}

struct sink *sink_open_file(const char *path, bool zstd, struct err *e)
{
	char *temporary = NULL;
	int fd = open_in_place(path);
	if (fd < 0) {
		const char *slash = strrchr(path, '/');
		int dir = slash ? (int)(slash - path) + 1 : 0;
		if (asprintf(&temporary, "%.*s.%s.XXXXXX", dir, path, path + dir) < 0)
			temporary = NULL;
		fd = temporary ? mkostemp(temporary, O_CLOEXEC) : -1;
	}
	if (fd < 0) {
		err_errno(e, "%s", path);
		free(temporary);
		return NULL;
	}
	struct sink *s = sink_new(fd, path, zstd, e);
	if (!s) {
		if (temporary)
			unlink(temporary);
		free(temporary);
		return NULL;
	}
	if (temporary) {
		mode_t mask = umask(0);
		umask(mask);
		fchmod(fd, 0666 & ~mask);
		s->path = xstrdup(path);
		s->temporary = temporary;
	}
	return s;
}

static int write_fd(struct sink *s, const char *data, size_t len, struct err *e)
{
	if (write_all(s->fd, data, len) == 0)
		return 0;
	if (errno == EPIPE)
		return err_set(e, "%s: the reader has gone", s->name);
	return err_errno(e, "%s", s->name);
}

static int write_buffer(struct sink *s, struct err *e)
{
	size_t len = s->len;
	s->len = 0;
	return len ? write_fd(s, s->buf, len, e) : 0;
}

/* Compresses all of it; end: closes the frame too. */
static int compress(struct sink *s, const char *data, size_t len, bool end, struct err *e)
{
	ZSTD_inBuffer in = {data, len, 0};
	size_t left;
	do {
		if (s->len == BUFFER && write_buffer(s, e) < 0)
			return -1;
		ZSTD_outBuffer out = {s->buf, BUFFER, s->len};
		left = ZSTD_compressStream2(s->cctx, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return err_set(e, "%s: zstd: %s", s->name, ZSTD_getErrorName(left));
		s->len = out.pos;
	} while (in.pos < in.size || (end && left));
	s->frame = end ? 0 : s->frame + len;
	return 0;
}

static int write_zstd(struct sink *s, const char *data, size_t len, struct err *e)
{
	while (len) {
		if (s->frame && s->frame + len > FRAME_MAX && compress(s, NULL, 0, true, e) < 0)
			return -1;
		size_t part = len < FRAME_MAX ? len : FRAME_MAX;
		if (compress(s, data, part, false, e) < 0)
			return -1;
		data += part;
		len -= part;
	}
	return 0;
}

int sink_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	if (s->cctx)
		return write_zstd(s, data, len, e);
	if (s->len + len > BUFFER && write_buffer(s, e) < 0)
		return -1;
	if (len > BUFFER)
		return write_fd(s, data, len, e);
	memcpy(s->buf + s->len, data, len);
	s->len += len;
	return 0;
}

int sink_flush(struct sink *s, struct err *e)
{
	if (s->cctx && s->frame && compress(s, NULL, 0, true, e) < 0)
		return -1;
	return write_buffer(s, e);
}

static void sink_free(struct sink *s)
{
	ZSTD_freeCCtx(s->cctx);
	free(s->name);
	free(s->path);
	free(s->temporary);
	free(s);
}

void sink_abandon(struct sink *s)
{
	if (!s)
		return;
	if (s->fd > STDERR_FILENO)
		close(s->fd);
	if (s->temporary)
		unlink(s->temporary);
	sink_free(s);
}

/* The new name is safe on disk only after the directory is. */
static int sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return -1;
	int rc = fsync(fd);
	close(fd);
	return rc;
}

static int put_in_place(struct sink *s, struct err *e)
{
	if (fsync(s->fd) < 0 || rename(s->temporary, s->path) < 0)
		return err_errno(e, "%s", s->path);
	free(s->temporary);
	s->temporary = NULL;
	return sync_directory(s->path) < 0 ? err_errno(e, "%s", s->path) : 0;
}

int sink_close(struct sink *s, struct err *e)
{
	int rc = sink_flush(s, e);
	if (rc == 0 && s->temporary)
		rc = put_in_place(s, e);
	if (s->fd > STDERR_FILENO) {
		int fd = s->fd;
		s->fd = -1;
		if (close(fd) < 0 && rc == 0)
			rc = err_errno(e, "%s", s->name);
	}
	sink_abandon(s);
	return rc;
}
