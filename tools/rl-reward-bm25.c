/*
 * rl-reward-bm25 - search with the generated query; the reward says how well the relevant documents rank.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25.h"
#include "lib/filter.h"
#include "lib/rank_metrics.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *query, *relevant, *metric, *as;
	double otherwise;
	int64_t hits;
	int variant;
	double k1, b;
	bool boolean, exhaustive;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
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

static const struct opt search_options[] = {
        {"boolean", 0, OPT_FLAG, FIELD(boolean), NULL, NULL,
         "queries with AND, OR, NOT, (parentheses), \"phrases\"; needs rl-index --positions", 0, 0},
        {"variant", 0, OPT_CHOICE, FIELD(variant), "lucene", BM25_VARIANTS, "form of BM25", 0, 0},
        {"k1", 0, OPT_NUM, FIELD(k1), "1.2", "X", "saturation of term frequency", 0, 1e6},
        {"b", 0, OPT_NUM, FIELD(b), "0.75", "X", "weight of document length", 0, 1},
        {"exhaustive", 0, OPT_FLAG, FIELD(exhaustive), NULL, NULL,
         "score all matching documents: the same result, slower", 0, 0},
        {NULL},
};

struct reward_bm25 {
	struct config config;
	struct filter *query, *relevant;
	struct rank_metric metric;
	struct bm25_index *index;
	struct bm25_searcher *searcher;
	struct str hits;
};

/* ---- what is relevant ---- */

struct judged {
	const char *id;
	size_t len;
	double grade;
};
struct judgements {
	struct judged *row;
	int64_t n;
	struct arena *arena;
	struct err *e;
};

static int compare_ids(const void *pa, const void *pb)
{
	const struct judged *a = pa, *b = pb;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->id, b->id, a->len);
}

/* Of one id the highest grade first. */
static int compare_judged(const void *pa, const void *pb)
{
	const struct judged *a = pa, *b = pb;
	int c = compare_ids(a, b);
	return c ? c : (a->grade < b->grade) - (a->grade > b->grade);
}

static int add_judged(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct judgements *j = arg;
	struct judged *row = &j->row[j->n];
	struct json id = *v, grade = {.kind = JSON_NUMBER, .number = 1};
	if (!key && v->kind == JSON_OBJECT &&
	    (json_member(v, "id", &id) != 1 || json_member(v, "grade", &grade) != 1 || grade.kind != JSON_NUMBER))
		return err_set(j->e, "--relevant: element %lld has no 'id', or no number as 'grade'", (long long)i + 1);
	if (key) {
		if (v->kind != JSON_NUMBER)
			return err_set(j->e, "--relevant: the grade of '%.*s' is no number",
			               key_len > 200 ? 200 : (int)key_len, key);
		*row = (struct judged){key, key_len, v->number};
	} else if (id.kind == JSON_STRING) {
		*row = (struct judged){id.text, id.len, grade.number};
	} else if (id.kind == JSON_NUMBER && id.is_int) {
		const char *digits = arena_printf(j->arena, "%lld", (long long)id.integer);
		*row = (struct judged){digits, strlen(digits), grade.number};
	} else {
		return err_set(j->e, "--relevant: element %lld is neither a string nor an integer", (long long)i + 1);
	}
	j->n += row->grade > 0;
	return 0;
}

/* Sorted by id, each once, grades positive. */
static int read_relevant(struct reward_bm25 *x, struct tool *t, struct record *r, struct judgements *j, struct err *e)
{
	struct json v;
	if (filter_run(x->relevant, r, &v, &t->arena, e))
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return err_set(e, "--relevant: '%s' gives nothing", filter_program(x->relevant));
	*j = (struct judgements){.arena = &t->arena, .e = e};
	bool several = v.kind == JSON_ARRAY || v.kind == JSON_OBJECT;
	j->row = arena_array(&t->arena, several ? (size_t)json_length(&v) + 1 : 1, sizeof *j->row);
	if (several ? json_each(&v, add_judged, j) : add_judged(j, 0, NULL, 0, &v))
		return -1;
	qsort(j->row, (size_t)j->n, sizeof *j->row, compare_judged);
	int64_t n = 0;
	for (int64_t i = 0; i < j->n; i++)
		if (!n || compare_ids(&j->row[n - 1], &j->row[i]))
			j->row[n++] = j->row[i];
	j->n = n;
	return 0;
}

/* ---- one record ---- */

static int falling(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a < b) - (a > b);
}

static int score(struct reward_bm25 *x, const struct judgements *j, const struct bm25_hit *hits, int64_t n,
                 struct arena *a, double *out, struct err *e)
{
	double *grades = arena_array(a, (size_t)n + 1, sizeof *grades);
	double *ideal = arena_array(a, (size_t)j->n, sizeof *ideal);
	for (int64_t i = 0; i < n; i++) {
		struct judged key = {0};
		if (bm25_doc_id(x->searcher, hits[i].doc, &key.id, &key.len, e))
			return -1;
		const struct judged *found = bsearch(&key, j->row, (size_t)j->n, sizeof key, compare_ids);
		grades[i] = found ? found->grade : 0;
	}
	for (int64_t i = 0; i < j->n; i++)
		ideal[i] = j->row[i].grade;
	qsort(ideal, (size_t)j->n, sizeof *ideal, falling);
	*out = rank_metric_score(&x->metric, grades, n, ideal, j->n);
	return 0;
}

static int add_hits(struct reward_bm25 *x, struct record *r, const struct bm25_hit *hits, int64_t n, struct err *e)
{
	const char *id;
	size_t len;
	str_clear(&x->hits);
	str_addc(&x->hits, '[');
	for (int64_t i = 0; i < n && i < x->config.hits; i++) {
		if (bm25_doc_id(x->searcher, hits[i].doc, &id, &len, e))
			return -1;
		str_adds(&x->hits, i ? ",{\"id\":" : "{\"id\":");
		json_put_str(&x->hits, id, len);
		str_adds(&x->hits, ",\"score\":");
		json_put_num(&x->hits, hits[i].score);
		str_addc(&x->hits, '}');
	}
	str_addc(&x->hits, ']');
	return record_add_raw(r, "hits", x->hits.buf, x->hits.len, e);
}

/* 1; 0 when the text is no query; -1. */
static int search(struct reward_bm25 *x, const char *query, size_t len, int64_t depth, const struct bm25_hit **hits,
                  int64_t *n, struct err *e)
{
	if (x->config.boolean)
		return bm25_search_boolean(x->searcher, query, len, depth, hits, n, e);
	return bm25_search(x->searcher, query, len, depth, hits, n, e) ? -1 : 1;
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_bm25 *x = arg;
	const struct bm25_hit *hits = NULL;
	struct judgements j;
	const char *query = NULL;
	size_t len;
	int64_t n = 0, depth = x->metric.k > x->config.hits ? x->metric.k : x->config.hits;
	double reward = x->config.otherwise;
	int found = filter_str(x->query, r, &query, &len, &t->arena, e);
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	if (found < 0 && !record_has(r, "completion"))
		return -1;
	if (!found && !record_has(r, "completion"))
		return err_set(e, "--query: '%s' gives nothing", filter_program(x->query));
	if (read_relevant(x, t, r, &j, e))
		return -1;
	t->count[0].n += found <= 0;
	t->count[1].n += !j.n;
	if (found > 0) {
		if ((found = search(x, query, len, depth, &hits, &n, e)) < 0)
			return -1;
		t->count[2].n += !found;
	}
	if (found > 0 && j.n && score(x, &j, hits, n, &t->arena, &reward, e))
		return -1;
	if (x->config.hits && add_hits(x, r, hits, n, e))
		return -1;
	return j.n ? record_add_num(r, x->config.as, reward, e) : record_add_null(r, x->config.as, e);
}

int main(int argc, char **argv)
{
	struct reward_bm25 x = {0};
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config},
	                                   {"Search", search_options, &x.config},
	                                   {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {.tool = "rl-reward-bm25",
	                        .summary = "reward a query by the rank of the relevant documents",
	                        .usage = "[OPTION]... INDEX [FILE]...",
	                        .details =
	                                "INDEX is made by rl-index.  Adds reward_bm25, and with --hits what was found.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .min_operands = 1,
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (rank_metric_parse(x.config.metric, &x.metric, &e) ||
	    !(x.query = filter_new("query", x.config.query, NULL, 0, &e)) ||
	    !(x.relevant = filter_new("relevant", x.config.relevant, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
	if (!(x.index = bm25_open(operands[0], &e)))
		cli_fail("%s", e.msg);
	/* now, so that a quotation mark of a model never stops a run */
	if (x.config.boolean && !bm25_info(x.index)->positions)
		cli_fail("%s: --boolean needs positions; build the index with rl-index --positions", operands[0]);
	const struct bm25_params params = {(enum bm25_variant)x.config.variant, x.config.k1, x.config.b,
	                                   x.config.exhaustive};
	if (!(x.searcher = bm25_searcher_new(x.index, &params, &e)))
		cli_fail("%s", e.msg);
	str_init(&x.hits);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.count[0].name = "without a query";
	t.count[1].name = "without relevant documents";
	t.count[2].name = "with a broken query";
	int status = tool_run(&t, operands + 1, n - 1, process, NULL, &x);
	str_release(&x.hits);
	bm25_searcher_free(x.searcher);
	bm25_close(x.index);
	filter_free(x.query);
	filter_free(x.relevant);
	return status;
}
