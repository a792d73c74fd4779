/*
 * advantage_impl - what the files of advantage share.
 */
#ifndef LIB_ADVANTAGE_IMPL_H
#define LIB_ADVANTAGE_IMPL_H

#include "lib/advantage_compat.h"

struct advantage_batch {
	const struct advantage_config *c;
	const struct advantage_compat *k;
	struct advantage_row *row;
	int64_t n_rows;
	double *x;   /* a number per token, row after row: rewards, which become advantages; 0 where mask is */
	int64_t *at; /* [n_rows] where a row begins in x */
	bool given;  /* rewards were */
	int64_t bad; /* the row that an error is about, or -1 */
};

static inline bool advantage_chosen(const struct advantage_row *r, int64_t t)
{
	return !r->mask || r->mask[t];
}
/* Counts in statistics of the batch. */
static inline bool advantage_counts(const struct advantage_row *r)
{
	return !r->left_out && !r->is_baseline;
}
/* The chosen token at or before t, else the first one after it; -1 where there is none. */
int64_t advantage_nearest(const struct advantage_row *r, int64_t t);

/* ---- advantage_reward.c ---- */

/* x, score, kl and the terminal cell of every row that is not left out; a baseline's too. */
void advantage_rewards(struct advantage_batch *b);
/* keep_mean: of rewards, with their terminal cells; else of advantages. */
void advantage_whiten(struct advantage_batch *b, bool keep_mean);

/* ---- one method each: x from rewards to advantages, and returns ---- */

void advantage_gae(struct advantage_batch *b);
int advantage_rloo(struct advantage_batch *b, struct err *e);
int advantage_grpo(struct advantage_batch *b, struct err *e);
int advantage_reinforce(struct advantage_batch *b, struct advantage_moving *moving, struct err *e);
/* G of one row: x[n] in place. */
void advantage_to_go(const struct advantage_batch *b, const struct advantage_row *r, double *x);

/* ---- advantage_group.c ---- */

struct advantage_groups {
	int64_t *row;          /* rows by group, in row order within one; those left out too */
	int64_t *first, n;     /* [n + 1] where each begins in row */
	int64_t *live, n_live; /* of the one last asked for: the rows that count */
};
void advantage_groups_init(struct advantage_groups *g, const struct advantage_batch *b);
void advantage_groups_release(struct advantage_groups *g);
/* Fills live for group i.  -1 when it has lost rows, or has fewer than `least` of them, though any. */
int advantage_group_take(struct advantage_groups *g, struct advantage_batch *b, int64_t i, int64_t least,
                         const char *what, struct err *e);

#endif
