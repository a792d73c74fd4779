/* model_copy - see model_copy.h */
#include "lib/model_copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lora.h"
#include "lib/record.h"
#include "lib/str.h"
#include "lib/util.h"

struct copying {
	struct store_view *v;
	struct store_update *u;
	const char *name;
	struct store_ref ref; /* what it stands for */
	bool checkpoint,
	        complete;       /* complete: with moments and the state of runs; so a checkpoint, and what is current */
	struct store_ref *done; /* versions copied */
	size_t n_done;
	const struct store_ref *at; /* of the tensor under way */
	bool moments;
	struct err *e;
};

/* ---- tensors ---- */

static int copy_tensor(void *arg, const char *name, const struct store_tensor *t)
{
	struct copying *c = arg;
	if (!c->moments && !strncmp(name, "adam.", 5))
		return 0;
	if (store_check(c->v, c->at, name, c->e))
		return -1;
	char *whole = NULL;
	size_t row = 0;
	int64_t rows = 0;
	for (int i = 0; i < t->n_blocks; i++)
		rows += t->blocks[i].rows;
	if (t->n_blocks > 1) {
		whole = xmalloc(t->bytes);
		row = t->bytes / (size_t)rows;
	}
	for (int64_t i = 0, first = 0; whole && i < t->n_blocks; first += t->blocks[i++].rows)
		memcpy(whole + (size_t)first * row, t->blocks[i].data, (size_t)t->blocks[i].rows * row);
	int failed = store_put(c->u, c->at->slot, c->at->version, name, t->dtype, t->n_dims, t->shape,
	                       whole ? whole : t->blocks[0].data, c->e);
	free(whole);
	return failed;
}

/* Once each. */
static int copy_version(struct copying *c, const struct store_ref *ref, bool moments)
{
	for (size_t i = 0; i < c->n_done; i++)
		if (c->done[i].version == ref->version && !strcmp(c->done[i].slot, ref->slot))
			return 0;
	c->done = xrealloc_array(c->done, c->n_done + 1, sizeof *c->done);
	c->done[c->n_done++] = *ref;
	c->at = ref;
	c->moments = moments;
	return store_each(c->v, ref, copy_tensor, c, c->e);
}

/* ---- slots ---- */

static bool has_slot(const struct copying *c, const char *slot)
{
	for (size_t i = 0; i < c->n_done; i++)
		if (!strcmp(c->done[i].slot, slot))
			return true;
	return false;
}

struct blobs {
	struct copying *c;
	const char *slot;
};

static int copy_blob(void *arg, const char *key, const void *data, size_t len)
{
	struct blobs *b = arg;
	if (!strncmp(key, "trainer/", 8) && (!b->c->complete || b->c->checkpoint))
		return 0; /* of the current version, which this is not; a checkpoint has its own */
	return store_put_blob(b->c->u, b->slot, key, data, len, b->c->e);
}

/* A version that becomes the current one of its slot, unless another of it is there. */
static int copy_slot(struct copying *c, const struct store_ref *ref, bool moments)
{
	struct blobs b = {c, ref->slot};
	if (has_slot(c, ref->slot))
		return copy_version(c, ref, moments);
	return copy_version(c, ref, moments) || store_put_current(c->u, ref->slot, ref->version, c->e) ||
	       store_each_blob(c->v, ref->slot, "", copy_blob, &b, c->e);
}

struct finding {
	const char *name;
	struct store_ref ref;
	bool found, current;
};

static int match(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct finding *f = arg;
	if (strcmp(name, f->name))
		return 0;
	f->found = true;
	f->current = !snapshot;
	f->ref = *ref;
	return 1;
}

/* A slot or a snapshot, where there is one. */
static int find(struct copying *c, const char *name, struct finding *f)
{
	*f = (struct finding){.name = name};
	return store_each_name(c->v, match, f, c->e) < 0 ? -1 : 0;
}

static int copy_named_slot(struct copying *c, const char *name)
{
	struct finding f;
	if (find(c, name, &f))
		return -1;
	return f.found && f.current ? copy_slot(c, &f.ref, c->complete) : 0;
}

/* A snapshot, by its name; what it stands for is current in the copy where its slot has nothing else. */
static int copy_snapshot(struct copying *c, const char *name)
{
	struct finding f;
	if (find(c, name, &f))
		return -1;
	return f.found ? copy_slot(c, &f.ref, false) || store_put_name(c->u, name, &f.ref, c->e) : 0;
}

/* ---- state of runs ---- */

static int copy_state(void *arg, const char *slot, const char *key, const void *data, size_t len)
{
	struct copying *c = arg;
	struct str reference;
	if (store_put_blob(c->u, slot, key, data, len, c->e))
		return -1;
	if (*slot || strncmp(key, "run/", 4))
		return 0;
	str_init(&reference);
	str_addf(&reference, "reference/%s", key + 4);
	int failed = copy_snapshot(c, reference.buf);
	str_release(&reference);
	return failed;
}

static int copy_run(void *arg, const char *key, const void *data, size_t len)
{
	return copy_state(arg, "", key, data, len);
}

static int copy_member(void *arg, const struct store_ref *ref)
{
	return copy_slot(arg, ref, true) ? -1 : 0;
}

static int nothing(void *arg, const struct store_ref *ref)
{
	(void)arg, (void)ref;
	return 0;
}

/* ---- the log ---- */

struct log_walk {
	struct copying *c;
	struct record *rec;
	int64_t last; /* entry of the version, or of one before it; -1: none */
};

static int find_entry(void *arg, int64_t index, const char *text, size_t len)
{
	struct log_walk *w = arg;
	struct json top, slot, version;
	if (record_parse_value(w->rec, text, len, &top, w->c->e))
		return -1;
	if (json_member(&top, "slot", &slot) && slot.kind == JSON_STRING && !strcmp(slot.text, w->c->ref.slot) &&
	    json_member(&top, "version", &version) && version.is_int && version.integer <= w->c->ref.version)
		w->last = index;
	return 0;
}

static int copy_entry(void *arg, int64_t index, const char *text, size_t len)
{
	const struct log_walk *w = arg;
	return index <= w->last ? store_put_log(w->c->u, text, len, w->c->e) : 0;
}

static int copy_log(struct copying *c)
{
	struct log_walk w = {c, record_new(), -1};
	int failed = store_each_log(c->v, find_entry, &w, c->e) || store_each_log(c->v, copy_entry, &w, c->e);
	record_free(w.rec);
	return failed ? -1 : 0;
}

/* ---- all ---- */

static int copy_trained(struct copying *c)
{
	if (c->checkpoint)
		return store_each_checkpoint_ref(c->v, c->name, copy_member, c, c->e) < 0 ||
		       store_each_checkpoint_blob(c->v, c->name, copy_state, c, c->e) < 0;
	if (copy_slot(c, &c->ref, c->complete))
		return -1;
	return c->complete && (copy_named_slot(c, "value") || store_each_blob(c->v, "", "run/", copy_run, c, c->e));
}

static int copy_all(struct copying *c)
{
	char base[LORA_BASE_NAME];
	struct lora_config lora;
	int adapter = lora_of_slot(&lora, c->v, c->ref.slot, c->e);
	if (adapter > 0)
		lora_config_release(&lora);
	return adapter < 0 || copy_trained(c) || copy_named_slot(c, "ref") ||
	       (adapter && copy_snapshot(c, lora_base_name(base, c->ref.slot))) || copy_log(c);
}

int model_copy(struct store_view *v, const char *name, struct store *to, struct err *e)
{
	struct copying c = {.v = v, .name = name, .e = e};
	struct finding f;
	if (store_resolve(v, name, &c.ref, e))
		return -1;
	int checkpoint = store_each_checkpoint_ref(v, name, nothing, NULL, e);
	if (checkpoint < 0 || find(&c, c.ref.slot, &f))
		return -1;
	c.checkpoint = checkpoint;
	c.complete = c.checkpoint || (f.current && f.ref.version == c.ref.version);
	if (!(c.u = store_update_begin(to, e)))
		return -1;
	int failed = copy_all(&c);
	free(c.done);
	if (!failed)
		return store_update_commit(c.u, e);
	store_update_abort(c.u);
	return -1;
}
