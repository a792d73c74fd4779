/* eval_source - see eval_source.h */
#include "lib/eval_source.h"

#include <stdlib.h>
#include <string.h>

#include "lib/chunk.h"
#include "lib/util.h"

#define AT(field) offsetof(struct eval_texts_config, field)
const struct opt eval_texts_options[] = {
        {"text", 0, OPT_STR, AT(text), ".completion", "FILTER", "what is scored", 0, 0},
        {"baseline", 0, OPT_LIST, AT(baselines), NULL, "NAME",
         "score this in its place too, and compare: query, lead, copy, all three, or NAME=FILTER", 0, 0},
        {"query", 0, OPT_STR, AT(query), ".query // .question", "FILTER", "what the baseline query says", 0, 0},
        {"context", 0, OPT_STR, AT(context), ".context // .prompt", "FILTER",
         "what copy says, and lead the first sentence of", 0, 0},
        {NULL},
};

static int add(struct eval_sources *s, const char *name, size_t len, const char *option, const char *program, bool lead,
               struct err *e)
{
	for (int64_t i = 1; i < s->n; i++)
		if (strlen(s->source[i].name) == len && !memcmp(s->source[i].name, name, len))
			return err_set(e, "--baseline '%.*s' is given twice", (int)len, name);
	s->source = xrealloc_array(s->source, (size_t)s->n + 1, sizeof *s->source);
	struct eval_source *new = &s->source[s->n++];
	*new = (struct eval_source){.name = name ? xstrndup(name, len) : NULL, .lead = lead};
	new->filter = filter_new(option, program, NULL, 0, e);
	return new->filter ? 0 : -1;
}

static int add_known(struct eval_sources *s, const struct eval_texts_config *c, const char *name, struct err *e)
{
	if (!strcmp(name, "query"))
		return add(s, name, 5, "--query", c->query, false, e);
	if (!strcmp(name, "lead") || !strcmp(name, "copy"))
		return add(s, name, 4, "--context", c->context, *name == 'l', e);
	return err_set(e, "--baseline '%s' is none of query, lead, copy, all, and no NAME=FILTER", name);
}

int eval_sources_init(struct eval_sources *s, const struct eval_texts_config *c, struct err *e)
{
	static const char *const all[] = {"query", "lead", "copy"};
	*s = (struct eval_sources){0};
	int failed = add(s, NULL, 0, "--text", c->text, false, e);
	for (size_t i = 0; i < c->baselines.n && !failed; i++) {
		const char *spec = c->baselines.item[i];
		size_t len = strspn(spec, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
		if (len && spec[len] == '=')
			failed = add(s, spec, len, "--baseline", spec + len + 1, false, e);
		else if (strcmp(spec, "all"))
			failed = add_known(s, c, spec, e);
		for (size_t k = 0; k < ARRAY_LEN(all) && !failed && !strcmp(spec, "all"); k++)
			failed = add_known(s, c, all[k], e);
	}
	return failed;
}

void eval_sources_release(struct eval_sources *s)
{
	for (int64_t i = 0; i < s->n; i++) {
		free(s->source[i].name);
		filter_free(s->source[i].filter);
	}
	free(s->source);
	*s = (struct eval_sources){0};
}

int eval_source_text(const struct eval_source *s, struct record *r, const char **text, size_t *len, struct arena *a,
                     struct err *e)
{
	int got = filter_str(s->filter, r, text, len, a, e);
	size_t *end;
	int64_t n;
	if (got == 0 && s->name)
		return err_set(e, "baseline '%s': '%s' gives no text", s->name, filter_program(s->filter));
	if (got > 0 && s->lead) {
		chunk_sentences(*text, *len, &end, &n, a);
		*len = n ? end[0] : 0;
	}
	return got;
}
