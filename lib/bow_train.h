/*
 * bow_train - the training of a bow_classifier from texts with labels 0 and 1.
 *
 * Logistic regression with an L2 penalty: the weights w and the bias b with the least
 *     sum over texts of log(1 + exp(-y (b + w x))) + l2 / 2 |w|^2,  y = 1 or -1, b without penalty,
 * x as in bow_classifier.h over the features that are in at least min_texts texts.  It is convex, so there is one
 * minimum; it is reached (lbfgs.h) when the gradient's norm is 1e-6 of that at w = 0, b = 0.
 *
 * The same texts in the same order give the same bits on any number of threads: a thread owns texts, or features, and
 * each sum runs in order.
 */
#ifndef LIB_BOW_TRAIN_H
#define LIB_BOW_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"

struct bow_train_config {
	double l2;
	int64_t min_texts;
	int threads; /* 0: all processors */
};

struct bow_train;

struct bow_train *bow_train_new(const struct bow_train_config *c);
void bow_train_free(struct bow_train *t);

/* text is valid UTF-8.  -1: there are more features than can be numbered. */
int bow_train_add(struct bow_train *t, const char *text, size_t len, int label, struct err *e);

/* The share of texts that a classifier labels rightly which was trained without them, in k folds (k >= 2): text i of
 * its label belongs to fold i mod k; features are chosen without the fold as well.  -1: a label has fewer than k. */
int bow_train_folds(struct bow_train *t, int64_t k, double *accuracy, struct err *e);

struct bow_report {
	int64_t texts, positive, features, iterations;
	double loss, gradient; /* the minimum, and the gradient's norm there as a share of that at the start */
	double accuracy;       /* on the texts of training themselves */
};

/* Trains on all texts.  -1: all have one label, or there is no minimum. */
int bow_train_run(struct bow_train *t, struct bow_report *out, struct err *e);

/* After bow_train_run: appends the file of the classifier, features in the order of their bytes, weights as float32;
 * `more`: further fields of its first line (",\"name\":value..."), or "". */
void bow_train_write(const struct bow_train *t, const char *more, struct str *out);

/* For tests: the function that is minimised, after bow_train_run, at x[features + 1], the bias last; and its gradient.
 */
double bow_train_objective(struct bow_train *t, const double *x, double *gradient);
const double *bow_train_weights(const struct bow_train *t); /* the minimum, laid out alike; borrowed */

#endif
