/* tokenizer_store - the tokenizer that a store keeps with a model. */
#include "lib/tokenizer_store.h"

#include <stdlib.h>
#include <string.h>

/* 1, 0 when the slot has none, -1. */
static int load(struct store_view *v, const char *slot, struct tokenizer **t, struct err *e)
{
	const void *text, *merges;
	size_t len, merges_len;
	int found = store_get_blob(v, slot, "file/tokenizer.json", &text, &len, e);

	if (found == 1) {
		*t = tokenizer_from_json(text, len, "tokenizer.json", e);
		return *t ? 1 : -1;
	}
	if (found == 0)
		found = store_get_blob(v, slot, "file/vocab.json", &text, &len, e);
	if (found == 1)
		found = store_get_blob(v, slot, "file/merges.txt", &merges, &merges_len, e);
	if (found <= 0)
		return found;
	*t = tokenizer_from_vocab(text, len, merges, merges_len, "vocab.json", e);
	return *t ? 1 : -1;
}

int tokenizer_of_slot(struct store_view *v, const char *slot, struct tokenizer **t, struct err *e)
{
	int found;

	*t = NULL;
	found = load(v, slot, t, e);
	if (found == 0 && strcmp(slot, "policy"))
		found = load(v, "policy", t, e);
	return found;
}

static struct tokenizer *find(struct store_view *v, const char *name, struct err *e)
{
	struct tokenizer *t = NULL;
	struct store_ref ref;

	if (store_resolve(v, name, &ref, e))
		return NULL;
	if (tokenizer_of_slot(v, ref.slot, &t, e) == 0)
		err_set(e, "slot '%s' has no tokenizer: it works on ids alone", ref.slot);
	return t;
}

struct tokenizer *tokenizer_from_store(const char *spec, struct err *e)
{
	struct tokenizer *t = NULL;
	struct store_view *v;
	struct store *s;
	char *path, *name;

	store_split(spec, &path, &name);
	s = store_open(path, STORE_READ, e);
	v = s ? store_view_open(s, e) : NULL;
	if (v) {
		t = find(v, name, e);
		if (!t)
			err_where(e, "%s", path);
	}
	store_view_close(v);
	store_close(s);
	free(path);
	free(name);
	return t;
}
