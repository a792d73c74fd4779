/* prompt - see prompt.h */
#include "lib/prompt.h"

#include <string.h>

static int no_tokenizer(const struct model_info *m, struct err *e)
{
	if (m->tokenizer)
		return 0;
	return err_set(e, "the store has no tokenizer, so records need 'prompt_tokens' and 'tokens' instead of text");
}

/* What the template puts in front of every text: the ids it makes of an empty one, up to and with BOS. */
static int template_front(const struct model_info *m, int32_t **ids, int64_t *n, struct arena *a, struct err *e)
{
	if (tokenizer_encode(m->tokenizer, "", 0, TOKENIZER_TEMPLATE, ids, n, a, e))
		return -1;
	int64_t front = 0;
	for (int64_t i = 0; i < *n; i++)
		if ((*ids)[i] == m->bos)
			front = i + 1;
	/* GPT-2's BOS is its EOS: a template of one such token at the end is no prefix, and it has no template. */
	*n = front;
	return 0;
}

int prompt_encode(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n, struct arena *a,
                  struct err *e)
{
	int32_t *front, *body;
	int64_t n_front, n_body;
	if (no_tokenizer(m, e) || template_front(m, &front, &n_front, a, e) ||
	    tokenizer_encode(m->tokenizer, text, len, 0, &body, &n_body, a, e))
		return -1;
	*ids = arena_array(a, (size_t)(n_front + n_body), sizeof **ids);
	*n = n_front + n_body;
	if (n_front)
		memcpy(*ids, front, (size_t)n_front * sizeof **ids);
	if (n_body)
		memcpy(*ids + n_front, body, (size_t)n_body * sizeof **ids);
	return 0;
}

int completion_encode(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n,
                      struct arena *a, struct err *e)
{
	if (no_tokenizer(m, e))
		return -1;
	return tokenizer_encode(m->tokenizer, text, len, 0, ids, n, a, e);
}

int prompt_check_ids(const struct model_info *m, const char *field, const int32_t *ids, int64_t n, struct err *e)
{
	for (int64_t i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= m->arch.V)
			return err_set(e, "'%s' has id %d at place %lld, but the vocabulary has %lld", field, ids[i],
			               (long long)i, (long long)m->arch.V);
	return 0;
}

/* ---- of a record ---- */

typedef int (*encode_fn)(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n,
                         struct arena *a, struct err *e);

static int read_ids(const struct model_info *m, const struct record *r, const char *ids_name, const char *text_name,
                    encode_fn encode, int32_t **ids, int64_t *n, struct arena *a, struct err *e)
{
	const char *text;
	size_t len;
	int got = record_ints(r, ids_name, ids, n, -1, NULL, a, e);
	if (got)
		return got < 0 ? -1 : prompt_check_ids(m, ids_name, *ids, *n, e);
	got = record_str(r, text_name, &text, &len, e);
	if (got <= 0)
		return got ? -1 : err_set(e, "neither '%s' nor '%s' is there", ids_name, text_name);
	return encode(m, text, len, ids, n, a, e);
}

int prompt_read(const struct model_info *m, const struct record *r, int32_t **ids, int64_t *n, struct arena *a,
                struct err *e)
{
	return read_ids(m, r, "prompt_tokens", "prompt", prompt_encode, ids, n, a, e);
}

int completion_read(const struct model_info *m, const struct record *r, int32_t **ids, int64_t *n, struct arena *a,
                    struct err *e)
{
	return read_ids(m, r, "tokens", "completion", completion_encode, ids, n, a, e);
}

/* ---- of a filter's value ---- */

struct parts {
	const struct model_info *m;
	const char *what;
	struct arena *arena;
	struct err *e;
	int32_t *ids;
	int64_t n, cap;
	bool begins, nested;
};

static void append(struct parts *p, const int32_t *ids, int64_t n)
{
	if (p->n + n > p->cap) {
		p->cap = 2 * (p->n + n);
		int32_t *more = arena_array(p->arena, (size_t)p->cap, sizeof *more);
		if (p->n)
			memcpy(more, p->ids, (size_t)p->n * sizeof *more);
		p->ids = more;
	}
	if (n)
		memcpy(p->ids + p->n, ids, (size_t)n * sizeof *ids);
	p->n += n;
	p->begins = false;
}

static int append_text(struct parts *p, const struct json *v)
{
	encode_fn encode = p->begins ? prompt_encode : completion_encode;
	int32_t *ids;
	int64_t n;
	if (encode(p->m, v->text, v->len, &ids, &n, p->arena, p->e))
		return err_where(p->e, "%s", p->what);
	append(p, ids, n);
	return 0;
}

static int append_part(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct parts *p = arg;
	(void)key;
	(void)key_len;
	if (v->kind == JSON_STRING)
		return append_text(p, v);
	if (v->kind == JSON_ARRAY && !p->nested) {
		p->nested = true;
		int rc = json_each(v, append_part, p);
		p->nested = false;
		return rc;
	}
	if (v->kind != JSON_NUMBER || !v->is_int)
		return err_set(p->e, "%s: part %lld is no text, no id and no array of ids", p->what, (long long)i);
	if (v->integer < 0 || v->integer >= p->m->arch.V)
		return err_set(p->e, "%s has id %lld at place %lld, but the vocabulary has %lld", p->what,
		               (long long)v->integer, (long long)p->n, (long long)p->m->arch.V);
	int32_t id = (int32_t)v->integer;
	append(p, &id, 1);
	return 0;
}

int prompt_from(const struct model_info *m, const struct json *v, const char *what, bool begins, int32_t **ids,
                int64_t *n, struct arena *a, struct err *e)
{
	struct parts p = {.m = m, .what = what, .arena = a, .e = e, .begins = begins};
	if (v->kind == JSON_ABSENT || v->kind == JSON_NULL)
		return err_set(e, "%s gives nothing", what);
	if (v->kind != JSON_STRING && v->kind != JSON_ARRAY)
		return err_set(e, "%s gives neither a text nor an array", what);
	if (v->kind == JSON_STRING ? append_text(&p, v) : json_each(v, append_part, &p))
		return -1;
	*ids = p.ids;
	*n = p.n;
	return 0;
}
