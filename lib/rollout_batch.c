/* rollout_batch - see rollout_batch.h */
#include "lib/rollout_batch.h"

#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/prompt.h"
#include "lib/rng.h"
#include "lib/rollout_record.h"
#include "lib/util.h"
#include "lib/weights_kept.h"

/* One prompt of the batch. */
struct item {
	struct prompt source;
	const char *id, *text, *error;
	bool passes; /* it carries `skip` or `error` already, and needs no sample */
	size_t id_len, text_len;
	bool has_id; /* the record says `id` itself */
	int64_t sample;
	int32_t *ids;
	int64_t n_ids, max_tokens;
};

struct rollout_batch {
	struct rollout_batch_config c, held_out; /* with `as`: of the records of an evaluation */
	bool evaluation;                         /* those that are held are */
	const struct model_info *model;
	struct filter *prompt;
	struct tool *tool;
	char *sample_purpose, *length_purpose; /* of the keys that numbers are drawn under */
	struct record *out, *object;           /* with `as`: the record that is written, and the object in it */
	struct arena arena;                    /* reset for each batch */
	struct item *items;
	int64_t n_items;
	struct generate_result *results; /* the sampled ones, prompt after prompt, then the greedy ones */
	int64_t n_results;
	bool checked; /* the first batch fits the device */
	struct weights_kept kept;
};

/* Two generations of one pipe draw different numbers. */
static char *purpose(const char *what, const char *as)
{
	struct str s;
	str_init(&s);
	str_adds(&s, what);
	if (as)
		str_addf(&s, ":%s", as);
	return str_detach(&s);
}

struct rollout_batch_config rollout_batch_held_out(const struct rollout_batch_config *c)
{
	struct rollout_batch_config h = *c;
	h.n = 1;
	h.greedy = false;
	h.evaluation = true;
	h.min_new = c->max_new;
	h.seed = 0;
	h.generate.temperature = 0;
	h.generate.top_k = 0;
	h.generate.top_p = 1;
	h.generate.min_p = 0;
	return h;
}

/* Of the records that are held. */
static const struct rollout_batch_config *config_of(const struct rollout_batch *b)
{
	return b->evaluation ? &b->held_out : &b->c;
}

/* Completions of a prompt. */
static int64_t per_prompt(const struct rollout_batch *b)
{
	return b->c.n + b->c.greedy;
}

struct rollout_batch *rollout_batch_new(const struct rollout_batch_config *c, const struct model_info *m,
                                        struct filter *prompt, struct tool *t)
{
	struct rollout_batch *b = xcalloc(1, sizeof *b);
	b->c = *c;
	b->held_out = rollout_batch_held_out(c);
	b->model = m;
	b->prompt = prompt;
	b->tool = t;
	b->sample_purpose = purpose("sample", c->as);
	b->length_purpose = purpose("length", c->as);
	b->out = record_new();
	b->object = record_new();
	arena_init(&b->arena);
	b->items = xcalloc((size_t)c->max_prompts, sizeof *b->items);
	return b;
}

static void forget(struct rollout_batch *b)
{
	for (int64_t i = 0; i < b->n_results; i++)
		generate_result_release(&b->results[i]);
	free(b->results);
	for (int64_t i = 0; i < b->n_items; i++)
		free(b->items[i].source.line);
	b->results = NULL;
	b->n_results = b->n_items = 0;
	arena_reset(&b->arena);
}

void rollout_batch_rest(struct rollout_batch *b)
{
	weights_kept_release(&b->kept);
}

void rollout_batch_free(struct rollout_batch *b)
{
	if (!b)
		return;
	forget(b);
	rollout_batch_rest(b);
	arena_release(&b->arena);
	record_free(b->out);
	record_free(b->object);
	free(b->sample_purpose);
	free(b->length_purpose);
	free(b->items);
	free(b);
}

/* ---- reading ---- */

/* What --prompt gives: a text, which is encoded, or an array of texts and ids. */
static int run_prompt(struct rollout_batch *b, struct item *it, struct err *e)
{
	struct json v;
	if (filter_run(b->prompt, b->tool->record, &v, &b->arena, e))
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return err_set(e, "--prompt '%s' gives nothing here", filter_program(b->prompt));
	if (v.kind == JSON_ARRAY)
		return prompt_from(b->model, &v, "'--prompt'", true, &it->ids, &it->n_ids, &b->arena, e);
	if (v.kind != JSON_STRING)
		return err_set(e, "--prompt '%s' gives neither a text nor an array here", filter_program(b->prompt));
	it->text_len = v.len;
	it->text = arena_strndup(&b->arena, v.text, v.len);
	return prompt_encode(b->model, it->text, it->text_len, &it->ids, &it->n_ids, &b->arena, e);
}

static int64_t draw_length(const struct rollout_batch *b, const struct item *it)
{
	uint64_t key = rng_key(b->length_purpose, b->c.seed, b->c.run, (uint64_t)it->source.epoch);
	double u = rng_uniform(key, rng_id(it->id, it->id_len), (uint32_t)it->sample, 0);
	int64_t min_new = config_of(b)->min_new;
	return min_new + (int64_t)(u * (double)(b->c.max_new - min_new + 1));
}

static int check_length(const struct rollout_batch *b, struct item *it, struct err *e)
{
	it->max_tokens = draw_length(b, it);
	if (it->n_ids < 1)
		return err_set(e, "the prompt has no token");
	if (it->n_ids + it->max_tokens > b->model->arch.P)
		return err_set(e, "%lld prompt tokens and %lld new ones do not fit the context of %lld",
		               (long long)it->n_ids, (long long)it->max_tokens, (long long)b->model->arch.P);
	return 0;
}

/* It could not be written beside the one that is there, and stages behind would number such records anew. */
static int check_id(const struct record *r, struct err *e)
{
	if (!record_has(r, "id") || record_kind(r, "id") != JSON_NULL)
		return 0;
	return err_set(e, "'id' is null, so the record cannot be named: give it one, or remove it: jq 'del(.id)'");
}

/* Id and ids of the prompt: the ids as they are in the record, or from its text. */
static int read_item(struct rollout_batch *b, struct item *it, struct err *e)
{
	struct record *r = b->tool->record;
	if (record_parse(r, it->source.line, it->source.len, e))
		return -1;
	if (rollout_is_evaluation(r))
		return err_set(e, "'eval' is true, which marks records of an evaluation (--eval)");
	it->passes = tool_passes(b->tool, r);
	if (it->passes)
		return 0;
	if (check_id(r, e) || record_id(r, it->source.number, &it->id, &it->id_len, &b->arena, e) < 0)
		return -1;
	int got = record_ints(r, "prompt_tokens", &it->ids, &it->n_ids, -1, NULL, &b->arena, e);
	if (got < 0 || (got > 0 && prompt_check_ids(b->model, "prompt_tokens", it->ids, it->n_ids, e)) ||
	    (got == 0 && run_prompt(b, it, e)))
		return -1;
	return check_length(b, it, e);
}

int64_t rollout_batch_read(struct rollout_batch *b, struct prompts *p, struct loop_cursor *cursor, struct err *e)
{
	forget(b);
	while (b->n_items < b->c.max_prompts) {
		struct item *it = &b->items[b->n_items];
		*it = (struct item){0};
		int got = prompts_next(p, &it->source, e);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		b->n_items++;
		loop_cursor_take(cursor, it->source.line, it->source.len);
		if (!read_item(b, it, e))
			continue;
		if (!b->tool->config.keep_going)
			return err_where(e, "%s:%lld", b->tool->source, (long long)it->source.number);
		it->error = arena_strndup(&b->arena, e->msg, strlen(e->msg));
	}
	return b->n_items;
}

/* ---- records that come by (`as`) ---- */

static struct item *take(struct rollout_batch *b)
{
	size_t len;
	const char *line = record_line(b->tool->record, &len);
	struct item *it = &b->items[b->n_items++];
	*it = (struct item){.source = {.line = xstrndup(line, len), .len = len, .number = b->tool->line}};
	return it;
}

void rollout_batch_pass(struct rollout_batch *b)
{
	take(b)->passes = true;
}

/* The sampling counter is 32 bits wide. */
static int read_sample(struct record *r, int64_t *sample, struct err *e)
{
	*sample = 0;
	if (record_int(r, "sample", sample, e) < 0)
		return -1;
	if (*sample < 0 || *sample > UINT32_MAX)
		return err_set(e, "'sample' is %lld, but must be from 0 to %lld", (long long)*sample,
		               (long long)UINT32_MAX);
	return 0;
}

int rollout_batch_add(struct rollout_batch *b, int64_t epoch, bool evaluation, struct err *e)
{
	struct record *r = b->tool->record;
	struct item *it = take(b);
	b->evaluation = evaluation;
	it->source.epoch = epoch;
	it->has_id = record_kind(r, "id") > JSON_NULL;
	if (!record_check_new(r, b->c.as, e) &&
	    record_id(r, it->source.number, &it->id, &it->id_len, &b->arena, e) >= 0 &&
	    !read_sample(r, &it->sample, e) && !run_prompt(b, it, e) && !check_length(b, it, e))
		return 0;
	free(it->source.line);
	b->n_items--;
	return -1;
}

int64_t rollout_batch_held(const struct rollout_batch *b)
{
	return b->n_items;
}

bool rollout_batch_full(const struct rollout_batch *b)
{
	return b->n_items == b->c.max_prompts;
}

/* ---- sampling ---- */

static bool is_sampled(const struct item *it)
{
	return !it->passes && !it->error;
}

static int64_t rows_of(const struct rollout_batch *b, const struct item *it)
{
	return is_sampled(it) ? per_prompt(b) : 1;
}

static struct generate_request request_of(const struct rollout_batch *b, const struct item *it)
{
	return (struct generate_request){
	        .prompt = it->ids,
	        .n_prompt = it->n_ids,
	        .id = rng_id(it->id, it->id_len),
	        .key = rng_key(b->sample_purpose, b->c.seed, b->c.run, (uint64_t)it->source.epoch),
	        .first_sample = it->sample,
	        .n_samples = b->c.n,
	        .max_tokens = it->max_tokens};
}

static int sample(struct rollout_batch *b, struct decoder *d, const struct weights *w, struct generate_request *request,
                  int64_t n, struct err *e)
{
	struct generate_config greedy = b->c.generate;
	if (generate_run(d, w, b->model, &config_of(b)->generate, request, n, b->results, e))
		return -1;
	if (!b->c.greedy)
		return 0;
	greedy.temperature = 0;
	for (int64_t i = 0; i < n; i++) {
		request[i].first_sample = b->c.n;
		request[i].n_samples = 1;
	}
	return generate_run(d, w, b->model, &greedy, request, n, b->results + n * b->c.n, e);
}

/* Samples n requests into b->results.  kept: of k's weights. */
static int run_requests(struct rollout_batch *b, const struct kernels *k, struct weights_kept *kept,
                        struct store_view *v, const struct store_ref *ref, struct generate_request *request, int64_t n,
                        struct err *e)
{
	struct decoder d;
	b->n_results = n * per_prompt(b);
	b->results = xcalloc((size_t)b->n_results, sizeof *b->results);
	const struct weights *w = weights_kept_begin(kept, k, &b->model->table, v, ref, e);
	if (!w)
		return -1;
	int failed = decoder_init(&d, &b->model->arch, &b->model->table, k, e);
	if (!failed) {
		failed = sample(b, &d, w, request, n, e);
		decoder_release(&d);
	}
	weights_kept_end(kept);
	return failed;
}

/* The same on a planner, where every sample becomes as long as it may. */
static int plan_requests(const struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                         const struct store_ref *ref, const struct generate_request *request, int64_t n, bool print,
                         struct err *e)
{
	struct rollout_batch planned = *b;
	struct kernels *planner = memory_planner(k);
	struct generate_request *copy = xcalloc((size_t)n, sizeof *copy);
	memcpy(copy, request, (size_t)n * sizeof *copy);
	planned.c.generate.ignore_eos = true;
	planned.c.generate.n_stop = 0;
	struct weights_kept kept = {0};
	int got =
	        run_requests(&planned, planner, &kept, v, ref, copy, n, e) ? -1 : memory_plan_settle(planner, print, e);
	weights_kept_release(&kept);
	for (int64_t i = 0; i < planned.n_results; i++)
		generate_result_release(&planned.results[i]);
	free(planned.results);
	free(copy);
	memory_planner_free(planner);
	return got;
}

int rollout_batch_plan(struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                       const struct store_ref *ref, struct err *e)
{
	int64_t n = b->c.max_prompts, P = b->model->arch.P, max_new = b->c.max_new < P ? b->c.max_new : P - 1;
	struct generate_request *request = arena_array(&b->arena, (size_t)n, sizeof *request);
	int32_t *prompt = arena_array(&b->arena, (size_t)P, sizeof *prompt);
	memset(prompt, 0, (size_t)P * sizeof *prompt);
	for (int64_t i = 0; i < n; i++)
		request[i] = (struct generate_request){
		        .prompt = prompt, .n_prompt = P - max_new, .n_samples = b->c.n, .max_tokens = max_new};
	return plan_requests(b, k, v, ref, request, n, true, e);
}

int rollout_batch_generate(struct rollout_batch *b, const struct kernels *k, struct store_view *v,
                           const struct store_ref *ref, struct err *e)
{
	struct generate_request *request = arena_array(&b->arena, (size_t)b->n_items, sizeof *request);
	int64_t n = 0;
	for (int64_t i = 0; i < b->n_items; i++)
		if (is_sampled(&b->items[i]))
			request[n++] = request_of(b, &b->items[i]);
	if (n == 0)
		return 0;
	if (!b->checked && memory_plan_wanted(k, false) && plan_requests(b, k, v, ref, request, n, false, e))
		return -1;
	b->checked = true;
	return run_requests(b, k, &b->kept, v, ref, request, n, e);
}

/* ---- writing ---- */

static int write_row(struct rollout_batch *b, const struct item *it, const struct rollout_place *p,
                     const struct generate_result *g, struct err *e)
{
	struct record *r = b->tool->record;
	if (record_parse(r, it->source.line, it->source.len, e))
		return -1;
	int failed = 0;
	if (it->error) {
		b->tool->n_errors++;
		failed = record_add_str(r, "error", it->error, strlen(it->error), e);
	}
	if (!failed)
		failed = g ? rollout_record_completion(r, p, g, b->model->tokenizer, &b->arena, e)
		           : rollout_record_place(r, p, e);
	if (failed)
		return err_where(e, "%s:%lld", b->tool->source, (long long)it->source.number);
	return tool_write(b->tool, r, e);
}

static struct rollout_place place_of(const struct rollout_batch *b, const struct item *it)
{
	return (struct rollout_place){.id = it->id,
	                              .id_len = it->id_len,
	                              .prompt = it->text,
	                              .prompt_len = it->text_len,
	                              .prompt_ids = it->ids,
	                              .n_prompt = it->n_ids,
	                              .epoch = it->source.epoch,
	                              .n_samples = per_prompt(b),
	                              .evaluation = b->c.evaluation,
	                              .temperature = config_of(b)->generate.temperature};
}

int rollout_batch_write(struct rollout_batch *b, const struct store_ref *ref, int64_t batch, bool last,
                        const struct loop_cursor *cursor, struct err *e)
{
	const struct generate_result *g = b->results, *greedy = g ? g + b->n_results / per_prompt(b) * b->c.n : NULL;
	int64_t row = 0, rows = 0;
	for (int64_t i = 0; i < b->n_items; i++)
		rows += rows_of(b, &b->items[i]);
	for (int64_t i = 0; i < b->n_items; i++) {
		const struct item *it = &b->items[i];
		struct rollout_place p = place_of(b, it);
		p.version = ref->version;
		p.batch = batch;
		p.batch_size = rows;
		p.last = last;
		for (p.sample = 0; p.sample < rows_of(b, it); p.sample++) {
			bool is_greedy = p.sample == b->c.n;
			p.row = row++;
			p.cursor = row == rows ? cursor : NULL;
			p.temperature = is_greedy ? 0 : b->c.generate.temperature;
			if (write_row(b, it, &p, !is_sampled(it) ? NULL : is_greedy ? greedy++ : g++, e))
				return -1;
		}
	}
	return sink_flush(b->tool->out, e);
}

/* The same fields as an object of the record that came by. */
static int add_object(struct rollout_batch *b, const struct item *it, const struct rollout_place *p,
                      const struct generate_result *g, struct err *e)
{
	size_t len;
	record_clear(b->object);
	if ((!it->has_id && record_add_str(b->object, "id", it->id, it->id_len, e)) ||
	    rollout_record_sample(b->object, p, g, b->model->tokenizer, &b->arena, e))
		return -1;
	const char *text = record_line(b->object, &len);
	return record_add_raw(b->out, b->c.as, text, len - 1, e);
}

int rollout_batch_write_as(struct rollout_batch *b, const struct store_ref *ref, struct err *e)
{
	const struct generate_result *g = b->results;
	for (int64_t i = 0; i < b->n_items; i++) {
		const struct item *it = &b->items[i];
		struct rollout_place p = place_of(b, it);
		p.version = ref->version;
		record_resume(b->out, it->source.line, it->source.len);
		if (!it->passes && add_object(b, it, &p, g, e))
			return err_where(e, "%s:%lld", b->tool->source, (long long)it->source.number);
		if (!it->passes)
			b->tool->n_tokens += g++->n;
		if (tool_write(b->tool, b->out, e))
			return -1;
	}
	forget(b);
	return sink_flush(b->tool->out, e);
}
