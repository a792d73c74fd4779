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
