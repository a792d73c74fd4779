/* bm25_feedback: the weights and scores of a small corpus, worked out by hand; the edges. */
#include "lib/bm25_feedback.h"

#include "lib/str.h"
#include "lib/test.h"

enum { DOCUMENTS = 30 };

static char dir[] = P_tmpdir "/rl-bm25-feedback-XXXXXX";
static const struct bm25_params params = {BM25_LUCENE, 1.2, .75, false}, all = {BM25_LUCENE, 1.2, .75, true};

/* "the" is in four of thirty: too common to be taken. */
static const char *const texts[] = {"the red apple", "the red apple apple pie", "apple tart", "the the", "the"};

static struct bm25_index *index_of(void)
{
	struct err e;
	struct bm25_index *x = NULL;
	char path[256], id[16], text[32];
	snprintf(path, sizeof path, "%s/x.lmdb", dir);
	const struct bm25_options o = {.analyzer = BM25_NONE, .texts = true, .memory = BM25_MEMORY_MIN};
	struct bm25_builder *b = bm25_builder_new(&o, path, &e);
	int rc = b ? 0 : -1;
	for (int i = 0; i < DOCUMENTS && !rc; i++) {
		snprintf(id, sizeof id, "%d", i);
		snprintf(text, sizeof text, "%s", i < 5 ? texts[i] : "word");
		rc = bm25_builder_add(b, id, strlen(id), text, strlen(text), &e);
	}
	if (!rc)
		rc = bm25_builder_save(b, &e);
	bm25_builder_free(b);
	if (rc || !(x = bm25_open(path, &e))) {
		printf("Bail out! %s\n", e.msg);
		exit(1);
	}
	return x;
}

/* What a word adds to the score of a document: df documents have it, the document tf times among len tokens. */
static double part(double df, double tf, double len)
{
	const double mean = (3 + 5 + 2 + 2 + 1 + 25) / 30.;
	return log(1 + (DOCUMENTS - df + .5) / (df + .5)) * tf / (tf + 1.2 * (1 - .75 + .75 * len / mean));
}

struct search {
	struct bm25_feedback *f;
	const struct bm25_hit *hits;
	int64_t n;
};

static void search(struct search *x, const struct bm25_index *index, struct bm25_searcher *s, const char *query,
                   int64_t docs, int64_t terms, double original)
{
	struct err e = {""};
	const struct bm25_feedback_params p = {docs, terms, original};
	bm25_feedback_free(x->f);
	x->f = bm25_feedback_new(index, &p);
	if (bm25_feedback_search(x->f, s, query, strlen(query), 10, &x->hits, &x->n, &e))
		test_fail(__FILE__, __LINE__, "%s: %s", query, e.msg);
}

/* "word word ..." of the new query */
static const char *words(const struct search *x)
{
	static struct str shown;
	const char *word;
	size_t len;
	double weight;
	if (!shown.buf)
		str_init(&shown);
	str_clear(&shown);
	for (size_t i = 0; bm25_feedback_word(x->f, i, &word, &len, &weight); i++)
		str_addf(&shown, "%s%.*s", i ? " " : "", (int)len, word);
	return shown.buf;
}

static double weight(const struct search *x, size_t i)
{
	const char *word;
	size_t len;
	double w;
	return bm25_feedback_word(x->f, i, &word, &len, &w) ? w : -1;
}

static void test_by_hand(const struct bm25_index *index, struct bm25_searcher *s, struct search *x)
{
	/* "red" finds documents 0 and 1 */
	double s0 = part(2, 1, 3), s1 = part(2, 1, 5);
	double red = s0 / 3 + s1 / 5, apple = s0 / 3 + 2 * s1 / 5, pie = s1 / 5, w_red, w_apple;
	test_case("weights: the two best words of two documents, mixed with the query");
	search(x, index, s, "red", 2, 2, .5);
	CHECK_STR(words(x), "red apple");
	CHECK_NEAR(weight(x, 0), w_red = .5 + .5 * red / (red + apple), 1e-14);
	CHECK_NEAR(weight(x, 1), w_apple = .5 * apple / (red + apple), 1e-14);
	test_case("scores: each word's part times its weight; a document without the query's word is found");
	CHECK(x->n == 3);
	CHECK(x->n == 3 && x->hits[0].doc == 0 && x->hits[1].doc == 1 && x->hits[2].doc == 2);
	if (x->n == 3) {
		CHECK_NEAR(x->hits[0].score, w_red * part(2, 1, 3) + w_apple * part(3, 1, 3), 1e-14);
		CHECK_NEAR(x->hits[1].score, w_red * part(2, 1, 5) + w_apple * part(3, 2, 5), 1e-14);
		CHECK_NEAR(x->hits[2].score, w_apple * part(3, 1, 2), 1e-14);
	}
	test_case("three words; other weights of the query");
	search(x, index, s, "red", 2, 3, .2);
	CHECK_STR(words(x), "red apple pie");
	CHECK_NEAR(weight(x, 0), .2 + .8 * red / (red + apple + pie), 1e-14);
	CHECK_NEAR(weight(x, 1), .8 * apple / (red + apple + pie), 1e-14);
	CHECK_NEAR(weight(x, 2), .8 * pie / (red + apple + pie), 1e-14);
	search(x, index, s, "red", 2, 9, 0);
	CHECK_STR(words(x), "red apple pie");
	CHECK_NEAR(weight(x, 0) + weight(x, 1) + weight(x, 2), 1, 1e-14);
	test_case("one document: equal words go by their bytes");
	search(x, index, s, "red", 1, 1, .5);
	CHECK_STR(words(x), "red apple");
	CHECK_NEAR(weight(x, 0), .5, 1e-14);
	CHECK_NEAR(weight(x, 1), .5, 1e-14);
	test_case("repetitions in the query, and words that are in no document");
	search(x, index, s, "red zebra pie red", 1, 1, .5);
	CHECK_STR(words(x), "red pie apple");
	CHECK_NEAR(weight(x, 0), .5 * 2 / 4, 1e-14);
	CHECK_NEAR(weight(x, 1), .5 / 4, 1e-14);
	CHECK_NEAR(weight(x, 2), .5, 1e-14);
}

static void test_edges(const struct bm25_index *index, struct bm25_searcher *s, struct search *x)
{
	struct err e;
	const struct bm25_hit *hits;
	int64_t n;
	test_case("with all weight on the query the ranking is that of the query");
	search(x, index, s, "the pie", 10, 10, 1);
	CHECK_STR(words(x), "the pie");
	int64_t found = x->n;
	uint32_t order[10];
	double score[10];
	for (int64_t i = 0; i < found; i++) {
		order[i] = x->hits[i].doc;
		score[i] = x->hits[i].score;
	}
	CHECK(!bm25_search(s, "the pie", 7, 10, &hits, &n, &e));
	CHECK(n == 4 && found == n);
	for (int64_t i = 0; i < n && i < found; i++) {
		CHECK(hits[i].doc == order[i]);
		CHECK_NEAR(2 * score[i], hits[i].score, 1e-14);
	}
	test_case("nothing found, nothing to grow by");
	search(x, index, s, "zebra", 10, 10, .5);
	CHECK_STR(words(x), "");
	CHECK(x->n == 0);
	search(x, index, s, "", 10, 10, .5);
	CHECK_STR(words(x), "");
	CHECK(x->n == 0);
	/* only common words in what it finds: the query stays as it is */
	search(x, index, s, "word", 10, 10, .5);
	CHECK_STR(words(x), "word");
	CHECK_NEAR(weight(x, 0), 1, 0);
}

int main(void)
{
	struct err e;
	struct search x = {0};
	char path[256];
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	struct bm25_index *index = index_of();
	for (int exhaustive = 0; exhaustive < 2; exhaustive++) {
		struct bm25_searcher *s = bm25_searcher_new(index, exhaustive ? &all : &params, &e);
		test_by_hand(index, s, &x);
		test_edges(index, s, &x);
		bm25_searcher_free(s);
	}
	bm25_feedback_free(x.f);
	bm25_close(index);
	snprintf(path, sizeof path, "%s/x.lmdb", dir);
	unlink(path);
	rmdir(dir);
	return test_done();
}
