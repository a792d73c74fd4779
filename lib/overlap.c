/* overlap - see overlap.h */
#include "lib/overlap.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/overlap_impl.h"
#include "lib/util.h"

/* ---- BLEU ---- */

/* The length among those of the references that is closest to len; of two the shorter. */
static int64_t closest_length(const struct words *w, int64_t len)
{
	int64_t best = -1;
	for (size_t t = 1; t < w->n_texts; t++) {
		int64_t n = (int64_t)w->text[t].n, far = llabs(n - len), best_far = llabs(best - len);
		if (best < 0 || far < best_far || (far == best_far && n < best))
			best = n;
	}
	return best < 0 ? 0 : best;
}

static double brevity(int64_t len, int64_t ref_len)
{
	return len >= ref_len ? len > 0 : len > 0 ? exp(1 - (double)ref_len / (double)len) : 0;
}

static void bleu_sums(const struct overlap_metric *m, int64_t *sum)
{
	const struct overlap_view *v = m->view;
	size_t len = v->words.text[0].n;
	for (int n = 1; n <= m->order; n++) {
		sum[n - 1] = v->any.any[n - 1];
		sum[OVERLAP_ORDERS + n - 1] = grams_total(len, n);
	}
	sum[2 * OVERLAP_ORDERS] = (int64_t)len;
	sum[2 * OVERLAP_ORDERS + 1] = closest_length(&v->words, (int64_t)len);
}

/* The geometric mean of precisions as sacrebleu 2 takes it: effective order counts those up to the longest n-gram of
 * the text; without it an order without n-grams makes the score 0. */
static double bleu_value(const struct overlap_metric *m, const int64_t *sum, bool effective)
{
	const int64_t *match = sum, *total = sum + OVERLAP_ORDERS;
	double logs = 0, halves = 1;
	int orders = m->order;
	bool any = false;
	for (int n = 0; n < m->order; n++)
		any |= match[n] > 0;
	if (!any)
		return 0;
	for (int n = 0; n < m->order; n++) {
		double k = m->smooth == OVERLAP_ADD_K && n > 0 ? m->value : 0, p;
		double of = (double)total[n] + k, matches = (double)match[n] + k;
		if (of == 0) {
			if (!effective)
				return 0;
			break;
		}
		if (effective)
			orders = n + 1;
		if (matches > 0)
			p = matches / of;
		else if (m->smooth == OVERLAP_EXP)
			p = 1 / ((halves *= 2) * of);
		else
			p = m->smooth == OVERLAP_FLOOR ? m->value / of : 0;
		if (p == 0)
			return 0;
		logs += log(100 * p);
	}
	return brevity(sum[2 * OVERLAP_ORDERS], sum[2 * OVERLAP_ORDERS + 1]) * exp(logs / orders);
}

/* Precisions after nltk's SmoothingFunction: in p[], matches over n-grams; match and total have one order more. */
static bool nltk_smooth(int method, int orders, double *p, const int64_t *match, const int64_t *total, int64_t len)
{
	double above[OVERLAP_ORDERS], before = p[0] + 1;
	int zeros = 0;
	for (int n = 0; n < orders; n++) {
		double of = total[n] > 1 ? (double)total[n] : 1;
		if (method == 2 && n > 0)
			p[n] = ((double)match[n] + 1) / (of + 1);
		if (match[n] > 0)
			continue;
		zeros++;
		if (method == 0)
			p[n] = DBL_MIN;
		else if (method == 1)
			p[n] = .1 / of;
		else if (method == 3)
			p[n] = 1 / (ldexp(1, zeros) * of);
		else if ((method == 4 || method == 7) && len > 1)
			p[n] = 1 / (ldexp(1, zeros) * 5 / log((double)len)) / of;
	}
	if (method == 5 ||
	    method == 7) { /* each is averaged with those of the orders beside it; above all is the fifth */
		before = p[0] + 1;
		memcpy(above, p, (size_t)orders * sizeof *p);
		above[orders] = (double)match[4] / (total[4] > 1 ? (double)total[4] : 1);
		for (int n = 0; n < orders; n++)
			before = p[n] = (before + p[n] + above[n + 1]) / 3;
	}
	if (method == 6 && (orders < 3 || match[2] == 0))
		return false; /* nltk stops there */
	for (int n = 2; method == 6 && n < orders; n++) {
		double prior = p[n - 2] == 0 ? 0 : p[n - 1] * p[n - 1] / p[n - 2];
		p[n] = ((double)match[n] + 5 * prior) / ((double)total[n] + 5);
	}
	return true;
}

double overlap_nltk(int method, int orders, const int64_t *match, const int64_t *total, int64_t len, int64_t ref_len)
{
	double p[OVERLAP_ORDERS], logs = 0;
	if (match[0] == 0)
		return 0;
	for (int n = 0; n < orders; n++)
		p[n] = (double)match[n] / (total[n] > 1 ? (double)total[n] : 1);
	if (!nltk_smooth(method, orders, p, match, total, len))
		return NAN;
	for (int n = 0; n < orders; n++)
		if (p[n] > 0)
			logs += log(p[n]) / orders;
	return brevity(len, ref_len) * exp(logs);
}

static double nltk_value(const struct overlap_metric *m)
{
	const struct words *w = &m->view->words;
	int64_t total[OVERLAP_ORDERS], len = (int64_t)w->text[0].n;
	for (int n = 1; n <= OVERLAP_ORDERS; n++)
		total[n - 1] = grams_total(w->text[0].n, n);
	if (m->kind == OVERLAP_NLTK)
		return overlap_nltk(m->method, m->order, m->view->any.any, total, len, closest_length(w, len));
	int64_t match = m->view->any.any[m->order - 1];
	return match ? brevity(len, closest_length(w, len)) * (double)match / (double)total[m->order - 1] : 0;
}

/* ---- chrF ---- */

/* Sums are [8] n-grams of the text, [8] of the reference, [8] matches. */
static double chrf_value(const struct overlap_metric *m, const int64_t *sum)
{
	double factor = m->beta * m->beta, p_sum = 0, r_sum = 0, eps_sum = 0;
	int orders = OVERLAP_CHARS + m->order, effective = 0;
	for (int n = 0; n < orders; n++) {
		double hyp = (double)sum[n], ref = (double)sum[8 + n], match = (double)sum[16 + n];
		double p = hyp > 0 ? match / hyp : 1e-16, r = ref > 0 ? match / ref : 1e-16;
		double below = factor * p + r;
		eps_sum += below > 0 ? (1 + factor) * p * r / below : 1e-16;
		if (hyp > 0 && ref > 0) {
			p_sum += p;
			r_sum += r;
			effective++;
		}
	}
	if (m->eps)
		return 100 * eps_sum / orders;
	if (!effective || p_sum + r_sum == 0)
		return 0;
	p_sum /= effective;
	r_sum /= effective;
	return 100 * (1 + factor) * p_sum * r_sum / (factor * p_sum + r_sum);
}

static void chrf_counts(const struct overlap_view *v, size_t ref, int orders, int64_t *sum)
{
	for (int n = 0; n < orders; n++) {
		sum[8 + n] = grams_total(v->words.text[ref + 1].n, n + 1);
		sum[n] = sum[8 + n] ? grams_total(v->words.text[0].n, n + 1) : 0;
		sum[16 + n] = v->each[ref][n];
	}
}

static void chrf_sums(const struct overlap_metric *m, int64_t n_refs, int64_t *best)
{
	int64_t sum[OVERLAP_SUMS] = {0};
	double best_value = -1;
	for (size_t r = 0; r < (size_t)n_refs; r++) {
		chrf_counts(m->view, r, OVERLAP_CHARS, sum);
		if (m->order)
			chrf_counts(m->view2, r, m->order, sum + OVERLAP_CHARS);
		double value = chrf_value(m, sum);
		if (value > best_value) {
			best_value = value;
			memcpy(best, sum, sizeof sum);
		}
	}
}

/* ---- ROUGE, SQuAD ---- */

static double harmonic(double p, double r)
{
	return p + r > 0 ? 2 * p * r / (p + r) : 0;
}

static int64_t rouge_hits(struct overlap *o, const struct overlap_metric *m, size_t ref)
{
	const struct words *w = &m->view->words;
	const struct words_text *a = &w->text[0], *b = &w->text[ref];
	if (m->kind == OVERLAP_ROUGE_N)
		return m->view->each[ref - 1][m->order - 1];
	if (!a->n || !b->n)
		return 0;
	if (m->kind == OVERLAP_ROUGE_LSUM)
		return align_union(&o->align, w, ref);
	return align_lcs(&o->align, w->ids + a->at, a->n, w->ids + b->at, b->n, w->vocab.n);
}

/* Of several references the one with the best F, as rouge_score's score_multi. */
static double rouge_value(struct overlap *o, const struct overlap_metric *m, int64_t n_refs)
{
	double best = -1, value = 0;
	int order = m->kind == OVERLAP_ROUGE_N ? m->order : 1;
	for (size_t r = 1; r <= (size_t)n_refs; r++) {
		int64_t hits = rouge_hits(o, m, r);
		int64_t n = grams_total(m->view->words.text[0].n, order);
		int64_t n_ref = grams_total(m->view->words.text[r].n, order);
		double precision = n ? (double)hits / (double)n : 0, recall = n_ref ? (double)hits / (double)n_ref : 0;
		double f = harmonic(precision, recall);
		if (f <= best)
			continue;
		best = f;
		value = m->part == 'p' ? precision : m->part == 'r' ? recall : f;
	}
	return value;
}

/* Version 2 leaves references without a word out; where none is left, only an answer without a word is right. */
static double squad_value(const struct overlap_metric *m)
{
	const struct words *w = &m->view->words;
	size_t len = w->text[0].n, used = 0;
	double best = 0;
	for (size_t t = 1; t < w->n_texts; t++) {
		size_t ref_len = w->text[t].n;
		const int32_t *a = w->ids + w->text[0].at, *b = w->ids + w->text[t].at;
		double value;
		if (m->second && !ref_len)
			continue;
		used++;
		if (m->kind == OVERLAP_EM)
			value = len == ref_len && (!len || !memcmp(a, b, len * sizeof *a));
		else
			value = len && ref_len ? 2 * (double)m->view->each[t - 1][0] / (double)(len + ref_len) : 0;
		if (value > best)
			best = value;
	}
	return used ? best : m->second && !len;
}

static bool wer_sums(struct overlap *o, const struct overlap_metric *m, int64_t *sum)
{
	const struct words *w = &m->view->words;
	bool found = false;
	for (size_t t = 1; t < w->n_texts; t++) {
		const struct words_text *a = &w->text[0], *b = &w->text[t];
		if (!b->n)
			continue;
		int64_t d = align_distance(&o->align, w->ids + a->at, a->n, w->ids + b->at, b->n, w->vocab.n);
		if (found && (double)d / (double)b->n >= (double)sum[0] / (double)sum[1])
			continue;
		found = true;
		sum[0] = d;
		sum[1] = (int64_t)b->n;
	}
	return found;
}

/* ---- all ---- */

bool overlap_has_sums(const struct overlap_metric *m)
{
	return m->kind == OVERLAP_BLEU || m->kind == OVERLAP_CHRF || m->kind == OVERLAP_WER;
}

double overlap_sums_value(const struct overlap_metric *m, const int64_t *sum, bool corpus)
{
	if (m->kind == OVERLAP_BLEU)
		return bleu_value(m, sum, !corpus);
	if (m->kind == OVERLAP_CHRF)
		return chrf_value(m, sum);
	return (double)sum[0] / (double)sum[1];
}

bool overlap_measure(struct overlap *o, const struct overlap_metric *m, int64_t n_refs, int64_t *sum, double *value)
{
	const struct words *w = &m->view->words;
	bool unanswerable = m->second && n_refs == 0;
	*value = NAN;
	if (n_refs <= 0 && !unanswerable && m->kind != OVERLAP_DISTINCT)
		return false;
	switch (m->kind) {
	case OVERLAP_BLEU:
		bleu_sums(m, sum);
		return true;
	case OVERLAP_CHRF:
		chrf_sums(m, n_refs, sum);
		return true;
	case OVERLAP_WER:
		return wer_sums(o, m, sum);
	case OVERLAP_NLTK:
	case OVERLAP_SINGLE:
		*value = nltk_value(m);
		break;
	case OVERLAP_ROUGE_N:
	case OVERLAP_ROUGE_L:
	case OVERLAP_ROUGE_LSUM:
		*value = rouge_value(o, m, n_refs);
		break;
	case OVERLAP_EM:
	case OVERLAP_F1:
		*value = squad_value(m);
		break;
	case OVERLAP_DISTINCT: {
		int64_t total = grams_total(w->text[0].n, m->order);
		*value = total ? (double)m->view->distinct[m->order - 1] / (double)total : 0;
		break;
	}
	case OVERLAP_SELF_BLEU:
	case OVERLAP_ITEMS:
	case OVERLAP_SENTENCES:
		break;
	}
	return !isnan(*value);
}

void overlap_load(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs)
{
	size_t n_refs = refs->n > 0 ? (size_t)refs->n : 0;
	for (size_t i = 0; i < o->n_views; i++) {
		struct overlap_view *v = o->view[i];
		words_clear(&v->words, v->keep_vocab);
		words_add(&v->words, text, len);
		for (size_t r = 0; r < n_refs; r++)
			words_add(&v->words, refs->text[r], refs->len[r]);
		if (n_refs > v->each_cap) {
			v->each_cap = 2 * n_refs;
			v->each = xrealloc_array(v->each, v->each_cap, sizeof *v->each);
		}
		if (v->orders && n_refs)
			grams_match(&o->grams, &v->words, v->orders, &v->any, v->each);
		if (v->distinct_orders)
			grams_distinct(&o->grams, &v->words, v->distinct_orders, v->distinct);
	}
}

void overlap_score(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs, double *out)
{
	overlap_load(o, text, len, refs);
	for (size_t i = 0; i < o->n; i++) {
		const struct overlap_metric *m = &o->metric[i];
		int64_t sum[OVERLAP_SUMS] = {0};
		if (overlap_measure(o, m, refs->n, sum, &out[i]) && overlap_has_sums(m))
			out[i] = overlap_sums_value(m, sum, false);
	}
}

/* The view of a rule; one that is there already serves all that need it. */
static struct overlap_view *view_of(struct overlap *o, enum words_rule rule, bool lower, int orders)
{
	struct overlap_view *v = NULL;
	for (size_t i = 0; i < o->n_views && !v; i++)
		if (o->view[i]->words.rule == rule && o->view[i]->words.lower == lower)
			v = o->view[i];
	if (!v) {
		v = xcalloc(1, sizeof *v);
		words_init(&v->words, rule, lower);
		o->view = xrealloc_array(o->view, o->n_views + 1, sizeof *o->view);
		o->view[o->n_views++] = v;
	}
	if (orders > v->orders)
		v->orders = orders;
	return v;
}

static void place(struct overlap *o, struct overlap_metric *m)
{
	int orders = m->kind == OVERLAP_CHRF       ? OVERLAP_CHARS
	             : m->kind == OVERLAP_DISTINCT ? 0
	             : m->kind == OVERLAP_NLTK     ? 5
	                                           : m->order;
	m->view = view_of(o, m->rule, m->lower, orders);
	if (m->kind == OVERLAP_CHRF && m->order)
		m->view2 = view_of(o, WORDS_CHRF, false, m->order);
	if (m->kind == OVERLAP_DISTINCT && m->order > m->view->distinct_orders)
		m->view->distinct_orders = m->order;
}

struct overlap *overlap_new(const char *const *names, size_t n, bool corpus, struct err *e)
{
	struct overlap *o = xcalloc(1, sizeof *o);
	o->metric = xcalloc(n + 1, sizeof *o->metric);
	for (size_t i = 0; i < n; i++) {
		struct overlap_metric *m = &o->metric[o->n++];
		int failed = overlap_parse(m, names[i], corpus, e);
		for (size_t k = 0; k < i && !failed; k++)
			if (!strcmp(names[k], names[i]))
				failed = err_set(e, "measure '%s' is given twice", names[i]);
		if (failed) {
			overlap_free(o);
			return NULL;
		}
		place(o, m);
		if (!corpus)
			continue;
		o->needs_answers |= m->kind == OVERLAP_SELF_BLEU;
		o->needs_seen |= m->kind == OVERLAP_DISTINCT && m->over != OVERLAP_MEAN;
		if (m->rule == WORDS_SPACE && !m->lower)
			o->space = m->view;
	}
	if (o->needs_answers || o->needs_seen)
		o->space->keep_vocab = true;
	return o;
}

void overlap_free(struct overlap *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n; i++) {
		free(o->metric[i].name);
		free(o->metric[i].item);
	}
	for (size_t i = 0; i < o->n_views; i++) {
		words_release(&o->view[i]->words);
		free(o->view[i]->each);
		free(o->view[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(o->seen); i++)
		pairs_release(&o->seen[i]);
	grams_release(&o->grams);
	align_release(&o->align);
	free(o->metric);
	free(o->view);
	free(o->ids);
	free(o->answer);
	free(o);
}
