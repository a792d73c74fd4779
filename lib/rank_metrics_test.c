/* rank_metrics: the measures of a reward, and trec_eval's on the golden cases. */
#include "lib/rank_metrics.h"
#include "lib/rank_metrics_trec.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static double score(const char *name, const double *grades, int64_t n, const double *ideal, int64_t n_relevant)
{
	struct rank_metric m;
	struct err e;
	if (rank_metric_parse(name, &m, &e)) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		return NAN;
	}
	return rank_metric_score(&m, grades, n, ideal, n_relevant);
}

static void test_rewards(void)
{
	struct rank_metric m;
	struct err e;
	/* ranked x a y b, relevant a and b: the vectors "nDCG@4 and MRR" */
	const double grades[] = {0, 1, 0, 1}, ideal[] = {1, 1, 1};
	test_case("recall, precision, hit, MRR, MAP, nDCG");
	CHECK_NEAR(score("recall@2", grades, 4, ideal, 2), .5, 0);
	CHECK_NEAR(score("recall@100", grades, 4, ideal, 2), 1, 0);
	CHECK_NEAR(score("precision@5", grades, 4, ideal, 2), .4, 0);
	CHECK_NEAR(score("hit@1", grades, 4, ideal, 2), 0, 0);
	CHECK_NEAR(score("hit@2", grades, 4, ideal, 2), 1, 0);
	CHECK_NEAR(score("mrr", grades, 4, ideal, 2), .5, 0);
	CHECK_NEAR(score("mrr@1", grades, 4, ideal, 2), 0, 0);
	CHECK_NEAR(score("map", grades, 4, ideal, 2), .5, 1e-15);
	CHECK_NEAR(score("ndcg@4", grades, 4, ideal, 2), (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)), 1e-15);
	CHECK_NEAR(score("ndcg@4", grades, 4, ideal, 3), (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + .5), 1e-15);
	CHECK_NEAR(score("ndcg@1", grades, 0, ideal, 2), 0, 0);
	test_case("names");
	CHECK(rank_metric_parse("recall", &m, &e) == -1);
	CHECK_STR(e.msg, "metric 'recall' needs a number of documents, as in 'recall@5'");
	CHECK(rank_metric_parse("recall@0", &m, &e) == -1);
	CHECK(rank_metric_parse("recall@x", &m, &e) == -1);
	CHECK(rank_metric_parse("bleu@4", &m, &e) == -1);
	CHECK(!rank_metric_parse("map", &m, &e) && m.k == RANK_METRIC_DEPTH);
}

/* The line of a measure and query in what trec_evaluate wrote, as a number. */
static double value_of(const char *out, const char *measure, const char *query)
{
	char key[160];
	double x;
	snprintf(key, sizeof key, "%-22s\t%s\t", measure, query);
	const char *at = strstr(out, key);
	if (!at || (at != out && at[-1] != '\n'))
		return NAN;
	char number[64];
	size_t len = strcspn(at + strlen(key), "\n");
	snprintf(number, sizeof number, "%.*s", len > 63 ? 63 : (int)len, at + strlen(key));
	return parse_double(number, &x) ? x : NAN;
}

static void test_golden(const char *name, const char *values, struct trec_config c)
{
	char path[3][1024];
	const char *const suffix[] = {".qrels", ".run", values};
	static const char *const all[] = {"all_trec"};
	char *line;
	struct err e;
	size_t len;
	int64_t n = 0;
	c.measures = all;
	c.n_measures = 1;
	c.per_query = true;
	for (int i = 0; i < 3; i++) {
		snprintf(path[i], sizeof path[i], "golden/score/rank/%s%s", name, suffix[i]);
		const char *found = test_shared(path[i]);
		if (!found) {
			test_skip("../shared is not here");
			return;
		}
		snprintf(path[i], sizeof path[i], "%s", found);
	}
	struct str out;
	str_init(&out);
	CHECK(!trec_evaluate(&c, path[0], path[1], &out, &e));
	struct stream *in = stream_open(path[2], &e);
	while (stream_next(in, &line, &len, &e) == 1) {
		char measure[64], query[64], text[64];
		double want = NAN;
		CHECK(sscanf(line, "%63s %63s %63s", measure, query, text) == 3 && parse_double(text, &want));
		/* four decimals are printed */
		double got = value_of(out.buf, measure, query);
		if (!(fabs(got - want) <= .5e-4 + 1e-10))
			test_fail(__FILE__, __LINE__, "%s: %s of %s is %.4f, expected %.8f", name, measure, query, got,
			          want);
		n++;
	}
	CHECK(n > 300);
	stream_close(in);
	str_release(&out);
}

int main(void)
{
	static const struct {
		const char *name, *values;
		struct trec_config c;
	} cases[] = {{"graded", ".tsv", {.level = 1}},
	             {"level2", ".tsv", {.level = 2}},
	             {"judged", ".tsv", {.level = 1, .judged_only = true}},
	             {"negative", ".tsv", {.level = 1}},
	             {"missing", ".complete.tsv", {.level = 1, .complete = true}},
	             {"ties", ".tsv", {.level = 1}},
	             {"float", ".tsv", {.level = 1}},
	             {"lengths", ".tsv", {.level = 1}}};
	test_rewards();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char title[64];
		snprintf(title, sizeof title, "trec_eval on %s", cases[i].name);
		test_case(title);
		test_golden(cases[i].name, cases[i].values, cases[i].c);
		test_close();
	}
	return test_done();
}
