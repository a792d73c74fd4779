/* rollout_scores - see rollout_scores.h */
#include "lib/rollout_scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void rollout_scores_init(struct rollout_scores *s)
{
	*s = (struct rollout_scores){.batch = -1, .version = -1};
}

static void forget(struct rollout_scores *s)
{
	for (int64_t i = 0; i < s->n_columns; i++) {
		free(s->column[i].name);
		free(s->column[i].x);
	}
	free(s->column);
	free(s->have);
	rollout_scores_init(s);
}

void rollout_scores_release(struct rollout_scores *s)
{
	forget(s);
}

bool rollout_scores_whole(const struct rollout_scores *s)
{
	return s->got == s->n;
}

const struct rollout_column *rollout_scores_column(const struct rollout_scores *s, const char *name)
{
	for (int64_t i = 0; i < s->n_columns; i++)
		if (!strcmp(s->column[i].name, name))
			return &s->column[i];
	return NULL;
}

/* Columns are kept sorted: their order must not depend on which row came first. */
static struct rollout_column *get_column(struct rollout_scores *s, const char *name)
{
	struct rollout_column *found = (struct rollout_column *)rollout_scores_column(s, name);
	int64_t at = 0;
	if (found)
		return found;
	while (at < s->n_columns && strcmp(s->column[at].name, name) < 0)
		at++;
	s->column = xrealloc_array(s->column, (size_t)s->n_columns + 1, sizeof *s->column);
	memmove(s->column + at + 1, s->column + at, (size_t)(s->n_columns - at) * sizeof *s->column);
	s->n_columns++;
	s->column[at] = (struct rollout_column){xstrdup(name), xcalloc((size_t)s->n, sizeof(double)), 0};
	for (int64_t i = 0; i < s->n; i++)
		s->column[at].x[i] = NAN;
	return &s->column[at];
}

static void put(struct rollout_scores *s, const char *name, int64_t row, double x)
{
	struct rollout_column *c = get_column(s, name);
	c->x[row] = x;
	c->n_x++;
}

int64_t rollout_scores_batch(const struct record *r, struct err *e)
{
	int64_t batch;
	int got = record_int(r, "batch", &batch, e);
	if (got == 0 || (got > 0 && batch < 0))
		err_set(e, "a record of an evaluation does not say which 'batch' it comes before");
	return got > 0 && batch >= 0 ? batch : -1;
}

static int read_place(struct rollout_scores *s, struct record *r, int64_t *row, struct err *e)
{
	int64_t batch = rollout_scores_batch(r, e), size;
	if (batch < 0)
		return -1;
	int got = record_int(r, "row", row, e);
	got = got > 0 ? record_int(r, "batch_size", &size, e) : got;
	if (got <= 0)
		return got < 0 ? -1 : err_set(e, "a record of an evaluation has no 'row' and 'batch_size'");
	if (size < 1 || size > 1 << 24 || *row < 0 || *row >= size)
		return err_set(e, "'row' is %lld and 'batch_size' is %lld", (long long)*row, (long long)size);
	if (s->batch != batch) {
		forget(s);
		s->batch = batch;
		s->n = size;
		s->have = xcalloc((size_t)size, sizeof *s->have);
	}
	if (size != s->n)
		return err_set(e, "'batch_size' is %lld, but %lld in other rows of the evaluation before batch %lld",
		               (long long)size, (long long)s->n, (long long)batch);
	if (s->have[*row])
		return err_set(e, "row %lld of the evaluation before batch %lld comes twice", (long long)*row,
		               (long long)batch);
	return 0;
}

static int read_version(struct rollout_scores *s, struct record *r, struct err *e)
{
	int64_t version = -1;
	if (record_int(r, "policy_version", &version, e) < 0)
		return -1;
	if (s->version >= 0 && version >= 0 && version != s->version)
		return err_set(e, "'policy_version' is %lld, but %lld in other rows of the evaluation",
		               (long long)version, (long long)s->version);
	s->version = version >= 0 ? version : s->version;
	return 0;
}

static int read_components(struct rollout_scores *s, struct record *r, int64_t row, int64_t n, const int32_t *mask,
                           struct arena *a, struct err *e)
{
	const char *name;
	size_t len;
	struct json v;
	struct reward_part part;
	for (int64_t i = 0; record_field(r, i, &name, &len, &v); i++) {
		if (len < 8 || memcmp(name, "reward_", 7))
			continue;
		double sum = 0;
		const char *field = arena_strndup(a, name, len);
		int got = reward_part_read(r, field, n, mask, &part, a, e);
		for (int64_t k = 0; got > 0 && k < part.n; k++)
			sum += part.x[k];
		if (got > 0)
			put(s, field, row, sum);
		if (got < 0)
			return -1;
	}
	return 0;
}

static int read_scores(struct rollout_scores *s, struct record *r, int64_t row, struct reward *total, struct arena *a,
                       struct err *e)
{
	int32_t *token, *mask = NULL;
	int64_t n, n_mask;
	double *out, score;
	int got = record_ints(r, "tokens", &token, &n, -1, NULL, a, e);
	if (got <= 0)
		return got < 0 ? -1 : err_set(e, "there is no 'tokens'");
	if (record_ints(r, "mask", &mask, &n_mask, n, "tokens", a, e) < 0)
		return -1;
	got = reward_read(total, r, n, mask, &out, &score, a, e);
	if (got < 0)
		return -1;
	if (got > 0)
		put(s, "reward", row, score);
	s->skipped += got == 0;
	return read_components(s, r, row, n, mask, a, e);
}

int rollout_scores_take(struct rollout_scores *s, struct record *r, struct reward *total, struct arena *a,
                        struct err *e)
{
	int64_t row;
	if (read_place(s, r, &row, e))
		return -1;
	if (record_kind(r, "error") > JSON_NULL || record_kind(r, "skip") > JSON_NULL)
		s->skipped++;
	else if (read_version(s, r, e) || read_scores(s, r, row, total, a, e))
		return -1;
	s->have[row] = true;
	s->got++;
	return 0;
}
