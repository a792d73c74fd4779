/* rollout_reader - see rollout_reader.h */
#include "lib/rollout_reader.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage_record.h"
#include "lib/rollout_record.h"
#include "lib/rollout_states.h"
#include "lib/util.h"

/* How long an unfinished batch may be quiet, with its sampler idle, before the trainer says what it sees. */
static const double quiet_seconds = 10;

struct rollout_reader {
	struct tool *t;
	struct rollout_reader_config c;
	struct loop_locks *locks;
	struct reward *reward;
	struct arena arena; /* of the batch */
	struct rollout_row *row;
	bool *have;
	int64_t n, cap, got;
	int64_t batch; /* the one being read, counted from 0; -1: none yet */
	bool fields;   /* the stream says which batch a record belongs to */
	bool known, last, ended;
	int64_t strays; /* error records of lines that never were rows */
	struct str stray_lines;
	int64_t lost; /* lines of the batch that are no records */
	struct str bad, bad_at;
	struct str lost_ahead; /* why the line that was read ahead is none */
	bool has_cursor;       /* of this batch */
	struct loop_cursor cursor;
	struct rollout_states states;
	struct rollout_scores scores; /* of the evaluation before the batch, if there is one */
	bool held;                    /* the tool's record was read ahead and is not taken yet */
	double since;
	bool said;
};

struct rollout_reader *rollout_reader_new(struct tool *t, const struct rollout_reader_config *c,
                                          struct loop_locks *locks, struct err *e)
{
	struct rollout_reader *r = xcalloc(1, sizeof *r);
	r->t = t;
	r->c = *c;
	r->locks = locks;
	arena_init(&r->arena);
	loop_cursor_init(&r->cursor);
	rollout_states_init(&r->states);
	str_init(&r->stray_lines);
	rollout_scores_init(&r->scores);
	str_init(&r->bad);
	str_init(&r->bad_at);
	str_init(&r->lost_ahead);
	r->batch = -1;
	r->reward = reward_new(c->reward, e);
	if (r->reward)
		return r;
	rollout_reader_free(r);
	return NULL;
}

void rollout_reader_free(struct rollout_reader *r)
{
	if (!r)
		return;
	reward_free(r->reward);
	loop_cursor_release(&r->cursor);
	rollout_states_release(&r->states);
	str_release(&r->stray_lines);
	rollout_scores_release(&r->scores);
	str_release(&r->bad);
	str_release(&r->bad_at);
	str_release(&r->lost_ahead);
	arena_release(&r->arena);
	free(r->row);
	free(r->have);
	free(r);
}

const char *rollout_reader_reward(const struct rollout_reader *r)
{
	return reward_description(r->reward);
}

/* ---- waiting ---- */

static bool sampler_is_idle(struct rollout_reader *r)
{
	return r->locks && loop_held(r->locks, LOOP_SAMPLER) && !loop_held(r->locks, LOOP_BUSY) &&
	       !loop_held(r->locks, LOOP_STAGE);
}

/* Between two batches it is the next that is waited for, and how many rows it has is not known. */
static void say_what_is_missing(const struct rollout_reader *r)
{
	long long next = r->known ? r->batch + 1 : r->c.first;
	if (!rollout_scores_whole(&r->scores))
		cli_warn("the evaluation before batch %lld: %lld of %lld rows; a stage before drops or holds records",
		         (long long)r->scores.batch, (long long)r->scores.got, (long long)r->scores.n);
	else if (r->got)
		cli_warn("batch %lld: %lld of %lld rows; a stage before drops or holds records", (long long)r->batch,
		         (long long)r->got, (long long)r->n);
	else
		cli_warn("batch %lld: no row yet, though it was sampled; a stage before drops or holds records", next);
}

/* Until input comes; says once a batch what is missing when nobody upstream is at work on it. */
static void wait_for_input(struct rollout_reader *r)
{
	while (r->t->in && !stream_ready(r->t->in) && stream_fd(r->t->in) >= 0) {
		struct pollfd p = {.fd = stream_fd(r->t->in), .events = POLLIN};
		if (poll(&p, 1, 500) != 0)
			return;
		if (!sampler_is_idle(r)) {
			r->since = now_seconds();
		} else if (!r->said && now_seconds() - r->since > quiet_seconds) {
			say_what_is_missing(r);
			r->said = true;
		}
	}
}

static int next_record(struct rollout_reader *r, struct err *e)
{
	if (r->held) {
		r->held = false;
		return 1;
	}
	if (tool_open_input(r->t, e))
		return -1;
	wait_for_input(r);
	int got = tool_next(r->t, e);
	r->since = now_seconds();
	return got;
}

/* ---- one row ---- */

static int read_floats(struct record *rec, const char *name, float **out, int64_t n, struct arena *a, struct err *e)
{
	int64_t len;
	*out = NULL;
	return record_floats(rec, name, out, &len, n, "tokens", a, e) < 0 ? -1 : 0;
}

static int read_tokens(struct rollout_reader *r, struct rollout_row *row, struct err *e)
{
	struct record *rec = r->t->record;
	int32_t *prompt, *completion;
	int got = record_ints(rec, "prompt_tokens", &prompt, &row->n_prompt, -1, NULL, &r->arena, e);
	if (got == 0)
		err_set(e, "there is no 'prompt_tokens'");
	if (got > 0 && (got = record_ints(rec, "tokens", &completion, &row->n, -1, NULL, &r->arena, e)) == 0)
		err_set(e, "there is no 'tokens'");
	if (got <= 0)
		return -1;
	if (row->n_prompt < 1)
		return err_set(e, "'prompt_tokens' is empty");
	if (row->n_prompt + row->n > r->c.max_context)
		return err_set(e, "%lld prompt tokens and %lld others do not fit the context of %lld",
		               (long long)row->n_prompt, (long long)row->n, (long long)r->c.max_context);
	row->token = arena_array(&r->arena, (size_t)(row->n_prompt + row->n), sizeof *row->token);
	memcpy(row->token, prompt, (size_t)row->n_prompt * sizeof *prompt);
	if (row->n)
		memcpy(row->token + row->n_prompt, completion, (size_t)row->n * sizeof *completion);
	for (int64_t i = 0; i < row->n_prompt + row->n; i++)
		if (row->token[i] < 0 || row->token[i] >= r->c.V)
			return err_set(e, "'%s' has id %d, but the vocabulary has %lld",
			               i < row->n_prompt ? "prompt_tokens" : "tokens", row->token[i],
			               (long long)r->c.V);
	return 0;
}

static int read_mask(struct rollout_reader *r, struct rollout_row *row, struct err *e)
{
	int64_t len;
	int got = record_ints(r->t->record, "mask", &row->mask, &len, row->n, "tokens", &r->arena, e);
	if (got == 0)
		row->mask = NULL;
	for (int64_t i = 0; got > 0 && i < row->n; i++)
		if (row->mask[i] != 0 && row->mask[i] != 1)
			return err_set(e, "'mask' has %d at place %lld, but may hold only 0 and 1", row->mask[i],
			               (long long)i);
	return got < 0 ? -1 : 0;
}

static int read_numbers(struct rollout_reader *r, struct rollout_row *row, struct err *e)
{
	struct record *rec = r->t->record;
	struct arena *a = &r->arena;
	if (read_mask(r, row, e) || read_floats(rec, "logprobs", &row->logprobs, row->n, a, e) ||
	    read_floats(rec, "ref_logprobs", &row->ref_logprobs, row->n, a, e) ||
	    read_floats(rec, "values", &row->values, row->n, a, e) ||
	    read_floats(rec, "rewards", &row->rewards, row->n, a, e) ||
	    read_floats(rec, "advantages", &row->advantages, row->n, a, e) ||
	    read_floats(rec, "returns", &row->returns, row->n, a, e))
		return -1;
	if (!row->logprobs)
		return err_set(
		        e, "there is no 'logprobs': they are what the policy was that sampled, and are never made up");
	int got = record_num(rec, "bootstrap_value", &row->bootstrap_value, e);
	row->has_bootstrap = got > 0;
	if (got >= 0)
		got = record_num(rec, "bootstrap_return", &row->bootstrap_return, e);
	row->has_bootstrap_return = got > 0;
	if (got >= 0)
		got = record_num(rec, "kl_coef", &row->kl_coef, e);
	row->has_kl_coef = got > 0;
	row->temperature = 1;
	if (got < 0 || record_num(rec, "temperature", &row->temperature, e) < 0)
		return -1;
	if (row->temperature < 0)
		return err_set(e, "'temperature' is %g, but may not be negative", row->temperature);
	if (row->temperature == 0)
		row->temperature = 1; /* greedy: its log-probabilities are those at 1 */
	return 0;
}

static int read_labels(struct rollout_reader *r, struct rollout_row *row, struct err *e)
{
	const char *text, *id;
	size_t len;
	row->version = -1;
	if (record_int(r->t->record, "policy_version", &row->version, e) < 0 ||
	    record_id(r->t->record, r->t->line, &id, &len, &r->arena, e) < 0)
		return -1;
	row->id = id;
	int got = record_str(r->t->record, "finish", &text, &len, e);
	row->cut = got > 0 && len == 6 && !memcmp(text, "length", 6);
	row->eos = got > 0 && len == 3 && !memcmp(text, "eos", 3);
	return got < 0 ? -1 : 0;
}

static int read_row(struct rollout_reader *r, struct rollout_row *row, struct err *e)
{
	struct record *rec = r->t->record;
	struct advantage_row group = {0};
	advantage_record_group(rec, r->t->line, &group, &r->arena);
	*row = (struct rollout_row){.group = group.group, .sample = group.sample, .greedy = group.greedy};
	if (record_kind(rec, "error") > JSON_NULL)
		row->skip = "error";
	else if (record_kind(rec, "skip") > JSON_NULL)
		row->skip = "skip";
	if (row->skip)
		return 0;
	if (read_labels(r, row, e) || read_tokens(r, row, e) || read_numbers(r, row, e))
		return -1;
	int got = reward_read(r->reward, rec, row->n, row->mask, &row->reward, &row->score, &r->arena, e);
	row->n_parts = reward_components(rec, &row->part, &r->arena);
	row->has_reward = got > 0;
	if (got == 0 && row->rewards)
		got = 1; /* an advantage tool was here; the total is only told */
	if (got == 0)
		row->skip = "no reward";
	if (got > 0 && row->n == 0)
		row->skip = "no token";
	return got < 0 ? -1 : 0;
}

/* ---- whole batches ---- */

struct place {
	int64_t batch, row, size;
	bool last;
};

/* Where the record belongs: 1; 0 when it does not say (all of batch, row and batch_size are needed); -1. */
static int read_place(struct rollout_reader *r, struct place *p, struct err *e)
{
	struct record *rec = r->t->record;
	*p = (struct place){0};
	int batch = record_int(rec, "batch", &p->batch, e);
	int row = batch > 0 ? record_int(rec, "row", &p->row, e) : batch;
	int size = row > 0 ? record_int(rec, "batch_size", &p->size, e) : row;
	if (size <= 0)
		return size;
	if (record_bool(rec, "last", &p->last, e) < 0)
		return -1;
	if (p->size < 1 || p->size > 1 << 24 || p->row < 0 || p->row >= p->size)
		return err_set(e, "'row' is %lld and 'batch_size' is %lld", (long long)p->row, (long long)p->size);
	return 1;
}

static void make_room(struct rollout_reader *r, int64_t n)
{
	if (n <= r->cap)
		return;
	r->row = xrealloc_array(r->row, (size_t)n, sizeof *r->row);
	r->have = xrealloc_array(r->have, (size_t)n, sizeof *r->have);
	r->cap = n;
}

static void begin_batch(struct rollout_reader *r, int64_t batch, int64_t n)
{
	make_room(r, n);
	memset(r->have, 0, (size_t)n * sizeof *r->have);
	memset(r->row, 0, (size_t)n * sizeof *r->row);
	r->has_cursor = false;
	arena_reset(&r->arena);
	r->batch = batch;
	r->n = n;
	r->got = 0;
	rollout_states_begin(&r->states);
	r->said = false;
	r->since = now_seconds();
}

/* The current record, which belongs to no row. */
static void keep_beside(struct rollout_reader *r)
{
	size_t len;
	const char *line = record_line(r->t->record, &len);
	if (r->c.keep_lines)
		str_add(&r->stray_lines, line, len);
}

/* A row of an evaluation comes before the rows of its batch, or among them. */
static int take_evaluation(struct rollout_reader *r, struct err *e)
{
	int64_t batch = rollout_scores_batch(r->t->record, e);
	if (batch < 0)
		return -1;
	int64_t first = r->scores.n ? r->scores.batch : batch;
	int64_t now = r->got > 0 ? r->batch : r->known ? r->batch + 1 : first;
	if (batch != now)
		return err_set(e, "an evaluation before batch %lld comes in batch %lld", (long long)batch,
		               (long long)now);
	if (batch < r->c.first)
		return 0;
	keep_beside(r);
	return rollout_scores_take(&r->scores, r->t->record, r->reward, &r->t->arena, e);
}

static int check_place(struct rollout_reader *r, const struct place *p, struct err *e)
{
	if (r->got == r->n && r->got > 0 && p->batch != r->batch)
		return err_set(e, "batch %lld begins, but the evaluation before batch %lld has %lld of %lld rows",
		               (long long)p->batch, (long long)r->batch, (long long)r->scores.got,
		               (long long)r->scores.n);
	if (r->got == 0) {
		if (p->batch != r->batch + 1 && r->known)
			return err_set(e, "batch %lld comes after batch %lld", (long long)p->batch,
			               (long long)r->batch);
		if (p->batch > r->c.first && !r->known)
			return err_set(e, "the stream begins with batch %lld, but the run has trained %lld",
			               (long long)p->batch, (long long)r->c.first);
		r->known = true;
		begin_batch(r, p->batch, p->size);
	}
	if (p->batch != r->batch)
		return err_set(e, "batch %lld begins, but batch %lld has %lld of %lld rows", (long long)p->batch,
		               (long long)r->batch, (long long)r->got, (long long)r->n);
	if (p->size != r->n)
		return err_set(e, "'batch_size' is %lld, but %lld in other rows of batch %lld", (long long)p->size,
		               (long long)r->n, (long long)r->batch);
	if (r->have[p->row])
		return err_set(e, "row %lld of batch %lld comes twice", (long long)p->row, (long long)p->batch);
	return 0;
}

static void keep_line(struct rollout_reader *r, struct rollout_row *row)
{
	const char *line = record_line(r->t->record, &row->line_len);
	row->line = arena_strndup(&r->arena, line, --row->line_len);
}

/* The first record of the batch that cannot be used: *e says why, with its place only in bad_at. */
static void note_bad(struct rollout_reader *r, const char *why, const char *at)
{
	if (r->bad.len)
		return;
	str_adds(&r->bad, why);
	str_adds(&r->bad_at, at);
}

static int how_to_go_on(struct err *e)
{
	const struct err why = *e;
	return err_set(e, "%s (leave the record out, or go on without its batch: --skip-bad-batches N)", why.msg);
}

/* The fields of a row: 0, -1; with keep_bad the batch is noted as bad instead. */
static int take_row(struct rollout_reader *r, int64_t i, struct err *e)
{
	int failed = read_row(r, &r->row[i], e);
	if (r->c.keep_lines)
		keep_line(r, &r->row[i]);
	if (!failed) {
		rollout_states_take(&r->states, r->t->record, i);
		return 0;
	}
	if (!r->c.keep_bad)
		return how_to_go_on(e);
	err_where(e, "row %lld", (long long)i);
	struct err at = *e;
	err_where(&at, "%s:%lld", r->t->source, (long long)r->t->line);
	note_bad(r, e->msg, at.msg);
	return 0;
}

static int take_cursor(struct rollout_reader *r, struct err *e)
{
	struct loop_cursor c;
	int got = rollout_read_cursor(r->t->record, &c, e);
	if (got <= 0)
		return got;
	loop_cursor_release(&r->cursor);
	r->cursor = c;
	r->has_cursor = true;
	if (!r->c.run || !c.options)
		return 0;
	bool live = r->locks && loop_held(r->locks, LOOP_SAMPLER);
	return loop_same_run(c.options, r->c.run, e) || (live && loop_keeps_lag(c.options, r->c.max_lag, e)) ? -1 : 0;
}

/* Puts the current record into the batch. */
static int take(struct rollout_reader *r, const struct place *p, struct err *e)
{
	if (check_place(r, p, e))
		return -1;
	/* A batch that was trained already is counted, not read. */
	if (p->batch >= r->c.first && (take_row(r, p->row, e) || take_cursor(r, e)))
		return -1;
	r->have[p->row] = true;
	r->got++;
	r->last |= p->last;
	return 0;
}

static bool is_lost(const struct rollout_reader *r)
{
	return r->c.keep_bad && r->t->no_record;
}

/* A line that is no record is in place of a row that is missing. */
static void take_lost(struct rollout_reader *r, const char *at)
{
	r->lost++;
	note_bad(r, "a line is no record", at);
}

/* In a stream that does not say, the end of the input makes a batch the last one: reads a record ahead. */
static int look_ahead(struct rollout_reader *r, struct err *e)
{
	int got = next_record(r, e);
	r->held = got > 0;
	r->last = r->ended = got == 0;
	if (got >= 0 || !is_lost(r))
		return got < 0 ? -1 : 1;
	str_adds(&r->lost_ahead, e->msg);
	return 1;
}

/* Where the sampler stands is said in the last row; were it lost, a run could not go on. */
static int whole(struct rollout_reader *r, struct err *e)
{
	if (r->lost && r->fields && !r->has_cursor && r->batch >= r->c.first)
		return err_set(e, "%s; it may have said where the sampler stands, so the batch cannot be passed over",
		               r->bad_at.buf);
	return r->fields ? 1 : look_ahead(r, e);
}

static int input_ended(struct rollout_reader *r, struct err *e)
{
	r->ended = true;
	if (!rollout_scores_whole(&r->scores))
		return err_set(e, "the input ended in the evaluation before batch %lld, after %lld of %lld rows",
		               (long long)r->scores.batch, (long long)r->scores.got, (long long)r->scores.n);
	if (r->got > 0 && r->fields)
		return err_set(e, "the input ended in batch %lld, after %lld of %lld rows", (long long)r->batch,
		               (long long)r->got, (long long)r->n);
	if (r->known && r->fields && !r->last)
		return err_set(e, "the input ended after batch %lld, before the batch marked 'last'",
		               (long long)r->batch);
	return 0;
}

static int located(struct rollout_reader *r, int failed, struct err *e)
{
	return failed ? err_where(e, "%s:%lld", r->t->source, (long long)r->t->line) : 0;
}

/* What a stage with -k makes of a line that it could not read: an error that belongs to no row. */
static bool is_stray(const struct record *rec)
{
	return record_kind(rec, "error") > JSON_NULL && !record_has(rec, "tokens");
}

static void take_stray(struct rollout_reader *r)
{
	r->strays++;
	keep_beside(r);
}

static void begin_fill(struct rollout_reader *r)
{
	r->got = r->lost = 0;
	r->said = false;
	r->since = now_seconds();
	str_clear(&r->bad);
	str_clear(&r->bad_at);
	if (r->lost_ahead.len)
		take_lost(r, r->lost_ahead.buf);
	str_clear(&r->lost_ahead);
}

/* The end of a stream: 1 when something of a batch is there, 0, -1. */
static int last_batch(struct rollout_reader *r, struct err *e)
{
	if (input_ended(r, e))
		return -1;
	if (!r->got && r->lost)
		begin_batch(r, r->batch + 1, r->lost);
	r->n = r->got + r->lost;
	r->last = true;
	return r->n > 0;
}

/* Puts the record that was read where it belongs: 1; 0 it is no row; -1. */
static int place_record(struct rollout_reader *r, struct err *e)
{
	struct place p;
	int got = read_place(r, &p, e);
	if (got == 0 && is_stray(r->t->record)) {
		take_stray(r);
		return 0;
	}
	if (got == 0) {
		p = (struct place){r->got ? r->batch : r->batch + 1, r->got, r->c.batch_size, false};
		r->known = true;
	} else if (got > 0) {
		r->fields = true;
	}
	return got < 0 || take(r, &p, e) ? located(r, 1, e) : 1;
}

/* Reads until a batch is whole: 1, 0 at the end, -1. */
static int fill(struct rollout_reader *r, struct err *e)
{
	begin_fill(r);
	for (;;) {
		int got = next_record(r, e);
		if (got == 0)
			return last_batch(r, e);
		if (got < 0 && !is_lost(r))
			return r->t->no_record ? how_to_go_on(e) : -1;
		bool evaluation = got > 0 && rollout_is_evaluation(r->t->record);
		if (got < 0)
			take_lost(r, e->msg);
		else if (evaluation ? take_evaluation(r, e) && located(r, 1, e) : place_record(r, e) < 0)
			return -1;
		if (r->got && r->got + r->lost == r->n && rollout_scores_whole(&r->scores))
			return evaluation ? 1 : whole(r, e);
	}
}

int rollout_reader_next(struct rollout_reader *r, struct rollout_rows *out, struct err *e)
{
	do {
		if (r->ended || (r->last && r->fields))
			return 0;
		str_clear(&r->stray_lines);
		int got = fill(r, e);
		if (got <= 0)
			return got;
	} while (r->batch < r->c.first);
	*out = (struct rollout_rows){.row = r->row, .n = r->n, .batch = r->batch, .last = r->last, .cursor = r->cursor};
	out->placed = r->fields;
	out->bad = r->bad.len ? r->bad.buf : NULL;
	out->bad_at = r->bad_at.len ? r->bad_at.buf : NULL;
	out->strays = r->stray_lines.len ? r->stray_lines.buf : "";
	out->eval = r->scores.n && r->scores.batch == r->batch ? &r->scores : NULL;
	out->states = rollout_states_object(&r->states);
	for (int64_t i = 0; i < r->n; i++)
		out->skipped += r->row[i].skip != NULL;
	out->skipped += r->strays;
	out->strays_n = r->strays;
	r->strays = 0;
	return 1;
}

int rollout_reader_drain(struct rollout_reader *r, struct err *e)
{
	int got;
	while ((got = tool_next(r->t, e)) > 0)
		;
	return got;
}
