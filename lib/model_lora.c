/* model_lora - see model_lora.h */
#include "lib/model_lora.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/model.h"
#include "lib/model_files.h"
#include "lib/record.h"
#include "lib/safetensors.h"
#include "lib/util.h"

enum { MAX_CONFIG = 1 << 20 };

static char *join(const char *dir, const char *file)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "%s/%s", dir, file);
	return str_detach(&s);
}

bool model_lora_is_dir(const char *dir)
{
	char *path = join(dir, "adapter_config.json");
	bool found = access(path, F_OK) == 0;
	free(path);
	return found;
}

/* ---- into a slot ---- */

/* An adapter that is on its way into the store. */
struct coming {
	struct model_info base; /* its table becomes the adapter's */
	struct store_ref base_ref, ref;
	bool there; /* the slot is an adapter already */
	char *config;
};

static void coming_release(struct coming *x)
{
	model_info_release(&x->base);
	free(x->config);
}

static int match_slot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct coming *x = arg;
	if (snapshot || strcmp(name, x->ref.slot))
		return 0;
	x->there = true;
	x->ref.version = ref->version;
	return 1;
}

/* Finds base and slot, and whether they can be what they are to be. */
static int coming_open(struct coming *x, struct store_view *v, const char *slot, const char *base, bool replace,
                       struct err *e)
{
	static const char *const taken[] = {"policy", "ref", "value"};
	*x = (struct coming){.ref.version = -1};
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (!strcmp(slot, taken[i]))
			return err_set(e,
			               "slot '%s' is for a whole model: give the adapter a name of its own, STORE:NAME",
			               slot);
	if (strlen(slot) > 48 || strchr(slot, '@'))
		return err_set(e, "'%s' cannot be the name of an adapter: at most 48 characters, no '@'", slot);
	snprintf(x->ref.slot, sizeof x->ref.slot, "%s", slot);
	if (store_each_name(v, match_slot, x, e) < 0 || (!x->there && model_check_new_slot(v, slot, e)))
		return -1;
	if (x->there && !replace)
		return err_set(e, "there is a slot '%s' already, at version %" PRId64 " (import has --replace)", slot,
		               x->ref.version);
	x->ref.version++;
	if (x->there ? lora_base(v, slot, &x->base_ref, e) : store_resolve(v, base, &x->base_ref, e))
		return -1;
	char at[96];
	snprintf(at, sizeof at, "%s@%" PRId64, x->base_ref.slot, x->base_ref.version);
	if (model_info_load(&x->base, v, at, false, e))
		return -1;
	if (x->base.lora)
		return err_set(e, "'%s' is an adapter itself, and cannot be the base of one", x->base_ref.slot);
	return x->base.arch.value_model
	               ? err_set(e, "'%s' is a critic, and cannot be the base of an adapter", x->base_ref.slot)
	               : model_info_table(&x->base, false, e);
}

static int put_log(struct store_update *u, const char *tool, const struct coming *x, const char *from, int64_t seed,
                   struct err *e)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "{\"tool\":\"rl-store %s\",\"slot\":", tool);
	json_put_str(&s, x->ref.slot, strlen(x->ref.slot));
	str_addf(&s, ",\"version\":%" PRId64 ",\"options\":{", x->ref.version);
	str_adds(&s, "\"base\":\"");
	str_addf(&s, "%s@%" PRId64 "\"", x->base_ref.slot, x->base_ref.version);
	if (from) {
		str_adds(&s, ",\"from\":");
		json_put_str(&s, from, strlen(from));
	} else {
		str_addf(&s, ",\"seed\":%" PRId64, seed);
	}
	str_adds(&s, "}}");
	int failed = store_put_log(u, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

/* tensor(arg, t, out): the elements of one of the adapter's tensors. */
static int coming_put(struct coming *x, struct store *s,
                      int (*tensor)(void *arg, const struct coming *x, int i, float *out, struct err *e), void *arg,
                      const char *tool, const char *from, int64_t seed, struct err *e)
{
	char name[LORA_BASE_NAME];
	const struct tensors *table = &x->base.table;
	struct store_update *u = store_update_begin(s, e);
	if (!u)
		return -1;
	int failed = 0;
	for (int i = 0; i < table->n && !failed; i++) {
		const struct tensor *t = &table->tensor[i];
		if (t->frozen)
			continue;
		float *data = xmalloc((size_t)t->count * sizeof *data);
		failed = tensor(arg, x, i, data, e) ||
		         store_put(u, x->ref.slot, x->ref.version, t->name, KN_F32, t->n_dims, t->shape, data, e);
		free(data);
	}
	if (!failed)
		failed = store_put_blob(u, x->ref.slot, "file/adapter_config.json", x->config, strlen(x->config), e) ||
		         store_put_blob(u, x->ref.slot, "trainer/step", "0", 1, e) ||
		         store_put_name(u, lora_base_name(name, x->ref.slot), &x->base_ref, e) ||
		         store_put_current(u, x->ref.slot, x->ref.version, e) || put_log(u, tool, x, from, seed, e);
	if (!failed)
		return store_update_commit(u, e);
	store_update_abort(u);
	return -1;
}

static int fill_tensor(void *arg, const struct coming *x, int i, float *out, struct err *e)
{
	(void)e;
	tensors_fill(&x->base.table, i, *(uint64_t *)arg, 0, x->base.table.tensor[i].count, out);
	return 0;
}

int model_lora_new(struct store *s, const char *slot, const struct lora_config *given, const char *base, uint64_t seed,
                   struct err *e)
{
	struct coming x;
	struct str text;
	struct lora_config c = *given;
	struct store_view *v = store_view_open(s, e);
	if (!v)
		return -1;
	int failed = coming_open(&x, v, slot, base, false, e);
	store_view_close(v);
	if (!failed) {
		str_init(&text);
		lora_config_targets(&c, &x.base.arch);
		lora_config_write(&c, &x.base.table, x.base.arch.transposed_file, &text);
		x.config = str_detach(&text);
		failed = lora_tensors(&x.base.table, &c, true, e) ||
		         coming_put(&x, s, fill_tensor, &seed, "lora", NULL, (int64_t)seed, e);
		lora_config_release(&c);
	}
	coming_release(&x);
	return failed ? -1 : 0;
}

/* ---- from a directory ---- */

/* Each tensor of the file is one of the table in its shape, and none is missing. */
static int check_file(const struct safetensors *f, const struct tensors *table, struct err *e)
{
	char have[TENSOR_SHAPE_TEXT], want[TENSOR_SHAPE_TEXT];
	for (int64_t j = 0; j < safetensors_count(f); j++) {
		int i = tensors_find(table, safetensors_at(f, j)->name);
		if (i < 0 || table->tensor[i].frozen)
			return err_set(e,
			               "%s: tensor '%s' is not part of the adapter as adapter_config.json describes it",
			               safetensors_path(f), safetensors_at(f, j)->name);
	}
	for (int i = 0; i < table->n; i++) {
		const struct tensor *t = &table->tensor[i];
		const struct safetensor *x = t->frozen ? NULL : safetensors_find(f, t->name);
		if (t->frozen)
			continue;
		tensor_shape_text(want, 2, t->shape);
		if (!x)
			return err_set(e, "%s: tensor '%s' %s is missing", safetensors_path(f), t->name, want);
		if (x->n_dims != 2 || x->shape[0] != t->shape[0] || x->shape[1] != t->shape[1])
			return err_set(e, "%s: tensor '%s' is %s, expected %s", safetensors_path(f), t->name,
			               tensor_shape_text(have, x->n_dims, x->shape), want);
		if (x->dtype != ST_F32 && x->dtype != ST_F16 && x->dtype != ST_BF16)
			return err_set(e, "%s: tensor '%s' has dtype %s; known are F32, F16, BF16", safetensors_path(f),
			               t->name, safetensors_dtype_name(x->dtype));
	}
	return 0;
}

static int read_tensor(void *arg, const struct coming *x, int i, float *out, struct err *e)
{
	const struct safetensors *f = arg;
	const struct tensor *t = &x->base.table.tensor[i];
	return safetensors_floats(f, safetensors_find(f, t->name), 0, t->count, out, e);
}

static int read_config(struct lora_config *c, const char *dir, char **text, struct err *e)
{
	size_t len;
	char *path = join(dir, "adapter_config.json");
	*c = (struct lora_config){0};
	int got = model_read_file(path, MAX_CONFIG, text, &len, e);
	if (got == 0)
		err_set(e, "%s: there is no such file", path);
	else if (got > 0 && lora_config_read(c, *text, len, e))
		got = err_where(e, "%s", dir);
	free(path);
	return got > 0 ? 0 : -1;
}

/* A later version has the shape of those before, so that the slot stays one adapter. */
static int same_config(const struct lora_config *c, struct store_view *v, const struct coming *x, struct err *e)
{
	struct lora_config old;
	struct tensors mine = {0}, theirs = {0};
	int found = x->there ? lora_of_slot(&old, v, x->ref.slot, e) : 0;
	if (found <= 0)
		return x->there ? (found ? -1 : err_set(e, "slot '%s' is no adapter", x->ref.slot)) : 0;
	int failed = tensors_init(&mine, &x->base.arch, false, e) || lora_tensors(&mine, c, false, e) ||
	             tensors_init(&theirs, &x->base.arch, false, e) || lora_tensors(&theirs, &old, false, e);
	bool same = !failed && mine.n == theirs.n && mine.lora_scale == theirs.lora_scale;
	for (int i = 0; same && i < mine.n; i++)
		same = mine.tensor[i].count == theirs.tensor[i].count &&
		       !strcmp(mine.tensor[i].name, theirs.tensor[i].name);
	if (!failed && !same)
		failed =
		        err_set(e, "slot '%s' is an adapter of another rank, alpha or choice of matrices", x->ref.slot);
	tensors_release(&mine);
	tensors_release(&theirs);
	lora_config_release(&old);
	return failed ? -1 : 0;
}

int model_lora_import(struct store *s, const char *dir, const char *slot, const char *base, bool replace, struct err *e)
{
	struct coming x = {0};
	struct lora_config c;
	struct safetensors *f = NULL;
	char *config = NULL, *path = join(dir, "adapter_model.safetensors");
	struct store_view *v = store_view_open(s, e);
	int failed = !v || read_config(&c, dir, &config, e) || coming_open(&x, v, slot, base, replace, e) ||
	             same_config(&c, v, &x, e);
	store_view_close(v);
	if (!failed)
		failed = lora_tensors(&x.base.table, &c, false, e) || !(f = safetensors_open(path, e)) ||
		         check_file(f, &x.base.table, e);
	if (!failed) {
		x.config = config;
		config = NULL;
		failed = coming_put(&x, s, read_tensor, f, "import", dir, 0, e);
	}
	safetensors_close(f);
	lora_config_release(&c);
	coming_release(&x);
	free(config);
	free(path);
	return failed ? -1 : 0;
}

/* ---- to a directory ---- */

static int put_pair_tensor(struct safetensors_writer *w, const struct tensor *t, struct store_view *v,
                           const struct store_ref *ref, struct err *e)
{
	struct store_tensor s;
	int got = store_get(v, ref, t->name, &s, e);
	if (got <= 0)
		return got ? -1 : err_set(e, "%s@%" PRId64 " has no tensor '%s'", ref->slot, ref->version, t->name);
	if (store_check(v, ref, t->name, e))
		return -1;
	if (s.dtype != KN_F32 || s.n_dims != 2 || s.shape[0] != t->shape[0] || s.shape[1] != t->shape[1])
		return err_set(e, "tensor '%s' of %s@%" PRId64 " is not the float32 that adapter_config.json describes",
		               t->name, ref->slot, ref->version);
	for (int b = 0; b < s.n_blocks; b++)
		if (safetensors_put(w, s.blocks[b].data, s.blocks[b].rows * t->cols, e))
			return -1;
	return 0;
}

int model_lora_export(struct store_view *v, const struct store_ref *ref, const char *dir, const char *dtype, bool force,
                      struct err *e)
{
	struct model_info m;
	const void *config;
	size_t len;
	int64_t n = 0;
	if (model_info_load(&m, v, ref->slot, false, e))
		return -1;
	struct safetensor *list = xcalloc((size_t)m.table.n, sizeof *list);
	for (int i = 0; i < m.table.n; i++) {
		const struct tensor *t = &m.table.tensor[i];
		if (t->role != TENSOR_LORA_A && t->role != TENSOR_LORA_B)
			continue;
		struct safetensor *x = &list[n++];
		*x = (struct safetensor){.name = t->name, .n_dims = 2, .dtype = ST_F32};
		if (dtype)
			(void)safetensors_dtype_of(dtype, strlen(dtype), &x->dtype);
		memcpy(x->shape, t->shape, sizeof t->shape);
	}
	char *path = join(dir, "adapter_model.safetensors");
	int failed = model_make_dir(dir, force, e) ||
	             store_get_blob(v, ref->slot, "file/adapter_config.json", &config, &len, e) <= 0 ||
	             model_write_file(dir, "adapter_config.json", config, len, e);
	struct safetensors_writer *w = failed ? NULL : safetensors_begin(path, list, n, e);
	for (int64_t i = 0; w && i < n && !failed; i++)
		failed = put_pair_tensor(w, &m.table.tensor[tensors_find(&m.table, list[i].name)], v, ref, e);
	if (w && failed)
		safetensors_abandon(w);
	else if (w)
		failed = safetensors_finish(w, e);
	failed = failed || !w;
	free(path);
	free(list);
	model_info_release(&m);
	return failed ? -1 : 0;
}

/* ---- merged ---- */

struct merging {
	const struct model_info *m;
	struct store_view *v;
	const struct store_ref *ref;
	struct store_update *u;
	struct kernels *k;
	struct err *e;
};

static int read_floats(const struct merging *g, int i, float *out)
{
	const struct tensor *t = &g->m->table.tensor[i];
	const struct store_ref *ref = t->frozen ? &g->m->base : g->ref;
	int got = weights_read(g->k, out, t, t->name, g->v, ref, g->e);
	/* else what is damaged would get a checksum of its own */
	if (got > 0)
		return store_check(g->v, ref, t->name, g->e);
	return got ? -1 : err_set(g->e, "tensor '%s' is missing", t->name);
}

static int merge_one(const struct merging *g, int i)
{
	const struct tensor *t = &g->m->table.tensor[i];
	float *w = xmalloc((size_t)t->count * sizeof *w), *a = NULL, *b = NULL;
	int failed = read_floats(g, i, w);
	if (!failed && t->lora >= 0) {
		const struct tensor *ta = &g->m->table.tensor[t->lora], *tb = ta + 1;
		a = xmalloc((size_t)ta->count * sizeof *a);
		b = xmalloc((size_t)tb->count * sizeof *b);
		failed = read_floats(g, t->lora, a) || read_floats(g, t->lora + 1, b);
		if (!failed)
			lora_merge(w, a, b, t->rows, t->cols, ta->rows, g->m->table.lora_scale);
	}
	if (!failed)
		failed = store_put(g->u, "policy", 0, t->name, KN_F32, t->n_dims, t->shape, w, g->e);
	free(w);
	free(a);
	free(b);
	return failed ? -1 : 0;
}

static int copy_blob(void *arg, const char *key, const void *data, size_t len)
{
	struct merging *g = arg;
	return store_put_blob(g->u, "policy", key, data, len, g->e);
}

static int merged_log(const struct merging *g)
{
	struct str s;
	str_init(&s);
	str_adds(&s, "{\"tool\":\"rl-store merge\",\"slot\":\"policy\",\"version\":0,\"options\":{\"from\":");
	json_put_str(&s, g->ref->slot, strlen(g->ref->slot));
	str_addf(&s, ",\"from_version\":%" PRId64 ",\"base\":\"%s@%" PRId64 "\"}}", g->ref->version, g->m->base.slot,
	         g->m->base.version);
	int failed = store_put_log(g->u, s.buf, s.len, g->e);
	str_release(&s);
	return failed;
}

int model_lora_merge(struct store_view *v, const struct store_ref *ref, struct store *to, struct err *e)
{
	struct model_info m;
	if (model_info_load(&m, v, ref->slot, false, e))
		return -1;
	struct merging g = {.m = &m, .v = v, .ref = ref, .k = kernels_ref(NULL), .e = e};
	int failed = m.lora ? 0 : err_set(e, "'%s' is no adapter", ref->slot);
	if (!failed && !(g.u = store_update_begin(to, e)))
		failed = -1;
	for (int i = 0; i < m.table.n && !failed; i++)
		if (m.table.tensor[i].frozen)
			failed = merge_one(&g, i);
	if (!failed)
		failed = store_each_blob(v, m.base.slot, "file/", copy_blob, &g, e) ||
		         store_each_blob(v, m.base.slot, "meta/", copy_blob, &g, e) ||
		         store_put_current(g.u, "policy", 0, e) || merged_log(&g);
	kernels_free(g.k);
	model_info_release(&m);
	if (!failed)
		return store_update_commit(g.u, e);
	if (g.u)
		store_update_abort(g.u);
	return -1;
}
