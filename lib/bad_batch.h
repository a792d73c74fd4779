/*
 * bad_batch - batches that nothing may be trained on: a record that cannot be used, or a number that is not finite in
 * what was computed, in a gradient, or in the weights after the update.
 *
 * Each is refused with its name and leaves the store as it was.  With --skip-bad-batches N up to N of a run are passed
 * over instead: the weights, moments and step counts from before the batch become the next version, so that versions
 * count batches, as samplers do, and the state of the run says how many they were.  What trainers share of it is here.
 */
#ifndef LIB_BAD_BATCH_H
#define LIB_BAD_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/loop.h"
#include "lib/str.h"
#include "lib/trainer.h"

/* -1 "NAME would be NaN at index 3" when one of n is not finite; x NULL has none. */
int bad_batch_floats(const float *x, int64_t n, const char *name, struct err *e);
/* The outputs of a pass and the gradients of the loss: are they finite?  Of the second, value is what the message calls
 * a value of the model. */
bool bad_batch_row_finite(const struct trainer_row *r);
int bad_batch_row(const struct trainer_row *r, const char *value, struct err *e);
/* Weights and second moments after a step. */
int bad_batch_model(const struct trainer *t, struct err *e);

/* *e is why the batch is bad: 0 when it may be passed over; -1 with how to go on behind the message.  in_rows: it was
 * so before any step. */
int bad_batch_may_skip(const struct loop_run *run, int64_t allowed, bool in_rows, struct err *e);
/* The members ,"bad_batches":N,"bad":WHY of the metrics of a batch that was passed over. */
void bad_batch_metrics(struct str *out, const struct loop_run *run, const struct err *why);

#endif
