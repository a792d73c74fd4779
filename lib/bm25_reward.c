/* bm25_reward - see bm25_reward.h */
#include "lib/bm25_reward.h"

#include <stdlib.h>

#include "lib/filter.h"
#include "lib/rank_metrics.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct bm25_reward_config, name)

const struct opt bm25_reward_options[] = {
        {"query", 0, OPT_STR, FIELD(query), ".completion", "FILTER", "what is searched for", 0, 0},
        {"relevant", 0, OPT_STR, FIELD(relevant), ".relevant_doc_ids", "FILTER",
         "ids of the relevant documents, {id: grade} or [{id, grade}]", 0, 0},
        {"metric", 0, OPT_STR, FIELD(metric), "recall@5", "NAME", "recall@K, precision@K, ndcg@K, hit@K, mrr or map", 0,
         0},
        {"hits", 0, OPT_INT, FIELD(hits), "0", "K", "add the best K documents as 'hits'", 0, RANK_METRIC_MAX_DEPTH},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where --query gives no query", 0, 0},
        {"as", 0, OPT_STR, FIELD(as), "reward_bm25", "NAME", "name of the field that is added", 0, 0},
        {NULL},
};

const char *const bm25_reward_counts[BM25_REWARD_COUNTS] = {"without a query", "without relevant documents",
                                                            "with a broken query"};

struct bm25_reward {
	struct bm25_reward_config config;
	struct filter *query, *relevant;
	struct rank_metric metric;
	struct arena arena;
	struct str hits;
};

void bm25_job_release(struct bm25_job *j)
{
	arena_release(&j->arena);
	bm25_request_release(&j->request);
}

struct bm25_reward *bm25_reward_new(const struct bm25_reward_config *c, struct err *e)
{
	struct bm25_reward *x = xcalloc(1, sizeof *x);
	x->config = *c;
	arena_init(&x->arena);
	str_init(&x->hits);
	if (!rank_metric_parse(c->metric, &x->metric, e) && (x->query = filter_new("query", c->query, NULL, 0, e)) &&
	    (x->relevant = filter_new("relevant", c->relevant, NULL, 0, e)))
		return x;
	bm25_reward_free(x);
	return NULL;
}

void bm25_reward_free(struct bm25_reward *x)
{
	if (!x)
		return;
	filter_free(x->query);
	filter_free(x->relevant);
	arena_release(&x->arena);
	str_release(&x->hits);
	free(x);
}

/* ---- what a record asks ---- */

static int read_relevant(struct bm25_reward *x, struct record *r, struct bm25_job *j, struct err *e)
{
	struct json v;
	if (filter_run(x->relevant, r, &v, &j->arena, e))
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return err_set(e, "--relevant: '%s' gives nothing", filter_program(x->relevant));
	return rank_judgements_read(&j->relevant, &v, &j->arena, e) ? err_where(e, "--relevant") : 0;
}

/* 1; 0 when there is none; -1. */
static int read_query(struct bm25_reward *x, struct record *r, struct bm25_job *j, struct err *e)
{
	const char *text;
	size_t len;
	int found = filter_str(x->query, r, &text, &len, &j->arena, e);
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	if (found < 0 && !record_has(r, "completion"))
		return -1;
	if (!found && !record_has(r, "completion"))
		return err_set(e, "--query: '%s' gives nothing", filter_program(x->query));
	if (found <= 0)
		return 0;
	struct bm25_request *q = &j->request;
	q->query = arena_array(&j->arena, 1, sizeof *q->query);
	q->len = arena_array(&j->arena, 1, sizeof *q->len);
	q->query[0] = arena_strndup(&j->arena, text, len);
	q->len[0] = len;
	q->n_queries = 1;
	q->depth = x->metric.k > x->config.hits ? x->metric.k : x->config.hits;
	return 1;
}

int bm25_reward_read(struct bm25_reward *x, struct record *r, struct bm25_job *j, int64_t *count, struct err *e)
{
	arena_reset(&j->arena);
	j->request.n = 0;
	j->searches = false;
	if (record_check_new(r, x->config.as, e) || (x->config.hits && record_check_new(r, "hits", e)))
		return -1;
	int found = read_query(x, r, j, e);
	if (found < 0 || read_relevant(x, r, j, e))
		return -1;
	count[BM25_NO_QUERY] += !found;
	count[BM25_NOT_RELEVANT] += !j->relevant.n;
	j->searches = found > 0;
	return 0;
}

/* ---- what is added ---- */

static int score(struct bm25_reward *x, const struct bm25_searcher *s, const struct bm25_job *j, double *out,
                 struct err *e)
{
	const struct bm25_request *q = &j->request;
	double *grades = arena_array(&x->arena, (size_t)q->n + 1, sizeof *grades);
	for (int64_t i = 0; i < q->n; i++) {
		const char *id;
		size_t len;
		if (bm25_doc_id(s, q->hits[i].doc, &id, &len, e))
			return -1;
		grades[i] = rank_judgements_grade(&j->relevant, id, len);
	}
	*out = rank_metric_score(&x->metric, grades, q->n, j->relevant.ideal, j->relevant.n);
	return 0;
}

static int add_hits(struct bm25_reward *x, const struct bm25_searcher *s, const struct bm25_job *j, struct record *r,
                    struct err *e)
{
	const struct bm25_request *q = &j->request;
	const char *id;
	size_t len;
	str_clear(&x->hits);
	str_addc(&x->hits, '[');
	for (int64_t i = 0; i < q->n && i < x->config.hits; i++) {
		if (bm25_doc_id(s, q->hits[i].doc, &id, &len, e))
			return -1;
		str_adds(&x->hits, i ? ",{\"id\":" : "{\"id\":");
		json_put_str(&x->hits, id, len);
		str_adds(&x->hits, ",\"score\":");
		json_put_num(&x->hits, q->hits[i].score);
		str_addc(&x->hits, '}');
	}
	str_addc(&x->hits, ']');
	return record_add_raw(r, "hits", x->hits.buf, x->hits.len, e);
}

int bm25_reward_add(struct bm25_reward *x, const struct bm25_searcher *s, struct bm25_job *j, struct record *r,
                    int64_t *count, struct err *e)
{
	double reward = x->config.otherwise;
	int found = j->searches ? j->request.found : 0;
	arena_reset(&x->arena);
	if (found < 0) {
		*e = j->request.e;
		return -1;
	}
	count[BM25_BROKEN_QUERY] += j->searches && !found;
	if (found && j->relevant.n && score(x, s, j, &reward, e))
		return -1;
	if (x->config.hits && add_hits(x, s, j, r, e))
		return -1;
	return j->relevant.n ? record_add_num(r, x->config.as, reward, e) : record_add_null(r, x->config.as, e);
}
