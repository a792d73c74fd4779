/* model_import - Hugging Face directories and new models into the store; see model_files.h */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/model_files.h"
#include "lib/record.h"
#include "lib/safetensors.h"
#include "lib/tensors.h"
#include "lib/tokenizer.h"
#include "lib/util.h"

#define MAX_SMALL ((size_t)256 << 20)
#define MAX_SHARDS 1000

const char *const model_small_files[] = {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "generation_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "tokenizer.model",
        NULL,
};

/* Where a tensor of the table comes from. */
struct origin {
	const struct safetensors *file;
	const struct safetensor *t; /* NULL: not seen yet */
};

struct model_dir {
	char *dir;
	char *config;
	size_t config_len;
	struct arch arch;
	struct tensors table;
	struct safetensors **file;
	int64_t n_files;
	struct origin *origin;
};

/* ---- small files ---- */

int model_read_file(const char *path, size_t most, char **data, size_t *len, struct err *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, "%s", path);
	int failed = fstat(fd, &st) ? err_errno(e, "%s", path) : 0;
	if (!failed && !S_ISREG(st.st_mode))
		failed = err_set(e, "%s: not a file", path);
	if (!failed && (uint64_t)st.st_size > most)
		failed = err_set(e, "%s: %lld bytes, at most %zu", path, (long long)st.st_size, most);
	if (!failed) {
		*len = 0;
		*data = xmalloc((size_t)st.st_size + 1);
		ssize_t n;
		while (*len < (size_t)st.st_size && (n = read(fd, *data + *len, (size_t)st.st_size - *len)) != 0) {
			if (n > 0)
				*len += (size_t)n;
			else if (errno != EINTR)
				break;
		}
		(*data)[*len] = 0;
		if (*len < (size_t)st.st_size) {
			failed = err_set(e, "%s: cannot be read whole", path);
			free(*data);
		}
	}
	close(fd);
	return failed ? -1 : 1;
}

static char *join(const char *dir, const char *name)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "%s/%s", dir, name);
	return str_detach(&s);
}

static int read_in(const char *dir, const char *name, size_t most, char **data, size_t *len, struct err *e)
{
	char *path = join(dir, name);
	int got = model_read_file(path, most, data, len, e);
	free(path);
	return got;
}

/* ---- which files hold the weights ---- */

static int add_file(struct model_dir *d, const char *name, struct err *e)
{
	char *path = join(d->dir, name);
	struct safetensors *s = safetensors_open(path, e);
	free(path);
	if (!s)
		return -1;
	d->file = xrealloc_array(d->file, (size_t)d->n_files + 1, sizeof *d->file);
	d->file[d->n_files++] = s;
	return 0;
}

struct shards {
	struct model_dir *d;
	char **name; /* of file i */
	struct err *e;
};

/* A shard's name comes from a file of somebody else's: it must not lead out of the directory. */
static bool name_ok(const char *s, size_t len)
{
	return len > 12 && len < 200 && s[0] != '.' && !memchr(s, '/', len) && !memchr(s, 0, len) &&
	       !memcmp(s + len - 12, ".safetensors", 12);
}

static int take_shard(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct shards *x = arg;
	int64_t f = 0;
	(void)i;
	if (v->kind != JSON_STRING || !name_ok(v->text, v->len))
		return err_set(x->e, "%s/model.safetensors.index.json: '%.*s' cannot be the name of a shard", x->d->dir,
		               v->kind == JSON_STRING ? (int)(v->len < 100 ? v->len : 100) : 0, v->text);
	while (f < x->d->n_files && (strlen(x->name[f]) != v->len || memcmp(x->name[f], v->text, v->len)))
		f++;
	if (f == x->d->n_files) {
		if (f == MAX_SHARDS)
			return err_set(x->e, "%s: more than %d shards", x->d->dir, MAX_SHARDS);
		x->name = xrealloc_array(x->name, (size_t)f + 1, sizeof *x->name);
		char *name = xstrndup(v->text, v->len);
		if (add_file(x->d, name, x->e)) {
			free(name);
			return -1;
		}
		x->name[f] = name;
	}
	char *tensor = xstrndup(key, key_len);
	const struct safetensor *found = safetensors_find(x->d->file[f], tensor);
	if (!found)
		err_set(x->e, "%s: tensor '%s' is missing, which the index says is there",
		        safetensors_path(x->d->file[f]), tensor);
	free(tensor);
	return found ? 0 : -1;
}

static int open_shards(struct model_dir *d, const char *text, size_t len, struct err *e)
{
	struct record *r = record_new();
	struct json top, map;
	struct shards x = {.d = d, .e = e};
	int failed = record_parse_value(r, text, len, &top, e);
	if (failed)
		err_where(e, "%s/model.safetensors.index.json", d->dir);
	else if (top.kind != JSON_OBJECT || !json_member(&top, "weight_map", &map) || map.kind != JSON_OBJECT)
		failed = err_set(e, "%s/model.safetensors.index.json: 'weight_map' is missing", d->dir);
	if (!failed)
		failed = json_each(&map, take_shard, &x);
	for (int64_t i = 0; i < d->n_files; i++)
		free(x.name ? x.name[i] : NULL);
	free(x.name);
	record_free(r);
	return failed;
}

static bool present(const struct model_dir *d, const char *name)
{
	char *path = join(d->dir, name);
	bool is = !access(path, F_OK);
	free(path);
	return is;
}

static int open_files(struct model_dir *d, struct err *e)
{
	char *text;
	size_t len;
	if (present(d, "model.safetensors"))
		return add_file(d, "model.safetensors", e);
	int got = read_in(d->dir, "model.safetensors.index.json", MAX_SMALL, &text, &len, e);
	if (got > 0) {
		got = open_shards(d, text, len, e);
		free(text);
		return got;
	}
	if (got < 0)
		return -1;
	if (present(d, "pytorch_model.bin"))
		return err_set(
		        e,
		        "%s: has pytorch_model.bin and no model.safetensors; pickles can run code and are not read "
		        "(transformers writes safetensors by save_pretrained)",
		        d->dir);
	return err_set(e, "%s: has no model.safetensors", d->dir);
}

/* ---- which tensor is which ---- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

/* What files carry that is no weight of ours. */
static bool ignored(const struct model_dir *d, const char *name)
{
	const char *s = strncmp(name, "transformer.", 12) ? name : name + 12;
	if (!strcmp(name, "lm_head.weight"))
		return tensors_part(&d->table, -1, PART_HEAD) < 0;
	if (ends_with(name, ".rotary_emb.inv_freq"))
		return true;
	return !strncmp(s, "h.", 2) && (ends_with(s, ".attn.bias") || ends_with(s, ".attn.masked_bias"));
}

static int find_tensor(const struct model_dir *d, const char *name)
{
	char full[128];
	int i = tensors_find(&d->table, name);
	if (i >= 0)
		return i;
	const char *first = strcmp(d->arch.model_type, "gpt2") ? "model." : "transformer.";
	snprintf(full, sizeof full, "%s%.100s", first, name);
	return tensors_find(&d->table, full);
}

static int check_shape(const struct model_dir *d, const struct safetensors *s, const struct safetensor *f,
                       const struct tensor *t, struct err *e)
{
	int64_t want[2] = {t->shape[t->transposed], t->shape[!t->transposed]};
	char have_text[TENSOR_SHAPE_TEXT], want_text[TENSOR_SHAPE_TEXT];
	(void)d;
	if (f->n_dims != t->n_dims || f->shape[0] != want[0] || (t->n_dims == 2 && f->shape[1] != want[1]))
		return err_set(e, "%s: tensor '%s' is %s, expected %s", safetensors_path(s), f->name,
		               tensor_shape_text(have_text, f->n_dims, f->shape),
		               tensor_shape_text(want_text, t->n_dims, want));
	if (f->dtype != ST_F32 && f->dtype != ST_F16 && f->dtype != ST_BF16)
		return err_set(e, "%s: tensor '%s' has dtype %s; known are F32, F16, BF16", safetensors_path(s),
		               f->name, safetensors_dtype_name(f->dtype));
	return 0;
}

static int match_tensors(struct model_dir *d, struct err *e)
{
	for (int64_t k = 0; k < d->n_files; k++)
		for (int64_t j = 0; j < safetensors_count(d->file[k]); j++) {
			const struct safetensor *f = safetensors_at(d->file[k], j);
			int i = find_tensor(d, f->name);
			if (i < 0 && ignored(d, f->name))
				continue;
			if (i < 0)
				return err_set(e,
				               "%s: tensor '%s' is not part of a %s model as config.json describes it",
				               safetensors_path(d->file[k]), f->name, d->arch.model_type);
			if (d->origin[i].t)
				return err_set(e, "%s: tensor '%s' is there twice", safetensors_path(d->file[k]),
				               d->table.tensor[i].name);
			if (check_shape(d, d->file[k], f, &d->table.tensor[i], e))
				return -1;
			d->origin[i] = (struct origin){d->file[k], f};
		}
	int missing = 0;
	for (int i = 0; i < d->table.n; i++)
		if (!d->origin[i].t && !missing++) {
			const struct tensor *t = &d->table.tensor[i];
			char text[TENSOR_SHAPE_TEXT];
			int64_t want[2] = {t->shape[t->transposed], t->shape[!t->transposed]};
			err_set(e, "%s: tensor '%s' %s is missing", d->dir, t->name,
			        tensor_shape_text(text, t->n_dims, want));
		}
	return missing ? -1 : 0;
}

/* ---- opening ---- */

static int open_dir(struct model_dir *d, struct err *e)
{
	int got = read_in(d->dir, "config.json", MAX_SMALL, &d->config, &d->config_len, e);
	if (got <= 0)
		return got ? -1 : err_set(e, "%s: has no config.json", d->dir);
	if (arch_from_config(&d->arch, d->config, d->config_len, e))
		return err_where(e, "%s/config.json", d->dir);
	if (open_files(d, e))
		return -1;
	bool value = false;
	for (int64_t k = 0; k < d->n_files; k++)
		value = value || safetensors_find(d->file[k], "score.weight");
	if (tensors_init(&d->table, &d->arch, value, e))
		return -1;
	d->origin = xcalloc((size_t)d->table.n, sizeof *d->origin);
	return match_tensors(d, e);
}

struct model_dir *model_dir_open(const char *dir, struct err *e)
{
	struct model_dir *d = xcalloc(1, sizeof *d);
	d->dir = xstrdup(dir);
	if (!open_dir(d, e))
		return d;
	model_dir_close(d);
	return NULL;
}

void model_dir_close(struct model_dir *d)
{
	if (!d)
		return;
	for (int64_t i = 0; i < d->n_files; i++)
		safetensors_close(d->file[i]);
	free(d->file);
	free(d->origin);
	tensors_release(&d->table);
	free(d->config);
	free(d->dir);
	free(d);
}

const struct arch *model_dir_arch(const struct model_dir *d)
{
	return &d->arch;
}

/* ---- putting ---- */

static int put_tensor(const struct model_dir *d, int i, struct store_update *u, const char *slot, int64_t version,
                      struct err *e)
{
	const struct tensor *t = &d->table.tensor[i];
	float *x = xmalloc((size_t)t->count * sizeof *x), *y = NULL;
	int failed = safetensors_floats(d->origin[i].file, d->origin[i].t, 0, t->count, x, e);
	if (!failed && t->transposed) {
		y = xmalloc((size_t)t->count * sizeof *y);
		tensor_transpose(y, x, t->cols, t->rows);
	}
	if (!failed)
		failed = store_put(u, slot, version, t->name, KN_F32, t->n_dims, t->shape, y ? y : x, e);
	free(x);
	free(y);
	return failed;
}

/* The blob "meta/dtype". */
static int put_dtypes(const struct model_dir *d, struct store_update *u, const char *slot, struct err *e)
{
	int64_t count[ST_U64 + 1] = {0};
	enum safetensors_dtype most = ST_F32;
	for (int i = 0; i < d->table.n; i++)
		count[d->origin[i].t->dtype] += d->table.tensor[i].count;
	for (int k = 0; k <= ST_U64; k++)
		if (count[k] > count[most])
			most = (enum safetensors_dtype)k;
	struct str s;
	str_init(&s);
	str_addf(&s, "%s\n", safetensors_dtype_name(most));
	for (int i = 0; i < d->table.n; i++)
		if (d->origin[i].t->dtype != most)
			str_addf(&s, "%s %s\n", d->table.tensor[i].name, safetensors_dtype_name(d->origin[i].t->dtype));
	int failed = store_put_blob(u, slot, "meta/dtype", s.buf, s.len, e);
	str_release(&s);
	return failed;
}

static int put_file(struct store_update *u, const char *slot, const char *name, const char *data, size_t len,
                    struct err *e)
{
	char key[64];
	snprintf(key, sizeof key, "file/%s", name);
	return store_put_blob(u, slot, key, data, len, e);
}

static int put_small_files(const struct model_dir *d, struct store_update *u, const char *slot, struct err *e)
{
	for (int i = 0; model_small_files[i]; i++) {
		char *data;
		size_t len;
		int got = read_in(d->dir, model_small_files[i], MAX_SMALL, &data, &len, e);
		if (got > 0) {
			got = put_file(u, slot, model_small_files[i], data, len, e);
			free(data);
		}
		if (got < 0)
			return -1;
	}
	return 0;
}

int model_dir_put(const struct model_dir *d, struct store_update *u, const char *slot, int64_t version, struct err *e)
{
	for (int i = 0; i < d->table.n; i++)
		if (put_tensor(d, i, u, slot, version, e))
			return -1;
	if (put_file(u, slot, "config.json", d->config, d->config_len, e) || put_small_files(d, u, slot, e))
		return -1;
	return put_dtypes(d, u, slot, e);
}

/* ---- new models ---- */

static int check_tokenizer(const struct model_new *m, const char *path, struct err *e)
{
	struct tokenizer *t = tokenizer_from_json(m->tokenizer, m->tokenizer_len, path, e);
	if (!t)
		return -1;
	int32_t size = tokenizer_size(t);
	tokenizer_free(t);
	if (size > m->arch.V)
		return err_set(e, "%s has %d tokens, but 'vocab_size' of config.json is %" PRId64, path, size,
		               m->arch.V);
	return 0;
}

int model_new_open(struct model_new *m, const char *config_path, const char *tokenizer_path, struct err *e)
{
	*m = (struct model_new){0};
	int got = model_read_file(config_path, MAX_SMALL, &m->config, &m->config_len, e);
	if (got == 0)
		got = err_set(e, "there is no '%s'", config_path);
	if (got > 0 && arch_from_config(&m->arch, m->config, m->config_len, e))
		got = err_where(e, "%s", config_path);
	if (got > 0 && tokenizer_path) {
		got = model_read_file(tokenizer_path, MAX_SMALL, &m->tokenizer, &m->tokenizer_len, e);
		if (got == 0)
			got = err_set(e, "there is no '%s'", tokenizer_path);
		if (got > 0 && check_tokenizer(m, tokenizer_path, e))
			got = -1;
	}
	if (got > 0)
		return 0;
	model_new_release(m);
	return -1;
}

void model_new_release(struct model_new *m)
{
	free(m->config);
	free(m->tokenizer);
	*m = (struct model_new){0};
}

enum { FILL = 1 << 16 };
struct fill {
	const struct tensors *table;
	int i;
	uint64_t seed;
	float *out;
};

static void fill_piece(void *arg, int64_t piece, int worker)
{
	struct fill *f = arg;
	int64_t first = piece * FILL, left = f->table->tensor[f->i].count - first;
	(void)worker;
	tensors_fill(f->table, f->i, f->seed, first, left < FILL ? left : FILL, f->out + first);
}

int model_new_put(const struct model_new *m, struct par *par, uint64_t seed, struct store_update *u, const char *slot,
                  int64_t version, struct err *e)
{
	struct tensors table;
	if (tensors_init(&table, &m->arch, false, e))
		return -1;
	int failed = 0;
	for (int i = 0; i < table.n && !failed; i++) {
		const struct tensor *t = &table.tensor[i];
		struct fill f = {&table, i, seed, xmalloc((size_t)t->count * sizeof(float))};
		par_run(par, (t->count + FILL - 1) / FILL, fill_piece, &f);
		failed = store_put(u, slot, version, t->name, KN_F32, t->n_dims, t->shape, f.out, e);
		free(f.out);
	}
	tensors_release(&table);
	if (failed || put_file(u, slot, "config.json", m->config, m->config_len, e))
		return -1;
	if (m->tokenizer && put_file(u, slot, "tokenizer.json", m->tokenizer, m->tokenizer_len, e))
		return -1;
	return store_put_blob(u, slot, "meta/dtype", "F32\n", 4, e);
}
