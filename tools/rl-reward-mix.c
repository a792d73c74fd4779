/*
 * rl-reward-mix - components of a reward to the total, weighted, scheduled, normalised, clipped; and which records are
 * trained on.
 *
 * The formulas are lib/reward_mix.h.  Where something is compared or counted within a batch, records wait until it is
 * whole (lib/batch_stage.h); else each goes on at once.
 */
#include "lib/batch_stage.h"
#include "lib/reward_mix.h"
#include "lib/rollout_record.h"
#include "lib/util.h"

struct config {
	int64_t batch_size;
	struct reward_mix_config mix;
	struct batch_stage_memory_config memory;
	struct tool_config tool;
};

static const struct opt options[] = {
        {"batch-size", 0, OPT_INT, offsetof(struct config, batch_size), "0", "N",
         "records per batch where they do not say; 0: all of them", 0, 1 << 30},
        {NULL},
};

struct state {
	struct config c;
	struct reward_mix *mix;
	struct tool tool;
	bool begun;   /* the mix holds what held before the first batch */
	int64_t last; /* batch that was whole */
};

enum { WITHOUT, BELOW, FLAT }; /* counts of the closing line */

static void count(struct tool *t, const struct reward_mix_row *row)
{
	t->count[WITHOUT].n += !row->any;
	t->count[BELOW].n += row->skip && row->skip[0] == REWARD_MIX_BELOW[0];
	t->count[FLAT].n += row->skip && row->skip[0] == REWARD_MIX_FLAT[0];
}

/* ---- records that do not wait ---- */

static int mix_alone(struct state *s, struct tool *t, struct record *r, int64_t batch, bool evaluation, struct err *e)
{
	struct reward_mix_row row = {0};
	if (reward_mix_read(s->mix, r, t->line, &row, &t->arena, e))
		return -1;
	reward_mix_total(s->mix, batch, evaluation, &row, &t->arena);
	if (!evaluation)
		count(t, &row);
	return reward_mix_add(s->mix, r, &row, e);
}

/* The batch of a record that names none: they are counted. */
static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	int64_t batch = s->c.batch_size ? (t->n_in - 1) / s->c.batch_size : 0;
	if (record_int(r, "batch", &batch, e) < 0)
		return -1;
	return mix_alone(s, t, r, batch, rollout_is_evaluation(r), e);
}

/* ---- whole batches ---- */

static int evaluation(struct tool *t, struct record *r, void *arg, struct err *e)
{
	return mix_alone(arg, t, r, 0, true, e);
}

static int read_row(struct tool *t, struct record *r, bool passes, void *data, struct arena *a, void *arg,
                    struct err *e)
{
	struct state *s = arg;
	struct reward_mix_row *row = data;
	row->left_out = true;
	if (passes)
		return 0;
	if (reward_mix_read(s->mix, r, t->line, row, a, e))
		return -1;
	row->left_out = false;
	return 0;
}

static int load(const struct loop_run *r, void *arg, struct err *e)
{
	return reward_mix_load(((struct state *)arg)->mix, r, e);
}

/* Batches come one after another, and the first, where it is not the run's first, goes on from what the store holds. */
static int begin(struct state *s, int64_t number, struct err *e)
{
	if (!reward_mix_remembers(s->mix))
		return 0;
	if (s->begun && number >= 0 && number <= s->last)
		return err_set(e, "batch %lld is whole after batch %lld, but statistics go on in order",
		               (long long)number, (long long)s->last);
	if (!s->begun && number > 0 &&
	    batch_stage_memory(s->c.memory.store, s->c.memory.run, number, "rl-reward-mix", load, s, e))
		return -1;
	s->begun = true;
	s->last = number;
	return 0;
}

static int compute(struct whole_batch *b, struct batch_row **order, int64_t *bad, void *arg, struct err *e)
{
	struct state *s = arg;
	struct reward_mix_row **row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	(void)bad;
	if (begin(s, b->number, e))
		return -1;
	for (int64_t i = 0; i < b->n; i++)
		row[i] = order[i]->data;
	reward_mix_batch(s->mix, b->number >= 0 ? b->number : s->mix->batches, row, b->n, &b->arena);
	for (int64_t i = 0; i < b->n; i++)
		if (!row[i]->left_out)
			count(&s->tool, row[i]);
	return 0;
}

/* A total that is not finite is a fault of its record. */
static int add(struct record *r, const struct batch_row *w, void *arg, struct err *e)
{
	struct state *s = arg;
	const struct reward_mix_row *row = w->data;
	const char *source = s->tool.source;
	if (row->left_out || !reward_mix_add(s->mix, r, row, e))
		return 0;
	s->tool.source = w->source;
	int rc = tool_mark(&s->tool, r, w->number, e);
	s->tool.source = source;
	return rc;
}

int main(int argc, char **argv)
{
	static struct state s;
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, reward_mix_options, &s.c.mix},
	                                   {"Batches", options, &s.c},
	                                   {"Memory", batch_stage_memory_options, &s.c.memory},
	                                   {"All filters", tool_options, &s.c.tool}};
	const struct cli cli = {.tool = "rl-reward-mix",
	                        .summary = "weighted sum of reward components, and which records are trained on",
	                        .usage = "-w NAME=WEIGHT... [OPTION]... [FILE]...",
	                        .details = "Adds reward, and each component's part in it as one object.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (!(s.mix = reward_mix_new(&s.c.mix, &e)))
		cli_misuse("%s", e.msg);
	tool_init(&s.tool, &s.c.tool);
	s.tool.count[WITHOUT].name = "without reward";
	s.tool.count[BELOW].name = "below the percentile";
	s.tool.count[FLAT].name = "in groups without spread";
	struct batch_stage stage = {.batch_size = s.c.batch_size,
	                            .data_size = sizeof(struct reward_mix_row),
	                            .arg = &s,
	                            .read = read_row,
	                            .compute = compute,
	                            .add = add,
	                            .evaluation = evaluation};
	bool waits = reward_mix_waits(s.mix);
	s.tool.takes_all = waits;
	int status = waits ? tool_run(&s.tool, operands, n, batch_stage_process, batch_stage_finish, &stage)
	                   : tool_run(&s.tool, operands, n, process, NULL, &s);
	batch_stage_release(&stage);
	reward_mix_free(s.mix);
	return status;
}
