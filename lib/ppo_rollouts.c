/* ppo_rollouts - see ppo_rollouts.h */
#include "lib/ppo_rollouts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/advantage_record.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/util.h"

static const char suffix[] = ".jsonl.zst";

/* The number of a file of ours, or -1. */
static int64_t number_of(const char *name)
{
	char *end;
	if (!isdigit((unsigned char)*name))
		return -1;
	int64_t n = strtoll(name, &end, 10);
	return strcmp(end, suffix) ? -1 : n;
}

/* .000120.jsonl.zst.XXXXXX, which a trainer that was killed did not rename. */
static bool is_left(const char *name)
{
	size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
	const char *rest = name + 1 + digits;
	size_t len = strlen(suffix);
	return digits && !strncmp(rest, suffix, len) && rest[len] == '.' && strlen(rest) == len + strlen(".XXXXXX");
}

int ppo_rollouts_open(const struct ppo *p, struct err *e)
{
	const char *path = p->config->rollouts;
	if (mkdir(path, 0777) && errno != EEXIST)
		return err_errno(e, "cannot make '%s'", path);
	DIR *dir = opendir(path);
	if (!dir)
		return err_errno(e, "cannot read '%s'", path);
	int64_t last = -1;
	const struct dirent *d;
	while ((d = readdir(dir))) {
		if (number_of(d->d_name) > last)
			last = number_of(d->d_name);
		if (is_left(d->d_name))
			unlinkat(dirfd(dir), d->d_name, 0);
	}
	closedir(dir);
	/* The files of the batches up to the next commit may have been written before a crash. */
	if (last > p->run.batches + p->config->checkpoint_every - 1)
		return err_set(
		        e,
		        "'%s' has batch %lld, but run '%s' has trained %lld: these files are of another run, and "
		        "would be written over (give another --rollouts)",
		        path, (long long)last, p->config->run, (long long)p->run.batches);
	return 0;
}

/* ---- one row ---- */

/* What a row gets, in this order; fields of these names that came in are replaced. */
struct added {
	const char *name;
	const float *array; /* [n], or a number: */
	double number;
};

struct adding {
	struct added field[16];
	int n_fields;
	int64_t n;
	const char *state; /* JSON of state_reinforce, or NULL */
	int64_t batch, row, batch_size;
	bool place, last;
};

static void add_array(struct adding *a, const char *name, const float *x)
{
	a->field[a->n_fields++] = (struct added){name, x, 0};
}

static void add_number(struct adding *a, const char *name, double x)
{
	a->field[a->n_fields++] = (struct added){name, NULL, x};
}

static void computed(struct adding *a, const struct ppo *p, const struct ppo_row *r)
{
	const struct rollout_row *s = r->source;
	a->n = r->n;
	if (r->ref_logprobs && !s->ref_logprobs)
		add_array(a, "ref_logprobs", r->ref_logprobs);
	if (r->values && !s->values) {
		add_array(a, "values", r->values);
		add_number(a, "bootstrap_value", r->values[r->n]);
	}
	if (!s->advantages) {
		if (!s->rewards) {
			add_array(a, "rewards", r->rewards);
			if (p->kl.adaptive && p->loss->kl_in == KL_IN_REWARD)
				add_number(a, "kl_coef", p->advantage->kl_coef);
		}
		add_array(a, "advantages", r->advantages);
		add_array(a, "returns", r->returns);
		if (r->cells > r->n)
			add_number(a, "bootstrap_return", r->returns[r->n]);
	}
	add_array(a, "last_logprobs", r->pass.logprobs);
}

static bool is_added(const struct adding *a, const char *name, size_t len)
{
	static const char *const place[] = {"batch", "row", "batch_size", "last"};
	static const char state[] = "state_" ADVANTAGE_STATE;
	for (int i = 0; i < a->n_fields; i++)
		if (strlen(a->field[i].name) == len && !memcmp(a->field[i].name, name, len))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(place) && a->place; i++)
		if (strlen(place[i]) == len && !memcmp(place[i], name, len))
			return true;
	return a->state && len == sizeof state - 1 && !memcmp(state, name, len);
}

/* The record without what it gets anew: its own text where nothing of that name is in it. */
static int without(struct record *rec, const struct adding *a, const struct rollout_row *s, struct str *text,
                   struct err *e)
{
	const char *name;
	size_t len;
	struct json v;
	bool found = false;
	if (record_parse(rec, s->line, s->line_len, e))
		return -1;
	str_clear(text);
	for (int64_t i = 0; record_field(rec, i, &name, &len, &v); i++) {
		if (is_added(a, name, len)) {
			found = true;
			continue;
		}
		str_addc(text, text->len ? ',' : '{');
		json_put_str(text, name, len);
		str_addc(text, ':');
		json_text(&v, text);
	}
	if (!found)
		return 0;
	str_adds(text, text->len ? "}" : "{}");
	return record_parse(rec, text->buf, text->len, e);
}

static int add_fields(struct record *rec, const struct adding *a, struct err *e)
{
	for (int i = 0; i < a->n_fields; i++) {
		const struct added *f = &a->field[i];
		if (f->array ? record_add_floats(rec, f->name, f->array, a->n, e)
		             : record_add_num(rec, f->name, f->number, e))
			return -1;
	}
	if (a->place &&
	    (record_add_int(rec, "batch", a->batch, e) || record_add_int(rec, "row", a->row, e) ||
	     record_add_int(rec, "batch_size", a->batch_size, e) || (a->last && record_add_bool(rec, "last", true, e))))
		return -1;
	return a->state ? record_add_raw(rec, "state_" ADVANTAGE_STATE, a->state, strlen(a->state), e) : 0;
}

/* ---- the file ---- */

/* What the estimate here holds after the batch, when no filter has put it into the records. */
static int moving_state(const struct ppo *p, struct str *state, struct err *e)
{
	struct advantage_moving kept;
	if (advantage_moving_load(&p->run, &kept, e))
		return -1;
	if (p->moving.batches > kept.batches)
		advantage_moving_put(state, &p->moving);
	return 0;
}

/* In place of a line that was no record: one that cannot be used either, so that the batch is passed over again. */
static int write_lost(struct record *rec, struct adding *a, struct sink *out, struct err *e)
{
	static const char why[] = "a line is no record";
	size_t len;
	record_clear(rec);
	a->place = true;
	if (record_add_str(rec, "lost", why, sizeof why - 1, e) || add_fields(rec, a, e))
		return -1;
	const char *line = record_line(rec, &len);
	return sink_write(out, line, len, e);
}

static int write_rows(const struct ppo *p, const struct ppo_batch *b, const struct rollout_rows *rows, struct sink *out,
                      struct err *e)
{
	struct record *rec = record_new();
	struct str text, state;
	str_init(&text);
	str_init(&state);
	int64_t k = 0;
	int failed = moving_state(p, &state, e) || sink_write(out, rows->strays, strlen(rows->strays), e);
	for (int64_t i = 0; i < rows->n && !failed; i++) {
		struct adding a = {.batch = rows->batch,
		                   .row = i,
		                   .batch_size = rows->n,
		                   .place = !rows->placed,
		                   .last = rows->last};
		if (!rows->row[i].line) {
			failed = write_lost(rec, &a, out, e);
			continue;
		}
		if (b && k < b->n && b->row[k].source == &rows->row[i]) {
			computed(&a, p, &b->row[k++]);
			a.state = state.len ? state.buf : NULL;
		}
		size_t len;
		failed = without(rec, &a, &rows->row[i], &text, e) || add_fields(rec, &a, e);
		const char *line = record_line(rec, &len);
		failed = failed || sink_write(out, line, len, e);
	}
	str_release(&text);
	str_release(&state);
	record_free(rec);
	return failed ? -1 : 0;
}

int ppo_rollouts_write(const struct ppo *p, const struct ppo_batch *b, const struct rollout_rows *rows, struct err *e)
{
	struct str path;
	str_init(&path);
	str_addf(&path, "%s/%06lld%s", p->config->rollouts, (long long)rows->batch, suffix);
	struct sink *out = sink_open_file(path.buf, true, e);
	int failed = !out;
	if (out && write_rows(p, b, rows, out, e)) {
		sink_abandon(out);
		failed = 1;
	} else if (out) {
		failed = sink_close(out, e);
	}
	str_release(&path);
	return failed ? -1 : 0;
}
