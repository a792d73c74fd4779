/* bm25_analyze - text to terms; see bm25.h */
#include <libstemmer.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

struct bm25_analysis {
	enum bm25_analyzer kind;
	struct sb_stemmer *stemmer;
	struct str word;
};

/* Letters and digits map to themselves in lower case, all else to 0. */
static const unsigned char alnum[256] = {
        ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7',
        ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f',
        ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n',
        ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v',
        ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',
        ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l',
        ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
        ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z'};

/* Lucene's EnglishAnalyzer, sorted. */
static const char *const stop_words[] = {"a",    "an",   "and",  "are",  "as",   "at",    "be",   "but",   "by",
                                         "for",  "if",   "in",   "into", "is",   "it",    "no",   "not",   "of",
                                         "on",   "or",   "such", "that", "the",  "their", "then", "there", "these",
                                         "they", "this", "to",   "was",  "will", "with"};

struct bm25_analysis *bm25_analysis_new(enum bm25_analyzer kind)
{
	struct bm25_analysis *a = xcalloc(1, sizeof *a);
	a->kind = kind;
	str_init(&a->word);
	if (kind == BM25_PORTER)
		a->stemmer = sb_stemmer_new("porter", "UTF_8");
	return a;
}

void bm25_analysis_free(struct bm25_analysis *a)
{
	if (!a)
		return;
	if (a->stemmer)
		sb_stemmer_delete(a->stemmer);
	str_release(&a->word);
	free(a);
}

bool bm25_next_word(const char **p, const char *end, struct str *word)
{
	const char *s = *p;
	while (s < end && !alnum[(unsigned char)*s])
		s++;
	const char *start = s;
	while (s < end && alnum[(unsigned char)*s])
		s++;
	*p = s;
	str_clear(word);
	str_reserve(word, (size_t)(s - start) + 1);
	for (const char *c = start; c < s; c++)
		word->buf[word->len++] = (char)alnum[(unsigned char)*c];
	word->buf[word->len] = 0;
	return s > start;
}

static bool is_stop_word(const char *word, size_t len)
{
	if (len > 5)
		return false;
	size_t lo = 0, hi = ARRAY_LEN(stop_words);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strncmp(stop_words[mid], word, len);
		if (!c)
			c = stop_words[mid][len] != 0;
		if (!c)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

bool bm25_term(struct bm25_analysis *a, const char *word, size_t len, const char **term, size_t *term_len)
{
	*term = word;
	*term_len = len;
	if (a->kind == BM25_NONE)
		return true;
	if (is_stop_word(word, len))
		return false;
	if (a->kind == BM25_PORTER && a->stemmer) {
		const sb_symbol *stem = sb_stemmer_stem(a->stemmer, (const sb_symbol *)word, (int)len);
		if (!stem)
			return false;
		*term = (const char *)stem;
		*term_len = (size_t)sb_stemmer_length(a->stemmer);
	}
	return *term_len > 0;
}

void bm25_analyze(struct bm25_analysis *a, const char *text, size_t len,
                  void (*fn)(void *arg, const char *term, size_t len), void *arg)
{
	const char *p = text, *term;
	size_t n;
	while (bm25_next_word(&p, text + len, &a->word))
		if (bm25_term(a, a->word.buf, a->word.len, &term, &n))
			fn(arg, term, n);
}
