/* model_put - a model becomes the current version of a slot; see model_files.h */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/lora.h"
#include "lib/model.h"
#include "lib/model_files.h"
#include "lib/record.h"

static int find_slot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct store_ref *want = arg;
	if (!snapshot && !strcmp(name, want->slot))
		want->version = ref->version;
	return 0;
}

static int find_snapshot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)ref;
	return snapshot && !strcmp(name, arg);
}

int model_check_new_slot(struct store_view *v, const char *slot, struct err *e)
{
	if (lora_is_base_name(slot))
		return err_set(e, "slot '%s': names that end in .base hold the bases of adapters", slot);
	if (!strcmp(slot, "best"))
		return err_set(e, "slot '%s': this name is for the best version of a run", slot);
	int found = store_each_name(v, find_snapshot, (void *)slot, e);
	return found > 0 ? err_set(e, "'%s' is the name of a snapshot", slot) : found;
}

struct forget {
	struct store_update *u;
	const char *slot;
	struct err *e;
};

static int forget_blob(void *arg, const char *key, const void *data, size_t len)
{
	struct forget *f = arg;
	(void)data, (void)len;
	return store_delete_blob(f->u, f->slot, key, f->e);
}

static int log_entry(struct store_update *u, const struct model_source *m, const struct store_ref *ref, struct err *e)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "{\"tool\":\"rl-store %s\",\"slot\":", m->made ? "init" : "import");
	json_put_str(&s, ref->slot, strlen(ref->slot));
	str_addf(&s, ",\"version\":%" PRId64 ",\"options\":{\"from\":", ref->version);
	json_put_str(&s, m->name, strlen(m->name));
	if (m->made)
		str_addf(&s, ",\"seed\":%" PRId64, m->seed);
	str_adds(&s, "}}");
	int failed = store_put_log(u, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

struct held {
	const char *slot;
	char name[512];
};

static int find_held(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct held *h = arg;
	if (!snapshot || strcmp(ref->slot, h->slot))
		return 0;
	snprintf(h->name, sizeof h->name, "%s", name);
	return 1;
}

/* A slot has one config.json: what snapshots and adapters hold of it must go on to be of that model. */
static int check_replaced(struct store_view *v, const struct model_source *m, const char *slot, struct err *e)
{
	struct lora_config c = {0};
	struct model_info old;
	struct held h = {.slot = slot};
	int found = lora_of_slot(&c, v, slot, e);
	lora_config_release(&c);
	if (found)
		return found < 0 ? -1
		                 : err_set(e, "slot '%s' is an adapter, and no model can be its next version", slot);
	if ((found = store_each_name(v, find_held, &h, e)) <= 0)
		return found;
	if (model_info_load(&old, v, slot, false, e))
		return -1;
	bool same = arch_same(&old.arch, m->made ? &m->made->arch : model_dir_arch(m->dir));
	model_info_release(&old);
	return same ? 0
	            : err_set(e,
	                      "%s: not the model that slot '%s' has by its config.json, by which '%s' holds a version: "
	                      "import it into a new store",
	                      m->name, slot, h.name);
}

/* The version to write: the slot's next, or 0. */
static int next_version(struct store_view *v, const struct model_source *m, const char *path, const char *slot,
                        struct store_ref *ref, struct err *e)
{
	if (strlen(slot) >= sizeof ref->slot)
		return err_set(e, "the name of slot '%s' is too long", slot);
	bool value = m->made ? m->made->arch.value_model : model_dir_arch(m->dir)->value_model;
	/* these two are for generating and for log-probabilities, and that one for values; a reward model has any other
	 */
	if (value ? !strcmp(slot, "policy") || !strcmp(slot, "ref") : !strcmp(slot, "value"))
		return err_set(e,
		               value ? "%s: a value model has no head for tokens, so it cannot be slot %s: give it "
		                       "STORE:value or another name"
		                     : "%s: not a value model (one is ...ForSequenceClassification with "
		                       "score.weight), so it cannot be slot %s",
		               m->name, slot);
	*ref = (struct store_ref){.version = -1};
	snprintf(ref->slot, sizeof ref->slot, "%s", slot);
	if (store_each_name(v, find_slot, ref, e))
		return -1;
	if (ref->version >= 0 && !m->replace)
		return err_set(e, "'%s' has a slot '%s' already, at version %" PRId64 " (import has --replace)", path,
		               slot, ref->version);
	return ref->version++ < 0 ? model_check_new_slot(v, slot, e) : check_replaced(v, m, slot, e);
}

int model_put(struct store *s, const struct model_source *m, const char *slot, struct err *e)
{
	struct store_ref ref;
	struct store_view *v = store_view_open(s, e);
	if (!v)
		return -1;
	struct store_update *u = NULL;
	int failed = next_version(v, m, store_path(s), slot, &ref, e);
	if (!failed && !(u = store_update_begin(s, e)))
		failed = -1;
	struct forget f = {u, slot, e};
	if (!failed)
		failed = store_each_blob(v, slot, "file/", forget_blob, &f, e) ||
		         store_each_blob(v, slot, "trainer/", forget_blob, &f, e);
	store_view_close(v);
	if (!failed)
		failed = m->made ? model_new_put(m->made, m->par, (uint64_t)m->seed, u, slot, ref.version, e)
		                 : model_dir_put(m->dir, u, slot, ref.version, e);
	if (!failed)
		failed = store_put_current(u, slot, ref.version, e) || log_entry(u, m, &ref, e);
	if (!failed)
		return store_update_commit(u, e);
	store_update_abort(u);
	return -1;
}
