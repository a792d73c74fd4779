/* model_info - what a slot's files say; see model.h */
#include <stdlib.h>
#include <string.h>

#include "lib/model.h"
#include "lib/record.h"
#include "lib/tokenizer_store.h"
#include "lib/util.h"

static void add_eos(struct model_info *m, int64_t id)
{
	if (id < 0 || id >= m->arch.V || model_is_eos(m, (int32_t)id))
		return;
	m->eos = xrealloc_array(m->eos, (size_t)m->n_eos + 1, sizeof *m->eos);
	m->eos[m->n_eos++] = (int32_t)id;
}

static int add_eos_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)i;
	(void)key;
	(void)key_len;
	if (item->kind == JSON_NUMBER && item->is_int)
		add_eos(arg, item->integer);
	return 0;
}

/* generation_config.json: a number or a list of them. */
static void eos_of_generation(struct model_info *m, const struct record *r)
{
	struct json v;
	struct err e;
	if (record_json(r, "eos_token_id", &v, &e) < 0)
		return;
	if (v.kind == JSON_ARRAY)
		json_each(&v, add_eos_item, m);
	else
		add_eos_item(m, 0, NULL, 0, &v);
}

/* tokenizer_config.json, special_tokens_map.json: a token's text, or an object that has it as content. */
static void eos_of_tokens(struct model_info *m, const struct record *r)
{
	struct json v, content;
	struct err e;
	if (!m->tokenizer || record_json(r, "eos_token", &v, &e) < 0)
		return;
	if (v.kind == JSON_OBJECT && json_member(&v, "content", &content))
		v = content;
	if (v.kind == JSON_STRING)
		add_eos(m, tokenizer_id(m->tokenizer, v.text, v.len));
}

static int load_eos(struct model_info *m, struct store_view *v, const char *slot, struct err *e)
{
	static const struct {
		const char *key;
		void (*take)(struct model_info *m, const struct record *r);
	} file[] = {{"file/generation_config.json", eos_of_generation},
	            {"file/tokenizer_config.json", eos_of_tokens},
	            {"file/special_tokens_map.json", eos_of_tokens}};
	struct record *r = record_new();
	int rc = 0;
	for (int i = 0; i < m->arch.n_eos; i++)
		add_eos(m, m->arch.eos[i]);
	for (size_t i = 0; i < ARRAY_LEN(file) && rc == 0; i++) {
		const void *data;
		size_t len;
		int found = store_get_blob(v, slot, file[i].key, &data, &len, e);
		if (found > 0 && record_parse(r, data, len, e))
			found = err_where(e, "%s", file[i].key);
		if (found > 0)
			file[i].take(m, r);
		rc = found < 0 ? -1 : 0;
	}
	record_free(r);
	return rc;
}

int model_info_table(struct model_info *m, bool with_value, struct err *e)
{
	tensors_release(&m->table);
	if (tensors_init(&m->table, &m->arch, with_value, e))
		return -1;
	return m->lora ? lora_tensors(&m->table, m->lora, false, e) : 0;
}

/* Whose files say what the model is: the slot's own, or those of an adapter's base. */
static int find_files(struct model_info *m, struct store_view *v, const char *slot, const char **files, struct err *e)
{
	struct lora_config c;
	int found = lora_of_slot(&c, v, slot, e);
	*files = slot;
	if (found <= 0)
		return found;
	m->lora = xmalloc(sizeof c);
	*m->lora = c;
	*files = m->base.slot;
	return lora_base(v, slot, &m->base, e);
}

static int load_table(struct model_info *m, struct store_view *v, const struct store_ref *ref, const char *files,
                      struct err *e)
{
	const void *config;
	size_t len;
	struct store_tensor score;
	int found = store_get_blob(v, files, "file/config.json", &config, &len, e);
	if (found <= 0)
		return found ? -1 : err_set(e, "slot '%s' has no config.json", files);
	if (arch_from_config(&m->arch, config, len, e))
		return err_where(e, "config.json");
	found = store_get(v, ref, "score.weight", &score, e);
	return found < 0 ? -1 : model_info_table(m, found > 0, e);
}

int model_info_load(struct model_info *m, struct store_view *v, const char *slot, bool with_tokenizer, struct err *e)
{
	struct store_ref ref;
	const char *files;
	*m = (struct model_info){.bos = -1};
	if (store_resolve(v, slot, &ref, e))
		return -1;
	if (find_files(m, v, ref.slot, &files, e) || load_table(m, v, &ref, files, e) ||
	    (with_tokenizer && tokenizer_of_slot(v, files, &m->tokenizer, e) < 0) || load_eos(m, v, files, e)) {
		model_info_release(m);
		return -1;
	}
	m->bos = m->arch.bos < m->arch.V ? m->arch.bos : -1;
	return 0;
}
