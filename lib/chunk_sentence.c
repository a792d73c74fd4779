/* chunk_sentence - where sentences end. */
#include <string.h>

#include "lib/chunk.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* Words are compared in lower case, without their last full stop. */

/* What never ends a sentence, as a name or more of the phrase comes after it. */
static const char *const leading[] = {
        "mr",   "mrs",  "ms",  "dr",     "prof", "gen",  "col",  "capt", "lt",    "sgt",  "rev", "hon",
        "sen",  "rep",  "gov", "messrs", "mme",  "mlle", "maj",  "cmdr", "adm",   "brig", "pvt", "cpl",
        "supt", "insp", "mt",  "e.g",    "i.e",  "eg",   "ie",   "cf",   "vs",    "viz",  "ca",  "approx",
        "resp", "incl", "esp", "subsp",  "dept", "univ", "assn", "bros", "mssrs",
};

/* What never ends one before a number, and else does before a word that often begins sentences. */
static const char *const numbered[] = {
        "fig", "figs", "eq", "eqs", "ref", "refs", "sec", "ch",  "chap", "vol", "vols",
        "nos", "nr",   "p",  "pp",  "ed",  "eds",  "op",  "art", "tab",  "no",
};

/* What may end one: it does before such a word. */
static const char *const either_way[] = {
        "inc",  "ltd", "co",   "corp", "jr",  "sr",  "etc", "jan", "feb", "mar", "apr",  "jun", "jul",
        "aug",  "sep", "sept", "oct",  "nov", "dec", "mon", "tue", "wed", "thu", "fri",  "est", "dist",
        "blvd", "rd",  "ph.d", "m.d",  "b.a", "m.a", "a.m", "p.m", "u.s", "u.k", "u.n",  "d.c", "l.a",
        "b.c",  "a.d", "n.y",  "st",   "ave", "ft",  "al",  "sp",  "spp", "seq", "ibid", "cit", "var",
};

/* Words that often begin sentences, and seldom stand in the middle of one with a capital. */
static const char *const starters[] = {
        "the",        "a",       "an",        "this",    "that",     "these",  "those",   "it",       "its",
        "he",         "she",     "they",      "we",      "i",        "you",    "his",     "her",      "their",
        "our",        "my",      "there",     "here",    "in",       "on",     "at",      "by",       "for",
        "from",       "with",    "after",     "before",  "when",     "while",  "if",      "as",       "but",
        "and",        "so",      "or",        "yet",     "although", "though", "however", "moreover", "furthermore",
        "therefore",  "thus",    "then",      "to",      "of",       "one",    "two",     "some",     "many",
        "most",       "all",     "both",      "each",    "no",       "not",    "what",    "who",      "why",
        "how",        "where",   "which",     "because", "since",    "during", "under",   "over",     "upon",
        "once",       "despite", "according", "another", "other",    "such",   "now",     "later",    "finally",
        "first",      "second",  "next",      "also",    "even",     "only",   "results", "patients", "methods",
        "conclusion",
};

static bool in_list(const char *const *list, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], word))
			return true;
	return false;
}

#define IN(list, word) in_list(list, ARRAY_LEN(list), word)

/* ---- characters ---- */

static bool ends_here(uint32_t c) /* full stops of scripts that need no space after them */
{
	return c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF61 || c == 0x0964 || c == 0x0965 || c == 0x061F ||
	       c == 0x06D4 || c == 0x1362;
}

static bool may_end(uint32_t c)
{
	return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x203C || (c >= 0x2047 && c <= 0x2049);
}

static bool closes(uint32_t c)
{
	return c == '"' || c == '\'' || c == ')' || c == ']' || c == '}' || c == '_' || c == '*' || c == 0x201D ||
	       c == 0x2019 || c == 0xBB || c == 0x203A || c == 0x300D || c == 0x300F || c == 0xFF09;
}

static bool opens(uint32_t c)
{
	return c == '"' || c == '\'' || c == '(' || c == '[' || c == '{' || c == '_' || c == '*' || c == 0x201C ||
	       c == 0x2018 || c == 0xAB || c == 0x2039 || c == 0xBF || c == 0xA1 || c == '`';
}

/* ---- one place ---- */

struct place {
	const char *text;
	size_t len;
	size_t from;    /* where the run of marks begins */
	size_t mark;    /* where it ends */
	size_t end;     /* behind what closes */
	size_t next;    /* the character after white space */
	size_t begun;   /* where the sentence began */
	bool only_stop; /* the run is one full stop */
};

/* The word at s in lower case ASCII (others as they are), cut to fit. */
static void lower_word(const char *s, size_t len, char *out, size_t size)
{
	size_t n = len < size - 1 ? len : size - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 0x20 : s[i]);
	out[n] = 0;
}

/* The word before the mark, without what opens it. */
static size_t word_before(const struct place *p, char *word, size_t size)
{
	size_t at = p->from, floor = p->from > 40 ? p->from - 40 : 0;

	if (floor < p->begun)
		floor = p->begun;
	while (at > floor && !strchr(" \t\r\n\"([{/_*", p->text[at - 1]) &&
	       ((unsigned char)p->text[at - 1] != 0x94 && (unsigned char)p->text[at - 1] != 0x9C))
		at--;
	while (at < p->from && p->text[at] == '\'')
		at++;
	lower_word(p->text + at, p->from - at, word, size);
	return at;
}

static size_t word_after(const struct place *p, uint32_t *first, char *word, size_t size)
{
	size_t at = p->next, n = 0;
	uint32_t c = 0;

	while (at < p->len) {
		n = utf8_next(p->text + at, p->len - at, &c);
		if (!opens(c))
			break;
		at += n;
	}
	*first = at < p->len ? c : 0;
	for (n = 0; at + n < p->len &&
	            (p->text[at + n] & 0x80 || ((p->text[at + n] | 0x20) >= 'a' && (p->text[at + n] | 0x20) <= 'z'));
	     n++)
		;
	lower_word(p->text + at, n, word, size);
	return at;
}

static bool is_digits(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s);
}

/* A letter, or letters each with its stop: "J", "J.R.R", "U.S". */
static bool is_initials(const char *word)
{
	size_t n = strlen(word);

	if (n % 2 == 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (i % 2 ? word[i] != '.' : word[i] < 'a' || word[i] > 'z')
			return false;
	return true;
}

static bool after_small_word(const struct place *p, size_t at)
{
	size_t end;

	while (at > p->begun && p->text[at - 1] == ' ')
		at--;
	for (end = at; at > p->begun && p->text[at - 1] >= 'a' && p->text[at - 1] <= 'z'; at--)
		;
	return end > at && (at == p->begun || p->text[at - 1] == ' ');
}

/* A full stop after this word ends the sentence before a word that starts with a capital or no letter. */
static bool stop_ends(const struct place *p, uint32_t first, const char *next)
{
	char word[48];
	size_t at = word_before(p, word, sizeof word);
	bool capital = p->text[at] >= 'A' && p->text[at] <= 'Z', starter = IN(starters, next);

	if (word[0] == 0)
		return true;
	if (is_digits(word) && at == p->begun && strlen(word) < 3) /* 1. of a list */
		return false;
	if (IN(leading, word))
		return false;
	if (IN(numbered, word)) /* "No." may be an answer */
		return !utf8_is_number(first) && (starter || !strcmp(word, "no"));
	if (IN(either_way, word))
		return starter;
	if (is_initials(word)) /* of a name; or vitamin C, which stands behind a small word */
		return starter && (!capital || word[1] || !strcmp(word, "i") || after_small_word(p, at));
	return true;
}

/* Before a small letter too: a full stop, closed by nothing, after a word too long to be an abbreviation. */
static bool surely_ends(const struct place *p)
{
	char word[48];

	word_before(p, word, sizeof word);
	return p->only_stop && p->end == p->mark && strlen(word) > 4 &&
	       strspn(word, "abcdefghijklmnopqrstuvwxyz") == strlen(word) && !IN(leading, word) &&
	       !IN(either_way, word);
}

static bool ends(const struct place *p)
{
	char next[48];
	uint32_t first;

	word_after(p, &first, next, sizeof next);
	if (first == 0)
		return true;
	if (first == ',' || first == ';' || (utf8_is_lower(first) && !surely_ends(p)))
		return false;
	return !p->only_stop || stop_ends(p, first, next);
}

/* ---- a whole text ---- */

struct list {
	size_t *end;
	int64_t n, cap;
	struct arena *arena;
};

static void add_end(struct list *l, size_t end)
{
	if (l->n == l->cap) {
		int64_t cap = l->cap ? l->cap * 2 : 64;
		size_t *more = arena_alloc(l->arena, (size_t)cap * sizeof *more);
		if (l->n)
			memcpy(more, l->end, (size_t)l->n * sizeof *more);
		l->end = more;
		l->cap = cap;
	}
	l->end[l->n++] = end;
}

/* Over white space: where it ends, and how many newlines are in it. */
static size_t skip_space(const char *text, size_t len, size_t at, int *newlines)
{
	uint32_t c;

	for (*newlines = 0; at < len;) {
		size_t n = utf8_next(text + at, len - at, &c);
		if (!utf8_is_space(c))
			break;
		*newlines += c == '\n';
		at += n;
	}
	return at;
}

/* The run of marks at p->from, and what closes after it; true when a sentence may end there. */
static bool take_marks(struct place *p, uint32_t c)
{
	bool free_standing = ends_here(c);
	uint32_t next;
	size_t n;

	p->mark = p->from;
	p->only_stop = c == '.';
	for (int marks = 0; p->mark < p->len; marks++) {
		n = utf8_next(p->text + p->mark, p->len - p->mark, &next);
		if (!may_end(next) && !ends_here(next))
			break;
		p->only_stop &= marks == 0;
		p->mark += n;
	}
	for (p->end = p->mark; p->end < p->len; p->end += n) {
		n = utf8_next(p->text + p->end, p->len - p->end, &next);
		if (!closes(next))
			break;
	}
	if (p->end == p->len)
		return true;
	utf8_next(p->text + p->end, p->len - p->end, &next);
	return free_standing || utf8_is_space(next);
}

void chunk_sentences(const char *text, size_t len, size_t **end, int64_t *n, struct arena *a)
{
	struct list l = {.arena = a};
	struct place p = {.text = text, .len = len};
	size_t at = 0, step, solid = 0; /* behind the last character that is no white space */
	uint32_t c;
	int newlines;

	p.begun = skip_space(text, len, 0, &newlines);
	for (at = p.begun; at < len; at += step) {
		step = utf8_next(text + at, len - at, &c);
		if (utf8_is_space(c)) {
			size_t next = skip_space(text, len, at, &newlines);
			step = next - at;
			if (newlines > 1 && next < len && solid > p.begun) {
				add_end(&l, solid);
				p.begun = next;
			}
			continue;
		}
		solid = at + step;
		if (!may_end(c) && !ends_here(c))
			continue;
		p.from = at;
		bool candidate = take_marks(&p, c);
		solid = p.end;
		step = p.end - at;
		p.next = skip_space(text, len, p.end, &newlines);
		if (candidate && p.next < len && (newlines > 1 || ends_here(c) || ends(&p))) {
			add_end(&l, p.end);
			p.begun = p.next;
			step = p.next - at;
		}
	}
	if (len)
		add_end(&l, len);
	*end = l.end;
	*n = l.n;
}
