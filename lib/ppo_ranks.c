/* ppo_ranks - see ppo_ranks.h */
#include "lib/ppo_ranks.h"

#include <stdio.h>
#include <string.h>

#define RANKS_STATE "ppo/ranks" /* no field state_NAME is called so */

int ppo_same_ranks(const struct ppo *p, struct err *e)
{
	struct record *rec = record_new();
	struct json v;
	int64_t then = 1;
	int got = loop_run_state(&p->run, RANKS_STATE, rec, &v, e);
	if (got > 0)
		then = v.is_int ? v.integer : 0;
	if (got >= 0 && then != comm_ranks(p->comm))
		got = err_set(e,
		              "run '%s' was begun with --ranks %lld, but now it is %d, which would give other bits "
		              "(another --run begins another run; ranks may share a GPU)",
		              p->config->run, (long long)then, comm_ranks(p->comm));
	record_free(rec);
	return got < 0 ? -1 : 0;
}

/* One rank is not said: so it was before there were more. */
int ppo_keep_ranks(struct ppo *p, struct err *e)
{
	char state[64];
	int n = snprintf(state, sizeof state, "{\"" RANKS_STATE "\":%d}", comm_ranks(p->comm));
	return comm_ranks(p->comm) > 1 ? loop_run_set_states(&p->run, state, (size_t)n, e) : 0;
}
