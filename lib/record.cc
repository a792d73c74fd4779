/* record - see record.h.  The one C++ file: simdjson reads, std::to_chars and std::from_chars print and round.  What
 * makes a record of it is record_fields.c. */
extern "C" {
#include "lib/record.h"
#include "lib/record_doc.h"
#include "lib/str_float.h"
#include "lib/util.h"
}

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <simdjson.h>

/* A parsed text.  Values are places on simdjson's tape (its doc/tape.md): a word holds a type in the high byte. */
struct record_doc {
	simdjson::dom::parser simd;
	struct str text; /* padded, as parsed */
};

namespace
{

using doc = struct record_doc;

/* A parsed text.  Values are places on simdjson's tape (its doc/tape.md): a word holds a type in the high byte. */

const uint64_t *tape(const doc *d)
{
	return d->simd.doc.tape.get();
}

char type_at(const doc *d, size_t at)
{
	return (char)(tape(d)[at] >> 56);
}

bool is_number(char type)
{
	return type == 'd' || type == 'l' || type == 'u';
}

size_t next_of(const doc *d, size_t at)
{
	char type = type_at(d, at);
	if (type == '{' || type == '[')
		return (uint32_t)tape(d)[at];
	return at + (is_number(type) ? 2 : 1);
}

const char *string_at(const doc *d, size_t at, size_t *len)
{
	const uint8_t *p = d->simd.doc.string_buf.get() + (tape(d)[at] & 0x00ffffffffffffff);
	uint32_t n;
	memcpy(&n, p, sizeof n);
	*len = n;
	return (const char *)p + sizeof n;
}

void number_at(const doc *d, size_t at, struct json *v)
{
	uint64_t word = tape(d)[at + 1];
	char type = type_at(d, at);
	if (type == 'd') {
		memcpy(&v->number, &word, sizeof word);
	} else if (type == 'u') {
		v->number = (double)word;
	} else {
		v->is_int = true;
		v->integer = (int64_t)word;
		v->number = (double)v->integer;
	}
}

void value_at(const doc *d, size_t at, struct json *v)
{
	*v = json{};
	v->doc = d;
	v->at = at;
	char type = type_at(d, at);
	switch (type) {
	case '"':
		v->kind = JSON_STRING;
		v->text = string_at(d, at, &v->len);
		break;
	case '{':
		v->kind = JSON_OBJECT;
		break;
	case '[':
		v->kind = JSON_ARRAY;
		break;
	case 'n':
		v->kind = JSON_NULL;
		break;
	case 't':
	case 'f':
		v->kind = JSON_BOOL;
		v->boolean = type == 't';
		break;
	default:
		v->kind = JSON_NUMBER;
		number_at(d, at, v);
	}
}

const char *kind_name(enum json_kind k)
{
	static const char *const names[] = {"absent",   "null",     "a boolean", "a number",
	                                    "a string", "an array", "an object"};
	return names[k];
}

/* ---- parsing ---- */

const char *reason(simdjson::error_code code)
{
	switch (code) {
	case simdjson::EMPTY:
		return "the line is empty";
	case simdjson::NUMBER_ERROR:
		return "not JSON: a number is malformed, infinite, or an integer beyond 64 bits";
	case simdjson::UTF8_ERROR:
		return "not JSON: the line is not UTF-8";
	case simdjson::STRING_ERROR:
		return "not JSON: a string holds an escape that does not exist";
	case simdjson::UNCLOSED_STRING:
		return "not JSON: a string does not end";
	case simdjson::UNESCAPED_CHARS:
		return "not JSON: a string holds a control character";
	case simdjson::DEPTH_ERROR:
		return "not JSON that can be read: nested deeper than 1024";
	case simdjson::T_ATOM_ERROR:
	case simdjson::F_ATOM_ERROR:
	case simdjson::N_ATOM_ERROR:
		return "not JSON: a word that is not true, false or null";
	case simdjson::MEMALLOC:
		return "no memory to parse the line";
	default:
		return "not JSON";
	}
}

/* Is there a word outside of strings that Python and others write for a number that JSON does not have? */
bool names_no_number(const char *p, size_t len)
{
	const char *end = p + len;
	bool in_string = false;
	for (char before = 0; p < end; before = *p++) {
		if (in_string && *p == '\\')
			p++;
		else if (*p == '"')
			in_string = !in_string;
		else if (!in_string && before && strchr(" :,[+-", before) && end - p >= 3 &&
		         (!strncasecmp(p, "nan", 3) || !strncasecmp(p, "inf", 3)))
			return true;
	}
	return false;
}

/* The code unit written as \uXXXX at p, or -1. */
int unit_at(const char *p, const char *end)
{
	unsigned value = 0;
	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	auto got = std::from_chars(p + 2, p + 6, value, 16);
	return got.ptr == p + 6 ? (int)value : -1;
}

/* simdjson takes some of them for characters, which no other reader of the line would. */
bool lone_surrogate(const char *p, size_t len)
{
	const char *end = p + len;
	while ((p = (const char *)memchr(p, '\\', (size_t)(end - p)))) {
		int unit = unit_at(p, end);
		if (unit >= 0xdc00 && unit < 0xe000)
			return true;
		if (unit >= 0xd800 && unit < 0xdc00) {
			int low = unit_at(p + 6, end);
			if (low < 0xdc00 || low > 0xdfff)
				return true;
			p += 6;
		}
		p += unit < 0 ? 2 : 6;
		if (p >= end)
			break;
	}
	return false;
}

/* ---- float32 ---- */

/* The text of the number at a place of the tape: numbers are in the same order on both. */
const char *number_text(const doc *d, size_t at, const char **end)
{
	size_t before = 0;
	for (size_t i = 1; i < at;) {
		bool number = is_number(type_at(d, i));
		before += number;
		i += number ? 2 : 1;
	}
	const char *p = d->text.buf, *stop = p + d->text.len;
	for (; p < stop; p++) {
		if (*p == '"') {
			for (p++; p < stop && *p != '"'; p++)
				p += *p == '\\';
		} else if (*p == '-' || (*p >= '0' && *p <= '9')) {
			const char *q = p;
			while (q < stop && strchr("+-.eE0123456789", *q) && *q)
				q++;
			if (!before--) {
				*end = q;
				return p;
			}
			p = q - 1;
		}
	}
	return NULL;
}

/*
 * The decimal rounded once.  Going through double rounds twice, which differs only when the double lies halfway between
 * two floats: then the text decides.
 */
float to_float(const doc *d, size_t at, double x)
{
	float f = (float)x;
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	if ((bits & 0x0fffffff) || (double)f == x || !d || type_at(d, at) != 'd')
		return f;
	const char *end, *p = number_text(d, at, &end);
	float once;
	if (p && std::from_chars(p, end, once).ec == std::errc())
		return once;
	return f;
}

} // namespace

struct record_doc *record_doc_new(void)
{
	doc *d = new (std::nothrow) doc;
	if (!d)
		xmalloc(SIZE_MAX);
	str_init(&d->text);
	return d;
}

void record_doc_free(struct record_doc *d)
{
	if (d)
		str_release(&d->text);
	delete d;
}

int record_doc_parse(struct record_doc *d, const char *text, size_t len, struct err *e)
{
	str_clear(&d->text);
	str_reserve(&d->text, len + simdjson::SIMDJSON_PADDING);
	str_add(&d->text, text, len);
	if (lone_surrogate(text, len))
		return err_set(e, "not JSON: a string holds half of a surrogate pair");
	auto code = d->simd.parse((const uint8_t *)d->text.buf, len, false).error();
	if (code && names_no_number(d->text.buf, len))
		return err_set(e, "not JSON: NaN and infinity are no numbers there (null: it cannot be scored)");
	return code ? err_set(e, "%s", reason(code)) : 0;
}

void record_doc_value(const struct record_doc *d, size_t at, struct json *out)
{
	value_at(d, at, out);
}

const char *record_doc_kind(enum json_kind k)
{
	return kind_name(k);
}

bool record_doc_integer(const struct json *v)
{
	return v->kind == JSON_NUMBER && (v->is_int || (v->doc && type_at((const doc *)v->doc, v->at) == 'u'));
}

bool record_doc_whole(const struct json *v, int64_t *out)
{
	if (v->is_int)
		*out = v->integer;
	else if (v->number == std::floor(v->number) && std::fabs(v->number) <= 9007199254740992.0)
		*out = (int64_t)v->number;
	else
		return false;
	return true;
}

/* ---- parts of a value ---- */

int json_each(const struct json *v, int (*fn)(void *, int64_t, const char *, size_t, const struct json *), void *arg)
{
	if (!v->doc || (v->kind != JSON_ARRAY && v->kind != JSON_OBJECT))
		return 0;
	const doc *d = (const doc *)v->doc;
	size_t end = next_of(d, v->at) - 1;
	int64_t i = 0;
	for (size_t at = v->at + 1; at < end; i++) {
		const char *key = NULL;
		size_t key_len = 0;
		if (v->kind == JSON_OBJECT)
			key = string_at(d, at++, &key_len);
		struct json item;
		value_at(d, at, &item);
		int rc = fn(arg, i, key, key_len, &item);
		if (rc)
			return rc;
		at = next_of(d, at);
	}
	return 0;
}

namespace
{

int count_item(void *arg, int64_t i, const char *, size_t, const struct json *)
{
	*(int64_t *)arg = i + 1;
	return 0;
}

struct member {
	const char *key;
	size_t len;
	struct json *out;
	bool found;
};

/* The last one counts, as in jq, where a key inside is there twice. */
int match_key(void *arg, int64_t, const char *key, size_t len, const struct json *item)
{
	struct member *m = (struct member *)arg;
	if (len == m->len && !memcmp(key, m->key, len)) {
		*m->out = *item;
		m->found = true;
	}
	return 0;
}

} // namespace

int64_t json_length(const struct json *v)
{
	int64_t n = 0;
	json_each(v, count_item, &n);
	return n;
}

int json_member(const struct json *v, const char *key, struct json *out)
{
	struct member m = {key, strlen(key), out, false};
	if (v->kind == JSON_OBJECT)
		json_each(v, match_key, &m);
	return m.found;
}

namespace
{

/* Room for all items, and the first place on the tape; the number of items is at most *cap. */
const doc *array_of(const struct json *v, const char *what, size_t *at, size_t *end, size_t *cap, struct err *e)
{
	if (v->kind != JSON_ARRAY) {
		err_set(e, "'%s' is %s, not an array", what, kind_name(v->kind));
		return NULL;
	}
	const doc *d = (const doc *)v->doc;
	*at = v->at + 1;
	*end = next_of(d, v->at) - 1;
	*cap = (*end - *at) / 2;
	return d;
}

int wrong_item(const doc *d, size_t at, const char *what, int64_t i, const char *wanted, struct err *e)
{
	struct json v;
	value_at(d, at, &v);
	if (v.kind != JSON_NUMBER)
		return err_set(e, "'%s' holds %s at index %lld, not %s", what, kind_name(v.kind), (long long)i, wanted);
	return err_set(e, "'%s' holds %.9g at index %lld, not %s", what, v.number, (long long)i, wanted);
}

} // namespace

int json_floats(const struct json *v, const char *what, float **out, int64_t *n, struct arena *a, struct err *e)
{
	size_t at, end, cap;
	const doc *d = array_of(v, what, &at, &end, &cap, e);
	if (!d)
		return -1;
	float *x = (float *)arena_alloc(a, cap * sizeof *x);
	int64_t i = 0;
	for (; at < end; at += 2, i++) {
		struct json item;
		if (!is_number(type_at(d, at)))
			return wrong_item(d, at, what, i, "a number", e);
		number_at(d, at, &item);
		x[i] = to_float(d, at, item.number) + 0.0f; /* zero has no sign */
		if (!std::isfinite(x[i]))
			return wrong_item(d, at, what, i, "a float32", e);
	}
	*out = x;
	*n = i;
	return 0;
}

int json_doubles(const struct json *v, const char *what, double **out, int64_t *n, struct arena *a, struct err *e)
{
	size_t at, end, cap;
	const doc *d = array_of(v, what, &at, &end, &cap, e);
	if (!d)
		return -1;
	double *x = (double *)arena_alloc(a, cap * sizeof *x);
	int64_t i = 0;
	for (; at < end; at += 2, i++) {
		struct json item;
		if (!is_number(type_at(d, at)))
			return wrong_item(d, at, what, i, "a number", e);
		number_at(d, at, &item);
		x[i] = item.number;
	}
	*out = x;
	*n = i;
	return 0;
}

int json_ints(const struct json *v, const char *what, int32_t **out, int64_t *n, struct arena *a, struct err *e)
{
	size_t at, end, cap;
	const doc *d = array_of(v, what, &at, &end, &cap, e);
	if (!d)
		return -1;
	int32_t *x = (int32_t *)arena_alloc(a, cap * sizeof *x);
	int64_t i = 0;
	for (; at < end; at += 2, i++) {
		struct json item = json{};
		int64_t k;
		if (!is_number(type_at(d, at)))
			return wrong_item(d, at, what, i, "an integer", e);
		number_at(d, at, &item);
		if (!record_doc_whole(&item, &k) || k < INT32_MIN || k > INT32_MAX)
			return wrong_item(d, at, what, i, "an integer of 32 bits", e);
		x[i] = (int32_t)k;
	}
	*out = x;
	*n = i;
	return 0;
}

/* ---- printing ---- */

namespace
{

/* Length of the well-formed UTF-8 character at p, 0 when there is none (Unicode 15, table 3-7). */
size_t utf8_len(const unsigned char *p, size_t left)
{
	unsigned char c = p[0];
	size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
	    (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void put_escape(struct str *s, unsigned char c)
{
	static const char letters[] = "btn?fr"; /* 0x08 .. 0x0d */
	if (c == '"' || c == '\\')
		str_addf(s, "\\%c", c);
	else if (c >= 8 && c <= 13 && c != 11)
		str_addf(s, "\\%c", letters[c - 8]);
	else
		str_addf(s, "\\u%04x", c);
}

template <typename T> void put_number(struct str *s, T x)
{
	str_reserve(s, 40);
	auto got = std::to_chars(s->buf + s->len, s->buf + s->len + 40, x);
	s->len = (size_t)(got.ptr - s->buf);
	s->buf[s->len] = 0;
}

size_t put_value(struct str *out, const doc *d, size_t at);

size_t put_container(struct str *out, const doc *d, size_t at, bool object)
{
	size_t end = next_of(d, at) - 1;
	bool first = true;
	str_addc(out, object ? '{' : '[');
	for (at++; at < end; first = false) {
		if (!first)
			str_addc(out, ',');
		if (object) {
			at = put_value(out, d, at);
			str_addc(out, ':');
		}
		at = put_value(out, d, at);
	}
	str_addc(out, object ? '}' : ']');
	return end + 1;
}

/* Appends the value at a place of the tape; the place behind it. */
size_t put_value(struct str *out, const doc *d, size_t at)
{
	char type = type_at(d, at);
	if (type == '{' || type == '[')
		return put_container(out, d, at, type == '{');
	struct json v;
	value_at(d, at, &v);
	if (v.kind == JSON_STRING)
		json_put_str(out, v.text, v.len);
	else if (v.kind == JSON_NULL)
		str_adds(out, "null");
	else if (v.kind == JSON_BOOL)
		str_adds(out, v.boolean ? "true" : "false");
	else if (type == 'u')
		put_number(out, tape(d)[at + 1]);
	else if (v.is_int)
		json_put_int(out, v.integer);
	else
		json_put_num(out, v.number);
	return next_of(d, at);
}

} // namespace

void json_put_str(struct str *s, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	str_reserve(s, len + 2);
	str_addc(s, '"');
	for (size_t i = 0, from = 0; i <= len;) {
		size_t n = i < len ? utf8_len(p + i, len - i) : 0;
		if (n && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
			i += n;
			continue;
		}
		str_add(s, text + from, i - from);
		if (i < len && n)
			put_escape(s, p[i]);
		else if (i < len)
			str_adds(s, "\xef\xbf\xbd");
		from = ++i;
	}
	str_addc(s, '"');
}

void json_put_num(struct str *s, double x)
{
	if (!std::isfinite(x))
		str_adds(s, "null");
	else
		put_number(s, x + 0.0);
}

void json_put_float(struct str *s, float x)
{
	if (!std::isfinite(x))
		str_adds(s, "null");
	else
		put_number(s, x + 0.0f);
}

void json_put_int(struct str *s, int64_t x)
{
	put_number(s, x);
}

void json_text(const struct json *v, struct str *out)
{
	if (v->doc)
		put_value(out, (const doc *)v->doc, v->at);
	else if (v->kind == JSON_STRING)
		json_put_str(out, v->text, v->len);
	else if (v->kind == JSON_BOOL)
		str_adds(out, v->boolean ? "true" : "false");
	else if (v->kind == JSON_NUMBER && v->is_int)
		json_put_int(out, v->integer);
	else if (v->kind == JSON_NUMBER)
		json_put_num(out, v->number);
	else
		str_adds(out, "null");
}

namespace
{

char *put_number(char *p, size_t width, float x)
{
	char *end = str_put_float(p, x);
	return end ? end : std::to_chars(p, p + width, x + 0.0f).ptr; /* zero has no sign */
}

char *put_number(char *p, size_t width, int32_t x)
{
	return std::to_chars(p, p + width, x).ptr;
}

/* A number that comes again, as in advantages of a whole completion, is copied. */
template <typename T> void put_array(struct str *s, const T *x, int64_t n, size_t width)
{
	str_reserve(s, (size_t)n * (width + 1) + 2 + STR_FLOAT_ROOM);
	char *p = s->buf + s->len, *last = p;
	*p++ = '[';
	for (int64_t i = 0; i < n; i++) {
		if (i)
			*p++ = ',';
		char *begin = p;
		if (i && x[i] == x[i - 1]) {
			size_t len = (size_t)(p - 1 - last);
			memcpy(p, last, len);
			p += len;
		} else {
			p = put_number(p, width, x[i]);
		}
		last = begin;
	}
	*p++ = ']';
	*p = 0;
	s->len = (size_t)(p - s->buf);
}

} // namespace

void json_put_floats(struct str *s, const float *x, int64_t n)
{
	put_array(s, x, n, STR_FLOAT_MAX);
}

void json_put_ints(struct str *s, const int32_t *x, int64_t n)
{
	put_array(s, x, n, 11);
}
