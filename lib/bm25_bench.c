/*
 * bm25_bench - how fast an index is built and searched, and whether pruning changes anything; never part of a test.
 *
 *   bm25_bench [-n DOCUMENTS] [-w WORDS] [-m MIB] [-q QUERIES] [-k HITS] [-d DIRECTORY] [SECTION...]
 *
 * First a corpus becomes JSON Lines, and an index, as rl-index makes it, in a process of its own: the fastest of three
 * times, and the most memory that was resident against the bound of -m.  Then one section or both, none for any other
 * word:
 *
 * plain    queries by each form of BM25, pruned and exhaustive in turn: ids and scores must be the same bits
 * boolean  the same words with OR between them: the hits of the plain query, and its time beside that of plain ones;
 *          then (a OR b ...) AND c, pruned and exhaustive
 *
 * The corpus: VOCABULARY words, the r-th most frequent with probability in proportion to 1/r, each drawn for itself;
 * the length of a document is log-normal with a mean of WORDS and a sigma of SIGMA.  A query has 3 to 12 words of one
 * document, of those that are in at least one document of a thousand, by their frequency there: the common words of
 * the language too.  Everything follows from lib/rng, so two runs see the same texts.  Times are CPU times: others may
 * have the machine too.
 */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/bm25.h"
#include "lib/bm25_corpus.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "lib/util.h"

enum { ROUNDS = 3, VOCABULARY = 100000, WORD_ROOM = 12, LEAST = 3, MOST = 12, RARE = 1000 };
static const double SIGMA = .5;

struct bench {
	int64_t n, words, mib, queries, k;
	const char *dir;
	char corpus[512], index[512];
	uint64_t key;
	/* the words' alias table (Walker 1977), and their texts */
	double *accept;
	uint32_t *alias;
	char (*word)[WORD_ROOM];
	uint32_t *text; /* of the current document, as words */
	size_t text_n, text_cap;
	uint32_t common; /* words before it are in at least one document of RARE */
};

static _Noreturn void fail(const char *what, const struct err *e)
{
	fprintf(stderr, "bm25_bench: %s%s%s\n", what, e ? ": " : "", e ? e->msg : "");
	exit(1);
}

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the language ---- */

/* Syllables, the shortest words for the most frequent. */
static void spell(uint32_t rank, char out[WORD_ROOM])
{
	static const char consonant[] = "bcdfghklmnprstvz", vowel[] = "aeiou";
	enum { SYLLABLES = 16 * 5 };
	size_t n = 0;
	rank += 16; /* so that no word has one letter */
	for (; rank; rank /= SYLLABLES) {
		out[n++] = consonant[rank % SYLLABLES / 5];
		out[n++] = vowel[rank % 5];
	}
	out[n] = 0;
}

static void language_init(struct bench *b)
{
	double *p = xcalloc(VOCABULARY, sizeof *p), sum = 0;
	uint32_t *stack = xcalloc(VOCABULARY, sizeof *stack), small = 0, large = VOCABULARY;
	b->accept = xcalloc(VOCABULARY, sizeof *b->accept);
	b->alias = xcalloc(VOCABULARY, sizeof *b->alias);
	b->word = xcalloc(VOCABULARY, sizeof *b->word);
	for (uint32_t i = 0; i < VOCABULARY; i++)
		sum += 1. / (i + 1);
	for (uint32_t i = 0; i < VOCABULARY; i++) {
		spell(i, b->word[i]);
		p[i] = VOCABULARY / sum / (i + 1);
		if (p[i] < 1)
			stack[small++] = i;
		else
			stack[--large] = i;
	}
	while (small && large < VOCABULARY) {
		uint32_t s = stack[--small], l = stack[large];
		b->accept[s] = p[s];
		b->alias[s] = l;
		p[l] -= 1 - p[s];
		if (p[l] < 1) {
			large++;
			stack[small++] = l;
		}
	}
	for (; small; small--)
		b->accept[stack[small - 1]] = 1;
	for (; large < VOCABULARY; large++)
		b->accept[stack[large]] = 1;
	/* in an average document with probability 1 - (1 - p)^words */
	double least = 1 - pow(1 - 1. / RARE, 1. / (double)b->words);
	while (b->common < VOCABULARY && 1 / sum / (b->common + 1) >= least)
		b->common++;
	free(p);
	free(stack);
}

static uint32_t draw(const struct bench *b, uint32_t x, uint32_t y)
{
	uint32_t i = (uint32_t)((uint64_t)x * VOCABULARY >> 32);
	return y * 0x1p-32 < b->accept[i] ? i : b->alias[i];
}

static void document(struct bench *b, uint64_t doc)
{
	double z = rng_normal(b->key, doc, 0, 0);
	b->text_n = (size_t)fmax(1, rint((double)b->words * exp(SIGMA * z - SIGMA * SIGMA / 2)));
	if (b->text_cap < b->text_n + 1) {
		b->text_cap = 2 * b->text_n + 1;
		b->text = xrealloc_array(b->text, b->text_cap, sizeof *b->text);
	}
	for (size_t i = 0; i < b->text_n; i += 2) {
		uint32_t x[4];
		rng_words(x, b->key, doc, (uint32_t)i + 1, 0);
		b->text[i] = draw(b, x[0], x[1]);
		b->text[i + 1] = draw(b, x[2], x[3]);
	}
}

static uint32_t below(const struct bench *b, uint32_t n, uint64_t query, uint32_t place)
{
	return (uint32_t)(rng_uniform(b->key ^ 1, query, place, 0) * n);
}

/* Words of one document with `between` between them. */
static void make_query(struct bench *b, uint64_t number, const char *between, struct str *out)
{
	uint32_t n = LEAST + below(b, MOST - LEAST + 1, number, 0), place = 1, have = 0;
	str_clear(out);
	while (have < n) {
		document(b, below(b, (uint32_t)b->n, number, place++));
		for (uint32_t tries = 0; have < n && tries < 4 * MOST; tries++) {
			uint32_t w = b->text[below(b, (uint32_t)b->text_n, number, place++)];
			if (w < b->common)
				str_addf(out, "%s%s", have++ ? between : "", b->word[w]);
		}
	}
}

/* ---- build ---- */

static void write_corpus(struct bench *b)
{
	FILE *f = fopen(b->corpus, "w");
	if (!f)
		fail(b->corpus, NULL);
	for (int64_t doc = 0; doc < b->n; doc++) {
		document(b, (uint64_t)doc);
		fprintf(f, "{\"id\":\"d%lld\",\"text\":\"", (long long)doc);
		for (size_t i = 0; i < b->text_n; i++) {
			if (i)
				putc(' ', f);
			fputs(b->word[b->text[i]], f);
		}
		fputs("\"}\n", f);
	}
	if (fclose(f))
		fail(b->corpus, NULL);
}

/* What rl-index does. */
static void index_corpus(const struct bench *b)
{
	const struct bm25_options o = {.memory = (size_t)b->mib << 20};
	struct corpus_document doc;
	struct err e;
	int rc;
	mallopt(M_MMAP_THRESHOLD, 1 << 16);
	struct corpus *c = corpus_open(b->corpus, NULL, NULL, &e);
	struct bm25_builder *x = c ? bm25_builder_new(&o, b->index, &e) : NULL;
	if (!x)
		fail("build", &e);
	while ((rc = corpus_next(c, &doc, &e)) > 0)
		if (bm25_builder_add(x, doc.id, doc.id_len, doc.text, doc.len, &e))
			fail("build", &e);
	if (rc || bm25_builder_save(x, &e))
		fail("build", &e);
	bm25_builder_free(x);
	corpus_close(c);
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static void build(struct bench *b)
{
	double best = INFINITY, sys = 0, wall = 0, most = 0;
	fflush(stdout);
	for (int round = 0; round < ROUNDS; round++) {
		struct rusage used;
		int status;
		double start = now_seconds();
		pid_t child = fork();
		if (!child) {
			index_corpus(b);
			_exit(0);
		}
		if (child < 0 || wait4(child, &status, 0, &used) != child || status)
			fail("the build failed", NULL);
		double cpu = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
		most = fmax(most, (double)used.ru_maxrss * 1024e-6);
		if (cpu >= best)
			continue;
		best = cpu;
		sys = seconds_of(used.ru_stime);
		wall = now_seconds() - start;
	}
	printf("build, %lld documents of %lld words: %.2f s of CPU time (%.2f of it the system's), %.2f s in all: %.0f "
	       "documents/s; %.0f MB resident at most, bound %.0f\n",
	       (long long)b->n, (long long)b->words, best, sys, wall, (double)b->n / best, most,
	       (double)b->mib * 1048576e-6);
	fflush(stdout);
}

/* ---- search ---- */

enum form { PLAIN, ANY, ALL };

static double timed(struct bm25_searcher *s, const struct str *q, enum form form, int64_t k,
                    const struct bm25_hit **hits, int64_t *n)
{
	struct err e;
	double start = cpu_seconds();
	if (form == PLAIN ? bm25_search(s, q->buf, q->len, k, hits, n, &e)
	                  : bm25_search_boolean(s, q->buf, q->len, k, hits, n, &e) != 1)
		fail("search", &e);
	return cpu_seconds() - start;
}

static bool same(const struct bm25_hit *a, int64_t n_a, const struct bm25_hit *b, int64_t n_b)
{
	if (n_a != n_b)
		return false;
	for (int64_t i = 0; i < n_a; i++)
		if (a[i].doc != b[i].doc || memcmp(&a[i].score, &b[i].score, sizeof a[i].score))
			return false;
	return true;
}

static struct bm25_searcher *searcher(const struct bm25_index *x, int variant, bool exhaustive)
{
	const struct bm25_params p = {(enum bm25_variant)variant, 1.2, .75, exhaustive};
	struct err e;
	struct bm25_searcher *s = bm25_searcher_new(x, &p, &e);
	if (!s)
		fail("search", &e);
	return s;
}

static void query_of(struct bench *b, enum form form, uint64_t number, struct str *q)
{
	make_query(b, number, form == PLAIN ? " " : " OR ", q);
	if (form != ALL)
		return;
	char *last = strrchr(q->buf, 'R');
	memcpy(last - 1, ") ", 2); /* "a OR b OR c": (a OR b ) c */
	struct str whole;
	str_init(&whole);
	str_addf(&whole, "(%s", q->buf);
	str_release(q);
	*q = whole;
}

/* Both ways in turn; the same hits. */
static int compare(struct bench *b, const struct bm25_index *x, const char *name, int variant, enum form form)
{
	struct bm25_searcher *s[2] = {searcher(x, variant, false), searcher(x, variant, true)};
	double seconds[2] = {0, 0};
	int64_t n[2], differ = 0, found = 0;
	const struct bm25_hit *hits[2];
	struct str q;
	str_init(&q);
	for (int64_t i = 0; i < b->queries; i++) {
		query_of(b, form, (uint64_t)i, &q);
		for (int way = 0; way < 2; way++)
			seconds[way] += timed(s[way], &q, form, b->k, &hits[way], &n[way]);
		differ += !same(hits[0], n[0], hits[1], n[1]);
		found += n[0];
	}
	printf("%s, best %lld of %lld queries: pruned %.0f, exhaustive %.0f queries/s: ratio %.1f; %lld hits, %lld "
	       "queries differ\n",
	       name, (long long)b->k, (long long)b->queries, (double)b->queries / seconds[0],
	       (double)b->queries / seconds[1], seconds[1] / seconds[0], (long long)found, (long long)differ);
	fflush(stdout);
	for (int way = 0; way < 2; way++)
		bm25_searcher_free(s[way]);
	str_release(&q);
	return differ ? 1 : 0;
}

/* The same words as a plain query and with OR between them. */
static int any_against_plain(struct bench *b, const struct bm25_index *x)
{
	struct bm25_searcher *s[2] = {searcher(x, BM25_LUCENE, false), searcher(x, BM25_LUCENE, false)};
	double seconds[2] = {0, 0};
	int64_t n[2], differ = 0;
	const struct bm25_hit *hits[2];
	struct str q;
	str_init(&q);
	for (int64_t i = 0; i < b->queries; i++) {
		for (int form = PLAIN; form <= ANY; form++) {
			query_of(b, (enum form)form, (uint64_t)i, &q);
			seconds[form] += timed(s[form], &q, (enum form)form, b->k, &hits[form], &n[form]);
		}
		differ += !same(hits[0], n[0], hits[1], n[1]);
	}
	printf("a OR b ..., best %lld of %lld queries: %.0f queries/s, as a plain query %.0f: ratio %.2f; %lld queries "
	       "differ\n",
	       (long long)b->k, (long long)b->queries, (double)b->queries / seconds[ANY],
	       (double)b->queries / seconds[PLAIN], seconds[PLAIN] / seconds[ANY], (long long)differ);
	fflush(stdout);
	bm25_searcher_free(s[0]);
	bm25_searcher_free(s[1]);
	str_release(&q);
	return differ ? 1 : 0;
}

static int search(struct bench *b, bool plain, bool boolean)
{
	static const char *const names[] = {"robertson", "atire", "lucene", "bm25l", "bm25+"};
	struct err e;
	struct bm25_index *x = bm25_open(b->index, &e);
	int status = 0;
	if (!x)
		fail("search", &e);
	for (int v = 0; v < 5 && plain; v++)
		status |= compare(b, x, names[v], v, PLAIN);
	if (boolean) {
		status |= any_against_plain(b, x);
		status |= compare(b, x, "(a OR b ...) AND c, lucene", BM25_LUCENE, ALL);
	}
	bm25_close(x);
	return status;
}

int main(int argc, char **argv)
{
	struct bench b = {.n = 100000, .words = 100, .mib = 256, .queries = 10000, .k = 10, .dir = P_tmpdir};
	bool want_plain = true, want_boolean = true;
	for (int opt; (opt = getopt(argc, argv, "n:w:m:q:k:d:")) != -1;) {
		int64_t *field = opt == 'n'   ? &b.n
		                 : opt == 'w' ? &b.words
		                 : opt == 'm' ? &b.mib
		                 : opt == 'q' ? &b.queries
		                 : opt == 'k' ? &b.k
		                              : NULL;
		if (opt == 'd')
			b.dir = optarg;
		else if (!field || !parse_i64(optarg, field) || *field < 1)
			return 2;
	}
	if (optind < argc) {
		want_plain = want_boolean = false;
		for (; optind < argc; optind++) {
			want_plain |= !strcmp(argv[optind], "plain");
			want_boolean |= !strcmp(argv[optind], "boolean");
		}
	}
	snprintf(b.corpus, sizeof b.corpus, "%s/rl-bm25-bench-%ld.jsonl", b.dir, (long)getpid());
	snprintf(b.index, sizeof b.index, "%s/rl-bm25-bench-%ld.lmdb", b.dir, (long)getpid());
	b.key = rng_key("bench", 1, "bm25", 0);
	language_init(&b);
	write_corpus(&b);
	build(&b);
	int status = search(&b, want_plain, want_boolean);
	unlink(b.corpus);
	unlink(b.index);
	free(b.accept);
	free(b.alias);
	free(b.word);
	free(b.text);
	return status;
}
