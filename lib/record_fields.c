/* record_fields - records over parsed texts (record.cc): names to values, and the line with what was added. */
#include "lib/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record_doc.h"
#include "lib/util.h"

struct field {
	const char *name;
	size_t len, at; /* of the value on the tape */
};

struct added {
	size_t name, name_len;     /* in record.names */
	size_t text, text_len;     /* in record.line */
	struct record_doc *parsed; /* once somebody has read it */
};

enum { LINEAR_MAX = 24 }; /* up to so many fields are searched one by one */

struct record {
	struct record_doc *input; /* the line as it came */
	struct field *fields;
	size_t n_fields, fields_cap;
	uint32_t *table; /* field + 1 by hash of its name, 0: free; for records of many fields */
	size_t table_size;

	struct str line; /* the output without its last brace */
	size_t prefix;   /* how much of it came from the input */
	size_t body;     /* and with what was added */
	bool bare;       /* the input has no field */

	struct str names;
	struct added *adds;
	size_t n_adds, adds_cap;

	struct record_doc **values; /* texts parsed by record_parse_value and for added fields */
	size_t n_values, values_cap;
};

static size_t slot_of(const struct record *r, const char *name, size_t len)
{
	size_t i = (size_t)hash_bytes(name, len, 0x7265636f72642e63, (uint64_t)(uintptr_t)r);
	for (;; i++) {
		i &= r->table_size - 1;
		uint32_t f = r->table[i];
		if (!f || (r->fields[f - 1].len == len && !memcmp(r->fields[f - 1].name, name, len)))
			return i;
	}
}

static const struct field *find_field(const struct record *r, const char *name, size_t len)
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

static struct added *find_added(const struct record *r, const char *name, size_t len)
{
	for (size_t i = 0; i < r->n_adds; i++)
		if (r->adds[i].name_len == len && !memcmp(r->names.buf + r->adds[i].name, name, len))
			return r->adds + i;
	return NULL;
}

static int double_key(struct record *r, const struct field *f, struct err *e)
{
	int shown = f->len < 80 ? (int)f->len : 80;
	err_set(e, "the key '%.*s' is there twice", shown, f->name);
	r->n_fields = 0;
	return -1;
}

static int check_keys(struct record *r, struct err *e)
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
	r->table = xrealloc_array(r->table, size, sizeof *r->table);
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

static int add_key(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	struct record *r = arg;
	(void)i;
	if (r->n_fields == r->fields_cap) {
		r->fields_cap = r->fields_cap ? 2 * r->fields_cap : 32;
		r->fields = xrealloc_array(r->fields, r->fields_cap, sizeof *r->fields);
	}
	r->fields[r->n_fields++] = (struct field){key, len, item->at};
	return 0;
}

static int read_keys(struct record *r, struct err *e)
{
	struct json root;
	record_doc_value(r->input, RECORD_DOC_ROOT, &root);
	if (root.kind != JSON_OBJECT)
		return err_set(e, "the line is %s, not an object", record_doc_kind(root.kind));
	json_each(&root, add_key, r);
	return check_keys(r, e);
}

static void forget(struct record *r)
{
	r->n_fields = r->n_adds = r->n_values = 0;
	str_clear(&r->names);
	str_clear(&r->line);
	str_addc(&r->line, '{');
	r->body = r->prefix = 1;
	r->bare = true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct record_doc *take_doc(struct record *r)
{
	if (r->n_values == r->values_cap) {
		size_t cap = r->values_cap ? 2 * r->values_cap : 4;
		r->values = xrealloc_array(r->values, cap, sizeof *r->values);
		memset(r->values + r->values_cap, 0, (cap - r->values_cap) * sizeof *r->values);
		r->values_cap = cap;
	}
	struct record_doc **d = r->values + r->n_values++;
	if (!*d)
		*d = record_doc_new();
	return *d;
}

/* Our own text: parses, unless record_add_raw was given something else. */
static void read_added(struct record *r, struct added *a, struct json *out)
{
	struct err e;
	struct record_doc *d = a->parsed ? a->parsed : take_doc(r);
	*out = (struct json){0};
	if (!a->parsed && record_doc_parse(d, r->line.buf + a->text, a->text_len, &e) < 0)
		return;
	a->parsed = d;
	record_doc_value(d, RECORD_DOC_ROOT, out);
}

static void find(const struct record *r, const char *name, size_t len, struct json *out)
{
	const struct field *f = find_field(r, name, len);
	struct added *a = f ? NULL : find_added(r, name, len);
	*out = (struct json){0};
	if (f)
		record_doc_value(r->input, f->at, out);
	else if (a)
		read_added((struct record *)(uintptr_t)r, a, out);
}

/* A field that must be of one kind: 1, 0 when absent or null, -1. */
static int want(const struct record *r, const char *name, enum json_kind kind, struct json *v, struct err *e)
{
	find(r, name, strlen(name), v);
	if (v->kind == JSON_ABSENT || v->kind == JSON_NULL)
		return 0;
	if (v->kind != kind)
		return err_set(e, "'%s' is %s, not %s", name, record_doc_kind(v->kind), record_doc_kind(kind));
	return 1;
}

struct record *record_new(void)
{
	struct record *r = xcalloc(1, sizeof *r);
	r->input = record_doc_new();
	str_init(&r->line);
	str_init(&r->names);
	forget(r);
	return r;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	record_doc_free(r->input);
	for (size_t i = 0; i < r->values_cap; i++)
		record_doc_free(r->values[i]);
	free(r->values);
	free(r->fields);
	free(r->table);
	free(r->adds);
	str_release(&r->line);
	str_release(&r->names);
	free(r);
}

static void set_line(struct record *r, const char *line, size_t len)
{
	str_clear(&r->line);
	str_add(&r->line, line, len - 1);
	r->body = r->prefix = len - 1;
	size_t brace = 0;
	while (is_space(line[brace]))
		brace++;
	do
		brace++;
	while (is_space(line[brace]));
	r->bare = line[brace] == '}';
}

static size_t trim(const char *line, size_t len)
{
	while (len && is_space(line[len - 1]))
		len--;
	return len;
}

void record_resume(struct record *r, const char *line, size_t len)
{
	forget(r);
	set_line(r, line, trim(line, len));
}

int record_check_new(const struct record *r, const char *name, struct err *e)
{
	if (!record_has(r, name))
		return 0;
	return err_set(
	        e, "'%s' is already there; give another name with --as where there is one, or remove it: jq 'del(.%s)'",
	        name, name);
}

int record_parse(struct record *r, const char *line, size_t len, struct err *e)
{
	forget(r);
	len = trim(line, len);
	if (record_doc_parse(r->input, line, len, e) < 0 || read_keys(r, e) < 0)
		return -1;
	set_line(r, line, len);
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
	if (got > 0 && !record_doc_whole(&v, out))
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

static int check_length(const char *name, int64_t n, int64_t wanted, const char *of, struct err *e)
{
	if (wanted < 0 || n == wanted)
		return 1;
	if (of)
		return err_set(e, "'%s' has %lld numbers, expected %lld (as '%s')", name, (long long)n,
		               (long long)wanted, of);
	return err_set(e, "'%s' has %lld numbers, expected %lld", name, (long long)n, (long long)wanted);
}

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

int record_json(const struct record *r, const char *name, struct json *out, struct err *e)
{
	(void)e;
	find(r, name, strlen(name), out);
	return out->kind != JSON_ABSENT;
}

int record_field(const struct record *r, int64_t i, const char **name, size_t *name_len, struct json *out)
{
	if (i < 0 || (size_t)i >= r->n_fields)
		return 0;
	*name = r->fields[i].name;
	*name_len = r->fields[i].len;
	record_doc_value(r->input, r->fields[i].at, out);
	return 1;
}

struct nth {
	int64_t i;
	struct json *out;
};

static int pick(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	(void)key, (void)len;
	struct nth *want_item = arg;
	if (i != want_item->i)
		return 0;
	*want_item->out = *item;
	return 1;
}

static void index_into(struct json *v, int64_t i)
{
	struct json item = (struct json){0};
	if (v->kind == JSON_ARRAY) {
		struct nth n = {i < 0 ? i + json_length(v) : i, &item};
		json_each(v, pick, &n);
	}
	*v = item;
}

int record_path(const struct record *r, const char *path, struct json *out, struct err *e)
{
	bool top = true;
	*out = (struct json){0};
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
				*out = (struct json){0};
			free(key);
		}
		top = false;
		p += len;
	}
	return out->kind != JSON_ABSENT;
}

int record_parse_value(struct record *r, const char *text, size_t len, struct json *out, struct err *e)
{
	struct record_doc *d = take_doc(r);
	if (record_doc_parse(d, text, len, e) < 0)
		return -1;
	record_doc_value(d, RECORD_DOC_ROOT, out);
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
		bool integer = record_doc_integer(&v);
		if (v.kind != JSON_STRING && !integer)
			return err_set(e, "'%s' is %s, not a string or an integer", names[i], record_doc_kind(v.kind));
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

/* ---- adding ---- */

/* Everything before the value. */
static int begin(struct record *r, const char *name, struct err *e)
{
	if (record_check_new(r, name, e) < 0)
		return -1;
	if (r->n_adds == r->adds_cap) {
		r->adds_cap = r->adds_cap ? 2 * r->adds_cap : 8;
		r->adds = xrealloc_array(r->adds, r->adds_cap, sizeof *r->adds);
	}
	r->line.len = r->body;
	if (!r->bare || r->n_adds)
		str_addc(&r->line, ',');
	size_t len = strlen(name);
	json_put_str(&r->line, name, len);
	str_addc(&r->line, ':');
	r->adds[r->n_adds] = (struct added){r->names.len, len, r->line.len, 0, NULL};
	str_add(&r->names, name, len);
	return 0;
}

static int finish(struct record *r)
{
	struct added *a = r->adds + r->n_adds++;
	a->text_len = r->line.len - a->text;
	r->body = r->line.len;
	return 0;
}

int record_add_str(struct record *r, const char *name, const char *text, size_t len, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	json_put_str(&r->line, text, len);
	return finish(r);
}

int record_add_num(struct record *r, const char *name, double x, struct err *e)
{
	if (!isfinite(x))
		return err_set(e, "'%s' would be %s", name, isnan(x) ? "not a number" : "infinite");
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
		if (!isfinite(x[i]))
			return err_set(e, "'%s' would hold %s at index %lld", name,
			               isnan(x[i]) ? "not a number" : "infinity", (long long)i);
	if (begin(r, name, e) < 0)
		return -1;
	json_put_floats(&r->line, x, n);
	return finish(r);
}

int record_add_ints(struct record *r, const char *name, const int32_t *x, int64_t n, struct err *e)
{
	if (begin(r, name, e) < 0)
		return -1;
	json_put_ints(&r->line, x, n);
	return finish(r);
}

const char *record_line(struct record *r, size_t *len)
{
	r->line.len = r->body;
	str_add(&r->line, "}\n", 2);
	*len = r->line.len;
	return r->line.buf;
}
