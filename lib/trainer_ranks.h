/*
 * trainer_ranks - a trainer's passes over the ranks of a comm (lib/comm.h): which rows are whose, and what comes back.
 *
 * Every rank has all rows and the same weights.  Each goes through rows of its own, which follow each other; then all
 * have the outputs of all rows, and at the step the gradient summed in the order of ranks.  A row's outputs have the
 * bits that they have in any other batch, so all that is computed of them is as with one rank; only the gradient is
 * summed in another order.  With one rank, or a NULL comm, nothing is done.
 */
#ifndef LIB_TRAINER_RANKS_H
#define LIB_TRAINER_RANKS_H

#include "lib/comm.h"
#include "lib/trainer.h"

/* Rows [first, end) of this rank, behind `tokens` tokens of the ranks before. */
struct trainer_part {
	int64_t first, end, tokens;
};
/* Cut by tokens alone, between rows that are not joined: rank r has those whose middle lies in the r-th of `ranks`
 * equal parts of all tokens.  May be empty. */
struct trainer_part trainer_part(const struct comm *c, const struct trainer_row *row, int64_t n_rows);

/* The outputs of all rows, from the ranks whose they are; C: of `hidden`. */
int trainer_gather(struct comm *c, const struct trainer_row *row, int64_t n_rows, int64_t C, struct err *e);

/* trainer_score over all ranks. */
int trainer_score_ranks(struct comm *c, struct decoder *d, const struct weights *w, struct trainer_row *row,
                        int64_t n_rows, int64_t micro_tokens, struct err *e);

/* The gradient of t becomes the sum over the ranks of t->comm. */
int trainer_sum_gradient(struct trainer *t, struct err *e);

/* -1 naming the first tensor whose weights are not the same in all ranks, by CRC-32C of their bytes. */
int trainer_same_weights(struct trainer *t, struct err *e);

#endif
