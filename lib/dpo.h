/*
 * dpo - direct preference optimization: answers that were chosen become likelier than under a reference, those that
 * were rejected less likely (lib/preference.h has the losses).
 *
 * The reference is that of the run (loop_reference): an imported one, the base of an adapter, or the policy as the run
 * began with it, which the run's first commit then holds by name.  Its log-probabilities are taken from the record
 * where they are there, else computed once, before the first update, for the pairs that will be trained on.
 */
#ifndef LIB_DPO_H
#define LIB_DPO_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/preference.h"
#include "lib/records_run.h"

struct dpo_config {
	bool append_eos;
};
/* --append-eos */
extern const struct opt dpo_options[];

struct dpo_pair;

/* Sums over the pairs of a batch. */
struct dpo_stats {
	double pairs, loss, rewards[2], accuracy, logps[2];
};

struct dpo {
	struct dpo_config config;
	struct preference_config loss;
	struct records_run run;
	/* private */
	struct dpo_pair *pair;
	int64_t n, cap;
	bool needs_reference;
	struct store_ref reference;
	struct dpo_stats stats; /* of the last batch */
};

/* Sets method and arg of d->run; then records_run_all. */
void dpo_init(struct dpo *d);
void dpo_release(struct dpo *d);

#endif
