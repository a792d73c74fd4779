/* bm25_reward - see bm25_reward.h */
#include "lib/bm25_reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/answers.h"
#include "lib/filter.h"
#include "lib/rank_metrics.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct bm25_reward_config, name)

const struct opt bm25_reward_options[] = {
        {"query", 0, OPT_STR, FIELD(query), ".completion", "FILTER",
         "what is searched for: a text, or several whose results are fused", 0, 0},
        {"relevant", 0, OPT_STR, FIELD(relevant), ".relevant_doc_ids", "FILTER",
         "ids of the relevant documents, {id: grade} or [{id, grade}]", 0, 0},
        {"answers", 0, OPT_STR, FIELD(answers), NULL, "FILTER",
         "instead: documents are relevant whose text holds one of these; needs rl-index --texts", 0, 0},
        {"metric", 'm', OPT_LIST, FIELD(metrics), NULL, "NAME",
         "recall@K, precision@K, ndcg@K, hit@K, mrr or map; default recall@5, with --answers hit@5", 0, 0},
        {"hits", 0, OPT_INT, FIELD(hits), "0", "K", "add the best K documents as 'hits'", 0, RANK_METRIC_MAX_DEPTH},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where --query gives no query", 0, 0},
        {"library", 'L', OPT_LIST, FIELD(dirs), NULL, "DIR", "where include and import of a FILTER look for modules", 0,
         0},
        {"as", 0, OPT_STR, FIELD(as), "reward_bm25", "NAME", "name of the field that is added", 0, 0},
        {NULL},
};

const char *const bm25_reward_counts[BM25_REWARD_COUNTS] = {"without a query", "without relevant documents",
                                                            "with a broken query"};

struct bm25_reward {
	struct bm25_reward_config config;
	struct filter *query, *relevant; /* relevant: or the answers */
	const char **name;
	struct rank_metric *metric;
	size_t n_metrics;
	int64_t depth;   /* that the measures need */
	bool first_only; /* they look at the first relevant document alone */
	struct arena arena;
	struct str text, scratch;
};

void bm25_job_release(struct bm25_job *j)
{
	arena_release(&j->arena);
	bm25_request_release(&j->request);
}

static int read_metrics(struct bm25_reward *x, struct err *e)
{
	static const char *standard[] = {"recall@5"}, *of_answers[] = {"hit@5"};
	const struct cli_list *given = &x->config.metrics;
	x->n_metrics = given->n ? given->n : 1;
	x->name = given->n ? given->item : x->config.answers ? of_answers : standard;
	x->metric = xcalloc(x->n_metrics, sizeof *x->metric);
	x->first_only = true;
	for (size_t i = 0; i < x->n_metrics; i++) {
		if (rank_metric_parse(x->name[i], &x->metric[i], e))
			return -1;
		enum rank_metric_kind kind = x->metric[i].kind;
		if (x->config.answers && kind != RANK_HIT && kind != RANK_MRR && kind != RANK_PRECISION)
			return err_set(e,
			               "metric '%s' needs the number of relevant documents, which --answers does not "
			               "tell; there are hit@k, mrr and precision@k",
			               x->name[i]);
		x->first_only &= kind != RANK_PRECISION;
		if (x->metric[i].k > x->depth)
			x->depth = x->metric[i].k;
	}
	return 0;
}

struct bm25_reward *bm25_reward_new(const struct bm25_reward_config *c, struct err *e)
{
	struct bm25_reward *x = xcalloc(1, sizeof *x);
	x->config = *c;
	arena_init(&x->arena);
	str_init(&x->text);
	str_init(&x->scratch);
	const char *option = c->answers ? "answers" : "relevant", *program = c->answers ? c->answers : c->relevant;
	if (!read_metrics(x, e) && (x->query = filter_new("query", c->query, c->dirs.item, c->dirs.n, e)) &&
	    (x->relevant = filter_new(option, program, c->dirs.item, c->dirs.n, e)))
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
	str_release(&x->text);
	str_release(&x->scratch);
	free(x->metric);
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
	if (rank_judgements_read(&j->relevant, &v, &j->arena, e))
		return err_where(e, "--relevant");
	j->n_relevant = j->relevant.n;
	return 0;
}

/* Those that have a token. */
static int read_answers(struct bm25_reward *x, struct record *r, struct bm25_job *j, struct err *e)
{
	const char **text;
	size_t *len;
	int64_t n;
	int found = filter_strs(x->relevant, r, &text, &len, &n, &j->arena, e);
	if (found < 0)
		return -1;
	if (!found)
		return err_set(e, "--answers: '%s' gives nothing", filter_program(x->relevant));
	struct bm25_answer *answer = arena_array(&j->arena, (size_t)n + 1, sizeof *answer);
	for (int64_t i = 0; i < n; i++) {
		answers_tokens(text[i], len[i], &x->scratch, &x->text);
		answer[j->n_relevant] =
		        (struct bm25_answer){arena_strndup(&j->arena, x->text.buf, x->text.len), x->text.len};
		j->n_relevant += x->text.len > 0;
	}
	j->request.answers = answer;
	j->request.n_answers = j->n_relevant;
	j->request.answers_depth = x->depth;
	j->request.first_only = x->first_only;
	return 0;
}

struct queries {
	struct bm25_request *request;
	struct arena *arena;
};

/* 0; 1 when it is no query. */
static int add_query(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct queries *q = arg;
	(void)i, (void)key, (void)key_len;
	if (v->kind != JSON_STRING || q->request->n_queries == BM25_BATCH_QUERIES)
		return 1;
	q->request->query[q->request->n_queries] = arena_strndup(q->arena, v->text, v->len);
	q->request->len[q->request->n_queries++] = v->len;
	return 0;
}

/* 1; 0 when there is none; -1. */
static int read_query(struct bm25_reward *x, struct record *r, struct bm25_job *j, struct err *e)
{
	struct json v;
	struct bm25_request *q = &j->request;
	struct queries queries = {q, &j->arena};
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	bool by_model = record_has(r, "completion");
	if (filter_run(x->query, r, &v, &j->arena, e))
		return by_model ? 0 : -1;
	bool several = v.kind == JSON_ARRAY;
	q->n_queries = 0;
	q->query = arena_array(&j->arena, BM25_BATCH_QUERIES, sizeof *q->query);
	q->len = arena_array(&j->arena, BM25_BATCH_QUERIES, sizeof *q->len);
	q->depth = x->depth > x->config.hits ? x->depth : x->config.hits;
	bool wrong = several ? json_each(&v, add_query, &queries) : add_query(&queries, 0, NULL, 0, &v);
	if (!wrong && q->n_queries)
		return 1;
	if (!by_model && (v.kind == JSON_ABSENT || v.kind == JSON_NULL))
		return err_set(e, "--query: '%s' gives nothing", filter_program(x->query));
	if (!by_model && wrong)
		return err_set(e, "--query: '%s' gives neither a string nor up to %d of them", filter_program(x->query),
		               BM25_BATCH_QUERIES);
	return 0;
}

int bm25_reward_read(struct bm25_reward *x, struct record *r, struct bm25_job *j, int64_t *count, struct err *e)
{
	arena_reset(&j->arena);
	j->request.n = j->n_relevant = 0;
	j->searches = false;
	if (record_check_new(r, x->config.as, e) || (x->config.hits && record_check_new(r, "hits", e)) ||
	    (x->n_metrics > 1 && record_check_new(r, "bm25", e)))
		return -1;
	int found = read_query(x, r, j, e);
	if (found < 0 || (x->config.answers ? read_answers : read_relevant)(x, r, j, e))
		return -1;
	count[BM25_NO_QUERY] += !found;
	count[BM25_NOT_RELEVANT] += !j->n_relevant;
	j->searches = found > 0;
	return 0;
}

/* ---- what is added ---- */

/* value[n_metrics] */
static int score(struct bm25_reward *x, const struct bm25_searcher *s, const struct bm25_job *j, double *value,
                 struct err *e)
{
	const struct bm25_request *q = &j->request;
	double *grades = arena_array(&x->arena, (size_t)q->n + 1, sizeof *grades);
	for (int64_t i = 0; i < q->n; i++) {
		const char *id;
		size_t len;
		if (x->config.answers) {
			grades[i] = q->holds[i];
			continue;
		}
		if (bm25_doc_id(s, q->hits[i].doc, &id, &len, e))
			return -1;
		grades[i] = rank_judgements_grade(&j->relevant, id, len);
	}
	for (size_t i = 0; i < x->n_metrics; i++)
		value[i] = rank_metric_score(&x->metric[i], grades, q->n, j->relevant.ideal, j->n_relevant);
	return 0;
}

static int add_values(struct bm25_reward *x, const double *value, struct record *r, struct err *e)
{
	str_clear(&x->text);
	for (size_t i = 0; i < x->n_metrics; i++) {
		str_addc(&x->text, i ? ',' : '{');
		json_put_str(&x->text, x->name[i], strlen(x->name[i]));
		str_addc(&x->text, ':');
		json_put_num(&x->text, value[i]);
	}
	str_addc(&x->text, '}');
	return record_add_raw(r, "bm25", x->text.buf, x->text.len, e);
}

static int add_hits(struct bm25_reward *x, const struct bm25_searcher *s, const struct bm25_job *j, struct record *r,
                    struct err *e)
{
	const struct bm25_request *q = &j->request;
	const char *id;
	size_t len;
	str_clear(&x->text);
	str_addc(&x->text, '[');
	for (int64_t i = 0; i < q->n && i < x->config.hits; i++) {
		if (bm25_doc_id(s, q->hits[i].doc, &id, &len, e))
			return -1;
		str_adds(&x->text, i ? ",{\"id\":" : "{\"id\":");
		json_put_str(&x->text, id, len);
		str_adds(&x->text, ",\"score\":");
		json_put_num(&x->text, q->hits[i].score);
		str_addc(&x->text, '}');
	}
	str_addc(&x->text, ']');
	return record_add_raw(r, "hits", x->text.buf, x->text.len, e);
}

int bm25_reward_add(struct bm25_reward *x, const struct bm25_searcher *s, struct bm25_job *j, struct record *r,
                    int64_t *count, struct err *e)
{
	double reward = x->config.otherwise, *value;
	int found = j->searches ? j->request.found : 0;
	arena_reset(&x->arena);
	if (found < 0) {
		*e = j->request.e;
		return -1;
	}
	count[BM25_BROKEN_QUERY] += j->searches && !found;
	value = arena_array(&x->arena, x->n_metrics, sizeof *value);
	for (size_t i = 0; i < x->n_metrics; i++)
		value[i] = NAN;
	if (found && j->n_relevant) {
		if (score(x, s, j, value, e))
			return -1;
		reward = value[0];
	}
	if (x->n_metrics > 1 && add_values(x, value, r, e))
		return -1;
	if (x->config.hits && add_hits(x, s, j, r, e))
		return -1;
	return j->n_relevant ? record_add_num(r, x->config.as, reward, e) : record_add_null(r, x->config.as, e);
}
