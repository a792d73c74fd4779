/* rank_metrics_prefs - preferences between documents, as trec_eval counts them; see rank_metrics_impl.h */
#include <stdlib.h>
#include <string.h>

#include "lib/rank_metrics_impl.h"
#include "lib/util.h"

/*
 * The judged documents of a query have places: those that the run has come first, in its order, then the others by
 * name.  A judge with one part prefers by level alone; the parts of another make a relation, preferred [n][n].
 */
struct trec_counter {
	int64_t n, n_ranked; /* documents, and those of them in the run */
	struct judged {
		const struct trec_row *row;
		int64_t place;
	} * judged;               /* the rows of the query */
	const char **doc;         /* [n] by place */
	double *level;            /* [n] of the current judge; -1: did not see it */
	unsigned char *preferred; /* [n][n]: the first is preferred to the second */
	uint32_t *votes;          /* [n][n] judges who do */
	bool one_part, one_judge;
	struct trec_preferences out;
};

struct trec_counter *trec_counter_new(void)
{
	return xcalloc(1, sizeof(struct trec_counter));
}

static void clear(struct trec_counter *c)
{
	free(c->judged);
	free(c->doc);
	free(c->level);
	free(c->preferred);
	free(c->votes);
	free(c->out.judge);
	*c = (struct trec_counter){0};
}

void trec_counter_free(struct trec_counter *c)
{
	clear(c);
	free(c);
}

static bool prefers(const struct trec_counter *c, int64_t i, int64_t j)
{
	return c->one_part ? c->level[j] >= 0 && c->level[i] > c->level[j] : c->preferred[i * c->n + j];
}

/* ---- places ---- */

static int64_t place_of(const struct judged *by_doc, int64_t n, const char *doc)
{
	int64_t lo = 0, hi = n;
	while (lo < hi) {
		int64_t mid = (lo + hi) / 2;
		if (strcmp(by_doc[mid].row->doc, doc) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && !strcmp(by_doc[lo].row->doc, doc) ? lo : -1;
}

static int by_doc(const void *a, const void *b)
{
	return strcmp(((const struct judged *)a)->row->doc, ((const struct judged *)b)->row->doc);
}

static void give_places(struct trec_counter *c, int64_t n_rows, const struct trec_row *const *ranked, int64_t n_ranked)
{
	c->doc = xcalloc((size_t)n_rows + 1, sizeof *c->doc);
	qsort(c->judged, (size_t)n_rows, sizeof *c->judged, by_doc);
	for (int64_t i = 0; i < n_ranked; i++) {
		int64_t first = place_of(c->judged, n_rows, ranked[i]->doc);
		if (first < 0)
			continue;
		for (int64_t k = first; k < n_rows && !strcmp(c->judged[k].row->doc, ranked[i]->doc); k++)
			c->judged[k].place = c->n;
		c->doc[c->n++] = ranked[i]->doc;
	}
	c->n_ranked = c->n;
	for (int64_t i = 0; i < n_rows; i++) {
		if (c->judged[i].place >= 0)
			continue;
		bool again = i && !by_doc(&c->judged[i - 1], &c->judged[i]);
		c->judged[i].place = again ? c->judged[i - 1].place : c->n;
		if (!again)
			c->doc[c->n++] = c->judged[i].row->doc;
	}
}

/* ---- the relation of one judge ---- */

static int by_judge_part_level(const void *pa, const void *pb, void *names)
{
	const struct judged *a = pa, *b = pb;
	const char *const *name = names;
	int c = a->row->judge == b->row->judge ? 0 : strcmp(name[a->row->judge], name[b->row->judge]);
	if (!c && a->row->part != b->row->part)
		c = strcmp(name[a->row->part], name[b->row->part]);
	if (c || a->row->value != b->row->value)
		return c ? c : a->row->value > b->row->value ? -1 : 1;
	return (a->place > b->place) - (a->place < b->place);
}

/* What follows from what was said (Warshall 1962); then nothing may stand both before and behind another. */
static int close_relation(struct trec_counter *c, struct err *e)
{
	unsigned char *a = c->preferred;
	for (int64_t k = 0; k < c->n; k++)
		for (int64_t i = 0; i < c->n; i++)
			for (int64_t j = 0; a[i * c->n + k] && j < c->n; j++)
				a[i * c->n + j] |= a[k * c->n + j];
	for (int64_t i = 0; i < c->n; i++)
		for (int64_t j = 0; j < i; j++)
			if (a[i * c->n + j] && a[j * c->n + i])
				return err_set(e, "documents '%s' and '%s' are preferred to each other", c->doc[i],
				               c->doc[j]);
	return 0;
}

static int take_levels(struct trec_counter *c, const struct judged *j, int64_t n, struct err *e)
{
	for (int64_t i = 0; i < c->n; i++)
		c->level[i] = -1;
	if (!c->one_part) {
		if (!c->preferred)
			c->preferred = xcalloc((size_t)(c->n * c->n), 1);
		memset(c->preferred, 0, (size_t)(c->n * c->n));
	}
	for (int64_t i = 0; i < n; i++) {
		double before = c->level[j[i].place], level = j[i].row->value;
		if (before >= 0 && (c->one_part || (before > 0) != (level > 0)))
			return err_set(e, "document '%s' has levels %g and %g", j[i].row->doc, before, level);
		c->level[j[i].place] = level;
		for (int64_t k = i + 1; k < n && !c->one_part && j[k].row->part == j[i].row->part; k++)
			if (j[k].row->value < level)
				c->preferred[j[i].place * c->n + j[k].place] = 1;
	}
	return c->one_part ? 0 : close_relation(c, e);
}

/* ---- counts ---- */

/* Pairs among the first `most` places, with only the first `keep` documents of level 0.  A judge of one part has the
 * pairs of a document of level 0 and a kept one of them counted too: trec_eval's loop does. */
static void even(const struct trec_counter *c, int64_t most, int64_t keep, int64_t *kept, int64_t *all)
{
	int64_t first_left_out = 0;
	*kept = *all = 0;
	for (; first_left_out < most; first_left_out++)
		if (c->level[first_left_out] == 0 && keep-- == 0)
			break;
	for (int64_t i = 0; i < most; i++) {
		bool zero = c->level[i] == 0, out = zero && i >= first_left_out;
		for (int64_t j = 0; j < most; j++) {
			if (c->level[j] == 0 && j >= first_left_out)
				continue;
			if ((!out && prefers(c, i, j)) || (c->one_part && zero && c->level[j] == 0)) {
				++*all;
				*kept += i < j && i < c->n_ranked;
			}
		}
	}
}

static void count_documents(const struct trec_counter *c, struct trec_judge *g)
{
	for (int64_t i = 0; i < c->n; i++) {
		bool ranked = i < c->n_ranked;
		g->n_rel += c->level[i] > 0;
		g->n_rel_ranked += c->level[i] > 0 && ranked;
		g->n_nonrel += c->level[i] == 0;
		g->n_nonrel_ranked += c->level[i] == 0 && ranked;
	}
}

static void count_preferences(struct trec_counter *c, struct trec_judge *g)
{
	count_documents(c, g);
	for (int64_t i = 0; i < c->n; i++) {
		for (int64_t j = 0; j < c->n; j++) {
			if (!prefers(c, i, j))
				continue;
			if (c->votes)
				c->votes[i * c->n + j]++;
			if (i < c->n_ranked && j < c->n_ranked) {
				g->all_both++;
				g->kept_both += i < j;
			} else if (i < c->n_ranked || j < c->n_ranked) {
				g->all_one++;
				g->kept_one += i < j;
			} else {
				g->none++;
			}
		}
	}
	int64_t more = g->n_rel - g->n_nonrel;
	if (more >= 0) {
		g->even_kept = g->kept_both + g->kept_one + g->n_rel_ranked * more;
		g->even_all = g->all_both + g->all_one + g->none + g->n_rel * more;
	} else {
		even(c, c->n, g->n_rel, &g->even_kept, &g->even_all);
	}
	more = g->n_rel_ranked - g->n_nonrel_ranked;
	if (more >= 0) {
		g->even_ranked_kept = g->kept_both + g->n_rel_ranked * more;
		g->even_ranked_all = g->all_both + g->n_rel * more;
	} else {
		/* with several parts trec_eval keeps as many as there are relevant ones, ranked or not */
		even(c, c->n_ranked, c->one_part ? g->n_rel_ranked : g->n_rel, &g->even_ranked_kept,
		     &g->even_ranked_all);
	}
}

/* Where one judge votes a pair's share is 0 or 1. */
static void pairs_of_one(struct trec_preferences *p)
{
	const struct trec_judge *g = p->judge;
	p->pairs_both = g->all_both;
	p->pairs_one = g->all_one;
	p->pairs_none = g->none;
	p->share_both = (double)g->kept_both;
	p->share_one = (double)(g->kept_both + g->kept_one);
}

static void pairs_of_all(struct trec_counter *c)
{
	struct trec_preferences *p = &c->out;
	double share = 0;
	for (int ranked = 1; ranked >= 0; ranked--) {
		for (int64_t i = 0; i < c->n; i++) {
			for (int64_t j = i + 1; j < c->n; j++) {
				uint32_t kept = c->votes[i * c->n + j], lost = c->votes[j * c->n + i];
				if (!(kept || lost) || (j < c->n_ranked) != ranked)
					continue;
				share += i < c->n_ranked ? (double)kept / (double)(kept + lost) : 0;
				++*(ranked ? &p->pairs_both : i < c->n_ranked ? &p->pairs_one : &p->pairs_none);
			}
		}
		*(ranked ? &p->share_both : &p->share_one) = share;
	}
}

int trec_count(struct trec_counter *c, const struct trec_rows *x, struct trec_span judged,
               const struct trec_row *const *ranked, int64_t n_ranked, const struct trec_preferences **out,
               struct err *e)
{
	int64_t n_rows = judged.end - judged.begin;
	clear(c);
	c->judged = xcalloc((size_t)n_rows + 1, sizeof *c->judged);
	for (int64_t i = 0; i < n_rows; i++)
		c->judged[i] = (struct judged){&x->row[judged.begin + i], -1};
	give_places(c, n_rows, ranked, n_ranked);
	qsort_r(c->judged, (size_t)n_rows, sizeof *c->judged, by_judge_part_level, x->name);
	c->level = xcalloc((size_t)c->n + 1, sizeof *c->level);
	c->out.judge = xcalloc((size_t)n_rows + 1, sizeof *c->out.judge);
	c->one_judge = c->judged[0].row->judge == c->judged[n_rows - 1].row->judge;
	if (!c->one_judge)
		c->votes = xcalloc((size_t)(c->n * c->n), sizeof *c->votes);
	for (int64_t i = 0, end; i < n_rows; i = end) {
		for (end = i; end < n_rows && c->judged[end].row->judge == c->judged[i].row->judge; end++)
			;
		c->one_part = c->judged[i].row->part == c->judged[end - 1].row->part;
		if (take_levels(c, c->judged + i, end - i, e))
			return err_where(e, "judge '%s'", x->name[c->judged[i].row->judge]);
		count_preferences(c, &c->out.judge[c->out.n++]);
	}
	if (c->one_judge)
		pairs_of_one(&c->out);
	else
		pairs_of_all(c);
	*out = &c->out;
	return 0;
}
