/*
 * rl-eval - measures over records: means with intervals, and comparisons of systems with significance.
 *
 * With --compare the records of two or more files are joined by id and each system compared with the first, p values
 * adjusted over all rows; with --baseline the text of each record with what costs nothing.  With --trec: a TREC run
 * against judgements, in trec_eval's format.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval_compare.h"
#include "lib/eval_corpus.h"
#include "lib/eval_limits.h"
#include "lib/eval_records.h"
#include "lib/eval_rows.h"
#include "lib/rank_metrics_trec.h"
#include "lib/stats.h"
#include "lib/str.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	struct eval_input input;
	struct eval_texts_config texts;
	bool compare, json, markdown;
	struct stats_config stats;
	struct trec_config trec;
	struct cli_list fail_under;
	int adjust;
	bool is_trec;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"measure", 'm', OPT_LIST, AT(input.measures), NULL, "NAME",
         "a field, a jq program that begins with a dot, NAME=PROGRAM, @accuracy, @babilong or @perplexity", 0, 0},
        {"group-by", 0, OPT_STR, AT(input.group_by), NULL, "FILTER", "rows for each value of it, sorted, then all", 0,
         0},
        {"target", 0, OPT_STR, AT(input.target), ".target", "FILTER", "what @accuracy and @babilong want of the text",
         0, 0},
        {"compare", 0, OPT_FLAG, AT(compare), NULL, NULL, "compare the files, each with the first, joined by id", 0, 0},
        {"json", 0, OPT_FLAG, AT(json), NULL, NULL, "one JSON object per row instead of a table", 0, 0},
        {"markdown", 0, OPT_FLAG, AT(markdown), NULL, NULL, "the table as Markdown", 0, 0},
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
	struct eval_rows rows;
	struct eval_limits limits;
};

/* The values of a column that are there, and what they are sums over; x, w: room for all. */
static void mean_of(struct stats_mean *m, const struct eval_column *c, const struct eval_group *g, double *x, double *w,
                    const struct stats_config *config)
{
	int64_t k = 0;
	for (int64_t i = 0; i < g->n; i++) {
		if (isnan(c->x[g->row[i]]))
			continue;
		w[k] = c->w[g->row[i]];
		x[k++] = c->x[g->row[i]];
	}
	stats_mean(m, x, c->is_exp ? w : NULL, k, config);
	if (!c->is_exp)
		return;
	m->sd = NAN;
	double *const shown[] = {&m->mean, &m->low, &m->high, &m->min, &m->median, &m->max};
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		*shown[i] = exp(*shown[i]);
}

static int put_mean(struct state *s, const char *measure, const char *group, const struct stats_mean *m, struct err *e)
{
	eval_rows_begin(&s->rows, measure, group, m->n);
	eval_rows_put(&s->rows, "mean", m->mean);
	eval_rows_put(&s->rows, "low", m->low);
	eval_rows_put(&s->rows, "high", m->high);
	eval_rows_put(&s->rows, "sd", m->n > 1 ? m->sd : NAN);
	eval_rows_put(&s->rows, "min", m->min);
	eval_rows_put(&s->rows, "median", m->median);
	eval_rows_put(&s->rows, "max", m->max);
	return eval_rows_end(&s->rows, e);
}

/* What would end the run behind its first rows: a measure that no record has, a limit of one that is not there. */
static int check_table(const struct state *s, const struct eval_table *t, struct err *e)
{
	const char **names = eval_table_names(t);
	int failed = eval_limits_known(&s->limits, names, (size_t)t->n_columns, e);
	free(names);
	for (int64_t c = 0; c < t->n_columns && t->n && !failed; c++) {
		bool has = false;
		for (int64_t i = 0; i < t->n && !has; i++)
			has = !isnan(t->column[c].x[i]);
		if (!has)
			failed = err_set(e, "measure '%s' is in none of %lld records", t->column[c].name,
			                 (long long)t->n);
	}
	return failed;
}

static int means(struct state *s, struct err *e)
{
	static const char *const names[] = {"mean", "low", "high", "sd", "min", "median", "max"};
	struct eval_table t;
	int failed = eval_read(&t, &s->tool, &s->c.input, e) || check_table(s, &t, e) ||
	             eval_rows_head(&s->rows, names, ARRAY_LEN(names), NULL, e);
	double *x = xcalloc((size_t)t.n + 1, sizeof *x), *w = xcalloc((size_t)t.n + 1, sizeof *w);
	for (int64_t i = 0; i < t.n_columns * t.n_groups && !failed; i++) {
		const struct eval_column *column = &t.column[i / t.n_groups];
		const struct eval_group *group = &t.group[i % t.n_groups];
		struct stats_mean m;
		mean_of(&m, column, group, x, w, &s->c.stats);
		failed = put_mean(s, column->name, group->name, &m, e);
		if (i % t.n_groups == t.n_groups - 1)
			eval_limits_check(&s->limits, column->name, m.mean, "");
	}
	free(x);
	free(w);
	eval_table_release(&t);
	return failed ? -1 : eval_limits_end(&s->limits, e);
}

static int compare(struct state *s, char **files, int n_files, struct err *e)
{
	struct eval_compare c = {&s->rows, &s->c.input, &s->c.stats, (enum stats_adjust)s->c.adjust, &s->limits};
	return s->c.compare ? eval_compare(&c, files, n_files, e) : eval_compare_baselines(&c, e);
}

static int corpus(struct state *s, char **files, int n_files, struct err *e)
{
	struct eval_corpus c = {&s->rows, &s->corpus, &s->c.input, &s->limits};
	return eval_corpus(&c, files, s->c.compare ? n_files : 0, e);
}

static int trec(struct state *s, char **operands, struct err *e)
{
	struct trec_config *c = &s->c.trec;
	c->measures = s->c.input.measures.item;
	c->n_measures = s->c.input.measures.n;
	c->per_query = s->tool.config.quiet;
	s->tool.config.quiet = true;
	if (trec_evaluate(c, operands[0], operands[1], &s->out, e))
		return -1;
	return sink_write(s->tool.out, s->out.buf, s->out.len, e);
}

/* Options that do not go together. */
static void check_use(const struct state *s, int n_operands)
{
	if (s->c.compare && n_operands < 2)
		cli_misuse("--compare wants a base and at least one system, but %d file%s given", n_operands,
		           n_operands == 1 ? " is" : "s are");
	if (s->c.is_trec && n_operands != 2)
		cli_misuse("--trec wants judgements and a run, but %d file%s given", n_operands,
		           n_operands == 1 ? " is" : "s are");
	if (s->corpus.corpus && (s->c.is_trec || !s->c.input.measures.n))
		cli_misuse("--corpus wants a --measure, and no --trec");
	if (s->c.input.group_by && s->c.is_trec)
		cli_misuse("--group-by does not go with --trec");
	if (s->c.texts.baselines.n && (s->c.compare || s->c.is_trec || !s->c.input.measures.n))
		cli_misuse("--baseline wants a --measure, and neither --compare nor --trec");
	if (s->c.markdown && (s->c.json || s->c.is_trec))
		cli_misuse("--markdown goes with neither --json nor --trec");
	const char *wrong;
	if (!eval_limits_valid(&s->c.fail_under, &wrong))
		cli_misuse("--fail-under '%s' is not MEASURE=NUMBER", wrong);
	if (s->c.fail_under.n && s->c.is_trec)
		cli_misuse("--fail-under does not go with --trec");
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Texts", eval_texts_options, &s.c.texts},
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
	check_use(&s, n_operands);
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	s.tool.drops_errors = true;
	s.c.input.texts = &s.c.texts;
	str_init(&s.out);
	s.limits.specs = &s.c.fail_under;
	s.rows = (struct eval_rows){&s.tool, &s.out, s.c.json, s.c.markdown, s.c.input.group_by != NULL, false};
	int failed = tool_open(&s.tool, operands, n_operands, &e);
	if (!failed)
		failed = s.c.is_trec                            ? trec(&s, operands, &e)
		         : s.corpus.corpus                      ? corpus(&s, operands, n_operands, &e)
		         : s.c.compare || s.c.texts.baselines.n ? compare(&s, operands, n_operands, &e)
		                                                : means(&s, &e);
	return tool_end(&s.tool, failed, &e);
}
