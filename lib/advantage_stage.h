/*
 * advantage_stage - the filter that rl-gae, rl-rloo, rl-grpo and rl-reinforce are: records wait until their batch is
 * whole, its rows are computed in order (lib/advantage.h), and the records go on with rewards, advantages and returns.
 */
#ifndef LIB_ADVANTAGE_STAGE_H
#define LIB_ADVANTAGE_STAGE_H

#include "lib/advantage.h"
#include "lib/reward.h"
#include "lib/tool.h"

struct advantage_stage_config {
	int64_t batch_size;
	const char *reward, *store, *run;
	struct advantage_config advantage; /* method is set by the tool */
	struct tool_config tool;
};
/* --reward, --batch-size; the others are advantage_options and those of the method. */
extern const struct opt advantage_stage_options[];
/* --store, --run: where what baseline moving held before is found. */
extern const struct opt advantage_state_options[];

struct advantage_stage {
	struct advantage_stage_config config;
	/* private */
	struct reward *reward;
	bool named;                  /* the stream names its batches */
	struct stage_batch *batches; /* those that are not whole yet, in the order of their first record */
	struct advantage_moving moving;
	bool begun; /* moving is what held before the first batch */
	int64_t last;
};

/* After cli_parse; returns the exit status. */
int advantage_stage_run(struct advantage_stage *s, char **operands, int n_operands);

#endif
