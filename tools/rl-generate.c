/*
 * rl-generate - prompts in, completions with log-probabilities out.
 *
 * Reads records with a prompt (text, or prompt_tokens), samples n completions of each, and writes one record per
 * completion: the input's fields, then the completion as text and ids, the log-probability of every token under the
 * policy, and which batch of which version it belongs to.  A sample depends on seed, run, epoch, id, sample number and
 * token alone.  In a loop it waits for the update that a batch has to be sampled after (lib/rollout.h); with --as it is
 * a further stage of a pipe, which has no part in that (lib/rollout_stage.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record_names.h"
#include "lib/rollout_batch.h"
#include "lib/rollout_eval.h"
#include "lib/rollout_options.h"
#include "lib/rollout_stage.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *preset, *store, *max_tokens, *prompt, *as, *run, *lag;
	int64_t n, top_k, seed, batch_size, epochs, steps, max_running;
	double temperature, top_p, min_p;
	bool ignore_eos, shuffle, greedy;
	struct cli_list stop;
	int64_t min_new, max_new; /* max_tokens, parsed */
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]", "the policy: a slot or a snapshot of a store", 0, 0},
        {"preset", 0, OPT_STR, AT(preset), NULL, "FILE", "settings, where neither options nor environment say else", 0,
         0},
        {"prompt", 0, OPT_STR, AT(prompt), ".prompt // .query", "FILTER", "what the model is given", 0, 0},
        {"as", 0, OPT_STR, AT(as), NULL, "NAME", "add the completion to each record as one object NAME", 0, 0},
        {"n", 'n', OPT_INT, AT(n), "1", "N", "completions per prompt", 1, 65536},
        {"greedy", 0, OPT_FLAG, AT(greedy), NULL, NULL, "and one more of each prompt at temperature 0", 0, 0},
        {"max-tokens", 0, OPT_STR, AT(max_tokens), "64", "N|LO..HI",
         "completion tokens at most; a range is drawn per prompt", 0, 0},
        {"temperature", 0, OPT_NUM, AT(temperature), "1", "T", "0 is greedy", 0, 1000},
        {"top-k", 0, OPT_INT, AT(top_k), "0", "K", "sample from the K likeliest tokens; 0: all", 0, 1e9},
        {"top-p", 0, OPT_NUM, AT(top_p), "1", "P", "sample from the smallest set that reaches P", 1e-9, 1},
        {"min-p", 0, OPT_NUM, AT(min_p), "0", "P", "sample from tokens at least P times as likely as the likeliest", 0,
         1},
        {"stop", 0, OPT_LIST, AT(stop), NULL, "TEXT", "end a completion that contains TEXT (may be repeated)", 0, 0},
        {"ignore-eos", 0, OPT_FLAG, AT(ignore_eos), NULL, NULL, "go on after the end-of-sequence token", 0, 0},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "seed of sampling and shuffling", 0, 9e18},
        {NULL},
};
static const struct opt loop_options[] = {
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run", 0, 0},
        {"batch-size", 0, OPT_INT, AT(batch_size), "64", "B", "completions per batch, a multiple of -n", 1, 1e9},
        {"lag", 0, OPT_STR, AT(lag), "0", "L|none", "updates a batch may be behind; none: never wait", 0, 0},
        {"epochs", 0, OPT_INT, AT(epochs), "0", "E", "go over the input E times, shuffled", 0, 1e9},
        {"steps", 0, OPT_INT, AT(steps), "0", "S", "batches in all, going over the input as often as needed, shuffled",
         0, 1e12},
        {"shuffle", 0, OPT_FLAG, AT(shuffle), "1", NULL, "with --epochs or --steps, another order each time", 0, 0},
        {"max-running", 0, OPT_INT, AT(max_running), "256", "N", "sequences decoded together at most", 1, 65536},
        {NULL},
};

struct state {
	struct config c;
	struct tool tool;
	struct engine_config engine_config;
	struct engine engine;
	struct store *store;
	char *store_path, *store_name;
	char slot[64]; /* what -s names, when that is what runs train */
	bool trained;
	struct model_info model;
	struct filter *filter;
	struct rollout rollout;
	struct prompts *prompts;
	struct rollout_batch *batch;
	struct rollout_eval_config eval_config;
	struct rollout_eval eval;
	struct str options; /* that decide rollouts */
};

/* The options that decide rollouts, as `name=value` words (blanks in values as %20). */
static void rollout_options(struct str *s, const struct config *c)
{
	str_addf(s,
	         "n=%lld max-tokens=%s temperature=%.15g top-k=%lld top-p=%.15g min-p=%.15g seed=%lld batch-size=%lld",
	         (long long)c->n, c->max_tokens, c->temperature, (long long)c->top_k, c->top_p, c->min_p,
	         (long long)c->seed, (long long)c->batch_size);
	rollout_option_add(s, "run", c->run);
	str_addf(s, " ignore-eos=%d shuffle=%d lag=%s", c->ignore_eos, (c->epochs || c->steps) && c->shuffle, c->lag);
	rollout_option_add(s, "prompt", c->prompt);
	if (c->greedy)
		str_adds(s, " greedy=1");
	for (size_t i = 0; i < c->stop.n; i++)
		rollout_option_add(s, "stop", c->stop.item[i]);
}

/* One batch: 1, 0 when there is no more to do, -1. */
static int next_batch(struct state *s, struct err *e)
{
	struct store_ref ref;
	int64_t n = rollout_batch_read(s->batch, s->prompts, &s->rollout.cursor, e);
	if (n <= 0)
		return (int)n;
	int last = prompts_last(s->prompts, e);
	int go = last < 0 ? -1 : rollout_wait(&s->rollout, &ref, e);
	if (go <= 0)
		return go;
	struct store_view *v = store_view_open(s->store, e);
	int failed = !v || rollout_eval_before(&s->eval, s->engine.k, v, &ref, s->rollout.batch, e) ||
	             rollout_batch_generate(s->batch, s->engine.k, v, &ref, e);
	store_view_close(v);
	/* A trainer may want the device, and its next version is another. */
	if (s->rollout.in_loop || !s->rollout.settled)
		rollout_batch_rest(s->batch);
	if (failed || rollout_batch_write(s->batch, &ref, s->rollout.batch, last, &s->rollout.cursor, e))
		return -1;
	rollout_sampled(&s->rollout);
	return !last;
}

static int load_model(struct state *s, struct err *e)
{
	struct store_ref ref;
	store_split(s->c.store, &s->store_path, &s->store_name);
	s->store = store_open(s->store_path, STORE_READ, e);
	struct store_view *v = s->store ? store_view_open(s->store, e) : NULL;
	if (!v)
		return -1;
	int trained = loop_slot(v, s->store_name, s->slot, e);
	int failed = trained < 0 || store_resolve(v, s->store_name, &ref, e) ||
	             model_info_load(&s->model, v, ref.slot, true, e);
	s->trained = trained > 0;
	store_view_close(v);
	return failed;
}

static int open_model(struct state *s, struct err *e)
{
	if (load_model(s, e) || engine_open(&s->engine, &s->engine_config, e))
		return -1;
	s->filter = filter_new("--prompt", s->c.prompt, NULL, 0, e);
	return s->filter ? 0 : -1;
}

static struct rollout_batch_config batch_config(const struct config *c, int64_t max_prompts)
{
	return (struct rollout_batch_config){.n = c->n,
	                                     .greedy = c->greedy,
	                                     .max_prompts = max_prompts,
	                                     .min_new = c->min_new,
	                                     .max_new = c->max_new,
	                                     .seed = (uint64_t)c->seed,
	                                     .run = c->run,
	                                     .as = c->as,
	                                     .generate = {.temperature = c->temperature,
	                                                  .top_k = c->top_k,
	                                                  .top_p = c->top_p,
	                                                  .min_p = c->min_p,
	                                                  .ignore_eos = c->ignore_eos,
	                                                  .stop = c->stop.item,
	                                                  .n_stop = (int64_t)c->stop.n,
	                                                  .max_running = c->max_running}};
}

static int run(struct state *s, char **operands, int n_operands, struct err *e)
{
	int64_t max_prompts = s->c.batch_size / (s->c.n + s->c.greedy);
	struct rollout_batch_config bc = batch_config(&s->c, max_prompts);
	rollout_options(&s->options, &s->c);
	if (open_model(s, e) || tool_open(&s->tool, operands, n_operands, e) ||
	    rollout_eval_open(&s->eval, &s->eval_config, &bc, &s->model, s->filter, &s->tool, &s->options, e))
		return -1;
	int64_t lag = s->trained ? rollout_parse_lag(s->c.lag) : ROLLOUT_LAG_NONE;
	int go = rollout_begin(&s->rollout, s->store, s->c.run, s->slot, lag, s->options.buf, rollout_output_is_pipe(),
	                       e);
	if (go <= 0)
		return go;
	free(s->rollout.cursor.options);
	s->rollout.cursor.options = xstrdup(s->options.buf);
	struct prompts_config pc = {s->c.epochs, s->c.steps * max_prompts, s->c.shuffle, (uint64_t)s->c.seed, s->c.run};
	s->prompts = prompts_new(&s->tool, &pc);
	s->batch = rollout_batch_new(&bc, &s->model, s->filter, &s->tool);
	if (rollout_skip(&s->rollout, s->prompts, e))
		return -1;
	while ((go = next_batch(s, e)) > 0)
		;
	return go;
}

static int plan(struct state *s, struct err *e)
{
	struct store_ref ref;
	s->tool.config.quiet = true;
	if (open_model(s, e))
		return -1;
	struct rollout_batch_config bc = batch_config(&s->c, s->c.batch_size / (s->c.n + s->c.greedy));
	s->batch = rollout_batch_new(&bc, &s->model, s->filter, &s->tool);
	struct store_view *v = store_view_open(s->store, e);
	int got = !v || store_resolve(v, s->store_name, &ref, e)
	                  ? -1
	                  : rollout_batch_plan(s->batch, s->engine.k, v, &ref, e);
	store_view_close(v);
	return got < 0 ? -1 : 0;
}

/* --as: 0 with *status, what the tool ends with; -1. */
static int run_stage(struct state *s, char **operands, int n_operands, int *status, struct err *e)
{
	if (open_model(s, e))
		return -1;
	struct rollout_batch_config bc = batch_config(&s->c, s->c.batch_size);
	s->batch = rollout_batch_new(&bc, &s->model, s->filter, &s->tool);
	struct rollout_stage stage = {.batch = s->batch,
	                              .k = s->engine.k,
	                              .store = s->store,
	                              .locks = &s->rollout.locks,
	                              .name = s->store_name,
	                              .slot = s->trained ? s->slot : NULL};
	if (rollout_output_is_pipe())
		loop_open(&s->rollout.locks, s->store_path, e); /* where it cannot be opened, nobody is told */
	s->tool.takes_all = true;
	s->tool.drain = rollout_stage_drain;
	s->tool.drain_arg = &stage;
	*status = tool_run(&s->tool, operands, n_operands, rollout_stage_process, rollout_stage_drain, &stage);
	return 0;
}

/* One record in, one out, as it comes.  What the environment says of batches is for the first stage of the pipe. */
static void check_stage(struct config *c)
{
	static const char *const not_here[] = {"lag", "epochs", "steps", "shuffle", "greedy", "eval", "eval-every"};
	if (!record_name_plain(c->as))
		cli_misuse("--as is '%s', but must be letters, digits and _", c->as);
	if (record_name_taken(c->as))
		cli_misuse("--as is '%s', a field that other tools read (rl-record(5))", c->as);
	if (cli_typed("n") && c->n != 1)
		cli_misuse(
		        "-n is %lld, but with --as a record has one completion: for more, one stage each, with names "
		        "of their own",
		        (long long)c->n);
	for (size_t i = 0; i < ARRAY_LEN(not_here); i++)
		if (cli_typed(not_here[i]))
			cli_misuse("--%s does not go with --as, which takes records once, in order, as they come",
			           not_here[i]);
	c->n = 1;
	c->greedy = false;
}

static void check_config(struct config *c)
{
	if (!c->store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	c->max_new = rollout_parse_range(c->max_tokens, &c->min_new);
	rollout_parse_lag(c->lag);
	for (size_t i = 0; i < c->stop.n; i++)
		if (!*c->stop.item[i])
			cli_misuse("--stop is empty, and every text contains that");
	if (c->as)
		check_stage(c);
	if (c->batch_size % (c->n + c->greedy))
		cli_misuse("--batch-size is %lld, but must be a multiple of -n, which is %lld%s",
		           (long long)c->batch_size, (long long)c->n + c->greedy, c->greedy ? " with --greedy" : "");
}

int main(int argc, char **argv)
{
	static struct state s = {.rollout = {.locks = {-1}}};
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Batches and the loop", loop_options, &s.c},
	                                   {"Evaluation", rollout_eval_options, &s.eval_config},
	                                   {"Engine", engine_options, &s.engine_config},
	                                   {"Memory", engine_memory_options, &s.engine_config},
	                                   {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-generate",
	                        .summary = "sample completions of prompts",
	                        .usage = "-s STORE [OPTION]... [FILE]...",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n_operands;
	char **operands = cli_parse(&cli, argc, argv, &n_operands);
	check_config(&s.c);
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	str_init(&s.options);
	int status = 0, failed = s.engine_config.plan ? plan(&s, &e)
	                         : s.c.as             ? run_stage(&s, operands, n_operands, &status, &e)
	                                              : run(&s, operands, n_operands, &e);
	rollout_eval_close(&s.eval, &s.tool);
	if (s.batch)
		rollout_batch_rest(s.batch);
	rollout_end(&s.rollout);
	engine_close(&s.engine);
	return s.c.as && !s.engine_config.plan && !failed ? status : tool_end(&s.tool, failed, &e);
}
