/* rollout - see rollout.h */
#include "lib/rollout.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/rng.h"
#include "lib/util.h"

/* How long a trainer may take to appear, and a sampler before us to go; and how often a waiting sampler looks. */
static const double settle_seconds = 2;
static const long look_every_ns = 2 * 1000 * 1000;

/* ---- the order of prompts ---- */

struct kept_line {
	char *line;
	size_t len;
};

struct prompts {
	struct tool *t;
	struct prompts_config c;
	bool keep; /* epochs or steps: lines are kept */
	struct kept_line *kept;
	int64_t n_kept;
	bool ahead; /* plain pass: `next` holds the record read ahead */
	int ahead_result;
	struct prompt next;
	int64_t epoch, place, taken;
	int64_t *order;
	int64_t order_epoch;
};

struct prompts *prompts_new(struct tool *t, const struct prompts_config *c)
{
	struct prompts *p = xcalloc(1, sizeof *p);
	p->t = t;
	p->c = *c;
	p->keep = c->epochs > 0 || c->prompts > 0;
	p->order_epoch = -1;
	return p;
}

void prompts_free(struct prompts *p)
{
	if (!p)
		return;
	for (int64_t i = 0; i < p->n_kept; i++)
		free(p->kept[i].line);
	free(p->kept);
	free(p->order);
	free(p->next.line);
	free(p);
}

/* The record's text as it came in (nothing has been added yet), without its newline. */
static int read_line(struct prompts *p, char **line, size_t *len, struct err *e)
{
	int got = tool_next(p->t, e);
	if (got <= 0)
		return got;
	const char *text = record_line(p->t->record, len);
	*line = xstrndup(text, --*len);
	return 1;
}

static int keep_all(struct prompts *p, struct err *e)
{
	struct kept_line k;
	int got;
	while ((got = read_line(p, &k.line, &k.len, e)) > 0) {
		if ((p->n_kept & (p->n_kept - 1)) == 0)
			p->kept = xrealloc_array(p->kept, (size_t)(p->n_kept ? 2 * p->n_kept : 1), sizeof *p->kept);
		p->kept[p->n_kept++] = k;
	}
	return got;
}

static void order_epoch(struct prompts *p)
{
	if (p->order_epoch == p->epoch)
		return;
	if (!p->order)
		p->order = xmalloc((size_t)p->n_kept * sizeof *p->order);
	if (p->c.shuffle)
		rng_shuffle(p->order, p->n_kept, rng_key("shuffle", p->c.key_seed, p->c.run, (uint64_t)p->epoch));
	else
		for (int64_t i = 0; i < p->n_kept; i++)
			p->order[i] = i;
	p->order_epoch = p->epoch;
}

static bool kept_done(const struct prompts *p)
{
	return p->n_kept == 0 || (p->c.prompts > 0 && p->taken == p->c.prompts) ||
	       (p->c.epochs > 0 && p->epoch == p->c.epochs);
}

static int next_kept(struct prompts *p, struct prompt *out, struct err *e)
{
	if (!p->kept && keep_all(p, e) < 0)
		return -1;
	if (kept_done(p))
		return 0;
	order_epoch(p);
	int64_t i = p->order[p->place];
	*out = (struct prompt){xstrndup(p->kept[i].line, p->kept[i].len), p->kept[i].len, i + 1, p->epoch};
	p->taken++;
	if (++p->place == p->n_kept) {
		p->place = 0;
		p->epoch++;
	}
	return 1;
}

static void read_ahead(struct prompts *p, struct err *e)
{
	if (p->ahead)
		return;
	p->ahead = true;
	p->ahead_result = read_line(p, &p->next.line, &p->next.len, e);
	p->next.number = p->t->line;
}

int prompts_next(struct prompts *p, struct prompt *out, struct err *e)
{
	if (p->keep)
		return next_kept(p, out, e);
	read_ahead(p, e);
	if (p->ahead_result > 0) {
		*out = p->next;
		p->next = (struct prompt){0};
		p->ahead = false;
		return 1;
	}
	return p->ahead_result;
}

int prompts_last(struct prompts *p, struct err *e)
{
	if (p->keep)
		return kept_done(p);
	read_ahead(p, e);
	return p->ahead_result < 0 ? -1 : p->ahead_result == 0;
}

int64_t prompts_count(struct prompts *p, struct err *e)
{
	return !p->kept && keep_all(p, e) < 0 ? -1 : p->n_kept;
}

void prompts_rewind(struct prompts *p)
{
	p->epoch = p->place = p->taken = 0;
}

/* ---- versions and waiting ---- */

static void nap(void)
{
	struct timespec t = {0, look_every_ns};
	nanosleep(&t, NULL);
}

static bool reader_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = 0};
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

bool rollout_output_is_pipe(void)
{
	struct stat st;
	return !fstat(STDOUT_FILENO, &st) && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

static int load_run(const struct rollout *r, struct loop_run *run, struct err *e)
{
	struct store_view *v = store_view_open(r->store, e);
	if (!v)
		return -1;
	int failed = loop_run_load(run, v, r->run, e);
	store_view_close(v);
	return failed;
}

/* Waits for a trainer that reads a pipe and for the sampler lock, which one that was killed may hold for a moment yet;
 * not getting both means that we are not in the loop. */
static int settle(struct rollout *r, struct err *e)
{
	double until = now_seconds() + settle_seconds;
	r->settled = true;
	for (;;) {
		int got = loop_held(&r->locks, LOOP_PIPED) ? loop_try(&r->locks, LOOP_SAMPLER, e) : 0;
		if (got < 0)
			return -1;
		r->in_loop = got > 0;
		if (r->in_loop || reader_gone() || now_seconds() > until)
			return 0;
		nap();
	}
}

static void take_over(struct rollout *r, struct loop_run *run)
{
	r->batch = run->batches;
	loop_cursor_release(&r->cursor);
	r->cursor = run->cursor;
	run->cursor = (struct loop_cursor){0};
}

int rollout_begin(struct rollout *r, struct store *s, const char *run, const char *slot, int64_t lag,
                  const char *options, bool output_is_pipe, struct err *e)
{
	*r = (struct rollout){.store = s, .run = run, .slot = slot, .lag = lag, .options = options, .locks = {-1}};
	loop_cursor_init(&r->cursor);
	if (lag == ROLLOUT_LAG_NONE || !output_is_pipe) {
		r->settled = true;
		return 1;
	}
	struct loop_run state;
	if (loop_open(&r->locks, store_path(s), e) || load_run(r, &state, e))
		return -1;
	int result = 1;
	if (state.begun) {
		result = settle(r, e) ? -1 : 1;
		/* The trainer may have committed or closed while we settled. */
		loop_run_release(&state);
		if (result > 0 && load_run(r, &state, e))
			return -1;
	}
	if (result > 0 && r->in_loop && state.closed)
		result = 0;
	else if (result > 0 && r->in_loop && loop_same_slot(&state, run, slot, e))
		result = -1;
	else if (result > 0 && r->in_loop && loop_same_options(state.cursor.options, options, e))
		result = -1;
	else if (result > 0 && r->in_loop)
		take_over(r, &state);
	loop_run_release(&state);
	return result;
}

void rollout_end(struct rollout *r)
{
	loop_close(&r->locks);
	loop_cursor_release(&r->cursor);
}

int rollout_skip(struct rollout *r, struct prompts *p, struct err *e)
{
	if (!r->cursor.records)
		return 0;
	struct loop_cursor seen = {0};
	while (seen.records < r->cursor.records) {
		struct prompt q;
		int got = prompts_next(p, &q, e);
		if (got < 0)
			return -1;
		if (got == 0)
			return err_set(e, "the run took %lld records so far, but the input has only %lld",
			               (long long)r->cursor.records, (long long)seen.records);
		loop_cursor_take(&seen, q.line, q.len);
		free(q.line);
	}
	if (seen.lines != r->cursor.lines)
		return err_set(e,
		               "the first %lld input records are not those that the run was begun with "
		               "(another --run begins another run)",
		               (long long)r->cursor.records);
	return 0;
}

static int resolve(struct rollout *r, const char *name, struct store_ref *ref, struct err *e)
{
	struct store_view *v = store_view_open(r->store, e);
	if (!v)
		return -1;
	int failed = store_resolve(v, name, ref, e);
	store_view_close(v);
	return failed ? -1 : 1;
}

/* Outside a loop one pass samples from one version, as long as it is there. */
static int same_as_before(struct rollout *r, struct store_ref *ref, struct err *e)
{
	char name[96];
	snprintf(name, sizeof name, "%s@%lld", r->first.slot, (long long)r->first.version);
	if (r->batch > 0 && resolve(r, name, ref, e) > 0)
		return 1;
	int got = resolve(r, r->slot, ref, e);
	r->first = *ref;
	return got;
}

static int load_published(const struct rollout *r, struct loop_run *run, int64_t *published, struct err *e)
{
	struct store_view *v = store_view_open(r->store, e);
	int64_t base;
	*published = 0;
	if (!v)
		return -1;
	int failed = loop_run_load(run, v, r->run, e);
	int got = failed ? -1 : loop_published(v, r->run, &base, published, e);
	store_view_close(v);
	if (got > 0 && !run->begun)
		run->base = base;
	return got < 0 ? -1 : 0;
}

/* Has the run come far enough?  1 with *ref, 0 not yet, 2 closed, -1. */
static int look(struct rollout *r, int64_t updates_wanted, struct store_ref *ref, struct err *e)
{
	struct loop_run run;
	int64_t published;
	if (load_published(r, &run, &published, e))
		return -1;
	int64_t batches = published > run.batches ? published : run.batches;
	int result = 0;
	if (loop_same_slot(&run, r->run, r->slot, e)) {
		result = -1;
	} else if (run.closed) {
		result = 2;
	} else if (!run.begun && updates_wanted == 0) {
		result = resolve(r, r->slot, ref, e);
	} else if (batches >= updates_wanted) {
		*ref = (struct store_ref){.version = run.base + updates_wanted};
		snprintf(ref->slot, sizeof ref->slot, "%s", r->slot);
		result = 1;
	}
	loop_run_release(&run);
	return result;
}

static int partners_gone(struct rollout *r, bool trainer, struct err *e)
{
	if (!trainer)
		return err_set(e, "batch %lld: the trainer ended before the update that the batch waits for",
		               (long long)r->batch);
	if (reader_gone())
		return err_set(e, "batch %lld: the reader of the output has gone", (long long)r->batch);
	return 0;
}

int rollout_wait(struct rollout *r, struct store_ref *ref, struct err *e)
{
	if (!r->settled && r->batch > 0 && settle(r, e))
		return -1;
	if (!r->in_loop)
		return same_as_before(r, ref, e);
	int64_t wanted = r->batch > r->lag ? r->batch - r->lag : 0;
	loop_free(&r->locks, LOOP_BUSY);
	for (;;) {
		/* The lock is looked at before the state: a trainer that closes the run frees it afterwards. */
		bool trainer = loop_held(&r->locks, LOOP_TRAINER);
		int got = look(r, wanted, ref, e);
		if (got == 1)
			return loop_try(&r->locks, LOOP_BUSY, e) < 0 ? -1 : 1;
		if (got)
			return got == 2 ? 0 : -1;
		if (partners_gone(r, trainer, e))
			return -1;
		nap();
	}
}

void rollout_sampled(struct rollout *r)
{
	r->batch++;
	if (r->in_loop)
		loop_free(&r->locks, LOOP_BUSY);
}
