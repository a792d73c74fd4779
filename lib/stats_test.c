/* Statistics against scipy and statsmodels (golden/score/significance.json), and by hand. */
#include "lib/stats.h"

#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"

static struct arena arena;
static struct err e;

static char *read_all(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text = malloc(1 << 22);
	*len = f && text ? fread(text, 1, 1 << 22, f) : 0;
	if (f)
		fclose(f);
	return text;
}

static double number(const struct json *v, const char *key)
{
	struct json x;
	return json_member(v, key, &x) && x.kind == JSON_NUMBER ? x.number : NAN;
}

static struct json member(const struct json *v, const char *key)
{
	struct json x = {0};
	json_member(v, key, &x);
	return x;
}

static int one_comparison(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct stats_paired s;
	double *a, *b;
	int64_t n, m;
	(void)i, (void)key, (void)key_len;
	struct json va = member(c, "a"), vb = member(c, "b"), t = member(c, "t_test"), w = member(c, "wilcoxon"),
	            r = member(c, "randomization"), ci = member(&t, "ci95"), exact = member(&r, "exact");
	if (json_doubles(&va, "a", &a, &n, &arena, &e) < 0 || json_doubles(&vb, "b", &b, &m, &arena, &e) < 0)
		return -1;
	stats_paired(&s, a, b, n, 1);
	CHECK_INT(n, m);
	CHECK_NEAR(s.mean_a, number(c, "mean_a"), 1e-9);
	CHECK_NEAR(s.difference, number(c, "mean_difference"), 1e-9);
	CHECK_NEAR(s.dz, number(c, "cohens_dz"), 1e-9);
	CHECK_NEAR(s.t, number(&t, "t"), 1e-9);
	CHECK_NEAR(s.p_t, number(&t, "p"), 1e-9);
	double *bounds;
	if (json_doubles(&ci, "ci95", &bounds, &m, &arena, &e) < 0)
		return -1;
	CHECK_NEAR(s.low, bounds[0], 1e-9);
	CHECK_NEAR(s.high, bounds[1], 1e-9);
	CHECK_NEAR(s.w_plus, number(&w, "w_plus"), 1e-9);
	CHECK_NEAR(s.w_minus, number(&w, "w_minus"), 1e-9);
	CHECK_NEAR(s.p_wilcoxon, number(&w, "p_normal"), 1e-9);
	double tolerance = number(&r, "tolerance");
	CHECK_NEAR(s.p_randomization, number(&r, "p"), exact.boolean ? 1e-12 : tolerance);
	++*(int *)arg;
	return 0;
}

static int one_correction(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	double *p, *want, got[64];
	int64_t n, m;
	(void)arg, (void)i, (void)key, (void)key_len;
	struct json vp = member(c, "p"), holm = member(c, "holm"), adjusted = member(&holm, "adjusted");
	if (json_doubles(&vp, "p", &p, &n, &arena, &e) < 0 ||
	    json_doubles(&adjusted, "adjusted", &want, &m, &arena, &e) < 0)
		return -1;
	stats_holm(got, p, n);
	for (int64_t k = 0; k < n; k++)
		CHECK_NEAR(got[k], want[k], 1e-9);
	return 0;
}

static void test_golden(void)
{
	test_case("stats: paired comparisons and Holm as scipy and statsmodels compute them");
	const char *path = test_shared("golden/score/significance.json");
	if (!path) {
		test_skip("no ../shared/golden");
		return;
	}
	size_t len;
	char *text = read_all(path, &len);
	struct record *r = record_new();
	struct json comparisons, corrections;
	int n = 0;
	CHECK(record_parse(r, text, len, &e) == 0);
	CHECK(record_json(r, "comparisons", &comparisons, &e) == 1 &&
	      record_json(r, "corrections", &corrections, &e) == 1);
	CHECK_INT(json_each(&comparisons, one_comparison, &n), 0);
	CHECK(n >= 2);
	CHECK_INT(json_each(&corrections, one_correction, NULL), 0);
	record_free(r);
	free(text);
}

static void test_by_hand(void)
{
	test_case("stats: quantiles of the t tables");
	CHECK_NEAR(stats_t_quantile(0.05, 1), 12.706204736432095, 1e-8);
	CHECK_NEAR(stats_t_quantile(0.05, 10), 2.228138851964939, 1e-10);
	CHECK_NEAR(stats_t_quantile(0.05, 1e6), 1.959966, 1e-5);

	test_case("stats: the same on both sides has p 1, a constant gain has p_t 0");
	double a[] = {1, 2, 3}, b[] = {0.5, 1.5, 2.5};
	struct stats_paired s;
	stats_paired(&s, a, a, 3, 0);
	CHECK(s.p_t == 1 && s.p_wilcoxon == 1 && s.p_randomization == 1 && s.dz == 0);
	stats_paired(&s, a, b, 3, 0);
	CHECK(s.p_t == 0 && s.difference == 0.5 && s.p_randomization == 0.25);

	test_case("stats: one value has a mean and no interval");
	struct stats_mean m;
	stats_mean(&m, a, 1);
	CHECK(m.mean == 1 && isnan(m.low) && m.sd == 0);
}

int main(void)
{
	arena_init(&arena);
	test_golden();
	test_by_hand();
	return test_done();
}
