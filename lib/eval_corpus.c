/* eval_corpus - see eval_corpus.h */
#include "lib/eval_corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval_group.h"
#include "lib/eval_source.h"
#include "lib/filter.h"
#include "lib/overlap.h"
#include "lib/util.h"

#define AT(field) offsetof(struct eval_corpus_config, field)
const struct opt eval_corpus_options[] = {
        {"corpus", 0, OPT_FLAG, AT(corpus), NULL, NULL, "overlap measures of all texts together", 0, 0},
        {"refs", 0, OPT_STR, AT(refs), ".references", "FILTER", "what it is compared with: a string or several", 0, 0},
        {NULL},
};

/* The texts of one source in one file. */
struct part {
	char *name; /* of the group; NULL: all */
	struct overlap *texts;
};
struct set {
	struct part *part; /* the first is all */
	size_t n, last;
};

struct corpus {
	struct eval_corpus *c;
	const char **name; /* of the measures */
	size_t n_names;
	struct eval_sources sources;
	struct filter *refs, *group;
	struct set *set; /* of the file under way: one by source */
};

/* ---- reading ---- */

static struct part *add_part(struct corpus *c, struct set *s, char *name, struct err *e)
{
	struct overlap *texts = overlap_new(c->name, c->n_names, true, e);
	if (!texts) {
		free(name);
		return NULL;
	}
	s->part = xrealloc_array(s->part, s->n + 1, sizeof *s->part);
	s->part[s->n] = (struct part){name, texts};
	s->last = s->n;
	return &s->part[s->n++];
}

static struct part *part_of(struct corpus *c, struct set *s, const char *name, struct err *e)
{
	for (size_t i = 1; i < s->n; i++) {
		size_t at = 1 + (s->last + i - 1) % (s->n - 1); /* that of the record before is likely */
		if (!eval_group_order(s->part[at].name, name)) {
			s->last = at;
			return &s->part[at];
		}
	}
	return add_part(c, s, xstrdup(name), e);
}

static int add_text(struct corpus *c, struct set *s, const char *group, const char *text, size_t len,
                    const struct overlap_refs *refs, struct err *e)
{
	overlap_corpus_add(s->part[0].texts, text, len, refs, NULL);
	if (!group)
		return 0;
	struct part *p = part_of(c, s, group, e);
	if (p)
		overlap_corpus_add(p->texts, text, len, refs, NULL);
	return p ? 0 : -1;
}

static int add_record(struct corpus *c, struct tool *t, struct err *e)
{
	struct eval_sources *sources = &c->sources;
	const char **text = arena_array(&t->arena, (size_t)sources->n, sizeof *text), **ref = NULL;
	size_t *len = arena_array(&t->arena, (size_t)sources->n, sizeof *len), *ref_len = NULL;
	int64_t n_refs = -1;
	char *group = NULL;
	int found = 1, failed = 0;
	for (int64_t i = 0; i < sources->n && found > 0; i++)
		found = eval_source_text(&sources->source[i], t->record, &text[i], &len[i], &t->arena, e);
	int has = found > 0 ? filter_strs(c->refs, t->record, &ref, &ref_len, &n_refs, &t->arena, e) : 0;
	int in = found > 0 && has >= 0 && c->group ? eval_group_of(c->group, t->record, &group, &t->arena, e) : 1;
	if (found < 0 || has < 0 || in < 0)
		return tool_mark(t, t->record, 0, e);
	t->count[0].n += !found;
	t->count[1].n += found && !has;
	t->count[2].n += found && !in;
	for (int64_t i = 0; i < sources->n && found && !failed; i++)
		failed = add_text(c, &c->set[i], group, text[i], len[i],
		                  &(struct overlap_refs){ref, ref_len, has ? n_refs : -1}, e);
	free(group);
	return failed;
}

static int read_all(struct tool *t, void *arg, struct err *e)
{
	struct corpus *c = arg;
	int got = 1;
	t->count[0].name = "without a text";
	t->count[1].name = "without references";
	t->count[2].name = "without a group";
	for (int64_t i = 0; i < c->sources.n; i++)
		if (!add_part(c, &c->set[i], NULL, e))
			return -1;
	while ((got = tool_next(t, e)) > 0)
		if (!tool_passes(t, t->record) && add_record(c, t, e))
			return -1;
	return got;
}

static int by_name(const void *a, const void *b)
{
	return eval_group_order(((const struct part *)a)->name, ((const struct part *)b)->name);
}

/* ---- rows ---- */

static const struct part *same_group(const struct set *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (name && s->part[i].name ? !strcmp(s->part[i].name, name) : name == s->part[i].name)
			return &s->part[i];
	return NULL;
}

/* One row; base: NULL where there is none to compare with. */
static int put_row(struct corpus *c, size_t measure, const struct part *p, const struct set *base, const char *kind,
                   const char *label, struct err *e)
{
	struct eval_rows *rows = c->c->rows;
	const struct part *other = base ? same_group(base, p->name) : NULL;
	int64_t n, base_n = 0;
	double value = overlap_corpus_value(p->texts, measure, &n);
	double from = other ? overlap_corpus_value(other->texts, measure, &base_n) : NAN;
	eval_rows_begin(rows, c->name[measure], p->name ? p->name : "\"all\"", n);
	if (!base) {
		eval_rows_put(rows, "value", value);
		return eval_rows_end(rows, e);
	}
	if (rows->json)
		eval_rows_put_text(rows, kind, label);
	eval_rows_put(rows, "base", from);
	eval_rows_put(rows, "system", value);
	eval_rows_put(rows, "difference", value - from);
	eval_rows_put(rows, "percent", from != 0 ? 100 * (value - from) / fabs(from) : NAN);
	if (rows->json)
		str_addf(rows->out, ",\"base_n\":%lld", (long long)base_n);
	else if (rows->labelled)
		eval_rows_put_text(rows, kind, label);
	return eval_rows_end(rows, e);
}

/* The rows of a set, those of a measure together, its groups before all. */
static int put_set(struct corpus *c, const struct set *s, const struct set *base, const char *kind, const char *label,
                   struct err *e)
{
	int failed = 0;
	for (size_t m = 0; m < c->n_names && !failed; m++)
		for (size_t i = 1; i <= s->n && !failed; i++)
			failed = put_row(c, m, &s->part[i % s->n], base, kind, label, e);
	return failed;
}

static void check_limits(struct corpus *c, const struct set *s, const char *label)
{
	int64_t n;
	for (size_t m = 0; m < c->n_names; m++)
		eval_limits_check(c->c->limits, c->name[m], overlap_corpus_value(s->part[0].texts, m, &n), label);
}

static int put_all(struct corpus *c, struct set *set, char **files, int n_files, struct err *e)
{
	static const char *const one[] = {"value"}, *const two[] = {"base", "system", "difference", "percent"};
	const int64_t n = n_files ? n_files : c->sources.n;
	const char *kind = n_files ? "file" : "baseline";
	c->c->rows->labelled = !n_files || n_files > 2;
	for (int64_t i = 0; i < n; i++)
		qsort(set[i].part + 1, set[i].n - 1, sizeof *set[i].part, by_name);
	if (n == 1) {
		check_limits(c, set, "");
		return eval_rows_head(c->c->rows, one, 1, NULL, e) || put_set(c, set, NULL, NULL, NULL, e);
	}
	int failed = eval_rows_head(c->c->rows, two, ARRAY_LEN(two), c->c->rows->labelled ? kind : NULL, e);
	for (int64_t i = 1; i < n && !failed; i++)
		failed = n_files ? put_set(c, &set[i], &set[0], kind, files[i], e)
		                 : put_set(c, &set[0], &set[i], kind, c->sources.source[i].name, e);
	for (int64_t i = n_files ? 1 : 0; i < (n_files ? n : 1); i++)
		check_limits(c, &set[i], n_files ? files[i] : "");
	return failed;
}

/* ---- all of it ---- */

static void take_names(struct corpus *c)
{
	static const char *const dialogue[] = {EVAL_DIALOGUE};
	const struct cli_list *m = &c->c->input->measures;
	c->name = xcalloc(m->n * ARRAY_LEN(dialogue) + 1, sizeof *c->name);
	for (size_t i = 0; i < m->n; i++) {
		bool all = !strcmp(m->item[i], "@dialogue");
		for (size_t k = 0; k < (all ? ARRAY_LEN(dialogue) : 1); k++)
			c->name[c->n_names++] = all ? dialogue[k] : m->item[i];
	}
}

static int prepare(struct corpus *c, struct err *e)
{
	const struct eval_input *in = c->c->input;
	take_names(c);
	if (eval_sources_init(&c->sources, in->texts, e) ||
	    !(c->refs = filter_new("--refs", c->c->config->refs, NULL, 0, e)) ||
	    (in->group_by && !(c->group = filter_new("--group-by", in->group_by, NULL, 0, e))))
		return -1;
	return eval_limits_known(c->c->limits, c->name, c->n_names, e);
}

static void release_sets(struct set *set, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		for (size_t k = 0; k < set[i].n; k++) {
			free(set[i].part[k].name);
			overlap_free(set[i].part[k].texts);
		}
		free(set[i].part);
	}
	free(set);
}

int eval_corpus(struct eval_corpus *config, char **files, int n_files, struct err *e)
{
	struct corpus c = {.c = config};
	int failed = prepare(&c, e);
	int64_t n = n_files ? n_files : c.sources.n;
	struct set *set = xcalloc((size_t)n + 1, sizeof *set);
	c.set = set;
	if (!n_files && !failed)
		failed = read_all(config->rows->tool, &c, e);
	for (int i = 0; i < n_files && !failed; i++) {
		c.set = &set[i];
		failed = eval_one_file(config->rows->tool, &files[i], read_all, &c, e);
	}
	if (!failed)
		failed = put_all(&c, set, files, n_files, e) || eval_limits_end(config->limits, e) ? -1 : 0;
	release_sets(set, n);
	eval_sources_release(&c.sources);
	filter_free(c.refs);
	filter_free(c.group);
	free(c.name);
	return failed;
}
