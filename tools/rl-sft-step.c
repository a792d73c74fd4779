/*
 * rl-sft-step - supervised fine-tuning: records in, updated weights in the store, metrics out.
 *
 * The loss of a batch is minus the mean log-probability of its completion tokens.  All records are read first; batches
 * run on across epochs.  A run that was killed goes on at its last commit and ends with the same bits (lib/sft.h).
 */
#include <stdlib.h>

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
	struct sft_config sft_config;
	struct optim_config optim;
	struct engine_config engine_config;
	struct tool tool;
	struct engine engine;
	struct loop_locks locks;
	struct store *store;
	char *path, *name; /* of -s */
	struct sft sft;
};

static int print_line(void *arg, const char *line, size_t len)
{
	struct state *s = arg;
	struct err e;
	if (sink_write(s->tool.out, line, len, &e) || sink_write(s->tool.out, "\n", 1, &e))
		return 1;
	s->tool.n_out++;
	return 0;
}

static int read_all(struct state *s, struct err *e)
{
	int got;
	while ((got = tool_next(&s->tool, e)) > 0) {
		if (tool_passes(&s->tool, s->tool.record))
			continue;
		if (sft_take(&s->sft, s->tool.record, e) && tool_mark(&s->tool, s->tool.record, 0, e))
			return -1;
	}
	return got;
}

static int train(struct state *s, struct err *e)
{
	struct str metrics;
	int got;
	str_init(&metrics);
	while ((got = sft_step(&s->sft, &metrics, e)) > 0) {
		if (print_line(s, metrics.buf, metrics.len)) {
			got = err_set(e, "cannot write the metrics");
			break;
		}
		if (sink_flush(s->tool.out, e)) {
			got = -1;
			break;
		}
		str_clear(&metrics);
		s->tool.n_tokens = s->sft.tokens;
		tool_progress(&s->tool, s->sft.run.episodes, s->sft.run.batches, s->sft.batches);
	}
	str_release(&metrics);
	return got;
}

static int run(struct state *s, char **operands, int n_operands, struct err *e)
{
	store_split(s->c.store, &s->path, &s->name);
	if (loop_trainer(&s->locks, s->path, e) || !(s->store = store_open(s->path, STORE_WRITE, e)) ||
	    engine_open(&s->engine, &s->engine_config, e) || tool_open(&s->tool, operands, n_operands, e))
		return -1;
	s->sft.k = s->engine.k;
	s->sft.store = s->store;
	s->sft.name = s->name;
	if (sft_open(&s->sft, e) || read_all(s, e))
		return -1;
	int go = sft_begin(&s->sft, e);
	if (go < 0 || sft_each_metrics(&s->sft, print_line, s, e))
		return -1;
	return go ? train(s, e) : 0;
}

int main(int argc, char **argv)
{
	static struct state s = {.locks = {-1}};
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Update", sft_options, &s.sft_config},
	                                   {"Optimizer", optim_options_lr("2e-5"), &s.optim},
	                                   {"Engine", engine_options, &s.engine_config},
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
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	s.tool.fails_when_empty = true;
	s.sft.config = &s.sft_config;
	s.sft.optim = &s.optim;
	s.sft.options = cli_options_json(&cli);
	int failed = run(&s, operands, n_operands, &e);
	sft_close(&s.sft);
	store_close(s.store);
	free(s.path);
	free(s.name);
	engine_close(&s.engine);
	loop_close(&s.locks);
	return tool_end(&s.tool, failed, &e);
}
