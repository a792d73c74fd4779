/* reward_mix - see reward_mix.h */
#include "lib/reward_mix.h"

#include <stdlib.h>
#include <string.h>

#include "lib/advantage_record.h"
#include "lib/record_names.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct reward_mix_config, name)

const struct opt reward_mix_options[] = {
        {"weight", 'w', OPT_LIST, FIELD(weights), NULL, "NAME=WEIGHT",
         "add WEIGHT times reward_NAME; a weight may be a path, 0..1:100 (may be repeated)", 0, 0},
        {"normalize", 0, OPT_LIST, FIELD(normalize), NULL, "NAME",
         "shift and scale reward_NAME by its running mean and deviation (may be repeated)", 0, 0},
        {"clip", 0, OPT_LIST, FIELD(clips), NULL, "[NAME=]LO..HI",
         "keep the numbers of reward_NAME, or of the total, in a range (may be repeated)", 0, 0},
        {"percentile", 0, OPT_NUM, FIELD(percentile), "0", "P",
         "skip records whose total is below the P-th percentile of the newest; 0: none", 0, 100},
        {"percentile-window", 0, OPT_INT, FIELD(window), "1024", "N", "newest totals, and at least all of the batch", 1,
         1 << 24},
        {"percentile-warmup", 0, OPT_INT, FIELD(warmup), "10", "N", "keep all until there were N totals", 0, 1e12},
        {"dynamic-sampling", 0, OPT_FLAG, FIELD(dynamic_sampling), NULL, NULL,
         "skip groups in which all totals are equal", 0, 0},
        {"as", 0, OPT_STR, FIELD(as), "mix", "NAME", "name of the object with each component's part in the total", 0,
         0},
        {NULL},
};

/* ---- options ---- */

static struct reward_mix_component *find(const struct reward_mix *m, const char *name, size_t len)
{
	for (int64_t i = 0; i < m->n; i++)
		if (strlen(m->component[i].name) == len && !memcmp(m->component[i].name, name, len))
			return &m->component[i];
	return NULL;
}

static int add_component(struct reward_mix *m, const char *text, struct err *e)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text)
		return err_set(e, "--weight is '%s', but must be NAME=WEIGHT", text);
	char *name = xstrndup(text, (size_t)(equals - text));
	struct reward_mix_component *c = &m->component[m->n];
	bool twice = find(m, name, strlen(name));
	*c = (struct reward_mix_component){.name = name};
	m->n++;
	if (!record_name_plain(name))
		return err_set(e, "--weight: '%s' is no name of a reward: letters, digits and _", name);
	if (twice)
		return err_set(e, "--weight: '%s' is there twice", name);
	struct str field;
	str_init(&field);
	str_addf(&field, "reward_%s", name);
	c->field = str_detach(&field);
	if (reward_weight_parse(&c->weight, equals + 1, e))
		return err_where(e, "--weight %s", text);
	return 0;
}

static struct reward_mix_component *named(const struct reward_mix *m, const char *option, const char *name, size_t len,
                                          struct err *e)
{
	struct reward_mix_component *c = find(m, name, len);
	if (!c)
		err_set(e, "--%s: '%.*s' has no --weight", option, (int)len, name);
	return c;
}

static int set_clip(struct reward_mix *m, const char *text, struct err *e)
{
	const char *equals = strchr(text, '='), *range = equals ? equals + 1 : text, *dots = strstr(range, "..");
	struct reward_range r = {.set = true};
	char *low = xstrndup(range, dots ? (size_t)(dots - range) : strlen(range));
	bool good = dots && parse_double(low, &r.low) && parse_double(dots + 2, &r.high) && r.low <= r.high;
	free(low);
	if (!good)
		return err_set(e, "--clip is '%s', but must be [NAME=]LO..HI with LO <= HI", text);
	struct reward_mix_component *c = equals ? named(m, "clip", text, (size_t)(equals - text), e) : NULL;
	if (equals && !c)
		return -1;
	struct reward_range *to = c ? &c->clip : &m->clip;
	if (to->set)
		return err_set(e, "--clip of %s is there twice", c ? c->name : "the total");
	*to = r;
	return 0;
}

static int read_options(struct reward_mix *m, const struct reward_mix_config *c, struct err *e)
{
	if (!c->weights.n)
		return err_set(e, "no component: give -w NAME=WEIGHT");
	if (!record_name_plain(c->as))
		return err_set(e, "--as is '%s', but must be letters, digits and _", c->as);
	if (record_name_taken(c->as))
		return err_set(e, "--as is '%s', a field that other tools read (rl-record(5))", c->as);
	for (size_t i = 0; i < c->weights.n; i++)
		if (add_component(m, c->weights.item[i], e))
			return -1;
	for (size_t i = 0; i < c->normalize.n; i++) {
		const char *name = c->normalize.item[i];
		struct reward_mix_component *one = named(m, "normalize", name, strlen(name), e);
		if (!one)
			return -1;
		one->normalize = true;
	}
	for (size_t i = 0; i < c->clips.n; i++)
		if (set_clip(m, c->clips.item[i], e))
			return -1;
	return 0;
}

struct reward_mix *reward_mix_new(const struct reward_mix_config *c, struct err *e)
{
	struct reward_mix *m = xcalloc(1, sizeof *m);
	struct str field;
	m->config = c;
	m->component = xcalloc(c->weights.n, sizeof *m->component);
	str_init(&field);
	str_addf(&field, "state_%s", c->as);
	m->state_field = str_detach(&field);
	if (!read_options(m, c, e))
		return m;
	reward_mix_free(m);
	return NULL;
}

void reward_mix_free(struct reward_mix *m)
{
	if (!m)
		return;
	for (int64_t i = 0; i < m->n; i++) {
		free(m->component[i].name);
		free(m->component[i].field);
	}
	free(m->component);
	free(m->state_field);
	free(m->recent);
	free(m);
}

bool reward_mix_remembers(const struct reward_mix *m)
{
	bool remembers = m->config->percentile > 0;
	for (int64_t i = 0; i < m->n; i++)
		remembers |= m->component[i].normalize;
	return remembers;
}

bool reward_mix_waits(const struct reward_mix *m)
{
	return reward_mix_remembers(m) || m->config->dynamic_sampling;
}

/* ---- one row ---- */

static int read_tokens(struct record *r, struct reward_mix_row *row, struct arena *a, struct err *e)
{
	int32_t *token, *mask = NULL;
	int64_t n;
	int got = record_ints(r, "tokens", &token, &row->n, -1, NULL, a, e);
	if (got <= 0)
		row->n = -1;
	if (got > 0)
		got = record_ints(r, "mask", &mask, &n, row->n, "tokens", a, e);
	row->mask = mask;
	return got < 0 ? -1 : 0;
}

int reward_mix_read(const struct reward_mix *m, struct record *r, int64_t line, struct reward_mix_row *row,
                    struct arena *a, struct err *e)
{
	struct advantage_row group = {0};
	advantage_record_group(r, line, &group, a);
	row->group = group.group;
	row->part = arena_array(a, (size_t)m->n, sizeof *row->part);
	if (read_tokens(r, row, a, e) || record_check_new(r, "reward", e) || record_check_new(r, m->config->as, e) ||
	    record_check_new(r, m->state_field, e))
		return -1;
	for (int64_t i = 0; i < m->n; i++) {
		const char *field = m->component[i].field;
		if (!record_has(r, field))
			return err_set(e, "there is no '%s', which has a weight", field);
		if (reward_part_read(r, field, row->n, row->mask, &row->part[i], a, e) < 0)
			return -1;
	}
	return 0;
}

/* A number on a token that the policy did not choose is no reward for it. */
static bool is_masked(const struct reward_mix_row *row, const struct reward_part *p, int64_t i)
{
	return p->form == REWARD_TOKENS && row->mask && !row->mask[p->at[i]];
}

static double clipped(const struct reward_range *r, double x)
{
	if (!r->set)
		return x;
	return x < r->low ? r->low : x > r->high ? r->high : x;
}

static double weighted(const struct reward_mix_component *c, int64_t batch, bool evaluation, double x)
{
	if (evaluation)
		return reward_weight_last(&c->weight) * (c->normalize ? x : clipped(&c->clip, x));
	x = clipped(&c->clip, c->normalize ? reward_running_normal(&c->seen, x) : x);
	return reward_weight_at(&c->weight, batch) * x;
}

static void add_part(const struct reward_mix_component *c, int64_t batch, bool evaluation, struct reward_mix_row *row,
                     const struct reward_part *p, double *term)
{
	for (int64_t k = 0; k < p->n; k++) {
		if (c->normalize && is_masked(row, p, k))
			continue;
		double x = weighted(c, batch, evaluation, p->x[k]);
		*term += x;
		if (row->per_token && p->at[k] >= 0)
			row->out[p->at[k]] += x;
	}
}

void reward_mix_total(const struct reward_mix *m, int64_t batch, bool evaluation, struct reward_mix_row *row,
                      struct arena *a)
{
	row->any = row->per_token = false;
	for (int64_t i = 0; i < m->n; i++) {
		row->any |= row->part[i].form != REWARD_NULL;
		row->per_token |= row->part[i].form > REWARD_SCALAR;
	}
	row->term = arena_array(a, (size_t)m->n, sizeof *row->term);
	row->out = row->per_token ? arena_array(a, (size_t)row->n, sizeof *row->out) : NULL;
	row->total = 0;
	for (int64_t i = 0; i < m->n; i++) {
		add_part(&m->component[i], batch, evaluation, row, &row->part[i], &row->term[i]);
		row->total += row->term[i];
	}
	if (!row->per_token) {
		row->total = clipped(&m->clip, row->total);
		return;
	}
	row->total = 0;
	for (int64_t t = 0; t < row->n; t++) {
		row->out[t] = clipped(&m->clip, row->out[t]);
		row->total += row->out[t];
	}
}

/* ---- a batch ---- */

static void take_statistics(struct reward_mix *m, const struct reward_mix_row *row)
{
	for (int64_t i = 0; i < m->n; i++) {
		const struct reward_part *p = &row->part[i];
		for (int64_t k = 0; m->component[i].normalize && k < p->n; k++)
			if (!is_masked(row, p, k))
				reward_running_add(&m->component[i].seen, p->x[k]);
	}
}

static void remember_total(struct reward_mix *m, double x)
{
	if (m->n_recent == m->cap_recent) {
		m->cap_recent = m->cap_recent ? 2 * m->cap_recent : 256;
		m->recent = xrealloc_array(m->recent, (size_t)m->cap_recent, sizeof *m->recent);
	}
	m->recent[m->n_recent++] = x;
	m->seen++;
}

/* Forgets the oldest but for `keep`. */
static void forget(struct reward_mix *m, int64_t keep)
{
	int64_t drop = m->n_recent - keep;
	if (drop <= 0)
		return;
	memmove(m->recent, m->recent + drop, (size_t)keep * sizeof *m->recent);
	m->n_recent = keep;
}

static void skip_below(struct reward_mix *m, struct reward_mix_row *const *row, int64_t n)
{
	int64_t totals = 0, window = m->config->window;
	for (int64_t i = 0; i < n; i++)
		if (!row[i]->left_out && row[i]->any) {
			remember_total(m, row[i]->total);
			totals++;
		}
	forget(m, totals > window ? totals : window);
	if (totals && m->seen >= m->config->warmup) {
		double least = reward_percentile(m->recent, m->n_recent, m->config->percentile);
		for (int64_t i = 0; i < n; i++)
			if (!row[i]->left_out && row[i]->any && row[i]->total < least)
				row[i]->skip = REWARD_MIX_BELOW;
	}
	forget(m, window);
}

static int compare_groups(const void *x, const void *y)
{
	const struct reward_mix_row *a = *(struct reward_mix_row *const *)x, *b = *(struct reward_mix_row *const *)y;
	return strcmp(a->group, b->group);
}

/* A group of one is no group: nothing is compared there. */
static void skip_flat(struct reward_mix_row *const *row, int64_t n, struct arena *a)
{
	struct reward_mix_row **sorted = arena_array(a, (size_t)n, sizeof *sorted);
	int64_t k = 0;
	for (int64_t i = 0; i < n; i++)
		if (!row[i]->left_out && row[i]->any && row[i]->group)
			sorted[k++] = row[i];
	qsort(sorted, (size_t)k, sizeof *sorted, compare_groups);
	for (int64_t first = 0, end; first < k; first = end) {
		bool flat = true;
		for (end = first + 1; end < k && !strcmp(sorted[end]->group, sorted[first]->group); end++)
			flat &= sorted[end]->total == sorted[first]->total;
		for (int64_t i = first; flat && end - first > 1 && i < end; i++)
			sorted[i]->skip = REWARD_MIX_FLAT;
	}
}

void reward_mix_batch(struct reward_mix *m, int64_t batch, struct reward_mix_row *const *row, int64_t n,
                      struct arena *a)
{
	bool held = !reward_mix_remembers(m);
	for (int64_t i = 0; i < n; i++)
		if (!row[i]->left_out)
			take_statistics(m, row[i]);
	for (int64_t i = 0; i < n; i++) {
		if (row[i]->left_out)
			continue;
		reward_mix_total(m, batch, false, row[i], a);
		row[i]->skip = NULL;
		row[i]->holds_state = !held;
		held = true;
	}
	if (m->config->dynamic_sampling)
		skip_flat(row, n, a);
	if (m->config->percentile > 0)
		skip_below(m, row, n);
	m->batches++;
}

/* ---- records ---- */

static int add_terms(const struct reward_mix *m, struct record *r, const struct reward_mix_row *row, struct err *e)
{
	struct str s;
	str_init(&s);
	for (int64_t i = 0; i < m->n; i++) {
		str_addc(&s, i ? ',' : '{');
		json_put_str(&s, m->component[i].name, strlen(m->component[i].name));
		str_addc(&s, ':');
		if (row->part[i].form == REWARD_NULL)
			str_adds(&s, "null");
		else
			json_put_num(&s, row->term[i] + 0.0);
	}
	str_addc(&s, '}');
	int failed = record_add_raw(r, m->config->as, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

static int add_total(struct record *r, const struct reward_mix_row *row, struct err *e)
{
	if (!row->any)
		return record_add_null(r, "reward", e);
	if (!row->per_token)
		return record_add_num(r, "reward", row->total + 0.0, e);
	float *x = xmalloc((size_t)row->n * sizeof *x + 1);
	for (int64_t t = 0; t < row->n; t++)
		x[t] = (float)row->out[t];
	int failed = record_add_floats(r, "reward", x, row->n, e);
	free(x);
	return failed;
}

int reward_mix_add(const struct reward_mix *m, struct record *r, const struct reward_mix_row *row, struct err *e)
{
	if (add_terms(m, r, row, e) || add_total(r, row, e) ||
	    (row->skip && record_add_str(r, "skip", row->skip, strlen(row->skip), e)))
		return -1;
	if (!row->holds_state)
		return 0;
	struct str s;
	str_init(&s);
	reward_mix_put_state(&s, m);
	int failed = record_add_raw(r, m->state_field, s.buf, s.len, e);
	str_release(&s);
	return failed;
}
