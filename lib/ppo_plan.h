/* ppo_plan - what memory an update by PPO takes (lib/memory.h). */
#ifndef LIB_PPO_PLAN_H
#define LIB_PPO_PLAN_H

#include "lib/ppo.h"

/* p: as ppo_begin leaves it, with k set.  rows: of a batch, at most.  Returns what memory_plan_settle does. */
int ppo_plan(const struct ppo *p, int64_t rows, bool print, struct err *e);

#endif
