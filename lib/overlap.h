/*
 * overlap - how much a text has in common with references: BLEU, ROUGE, chrF, exact match and F1, word errors; and
 * distinct-n of the text alone.  For one text, and for a corpus.
 *
 * Names, with options behind colons in any order:
 *
 *     bleu           sacrebleu, 0 to 100: smooth=exp|floor|add-k|none, value=X (of floor, .1; of add-k, 1),
 *                    tok=13a|none|intl|char, n=1..9 (4), lower.  A text alone is scored with effective order
 *     nltk_bleu      nltk's sentence_bleu, 0 to 1, words between white space: method=0..7 (0), n=1..4 (4), equal
 * weights bleu@1..4      the same with all weight on one order: brevity penalty times precision, 0 where nothing
 * matches chrf, chrf++   sacrebleu, 0 to 100: 6 orders of characters (and 2 of words); beta=X (2), eps (as chrF++.py)
 *     rouge1..9, rougeL, rougeLsum   rouge_score, 0 to 1: p, r, f (default), stem (lib/porter.h)
 *     squad_em, squad_f1, squad2_em, squad2_f1   SQuAD's own scripts, v1.1 and v2.0, 0 to 1
 *     distinct_1..4  different n-grams of the text over all its n-grams, 0 where it has none
 *     wer            Levenshtein distance in words over the words of the reference
 *
 * and for a corpus alone self_bleu, item_ratio (item=WORD, <movie>), sent_cnt, and the options mean and ecr of
 * distinct_N and ecr of bleu@N (overlap_corpus.c). Of several references BLEU clips by the maximum of the counts and
 * takes the closest length, ties to the shorter; all others take the reference with the best score.
 */
#ifndef LIB_OVERLAP_H
#define LIB_OVERLAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct overlap;

/* corpus: names that only a corpus has are allowed.  NULL with *e: no measure of that name, the name twice. */
struct overlap *overlap_new(const char *const *names, size_t n, bool corpus, struct err *e);
void overlap_free(struct overlap *o);

/* References of one text, valid UTF-8 like the text; n < 0: there are none at all (an empty list, n = 0, says to SQuAD
 * v2 that the question has no answer, and to all others the same as none). */
struct overlap_refs {
	const char *const *text;
	const size_t *len;
	int64_t n;
};

/* out[number of names]; NaN where there is no value: no reference, none with a word (wer), a precision of 0 that
 * method 6 divides by. */
void overlap_score(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs, double *out);

/* Adds a text to the corpus; `out` as above, or NULL. */
void overlap_corpus_add(struct overlap *o, const char *text, size_t len, const struct overlap_refs *refs, double *out);
/* The value of name i for all texts added, and how many had one; NaN for none. */
double overlap_corpus_value(struct overlap *o, size_t i, int64_t *n);

#endif
