/* safetensors - reading; see safetensors.h.  Writing is in safetensors_write.c. */
#include "lib/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/arena.h"
#include "lib/record.h"
#include "lib/util.h"

struct safetensors {
	char *path;
	int fd;        /* -1: parsed without a file */
	uint64_t data; /* where it begins in the file */
	struct safetensor *tensor;
	int64_t n;
	int64_t *by_name;
	struct arena names;
};

static const struct {
	const char *name;
	size_t size;
} dtypes[] = {
        [ST_BOOL] = {"BOOL", 1}, [ST_U8] = {"U8", 1},   [ST_I8] = {"I8", 1},   [ST_F8] = {"F8_E4M3", 1},
        [ST_I16] = {"I16", 2},   [ST_U16] = {"U16", 2}, [ST_F16] = {"F16", 2}, [ST_BF16] = {"BF16", 2},
        [ST_I32] = {"I32", 4},   [ST_U32] = {"U32", 4}, [ST_F32] = {"F32", 4}, [ST_C64] = {"C64", 8},
        [ST_F64] = {"F64", 8},   [ST_I64] = {"I64", 8}, [ST_U64] = {"U64", 8},
};

const char *safetensors_dtype_name(enum safetensors_dtype d)
{
	return dtypes[d].name;
}

size_t safetensors_dtype_size(enum safetensors_dtype d)
{
	return dtypes[d].size;
}

int safetensors_dtype_of(const char *name, size_t len, enum safetensors_dtype *out)
{
	for (size_t i = 0; i < ARRAY_LEN(dtypes); i++)
		if (strlen(dtypes[i].name) == len && !memcmp(name, dtypes[i].name, len)) {
			*out = (enum safetensors_dtype)i;
			return 0;
		}
	/* The eight-bit floats differ in what a byte means, which nothing here reads. */
	if (len > 3 && len <= 11 && !memcmp(name, "F8_", 3)) {
		*out = ST_F8;
		return 0;
	}
	return -1;
}

/* ---- the header ---- */

struct parse {
	struct safetensors *s;
	struct safetensor *t; /* the one being read */
	const char *name;
	uint64_t begin, end;
	unsigned seen; /* bits: dtype, shape, data_offsets */
	bool metadata;
	struct err *e;
};

static int bad(struct parse *p, const char *what)
{
	return err_set(p->e, "%s: tensor '%s': %s", p->s->path, p->name, what);
}

static int take_dim(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct parse *p = arg;
	(void)key, (void)key_len;
	if (i >= SAFETENSORS_MAX_DIMS)
		return err_set(p->e, "%s: tensor '%s' has more than %d dimensions", p->s->path, p->name,
		               SAFETENSORS_MAX_DIMS);
	if (v->kind != JSON_NUMBER || !v->is_int || v->integer < 0)
		return bad(p, "'shape' is not a list of sizes");
	p->t->shape[i] = v->integer;
	p->t->n_dims = (int)i + 1;
	return 0;
}

static int take_offset(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct parse *p = arg;
	(void)key, (void)key_len;
	if (i > 1 || v->kind != JSON_NUMBER || !v->is_int || v->integer < 0)
		return bad(p, "'data_offsets' is not two offsets");
	*(i ? &p->end : &p->begin) = (uint64_t)v->integer;
	return 0;
}

static int take_key(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	static const char *const keys[] = {"dtype", "shape", "data_offsets"};
	struct parse *p = arg;
	unsigned k = 0;
	(void)i;
	while (k < 3 && (strlen(keys[k]) != key_len || memcmp(key, keys[k], key_len)))
		k++;
	if (k == 3)
		return 0;
	if (p->seen & 1u << k)
		return err_set(p->e, "%s: tensor '%s' has '%s' twice", p->s->path, p->name, keys[k]);
	p->seen |= 1u << k;
	if (k == 0 && (v->kind != JSON_STRING || safetensors_dtype_of(v->text, v->len, &p->t->dtype)))
		return err_set(p->e, "%s: tensor '%s' has an unknown dtype '%.*s'", p->s->path, p->name,
		               v->kind == JSON_STRING ? (int)(v->len < 40 ? v->len : 40) : 0, v->text);
	if (k == 1)
		return v->kind == JSON_ARRAY ? json_each(v, take_dim, p) : bad(p, "'shape' is not a list of sizes");
	if (k == 2 && (v->kind != JSON_ARRAY || json_length(v) != 2))
		return bad(p, "'data_offsets' is not two offsets");
	return k == 2 ? json_each(v, take_offset, p) : 0;
}

/* Does the shape need exactly the bytes that the offsets give? */
static int check_bytes(struct parse *p)
{
	uint64_t want = 1;
	for (int i = 0; i < p->t->n_dims; i++)
		if (__builtin_mul_overflow(want, (uint64_t)p->t->shape[i], &want))
			return bad(p, "the product of its shape does not fit 64 bits");
	if (want > INT64_MAX)
		return bad(p, "the product of its shape does not fit 64 bits");
	p->t->count = (int64_t)want;
	if (__builtin_mul_overflow(want, dtypes[p->t->dtype].size, &want))
		return bad(p, "its size in bytes does not fit 64 bits");
	if (p->end < p->begin)
		return bad(p, "it ends before it begins");
	if (p->end - p->begin != want)
		return err_set(p->e, "%s: tensor '%s' has %" PRIu64 " bytes, its shape needs %" PRIu64, p->s->path,
		               p->name, p->end - p->begin, want);
	p->t->begin = p->begin;
	p->t->bytes = want;
	return 0;
}

static int take_metadata(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct parse *p = arg;
	(void)i, (void)key, (void)key_len;
	return v->kind == JSON_STRING ? 0 : err_set(p->e, "%s: '__metadata__' holds more than strings", p->s->path);
}

static int take_tensor(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct parse *p = arg;
	(void)i;
	if (memchr(key, 0, key_len) || key_len > 4096)
		return err_set(p->e, "%s: a tensor's name has a NUL or more than 4096 bytes", p->s->path);
	if (key_len == 12 && !memcmp(key, "__metadata__", 12)) {
		if (p->metadata || v->kind != JSON_OBJECT)
			return err_set(p->e, "%s: '__metadata__' is there twice or not an object", p->s->path);
		p->metadata = true;
		return json_each(v, take_metadata, p);
	}
	p->name = arena_strndup(&p->s->names, key, key_len);
	p->t = &p->s->tensor[p->s->n++];
	p->t->name = p->name;
	p->seen = 0;
	if (v->kind != JSON_OBJECT)
		return bad(p, "not an object");
	if (json_each(v, take_key, p))
		return -1;
	return p->seen == 7 ? check_bytes(p) : bad(p, "dtype, shape or data_offsets is missing");
}

static int by_place(const void *x, const void *y)
{
	const struct safetensor *a = x, *b = y;
	if (a->begin != b->begin)
		return a->begin < b->begin ? -1 : 1;
	/* Empty tensors come before the one that begins where they are. */
	return a->bytes != b->bytes ? (a->bytes < b->bytes ? -1 : 1) : strcmp(a->name, b->name);
}

static int by_name(const void *x, const void *y, void *arg)
{
	const struct safetensor *t = arg;
	return strcmp(t[*(const int64_t *)x].name, t[*(const int64_t *)y].name);
}

/* One after another, from the first byte of the data to the last of the file. */
static int check_places(struct safetensors *s, uint64_t data_size, struct err *e)
{
	uint64_t at = 0;
	qsort(s->tensor, (size_t)s->n, sizeof *s->tensor, by_place);
	for (int64_t i = 0; i < s->n; i++) {
		const struct safetensor *t = &s->tensor[i];
		if (t->begin != at)
			return err_set(e, "%s: tensor '%s' begins at %" PRIu64 ", the one before ends at %" PRIu64,
			               s->path, t->name, t->begin, at);
		at = t->begin + t->bytes; /* both come from end - begin <= INT64_MAX: no overflow */
	}
	if (at != data_size)
		return err_set(e, "%s: the tensors have %" PRIu64 " bytes, the file %" PRIu64, s->path, at, data_size);
	return 0;
}

static int check_names(struct safetensors *s, struct err *e)
{
	s->by_name = xcalloc((size_t)s->n, sizeof *s->by_name);
	for (int64_t i = 0; i < s->n; i++)
		s->by_name[i] = i;
	qsort_r(s->by_name, (size_t)s->n, sizeof *s->by_name, by_name, s->tensor);
	for (int64_t i = 1; i < s->n; i++)
		if (!strcmp(s->tensor[s->by_name[i - 1]].name, s->tensor[s->by_name[i]].name))
			return err_set(e, "%s: tensor '%s' is there twice", s->path, s->tensor[s->by_name[i]].name);
	return 0;
}

static int parse_header(struct safetensors *s, const char *text, size_t len, uint64_t data_size, struct err *e)
{
	if (!len || text[0] != '{')
		return err_set(e, "%s: not a safetensors file (the header does not begin with '{')", s->path);
	struct record *r = record_new();
	struct json top;
	struct parse p = {.s = s, .e = e};
	int failed = record_parse_value(r, text, len, &top, e);
	if (failed)
		err_where(e, "%s: header", s->path);
	else if (top.kind != JSON_OBJECT)
		failed = err_set(e, "%s: the header is not a JSON object", s->path);
	if (!failed) {
		int64_t most = json_length(&top);
		if (most >
		    (int64_t)(len / 16 + 1)) /* no whole entry is that short, and this bounds what is allocated */
			failed = err_set(e, "%s: the header's entries are no tensors", s->path);
		else
			s->tensor = xcalloc((size_t)(most > 0 ? most : 1), sizeof *s->tensor);
	}
	if (!failed)
		failed = json_each(&top, take_tensor, &p) || check_places(s, data_size, e) || check_names(s, e);
	record_free(r);
	return failed ? -1 : 0;
}

static struct safetensors *new (const char *path, int fd)
{
	struct safetensors *s = xcalloc(1, sizeof *s);
	s->path = xstrdup(path);
	s->fd = fd;
	arena_init(&s->names);
	return s;
}

void safetensors_close(struct safetensors *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->tensor);
	free(s->by_name);
	arena_release(&s->names);
	free(s);
}

struct safetensors *safetensors_parse(const char *name, const void *header, size_t len, uint64_t file_size,
                                      struct err *e)
{
	struct safetensors *s = new (name, -1);
	if (file_size < 8 || len > file_size - 8)
		err_set(e, "%s: a header of %zu bytes, but the file has %" PRIu64, name, len, file_size);
	else if (!parse_header(s, header, len, file_size - 8 - len, e))
		return s;
	safetensors_close(s);
	return NULL;
}

static int read_at(const struct safetensors *s, void *out, size_t len, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(s->fd, (char *)out + done, len - done, (off_t)(at + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "%s", s->path);
		if (n == 0)
			return err_set(e, "%s: cut short while it was read", s->path);
		done += (size_t)n;
	}
	return 0;
}

static int open_file(struct safetensors *s, struct err *e)
{
	struct stat st;
	unsigned char le[8];
	uint64_t len = 0;
	if (fstat(s->fd, &st))
		return err_errno(e, "%s", s->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "%s: not a file", s->path);
	if (st.st_size < 8)
		return err_set(e, "%s: not a safetensors file (%lld bytes)", s->path, (long long)st.st_size);
	if (read_at(s, le, sizeof le, 0, e))
		return -1;
	for (int i = 7; i >= 0; i--)
		len = len << 8 | le[i];
	if (len > SAFETENSORS_MAX_HEADER)
		return err_set(e, "%s: not a safetensors file (a header of %" PRIu64 " bytes, at most %d)", s->path,
		               len, SAFETENSORS_MAX_HEADER);
	if (len > (uint64_t)st.st_size - 8)
		return err_set(e, "%s: a header of %" PRIu64 " bytes, but the file has %lld", s->path, len,
		               (long long)st.st_size);
	char *text = xmalloc(len + 1);
	int failed = read_at(s, text, len, 8, e);
	if (!failed)
		failed = parse_header(s, text, len, (uint64_t)st.st_size - 8 - len, e);
	s->data = 8 + len;
	free(text);
	return failed;
}

struct safetensors *safetensors_open(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		err_errno(e, "%s", path);
		return NULL;
	}
	struct safetensors *s = new (path, fd);
	if (!open_file(s, e))
		return s;
	safetensors_close(s);
	return NULL;
}

/* ---- questions and data ---- */

const char *safetensors_path(const struct safetensors *s)
{
	return s->path;
}

int64_t safetensors_count(const struct safetensors *s)
{
	return s->n;
}

const struct safetensor *safetensors_at(const struct safetensors *s, int64_t i)
{
	return &s->tensor[i];
}

const struct safetensor *safetensors_find(const struct safetensors *s, const char *name)
{
	int64_t lo = 0, hi = s->n;
	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;
		const struct safetensor *t = &s->tensor[s->by_name[mid]];
		int order = strcmp(name, t->name);
		if (!order)
			return t;
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

float half_to_float(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	float size;
	if (exponent == 31)
		size = mantissa ? NAN : INFINITY;
	else if (exponent == 0)
		size = ldexpf((float)mantissa, -24);
	else
		size = ldexpf((float)(1024 + mantissa), exponent - 25);
	return h & 0x8000 ? -size : size;
}

uint16_t float_to_half(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof u);
	uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
	float size = fabsf(x);
	if (isnan(x))
		return sign | 0x7e00;
	if (size >= 65520)
		return sign | 0x7c00;
	if (size < 0x1p-14f) /* subnormal: a whole number of 2^-24, rounded by the processor, ties to even */
		return sign | (uint16_t)rintf(size * 0x1p24f);
	u = (u & 0x7fffffff) - (112u << 23);
	return sign | (uint16_t)((u + 0xfff + (u >> 13 & 1)) >> 13);
}

uint16_t float_to_bf16(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof u);
	if (isnan(x))
		return (uint16_t)(u >> 16 | 64);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

int safetensors_floats(const struct safetensors *s, const struct safetensor *t, int64_t first, int64_t n, float *out,
                       struct err *e)
{
	size_t size = dtypes[t->dtype].size;
	if (t->dtype != ST_F32 && t->dtype != ST_F16 && t->dtype != ST_BF16)
		return err_set(e, "%s: tensor '%s' has dtype %s; known are F32, F16, BF16", s->path, t->name,
		               dtypes[t->dtype].name);
	if (first < 0 || n < 0 || n > t->count - first)
		return err_set(e, "%s: tensor '%s' has %" PRId64 " elements, not %" PRId64, s->path, t->name, t->count,
		               first + n);
	/* Half-sized elements are read into the upper half of out and spread from its start. */
	char *raw = (char *)out + (size_t)n * (sizeof *out - size);
	if (read_at(s, raw, (size_t)n * size, s->data + t->begin + (uint64_t)first * size, e))
		return -1;
	for (int64_t i = 0; i < n && t->dtype != ST_F32; i++) {
		uint16_t h;
		memcpy(&h, raw + 2 * i, sizeof h);
		uint32_t u = (uint32_t)h << 16;
		if (t->dtype == ST_BF16)
			memcpy(out + i, &u, sizeof u);
		else
			out[i] = half_to_float(h);
	}
	return 0;
}

int safetensors_bytes(const struct safetensors *s, const struct safetensor *t, void *out, struct err *e)
{
	return read_at(s, out, t->bytes, s->data + t->begin, e);
}

float bf16_to_float(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float x;
	memcpy(&x, &u, sizeof x);
	return x;
}
