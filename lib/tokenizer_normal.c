/* tokenizer_normal - the normalizer's steps over one segment, and the added tokens that end segments. */
#include <stdlib.h>
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- normalizer ---- */

/* The white space at the start (or, from the end, the bytes before it). */
static size_t space_prefix(const char *s, size_t len)
{
	uint32_t cp;
	size_t i = 0;

	while (i < len) {
		size_t n = utf8_next(s + i, len - i, &cp);
		if (!utf8_is_space(cp))
			break;
		i += n;
	}
	return i;
}

/* Bytes of the last character of s. */
static size_t last_char(const char *s, size_t len)
{
	size_t n = 1;

	while (n < len && ((unsigned char)s[len - n] & 0xC0) == 0x80)
		n++;
	return n;
}

static size_t space_suffix(const char *s, size_t len)
{
	uint32_t cp;
	size_t end = len;

	while (end > 0) {
		size_t n = last_char(s, end);
		utf8_next(s + end - n, n, &cp);
		if (!utf8_is_space(cp))
			break;
		end -= n;
	}
	return len - end;
}

static int normal_step(const struct tok_normal *n, struct tokenizer_scratch *x, const char *s, size_t len,
                       struct str *out, struct err *e)
{
	size_t skip = 0, drop = 0;

	switch (n->kind) {
	case TOK_FORM:
		utf8_normalize((enum utf8_form)n->form, s, len, out);
		return 0;
	case TOK_PREPEND:
		if (len)
			str_add(out, n->content, n->len);
		str_add(out, s, len);
		return 0;
	case TOK_REPLACE:
		return tok_pattern_replace(&n->pattern, x, s, len, n->content, n->len, out, e);
	case TOK_LOWER:
		utf8_lower(s, len, out);
		return 0;
	case TOK_STRIP:
		skip = n->left ? space_prefix(s, len) : 0;
		drop = n->right ? space_suffix(s + skip, len - skip) : 0;
		str_add(out, s + skip, len - skip - drop);
		return 0;
	}
	return 0;
}

int tok_normalize(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, const char **out,
                  size_t *out_len, struct err *e)
{
	*out = s;
	*out_len = len;
	for (int i = 0; i < t->n_normal; i++) {
		struct str *to = &x->normal[i & 1];
		str_clear(to);
		if (normal_step(&t->normal[i], x, *out, *out_len, to, e))
			return -1;
		if (to->len > TOK_MAX_TEXT)
			return err_set(e, "the normalized text has %zu bytes; at most %zu", to->len, TOK_MAX_TEXT);
		*out = to->buf;
		*out_len = to->len;
	}
	return 0;
}

/* ---- added tokens ---- */

static int32_t trie_child(const struct tok_trie *trie, int32_t node, unsigned char byte)
{
	int32_t c;

	if (node == 0)
		return trie->first[byte];
	for (c = trie->node[node].child; c && trie->node[c].byte != byte; c = trie->node[c].sibling)
		;
	return c;
}

static int32_t trie_grow(struct tok_trie *trie, int32_t parent, unsigned char byte)
{
	struct tok_trie_node *node;

	if (trie->n + 1 >= trie->cap) {
		trie->cap = trie->cap ? trie->cap * 2 : 256;
		trie->node = xrealloc_array(trie->node, (size_t)trie->cap, sizeof *trie->node);
	}
	if (trie->n == 0)
		trie->node[trie->n++] = (struct tok_trie_node){.added = -1};
	node = &trie->node[trie->n];
	*node = (struct tok_trie_node){.sibling = trie->node[parent].child, .added = -1, .byte = byte};
	trie->node[parent].child = trie->n;
	if (parent == 0)
		trie->first[byte] = trie->n;
	return trie->n++;
}

void tok_trie_put(struct tok_trie *trie, const char *s, size_t len, int32_t added)
{
	int32_t node = 0;

	for (size_t i = 0; i < len; i++) {
		int32_t child = trie_child(trie, node, (unsigned char)s[i]);
		node = child ? child : trie_grow(trie, node, (unsigned char)s[i]);
	}
	if (node)
		trie->node[node].added = added;
}

/* The longest added token at s: its index, or -1. */
static int32_t trie_longest(const struct tok_trie *trie, const char *s, size_t len, size_t *match_len)
{
	int32_t found = -1, node = 0;

	for (size_t i = 0; i < len && (node = trie_child(trie, node, (unsigned char)s[i])); i++)
		if (trie->node[node].added >= 0) {
			found = trie->node[node].added;
			*match_len = i + 1;
		}
	return found;
}

static bool word_before(const char *s, size_t at)
{
	uint32_t cp;
	size_t n;

	if (at == 0)
		return false;
	n = last_char(s, at);
	utf8_next(s + at - n, n, &cp);
	return utf8_is_word(cp);
}

static bool word_after(const char *s, size_t len, size_t at)
{
	uint32_t cp;

	if (at == len)
		return false;
	utf8_next(s + at, len - at, &cp);
	return utf8_is_word(cp);
}

/* A match that fails its own conditions is passed over whole: no shorter one is tried in its place. */
static bool refused(const struct tok_added *a, bool plain, const char *s, size_t len, size_t left, size_t right)
{
	if (plain && a->special)
		return true;
	return a->single_word && (word_before(s, left) || word_after(s, len, right));
}

int tok_trie_cut(const struct tokenizer *t, const struct tok_trie *trie, const char *s, size_t len, bool plain,
                 tok_part fn, void *arg, struct err *e)
{
	size_t start = 0, match = 0, left, right;

	for (size_t i = 0; i < len && trie->n; i = right) {
		int32_t index = -1;
		if (trie->first[(unsigned char)s[i]])
			index = trie_longest(trie, s + i, len - i, &match);
		left = i;
		right = index < 0 ? i + 1 : i + match;
		if (index < 0 || refused(&t->added[index], plain, s, len, left, right))
			continue;
		const struct tok_added *a = &t->added[index];
		if (a->lstrip && left > start)
			left -= space_suffix(s + start, left - start);
		size_t end = right + (a->rstrip ? space_prefix(s + right, len - right) : 0);
		if ((start < left && fn(arg, s + start, left - start, NULL, e)) || fn(arg, s + left, end - left, a, e))
			return -1;
		start = end;
	}
	return start < len ? fn(arg, s + start, len - start, NULL, e) : 0;
}
