/* porter - see porter.h */
#include "lib/porter.h"

#include <stdbool.h>
#include <string.h>

#include "lib/util.h"

struct word {
	char *s;
	size_t len;
};

static bool is_vowel_letter(char c)
{
	return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

/* A y is a consonant where it begins the word or follows a vowel; of a run of them each second one is. */
static bool is_consonant(const char *s, size_t i)
{
	size_t run = i;
	while (run > 0 && s[run] == 'y')
		run--;
	/* s[run] is no y, or the y that begins the word: a consonant */
	return is_vowel_letter(s[run]) == ((i - run) % 2 != 0);
}

/* Porter's m of the first n letters: how often a consonant follows a vowel; stops at `enough`. */
static int measure(const char *s, size_t n, int enough)
{
	bool before = false;
	int m = 0;
	for (size_t i = 0; i < n && m < enough; i++) {
		bool vowel = s[i] == 'y' ? i > 0 && !before : is_vowel_letter(s[i]);
		m += before && !vowel;
		before = vowel;
	}
	return m;
}

static bool has_vowel(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_vowel_letter(s[i]) || (s[i] == 'y' && i > 0))
			return true; /* the y follows a consonant: a vowel would have ended the loop */
	return false;
}

static bool ends_double_consonant(const char *s, size_t n)
{
	return n >= 2 && s[n - 1] == s[n - 2] && is_consonant(s, n - 1);
}

static bool ends_cvc(const char *s, size_t n)
{
	if (n == 2)
		return !is_consonant(s, 0) && is_consonant(s, 1);
	return n >= 3 && is_consonant(s, n - 3) && !is_consonant(s, n - 2) && is_consonant(s, n - 1) &&
	       s[n - 1] != 'w' && s[n - 1] != 'x' && s[n - 1] != 'y';
}

static bool ends(const struct word *w, const char *suffix, size_t len)
{
	return w->len >= len && !memcmp(w->s + w->len - len, suffix, len);
}
#define ENDS(w, suffix) ends(w, suffix, sizeof(suffix) - 1)

/* No rule makes a word longer than it came in but those that put back an e behind "ed" or "ing". */
static void replace(struct word *w, size_t suffix, const char *by)
{
	size_t n = strlen(by);
	memcpy(w->s + w->len - suffix, by, n);
	w->len += n - suffix;
}

struct rule {
	const char *suffix, *by;
};

/* The first rule whose suffix is there decides: it applies where the measure of what is left is above `above`. */
static void apply(struct word *w, const struct rule *rule, size_t n, int above)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(rule[i].suffix);
		if (!ends(w, rule[i].suffix, len))
			continue;
		/* "logi" counts its l as part of what is left */
		size_t left = w->len - len + (rule[i].suffix[0] == 'l' && len == 4);
		/* "ion" must follow s or t */
		char last = left ? w->s[left - 1] : 0;
		bool ion = !strcmp(rule[i].suffix, "ion");
		if (measure(w->s, left, above + 1) > above && (!ion || last == 's' || last == 't'))
			replace(w, len, rule[i].by);
		return;
	}
}

static void step1a(struct word *w)
{
	if (ENDS(w, "ies"))
		w->len -= w->len == 4 ? 1 : 2;
	else if (ENDS(w, "sses"))
		w->len -= 2;
	else if (ENDS(w, "s") && !ENDS(w, "ss"))
		w->len--;
}

static void step1b(struct word *w)
{
	if (ENDS(w, "ied")) {
		w->len -= w->len == 4 ? 1 : 2;
		return;
	}
	if (ENDS(w, "eed")) {
		if (measure(w->s, w->len - 3, 1) > 0)
			w->len--;
		return;
	}
	size_t suffix = ENDS(w, "ed") ? 2 : ENDS(w, "ing") ? 3 : 0;
	if (!suffix || !has_vowel(w->s, w->len - suffix))
		return;
	w->len -= suffix;
	if (ENDS(w, "at") || ENDS(w, "bl") || ENDS(w, "iz")) {
		replace(w, 0, "e");
	} else if (ends_double_consonant(w->s, w->len)) {
		char last = w->s[w->len - 1];
		if (last != 'l' && last != 's' && last != 'z')
			w->len--;
	} else if (measure(w->s, w->len, 2) == 1 && ends_cvc(w->s, w->len)) {
		replace(w, 0, "e");
	}
}

static void step1c(struct word *w)
{
	if (w->len > 2 && ENDS(w, "y") && is_consonant(w->s, w->len - 2))
		w->s[w->len - 1] = 'i';
}

static void step2(struct word *w)
{
	static const struct rule rule[] = {
	        {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
	        {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
	        {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
	        {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
	        {"fulli", "ful"},   {"logi", "log"}};
	while (ENDS(w, "alli") && measure(w->s, w->len - 4, 1) > 0)
		w->len -= 2;
	apply(w, rule, ARRAY_LEN(rule), 0);
}

static void step3(struct word *w)
{
	static const struct rule rule[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
	                                   {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
	apply(w, rule, ARRAY_LEN(rule), 0);
}

static void step4(struct word *w)
{
	static const struct rule rule[] = {{"al", ""},   {"ance", ""}, {"ence", ""}, {"er", ""},    {"ic", ""},
	                                   {"able", ""}, {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""},
	                                   {"ent", ""},  {"ion", ""},  {"ou", ""},   {"ism", ""},   {"ate", ""},
	                                   {"iti", ""},  {"ous", ""},  {"ive", ""},  {"ize", ""}};
	apply(w, rule, ARRAY_LEN(rule), 1);
}

static void step5(struct word *w)
{
	if (ENDS(w, "e")) {
		int m = measure(w->s, w->len - 1, 2);
		if (m > 1 || (m == 1 && !ends_cvc(w->s, w->len - 1)))
			w->len--;
	}
	if (ENDS(w, "ll") && measure(w->s, w->len - 1, 2) > 1)
		w->len--;
}

static bool is_irregular(struct word *w)
{
	static const struct rule form[] = {
	        {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
	        {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
	        {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
	        {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};
	for (size_t i = 0; i < ARRAY_LEN(form); i++)
		if (strlen(form[i].suffix) == w->len && ends(w, form[i].suffix, w->len)) {
			replace(w, w->len, form[i].by);
			return true;
		}
	return false;
}

size_t porter_stem(char *word, size_t len)
{
	struct word w = {word, len};
	if (len <= 2 || (len <= 8 && is_irregular(&w)))
		return w.len;
	step1a(&w);
	step1b(&w);
	step1c(&w);
	step2(&w);
	step3(&w);
	step4(&w);
	step5(&w);
	return w.len;
}
