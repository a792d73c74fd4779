/* bow_classifier: words and their places, the logistic function, scores by hand, broken files. */
#include "lib/bow_classifier.h"
#include "lib/bow_words.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

static char *file(const char *content)
{
	static char path[64];
	snprintf(path, sizeof path, P_tmpdir "/rl-bow-test-%ld", (long)getpid());
	FILE *f = fopen(path, "w");
	CHECK(f && fputs(content, f) >= 0 && !fclose(f));
	return path;
}

/* Words with their places, as "word:start-end ". */
static void check_words(const char *text, const char *want)
{
	struct bow_words w;
	struct str got;
	bow_words_init(&w);
	str_init(&got);
	bow_words_find(&w, "left over from before", 21);
	bow_words_find(&w, text, strlen(text));
	for (int64_t i = 0; i < w.n; i++) {
		const struct bow_word *x = &w.word[i];
		str_add(&got, w.lower.buf + x->at, x->len);
		str_addf(&got, ":%lld-%lld ", (long long)x->start, (long long)x->end);
		CHECK(x->hash == bow_hash(w.lower.buf + x->at, x->len));
	}
	CHECK_STR(got.buf, want);
	str_release(&got);
	bow_words_release(&w);
}

static void test_words(void)
{
	check_words("", "");
	check_words(" \t\n\x01\x7f\xc2\x85\xc2\xa0", "");
	check_words("Not GOOD, at_all 2!!", "not:0-3 good:4-8 ,:8-9 at_all:10-16 2:17-18 !:18-19 !:19-20 ");
	check_words("it's 'so' rock'n'roll''s'",
	            "it's:0-4 ':5-6 so:6-8 ':8-9 rock'n'roll:10-21 ':21-22 ':22-23 s:23-24 "
	            "':24-25 ");
	check_words("don\xe2\x80\x99t", "don't:0-5 ");
	check_words("\xc3\x89T\xc3\x89", "\xc3\xa9t\xc3\xa9:0-3 ");
	check_words("\xf0\x9f\x98\x80x\xef\xbf\xbd", "\xf0\x9f\x98\x80:0-1 x:1-2 \xef\xbf\xbd:2-3 ");
	/* the one letter that becomes two */
	check_words("\xc4\xb0x a", "i\xcc\x87x:0-2 a:3-4 ");
}

static void test_logistic(void)
{
	for (double z = -720; z <= 720; z += .37) {
		double softplus, p = bow_logistic(z, &softplus);
		long double x = expl(-fabsl((long double)z));
		long double want = z < 0 ? x / (1 + x) : 1 / (1 + x), plus = log1pl(x) + (z > 0 ? z : 0);
		/* below exp(-700) it is 0 */
		CHECK_NEAR(p, (double)want, 4e-16 * (double)want + 1e-304);
		CHECK_NEAR(softplus, (double)plus, 4e-16 * (double)plus + 1e-304);
		CHECK(p == bow_logistic(z, NULL));
	}
	CHECK_NEAR(bow_logistic(0, NULL), .5, 0);
	CHECK_NEAR(bow_logistic(-INFINITY, NULL), 0, 0);
	CHECK_NEAR(bow_logistic(INFINITY, NULL), 1, 0);
}

static const char *small =
        "{\"format\":\"rlpipe bag of words\",\"version\":1,\"features\":4,\"bias\":0.25,\"note\":[]}\n"
        "{\"feature\":\"good\",\"weight\":2}\n"
        "{\"feature\":\"not\",\"weight\":-0.5}\n"
        "{\"feature\":\"not good\",\"weight\":-4}\n"
        "{\"feature\":\"so far\",\"weight\":1}\n"
        "{\"end\":4}\n";

static void check_score(struct bow_classifier *c, const char *text, double log_odds, const double *value, int64_t n)
{
	struct bow_score s, alone;
	const struct sentiment_word *w;
	int64_t n_words;
	double sum = .25;
	bow_classifier_score(c, text, strlen(text), &s, &w, &n_words);
	CHECK_NEAR(s.log_odds, log_odds, 1e-15);
	CHECK_NEAR(s.probability, 1 / (1 + exp(-log_odds)), 1e-15);
	CHECK_INT(n_words, n);
	for (int64_t i = 0; i < n && i < n_words; i++) {
		CHECK_NEAR(w[i].valence, value[i], 1e-15);
		sum += w[i].valence;
	}
	CHECK_NEAR(sum, s.log_odds, 1e-14);
	bow_classifier_score(c, text, strlen(text), &alone, NULL, NULL);
	CHECK(alone.log_odds == s.log_odds);
}

static void test_scores(void)
{
	struct err e;
	struct bow_classifier *c = bow_classifier_open(file(small), &e);
	if (!c) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		return;
	}
	double r3 = sqrt(3);
	check_score(c, "", .25, NULL, 0);
	check_score(c, "unknown words", .25, (double[]){0, 0}, 2);
	check_score(c, "Good", 2.25, (double[]){2}, 1);
	check_score(c, "not good", .25 - 2.5 / r3, (double[]){-.5 / r3, -2 / r3}, 2);
	/* once in the text or thrice is the same, and is shared out; "so" and "far" alone are no features */
	check_score(c, "good far good, so good", 2.25, (double[]){2 / 3., 0, 2 / 3., 0, 0, 2 / 3.}, 6);
	check_score(c, "so far", 1.25, (double[]){0, 1}, 2);
	check_score(c, "not: good", .25 + 1.5 / sqrt(2), (double[]){-.5 / sqrt(2), 0, 2 / sqrt(2)}, 3);
	bow_classifier_free(c);
}

static void test_long(void)
{
	struct err e;
	struct bow_classifier *c = bow_classifier_open(file(small), &e);
	struct bow_score one, many;
	const struct sentiment_word *w;
	int64_t n;
	struct str text;
	str_init(&text);
	for (int i = 0; i < 100000; i++)
		str_adds(&text, "not good ");
	bow_classifier_score(c, "not good not", 12, &one, NULL, NULL);
	bow_classifier_score(c, text.buf, text.len, &many, &w, &n);
	CHECK(one.log_odds == many.log_odds);
	CHECK_INT(n, 200000);
	CHECK_INT(w[n - 1].end, 899999);
	str_release(&text);
	bow_classifier_free(c);
}

/* The small file with `from` replaced by `to`. */
static void check_broken(const char *from, const char *to, const char *want)
{
	struct err e = {""};
	struct str s;
	const char *at = strstr(small, from);
	CHECK(at);
	str_init(&s);
	str_add(&s, small, (size_t)(at - small));
	str_adds(&s, to);
	str_adds(&s, at + strlen(from));
	struct bow_classifier *c = bow_classifier_open(file(s.buf), &e);
	CHECK(!c);
	if (!strstr(e.msg, want))
		test_fail(__FILE__, __LINE__, "'%s', expected '%s'", e.msg, want);
	bow_classifier_free(c);
	str_release(&s);
}

static void test_files(void)
{
	struct err e;
	CHECK(!bow_classifier_open("/nowhere/classifier", &e));
	CHECK(strstr(e.msg, "No such file"));
	check_broken(small, "", ": empty, no classifier");
	check_broken("\"rlpipe bag of words\"", "\"other\"", ":1: no classifier");
	check_broken("\"rlpipe bag of words\"", "7", ":1: no classifier");
	check_broken("\"version\":1", "\"version\":2", ":1: a classifier of version 2, expected 1");
	check_broken("\"version\":1,", "", ":1: no 'version'");
	check_broken("\"bias\":0.25", "\"bias\":\"x\"", ":1: 'bias'");
	check_broken("\"bias\":0.25", "\"bias\":1e39", ":1: the bias is 1e+39");
	check_broken("\"bias\":0.25,", "", ":1: no 'bias'");
	check_broken("\"features\":4,", "", ":1: no 'features'");
	check_broken("\"features\":4", "\"features\":5", ":6: the end after 4 features, expected 5");
	check_broken("{\"feature\":\"not\",\"weight\":-0.5}\n", "", ":5: the end after 3 features, expected 4");
	check_broken("{\"end\":4}\n", "", ": cut off after 4 features, expected 4 and an end");
	check_broken("good\",\"weight\":-4}\n{\"feature\":\"so far\",\"weight\":1}\n{\"end\":4}\n", "go", ":4: ");
	check_broken("{\"end\":4}\n", "{\"end\":4}\n{}\n", ":7: a line behind the end");
	check_broken("{\"feature\":\"not\"", "{\"feature\":\"good\"", ":3: the feature 'good' is there twice");
	check_broken("\"not\"", "\"\"", ":3: the feature '' is neither");
	check_broken("\"not\"", "\"so not good\"", ":3: the feature 'so not good' is neither");
	check_broken("\"not\"", "\"so \"", ":3: the feature 'so ' is neither");
	check_broken("\"not\"", "3", ":3: 'feature'");
	check_broken("-0.5", "1e39", ":3: the weight of 'not' is 1e+39");
	check_broken("-0.5", "null", ":3: no 'weight'");
	check_broken("-0.5", "nan", ":3: ");
	check_broken("\"weight\":-0.5", "\"x\":1", ":3: no 'weight'");
	check_broken("\"not\"", "\"n\xff\"", ":3: ");
	remove(file(""));
}

int main(void)
{
	test_case("words and where they are");
	test_words();
	test_case("the logistic function, against long double");
	test_logistic();
	test_case("scores and the values of words, by hand");
	test_scores();
	test_case("a hundred thousand repeats");
	test_long();
	test_case("broken files are named by line");
	test_files();
	return test_done();
}
