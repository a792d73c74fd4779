/* records_run - see records_run.h */
#include "lib/records_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bad_batch.h"
#include "lib/memory.h"
#include "lib/metrics_table.h"
#include "lib/model_files.h"
#include "lib/prompt.h"
#include "lib/rng.h"
#include "lib/run_log.h"
#include "lib/trainer_plan.h"
#include "lib/util.h"

#define AT(field) offsetof(struct records_run_config, field)
const struct opt records_run_options[] = {
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run", 0, 0},
        {"batch-size", 0, OPT_INT, AT(batch_size), "16", "B", "records per update", 1, 1e9},
        {"epochs", 0, OPT_INT, AT(epochs), "0", "E", "go over the input E times; 0: once, in its order", 0, 1e9},
        {"steps", 0, OPT_INT, AT(steps), "0", "N", "updates in all, going over the input as often as needed", 0, 1e12},
        {"shuffle", 0, OPT_FLAG, AT(shuffle), "1", NULL, "with --epochs or --steps, another order each time", 0, 0},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "seed of the shuffle", 0, 9e18},
        {"checkpoint-every", 0, OPT_INT, AT(checkpoint_every), "1", "N", "commit every N updates", 1, 1e9},
        {"skip-bad-batches", 0, OPT_INT, AT(skip_bad_batches), "0", "N",
         "go on without up to N batches in which something is NaN or infinite", 0, 1e12},
        {NULL},
};

void records_run_settle(const struct records_run_config *c)
{
	if (c->skip_bad_batches && c->checkpoint_every > 1)
		cli_misuse("--skip-bad-batches goes back to the last commit: it needs --checkpoint-every 1");
}

/* ---- opening ---- */

/* The state of the run.  What another slot has begun under this name is that slot's: each has runs of its own. */
static int load_run(struct records_run *r, struct store_view *v, struct err *e)
{
	struct str key;
	str_init(&key);
	str_addf(&key, "%s/%s", r->method->kind, r->config->run);
	int failed = loop_run_load(&r->run, v, key.buf, e);
	if (!failed && r->run.begun && strcmp(r->run.slot, r->slot)) {
		loop_run_release(&r->run);
		str_clear(&key);
		str_addf(&key, "%s.%s/%s", r->method->kind, r->slot, r->config->run);
		failed = loop_run_load(&r->run, v, key.buf, e);
	}
	r->key = str_detach(&key);
	return failed;
}

static int is_slot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)ref;
	return !snapshot && !strcmp(name, arg);
}

/* The slot, and the one whose files say what the model is: 1 when the slot is not there yet. */
static int find_slot(struct records_run *r, struct store_view *v, const char **files, struct err *e)
{
	*files = r->slot;
	if (!r->with_value)
		return trainer_slot(v, r->name, r->slot, e);
	if (strlen(r->name) >= sizeof r->slot)
		return err_set(e, "the name of slot '%s' is too long", r->name);
	snprintf(r->slot, sizeof r->slot, "%s", r->name);
	int there = store_each_name(v, is_slot, r->slot, e);
	if (there)
		return there < 0 ? -1 : 0;
	if (strpbrk(r->slot, "@/") || !strcmp(r->slot, "ref"))
		return err_set(e, "'%s' is no name for the slot of a reward model", r->slot);
	if (model_check_new_slot(v, r->slot, e))
		return -1;
	*files = r->from;
	return 1;
}

static int load_info(struct records_run *r, struct store_view *v, const char *files, bool absent, struct err *e)
{
	if (model_info_load(&r->info, v, files, true, e))
		return -1;
	if (absent && r->info.lora)
		return err_set(e, "'%s' is an adapter: what a new slot begins as is a model (rl-store merge makes one)",
		               files);
	if (!r->with_value || absent || r->info.lora || r->info.arch.value_model)
		return 0;
	return err_set(e, "'%s' has a head for tokens: a reward model is trained in a slot of its own", r->slot);
}

static int open_model(struct records_run *r, struct store_view *v, struct err *e)
{
	return trainer_open(&r->model, r->k, v, r->slot, r->with_value ? r->from : NULL, r->with_value, r->optim->kind,
	                    e);
}

/* 1: the plan is printed, and that is all; 0, -1. */
static int plan(struct records_run *r, struct store_view *v, struct err *e)
{
	if (!memory_plan_wanted(r->k, r->plan))
		return 0;
	struct kernels *k = memory_planner(r->k);
	struct trainer t;
	struct trainer_plan_rows rows;
	int got = trainer_open(&t, k, v, r->slot, r->with_value ? r->from : NULL, r->with_value, r->optim->kind, e);
	if (!got) {
		trainer_plan_rows_init(&rows, &t.info.arch, r->config->batch_size, t.micro_tokens, !r->with_value,
		                       r->with_value);
		got = trainer_attach(&t, r->store, e) || trainer_plan_backward(&t, &rows, e)
		              ? -1
		              : memory_plan_settle(k, r->plan, e);
		trainer_plan_rows_release(&rows);
	}
	trainer_close(&t);
	memory_planner_free(k);
	return got;
}

int records_run_open(struct records_run *r, struct err *e)
{
	const char *files;
	arena_init(&r->arena);
	str_init(&r->pending);
	str_init(&r->passed);
	loop_cursor_init(&r->input);
	r->order_epoch = -1;
	struct store_view *v = store_view_open(r->store, e);
	if (!v)
		return -1;
	int absent = find_slot(r, v, &files, e);
	int failed = absent < 0 || load_run(r, v, e) || load_info(r, v, files, absent, e),
	    planned = failed ? -1 : plan(r, v, e);
	failed = planned < 0 || (!planned && open_model(r, v, e));
	store_view_close(v);
	r->version = r->model.version;
	r->model.comm = r->comm;
	return failed ? -1 : planned;
}

void records_run_close(struct records_run *r)
{
	trainer_close(&r->model);
	model_info_release(&r->info);
	loop_run_release(&r->run);
	loop_cursor_release(&r->input);
	arena_release(&r->arena);
	str_release(&r->pending);
	str_release(&r->passed);
	free(r->order);
	free(r->key);
	free(r->place);
}

/* ---- records ---- */

int32_t *records_run_join(struct records_run *r, const int32_t *a, int64_t n, const int32_t *b, int64_t m, bool eos)
{
	int32_t *out = arena_array(&r->arena, (size_t)(n + m + eos), sizeof *out);
	if (n)
		memcpy(out, a, (size_t)n * sizeof *a);
	if (m)
		memcpy(out + n, b, (size_t)m * sizeof *b);
	if (eos)
		out[n + m] = r->info.eos[0];
	return out;
}

int records_run_check(const struct records_run *r, const char *field, const int32_t *token, int64_t n_prompt, int64_t n,
                      struct err *e)
{
	if (n_prompt < 1)
		return err_set(e, "the prompt has no token");
	if (n > r->info.arch.P - n_prompt)
		return err_set(e, "%lld tokens do not fit the context of %lld", (long long)(n_prompt + n),
		               (long long)r->info.arch.P);
	return prompt_check_ids(&r->info, field, token, n_prompt + n, e);
}

int records_run_take(struct records_run *r, struct record *record, const char *source, int64_t line_number,
                     struct err *e)
{
	size_t len;
	const char *line = record_line(record, &len);
	loop_cursor_take(&r->input, line, len - 1);
	if (r->method->take(r->arg, record, e))
		return -1;
	if (r->n_rows == r->place_cap) {
		r->place_cap = r->place_cap ? 2 * r->place_cap : 256;
		r->place = xrealloc_array(r->place, (size_t)r->place_cap, sizeof *r->place);
	}
	r->place[r->n_rows++] = (struct records_run_place){source, line_number};
	return 0;
}

/* ---- the run ---- */

/* The last word of what decides a run whose learning rate depends on the number of its updates. */
static const char steps_word[] = " steps=";

/* What decides the sequence of batches and updates. */
static void describe(const struct records_run *r, struct str *out)
{
	const struct records_run_config *c = r->config;
	const struct optim_config *o = r->optim;
	str_addf(out, "batch-size=%lld epochs=%lld shuffle=%d seed=%lld", (long long)c->batch_size,
	         (long long)c->epochs, c->shuffle && (c->epochs || c->steps), (long long)c->seed);
	str_addf(out,
	         " lr=%.17g schedule=%d warmup=%lld weight-decay=%.17g decay=%d betas=%s eps=%.17g max-grad-norm=%.17g",
	         o->schedule.lr, o->schedule.kind, (long long)o->schedule.warmup, o->weight_decay, o->decay, o->betas,
	         o->eps, o->max_grad_norm);
	if (o->kind != OPTIM_ADAMW) /* runs that were begun before there was another one say nothing */
		str_addf(out, " optim=%s", optim_kind_names[o->kind]);
	if (o->kind == OPTIM_SGD)
		str_addf(out, " momentum=%.17g", o->momentum);
	if (comm_ranks(r->comm) > 1) /* the order in which gradients are summed */
		str_addf(out, " ranks=%d", comm_ranks(r->comm));
	if (r->method->describe)
		r->method->describe(r->arg, out);
	if (o->schedule.kind != SCHEDULE_CONSTANT)
		str_addf(out, "%s%lld", steps_word, (long long)r->batches);
}

/* What a complete run goes on with, however many steps there are to be. */
static size_t without_steps(const char *options)
{
	const char *steps = strstr(options, steps_word);
	return steps ? (size_t)(steps - options) : strlen(options);
}

static bool same_but_steps(const char *then, const char *now)
{
	size_t n = without_steps(then);
	return n == without_steps(now) && !memcmp(then, now, n);
}

int64_t records_run_places(const struct records_run *r)
{
	int64_t passes = r->config->epochs > 0 ? r->config->epochs : 1, B = r->config->batch_size;
	if (r->config->steps > 0)
		return r->config->steps < INT64_MAX / B ? r->config->steps * B : INT64_MAX;
	return r->n_rows * passes;
}

static void begin_anew(struct records_run *r, const char *options)
{
	loop_run_release(&r->run);
	trainer_forget_moments(&r->model);
	r->run = (struct loop_run){.base = r->model.version};
	snprintf(r->run.slot, sizeof r->run.slot, "%s", r->slot);
	r->run.cursor = r->input;
	r->run.cursor.options = xstrdup(options);
	r->anew = true;
}

static bool same_input(const struct records_run *r)
{
	return r->run.cursor.records == r->input.records && r->run.cursor.lines == r->input.lines;
}

/* A run that is not finished: 1, or -1 naming what is not as it was. */
static int go_on(const struct records_run *r, const char *options, struct err *e)
{
	if (!same_input(r))
		return err_set(e, "the input is not the one the run was begun with: %lld records then, %lld now%s",
		               (long long)r->run.cursor.records, (long long)r->input.records,
		               " (another --run begins another run)");
	if (loop_same_options(r->run.cursor.options, options, e) ||
	    loop_run_undisturbed(&r->run, r->config->run, r->version, e))
		return -1;
	return 1;
}

/* A run that is complete: 0 when this is it, 1 when there is more to do. */
static int reopen(struct records_run *r, const char *options)
{
	bool same = same_input(r) && same_but_steps(r->run.cursor.options, options);
	if (same && r->run.updates >= r->batches)
		return 0;
	if (!same || r->run.version != r->version) {
		begin_anew(r, options);
		return 1;
	}
	r->run.closed = false;
	free(r->run.cursor.options);
	r->run.cursor.options = xstrdup(options);
	return 1;
}

int records_run_begin(struct records_run *r, struct err *e)
{
	struct str options;
	int result = 1;
	int64_t B = r->config->batch_size;
	if (r->n_rows == 0)
		return err_set(e, "there is no record to train on");
	str_init(&options);
	r->batches = r->config->steps > 0 ? r->config->steps : (records_run_places(r) + B - 1) / B;
	describe(r, &options);
	if (!r->run.begun)
		begin_anew(r, options.buf);
	else
		result = r->run.closed ? reopen(r, options.buf) : go_on(r, options.buf, e);
	str_release(&options);
	return result > 0 && r->method->begin && r->method->begin(r->arg, e) ? -1 : result;
}

/* ---- one batch ---- */

int64_t records_run_row(struct records_run *r, int64_t i)
{
	int64_t pass = i / r->n_rows;
	if (!(r->config->shuffle && (r->config->epochs > 0 || r->config->steps > 0)))
		return i % r->n_rows;
	if (r->order_epoch != pass) {
		if (!r->order)
			r->order = xcalloc((size_t)r->n_rows, sizeof *r->order);
		uint64_t key = rng_key("shuffle", (uint64_t)r->config->seed, r->config->run, (uint64_t)pass);
		rng_shuffle(r->order, r->n_rows, key);
		r->order_epoch = pass;
	}
	return r->order[i % r->n_rows];
}

/* A slot that begins as a copy has the files of what it is a copy of; config.json is the trainer's. */
struct copy_files {
	struct store_update *u;
	const char *slot;
	struct err *e;
};

static int copy_file(void *arg, const char *key, const void *data, size_t len)
{
	struct copy_files *c = arg;
	return strcmp(key, "file/config.json") ? store_put_blob(c->u, c->slot, key, data, len, c->e) : 0;
}

static int put_files(struct records_run *r, struct store_update *u, struct err *e)
{
	if (r->version >= 0)
		return 0;
	struct store_ref ref;
	struct copy_files c = {u, r->slot, e};
	struct store_view *v = store_view_open(r->store, e);
	int failed =
	        !v || store_resolve(v, r->from, &ref, e) || store_each_blob(v, ref.slot, "file/", copy_file, &c, e);
	store_view_close(v);
	return failed ? -1 : 0;
}

static int commit(struct records_run *r, struct err *e)
{
	/* from here on nobody reads the store, or is still to fail in this update */
	if (comm_barrier(r->comm, e))
		return -1;
	if (!comm_first(r->comm)) {
		r->model.version = ++r->version;
		str_clear(&r->pending);
		return 0;
	}
	struct store_update *u = store_update_begin(r->store, e);
	if (!u)
		return -1;
	r->run.version = r->version + 1;
	int failed = put_files(r, u, e) || trainer_put(&r->model, u, r->version + 1, e) ||
	             (r->method->commit && r->method->commit(r->arg, u, e)) || loop_run_save(&r->run, u, r->key, e);
	for (char *p = r->pending.buf; *p && !failed; p = strchr(p, '\n') + 1)
		failed = store_put_log(u, p, (size_t)(strchr(p, '\n') - p), e);
	if (failed)
		store_update_abort(u);
	else
		failed = store_update_commit(u, e);
	if (!failed)
		r->version++;
	str_clear(&r->pending);
	return failed ? -1 : 0;
}

static void put_end(struct str *out, const struct records_run *r, int64_t rows, double seconds)
{
	str_adds(out, ",\"epoch\":");
	json_put_num(out, (double)((r->run.batches - 1) * r->config->batch_size + rows) / (double)r->n_rows);
	str_adds(out, ",\"time/update\":");
	json_put_num(out, seconds);
	str_addc(out, '}');
}

static void put_metrics(struct str *out, const struct records_run *r, int64_t rows, double norm, double lr,
                        double seconds)
{
	str_addf(out, "{\"step\":%lld", (long long)r->run.updates);
	r->method->metrics(r->arg, out);
	str_adds(out, ",\"grad_norm\":");
	json_put_num(out, norm);
	for (int i = 0; i < GROUP_COUNT; i++)
		if (optim_has_group(&r->model.info.table, i)) {
			str_addf(out, ",\"grad_norm/%s\":", optim_group_names[i]);
			json_put_num(out, r->model.norm[i]);
		}
	str_adds(out, ",\"lr\":");
	json_put_num(out, lr);
	str_addf(out, ",\"rows\":%lld,\"tokens\":%.0f", (long long)rows, r->learned);
	if (r->config->skip_bad_batches)
		str_addf(out, ",\"bad_batches\":%lld", (long long)r->run.bad);
	put_end(out, r, rows, seconds);
}

static void put_bad_metrics(struct str *out, const struct records_run *r, int64_t rows, const struct err *why,
                            double seconds)
{
	str_addf(out, "{\"step\":%lld,\"rows\":0,\"skipped\":%lld,\"tokens\":0", (long long)r->run.updates,
	         (long long)rows);
	bad_batch_metrics(out, &r->run, why);
	put_end(out, r, rows, seconds);
}

int records_run_finite(struct records_run *r, const struct trainer_row *pass, int64_t n, int each, const int64_t *row,
                       const char *value, struct err *e)
{
	for (int64_t i = 0; i < n; i++) {
		if (bad_batch_row_finite(&pass[i]))
			continue;
		const struct records_run_place *p = &r->place[row[i / each]];
		r->bad = true;
		bad_batch_row(&pass[i], value, e);
		return err_where(e, "%s:%lld", p->source, (long long)p->line);
	}
	return 0;
}

static int update(struct records_run *r, const int64_t *row, int64_t n, struct arena *a, double *norm, double lr,
                  struct err *e)
{
	struct trainer *const model = &r->model;
	memset(model->norm, 0, sizeof model->norm);
	trainer_zero_gradient(model);
	model->d.dropout = rng_key("dropout", (uint64_t)r->config->seed, r->config->run, (uint64_t)model->step);
	int got = trainer_attach(model, r->store, e) ? -1 : r->method->gradient(r->arg, row, n, a, e);
	trainer_detach(model);
	if (got <= 0) /* with nothing to learn there is no loss, and moments would move weights */
		return got;
	if (trainer_step(&model, 1, r->optim, lr, lr, norm, e)) {
		r->bad = !isfinite(*norm);
		return -1;
	}
	r->bad = bad_batch_model(model, e) != 0;
	return r->bad ? -1 : 0;
}

/* The model as it was before the batch. */
static int reopen_model(struct records_run *r, struct err *e)
{
	trainer_close(&r->model);
	struct store_view *v = store_view_open(r->store, e);
	int failed = !v || open_model(r, v, e);
	store_view_close(v);
	if (!failed && !r->run.begun)
		trainer_forget_moments(&r->model);
	return failed ? -1 : 0;
}

/* What is so of the run after its next batch, of which n rows were trained on. */
static void advance(struct records_run *r, int64_t n)
{
	r->run.begun = true;
	r->run.updates = ++r->run.batches;
	r->run.episodes += n;
	r->run.closed = r->run.batches == r->batches;
}

/* Rows of the next batch. */
static int64_t pick(struct records_run *r, int64_t **row, struct arena *a)
{
	int64_t B = r->config->batch_size, first = r->run.batches * B, left = records_run_places(r) - first;
	int64_t n = left < B ? left : B;
	*row = arena_array(a, (size_t)n, sizeof **row);
	for (int64_t i = 0; i < n; i++)
		(*row)[i] = records_run_row(r, first + i);
	return n;
}

int records_run_step(struct records_run *r, struct str *metrics, struct err *e)
{
	if (r->run.batches >= r->batches)
		return 0;
	struct arena a;
	int64_t *row;
	double started = now_seconds(), norm = 0;
	int64_t step = r->run.batches + 1;
	double lr = schedule_rate(&r->optim->schedule, r->run.batches, r->batches);
	arena_init(&a);
	int64_t n = pick(r, &row, &a);
	str_clear(&r->passed);
	r->bad = false;
	int failed = update(r, row, n, &a, &norm, lr, e);
	arena_release(&a);
	if (!failed) {
		advance(r, n);
		put_metrics(metrics, r, n, norm, lr, now_seconds() - started);
	} else if (r->bad && !(failed = bad_batch_may_skip(&r->run, r->config->skip_bad_batches, false, e))) {
		struct err why = *e;
		str_adds(&r->passed, e->msg);
		if (!(failed = reopen_model(r, e))) {
			advance(r, 0);
			r->run.bad++;
			put_bad_metrics(metrics, r, n, &why, now_seconds() - started);
		}
	}
	if (!failed) {
		run_log_entry(&r->pending, r->method->tool, r->config->run, r->slot, r->version + 1, r->config->seed,
		              r->input.records, r->options, r->operands, metrics->buf);
		str_addc(&r->pending, '\n');
		if (r->run.closed || r->run.updates % r->config->checkpoint_every == 0)
			failed = commit(r, e);
	}
	return failed ? err_where(e, "step %lld", (long long)step) : 1;
}

int records_run_each_metrics(struct records_run *r, int (*fn)(void *arg, const char *line, size_t len), void *arg,
                             struct err *e)
{
	return r->run.begun ? run_log_each(r->store, r->method->tool, r->config->run, r->slot, r->run.base, fn, arg, e)
	                    : 0;
}

/* ---- with a tool ---- */

struct printing {
	struct tool *t;
	const struct records_run *r;
	struct metrics_table table; /* for a terminal */
	struct err *e;
};

static int print_line(void *arg, const char *line, size_t len)
{
	struct printing *p = arg;
	struct str row;
	str_init(&row);
	if (metrics_table_wanted()) {
		metrics_table_put(&p->table, line, len, p->t->n_out + 1, p->r->batches, &row);
	} else {
		str_add(&row, line, len);
		str_addc(&row, '\n');
	}
	int failed = sink_write(p->t->out, row.buf, row.len, p->e);
	str_release(&row);
	p->t->n_out += !failed;
	return failed ? 1 : 0;
}

static int read_all(struct records_run *r, struct tool *t, struct err *e)
{
	int got;
	while ((got = tool_next(t, e)) > 0) {
		if (tool_passes(t, t->record))
			continue;
		if (records_run_take(r, t->record, t->source, t->line, e) && tool_mark(t, t->record, 0, e))
			return -1;
	}
	return got;
}

static int train(struct records_run *r, struct printing *p, struct err *e)
{
	struct tool *t = p->t;
	struct str metrics;
	int got;
	str_init(&metrics);
	while ((got = records_run_step(r, &metrics, e)) > 0) {
		if (print_line(p, metrics.buf, metrics.len) || sink_flush(t->out, e)) {
			got = -1;
			break;
		}
		if (!t->config.quiet && r->passed.len)
			cli_warn("step %lld is passed over: %s", (long long)r->run.batches, r->passed.buf);
		str_clear(&metrics);
		t->n_tokens = r->tokens;
		tool_progress(t, r->run.episodes, r->run.batches, r->batches);
	}
	str_release(&metrics);
	return got;
}

int records_run_all(struct records_run *r, struct tool *t, struct err *e)
{
	int planned = records_run_open(r, e);
	if (planned) {
		t->fails_when_empty = false;
		return planned < 0 ? -1 : 0;
	}
	if (read_all(r, t, e))
		return -1;
	struct printing p = {.t = t, .r = r, .e = e};
	metrics_table_init(&p.table, metrics_columns_sft);
	int go = records_run_begin(r, e);
	if (go < 0 || records_run_each_metrics(r, print_line, &p, e))
		return -1;
	return go ? train(r, &p, e) : 0;
}
