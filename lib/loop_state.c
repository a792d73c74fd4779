/* loop_state - what filters with memory hold, in the state of a run, and what is published between commits of it; see
 * loop.h */
#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "lib/str.h"
#include "lib/util.h"

int loop_run_state(const struct loop_run *r, const char *name, struct record *rec, struct json *out, struct err *e)
{
	if (!r->states)
		return 0;
	if (record_parse(rec, r->states, strlen(r->states), e))
		return -1;
	return record_json(rec, name, out, e);
}

/* Adds the members of `from` that `not_in` has not. */
static void add_members(struct str *s, const struct record *from, const struct record *not_in)
{
	const char *name;
	size_t len;
	struct json v;
	for (int64_t i = 0; record_field(from, i, &name, &len, &v); i++) {
		if (not_in && record_has(not_in, name))
			continue;
		if (s->len > 1)
			str_addc(s, ',');
		json_put_str(s, name, len);
		str_addc(s, ':');
		json_text(&v, s);
	}
}

int loop_run_set_states(struct loop_run *r, const char *object, size_t len, struct err *e)
{
	struct record *now = record_new(), *before = record_new();
	struct str s;
	str_init(&s);
	int failed = record_parse(now, object, len, e) ||
	             (r->states && record_parse(before, r->states, strlen(r->states), e));
	if (!failed) {
		str_addc(&s, '{');
		if (r->states)
			add_members(&s, before, now);
		add_members(&s, now, NULL);
		str_addc(&s, '}');
		free(r->states);
		r->states = str_detach(&s);
	}
	str_release(&s);
	record_free(now);
	record_free(before);
	return failed ? -1 : 0;
}

/* ---- between commits ---- */

static void published_key(struct str *key, const char *run)
{
	str_init(key);
	str_addf(key, "published/%s", run);
}

int loop_publish(const struct loop_run *r, struct store_update *u, const char *run, struct err *e)
{
	struct str key, text;
	published_key(&key, run);
	str_init(&text);
	str_addf(&text, "%lld %lld", (long long)r->base, (long long)r->batches);
	int failed = store_put_blob(u, "", key.buf, text.buf, text.len, e);
	str_release(&text);
	str_release(&key);
	return failed;
}

int loop_unpublish(struct store_update *u, const char *run, struct err *e)
{
	struct str key;
	published_key(&key, run);
	int failed = store_delete_blob(u, "", key.buf, e);
	str_release(&key);
	return failed;
}

int loop_published(struct store_view *v, const char *run, int64_t *base, int64_t *batches, struct err *e)
{
	struct str key;
	const void *data;
	size_t len;
	char text[64] = "", *second;
	published_key(&key, run);
	int got = store_get_blob(v, "", key.buf, &data, &len, e);
	str_release(&key);
	if (got <= 0)
		return got;
	memcpy(text, data, len < sizeof text ? len : sizeof text - 1);
	second = strchr(text, ' ');
	if (second)
		*second++ = 0;
	if (!second || !parse_i64(text, base) || !parse_i64(second, batches))
		return err_set(e, "run '%s': what is published of it is damaged", run);
	return 1;
}
