/* store_checkpoint - snapshots, and those that training can go on from, read; see store.h.  The latter are written in
 * store_write.c. */
#include <stdio.h>
#include <string.h>

#include "lib/store_internal.h"
#include "lib/str.h"

int store_checkpoint_refs(const struct store *s, const void *data, size_t len,
                          int (*fn)(void *arg, const struct store_ref *ref), void *arg, struct err *e)
{
	for (const char *p = data, *end = p + len, *newline; p < end; p = newline + 1) {
		struct store_ref ref;
		newline = memchr(p, '\n', (size_t)(end - p));
		if (!newline || !store_parse_ref(p, (size_t)(newline - p), &ref))
			return err_set(e, "'%s': a list of versions in it is damaged", s->path);
		int result = fn(arg, &ref);
		if (result)
			return result;
	}
	return 1;
}

static void key_of(struct str *key, const char *name)
{
	str_init(key);
	str_addf(key, STORE_CHECKPOINT "%s@", name);
}

int store_each_checkpoint_ref(struct store_view *v, const char *name, int (*fn)(void *arg, const struct store_ref *ref),
                              void *arg, struct err *e)
{
	struct str key;
	const void *data;
	size_t len;
	key_of(&key, name);
	str_adds(&key, "slots");
	/* what can be no name is no checkpoint either */
	int got = strpbrk(name, "@:") ? 0 : store_get_blob(v, "", key.buf, &data, &len, e);
	str_release(&key);
	return got > 0 ? store_checkpoint_refs(v->s, data, len, fn, arg, e) : got;
}

struct each_copy {
	int (*fn)(void *arg, const char *slot, const char *key, const void *data, size_t len);
	void *arg;
	size_t prefix;
};

static int call_copy(void *arg, const char *key, const void *data, size_t len)
{
	const struct each_copy *x = arg;
	char slot[STORE_MAX_SLOT + 1];
	const char *rest = key + x->prefix, *slash = strchr(rest, '/');
	if (!slash || slash - rest > STORE_MAX_SLOT)
		return 0; /* the list of versions */
	snprintf(slot, sizeof slot, "%.*s", (int)(slash - rest), rest);
	return x->fn(x->arg, slot, slash + 1, data, len);
}

int store_each_checkpoint_blob(struct store_view *v, const char *name,
                               int (*fn)(void *arg, const char *slot, const char *key, const void *data, size_t len),
                               void *arg, struct err *e)
{
	struct str key;
	key_of(&key, name);
	struct each_copy x = {fn, arg, key.len};
	int result = store_each_blob(v, "", key.buf, call_copy, &x, e);
	str_release(&key);
	return result ? result : 1;
}

static int is_slot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)ref;
	return !snapshot && !strcmp(name, arg);
}

/* STORE:NAME would go on to mean the slot. */
static int not_a_slot(struct store_view *v, const char *name, struct err *e)
{
	int found = store_each_name(v, is_slot, (void *)name, e);
	return found > 0 ? err_set(e, "'%s' is the name of a slot, and cannot be that of a snapshot", name) : found;
}

int store_snapshot(struct store *s, const char *from, const char *name, struct err *e)
{
	struct store_ref ref;
	struct store_view *v = store_view_open(s, e);
	int failed = !v || (from && not_a_slot(v, name, e)) || store_resolve(v, from ? from : name, &ref, e);
	store_view_close(v);
	struct store_update *u = failed ? NULL : store_update_begin(s, e);
	if (!u)
		return -1;
	failed = from ? store_put_name(u, name, &ref, e) : store_delete_name(u, name, e);
	if (!failed)
		return store_update_commit(u, e);
	store_update_abort(u);
	return -1;
}
