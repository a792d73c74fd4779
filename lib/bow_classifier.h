/*
 * bow_classifier - a linear classifier over the words of a text and over pairs of neighbours (logistic regression on a
 * bag of words; Pang, Lee and Vaithyanathan 2002, Wang and Manning 2012).
 *
 * Features are those of bow_words.  Of the F features of the classifier that are in a text, however often, each has the
 * coordinate 1 / sqrt(F), all others 0: a text is a vector of length 1.  log-odds = bias + the weights of these
 * features / sqrt(F); probability = 1 / (1 + exp(-log-odds)).  A text without any of them has the bias.
 *
 * What a feature adds to the log-odds is shared out to its occurrences, a pair counting where its second word is: the
 * values of all words and the bias add up to the log-odds, but for rounding.
 *
 * The file is JSON Lines, plain or zstd:
 *     {"format":"rlpipe bag of words","version":1,"features":N,"bias":X, and what training reports}
 *     {"feature":"not good","weight":X}      N of these, each feature once
 *     {"end":N}
 */
#ifndef LIB_BOW_CLASSIFIER_H
#define LIB_BOW_CLASSIFIER_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/sentiment.h"

#define BOW_FORMAT "rlpipe bag of words"
#define BOW_VERSION 1

struct bow_classifier;

struct bow_score {
	double probability, log_odds;
};

/* NULL with *e ("FILE:LINE: ...") for a file that cannot be read, is cut, of another version or broken. */
struct bow_classifier *bow_classifier_open(const char *path, struct err *e);
void bow_classifier_free(struct bow_classifier *c);

/* text is valid UTF-8.  words: NULL, or where to put the text's words, borrowed until the next call. */
void bow_classifier_score(struct bow_classifier *c, const char *text, size_t len, struct bow_score *out,
                          const struct sentiment_word **words, int64_t *n_words);

/* 1 / (1 + exp(-z)), and log(1 + exp(z)), which may be NULL; to about 1e-15, the same bits on any machine. */
double bow_logistic(double z, double *softplus);

#endif
