/* scorer - see scorer.h */
#include "lib/scorer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "lib/memory.h"
#include "lib/trainer_plan.h"
#include "lib/util.h"

/* A record that waits; item is NULL for one that passes as it is. */
struct scorer_record {
	char *line;
	size_t len;
	const char *source;
	int64_t number; /* line of the source */
	void *item;
};

/* ---- the model ---- */

int scorer_open(struct scorer *s, const char *store_path, const struct engine_config *c, struct err *e)
{
	*s = (struct scorer){0};
	arena_init(&s->arena);
	s->store = store_open(store_path, STORE_READ, e);
	return !s->store || engine_open(&s->engine, c, e) ? -1 : 0;
}

void scorer_close(struct scorer *s)
{
	weights_kept_release(&s->kept);
	engine_close(&s->engine);
	store_close(s->store);
	arena_release(&s->arena);
	free(s->record);
	*s = (struct scorer){0};
}

/* The reference of a run on what -s names, when that is what runs train, else on the policy. */
static int find_reference(struct store_view *v, const char *trained, const char *run, struct store_ref *ref,
                          struct err *e)
{
	char slot[64];
	int got = strcmp(trained, "ref") ? loop_slot(v, trained, slot, e) : 0;
	return got < 0 ? -1 : loop_reference(v, run, got ? slot : "policy", ref, e);
}

int scorer_is_adapter(struct scorer *s, const char *name, struct err *e)
{
	char slot[64];
	struct store_view *v = store_view_open(s->store, e);
	int got = v ? loop_slot(v, name, slot, e) : -1;
	store_view_close(v);
	return got > 0 ? strcmp(slot, "policy") != 0 : got;
}

int scorer_find(struct scorer *s, const char *name, const char *trained, const char *run, struct scorer_model *m,
                struct err *e)
{
	struct store_view *v = store_view_open(s->store, e);
	int failed = !v || (!strcmp(name, "ref") ? find_reference(v, trained, run, &m->ref, e)
	                                         : store_resolve(v, name, &m->ref, e));
	if (!failed) {
		snprintf(m->name, sizeof m->name, "%s@%lld", m->ref.slot, (long long)m->ref.version);
		failed = model_info_load(&m->info, v, m->name, true, e);
	}
	store_view_close(v);
	return failed ? -1 : 0;
}

int scorer_check(struct scorer *s, const char *slot, int64_t version, struct err *e)
{
	char name[96];
	struct store_ref ref;
	struct store_view *v = store_view_open(s->store, e);
	snprintf(name, sizeof name, "%s@%lld", slot, (long long)version);
	int failed = !v || store_resolve(v, name, &ref, e);
	store_view_close(v);
	return failed ? -1 : 0;
}

/* kept: of k's weights. */
static int with_kernels(struct scorer *s, const struct kernels *k, struct weights_kept *kept,
                        const struct scorer_model *m,
                        int (*fn)(void *arg, struct decoder *d, const struct weights *w, struct err *e), void *arg,
                        struct err *e)
{
	struct store_view *v = store_view_open(s->store, e);
	struct decoder d;
	const struct weights *w = v ? weights_kept_begin(kept, k, &m->info.table, v, &m->ref, e) : NULL;
	int failed = !w;
	if (!failed) {
		failed = decoder_init(&d, &m->info.arch, &m->info.table, k, e) || fn(arg, &d, w, e);
		decoder_release(&d);
		weights_kept_end(kept);
	}
	store_view_close(v);
	return failed ? -1 : 0;
}

int scorer_with(struct scorer *s, const struct scorer_model *m,
                int (*fn)(void *arg, struct decoder *d, const struct weights *w, struct err *e), void *arg,
                struct err *e)
{
	return with_kernels(s, s->engine.k, &s->kept, m, fn, arg, e);
}

static int score_plan(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct trainer_plan_rows *rows = arg;
	return trainer_score(d, w, rows->row, rows->n, SCORER_TOKENS, e);
}

int scorer_plan(struct scorer *s, const struct scorer_model *m, bool print, bool head, bool values, struct err *e)
{
	if (!memory_plan_wanted(s->engine.k, print))
		return 0;
	struct kernels *k = memory_planner(s->engine.k);
	struct trainer_plan_rows rows;
	trainer_plan_rows_init(&rows, &m->info.arch, SCORER_TOKENS, SCORER_TOKENS, head, values);
	struct weights_kept kept = {0};
	int got = with_kernels(s, k, &kept, m, score_plan, &rows, e) ? -1 : memory_plan_settle(k, print, e);
	weights_kept_release(&kept);
	trainer_plan_rows_release(&rows);
	memory_planner_free(k);
	return got;
}

/* ---- records ---- */

static void hold(struct scorer *s, struct tool *t, struct record *r, void *item)
{
	size_t len;
	const char *line = record_line(r, &len);
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->record = xrealloc_array(s->record, (size_t)s->cap, sizeof *s->record);
	}
	s->record[s->n++] = (struct scorer_record){arena_strndup(&s->arena, line, len), len, t->source, t->line, item};
}

static int compute(struct scorer *s, struct err *e)
{
	void **item = arena_array(&s->arena, (size_t)s->n, sizeof *item);
	int64_t n = 0;
	for (int64_t i = 0; i < s->n; i++)
		if (s->record[i].item)
			item[n++] = s->record[i].item;
	return n ? s->calls->compute(s->arg, item, n, e) : 0;
}

static int leave(struct scorer *s, struct tool *t, const struct scorer_record *x, struct err *e)
{
	const char *source = t->source;
	record_resume(t->record, x->line, x->len);
	if (!x->item || s->calls->add(s->arg, t, t->record, x->item, e) == 0)
		return tool_write(t, t->record, e);
	t->source = x->source;
	int rc = tool_reject(t, t->record, x->number, e);
	t->source = source;
	return rc;
}

static int drain(struct tool *t, void *arg, struct err *e)
{
	struct scorer *s = arg;
	int failed = compute(s, e);
	for (int64_t i = 0; i < s->n && !failed; i++)
		failed = leave(s, t, s->record + i, e);
	s->n = s->tokens = 0;
	arena_reset(&s->arena);
	return failed ? -1 : 0;
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct scorer *s = arg;
	void *item = NULL;
	int64_t tokens = 0;
	if (!tool_passes(t, r) && s->calls->read(s->arg, t, r, &item, &tokens, e)) {
		item = NULL;
		if (tool_mark(t, r, 0, e))
			return -2;
	}
	hold(s, t, r, item);
	s->tokens += item ? tokens : 0;
	return (s->tokens >= SCORER_TOKENS || !stream_poll(t->in)) && drain(t, s, e) ? -2 : 1;
}

int scorer_run(struct scorer *s, struct tool *t, char **operands, int n_operands, const struct scorer_calls *calls,
               void *arg)
{
	s->calls = calls;
	s->arg = arg;
	t->takes_all = true;
	t->drain = drain;
	t->drain_arg = s;
	return tool_run(t, operands, n_operands, process, drain, s);
}
