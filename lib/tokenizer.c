/* tokenizer - text to ids, and the life of a tokenizer.  See tokenizer_impl.h for the parts. */
#include "lib/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

struct tokenizer *tok_new(void)
{
	struct tokenizer *t = xcalloc(1, sizeof *t);

	tok_vocab_init(&t->vocab);
	t->unk = -1;
	return t;
}

void tokenizer_free(struct tokenizer *t)
{
	if (!t)
		return;
	for (int i = 0; i < TOK_MAX_STEPS; i++) {
		tok_pattern_release(&t->normal[i].pattern);
		free(t->normal[i].content);
		tok_pattern_release(&t->step[i].pattern);
		tok_pattern_release(&t->decode[i].pattern);
		free(t->decode[i].content);
	}
	for (size_t i = 0; i < ARRAY_LEN(t->spare); i++)
		tok_scratch_free(t->spare[i]);
	for (int32_t i = 0; i < t->n_added; i++)
		free(t->added[i].content);
	free(t->added);
	free(t->raw.node);
	free(t->normalized.node);
	free(t->special);
	free(t->before);
	free(t->after);
	tok_merges_release(&t->merges);
	tok_vocab_release(&t->vocab);
	free(t);
}

/* ---- after loading ---- */

int tok_add_added(struct tokenizer *t, const char *content, size_t len, int64_t id, const struct tok_added *flags,
                  struct err *e)
{
	struct tok_added *a;
	int32_t there = tok_vocab_id(&t->vocab, content, len);

	if (len == 0 || len > TOK_MAX_CONTENT)
		return err_set(e, "an added token of %zu bytes; from 1 to %d", len, TOK_MAX_CONTENT);
	/* what the vocabulary holds keeps its id there, as in the library */
	if (there < 0) {
		if (tok_vocab_put(&t->vocab, content, len, id, e))
			return -1;
		there = (int32_t)id;
	}
	if (t->n_added == t->cap_added) {
		t->cap_added = t->cap_added ? t->cap_added * 2 : 16;
		t->added = xrealloc_array(t->added, (size_t)t->cap_added, sizeof *t->added);
	}
	a = &t->added[t->n_added++];
	*a = *flags;
	a->content = xstrndup(content, len);
	a->len = len;
	a->id = there;
	return 0;
}

static int build_tries(struct tokenizer *t, struct err *e)
{
	struct tokenizer_scratch *x = tok_scratch_take(t);
	const char *s;
	size_t len;
	int failed = 0;

	for (int32_t i = 0; i < t->n_added && !failed; i++) {
		const struct tok_added *a = &t->added[i];
		if (!a->normalized) {
			tok_trie_put(&t->raw, a->content, a->len, i);
			continue;
		}
		failed = tok_normalize(t, x, a->content, a->len, &s, &len, e);
		if (!failed)
			tok_trie_put(&t->normalized, s, len, i);
	}
	tok_scratch_give(t, x);
	return failed;
}

static void find_byte_ids(struct tokenizer *t)
{
	char text[8];

	t->all_bytes = t->all_byte_tokens = true;
	for (int b = 0; b < 256; b++) {
		size_t n = utf8_put(tok_byte_char(b), text);
		t->byte_id[b] = tok_vocab_id(&t->vocab, text, n);
		t->all_bytes &= t->byte_id[b] >= 0;
		text[0] = '<', text[1] = '0', text[2] = 'x', text[5] = '>';
		text[3] = "0123456789ABCDEF"[b >> 4], text[4] = "0123456789ABCDEF"[b & 15];
		t->byte_token[b] = tok_vocab_id(&t->vocab, text, 6);
		t->all_byte_tokens &= t->byte_token[b] >= 0;
	}
}

#define BAR "\xE2\x96\x81"

static bool crosses_bar(const struct tokenizer *t, uint64_t pair)
{
	size_t left, right;
	const char *l = tok_vocab_name(&t->vocab, (int32_t)(pair >> 32), &left);
	const char *r = tok_vocab_name(&t->vocab, (int32_t)(uint32_t)pair, &right);

	return right >= 3 && !memcmp(r, BAR, 3) && (left < 3 || memcmp(l + left - 3, BAR, 3));
}

/*
 * A text that no pre-tokenizer cuts is one word, and merging all of it is slow.  Where no merge has a left part that
 * ends in another character and a right part that begins with a bar, nothing ever joins the two sides of such a border,
 * and each side alone gives the same ids.
 */
static bool can_cut_bars(const struct tokenizer *t)
{
	/* where unknown characters vanish, what stood around them meets */
	bool vanish = t->unk < 0 && !(t->byte_fallback && t->all_byte_tokens);

	if (t->ignore_merges || vanish || tok_vocab_id(&t->vocab, BAR, 3) < 0)
		return false;
	for (size_t i = 0; i < t->merges.n_slots; i++)
		if (t->merges.slot[i].pair != UINT64_MAX && crosses_bar(t, t->merges.slot[i].pair))
			return false;
	return true;
}

/* By content, as the library does. */
static void mark_special(struct tokenizer *t)
{
	t->special = xcalloc((size_t)t->vocab.size + 1, 1);
	for (int32_t i = 0; i < t->n_added; i++)
		if (t->added[i].special)
			t->special[t->added[i].id] = 1;
}

static int check_template(const struct tokenizer *t, const int32_t *id, int32_t n, struct err *e)
{
	size_t len;

	for (int32_t i = 0; i < n; i++)
		if (!tok_vocab_name(&t->vocab, id[i], &len))
			return err_set(e, "the template names token %d, which is not in the vocabulary", id[i]);
	return 0;
}

int tok_finish(struct tokenizer *t, struct err *e)
{
	if (t->vocab.n == 0)
		return err_set(e, "the vocabulary is empty");
	find_byte_ids(t);
	t->cut_bars = can_cut_bars(t);
	mark_special(t);
	if (check_template(t, t->before, t->n_before, e) || check_template(t, t->after, t->n_after, e))
		return -1;
	return build_tries(t, e);
}

/* ---- what others ask ---- */

int32_t tokenizer_size(const struct tokenizer *t)
{
	return t->vocab.size;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *content, size_t len)
{
	return tok_vocab_id(&t->vocab, content, len);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
	return id >= 0 && id < t->vocab.size && t->special[id];
}

/* ---- encoding ---- */

struct encoding {
	const struct tokenizer *t;
	struct tokenizer_scratch *x;
	bool plain;
	bool first; /* nothing came before */
};

static int normalized_part(void *arg, const char *s, size_t len, const struct tok_added *added, struct err *e)
{
	struct encoding *c = arg;
	bool first = c->first;

	c->first = false;
	if (!added)
		return tok_split(c->t, c->x, s, len, first, e);
	tok_push(c->x, added->id);
	return 0;
}

static int raw_part(void *arg, const char *s, size_t len, const struct tok_added *added, struct err *e)
{
	struct encoding *c = arg;

	if (added)
		return normalized_part(arg, s, len, added, e);
	if (tok_normalize(c->t, c->x, s, len, &s, &len, e))
		return -1;
	return tok_trie_cut(c->t, &c->t->normalized, s, len, c->plain, normalized_part, c, e);
}

static void push_all(struct tokenizer_scratch *x, const int32_t *id, int32_t n)
{
	for (int32_t i = 0; i < n; i++)
		tok_push(x, id[i]);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, int flags, int32_t **ids, int64_t *n,
                     struct arena *a, struct err *e)
{
	struct encoding c = {.t = t, .plain = flags & TOKENIZER_PLAIN, .first = true};
	int failed;

	if (len > TOK_MAX_TEXT)
		return err_set(e, "a text of %zu bytes; at most %zu", len, TOK_MAX_TEXT);
	if (!utf8_valid(text, len))
		return err_set(e, "the text is not valid UTF-8");
	c.x = tok_scratch_take(t);
	if (flags & TOKENIZER_TEMPLATE)
		push_all(c.x, t->before, t->n_before);
	failed = tok_trie_cut(t, &t->raw, text, len, c.plain, raw_part, &c, e);
	if (!failed) {
		if (flags & TOKENIZER_TEMPLATE)
			push_all(c.x, t->after, t->n_after);
		*n = c.x->n_ids;
		*ids = arena_alloc(a, (size_t)*n * sizeof **ids);
		if (*n)
			memcpy(*ids, c.x->id, (size_t)*n * sizeof **ids);
	}
	tok_scratch_give(t, c.x);
	return failed;
}
