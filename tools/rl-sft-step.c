/*
 * rl-sft-step - supervised fine-tuning: records in, updated weights in the store, metrics out.
 *
 * The loss of a batch is minus the mean log-probability of its completion tokens.  All records are read first; batches
 * run on across epochs.  A run that was killed goes on at its last commit and ends with the same bits
 * (lib/records_run.h).
 */
#include <stdlib.h>

#include "lib/ranks.h"
#include "lib/sft.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *preset, *store;
};
static const struct opt options[] = {
        {"store", 's', OPT_STR, offsetof(struct config, store), NULL, "STORE[:NAME]",
         "the store whose policy, or adapter NAME, is trained", 0, 0},
        {"preset", 0, OPT_STR, offsetof(struct config, preset), NULL, "FILE",
         "settings, where neither options nor environment say else", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct records_run_config run_config;
	struct optim_config optim;
	struct engine_config engine_config;
	struct ranks_config ranks_config;
	struct tool tool;
	struct engine engine;
	struct ranks ranks;
	struct loop_locks locks;
	struct store *store;
	char *path, *name; /* of -s */
	struct sft sft;
};

/* Only the first rank takes the lock and writes; the others open the store as that has left it. */
static int open_store(struct state *s, struct err *e)
{
	struct comm *comm = s->ranks.comm;
	bool first = comm_first(comm);
	if ((first && (loop_trainer(&s->locks, s->path, e) || loop_piped(&s->locks, e))) ||
	    (!first && comm_barrier(comm, e)) || !(s->store = store_open(s->path, first ? STORE_WRITE : STORE_READ, e)))
		return -1;
	return first ? comm_barrier(comm, e) : 0;
}

static int run(struct state *s, char **operands, int n_operands, struct err *e)
{
	struct records_run *r = &s->sft.run;
	struct err note;
	r->plan = s->engine_config.plan;
	s->tool.config.quiet |= r->plan;
	if (r->plan)
		s->ranks_config.ranks = 1; /* each of them needs as much */
	store_split(s->c.store, &s->path, &s->name);
	if (ranks_begin(&s->ranks, &s->ranks_config, &s->tool, &n_operands, e) || open_store(s, e) ||
	    engine_open_rank(&s->engine, &s->engine_config, s->ranks.comm, &note, e) ||
	    tool_open(&s->tool, operands, n_operands, e))
		return -1;
	if (*note.msg && comm_first(s->ranks.comm))
		cli_warn("%s", note.msg);
	r->k = s->engine.k;
	r->comm = s->ranks.comm;
	r->store = s->store;
	r->name = s->name;
	return records_run_all(r, &s->tool, e);
}

int main(int argc, char **argv)
{
	static struct state s = {.locks = {-1}};
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Records", sft_options, &s.sft.config},
	                                   {"Update", records_run_options, &s.run_config},
	                                   {"Optimizer", optim_options_lr("2e-5"), &s.optim},
	                                   {"Engine", engine_options, &s.engine_config},
	                                   {"Ranks", ranks_options, &s.ranks_config},
	                                   {"Memory", engine_memory_options, &s.engine_config},
	                                   {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-sft-step",
	                        .summary = "supervised fine-tuning of the policy",
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
	sft_init(&s.sft);
	s.sft.run.config = &s.run_config;
	s.sft.run.optim = &s.optim;
	s.sft.run.options = cli_options_json(&cli);
	s.sft.run.operands = cli_operands_json(operands, n_operands);
	int failed = run(&s, operands, n_operands, &e);
	records_run_close(&s.sft.run);
	sft_release(&s.sft);
	store_close(s.store);
	free(s.path);
	free(s.name);
	failed = ranks_end(&s.ranks, failed, &e);
	engine_close(&s.engine);
	loop_close(&s.locks);
	return tool_end(&s.tool, failed, &e);
}
