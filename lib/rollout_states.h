/*
 * rollout_states - what filters with memory hold after a batch, out of the fields state_NAME of its rows.
 *
 * Of each name it is the first row, by its place in the batch, that has it: filters put it into rows that they add to,
 * and each leaves out other rows.
 */
#ifndef LIB_ROLLOUT_STATES_H
#define LIB_ROLLOUT_STATES_H

#include <stdint.h>

#include "lib/record.h"
#include "lib/str.h"

struct rollout_state {
	char *name;
	int64_t row; /* that it is of; -1: none of this batch */
	struct str text;
};

struct rollout_states {
	struct rollout_state *item; /* [n] by name */
	int64_t n;
	struct str object;
};

void rollout_states_init(struct rollout_states *s);
void rollout_states_release(struct rollout_states *s);
void rollout_states_begin(struct rollout_states *s); /* another batch */
void rollout_states_take(struct rollout_states *s, const struct record *r, int64_t row);
/* {"NAME": value}, valid until the next call; NULL: no row has any. */
const char *rollout_states_object(struct rollout_states *s);

#endif
