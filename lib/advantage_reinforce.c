/* advantage_reinforce - rewards to go less a baseline; see advantage.h */
#include <stdlib.h>

#include "lib/advantage_impl.h"
#include "lib/util.h"

void advantage_to_go(const struct advantage_batch *b, const struct advantage_row *r, double *x)
{
	double next = 0;
	for (int64_t t = r->n - 1; t >= 0; t--) {
		bool chosen = advantage_chosen(r, t);
		if (chosen || b->k->mask == MASK_ZEROS)
			next = x[t] + b->c->gamma * next;
		x[t] = chosen ? next : 0;
	}
}

/* Of a row's rewards; where the KL comes after the baseline, of its score. */
static double total(const struct advantage_batch *b, int64_t i)
{
	const double *x = b->x + b->at[i];
	double sum = 0;
	for (int64_t t = 0; t < b->row[i].n; t++)
		sum += x[t];
	return b->k->kl_after ? b->row[i].score : sum;
}

static double batch_mean(const struct advantage_batch *b)
{
	double sum = 0;
	int64_t n = 0;
	for (int64_t i = 0; i < b->n_rows; i++)
		if (advantage_counts(b->row + i)) {
			sum += total(b, i);
			n++;
		}
	return n ? sum / (double)n : 0;
}

static void all(double *baseline, int64_t n, double value)
{
	for (int64_t i = 0; i < n; i++)
		baseline[i] = value;
}

static void moving_mean(const struct advantage_batch *b, struct advantage_moving *m, double *baseline)
{
	double mean = batch_mean(b), decay = b->c->baseline_decay;
	all(baseline, b->n_rows, m->batches ? m->mean : mean);
	m->mean = m->batches ? decay * m->mean + (1 - decay) * mean : mean;
	m->batches++;
}

static int group_mean(struct advantage_batch *b, struct advantage_groups *g, int64_t i, double *baseline, struct err *e)
{
	double sum = 0;
	if (advantage_group_take(g, b, i, b->k->lone ? 1 : 2, "the baseline of a group", e))
		return -1;
	for (int64_t k = 0; k < g->n_live; k++)
		sum += total(b, g->live[k]);
	for (int64_t k = 0; k < g->n_live; k++)
		baseline[g->live[k]] = g->n_live > 1 ? sum / (double)g->n_live : 0;
	return 0;
}

/* The score of the one row of the group that was sampled greedily; the others are those that count. */
static int greedy_score(struct advantage_batch *b, struct advantage_groups *g, int64_t i, double *baseline,
                        struct err *e)
{
	int64_t found = -1, many = 0;
	if (advantage_group_take(g, b, i, 1, "the greedy baseline", e))
		return -1;
	if (!g->n_live)
		return 0;
	for (int64_t k = g->first[i]; k < g->first[i + 1]; k++)
		if (b->row[g->row[k]].is_baseline) {
			found = g->row[k];
			many++;
		}
	if (many != 1) {
		b->bad = g->live[0];
		return err_set(e, "group '%s' has %lld completions at temperature 0, and --baseline greedy wants 1",
		               b->row[b->bad].group ? b->row[b->bad].group : "", (long long)many);
	}
	for (int64_t k = 0; k < g->n_live; k++)
		baseline[g->live[k]] = b->row[found].score;
	return 0;
}

static int by_group(struct advantage_batch *b, double *baseline, struct err *e)
{
	struct advantage_groups g;
	int rc = 0;
	advantage_groups_init(&g, b);
	for (int64_t i = 0; i < g.n && !rc; i++)
		rc = (b->c->baseline == BASELINE_GREEDY ? greedy_score : group_mean)(b, &g, i, baseline, e);
	advantage_groups_release(&g);
	return rc;
}

/* x from rewards to G less the baseline, and returns. */
static void subtract(const struct advantage_batch *b, int64_t i, double baseline)
{
	struct advantage_row *r = b->row + i;
	double *x = b->x + b->at[i], whole = total(b, i);
	advantage_to_go(b, r, x);
	for (int64_t t = 0; t < r->n; t++) {
		r->returns[t] = (float)x[t];
		double g = b->k->group_whole && b->c->baseline == BASELINE_GROUP ? whole : x[t];
		x[t] = advantage_chosen(r, t) ? g - baseline : 0;
	}
}

int advantage_reinforce(struct advantage_batch *b, struct advantage_moving *moving, struct err *e)
{
	double *baseline = xcalloc((size_t)b->n_rows + 1, sizeof *baseline);
	int rc = 0;
	if (b->c->baseline == BASELINE_BATCH)
		all(baseline, b->n_rows, batch_mean(b));
	else if (b->c->baseline == BASELINE_MOVING)
		moving_mean(b, moving, baseline);
	else if (b->c->baseline != BASELINE_NONE)
		rc = by_group(b, baseline, e);
	for (int64_t i = 0; i < b->n_rows && !rc; i++)
		if (advantage_counts(b->row + i))
			subtract(b, i, baseline[i]);
	free(baseline);
	return rc;
}
