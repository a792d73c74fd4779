/*
 * overlap_impl - what the files of overlap share.
 */
#ifndef LIB_OVERLAP_IMPL_H
#define LIB_OVERLAP_IMPL_H

#include "lib/overlap.h"
#include "lib/overlap_count.h"

enum overlap_kind {
	OVERLAP_BLEU,
	OVERLAP_NLTK,
	OVERLAP_SINGLE, /* bleu@N */
	OVERLAP_CHRF,
	OVERLAP_ROUGE_N,
	OVERLAP_ROUGE_L,
	OVERLAP_ROUGE_LSUM,
	OVERLAP_EM,
	OVERLAP_F1,
	OVERLAP_DISTINCT,
	OVERLAP_WER,
	OVERLAP_SELF_BLEU,
	OVERLAP_ITEMS,
	OVERLAP_SENTENCES
};
enum overlap_smooth { OVERLAP_EXP, OVERLAP_FLOOR, OVERLAP_ADD_K, OVERLAP_NO_SMOOTH };
enum overlap_over { OVERLAP_TOGETHER, OVERLAP_MEAN, OVERLAP_ECR }; /* of a corpus: see overlap_corpus.c */

#define OVERLAP_CHARS 6 /* orders of chrF */
#define OVERLAP_WORDS 2 /* and of chrF++ */
#define OVERLAP_SUMS 24

struct overlap_metric {
	char *name;
	enum overlap_kind kind;
	enum words_rule rule;
	bool lower, eps, second; /* second: SQuAD v2 */
	int order;               /* of n-grams; of words in chrF */
	enum overlap_smooth smooth;
	double value, beta;
	int method;
	char part;  /* p, r, f */
	char *item; /* what OVERLAP_ITEMS counts */
	enum overlap_over over;
	struct overlap_view *view, *view2; /* view2: the words of chrF++ */
	/* the corpus so far */
	int64_t sum[OVERLAP_SUMS], n;
	double total;
};

/* The texts of the current record under one rule, and what was counted over them; shared by all measures that need it.
 */
struct overlap_view {
	struct words words;
	int orders, distinct_orders; /* that some measure needs; 0: none */
	bool keep_vocab;
	struct gram_matches any;
	int64_t (*each)[OVERLAP_ORDERS];
	size_t each_cap;
	int64_t distinct[OVERLAP_ORDERS];
};

struct overlap {
	struct overlap_metric *metric;
	size_t n;
	struct overlap_view **view;
	size_t n_views;
	struct grams grams;
	struct align align;
	/* the corpus: n-grams of all answers, their words for self_bleu */
	struct pairs seen[4];
	int64_t totals[4], not_blank;
	bool needs_seen, needs_answers;
	struct overlap_view *space; /* WORDS_SPACE */
	int32_t *ids;
	size_t n_ids, ids_cap;
	struct words_text *answer;
	size_t n_answers, answers_cap;
};

/* Fills m from a name. */
int overlap_parse(struct overlap_metric *m, const char *name, bool corpus, struct err *e);

/* What m is made of for the texts that are in its views: sums that a corpus adds up (BLEU: matches [9], n-grams [9],
 * lengths of the text and of the references; chrF: [8] of n-grams of the text, of the reference, matches; WER:
 * distance, words), or for all others the value.  False: no value. */
bool overlap_measure(struct overlap *o, const struct overlap_metric *m, int64_t n_refs, int64_t *sum, double *value);
/* The value of sums, for a text alone or a corpus. */
double overlap_sums_value(const struct overlap_metric *m, const int64_t *sum, bool corpus);
bool overlap_has_sums(const struct overlap_metric *m);
/* nltk's BLEU of one order and smoothing from matches and numbers of n-grams [orders + 1]; NaN where it has none. */
double overlap_nltk(int method, int orders, const int64_t *match, const int64_t *total, int64_t len, int64_t ref_len);
/* Texts into the views, and what is counted over them. */
void overlap_load(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs);

#endif
