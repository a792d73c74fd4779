/* reward_value - see reward_value.h */
#include "lib/reward_value.h"

#include "lib/str.h"

static int check_span(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct arena *a = arg;
	struct err e;
	double *v;
	int64_t n;
	(void)i;
	(void)key;
	(void)key_len;
	/* a trainer would stop at a span that is none */
	return item->kind != JSON_ARRAY || json_doubles(item, "span", &v, &n, a, &e) || n != 3 || v[0] < 0 ||
	       v[1] < v[0];
}

static int add_array(struct record *r, const char *name, const struct json *v, int64_t n_tokens, struct arena *a,
                     struct err *e)
{
	float *values;
	int64_t n;
	struct str text;
	if (json_length(v) && !json_floats(v, "reward", &values, &n, a, e)) {
		if (n_tokens >= 0 && n != n_tokens)
			return err_set(e, "the answer has %lld numbers, expected %lld, one per token", (long long)n,
			               (long long)n_tokens);
		return record_add_floats(r, name, values, n, e);
	}
	if (json_each(v, check_span, a))
		return err_set(e, "the answer is an array of neither numbers nor spans [start, end, x]");
	str_init(&text);
	json_text(v, &text);
	int rc = record_add_raw(r, name, text.buf, text.len, e);
	str_release(&text);
	return rc;
}

int reward_value_add(struct record *r, const char *name, const struct json *v, int64_t n_tokens, struct arena *a,
                     struct err *e)
{
	struct json inner = *v;
	if (v->kind == JSON_OBJECT && !json_member(v, "reward", &inner))
		return err_set(e, "the answer is an object without 'reward'");
	switch (inner.kind) {
	case JSON_NULL:
		return record_add_null(r, name, e);
	case JSON_NUMBER:
		return record_add_num(r, name, inner.number, e);
	case JSON_ARRAY:
		return add_array(r, name, &inner, n_tokens, a, e);
	default:
		return err_set(e, "the answer is no number, null, array, or object with 'reward'");
	}
}
