/*
 * tokenizer_json - the steps of tokenizer.json: each type that is known here, all others refused by name.
 *
 * `truncation` and `padding` are left aside, as every caller sets its own.  Options that would change ids and are not
 * supported (dropout, prefixes, a regex in the wrong place) are errors; those that only concern offsets are not read.
 */
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- fields ---- */

static bool is_text(const struct json *v, const char *text)
{
	return v->kind == JSON_STRING && v->len == strlen(text) && !memcmp(v->text, text, v->len);
}

/* A member of a kind; 1, 0 absent or null, -1. */
static int member(const struct json *v, const char *key, enum json_kind kind, const char *kind_name, struct json *out,
                  struct err *e)
{
	if (v->kind != JSON_OBJECT || !json_member(v, key, out) || out->kind == JSON_NULL)
		return 0;
	return out->kind == kind ? 1 : err_set(e, "'%s' is not %s", key, kind_name);
}

static int flag(const struct json *v, const char *key, bool fallback, bool *out, struct err *e)
{
	struct json x;
	int rc = member(v, key, JSON_BOOL, "true or false", &x, e);

	*out = rc == 1 ? x.boolean : fallback;
	return rc < 0 ? -1 : 0;
}

static int text(const struct json *v, const char *key, size_t max, struct json *out, struct err *e)
{
	int rc = member(v, key, JSON_STRING, "a string", out, e);

	if (rc == 0)
		return err_set(e, "'%s' is missing", key);
	if (rc == 1 && out->len > max)
		return err_set(e, "'%s' has %zu bytes; at most %zu", key, out->len, max);
	return rc < 0 ? -1 : 0;
}

/* Calls fn for a step, or for each of a Sequence's, whose list is under `key`; null is none. */
struct steps {
	struct tokenizer *t;
	const char *what, *key;
	int (*fn)(struct tokenizer *t, const struct json *v, const struct json *type, struct err *e);
	struct err *e;
	int depth;
};

static int each_step(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v);

static int load_steps(struct steps *s, const struct json *v)
{
	struct json type, list;
	int rc;

	if (v->kind == JSON_NULL || v->kind == JSON_ABSENT)
		return 0;
	if (text(v, "type", 64, &type, s->e))
		return err_where(s->e, "%s", s->what);
	if (!is_text(&type, "Sequence")) {
		if (s->fn(s->t, v, &type, s->e))
			return err_where(s->e, "%s '%.*s'", s->what, (int)type.len, type.text);
		return 0;
	}
	rc = member(v, s->key, JSON_ARRAY, "an array", &list, s->e);
	if (rc <= 0)
		return rc < 0 ? -1 : err_set(s->e, "%s: '%s' is missing", s->what, s->key);
	if (++s->depth > 8)
		return err_set(s->e, "%s: sequences more than 8 deep", s->what);
	rc = json_each(&list, each_step, s);
	s->depth--;
	return rc;
}

static int each_step(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	(void)i, (void)key, (void)key_len;
	return load_steps(arg, v);
}

static int room(int n, struct err *e)
{
	return n < TOK_MAX_STEPS ? 0 : err_set(e, "more than %d steps", TOK_MAX_STEPS);
}

static int unsupported(struct err *e)
{
	return err_set(e, "this type is not supported");
}

/* {"String": s} or {"Regex": s}. */
static int load_pattern(const struct json *v, struct tok_pattern *p, struct err *e)
{
	struct json pattern, s;
	int rc = member(v, "pattern", JSON_OBJECT, "an object", &pattern, e);

	if (rc <= 0)
		return rc < 0 ? -1 : err_set(e, "'pattern' is missing");
	rc = member(&pattern, "String", JSON_STRING, "a string", &s, e);
	if (rc == 1)
		return tok_pattern_literal(p, s.text, s.len, e);
	if (rc == 0)
		rc = member(&pattern, "Regex", JSON_STRING, "a string", &s, e);
	if (rc == 1)
		return tok_pattern_regex(p, s.text, s.len, e);
	return rc < 0 ? -1 : err_set(e, "'pattern' has neither 'String' nor 'Regex'");
}

/* ---- normalizer ---- */

static int load_content(const struct json *v, const char *key, char **out, size_t *len, struct err *e)
{
	struct json s;

	if (text(v, key, TOK_MAX_CONTENT, &s, e))
		return -1;
	*out = xstrndup(s.text, s.len);
	*len = s.len;
	return 0;
}

static int normal_step(struct tokenizer *t, const struct json *v, const struct json *type, struct err *e)
{
	static const char *const forms[] = {[UTF8_NFC] = "NFC", "NFD", "NFKC", "NFKD"};
	struct tok_normal *n = &t->normal[t->n_normal];

	if (room(t->n_normal, e))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		if (is_text(type, forms[i])) {
			*n = (struct tok_normal){.kind = TOK_FORM, .form = (int)i};
			t->n_normal++;
			return 0;
		}
	t->n_normal++; /* from here on what the step owns is released with it */
	if (is_text(type, "Prepend")) {
		n->kind = TOK_PREPEND;
		return load_content(v, "prepend", &n->content, &n->len, e);
	}
	if (is_text(type, "Replace")) {
		n->kind = TOK_REPLACE;
		return load_pattern(v, &n->pattern, e) || load_content(v, "content", &n->content, &n->len, e) ? -1 : 0;
	}
	if (is_text(type, "Lowercase")) {
		n->kind = TOK_LOWER;
		return 0;
	}
	if (is_text(type, "Strip")) {
		n->kind = TOK_STRIP;
		return flag(v, "strip_left", true, &n->left, e) || flag(v, "strip_right", true, &n->right, e) ? -1 : 0;
	}
	return unsupported(e);
}

int tok_load_normalizer(struct tokenizer *t, const struct json *v, struct err *e)
{
	struct steps s = {t, "normalizer", "normalizers", normal_step, e, 0};

	return load_steps(&s, v);
}

/* ---- pre-tokenizer ---- */

static int load_behavior(const struct json *v, enum tok_behavior fallback, struct tok_step *step, struct err *e)
{
	static const char *const names[] = {[TOK_REMOVED] = "Removed",
	                                    [TOK_ISOLATED] = "Isolated",
	                                    [TOK_PREVIOUS] = "MergedWithPrevious",
	                                    [TOK_NEXT] = "MergedWithNext",
	                                    [TOK_CONTIGUOUS] = "Contiguous"};
	struct json s;
	int rc = member(v, "behavior", JSON_STRING, "a string", &s, e);

	step->behavior = fallback;
	if (rc <= 0)
		return rc;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (is_text(&s, names[i])) {
			step->behavior = (enum tok_behavior)i;
			return 0;
		}
	return err_set(
	        e, "behavior '%.*s' is not one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous",
	        (int)s.len, s.text);
}

/* The bar and what decides where it comes; old files have add_prefix_space instead of prepend_scheme. */
static int load_bar(const struct json *v, char *bar, size_t *len, enum tok_scheme *scheme, struct err *e)
{
	struct json s;
	bool prefix;
	int rc;

	if (text(v, "replacement", 4, &s, e) || flag(v, "add_prefix_space", true, &prefix, e))
		return -1;
	if (s.len == 0 || utf8_length(s.text, s.len) != 1)
		return err_set(e, "'replacement' is not one character");
	memcpy(bar, s.text, s.len);
	*len = s.len;
	*scheme = prefix ? TOK_ALWAYS : TOK_NEVER_PREPEND;
	rc = member(v, "prepend_scheme", JSON_STRING, "a string", &s, e);
	if (rc <= 0)
		return rc;
	if (is_text(&s, "first"))
		*scheme = TOK_FIRST;
	else if (is_text(&s, "never"))
		*scheme = TOK_NEVER_PREPEND;
	else if (is_text(&s, "always"))
		*scheme = TOK_ALWAYS;
	else
		return err_set(e, "prepend_scheme '%.*s' is not one of first, never, always", (int)s.len, s.text);
	return 0;
}

static int load_byte_level(const struct json *v, struct tok_step *step, struct err *e)
{
	bool use_regex;

	step->kind = TOK_BYTES;
	step->behavior = TOK_ISOLATED;
	if (flag(v, "add_prefix_space", true, &step->prefix_space, e) || flag(v, "use_regex", true, &use_regex, e))
		return -1;
	return use_regex ? tok_pattern_regex(&step->pattern, TOK_GPT2_REGEX, strlen(TOK_GPT2_REGEX), e) : 0;
}

static int load_metaspace(const struct json *v, struct tok_step *step, struct err *e)
{
	bool split;

	step->kind = TOK_META;
	step->behavior = TOK_NEXT;
	if (load_bar(v, step->bar, &step->bar_len, &step->scheme, e) || flag(v, "split", true, &split, e))
		return -1;
	return split ? tok_pattern_literal(&step->pattern, step->bar, step->bar_len, e) : 0;
}

static int pre_step(struct tokenizer *t, const struct json *v, const struct json *type, struct err *e)
{
	struct tok_step *step = &t->step[t->n_steps];
	bool each;

	if (room(t->n_steps, e))
		return -1;
	t->n_steps++;
	*step = (struct tok_step){.kind = TOK_SPLIT};
	if (is_text(type, "ByteLevel"))
		return load_byte_level(v, step, e);
	if (is_text(type, "Metaspace"))
		return load_metaspace(v, step, e);
	if (is_text(type, "Split"))
		return load_pattern(v, &step->pattern, e) || load_behavior(v, TOK_ISOLATED, step, e) ||
		                       flag(v, "invert", false, &step->invert, e)
		               ? -1
		               : 0;
	if (is_text(type, "Digits")) {
		step->pattern.kind = TOK_NUMBER;
		if (flag(v, "individual_digits", false, &each, e))
			return -1;
		step->behavior = each ? TOK_ISOLATED : TOK_CONTIGUOUS;
		return 0;
	}
	if (is_text(type, "Punctuation")) {
		step->pattern.kind = TOK_PUNCT;
		return load_behavior(v, TOK_ISOLATED, step, e);
	}
	return unsupported(e);
}

int tok_load_pre_tokenizer(struct tokenizer *t, const struct json *v, struct err *e)
{
	struct steps s = {t, "pre_tokenizer", "pretokenizers", pre_step, e, 0};

	return load_steps(&s, v);
}

int tok_gpt2_steps(struct tokenizer *t, struct err *e)
{
	struct tok_step *step = &t->step[t->n_steps++];

	*step = (struct tok_step){.kind = TOK_BYTES, .behavior = TOK_ISOLATED};
	t->decode[t->n_decode++] = (struct tok_decode){.kind = TOK_D_BYTES};
	return tok_pattern_regex(&step->pattern, TOK_GPT2_REGEX, strlen(TOK_GPT2_REGEX), e);
}

/* ---- decoder ---- */

static int load_strip(const struct json *v, struct tok_decode *d, struct err *e)
{
	struct json x;

	d->kind = TOK_D_STRIP;
	if (load_content(v, "content", &d->content, &d->len, e))
		return -1;
	if (d->len == 0 || utf8_length(d->content, d->len) != 1)
		return err_set(e, "'content' is not one character");
	for (int i = 0; i < 2; i++) {
		const char *key = i ? "stop" : "start";
		int rc = member(v, key, JSON_NUMBER, "a number", &x, e);
		if (rc < 0)
			return -1;
		if (rc == 1 && (!x.is_int || x.integer < 0))
			return err_set(e, "'%s' is not a count", key);
		*(i ? &d->stop : &d->start) = rc == 1 ? x.integer : 0;
	}
	return 0;
}

static bool has_step(const struct tokenizer *t, int kind)
{
	for (int i = 0; i < t->n_decode - 1; i++)
		if ((int)t->decode[i].kind == kind)
			return true;
	return false;
}

static int decode_step(struct tokenizer *t, const struct json *v, const struct json *type, struct err *e)
{
	struct tok_decode *d = &t->decode[t->n_decode];

	if (room(t->n_decode, e))
		return -1;
	t->n_decode++;
	/* pieces stay apart here, so that ends are known: what works on the joined text can only be Strip */
	if (has_step(t, TOK_D_BYTES) || (has_step(t, TOK_D_FUSE) && !is_text(type, "Strip")))
		return is_text(type, "Fuse") ? (d->kind = TOK_D_FUSE, 0)
		                             : err_set(e, "this type is not supported after Fuse or ByteLevel");
	if (is_text(type, "ByteLevel")) {
		d->kind = TOK_D_BYTES;
		return 0;
	}
	if (is_text(type, "ByteFallback")) {
		d->kind = TOK_D_FALLBACK;
		return 0;
	}
	if (is_text(type, "Fuse")) {
		d->kind = TOK_D_FUSE;
		return 0;
	}
	if (is_text(type, "Replace")) {
		d->kind = TOK_D_REPLACE;
		return load_pattern(v, &d->pattern, e) || load_content(v, "content", &d->content, &d->len, e) ? -1 : 0;
	}
	if (is_text(type, "Strip"))
		return load_strip(v, d, e);
	if (is_text(type, "Metaspace")) {
		d->kind = TOK_D_META;
		d->content = xcalloc(1, 8);
		return load_bar(v, d->content, &d->len, &d->scheme, e);
	}
	return unsupported(e);
}

int tok_load_decoder(struct tokenizer *t, const struct json *v, struct err *e)
{
	struct steps s = {t, "decoder", "decoders", decode_step, e, 0};

	t->no_decoder = v->kind == JSON_NULL || v->kind == JSON_ABSENT;
	return load_steps(&s, v);
}

/* ---- post-processor ---- */

struct template
{
	struct tokenizer *t;
	struct json special;
	int sequences;
	struct err *e;
};

static int add_template_id(struct template *p, const struct json *id)
{
	struct tokenizer *t = p->t;
	int32_t **list = p->sequences ? &t->after : &t->before, *n = p->sequences ? &t->n_after : &t->n_before;

	if (id->kind != JSON_NUMBER || !id->is_int || id->integer < 0 || id->integer >= TOK_MAX_ID)
		return err_set(p->e, "'ids' holds something that is no id");
	if (*n == 64)
		return err_set(p->e, "a template of more than 64 tokens on a side");
	*list = xrealloc_array(*list, (size_t)*n + 1, sizeof **list);
	(*list)[(*n)++] = (int32_t)id->integer;
	return 0;
}

static int template_id(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	(void)i, (void)key, (void)key_len;
	return add_template_id(arg, v);
}

static int template_part(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct template *p = arg;
	struct json part, id, special, ids;
	char name[TOK_MAX_CONTENT + 1];

	(void)i, (void)key, (void)key_len;
	if (member(v, "Sequence", JSON_OBJECT, "an object", &part, p->e) == 1) {
		if (text(&part, "id", 8, &id, p->e))
			return -1;
		return ++p->sequences == 1 && is_text(&id, "A")
		               ? 0
		               : err_set(p->e, "'single' has another sequence than one A");
	}
	if (member(v, "SpecialToken", JSON_OBJECT, "an object", &part, p->e) != 1)
		return err_set(p->e, "a part of 'single' is neither 'Sequence' nor 'SpecialToken'");
	if (text(&part, "id", TOK_MAX_CONTENT, &id, p->e))
		return -1;
	memcpy(name, id.text, id.len);
	name[id.len] = 0;
	if (member(&p->special, name, JSON_OBJECT, "an object", &special, p->e) != 1 ||
	    member(&special, "ids", JSON_ARRAY, "an array", &ids, p->e) != 1)
		return err_set(p->e, "'special_tokens' has no ids of '%s'", name);
	return json_each(&ids, template_id, p);
}

static int post_step(struct tokenizer *t, const struct json *v, const struct json *type, struct err *e)
{
	struct template p = {.t = t, .e = e};
	struct json single;

	if (is_text(type, "ByteLevel")) /* offsets only */
		return 0;
	if (!is_text(type, "TemplateProcessing"))
		return unsupported(e);
	if (t->before || t->after)
		return err_set(e, "a second template is not supported");
	if (member(v, "single", JSON_ARRAY, "an array", &single, e) != 1)
		return err_set(e, "'single' is missing or not an array");
	if (member(v, "special_tokens", JSON_OBJECT, "an object", &p.special, e) < 0)
		return -1;
	if (json_each(&single, template_part, &p))
		return -1;
	return p.sequences == 1 ? 0 : err_set(e, "'single' has no sequence A");
}

int tok_load_post_processor(struct tokenizer *t, const struct json *v, struct err *e)
{
	struct steps s = {t, "post_processor", "processors", post_step, e, 0};

	return load_steps(&s, v);
}
