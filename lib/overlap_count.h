/*
 * overlap_count - n-grams counted, and sequences aligned, without memory per n-gram and without quadratic surprises.
 *
 * An n-gram is the pair of the two (n-1)-grams in it, numbered order by order, so that no two different ones are ever
 * taken for each other; what cannot match any more is left out of the next order.
 */
#ifndef LIB_OVERLAP_COUNT_H
#define LIB_OVERLAP_COUNT_H

#include <stdint.h>

#include "lib/overlap_words.h"

#define OVERLAP_ORDERS 9 /* of n-grams; mteval's */

/* What the counting of n-grams works on. */
struct grams {
	struct pairs pairs;
	int32_t *at; /* the n-gram that begins at each place, all texts one after the other; -1: cannot match */
	size_t at_cap;
	struct gram_count {
		int32_t answer, seen, most; /* in the answer; in this reference; most in one reference */
		int64_t reference;          /* that `seen` is of */
	} * count;
	size_t count_cap;
};
void grams_release(struct grams *g);

/* Matches of the answer's n-grams, each counted at most as often as it is in the reference. */
struct gram_matches {
	int64_t any[OVERLAP_ORDERS]; /* as often as in the reference that has it most */
};

/* w: text 0 is the answer.  each [w->n_texts - 1][OVERLAP_ORDERS]: the matches with each reference alone. */
void grams_match(struct grams *g, const struct words *w, int orders, struct gram_matches *out,
                 int64_t (*each)[OVERLAP_ORDERS]);
/* out[n - 1]: how many different n-grams the answer has. */
void grams_distinct(struct grams *g, const struct words *w, int orders, int64_t *out);
/* n-grams of a text of that many words. */
static inline int64_t grams_total(size_t words, int order)
{
	return words >= (size_t)order ? (int64_t)words - order + 1 : 0;
}

/* ---- alignment, bit-parallel: time O(n_a n_b / 64), memory O(n_a + n_b) ---- */

struct align {
	uint64_t *
	        mask; /* of each word of the vocabulary: where in the 64 words of the block it is; zero between calls */
	size_t mask_cap;
	int8_t *carry; /* between blocks, of each place of the longer text */
	size_t carry_cap;
	uint64_t *row, *carries; /* of one block; into each block, a bit a place */
	size_t row_cap, carries_cap;
	struct align_line {
		int64_t times, j; /* how often it is there; where the walk back stands */
		size_t at, n;
	} * line, *ref_line; /* of the answer; of the reference */
	size_t line_cap, ref_line_cap;
	size_t *line_of; /* by number of its sequence of words: one more than its place in `line` */
	size_t line_of_cap;
	struct {
		int64_t marked, in_answer;
	} * words;
	size_t words_cap;
	uint8_t *taken;
	size_t taken_cap;
	struct pairs pairs;
};
void align_release(struct align *a);

/* Length of the longest common subsequence of two sequences of numbers below n_ids (Crochemore et al. 2001; Hyyro
 * 2004). */
int64_t align_lcs(struct align *a, const int32_t *x, size_t nx, const int32_t *y, size_t ny, int32_t n_ids);
/* Levenshtein distance (Myers 1999; Hyyro 2003). */
int64_t align_distance(struct align *a, const int32_t *x, size_t nx, const int32_t *y, size_t ny, int32_t n_ids);

/*
 * ROUGE-Lsum's hits between the lines of text 0 and those of text `reference`: for each line of the reference the union
 * of its longest common subsequences with every line of the answer, each word counted at most as often as the answer
 * has it.  Which of several longest ones is taken is as in rouge_score: from the end, a match where there is one, else
 * a step in the answer where the table falls there.  Equal lines are looked at once: time O(different lines of the
 * reference x words of the answer + words of both / 64).
 */
int64_t align_union(struct align *a, const struct words *w, size_t reference);

#endif
