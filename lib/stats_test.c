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

static void one_bootstrap(const double *a, const double *b, int64_t n, const struct json *c)
{
	struct json want = member(c, "bootstrap");
	double *d = malloc((size_t)n * sizeof *d);
	for (int64_t i = 0; d && i < n; i++)
		d[i] = nearbyint((a[i] - b[i]) * 1e12) / 1e12;
	for (int how = STATS_PERCENTILE; d && how <= STATS_BCA; how++) {
		const struct stats_config config = {how, 10000, 1};
		const char *name = how == STATS_BCA ? "bca" : "percentile";
		struct json ends = member(&want, name);
		double low, high, *bounds, acceleration = stats_bootstrap(&low, &high, d, NULL, n, &config);
		int64_t m;
		double tolerance = number(&want, how == STATS_BCA ? "bca_tolerance" : "percentile_tolerance");
		if (json_doubles(&ends, name, &bounds, &m, &arena, &e) < 0 || !(tolerance > 0)) {
			CHECK(!"the interval is there");
			continue;
		}
		CHECK_NEAR(low, bounds[0], tolerance);
		CHECK_NEAR(high, bounds[1], tolerance);
		if (how == STATS_BCA)
			CHECK_NEAR(acceleration, number(&want, "acceleration"), 1e-11);
	}
	free(d);
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
	const struct stats_config plain = {.interval = STATS_T, .seed = 1};
	stats_paired(&s, a, b, n, &plain);
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
	CHECK_NEAR(s.rank_biserial, number(&w, "rank_biserial"), 1e-9);
	struct json p_exact, sign = member(c, "sign_test");
	if (json_member(&w, "p_exact", &p_exact))
		CHECK_NEAR(s.p_wilcoxon_exact, p_exact.number, 1e-9);
	else
		CHECK(isnan(s.p_wilcoxon_exact));
	CHECK(s.wins == (int64_t)number(&sign, "wins") && s.losses == (int64_t)number(&sign, "losses") &&
	      s.ties == (int64_t)number(&sign, "ties"));
	CHECK_NEAR(s.p_sign, number(&sign, "p"), 1e-9);
	one_bootstrap(a, b, n, c);
	++*(int *)arg;
	return 0;
}

static int one_correction(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	double *p, *want, got[64];
	int64_t n, m;
	(void)arg, (void)i, (void)key, (void)key_len;
	static const char *const name[] = {"holm", "bonferroni", "benjamini_hochberg"};
	struct json vp = member(c, "p");
	if (json_doubles(&vp, "p", &p, &n, &arena, &e) < 0)
		return -1;
	for (int how = STATS_HOLM; how <= STATS_BH; how++) {
		struct json method = member(c, name[how]), adjusted = member(&method, "adjusted");
		if (json_doubles(&adjusted, "adjusted", &want, &m, &arena, &e) < 0)
			return -1;
		CHECK_INT(m, n);
		stats_adjust((enum stats_adjust)how, got, p, n);
		for (int64_t k = 0; k < n; k++)
			CHECK_NEAR(got[k], want[k], 1e-9);
	}
	return 0;
}

/* Six values: the percentiles over all 6^6 resamples, from which draws differ by chance only. */
static void exact_bootstrap(struct record *r)
{
	struct json all, values, ends;
	double *d, *bounds, low, high;
	int64_t n, m;
	const struct stats_config config = {STATS_PERCENTILE, 1000000, 1};
	CHECK(record_json(r, "exact_bootstrap", &all, &e) == 1);
	values = member(&all, "differences");
	ends = member(&all, "percentile");
	if (json_doubles(&values, "differences", &d, &n, &arena, &e) < 0 ||
	    json_doubles(&ends, "percentile", &bounds, &m, &arena, &e) < 0) {
		CHECK(!"differences and percentile are there");
		return;
	}
	stats_bootstrap(&low, &high, d, NULL, n, &config);
	/* the means of six values with replacement are few: a percentile is one of them */
	CHECK_NEAR(low, bounds[0], 1e-9);
	CHECK_NEAR(high, bounds[1], 1e-9);
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
	exact_bootstrap(r);
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
	const struct stats_config plain = {.interval = STATS_T};
	stats_paired(&s, a, a, 3, &plain);
	CHECK(s.p_t == 1 && s.p_wilcoxon == 1 && s.p_wilcoxon_exact == 1 && s.p_sign == 1);
	CHECK(s.p_randomization == 1 && s.dz == 0 && s.rank_biserial == 0 && s.ties == 3);
	stats_paired(&s, a, b, 3, &plain);
	CHECK(s.p_t == 0 && s.difference == 0.5 && s.p_randomization == 0.25);

	test_case("stats: one value has a mean and no interval");
	struct stats_mean m;
	stats_mean(&m, a, NULL, 1, &plain);
	CHECK(m.mean == 1 && isnan(m.low) && m.sd == 0);

	test_case("stats: spread, and no value at all");
	double x[] = {7, 1, 4, 2};
	stats_mean(&m, x, NULL, 4, &plain);
	CHECK(m.min == 1 && m.median == 3 && m.max == 7 && m.mean == 3.5);
	stats_mean(&m, x, NULL, 0, &plain);
	CHECK(m.n == 0 && isnan(m.mean) && isnan(m.median));

	test_case("stats: with weights a mean is that of all parts, whatever the intervals");
	double sum[] = {2, 9}, tokens[] = {1, 3};
	for (int how = STATS_T; how <= STATS_BCA; how++) {
		const struct stats_config config = {how, 1000, 0};
		stats_mean(&m, sum, tokens, 2, &config);
		CHECK(m.mean == 2.75 && m.min == 2 && m.max == 3 && m.low <= 2.75 && m.high >= 2.75);
	}
	/* equal weights change nothing */
	double ones[] = {1, 1, 1, 1};
	struct stats_mean with;
	stats_mean(&m, x, NULL, 4, &plain);
	stats_mean(&with, x, ones, 4, &plain);
	CHECK(with.low == m.low && with.sd == m.sd);

	test_case("stats: a bootstrap of equal values is a point, and many threads give the same bits");
	const struct stats_config bca = {STATS_BCA, 10000, 3};
	double low, high, again, *many = malloc(3000 * sizeof *many);
	stats_bootstrap(&low, &high, ones, NULL, 4, &bca);
	CHECK(low == 1 && high == 1);
	for (int i = 0; many && i < 3000; i++)
		many[i] = i % 17;
	if (many) {
		stats_bootstrap(&low, &high, many, NULL, 3000, &bca);
		stats_bootstrap(&again, &high, many, NULL, 3000, &bca);
		CHECK(low == again);
	}
	free(many);
}

int main(void)
{
	arena_init(&arena);
	test_golden();
	test_by_hand();
	return test_done();
}
