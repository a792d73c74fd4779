/* rank_metrics_measures - the measures of trec_eval on one ranking; see rank_metrics_trec.h */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rank_metrics_impl.h"
#include "lib/util.h"

/* A measure of one value; of a value per cut; and of several that are found together. */
#define UNUSED __attribute__((unused))
#define ONE const struct trec_ranking *r UNUSED, const struct trec_parameter *p UNUSED, int n UNUSED
#define AT const struct trec_ranking *r, double cut
#define MANY const struct trec_ranking *r, const struct trec_parameter *p, int n, double *out

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

static double one(ONE)
{
	return 1;
}
static double num_ret(ONE)
{
	return (double)r->n;
}
static double num_rel(ONE)
{
	return (double)r->n_relevant;
}
static double num_rel_ret(ONE)
{
	return (double)r->n_relevant_found;
}
static double num_nonrel_judged_ret(ONE)
{
	return (double)(r->n - r->n_outside - r->n_unjudged - r->n_relevant_found);
}
static double set_p(ONE)
{
	return ratio((double)r->n_relevant_found, (double)r->n);
}
static double set_recall(ONE)
{
	return ratio((double)r->n_relevant_found, (double)r->n_relevant);
}
static double set_relative_p(ONE)
{
	return ratio((double)r->n_relevant_found, (double)(r->n < r->n_relevant ? r->n : r->n_relevant));
}
static double set_map(ONE)
{
	return ratio((double)r->n_relevant_found * (double)r->n_relevant_found, (double)r->n * (double)r->n_relevant);
}
static double set_f(ONE)
{
	double share = set_p(r, p, n), of_all = set_recall(r, p, n);
	return ratio((p[0].value + 1) * share * of_all, p[0].value * share + of_all);
}
static double utility(ONE)
{
	return n == 4 ? p[0].value * (double)r->n_relevant_found + p[1].value * (double)(r->n - r->n_relevant_found) +
	                        p[2].value * (double)(r->n_relevant - r->n_relevant_found) +
	                        p[3].value * (double)(r->n_docs + r->n_relevant_found - r->n - r->n_relevant)
	              : 0;
}

/* ---- precision and recall at cuts ---- */

static double precision(AT)
{
	return (double)found(r, (int64_t)cut) / cut;
}
static double recall(AT)
{
	return ratio((double)found(r, (int64_t)cut), (double)r->n_relevant);
}
static double relative_p(AT)
{
	return ratio((double)found(r, (int64_t)cut), fmin(cut, (double)r->n_relevant));
}
static double success(AT)
{
	return found(r, (int64_t)cut) > 0;
}
static double unj(AT)
{
	int64_t sum = 0;
	for (int64_t i = 0; i < (int64_t)cut && i < r->n; i++)
		sum += r->rel[i] < 0;
	return (double)sum / cut;
}
static double r_precision(ONE)
{
	return ratio((double)found(r, r->n_relevant), (double)r->n_relevant);
}
static double r_precision_multiple(AT)
{
	int64_t k = (int64_t)(cut * (double)r->n_relevant + .9);
	return ratio((double)found(r, k), (double)k);
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
static double map(ONE)
{
	return ratio(sum_precisions(r, r->n), (double)r->n_relevant);
}
static double map_cut(AT)
{
	return ratio(sum_precisions(r, (int64_t)cut), (double)r->n_relevant);
}
static double yaap(ONE)
{
	double sum = sum_precisions(r, r->n);
	return log((1 + sum) / (1 + (double)r->n_relevant - sum));
}
#define GEOMETRIC_FLOOR 1e-5
static double gm_map(ONE)
{
	return log(fmax(map(r, p, n), GEOMETRIC_FLOOR));
}
static double recip_rank(ONE)
{
	for (int64_t i = 0; i < r->n; i++)
		if (relevant(r, i))
			return 1 / (double)(i + 1);
	return 0;
}

/* Interpolated precision, the best at this rank or behind it, at shares of the relevant documents; each share in
 * falling order meets the ranks from the last one on. */
static void iprec_at_recall(MANY)
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
static double eleven_points(ONE)
{
	double at[TREC_MAX_PARAMETERS], sum = 0;
	iprec_at_recall(r, p, n, at);
	for (int i = n - 1; i >= 0; i--)
		sum += at[i];
	return ratio(sum, n);
}

/* ---- incomplete judgements ---- */

/* Buckley and Voorhees 2004. */
static double bpref(ONE)
{
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
	return ratio(sum, (double)r->n_relevant);
}
static double gm_bpref(ONE)
{
	return log(fmax(bpref(r, p, n), GEOMETRIC_FLOOR));
}

/* Yilmaz and Aslam 2006. */
static double inf_ap(ONE)
{
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
	return ratio(sum, (double)r->n_relevant);
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
static double rbp_resid(ONE)
{
	double x = persistence(p, n), weight = 1, sum = 0;
	int64_t unknown = 0;
	for (int64_t i = 0; i < r->n; i++, weight *= x)
		if (r->rel[i] < 0) {
			unknown++;
			sum += weight;
		}
	return unknown ? weight + (1 - x) * sum : 0;
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

static double dcg(ONE)
{
	struct gains g;
	double sum = 0;
	gains_init(&g, r, p, n);
	for (int64_t i = 0; i < r->n; i++)
		if (gain(&g, r->rel[i]) != 0)
			sum += gain(&g, r->rel[i]) / log2((double)(i + 2));
	gains_release(&g);
	return sum;
}
static double ideal_dcg(ONE)
{
	struct gains g;
	double sum = 0, here;
	gains_init(&g, r, p, n);
	struct ideal x = {&g, r, g.n - 1, 0};
	for (int64_t i = 0; (here = next_ideal(&x)) > 0; i++)
		sum += here / log2((double)(i + 2));
	gains_release(&g);
	return sum;
}
static double ndcg(ONE)
{
	double best = ideal_dcg(r, p, n);
	return best > 0 ? dcg(r, p, n) / best : 0;
}

/* Gains are the grades. */
static double ndcg_cut(AT)
{
	double sum = 0, best = 0;
	int64_t k = (int64_t)cut, at = 0;
	for (int64_t i = 0; i < k && i < r->n; i++)
		if (r->rel[i] > 0)
			sum += (double)r->rel[i] / log2((double)(i + 2));
	for (int64_t level = r->n_levels - 1; level > 0; level--)
		for (int64_t i = 0; i < r->at_level[level] && at < k; i++, at++)
			best += (double)level / log2((double)(at + 2));
	return best > 0 ? sum / best : sum;
}

/* nDCG averaged over the ranks of relevant documents; those not found count at the end of the ranking. */
static double ndcg_rel(ONE)
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
	gains_release(&g);
	return sum > 0 ? ratio(sum, (double)all) : 0;
}

/* nDCG averaged over the ranks at which the best ranking goes down in gain. */
static double r_ndcg(ONE)
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
	gains_release(&g);
	return ratio(sum, (double)steps);
}

/* A relevant document counts by how far the ranking is behind the best one. */
static double g_measure(ONE)
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
	gains_release(&g);
	return best > 0 ? sum / best : 0;
}
static double bin_g(ONE)
{
	int64_t seen = 0;
	double sum = 0;
	for (int64_t i = 0; i < r->n; i++)
		if (relevant(r, i))
			sum += 1 / log2((double)(3 + i - ++seen));
	return ratio(sum, (double)r->n_relevant);
}

static double rbp(ONE)
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
	gains_release(&g);
	return (1 - x) * sum;
}

/* ---- preferences ---- */

/* What a measure counts: pairs with both documents ranked; with one; with none of them. */
enum { BOTH = 1, EITHER = 2, ALL = 3 };

static int64_t kept(const struct trec_judge *g, int scope)
{
	return g->kept_both + (scope >= EITHER ? g->kept_one : 0);
}
static int64_t possible(const struct trec_judge *g, int scope)
{
	return g->all_both + (scope >= EITHER ? g->all_one : 0) + (scope == ALL ? g->none : 0);
}
static double sum_possible(const struct trec_ranking *r, int scope)
{
	int64_t sum = 0;
	for (int64_t i = 0; i < r->preferences->n; i++)
		sum += possible(&r->preferences->judge[i], scope);
	return (double)sum;
}
static double sum_kept(const struct trec_ranking *r, int scope)
{
	int64_t sum = 0;
	for (int64_t i = 0; i < r->preferences->n; i++)
		sum += kept(&r->preferences->judge[i], scope);
	return (double)sum;
}
static double simple(const struct trec_ranking *r, int scope)
{
	return ratio(sum_kept(r, scope), sum_possible(r, scope));
}
static double pair(const struct trec_ranking *r, int scope)
{
	const struct trec_preferences *p = r->preferences;
	int64_t pairs = p->pairs_both + (scope >= EITHER ? p->pairs_one : 0) + (scope == ALL ? p->pairs_none : 0);
	return ratio(scope == BOTH ? p->share_both : p->share_one, (double)pairs);
}
static double mean_judges(const struct trec_ranking *r, int scope)
{
	double sum = 0;
	for (int64_t i = 0; i < r->preferences->n; i++)
		sum += ratio((double)kept(&r->preferences->judge[i], scope),
		             (double)possible(&r->preferences->judge[i], scope));
	return sum / (double)r->preferences->n;
}
/* One judge without any preference makes the whole 0, as the NaN in trec_eval's sum does. */
static double even(const struct trec_ranking *r, int scope)
{
	bool ranked = scope == BOTH;
	double sum = 0;
	for (int64_t i = 0; i < r->preferences->n; i++) {
		const struct trec_judge *g = &r->preferences->judge[i];
		int64_t all = ranked ? g->even_ranked_all : g->even_all;
		if (!all)
			return 0;
		sum += (double)(ranked ? g->even_ranked_kept : g->even_kept) / (double)all;
	}
	return sum / (double)r->preferences->n;
}

#define CUTS "5,10,15,20,30,100,200,500,1000"
#define ELEVEN "0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1"

#define MULTIPLES ".2,.4,.6,.8,1,1.2,1.4,1.6,1.8,2"
enum {
	QRELS = 1 << TREC_QRELS,
	JUDGES = 1 << TREC_QRELS_JG,
	PREFS = 1 << TREC_PREFS | 1 << TREC_QRELS_PREFS,
	ANY = QRELS | JUDGES | PREFS
};

const struct trec_measure trec_measures[] = {
        {"runid", TREC_RUN, TREC_NONE, NULL, ANY, .one = one},
        {"num_q", TREC_QUERIES, TREC_NONE, NULL, ANY, .one = one},
        {"num_ret", TREC_COUNT, TREC_NONE, NULL, QRELS, .one = num_ret},
        {"num_rel", TREC_COUNT, TREC_NONE, NULL, QRELS, .one = num_rel},
        {"num_rel_ret", TREC_COUNT, TREC_NONE, NULL, QRELS, .one = num_rel_ret},
        {"map", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = map},
        {"gm_map", TREC_GEOMETRIC, TREC_NONE, NULL, QRELS, .one = gm_map},
        {"Rprec", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = r_precision},
        {"bpref", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = bpref},
        {"recip_rank", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = recip_rank},
        {"iprec_at_recall", TREC_MEAN, TREC_SHARES, ELEVEN, QRELS, .many = iprec_at_recall},
        {"P", TREC_MEAN, TREC_CUTS, CUTS, QRELS, .at = precision},
        {"relstring", TREC_STRING, TREC_NUMBERS, "10", QRELS, .one = one},
        {"recall", TREC_MEAN, TREC_CUTS, CUTS, QRELS, .at = recall},
        {"infAP", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = inf_ap},
        {"gm_bpref", TREC_GEOMETRIC, TREC_NONE, NULL, QRELS, .one = gm_bpref},
        {"Rprec_mult", TREC_MEAN, TREC_SHARES, MULTIPLES, QRELS, .at = r_precision_multiple},
        {"utility", TREC_MEAN, TREC_NUMBERS, "1,-1,0,0", QRELS, .one = utility},
        {"11pt_avg", TREC_MEAN, TREC_NUMBERS, ELEVEN, QRELS, .one = eleven_points},
        {"binG", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = bin_g},
        {"G", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = g_measure},
        {"dcg", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = dcg},
        {"ideal_dcg", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = ideal_dcg},
        {"ndcg", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = ndcg},
        {"ndcg_rel", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = ndcg_rel},
        {"Rndcg", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = r_ndcg},
        {"ndcg_cut", TREC_MEAN, TREC_CUTS, CUTS, QRELS, .at = ndcg_cut},
        {"map_cut", TREC_MEAN, TREC_CUTS, CUTS, QRELS, .at = map_cut},
        {"relative_P", TREC_MEAN, TREC_CUTS, CUTS, QRELS, .at = relative_p},
        {"success", TREC_MEAN, TREC_CUTS, "1,5,10", QRELS, .at = success},
        {"set_P", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = set_p},
        {"set_relative_P", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = set_relative_p},
        {"set_recall", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = set_recall},
        {"set_map", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = set_map},
        {"set_F", TREC_MEAN, TREC_NUMBERS, "1", QRELS, .one = set_f},
        {"num_nonrel_judged_ret", TREC_COUNT, TREC_NONE, NULL, QRELS, .one = num_nonrel_judged_ret},
        {"prefs_num_prefs_poss", TREC_COUNT, TREC_NONE, NULL, PREFS, .prefs = sum_possible, .scope = ALL},
        {"prefs_num_prefs_ful", TREC_COUNT, TREC_NONE, NULL, PREFS, .prefs = sum_kept, .scope = EITHER},
        {"prefs_num_prefs_ful_ret", TREC_COUNT, TREC_NONE, NULL, PREFS, .prefs = sum_kept, .scope = BOTH},
        {"prefs_simp", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = simple, .scope = ALL},
        {"prefs_pair", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = pair, .scope = ALL},
        {"prefs_avgjg", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = mean_judges, .scope = ALL},
        {"prefs_avgjg_Rnonrel", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = even, .scope = ALL},
        {"prefs_simp_ret", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = simple, .scope = BOTH},
        {"prefs_pair_ret", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = pair, .scope = BOTH},
        {"prefs_avgjg_ret", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = mean_judges, .scope = BOTH},
        {"prefs_avgjg_Rnonrel_ret", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = even, .scope = BOTH},
        {"prefs_simp_imp", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = simple, .scope = EITHER},
        {"prefs_pair_imp", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = pair, .scope = EITHER},
        {"prefs_avgjg_imp", TREC_MEAN, TREC_NONE, NULL, PREFS, .prefs = mean_judges, .scope = EITHER},
        {"map_avgjg", TREC_MEAN, TREC_NONE, NULL, JUDGES, .one = map},
        {"P_avgjg", TREC_MEAN, TREC_CUTS, CUTS, JUDGES, .at = precision},
        {"Rprec_mult_avgjg", TREC_MEAN, TREC_SHARES, MULTIPLES, JUDGES, .at = r_precision_multiple},
        {"yaap", TREC_MEAN, TREC_NONE, NULL, QRELS, .one = yaap},
        {"rbp", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = rbp},
        {"rbp_resid", TREC_MEAN, TREC_PAIRS, "", QRELS, .one = rbp_resid},
        {"unj", TREC_MEAN, TREC_CUTS, "5,10,20", QRELS, .at = unj},
};
const size_t trec_n_measures = ARRAY_LEN(trec_measures);
