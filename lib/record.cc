/* record - see record.h.  The one C++ file: simdjson reads, std::to_chars and std::from_chars print and round. */
extern "C" {
#include "lib/record.h"
#include "lib/util.h"
}

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <simdjson.h>

namespace
{

using simdjson::dom::parser;

/* A parsed text.  Values are places on simdjson's tape (its doc/tape.md): a word holds a type in the high byte. */
struct doc {
	parser simd;
	struct str text; /* padded, as parsed */
};

struct field {
	const char *name;
	size_t len, at; /* of the value on the tape */
};

struct added {
	size_t name, name_len; /* in record.names */
	size_t text, text_len; /* in record.line */
	doc *parsed;           /* once somebody has read it */
};

enum { LINEAR_MAX = 24 }; /* up to so many fields are searched one by one */

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

/* Parses d->text; 0 or -1. */
int doc_parse(doc *d, struct err *e)
{
	str_reserve(&d->text, simdjson::SIMDJSON_PADDING);
	if (lone_surrogate(d->text.buf, d->text.len))
		return err_set(e, "not JSON: a string holds half of a surrogate pair");
	auto code = d->simd.parse((const uint8_t *)d->text.buf, d->text.len, false).error();
	return code ? err_set(e, "%s", reason(code)) : 0;
}

doc *doc_new()
{
	doc *d = new (std::nothrow) doc;
	if (!d)
		xmalloc(SIZE_MAX);
	str_init(&d->text);
	return d;
}

void doc_free(doc *d)
{
	if (d)
		str_release(&d->text);
	delete d;
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

struct record {
	doc *input; /* the line as it came */
	struct field *fields;
	size_t n_fields, fields_cap;
	uint32_t *table; /* field + 1 by hash of its name, 0: free; for records of many fields */
	size_t table_size;

	struct str line; /* the output without its last brace */
	size_t prefix;   /* how much of it came from the input */
	size_t body;     /* and with what was added */

	struct str names;
	struct added *adds;
	size_t n_adds, adds_cap;

	doc **values; /* texts parsed by record_parse_value and for added fields */
	size_t n_values, values_cap;
};

namespace
{

size_t slot_of(const struct record *r, const char *name, size_t len)
{
	size_t i = (size_t)hash_bytes(name, len, 0x7265636f72642e63, (uint64_t)(uintptr_t)r);
	for (;; i++) {
		i &= r->table_size - 1;
		uint32_t f = r->table[i];
		if (!f || (r->fields[f - 1].len == len && !memcmp(r->fields[f - 1].name, name, len)))
			return i;
	}
}

const struct field *find_field(const struct record *r, const char *name, size_t len)
{
	if (r->n_fields > LINEAR_MAX) {
		uint32_t f = r->table[slot_of(r, name, len)];
		return f ? r->fields + f - 1 : NULL;
	}
	for (size_t i = 0; i < r->n_fields; i++)
		if (r->fields[i].len == len && !memcmp(r->fields[i].name, name, len))
			return r->fields + i;
	return NULL;
}

struct added *find_added(const struct record *r, const char *name, size_t len)
{
	for (size_t i = 0; i < r->n_adds; i++)
		if (r->adds[i].name_len == len && !memcmp(r->names.buf + r->adds[i].name, name, len))
			return r->adds + i;
	return NULL;
}

int double_key(struct record *r, const struct field *f, struct err *e)
{
	int shown = f->len < 80 ? (int)f->len : 80;
	err_set(e, "the key '%.*s' is there twice", shown, f->name);
	r->n_fields = 0;
	return -1;
}

int check_keys(struct record *r, struct err *e)
{
	if (r->n_fields <= LINEAR_MAX) {
		for (size_t i = 1; i < r->n_fields; i++)
			for (size_t j = 0; j < i; j++)
				if (r->fields[i].len == r->fields[j].len &&
				    !memcmp(r->fields[i].name, r->fields[j].name, r->fields[i].len))
					return double_key(r, r->fields + i, e);
		return 0;
	}
	size_t size = 64;
	while (size < 2 * r->n_fields)
		size *= 2;
	r->table = (uint32_t *)xrealloc_array(r->table, size, sizeof *r->table);
	r->table_size = size;
	memset(r->table, 0, size * sizeof *r->table);
	for (size_t i = 0; i < r->n_fields; i++) {
		size_t slot = slot_of(r, r->fields[i].name, r->fields[i].len);
		if (r->table[slot])
			return double_key(r, r->fields + i, e);
		r->table[slot] = (uint32_t)i + 1;
	}
	return 0;
}

int read_keys(struct record *r, struct err *e)
{
	const doc *d = r->input;
	struct json root;
	value_at(d, 1, &root);
	if (root.kind != JSON_OBJECT)
		return err_set(e, "the line is %s, not an object", kind_name(root.kind));
	size_t end = next_of(d, 1) - 1;
	for (size_t i = 2; i < end; i = next_of(d, i + 1)) {
		if (r->n_fields == r->fields_cap) {
			r->fields_cap = r->fields_cap ? 2 * r->fields_cap : 32;
			r->fields = (struct field *)xrealloc_array(r->fields, r->fields_cap, sizeof *r->fields);
		}
		struct field *f = r->fields + r->n_fields++;
		f->name = string_at(d, i, &f->len);
		f->at = i + 1;
	}
	return check_keys(r, e);
}

void forget(struct record *r)
{
	r->n_fields = r->n_adds = r->n_values = 0;
	str_clear(&r->names);
	str_clear(&r->line);
	str_addc(&r->line, '{');
	r->body = r->prefix = 1;
}

bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

doc *take_doc(struct record *r)
{
	if (r->n_values == r->values_cap) {
		size_t cap = r->values_cap ? 2 * r->values_cap : 4;
		r->values = (doc **)xrealloc_array(r->values, cap, sizeof *r->values);
		memset(r->values + r->values_cap, 0, (cap - r->values_cap) * sizeof *r->values);
		r->values_cap = cap;
	}
	doc **d = r->values + r->n_values++;
	if (!*d)
		*d = doc_new();
	return *d;
}

/* Our own text: always parses. */
void read_added(struct record *r, struct added *a, struct json *out)
{
	if (!a->parsed) {
		struct err e;
		doc *d = take_doc(r);
		str_clear(&d->text);
		str_add(&d->text, r->line.buf + a->text, a->text_len);
		if (doc_parse(d, &e) < 0) {
			*out = json{};
			return;
		}
		a->parsed = d;
	}
	value_at(a->parsed, 1, out);
}

void find(const struct record *r, const char *name, size_t len, struct json *out)
{
	const struct field *f = find_field(r, name, len);
	struct added *a = f ? NULL : find_added(r, name, len);
	*out = json{};
	if (f)
		value_at(r->input, f->at, out);
	else if (a)
		read_added(const_cast<struct record *>(r), a, out);
}

/* A field that must be of one kind: 1, 0 when absent or null, -1. */
int want(const struct record *r, const char *name, enum json_kind kind, struct json *v, struct err *e)
{
	find(r, name, strlen(name), v);
	if (v->kind == JSON_ABSENT || v->kind == JSON_NULL)
		return 0;
	if (v->kind != kind)
		return err_set(e, "'%s' is %s, not %s", name, kind_name(v->kind), kind_name(kind));
	return 1;
}

/* The integer that a number is, written so or as 5.0. */
bool whole(const struct json *v, int64_t *out)
{
	if (v->is_int)
		*out = v->integer;
	else if (v->number == std::floor(v->number) && std::fabs(v->number) <= 9007199254740992.0)
		*out = (int64_t)v->number;
	else
		return false;
	return true;
}

} // namespace

struct record *record_new(void)
{
	struct record *r = (struct record *)xcalloc(1, sizeof *r);
	r->input = doc_new();
	str_init(&r->line);
	str_init(&r->names);
	forget(r);
	return r;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	doc_free(r->input);
	for (size_t i = 0; i < r->values_cap; i++)
		doc_free(r->values[i]);
	free(r->values);
	free(r->fields);
	free(r->table);
	free(r->adds);
	str_release(&r->line);
	str_release(&r->names);
	free(r);
}

int record_parse(struct record *r, const char *line, size_t len, struct err *e)
{
	forget(r);
	while (len && is_space(line[len - 1]))
		len--;
	str_clear(&r->input->text);
	str_add(&r->input->text, line, len);
	if (doc_parse(r->input, e) < 0 || read_keys(r, e) < 0)
		return -1;
	str_clear(&r->line);
	str_add(&r->line, line, len - 1);
	r->body = r->prefix = len - 1;
	return 0;
}

void record_clear(struct record *r)
{
	forget(r);
}

void record_undo(struct record *r)
{
	r->n_adds = 0;
	str_clear(&r->names);
	r->body = r->prefix;
}

/* ---- reading ---- */

bool record_has(const struct record *r, const char *name)
{
	size_t len = strlen(name);
	return find_field(r, name, len) || find_added(r, name, len);
}

enum json_kind record_kind(const struct record *r, const char *name)
{
	struct json v;
	find(r, name, strlen(name), &v);
	return v.kind;
}

int record_str(const struct record *r, const char *name, const char **text, size_t *len, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_STRING, &v, e);
	if (got > 0) {
		*text = v.text;
		*len = v.len;
	}
	return got;
}

int record_num(const struct record *r, const char *name, double *out, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_NUMBER, &v, e);
	if (got > 0)
		*out = v.number;
	return got;
}

int record_int(const struct record *r, const char *name, int64_t *out, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_NUMBER, &v, e);
	if (got > 0 && !whole(&v, out))
		return err_set(e, "'%s' is %.17g, not an integer", name, v.number);
	return got;
}

int record_bool(const struct record *r, const char *name, bool *out, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_BOOL, &v, e);
	if (got > 0)
		*out = v.boolean;
	return got;
}

namespace
{

int check_length(const char *name, int64_t n, int64_t wanted, const char *of, struct err *e)
{
	if (wanted < 0 || n == wanted)
		return 1;
	if (of)
		return err_set(e, "'%s' has %lld numbers, expected %lld (as '%s')", name, (long long)n,
		               (long long)wanted, of);
	return err_set(e, "'%s' has %lld numbers, expected %lld", name, (long long)n, (long long)wanted);
}

} // namespace

int record_floats(const struct record *r, const char *name, float **out, int64_t *n, int64_t wanted, const char *of,
                  struct arena *a, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_ARRAY, &v, e);
	if (got <= 0)
		return got;
	return json_floats(&v, name, out, n, a, e) < 0 ? -1 : check_length(name, *n, wanted, of, e);
}

int record_ints(const struct record *r, const char *name, int32_t **out, int64_t *n, int64_t wanted, const char *of,
                struct arena *a, struct err *e)
{
	struct json v;
	int got = want(r, name, JSON_ARRAY, &v, e);
	if (got <= 0)
		return got;
	return json_ints(&v, name, out, n, a, e) < 0 ? -1 : check_length(name, *n, wanted, of, e);
}

int record_json(const struct record *r, const char *name, struct json *out, struct err *)
{
	find(r, name, strlen(name), out);
	return out->kind != JSON_ABSENT;
}

int record_field(const struct record *r, int64_t i, const char **name, size_t *name_len, struct json *out)
{
	if (i < 0 || (size_t)i >= r->n_fields)
		return 0;
	*name = r->fields[i].name;
	*name_len = r->fields[i].len;
	value_at(r->input, r->fields[i].at, out);
	return 1;
}

namespace
{

struct nth {
	int64_t i;
	struct json *out;
};

int pick(void *arg, int64_t i, const char *, size_t, const struct json *item)
{
	struct nth *want_item = (struct nth *)arg;
	if (i != want_item->i)
		return 0;
	*want_item->out = *item;
	return 1;
}

void index_into(struct json *v, int64_t i)
{
	struct json item = json{};
	if (v->kind == JSON_ARRAY) {
		struct nth n = {i < 0 ? i + json_length(v) : i, &item};
		json_each(v, pick, &n);
	}
	*v = item;
}

} // namespace

int record_path(const struct record *r, const char *path, struct json *out, struct err *e)
{
	bool top = true;
	*out = json{};
	for (const char *p = path; *p;) {
		if (*p == '[') {
			char *end;
			long long i = strtoll(p + 1, &end, 10);
			if (end == p + 1 || *end != ']')
				return err_set(e, "'%s' is not a path", path);
			index_into(out, i);
			p = end + 1;
			continue;
		}
		p += *p == '.';
		size_t len = strcspn(p, ".[");
		if (!len)
			return err_set(e, "'%s' is not a path", path);
		if (top) {
			find(r, p, len, out);
		} else {
			char *key = xstrndup(p, len);
			struct json v = *out;
			if (!json_member(&v, key, out))
				*out = json{};
			free(key);
		}
		top = false;
		p += len;
	}
	return out->kind != JSON_ABSENT;
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
		if (!whole(&item, &k) || k < INT32_MIN || k > INT32_MAX)
			return wrong_item(d, at, what, i, "an integer of 32 bits", e);
		x[i] = (int32_t)k;
	}
	*out = x;
	*n = i;
	return 0;
}

int record_parse_value(struct record *r, const char *text, size_t len, struct json *out, struct err *e)
{
	doc *d = take_doc(r);
	str_clear(&d->text);
	str_add(&d->text, text, len);
	if (doc_parse(d, e) < 0)
		return -1;
	value_at(d, 1, out);
	return 0;
}

int record_id(const struct record *r, int64_t line, const char **id, size_t *len, struct arena *a, struct err *e)
{
	static const char *const names[] = {"id", "_id", "query_id", "doc_id"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct json v;
		find(r, names[i], strlen(names[i]), &v);
		if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
			continue;
		bool integer = v.kind == JSON_NUMBER && type_at((const doc *)v.doc, v.at) != 'd';
		if (v.kind != JSON_STRING && !integer)
			return err_set(e, "'%s' is %s, not a string or an integer", names[i], kind_name(v.kind));
		struct str s;
		str_init(&s);
		if (integer)
			json_text(&v, &s);
		else
			str_add(&s, v.text, v.len);
		*id = arena_strndup(a, s.buf, s.len);
		*len = s.len;
		str_release(&s);
		return 1;
	}
	*id = arena_printf(a, "%lld", (long long)line);
	*len = strlen(*id);
	return 1;
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

/* ---- adding ---- */

namespace
{

/* Everything before the value. */
int begin(struct record *r, const char *name, struct err *e)
{
	if (record_has(r, name))
		return err_set(e,
		               "'%s' is already there; give another name with --as where there is one, or remove it: "
		               "jq 'del(.%s)'",
		               name, name);
	if (r->n_adds == r->adds_cap) {
		r->adds_cap = r->adds_cap ? 2 * r->adds_cap : 8;
		r->adds = (struct added *)xrealloc_array(r->adds, r->adds_cap, sizeof *r->adds);
	}
	r->line.len = r->body;
	if (r->n_fields || r->n_adds)
		str_addc(&r->line, ',');
	size_t len = strlen(name);
	json_put_str(&r->line, name, len);
	str_addc(&r->line, ':');
	r->adds[r->n_adds] = (struct added){r->names.len, len, r->line.len, 0, NULL};
	str_add(&r->names, name, len);
	return 0;
}

int finish(struct record *r)
{
	struct added *a = r->adds + r->n_adds++;
	a->text_len = r->line.len - a->text;
	r->body = r->line.len;
	return 0;
}

} // namespace

int record_add_str(struct record *r, const char *name, const char *text, size_t len, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	json_put_str(&r->line, text, len);
	return finish(r);
}

int record_add_num(struct record *r, const char *name, double x, struct err *e)
{
	if (!std::isfinite(x))
		return err_set(e, "'%s' would be %s", name, std::isnan(x) ? "not a number" : "infinite");
	if (begin(r, name, e) < 0)
		return -1;
	json_put_num(&r->line, x);
	return finish(r);
}

int record_add_int(struct record *r, const char *name, int64_t x, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	json_put_int(&r->line, x);
	return finish(r);
}

int record_add_bool(struct record *r, const char *name, bool x, struct err *e)
{
	return record_add_raw(r, name, x ? "true" : "false", x ? 4 : 5, e);
}

int record_add_null(struct record *r, const char *name, struct err *e)
{
	return record_add_raw(r, name, "null", 4, e);
}

int record_add_raw(struct record *r, const char *name, const char *text, size_t len, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	str_add(&r->line, text, len);
	return finish(r);
}

int record_add_floats(struct record *r, const char *name, const float *x, int64_t n, struct err *e)
{
	for (int64_t i = 0; i < n; i++)
		if (!std::isfinite(x[i]))
			return err_set(e, "'%s' would hold %s at index %lld", name,
			               std::isnan(x[i]) ? "not a number" : "infinity", (long long)i);
	if (begin(r, name, e) < 0)
		return -1;
	str_reserve(&r->line, (size_t)n * 17 + 2); /* -1.23456789e-38 and a comma */
	char *p = r->line.buf + r->line.len;
	*p++ = '[';
	for (int64_t i = 0; i < n; i++) {
		if (i)
			*p++ = ',';
		p = std::to_chars(p, p + 16, x[i] + 0.0f).ptr;
	}
	*p++ = ']';
	r->line.len = (size_t)(p - r->line.buf);
	return finish(r);
}

int record_add_ints(struct record *r, const char *name, const int32_t *x, int64_t n, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	str_reserve(&r->line, (size_t)n * 12 + 2);
	char *p = r->line.buf + r->line.len;
	*p++ = '[';
	for (int64_t i = 0; i < n; i++) {
		if (i)
			*p++ = ',';
		p = std::to_chars(p, p + 11, x[i]).ptr;
	}
	*p++ = ']';
	r->line.len = (size_t)(p - r->line.buf);
	return finish(r);
}

const char *record_line(struct record *r, size_t *len)
{
	r->line.len = r->body;
	str_add(&r->line, "}\n", 2);
	*len = r->line.len;
	return r->line.buf;
}
