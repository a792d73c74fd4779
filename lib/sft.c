/* sft - see sft.h */
#include "lib/sft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/prompt.h"
#include "lib/rng.h"
#include "lib/run_log.h"
#include "lib/util.h"

#define AT(field) offsetof(struct sft_config, field)
const struct opt sft_options[] = {
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run", 0, 0},
        {"batch-size", 0, OPT_INT, AT(batch_size), "16", "B", "records per update", 1, 1e9},
        {"epochs", 0, OPT_INT, AT(epochs), "0", "E", "go over the input E times; 0: once, in its order", 0, 1e9},
        {"steps", 0, OPT_INT, AT(steps), "0", "N", "updates in all, going over the input as often as needed", 0, 1e12},
        {"shuffle", 0, OPT_FLAG, AT(shuffle), "1", NULL, "with --epochs or --steps, another order each time", 0, 0},
        {"append-eos", 0, OPT_FLAG, AT(append_eos), "1", NULL, "a completion given as text ends with EOS", 0, 0},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "seed of the shuffle", 0, 9e18},
        {"checkpoint-every", 0, OPT_INT, AT(checkpoint_every), "1", "N", "commit every N updates", 1, 1e9},
        {NULL},
};

static const char tool_name[] = "rl-sft-step";

/* The state of a run lies beside those of rl-ppo-step, which may have the same name. */
static char *run_key(const struct sft *s)
{
	struct str key;
	str_init(&key);
	str_addf(&key, "sft/%s", s->config->run);
	return str_detach(&key);
}

int sft_open(struct sft *s, struct err *e)
{
	arena_init(&s->arena);
	str_init(&s->pending);
	loop_cursor_init(&s->input);
	s->order_epoch = -1;
	struct store_view *v = store_view_open(s->store, e);
	if (!v)
		return -1;
	char *key = run_key(s);
	int failed = trainer_slot(v, s->name, s->slot, e) || loop_run_load(&s->run, v, key, e) ||
	             loop_same_slot(&s->run, s->config->run, s->slot, e) ||
	             model_info_load(&s->info, v, s->slot, true, e) ||
	             trainer_open(&s->model, s->k, v, s->slot, NULL, false, e);
	free(key);
	store_view_close(v);
	s->version = s->model.version;
	return failed;
}

void sft_close(struct sft *s)
{
	trainer_close(&s->model);
	model_info_release(&s->info);
	loop_run_release(&s->run);
	loop_cursor_release(&s->input);
	arena_release(&s->arena);
	str_release(&s->pending);
	free(s->row);
	free(s->order);
}

/* ---- records ---- */

static int32_t *joined(struct sft *s, const int32_t *a, int64_t n, const int32_t *b, int64_t m, bool eos)
{
	int32_t *out = arena_array(&s->arena, (size_t)(n + m + eos), sizeof *out);
	if (n)
		memcpy(out, a, (size_t)n * sizeof *a);
	if (m)
		memcpy(out + n, b, (size_t)m * sizeof *b);
	if (eos)
		out[n + m] = s->info.eos[0];
	return out;
}

static bool wants_eos(const struct sft *s)
{
	return s->config->append_eos && s->info.n_eos > 0;
}

static int take_ids(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	int32_t *prompt, *completion;
	if (record_ints(r, "prompt_tokens", &prompt, &row->n_prompt, -1, NULL, &s->arena, e) < 0)
		return -1;
	int got = record_ints(r, "tokens", &completion, &row->n, -1, NULL, &s->arena, e);
	if (got == 0)
		err_set(e, "there is 'prompt_tokens', but no 'tokens'");
	if (got <= 0)
		return -1;
	row->token = joined(s, prompt, row->n_prompt, completion, row->n, false);
	return 0;
}

static int take_pair(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	const char *prompt, *completion;
	size_t prompt_len, len;
	int32_t *a, *b;
	int64_t n, m;
	int got = record_str(r, "prompt", &prompt, &prompt_len, e);
	if (got > 0 && (got = record_str(r, "completion", &completion, &len, e)) == 0)
		err_set(e, "there is 'prompt', but no 'completion'");
	if (got <= 0 || prompt_encode(&s->info, prompt, prompt_len, &a, &n, &s->arena, e) ||
	    completion_encode(&s->info, completion, len, &b, &m, &s->arena, e))
		return -1;
	bool eos = wants_eos(s);
	*row = (struct sft_row){.token = joined(s, a, n, b, m, eos), .n_prompt = n, .n = m + eos};
	return 0;
}

/* All tokens after the first are the completion. */
static int take_text(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	const char *text;
	size_t len;
	int32_t *a;
	int64_t n;
	int got = record_str(r, "text", &text, &len, e);
	if (got == 0)
		err_set(e, "there is neither 'prompt_tokens' nor 'prompt' nor 'text'");
	if (got <= 0 || prompt_encode(&s->info, text, len, &a, &n, &s->arena, e))
		return -1;
	bool eos = wants_eos(s);
	*row = (struct sft_row){.token = joined(s, a, n, NULL, 0, eos), .n_prompt = 1, .n = n + eos - 1};
	return 0;
}

static int check_row(struct sft *s, const struct sft_row *row, struct err *e)
{
	int64_t n = row->n_prompt + row->n;
	if (row->n_prompt < 1)
		return err_set(e, "the prompt has no token");
	if (n > s->info.arch.P)
		return err_set(e, "%lld tokens do not fit the context of %lld", (long long)n,
		               (long long)s->info.arch.P);
	return prompt_check_ids(&s->info, "tokens", row->token, n, e);
}

int sft_take(struct sft *s, struct record *r, struct err *e)
{
	struct sft_row row = {0};
	size_t len;
	const char *line = record_line(r, &len);
	loop_cursor_take(&s->input, line, len - 1);
	int failed = record_has(r, "prompt_tokens") ? take_ids(s, r, &row, e)
	             : record_has(r, "prompt")      ? take_pair(s, r, &row, e)
	                                            : take_text(s, r, &row, e);
	if (failed || check_row(s, &row, e))
		return -1;
	int64_t n;
	int got = record_ints(r, "mask", &row.mask, &n, row.n, "tokens", &s->arena, e);
	if (got < 0)
		return -1;
	if (got == 0)
		row.mask = NULL;
	if (s->n_rows == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->row = xrealloc_array(s->row, (size_t)s->cap, sizeof *s->row);
	}
	s->row[s->n_rows++] = row;
	return 0;
}

/* ---- the run ---- */

/* What decides the sequence of batches and updates. */
static void describe(const struct sft *s, struct str *out)
{
	const struct sft_config *c = s->config;
	const struct optim_config *o = s->optim;
	str_addf(out, "batch-size=%lld epochs=%lld shuffle=%d seed=%lld", (long long)c->batch_size,
	         (long long)c->epochs, c->shuffle && (c->epochs || c->steps), (long long)c->seed);
	str_addf(out,
	         " lr=%.17g schedule=%d warmup=%lld weight-decay=%.17g decay=%d betas=%s eps=%.17g max-grad-norm=%.17g",
	         o->schedule.lr, o->schedule.kind, (long long)o->schedule.warmup, o->weight_decay, o->decay, o->betas,
	         o->eps, o->max_grad_norm);
}

static int64_t batches_in_all(const struct sft *s)
{
	int64_t passes = s->config->epochs > 0 ? s->config->epochs : 1, B = s->config->batch_size;
	return s->config->steps > 0 ? s->config->steps : (s->n_rows * passes + B - 1) / B;
}

static void begin_anew(struct sft *s, const char *options)
{
	loop_run_release(&s->run);
	trainer_forget_moments(&s->model);
	s->run = (struct loop_run){.base = s->model.version};
	snprintf(s->run.slot, sizeof s->run.slot, "%s", s->slot);
	s->run.cursor = s->input;
	s->run.cursor.options = xstrdup(options);
}

static bool same_input(const struct sft *s)
{
	return s->run.cursor.records == s->input.records && s->run.cursor.lines == s->input.lines;
}

/* A run that is not finished: 1, or -1 naming what is not as it was. */
static int go_on(const struct sft *s, const char *options, struct err *e)
{
	if (!same_input(s))
		return err_set(e, "the input is not the one the run was begun with: %lld records then, %lld now%s",
		               (long long)s->run.cursor.records, (long long)s->input.records,
		               " (another --run begins another run)");
	if (loop_same_options(s->run.cursor.options, options, e) ||
	    loop_run_undisturbed(&s->run, s->config->run, s->version, e))
		return -1;
	return 1;
}

/* A run that is complete: 0 when this is it, 1 when there is more to do. */
static int reopen(struct sft *s, const char *options)
{
	bool same = same_input(s) && !strcmp(s->run.cursor.options, options);
	if (same && s->run.updates >= s->batches)
		return 0;
	if (same && s->run.version == s->version)
		s->run.closed = false;
	else
		begin_anew(s, options);
	return 1;
}

int sft_begin(struct sft *s, struct err *e)
{
	struct str options;
	int result = 1;
	if (s->n_rows == 0)
		return err_set(e, "there is no record to train on");
	str_init(&options);
	describe(s, &options);
	s->batches = batches_in_all(s);
	if (!s->run.begun)
		begin_anew(s, options.buf);
	else
		result = s->run.closed ? reopen(s, options.buf) : go_on(s, options.buf, e);
	str_release(&options);
	return result;
}

/* ---- one batch ---- */

/* Record number i of the sequence of all epochs. */
static const struct sft_row *row_at(struct sft *s, int64_t i)
{
	int64_t pass = i / s->n_rows;
	if (!(s->config->shuffle && (s->config->epochs > 0 || s->config->steps > 0)))
		return &s->row[i % s->n_rows];
	if (s->order_epoch != pass) {
		if (!s->order)
			s->order = xcalloc((size_t)s->n_rows, sizeof *s->order);
		uint64_t key = rng_key("shuffle", (uint64_t)s->config->seed, s->config->run, (uint64_t)pass);
		rng_shuffle(s->order, s->n_rows, key);
		s->order_epoch = pass;
	}
	return &s->row[s->order[i % s->n_rows]];
}

struct batch_loss {
	struct trainer_row *row;
	const struct sft_row **source;
	double tokens, sum;
};

static void likelihood(void *arg, int64_t first, int64_t end)
{
	struct batch_loss *b = arg;
	for (int64_t i = first; i < end; i++)
		for (int64_t t = 0; t < b->row[i].n; t++) {
			bool counts = !b->source[i]->mask || b->source[i]->mask[t];
			b->row[i].dlogprobs[t] = counts ? (float)(-1 / b->tokens) : 0;
			b->sum -= counts ? b->row[i].logprobs[t] : 0;
		}
}

static int64_t fill_batch(struct sft *s, struct batch_loss *b, struct arena *a)
{
	int64_t B = s->config->batch_size, first = s->run.batches * B, n = B;
	int64_t passes = s->config->epochs > 0 ? s->config->epochs : 1;
	if (!s->config->steps && first + n > s->n_rows * passes)
		n = s->n_rows * passes - first;
	b->row = arena_array(a, (size_t)n, sizeof *b->row);
	b->source = arena_array(a, (size_t)n, sizeof *b->source);
	for (int64_t i = 0; i < n; i++) {
		const struct sft_row *r = b->source[i] = row_at(s, first + i);
		b->row[i] =
		        (struct trainer_row){.token = r->token, .n_prompt = r->n_prompt, .n = r->n, .temperature = 1};
		b->row[i].logprobs = arena_array(a, (size_t)r->n, sizeof(float));
		b->row[i].dlogprobs = arena_array(a, (size_t)r->n, sizeof(float));
		s->tokens += r->n_prompt + r->n;
		for (int64_t t = 0; t < r->n; t++)
			b->tokens += !r->mask || r->mask[t];
	}
	return n;
}

static int commit(struct sft *s, struct err *e)
{
	struct store_update *u = store_update_begin(s->store, e);
	if (!u)
		return -1;
	char *key = run_key(s);
	s->run.version = s->version + 1;
	int failed = trainer_put(&s->model, u, s->version + 1, e) || loop_run_save(&s->run, u, key, e);
	for (char *p = s->pending.buf; *p && !failed; p = strchr(p, '\n') + 1)
		failed = store_put_log(u, p, (size_t)(strchr(p, '\n') - p), e);
	free(key);
	if (failed)
		store_update_abort(u);
	else
		failed = store_update_commit(u, e);
	if (!failed)
		s->version++;
	str_clear(&s->pending);
	return failed;
}

static void put_metrics(struct str *out, const struct sft *s, const struct batch_loss *b, int64_t rows, double norm,
                        double lr, double seconds)
{
	str_addf(out, "{\"step\":%lld,\"loss\":", (long long)s->run.updates);
	json_put_num(out, b->sum / b->tokens); /* null when there is no token */
	str_adds(out, ",\"grad_norm\":");
	json_put_num(out, norm);
	str_adds(out, ",\"lr\":");
	json_put_num(out, lr);
	str_addf(out, ",\"rows\":%lld,\"tokens\":%.0f,\"epoch\":", (long long)rows, b->tokens);
	json_put_num(out, (double)(s->run.batches * s->config->batch_size) / (double)s->n_rows);
	str_adds(out, ",\"time/update\":");
	json_put_num(out, seconds);
	str_addc(out, '}');
}

static int update(struct sft *s, struct batch_loss *b, int64_t n, double *norm, double lr, struct err *e)
{
	struct trainer *const model = &s->model;
	if (b->tokens == 0)
		return 0; /* nothing but empty completions: there is no loss, and moments would move weights */
	trainer_zero_gradient(model);
	model->d.dropout = rng_key("dropout", (uint64_t)s->config->seed, s->config->run, (uint64_t)model->step);
	int failed = trainer_attach(model, s->store, e) || trainer_backward(model, b->row, n, likelihood, b, e);
	trainer_detach(model);
	return failed ? -1 : trainer_step(&model, 1, s->optim, lr, norm, e);
}

int sft_step(struct sft *s, struct str *metrics, struct err *e)
{
	if (s->run.batches >= s->batches)
		return 0;
	struct batch_loss b = {0};
	struct arena a;
	double started = now_seconds(), norm = 0;
	double lr = schedule_rate(&s->optim->schedule, s->run.batches, s->batches);
	arena_init(&a);
	int64_t n = fill_batch(s, &b, &a);
	int failed = update(s, &b, n, &norm, lr, e);
	arena_release(&a);
	if (!failed) {
		s->run.begun = true;
		s->run.updates = ++s->run.batches;
		s->run.episodes += n;
		s->run.closed = s->run.batches == s->batches;
		put_metrics(metrics, s, &b, n, norm, lr, now_seconds() - started);
		run_log_entry(&s->pending, tool_name, s->config->run, s->slot, s->version + 1, s->config->seed,
		              s->input.records, s->options, metrics->buf);
		str_addc(&s->pending, '\n');
		if (s->run.closed || s->run.updates % s->config->checkpoint_every == 0)
			failed = commit(s, e);
	}
	return failed ? err_where(e, "step %lld", (long long)s->run.batches + 1) : 1;
}

int sft_each_metrics(struct sft *s, int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e)
{
	return s->run.begun ? run_log_each(s->store, tool_name, s->config->run, s->slot, s->run.base, fn, arg, e) : 0;
}
