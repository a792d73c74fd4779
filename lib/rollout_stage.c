/* rollout_stage - see rollout_stage.h */
#include "lib/rollout_stage.h"

#include <stdio.h>
#include <string.h>

#include "lib/rollout_record.h"

/* ---- which version ---- */

/* What a record, or the items of a group, say of how they were sampled. */
struct origin {
	bool known, evaluation;
	int64_t version, epoch;
};

static int member_int(const struct json *object, const char *name, int64_t *out, struct err *e)
{
	struct json v;
	if (!json_member(object, name, &v) || v.kind == JSON_NULL)
		return 0;
	if (!v.is_int)
		return err_set(e, "'%s' of an item is not an integer", name);
	*out = v.integer;
	return 1;
}

struct walk {
	struct origin *origin;
	struct err *e;
};

static int walk_items(const struct json *items, struct walk *w);

/* An item is a completion, or a group itself. */
static int walk_item(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	(void)i, (void)key, (void)len;
	struct walk *w = arg;
	struct origin o = {.known = true};
	struct json items, eval;
	int got = member_int(item, "policy_version", &o.version, w->e);
	if (got < 0 || member_int(item, "epoch", &o.epoch, w->e) < 0)
		return -1;
	if (got == 0)
		return json_member(item, "items", &items) ? walk_items(&items, w) : 0;
	if (w->origin->known && w->origin->version != o.version)
		return err_set(w->e, "'policy_version' is %lld in one item and %lld in another",
		               (long long)w->origin->version, (long long)o.version);
	o.evaluation = json_member(item, "eval", &eval) && eval.kind == JSON_BOOL && eval.boolean;
	if (w->origin->known && w->origin->evaluation != o.evaluation)
		return err_set(w->e, "'eval' is true in one item and not in another");
	*w->origin = o;
	return 0;
}

static int walk_items(const struct json *items, struct walk *w)
{
	return items->kind == JSON_ARRAY ? json_each(items, walk_item, w) : 0;
}

static int find_origin(struct record *r, struct origin *o, struct err *e)
{
	struct json items;
	struct walk w = {o, e};
	*o = (struct origin){0};
	int got = record_int(r, "policy_version", &o->version, e);
	o->known = got > 0;
	if (got < 0 || (got == 0 && record_json(r, "items", &items, e) && walk_items(&items, &w)))
		return -1;
	o->evaluation = o->evaluation || rollout_is_evaluation(r);
	return record_int(r, "epoch", &o->epoch, e) < 0 ? -1 : 0;
}

static int resolve(struct rollout_stage *s, const char *name, struct store_ref *ref, struct err *e)
{
	struct store_view *v = store_view_open(s->store, e);
	int failed = !v || store_resolve(v, name, ref, e);
	store_view_close(v);
	return failed ? -1 : 0;
}

static int choose(struct rollout_stage *s, const struct origin *o, struct store_ref *ref, struct err *e)
{
	char name[96];
	if (!s->slot)
		return resolve(s, s->name, ref, e);
	if (!o->known && !*s->first.slot && resolve(s, s->slot, &s->first, e))
		return -1;
	snprintf(name, sizeof name, "%s@%lld", s->slot, (long long)(o->known ? o->version : s->first.version));
	if (!resolve(s, name, ref, e))
		return 0;
	return o->known ? err_where(e, "'policy_version' is %lld", (long long)o->version) : -1;
}

/* ---- records ---- */

int rollout_stage_drain(struct tool *t, void *arg, struct err *e)
{
	(void)t;
	struct rollout_stage *s = arg;
	if (!rollout_batch_held(s->batch))
		return 0;
	loop_share(s->locks, LOOP_STAGE);
	/* No view is held while input is waited for: it would keep the writer from using its free pages again. */
	struct store_view *v = store_view_open(s->store, e);
	int failed = !v || rollout_batch_generate(s->batch, s->k, v, &s->ref, e);
	store_view_close(v);
	failed = failed || rollout_batch_write_as(s->batch, &s->ref, e);
	loop_free(s->locks, LOOP_STAGE);
	return failed ? -1 : 0;
}

static bool same(const struct store_ref *a, const struct store_ref *b)
{
	return a->version == b->version && !strcmp(a->slot, b->slot);
}

/* 0, -1 when the record cannot be used, -2 when the tool failed. */
static int add(struct rollout_stage *s, struct tool *t, struct record *r, struct err *e)
{
	struct origin o;
	struct store_ref ref;
	if (find_origin(r, &o, e) || choose(s, &o, &ref, e))
		return -1;
	if ((!same(&ref, &s->ref) || o.evaluation != s->evaluation) && rollout_stage_drain(t, s, e))
		return -2;
	s->ref = ref;
	s->evaluation = o.evaluation;
	return rollout_batch_add(s->batch, o.epoch, o.evaluation, e);
}

int rollout_stage_process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct rollout_stage *s = arg;
	int failed = 0;
	if (tool_passes(t, r))
		rollout_batch_pass(s->batch);
	else
		failed = add(s, t, r, e);
	if (failed == -1) {
		/* those before it go out before it does, or the tool ends */
		struct err why = *e;
		if (rollout_stage_drain(t, s, e))
			return -2;
		*e = why;
	}
	if (failed)
		return failed;
	if ((rollout_batch_full(s->batch) || !stream_poll(t->in)) && rollout_stage_drain(t, s, e))
		return -2;
	return 1;
}
