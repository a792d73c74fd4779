/* plot_events - TensorBoard's event files; see plot.h */
#include "lib/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"

struct plot_events {
	int fd;
	char *path;
	int64_t written; /* rows; -1: not even the version */
	double last;     /* x of the last of them */
};

/* ---- protocol buffers, by hand: tag = field << 3 | wire type ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(struct str *s, uint64_t x)
{
	for (; x > 0x7f; x >>= 7)
		str_addc(s, (char)(0x80 | (x & 0x7f)));
	str_addc(s, (char)x);
}

static void put_tag(struct str *s, unsigned field, unsigned wire)
{
	put_varint(s, field << 3 | wire);
}

static void put_little(struct str *s, uint64_t x, int bytes)
{
	for (int i = 0; i < bytes; i++)
		str_addc(s, (char)(x >> 8 * i & 0xff));
}

static void put_bytes(struct str *s, unsigned field, const void *data, size_t len)
{
	put_tag(s, field, BYTES);
	put_varint(s, len);
	str_add(s, data, len);
}

/* ---- Event, Summary, Summary.Value ---- */

static void event_begin(struct str *s)
{
	struct timespec now;
	double seconds;
	uint64_t bits;
	clock_gettime(CLOCK_REALTIME, &now);
	seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
	memcpy(&bits, &seconds, sizeof bits);
	str_clear(s);
	put_tag(s, 1, FIXED64); /* wall_time */
	put_little(s, bits, 8);
}

static void put_value(struct str *summary, const char *key, double y, struct str *room)
{
	float value = (float)y;
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	str_clear(room);
	put_bytes(room, 1, key, strlen(key)); /* tag */
	put_tag(room, 2, FIXED32);            /* simple_value */
	put_little(room, bits, 4);
	put_bytes(summary, 1, room->buf, room->len); /* value, repeated */
}

/* ---- TFRecord ---- */

/* The checksum of checksums would be a constant: it is turned and moved. */
static uint32_t masked_crc(const void *data, size_t len)
{
	uint32_t crc = crc32c(0, data, len);
	return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_framed(struct str *out, const struct str *event)
{
	size_t at = out->len;
	put_little(out, event->len, 8);
	put_little(out, masked_crc(out->buf + at, 8), 4);
	str_add(out, event->buf, event->len);
	put_little(out, masked_crc(event->buf, event->len), 4);
}

/* ---- the file ---- */

/* mkdir -p */
static int make_directory(const char *dir, struct err *e)
{
	char *path = xstrdup(dir);
	int failed = 0;
	for (char *p = path; *p && !failed; p++) {
		if (*p != '/' || p == path)
			continue;
		*p = 0;
		failed = mkdir(path, 0777) && errno != EEXIST;
		*p = '/';
	}
	if (failed || (mkdir(path, 0777) && errno != EEXIST))
		failed = err_errno(e, "cannot make the directory '%s'", dir);
	free(path);
	return failed;
}

struct plot_events *plot_events_open(const char *dir, struct err *e)
{
	struct str path;
	if (make_directory(dir, e))
		return NULL;
	str_init(&path);
	str_addf(&path, "%s/events.out.tfevents.0.rl-plot", dir);
	int fd = open(path.buf, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0) {
		err_errno(e, "cannot open '%s'", path.buf);
		str_release(&path);
		return NULL;
	}
	struct plot_events *w = xcalloc(1, sizeof *w);
	*w = (struct plot_events){.fd = fd, .path = str_detach(&path), .written = -1};
	return w;
}

static void put_version(struct str *out, struct str *event)
{
	static const char version[] = "brain.Event:2";
	event_begin(event);
	put_bytes(event, 3, version, sizeof version - 1); /* file_version */
	put_framed(out, event);
}

static void put_row(struct str *out, const struct plot *p, const int *pick, int n, int64_t row, struct str room[3])
{
	struct str *event = &room[0], *summary = &room[1];
	str_clear(summary);
	for (int i = 0; i < n; i++)
		if (isfinite(p->column[pick[i]].y[row]))
			put_value(summary, p->column[pick[i]].key, p->column[pick[i]].y[row], &room[2]);
	if (!summary->len)
		return;
	event_begin(event);
	put_tag(event, 2, VARINT); /* step */
	put_varint(event, (uint64_t)llrint(p->x[row]));
	put_bytes(event, 5, summary->buf, summary->len);
	put_framed(out, event);
}

static int begin_anew(struct plot_events *w, struct err *e)
{
	if (ftruncate(w->fd, 0) || lseek(w->fd, 0, SEEK_SET) < 0)
		return err_errno(e, "'%s'", w->path);
	w->written = -1;
	return 0;
}

int plot_events_write(struct plot_events *w, const struct plot *p, const int *pick, int n, struct err *e)
{
	struct str out, room[3];
	bool other = w->written > p->rows || (w->written > 0 && p->x[w->written - 1] != w->last);
	if (other && begin_anew(w, e))
		return -1;
	str_init(&out);
	for (size_t i = 0; i < ARRAY_LEN(room); i++)
		str_init(&room[i]);
	if (w->written < 0)
		put_version(&out, &room[0]);
	for (int64_t row = w->written < 0 ? 0 : w->written; row < p->rows; row++)
		put_row(&out, p, pick, n, row, room);
	int failed = write_all(w->fd, out.buf, out.len) ? err_errno(e, "'%s'", w->path) : 0;
	w->written = p->rows;
	w->last = p->rows ? p->x[p->rows - 1] : 0;
	for (size_t i = 0; i < ARRAY_LEN(room); i++)
		str_release(&room[i]);
	str_release(&out);
	return failed;
}

int plot_events_close(struct plot_events *w, struct err *e)
{
	if (!w)
		return 0;
	int failed = close(w->fd) ? err_errno(e, "'%s'", w->path) : 0;
	free(w->path);
	free(w);
	return failed;
}
