/*
 * ppo_ranks - how many ranks a run goes on with, kept with its state: their number decides the order in which gradients
 * are summed.
 */
#ifndef LIB_PPO_RANKS_H
#define LIB_PPO_RANKS_H

#include "lib/ppo.h"

/* -1 when the run was begun with another number of them. */
int ppo_same_ranks(const struct ppo *p, struct err *e);
/* Of a run that begins: to its state, which the next commit writes. */
int ppo_keep_ranks(struct ppo *p, struct err *e);

#endif
