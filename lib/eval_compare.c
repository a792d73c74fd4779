/* eval_compare - see eval_compare.h */
#include "lib/eval_compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record.h"
#include "lib/util.h"

struct comparison {
	const char *system, *measure, *group;
	bool is_all;
	struct stats_paired p;
	double adjusted;
};

/* Rows of the group that both have, and in which the measure is there: fills x, y. */
static int64_t pairs(double *x, double *y, const struct eval_group *g, const int64_t *match,
                     const struct eval_column *a, const struct eval_column *b)
{
	int64_t k = 0;
	for (int64_t j = 0; j < g->n; j++) {
		int64_t i = g->row[j];
		if (match[i] < 0 || isnan(a->x[i]) || isnan(b->x[match[i]]))
			continue;
		x[k] = a->x[i];
		y[k++] = b->x[match[i]];
	}
	return k;
}

struct comparisons {
	struct comparison *row;
	int64_t n;
};

/* A row for each measure and group that base and t have; match: the row of t of each of base. */
static int compare_with(struct eval_compare *c, const struct eval_table *base, const struct eval_table *t,
                        const int64_t *match, const char *system, struct comparisons *all, struct err *e)
{
	int64_t before = all->n;
	double *x = xcalloc((size_t)base->n + 1, sizeof *x), *y = xcalloc((size_t)base->n + 1, sizeof *y);
	for (int64_t k = 0; k < base->n_columns * base->n_groups; k++) {
		const struct eval_column *column = &base->column[k / base->n_groups];
		const struct eval_group *group = &base->group[k % base->n_groups];
		int64_t other = eval_table_find(t, column->name);
		int64_t n = other < 0 ? 0 : pairs(x, y, group, match, column, &t->column[other]);
		if (n == 0)
			continue;
		all->row = xrealloc_array(all->row, (size_t)all->n + 1, sizeof *all->row);
		struct comparison *r = &all->row[all->n++];
		*r = (struct comparison){.system = system,
		                         .measure = column->name,
		                         .group = group->name,
		                         .is_all = group == &base->group[base->n_groups - 1]};
		/* The system against the base: a gain is positive. */
		stats_paired(&r->p, y, x, n, c->stats);
	}
	free(x);
	free(y);
	return all->n > before ? 0 : err_set(e, "%s: no id and measure in common with the first file", system);
}

static void adjust(struct eval_compare *c, struct comparisons *all)
{
	double *p = xcalloc((size_t)all->n + 1, sizeof *p);
	for (int64_t i = 0; i < all->n; i++)
		p[i] = all->row[i].p.p_t;
	stats_adjust(c->adjust, p, p, all->n);
	for (int64_t i = 0; i < all->n; i++)
		all->row[i].adjusted = p[i];
	free(p);
}

/* kind: what the systems are, "file" or "baseline". */
static int print_comparisons(struct eval_compare *c, struct comparisons *all, const char *kind, bool several,
                             struct err *e)
{
	struct comparison *rows = all->row;
	int64_t n = all->n;
	static const char *const adjusted[] = {"holm_p", "bonferroni_p", "bh_p"};
	const char *const names[] = {"base", "system",     "difference", "low", "high",
	                             "t_p",  "wilcoxon_p", "random_p",   "dz",  adjusted[c->adjust]};
	int failed = eval_rows_head(c->rows, names, ARRAY_LEN(names), several ? kind : NULL, e);
	for (int64_t i = 0; i < n && !failed; i++) {
		const struct stats_paired *p = &rows[i].p;
		eval_rows_begin(c->rows, rows[i].measure, rows[i].group, p->n);
		if (c->rows->json)
			eval_rows_put_text(c->rows, kind, rows[i].system);
		const double cells[] = {p->mean_b, p->mean_a,     p->difference,      p->low, p->high,
		                        p->p_t,    p->p_wilcoxon, p->p_randomization, p->dz,  rows[i].adjusted};
		for (size_t k = 0; k < ARRAY_LEN(cells); k++)
			eval_rows_put(c->rows, names[k], cells[k]);
		if (rows[i].is_all)
			eval_limits_check(c->limits, rows[i].measure, p->mean_a, *kind == 'f' ? rows[i].system : "");
		if (c->rows->json) {
			eval_rows_put(c->rows, "percent", 100 * p->difference / fabs(p->mean_b));
			eval_rows_put(c->rows, "t", p->t);
			eval_rows_put(c->rows, "wilcoxon_exact_p", p->p_wilcoxon_exact);
			eval_rows_put(c->rows, "rank_biserial", p->rank_biserial);
			eval_rows_put(c->rows, "sign_p", p->p_sign);
			str_addf(c->rows->out, ",\"wins\":%lld,\"losses\":%lld,\"ties\":%lld", (long long)p->wins,
			         (long long)p->losses, (long long)p->ties);
		}
		if (several && !c->rows->json)
			eval_rows_put_text(c->rows, kind, rows[i].system);
		failed = eval_rows_end(c->rows, e);
	}
	return failed;
}

struct reading {
	struct eval_table *table;
	const struct eval_input *input;
};

static int read_table(struct tool *tool, void *arg, struct err *e)
{
	struct reading *r = arg;
	if (eval_read(r->table, tool, r->input, e))
		return -1;
	for (int64_t k = 0; k < r->table->n_columns; k++)
		if (r->table->column[k].is_exp)
			return err_set(e, "measure '%s' is of all tokens together: --compare wants one of each record",
			               r->table->column[k].name);
	return 0;
}

static int check_limits(const struct eval_compare *c, const struct eval_table *t, struct err *e)
{
	const char **names = eval_table_names(t);
	int failed = eval_limits_known(c->limits, names, (size_t)t->n_columns, e);
	free(names);
	return failed;
}

/* Records of either file whose id the other has not: they are in no pair, and the closing line says how many. */
static void count_alone(struct tool *tool, const struct eval_table *base, const struct eval_table *t,
                        const int64_t *match)
{
	int64_t both = 0;
	for (int64_t i = 0; i < base->n; i++)
		both += match[i] >= 0;
	tool->count[3].name = "without a partner";
	tool->count[3].n += base->n + t->n - 2 * both;
}

int eval_compare(struct eval_compare *c, char **files, int n_files, struct err *e)
{
	struct eval_table *t = xcalloc((size_t)n_files, sizeof *t);
	struct comparisons all = {0};
	int failed = 0;
	for (int i = 0; i < n_files && !failed; i++) {
		struct eval_input input = *c->input;
		int64_t *match = NULL;
		if (i > 0)
			input.group_by = NULL;
		failed = eval_one_file(c->rows->tool, &files[i], read_table, &(struct reading){&t[i], &input}, e);
		if (!failed && i == 0)
			failed = check_limits(c, t, e);
		if (!failed && i > 0)
			failed = eval_join(&t[0], &t[i], &match, e)
			                 ? err_where(e, "%s", files[i])
			                 : compare_with(c, &t[0], &t[i], match, files[i], &all, e);
		if (!failed && i > 0)
			count_alone(c->rows->tool, &t[0], &t[i], match);
		free(match);
	}
	adjust(c, &all);
	if (!failed)
		failed = print_comparisons(c, &all, "file", n_files > 2, e) || eval_limits_end(c->limits, e) ? -1 : 0;
	for (int i = 0; i < n_files; i++)
		eval_table_release(&t[i]);
	free(all.row);
	free(t);
	return failed;
}

/* The columns of one source, as a table that borrows from t. */
static struct eval_table columns_of(const struct eval_table *t, int64_t source, struct eval_column *room)
{
	struct eval_table view = *t;
	view.column = room;
	view.n_columns = 0;
	for (int64_t i = 0; i < t->n_columns; i++)
		if (t->column[i].source == source)
			room[view.n_columns++] = t->column[i];
	return view;
}

int eval_compare_baselines(struct eval_compare *c, struct err *e)
{
	struct eval_sources sources;
	struct eval_table t = {0};
	struct comparisons all = {0};
	int failed = eval_sources_init(&sources, c->input->texts, e) || eval_read(&t, c->rows->tool, c->input, e) ||
	             check_limits(c, &t, e);
	struct eval_column *ours = xcalloc((size_t)t.n_columns + 1, sizeof *ours),
	                   *theirs = xcalloc((size_t)t.n_columns + 1, sizeof *theirs);
	int64_t *same = xcalloc((size_t)t.n + 1, sizeof *same);
	for (int64_t i = 0; i < t.n; i++)
		same[i] = i;
	for (int64_t k = 1; k < sources.n && !failed; k++) {
		struct eval_table system = columns_of(&t, 0, ours), base = columns_of(&t, k, theirs);
		const char *name = sources.source[k].name;
		failed = t.n ? compare_with(c, &base, &system, same, name, &all, e) : 0;
	}
	adjust(c, &all);
	if (!failed)
		failed = print_comparisons(c, &all, "baseline", true, e) || eval_limits_end(c->limits, e) ? -1 : 0;
	free(ours);
	free(theirs);
	free(same);
	free(all.row);
	eval_table_release(&t);
	eval_sources_release(&sources);
	return failed ? -1 : 0;
}
