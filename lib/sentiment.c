/* sentiment - see sentiment.h */
#include "lib/sentiment.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sentiment_lexicon.h"
#include "lib/str.h"
#include "lib/utf8.h"
#include "lib/util.h"

#define CAPITALS .733
#define NEGATION -.74

/* A word of the text with its emoji spelled out. */
struct word {
	const struct sentiment_entry *entry; /* NULL: no rule knows it */
	size_t begin, end;                   /* bytes of the text */
	double valence;
	bool upper, negates;
};

/* A heap per value, of the places that hold it: nodes are places, children by number, -1 for none. */
struct place {
	int64_t left, right;
};

struct sentiment {
	struct sentiment_lexicon lexicon;
	struct str text, lower;
	int64_t *from; /* by byte of text: the code point of the original; only where words are asked for */
	size_t from_cap;
	struct word *words;
	int64_t n, cap;
	struct sentiment_word *out;
	struct place *places;
	double *values; /* of the table of heaps */
	int64_t *roots;
	size_t n_slots;
	bool some_upper; /* some words but not all are in capitals */
};

struct sentiment *sentiment_open(const char *lexicon, const char *emoji, struct err *e)
{
	struct sentiment *s = xcalloc(1, sizeof *s);
	sentiment_lexicon_init(&s->lexicon);
	str_init(&s->text);
	str_init(&s->lower);
	if (sentiment_lexicon_read(&s->lexicon, lexicon, e) ||
	    (emoji && sentiment_lexicon_read_emoji(&s->lexicon, emoji, e))) {
		sentiment_free(s);
		return NULL;
	}
	return s;
}

void sentiment_free(struct sentiment *s)
{
	if (!s)
		return;
	sentiment_lexicon_release(&s->lexicon);
	str_release(&s->text);
	str_release(&s->lower);
	free(s->words);
	free(s->from);
	free(s->out);
	free(s->places);
	free(s->values);
	free(s->roots);
	free(s);
}

/* ---- words ---- */

/* What Python's str.split() splits at. */
static bool is_space(uint32_t c)
{
	return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || (c >= 0x80 && utf8_is_space(c));
}

/* In capitals as Python's str.isupper(): one capital at least, and no small or title-case letter. */
static bool is_upper(const char *p, size_t len)
{
	bool upper = false;
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)p[i];
		uint32_t code = c;
		i += c < 0x80 ? 1 : utf8_next(p + i, len - i, &code);
		if (c < 0x80 ? c >= 'a' && c <= 'z' : utf8_is_lower(code))
			return false;
		upper |= c < 0x80 ? c >= 'A' && c <= 'Z' : utf8_is_upper(code);
	}
	return upper;
}

static void look_up(struct sentiment *s, struct word *w, const char *p, size_t len)
{
	uint64_t hash = SENTIMENT_HASH_START;
	unsigned char any = 0;
	bool apostrophe = false;
	str_clear(&s->lower);
	str_reserve(&s->lower, len + 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];
		any |= c;
		apostrophe |= c == '\'';
		c = c >= 'A' && c <= 'Z' ? c + 32 : c;
		s->lower.buf[i] = (char)c;
		hash = sentiment_hash_step(hash, c);
	}
	s->lower.len = len;
	if (any & 0x80) {
		str_clear(&s->lower);
		utf8_lower(p, len, &s->lower);
		hash = SENTIMENT_HASH_START;
		for (size_t i = 0; i < s->lower.len; i++)
			hash = sentiment_hash_step(hash, (unsigned char)s->lower.buf[i]);
	}
	w->entry = sentiment_find(&s->lexicon, s->lower.buf, s->lower.len, hash);
	w->upper = is_upper(p, len);
	w->negates = (w->entry && w->entry->negates) || (apostrophe && memmem(s->lower.buf, s->lower.len, "n't", 3));
}

/*
 * Bytes [begin, end) of the text, a run between white space.  Without its punctuation shorter than three characters, it
 * may be an emoticon and stays whole.
 */
static void add_word(struct sentiment *s, size_t begin, size_t end)
{
	const char *t = s->text.buf;
	size_t b = begin, e = end;
	while (b < e && ispunct((unsigned char)t[b]))
		b++;
	while (e > b && ispunct((unsigned char)t[e - 1]))
		e--;
	/* a character has at most four bytes */
	if (e - b > 8 || (e - b > 2 && utf8_length(t + b, e - b) > 2)) {
		begin = b;
		end = e;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->words = xrealloc_array(s->words, (size_t)s->cap, sizeof *s->words);
	}
	struct word *w = &s->words[s->n++];
	*w = (struct word){.begin = begin, .end = end};
	look_up(s, w, t + begin, end - begin);
}

static void find_words(struct sentiment *s)
{
	const char *t = s->text.buf;
	size_t len = s->text.len, begin = 0, width;
	int64_t upper = 0;
	s->n = 0;
	for (size_t i = 0; i < len; i += width) {
		uint32_t code = (unsigned char)t[i];
		width = code < 0x80 ? 1 : utf8_next(t + i, len - i, &code);
		if (!is_space(code))
			continue;
		if (i > begin)
			add_word(s, begin, i);
		begin = i + width;
	}
	if (len > begin)
		add_word(s, begin, len);
	for (int64_t i = 0; i < s->n; i++)
		upper += s->words[i].upper;
	s->some_upper = upper > 0 && upper < s->n;
}

/* ---- emoji ---- */

/* n bytes of the text stand for code point `code` of the original; each for one of its own when `step` is 1. */
static void put(struct sentiment *s, const char *p, size_t n, int64_t code, int64_t step, bool places)
{
	size_t at = s->text.len;
	str_add(&s->text, p, n);
	if (!places)
		return;
	if (s->text.cap > s->from_cap) {
		s->from_cap = s->text.cap;
		s->from = xrealloc_array(s->from, s->from_cap, sizeof *s->from);
	}
	for (size_t i = 0; i < n; i++, code += step)
		s->from[at + i] = code;
}

/* The text with a description in place of each emoji, behind a space where the character before was none. */
static void spell_emoji(struct sentiment *s, const char *p, size_t len, bool places)
{
	bool space = true;
	int64_t code = 0;
	str_clear(&s->text);
	for (size_t i = 0, n; i < len; i += n) {
		for (n = 0; i + n < len && (unsigned char)p[i + n] < 0x80; n++)
			;
		if (n) {
			put(s, p + i, n, code, 1, places);
			space = p[i + n - 1] == ' ';
			code += (int64_t)n;
			continue;
		}
		uint32_t c;
		n = utf8_next(p + i, len - i, &c);
		const struct sentiment_emoji *emoji = sentiment_find_emoji(&s->lexicon, c);
		if (emoji && !space)
			put(s, " ", 1, code, 0, places);
		put(s, emoji ? emoji->text : p + i, emoji ? emoji->len : n, code, 0, places);
		space = false;
		code++;
	}
}

/* ---- rules ---- */

static enum sentiment_name name(const struct sentiment *s, int64_t i)
{
	return i >= 0 && i < s->n && s->words[i].entry ? s->words[i].entry->name : W_OTHER;
}

static bool in_lexicon(const struct sentiment *s, int64_t i)
{
	return s->words[i].entry && s->words[i].entry->in_lexicon;
}

struct phrase {
	enum sentiment_name word[3]; /* W_OTHER behind the end */
	double value;
};

static const struct phrase idioms[] = {
        {{W_THE, W_SHIT}, 3},      {{W_THE, W_BOMB}, 3},        {{W_BAD, W_ASS}, 1.5},
        {{W_BUS, W_STOP}, 0},      {{W_YEAH, W_RIGHT}, -2},     {{W_KISS, W_OF, W_DEATH}, -1.5},
        {{W_TO, W_DIE, W_FOR}, 3}, {{W_BEATING, W_HEART}, 3.1}, {{W_BROKEN, W_HEART}, -2.9}};
static const struct phrase boosters[] = {{{W_JUST, W_ENOUGH}, -.293}, {{W_KIND, W_OF}, -.293}, {{W_SORT, W_OF}, -.293}};

/* The phrase of exactly n words that begins at word i. */
static const struct phrase *find_phrase(const struct sentiment *s, const struct phrase *p, size_t n_phrases, int64_t i,
                                        int n)
{
	enum sentiment_name a = name(s, i), b = name(s, i + 1), c = n == 3 ? name(s, i + 2) : W_OTHER;
	if (!a || !b || (n == 3 && !c))
		return NULL;
	for (size_t j = 0; j < n_phrases; j++)
		if (p[j].word[0] == a && p[j].word[1] == b && p[j].word[2] == c)
			return &p[j];
	return NULL;
}

static double apply_idioms(const struct sentiment *s, int64_t i, double v)
{
	static const struct {
		int from, n;
	} before[] = {{-1, 2}, {-2, 3}, {-2, 2}, {-3, 3}, {-3, 2}}, after[] = {{0, 2}, {0, 3}},
	  boost[] = {{-3, 2}, {-2, 2}};
	const struct phrase *p = NULL;
	for (size_t j = 0; j < ARRAY_LEN(before) && !p; j++)
		p = find_phrase(s, idioms, ARRAY_LEN(idioms), i + before[j].from, before[j].n);
	v = p ? p->value : v;
	for (size_t j = 0; j < ARRAY_LEN(after); j++)
		if ((p = find_phrase(s, idioms, ARRAY_LEN(idioms), i + after[j].from, after[j].n)))
			v = p->value;
	for (size_t j = 0; j < ARRAY_LEN(boost); j++)
		if ((p = find_phrase(s, boosters, ARRAY_LEN(boosters), i + boost[j].from, boost[j].n)))
			v += p->value;
	return v;
}

/* What the word at distance d + 1 before adds. */
static double booster(const struct sentiment *s, const struct word *w, int d, double v)
{
	static const double fade[] = {1, .95, .9};
	if (!w->entry || !w->entry->is_booster)
		return 0;
	double x = v < 0 ? -w->entry->boost : w->entry->boost;
	if (w->upper && s->some_upper)
		x += v > 0 ? CAPITALS : -CAPITALS;
	return x * fade[d];
}

/* "never so" and "never this" strengthen, "without doubt" does nothing, other negations turn. */
static double negation(const struct sentiment *s, int64_t i, int d, double v)
{
	enum sentiment_name one = name(s, i - 1), two = name(s, i - 2), far = name(s, i - 1 - d);
	bool one_so = one == W_SO || one == W_THIS, two_so = two == W_SO || two == W_THIS;
	/* at a distance of three a "so" right before is enough, whatever the third word is */
	if ((d == 1 && far == W_NEVER && one_so) || (d == 2 && ((far == W_NEVER && two_so) || one_so)))
		return v * 1.25;
	if (d && far == W_WITHOUT && (one == W_DOUBT || (d == 2 && two == W_DOUBT)))
		return v;
	return s->words[i - 1 - d].negates ? v * NEGATION : v;
}

static double valence(const struct sentiment *s, int64_t i)
{
	const struct word *w = &s->words[i];
	if (!w->entry || !w->entry->in_lexicon || w->entry->is_booster ||
	    (w->entry->name == W_KIND && name(s, i + 1) == W_OF))
		return 0;
	double v = w->entry->valence;
	if (w->entry->name == W_NO && i + 1 < s->n && in_lexicon(s, i + 1))
		v = 0;
	if (name(s, i - 1) == W_NO || name(s, i - 2) == W_NO ||
	    (name(s, i - 3) == W_NO && (name(s, i - 1) == W_OR || name(s, i - 1) == W_NOR)))
		v = w->entry->valence * NEGATION;
	if (w->upper && s->some_upper)
		v += v > 0 ? CAPITALS : -CAPITALS;
	for (int d = 0; d < 3 && d < i; d++) {
		if (in_lexicon(s, i - 1 - d))
			continue;
		v += booster(s, &s->words[i - 1 - d], d, v);
		v = negation(s, i, d, v);
		if (d == 2)
			v = apply_idioms(s, i, v);
	}
	if (i && name(s, i - 1) == W_LEAST && !in_lexicon(s, i - 1) && name(s, i - 2) != W_AT &&
	    name(s, i - 2) != W_VERY)
		v *= NEGATION;
	return v;
}

/* ---- "but" ---- */

/* Joins two heaps with the first place on top (skew heaps: Sleator and Tarjan 1986); iterative, as heaps may be lists.
 */
static int64_t join(struct place *p, int64_t a, int64_t b)
{
	int64_t top = -1, *link = &top;
	while (a >= 0 && b >= 0) {
		if (b < a) {
			int64_t x = a;
			a = b;
			b = x;
		}
		int64_t right = p[a].right;
		*link = a;
		p[a].right = p[a].left;
		link = &p[a].left;
		a = right;
	}
	*link = a >= 0 ? a : b;
	return top;
}

/* The heap of the places that hold v. */
static int64_t *heap_of(struct sentiment *s, double v)
{
	uint64_t bits;
	v += 0.0; /* -0 is 0 */
	memcpy(&bits, &v, sizeof bits);
	bits *= 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(bits >> 32) & (s->n_slots - 1);
	while (s->roots[i] != -2 && s->values[i] != v)
		i = (i + 1) & (s->n_slots - 1);
	if (s->roots[i] == -2) {
		s->values[i] = v;
		s->roots[i] = -1;
	}
	return &s->roots[i];
}

static void hold(struct sentiment *s, int64_t i)
{
	int64_t *root = heap_of(s, s->words[i].valence);
	s->places[i] = (struct place){-1, -1};
	*root = join(s->places, *root, i);
}

/* For each place in order, the first place that holds an equal value is scaled by the side of "but" on which it is. */
static void apply_but(struct sentiment *s)
{
	int64_t but = 0;
	while (but < s->n && name(s, but) != W_BUT)
		but++;
	if (but == s->n)
		return;
	size_t slots = 64;
	while (slots < 4 * (size_t)s->n)
		slots *= 2;
	if (slots > s->n_slots) {
		s->n_slots = slots;
		s->values = xrealloc_array(s->values, slots, sizeof *s->values);
		s->roots = xrealloc_array(s->roots, slots, sizeof *s->roots);
		s->places = xrealloc_array(s->places, slots / 4, sizeof *s->places);
	}
	for (size_t i = 0; i < s->n_slots; i++)
		s->roots[i] = -2;
	for (int64_t i = 0; i < s->n; i++)
		hold(s, i);
	for (int64_t i = 0; i < s->n; i++) {
		int64_t *root = heap_of(s, s->words[i].valence), first = *root;
		if (first == but || s->words[first].valence == 0)
			continue;
		*root = join(s->places, s->places[first].left, s->places[first].right);
		s->words[first].valence *= first < but ? .5 : 1.5;
		hold(s, first);
	}
}

/* ---- the score ---- */

/* As Python rounds: the decimal that is nearest to the exact value. */
static double round_to(double x, double scale, int digits)
{
	double y = x * scale, r = rint(y);
	if (fabs(fabs(y - r) - .5) > 1e-6)
		return r / scale + 0.0;
	char text[64];
	snprintf(text, sizeof text, "%.*f", digits, x);
	parse_double(text, &r);
	return r;
}

static double emphasis(const struct str *text)
{
	int64_t exclamations = 0, questions = 0;
	for (size_t i = 0; i < text->len; i++) {
		exclamations += text->buf[i] == '!';
		questions += text->buf[i] == '?';
	}
	double x = .292 * (double)(exclamations > 4 ? 4 : exclamations);
	return x + (questions < 2 ? 0 : questions > 3 ? .96 : .18 * (double)questions);
}

static void add_up(const struct sentiment *s, struct sentiment_score *out)
{
	double sum = 0, pos = 0, neg = 0, neutral = 0, stress = emphasis(&s->text);
	*out = (struct sentiment_score){0};
	if (!s->n)
		return;
	for (int64_t i = 0; i < s->n; i++) {
		double v = s->words[i].valence;
		sum += v;
		pos += v > 0 ? v + 1 : 0;
		neg += v < 0 ? 1 - v : 0;
		neutral += v == 0;
	}
	sum += sum > 0 ? stress : sum < 0 ? -stress : 0;
	if (pos > neg)
		pos += stress;
	else if (pos < neg)
		neg += stress;
	double total = pos + neg + neutral, compound = sum / sqrt(sum * sum + 15);
	out->neg = round_to(neg / total, 1e3, 3);
	out->neu = round_to(neutral / total, 1e3, 3);
	out->pos = round_to(pos / total, 1e3, 3);
	out->compound = round_to(fmax(-1, fmin(1, compound)), 1e4, 4);
}

void sentiment_score(struct sentiment *s, const char *text, size_t len, struct sentiment_score *out,
                     const struct sentiment_word **words, int64_t *n_words)
{
	spell_emoji(s, text, len, words != NULL);
	find_words(s);
	for (int64_t i = 0; i < s->n; i++)
		s->words[i].valence = valence(s, i);
	apply_but(s);
	add_up(s, out);
	if (!words)
		return;
	s->out = xrealloc_array(s->out, (size_t)s->n + 1, sizeof *s->out);
	for (int64_t i = 0; i < s->n; i++)
		s->out[i] = (struct sentiment_word){s->from[s->words[i].begin], s->from[s->words[i].end - 1] + 1,
		                                    s->words[i].valence};
	*words = s->out;
	*n_words = s->n;
}
