/* bm25_batch: the same results on any number of threads and in any batch; several queries fused, by hand. */
#include "lib/bm25_batch.h"

#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

enum { DOCUMENTS = 3000, QUERIES = 200 };

static char dir[] = P_tmpdir "/rl-bm25-batch-XXXXXX";

/* texts[i] is document i; NULL: words of a skewed distribution. */
static struct bm25_index *index_of(const char *const *texts, int n)
{
	struct err e;
	struct bm25_index *x = NULL;
	char path[256], id[16];
	struct str text;
	uint64_t seed = 1;
	snprintf(path, sizeof path, "%s/x.lmdb", dir);
	const struct bm25_options o = {.analyzer = BM25_NONE, .positions = true, .memory = BM25_MEMORY_MIN};
	struct bm25_builder *b = bm25_builder_new(&o, path, &e);
	int rc = b ? 0 : -1;
	str_init(&text);
	for (int i = 0; i < n && !rc; i++) {
		snprintf(id, sizeof id, "%d", i);
		str_clear(&text);
		if (texts)
			str_adds(&text, texts[i]);
		for (int w = 0; !texts && w < 20; w++) {
			seed = hash_bytes(&seed, sizeof seed, 1, 2);
			str_addf(&text, "w%d ", (int)(seed % 997 * (seed >> 32) % 331));
		}
		rc = bm25_builder_add(b, id, strlen(id), text.buf, text.len, &e);
	}
	str_release(&text);
	if (!rc)
		rc = bm25_builder_save(b, &e);
	bm25_builder_free(b);
	if (rc || !(x = bm25_open(path, &e))) {
		printf("Bail out! %s\n", e.msg);
		exit(1);
	}
	return x;
}

static struct bm25_batch *batch_of(const struct bm25_index *x, bool boolean, int threads)
{
	struct err e;
	const struct bm25_batch_config c = {
	        .variant = BM25_LUCENE, .k1 = 1.2, .b = .75, .boolean = boolean, .threads = threads};
	struct bm25_batch *b = bm25_batch_new(x, &c, &e);
	if (!b) {
		printf("Bail out! %s\n", e.msg);
		exit(1);
	}
	return b;
}

static void test_threads(void)
{
	struct bm25_index *x = index_of(NULL, DOCUMENTS);
	static struct bm25_request want[QUERIES], got[QUERIES];
	struct bm25_request *request[QUERIES];
	static char text[QUERIES][2][64];
	static const char *query[QUERIES][2];
	static size_t len[QUERIES][2];
	test_case("one by one, and all at once on any number of threads: the same bits");
	for (int i = 0; i < QUERIES; i++) {
		for (int q = 0; q < 2; q++) {
			len[i][q] = (size_t)snprintf(text[i][q], sizeof text[i][q], "w%d OR w%d w%d", i,
			                             (i * 7 + q) % 300, i / 3);
			query[i][q] = text[i][q];
		}
		want[i] = (struct bm25_request){query[i], len[i], 1 + i % 2, 1 + i % 30};
		got[i] = want[i];
		request[i] = &got[i];
	}
	for (int boolean = 0; boolean < 2; boolean++) {
		struct bm25_batch *one = batch_of(x, boolean, 1);
		int64_t found = 0;
		for (int i = 0; i < QUERIES; i++) {
			struct bm25_request *r = &want[i];
			bm25_batch_run(one, &r, 1);
			CHECK(r->found == 1);
			found += r->n;
		}
		CHECK(found > QUERIES);
		bm25_batch_free(one);
		for (int threads = 1; threads < 6; threads++) {
			struct bm25_batch *b = batch_of(x, boolean, threads);
			bm25_batch_run(b, request, QUERIES);
			for (int i = 0; i < QUERIES; i++) {
				CHECK(got[i].n == want[i].n);
				for (int64_t h = 0; h < got[i].n && h < want[i].n; h++)
					CHECK(got[i].hits[h].doc == want[i].hits[h].doc &&
					      got[i].hits[h].score == want[i].hits[h].score);
			}
			bm25_batch_free(b);
		}
	}
	for (int i = 0; i < QUERIES; i++) {
		bm25_request_release(&want[i]);
		bm25_request_release(&got[i]);
	}
	bm25_close(x);
}

/* "doc:score ..." of what several queries find together; "!" when none is a query. */
static const char *fused(struct bm25_batch *b, int64_t depth, const char *const *text, int64_t n)
{
	static struct str shown;
	size_t len[8];
	struct bm25_request r = {.query = (const char **)text, .len = len, .n_queries = n, .depth = depth};
	struct bm25_request *p = &r;
	if (!shown.buf)
		str_init(&shown);
	str_clear(&shown);
	for (int64_t i = 0; i < n; i++)
		len[i] = strlen(text[i]);
	bm25_batch_run(b, &p, 1);
	if (!r.found)
		str_addc(&shown, '!');
	for (int64_t i = 0; i < r.n; i++)
		str_addf(&shown, "%s%u:%g", i ? " " : "", r.hits[i].doc, r.hits[i].score);
	bm25_request_release(&r);
	return shown.buf;
}
#define FUSED(b, depth, ...)                                                                                           \
	fused(b, depth, (const char *const[]){__VA_ARGS__}, ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

static void test_fusion(void)
{
	static const char *const texts[] = {"red plum tart", "red", "red plum", "tart with cream", "plum"};
	struct bm25_index *x = index_of(texts, ARRAY_LEN(texts));
	struct bm25_batch *plain = batch_of(x, false, 1), *boolean = batch_of(x, true, 2);
	test_case("more votes first, then those seen first, one query after another");
	/* red finds 1 2 0; plum 4 2 0; tart 0 3, which are of one length */
	CHECK_STR(FUSED(plain, 9, "red", "plum"), "2:2 0:2 1:1 4:1");
	CHECK_STR(FUSED(plain, 9, "plum", "red"), "2:2 0:2 4:1 1:1");
	CHECK_STR(FUSED(plain, 9, "red", "plum", "tart"), "0:3 2:2 1:1 4:1 3:1");
	CHECK_STR(FUSED(plain, 1, "red", "plum"), "1:1"); /* each is searched for to the same depth */
	CHECK_STR(FUSED(plain, 9, "zebra", "cream"), "3:1");
	CHECK_STR(FUSED(plain, 9, "zebra", "lion"), "");
	test_case("Boolean parts; one that is no query has no vote");
	CHECK_STR(FUSED(boolean, 9, "red AND plum", "tart"), "0:2 2:1 3:1");
	CHECK_STR(FUSED(boolean, 9, "(red", "cream"), "3:1");
	CHECK_STR(FUSED(boolean, 9, "(red", "cream)"), "!");
	bm25_batch_free(plain);
	bm25_batch_free(boolean);
	bm25_close(x);
}

int main(void)
{
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	test_threads();
	test_fusion();
	test_case("positions that are not there are asked for at the start");
	struct err e;
	char path[256];
	snprintf(path, sizeof path, "%s/x.lmdb", dir);
	const struct bm25_options o = {.analyzer = BM25_NONE, .memory = BM25_MEMORY_MIN};
	struct bm25_builder *b = bm25_builder_new(&o, path, &e);
	CHECK(b && !bm25_builder_add(b, "a", 1, "red", 3, &e) && !bm25_builder_save(b, &e));
	bm25_builder_free(b);
	struct bm25_index *x = bm25_open(path, &e);
	const struct bm25_batch_config c = {.variant = BM25_LUCENE, .k1 = 1.2, .b = .75, .boolean = true, .threads = 1};
	CHECK(x && !bm25_batch_new(x, &c, &e));
	CHECK_STR(e.msg, "--boolean needs positions; build the index with rl-index --positions");
	bm25_close(x);
	unlink(path);
	rmdir(dir);
	return test_done();
}
