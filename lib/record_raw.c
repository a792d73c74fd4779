/* record_raw - see record_raw.h */
#include "lib/record_raw.h"

#include <string.h>

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* p is at the opening quote; behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		p += *p == '\\';
	return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
	int64_t depth = 0;
	do {
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		depth += *p == '[' || *p == '{';
		depth -= *p == ']' || *p == '}';
		p++;
	} while (p < end && (depth > 0 || !strchr(",]} \t\n\r", *p)));
	return p;
}

int record_raw_each(struct raw v, int (*fn)(void *, int64_t, struct raw), void *arg)
{
	const char *end = v.text + v.len, *p = skip_space(v.text, end);
	char open = p < end ? *p : 0;
	if (open != '[' && open != '{')
		return 0;
	p = skip_space(p + 1, end);
	for (int64_t i = 0; p < end && *p != ']' && *p != '}'; i++) {
		if (open == '{')
			p = skip_space(skip_space(skip_string(p, end), end) + 1, end); /* key and colon */
		const char *stop = skip_value(p, end);
		int rc = fn(arg, i, (struct raw){p, (size_t)(stop - p)});
		if (rc)
			return rc;
		p = skip_space(stop, end);
		p = p < end && *p == ',' ? skip_space(p + 1, end) : p;
	}
	return 0;
}

struct wanted {
	int64_t index;
	struct raw value;
};

static int take(void *arg, int64_t i, struct raw item)
{
	struct wanted *w = arg;
	w->value = item;
	return i == w->index;
}

int record_raw_field(struct record *r, const char *name, struct raw *out)
{
	struct wanted w = {0};
	struct json v;
	const char *key;
	size_t key_len, line_len;
	int got;
	/* a key may be written with escapes, so its place is found here, and the bytes by place */
	while ((got = record_field(r, w.index, &key, &key_len, &v)) &&
	       (key_len != strlen(name) || memcmp(key, name, key_len)))
		w.index++;
	if (!got)
		return 0;
	const char *line = record_line(r, &line_len);
	record_raw_each((struct raw){line, line_len}, take, &w);
	*out = w.value;
	return 1;
}

static int put(void *arg, int64_t i, struct raw item)
{
	((struct raw *)arg)[i] = item;
	return 0;
}

int record_raw_array(struct record *r, const char *name, struct raw **out, int64_t *n, struct arena *a, struct err *e)
{
	struct json v;
	struct raw whole;
	if (!record_raw_field(r, name, &whole))
		return 0;
	if (record_json(r, name, &v, e) < 0 || v.kind != JSON_ARRAY)
		return err_set(e, "'%s' is no array", name);
	*n = json_length(&v);
	*out = arena_array(a, (size_t)*n + 1, sizeof **out);
	record_raw_each(whole, put, *out);
	return 1;
}
