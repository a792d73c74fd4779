/* lora - see lora.h */
#include "lib/lora.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record.h"
#include "lib/util.h"

#define AT(field) offsetof(struct lora_config, field)
const struct opt lora_options[] = {
        {"lora-r", 0, OPT_INT, AT(r), "8", "N", "rank", 1, LORA_MAX_RANK},
        {"lora-alpha", 0, OPT_NUM, AT(alpha), "16", "X", "the product is scaled by alpha / r", -1e9, 1e9},
        {"lora-target-modules", 0, OPT_STR, AT(modules), "", "LIST|all-linear",
         "names, with commas; default q_proj,v_proj, of GPT-2 c_attn", 0, 0},
        {"lora-dropout", 0, OPT_NUM, AT(dropout), "0", "X", "of what A is given, in supervised training", 0, .999},
        {"lora-init", 0, OPT_CHOICE, AT(gaussian), "uniform", "uniform|gaussian", "of A; B is zero", 0, 0},
        {"rslora", 0, OPT_FLAG, AT(rslora), NULL, NULL, "scale by alpha / sqrt(r) instead", 0, 0},
        {NULL},
};

void lora_config_release(struct lora_config *c)
{
	for (int i = 0; i < c->n_target; i++)
		free(c->target[i]);
	free(c->target);
	*c = (struct lora_config){0};
}

static void add_target(struct lora_config *c, const char *name, size_t len)
{
	c->target = xrealloc_array(c->target, (size_t)c->n_target + 1, sizeof *c->target);
	c->target[c->n_target++] = xstrndup(name, len);
}

void lora_config_targets(struct lora_config *c, const struct arch *a)
{
	const char *target = c->modules;
	/* PEFT's TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING */
	if (!*target)
		target = a->fused_qkv ? "c_attn" : "q_proj,v_proj";
	c->all_linear = !strcmp(target, "all-linear");
	for (size_t n; *target && !c->all_linear; target += n + (target[n] == ',')) {
		n = strcspn(target, ",");
		if (n)
			add_target(c, target, n);
	}
}

/* ---- adapter_config.json ---- */

/* Keys whose value must be absent, null, false, or empty: anything else changes what the adapter computes. */
static const char *const refused[] = {
        "use_dora",        "use_qalora",        "lora_bias",       "layers_to_transform",     "layers_pattern",
        "rank_pattern",    "alpha_pattern",     "modules_to_save", "trainable_token_indices", "target_parameters",
        "exclude_modules", "layer_replication", "arrow_config",    "alora_invocation_tokens", NULL};

static bool says_nothing(const struct json *v)
{
	return v->kind == JSON_ABSENT || v->kind == JSON_NULL || (v->kind == JSON_BOOL && !v->boolean) ||
	       ((v->kind == JSON_ARRAY || v->kind == JSON_OBJECT) && json_length(v) == 0);
}

static bool is_text(const struct json *v, const char *text)
{
	return v->kind == JSON_STRING && v->len == strlen(text) && !memcmp(v->text, text, v->len);
}

static int check_refused(const struct record *r, struct err *e)
{
	struct json v;
	for (int i = 0; refused[i]; i++) {
		if (record_json(r, refused[i], &v, e) < 0)
			return -1;
		if (!says_nothing(&v))
			return err_set(e, "'%s' is set, which is not supported", refused[i]);
	}
	if (record_json(r, "peft_type", &v, e) < 0)
		return -1;
	if (!is_text(&v, "LORA"))
		return err_set(e, "'peft_type' is not \"LORA\"");
	if (record_json(r, "bias", &v, e) < 0)
		return -1;
	return says_nothing(&v) || is_text(&v, "none") ? 0 : err_set(e, "'bias' is not \"none\"");
}

/* The initialisations of PEFT that leave the base as it is.  Others (PiSSA, OLoRA, CorDA, LoftQ, ...) take what A and B
 * begin with out of its weights, and each load of the directory does so again. */
static int check_init(const struct record *r, struct err *e)
{
	static const char *const known[] = {"gaussian", "eva", "orthogonal"};
	struct json v;
	if (record_json(r, "init_lora_weights", &v, e) < 0)
		return -1;
	bool fine = v.kind == JSON_ABSENT || v.kind == JSON_NULL || v.kind == JSON_BOOL;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		fine = fine || is_text(&v, known[i]);
	if (fine)
		return 0;
	return err_set(e, "'init_lora_weights' is none of true, false, \"gaussian\", \"eva\", \"orthogonal\": others "
	                  "change the base, too (PEFT converts them when it saves)");
}

static int keep_target(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)i, (void)key, (void)key_len;
	if (item->kind != JSON_STRING)
		return -1;
	add_target(arg, item->text, item->len);
	return 0;
}

static int read_targets(struct lora_config *c, const struct record *r, struct err *e)
{
	struct json v;
	if (record_json(r, "target_modules", &v, e) < 0)
		return -1;
	c->all_linear = is_text(&v, "all-linear");
	if (!c->all_linear && (v.kind != JSON_ARRAY || json_each(&v, keep_target, c) || !c->n_target))
		return err_set(e, "'target_modules' is neither a list of names nor \"all-linear\"");
	return 0;
}

static int read_numbers(struct lora_config *c, const struct record *r, struct err *e)
{
	struct json v;
	c->r = 8;
	c->alpha = 8;
	if (record_int(r, "r", &c->r, e) < 0 || record_num(r, "lora_alpha", &c->alpha, e) < 0 ||
	    record_num(r, "lora_dropout", &c->dropout, e) < 0 || record_bool(r, "use_rslora", &c->rslora, e) < 0 ||
	    record_json(r, "init_lora_weights", &v, e) < 0)
		return -1;
	c->gaussian = is_text(&v, "gaussian");
	if (c->r < 1 || c->r > LORA_MAX_RANK)
		return err_set(e, "'r' is %" PRId64 ", but must be 1 to %d", c->r, LORA_MAX_RANK);
	if (!(c->dropout >= 0 && c->dropout < 1))
		return err_set(e, "'lora_dropout' is %g, but must be in [0,1)", c->dropout);
	return 0;
}

int lora_config_read(struct lora_config *c, const char *text, size_t len, struct err *e)
{
	struct record *r = record_new();
	*c = (struct lora_config){0};
	int failed = record_parse(r, text, len, e) || check_refused(r, e) || check_init(r, e) ||
	             read_numbers(c, r, e) || read_targets(c, r, e);
	record_free(r);
	if (failed)
		lora_config_release(c);
	return failed ? err_where(e, "adapter_config.json") : 0;
}

/* ---- which matrices ---- */

/* As PEFT matches: the module's whole name, or its end behind a dot. */
static bool matches(const char *tensor, const char *target)
{
	size_t n = strlen(tensor) - strlen(".weight"), m = strlen(target);
	return m <= n && !memcmp(tensor + n - m, target, m) && (m == n || tensor[n - m - 1] == '.');
}

static bool wanted(const struct lora_config *c, const struct tensor *t)
{
	bool found = c->all_linear;
	for (int i = 0; i < c->n_target && !found; i++)
		found = matches(t->name, c->target[i]);
	return found && t->role == TENSOR_MATRIX;
}

/* The last component of a matrix's name. */
static const char *module_of(const char *tensor, int *len)
{
	const char *end = tensor + strlen(tensor) - strlen(".weight"), *start = end;
	while (start > tensor && start[-1] != '.')
		start--;
	*len = (int)(end - start);
	return start;
}

static int check_targets(const struct tensors *t, const struct lora_config *c, bool all, struct err *e)
{
	int found = 0;
	const char *unknown = NULL;
	for (int i = 0; i < c->n_target; i++) {
		bool one = false;
		for (int j = 0; j < t->n && !one; j++)
			one = t->tensor[j].role == TENSOR_MATRIX && matches(t->tensor[j].name, c->target[i]);
		found += one;
		unknown = one ? unknown : c->target[i];
	}
	if (c->all_linear || (found && (!all || !unknown)))
		return 0;
	struct str names;
	str_init(&names);
	for (int j = 0; j < t->n; j++)
		if (t->tensor[j].role == TENSOR_MATRIX && t->tensor[j].layer == 0) {
			int len;
			const char *name = module_of(t->tensor[j].name, &len);
			str_addf(&names, "%s%.*s", names.len ? ", " : "", len, name);
		}
	err_set(e, "target '%s' is no matrix of the model's blocks; they are %s", unknown ? unknown : "", names.buf);
	str_release(&names);
	return -1;
}

static int add_pair(struct tensors *t, int i, const struct lora_config *c, struct err *e)
{
	const struct tensor w = t->tensor[i];
	struct tensor a = {.role = TENSOR_LORA_A, .part = w.part, .layer = w.layer, .rows = c->r, .cols = w.cols};
	struct tensor b = {.role = TENSOR_LORA_B, .part = w.part, .layer = w.layer, .rows = w.rows, .cols = c->r};
	int stem = (int)(strlen(w.name) - strlen(".weight"));
	snprintf(a.name, sizeof a.name, "base_model.model.%.*s.lora_A.weight", stem, w.name);
	snprintf(b.name, sizeof b.name, "base_model.model.%.*s.lora_B.weight", stem, w.name);
	a.init = c->gaussian ? TENSOR_INIT_NORMAL : TENSOR_INIT_UNIFORM;
	a.init_std = c->gaussian ? 1 / (double)c->r : 1 / sqrt((double)w.cols);
	b.init = TENSOR_INIT_ZERO;
	t->tensor[i].lora = t->n;
	return tensors_append(t, &a, e) || tensors_append(t, &b, e) ? -1 : 0;
}

int lora_tensors(struct tensors *t, const struct lora_config *c, bool all, struct err *e)
{
	int n = t->n;
	if (check_targets(t, c, all, e))
		return -1;
	tensors_freeze(t);
	for (int i = 0; i < n; i++)
		if (wanted(c, &t->tensor[i]) && add_pair(t, i, c, e))
			return -1;
	tensors_sort(t);
	t->lora_scale = c->alpha / (c->rslora ? sqrt((double)c->r) : (double)c->r);
	t->lora_dropout = c->dropout;
	return 0;
}

/* GPT-2 has a c_proj in attention and one in the MLP. */
static bool first_of_name(const struct tensors *t, int i)
{
	int len, other;
	const char *name = module_of(t->tensor[i].name, &len);
	for (int j = 0; j < i; j++) {
		const char *before = module_of(t->tensor[j].name, &other);
		if (t->tensor[j].role == TENSOR_MATRIX && other == len && !memcmp(before, name, (size_t)len))
			return false;
	}
	return true;
}

void lora_config_write(const struct lora_config *c, const struct tensors *t, bool fan_in_fan_out, struct str *out)
{
	str_adds(out, "{\n  \"base_model_name_or_path\": null,\n  \"bias\": \"none\",\n");
	str_addf(out, "  \"fan_in_fan_out\": %s,\n", fan_in_fan_out ? "true" : "false");
	str_addf(out, "  \"init_lora_weights\": %s,\n", c->gaussian ? "\"gaussian\"" : "true");
	str_adds(out, "  \"lora_alpha\": ");
	json_put_num(out, c->alpha);
	str_adds(out, ",\n  \"lora_dropout\": ");
	json_put_num(out, c->dropout);
	str_addf(out, ",\n  \"peft_type\": \"LORA\",\n  \"r\": %" PRId64 ",\n  \"target_modules\": [", c->r);
	/* all-linear by name, as PEFT writes it */
	int n = 0;
	for (int i = 0; i < c->n_target && !c->all_linear; i++) {
		str_adds(out, n++ ? ", " : "");
		json_put_str(out, c->target[i], strlen(c->target[i]));
	}
	for (int i = 0; i < t->n && c->all_linear; i++)
		if (t->tensor[i].role == TENSOR_MATRIX && t->tensor[i].layer == 0 && first_of_name(t, i)) {
			int len;
			const char *name = module_of(t->tensor[i].name, &len);
			str_adds(out, n++ ? ", " : "");
			json_put_str(out, name, (size_t)len);
		}
	str_addf(out, "],\n  \"task_type\": \"CAUSAL_LM\",\n  \"use_rslora\": %s\n}\n", c->rslora ? "true" : "false");
}

void lora_merge(float *w, const float *a, const float *b, int64_t rows, int64_t cols, int64_t r, double scale)
{
	double *sum = xcalloc((size_t)cols, sizeof *sum);
	for (int64_t o = 0; o < rows; o++) {
		memset(sum, 0, (size_t)cols * sizeof *sum);
		for (int64_t k = 0; k < r; k++)
			for (int64_t i = 0; i < cols; i++)
				sum[i] += (double)b[o * r + k] * a[k * cols + i];
		for (int64_t i = 0; i < cols; i++)
			w[o * cols + i] = (float)(w[o * cols + i] + scale * sum[i]);
	}
	free(sum);
}

/* ---- in the store ---- */

const char *lora_base_name(char buf[LORA_BASE_NAME], const char *slot)
{
	snprintf(buf, LORA_BASE_NAME, "%.63s.base", slot);
	return buf;
}

bool lora_is_base_name(const char *name)
{
	size_t len = strlen(name);
	return len > 5 && !strcmp(name + len - 5, ".base");
}

int lora_of_slot(struct lora_config *c, struct store_view *v, const char *slot, struct err *e)
{
	const void *data;
	size_t len;
	int found = store_get_blob(v, slot, "file/adapter_config.json", &data, &len, e);
	if (found <= 0)
		return found;
	return lora_config_read(c, data, len, e) ? -1 : 1;
}

int lora_base(struct store_view *v, const char *slot, struct store_ref *base, struct err *e)
{
	char name[LORA_BASE_NAME];
	struct err why;
	if (store_resolve(v, lora_base_name(name, slot), base, &why))
		return err_set(e, "adapter '%s' has lost its base: %s", slot, why.msg);
	return 0;
}
