/* tokenizer_split - patterns, and the pre-tokenizer's steps: each hands its pieces to the next one by one. */
#include <stdlib.h>
#include <string.h>

#include <oniguruma.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- patterns ---- */

int tok_pattern_literal(struct tok_pattern *p, const char *text, size_t len, struct err *e)
{
	if (len == 0 || len > TOK_MAX_CONTENT)
		return err_set(e, "a pattern of %zu bytes; from 1 to %d", len, TOK_MAX_CONTENT);
	*p = (struct tok_pattern){.kind = TOK_LITERAL, .literal = xstrndup(text, len), .len = len};
	return 0;
}

int tok_pattern_regex(struct tok_pattern *p, const char *text, size_t len, struct err *e)
{
	*p = (struct tok_pattern){.kind = TOK_SCAN, .scan = tok_scanner(text, len)};
	return p->scan ? 0 : tok_pattern_onig(p, text, len, e);
}

int tok_pattern_onig(struct tok_pattern *p, const char *text, size_t len, struct err *e)
{
	OnigErrorInfo info;
	OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
	OnigEncoding encoding = ONIG_ENCODING_UTF8;
	int rc;

	*p = (struct tok_pattern){.kind = TOK_NEVER};
	if (len > 65536)
		return err_set(e, "a pattern of %zu bytes; at most 65536", len);
	onig_initialize(&encoding, 1);
	rc = onig_new(&p->regex, (const OnigUChar *)text, (const OnigUChar *)text + len, ONIG_OPTION_NONE, encoding,
	              ONIG_SYNTAX_ONIGURUMA, &info);
	if (rc != ONIG_NORMAL) {
		onig_error_code_to_str(why, rc, &info);
		return err_set(e, "pattern '%.*s': %s", len > 200 ? 200 : (int)len, text, (char *)why);
	}
	p->kind = TOK_REGEX;
	return 0;
}

void tok_pattern_release(struct tok_pattern *p)
{
	free(p->literal);
	if (p->regex)
		onig_free(p->regex);
	*p = (struct tok_pattern){0};
}

void tok_region_free(void *region)
{
	if (region)
		onig_region_free(region, 1);
}

static int find_regex(const struct tok_pattern *p, struct tokenizer_scratch *x, const char *s, size_t len, size_t from,
                      size_t *start, size_t *end, struct err *e)
{
	const OnigUChar *text = (const OnigUChar *)s, *stop = text + len;
	OnigRegion *r;
	uint32_t cp;

	if (!x->region)
		x->region = onig_region_new();
	r = x->region;
	for (;;) {
		int at = onig_search(p->regex, text, stop, text + from, stop, r, ONIG_OPTION_NONE);
		if (at == ONIG_MISMATCH)
			return 0;
		if (at < 0) {
			OnigUChar why[ONIG_MAX_ERROR_MESSAGE_LEN];
			onig_error_code_to_str(why, at);
			return err_set(e, "the tokenizer's pattern fails on this text: %s", (char *)why);
		}
		*start = (size_t)r->beg[0];
		*end = (size_t)r->end[0];
		if (*end > *start)
			return 1;
		if (*start >= len)
			return 0;
		from = *start + utf8_next(s + *start, len - *start, &cp);
	}
}

static int find_class(bool (*is)(uint32_t), const char *s, size_t len, size_t from, size_t *start, size_t *end)
{
	uint32_t cp;

	for (size_t n; from < len; from += n) {
		n = utf8_next(s + from, len - from, &cp);
		if (is(cp)) {
			*start = from;
			*end = from + n;
			return 1;
		}
	}
	return 0;
}

int tok_pattern_find(const struct tok_pattern *p, struct tokenizer_scratch *x, const char *s, size_t len, size_t from,
                     size_t *start, size_t *end, struct err *e)
{
	const char *at;

	if (from >= len)
		return 0;
	switch (p->kind) {
	case TOK_NEVER:
		return 0;
	case TOK_LITERAL:
		at = memmem(s + from, len - from, p->literal, p->len);
		if (!at)
			return 0;
		*start = (size_t)(at - s);
		*end = *start + p->len;
		return 1;
	case TOK_REGEX:
		return find_regex(p, x, s, len, from, start, end, e);
	case TOK_NUMBER:
		return find_class(utf8_is_number, s, len, from, start, end);
	case TOK_PUNCT:
		return find_class(utf8_is_punct, s, len, from, start, end);
	case TOK_SCAN:
		*start = from;
		*end = from + p->scan(s + from, len - from);
		return 1;
	}
	return 0;
}

int tok_pattern_replace(const struct tok_pattern *p, struct tokenizer_scratch *x, const char *s, size_t len,
                        const char *content, size_t content_len, struct str *out, struct err *e)
{
	size_t from = 0, start, end;
	int rc;

	while ((rc = tok_pattern_find(p, x, s, len, from, &start, &end, e)) == 1) {
		str_add(out, s + from, start - from);
		str_add(out, content, content_len);
		from = end;
	}
	str_add(out, s + from, len - from);
	return rc;
}

/* ---- steps ---- */

struct walk {
	const struct tokenizer *t;
	struct tokenizer_scratch *x;
	struct err *e;
};

static int run(struct walk *w, int k, const char *s, size_t len, bool first);

/* A piece of step k's text goes on to the next step. */
static int emit(struct walk *w, int k, const char *s, size_t from, size_t to, bool first)
{
	if (from == to)
		return 0;
	if (w->t->step[k].kind != TOK_BYTES)
		return run(w, k + 1, s + from, to - from, first && from == 0);
	if (k + 1 == w->t->n_steps)
		return tok_bpe_bytes(w->t, w->x, s + from, to - from, w->e);
	struct str *mapped = &w->x->mapped[k];
	str_clear(mapped);
	tok_map_bytes(s + from, to - from, mapped);
	return run(w, k + 1, mapped->buf, mapped->len, first && from == 0);
}

/* Spans of the text in order, matched or not; `open` is a piece that a later span may still join. */
struct joiner {
	enum tok_behavior behavior;
	bool invert;
	size_t from, to;
	bool open, matched; /* of the last span in it */
};

static int add_span(struct walk *w, int k, struct joiner *j, const char *s, size_t from, size_t to, bool matched,
                    bool first)
{
	bool joins = false;

	if (from == to)
		return 0;
	matched = matched != j->invert;
	if (j->behavior == TOK_REMOVED && matched)
		return 0;
	if (j->open) {
		joins = (j->behavior == TOK_CONTIGUOUS && matched == j->matched) ||
		        (j->behavior == TOK_PREVIOUS && matched && !j->matched) ||
		        (j->behavior == TOK_NEXT && !matched && j->matched);
		if (!joins && emit(w, k, s, j->from, j->to, first))
			return -1;
	}
	if (!joins)
		j->from = from;
	j->to = to;
	j->open = true;
	j->matched = matched;
	return 0;
}

static int cut(struct walk *w, int k, const char *s, size_t len, bool first)
{
	const struct tok_step *step = &w->t->step[k];
	struct joiner j = {.behavior = step->behavior, .invert = step->invert};
	size_t from = 0, start, end;
	int rc;

	if (step->pattern.kind == TOK_SCAN && step->behavior == TOK_ISOLATED && !step->invert) {
		for (; from < len; from = end) {
			end = from + step->pattern.scan(s + from, len - from);
			if (emit(w, k, s, from, end, first))
				return -1;
		}
		return 0;
	}
	while ((rc = tok_pattern_find(&step->pattern, w->x, s, len, from, &start, &end, w->e)) == 1) {
		if (add_span(w, k, &j, s, from, start, false, first) || add_span(w, k, &j, s, start, end, true, first))
			return -1;
		from = end;
	}
	if (rc < 0 || add_span(w, k, &j, s, from, len, false, first))
		return -1;
	return j.open ? emit(w, k, s, j.from, j.to, first) : 0;
}

/* Spaces become bars, and one comes in front where the scheme says so. */
static void add_bars(const struct tok_step *step, const char *s, size_t len, bool first, struct str *out)
{
	bool wanted = step->scheme == TOK_ALWAYS || (step->scheme == TOK_FIRST && first);

	str_clear(out);
	if (wanted && s[0] != ' ' && (len < step->bar_len || memcmp(s, step->bar, step->bar_len)))
		str_add(out, step->bar, step->bar_len);
	for (size_t i = 0; i < len; i++)
		if (s[i] == ' ')
			str_add(out, step->bar, step->bar_len);
		else
			str_addc(out, s[i]);
}

static int run(struct walk *w, int k, const char *s, size_t len, bool first)
{
	const struct tok_step *step = &w->t->step[k];
	struct str *own = &w->x->step[k];

	if (k == w->t->n_steps)
		return tok_bpe_text(w->t, w->x, s, len, w->e);
	if (step->kind == TOK_META) {
		add_bars(step, s, len, first, own);
		return cut(w, k, own->buf, own->len, first);
	}
	if (step->prefix_space && s[0] != ' ') {
		str_clear(own);
		str_addc(own, ' ');
		str_add(own, s, len);
		return cut(w, k, own->buf, own->len, first);
	}
	return cut(w, k, s, len, first);
}

int tok_split(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, bool first,
              struct err *e)
{
	struct walk w = {t, x, e};

	return len ? run(&w, 0, s, len, first) : 0;
}
