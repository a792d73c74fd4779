/* bm25_boolean: what is found by hand, what is no query, and random queries judged document by document. */
#include "lib/arena.h"
#include "lib/bm25.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

static char dir[] = P_tmpdir "/rl-bm25-boolean-XXXXXX";
static const struct bm25_params params = {BM25_LUCENE, 1.2, .75, false}, all = {BM25_LUCENE, 1.2, .75, true};

static struct bm25_index *index_of(enum bm25_analyzer kind, bool positions, const char *const *texts, int n)
{
	struct err e;
	struct bm25_index *x = NULL;
	char path[256], id[16];
	snprintf(path, sizeof path, "%s/x.lmdb", dir);
	const struct bm25_options o = {.analyzer = kind, .positions = positions, .memory = BM25_MEMORY_MIN};
	struct bm25_builder *b = bm25_builder_new(&o, path, &e);
	int rc = b ? 0 : -1;
	for (int i = 0; i < n && !rc; i++) {
		snprintf(id, sizeof id, "%d", i);
		rc = bm25_builder_add(b, id, strlen(id), texts[i], strlen(texts[i]), &e);
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

/* ---- by hand ---- */

static const char *const corpus[] = {
        "red apple pie",                         /* 0 */
        "green apple tart and a red plum",       /* 1 */
        "the bank of england",                   /* 2 */
        "england: a bank, a well-known red one", /* 3 */
        "apple apple apple pie of red apple",    /* 4 */
        "",                                      /* 5 */
        "not or and",                            /* 6 */
};

/* Numbers of the documents found, in order of the corpus; "!" and the message where it is no query. */
static const char *found(struct bm25_searcher *s, const char *query)
{
	struct err e;
	static char text[sizeof e.msg + 1];
	const struct bm25_hit *hits;
	int64_t n;
	bool in[ARRAY_LEN(corpus)] = {0};
	int rc = bm25_search_boolean(s, query, strlen(query), 100, &hits, &n, &e);
	*text = 0;
	if (rc != 1) {
		snprintf(text, sizeof text, "%s%s", rc ? "?" : "!", e.msg);
		return text;
	}
	for (int64_t i = 0; i < n; i++)
		in[hits[i].doc] = true;
	for (size_t i = 0, at = 0; i < ARRAY_LEN(corpus); i++)
		if (in[i])
			at += (size_t)snprintf(text + at, sizeof text - at, at ? " %zu" : "%zu", i);
	return text;
}

static void test_hand(void)
{
	struct err e;
	struct bm25_index *x = index_of(BM25_NONE, true, corpus, ARRAY_LEN(corpus));
	struct bm25_searcher *s = bm25_searcher_new(x, &params, &e);
	test_case("words, operators, precedence, parentheses");
	CHECK_STR(found(s, "apple"), "0 1 4");
	CHECK_STR(found(s, "apple AND pie"), "0 4");
	CHECK_STR(found(s, "apple pie"), "0 4");
	CHECK_STR(found(s, "APPLE Pie!"), "0 4");
	CHECK_STR(found(s, "pie OR plum"), "0 1 4");
	CHECK_STR(found(s, "pie OR plum AND tart"), "0 1 4");
	CHECK_STR(found(s, "(pie OR plum) AND tart"), "1");
	CHECK_STR(found(s, "(pie OR plum)tart"), "1");
	CHECK_STR(found(s, "pie OR bank england"), "0 2 3 4");
	CHECK_STR(found(s, "apple NOT pie"), "1");
	CHECK_STR(found(s, "apple AND NOT pie"), "1");
	CHECK_STR(found(s, "NOT pie AND red"), "1 3");
	CHECK_STR(found(s, "red NOT (pie OR bank)"), "1");
	CHECK_STR(found(s, "red NOT (pie bank)"), "0 1 3 4");
	CHECK_STR(found(s, "red AND NOT NOT pie"), "0 4");
	CHECK_STR(found(s, "red AND NOT (NOT pie)"), "0 4");
	CHECK_STR(found(s, "zebra OR plum"), "1");
	CHECK_STR(found(s, "zebra plum"), "");
	CHECK_STR(found(s, "plum NOT zebra"), "1");
	test_case("without a word that counts nothing is found");
	CHECK_STR(found(s, ""), "");
	CHECK_STR(found(s, " \n "), "");
	CHECK_STR(found(s, "NOT pie"), "");
	CHECK_STR(found(s, "plum OR NOT pie"), "1");
	CHECK_STR(found(s, "... AND (!)"), "");
	CHECK_STR(found(s, "\"\" plum \"--\" OR ?"), "1");
	test_case("operators are in capital letters and words of their own");
	CHECK_STR(found(s, "or"), "6");
	CHECK_STR(found(s, "red and plum"), "1");
	CHECK_STR(found(s, "\"NOT OR\""), "6");
	CHECK_STR(found(s, "AND, plum"), "1");
	test_case("phrases, hyphens");
	CHECK_STR(found(s, "\"red apple\""), "0 4");
	CHECK_STR(found(s, "\"apple red\""), "");
	CHECK_STR(found(s, "apple NOT \"red apple\""), "1");
	CHECK_STR(found(s, "\"apple apple pie\""), "4");
	CHECK_STR(found(s, "\"apple pie\" OR \"of England\""), "0 2 4");
	CHECK_STR(found(s, "\"bank of england\""), "2");
	CHECK_STR(found(s, "\"bank england\""), "");
	CHECK_STR(found(s, "\"plum\""), "1");
	CHECK_STR(found(s, "\"red zebra\""), "");
	CHECK_STR(found(s, "known-well"), "3");
	CHECK_STR(found(s, "\"well known\""), "3");
	CHECK_STR(found(s, "\"known well\""), "");
	test_case("what is no query, and where");
	CHECK_STR(found(s, "(red"), "!byte 5 of the query: ')' is missing");
	CHECK_STR(found(s, "red)"), "!byte 4 of the query: ')' without '('");
	CHECK_STR(found(s, ")"), "!byte 1 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "red ()"), "!byte 6 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "AND red"), "!byte 1 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "red OR"), "!byte 7 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "red AND AND pie"), "!byte 9 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "red NOT"), "!byte 8 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "NOT AND red"), "!byte 5 of the query: a word, a phrase or '(' is missing");
	CHECK_STR(found(s, "red \"pie"), "!byte 5 of the query: a phrase without its end");
	CHECK_STR(found(s, "red \""), "!byte 5 of the query: a phrase without its end");
	bm25_searcher_free(s);
	bm25_close(x);

	test_case("words that the analyzer drops ask for nothing, and keep their place in a phrase");
	x = index_of(BM25_PORTER, true, corpus, ARRAY_LEN(corpus));
	s = bm25_searcher_new(x, &params, &e);
	CHECK_STR(found(s, "the AND apples"), "0 1 4");
	CHECK_STR(found(s, "of OR apples"), "0 1 4");
	CHECK_STR(found(s, "apple NOT the"), "0 1 4");
	CHECK_STR(found(s, "\"bank of england\""), "2");
	CHECK_STR(found(s, "\"bank in england\""), "2");
	CHECK_STR(found(s, "\"bank england\""), "");
	CHECK_STR(found(s, "\"the banks\""), "2 3");
	CHECK_STR(found(s, "the"), "");
	bm25_searcher_free(s);
	bm25_close(x);
}

static void test_limits(void)
{
	struct err e;
	struct str q;
	struct bm25_index *x = index_of(BM25_NONE, true, corpus, ARRAY_LEN(corpus));
	struct bm25_searcher *s = bm25_searcher_new(x, &params, &e);
	str_init(&q);
	test_case("depth, terms and length are bounded");
	for (int over = 0; over < 2; over++) {
		str_clear(&q);
		for (int i = 0; i < BM25_BOOLEAN_DEPTH + over; i++)
			str_adds(&q, "NOT (");
		str_adds(&q, "plum");
		for (int i = 0; i < BM25_BOOLEAN_DEPTH + over; i++)
			str_addc(&q, ')');
		CHECK_STR(found(s, q.buf), over ? "!the query has more than 100 parentheses in each other" : "1");
		str_clear(&q);
		for (int i = 0; i < BM25_BOOLEAN_TERMS + over; i++)
			str_adds(&q, i % 7 ? "red " : "NOT x-");
		CHECK_STR(found(s, q.buf), over ? "!the query has more than 1024 terms" : "0 1 3 4");
		str_clear(&q);
		for (int i = 0; i < BM25_BOOLEAN_TERMS + over; i++)
			str_adds(&q, i ? " apple" : "\"apple");
		str_addc(&q, '"');
		CHECK_STR(found(s, q.buf), over ? "!the query has more than 1024 terms" : "");
		str_clear(&q);
		str_adds(&q, "plum");
		while (q.len < (size_t)BM25_BOOLEAN_BYTES + (size_t)over)
			str_addc(&q, ' ');
		CHECK_STR(found(s, q.buf), over ? "!the query has 65537 bytes, more than 65536" : "1");
	}
	str_clear(&q);
	while (q.len < BM25_BOOLEAN_BYTES - 8)
		str_adds(&q, "NOT ");
	str_adds(&q, "plum");
	CHECK_STR(found(s, q.buf), (q.len / 4 - 1) % 2 ? "" : "1");
	bm25_searcher_free(s);
	bm25_close(x);

	test_case("a phrase without positions is refused");
	x = index_of(BM25_NONE, false, corpus, ARRAY_LEN(corpus));
	s = bm25_searcher_new(x, &params, &e);
	CHECK_STR(found(s, "red OR pie"), "0 1 3 4");
	CHECK(strstr(found(s, "\"red apple\""), "the index keeps no positions; build it with rl-index --positions"));
	bm25_searcher_free(s);
	bm25_close(x);
	str_release(&q);
}

/* ---- at random ---- */

enum { N_WORDS = 8, N_DOCS = 700, LONGEST = 12, LEAF = 4 };

struct tree {
	enum { T_AND, T_OR, T_NOT, T_WORDS } kind;
	struct tree *child[3];
	int n; /* children, or words */
	int word[LEAF];
};

static uint64_t state = 1;
static int below(int n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (int)((state >> 33) % (uint64_t)n);
}

/* Words of low numbers are common: some lists have several blocks, some a few documents. */
static int any_word(void)
{
	int n = 1 + below(N_WORDS);
	return n < 4 ? below(n) : below(4) ? below(3) : below(N_WORDS);
}

static struct tree *any_tree(struct arena *a, int depth)
{
	struct tree *t = arena_array(a, 1, sizeof *t);
	t->kind = depth ? below(4) : T_WORDS;
	t->n = t->kind == T_WORDS ? (below(3) ? 1 : 2 + below(LEAF - 1)) : t->kind == T_NOT ? 1 : 2 + below(2);
	for (int i = 0; i < t->n; i++)
		if (t->kind == T_WORDS)
			t->word[i] = any_word();
		else
			t->child[i] = any_tree(a, depth - 1);
	return t;
}

static bool holds(const struct tree *t, const int *doc, int len)
{
	if (t->kind == T_NOT)
		return !holds(t->child[0], doc, len);
	if (t->kind == T_WORDS) {
		for (int at = 0; at + t->n <= len; at++)
			if (!memcmp(doc + at, t->word, (size_t)t->n * sizeof *doc))
				return true;
		return false;
	}
	for (int i = 0; i < t->n; i++)
		if (holds(t->child[i], doc, len) == (t->kind == T_OR))
			return t->kind == T_OR;
	return t->kind == T_AND;
}

/* The query as text, with the parentheses that are needed and some that are not, and its words that count. */
static void put_tree(const struct tree *t, bool negated, struct str *text, struct str *words)
{
	if (t->kind == T_WORDS) {
		bool quoted = t->n > 1 || !below(4);
		for (int i = 0; i < t->n; i++) {
			str_addf(text, "%s%c", i ? " " : quoted ? "\"" : "", 'a' + t->word[i]);
			if (!negated)
				str_addf(words, "%c ", 'a' + t->word[i]);
		}
		str_adds(text, quoted ? "\"" : "");
		return;
	}
	str_adds(text, t->kind == T_NOT ? "NOT " : "");
	for (int i = 0; i < t->n; i++) {
		bool loose = t->child[i]->kind == T_OR || (t->child[i]->kind == T_AND && t->kind == T_NOT);
		bool inner = (loose && t->kind != T_OR) || !below(5);
		if (i)
			str_adds(text, t->kind == T_OR ? " OR " : below(2) ? " AND " : " ");
		str_adds(text, inner ? "(" : "");
		put_tree(t->child[i], negated != (t->kind == T_NOT), text, words);
		str_adds(text, inner ? ")" : "");
	}
}

static void check_random(struct bm25_searcher *s, struct bm25_searcher *slow, const int (*docs)[LONGEST],
                         const int *lengths, int64_t *n_found)
{
	struct arena a;
	struct str text, words;
	struct err e;
	const struct bm25_hit *got, *want;
	int64_t n_got, n_want, k = below(2) ? N_DOCS : 1 + below(20), n = 0;
	arena_init(&a);
	str_init(&text);
	str_init(&words);
	const struct tree *t = any_tree(&a, below(5));
	put_tree(t, false, &text, &words);
	CHECK_INT(bm25_search_boolean(s, text.buf, text.len, k, &got, &n_got, &e), 1);
	CHECK(!bm25_search(slow, words.buf, words.len, N_DOCS, &want, &n_want, &e));
	for (int64_t i = 0; i < n_want && n < k; i++) {
		if (!holds(t, docs[want[i].doc], lengths[want[i].doc]))
			continue;
		if (n >= n_got || got[n].doc != want[i].doc || got[n].score != want[i].score) {
			test_fail(__FILE__, __LINE__, "%s: rank %lld is not document %u", text.buf, (long long)n,
			          want[i].doc);
			break;
		}
		n++;
	}
	if (n_got != n)
		test_fail(__FILE__, __LINE__, "%s: %lld hits, expected %lld", text.buf, (long long)n_got, (long long)n);
	*n_found += n;
	str_release(&text);
	str_release(&words);
	arena_release(&a);
}

static void test_random(void)
{
	static int docs[N_DOCS][LONGEST], lengths[N_DOCS];
	static char texts[N_DOCS][2 * LONGEST + 1];
	const char *p[N_DOCS];
	struct err e;
	int64_t n_found = 0;
	test_case("random queries: what every document by itself says, ranked as the plain search ranks");
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < N_DOCS; i++) {
			lengths[i] = below(LONGEST + 1);
			for (int j = 0; j < lengths[i]; j++) {
				docs[i][j] = any_word();
				texts[i][2 * j] = (char)('a' + docs[i][j]);
				texts[i][2 * j + 1] = ' ';
			}
			texts[i][2 * lengths[i]] = 0;
			p[i] = texts[i];
		}
		struct bm25_index *x = index_of(BM25_NONE, true, p, round ? N_DOCS : 20);
		struct bm25_searcher *s = bm25_searcher_new(x, &params, &e), *slow = bm25_searcher_new(x, &all, &e);
		for (int i = 0; i < 3000; i++)
			check_random(s, slow, docs, lengths, &n_found);
		bm25_searcher_free(s);
		bm25_searcher_free(slow);
		bm25_close(x);
	}
	CHECK(n_found > 100000);
}

int main(void)
{
	char command[64];
	if (!mkdtemp(dir))
		return 1;
	test_hand();
	test_limits();
	test_random();
	snprintf(command, sizeof command, "rm -r %s", dir);
	if (system(command))
		return 1;
	return test_done();
}
