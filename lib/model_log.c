/* model_log - the log of a store, for people; see model_show.h */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model_show.h"
#include "lib/record.h"
#include "lib/util.h"

struct log {
	const char *slot; /* NULL: all */
	int64_t version;  /* -1: all */
	bool json;
	struct record *rec;
	struct str *out, command, before; /* the command of this entry, and of the last that was printed */
	int64_t n;
	struct err *e;
};

/* ---- the command ---- */

/* As a shell takes it. */
static void put_word(struct str *out, const char *text, size_t len)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=@+%";
	if (len && strspn(text, plain) >= len) {
		str_add(out, text, len);
		return;
	}
	str_addc(out, '\'');
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\'')
			str_adds(out, "'\\''");
		else
			str_addc(out, text[i]);
	str_addc(out, '\'');
}

static int put_option(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	struct str *out = arg;
	(void)i;
	if (v->kind == JSON_NULL)
		return 0;
	str_adds(out, v->kind == JSON_BOOL && !v->boolean ? " --no-" : " --");
	str_add(out, key, len);
	if (v->kind == JSON_BOOL)
		return 0;
	str_addc(out, ' ');
	if (v->kind == JSON_STRING)
		put_word(out, v->text, v->len);
	else if (v->kind == JSON_NUMBER)
		json_put_num(out, v->number);
	else
		json_text(v, out);
	return 0;
}

static int put_operand(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	struct str *out = arg;
	(void)i, (void)key, (void)len;
	if (v->kind == JSON_STRING) {
		str_addc(out, ' ');
		put_word(out, v->text, v->len);
	}
	return 0;
}

static int is_like_option(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	(void)arg, (void)i, (void)key, (void)len;
	return v->kind == JSON_STRING && v->len > 1 && v->text[0] == '-';
}

/* The options and operands of a training tool are those of its command line; rl-store has told what it worked on. */
static void put_command(struct str *out, const struct json *tool, const struct json *options,
                        const struct json *operands)
{
	str_clear(out);
	str_add(out, tool->text, tool->len);
	if (memchr(tool->text, ' ', tool->len)) {
		str_addc(out, ' ');
		json_text(options, out);
	} else {
		json_each(options, put_option, out);
		if (operands && json_each(operands, is_like_option, NULL))
			str_adds(out, " --");
		if (operands)
			json_each(operands, put_operand, out);
	}
}

/* ---- metrics ---- */

struct metrics {
	struct str *out;
	const char *before, *between; /* each name, name and value */
	bool time;
};

static int put_metric(void *arg, int64_t i, const char *key, size_t len, const struct json *v)
{
	const struct metrics *m = arg;
	(void)i;
	if (!m->time && len > 5 && !memcmp(key, "time/", 5))
		return 0;
	str_adds(m->out, m->before);
	str_add(m->out, key, len);
	str_adds(m->out, m->between);
	if (v->kind == JSON_NUMBER && !v->is_int)
		str_addf(m->out, m->time ? "%.9g" : "%.4g", v->number);
	else
		json_text(v, m->out);
	return 0;
}

/* ---- entries ---- */

static void add_member(struct str *out, const struct json *entry, const char *key, const char *before)
{
	struct json v;
	if (!json_member(entry, key, &v) || v.kind == JSON_NULL)
		return;
	str_adds(out, before);
	if (v.kind == JSON_STRING)
		put_word(out, v.text, v.len);
	else
		json_text(&v, out);
}

static bool wanted(const struct log *l, const struct json *top)
{
	struct json slot, version;
	if (!l->slot)
		return true;
	return json_member(top, "slot", &slot) && slot.kind == JSON_STRING && !strcmp(slot.text, l->slot) &&
	       (l->version < 0 ||
	        (json_member(top, "version", &version) && version.is_int && version.integer == l->version));
}

static void in_words(struct log *l, int64_t index, const struct json *top)
{
	struct json tool, options, operands, metrics;
	bool full = l->version >= 0;
	struct metrics m =
	        full ? (struct metrics){l->out, "\n    ", " ", true} : (struct metrics){l->out, " ", "=", false};
	str_addf(l->out, "%" PRId64 ":", index);
	add_member(l->out, top, "slot", " ");
	add_member(l->out, top, "version", "@");
	if (json_member(top, "tool", &tool) && tool.kind == JSON_STRING)
		str_addf(l->out, " %s", tool.text);
	add_member(l->out, top, "run", " run ");
	add_member(l->out, top, "parent", " parent ");
	add_member(l->out, top, "seed", " seed ");
	add_member(l->out, top, "records", " records ");
	bool has = json_member(top, "tool", &tool) && tool.kind == JSON_STRING &&
	           json_member(top, "options", &options) && options.kind == JSON_OBJECT;
	if (has)
		put_command(&l->command, &tool, &options, json_member(top, "operands", &operands) ? &operands : NULL);
	if (has && (full || strcmp(l->command.buf, l->before.buf))) {
		str_addf(l->out, "\n    %s", l->command.buf);
		str_clear(&l->before);
		str_adds(&l->before, l->command.buf);
		if (!full && json_member(top, "metrics", &metrics))
			str_adds(l->out, "\n   ");
	}
	if (json_member(top, "metrics", &metrics) && metrics.kind == JSON_OBJECT)
		json_each(&metrics, put_metric, &m);
	str_addc(l->out, '\n');
}

static int on_entry(void *arg, int64_t index, const char *json, size_t len)
{
	struct log *l = arg;
	struct json top;
	if (record_parse_value(l->rec, json, len, &top, l->e))
		return -1;
	if (!wanted(l, &top))
		return 0;
	l->n++;
	if (!l->json) {
		in_words(l, index, &top);
		return 0;
	}
	str_add(l->out, json, len);
	str_addc(l->out, '\n');
	return 0;
}

/* ---- which ---- */

struct slot_named {
	const char *name;
	bool snapshot;
};

static int is_snapshot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct slot_named *s = arg;
	(void)ref;
	if (strcmp(name, s->name))
		return 0;
	s->snapshot = snapshot;
	return 1;
}

/* "SLOT@VERSION" is taken as it is: the log has what the store has no more. */
static int choose(struct log *l, struct store_view *v, const char *name, struct store_ref *ref, struct err *e)
{
	const char *at = strchr(name, '@');
	struct slot_named s = {name, false};
	l->version = -1;
	if (!*name)
		return 0;
	l->slot = ref->slot;
	if (at && parse_i64(at + 1, &l->version) && l->version >= 0 && (size_t)(at - name) < sizeof ref->slot) {
		memcpy(ref->slot, name, (size_t)(at - name));
		ref->slot[at - name] = 0;
		return 0;
	}
	if (store_resolve(v, name, ref, e) || store_each_name(v, is_snapshot, &s, e) < 0)
		return -1;
	l->version = s.snapshot ? ref->version : -1;
	return 0;
}

int model_show_log(struct store_view *v, const char *name, bool json, struct str *out, struct err *e)
{
	struct store_ref ref;
	struct log l = {.json = json, .out = out, .e = e};
	if (choose(&l, v, name, &ref, e))
		return -1;
	l.rec = record_new();
	str_init(&l.command);
	str_init(&l.before);
	int failed = store_each_log(v, on_entry, &l, e);
	if (!failed && *name && !l.n)
		failed = err_set(e, "the log has nothing of '%s'", name);
	str_release(&l.command);
	str_release(&l.before);
	record_free(l.rec);
	return failed ? -1 : 0;
}
