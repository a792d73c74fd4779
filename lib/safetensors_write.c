/* safetensors_write - see safetensors.h */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record.h"
#include "lib/safetensors.h"
#include "lib/stream.h"
#include "lib/util.h"

struct safetensors_writer {
	struct sink *out;
	char *path;
	const struct safetensor *list;
	int64_t n, i, done; /* tensor i has `done` elements */
};

static int writing_order(const void *x, const void *y)
{
	const struct safetensor *a = x, *b = y;
	size_t as = safetensors_dtype_size(a->dtype), bs = safetensors_dtype_size(b->dtype);
	return as != bs ? (as > bs ? -1 : 1) : strcmp(a->name, b->name);
}

static void add_entry(struct str *s, const struct safetensor *t)
{
	str_addc(s, ',');
	json_put_str(s, t->name, strlen(t->name));
	str_addf(s, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_name(t->dtype));
	for (int i = 0; i < t->n_dims; i++)
		str_addf(s, "%s%" PRId64, i ? "," : "", t->shape[i]);
	str_addf(s, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->begin, t->begin + t->bytes);
}

/* With its length in front, and spaces behind so that the data begins at a multiple of 64. */
static void make_header(struct str *s, const struct safetensor *list, int64_t n)
{
	unsigned char le[8];
	str_add(s, "\0\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}",
	        8 + strlen("{\"__metadata__\":{\"format\":\"pt\"}"));
	for (int64_t i = 0; i < n; i++)
		add_entry(s, &list[i]);
	str_addc(s, '}');
	while (s->len % 64)
		str_addc(s, ' ');
	uint64_t len = s->len - 8;
	for (int i = 0; i < 8; i++)
		le[i] = (unsigned char)(len >> 8 * i);
	memcpy(s->buf, le, 8);
}

struct safetensors_writer *safetensors_begin(const char *path, struct safetensor *list, int64_t n, struct err *e)
{
	uint64_t at = 0;
	qsort(list, (size_t)n, sizeof *list, writing_order);
	for (int64_t i = 0; i < n; i++) {
		list[i].count = 1;
		for (int d = 0; d < list[i].n_dims; d++)
			list[i].count *= list[i].shape[d]; /* of our own table, which is bounded */
		list[i].begin = at;
		list[i].bytes = (uint64_t)list[i].count * safetensors_dtype_size(list[i].dtype);
		at += list[i].bytes;
	}
	struct sink *out = sink_open_file(path, false, e);
	if (!out)
		return NULL;
	struct str header;
	str_init(&header);
	make_header(&header, list, n);
	int failed = sink_write(out, header.buf, header.len, e);
	str_release(&header);
	if (failed) {
		sink_abandon(out);
		return NULL;
	}
	struct safetensors_writer *w = xcalloc(1, sizeof *w);
	*w = (struct safetensors_writer){.out = out, .path = xstrdup(path), .list = list, .n = n};
	return w;
}

/* Pieces of a megabyte: the conversion needs no more memory than that. */
static int put_converted(struct safetensors_writer *w, enum safetensors_dtype dtype, const float *data, int64_t n,
                         struct err *e)
{
	enum { PIECE = 1 << 18 };
	uint16_t *half = xmalloc(PIECE * sizeof *half);
	int failed = 0;
	for (int64_t at = 0; at < n && !failed; at += PIECE) {
		int64_t m = n - at < PIECE ? n - at : PIECE;
		for (int64_t i = 0; i < m; i++)
			half[i] = dtype == ST_BF16 ? float_to_bf16(data[at + i]) : float_to_half(data[at + i]);
		failed = sink_write(w->out, half, (size_t)m * sizeof *half, e);
	}
	free(half);
	return failed;
}

int safetensors_put(struct safetensors_writer *w, const float *data, int64_t n, struct err *e)
{
	if (w->i >= w->n || n > w->list[w->i].count - w->done)
		return err_set(e, "%s: more data than tensors", w->path);
	enum safetensors_dtype dtype = w->list[w->i].dtype;
	int failed = dtype == ST_F32 ? sink_write(w->out, data, (size_t)n * sizeof *data, e)
	                             : put_converted(w, dtype, data, n, e);
	w->done += n;
	if (w->done == w->list[w->i].count) {
		w->i++;
		w->done = 0;
	}
	return failed;
}

void safetensors_abandon(struct safetensors_writer *w)
{
	if (!w)
		return;
	if (w->out)
		sink_abandon(w->out);
	free(w->path);
	free(w);
}

int safetensors_finish(struct safetensors_writer *w, struct err *e)
{
	int failed = w->i == w->n ? 0 : err_set(e, "%s: data of tensor '%s' is missing", w->path, w->list[w->i].name);
	if (!failed) {
		failed = sink_close(w->out, e);
		w->out = NULL;
	}
	safetensors_abandon(w);
	return failed;
}
