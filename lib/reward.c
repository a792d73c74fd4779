/* reward - see reward.h */
#include "lib/reward.h"

#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lib/util.h"

struct reward {
	struct filter *filter; /* NULL: the default rule */
	struct str names;      /* of the default rule, as met */
};

struct reward *reward_new(const char *program, struct err *e)
{
	struct reward *r = xcalloc(1, sizeof *r);
	str_init(&r->names);
	if (!program || !*program)
		return r;
	r->filter = filter_new("--reward", program, NULL, 0, e);
	if (r->filter)
		return r;
	reward_free(r);
	return NULL;
}

void reward_free(struct reward *r)
{
	if (!r)
		return;
	filter_free(r->filter);
	str_release(&r->names);
	free(r);
}

const char *reward_description(const struct reward *r)
{
	return r->filter ? filter_program(r->filter) : r->names.buf;
}

/* What one reading works on. */
struct reading {
	struct reward *reward;
	struct record *rec;
	struct arena *arena;
	const int32_t *mask, *ends;
	int64_t n;
	double *out;
	struct reward_part *part; /* or NULL: the numbers of what is read, before they are added up */
	const char *name;
	bool any;
	struct err *e;
};

static void put(struct reading *g, int64_t token, double x)
{
	if (token >= 0)
		g->out[token] += x;
	if (!g->part)
		return;
	g->part->x[g->part->n] = x;
	g->part->at[g->part->n++] = token;
}

static void begin_part(struct reading *g, enum reward_form form, int64_t n)
{
	if (!g->part)
		return;
	g->part->form = form;
	g->part->x = arena_array(g->arena, (size_t)n, sizeof *g->part->x);
	g->part->at = arena_array(g->arena, (size_t)n, sizeof *g->part->at);
}

/* The last token that the policy chose; without one, the last. */
static int64_t last_chosen(const struct reading *g)
{
	for (int64_t i = g->n - 1; i >= 0; i--)
		if (!g->mask || g->mask[i])
			return i;
	return g->n - 1;
}

static int add_scalar(struct reading *g, double x)
{
	/* A completion without a token has nothing that could be rewarded. */
	begin_part(g, REWARD_SCALAR, 1);
	put(g, g->n > 0 ? last_chosen(g) : -1, x);
	return 0;
}

static int need_ends(struct reading *g)
{
	int32_t *ends;
	int64_t n;
	if (g->ends)
		return 0;
	int got = record_ints(g->rec, "ends", &ends, &n, g->n, "tokens", g->arena, g->e);
	if (got == 0)
		err_set(g->e, "'%s' has spans, but there is no 'ends' to place them by", g->name);
	g->ends = ends;
	return got > 0 ? 0 : -1;
}

static int add_span(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct reading *g = arg;
	double *x;
	int64_t n;
	(void)key;
	(void)key_len;
	if (item->kind != JSON_ARRAY || json_doubles(item, g->name, &x, &n, g->arena, g->e) < 0 || n != 3)
		return err_set(g->e, "'%s': span %lld is not [start, end, x]", g->name, (long long)i);
	if (!(x[0] >= 0 && x[1] >= x[0]))
		return err_set(g->e, "'%s': span %lld begins at %g and ends at %g", g->name, (long long)i, x[0], x[1]);
	int64_t t = 0;
	while (t + 1 < g->n && g->ends[t] < x[1])
		t++;
	put(g, g->n > 0 ? t : -1, x[2]);
	return 0;
}

struct first_kind {
	enum json_kind kind;
};

static int look_at_first(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)i;
	(void)key;
	(void)key_len;
	((struct first_kind *)arg)->kind = item->kind;
	return 1;
}

static int add_array(struct reading *g, const struct json *v)
{
	struct first_kind first = {JSON_ABSENT};
	json_each(v, look_at_first, &first);
	if (g->n < 0)
		return err_set(g->e, "'%s' is an array, but there is no 'tokens' that it could fall on", g->name);
	bool spans = first.kind == JSON_ARRAY || (first.kind == JSON_ABSENT && g->n > 0);
	begin_part(g, spans ? REWARD_SPANS : REWARD_TOKENS, json_length(v));
	if (spans)
		return first.kind == JSON_ABSENT ? 0 : need_ends(g) ? -1 : json_each(v, add_span, g);
	double *x;
	int64_t n;
	if (json_doubles(v, g->name, &x, &n, g->arena, g->e) < 0)
		return -1;
	if (n != g->n)
		return err_set(g->e, "'%s' has %lld numbers, but 'tokens' has %lld", g->name, (long long)n,
		               (long long)g->n);
	for (int64_t i = 0; i < n; i++)
		put(g, i, x[i]);
	return 0;
}

static int add_value(struct reading *g, const struct json *v)
{
	if (v->kind == JSON_ABSENT || v->kind == JSON_NULL)
		return 0;
	g->any = true;
	if (v->kind == JSON_NUMBER)
		return add_scalar(g, v->number);
	if (v->kind == JSON_BOOL)
		return add_scalar(g, v->boolean);
	if (v->kind == JSON_ARRAY)
		return add_array(g, v);
	return err_set(g->e, "'%s' is neither a number nor an array", g->name);
}

static void note_name(struct reward *r, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = r->names.buf; (p = strstr(p, name)); p += len)
		if ((p == r->names.buf || p[-1] == ' ') && (!p[len] || p[len] == ' '))
			return;
	if (r->names.len > 400)
		return;
	str_addf(&r->names, "%s%s", r->names.len ? " + " : "", name);
}

/* The default rule: `reward`, else every reward_* that is not null. */
static int add_fields(struct reading *g)
{
	struct json v;
	const char *name;
	size_t len;
	if (record_json(g->rec, "reward", &v, g->e) < 0)
		return -1;
	if (v.kind != JSON_ABSENT && v.kind != JSON_NULL) {
		g->name = "reward";
		note_name(g->reward, g->name);
		return add_value(g, &v);
	}
	for (int64_t i = 0; record_field(g->rec, i, &name, &len, &v); i++) {
		if (len < 8 || memcmp(name, "reward_", 7))
			continue;
		g->name = arena_strndup(g->arena, name, len);
		if (v.kind != JSON_NULL)
			note_name(g->reward, g->name);
		if (add_value(g, &v))
			return -1;
	}
	return 0;
}

int reward_read(struct reward *r, struct record *rec, int64_t n, const int32_t *mask, double **out, double *score,
                struct arena *a, struct err *e)
{
	struct reading g = {.reward = r, .rec = rec, .arena = a, .mask = mask, .n = n, .name = "--reward", .e = e};
	struct json v;
	g.out = arena_array(a, (size_t)n, sizeof *g.out);
	if (r->filter ? filter_run(r->filter, rec, &v, a, e) < 0 || add_value(&g, &v) : add_fields(&g))
		return -1;
	*score = 0;
	for (int64_t i = 0; i < n; i++)
		*score += g.out[i];
	*out = g.out;
	return g.any;
}

int reward_part_read(struct record *rec, const char *name, int64_t n, const int32_t *mask, struct reward_part *out,
                     struct arena *a, struct err *e)
{
	struct reading g = {.rec = rec, .arena = a, .mask = mask, .n = n, .name = name, .part = out, .e = e};
	struct json v;
	*out = (struct reward_part){REWARD_NULL};
	g.out = arena_array(a, n > 0 ? (size_t)n : 0, sizeof *g.out);
	if (record_json(rec, name, &v, e) < 0 || add_value(&g, &v))
		return -1;
	return g.any;
}

/* ---- components ---- */

struct component_sum {
	double sum;
	bool span; /* inside of one, whose third number counts */
};

/* Non-zero: it is no array of numbers or spans. */
static int add_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct component_sum *s = arg, inner = {.span = true};
	(void)key;
	(void)key_len;
	if (item->kind == JSON_NUMBER) {
		s->sum += !s->span || i == 2 ? item->number : 0;
		return 0;
	}
	if (item->kind != JSON_ARRAY || s->span || json_each(item, add_item, &inner))
		return 1;
	s->sum += inner.sum;
	return 0;
}

static bool sum_of(const struct json *v, double *sum)
{
	struct component_sum s = {0};
	if (v->kind == JSON_ARRAY ? json_each(v, add_item, &s) : v->kind != JSON_NUMBER && v->kind != JSON_BOOL)
		return false;
	*sum = v->kind == JSON_NUMBER ? v->number : v->kind == JSON_BOOL ? v->boolean : s.sum;
	return true;
}

int64_t reward_components(struct record *rec, struct reward_component **out, struct arena *a)
{
	struct json v;
	const char *name;
	size_t len;
	int64_t n = 0;
	for (int64_t i = 0; record_field(rec, i, &name, &len, &v); i++)
		n += len >= 8 && !memcmp(name, "reward_", 7);
	*out = arena_array(a, (size_t)n, sizeof **out);
	n = 0;
	for (int64_t i = 0; record_field(rec, i, &name, &len, &v); i++)
		if (len >= 8 && !memcmp(name, "reward_", 7) && sum_of(&v, &(*out)[n].sum))
			(*out)[n++].name = arena_strndup(a, name + 7, len - 7);
	return n;
}
