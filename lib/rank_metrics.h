/*
 * rank_metrics - how good a ranking is, given what is relevant.
 *
 *     recall@k      relevant documents among the first k / all relevant ones
 *     precision@k   relevant documents among the first k / k
 *     hit@k         1 when there is one among the first k
 *     mrr@k         1 / rank of the first relevant one, 0 when it is not among the first k
 *     map@k         mean over all relevant ones of the precision at their rank; 0 for those not among the first k
 *     ndcg@k        sum of grade / log2(rank + 1) over the first k / the same of the best possible ranking
 *                   (Jarvelin and Kekalainen 2002; grades are not exponentiated, as in trec_eval)
 *
 * mrr and map without @k look at RANK_METRIC_DEPTH documents; the others need a k.
 */
#ifndef LIB_RANK_METRICS_H
#define LIB_RANK_METRICS_H

#include <stdint.h>

#include "lib/err.h"

enum { RANK_METRIC_DEPTH = 100, RANK_METRIC_MAX_DEPTH = 1000000 };

enum rank_metric_kind { RANK_RECALL, RANK_PRECISION, RANK_HIT, RANK_MRR, RANK_MAP, RANK_NDCG };
struct rank_metric {
	enum rank_metric_kind kind;
	int64_t k; /* documents that it looks at */
};

/* -1: the name is not known, or k is missing or not from 1 to RANK_METRIC_MAX_DEPTH. */
int rank_metric_parse(const char *name, struct rank_metric *out, struct err *e);

/* grades [n] of the ranked documents (0: not relevant), ideal [n_relevant > 0] the positive grades of all judged
 * documents, falling. */
double rank_metric_score(const struct rank_metric *m, const double *grades, int64_t n, const double *ideal,
                         int64_t n_relevant);

#endif
