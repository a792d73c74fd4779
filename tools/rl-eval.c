/*
 * rl-eval - measures over records: means with intervals, and comparisons of systems with significance.
 *
 * With --compare the records of two or more files are joined by id and each system compared with the first, p values
 * adjusted over all rows.  With --trec: a TREC run against judgements, in trec_eval's format.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval_corpus.h"
#include "lib/eval_limits.h"
#include "lib/eval_records.h"
#include "lib/rank_metrics_trec.h"
#include "lib/stats.h"
#include "lib/str.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	struct cli_list measures;
	bool compare, json;
	struct stats_config stats;
	struct trec_config trec;
	struct cli_list fail_under;
	int adjust;
	bool is_trec;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"measure", 'm', OPT_LIST, AT(measures), NULL, "NAME",
         "a field, a jq program that begins with a dot, or NAME=PROGRAM", 0, 0},
        {"compare", 0, OPT_FLAG, AT(compare), NULL, NULL, "compare the files, each with the first, joined by id", 0, 0},
        {"json", 0, OPT_FLAG, AT(json), NULL, NULL, "one JSON object per row instead of a table", 0, 0},
        {"adjust", 0, OPT_CHOICE, AT(adjust), "holm", STATS_ADJUSTMENTS, "of the t tests' p over all rows", 0, 0},
        {"fail-under", 0, OPT_LIST, AT(fail_under), NULL, "MEASURE=X",
         "exit 1 when the mean, with --compare a system's, is under X", 0, 0},
        {"trec", 0, OPT_FLAG, AT(is_trec), NULL, NULL, "a TREC run against judgements; -q is then per query", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct eval_corpus_config corpus;
	struct tool tool;
	struct str out;
	struct eval_limits limits;
};

/* A cell of a row; NaN is null in JSON and a dash in the table. */
static void put(struct state *s, const char *name, double x)
{
	if (s->c.json) {
		str_addf(&s->out, ",\"%s\":", name);
		json_put_num(&s->out, x);
	} else if (isnan(x)) {
		str_addf(&s->out, " %10s", "-");
	} else {
		str_addf(&s->out, " %10.4g", x);
	}
}

static void begin_row(struct state *s, const char *measure, int64_t n)
{
	if (s->c.json) {
		str_adds(&s->out, "{\"measure\":");
		json_put_str(&s->out, measure, strlen(measure));
		str_addf(&s->out, ",\"n\":%lld", (long long)n);
	} else {
		str_addf(&s->out, "%-28s %8lld", measure, (long long)n);
	}
}

static int end_row(struct state *s, struct err *e)
{
	str_adds(&s->out, s->c.json ? "}\n" : "\n");
	int failed = sink_write(s->tool.out, s->out.buf, s->out.len, e);
	str_clear(&s->out);
	s->tool.n_out++;
	return failed < 0 ? -1 : 0;
}

static int head(struct state *s, const char *const *names, size_t n, struct err *e)
{
	if (s->c.json)
		return 0;
	str_addf(&s->out, "%-28s %8s", "measure", "n");
	for (size_t i = 0; i < n; i++)
		str_addf(&s->out, " %10s", names[i]);
	str_addc(&s->out, '\n');
	int failed = sink_write(s->tool.out, s->out.buf, s->out.len, e);
	str_clear(&s->out);
	return failed < 0 ? -1 : 0;
}

/* The values of a column that are there. */
static int64_t present(double *out, const struct eval_column *c, int64_t n)
{
	int64_t k = 0;
	for (int64_t i = 0; i < n; i++)
		if (!isnan(c->x[i]))
			out[k++] = c->x[i];
	return k;
}

static int means(struct state *s, struct err *e)
{
	static const char *const names[] = {"mean", "low", "high", "sd", "min", "median", "max"};
	struct eval_table t;
	int failed = eval_read(&t, &s->tool, &s->c.measures, e) || head(s, names, ARRAY_LEN(names), e);
	double *x = xcalloc((size_t)t.n + 1, sizeof *x);
	for (int64_t c = 0; c < t.n_columns && !failed; c++) {
		struct stats_mean m;
		stats_mean(&m, x, NULL, present(x, &t.column[c], t.n), &s->c.stats);
		if (!m.n && t.n) {
			failed =
			        err_set(e, "measure '%s' is in none of %lld records", t.column[c].name, (long long)t.n);
			break;
		}
		eval_limits_check(&s->limits, t.column[c].name, m.mean, "");
		begin_row(s, t.column[c].name, m.n);
		put(s, "mean", m.mean);
		put(s, "low", m.low);
		put(s, "high", m.high);
		put(s, "sd", m.n > 1 ? m.sd : NAN);
		put(s, "min", m.min);
		put(s, "median", m.median);
		put(s, "max", m.max);
		failed = end_row(s, e);
	}
	free(x);
	eval_table_release(&t);
	return failed ? failed : eval_limits_end(&s->limits, e);
}

/* ---- comparisons ---- */

struct comparison {
	const char *system, *measure;
	struct stats_paired p;
	double adjusted;
};

/* Rows of both in which the measure is there: fills x, y. */
static int64_t pairs(double *x, double *y, const struct eval_table *a, const struct eval_table *b, const int64_t *match,
                     int64_t ca, int64_t cb)
{
	int64_t k = 0;
	for (int64_t i = 0; i < a->n; i++) {
		if (match[i] < 0 || isnan(a->column[ca].x[i]) || isnan(b->column[cb].x[match[i]]))
			continue;
		x[k] = a->column[ca].x[i];
		y[k++] = b->column[cb].x[match[i]];
	}
	return k;
}

static int compare_with(struct state *s, const struct eval_table *base, const struct eval_table *t, const char *system,
                        struct comparison **rows, int64_t *n_rows, struct err *e)
{
	int64_t *match, before = *n_rows;
	if (eval_join(base, t, &match, e))
		return err_where(e, "%s", system);
	double *x = xcalloc((size_t)base->n + 1, sizeof *x), *y = xcalloc((size_t)base->n + 1, sizeof *y);
	for (int64_t c = 0; c < base->n_columns; c++) {
		int64_t other = eval_table_find(t, base->column[c].name);
		int64_t n = other < 0 ? 0 : pairs(x, y, base, t, match, c, other);
		if (n == 0)
			continue;
		*rows = xrealloc_array(*rows, (size_t)*n_rows + 1, sizeof **rows);
		struct comparison *r = &(*rows)[(*n_rows)++];
		*r = (struct comparison){.system = system, .measure = base->column[c].name};
		/* The system against the base: a gain is positive. */
		stats_paired(&r->p, y, x, n, &s->c.stats);
	}
	free(x);
	free(y);
	free(match);
	return *n_rows > before ? 0 : err_set(e, "%s: no id and measure in common with the first file", system);
}

static int print_comparisons(struct state *s, struct comparison *rows, int64_t n, bool several, struct err *e)
{
	static const char *const adjusted[] = {"holm_p", "bonferroni_p", "bh_p"};
	const char *const names[] = {"base", "system",     "difference", "low", "high",
	                             "t_p",  "wilcoxon_p", "random_p",   "dz",  adjusted[s->c.adjust]};
	int failed = head(s, names, ARRAY_LEN(names), e);
	for (int64_t i = 0; i < n && !failed; i++) {
		const struct stats_paired *p = &rows[i].p;
		begin_row(s, rows[i].measure, p->n);
		if (s->c.json) {
			str_adds(&s->out, ",\"file\":");
			json_put_str(&s->out, rows[i].system, strlen(rows[i].system));
		}
		const double cells[] = {p->mean_b, p->mean_a,     p->difference,      p->low, p->high,
		                        p->p_t,    p->p_wilcoxon, p->p_randomization, p->dz,  rows[i].adjusted};
		for (size_t k = 0; k < ARRAY_LEN(cells); k++)
			put(s, names[k], cells[k]);
		eval_limits_check(&s->limits, rows[i].measure, p->mean_a, rows[i].system);
		if (s->c.json) {
			put(s, "percent", 100 * p->difference / fabs(p->mean_b));
			put(s, "t", p->t);
			put(s, "wilcoxon_exact_p", p->p_wilcoxon_exact);
			put(s, "rank_biserial", p->rank_biserial);
			put(s, "sign_p", p->p_sign);
			str_addf(&s->out, ",\"wins\":%lld,\"losses\":%lld,\"ties\":%lld", (long long)p->wins,
			         (long long)p->losses, (long long)p->ties);
		}
		if (several && !s->c.json)
			str_addf(&s->out, "  %s", rows[i].system);
		failed = end_row(s, e);
	}
	return failed;
}

static int compare(struct state *s, char **files, int n_files, struct err *e)
{
	struct eval_table *t = xcalloc((size_t)n_files, sizeof *t);
	struct comparison *rows = NULL;
	int64_t n = 0;
	int failed = 0;
	for (int i = 0; i < n_files && !failed; i++) {
		struct tool one;
		tool_init(&one, &s->tool.config);
		one.out = s->tool.out;
		failed = tool_open(&one, &files[i], 1, e) || eval_read(&t[i], &one, &s->c.measures, e);
		s->tool.n_in += one.n_in;
		one.config.quiet = true;
		tool_end(&one, 0, NULL);
		if (!failed && i > 0)
			failed = compare_with(s, &t[0], &t[i], files[i], &rows, &n, e);
	}
	double *p = xcalloc((size_t)n + 1, sizeof *p);
	for (int64_t i = 0; i < n; i++)
		p[i] = rows[i].p.p_t;
	stats_adjust((enum stats_adjust)s->c.adjust, p, p, n);
	for (int64_t i = 0; i < n; i++)
		rows[i].adjusted = p[i];
	if (!failed)
		failed = print_comparisons(s, rows, n, n_files > 2, e) || eval_limits_end(&s->limits, e) ? -1 : 0;
	for (int i = 0; i < n_files; i++)
		eval_table_release(&t[i]);
	free(p);
	free(rows);
	free(t);
	return failed;
}

/* ---- trec_eval ---- */

static int trec(struct state *s, char **operands, struct err *e)
{
	struct trec_config *c = &s->c.trec;
	c->measures = s->c.measures.item;
	c->n_measures = s->c.measures.n;
	c->per_query = s->tool.config.quiet;
	s->tool.config.quiet = true;
	if (trec_evaluate(c, operands[0], operands[1], &s->out, e))
		return -1;
	return sink_write(s->tool.out, s->out.buf, s->out.len, e);
}

static int corpus(struct state *s, struct err *e)
{
	if (eval_corpus(&s->tool, &s->corpus, &s->c.measures, s->c.json, &s->out, e))
		return -1;
	return sink_write(s->tool.out, s->out.buf, s->out.len, e);
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Corpus", eval_corpus_options, &s.corpus},
	                                   {"Statistics", stats_options, &s.c.stats},
	                                   {"trec_eval", trec_options, &s.c.trec},
	                                   {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-eval",
	                        .summary = "means of measures over records, and comparisons of systems",
	                        .usage = "[OPTION]... [FILE]...\n--compare [OPTION]... BASE SYSTEM...\n--corpus -m "
	                                 "NAME... [OPTION]... [FILE]...\n--trec "
	                                 "[OPTION]... JUDGEMENTS RUN",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n_operands;
	char **operands = cli_parse(&cli, argc, argv, &n_operands);
	if (s.c.compare && n_operands < 2)
		cli_misuse("--compare wants a base and at least one system, but %d file%s given", n_operands,
		           n_operands == 1 ? " is" : "s are");
	if (s.c.is_trec && n_operands != 2)
		cli_misuse("--trec wants judgements and a run, but %d file%s given", n_operands,
		           n_operands == 1 ? " is" : "s are");
	if (s.corpus.corpus && (s.c.compare || s.c.is_trec || !s.c.measures.n))
		cli_misuse("--corpus wants a --measure, and neither --compare nor --trec");
	const char *wrong;
	if (!eval_limits_valid(&s.c.fail_under, &wrong))
		cli_misuse("--fail-under '%s' is not MEASURE=NUMBER", wrong);
	if (s.c.fail_under.n && s.c.is_trec)
		cli_misuse("--fail-under does not go with --trec");
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	str_init(&s.out);
	s.limits.specs = &s.c.fail_under;
	int failed = tool_open(&s.tool, operands, n_operands, &e);
	if (!failed)
		failed = s.c.trec          ? trec(&s, operands, &e)
		         : s.c.compare     ? compare(&s, operands, n_operands, &e)
		         : s.corpus.corpus ? corpus(&s, &e)
		                           : means(&s, &e);
		failed = s.c.is_trec   ? trec(&s, operands, &e)
		         : s.c.compare ? compare(&s, operands, n_operands, &e)
		                       : means(&s, &e);
	return tool_end(&s.tool, failed, &e);
}
