/*
 * rl-rm-step - a reward model: pairs in, updated weights of a scalar head and its decoder in the store, metrics out.
 *
 * Learned is to score the chosen answer of a pair above the rejected one.  All records are read first; batches run on
 * across epochs.  A run that was killed goes on at its last commit and ends with the same bits (lib/reward_model.h,
 * lib/records_run.h).
 */
#include <stdlib.h>

#include "lib/reward_model.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *store, *from;
};
static const struct opt options[] = {
        {"store", 's', OPT_STR, offsetof(struct config, store), NULL, "STORE[:NAME]",
         "the store, and the slot or adapter that is trained: reward", 0, 0},
        {"from", 0, OPT_STR, offsetof(struct config, from), "policy", "NAME", "a new slot begins as a copy of it", 0,
         0},
        {NULL},
};

struct state {
	struct config c;
	struct records_run_config run_config;
	struct optim_config optim;
	struct engine_config engine_config;
	struct tool tool;
	struct engine engine;
	struct loop_locks locks;
	struct store *store;
	char *path, *name; /* of -s */
	struct reward_model model;
};

static int run(struct state *s, char **operands, int n_operands, struct err *e)
{
	struct records_run *r = &s->model.run;
	store_split(s->c.store, &s->path, &s->name);
	if (loop_trainer(&s->locks, s->path, e) || !(s->store = store_open(s->path, STORE_WRITE, e)) ||
	    engine_open(&s->engine, &s->engine_config, e) || tool_open(&s->tool, operands, n_operands, e))
		return -1;
	r->k = s->engine.k;
	r->store = s->store;
	r->name = *s->name ? s->name : "reward";
	r->from = s->c.from;
	return records_run_all(r, &s->tool, e);
}

int main(int argc, char **argv)
{
	static struct state s = {.locks = {-1}};
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Loss", reward_model_options, &s.model.config},
	                                   {"Update", records_run_options, &s.run_config},
	                                   {"Optimizer", optim_options_lr("1e-4"), &s.optim},
	                                   {"Engine", engine_options, &s.engine_config},
	                                   {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-rm-step",
	                        .summary = "training of a reward model",
	                        .usage = "-s STORE[:NAME] [OPTION]... [FILE]...",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n_operands;
	char **operands = cli_parse(&cli, argc, argv, &n_operands);
	if (!s.c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	/* Without --steps the number of updates follows from the input, so that a schedule has its end. */
	optim_check(&s.optim, 1);
	records_run_settle(&s.run_config);
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	s.tool.fails_when_empty = true;
	reward_model_init(&s.model);
	s.model.run.config = &s.run_config;
	s.model.run.optim = &s.optim;
	s.model.run.options = cli_options_json(&cli);
	s.model.run.operands = cli_operands_json(operands, n_operands);
	int failed = run(&s, operands, n_operands, &e);
	records_run_close(&s.model.run);
	reward_model_release(&s.model);
	store_close(s.store);
	free(s.path);
	free(s.name);
	engine_close(&s.engine);
	loop_close(&s.locks);
	return tool_end(&s.tool, failed, &e);
}
