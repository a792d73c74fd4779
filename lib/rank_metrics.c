/* rank_metrics - see rank_metrics.h */
#include "lib/rank_metrics.h"

#include <math.h>
#include <string.h>

#include "lib/util.h"

static const struct {
	const char *name;
	enum rank_metric_kind kind;
	int64_t k; /* without @k; 0: it is needed */
} names[] = {
        {"recall", RANK_RECALL, 0},           {"precision", RANK_PRECISION, 0}, {"hit", RANK_HIT, 0},
        {"mrr", RANK_MRR, RANK_METRIC_DEPTH}, {"ndcg", RANK_NDCG, 0},           {"map", RANK_MAP, RANK_METRIC_DEPTH},
};

int rank_metric_parse(const char *name, struct rank_metric *out, struct err *e)
{
	size_t len = strcspn(name, "@");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strlen(names[i].name) != len || strncmp(names[i].name, name, len))
			continue;
		*out = (struct rank_metric){names[i].kind, names[i].k};
		if (name[len] && (!parse_i64(name + len + 1, &out->k) || out->k < 1 || out->k > RANK_METRIC_MAX_DEPTH))
			return err_set(e, "metric '%s': '%s' is no number from 1 to %d", name, name + len + 1,
			               RANK_METRIC_MAX_DEPTH);
		if (!out->k)
			return err_set(e, "metric '%s' needs a number of documents, as in '%s@5'", name, name);
		return 0;
	}
	return err_set(e, "metric '%s' is not known; there are recall@k, precision@k, ndcg@k, hit@k, mrr and map",
	               name);
}

static double dcg(const double *grades, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		if (grades[i] > 0)
			sum += grades[i] / log2((double)i + 2);
	return sum;
}

double rank_metric_score(const struct rank_metric *m, const double *grades, int64_t n, const double *ideal,
                         int64_t n_relevant)
{
	int64_t found = 0, first = 0;
	double precisions = 0;
	if (n > m->k)
		n = m->k;
	for (int64_t i = 0; i < n; i++) {
		if (!(grades[i] > 0))
			continue;
		if (!found++)
			first = i + 1;
		precisions += (double)found / (double)(i + 1);
	}
	switch (m->kind) {
	case RANK_RECALL:
		return (double)found / (double)n_relevant;
	case RANK_PRECISION:
		return (double)found / (double)m->k;
	case RANK_HIT:
		return found > 0;
	case RANK_MRR:
		return found ? 1 / (double)first : 0;
	case RANK_MAP:
		return precisions / (double)n_relevant;
	case RANK_NDCG:
		return dcg(grades, n) / dcg(ideal, n_relevant < m->k ? n_relevant : m->k);
	}
	return 0;
}
