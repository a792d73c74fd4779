/*
 * ppo_bad - batches that nothing may be trained on: a record that cannot be used, or a number that is not finite in
 * what was computed, in a gradient, or in the weights after the update.
 *
 * Each is refused with its name and leaves the store as it was.  With --skip-bad-batches N up to N of a run are passed
 * over instead: the weights, moments and step counts from before the batch become the next version, so that versions
 * count batches, as the sampler does, and the state of the run says how many they were.
 */
#ifndef LIB_PPO_BAD_H
#define LIB_PPO_BAD_H

#include "lib/ppo_batch.h"

/* -1 naming the row and what of it is not finite: reference log-probabilities, the exact KL and values, as they
 * were computed. */
int ppo_check_scores(const struct ppo_batch *b, const struct rollout_rows *rows, struct err *e);
/* The same after a pass: false when a log-probability, a KL, a value, or a gradient of the loss is not finite. */
bool ppo_row_finite(const struct trainer_row *r);
int ppo_bad_row(const struct ppo_row *r, const struct rollout_rows *rows, const struct trainer_row *pass,
                struct err *e);
/* Weights and second moments of the models that are trained. */
int ppo_check_models(const struct ppo *p, struct err *e);

/* *e is why the batch is bad: 0 when it may be passed over; -1 with how to go on behind the message. */
int ppo_may_skip(const struct ppo *p, struct err *e);
/* The metrics of a batch that was passed over. */
void ppo_bad_metrics(struct str *out, const struct ppo *p, const struct rollout_rows *rows, const struct err *why,
                     double seconds);

#endif
