/* bm25_analyze - text to terms; see bm25.h */
#include <libstemmer.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

struct bm25_analysis {
	enum bm25_analyzer kind;
	struct sb_stemmer *stemmer;
	const char *p, *end; /* what is left of the text */
	bool ascii;          /* the text, under BM25_UNICODE */
	struct str folded, words;
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
	str_init(&a->folded);
	str_init(&a->words);
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
	str_release(&a->folded);
	str_release(&a->words);
	free(a);
}

/* ---- words ---- */

void bm25_analysis_text(struct bm25_analysis *a, const char *text, size_t len)
{
	if (a->kind == BM25_UNICODE) {
		size_t ascii = 0;
		while (ascii < len && (unsigned char)text[ascii] < 0x80)
			ascii++;
		a->ascii = ascii == len;
		if (!a->ascii) {
			str_clear(&a->folded);
			utf8_fold(text, len, &a->folded);
			text = a->folded.buf;
			len = a->folded.len;
		}
	}
	a->p = text;
	a->end = text + len;
}

static void next_ascii(struct bm25_analysis *a)
{
	const char *s = a->p, *start;
	while (s < a->end && !alnum[(unsigned char)*s])
		s++;
	for (start = s; s < a->end && alnum[(unsigned char)*s];)
		s++;
	a->p = s;
	size_t len = (size_t)(s - start), room = len + 2; /* a word's NUL and that of all */
	if (a->words.cap < a->words.len + room)
		str_reserve(&a->words, room);
	char *out = a->words.buf + a->words.len;
	for (const char *c = start; c < s; c++)
		*out++ = (char)alnum[(unsigned char)*c];
	a->words.len += len;
}

/* Scripts that write without spaces and whose characters are words or syllables: Han and Hiragana. */
static bool stands_alone(uint32_t cp)
{
	return cp >= 0x3005 && (cp <= 0x3007 || (cp >= 0x3021 && cp <= 0x3029) || (cp >= 0x3041 && cp <= 0x309F) ||
	                        (cp >= 0x3400 && cp <= 0x4DBF) || (cp >= 0x4E00 && cp <= 0x9FFF) ||
	                        (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x20000 && cp <= 0x3FFFD));
}

/* A run of letters, marks and numbers that begins with no mark; the marks behind a character belong to it. */
static void next_unicode(struct bm25_analysis *a)
{
	size_t start = a->words.len;
	bool alone = false;
	uint32_t cp;
	while (a->p < a->end) {
		size_t n = utf8_next(a->p, (size_t)(a->end - a->p), &cp);
		bool mark = utf8_is_mark(cp), single = !mark && stands_alone(cp);
		bool begun = a->words.len > start;
		bool inside = (mark && begun) || utf8_is_letter(cp) || utf8_is_number(cp);
		if (begun && (!inside || (!mark && (alone || single))))
			break;
		if (inside)
			str_add(&a->words, a->p, n);
		alone = alone || (inside && single);
		a->p += n;
	}
}

size_t bm25_next_words(struct bm25_analysis *a, struct bm25_span *span, size_t max, const char **words)
{
	size_t n = 0;
	str_clear(&a->words);
	for (; n < max; n++) {
		size_t at = a->words.len;
		if (a->kind == BM25_UNICODE && !a->ascii)
			next_unicode(a);
		else
			next_ascii(a);
		if (a->words.len == at)
			break;
		span[n] = (struct bm25_span){at, a->words.len - at};
		if (a->words.cap < a->words.len + 2)
			str_reserve(&a->words, 2);
		a->words.buf[a->words.len++] = 0;
		a->words.buf[a->words.len] = 0;
	}
	*words = a->words.buf;
	return n;
}

/* ---- terms ---- */

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
	if (a->kind == BM25_NONE || a->kind == BM25_UNICODE)
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
                  void (*fn)(void *arg, const char *term, size_t len, uint32_t position), void *arg)
{
	const char *word, *term;
	struct bm25_span span;
	size_t term_len;
	bm25_analysis_text(a, text, len);
	for (uint32_t i = 0; bm25_next_words(a, &span, 1, &word); i++)
		if (bm25_term(a, word, span.len, &term, &term_len))
			fn(arg, term, term_len, i);
}
