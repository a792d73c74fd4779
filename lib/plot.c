/* plot - see plot.h */
#include "lib/plot.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void plot_init(struct plot *p, const char *x_key)
{
	*p = (struct plot){.by_row = x_key && !strcmp(x_key, "row"), .x_key = x_key};
	str_init(&p->title);
}

void plot_clear(struct plot *p)
{
	for (int i = 0; i < p->n; i++) {
		free(p->column[i].key);
		free(p->column[i].y);
	}
	free(p->column);
	free(p->x);
	p->column = NULL;
	p->x = NULL;
	p->n = 0;
	p->rows = p->cap = p->lines = 0;
}

void plot_release(struct plot *p)
{
	plot_clear(p);
	str_release(&p->title);
}

/* ---- rows ---- */

static void grow(struct plot *p)
{
	p->cap = p->cap ? 2 * p->cap : 256;
	p->x = xrealloc_array(p->x, (size_t)p->cap, sizeof *p->x);
	for (int i = 0; i < p->n; i++)
		p->column[i].y = xrealloc_array(p->column[i].y, (size_t)p->cap, sizeof(double));
}

static int find(const struct plot *p, const char *key)
{
	for (int i = 0; i < p->n; i++)
		if (!strcmp(p->column[i].key, key))
			return i;
	return -1;
}

static void set(struct plot *p, const char *key, double value)
{
	int at = find(p, key);
	if (at < 0) {
		p->column = xrealloc_array(p->column, (size_t)p->n + 1, sizeof *p->column);
		at = p->n++;
		p->column[at] = (struct plot_column){.key = xstrdup(key), .y = xcalloc((size_t)p->cap, sizeof(double))};
		for (int64_t i = 0; i < p->rows; i++)
			p->column[at].y[i] = NAN;
	}
	p->column[at].y[p->rows] = value;
}

struct walk {
	struct plot *p;
	const char *outer; /* with its '/', or "" */
	int numbers;
};

static int take(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct walk *w = arg;
	struct str name;
	(void)i;
	if (v->kind != JSON_NUMBER && v->kind != JSON_OBJECT)
		return 0;
	str_init(&name);
	str_adds(&name, w->outer);
	str_add(&name, key, key_len);
	if (v->kind == JSON_NUMBER) {
		set(w->p, name.buf, v->number);
		w->numbers++;
	} else {
		struct walk inner = {.p = w->p};
		str_addc(&name, '/');
		inner.outer = name.buf;
		json_each(v, take, &inner);
		w->numbers += inner.numbers;
	}
	str_release(&name);
	return 0;
}

static void begin_row(struct plot *p)
{
	p->lines++;
	if (p->rows == p->cap)
		grow(p);
	for (int i = 0; i < p->n; i++)
		p->column[i].y[p->rows] = NAN;
}

static void choose_x(struct plot *p)
{
	static const char *const keys[] = {"step", "batch"};
	for (size_t i = 0; i < ARRAY_LEN(keys) && !p->x_key; i++)
		if (find(p, keys[i]) >= 0)
			p->x_key = keys[i];
	if (!p->x_key)
		p->by_row = true;
}

/* The row that was written moves to where its x belongs. */
static int end_row(struct plot *p, int numbers, struct err *e)
{
	int64_t to = p->rows;
	if (numbers == 0)
		return 0;
	if (!p->x_key && !p->by_row)
		choose_x(p);
	int at = p->by_row ? -1 : find(p, p->x_key);
	double x = at >= 0 ? p->column[at].y[p->rows] : NAN;
	if (p->by_row)
		x = (double)p->rows + 1;
	else if (!isfinite(x))
		return err_set(e, "there is no number '%s'", p->x_key);
	while (to > 0 && p->x[to - 1] >= x)
		to--;
	p->x[to] = x;
	for (int i = 0; i < p->n; i++)
		p->column[i].y[to] = p->column[i].y[p->rows];
	p->rows = to + 1;
	return 0;
}

int plot_add(struct plot *p, const struct record *r, struct err *e)
{
	struct walk w = {.p = p, .outer = ""};
	const char *name;
	size_t len;
	struct json v;
	begin_row(p);
	for (int64_t i = 0; record_field(r, i, &name, &len, &v) > 0; i++)
		take(&w, i, name, len, &v);
	return end_row(p, w.numbers, e);
}

int plot_add_object(struct plot *p, const struct json *object, struct err *e)
{
	struct walk w = {.p = p, .outer = ""};
	begin_row(p);
	json_each(object, take, &w);
	return end_row(p, w.numbers, e);
}

/* ---- which columns ---- */

/* What a run is watched by, in the order of looking. */
static const char *const main_keys[] = {"objective/scores",
                                        "objective/rlhf_reward",
                                        "objective/kl",
                                        "policy/entropy_avg",
                                        "completions/mean_length",
                                        "completions/clipped_ratio",
                                        "policy/approxkl_avg",
                                        "policy/clipfrac_avg",
                                        "loss/policy_avg",
                                        "loss/value_avg",
                                        "val/var_explained",
                                        "loss",
                                        "grad_norm",
                                        "lr"};

static bool is_x(const struct plot *p, int i)
{
	return !p->by_row && p->x_key && !strcmp(p->column[i].key, p->x_key);
}

static int pick_default(const struct plot *p, int *pick)
{
	int n = 0;
	for (size_t i = 0; i < ARRAY_LEN(main_keys); i++) {
		int at = find(p, main_keys[i]);
		if (at >= 0)
			pick[n++] = at;
	}
	for (int i = 0; n == 0 && i < p->n; i++)
		if (!is_x(p, i))
			pick[n++] = i;
	return n;
}

static bool picked(const int *pick, int n, int i)
{
	for (int j = 0; j < n; j++)
		if (pick[j] == i)
			return true;
	return false;
}

static int no_such_key(const struct plot *p, const char *pattern, struct err *e)
{
	const char **key = xcalloc((size_t)p->n + 1, sizeof *key);
	for (int i = 0; i < p->n; i++)
		key[i] = p->column[i].key;
	const char *near = nearest_word(pattern, key, (size_t)p->n);
	err_set(e, "no metric is called '%s'%s%s%s", pattern, near ? "; near is '" : "", near ? near : "",
	        near ? "'" : "");
	free(key);
	return -1;
}

int plot_pick(const struct plot *p, const struct cli_list *patterns, bool lenient, int *pick, struct err *e)
{
	int n = 0;
	if (patterns->n == 0)
		return pick_default(p, pick);
	for (size_t i = 0; i < patterns->n; i++) {
		bool any = false;
		for (int j = 0; j < p->n; j++) {
			if (fnmatch(patterns->item[i], p->column[j].key, 0))
				continue;
			any = true;
			if (!picked(pick, n, j))
				pick[n++] = j;
		}
		if (!any && !lenient)
			return no_such_key(p, patterns->item[i], e);
	}
	return n;
}
