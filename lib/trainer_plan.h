/*
 * trainer_plan - passes over rows that fill one, so that a planner (lib/memory.h) counts what they take.
 *
 * The rows are as long as the model's context, all but their first token is learned, and together they have as many
 * tokens as go into a pass: no batch of these sizes needs more, unless one of its rows alone is longer than a pass.
 */
#ifndef LIB_TRAINER_PLAN_H
#define LIB_TRAINER_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/trainer.h"

struct trainer_plan_rows {
	struct arena arena;
	struct trainer_row *row; /* their arrays are one and the same */
	int64_t n;
};
/* At most `most` rows and `tokens` tokens; with log-probs and entropies, values, or both. */
void trainer_plan_rows_init(struct trainer_plan_rows *p, const struct arch *a, int64_t most, int64_t tokens, bool head,
                            bool values);
void trainer_plan_rows_release(struct trainer_plan_rows *p);

/* Forward and backward of them; t is open on a planner. */
int trainer_plan_backward(struct trainer *t, struct trainer_plan_rows *p, struct err *e);

#endif
