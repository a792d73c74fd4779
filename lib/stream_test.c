/* stream: lines of plain text and of zstd, ends that are proved, and writers whose disk is full or whose reader has
 * gone. */
#include "lib/stream.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <zstd.h>

static struct err e;
static char dir[] = P_tmpdir "/rl-stream-test.XXXXXX";

static const char *path_of(const char *name)
{
	static char path[4][200];
	static int turn;
	char *p = path[turn++ & 3];
	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

static void put_file(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(path_of(name), "w");
	CHECK(f && fwrite(data, 1, len, f) == len);
	if (f)
		fclose(f);
}

/* All lines joined by |, then "!" and the message if it ends in an error. */
static const char *read_all(struct stream *s)
{
	static char out[2000];
	char *line;
	size_t len, n = 0;
	int got;
	out[0] = 0;
	while ((got = stream_next(s, &line, &len, &e)) > 0 && n < sizeof out - 100) {
		CHECK(line[len] == 0);
		n += (size_t)snprintf(out + n, sizeof out - n, "%.40s|", line);
	}
	if (got < 0)
		snprintf(out + n, sizeof out - n, "!%s", strrchr(e.msg, '/') ? strrchr(e.msg, '/') + 1 : e.msg);
	return out;
}

static const char *read_text(const void *text, size_t len)
{
	put_file("in", text, len);
	struct stream *s = stream_open(path_of("in"), &e);
	if (!s)
		return "not opened";
	const char *out = read_all(s);
	stream_close(s);
	return out;
}

static void test_lines(void)
{
	test_case("stream: LF, CRLF, BOM, blank lines, a last line without newline");
	CHECK_STR(read_text("a\nb\n", 4), "a|b|");
	CHECK_STR(read_text("a\r\n\nb\r", 6), "a||b|");
	CHECK_STR(read_text("\xef\xbb\xbf"
	                    "a\n\xef\xbb\xbf"
	                    "b",
	                    9),
	          "a|\xef\xbb\xbf"
	          "b|");
	CHECK_STR(read_text("\xef\xbb\xbf", 3), "|");
	CHECK_STR(read_text("", 0), "");
	CHECK_STR(read_text("\n", 1), "|");
	CHECK_STR(read_text("(", 1), "(|");

	test_case("stream: other compressions are named");
	CHECK_STR(read_text("\x1f\x8b\x08zz", 5), "!in is compressed with gzip; text and zstd are read");
	CHECK_STR(read_text("BZh9", 4), "!in is compressed with bzip2; text and zstd are read");
	CHECK(stream_open(path_of("none"), &e) == NULL && strstr(e.msg, "No such file"));
	CHECK(stream_open(dir, &e) == NULL && strstr(e.msg, "is a directory"));

	test_case("stream: lines across buffers come whole, in order, with their numbers");
	struct str text;
	str_init(&text);
	for (int i = 0; i < 3000; i++) {
		str_addf(&text, "%d:", i);
		for (int k = 0; k < i % 700; k++)
			str_addc(&text, (char)('a' + k % 26));
		str_addc(&text, '\n');
	}
	put_file("big", text.buf, text.len);
	struct stream *s = stream_open(path_of("big"), &e);
	char *line;
	size_t len, at = 0;
	bool same = true;
	while (stream_next(s, &line, &len, &e) > 0) {
		same &= at + len < text.len && !memcmp(line, text.buf + at, len) && text.buf[at + len] == '\n';
		at += len + 1;
	}
	CHECK(same && at == text.len);
	CHECK_INT(stream_line(s), 3000);
	CHECK_INT(stream_consumed(s), (int64_t)text.len);
	CHECK_INT(stream_size(s), (int64_t)text.len);
	stream_close(s);
	str_release(&text);
}

/* Appends one frame. */
static void add_frame(struct str *s, const char *text, size_t len)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	str_reserve(s, ZSTD_compressBound(len));
	s->len += ZSTD_compress2(c, s->buf + s->len, ZSTD_compressBound(len), text, len);
	ZSTD_freeCCtx(c);
}

static void test_zstd(void)
{
	struct str z;
	str_init(&z);
	test_case("stream: zstd by content: several frames, lines across them, skippable ones, an empty one");
	add_frame(&z, "a\nb", 3);
	str_add(&z, "\x51\x2a\x4d\x18\x03\0\0\0xyz", 11);
	add_frame(&z, "", 0);
	size_t whole = z.len;
	add_frame(&z, "c\nd\n", 4);
	CHECK_STR(read_text(z.buf, z.len), "a|bc|d|");
	CHECK_STR(read_text("\x50\x2a\x4d\x18\0\0\0\0", 8), "");

	test_case("stream: a frame cut anywhere is an error, and none of its lines is given out");
	for (size_t cut = whole + 1; cut < z.len; cut++) {
		const char *got = read_text(z.buf, cut);
		if (strcmp(got, "a|!in:2: the zstd stream ends inside a frame"))
			test_fail(__FILE__, __LINE__, "cut at %zu: %s", cut, got);
	}
	CHECK_STR(read_text(z.buf, 2), "(\xb5|");

	test_case("stream: a flipped bit in any place is an error or harmless, never other text");
	int found = 0;
	for (size_t bit = 8 * whole; bit < 8 * z.len; bit++) {
		z.buf[bit / 8] ^= (char)(1 << bit % 8);
		const char *got = read_text(z.buf, z.len);
		found += strchr(got, '!') != NULL;
		if (strcmp(got, "a|bc|d|") && (strncmp(got, "a|bc|d|", strcspn(got, "!")) || !strchr(got, '!')))
			test_fail(__FILE__, __LINE__, "bit %zu: %s", bit, got);
		z.buf[bit / 8] ^= (char)(1 << bit % 8);
	}
	CHECK(found > 100);

	test_case("stream: bytes behind the last frame are an error");
	str_adds(&z, "garbage");
	CHECK(strstr(read_text(z.buf, z.len), "a|bc|d|!in:4: the zstd stream is damaged"));
	str_release(&z);
}

static void test_sink(void)
{
	test_case("sink: zstd in frames of at most 4 MiB with checksums, read back the same");
	struct sink *s = sink_open_file(path_of("out"), true, &e);
	char line[1000];
	bool ok = s != NULL;
	memset(line, 'x', sizeof line - 1);
	for (int i = 0; ok && i < 10000; i++) {
		int n = snprintf(line, sizeof line, "%d", i);
		line[n] = 'x';
		line[sizeof line - 1] = '\n';
		ok = sink_write(s, line, sizeof line, &e) == 0;
	}
	CHECK(ok && access(path_of("out"), F_OK) != 0);
	CHECK_INT(sink_close(s, &e), 0);
	FILE *f = fopen(path_of("out"), "r");
	struct str z;
	str_init(&z);
	str_reserve(&z, 20000000);
	z.len = f ? fread(z.buf, 1, 20000000, f) : 0;
	fclose(f);
	int frames = 0;
	for (size_t at = 0; at < z.len; frames++) {
		size_t n = ZSTD_findFrameCompressedSize(z.buf + at, z.len - at);
		char *text = xmalloc(5 << 20);
		size_t got = ZSTD_decompress(text, 5 << 20, z.buf + at, n);
		CHECK(!ZSTD_isError(got) && got <= 4 << 20 && text[got - 1] == '\n');
		CHECK((z.buf[at + 4] & 4) != 0); /* the frame header's checksum flag */
		free(text);
		at += n;
	}
	CHECK_INT(frames, 3);
	struct stream *in = stream_open(path_of("out"), &e);
	char *p;
	size_t len, n = 0;
	while (stream_next(in, &p, &len, &e) > 0)
		n += len == sizeof line - 1 && strtoll(p, NULL, 10) == (long long)n;
	CHECK_INT(n, 10000);
	stream_close(in);
	str_release(&z);

	test_case("sink: a file is replaced at close and not before; one that is given up leaves nothing");
	put_file("keep", "old\n", 4);
	s = sink_open_file(path_of("keep"), false, &e);
	CHECK(s && sink_write(s, "new\n", 4, &e) == 0 && sink_flush(s, &e) == 0);
	in = stream_open(path_of("keep"), &e);
	CHECK_STR(read_all(in), "old|");
	stream_close(in);
	CHECK_INT(sink_close(s, &e), 0);
	in = stream_open(path_of("keep"), &e);
	CHECK_STR(read_all(in), "new|");
	stream_close(in);
	s = sink_open_file(path_of("gone"), false, &e);
	CHECK(s && sink_write(s, "x", 1, &e) == 0);
	sink_abandon(s);
	CHECK(access(path_of("gone"), F_OK) != 0);
	CHECK(sink_open_file("/nonexistent/x", false, &e) == NULL && strstr(e.msg, "/nonexistent/x: No such file"));

	test_case("sink: a full disk is noticed at close, at the latest");
	int fd = open("/dev/full", O_WRONLY);
	s = sink_open_fd(fd, "standard output", false, &e);
	CHECK_INT(sink_write(s, "x", 1, &e), 0);
	CHECK_INT(sink_close(s, &e), -1);
	CHECK(strstr(e.msg, "standard output: No space left"));

	test_case("sink: a reader that has gone is an error that says so");
	int p2[2];
	CHECK_INT(pipe(p2), 0);
	close(p2[0]);
	s = sink_open_fd(p2[1], "standard output", true, &e);
	CHECK_INT(sink_write(s, "x\n", 2, &e), 0);
	CHECK_INT(sink_flush(s, &e), -1);
	CHECK_STR(e.msg, "standard output: the reader has gone");
	sink_abandon(s);
}

/* Bytes one by one with pauses: arg points at {descriptor, text, bytes before the pause}. */
struct slow {
	int fd;
	const char *text;
	size_t len, pause_at;
};

static void *write_slowly(void *arg)
{
	struct slow *s = arg;
	for (size_t i = 0; i < s->len; i++) {
		if (i == s->pause_at)
			usleep(1200000);
		if (write(s->fd, s->text + i, 1) != 1)
			break;
	}
	close(s->fd);
	return NULL;
}

static void test_pipes(void)
{
	test_case("stream: a pipe that gives a byte at a time");
	int p[2];
	pthread_t writer;
	CHECK_INT(pipe(p), 0);
	struct slow plain = {p[1], "\xef\xbb\xbf{}\n(b\nc", 10, 99};
	pthread_create(&writer, NULL, write_slowly, &plain);
	struct stream *s = stream_open_fd(p[0], "pipe", &e);
	CHECK(s && stream_size(s) == -1);
	CHECK_STR(read_all(s), "{}|(b|c|");
	CHECK(stream_ready(s));
	stream_close(s);
	pthread_join(writer, NULL);

	test_case("stream: nothing there is no line; what is flushed can be read before the end, zstd too");
	int q[2];
	CHECK_INT(pipe(q), 0);
	struct sink *out = sink_open_fd(q[1], "pipe", true, &e);
	s = stream_open_fd(q[0], "pipe", &e);
	CHECK(!stream_poll(s) && !stream_ready(s));
	CHECK(sink_write(out, "one\n", 4, &e) == 0 && sink_flush(out, &e) == 0);
	CHECK(stream_poll(s) && stream_ready(s));
	char *line;
	size_t len;
	CHECK(stream_next(s, &line, &len, &e) == 1 && !strcmp(line, "one"));
	CHECK(!stream_poll(s));
	CHECK(sink_close(out, &e) == 0 && stream_poll(s) && stream_next(s, &line, &len, &e) == 0);
	stream_close(s);

	test_case("stream: while it waits it notices that the other reader has gone");
	int dead[2];
	CHECK(pipe(q) == 0 && pipe(dead) == 0);
	close(dead[0]);
	s = stream_open_fd(q[0], "pipe", &e);
	CHECK(!stream_wait(s, dead[1]));
	close(dead[1]);
	close(q[1]);
	stream_close(s);

	test_case("stream: a foreign writer that pauses inside a frame is read on");
	char z[200];
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_outBuffer o = {z, sizeof z, 0};
	ZSTD_inBuffer i = {"one\n", 4, 0};
	ZSTD_compressStream2(c, &o, &i, ZSTD_e_flush);
	size_t flushed = o.pos;
	i = (ZSTD_inBuffer){"two\n", 4, 0};
	ZSTD_compressStream2(c, &o, &i, ZSTD_e_end);
	ZSTD_freeCCtx(c);
	CHECK_INT(pipe(p), 0);
	struct slow frame = {p[1], z, o.pos, flushed};
	pthread_create(&writer, NULL, write_slowly, &frame);
	s = stream_open_fd(p[0], "pipe", &e);
	double start = now_seconds();
	CHECK(stream_next(s, &line, &len, &e) == 1 && !strcmp(line, "one"));
	CHECK(now_seconds() - start < 1.2);
	CHECK(stream_next(s, &line, &len, &e) == 1 && !strcmp(line, "two"));
	CHECK(stream_next(s, &line, &len, &e) == 0);
	stream_close(s);
	pthread_join(writer, NULL);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		return 1;
	test_lines();
	test_zstd();
	test_sink();
	test_pipes();
	char command[100];
	snprintf(command, sizeof command, "rm -r %s", dir);
	return test_done() | (system(command) != 0);
}
