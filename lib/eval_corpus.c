/* eval_corpus - see eval_corpus.h */
#include "lib/eval_corpus.h"

#include "lib/filter.h"
#include "lib/overlap.h"

#define AT(field) offsetof(struct eval_corpus_config, field)
const struct opt eval_corpus_options[] = {
        {"corpus", 0, OPT_FLAG, AT(corpus), NULL, NULL, "overlap measures of all texts together", 0, 0},
        {"text", 0, OPT_STR, AT(text), ".completion", "FILTER", "what is scored", 0, 0},
        {"refs", 0, OPT_STR, AT(refs), ".references", "FILTER", "what it is compared with: a string or several", 0, 0},
        {NULL},
};

static int add_record(struct tool *t, struct overlap *o, struct filter *text, struct filter *refs, struct err *e)
{
	const char *s, **ref = NULL;
	size_t len, *ref_len = NULL;
	int64_t n = -1;
	int found = filter_str(text, t->record, &s, &len, &t->arena, e);
	int has = found > 0 ? filter_strs(refs, t->record, &ref, &ref_len, &n, &t->arena, e) : 0;
	if (found < 0 || has < 0)
		return tool_mark(t, t->record, 0, e);
	t->count[0].n += !found;
	t->count[1].n += found && !has;
	if (found)
		overlap_corpus_add(o, s, len, &(struct overlap_refs){ref, ref_len, has ? n : -1}, NULL);
	return 0;
}

int eval_corpus(struct tool *t, const struct eval_corpus_config *c, const struct cli_list *measures,
                struct eval_rows *rows, struct err *e)
{
	static const char *const names[] = {"value"};
	struct filter *text = filter_new("--text", c->text, NULL, 0, e);
	struct filter *refs = text ? filter_new("--refs", c->refs, NULL, 0, e) : NULL;
	struct overlap *o = refs ? overlap_new(measures->item, measures->n, true, e) : NULL;
	int got = o ? 1 : -1;
	t->count[0].name = "without a text";
	t->count[1].name = "without references";
	while (got > 0 && (got = tool_next(t, e)) > 0)
		if (!tool_passes(t, t->record) && add_record(t, o, text, refs, e))
			got = -1;
	if (got == 0)
		got = eval_rows_head(rows, names, 1, NULL, e);
	for (size_t i = 0; i < measures->n && got == 0; i++) {
		int64_t n;
		double value = overlap_corpus_value(o, i, &n);
		eval_rows_begin(rows, measures->item[i], NULL, n);
		eval_rows_put(rows, names[0], value);
		got = eval_rows_end(rows, e);
	}
	overlap_free(o);
	filter_free(refs);
	filter_free(text);
	return got;
}
