/* advantage_group - which rows of a batch are compared with each other; rloo and grpo.  See advantage.h */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage_impl.h"
#include "lib/util.h"

/* ---- groups ---- */

struct member {
	const char *group;
	int64_t row;
};

/* Rows without a group follow, each alone. */
static int compare_members(const void *x, const void *y)
{
	const struct member *a = x, *b = y;
	int order = !a->group || !b->group ? !a->group - !b->group : strcmp(a->group, b->group);
	return order ? order : a->row < b->row ? -1 : a->row > b->row;
}

static bool same_group(const struct member *a, const struct member *b)
{
	return a->group && b->group && !strcmp(a->group, b->group);
}

void advantage_groups_init(struct advantage_groups *g, const struct advantage_batch *b)
{
	size_t n = (size_t)b->n_rows;
	struct member *m = xcalloc(n + 1, sizeof *m);
	*g = (struct advantage_groups){xcalloc(n + 1, sizeof *g->row), xcalloc(n + 1, sizeof *g->first), 0,
	                               xcalloc(n + 1, sizeof *g->live), 0};
	for (size_t i = 0; i < n; i++)
		m[i] = (struct member){b->row[i].group, (int64_t)i};
	qsort(m, n, sizeof *m, compare_members);
	for (size_t i = 0; i < n; i++) {
		g->row[i] = m[i].row;
		if (!i || !same_group(m + i, m + i - 1))
			g->first[g->n++] = (int64_t)i;
	}
	g->first[g->n] = b->n_rows;
	free(m);
}

void advantage_groups_release(struct advantage_groups *g)
{
	free(g->row);
	free(g->first);
	free(g->live);
}

int advantage_group_take(struct advantage_groups *g, struct advantage_batch *b, int64_t i, int64_t least,
                         const char *what, struct err *e)
{
	int64_t all = g->first[i + 1] - g->first[i], samples = all;
	g->n_live = 0;
	for (int64_t k = g->first[i]; k < g->first[i + 1]; k++) {
		const struct advantage_row *r = b->row + g->row[k];
		if (r->sample + 1 > samples)
			samples = r->sample + 1;
		if (advantage_counts(r))
			g->live[g->n_live++] = g->row[k];
	}
	if (!g->n_live)
		return 0;
	const char *name = b->row[g->live[0]].group ? b->row[g->live[0]].group : "";
	b->bad = g->live[0];
	if (samples > all)
		return err_set(e, "group '%s' is not whole: %lld of %lld completions are in the batch", name,
		               (long long)all, (long long)samples);
	if (g->n_live < least)
		return err_set(e, "group '%s' has %lld of %lld completions to compare, and %s needs %lld", name,
		               (long long)g->n_live, (long long)all, what, (long long)least);
	b->bad = -1;
	return 0;
}

/* ---- totals ---- */

/* What a row is compared by. */
static double total(const struct advantage_batch *b, int64_t i)
{
	const struct advantage_row *r = b->row + i;
	const double *x = b->x + b->at[i];
	double sum = 0;
	if (b->k->kl_after)
		return r->score;
	for (int64_t t = 0; t < r->n; t++)
		sum += x[t];
	return sum;
}

/* Unbiased, of y[n]; 0 of fewer than two. */
static double deviation(const double *y, int64_t n)
{
	double mean = 0, squares = 0;
	for (int64_t i = 0; i < n; i++)
		mean += y[i] / (double)n;
	for (int64_t i = 0; i < n; i++)
		squares += (y[i] - mean) * (y[i] - mean);
	return n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

/* a for every chosen token; where the KL comes afterwards, a on the last one and the KL of what follows. */
static void spread(const struct advantage_batch *b, int64_t i, double a)
{
	const struct advantage_row *r = b->row + i;
	double *x = b->x + b->at[i];
	if (!b->k->kl_after || b->given) {
		for (int64_t t = 0; t < r->n; t++)
			x[t] = advantage_chosen(r, t) ? a : 0;
		return;
	}
	int64_t last = r->n ? advantage_nearest(r, r->n - 1) : -1;
	if (last >= 0)
		x[last] += a - r->score;
	advantage_to_go(b, r, x);
}

/* y[n_rows]: the totals of the rows that count, and returns, which are taken from x before it changes. */
static double *totals(struct advantage_batch *b)
{
	double *y = xcalloc((size_t)b->n_rows + 1, sizeof *y);
	for (int64_t i = 0; i < b->n_rows; i++)
		if (advantage_counts(b->row + i))
			y[i] = total(b, i);
	return y;
}

static void all_returns(struct advantage_batch *b)
{
	for (int64_t i = 0; i < b->n_rows; i++) {
		struct advantage_row *r = b->row + i;
		double next = 0;
		for (int64_t t = r->n - 1; t >= 0 && advantage_counts(r); t--) {
			if (advantage_chosen(r, t) || b->k->mask == MASK_ZEROS)
				next = b->x[b->at[i] + t] + b->c->gamma * next;
			r->returns[t] = advantage_chosen(r, t) ? (float)next : 0;
		}
	}
}

/* ---- rloo ---- */

/* A over rows to mean 0, divided by their deviation. */
static void whiten_rows(struct advantage_batch *b, double *a)
{
	double mean = 0, *live = xcalloc((size_t)b->n_rows + 1, sizeof *live);
	int64_t n = 0;
	for (int64_t i = 0; i < b->n_rows; i++)
		if (advantage_counts(b->row + i))
			mean += live[n++] = a[i];
	mean /= (double)(n ? n : 1);
	double scale = 1 / (deviation(live, n) + b->k->std_eps);
	for (int64_t i = 0; i < b->n_rows; i++)
		a[i] = (a[i] - mean) * scale;
	free(live);
}

static void rloo_group(const struct advantage_groups *g, const double *y, double *a)
{
	double sum = 0;
	for (int64_t k = 0; k < g->n_live; k++)
		sum += y[g->live[k]];
	for (int64_t k = 0; k < g->n_live; k++) {
		double mine = y[g->live[k]];
		a[g->live[k]] = g->n_live > 1 ? mine - (sum - mine) / (double)(g->n_live - 1) : mine;
	}
}

int advantage_rloo(struct advantage_batch *b, struct err *e)
{
	struct advantage_groups g;
	double *y = totals(b), *a = xcalloc((size_t)b->n_rows + 1, sizeof *a);
	int rc = 0;
	all_returns(b);
	advantage_groups_init(&g, b);
	for (int64_t i = 0; i < g.n && !rc; i++) {
		rc = advantage_group_take(&g, b, i, b->k->lone ? 1 : 2, "rloo", e);
		if (!rc)
			rloo_group(&g, y, a);
	}
	if (!rc && b->c->whiten && b->k->rows_whiten)
		whiten_rows(b, a);
	for (int64_t i = 0; i < b->n_rows && !rc; i++)
		if (advantage_counts(b->row + i))
			spread(b, i, a[i]);
	advantage_groups_release(&g);
	free(y);
	free(a);
	return rc;
}

/* ---- grpo ---- */

static void grpo_group(const struct advantage_batch *b, const struct advantage_groups *g, const double *y, double scale,
                       double *member)
{
	double mean = 0;
	for (int64_t k = 0; k < g->n_live; k++)
		mean += member[k] = y[g->live[k]];
	mean = g->n_live > 1 || !b->k->lone ? mean / (double)g->n_live : 0;
	if (b->c->scale == SCALE_GROUP)
		scale = 1 / ((g->n_live > 1 ? deviation(member, g->n_live) : 1) + b->k->std_eps);
	for (int64_t k = 0; k < g->n_live; k++)
		spread(b, g->live[k], (member[k] - mean) * scale);
}

int advantage_grpo(struct advantage_batch *b, struct err *e)
{
	struct advantage_groups g;
	double *y = totals(b), *member = xcalloc((size_t)b->n_rows + 1, sizeof *member), scale = 1;
	int64_t n = 0;
	int rc = 0;
	all_returns(b);
	for (int64_t i = 0; i < b->n_rows; i++)
		if (advantage_counts(b->row + i))
			member[n++] = y[i];
	if (b->c->scale == SCALE_BATCH)
		scale = 1 / (deviation(member, n) + b->k->std_eps);
	advantage_groups_init(&g, b);
	for (int64_t i = 0; i < g.n && !rc; i++) {
		rc = advantage_group_take(&g, b, i, b->k->lone ? 1 : 2, "grpo", e);
		if (!rc && g.n_live)
			grpo_group(b, &g, y, scale, member);
	}
	advantage_groups_release(&g);
	free(y);
	free(member);
	return rc;
}
