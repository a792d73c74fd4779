/*
 * sentiment - VADER: valence of a text from a lexicon and rules (Hutto and Gilbert 2014).
 *
 * The rules are those of vaderSentiment as published by its author in 2026, quirks included, so that scores are equal
 * to four decimals: words are what stands between white space without ASCII punctuation at its ends, unless two
 * characters or fewer remain; boosters .293 (.95 and .9 of it at a distance of two and three words), words in capitals
 * .733, negation -.74, "!" .292 each up to four, "?" .18 each from two on, .96 from four on; what stands before the
 * first "but" counts half, what stands behind it one and a half times, where of equal values the first one left is
 * changed. compound = s / sqrt(s^2 + 15) for the sum s of all valences.
 *
 * Time is linear in the text but for a logarithm where there is a "but".
 *
 * Lexicon: lines of word TAB mean [TAB anything], the mean from -100 to 100; the last line of a word counts.  Emoji:
 * lines of one code point TAB its description, which is put in its place; longer sequences in the file never match.
 */
#ifndef LIB_SENTIMENT_H
#define LIB_SENTIMENT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct sentiment;

struct sentiment_score {
	double neg, neu, pos; /* shares, 3 decimals */
	double compound;      /* -1 to 1, 4 decimals */
};

struct sentiment_word {
	int64_t start, end; /* code points of the text: [start, end) */
	double valence;     /* after all rules; 0 for most words */
};

/* emoji may be NULL.  NULL with *e ("FILE:LINE: ...") for a file that cannot be read or a line that is broken. */
struct sentiment *sentiment_open(const char *lexicon, const char *emoji, struct err *e);
void sentiment_free(struct sentiment *s);

/* text is valid UTF-8.  words: NULL, or where to put the text's words, borrowed until the next call. */
void sentiment_score(struct sentiment *s, const char *text, size_t len, struct sentiment_score *out,
                     const struct sentiment_word **words, int64_t *n_words);

#endif
