/*
 * sentiment_place - the values of words and of a text onto the tokens of a completion.
 *
 * ends[n] are the code points at which tokens end (rl-record(5)), never falling; token t covers [ends[t - 1], ends[t]).
 * words are in the order of the text, in its code points.  out[n] is overwritten.
 */
#ifndef LIB_SENTIMENT_PLACE_H
#define LIB_SENTIMENT_PLACE_H

#include <stdint.h>

#include "lib/sentiment.h"

/* Each word's value on the token with its last character, those of one token added up; a word that only begins before
 * the end of the last token counts there. */
void sentiment_place_words(const struct sentiment_word *w, int64_t n_words, const int32_t *ends, int64_t n, float *out);

/* x on each token that has a character of a word with a value other than 0. */
void sentiment_place_mask(const struct sentiment_word *w, int64_t n_words, double x, const int32_t *ends, int64_t n,
                          float *out);

/* x on each token that the policy chose: mask[t] is not 0; NULL: all. */
void sentiment_place_text(double x, const int32_t *mask, int64_t n, float *out);

#endif
