/*
 * reward_mix - components of a reward to one total: weighted, scheduled over batches, normalised, clipped; and which
 * records a batch goes on with.
 *
 * A component's numbers (one of a scalar, one per token or per span) are normalised by the running mean and deviation
 * of such numbers, this batch's included; then clipped; then weighted and added to the total on the token they belong
 * to, as lib/reward places them.  A component that is null adds nothing.
 *
 * Rows of an evaluation are measured by one scale throughout a run: with the weights that schedules end with, and what
 * is normalised taken as it is, unclipped; they count in no statistics.
 *
 * Then records may be left out of training.  Percentile: those whose total is below a percentile of the newest totals.
 * Dynamic sampling (Yu et al. 2025, DAPO): groups in which all totals are equal, from which nothing can be learned by
 * comparison.
 */
#ifndef LIB_REWARD_MIX_H
#define LIB_REWARD_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/loop.h"
#include "lib/reward.h"
#include "lib/reward_running.h"
#include "lib/reward_weight.h"

struct reward_mix_config {
	struct cli_list weights, clips, normalize; /* NAME=WEIGHT, [NAME=]LO..HI, NAME */
	double percentile;                         /* 0: off */
	int64_t window, warmup;                    /* newest totals that count; totals before which all is kept */
	bool dynamic_sampling;
	const char *as; /* of the object with each term, and of the state */
};
/* --weight, --normalize, --clip, --percentile, --percentile-window, --percentile-warmup, --dynamic-sampling, --as */
extern const struct opt reward_mix_options[];

struct reward_range {
	bool set;
	double low, high;
};

struct reward_mix_component {
	char *name, *field; /* "bm25", "reward_bm25" */
	struct reward_weight weight;
	bool normalize;
	struct reward_range clip;
	struct reward_running seen;
};

struct reward_mix {
	const struct reward_mix_config *config;
	struct reward_mix_component *component;
	int64_t n;
	struct reward_range clip; /* of the total */
	char *state_field;        /* "state_NAME" */
	/* the newest totals, oldest first, and how many there were in all */
	double *recent;
	int64_t n_recent, cap_recent, seen;
	int64_t batches; /* taken in */
};

/* NULL with *e when the options do not fit together; config is borrowed. */
struct reward_mix *reward_mix_new(const struct reward_mix_config *c, struct err *e);
void reward_mix_free(struct reward_mix *m);
/* Does a record have to wait for its batch; is there something to remember? */
bool reward_mix_waits(const struct reward_mix *m);
bool reward_mix_remembers(const struct reward_mix *m);

struct reward_mix_row {
	bool left_out; /* not of the batch: it carries skip or error */
	int64_t n;     /* tokens; -1: the record has none */
	const int32_t *mask;
	struct reward_part *part; /* [components] */
	const char *group;        /* NULL: alone */
	/* out */
	bool any, per_token; /* a component that is not null; an array */
	double *out;         /* [n] of the total, when per_token */
	double total;
	double *term;     /* [components] what each adds */
	const char *skip; /* or NULL */
	bool holds_state; /* the state goes on with this record */
};

/* The components and the group of a record.  -1 when a field is wrong or is not there at all, or one that is to be
 * added is there. */
int reward_mix_read(const struct reward_mix *m, struct record *r, int64_t line, struct reward_mix_row *row,
                    struct arena *a, struct err *e);
/* The total of one row with the statistics as they are. */
void reward_mix_total(const struct reward_mix *m, int64_t batch, bool evaluation, struct reward_mix_row *row,
                      struct arena *a);
/* A whole batch, rows in order: statistics, totals, and which records go on. */
void reward_mix_batch(struct reward_mix *m, int64_t batch, struct reward_mix_row *const *row, int64_t n,
                      struct arena *a);
/* reward, the terms, skip, and the state. */
int reward_mix_add(const struct reward_mix *m, struct record *r, const struct reward_mix_row *row, struct err *e);

/* What is held, as JSON, and out of the state of a run; nothing held: as new. */
void reward_mix_put_state(struct str *s, const struct reward_mix *m);
int reward_mix_load(struct reward_mix *m, const struct loop_run *r, struct err *e);

#define REWARD_MIX_BELOW "below percentile"
#define REWARD_MIX_FLAT "no spread in group"

#endif
