/* advantage_stage - see advantage_stage.h */
#include "lib/advantage_stage.h"

#include "lib/advantage_record.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct advantage_stage_config, name)

const struct opt advantage_stage_options[] = {
        {"reward", 0, OPT_STR, FIELD(reward), NULL, "FILTER",
         "the total reward; default .reward, else the sum of reward_*", 0, 0},
        {"batch-size", 0, OPT_INT, FIELD(batch_size), "0", "N",
         "records per batch where they do not say; 0: all of them", 0, 1 << 30},
        {NULL},
};

/* ---- the memory of baseline moving ---- */

static int read_moving(const struct loop_run *r, void *arg, struct err *e)
{
	struct advantage_stage *s = arg;
	return advantage_moving_load(r, &s->moving, e);
}

/* Batches come one after another, and the first, where it is not the run's first, goes on from what the store holds. */
static int begin_moving(struct advantage_stage *s, const struct whole_batch *b, struct err *e)
{
	if (s->config.advantage.method != ADVANTAGE_REINFORCE || s->config.advantage.baseline != BASELINE_MOVING)
		return 0;
	if (s->begun && b->number >= 0 && b->number <= s->last)
		return err_set(e, "batch %lld is whole after batch %lld, but --baseline moving goes in order",
		               (long long)b->number, (long long)s->last);
	if (!s->begun && b->number > 0 &&
	    batch_stage_memory(s->config.memory.store, s->config.memory.run, b->number, "--baseline moving",
	                       read_moving, s, e))
		return -1;
	s->begun = true;
	s->last = b->number;
	return 0;
}

/* What holds after the batch, in its records. */
static int add_state(const struct advantage_stage *s, struct record *r, struct err *e)
{
	struct str text;
	if (!s->begun)
		return 0;
	str_init(&text);
	advantage_moving_put(&text, &s->moving);
	int rc = record_add_raw(r, "state_" ADVANTAGE_STATE, text.buf, text.len, e);
	str_release(&text);
	return rc;
}

/* ---- rows ---- */

static int read_row(struct tool *t, struct record *r, bool passes, void *data, struct arena *a, void *arg,
                    struct err *e)
{
	struct advantage_stage *s = arg;
	struct advantage_row *row = data;
	*row = (struct advantage_row){.left_out = true};
	if (passes) {
		advantage_record_group(r, t->line, row, a);
		return 0;
	}
	if (advantage_record_read(&s->config.advantage, s->reward, r, t->line, row, a, e) < 0) {
		row->left_out = true;
		return -1;
	}
	t->count[0].n += row->left_out;
	t->n_tokens += row->n;
	return 0;
}

static int compute(struct whole_batch *b, struct batch_row **order, int64_t *bad, void *arg, struct err *e)
{
	struct advantage_stage *s = arg;
	if (!s->computing && begin_moving(s, b, e))
		return -1;
	s->computing = true;
	struct advantage_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	for (int64_t i = 0; i < b->n; i++)
		row[i] = *(struct advantage_row *)order[i]->data;
	advantage_widths(row, b->n);
	if (advantage_compute(&s->config.advantage, &s->moving, row, b->n, bad, e))
		return -1;
	for (int64_t i = 0; i < b->n; i++)
		*(struct advantage_row *)order[i]->data = row[i];
	s->computing = false;
	return 0;
}

static void leave_out(void *data, void *arg)
{
	(void)arg;
	((struct advantage_row *)data)->left_out = true;
}

static int add(struct record *r, const struct batch_row *w, void *arg, struct err *e)
{
	const struct advantage_row *row = w->data;
	return row->left_out ? 0 : advantage_record_add(r, row, e) || add_state(arg, r, e) ? -1 : 0;
}

int advantage_stage_run(struct advantage_stage *s, char **operands, int n_operands)
{
	struct err e;
	struct tool t;
	struct batch_stage stage = {.batch_size = s->config.batch_size,
	                            .data_size = sizeof(struct advantage_row),
	                            .arg = s,
	                            .read = read_row,
	                            .compute = compute,
	                            .leave_out = leave_out,
	                            .add = add};
	s->reward = reward_new(s->config.reward, &e);
	if (!s->reward)
		cli_misuse("%s", e.msg);
	if (s->config.advantage.kl_estimator == ADVANTAGE_EXACT)
		cli_misuse("--kl-estimator exact needs both models: rl-ppo-step has it");
	advantage_settle(&s->config.advantage);
	tool_init(&t, &s->config.tool);
	t.takes_all = true;
	t.count[0].name = "without reward";
	int status = tool_run(&t, operands, n_operands, batch_stage_process, batch_stage_finish, &stage);
	batch_stage_release(&stage);
	reward_free(s->reward);
	return status;
}
