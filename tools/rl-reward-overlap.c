/*
 * rl-reward-overlap - how much a text has in common with references: BLEU, ROUGE, chrF, exact match, F1, word errors.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/filter.h"
#include "lib/overlap.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	struct cli_list metrics;
	const char *text, *refs, *as;
	double otherwise;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"metric", 'm', OPT_LIST, FIELD(metrics), NULL, "NAME",
         "a measure with its options, as bleu:smooth=floor; required", 0, 0},
        {"text", 0, OPT_STR, FIELD(text), ".completion", "FILTER", "what is scored", 0, 0},
        {"refs", 0, OPT_STR, FIELD(refs), ".references", "FILTER", "what it is compared with: a string or several", 0,
         0},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where the first measure has no value", 0, 0},
        {"as", 0, OPT_STR, FIELD(as), "reward_overlap", "NAME", "name of the reward that is added", 0, 0},
        {NULL},
};

struct reward_overlap {
	struct config config;
	struct filter *text, *refs;
	struct overlap *overlap;
	double *value;
	struct str json;
};

static int add_values(struct reward_overlap *x, struct record *r, struct err *e)
{
	str_clear(&x->json);
	for (size_t i = 0; i < x->config.metrics.n; i++) {
		const char *name = x->config.metrics.item[i];
		str_addc(&x->json, i ? ',' : '{');
		json_put_str(&x->json, name, strlen(name));
		str_addc(&x->json, ':');
		json_put_num(&x->json, x->value[i]);
	}
	str_addc(&x->json, '}');
	if (record_add_raw(r, "overlap", x->json.buf, x->json.len, e))
		return -1;
	return record_add_num(r, x->config.as, isnan(x->value[0]) ? x->config.otherwise : x->value[0], e);
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_overlap *x = arg;
	const char *text = NULL, **ref = NULL;
	size_t len = 0, *ref_len = NULL;
	int64_t n = -1;
	int found = filter_str(x->text, r, &text, &len, &t->arena, e);
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	if (found < 0 && !record_has(r, "completion"))
		return -1;
	if (!found && !record_has(r, "completion"))
		return err_set(e, "--text: '%s' gives nothing", filter_program(x->text));
	t->count[0].n += found <= 0;
	int has = filter_strs(x->refs, r, &ref, &ref_len, &n, &t->arena, e);
	if (has < 0)
		return -1;
	t->count[1].n += has == 0;
	const struct overlap_refs refs = {ref, ref_len, has ? n : -1};
	for (size_t i = 0; i < x->config.metrics.n; i++)
		x->value[i] = NAN;
	if (found > 0)
		overlap_score(x->overlap, text, len, &refs, x->value);
	t->count[2].n += isnan(x->value[0]);
	return add_values(x, r, e);
}

int main(int argc, char **argv)
{
	struct reward_overlap x = {0};
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config}, {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reward-overlap",
	        .summary = "reward a text by what it has in common with references",
	        .usage = "[OPTION]... --metric NAME... [FILE]...",
	        .details = "Adds overlap {NAME: number} and reward_overlap, the first of them.  NAME is one of bleu, "
	                   "nltk_bleu, bleu@1..4, chrf, chrf++, rouge1..9, rougeL, rougeLsum, squad_em, squad_f1, "
	                   "squad2_em, squad2_f1, distinct_1..4, wer, with options behind colons: see the manual.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (!x.config.metrics.n)
		cli_misuse("--metric is required");
	if (!(x.text = filter_new("text", x.config.text, NULL, 0, &e)) ||
	    !(x.refs = filter_new("refs", x.config.refs, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
	if (!(x.overlap = overlap_new(x.config.metrics.item, x.config.metrics.n, false, &e)))
		cli_misuse("--metric: %s", e.msg);
	x.value = xcalloc(x.config.metrics.n, sizeof *x.value);
	str_init(&x.json);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.count[0].name = "without a text";
	t.count[1].name = "without references";
	t.count[2].name = "unscored";
	int status = tool_run(&t, operands, n, process, NULL, &x);
	str_release(&x.json);
	overlap_free(x.overlap);
	filter_free(x.text);
	filter_free(x.refs);
	free(x.value);
	return status;
}
