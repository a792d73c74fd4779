/*
 * reward_model - a decoder with a scalar head, trained so that it scores chosen answers above rejected ones.
 *
 * The score of a text is that of its last token, score.weight . h (the value head, PART_SCORE), as Hugging Face's
 * ...ForSequenceClassification with one label has it.  The loss is Bradley and Terry's (lib/preference.h).  The model
 * is a slot of its own, which begins as a copy of another with a head of zeros; or an adapter, which has its head
 * beside it.
 */
#ifndef LIB_REWARD_MODEL_H
#define LIB_REWARD_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/preference.h"
#include "lib/records_run.h"

struct reward_model_config {
	bool append_eos;
	double center; /* coefficient of the squared sum of both scores */
};
/* --append-eos, --center-rewards */
extern const struct opt reward_model_options[];

struct reward_model_pair;

/* Of the pairs of a batch: sums, and the bounds of all scores. */
struct reward_model_stats {
	double pairs, loss, accuracy, margin, score, lowest, highest;
};

struct reward_model {
	struct reward_model_config config;
	struct records_run run;
	/* private */
	struct reward_model_pair *pair;
	int64_t n, cap;
	struct reward_model_stats stats; /* of the last batch */
};

/* Sets method, arg and with_value of m->run; then records_run_all. */
void reward_model_init(struct reward_model *m);
void reward_model_release(struct reward_model *m);

#endif
