/* batch_stage - see batch_stage.h */
#include "lib/batch_stage.h"

#include <stdlib.h>

#include "lib/rollout_record.h"
#include "lib/store.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct batch_stage_memory_config, name)

const struct opt batch_stage_memory_options[] = {
        {"store", 's', OPT_STR, FIELD(store), NULL, "STORE", "of the run that a stream from a later batch goes on with",
         0, 0},
        {"run", 0, OPT_STR, FIELD(run), "", "NAME", "name of the run", 0, 0},
        {NULL},
};

/* ---- batches ---- */

static struct whole_batch *find_batch(struct batch_stage *s, int64_t number, int64_t size)
{
	struct whole_batch **p = &s->batches;
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

static void free_batch(struct batch_stage *s, struct whole_batch *b)
{
	struct whole_batch **p = &s->batches;
	while (*p != b)
		p = &(*p)->next;
	*p = b->next;
	arena_release(&b->arena);
	free(b->record);
	free(b);
}

void batch_stage_release(struct batch_stage *s)
{
	while (s->batches)
		free_batch(s, s->batches);
}

static void add_waiting(struct tool *t, struct whole_batch *b, int64_t row, void *data)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 64;
		b->record = xrealloc_array(b->record, (size_t)b->cap, sizeof *b->record);
	}
	struct batch_row *w = b->record + b->n++;
	size_t len;
	const char *line = record_line(t->record, &len);
	*w = (struct batch_row){.len = len, .source = t->source, .number = t->line, .row = row, .data = data};
	w->line = arena_strndup(&b->arena, line, len);
}

/*
 * Where the record belongs.  Without `batch`, batches are --batch-size records or all; with `batch` alone, as from
 * another program, one ends where the next number comes.
 */
static int read_place(struct batch_stage *s, struct record *r, struct whole_batch **b, int64_t *row, struct err *e)
{
	int64_t number = -1, size = s->batch_size;
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
	const struct batch_row *a = *(struct batch_row *const *)x, *b = *(struct batch_row *const *)y;
	return a->row < b->row ? -1 : a->row > b->row;
}

/* The records in the order of their place. */
static struct batch_row **in_order(struct whole_batch *b, struct err *e)
{
	struct batch_row **order = arena_array(&b->arena, (size_t)b->n, sizeof *order);
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
static int leave_out(struct tool *t, struct batch_stage *s, struct whole_batch *b, struct batch_row *w, struct err *e)
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
	s->leave_out(w->data, s->arg);
	return 0;
}

static int compute(struct tool *t, struct batch_stage *s, struct whole_batch *b, struct err *e)
{
	struct batch_row **order = in_order(b, e);
	int64_t bad;
	if (!order)
		return -1;
	for (;;) {
		bad = -1;
		if (s->compute(b, order, &bad, s->arg, e) == 0)
			return 0;
		if (bad < 0 || leave_out(t, s, b, order[bad], e) < 0)
			return -1;
	}
}

static int write_batch(struct tool *t, struct batch_stage *s, struct whole_batch *b, struct err *e)
{
	int rc = compute(t, s, b, e);
	for (int64_t i = 0; i < b->n && !rc; i++) {
		const struct batch_row *w = b->record + i;
		record_resume(t->record, w->line, w->len);
		rc = s->add(t->record, w, s->arg, e);
		rc = rc ? rc : tool_write(t, t->record, e);
	}
	free_batch(s, b);
	return rc;
}

/* The batches that end where another begins. */
static int end_others(struct tool *t, struct batch_stage *s, const struct whole_batch *current, struct err *e)
{
	for (struct whole_batch *b = s->batches, *next; b; b = next) {
		next = b->next;
		if (b != current && !b->size && b->number >= 0 && write_batch(t, s, b, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- records ---- */

int batch_stage_process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct batch_stage *s = arg;
	struct whole_batch *b = NULL;
	int64_t row;
	bool passes = tool_passes(t, r);
	if (rollout_is_evaluation(r))
		return passes || !s->evaluation ? 0 : s->evaluation(t, r, s->arg, e);
	/* What lost its place in a stream of named batches has none to wait in. */
	bool named = record_has(r, "batch");
	if (passes && !named && s->named)
		return 0;
	s->named |= named;
	if (read_place(s, r, &b, &row, e) < 0)
		return -1;
	void *data = arena_array(&b->arena, 1, s->data_size);
	/* With -k a record that fails keeps its place, so that the batch can become whole. */
	if (s->read(t, r, passes, data, &b->arena, s->arg, e) < 0 && tool_mark(t, r, 0, e) < 0)
		return -2;
	add_waiting(t, b, row, data);
	if (end_others(t, s, b, e) < 0 || (b->n == b->size && write_batch(t, s, b, e) < 0))
		return -2;
	return 1;
}

int batch_stage_finish(struct tool *t, void *arg, struct err *e)
{
	struct batch_stage *s = arg;
	while (s->batches) {
		struct whole_batch *b = s->batches;
		if (b->number >= 0 && b->size)
			return err_set(e, "the input ends before batch %lld is whole: %lld of %lld rows",
			               (long long)b->number, (long long)b->n, (long long)b->size);
		if (write_batch(t, s, b, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- memory ---- */

int batch_stage_memory(const char *store_path, const char *run_name, int64_t batch, const char *what,
                       int (*fn)(const struct loop_run *r, void *arg, struct err *e), void *arg, struct err *e)
{
	if (!store_path)
		return err_set(e,
		               "the stream begins with batch %lld: what %s held before is in the store of the run "
		               "(-s STORE)",
		               (long long)batch, what);
	char *path, *name;
	store_split(store_path, &path, &name);
	struct store *store = store_open(path, STORE_READ, e);
	struct store_view *v = store ? store_view_open(store, e) : NULL;
	struct loop_run run = {0};
	int failed = !v || loop_run_load(&run, v, run_name, e) || fn(&run, arg, e);
	if (!failed && run.batches != batch)
		failed = err_set(e, "the stream begins with batch %lld, but run '%s' of '%s' has trained %lld",
		                 (long long)batch, run_name, store_path, (long long)run.batches);
	if (v)
		store_view_close(v);
	store_close(store);
	loop_run_release(&run);
	free(path);
	free(name);
	return failed ? -1 : 0;
}
