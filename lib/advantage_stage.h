/*
 * advantage_stage - the filter that rl-gae, rl-rloo, rl-grpo and rl-reinforce are: over whole batches
 * (lib/batch_stage.h), whose rows are computed by lib/advantage.h and go on with rewards, advantages and returns.
 */
#ifndef LIB_ADVANTAGE_STAGE_H
#define LIB_ADVANTAGE_STAGE_H

#include "lib/advantage.h"
#include "lib/batch_stage.h"
#include "lib/reward.h"
#include "lib/tool.h"

struct advantage_stage_config {
	int64_t batch_size;
	const char *reward;
	struct batch_stage_memory_config memory; /* where what baseline moving held before is found */
	struct advantage_config advantage;       /* method is set by the tool */
	struct tool_config tool;
};
/* --reward, --batch-size; the others are advantage_options and those of the method. */
extern const struct opt advantage_stage_options[];

struct advantage_stage {
	struct advantage_stage_config config;
	/* private */
	struct reward *reward;
	struct advantage_moving moving;
	bool begun;     /* moving is what held before the first batch */
	bool computing; /* a batch, of which a record may have failed */
	int64_t last;
};

/* After cli_parse; returns the exit status. */
int advantage_stage_run(struct advantage_stage *s, char **operands, int n_operands);

#endif
