/* bm25_feedback - see bm25_feedback.h */
#include "lib/bm25_feedback.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

#define COMMON .1 /* share of the documents beyond which a word says nothing of any */

struct word {
	int64_t in_query, in_doc; /* how often: in the query, in the document that is read */
	double p;                 /* of the relevance model, not yet scaled */
	double kept;              /* the same, scaled to the sum 1 over the words that are taken; 0 of the others */
};

struct asked {
	uint32_t word;
	double weight;
};

struct bm25_feedback {
	const struct bm25_index *index;
	struct bm25_feedback_params params;
	struct bm25_analysis *analysis;
	struct bm25_dict dict;
	struct word *word; /* [cap], by number in dict */
	size_t cap;
	int64_t n_tokens;   /* of the text that is read */
	bool reads_query;   /* it is the query */
	uint32_t *distinct; /* words of the document that is read, once each */
	size_t n_distinct;
	struct bm25_hit *first; /* [params.docs] */
	uint32_t *candidate;
	size_t candidate_cap;
	struct asked *asked; /* the words of the new query */
	struct bm25_term_list *list;
	size_t n_asked, asked_cap;
};

struct bm25_feedback *bm25_feedback_new(const struct bm25_index *x, const struct bm25_feedback_params *p)
{
	struct bm25_feedback *f = xcalloc(1, sizeof *f);
	f->index = x;
	f->params = *p;
	f->analysis = bm25_analysis_new(bm25_info(x)->analyzer);
	f->first = xcalloc((size_t)p->docs, sizeof *f->first);
	bm25_dict_init(&f->dict);
	return f;
}

void bm25_feedback_free(struct bm25_feedback *f)
{
	if (!f)
		return;
	bm25_analysis_free(f->analysis);
	bm25_dict_release(&f->dict);
	free(f->word);
	free(f->distinct);
	free(f->first);
	free(f->candidate);
	free(f->asked);
	free(f->list);
	free(f);
}

/* ---- counting ---- */

static void count(void *arg, const char *term, size_t len, uint32_t position)
{
	struct bm25_feedback *f = arg;
	bool is_new;
	(void)position;
	uint32_t w = bm25_dict_add(&f->dict, term, len, &is_new);
	if (f->cap < f->dict.cap) {
		f->cap = f->dict.cap;
		f->word = xrealloc_array(f->word, f->cap, sizeof *f->word);
		f->distinct = xrealloc_array(f->distinct, f->cap, sizeof *f->distinct);
	}
	if (is_new)
		f->word[w] = (struct word){0};
	f->n_tokens++;
	if (f->reads_query)
		f->word[w].in_query++;
	else if (!f->word[w].in_doc++)
		f->distinct[f->n_distinct++] = w;
}

static void read_text(struct bm25_feedback *f, bool is_query, const char *text, size_t len)
{
	f->n_tokens = 0;
	f->n_distinct = 0;
	f->reads_query = is_query;
	bm25_analyze(f->analysis, text, len, count, f);
}

static int read_document(struct bm25_feedback *f, const struct bm25_searcher *s, const struct bm25_hit *hit,
                         struct err *e)
{
	const char *text;
	size_t len;
	if (bm25_doc_text(s, hit->doc, &text, &len, e))
		return -1;
	read_text(f, false, text, len);
	for (size_t i = 0; i < f->n_distinct; i++) {
		struct word *w = &f->word[f->distinct[i]];
		w->p += hit->score * (double)w->in_doc / (double)f->n_tokens;
		w->in_doc = 0;
	}
	return 0;
}

/* ---- the new query ---- */

static int by_p(const void *pa, const void *pb, void *arg)
{
	const struct bm25_feedback *f = arg;
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
	if (f->word[a].p != f->word[b].p)
		return f->word[a].p > f->word[b].p ? -1 : 1;
	return bm25_compare_keys(f->dict.words[a].text, f->dict.words[a].len, f->dict.words[b].text,
	                         f->dict.words[b].len);
}

/* Asks for a word; nothing of one that is in no document or weighs nothing. */
static int ask(struct bm25_feedback *f, struct bm25_searcher *s, uint32_t w, double weight, struct err *e)
{
	struct bm25_postings list;
	int found = bm25_view_lookup(bm25_searcher_view(s), f->dict.words[w].text, f->dict.words[w].len, &list, e);
	double idf = found > 0 ? bm25_idf(s, list.df) * weight : 0;
	if (found < 0 || !(idf > 0))
		return found < 0 ? -1 : 0;
	f->asked[f->n_asked] = (struct asked){w, weight};
	f->list[f->n_asked++] = (struct bm25_term_list){list, idf};
	return 0;
}

/* The best words, sorted, into candidate[]: how many, and the sum of their p; -1. */
static int64_t choose(struct bm25_feedback *f, const struct bm25_searcher *s, double *sum, struct err *e)
{
	double most = COMMON * (double)bm25_info(f->index)->documents;
	struct bm25_postings list;
	size_t n = 0;
	int64_t kept = 0;
	if (f->candidate_cap < f->dict.n) {
		f->candidate_cap = f->dict.cap;
		f->candidate = xrealloc_array(f->candidate, f->candidate_cap, sizeof *f->candidate);
	}
	for (uint32_t w = 0; w < f->dict.n; w++)
		if (f->word[w].p > 0)
			f->candidate[n++] = w;
	if (n)
		qsort_r(f->candidate, n, sizeof *f->candidate, by_p, f);
	*sum = 0;
	for (size_t i = 0; i < n && kept < f->params.terms; i++) {
		uint32_t w = f->candidate[i];
		int found =
		        bm25_view_lookup(bm25_searcher_view(s), f->dict.words[w].text, f->dict.words[w].len, &list, e);
		if (found < 0)
			return -1;
		if (!found || list.df > most)
			continue;
		f->candidate[kept++] = w;
		*sum += f->word[w].p;
	}
	return kept;
}

static int make_query(struct bm25_feedback *f, struct bm25_searcher *s, size_t n_query, int64_t query_tokens,
                      struct err *e)
{
	double sum, original = f->params.original;
	int64_t n = choose(f, s, &sum, e);
	if (n < 0)
		return -1;
	size_t most = n_query + (size_t)n;
	if (f->asked_cap < most) {
		f->asked_cap = 2 * most;
		f->asked = xrealloc_array(f->asked, f->asked_cap, sizeof *f->asked);
		f->list = xrealloc_array(f->list, f->asked_cap, sizeof *f->list);
	}
	for (int64_t i = 0; i < n; i++)
		f->word[f->candidate[i]].kept = f->word[f->candidate[i]].p / sum;
	for (uint32_t w = 0; w < n_query; w++) {
		double share = (double)f->word[w].in_query / (double)query_tokens;
		if (ask(f, s, w, n ? original * share + (1 - original) * f->word[w].kept : share, e))
			return -1;
	}
	for (int64_t i = 0; i < n; i++) {
		uint32_t w = f->candidate[i];
		if (w >= n_query && ask(f, s, w, (1 - original) * f->word[w].kept, e))
			return -1;
	}
	return 0;
}

int bm25_feedback_search(struct bm25_feedback *f, struct bm25_searcher *s, const char *query, size_t len, int64_t k,
                         const struct bm25_hit **hits, int64_t *n, struct err *e)
{
	int64_t docs;
	bm25_dict_release(&f->dict);
	bm25_dict_init(&f->dict);
	f->cap = 0;
	f->n_asked = 0;
	if (bm25_search(s, query, len, f->params.docs, hits, &docs, e))
		return -1;
	for (int64_t i = 0; i < docs; i++)
		f->first[i] = (*hits)[i];
	read_text(f, true, query, len);
	size_t n_query = f->dict.n; /* words of the query have the first numbers */
	int64_t query_tokens = f->n_tokens;
	for (int64_t i = 0; i < docs; i++)
		if (read_document(f, s, &f->first[i], e))
			return -1;
	if (query_tokens && make_query(f, s, n_query, query_tokens, e))
		return -1;
	return bm25_search_terms(s, f->list, f->n_asked, k, hits, n, e);
}

bool bm25_feedback_word(const struct bm25_feedback *f, size_t i, const char **word, size_t *len, double *weight)
{
	if (i >= f->n_asked)
		return false;
	*word = f->dict.words[f->asked[i].word].text;
	*len = f->dict.words[f->asked[i].word].len;
	*weight = f->asked[i].weight;
	return true;
}
