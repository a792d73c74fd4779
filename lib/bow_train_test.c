/* bow_train: the gradient by differences, a closed form, scikit-learn's minimum, folds by hand, threads, what is
 * refused. */
#include "lib/bow_train.h"
#include "lib/bow_classifier.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static const struct bow_train_config plain = {.l2 = .5, .min_texts = 1, .threads = 1};

static void add(struct bow_train *t, const char *text, int label)
{
	struct err e;
	CHECK_INT(bow_train_add(t, text, strlen(text), label, &e), 0);
}

static void test_gradient(void)
{
	struct bow_train *t = bow_train_new(&plain);
	struct bow_report r = {0};
	struct err e;
	double x[64], g[64], none[64];
	add(t, "a good film, so good", 1);
	add(t, "a bad film", 0);
	add(t, "", 0);
	add(t, "not a good one", 0);
	add(t, "good", 1);
	CHECK_INT(bow_train_run(t, &r, &e), 0);
	int n = (int)r.features + 1;
	CHECK_INT(r.features, 17); /* a good film , so bad not one; 5 + 2 + 3 pairs, "a good" twice */
	for (int i = 0; i < n; i++)
		x[i] = 4 * rng_uniform(rng_key("test", 1, "", 0), (uint64_t)i, 0, 0) - 2;
	bow_train_objective(t, x, g);
	for (int i = 0; i < n; i++) {
		double old = x[i], h = 1e-5;
		x[i] = old + h;
		double up = bow_train_objective(t, x, none);
		x[i] = old - h;
		double down = bow_train_objective(t, x, none);
		x[i] = old;
		CHECK(fabs(g[i]) > 1e-3);
		CHECK_NEAR(g[i], (up - down) / (2 * h), 1e-8);
	}
	/* at the minimum there is none */
	bow_train_objective(t, bow_train_weights(t), g);
	for (int i = 0; i < n; i++)
		CHECK_NEAR(g[i], 0, 1e-5);
	bow_train_free(t);
}

/* With next to no penalty, the log-odds of a text are those of its texts' labels. */
static void test_closed_form(void)
{
	struct bow_train_config config = plain;
	struct bow_report r = {0};
	struct err e;
	config.l2 = 1e-6;
	struct bow_train *t = bow_train_new(&config);
	for (int i = 0; i < 40; i++)
		add(t, "left", i < 30);
	for (int i = 0; i < 20; i++)
		add(t, "right", i < 5);
	CHECK_INT(bow_train_run(t, &r, &e), 0);
	CHECK_INT(r.features, 2);
	CHECK_INT(r.positive, 35);
	CHECK_NEAR(r.accuracy, 45 / 60., 1e-15);
	CHECK(r.gradient <= 1e-6);
	const double *w = bow_train_weights(t);
	CHECK_NEAR(w[0] + w[2], log(30 / 10.), 1e-5);
	CHECK_NEAR(w[1] + w[2], log(5 / 15.), 1e-5);
	CHECK_NEAR(r.loss, -(30 * log(.75) + 10 * log(.25) + 5 * log(.25) + 15 * log(.75)), 1e-5);
	bow_train_free(t);
}

/* Lines [from, to) of each file of rt-polarity: false where it is absent. */
static bool add_lines(struct bow_train *t, int from, int to)
{
	for (int label = 0; label < 2; label++) {
		const char *path = test_shared(label ? "data/sentiment/rt-polarity/rt-polarity.pos"
		                                     : "data/sentiment/rt-polarity/rt-polarity.neg");
		struct err e;
		struct stream *in = path ? stream_open(path, &e) : NULL;
		char *line;
		size_t len;
		if (!in) {
			test_skip("../shared is not here");
			return false;
		}
		for (int i = 0; i < to && stream_next(in, &line, &len, &e) == 1; i++)
			if (i >= from)
				add(t, line, label);
		stream_close(in);
	}
	return true;
}

/* The classifier, through a file. */
static struct bow_classifier *reopen(const struct bow_train *t)
{
	char path[64];
	struct str s;
	struct err e = {""};
	str_init(&s);
	bow_train_write(t, ",\"note\":1", &s);
	snprintf(path, sizeof path, P_tmpdir "/rl-bow-train-test-%ld", (long)getpid());
	FILE *f = fopen(path, "w");
	CHECK(f && fwrite(s.buf, 1, s.len, f) == s.len && !fclose(f));
	struct bow_classifier *c = bow_classifier_open(path, &e);
	if (!c)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	remove(path);
	str_release(&s);
	return c;
}

/* Log-odds of lines [from, to), added up, and how many have the right sign. */
static double score_lines(struct bow_classifier *c, int from, int to, int *right)
{
	double sum = 0;
	for (int label = 0; label < 2; label++) {
		struct err e;
		struct stream *in = stream_open(test_shared(label ? "data/sentiment/rt-polarity/rt-polarity.pos"
		                                                  : "data/sentiment/rt-polarity/rt-polarity.neg"),
		                                &e);
		char *line;
		size_t len;
		for (int i = 0; i < to && stream_next(in, &line, &len, &e) == 1; i++) {
			struct bow_score s;
			if (i < from)
				continue;
			bow_classifier_score(c, line, len, &s, NULL, NULL);
			sum += s.log_odds;
			*right += (s.log_odds > 0) == label;
		}
		stream_close(in);
	}
	return sum;
}

static double weight(struct bow_classifier *c, const char *word)
{
	struct bow_score with, without;
	bow_classifier_score(c, word, strlen(word), &with, NULL, NULL);
	bow_classifier_score(c, "", 0, &without, NULL, NULL);
	return with.log_odds - without.log_odds;
}

/* scikit-learn 1.9.1: CountVectorizer(token_pattern=r"\w+(?:['\u2019]\w+)*|[^\w\s]", ngram_range=(1, 2), binary=True,
 * min_df=2), normalize, LogisticRegression(C=2, solver="newton-cg", tol=1e-13); trained on the first 300 lines of each
 * file, the next 100 of each labelled. */
static void test_peer(void)
{
	struct bow_train_config config = plain;
	struct bow_report r = {0};
	struct err e;
	int right = 0;
	config.min_texts = 2;
	struct bow_train *t = bow_train_new(&config);
	if (add_lines(t, 0, 300)) {
		CHECK_INT(bow_train_run(t, &r, &e), 0);
		CHECK_INT(r.features, 2175);
		CHECK_NEAR(r.loss, 324.408417907, 1e-6);
		CHECK_NEAR(r.accuracy, .9283333333333333, 1e-12);
		CHECK_NEAR(bow_train_weights(t)[r.features], .115433385791, 1e-5);
		struct bow_classifier *c = reopen(t);
		CHECK_NEAR(weight(c, "too"), -.991101758, 1e-5);
		CHECK_NEAR(weight(c, "and"), 1.41982399, 1e-5);
		CHECK_NEAR(weight(c, "it's"), .58446482, 1e-5);
		CHECK_NEAR(weight(c, "!"), -.132442118, 1e-5);
		CHECK_NEAR(weight(c, "bad"), -.753709729, 1e-5);
		CHECK_NEAR(score_lines(c, 300, 400, &right), -4.77530155, 1e-4);
		CHECK_INT(right, 116);
		bow_classifier_free(c);
	}
	bow_train_free(t);
}

/* Three folds of 360 lines, against classifiers that are trained on two of three lines by hand. */
static void test_folds(void)
{
	struct bow_train_config config = plain;
	struct bow_report r = {0};
	struct err e;
	double accuracy;
	int right = 0;
	config.min_texts = 2;
	struct bow_train *t = bow_train_new(&config);
	for (int fold = 0; fold < 3; fold++) {
		struct bow_train *part = bow_train_new(&config);
		for (int i = 0; i < 180; i++)
			if (i % 3 != fold && !add_lines(part, i, i + 1)) {
				bow_train_free(part);
				bow_train_free(t);
				return;
			}
		CHECK_INT(bow_train_run(part, &r, &e), 0);
		struct bow_classifier *c = reopen(part);
		for (int i = fold; i < 180; i += 3)
			score_lines(c, i, i + 1, &right);
		bow_classifier_free(c);
		bow_train_free(part);
	}
	add_lines(t, 0, 180);
	CHECK_INT(bow_train_folds(t, 3, &accuracy, &e), 0);
	CHECK_NEAR(accuracy, right / 360., 1e-12);
	CHECK(accuracy > .5);
	CHECK_INT(bow_train_folds(t, 181, &accuracy, &e), -1);
	CHECK(strstr(e.msg, "180 texts have the label 0, too few for 181 folds"));
	bow_train_free(t);
}

static void test_threads(void)
{
	struct str first;
	str_init(&first);
	for (int threads = 1; threads <= 5; threads += 2) {
		struct bow_train_config config = plain;
		struct bow_report r = {0};
		struct err e;
		struct str s;
		config.threads = threads;
		struct bow_train *t = bow_train_new(&config);
		str_init(&s);
		if (add_lines(t, 0, 500)) {
			CHECK_INT(bow_train_run(t, &r, &e), 0);
			bow_train_write(t, "", &s);
			str_add(&s, bow_train_weights(t), (size_t)(r.features + 1) * sizeof(double));
			if (threads == 1)
				str_add(&first, s.buf, s.len);
			CHECK(s.len > 10000 && s.len == first.len && !memcmp(s.buf, first.buf, s.len));
		}
		str_release(&s);
		bow_train_free(t);
	}
	str_release(&first);
}

static void test_edges(void)
{
	struct bow_report r = {0};
	struct err e;
	struct bow_train *t = bow_train_new(&plain);
	CHECK_INT(bow_train_run(t, &r, &e), -1);
	add(t, "x", 1);
	add(t, "y", 1);
	CHECK_INT(bow_train_run(t, &r, &e), -1);
	CHECK(strstr(e.msg, "all 2 texts have the label 1"));
	bow_train_free(t);
	/* no feature at all: the bias is the log-odds of the labels */
	t = bow_train_new(&plain);
	add(t, "", 1);
	add(t, " ", 1);
	add(t, "\n", 1);
	add(t, "", 0);
	CHECK_INT(bow_train_run(t, &r, &e), 0);
	CHECK_INT(r.features, 0);
	struct bow_classifier *c = reopen(t);
	struct bow_score s;
	bow_classifier_score(c, "anything", 8, &s, NULL, NULL);
	CHECK_NEAR(s.probability, .75, 1e-6);
	bow_classifier_free(c);
	bow_train_free(t);
	/* words that need quoting, and pairs whose words are features */
	t = bow_train_new(&plain);
	add(t, "\" \\ \xf0\x9f\x98\x80", 1);
	add(t, "\xef\xbf\xbd z", 0);
	CHECK_INT(bow_train_run(t, &r, &e), 0);
	CHECK_INT(r.features, 8);
	c = reopen(t);
	bow_classifier_score(c, "\" \\ \xf0\x9f\x98\x80", 9, &s, NULL, NULL);
	CHECK(s.log_odds > .3);
	bow_classifier_score(c, "Z", 1, &s, NULL, NULL);
	CHECK(s.log_odds < -.1);
	bow_classifier_free(c);
	bow_train_free(t);
}

int main(void)
{
	test_case("the gradient, by differences");
	test_gradient();
	test_case("log-odds of counts");
	test_closed_form();
	test_case("the minimum that scikit-learn finds");
	test_peer();
	test_case("folds, by hand");
	test_folds();
	test_case("1, 3 and 5 threads, the same bits");
	test_threads();
	test_case("one label, no words, words with quotes");
	test_edges();
	return test_done();
}
