/* overlap - see overlap.h: names of measures and their options */
#include <stdlib.h>
#include <string.h>

#include "lib/overlap_impl.h"
#include "lib/util.h"

static int no_option(const struct overlap_metric *m, const char *option, const char *what, struct err *e)
{
	return err_set(e, "measure '%s': option '%s' %s", m->name, option, what);
}

/* "key=": what is behind it, else NULL. */
static const char *value_of(const char *option, const char *key)
{
	size_t n = strlen(key);
	return !strncmp(option, key, n) && option[n] == '=' ? option + n + 1 : NULL;
}

/* 1: the number is from low to high; 0: another key; -1. */
static int number(const struct overlap_metric *m, const char *option, const char *key, double low, double high,
                  double *out, struct err *e)
{
	const char *text = value_of(option, key);
	double x;
	if (!text)
		return 0;
	if (!parse_double(text, &x) || x < low || x > high)
		return err_set(e, "measure '%s': '%s' is not from %g to %g", m->name, option, low, high);
	*out = x;
	return 1;
}

static int whole(const struct overlap_metric *m, const char *option, const char *key, int low, int high, int *out,
                 struct err *e)
{
	double x = *out;
	int got = number(m, option, key, low, high, &x, e);
	if (got > 0 && x != (int)x)
		return no_option(m, option, "is not a whole number", e);
	*out = (int)x;
	return got;
}

/* 1: one of the words; 0: another key; -1. */
static int word(const struct overlap_metric *m, const char *option, const char *key, const char *const *words, int n,
                int *out, struct err *e)
{
	const char *text = value_of(option, key);
	if (!text)
		return 0;
	for (*out = 0; *out < n; ++*out)
		if (!strcmp(text, words[*out]))
			return 1;
	return no_option(m, option, "has a value that is not known", e);
}

static int bleu_option(struct overlap_metric *m, const char *o, struct err *e)
{
	static const char *const smooth[] = {"exp", "floor", "add-k", "none"};
	static const char *const tok[] = {"13a", "none", "intl", "char"};
	static const enum words_rule rule[] = {WORDS_13A, WORDS_SPACE, WORDS_INTL, WORDS_CHAR};
	int x, got;
	if (!strcmp(o, "lower")) {
		m->lower = true;
		return 1;
	}
	if ((got = word(m, o, "smooth", smooth, ARRAY_LEN(smooth), &x, e))) {
		if (got > 0)
			m->smooth = (enum overlap_smooth)x;
		return got;
	}
	if ((got = word(m, o, "tok", tok, ARRAY_LEN(tok), &x, e))) {
		if (got > 0)
			m->rule = rule[x];
		return got;
	}
	got = number(m, o, "value", 0, 1e6, &m->value, e);
	return got ? got : whole(m, o, "n", 1, OVERLAP_ORDERS, &m->order, e);
}

static int option(struct overlap_metric *m, const char *o, bool corpus, struct err *e)
{
	int got;
	switch (m->kind) {
	case OVERLAP_BLEU:
		return bleu_option(m, o, e);
	case OVERLAP_NLTK:
		got = whole(m, o, "method", 0, 7, &m->method, e);
		return got ? got : whole(m, o, "n", 1, 4, &m->order, e);
	case OVERLAP_CHRF:
		if (!strcmp(o, "eps")) {
			m->eps = true;
			return 1;
		}
		return number(m, o, "beta", 0, 1e6, &m->beta, e);
	case OVERLAP_ROUGE_N:
	case OVERLAP_ROUGE_L:
	case OVERLAP_ROUGE_LSUM:
		if (!strcmp(o, "stem"))
			m->rule = WORDS_STEM;
		else if (o[0] && strchr("prf", o[0]) && !o[1])
			m->part = o[0];
		else
			return 0;
		return 1;
	case OVERLAP_DISTINCT:
	case OVERLAP_SINGLE:
		if (strcmp(o, "ecr") && (strcmp(o, "mean") || m->kind != OVERLAP_DISTINCT))
			return 0;
		if (!corpus)
			return no_option(m, o, "is of a corpus: rl-eval --corpus", e);
		m->over = *o == 'e' ? OVERLAP_ECR : OVERLAP_MEAN;
		return 1;
	case OVERLAP_ITEMS: {
		const char *item = value_of(o, "item");
		if (!item || !*item)
			return 0;
		free(m->item);
		m->item = xstrdup(item);
		return 1;
	}
	default:
		return 0;
	}
}

/* The measures whose names are words; those that end in a number are below. */
static const struct {
	const char *name;
	enum overlap_kind kind;
	enum words_rule rule;
	int order;
	bool second;
} known[] = {
        {"bleu", OVERLAP_BLEU, WORDS_13A, 4, false},
        {"nltk_bleu", OVERLAP_NLTK, WORDS_SPACE, 4, false},
        {"chrf", OVERLAP_CHRF, CHARS, 0, false},
        {"chrf++", OVERLAP_CHRF, CHARS, OVERLAP_WORDS, false},
        {"rougeL", OVERLAP_ROUGE_L, WORDS_ROUGE, 0, false},
        {"rougeLsum", OVERLAP_ROUGE_LSUM, WORDS_ROUGE, 0, false},
        {"squad_em", OVERLAP_EM, WORDS_SQUAD, 0, false},
        {"squad_f1", OVERLAP_F1, WORDS_SQUAD, 1, false},
        {"squad2_em", OVERLAP_EM, WORDS_SQUAD, 0, true},
        {"squad2_f1", OVERLAP_F1, WORDS_SQUAD, 1, true},
        {"wer", OVERLAP_WER, WORDS_SPACE, 0, false},
        {"self_bleu", OVERLAP_SELF_BLEU, WORDS_SPACE, 0, false},
        {"item_ratio", OVERLAP_ITEMS, WORDS_SPACE, 0, false},
        {"sent_cnt", OVERLAP_SENTENCES, WORDS_SPACE, 0, false},
};
static const struct {
	const char *stem;
	enum overlap_kind kind;
	enum words_rule rule;
	char highest;
} numbered[] = {{"rouge", OVERLAP_ROUGE_N, WORDS_ROUGE, '9'},
                {"bleu@", OVERLAP_SINGLE, WORDS_SPACE, '4'},
                {"distinct_", OVERLAP_DISTINCT, WORDS_SPACE, '4'}};

static bool find_name(struct overlap_metric *m, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!strcmp(name, known[i].name)) {
			m->kind = known[i].kind;
			m->rule = known[i].rule;
			m->order = known[i].order;
			m->second = known[i].second;
			return true;
		}
	for (size_t i = 0; i < ARRAY_LEN(numbered); i++) {
		size_t n = strlen(numbered[i].stem);
		if (strncmp(name, numbered[i].stem, n) || name[n] < '1' || name[n] > numbered[i].highest || name[n + 1])
			continue;
		m->kind = numbered[i].kind;
		m->rule = numbered[i].rule;
		m->order = name[n] - '0';
		return true;
	}
	return false;
}

int overlap_parse(struct overlap_metric *m, const char *name, bool corpus, struct err *e)
{
	*m = (struct overlap_metric){.name = xstrdup(name), .value = -1, .beta = 2, .part = 'f'};
	char *text = xstrdup(name), *rest = text, *part = strsep(&rest, ":");
	int failed = 0;
	if (!find_name(m, part))
		failed = err_set(e,
		                 "no measure '%s'; there are bleu, nltk_bleu, bleu@1..4, chrf, chrf++, rouge1..9, "
		                 "rougeL, rougeLsum, squad_em, squad_f1, squad2_em, squad2_f1, distinct_1..4, wer%s",
		                 part, corpus ? ", self_bleu, item_ratio, sent_cnt" : "");
	else if (m->kind >= OVERLAP_SELF_BLEU && !corpus)
		failed = err_set(e, "measure '%s' is of a corpus: rl-eval --corpus", part);
	if (m->kind == OVERLAP_ITEMS)
		m->item = xstrdup("<movie>");
	while (!failed && (part = strsep(&rest, ":"))) {
		int got = option(m, part, corpus, e);
		failed = got > 0 ? 0 : got < 0 ? -1 : no_option(m, part, "is not known", e);
	}
	if (m->value < 0)
		m->value = m->smooth == OVERLAP_ADD_K ? 1 : .1;
	free(text);
	return failed;
}
