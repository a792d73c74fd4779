/*
 * overlap - see overlap.h: a corpus
 *
 * bleu and chrf add the statistics of their texts and take the score of the sums (bleu without effective order), wer
 * adds distances and words; distinct_N is over the n-grams of all texts together.  All others, and distinct_N:mean, are
 * means of the values of the texts.  distinct_N:ecr and bleu@N:ecr are the different n-grams of all texts, and the sum
 * of the values, over the number of texts that are not blank (the dialogue project's evaluator), and so is item_ratio
 * of how often the item stands in the texts; sent_cnt is that number.  self_bleu is the mean BLEU-4 (nltk, method 1) of
 * each text against all others as references.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/overlap_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* The n-grams of the answer go to those of the corpus. */
static void see_answer(struct overlap *o)
{
	const struct words *w = &o->space->words;
	int64_t len = (int64_t)w->text[0].n;
	int32_t *at = xmalloc((size_t)(len + 1) * sizeof *at);
	if (len)
		memcpy(at, w->ids + w->text[0].at, (size_t)len * sizeof *at);
	for (int n = 1; n <= 4; n++) {
		struct pairs *p = &o->seen[n - 1];
		if (!p->cap)
			pairs_clear(p, 1024);
		int64_t grams = grams_total((size_t)len, n);
		for (int64_t i = 0; i < grams; i++)
			at[i] = pairs_intern(p, (uint32_t)at[i], n == 1 ? 0 : (uint32_t)at[i + 1]);
		o->totals[n - 1] += grams;
	}
	free(at);
}

static void keep_answer(struct overlap *o)
{
	const struct words *w = &o->space->words;
	size_t n = w->text[0].n;
	if (o->n_ids + n > o->ids_cap) {
		o->ids_cap = 2 * (o->n_ids + n);
		o->ids = xrealloc_array(o->ids, o->ids_cap, sizeof *o->ids);
	}
	if (o->n_answers == o->answers_cap) {
		o->answers_cap = o->answers_cap ? 2 * o->answers_cap : 64;
		o->answer = xrealloc_array(o->answer, o->answers_cap, sizeof *o->answer);
	}
	if (n)
		memcpy(o->ids + o->n_ids, w->ids + w->text[0].at, n * sizeof *o->ids);
	o->answer[o->n_answers++] = (struct words_text){o->n_ids, n};
	o->n_ids += n;
}

static bool is_blank(const char *text, size_t len)
{
	uint32_t cp;
	for (size_t i = 0; i < len;) {
		i += utf8_next(text + i, len - i, &cp);
		if (!words_is_space(cp))
			return false;
	}
	return true;
}

static int64_t times_in(const char *text, size_t len, const char *item)
{
	size_t n = strlen(item);
	int64_t times = 0;
	for (const char *p = text, *end = text + len; (p = memmem(p, (size_t)(end - p), item, n)); p += n)
		times++;
	return times;
}

void overlap_corpus_add(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs, double *out)
{
	overlap_load(o, text, len, refs);
	o->not_blank += !is_blank(text, len);
	if (o->needs_seen)
		see_answer(o);
	if (o->needs_answers)
		keep_answer(o);
	for (size_t i = 0; i < o->n; i++) {
		struct overlap_metric *m = &o->metric[i];
		int64_t sum[OVERLAP_SUMS] = {0};
		double value;
		bool has = overlap_measure(o, m, refs->n, sum, &value);
		bool sums = has && overlap_has_sums(m);
		m->n += has || m->kind >= OVERLAP_SELF_BLEU;
		if (m->kind == OVERLAP_ITEMS)
			m->total += (double)times_in(text, len, m->item);
		for (size_t k = 0; k < OVERLAP_SUMS && sums; k++)
			m->sum[k] += sum[k];
		if (has && !sums)
			m->total += value;
		if (out)
			out[i] = sums ? overlap_sums_value(m, sum, false) : value;
	}
}

/* ---- self-BLEU: for each n-gram, the most that one answer has, and the most that another has, give the clipping count
 * against all others ---- */

struct most {
	int32_t best, next; /* counts */
	int32_t owner;      /* the answer that has `best` */
	int32_t now, of;    /* count in answer `of` */
};

/* Numbers the n-grams of order n of all answers in at[], counting the most of each. */
static void most_of_order(struct overlap *o, struct pairs *p, int32_t *at, struct most *most, int n)
{
	pairs_clear(p, o->n_ids);
	for (size_t a = 0; a < o->n_answers; a++) {
		int32_t *mine = at + o->answer[a].at;
		int64_t grams = grams_total(o->answer[a].n, n);
		for (int64_t i = 0; i < grams; i++) {
			int32_t known = p->n;
			mine[i] = pairs_intern(p, (uint32_t)mine[i], n == 1 ? 0 : (uint32_t)mine[i + 1]);
			struct most *m = &most[mine[i]];
			if (mine[i] == known)
				*m = (struct most){.owner = -1, .of = -1};
			if (m->of != (int32_t)a) {
				m->of = (int32_t)a;
				m->now = 0;
			}
			m->now++;
			if (m->owner == (int32_t)a) {
				m->best = m->now;
			} else if (m->now > m->best) {
				m->next = m->best;
				m->best = m->now;
				m->owner = (int32_t)a;
			} else if (m->now > m->next) {
				m->next = m->now;
			}
		}
	}
}

/* Matches of answer a against all others; `now` counts again. */
static int64_t match_others(struct overlap *o, const int32_t *at, struct most *most, size_t a, int n)
{
	const int32_t *mine = at + o->answer[a].at;
	int64_t grams = grams_total(o->answer[a].n, n), matches = 0;
	for (int64_t i = 0; i < grams; i++)
		most[mine[i]].now = 0;
	for (int64_t i = 0; i < grams; i++) {
		struct most *m = &most[mine[i]];
		matches += ++m->now <= (m->owner == (int32_t)a ? m->next : m->best);
	}
	return matches;
}

static int by_length(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return (x > y) - (x < y);
}

/* The length closest to len among all answers but one of that length. */
static size_t closest_other(const size_t *sorted, size_t n, size_t len)
{
	size_t low = 0, high = n;
	while (low < high) { /* the first of that length */
		size_t mid = low + (high - low) / 2;
		if (sorted[mid] < len)
			low = mid + 1;
		else
			high = mid;
	}
	if (low + 1 < n && sorted[low + 1] == len)
		return len;
	if (low == 0)
		return sorted[1];
	if (low + 1 == n || len - sorted[low - 1] <= sorted[low + 1] - len)
		return sorted[low - 1];
	return sorted[low + 1];
}

static double self_bleu(struct overlap *o)
{
	size_t n = o->n_answers;
	struct pairs p = {0};
	double total = 0;
	if (n < 2)
		return NAN;
	int32_t *at = xcalloc(o->n_ids + 1, sizeof *at);
	struct most *most = xcalloc(o->n_ids + 1, sizeof *most);
	int64_t(*match)[5] = xcalloc(n, sizeof *match);
	size_t *sorted = xcalloc(n, sizeof *sorted);
	if (o->n_ids)
		memcpy(at, o->ids, o->n_ids * sizeof *at);
	for (int order = 1; order <= 4; order++) {
		most_of_order(o, &p, at, most, order);
		for (size_t a = 0; a < n; a++)
			match[a][order - 1] = match_others(o, at, most, a, order);
	}
	for (size_t a = 0; a < n; a++)
		sorted[a] = o->answer[a].n;
	qsort(sorted, n, sizeof *sorted, by_length);
	for (size_t a = 0; a < n; a++) {
		int64_t grams[5], len = (int64_t)o->answer[a].n;
		for (int order = 1; order <= 5; order++)
			grams[order - 1] = grams_total(o->answer[a].n, order);
		total += overlap_nltk(1, 4, match[a], grams, len, (int64_t)closest_other(sorted, n, o->answer[a].n));
	}
	pairs_release(&p);
	free(at);
	free(most);
	free(match);
	free(sorted);
	return total / (double)n;
}

double overlap_corpus_value(struct overlap *o, size_t i, int64_t *n)
{
	const struct overlap_metric *m = &o->metric[i];
	*n = m->n;
	if (!m->n)
		return NAN;
	if (overlap_has_sums(m))
		return overlap_sums_value(m, m->sum, true);
	if (m->kind == OVERLAP_SELF_BLEU)
		return self_bleu(o);
	if (m->kind == OVERLAP_SENTENCES)
		return (double)o->not_blank;
	if (m->kind == OVERLAP_ITEMS)
		return o->not_blank ? m->total / (double)o->not_blank : 0;
	if (m->over == OVERLAP_ECR) {
		double sum = m->kind == OVERLAP_SINGLE ? m->total : o->seen[m->order - 1].n;
		return o->not_blank ? sum / (double)o->not_blank : 0;
	}
	if (m->kind == OVERLAP_DISTINCT && m->over == OVERLAP_TOGETHER) {
		double different = o->seen[m->order - 1].n, all = (double)o->totals[m->order - 1];
		return all > 0 ? different / all : 0;
	}
	return m->total / (double)m->n;
}
