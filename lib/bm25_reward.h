/*
 * bm25_reward - from a record to what is searched for, and from what was found to a reward.
 *
 * What a model wrote is never an error: where there is no query, or a broken one, the reward is config.otherwise.
 */
#ifndef LIB_BM25_REWARD_H
#define LIB_BM25_REWARD_H

#include "lib/arena.h"
#include "lib/bm25_batch.h"
#include "lib/rank_metrics_judged.h"
#include "lib/record.h"

struct bm25_reward_config {
	struct cli_list dirs;    /* of jq modules */
	struct cli_list metrics; /* none: recall@5, with answers hit@5 */
	const char *query, *relevant, *as;
	const char *answers; /* NULL, or what makes a document relevant in place of `relevant`: needs the texts */
	double otherwise;
	int64_t hits;
};
/* A group of the tool's table, over the struct above. */
extern const struct opt bm25_reward_options[];

/* What is counted. */
enum bm25_reward_count { BM25_NO_QUERY, BM25_NOT_RELEVANT, BM25_BROKEN_QUERY, BM25_REWARD_COUNTS };
extern const char *const bm25_reward_counts[BM25_REWARD_COUNTS];

/* What one record asks for.  Zeroed before the first bm25_reward_read; everything in it is its own. */
struct bm25_job {
	bool searches; /* the request is to be answered before bm25_reward_add */
	struct bm25_request request;
	struct rank_judgements relevant;
	int64_t n_relevant; /* ids, or answers */
	struct arena arena;
};
void bm25_job_release(struct bm25_job *j);

struct bm25_reward;
/* NULL with *e: an option is wrong. */
struct bm25_reward *bm25_reward_new(const struct bm25_reward_config *c, struct err *e);
void bm25_reward_free(struct bm25_reward *x);
/* -1: the user's fault, *e names the option.  Adds to count[BM25_REWARD_COUNTS]. */
int bm25_reward_read(struct bm25_reward *x, struct record *r, struct bm25_job *j, int64_t *count, struct err *e);
/* Adds fields to a record that bm25_reward_read has seen (record_resume is enough); s reads ids. */
int bm25_reward_add(struct bm25_reward *x, const struct bm25_searcher *s, struct bm25_job *j, struct record *r,
                    int64_t *count, struct err *e);

#endif
