/*
 * rl-ppo-step - rollouts in, updated weights in the store, metrics out.
 *
 * Reads completions with log-probabilities and rewards, batch by batch; computes what is missing (log-probabilities of
 * the reference, values, rewards with the KL penalty, advantages); takes PPO's epochs over the batch; commits the new
 * version with the state of the run in one transaction; prints a line of metrics.  On every start it first prints the
 * metrics of the updates already committed, and passes over their batches (lib/ppo.h, lib/rollout_reader.h).
 */
#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "lib/metrics_table.h"
#include "lib/ppo.h"
#include "lib/ppo_eval.h"
#include "lib/ppo_plan.h"
#include "lib/ranks.h"
#include "lib/rollout_reader.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *preset, *store, *reward;
	int64_t batch_size;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]", "the store whose policy, or adapter NAME, is trained",
         0, 0},
        {"preset", 0, OPT_STR, AT(preset), NULL, "FILE", "settings, where neither options nor environment say else", 0,
         0},
        {"reward", 0, OPT_STR, AT(reward), NULL, "FILTER", "the total reward; without it .reward, else all reward_*", 0,
         0},
        {"batch-size", 0, OPT_INT, AT(batch_size), "64", "B", "records per batch of a stream that does not say", 1,
         1e9},
        {NULL},
};

struct state {
	struct config c;
	struct ppo_config ppo_config;
	struct advantage_config advantage;
	struct policy_loss_config loss;
	struct optim_config optim;
	struct engine_config engine_config;
	struct ranks_config ranks_config;
	struct tool tool;
	struct engine engine;
	struct ranks ranks;
	struct loop_locks locks;
	struct store *store;
	char *path, *name; /* of -s */
	struct ppo ppo;
	struct rollout_reader *reader;
	struct metrics_table table; /* for a terminal */
	struct err *e;              /* of run() */
};

static int print_line(void *arg, const char *line, size_t len)
{
	struct state *s = arg;
	struct str row;
	int failed;
	str_init(&row);
	if (metrics_table_wanted()) {
		metrics_table_put(&s->table, line, len, s->tool.n_out + 1, s->ppo_config.steps, &row);
	} else {
		str_add(&row, line, len);
		str_addc(&row, '\n');
	}
	failed = sink_write(s->tool.out, row.buf, row.len, s->e);
	str_release(&row);
	s->tool.n_out += !failed;
	return failed ? 1 : 0;
}

/* When the run is complete, what a sampler still sends is read away. */
static int complete(struct state *s, struct err *e)
{
	if (!s->ppo.run.closed)
		return 0;
	s->tool.fails_when_empty = false;
	return rollout_reader_drain(s->reader, e);
}

static int next_batch(struct state *s, struct rollout_rows *rows, struct err *e)
{
	double started = now_seconds();
	int got = rollout_reader_next(s->reader, rows, e);
	s->ppo.waited = now_seconds() - started;
	return got;
}

/* Whoever asked for the best version and gave the sampler no held-out prompts would look for a snapshot in vain. */
static void warn_of_no_best(const struct state *s)
{
	if (s->ppo.run.closed && s->ppo_config.best && s->ppo.eval.count == 0 && !s->tool.config.quiet)
		cli_warn("--best %s: no evaluation came in this run, so no version was kept (rl-generate --eval)",
		         s->ppo_config.best);
}

static int train(struct state *s, struct err *e)
{
	struct rollout_rows rows;
	struct str metrics;
	int got = 0;
	bool open = !s->ppo.run.closed;
	str_init(&metrics);
	while (!s->ppo.run.closed && (got = next_batch(s, &rows, e)) > 0) {
		str_clear(&metrics);
		if (ppo_update(&s->ppo, &rows, &metrics, e) || print_line(s, metrics.buf, metrics.len) ||
		    sink_flush(s->tool.out, e)) {
			got = -1;
			break;
		}
		if (!s->tool.config.quiet && s->ppo.passed.len)
			cli_warn("batch %lld is passed over: %s", (long long)rows.batch, s->ppo.passed.buf);
		if (!s->tool.config.quiet && s->ppo.run.updates == 1)
			cli_warn("the reward is %s", rollout_reader_reward(s->reader));
	}
	str_release(&metrics);
	if (got >= 0 && open)
		warn_of_no_best(s);
	return got < 0 ? -1 : complete(s, e);
}

static int open_store(struct state *s, struct err *e)
{
	bool first = comm_first(s->ranks.comm);
	if ((first && loop_trainer(&s->locks, s->path, e)) ||
	    !(s->store = store_open(s->path, first ? STORE_WRITE : STORE_READ, e)))
		return -1;
	s->ppo.store = s->store;
	s->ppo.name = s->name;
	return ppo_begin(&s->ppo, e) || (first && loop_piped(&s->locks, e)) ? -1 : 0;
}

/* Only the first rank takes locks and writes; the others open the store as that has left it. */
static int open_all(struct state *s, char **operands, int n_operands, struct err *e)
{
	struct comm *comm = s->ranks.comm;
	struct err note;
	if ((!comm_first(comm) && comm_barrier(comm, e)) || open_store(s, e) ||
	    (comm_first(comm) && comm_barrier(comm, e)) ||
	    engine_open_rank(&s->engine, &s->engine_config, comm, &note, e) ||
	    tool_open(&s->tool, operands, n_operands, e))
		return -1;
	if (*note.msg && comm_first(comm))
		cli_warn("%s", note.msg);
	s->ppo.k = s->engine.k;
	return (!s->ppo.run.closed && ppo_plan(&s->ppo, s->c.batch_size, false, e)) || ppo_open(&s->ppo, e) ? -1 : 0;
}

/* --plan: reads the store, and changes nothing. */
static int plan(struct state *s, struct err *e)
{
	s->tool.config.quiet = true;
	s->tool.fails_when_empty = false;
	store_split(s->c.store, &s->path, &s->name);
	s->ppo.name = s->name;
	if (!(s->store = s->ppo.store = store_open(s->path, STORE_READ, e)) || ppo_load(&s->ppo, e) ||
	    engine_open(&s->engine, &s->engine_config, e))
		return -1;
	s->ppo.k = s->engine.k;
	return ppo_plan(&s->ppo, s->c.batch_size, true, e) < 0 ? -1 : 0;
}

static int run(struct state *s, char **operands, int n_operands, struct err *e)
{
	s->e = e;
	store_split(s->c.store, &s->path, &s->name);
	if (ranks_begin(&s->ranks, &s->ranks_config, &s->tool, &n_operands, e))
		return -1;
	s->ppo.comm = s->ranks.comm;
	if (!comm_first(s->ppo.comm))
		s->ppo_config.rollouts = NULL; /* the first writes them */
	if (open_all(s, operands, n_operands, e))
		return -1;
	if (ppo_each_metrics(&s->ppo, print_line, s, e) || sink_flush(s->tool.out, e))
		return -1;
	if (s->ppo.run.closed && !s->tool.config.quiet)
		cli_warn("run '%s' is complete after %lld updates: nothing is trained (another --run begins another)",
		         s->ppo_config.run, (long long)s->ppo.run.updates);
	const struct arch *a = &s->ppo.policy.info.arch;
	struct rollout_reader_config rc = {s->c.batch_size,
	                                   s->c.reward,
	                                   a->V,
	                                   a->P,
	                                   s->ppo.run.batches,
	                                   s->ppo_config.run,
	                                   s->ppo_config.max_lag,
	                                   s->ppo_config.rollouts != NULL,
	                                   s->ppo_config.skip_bad_batches > 0};
	s->reader = rollout_reader_new(&s->tool, &rc, comm_first(s->ppo.comm) ? &s->locks : NULL, e);
	return s->reader ? train(s, e) : -1;
}

/* TRL's PPOTrainer does not clip gradients, whatever its setting, and the older one not unless told to; its trainers of
 * GRPO and RLOO do. */
static void settle_compat(struct state *s)
{
	bool trl = s->advantage.compat == ADVANTAGE_TRL || s->advantage.compat == ADVANTAGE_TRL_OLD;
	if (trl && s->advantage.method == ADVANTAGE_GAE && !cli_given("max-grad-norm"))
		s->optim.max_grad_norm = 0;
}

int main(int argc, char **argv)
{
	static struct state s = {.locks = {-1}};
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Update", ppo_options, &s.ppo_config},
	                                   {"Rewards", advantage_options, &s.advantage},
	                                   {"Advantages", ppo_advantage_options, &s.advantage},
	                                   {"  gae", advantage_gae_options, &s.advantage},
	                                   {"  grpo", advantage_grpo_options, &s.advantage},
	                                   {"  reinforce", advantage_reinforce_options, &s.advantage},
	                                   {"Losses", policy_loss_options, &s.loss},
	                                   {"Off-policy", importance_options, &s.ppo_config.importance},
	                                   {"Optimizer", optim_options, &s.optim},
	                                   {"  critic", optim_critic_options, &s.optim},
	                                   {"Evaluation", ppo_eval_options, &s.ppo_config},
	                                   {"Engine", engine_options, &s.engine_config},
	                                   {"Ranks", ranks_options, &s.ranks_config},
	                                   {"Memory", engine_memory_options, &s.engine_config},
	                                   {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-ppo-step",
	                        .summary = "update the policy from rollouts",
	                        .usage = "-s STORE[:NAME] [OPTION]... [FILE]...",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n_operands;
	char **operands = cli_parse(&cli, argc, argv, &n_operands);
	if (!s.c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	importance_check(&s.ppo_config.importance);
	ppo_settle(&s.ppo_config, &s.advantage, &s.loss, &s.optim);
	ppo_eval_check(&s.ppo_config);
	optim_check(&s.optim, s.ppo_config.steps);
	settle_compat(&s);
	if (s.ppo_config.best && s.ppo_config.checkpoint_every > 1)
		cli_misuse("--best keeps a version that was committed: it needs --checkpoint-every 1");
	if (s.ppo_config.skip_bad_batches && s.ppo_config.checkpoint_every > 1)
		cli_misuse("--skip-bad-batches goes back to the last commit: it needs --checkpoint-every 1");
	struct tool_config tc = s.tool.config;
	struct err e;
	tool_init(&s.tool, &tc);
	s.tool.fails_when_empty = true;
	metrics_table_init(&s.table, metrics_columns_ppo);
	s.table.evaluation = s.ppo_config.best;
	s.ppo = (struct ppo){.config = &s.ppo_config, .advantage = &s.advantage, .loss = &s.loss, .optim = &s.optim};
	s.ppo.options = cli_options_json(&cli);
	s.ppo.operands = cli_operands_json(operands, n_operands);
	int failed = s.engine_config.plan ? plan(&s, &e) : run(&s, operands, n_operands, &e);
	ppo_close(&s.ppo);
	rollout_reader_free(s.reader);
	store_close(s.store);
	free(s.path);
	free(s.name);
	failed = ranks_end(&s.ranks, failed, &e);
	engine_close(&s.engine);
	loop_close(&s.locks);
	return tool_end(&s.tool, failed, &e);
}
