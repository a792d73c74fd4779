/* advantage_stage - see advantage_stage.h */
#include "lib/advantage_stage.h"

#include <stdlib.h>

#include "lib/advantage_record.h"
#include "lib/loop.h"
#include "lib/store.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct advantage_stage_config, name)

const struct opt advantage_stage_options[] = {
        {"reward", 0, OPT_STR, FIELD(reward), NULL, "FILTER",
         "the total reward; default .reward, else the sum of reward_*", 0, 0},
        {"batch-size", 0, OPT_INT, FIELD(batch_size), "0", "N",
         "records per batch where they do not say; 0: all of them", 0, 1 << 30},
        {NULL},
};

const struct opt advantage_state_options[] = {
        {"store", 's', OPT_STR, FIELD(store), NULL, "STORE", "of the run that a stream from a later batch goes on with",
         0, 0},
        {"run", 0, OPT_STR, FIELD(run), "", "NAME", "name of the run", 0, 0},
        {NULL},
};

/* A record that waits for its batch: statistics are over the batch, in the order of its rows, in whatever order they
 * came. Records leave in the order in which they came. */
struct waiting {
	char *line;
	size_t len;
	const char *source;
	int64_t number, row; /* line of the source, place in the batch */
	struct advantage_row a;
};

struct stage_batch {
	struct stage_batch *next;
	int64_t number, size; /* -1 and 0: records that name no batch */
	int64_t n, cap;
	struct waiting *record;
	struct arena arena;
};

/* ---- batches ---- */

static struct stage_batch *find_batch(struct advantage_stage *s, int64_t number, int64_t size)
{
	struct stage_batch **p = &s->batches;
	while (*p && (*p)->number != number)
		p = &(*p)->next;
	if (!*p) {
		*p = xcalloc(1, sizeof **p);
		(*p)->number = number;
		(*p)->size = size;
		arena_init(&(*p)->arena);
	}
	return *p;
}

static void free_batch(struct advantage_stage *s, struct stage_batch *b)
{
	struct stage_batch **p = &s->batches;
	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	arena_release(&b->arena);
	free(b->record);
	free(b);
}

static struct waiting *add_waiting(struct tool *t, struct stage_batch *b, int64_t row)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 64;
		b->record = xrealloc_array(b->record, (size_t)b->cap, sizeof *b->record);
	}
	struct waiting *w = b->record + b->n++;
	size_t len;
	const char *line = record_line(t->record, &len);
	*w = (struct waiting){.len = len, .source = t->source, .number = t->line, .row = row, .a = {.left_out = true}};
	w->line = arena_strndup(&b->arena, line, len);
	return w;
}

/*
 * Where the record belongs.  Without `batch`, batches are --batch-size records or all; with `batch` alone, as from
 * another program, one ends where the next number comes.
 */
static int read_place(struct advantage_stage *s, struct record *r, struct stage_batch **b, int64_t *row, struct err *e)
{
	int64_t number = -1, size = s->config.batch_size;
	int named = record_int(r, "batch", &number, e), has_row = record_int(r, "row", row, e);
	int has_size = named > 0 ? record_int(r, "batch_size", &size, e) : 0;
	if (named < 0 || has_row < 0 || has_size < 0)
		return -1;
	if (named && has_row != has_size)
		return err_set(e, "'%s' is there without '%s'", has_row ? "row" : "batch_size",
		               has_row ? "batch_size" : "row");
	if (named && (number < 0 || (has_size && (*row < 0 || *row >= size))))
		return err_set(e, "row %lld of %lld in batch %lld does not exist", (long long)*row, (long long)size,
		               (long long)number);
	size = named && !has_size ? 0 : size;
	*b = find_batch(s, named ? number : -1, size);
	if (!has_size)
		*row = (*b)->n;
	if ((*b)->size != size)
		return err_set(e, "batch %lld has %lld rows here and %lld before", (long long)number, (long long)size,
		               (long long)(*b)->size);
	return 0;
}

/* ---- a whole batch ---- */

static int compare_rows(const void *x, const void *y)
{
	const struct waiting *a = *(struct waiting *const *)x, *b = *(struct waiting *const *)y;
	return a->row < b->row ? -1 : a->row > b->row;
}

/* The records in the order of their place. */
static struct waiting **in_order(struct stage_batch *b, struct err *e)
{
	struct waiting **order = arena_array(&b->arena, (size_t)b->n, sizeof *order);
	for (int64_t i = 0; i < b->n; i++)
		order[i] = b->record + i;
	qsort(order, (size_t)b->n, sizeof *order, compare_rows);
	for (int64_t i = 1; i < b->n; i++)
		if (order[i]->row == order[i - 1]->row) {
			err_set(e, "batch %lld has row %lld twice, in lines %lld and %lld", (long long)b->number,
			        (long long)order[i]->row, (long long)order[i - 1]->number, (long long)order[i]->number);
			return NULL;
		}
	return order;
}

/* One record of the batch is wrong: fails, or with -k marks it, so that the batch goes on without it. */
static int leave_out(struct tool *t, struct stage_batch *b, struct waiting *w, struct err *e)
{
	const char *source = t->source;
	record_resume(t->record, w->line, w->len);
	t->source = w->source;
	int rc = tool_mark(t, t->record, w->number, e);
	t->source = source;
	if (rc < 0)
		return -1;
	const char *line = record_line(t->record, &w->len);
	w->line = arena_strndup(&b->arena, line, w->len);
	w->a.left_out = true;
	return 0;
}

/* ---- the memory of baseline moving ---- */

static int load_moving(struct advantage_stage *s, int64_t batch, struct err *e)
{
	if (!s->config.store)
		return err_set(e,
		               "the stream begins with batch %lld: what --baseline moving held before is in the store "
		               "of the run (-s STORE)",
		               (long long)batch);
	struct store *store = store_open(s->config.store, STORE_READ, e);
	struct store_view *v = store ? store_view_open(store, e) : NULL;
	struct loop_run run = {0};
	int failed = !v || loop_run_load(&run, v, s->config.run, e) || advantage_moving_load(&run, &s->moving, e);
	if (!failed && run.batches != batch)
		failed = err_set(e, "the stream begins with batch %lld, but run '%s' of '%s' has trained %lld",
		                 (long long)batch, s->config.run, s->config.store, (long long)run.batches);
	if (v)
		store_view_close(v);
	store_close(store);
	loop_run_release(&run);
	return failed ? -1 : 0;
}

/* Batches come one after another, and the first, where it is not the run's first, goes on from what the store holds. */
static int begin_moving(struct advantage_stage *s, const struct stage_batch *b, struct err *e)
{
	if (s->config.advantage.method != ADVANTAGE_REINFORCE || s->config.advantage.baseline != BASELINE_MOVING)
		return 0;
	if (s->begun && b->number >= 0 && b->number <= s->last)
		return err_set(e, "batch %lld is whole after batch %lld, but --baseline moving goes in order",
		               (long long)b->number, (long long)s->last);
	if (!s->begun && b->number > 0 && load_moving(s, b->number, e))
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

static int compute(struct tool *t, struct advantage_stage *s, struct stage_batch *b, struct err *e)
{
	struct waiting **order = in_order(b, e);
	struct advantage_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	int64_t bad;
	if (!order || begin_moving(s, b, e))
		return -1;
	for (;;) {
		for (int64_t i = 0; i < b->n; i++)
			row[i] = order[i]->a;
		if (advantage_compute(&s->config.advantage, &s->moving, row, b->n, &bad, e) == 0)
			break;
		if (bad < 0 || leave_out(t, b, order[bad], e) < 0)
			return -1;
	}
	for (int64_t i = 0; i < b->n; i++)
		order[i]->a = row[i];
	return 0;
}

static int write_batch(struct tool *t, struct advantage_stage *s, struct stage_batch *b, struct err *e)
{
	int rc = compute(t, s, b, e);
	for (int64_t i = 0; i < b->n && !rc; i++) {
		struct waiting *w = b->record + i;
		record_resume(t->record, w->line, w->len);
		if (!w->a.left_out)
			rc = advantage_record_add(t->record, &w->a, e) || add_state(s, t->record, e) ? -1 : 0;
		rc = rc ? rc : tool_write(t, t->record, e);
	}
	free_batch(s, b);
	return rc;
}

/* The batches that end where another begins. */
static int end_others(struct tool *t, struct advantage_stage *s, const struct stage_batch *current, struct err *e)
{
	for (struct stage_batch *b = s->batches, *next; b; b = next) {
		next = b->next;
		if (b != current && !b->size && b->number >= 0 && write_batch(t, s, b, e) < 0)
			return -1;
	}
	return 0;
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct advantage_stage *s = arg;
	struct stage_batch *b = NULL;
	struct advantage_row a = {.left_out = true};
	int64_t row;
	bool passes = tool_passes(t, r);
	/* What lost its place in a stream of named batches has none to wait in. */
	bool named = record_has(r, "batch");
	if (passes && !named && s->named)
		return 0;
	s->named |= named;
	if (read_place(s, r, &b, &row, e) < 0)
		return -1;
	if (passes) {
		advantage_record_group(r, t->line, &a, &b->arena);
	} else if (advantage_record_read(&s->config.advantage, s->reward, r, t->line, &a, &b->arena, e) < 0) {
		/* With -k a record that fails keeps its place, so that the batch can become whole. */
		if (tool_mark(t, r, 0, e) < 0)
			return -2;
		a.left_out = true;
	} else {
		t->count[0].n += a.left_out;
	}
	t->n_tokens += a.n;
	add_waiting(t, b, row)->a = a;
	if (end_others(t, s, b, e) < 0 || (b->n == b->size && write_batch(t, s, b, e) < 0))
		return -2;
	return 1;
}

static int finish(struct tool *t, void *arg, struct err *e)
{
	struct advantage_stage *s = arg;
	while (s->batches) {
		struct stage_batch *b = s->batches;
		if (b->number >= 0 && b->size)
			return err_set(e, "the input ends before batch %lld is whole: %lld of %lld rows",
			               (long long)b->number, (long long)b->n, (long long)b->size);
		if (write_batch(t, s, b, e) < 0)
			return -1;
	}
	return 0;
}

int advantage_stage_run(struct advantage_stage *s, char **operands, int n_operands)
{
	struct err e;
	struct tool t;
	s->reward = reward_new(s->config.reward, &e);
	if (!s->reward)
		cli_misuse("%s", e.msg);
	advantage_settle(&s->config.advantage);
	tool_init(&t, &s->config.tool);
	t.takes_all = true;
	t.count[0].name = "without reward";
	int status = tool_run(&t, operands, n_operands, process, finish, s);
	while (s->batches)
		free_batch(s, s->batches);
	reward_free(s->reward);
	return status;
}
