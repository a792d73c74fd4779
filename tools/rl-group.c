/*
 * rl-group - records that belong together as one record with `items`, and back (-u).
 *
 * A group is written when it is whole: when it has as many items as its records say, at the end of their batch, or at
 * the end of the input.  Items are the lines that came, byte for byte.
 */
#include <string.h>

#include "lib/filter.h"
#include "lib/group.h"
#include "lib/record_raw.h"
#include "lib/rollout_record.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *by, *of;
	bool unwrap, adjacent, across;
	struct cli_list give, give_each;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"by", 0, OPT_STR, FIELD(by), ".id", "FILTER", "what the records of a group share", 0, 0},
        {"of", 0, OPT_STR, FIELD(of), ".of", "FILTER", "how many records its group has, where that is known", 0, 0},
        {"adjacent", 0, OPT_FLAG, FIELD(adjacent), NULL, NULL, "a group ends where another one begins", 0, 0},
        {"across", 0, OPT_FLAG, FIELD(across), NULL, NULL, "a group may go on in the next batch (not in a loop)", 0, 0},
        {"unwrap", 'u', OPT_FLAG, FIELD(unwrap), NULL, NULL, "groups to their items", 0, 0},
        {"give", 0, OPT_LIST, FIELD(give), NULL, "FIELD", "with -u: add the group's field to each item", 0, 0},
        {"give-each", 0, OPT_LIST, FIELD(give_each), NULL, "FIELD",
         "with -u: the field is an array, and each item is given its element", 0, 0},
        {NULL},
};

enum { LINE_MARGIN = 1 << 20 }; /* of the longest line, for what stages add to it */

struct state {
	struct config c;
	struct tool tool;
	struct filter *by, *of;
	struct groups *groups;
	struct record *made; /* a group, or an item */
	struct str key, last_key;
	int64_t batch, seen; /* the one that is coming in, and its records so far; -1: none; below: of an evaluation */
};

/* ---- records to groups ---- */

static int release(struct state *s, struct tool *t, struct group *g, struct err *e)
{
	int rc = 0;
	t->count[0].n += g->of && g->n + g->passed != g->of;
	if (g->n) {
		str_addc(&g->text, ']');
		record_clear(s->made);
		rc = record_add_str(s->made, "id", g->key, strlen(g->key), e);
		if (!rc && g->of)
			rc = record_add_int(s->made, "of", g->of, e);
		rc = rc || record_add_raw(s->made, "items", g->text.buf, g->text.len, e) || tool_write(t, s->made, e);
	}
	groups_remove(s->groups, g);
	return rc ? -1 : 0;
}

static int release_all(struct tool *t, void *arg, struct err *e)
{
	struct state *s = arg;
	while (groups_first(s->groups))
		if (release(s, t, groups_first(s->groups), e))
			return -1;
	return 0;
}

/* The key: what --by gives, NUL, and what else keeps groups apart: epoch and batch. */
static int make_key(struct state *s, struct record *r, struct arena *a, struct err *e)
{
	struct json v;
	int64_t epoch = 0;
	if (filter_run(s->by, r, &v, a, e) < 0 || record_int(r, "epoch", &epoch, e) < 0)
		return -1;
	str_clear(&s->key);
	if (v.kind == JSON_STRING && v.len == strlen(v.text))
		str_add(&s->key, v.text, v.len);
	else if (v.kind == JSON_NUMBER && v.is_int)
		str_addf(&s->key, "%lld", (long long)v.integer);
	else
		return err_set(e, "--by: '%s' gives neither a string nor an integer", s->c.by);
	str_addc(&s->key, 0);
	str_addf(&s->key, "%lld %lld", (long long)epoch, (long long)(s->c.across ? -1 : s->batch));
	return 0;
}

static int read_of(struct state *s, struct record *r, struct group *g, struct arena *a, struct err *e)
{
	struct json v;
	if (filter_run(s->of, r, &v, a, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return 0;
	if (!v.is_int || v.integer < 1)
		return err_set(e, "--of: '%s' gives no number of records", s->c.of);
	if (g->of && g->of != v.integer)
		return err_set(e, "the group '%s' has %lld records here, but %lld in those before", g->key,
		               (long long)v.integer, (long long)g->of);
	g->of = v.integer;
	return 0;
}

/* Puts the record into its group: 1; 0 for one that passes by itself (it counts); -1, -2. */
static int take(struct state *s, struct tool *t, struct record *r, bool passes, struct err *e)
{
	size_t len;
	if (make_key(s, r, &t->arena, e))
		return passes ? 0 : -1;
	if (s->c.adjacent && (s->key.len != s->last_key.len || memcmp(s->key.buf, s->last_key.buf, s->key.len)) &&
	    release_all(t, s, e))
		return -2;
	str_clear(&s->last_key);
	str_add(&s->last_key, s->key.buf, s->key.len);
	struct group *g = groups_get(s->groups, s->key.buf, s->key.len);
	if (read_of(s, r, g, &t->arena, e) && !passes)
		return -1;
	const char *line = record_line(r, &len);
	if (!passes && g->text.len + len > STREAM_MAX_LINE - LINE_MARGIN)
		return err_set(e, "the group '%s' has %zu bytes, this record %zu, and a line at most %zu", g->key,
		               g->text.len, len, STREAM_MAX_LINE);
	g->passed += passes;
	if (!passes) {
		str_addc(&g->text, g->n++ ? ',' : '[');
		str_add(&g->text, line, len - 1);
	}
	if (g->of && g->n + g->passed >= g->of && release(s, t, g, e))
		return -2;
	return !passes;
}

static int collect(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	int64_t batch, size;
	struct err other;
	bool passes = tool_passes(t, r);
	bool placed = record_int(r, "batch", &batch, &other) > 0 && record_int(r, "batch_size", &size, &other) > 0;
	if (!placed && passes && s->batch != -1)
		return 0; /* a line that was no record, as far as one can see */
	/* Records of an evaluation before batch b have a place among themselves: a batch of its own, below -1. */
	batch = !placed ? -1 : rollout_is_evaluation(r) ? -2 - batch : batch;
	if (batch != s->batch && !s->c.across && release_all(t, s, e))
		return -2;
	s->seen = batch == s->batch ? s->seen + 1 : 1;
	s->batch = batch;
	int rc = take(s, t, r, passes, e);
	if (rc > -2 && placed && s->seen == size && !s->c.across && release_all(t, s, &other)) {
		*e = other;
		return -2;
	}
	return rc;
}

/* ---- groups to items ---- */

/* A field that items are given: the same value for all, or an element each. */
struct gift {
	const char *name;
	bool each;
	struct raw *value;
};

/* The gifts out of a group of n items: how many, or -1 with what is missing. */
static int64_t find_gifts(struct state *s, struct record *r, int64_t n, struct gift *gift, struct arena *a,
                          struct err *e)
{
	int64_t k = 0, len;
	for (size_t i = 0; i < s->c.give.n; i++, k++) {
		gift[k] = (struct gift){s->c.give.item[i], false, arena_array(a, 1, sizeof(struct raw))};
		if (!record_raw_field(r, gift[k].name, gift[k].value))
			return err_set(e, "--give: there is no '%s'", gift[k].name);
	}
	for (size_t i = 0; i < s->c.give_each.n; i++, k++) {
		gift[k] = (struct gift){s->c.give_each.item[i], true, NULL};
		int got = record_raw_array(r, gift[k].name, &gift[k].value, &len, a, e);
		if (got <= 0)
			return err_where(got ? e : (err_set(e, "there is no '%s'", gift[k].name), e), "--give-each");
		if (len != n)
			return err_set(e, "--give-each: '%s' has %lld elements, but 'items' has %lld", gift[k].name,
			               (long long)len, (long long)n);
	}
	return k;
}

static int give(struct record *item, const struct gift *gift, int64_t n, int64_t i, struct err *e)
{
	for (int64_t k = 0; k < n; k++) {
		const struct raw *v = gift[k].value + (gift[k].each ? i : 0);
		if (record_add_raw(item, gift[k].name, v->text, v->len, e))
			return -1;
	}
	return 0;
}

/* A group that a stage took out takes its items with it: 1 for a group with `skip` or `error`. */
static int64_t find_verdict(struct record *r, struct gift *gift, struct raw *room)
{
	for (int i = 0; i < 2; i++) {
		*gift = (struct gift){i ? "error" : "skip", false, room};
		if (record_kind(r, gift->name) > JSON_NULL)
			return record_raw_field(r, gift->name, room);
	}
	return 0;
}

/* Writes one item with its gifts, or with what the group failed of; -1 when that ends the tool. */
static int write_item(struct tool *t, struct state *s, struct raw item, const struct gift *gift, int64_t n, int64_t i,
                      const struct err *failed, struct err *e)
{
	int rc = record_parse(s->made, item.text, item.len, e);
	if (rc) {
		record_clear(s->made);
	} else if (record_kind(s->made, "error") <= JSON_NULL && record_kind(s->made, "skip") <= JSON_NULL) {
		*e = failed ? *failed : *e;
		rc = failed ? -1 : give(s->made, gift, n, i, e);
	}
	if (rc && (err_where(e, "item %lld", (long long)i), tool_mark(t, s->made, 0, e)))
		return -1;
	return tool_write(t, s->made, e);
}

static int unwrap(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	bool passes = tool_passes(t, r);
	struct raw *item, verdict;
	struct err why = {""};
	int64_t n;
	int got = record_raw_array(r, "items", &item, &n, &t->arena, e);
	if (got <= 0 && passes)
		return 0; /* a record that went by itself past the grouping */
	if (got <= 0)
		return got < 0 ? -1 : err_set(e, "there is no 'items'");
	for (int64_t i = 0; i < n; i++)
		if (*item[i].text != '{')
			return err_set(e, "'items' holds no record at index %lld", (long long)i);
	struct gift *gift = arena_array(&t->arena, s->c.give.n + s->c.give_each.n + 1, sizeof *gift);
	int64_t n_gifts = find_verdict(r, gift, &verdict);
	if (!n_gifts)
		n_gifts = find_gifts(s, r, n, gift, &t->arena, &why);
	for (int64_t i = 0; i < n; i++)
		if (write_item(t, s, item[i], gift, n_gifts, i, n_gifts < 0 ? &why : NULL, e))
			return -2;
	return 1;
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {{NULL, options, &s.c}, {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-group",
	                        .summary = "records that belong together as one, and back",
	                        .usage = "[OPTION]... [FILE]...",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n;
	char **operands = cli_parse(&cli, argc, argv, &n);
	struct tool_config tc = s.tool.config;
	struct err e;
	if ((s.c.give.n || s.c.give_each.n) && !s.c.unwrap)
		cli_misuse("--give and --give-each need -u");
	if (!(s.by = filter_new("by", s.c.by, NULL, 0, &e)) || !(s.of = filter_new("of", s.c.of, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
	tool_init(&s.tool, &tc);
	s.tool.takes_all = true;
	s.tool.count[0].name = "groups not whole";
	s.groups = groups_new();
	s.made = record_new();
	s.batch = -1;
	str_init(&s.key);
	str_init(&s.last_key);
	int status = tool_run(&s.tool, operands, n, s.c.unwrap ? unwrap : collect, release_all, &s);
	groups_free(s.groups);
	record_free(s.made);
	str_release(&s.key);
	str_release(&s.last_key);
	filter_free(s.by);
	filter_free(s.of);
	return status;
}
