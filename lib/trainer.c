/* trainer - see trainer.h */
#include "lib/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "lib/memory.h"
#include "lib/real.h"
#include "lib/str.h"
#include "lib/trainer_ranks.h"
#include "lib/util.h"

/* Tokens of a pass.  A constant: it decides no result, only memory and speed. */
enum { MICRO_TOKENS = 4096 };
/* Steps between two comparisons of the weights of ranks: a pass over them beside a whole update. */
enum { COMPARE_EVERY = 64 };

/* ---- reading from the store ---- */

/* One tensor into the slab, as float32, its checksum looked at: 1, 0 when the store has none of that name, -1. */
static int read_tensor(const struct weights *w, const struct tensor *t, struct store_view *v,
                       const struct store_ref *ref, struct err *e)
{
	int got = weights_read(w->k, w->slab + t->offset, t, t->name, v, ref, e);
	return got > 0 && store_check(v, ref, t->name, e) ? -1 : got;
}

static int64_t count_nonfinite(const struct store_tensor *s)
{
	int64_t bad = 0, row = 1; /* a vector is one row */
	for (int d = s->n_dims > 1; d < s->n_dims; d++)
		row *= s->shape[d];
	for (int b = 0; b < s->n_blocks && s->dtype == KN_F32; b++) {
		const float *x = s->blocks[b].data;
		for (int64_t i = 0; i < s->blocks[b].rows * row; i++)
			bad += !isfinite(x[i]);
	}
	return bad;
}

/* What would make NaN of all that comes after is named here, where it is. */
static int check_weight(struct store_view *v, const struct store_ref *ref, const char *name, struct err *e)
{
	struct store_tensor s;
	int got = store_get(v, ref, name, &s, e);
	int64_t bad = got > 0 ? count_nonfinite(&s) : 0;
	if (bad)
		return err_set(
		        e, "%s@%lld: tensor '%s' has %lld elements that are NaN or infinite, and cannot be trained on",
		        ref->slot, (long long)ref->version, name, (long long)bad);
	return got < 0 ? -1 : 0;
}

static int read_weights(struct trainer *t, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	const struct tensors *table = &t->info.table;
	for (int i = 0; i < table->n; i++) {
		if (table->tensor[i].frozen) {
			if (store_check(v, &t->info.base, table->tensor[i].name, e) ||
			    check_weight(v, &t->info.base, table->tensor[i].name, e))
				return -1;
			continue;
		}
		int got = read_tensor(&t->w, &table->tensor[i], v, ref, e);
		/* A value head that nobody trained yet begins at zero. */
		if (got == 0 && table->tensor[i].role != TENSOR_VALUE)
			return err_set(e, "%s@%lld has no tensor '%s'", ref->slot, (long long)ref->version,
			               table->tensor[i].name);
		if (got < 0 || (got > 0 && check_weight(v, ref, table->tensor[i].name, e)))
			return -1;
	}
	weights_refresh(&t->w);
	return 0;
}

/* A small text beside the slot's tensors: 1, 0, -1. */
static int read_text(char *out, size_t cap, struct store_view *v, const char *slot, const char *key, struct err *e)
{
	const void *data;
	size_t len;
	int got = store_get_blob(v, slot, key, &data, &len, e);
	snprintf(out, cap, "%.*s", got > 0 ? (int)len : 0, got > 0 ? (const char *)data : "");
	return got;
}

static int read_moments(struct trainer *t, struct store_view *v, const struct store_ref *ref, struct err *e)
{
	char text[32] = "";
	int got = read_text(text, sizeof text, v, ref->slot, "trainer/step", e);
	if (got <= 0)
		return got;
	if (!parse_i64(text, &t->step))
		return err_set(e, "the step count of slot '%s' is damaged", ref->slot);
	got = read_text(t->stored, sizeof t->stored, v, ref->slot, "trainer/optim", e);
	if (got == 0)
		snprintf(t->stored, sizeof t->stored, "%s", optim_kind_names[OPTIM_ADAMW]);
	if (got < 0 || strcmp(t->stored, optim_kind_names[t->optim]))
		return got < 0 ? -1 : 0;
	return optim_moment_read(&t->m, v, ref, e) || (t->v.k && optim_moment_read(&t->v, v, ref, e)) ? -1 : 0;
}

int trainer_same_optim(const struct trainer *t, const char *run, struct err *e)
{
	const char *now = optim_kind_names[t->optim];
	if (!t->stored[0] || !strcmp(t->stored, now))
		return 0;
	return err_set(e, "run '%s' was begun with --optim %s, but now it is %s (another --run begins another run)",
	               run, t->stored, now);
}

static int init_slabs(struct trainer *t, struct err *e)
{
	const struct tensors *table = &t->info.table;
	bool eight = t->optim == OPTIM_ADAM8;
	if (weights_zero(&t->w, t->k, table, e) || weights_shadow(&t->w, e))
		return -1;
	memory_as(t->k, MEMORY_GRADIENTS);
	int failed = weights_zero(&t->g, t->k, table, e);
	memory_as(t->k, MEMORY_SCRATCH);
	if (failed || optim_moment_init(&t->m, t->k, table, false, eight, e))
		return -1;
	return t->optim == OPTIM_SGD ? 0 : optim_moment_init(&t->v, t->k, table, true, eight, e);
}

static int slot_exists(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)ref;
	return !snapshot && !strcmp(name, arg);
}

/* The table with a value head, whether or not the slot's files make it so. */
static int with_value_head(struct trainer *t, struct err *e)
{
	return tensors_part(&t->info.table, -1, PART_SCORE) >= 0 ? 0 : model_info_table(&t->info, true, e);
}

/* "LlamaForCausalLM", "GPT2LMHeadModel" -> "...ForSequenceClassification": the same backbone with score.weight for a
 * head; one label, where transformers would else take two. */
static void as_value_model(struct str *out, const char *config, size_t len)
{
	static const char label[] = "\"id2label\":{\"0\":\"LABEL_0\"},\"label2id\":{\"LABEL_0\":0},";
	const char *open = memchr(config, '{', len);
	if (open && !memmem(config, len, "\"id2label\"", 10)) {
		str_add(out, config, (size_t)(open + 1 - config));
		str_adds(out, label);
		len -= (size_t)(open + 1 - config);
		config = open + 1;
	}
	static const char *const heads[] = {"ForCausalLM\"", "LMHeadModel\""};
	const char *found = NULL;
	size_t head_len = 0;
	for (size_t i = 0; i < ARRAY_LEN(heads) && !found; i++) {
		head_len = strlen(heads[i]);
		found = memmem(config, len, heads[i], head_len);
	}
	size_t before = found ? (size_t)(found - config) : len;
	str_add(out, config, before);
	if (found) {
		str_adds(out, "ForSequenceClassification\"");
		str_add(out, found + head_len, len - before - head_len);
	}
}

/* The descriptor and table of a critic that begins as a copy of slot `like`. */
static int copy_as_value(struct trainer *t, struct store_view *v, const char *like, struct err *e)
{
	const void *data;
	size_t len;
	struct str text;
	if (store_get_blob(v, like, "file/config.json", &data, &len, e) <= 0)
		return err_set(e, "slot '%s' has no config.json", like);
	str_init(&text);
	as_value_model(&text, data, len);
	len = text.len;
	t->config = str_detach(&text);
	tensors_release(&t->info.table);
	if (arch_from_config(&t->info.arch, t->config, len, e))
		return -1;
	return tensors_init(&t->info.table, &t->info.arch, true, e);
}

int trainer_open(struct trainer *t, const struct kernels *k, struct store_view *v, const char *slot, const char *like,
                 bool with_value, int optim, struct err *e)
{
	*t = (struct trainer){.k = k, .version = -1, .micro_tokens = MICRO_TOKENS, .optim = optim};
	snprintf(t->slot, sizeof t->slot, "%s", slot);
	int there = like ? store_each_name(v, slot_exists, t->slot, e) : 1;
	if (there < 0)
		return -1;
	struct store_ref ref;
	if (store_resolve(v, there ? slot : like, &ref, e) || model_info_load(&t->info, v, ref.slot, false, e) ||
	    (!there && copy_as_value(t, v, ref.slot, e)) || (with_value && with_value_head(t, e)) || init_slabs(t, e))
		return -1;
	bool planned = memory_is_planner(k);
	if (!planned && read_weights(t, v, &ref, e))
		return -1;
	if (there) {
		t->version = ref.version;
		if (!planned && read_moments(t, v, &ref, e))
			return -1;
	}
	if (decoder_init(&t->d, &t->info.arch, &t->info.table, k, e))
		return -1;
	t->acts = activations_new(&t->d);
	return 0;
}

int trainer_slot(struct store_view *v, const char *name, char slot[64], struct err *e)
{
	int got = loop_slot(v, name, slot, e);
	if (got == 0 && strcmp(name, "policy"))
		return err_set(
		        e, "'%s' is neither the policy nor an adapter (rl-store lora makes one), so it is not trained",
		        name);
	return got < 0 ? -1 : 0;
}

int trainer_attach(struct trainer *t, struct store *s, struct err *e)
{
	struct store_ref ref = {.version = t->version};
	if (!t->info.lora)
		return 0;
	snprintf(ref.slot, sizeof ref.slot, "%s", t->slot);
	t->view = store_view_open(s, e);
	return !t->view || weights_map_frozen(&t->w, t->view, &ref, e) ? -1 : 0;
}

void trainer_detach(struct trainer *t)
{
	store_view_close(t->view);
	t->view = NULL;
}

void trainer_rest(struct trainer *t)
{
	if (!t->k || weights_on_host(t->k))
		return;
	activations_forget(t->acts);
	decoder_forget(&t->d);
	weights_forget(&t->g);
}

void trainer_close(struct trainer *t)
{
	if (!t->k)
		return;
	trainer_detach(t);
	activations_free(t->acts);
	decoder_release(&t->d);
	free(t->config);
	weights_release(&t->w);
	weights_release(&t->g);
	optim_moment_release(&t->m);
	optim_moment_release(&t->v);
	model_info_release(&t->info);
	*t = (struct trainer){0};
}

/* ---- one pass over a micro-batch ---- */

/* Host arrays of a micro-batch, and its buffers where the backend computes. */
struct pass {
	const struct kernels *k;
	int64_t first;   /* place of the first token among those of all passes */
	int64_t N, M, S; /* tokens, completion tokens, states that have a value */
	int32_t *token, *pos, *target;
	float *inv_temp;
	struct kn_seq *seq;
	int64_t *head_row, *value_row;
	kn_real *h, *hm, *dh, *dhm; /* [N,C], [max(M,S),C] */
	kn_real *value, *d_value;   /* [S] */
	float *logprob, *lse, *entropy, *d, *d_entropy;
	struct decoder_kl kl; /* of.d NULL: no row has one */
	kn_real *ref_hidden;  /* what kl reads, as dkl */
	float *dkl;
	float *host;
};

static void pass_release(struct pass *p)
{
	free(p->token);
	free(p->pos);
	free(p->target);
	free(p->inv_temp);
	free(p->seq);
	free(p->head_row);
	free(p->value_row);
	free(p->host);
	void *const device[] = {p->h,       p->hm, p->dh,        p->dhm,   p->value,  p->d_value, p->logprob,   p->lse,
	                        p->entropy, p->d,  p->d_entropy, p->kl.kl, p->kl.gap, p->dkl,     p->ref_hidden};
	for (size_t i = 0; i < ARRAY_LEN(device); i++)
		p->k->free(p->k->ctx, device[i]);
}

/* Arrays of the exact KL, when a row wants it, with the reference's states in place. */
static int kl_alloc(struct pass *p, const struct trainer_row *row, int64_t n_rows, struct err *e)
{
	const struct kernels *k = p->k;
	size_t f = sizeof(float), wide = (size_t)p->M + 1;
	for (int64_t i = 0; i < n_rows; i++)
		if (row[i].kl && row[i].reference)
			p->kl.of = *row[i].reference;
	if (!p->kl.of.d)
		return 0;
	int64_t C = p->kl.of.d->arch->C, at = 0;
	p->kl.kl = memory_alloc(k, MEMORY_ACTIVATIONS, wide * f);
	p->kl.gap = memory_alloc(k, MEMORY_ACTIVATIONS, wide * f);
	p->kl.dkl = p->dkl = memory_alloc(k, MEMORY_ACTIVATIONS, wide * f);
	p->kl.h = p->ref_hidden = memory_alloc_reals(k, MEMORY_ACTIVATIONS, (p->M + 1) * C);
	if (!p->kl.kl || !p->kl.gap || !p->dkl || !p->ref_hidden)
		return memory_none(k, e, "no memory for the exact KL of %lld tokens", (long long)p->M);
	for (int64_t i = 0; i < n_rows; at += row[i++].n)
		if (row[i].kl && row[i].n)
			real_put(k, real_at(k, p->ref_hidden, at * C), row[i].ref_hidden, row[i].n * C);
	return 0;
}

static int pass_alloc(struct pass *p, int64_t n_rows, int64_t C, bool backward, struct err *e)
{
	size_t f = sizeof(float), N = (size_t)p->N, wide = (size_t)(p->M > p->S ? p->M : p->S) + 1;
	p->token = xcalloc(N, sizeof *p->token);
	p->pos = xcalloc(N, sizeof *p->pos);
	p->target = xcalloc(wide, sizeof *p->target);
	p->inv_temp = xcalloc(wide, sizeof *p->inv_temp);
	p->seq = xcalloc((size_t)n_rows, sizeof *p->seq);
	p->head_row = xcalloc(wide, sizeof *p->head_row);
	p->value_row = xcalloc(wide, sizeof *p->value_row);
	p->host = xcalloc(wide, f);
	struct {
		kn_real **to;
		size_t n;
	} const reals[] = {{&p->h, N * (size_t)C},
	                   {&p->hm, wide * (size_t)C},
	                   {&p->value, wide},
	                   {&p->dh, backward ? N * (size_t)C : 0},
	                   {&p->dhm, backward ? wide * (size_t)C : 0},
	                   {&p->d_value, backward ? wide : 0}};
	struct {
		float **to;
		size_t n;
	} const floats[] = {{&p->logprob, wide},
	                    {&p->lse, wide},
	                    {&p->entropy, wide},
	                    {&p->d, backward ? wide : 0},
	                    {&p->d_entropy, backward ? wide : 0}};
	bool there = true;
	for (size_t i = 0; i < ARRAY_LEN(reals); i++)
		there = there && (!reals[i].n ||
		                  (*reals[i].to = memory_alloc_reals(p->k, MEMORY_ACTIVATIONS, (int64_t)reals[i].n)));
	for (size_t i = 0; i < ARRAY_LEN(floats); i++)
		there = there &&
		        (!floats[i].n || (*floats[i].to = memory_alloc(p->k, MEMORY_ACTIVATIONS, floats[i].n * f)));
	return there ? 0 : memory_none(p->k, e, "no memory for a pass over %lld tokens", (long long)p->N);
}

static void pass_fill(struct pass *p, const struct trainer_row *row, int64_t n_rows)
{
	int64_t at = 0, m = 0, s = 0;
	for (int64_t i = 0; i < n_rows; i++) {
		int64_t len = row[i].n_prompt + row[i].n;
		p->seq[i] = (struct kn_seq){.q_row = at, .n_q = len, .own_row = at};
		for (int64_t j = 0; j < len; j++) {
			p->token[at + j] = row[i].token[j];
			p->pos[at + j] = (int32_t)j;
		}
		for (int64_t j = 0; j < row[i].n; j++, m++) {
			p->head_row[m] = at + row[i].n_prompt - 1 + j;
			p->target[m] = row[i].token[row[i].n_prompt + j];
			p->inv_temp[m] = (float)(1 / row[i].temperature);
		}
		for (int64_t j = 0; j <= row[i].n; j++)
			p->value_row[s++] = at + row[i].n_prompt - 1 + j;
		at += len;
	}
}

static bool any(const struct trainer_row *row, int64_t n_rows, size_t field)
{
	for (int64_t i = 0; i < n_rows; i++)
		if (*(float *const *)(const void *)((const char *)&row[i] + field))
			return true;
	return false;
}
#define ANY(row, n, field) any(row, n, offsetof(struct trainer_row, field))

/* Hands out p->host [sum of lengths] to the rows' own; extra = 1 for values. */
static void hand_out(const struct pass *p, const struct trainer_row *row, int64_t n_rows, size_t field, int64_t extra)
{
	int64_t at = 0;
	for (int64_t i = 0; i < n_rows; i++) {
		float *to = *(float *const *)(const void *)((const char *)&row[i] + field);
		if (to)
			memcpy(to, p->host + at, (size_t)(row[i].n + extra) * sizeof(float));
		at += row[i].n + extra;
	}
}

static void hand_out_floats(struct pass *p, const float *from, const struct trainer_row *row, int64_t n_rows,
                            size_t field)
{
	p->k->get(p->k->ctx, p->host, from, (size_t)p->M * sizeof(float));
	hand_out(p, row, n_rows, field, 0);
}

/* The other way; rows without one give zeros. */
static void collect(struct pass *p, const struct trainer_row *row, int64_t n_rows, size_t field, int64_t extra)
{
	int64_t at = 0;
	for (int64_t i = 0; i < n_rows; i++) {
		const float *from = *(float *const *)(const void *)((const char *)&row[i] + field);
		size_t bytes = (size_t)(row[i].n + extra) * sizeof(float);
		if (from)
			memcpy(p->host + at, from, bytes);
		else
			memset(p->host + at, 0, bytes);
		at += row[i].n + extra;
	}
}

static void collect_floats(struct pass *p, float *to, const struct trainer_row *row, int64_t n_rows, size_t field)
{
	collect(p, row, n_rows, field, 0);
	p->k->put(p->k->ctx, to, p->host, (size_t)p->M * sizeof(float));
}

/* Final states of the rows that want them. */
static void hand_out_hidden(struct pass *p, const struct trainer_row *row, int64_t n_rows, int64_t C)
{
	int64_t at = 0;
	for (int64_t i = 0; i < n_rows; at += row[i++].n)
		if (row[i].hidden)
			real_get(p->k, row[i].hidden, real_at(p->k, p->hm, at * C), row[i].n * C);
}

static const struct decoder_kl *exact_kl(const struct pass *p)
{
	return p->kl.of.d ? &p->kl : NULL;
}

static int pass_forward(struct pass *p, struct decoder *d, const struct weights *w, struct activations *acts,
                        const struct trainer_row *row, int64_t n_rows, struct err *e)
{
	int64_t C = d->arch->C;
	bool entropy = ANY(row, n_rows, entropy) || ANY(row, n_rows, dentropy);
	bool head = entropy || ANY(row, n_rows, logprobs) || exact_kl(p);
	struct batch b = {
	        .N = p->N, .n_seq = n_rows, .token = p->token, .pos = p->pos, .seq = p->seq, .first = p->first};
	if (decoder_forward(d, w, &b, NULL, acts, p->h, e))
		return -1;
	if ((head || ANY(row, n_rows, hidden)) && p->M)
		p->k->gather_rows(p->k->ctx, p->hm, p->h, p->head_row, p->M, C);
	hand_out_hidden(p, row, n_rows, C);
	if (head && p->M) {
		if (decoder_head_kl(d, w, p->hm, p->M, p->target, p->inv_temp, p->logprob, p->lse,
		                    entropy ? p->entropy : NULL, NULL, exact_kl(p), acts != NULL, e))
			return -1;
		hand_out_floats(p, p->logprob, row, n_rows, offsetof(struct trainer_row, logprobs));
		if (entropy)
			hand_out_floats(p, p->entropy, row, n_rows, offsetof(struct trainer_row, entropy));
		if (exact_kl(p))
			hand_out_floats(p, p->kl.kl, row, n_rows, offsetof(struct trainer_row, kl));
	}
	if (ANY(row, n_rows, values)) {
		p->k->gather_rows(p->k->ctx, p->hm, p->h, p->value_row, p->S, C);
		if (decoder_values(d, w, p->hm, p->S, p->value, e))
			return -1;
		real_get(p->k, p->host, p->value, p->S);
		hand_out(p, row, n_rows, offsetof(struct trainer_row, values), 1);
	}
	return 0;
}

static int head_backward(struct pass *p, struct trainer *t, const struct trainer_row *row, int64_t n_rows,
                         struct err *e)
{
	const struct kernels *k = p->k;
	int64_t C = t->info.arch.C;
	bool entropy = ANY(row, n_rows, dentropy);
	if (!p->M || !(entropy || ANY(row, n_rows, dlogprobs) || ANY(row, n_rows, dkl)))
		return 0;
	collect_floats(p, p->d, row, n_rows, offsetof(struct trainer_row, dlogprobs));
	if (entropy)
		collect_floats(p, p->d_entropy, row, n_rows, offsetof(struct trainer_row, dentropy));
	if (exact_kl(p))
		collect_floats(p, p->dkl, row, n_rows, offsetof(struct trainer_row, dkl));
	k->gather_rows(k->ctx, p->hm, p->h, p->head_row, p->M, C);
	if (decoder_head_kl_backward(&t->d, &t->w, p->hm, p->M, p->target, p->inv_temp, p->lse,
	                             entropy ? p->entropy : NULL, p->d, entropy ? p->d_entropy : NULL, exact_kl(p),
	                             p->dhm, &t->g, e))
		return -1;
	k->scatter_rows(k->ctx, p->dh, p->dhm, p->head_row, p->M, C);
	return 0;
}

static int values_backward(struct pass *p, struct trainer *t, const struct trainer_row *row, int64_t n_rows,
                           struct err *e)
{
	const struct kernels *k = p->k;
	int64_t C = t->info.arch.C;
	if (!ANY(row, n_rows, dvalues))
		return 0;
	collect(p, row, n_rows, offsetof(struct trainer_row, dvalues), 1);
	real_put(k, p->d_value, p->host, p->S);
	k->gather_rows(k->ctx, p->hm, p->h, p->value_row, p->S, C);
	real_zero(k, p->dhm, p->S * C);
	if (decoder_values_backward(&t->d, &t->w, p->hm, p->S, p->d_value, p->dhm, &t->g, e))
		return -1;
	k->scatter_rows(k->ctx, p->dh, p->dhm, p->value_row, p->S, C);
	return 0;
}

static int pass_backward(struct pass *p, struct trainer *t, const struct trainer_row *row, int64_t n_rows,
                         struct err *e)
{
	struct batch b = {
	        .N = p->N, .n_seq = n_rows, .token = p->token, .pos = p->pos, .seq = p->seq, .first = p->first};
	if (head_backward(p, t, row, n_rows, e) || values_backward(p, t, row, n_rows, e))
		return -1;
	return decoder_backward(&t->d, &t->w, &b, t->acts, p->dh, &t->g, e);
}

/* Row i and those joined to it: where they end, and how many tokens they have. */
static int64_t end_of_joined(const struct trainer_row *row, int64_t n_rows, int64_t i, int64_t *tokens)
{
	*tokens = 0;
	do
		*tokens += row[i].n_prompt + row[i].n;
	while (++i < n_rows && row[i].joined);
	return i;
}

/* Rows first..end-1 fit the budget (one row, with those joined to it, always does). */
static int64_t end_of_micro_batch(const struct trainer_row *row, int64_t n_rows, int64_t first, int64_t budget,
                                  struct pass *p)
{
	int64_t end = first;
	while (end < n_rows) {
		int64_t tokens, next = end_of_joined(row, n_rows, end, &tokens);
		if (end > first && p->N + tokens > budget)
			break;
		p->N += tokens;
		for (; end < next; end++) {
			p->M += row[end].n;
			p->S += row[end].n + 1;
		}
	}
	return end;
}

int trainer_score(struct decoder *d, const struct weights *w, struct trainer_row *row, int64_t n_rows,
                  int64_t micro_tokens, struct err *e)
{
	for (int64_t first = 0, end; first < n_rows; first = end) {
		struct pass p = {.k = d->k};
		end = end_of_micro_batch(row, n_rows, first, micro_tokens, &p);
		int failed =
		        pass_alloc(&p, end - first, d->arch->C, false, e) || kl_alloc(&p, row + first, end - first, e);
		if (!failed) {
			pass_fill(&p, row + first, end - first);
			failed = pass_forward(&p, d, w, NULL, row + first, end - first, e);
		}
		pass_release(&p);
		if (failed)
			return -1;
	}
	return 0;
}

int trainer_backward(struct trainer *t, struct trainer_row *row, int64_t n_rows, trainer_loss loss, void *arg,
                     struct err *e)
{
	struct trainer_part part = trainer_part(t->comm, row, n_rows);
	bool alone = comm_ranks(t->comm) == 1;
	int64_t tokens = part.tokens;
	for (int64_t first = part.first, end; first < part.end; first = end) {
		struct pass p = {.k = t->k, .first = tokens};
		end = end_of_micro_batch(row, part.end, first, t->micro_tokens, &p);
		int failed = pass_alloc(&p, end - first, t->info.arch.C, true, e) ||
		             kl_alloc(&p, row + first, end - first, e);
		if (!failed) {
			pass_fill(&p, row + first, end - first);
			failed = pass_forward(&p, &t->d, &t->w, t->acts, row + first, end - first, e);
		}
		if (!failed) {
			loss(arg, first, end, alone);
			failed = pass_backward(&p, t, row + first, end - first, e);
		}
		tokens += p.N;
		pass_release(&p);
		if (failed)
			return -1;
	}
	decoder_backward_finish(&t->d, &t->g);
	if (trainer_gather(t->comm, row, n_rows, t->info.arch.C, e))
		return -1;
	if (!alone)
		loss(arg, 0, n_rows, true);
	return 0;
}

void trainer_forget_moments(struct trainer *t)
{
	optim_moment_zero(&t->m);
	if (t->v.k)
		optim_moment_zero(&t->v);
	t->step = 0;
}

void trainer_zero_gradient(struct trainer *t)
{
	t->k->zero(t->k->ctx, t->g.slab, (size_t)t->info.table.size * sizeof(float));
}

/* ---- one step ---- */

static double squares_of(struct trainer *t)
{
	double group[GROUP_COUNT] = {0}, sum = optim_sum_squares(&t->g, group);
	for (int i = 0; i < GROUP_COUNT; i++)
		t->norm[i] = sqrt(group[i]);
	return sum;
}

int trainer_step(struct trainer *const *t, int n, const struct optim_config *c, double lr, double critic_lr,
                 double *norm, struct err *e)
{
	double squares = 0;
	char why[256];
	for (int i = 0; i < n; i++) {
		decoder_backward_finish(&t[i]->d, &t[i]->g);
		if (t[i]->k->sync(t[i]->k->ctx, why, sizeof why))
			return err_set(e, "%s: %s", t[i]->k->name, why);
		if (trainer_sum_gradient(t[i], e))
			return -1;
		squares += squares_of(t[i]);
	}
	*norm = sqrt(squares);
	if (!isfinite(*norm)) {
		for (int i = 0; i < n; i++)
			if (optim_check_finite(&t[i]->g, "the gradient of", e))
				return -1;
		return err_set(e, "the norm of the gradient is not finite");
	}
	double scale = 1;
	if (c->max_grad_norm > 0 && c->max_grad_norm / (*norm + 1e-6) < 1)
		scale = c->max_grad_norm / (*norm + 1e-6);
	for (int i = 0; i < n; i++)
		optim_step(c, i ? critic_lr : lr, critic_lr, scale, ++t[i]->step, &t[i]->w, &t[i]->m, &t[i]->v,
		           &t[i]->g);
	for (int i = 0; i < n; i++)
		if (t[i]->step % COMPARE_EVERY == 1 && trainer_same_weights(t[i], e))
			return -1;
	return 0;
}
