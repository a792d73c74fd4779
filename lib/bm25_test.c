/* bm25: analyzers, the file, the five forms against other implementations, pruning against scoring everything. */
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/bm25_impl.h"
#include "lib/arena.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static char dir[] = P_tmpdir "/rl-bm25-test-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void join_term(void *arg, const char *term, size_t len, uint32_t position)
{
	struct str *s = arg;
	(void)position;
	if (s->len)
		str_addc(s, ' ');
	str_add(s, term, len);
}

static const char *analyzed(enum bm25_analyzer kind, const char *text)
{
	static struct str s;
	struct bm25_analysis *a = bm25_analysis_new(kind);
	if (!s.buf)
		str_init(&s);
	str_clear(&s);
	bm25_analyze(a, text, strlen(text), join_term, &s);
	bm25_analysis_free(a);
	return s.buf;
}

static void test_analyzers(void)
{
	test_case("analyzers: runs of ASCII letters and digits, stop words, stems");
	CHECK_STR(analyzed(BM25_NONE, "The Cat's 2nd na\xc3\xafve hat,a"), "the cat s 2nd na ve hat a");
	CHECK_STR(analyzed(BM25_STOP, "The Cat's 2nd THEIR hat,a theirs"), "cat s 2nd hat theirs");
	CHECK_STR(analyzed(BM25_PORTER, "The cats' relational as generalizations s i"), "cat relat gener i");
	CHECK_STR(analyzed(BM25_PORTER, " .,;!? "), "");
	test_case("analyzer unicode: words in any script, folded");
	CHECK_STR(analyzed(BM25_UNICODE, "The Cat's 2nd hat_a"), "the cat s 2nd hat a");
	CHECK_STR(analyzed(BM25_UNICODE, "Na\u00efve STRASSE Stra\u00dfe NAI\u0308VE"),
	          "na\u00efve strasse strasse na\u00efve");
	/* ligature, full width, superscript, soft hyphen, dotted capital I */
	CHECK_STR(analyzed(BM25_UNICODE, "\ufb01sh \uff2f\uff2b x\u00b2 co\u00adop \u0130"), "fish ok x2 coop i\u0307");
	CHECK_STR(analyzed(BM25_UNICODE, "\u041c\u041e\u0421\u041a\u0412\u0410, \u0391\u03a3 \u03c3\u03c2"),
	          "\u043c\u043e\u0441\u043a\u0432\u0430 \u03b1\u03c3 \u03c3\u03c3");
	/* Han and Hiragana one by one, Katakana and Hangul in runs; half width Katakana with its mark is one character
	 */
	CHECK_STR(analyzed(BM25_UNICODE, "\u65e5\u672c\u306e\u30c6\u30b9\u30c8abc\ud55c\uad6d \uff76\uff9e"),
	          "\u65e5 \u672c \u306e \u30c6\u30b9\u30c8abc\ud55c\uad6d \u30ac");
	CHECK_STR(analyzed(BM25_UNICODE, "\u0301 a\u0323\u0301 \U0001f600 \u0938\u094d\u0924\u0947"),
	          "\u1ea1\u0301 \u0938\u094d\u0924\u0947");
	CHECK_STR(analyzed(BM25_UNICODE, "\u201cquoted\u201d\u2014dash"), "quoted dash");
}

/* ---- a corpus file into an index ---- */

static struct bm25_builder *new_builder(enum bm25_analyzer kind, const char *path)
{
	struct err e;
	const struct bm25_options options = {.analyzer = kind, .memory = BM25_MEMORY_MIN};
	struct bm25_builder *b = bm25_builder_new(&options, path, &e);
	if (!b) {
		printf("Bail out! %s\n", e.msg);
		exit(1);
	}
	return b;
}

static int build_from(const char *corpus, const char *index, enum bm25_analyzer kind)
{
	struct err e;
	struct stream *in = stream_open(corpus, &e);
	struct record *r = record_new();
	struct bm25_builder *b = new_builder(kind, index);
	char *line;
	const char *id, *text;
	size_t len, id_len, text_len;
	int rc = in ? 1 : -1;
	while (rc > 0 && (rc = stream_next(in, &line, &len, &e)) > 0)
		if (record_parse(r, line, len, &e) || record_str(r, "doc_id", &id, &id_len, &e) != 1 ||
		    record_str(r, "text", &text, &text_len, &e) != 1 ||
		    bm25_builder_add(b, id, id_len, text, text_len, &e))
			rc = -1;
	if (!rc)
		rc = bm25_builder_save(b, &e);
	if (rc)
		test_fail(__FILE__, __LINE__, "%s: %s", corpus, e.msg);
	if (in)
		stream_close(in);
	record_free(r);
	bm25_builder_free(b);
	return rc;
}

static int choice(const char *words, const char *text, size_t len)
{
	int i = 0;
	for (const char *p = words;; i++) {
		size_t n = strcspn(p, "|");
		if (n == len && !memcmp(p, text, n))
			return i;
		if (!p[n])
			return -1;
		p += n + 1;
	}
}

/* ---- golden top 20 ---- */

struct expect {
	const struct bm25_searcher *searcher;
	const struct bm25_hit *hits;
	const double *scores;
	int64_t n;
};

static int check_id(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct expect *x = arg;
	const char *id;
	size_t len;
	struct err e;
	(void)key;
	(void)key_len;
	/* where neighbours differ by less than the float32 sums of other implementations, the order is not defined */
	double s = x->scores[i];
	if ((i && x->scores[i - 1] - s < 1e-5) || i + 1 == x->n || s - x->scores[i + 1] < 1e-5)
		return 0;
	CHECK(!bm25_doc_id(x->searcher, x->hits[i].doc, &id, &len, &e));
	CHECK(len == item->len && !memcmp(id, item->text, len));
	return 0;
}

static void check_row(struct record *r, struct bm25_index **index, char **queries, char **ids, int64_t n_queries)
{
	struct arena a;
	struct err e;
	struct bm25_params p = {0};
	const char *text, *qid;
	size_t len, qid_len;
	struct json scores, docs;
	double *want;
	int64_t n_want, n;
	arena_init(&a);
	CHECK(record_str(r, "variant", &text, &len, &e) == 1);
	p.variant = (enum bm25_variant)choice(BM25_VARIANTS, text, len);
	CHECK(record_num(r, "k1", &p.k1, &e) == 1 && record_num(r, "b", &p.b, &e) == 1);
	CHECK(record_str(r, "analyzer", &text, &len, &e) == 1);
	struct bm25_index *x = index[choice(BM25_ANALYZERS, text, len)];
	CHECK(record_str(r, "query_id", &qid, &qid_len, &e) == 1);
	CHECK(record_json(r, "scores", &scores, &e) == 1 && record_json(r, "doc_ids", &docs, &e) == 1);
	CHECK(!json_doubles(&scores, "scores", &want, &n_want, &a, &e));
	int64_t q = 0;
	while (q < n_queries && (strlen(ids[q]) != qid_len || memcmp(ids[q], qid, qid_len)))
		q++;
	const struct bm25_hit *hits;
	for (int all = 0; all < 2 && q < n_queries; all++) {
		p.exhaustive = all;
		struct bm25_searcher *s = bm25_searcher_new(x, &p, &e);
		CHECK(!bm25_search(s, queries[q], strlen(queries[q]), 20, &hits, &n, &e));
		CHECK_INT(n, n_want);
		for (int64_t i = 0; i < n && i < n_want; i++)
			CHECK_NEAR(hits[i].score, want[i], 1e-9);
		struct expect expect = {s, hits, want, n_want};
		if (n == n_want)
			json_each(&docs, check_id, &expect);
		bm25_searcher_free(s);
	}
	CHECK(q < n_queries);
	arena_release(&a);
}

static void test_golden(const char *name)
{
	char path[256], *line, *queries[64], *ids[64];
	const char *corpus, *golden, *text;
	struct err e;
	size_t len;
	int64_t n_queries = 0, rows = 0;
	struct bm25_index *index[3] = {0};
	snprintf(path, sizeof path, "data/retrieval/%s/corpus.jsonl", name);
	corpus = test_shared(path);
	snprintf(path, sizeof path, "golden/score/bm25/%s.queries.jsonl", name);
	golden = test_shared(path);
	if (!corpus || !golden) {
		test_skip("../shared is not here");
		return;
	}
	for (int k = 0; k < 3; k++)
		if (build_from(corpus, in_dir("x.lmdb"), (enum bm25_analyzer)k) ||
		    !(index[k] = bm25_open(in_dir("x.lmdb"), &e)))
			test_fail(__FILE__, __LINE__, "no index");
	struct record *r = record_new();
	struct stream *in = stream_open(golden, &e);
	while (in && n_queries < 64 && stream_next(in, &line, &len, &e) == 1) {
		CHECK(!record_parse(r, line, len, &e) && record_str(r, "query", &text, &len, &e) == 1);
		queries[n_queries] = xstrndup(text, len);
		CHECK(record_str(r, "query_id", &text, &len, &e) == 1);
		ids[n_queries++] = xstrndup(text, len);
	}
	stream_close(in);
	snprintf(path, sizeof path, "golden/score/bm25/%s.top20.jsonl", name);
	in = stream_open(test_shared(path), &e);
	for (; in && stream_next(in, &line, &len, &e) == 1; rows++) {
		CHECK(!record_parse(r, line, len, &e));
		check_row(r, index, queries, ids, n_queries);
	}
	CHECK_INT(rows, 45 * n_queries);
	stream_close(in);
	record_free(r);
	for (int64_t i = 0; i < n_queries; i++) {
		free(queries[i]);
		free(ids[i]);
	}
	for (int k = 0; k < 3; k++)
		bm25_close(index[k]);
}

/* ---- whole run files: query, Q0, document, rank, score ---- */

static void test_run(const char *name)
{
	char path[256], *line, run_path[1024];
	const char *corpus, *text, *qid, *id;
	struct err e;
	size_t len, qid_len, id_len;
	snprintf(path, sizeof path, "data/retrieval/%s/bm25_lucene_k1.2_b0.75.run", name);
	const char *found = test_shared(path);
	snprintf(run_path, sizeof run_path, "%s", found ? found : "");
	snprintf(path, sizeof path, "data/retrieval/%s/corpus.jsonl", name);
	corpus = test_shared(path);
	if (!found || !corpus) {
		test_skip("../shared is not here");
		return;
	}
	CHECK(!build_from(corpus, in_dir("x.lmdb"), BM25_NONE));
	struct bm25_index *x = bm25_open(in_dir("x.lmdb"), &e);
	struct bm25_params p = {BM25_LUCENE, 1.2, .75, false};
	struct bm25_searcher *s = bm25_searcher_new(x, &p, &e);
	struct record *r = record_new();
	snprintf(path, sizeof path, "data/retrieval/%s/queries.jsonl", name);
	struct stream *in = stream_open(test_shared(path), &e);
	FILE *run = fopen(run_path, "r");
	int64_t lines = 0;
	while (in && run && stream_next(in, &line, &len, &e) == 1) {
		const struct bm25_hit *hits;
		int64_t n;
		CHECK(!record_parse(r, line, len, &e) && record_str(r, "query", &text, &len, &e) == 1);
		CHECK(record_str(r, "query_id", &qid, &qid_len, &e) == 1);
		CHECK(!bm25_search(s, text, len, 100, &hits, &n, &e));
		for (int64_t i = 0; i < n; i++, lines++) {
			char want_q[64], want_id[64], got[64];
			double score;
			int rank;
			CHECK_INT(fscanf(run, "%63s Q0 %63s %d %lf %*s", want_q, want_id, &rank, &score), 4);
			CHECK(!bm25_doc_id(s, hits[i].doc, &id, &id_len, &e));
			CHECK(strlen(want_q) == qid_len && !memcmp(want_q, qid, qid_len));
			snprintf(got, sizeof got, "%.*s", (int)id_len, id);
			CHECK_STR(got, want_id);
			CHECK_NEAR(hits[i].score, score, 1e-6);
		}
	}
	CHECK(lines > 1000);
	CHECK(run && fscanf(run, "%*s") == EOF);
	if (run)
		fclose(run);
	stream_close(in);
	record_free(r);
	bm25_searcher_free(s);
	bm25_close(x);
}

/* ---- pruning ---- */

/* A small generator of its own: words by 1/rank. */
static uint64_t state;
static double uniform(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (double)(state >> 11) * 0x1p-53;
}
static void add_words(struct str *s, int n)
{
	str_clear(s);
	for (int i = 0; i < n; i++)
		str_addf(s, "w%d ", (int)(exp(uniform() * log(2000)) - 1));
}

static struct bm25_builder *zipf_builder(const char *path, size_t memory)
{
	const struct bm25_options options = {BM25_PORTER, true, true, memory};
	struct err e;
	struct str text;
	char id[16];
	state = 7;
	str_init(&text);
	struct bm25_builder *b = bm25_builder_new(&options, path, &e);
	for (int i = 0; i < 20000 && b; i++) {
		add_words(&text, (int)(uniform() * uniform() * 60));
		snprintf(id, sizeof id, "d%d", i);
		CHECK(!bm25_builder_add(b, id, strlen(id), text.buf, text.len, &e));
	}
	str_release(&text);
	return b;
}

/* Every list and every position of two indexes. */
static void compare_terms(const struct bm25_index *x, const struct bm25_index *y)
{
	struct err e;
	struct bm25_view *v[2] = {bm25_view_new(x, &e), bm25_view_new(y, &e)};
	int64_t terms = 0;
	for (int w = 0; w < 2000; w++) {
		struct bm25_postings list[2];
		char term[16];
		snprintf(term, sizeof term, "w%d", w);
		int found = bm25_view_lookup(v[0], term, strlen(term), &list[0], &e);
		CHECK_INT(bm25_view_lookup(v[1], term, strlen(term), &list[1], &e), found);
		if (found != 1)
			continue;
		terms++;
		CHECK_INT(list[0].df, list[1].df);
		CHECK_INT(list[0].data_len, list[1].data_len);
		CHECK(list[0].data_len != list[1].data_len || !memcmp(list[0].data, list[1].data, list[0].data_len));
		for (uint32_t b = 0; b < list[0].n_blocks && list[0].df == list[1].df; b++) {
			const unsigned char *bytes[2];
			size_t len[2] = {0, 1};
			for (int i = 0; i < 2; i++)
				CHECK(!bm25_view_positions(v[i], term, strlen(term), b, list[i].n_blocks, &bytes[i],
				                           &len[i], &e));
			CHECK(len[0] == len[1] && len[0] && !memcmp(bytes[0], bytes[1], len[0]));
		}
	}
	CHECK_INT(terms, bm25_info(x)->terms);
	bm25_view_free(v[0]);
	bm25_view_free(v[1]);
}

static void test_memory(void)
{
	struct err e;
	struct bm25_index *x[2];
	for (int i = 0; i < 2; i++) {
		struct bm25_builder *b = zipf_builder(in_dir(i ? "m1.lmdb" : "m0.lmdb"), i ? (size_t)1 << 30 : 1 << 20);
		CHECK(!bm25_builder_save(b, &e));
		bm25_builder_free(b);
		x[i] = bm25_open(in_dir(i ? "m1.lmdb" : "m0.lmdb"), &e);
		CHECK(x[i]);
	}
	CHECK_INT(bm25_info(x[0])->tokens, bm25_info(x[1])->tokens);
	compare_terms(x[0], x[1]);
	bm25_close(x[0]);
	bm25_close(x[1]);

	test_case("a table of documents that --memory does not hold is refused");
	const struct bm25_options options = {.memory = 200 << 10};
	struct bm25_builder *b = bm25_builder_new(&options, in_dir("m2.lmdb"), &e);
	char id[16];
	int rc = 0, n = 0;
	while (!rc && n < 20000) {
		snprintf(id, sizeof id, "d%d", n++);
		rc = bm25_builder_add(b, id, strlen(id), "x", 1, &e);
	}
	CHECK_INT(rc, -1);
	CHECK(strstr(e.msg, "holds the table of"));
	CHECK_INT(n - 1, 6144);
	bm25_builder_free(b);
	CHECK(access(in_dir("m2.lmdb"), F_OK));
}

/* ---- runs ---- */

struct merged {
	struct str key;
	uint64_t sum;
	uint32_t last;
	int64_t records;
};

static int check_record(void *arg, struct bm25_record *r, struct err *e)
{
	struct merged *m = arg;
	uint32_t x = 0;
	int c = bm25_compare_keys(m->key.buf, m->key.len, r->key, r->key_len);
	CHECK(c <= 0);
	if (c)
		m->last = 0;
	str_clear(&m->key);
	str_add(&m->key, r->key, r->key_len);
	while (r->left) {
		if (bm25_record_varint(r, &x, e))
			return -1;
		CHECK(x >= m->last);
		m->last = x;
		m->sum += x;
	}
	m->records++;
	return 0;
}

static void test_runs(void)
{
	struct err e;
	struct bm25_runs *r = bm25_runs_new(in_dir("runs"), 100000);
	struct merged m = {0};
	uint64_t sum = 0;
	int64_t records = 0;
	state = 3;
	str_init(&m.key);
	/* 300 runs: four of them merged before, of several levels; key i has numbers that grow with the run */
	for (uint32_t run = 1; run <= 300; run++) {
		CHECK(!bm25_runs_begin(r, &e));
		for (int i = 100; i < 999; i++) {
			char key[16];
			unsigned char bytes[10];
			if (uniform() < .6)
				continue;
			snprintf(key, sizeof key, "k%d", i);
			size_t n = (size_t)(bm25_put_varint(bytes, run * 1000) - bytes);
			CHECK(!bm25_runs_record(r, key, 4, 1, n, &e) && !bm25_runs_bytes(r, bytes, n, &e));
			sum += run * 1000;
			records++;
		}
		CHECK(!bm25_runs_end(r, &e));
	}
	CHECK(!bm25_runs_merge(r, 0, 50000, check_record, &m, &e));
	CHECK_INT(m.records, records);
	CHECK_INT((int64_t)m.sum, (int64_t)sum);
	bm25_runs_free(r);
	str_release(&m.key);
}

/* Texts of Zipf's words, every fourth a copy of an earlier one, so that scores tie at any depth. */
static struct bm25_index *tied_index(int n)
{
	struct err e;
	struct str text, copy;
	char id[16];
	str_init(&text);
	str_init(&copy);
	struct bm25_builder *b = new_builder(BM25_NONE, in_dir("p.lmdb"));
	for (int i = 0; i < n; i++) {
		bool again = i % 4 == 3;
		if (!again)
			add_words(&text, (int)(uniform() * uniform() * 60));
		if (i % 16 == 0) {
			str_clear(&copy);
			str_add(&copy, text.buf, text.len);
		}
		const struct str *t = again ? &copy : &text;
		snprintf(id, sizeof id, "d%d", i);
		CHECK(!bm25_builder_add(b, id, strlen(id), t->buf, t->len, &e));
	}
	CHECK(!bm25_builder_save(b, &e));
	bm25_builder_free(b);
	str_release(&text);
	str_release(&copy);
	return bm25_open(in_dir("p.lmdb"), &e);
}

static void check_first(const struct bm25_hit *got, int64_t n_got, const struct bm25_hit *want, int64_t n_want)
{
	CHECK_INT(n_got, n_want);
	for (int64_t i = 0; i < n_got && i < n_want; i++) {
		CHECK_INT(got[i].doc, want[i].doc);
		CHECK(!memcmp(&got[i].score, &want[i].score, sizeof want[i].score));
	}
}

/* The words of a query with OR between them. */
static const struct str *with_or(const struct str *query)
{
	static struct str s;
	if (!s.buf)
		str_init(&s);
	str_clear(&s);
	for (const char *p = query->buf; *p; p++) {
		str_addc(&s, *p);
		if (*p == ' ' && p[1])
			str_adds(&s, "OR ");
	}
	return &s;
}

static void check_pruned(const struct bm25_index *x, const struct bm25_params *p, const struct str *query)
{
	static const int64_t depth[] = {1, 10, 100};
	struct err e;
	struct bm25_params all = *p;
	all.exhaustive = true;
	struct bm25_searcher *fast = bm25_searcher_new(x, p, &e), *slow = bm25_searcher_new(x, &all, &e);
	const struct str *any = with_or(query);
	const struct bm25_hit *got, *want;
	int64_t n_got, n_want;
	CHECK(!bm25_search(slow, query->buf, query->len, depth[2], &want, &n_want, &e));
	for (size_t i = 0; i < ARRAY_LEN(depth); i++) {
		int64_t n = n_want < depth[i] ? n_want : depth[i];
		CHECK(!bm25_search(fast, query->buf, query->len, depth[i], &got, &n_got, &e));
		check_first(got, n_got, want, n);
		CHECK_INT(bm25_search_boolean(fast, any->buf, any->len, depth[i], &got, &n_got, &e), 1);
		check_first(got, n_got, want, n);
	}
	CHECK_INT(bm25_search_boolean(slow, any->buf, any->len, depth[2], &got, &n_got, &e), 1);
	check_first(got, n_got, want, n_want);
	bm25_searcher_free(fast);
	bm25_searcher_free(slow);
}

static void test_pruning(void)
{
	struct str text;
	state = 1;
	str_init(&text);
	struct bm25_index *x = tied_index(20000);
	for (int i = 0; i < 500 && x; i++) {
		add_words(&text, 1 + i % 12);
		for (int v = 0; v < 5; v++) {
			const struct bm25_params p = {(enum bm25_variant)v, i % 3 ? 1.2 : 0, i % 4 ? .75 : i % 8 / 4.,
			                              false};
			check_pruned(x, &p, &text);
		}
	}
	bm25_close(x);
	str_release(&text);
}

/* ---- the file ---- */

static struct bm25_index *small_index(const char *path)
{
	struct err e;
	struct bm25_builder *b = new_builder(BM25_NONE, path);
	static char word[3000];
	memset(word, 'q', sizeof word);
	CHECK(!bm25_builder_add(b, "one", 3, "red blue", 8, &e));
	CHECK(!bm25_builder_add(b, "two", 3, "", 0, &e));
	CHECK(!bm25_builder_add(b, "three", 5, word, sizeof word, &e));
	CHECK(!bm25_builder_add(b, "four", 4, word, sizeof word - 1, &e));
	CHECK(bm25_builder_add(b, "one", 3, "x", 1, &e) == -1);
	CHECK_STR(e.msg, "document 'one' is there twice");
	CHECK(bm25_builder_add(b, "", 0, "x", 1, &e) == -1);
	CHECK(!bm25_builder_save(b, &e));
	bm25_builder_free(b);
	return bm25_open(path, &e);
}

static void test_file(void)
{
	struct err e;
	const struct bm25_hit *hits;
	int64_t n;
	static char word[3000];
	memset(word, 'q', sizeof word);
	test_case("an index: counts, long words, ids");
	struct bm25_index *x = small_index(in_dir("s.lmdb"));
	CHECK_INT(bm25_info(x)->documents, 4);
	CHECK_INT(bm25_info(x)->empty, 1);
	CHECK_INT(bm25_info(x)->tokens, 4);
	CHECK_INT(bm25_info(x)->terms, 4);
	CHECK_NEAR(bm25_info(x)->average_length, 1, 0);
	struct bm25_params p = {BM25_LUCENE, 1.2, .75, false};
	struct bm25_searcher *s = bm25_searcher_new(x, &p, &e);
	CHECK(!bm25_search(s, word, sizeof word - 1, 10, &hits, &n, &e));
	CHECK_INT(n, 1);
	CHECK_INT(hits[0].doc, 3);
	/* idf = ln(1 + 3.5/1.5), w = 1/2.2 at the mean length */
	CHECK_NEAR(hits[0].score, log(1 + 3.5 / 1.5) / 2.2, 1e-15);
	bm25_searcher_free(s);
	bm25_close(x);

	test_case("an index of nothing can be searched");
	struct bm25_builder *b = new_builder(BM25_PORTER, in_dir("0.lmdb"));
	CHECK(!bm25_builder_save(b, &e));
	bm25_builder_free(b);
	x = bm25_open(in_dir("0.lmdb"), &e);
	s = bm25_searcher_new(x, &p, &e);
	CHECK(!bm25_search(s, "red", 3, 10, &hits, &n, &e));
	CHECK_INT(n, 0);
	bm25_searcher_free(s);
	bm25_close(x);

	test_case("what is no index, or cut short, is refused with a line");
	CHECK(!bm25_open(in_dir("absent"), &e));
	CHECK(strstr(e.msg, "No such file"));
	int fd = open(in_dir("text"), O_CREAT | O_WRONLY, 0600);
	CHECK(write(fd, "hello\n", 6) == 6);
	close(fd);
	CHECK(!bm25_open(in_dir("text"), &e));
	CHECK(strstr(e.msg, "not an index of rl-index"));
	struct stat st;
	CHECK(!stat(in_dir("s.lmdb"), &st));
	CHECK(!truncate(in_dir("s.lmdb"), st.st_size / 2));
	CHECK(!bm25_open(in_dir("s.lmdb"), &e));
	CHECK(strstr(e.msg, "cut short"));
	CHECK(!truncate(in_dir("s.lmdb"), 0));
	CHECK(!bm25_open(in_dir("s.lmdb"), &e));

	test_case("an index of another layout is refused with both numbers");
	bm25_close(small_index(in_dir("s.lmdb")));
	FILE *f = fopen(in_dir("s.lmdb"), "r+");
	static char bytes[1 << 18];
	size_t len = fread(bytes, 1, sizeof bytes, f), at = 0;
	while (at + 12 < len && memcmp(bytes + at, BM25_MAGIC, 8))
		at++;
	CHECK(at + 12 < len && bytes[at + 8] == BM25_LAYOUT);
	for (; at + 12 < len; at++)
		if (!memcmp(bytes + at, BM25_MAGIC, 8))
			bytes[at + 8] = 1;
	rewind(f);
	CHECK(fwrite(bytes, 1, len, f) == len && !fclose(f));
	CHECK(!bm25_open(in_dir("s.lmdb"), &e));
	CHECK(strstr(e.msg, "an index of layout 1, this program reads 2; build it again"));
}

int main(void)
{
	static const char *const collections[] = {"cran", "med", "adi"};
	char name[64], command[64];
	if (!mkdtemp(dir))
		return 1;
	test_analyzers();
	test_file();
	test_case("three hundred runs in order");
	test_runs();
	test_case("an index is the same whatever memory it was built in");
	test_memory();
	test_case("pruned results are those of scoring everything, bit for bit");
	test_pruning();
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "the run of %s, every rank and score", collections[i]);
		test_case(name);
		test_run(collections[i]);
		test_close();
	}
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof name, "five forms, three analyzers, three k1 and b on %s", collections[i]);
		test_case(name);
		test_golden(collections[i]);
		test_close();
	}
	snprintf(command, sizeof command, "rm -r %s", dir);
	if (system(command))
		return 1;
	return test_done();
}
