/* eval_records - see eval_records.h */
#include "lib/eval_records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/filter.h"
#include "lib/util.h"

/* Fields that say where a record belongs, and no measure of it. */
static const char *const book_keeping[] = {
        "id",         "_id",  "query_id", "doc_id", "epoch",          "sample",      "batch", "row",
        "batch_size", "last", "index",    "of",     "policy_version", "temperature", "start", "end"};

void eval_table_release(struct eval_table *t)
{
	for (int64_t i = 0; i < t->n_columns; i++) {
		free(t->column[i].name);
		free(t->column[i].x);
	}
	for (int64_t i = 0; i < t->n; i++)
		free(t->key[i]);
	free(t->column);
	free(t->key);
	*t = (struct eval_table){0};
}

int64_t eval_table_find(const struct eval_table *t, const char *name)
{
	for (int64_t i = 0; i < t->n_columns; i++)
		if (!strcmp(t->column[i].name, name))
			return i;
	return -1;
}

static int64_t add_column(struct eval_table *t, const char *name, size_t len)
{
	t->column = xrealloc_array(t->column, (size_t)t->n_columns + 1, sizeof *t->column);
	struct eval_column *c = &t->column[t->n_columns];
	*c = (struct eval_column){xstrndup(name, len), xcalloc((size_t)t->cap, sizeof *c->x)};
	for (int64_t i = 0; i < t->cap; i++)
		c->x[i] = NAN;
	return t->n_columns++;
}

static void make_room(struct eval_table *t)
{
	if (t->n < t->cap)
		return;
	int64_t cap = t->cap ? 2 * t->cap : 256;
	t->key = xrealloc_array(t->key, (size_t)cap, sizeof *t->key);
	for (int64_t c = 0; c < t->n_columns; c++) {
		t->column[c].x = xrealloc_array(t->column[c].x, (size_t)cap, sizeof(double));
		for (int64_t i = t->cap; i < cap; i++)
			t->column[c].x[i] = NAN;
	}
	t->cap = cap;
}

static int add_key(struct eval_table *t, struct tool *tool, struct err *e)
{
	const char *id;
	size_t len;
	int64_t epoch = 0, sample = 0;
	if (record_id(tool->record, tool->line, &id, &len, &tool->arena, e) < 0 ||
	    record_int(tool->record, "epoch", &epoch, e) < 0 || record_int(tool->record, "sample", &sample, e) < 0)
		return -1;
	char *key = arena_printf(&tool->arena, "%s\t%lld\t%lld", id, (long long)epoch, (long long)sample);
	t->key[t->n] = xstrdup(key);
	return 0;
}

static int set_value(struct eval_table *t, int64_t c, const struct json *v, struct err *e)
{
	if (v->kind == JSON_NUMBER)
		t->column[c].x[t->n] = v->number;
	else if (v->kind == JSON_BOOL)
		t->column[c].x[t->n] = v->boolean;
	else if (v->kind != JSON_ABSENT && v->kind != JSON_NULL)
		return err_set(e, "measure '%s' is no number here", t->column[c].name);
	return 0;
}

static bool is_measure(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(book_keeping); i++)
		if (strlen(book_keeping[i]) == len && !memcmp(book_keeping[i], name, len))
			return false;
	return true;
}

static int take_all_fields(struct eval_table *t, struct record *r, struct arena *a, struct err *e)
{
	const char *name;
	size_t len;
	struct json v;
	for (int64_t i = 0; record_field(r, i, &name, &len, &v); i++) {
		if ((v.kind != JSON_NUMBER && v.kind != JSON_BOOL) || !is_measure(name, len))
			continue;
		char *text = arena_strndup(a, name, len);
		int64_t c = eval_table_find(t, text);
		if (set_value(t, c < 0 ? add_column(t, text, len) : c, &v, e))
			return -1;
	}
	return 0;
}

static int take_measures(struct eval_table *t, struct record *r, struct filter **filter, struct arena *a, struct err *e)
{
	for (int64_t c = 0; c < t->n_columns; c++) {
		struct json v;
		int got = filter[c] ? filter_run(filter[c], r, &v, a, e) : record_json(r, t->column[c].name, &v, e);
		if (got < 0 || set_value(t, c, &v, e))
			return -1;
	}
	return 0;
}

static int take_record(struct eval_table *t, struct tool *tool, struct filter **filter, bool all, struct err *e)
{
	make_room(t);
	if (add_key(t, tool, e))
		return -1;
	int failed = all ? take_all_fields(t, tool->record, &tool->arena, e)
	                 : take_measures(t, tool->record, filter, &tool->arena, e);
	if (failed)
		free(t->key[t->n]);
	else
		t->n++;
	return failed;
}

/* What stands behind NAME=, or NULL. */
static const char *named_program(const char *spec)
{
	size_t len = strspn(spec, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@-");
	return len && spec[len] == '=' ? spec + len + 1 : NULL;
}

int eval_read(struct eval_table *out, struct tool *t, const struct cli_list *measures, struct err *e)
{
	struct filter **filter = xcalloc(measures->n + 1, sizeof(struct filter *));
	int got = 1;
	*out = (struct eval_table){0};
	for (size_t i = 0; i < measures->n && got > 0; i++) {
		const char *spec = measures->item[i], *program = named_program(spec);
		add_column(out, spec, program ? (size_t)(program - 1 - spec) : strlen(spec));
		if (!program && *spec != '.')
			continue;
		filter[i] = filter_new("--measure", program ? program : spec, NULL, 0, e);
		got = filter[i] ? 1 : -1;
	}
	while (got > 0 && (got = tool_next(t, e)) > 0)
		if (take_record(out, t, filter, measures->n == 0, e))
			got = err_where(e, "%s:%lld", t->source, (long long)t->line);
	for (size_t i = 0; i < measures->n; i++)
		filter_free(filter[i]);
	free(filter);
	return got;
}

/* ---- joining ---- */

struct place {
	const char *key;
	int64_t at;
};

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->key, ((const struct place *)b)->key);
}

static struct place *sorted_keys(const struct eval_table *t, struct err *e)
{
	struct place *p = xcalloc((size_t)t->n + 1, sizeof *p);
	for (int64_t i = 0; i < t->n; i++)
		p[i] = (struct place){t->key[i], i};
	qsort(p, (size_t)t->n, sizeof *p, by_key);
	for (int64_t i = 1; i < t->n; i++)
		if (!strcmp(p[i].key, p[i - 1].key)) {
			err_set(e, "records %lld and %lld have the same id '%.*s'", (long long)p[i - 1].at + 1,
			        (long long)p[i].at + 1, (int)strcspn(p[i].key, "\t"), p[i].key);
			free(p);
			return NULL;
		}
	return p;
}

int eval_join(const struct eval_table *a, const struct eval_table *b, int64_t **match, struct err *e)
{
	struct place *pa = sorted_keys(a, e), *pb = pa ? sorted_keys(b, e) : NULL;
	*match = NULL;
	if (pb) {
		*match = xcalloc((size_t)a->n + 1, sizeof **match);
		for (int64_t i = 0; i < a->n; i++) {
			struct place want = {a->key[i], 0},
			             *found = bsearch(&want, pb, (size_t)b->n, sizeof *pb, by_key);
			(*match)[i] = found ? found->at : -1;
		}
	}
	free(pa);
	free(pb);
	return *match ? 0 : -1;
}
