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

static int compare_with(struct eval_compare *c, const struct eval_table *base, const struct eval_table *t,
                        const char *system, struct comparison **rows, int64_t *n_rows, struct err *e)
{
	int64_t *match, before = *n_rows;
	if (eval_join(base, t, &match, e))
		return err_where(e, "%s", system);
	double *x = xcalloc((size_t)base->n + 1, sizeof *x), *y = xcalloc((size_t)base->n + 1, sizeof *y);
	for (int64_t k = 0; k < base->n_columns * base->n_groups; k++) {
		const struct eval_column *column = &base->column[k / base->n_groups];
		const struct eval_group *group = &base->group[k % base->n_groups];
		int64_t other = eval_table_find(t, column->name);
		int64_t n = other < 0 ? 0 : pairs(x, y, group, match, column, &t->column[other]);
		if (n == 0)
			continue;
		*rows = xrealloc_array(*rows, (size_t)*n_rows + 1, sizeof **rows);
		struct comparison *r = &(*rows)[(*n_rows)++];
		*r = (struct comparison){.system = system,
		                         .measure = column->name,
		                         .group = group->name,
		                         .is_all = group == &base->group[base->n_groups - 1]};
		/* The system against the base: a gain is positive. */
		stats_paired(&r->p, y, x, n, c->stats);
	}
	free(x);
	free(y);
	free(match);
	return *n_rows > before ? 0 : err_set(e, "%s: no id and measure in common with the first file", system);
}

static int print_comparisons(struct eval_compare *c, struct comparison *rows, int64_t n, bool several, struct err *e)
{
	static const char *const adjusted[] = {"holm_p", "bonferroni_p", "bh_p"};
	const char *const names[] = {"base", "system",     "difference", "low", "high",
	                             "t_p",  "wilcoxon_p", "random_p",   "dz",  adjusted[c->adjust]};
	int failed = eval_rows_head(c->rows, names, ARRAY_LEN(names), several ? "file" : NULL, e);
	for (int64_t i = 0; i < n && !failed; i++) {
		const struct stats_paired *p = &rows[i].p;
		eval_rows_begin(c->rows, rows[i].measure, rows[i].group, p->n);
		if (c->rows->json)
			eval_rows_put_text(c->rows, "file", rows[i].system);
		const double cells[] = {p->mean_b, p->mean_a,     p->difference,      p->low, p->high,
		                        p->p_t,    p->p_wilcoxon, p->p_randomization, p->dz,  rows[i].adjusted};
		for (size_t k = 0; k < ARRAY_LEN(cells); k++)
			eval_rows_put(c->rows, names[k], cells[k]);
		if (rows[i].is_all)
			eval_limits_check(c->limits, rows[i].measure, p->mean_a, rows[i].system);
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
			eval_rows_put_text(c->rows, "file", rows[i].system);
		failed = eval_rows_end(c->rows, e);
	}
	return failed;
}

int eval_compare(struct eval_compare *c, char **files, int n_files, struct err *e)
{
	struct tool *tool = c->rows->tool;
	struct eval_table *t = xcalloc((size_t)n_files, sizeof *t);
	struct comparison *rows = NULL;
	int64_t n = 0;
	int failed = 0;
	for (int i = 0; i < n_files && !failed; i++) {
		struct tool one;
		tool_init(&one, &tool->config);
		one.out = tool->out;
		one.drops_errors = true;
		struct eval_input input = *c->input;
		if (i > 0)
			input.group_by = NULL;
		failed = tool_open(&one, &files[i], 1, e) || eval_read(&t[i], &one, &input, e);
		tool->n_in += one.n_in;
		tool->n_errors += one.n_errors;
		tool->n_skipped += one.n_skipped;
		tool->count[0].name = one.count[0].name;
		tool->count[0].n += one.count[0].n;
		one.config.quiet = true;
		tool_end(&one, 0, NULL);
		for (int64_t k = 0; k < t[i].n_columns && !failed; k++)
			if (t[i].column[k].is_exp)
				failed = err_set(
				        e, "measure '%s' is of all tokens together: --compare wants one of each record",
				        t[i].column[k].name);
		if (!failed && i == 0) {
			const char **names = eval_table_names(t);
			failed = eval_limits_known(c->limits, names, (size_t)t->n_columns, e);
			free(names);
		}
		if (!failed && i > 0)
			failed = compare_with(c, &t[0], &t[i], files[i], &rows, &n, e);
	}
	double *p = xcalloc((size_t)n + 1, sizeof *p);
	for (int64_t i = 0; i < n; i++)
		p[i] = rows[i].p.p_t;
	stats_adjust((enum stats_adjust)c->adjust, p, p, n);
	for (int64_t i = 0; i < n; i++)
		rows[i].adjusted = p[i];
	if (!failed)
		failed = print_comparisons(c, rows, n, n_files > 2, e) || eval_limits_end(c->limits, e) ? -1 : 0;
	for (int i = 0; i < n_files; i++)
		eval_table_release(&t[i]);
	free(p);
	free(rows);
	free(t);
	return failed;
}
