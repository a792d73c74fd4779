/* choices_record - see choices_record.h */
#include "lib/choices_record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/prompt.h"
#include "lib/str.h"
#include "lib/util.h"

/* ---- the list ---- */

int choices_list_init(struct choices_list *l, const char *option, const char *list, struct err *e)
{
	*l = (struct choices_list){0};
	if (!*list)
		return err_set(e, "--%s: there is no choice", option);
	if (strchr(".[(", *list)) {
		l->filter = filter_new(option, list, NULL, 0, e);
		return l->filter ? 0 : -1;
	}
	for (const char *p = list;; p++) {
		size_t len = strcspn(p, ",");
		l->text = xrealloc_array(l->text, (size_t)l->n + 1, sizeof *l->text);
		l->text[l->n++] = xstrndup(p, len);
		if (len == 0)
			return err_set(e, "--%s: choice %lld of '%s' is empty", option, (long long)l->n - 1, list);
		p += len;
		if (!*p)
			return 0;
	}
}

void choices_list_release(struct choices_list *l)
{
	for (int64_t i = 0; i < l->n; i++)
		free(l->text[i]);
	free(l->text);
	filter_free(l->filter);
	*l = (struct choices_list){0};
}

/* ---- a record's ---- */

struct reading {
	const struct model_info *m;
	int64_t n_prompt, n;
	struct choice *choice;
	struct choices_text *text;
	struct arena *arena;
	struct err *e;
};

static const char *skip_blanks(const char *text, size_t *len)
{
	while (*len && strchr(" \t\n\r", *text)) {
		text++;
		--*len;
	}
	return text;
}

static void set_text(struct reading *g, struct choices_text *x, const char *text, size_t len)
{
	size_t rest = len;
	x->text = arena_strndup(g->arena, text, len);
	x->len = len;
	x->is_number = strlen(x->text) == len && parse_double(skip_blanks(x->text, &rest), &x->number);
}

static int set_ids(struct reading *g, struct choices_text *x, const struct choice *c)
{
	struct str s;
	if (!g->m->tokenizer)
		return 0;
	str_init(&s);
	int failed = tokenizer_decode(g->m->tokenizer, c->token, c->n, false, &s, g->e);
	if (!failed)
		set_text(g, x, s.buf ? s.buf : "", s.len);
	str_release(&s);
	return failed ? -1 : 0;
}

static int check_fits(const struct reading *g, const struct choice *c)
{
	if (c->n < 1)
		return err_set(g->e, "choice %lld has no token", (long long)g->n);
	if (c->n > g->m->arch.P - g->n_prompt)
		return err_set(g->e, "%lld prompt tokens and %lld of choice %lld do not fit the context of %lld",
		               (long long)g->n_prompt, (long long)c->n, (long long)g->n, (long long)g->m->arch.P);
	return 0;
}

static int add_choice(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct reading *g = arg;
	struct choice *c = g->choice + g->n;
	struct choices_text *x = g->text + g->n;
	int32_t *ids = NULL;
	struct str digits;
	char what[48];
	int failed = 0;
	(void)key;
	(void)key_len;
	snprintf(what, sizeof what, "choice %lld", (long long)i);
	if (v->kind == JSON_ARRAY) {
		failed = prompt_from(g->m, v, what, false, &ids, &c->n, g->arena, g->e);
	} else if (v->kind == JSON_STRING) {
		set_text(g, x, v->text, v->len);
	} else if (v->kind == JSON_NUMBER) {
		str_init(&digits);
		if (v->is_int)
			json_put_int(&digits, v->integer);
		else
			json_put_num(&digits, v->number);
		set_text(g, x, digits.buf, digits.len);
		str_release(&digits);
	} else {
		return err_set(g->e, "%s is no text, no number and no array of ids", what);
	}
	if (x->text)
		failed = completion_encode(g->m, x->text, x->len, &ids, &c->n, g->arena, g->e);
	c->token = ids;
	if (failed || check_fits(g, c) || (!x->text && set_ids(g, x, c)))
		return -1;
	c->logprobs = arena_array(g->arena, (size_t)c->n, sizeof *c->logprobs);
	g->n++;
	return 0;
}

static int read_fixed(struct reading *g, const struct choices_list *l)
{
	for (int64_t i = 0; i < l->n; i++) {
		struct json v = {.kind = JSON_STRING, .text = l->text[i], .len = strlen(l->text[i])};
		if (add_choice(g, i, NULL, 0, &v))
			return -1;
	}
	return 0;
}

int choices_read(const struct choices_list *l, struct record *r, const struct model_info *m, int64_t n_prompt,
                 struct choice **choice, struct choices_text **text, int64_t *n, struct arena *a, struct err *e)
{
	struct reading g = {.m = m, .n_prompt = n_prompt, .arena = a, .e = e};
	struct json v = {0};
	if (l->filter && filter_run(l->filter, r, &v, a, e) < 0)
		return -1;
	if (l->filter && v.kind != JSON_ARRAY)
		return err_set(e, "--choices: '%s' gives no array", filter_program(l->filter));
	int64_t most = l->filter ? json_length(&v) : l->n;
	if (most == 0)
		return err_set(e, "--choices: '%s' gives no choice", filter_program(l->filter));
	g.choice = arena_array(a, (size_t)most, sizeof *g.choice);
	g.text = arena_array(a, (size_t)most, sizeof *g.text);
	if (l->filter ? json_each(&v, add_choice, &g) : read_fixed(&g, l))
		return -1;
	*choice = g.choice;
	*text = g.text;
	*n = g.n;
	return 0;
}

/* ---- what is said of them ---- */

static int length_of(enum choices_length by, const struct choice *c, const struct choices_text *x, int64_t i,
                     double *out, struct err *e)
{
	int64_t n = by == CHOICES_TOKEN ? c->n : 1;
	if (by == CHOICES_CHARACTER || by == CHOICES_BYTE) {
		size_t len = x->len;
		if (!x->text)
			return err_set(e, "choice %lld has ids and no text whose length could be taken", (long long)i);
		const char *p = skip_blanks(x->text, &len);
		n = 0;
		for (size_t j = 0; j < len; j++)
			n += by == CHOICES_BYTE || (p[j] & 0xc0) != 0x80;
	}
	if (n == 0)
		return err_set(e, "choice %lld is blank: it has no length", (long long)i);
	*out = (double)n;
	return 0;
}

/* logprob[n]: sums over tokens; p[n]. */
static int compare(enum choices_length by, const struct choice *choice, const struct choices_text *text, int64_t n,
                   double *logprob, double *p, int64_t *best, struct err *e)
{
	double sum = 0, length = 1;
	*best = 0;
	for (int64_t i = 0; i < n; i++) {
		logprob[i] = 0;
		for (int64_t t = 0; t < choice[i].n; t++)
			logprob[i] += choice[i].logprobs[t];
		if (!isfinite(logprob[i]))
			return err_set(e, "the log-probability of choice %lld is not finite", (long long)i);
		if (length_of(by, choice + i, text + i, i, &length, e))
			return -1;
		p[i] = logprob[i] / length;
		*best = p[i] > p[*best] ? i : *best;
	}
	double max = p[*best];
	for (int64_t i = 0; i < n; i++)
		sum += p[i] = exp(p[i] - max);
	for (int64_t i = 0; i < n; i++)
		p[i] /= sum;
	return 0;
}

static void put_choice(struct str *s, const struct choice *c, const struct choices_text *x, double logprob, double p)
{
	str_adds(s, s->len == 1 ? "{" : ",{");
	if (x->text) {
		str_adds(s, "\"text\":");
		json_put_str(s, x->text, x->len);
		str_addc(s, ',');
	}
	str_adds(s, "\"tokens\":");
	json_put_int(s, c->n);
	str_adds(s, ",\"logprob\":");
	json_put_num(s, logprob);
	str_adds(s, ",\"p\":");
	json_put_num(s, p);
	str_addc(s, '}');
}

static int add_fields(struct record *r, const char *name, const struct choice *choice, const struct choices_text *text,
                      int64_t n, const double *logprob, const double *p, int64_t best, struct arena *a, struct err *e)
{
	struct str s;
	bool numbers = true;
	double expected = 0;
	str_init(&s);
	str_addc(&s, '[');
	for (int64_t i = 0; i < n; i++) {
		put_choice(&s, choice + i, text + i, logprob[i], p[i]);
		numbers = numbers && text[i].is_number;
		expected += p[i] * text[i].number;
	}
	str_addc(&s, ']');
	int failed = record_add_raw(r, name, s.buf, s.len, e) ||
	             record_add_int(r, arena_printf(a, "%s_best", name), best, e) ||
	             (numbers && record_add_num(r, arena_printf(a, "%s_expected", name), expected, e));
	str_release(&s);
	return failed ? -1 : 0;
}

int choices_check_new(const struct record *r, const char *name, struct arena *a, struct err *e)
{
	return record_check_new(r, name, e) || record_check_new(r, arena_printf(a, "%s_best", name), e) ||
	       record_check_new(r, arena_printf(a, "%s_expected", name), e);
}

int choices_add(struct record *r, const char *name, enum choices_length by, const struct choice *choice,
                const struct choices_text *text, int64_t n, struct arena *a, struct err *e)
{
	double *logprob = arena_array(a, (size_t)n, sizeof *logprob), *p = arena_array(a, (size_t)n, sizeof *p);
	int64_t best;
	if (compare(by, choice, text, n, logprob, p, &best, e))
		return -1;
	return add_fields(r, name, choice, text, n, logprob, p, best, a, e);
}
