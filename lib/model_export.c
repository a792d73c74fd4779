/* model_export - a version of the store as a Hugging Face directory; see model_files.h */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/model_files.h"
#include "lib/record.h"
#include "lib/safetensors.h"
#include "lib/stream.h"
#include "lib/tensors.h"
#include "lib/util.h"

/* ---- the directory ---- */

int model_make_dir(const char *dir, bool force, struct err *e)
{
	if (!mkdir(dir, 0777))
		return 0;
	if (errno != EEXIST)
		return err_errno(e, "cannot make '%s'", dir);
	DIR *d = opendir(dir);
	if (!d)
		return err_errno(e, "%s", dir);
	int failed = 0;
	for (struct dirent *f; !failed && (f = readdir(d));) {
		if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, ".."))
			continue;
		if (!force)
			failed = err_set(e, "'%s' is not empty (--force writes into it)", dir);
		else if (!strcmp(f->d_name, "model.safetensors.index.json"))
			failed = err_set(
			        e, "'%s' holds a model in shards, which others would read in place of this one", dir);
	}
	closedir(d);
	return failed;
}

int model_write_file(const char *dir, const char *name, const void *data, size_t len, struct err *e)
{
	struct str path;
	str_init(&path);
	str_addf(&path, "%s/%s", dir, name);
	struct sink *out = sink_open_file(path.buf, false, e);
	str_release(&path);
	if (!out)
		return -1;
	if (sink_write(out, data, len, e)) {
		sink_abandon(out);
		return -1;
	}
	return sink_close(out, e);
}

/* ---- config.json, and the small files ---- */

/* The same object with its dtype replaced, for an export in another one. */
static int set_dtype(const char *config, size_t len, const char *dtype, struct str *out, struct err *e)
{
	const char *word = !strcmp(dtype, "F32") ? "float32" : !strcmp(dtype, "F16") ? "float16" : "bfloat16";
	struct record *r = record_new();
	const char *name;
	size_t name_len;
	struct json v;
	int failed = record_parse(r, config, len, e);
	bool old = !failed && record_has(r, "torch_dtype");
	str_addc(out, '{');
	for (int64_t i = 0; !failed && record_field(r, i, &name, &name_len, &v); i++) {
		if ((name_len == 5 && !memcmp(name, "dtype", 5)) ||
		    (name_len == 11 && !memcmp(name, "torch_dtype", 11)))
			continue;
		str_adds(out, "\n  ");
		json_put_str(out, name, name_len);
		str_adds(out, ": ");
		json_text(&v, out);
		str_addc(out, ',');
	}
	str_addf(out, "\n  \"%s\": \"%s\"\n}\n", old ? "torch_dtype" : "dtype", word);
	record_free(r);
	return failed;
}

struct small {
	const char *dir, *dtype;
	struct err *e;
};

static int write_blob(void *arg, const char *key, const void *data, size_t len)
{
	struct small *x = arg;
	const char *name = key + strlen("file/");
	bool known = !strcmp(name, "config.json");
	for (int i = 0; model_small_files[i]; i++)
		known = known || !strcmp(name, model_small_files[i]);
	if (!known)
		return err_set(x->e, "the store has a file '%s', which is not one of a model", name);
	if (strcmp(name, "config.json") || !x->dtype)
		return model_write_file(x->dir, name, data, len, x->e);
	struct str s;
	str_init(&s);
	int failed = set_dtype(data, len, x->dtype, &s, x->e);
	if (!failed)
		failed = model_write_file(x->dir, name, s.buf, s.len, x->e);
	str_release(&s);
	return failed;
}

/* ---- dtypes ---- */

/* The dtype of a tensor by the text of "meta/dtype" (terminated). */
static enum safetensors_dtype dtype_of(const char *meta, const char *name)
{
	enum safetensors_dtype d = ST_F32;
	size_t first = strcspn(meta, "\n"), n = strlen(name);
	(void)safetensors_dtype_of(meta, first, &d);
	for (const char *line = meta + first; *line; line += strcspn(line, "\n")) {
		line += *line == '\n';
		if (!strncmp(line, name, n) && line[n] == ' ') {
			(void)safetensors_dtype_of(line + n + 1, strcspn(line + n + 1, "\n"), &d);
			return d;
		}
	}
	return d;
}

static int load_meta(struct store_view *v, const char *slot, char **meta, struct err *e)
{
	const void *data;
	size_t len;
	int got = store_get_blob(v, slot, "meta/dtype", &data, &len, e);
	*meta = got > 0 ? xstrndup(data, len) : xstrdup("");
	return got < 0 ? -1 : 0;
}

/* ---- tensors ---- */

static int put_tensor(struct safetensors_writer *w, const struct tensor *t, struct store_view *v,
                      const struct store_ref *ref, struct err *e)
{
	struct store_tensor s;
	int64_t row = 0, count = 1;
	int got = store_get(v, ref, t->name, &s, e);
	if (got > 0 && store_check(v, ref, t->name, e))
		return -1;
	if (got <= 0)
		return got ? -1 : err_set(e, "%s@%lld has no tensor '%s'", ref->slot, (long long)ref->version, t->name);
	for (int i = 0; i < s.n_dims; i++)
		count *= s.shape[i];
	if (s.dtype != KN_F32 || s.n_dims != t->n_dims || count != t->count || s.shape[0] != t->shape[0])
		return err_set(e, "tensor '%s' of %s@%lld is not the float32 that config.json describes", t->name,
		               ref->slot, (long long)ref->version);
	if (!t->transposed) {
		for (int b = 0; b < s.n_blocks; b++)
			if (safetensors_put(w, s.blocks[b].data, s.blocks[b].rows * t->cols, e))
				return -1;
		return 0;
	}
	float *x = xmalloc((size_t)t->count * sizeof *x), *y = xmalloc((size_t)t->count * sizeof *y);
	for (int b = 0; b < s.n_blocks; row += s.blocks[b++].rows)
		memcpy(x + row * t->cols, s.blocks[b].data, (size_t)(s.blocks[b].rows * t->cols) * sizeof *x);
	tensor_transpose(y, x, t->rows, t->cols);
	int failed = safetensors_put(w, y, t->count, e);
	free(x);
	free(y);
	return failed;
}

static int write_weights(const char *path, const struct arch *a, const struct tensors *table, const char *meta,
                         const char *dtype, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	struct safetensor *list = xcalloc((size_t)table->n, sizeof *list);
	int64_t n = 0;
	for (int i = 0; i < table->n; i++) {
		const struct tensor *t = &table->tensor[i];
		if (t->role == TENSOR_VALUE && !a->value_model)
			continue;
		struct safetensor *x = &list[n++];
		*x = (struct safetensor){.name = t->name, .n_dims = t->n_dims, .dtype = dtype_of(meta, t->name)};
		if (dtype)
			(void)safetensors_dtype_of(dtype, strlen(dtype), &x->dtype);
		x->shape[0] = t->shape[t->transposed];
		x->shape[1] = t->shape[!t->transposed];
	}
	struct safetensors_writer *w = safetensors_begin(path, list, n, e);
	int failed = w ? 0 : -1;
	for (int64_t i = 0; i < n && !failed; i++)
		failed = put_tensor(w, &table->tensor[tensors_find(table, list[i].name)], v, ref, e);
	if (failed)
		safetensors_abandon(w);
	else
		failed = safetensors_finish(w, e);
	free(list);
	return failed;
}

int model_export(struct store_view *v, const struct store_ref *ref, const char *dir, const char *dtype, bool force,
                 struct err *e)
{
	const void *config;
	size_t len;
	struct arch a;
	struct tensors table;
	struct str path;
	char *meta;
	int got = store_get_blob(v, ref->slot, "file/config.json", &config, &len, e);
	if (got <= 0)
		return got ? -1 : err_set(e, "slot '%s' has no config.json", ref->slot);
	if (arch_from_config(&a, config, len, e))
		return err_where(e, "config.json");
	if (load_meta(v, ref->slot, &meta, e) || tensors_init(&table, &a, false, e)) {
		free(meta);
		return -1;
	}
	str_init(&path);
	str_addf(&path, "%s/model.safetensors", dir);
	struct small x = {dir, dtype, e};
	int failed = model_make_dir(dir, force, e) || write_weights(path.buf, &a, &table, meta, dtype, v, ref, e) ||
	             store_each_blob(v, ref->slot, "file/", write_blob, &x, e);
	str_release(&path);
	tensors_release(&table);
	free(meta);
	return failed ? -1 : 0;
}
