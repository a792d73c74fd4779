/* rank_metrics_measures - the measures of trec_eval on one ranking; see rank_metrics_trec.h */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rank_metrics_trec.h"
#include "lib/util.h"

#define ARGS const struct trec_ranking *r, const struct trec_parameter *p, int n, double *out
#define UNUSED (void)r, (void)p, (void)n

static double ratio(double a, double b)
{
	return b != 0 ? a / b : 0;
}

static bool relevant(const struct trec_ranking *r, int64_t i)
{
	return r->rel[i] >= r->level;
}

/* Relevant documents among the first k. */
static int64_t found(const struct trec_ranking *r, int64_t k)
{
	int64_t sum = 0;
	for (int64_t i = 0; i < k && i < r->n; i++)
		sum += relevant(r, i);
	return sum;
}

/* ---- counts and sets ---- */

static void one(ARGS)
{
	UNUSED;
	*out = 1;
}
static void num_ret(ARGS)
{
	UNUSED;
	*out = (double)r->n;
}
static void num_rel(ARGS)
{
	UNUSED;
	*out = (double)r->n_relevant;
}
static void num_rel_ret(ARGS)
{
	UNUSED;
	*out = (double)r->n_relevant_found;
}
static void num_nonrel_judged_ret(ARGS)
{
	UNUSED;
	*out = (double)(r->n - r->n_outside - r->n_unjudged - r->n_relevant_found);
}
static void set_p(ARGS)
{
	UNUSED;
	*out = ratio((double)r->n_relevant_found, (double)r->n);
}
static void set_recall(ARGS)
{
	UNUSED;
	*out = ratio((double)r->n_relevant_found, (double)r->n_relevant);
}
static void set_relative_p(ARGS)
{
	UNUSED;
	*out = ratio((double)r->n_relevant_found, (double)(r->n < r->n_relevant ? r->n : r->n_relevant));
}
static void set_map(ARGS)
{
	UNUSED;
	*out = ratio((double)r->n_relevant_found * (double)r->n_relevant_found, (double)r->n * (double)r->n_relevant);
}
static void set_f(ARGS)
{
	double precision, recall;
	set_p(r, p, n, &precision);
	set_recall(r, p, n, &recall);
	*out = ratio((p[0].value + 1) * precision * recall, p[0].value * precision + recall);
}
static void utility(ARGS)
{
	*out = n == 4 ? p[0].value * (double)r->n_relevant_found + p[1].value * (double)(r->n - r->n_relevant_found) +
	                        p[2].value * (double)(r->n_relevant - r->n_relevant_found) +
	                        p[3].value * (double)(r->n_docs + r->n_relevant_found - r->n - r->n_relevant)
	              : 0;
}

/* ---- precision and recall at cuts ---- */

static void precision(ARGS)
{
	for (int i = 0; i < n; i++)
		out[i] = (double)found(r, (int64_t)p[i].value) / p[i].value;
}
static void recall(ARGS)
{
	for (int i = 0; i < n; i++)
		out[i] = ratio((double)found(r, (int64_t)p[i].value), (double)r->n_relevant);
}
static void relative_p(ARGS)
{
	for (int i = 0; i < n; i++)
		out[i] = ratio((double)found(r, (int64_t)p[i].value), fmin(p[i].value, (double)r->n_relevant));
}
static void success(ARGS)
{
	for (int i = 0; i < n; i++)
		out[i] = found(r, (int64_t)p[i].value) > 0;
}
static void unj(ARGS)
{
	for (int i = 0; i < n; i++) {
		int64_t sum = 0;
		for (int64_t j = 0; j < (int64_t)p[i].value && j < r->n; j++)
			sum += r->rel[j] < 0;
		out[i] = (double)sum / p[i].value;
	}
}
static void r_precision(ARGS)
{
	UNUSED;
	*out = ratio((double)found(r, r->n_relevant), (double)r->n_relevant);
}
static void r_precision_multiples(ARGS)
{
	for (int i = 0; i < n; i++) {
		int64_t cut = (int64_t)(p[i].value * (double)r->n_relevant + .9);
		out[i] = ratio((double)found(r, cut), (double)cut);
	}
}

/* ---- averages of precision ---- */

static double sum_precisions(const struct trec_ranking *r, int64_t k)
{
	int64_t seen = 0;
	double sum = 0;
	for (int64_t i = 0; i < k && i < r->n; i++)
		if (relevant(r, i))
			sum += (double)++seen / (double)(i + 1);
	return sum;
}
static void map(ARGS)
{
	UNUSED;
	*out = ratio(sum_precisions(r, r->n), (double)r->n_relevant);
}
static void map_cut(ARGS)
{
	for (int i = 0; i < n; i++)
		out[i] = ratio(sum_precisions(r, (int64_t)p[i].value), (double)r->n_relevant);
}
static void yaap(ARGS)
{
	UNUSED;
	double sum = sum_precisions(r, r->n);
	*out = log((1 + sum) / (1 + (double)r->n_relevant - sum));
}
#define GEOMETRIC_FLOOR 1e-5
static void gm_map(ARGS)
{
	map(r, p, n, out);
	*out = log(fmax(*out, GEOMETRIC_FLOOR));
}
static void recip_rank(ARGS)
{
	UNUSED;
	*out = 0;
	for (int64_t i = 0; i < r->n && *out == 0; i++)
		*out = relevant(r, i) ? 1 / (double)(i + 1) : 0;
}

/* Interpolated precision, the best at this rank or behind it, at shares of the relevant documents; each share in
 * falling order meets the ranks from the last one on. */
static void iprec_at_recall(ARGS)
{
	int64_t seen = r->n_relevant_found;
	double best = ratio((double)seen, (double)r->n);
	int at = n - 1;
	for (int i = 0; i < n; i++)
		out[i] = 0;
	while (at >= 0 && lround(p[at].value * (double)r->n_relevant) > seen)
		at--;
	for (int64_t i = r->n; i > 0 && seen > 0; i--) {
		best = fmax(best, (double)seen / (double)i);
		if (!relevant(r, i - 1))
			continue;
		for (; at >= 0 && lround(p[at].value * (double)r->n_relevant) == seen; at--)
			out[at] = best;
		seen--;
	}
	for (; at >= 0; at--)
		out[at] = best;
}
static void eleven_points(ARGS)
{
	double at[TREC_MAX_PARAMETERS], sum = 0;
	iprec_at_recall(r, p, n, at);
	for (int i = n - 1; i >= 0; i--)
		sum += at[i];
	*out = ratio(sum, n);
}

/* ---- incomplete judgements ---- */

/* Buckley and Voorhees 2004. */
static void bpref(ARGS)
{
	UNUSED;
	int64_t worse = 0, nonrelevant = 0;
	double sum = 0;
	for (int64_t i = 0; i < r->level && i < r->n_levels; i++)
		nonrelevant += r->at_level[i];
	for (int64_t i = 0; i < r->n; i++) {
		if (r->rel[i] < 0)
			continue;
		if (!relevant(r, i))
			worse++;
		else if (worse)
			sum += 1 - fmin((double)worse, (double)r->n_relevant) /
			                   fmin((double)nonrelevant, (double)r->n_relevant);
		else
			sum += 1;
	}
	*out = ratio(sum, (double)r->n_relevant);
}
static void gm_bpref(ARGS)
{
	bpref(r, p, n, out);
	*out = log(fmax(*out, GEOMETRIC_FLOOR));
}

/* Yilmaz and Aslam 2006. */
static void inf_ap(ARGS)
{
	UNUSED;
	const double epsilon = .00001;
	double sum = 0, above_rel = 0, above_non = 0, above_pool = 0;
	for (int64_t i = 0; i < r->n; i++) {
		if (r->rel[i] == TREC_NOT_IN_POOL)
			continue;
		if (r->rel[i] == TREC_NOT_JUDGED) {
			above_pool++;
		} else if (!relevant(r, i)) {
			above_non++;
		} else {
			double j = (double)i;
			if (!i)
				sum += 1;
			else
				sum += 1 / (j + 1) +
				       j / (j + 1) * ((above_rel + above_non + above_pool) / j) *
				               ((above_rel + epsilon) / (above_rel + above_non + 2 * epsilon));
			above_rel++;
		}
	}
	*out = ratio(sum, (double)r->n_relevant);
}

/* Moffat and Zobel 2008. */
static double persistence(const struct trec_parameter *p, int n)
{
	double x = .9;
	for (int i = 0; i < n; i++)
		if (!strcmp(p[i].name, "p"))
			x = p[i].value;
	return x;
}
static void rbp_resid(ARGS)
{
	double x = persistence(p, n), weight = 1, sum = 0;
	int64_t unknown = 0;
	for (int64_t i = 0; i < r->n; i++, weight *= x)
		if (r->rel[i] < 0) {
			unknown++;
			sum += weight;
		}
	*out = unknown ? weight + (1 - x) * sum : 0;
}

/* ---- gains ---- */

struct gains {
	double *of;     /* by grade */
	int64_t *order; /* grades by rising gain */
	int64_t n;
};

struct by_gain {
	double gain;
	int64_t grade;
};
static int rising(const void *pa, const void *pb)
{
	const struct by_gain *a = pa, *b = pb;
	if (a->gain != b->gain)
		return a->gain < b->gain ? -1 : 1;
	return (a->grade > b->grade) - (a->grade < b->grade);
}

static void gains_init(struct gains *g, const struct trec_ranking *r, const struct trec_parameter *p, int n)
{
	struct by_gain *all = xcalloc((size_t)r->n_levels + 1, sizeof *all);
	g->n = r->n_levels;
	g->of = xcalloc((size_t)g->n + 1, sizeof *g->of);
	g->order = xcalloc((size_t)g->n + 1, sizeof *g->order);
	for (int64_t i = 0; i < g->n; i++) {
		int64_t grade;
		all[i] = (struct by_gain){(double)i, i};
		for (int j = 0; j < n; j++)
			if (parse_i64(p[j].name, &grade) && grade == i)
				all[i].gain = p[j].value;
		g->of[i] = all[i].gain;
	}
	qsort(all, (size_t)g->n, sizeof *all, rising);
	for (int64_t i = 0; i < g->n; i++)
		g->order[i] = all[i].grade;
	free(all);
}

static void gains_release(struct gains *g)
{
	free(g->of);
	free(g->order);
}

static double gain(const struct gains *g, int64_t grade)
{
	return grade >= 0 && grade < g->n ? g->of[grade] : 0;
}

/* The best ranking: all judged documents by falling gain, as long as it is above 0. */
struct ideal {
	const struct gains *g;
	const struct trec_ranking *r;
	int64_t at, used;
};
static double next_ideal(struct ideal *x)
{
	while (x->at >= 0 && x->used == x->r->at_level[x->g->order[x->at]]) {
		x->at--;
		x->used = 0;
	}
	x->used++;
	double gain_here = x->at >= 0 ? x->g->of[x->g->order[x->at]] : 0;
	return gain_here > 0 ? gain_here : 0;
}

static void ndcg(ARGS)
{
	struct gains g;
	double dcg = 0, best = 0, here;
	gains_init(&g, r, p, n);
	struct ideal x = {&g, r, g.n - 1, 0};
	for (int64_t i = 0; i < r->n; i++)
		if (gain(&g, r->rel[i]) != 0)
			dcg += gain(&g, r->rel[i]) / log2((double)(i + 2));
	for (int64_t i = 0; (here = next_ideal(&x)) > 0; i++)
		best += here / log2((double)(i + 2));
	*out = best > 0 ? dcg / best : 0;
	gains_release(&g);
}

static void ndcg_cut(ARGS)
{
	struct gains g;
	gains_init(&g, r, NULL, 0);
	for (int c = 0; c < n; c++) {
		struct ideal x = {&g, r, g.n - 1, 0};
		double dcg = 0, best = 0, here;
		int64_t k = (int64_t)p[c].value;
		for (int64_t i = 0; i < k && i < r->n; i++)
			if (r->rel[i] > 0)
				dcg += (double)r->rel[i] / log2((double)(i + 2));
		for (int64_t i = 0; i < k && (here = next_ideal(&x)) > 0; i++)
			best += here / log2((double)(i + 2));
		out[c] = best > 0 ? dcg / best : dcg;
	}
	gains_release(&g);
}

/* nDCG averaged over the ranks of relevant documents; those not found count at the end of the ranking. */
static void ndcg_rel(ARGS)
{
	struct gains g;
	double dcg = 0, best = 0, sum = 0;
	int64_t seen = 0, all = 0;
	gains_init(&g, r, p, n);
	struct ideal x = {&g, r, g.n - 1, 0};
	double here = next_ideal(&x);
	for (int64_t i = 0; i < r->n || here > 0; i++) {
		double got = i < r->n ? gain(&g, r->rel[i]) : 0;
		if (got != 0)
			dcg += got / log2((double)(i + 2));
		if (here > 0) {
			all++;
			best += here / log2((double)(i + 2));
			here = next_ideal(&x);
		}
		if (got > 0) {
			sum += ratio(dcg, best);
			seen++;
		}
	}
	sum += ratio((double)(all - seen) * dcg, best);
	*out = sum > 0 ? ratio(sum, (double)all) : 0;
	gains_release(&g);
}

/* nDCG averaged over the ranks at which the best ranking goes down in gain. */
static void r_ndcg(ARGS)
{
	struct gains g;
	double dcg = 0, best = 0, sum = 0;
	int64_t steps = 0, end = 0;
	gains_init(&g, r, p, n);
	struct ideal x = {&g, r, g.n - 1, 0};
	double before = g.n ? g.of[g.order[g.n - 1]] : 0, here = before;
	for (int64_t i = 0; r->n_relevant && here > 0; i++) {
		here = next_ideal(&x);
		if (here != before && best > 0) {
			sum += dcg / best;
			steps++;
		}
		before = here;
		if (i < r->n)
			dcg += gain(&g, r->rel[i]) / log2((double)(i + 2));
		if (here > 0)
			best += here / log2((double)(i + 2));
		else
			end = i + 1;
	}
	/* behind the last document of the best ranking, once more with all that was found */
	if (end && end < r->n && best > 0) {
		for (int64_t i = end; i < r->n; i++)
			dcg += gain(&g, r->rel[i]) / log2((double)(i + 2));
		sum += dcg / best;
		steps++;
	}
	*out = ratio(sum, (double)steps);
	gains_release(&g);
}

/* A relevant document counts by how far the ranking is behind the best one. */
static void g_measure(ARGS)
{
	struct gains g;
	double got = 0, best = 0, cost = 0, sum = 0;
	gains_init(&g, r, p, n);
	struct ideal x = {&g, r, g.n - 1, 0};
	double here = 1;
	for (int64_t i = 0; i < r->n || here > 0; i++) {
		here = here > 0 ? next_ideal(&x) : 0;
		best += here;
		if (i >= r->n)
			continue;
		double mine = gain(&g, r->rel[i]);
		got += mine;
		cost += fmax(here, 1);
		if (mine != 0)
			sum += mine / log2(2 + cost - got);
	}
	*out = best > 0 ? sum / best : 0;
	gains_release(&g);
}
static void bin_g(ARGS)
{
	UNUSED;
	int64_t seen = 0;
	double sum = 0;
	for (int64_t i = 0; i < r->n; i++)
		if (relevant(r, i))
			sum += 1 / log2((double)(3 + i - ++seen));
	*out = ratio(sum, (double)r->n_relevant);
}

static void rbp(ARGS)
{
	struct gains g;
	double x = persistence(p, n), weight = 1, sum = 0, low = 0, high = 0;
	gains_init(&g, r, p, n);
	for (int64_t i = 0; i < g.n; i++) {
		low = fmin(low, g.of[i]);
		high = fmax(high, g.of[i]);
	}
	for (int64_t i = 0; i < g.n && (low < 0 || high > 1); i++)
		g.of[i] = (g.of[i] - low) / (high - low);
	for (int64_t i = 0; i < r->n; i++, weight *= x)
		sum += gain(&g, r->rel[i]) * weight;
	*out = (1 - x) * sum;
	gains_release(&g);
}

#define CUTS "5,10,15,20,30,100,200,500,1000"
#define ELEVEN "0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1"

const struct trec_measure trec_measures[] = {
        {"runid", TREC_RUN, TREC_NONE, NULL, one},
        {"num_q", TREC_QUERIES, TREC_NONE, NULL, one},
        {"num_ret", TREC_COUNT, TREC_NONE, NULL, num_ret},
        {"num_rel", TREC_COUNT, TREC_NONE, NULL, num_rel},
        {"num_rel_ret", TREC_COUNT, TREC_NONE, NULL, num_rel_ret},
        {"map", TREC_MEAN, TREC_NONE, NULL, map},
        {"gm_map", TREC_GEOMETRIC, TREC_NONE, NULL, gm_map},
        {"Rprec", TREC_MEAN, TREC_NONE, NULL, r_precision},
        {"bpref", TREC_MEAN, TREC_NONE, NULL, bpref},
        {"recip_rank", TREC_MEAN, TREC_NONE, NULL, recip_rank},
        {"iprec_at_recall", TREC_MEAN, TREC_SHARES, ELEVEN, iprec_at_recall},
        {"P", TREC_MEAN, TREC_CUTS, CUTS, precision},
        {"relstring", TREC_STRING, TREC_NUMBERS, "10", one},
        {"recall", TREC_MEAN, TREC_CUTS, CUTS, recall},
        {"infAP", TREC_MEAN, TREC_NONE, NULL, inf_ap},
        {"gm_bpref", TREC_GEOMETRIC, TREC_NONE, NULL, gm_bpref},
        {"Rprec_mult", TREC_MEAN, TREC_SHARES, ".2,.4,.6,.8,1,1.2,1.4,1.6,1.8,2", r_precision_multiples},
        {"utility", TREC_MEAN, TREC_NUMBERS, "1,-1,0,0", utility},
        {"11pt_avg", TREC_MEAN, TREC_NUMBERS, ELEVEN, eleven_points},
        {"binG", TREC_MEAN, TREC_NONE, NULL, bin_g},
        {"G", TREC_MEAN, TREC_PAIRS, "", g_measure},
        {"ndcg", TREC_MEAN, TREC_PAIRS, "", ndcg},
        {"ndcg_rel", TREC_MEAN, TREC_PAIRS, "", ndcg_rel},
        {"Rndcg", TREC_MEAN, TREC_PAIRS, "", r_ndcg},
        {"ndcg_cut", TREC_MEAN, TREC_CUTS, CUTS, ndcg_cut},
        {"map_cut", TREC_MEAN, TREC_CUTS, CUTS, map_cut},
        {"relative_P", TREC_MEAN, TREC_CUTS, CUTS, relative_p},
        {"success", TREC_MEAN, TREC_CUTS, "1,5,10", success},
        {"set_P", TREC_MEAN, TREC_NONE, NULL, set_p},
        {"set_relative_P", TREC_MEAN, TREC_NONE, NULL, set_relative_p},
        {"set_recall", TREC_MEAN, TREC_NONE, NULL, set_recall},
        {"set_map", TREC_MEAN, TREC_NONE, NULL, set_map},
        {"set_F", TREC_MEAN, TREC_NUMBERS, "1", set_f},
        {"num_nonrel_judged_ret", TREC_COUNT, TREC_NONE, NULL, num_nonrel_judged_ret},
        {"yaap", TREC_MEAN, TREC_NONE, NULL, yaap},
        {"rbp", TREC_MEAN, TREC_PAIRS, "", rbp},
        {"rbp_resid", TREC_MEAN, TREC_PAIRS, "", rbp_resid},
        {"unj", TREC_MEAN, TREC_CUTS, "5,10,20", unj},
};
const size_t trec_n_measures = ARRAY_LEN(trec_measures);
