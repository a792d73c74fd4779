/* ppo_plan - see ppo_plan.h */
#include "lib/ppo_plan.h"

#include "lib/memory.h"
#include "lib/ppo_batch.h"
#include "lib/trainer_plan.h"

/* Scores, then gradients of policy and critic, as ppo_update has them. */
static int run_passes(struct ppo *p, int64_t most, struct err *e)
{
	bool separate = p->config->critic == CRITIC_SEPARATE;
	const struct arch *a = &p->policy.info.arch;
	struct trainer_plan_rows rows, critic;
	struct ppo_batch b;
	ppo_batch_init(&b);
	trainer_plan_rows_init(&rows, a, most, p->policy.micro_tokens, true, p->config->critic == CRITIC_SHARED);
	trainer_plan_rows_init(&critic, a, most, p->policy.micro_tokens, false, true);
	int failed = trainer_attach(&p->policy, p->store, e) || ppo_batch_plan(&b, p, rows.row, rows.n, e) ||
	             trainer_plan_backward(&p->policy, &rows, e) ||
	             (separate && trainer_plan_backward(&p->value, &critic, e));
	ppo_batch_release(&b);
	trainer_plan_rows_release(&rows);
	trainer_plan_rows_release(&critic);
	return failed;
}

int ppo_plan(const struct ppo *p, int64_t rows, bool print, struct err *e)
{
	if (!memory_plan_wanted(p->k, print))
		return 0;
	struct kernels *k = memory_planner(p->k);
	struct ppo q = *p;
	q.k = k;
	q.comm = NULL; /* a rank has passes as large as those of all, and nothing is told to the others */
	struct store_view *v = store_view_open(p->store, e);
	int failed = !v || ppo_open_models(&q, v, e) || run_passes(&q, rows, e);
	int got = failed ? -1 : memory_plan_settle(k, print, e);
	trainer_close(&q.policy);
	trainer_close(&q.value);
	store_view_close(v);
	memory_planner_free(k);
	return got;
}
