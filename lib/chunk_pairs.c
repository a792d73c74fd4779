/* chunk_pairs - key-value pairs at a stride of tokens. */
#include "lib/chunk.h"
#include "lib/str.h"

/* The text of the pair's tokens, as they come: a character that the key begins and the value ends is the value's. */
static int decode(const struct tokenizer *t, struct chunk_pair *p, int64_t n_key, int64_t n, struct str *s,
                  struct arena *a, struct err *e)
{
	struct tokenizer_stream stream;

	str_clear(s);
	tokenizer_stream_init(&stream, t, p->start > 0);
	for (int64_t i = 0; i < n; i++) {
		if (tokenizer_stream_add(&stream, p->ids[i], true, s, e))
			return -1;
		if (i == n_key - 1)
			p->key_len = s->len;
	}
	tokenizer_stream_end(&stream, s);
	p->text = arena_strndup(a, s->buf, s->len);
	p->len = s->len;
	return 0;
}

int chunk_pairs(const struct chunk_pairs_config *c, const char *text, size_t len, struct chunk_pair **out, int64_t *n,
                struct arena *a, struct err *e)
{
	int64_t size = c->key + c->value, n_ids;
	struct chunk_pair *pair;
	struct str s;
	int32_t *ids;
	int failed = 0;

	if (tokenizer_encode(c->tokenizer, text, len, TOKENIZER_PLAIN, &ids, &n_ids, a, e))
		return -1;
	*n = n_ids < size ? 0 : 1 + (n_ids - size) / c->stride;
	if (c->pairs)
		*n = n_ids / c->stride < c->pairs ? 0 : c->pairs;
	*out = pair = arena_alloc(a, (size_t)(*n + 1) * sizeof *pair);
	str_init(&s);
	for (int64_t i = 0; i < *n && !failed; i++) {
		pair[i] = (struct chunk_pair){.start = i * c->stride, .ids = ids + i * c->stride};
		failed = decode(c->tokenizer, &pair[i], c->key, size, &s, a, e);
	}
	str_release(&s);
	return failed;
}
