/* eval_records - see eval_records.h */
#include "lib/eval_records.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval_group.h"
#include "lib/eval_measure.h"
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
		free(t->column[i].w);
	}
	for (int64_t i = 0; i < t->n; i++)
		free(t->key[i]);
	for (int64_t i = 0; i < t->n && t->group_of; i++)
		free(t->group_of[i]);
	for (int64_t i = 0; i < t->n_groups; i++) {
		free(t->group[i].name);
		free(t->group[i].row);
	}
	free(t->column);
	free(t->key);
	free(t->group);
	free(t->group_of);
	*t = (struct eval_table){0};
}

const char **eval_table_names(const struct eval_table *t)
{
	const char **names = xcalloc((size_t)t->n_columns + 1, sizeof *names);
	for (int64_t i = 0; i < t->n_columns; i++)
		names[i] = t->column[i].name;
	return names;
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
	*c = (struct eval_column){xstrndup(name, len), xcalloc((size_t)t->cap, sizeof *c->x),
	                          xcalloc((size_t)t->cap, sizeof *c->w), false, 0};
	for (int64_t i = 0; i < t->cap; i++) {
		c->x[i] = NAN;
		c->w[i] = 1;
	}
	return t->n_columns++;
}

static void make_room(struct eval_table *t)
{
	if (t->n < t->cap)
		return;
	int64_t cap = t->cap ? 2 * t->cap : 256;
	t->key = xrealloc_array(t->key, (size_t)cap, sizeof *t->key);
	t->group_of = xrealloc_array(t->group_of, (size_t)cap, sizeof *t->group_of);
	for (int64_t c = 0; c < t->n_columns; c++) {
		struct eval_column *column = &t->column[c];
		column->x = xrealloc_array(column->x, (size_t)cap, sizeof(double));
		column->w = xrealloc_array(column->w, (size_t)cap, sizeof(double));
		for (int64_t i = t->cap; i < cap; i++) {
			column->x[i] = NAN;
			column->w[i] = 1;
		}
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

/* How the measures are read; all NULL: a field. */
struct reading {
	bool all; /* fields that are numbers, no measures named */
	struct filter **program;
	eval_measure *computed;
	struct eval_sources sources;
	struct filter *target, *group;
};

static int take_measures(struct eval_table *t, struct record *r, const struct reading *how, struct arena *a,
                         struct err *e)
{
	for (int64_t c = 0; c < t->n_columns; c++) {
		struct json v;
		if (how->computed[c]) {
			double *x = &t->column[c].x[t->n], *w = &t->column[c].w[t->n];
			struct eval_texts texts = {&how->sources.source[t->column[c].source], how->target};
			if (how->computed[c](&texts, r, x, w, a, e) < 0)
				return -1;
			continue;
		}
		int got = how->program[c] ? filter_run(how->program[c], r, &v, a, e)
		                          : record_json(r, t->column[c].name, &v, e);
		if (got < 0 || set_value(t, c, &v, e))
			return -1;
	}
	return 0;
}

static int take_group(struct eval_table *t, struct tool *tool, struct filter *f, struct err *e)
{
	int got = eval_group_of(f, tool->record, &t->group_of[t->n], &tool->arena, e);
	tool->count[0].n += got == 0;
	return got < 0 ? -1 : 0;
}

static int take_record(struct eval_table *t, struct tool *tool, const struct reading *r, struct err *e)
{
	make_room(t);
	t->group_of[t->n] = NULL;
	if (add_key(t, tool, e))
		return -1;
	int failed = r->all ? take_all_fields(t, tool->record, &tool->arena, e)
	                    : take_measures(t, tool->record, r, &tool->arena, e);
	if (!failed && r->group)
		failed = take_group(t, tool, r->group, e);
	if (!failed) {
		t->n++;
		return 0;
	}
	free(t->key[t->n]);
	for (int64_t c = 0; c < t->n_columns; c++) /* what it had before the fault, with -k, is not the next record's */
		t->column[c].x[t->n] = NAN;
	return -1;
}

/* ---- groups ---- */

struct member {
	const char *group;
	int64_t row;
};

static int by_group(const void *a, const void *b)
{
	const struct member *m = a, *o = b;
	int order = eval_group_order(m->group, o->group);
	return order ? order : (m->row > o->row) - (m->row < o->row);
}

static struct eval_group *add_group(struct eval_table *t, const char *name, int64_t n)
{
	t->group = xrealloc_array(t->group, (size_t)t->n_groups + 1, sizeof *t->group);
	struct eval_group *g = &t->group[t->n_groups++];
	*g = (struct eval_group){name ? xstrdup(name) : NULL, xcalloc((size_t)n + 1, sizeof *g->row), n};
	return g;
}

static void make_groups(struct eval_table *t, bool grouped)
{
	struct member *m = xcalloc((size_t)t->n + 1, sizeof *m);
	int64_t n = 0;
	for (int64_t i = 0; i < t->n; i++)
		if (t->group_of[i])
			m[n++] = (struct member){t->group_of[i], i};
	qsort(m, (size_t)n, sizeof *m, by_group);
	for (int64_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && !strcmp(m[i].group, m[end].group);)
			end++;
		struct eval_group *g = add_group(t, m[i].group, end - i);
		for (int64_t k = i; k < end; k++)
			g->row[k - i] = m[k].row;
	}
	free(m);
	struct eval_group *all = add_group(t, grouped ? "\"all\"" : NULL, t->n);
	for (int64_t i = 0; i < t->n; i++)
		all->row[i] = i;
}

/* What stands behind NAME=, or NULL. */
static const char *named_program(const char *spec)
{
	size_t len = strspn(spec, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@-");
	return len && spec[len] == '=' ? spec + len + 1 : NULL;
}

static int add_measure(struct eval_table *t, struct reading *r, const struct eval_input *in, const char *spec,
                       struct err *e)
{
	const char *program = named_program(spec), *what = program ? program : spec;
	bool computed = *what == '@';
	size_t len = program ? (size_t)(program - 1 - spec) : strlen(spec);
	bool bare = computed && !program;
	int64_t c = add_column(t, spec + bare, len - bare);
	if (!computed && in->texts->baselines.n)
		return err_set(e, "measure '%s' is not one of a text: --baseline wants @accuracy or @babilong", spec);
	if (!program && !computed && *spec != '.')
		return 0;
	if (!computed) {
		r->program[c] = filter_new("--measure", what, NULL, 0, e);
		return r->program[c] ? 0 : -1;
	}
	if (!r->sources.n && eval_sources_init(&r->sources, in->texts, e))
		return -1;
	if (!r->target && !(r->target = filter_new("--target", in->target, NULL, 0, e)))
		return -1;
	r->computed[c] = eval_measure_find(what + 1, e);
	if (!r->computed[c])
		return -1;
	t->column[c].is_exp = eval_measure_is_exp(r->computed[c]);
	if (t->column[c].is_exp && r->sources.n > 1)
		return err_set(e, "measure '%s' is not one of a text: --baseline wants @accuracy or @babilong", spec);
	for (int64_t i = 1; i < r->sources.n; i++) {
		int64_t more = add_column(t, spec + bare, len - bare);
		t->column[more].source = i;
		r->computed[more] = r->computed[c];
	}
	return 0;
}

static void reading_release(struct reading *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		filter_free(r->program[i]);
	free(r->program);
	free(r->computed);
	eval_sources_release(&r->sources);
	filter_free(r->target);
	filter_free(r->group);
}

int eval_read(struct eval_table *out, struct tool *t, const struct eval_input *in, struct err *e)
{
	size_t n = in->measures.n, room = n * (3 * in->texts->baselines.n + 1); /* `all` is three */
	struct reading r = {.all = n == 0,
	                    .program = xcalloc(room + 1, sizeof *r.program),
	                    .computed = xcalloc(room + 1, sizeof *r.computed),
	                    .group = in->group_by ? filter_new("--group-by", in->group_by, NULL, 0, e) : NULL};
	int got = in->group_by && !r.group ? -1 : 1;
	*out = (struct eval_table){0};
	t->count[0].name = "without a group";
	for (size_t i = 0; i < n && got > 0; i++)
		if (add_measure(out, &r, in, in->measures.item[i], e))
			got = -1;
	while (got > 0 && (got = tool_next(t, e)) > 0)
		if (!tool_passes(t, t->record) && take_record(out, t, &r, e) && tool_mark(t, t->record, 0, e))
			got = -1;
	if (got == 0)
		make_groups(out, r.group != NULL);
	reading_release(&r, room);
	return got;
}

int eval_one_file(struct tool *tool, char **file, int (*read)(struct tool *one, void *arg, struct err *e), void *arg,
                  struct err *e)
{
	struct tool one;
	tool_init(&one, &tool->config);
	one.out = tool->out;
	one.drops_errors = true;
	int failed = tool_open(&one, file, 1, e) || read(&one, arg, e);
	tool->n_in += one.n_in;
	tool->n_errors += one.n_errors;
	tool->n_skipped += one.n_skipped;
	for (size_t i = 0; i < ARRAY_LEN(one.count); i++) {
		tool->count[i].name = one.count[i].name;
		tool->count[i].n += one.count[i].n;
	}
	one.config.quiet = true;
	tool_end(&one, 0, NULL);
	return failed ? -1 : 0;
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
