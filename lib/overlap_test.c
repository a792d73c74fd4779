/* overlap: every golden value of other implementations, published vectors (each that is not offered is named with its
 * reason), alignment against the plain tables, texts that a model may make. */
#include "lib/overlap_impl.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static struct json member(const struct json *v, const char *key)
{
	struct json out = {.kind = JSON_ABSENT};
	json_member(v, key, &out);
	return out;
}

/* One text and its references. */
struct pair {
	const char *hyp;
	const char *ref[8];
	size_t hyp_len, ref_len[8];
	int64_t n_refs;
};

static int take_ref(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct pair *p = arg;
	(void)key;
	(void)key_len;
	CHECK(i < 8 && item->kind == JSON_STRING);
	p->ref[i] = item->text;
	p->ref_len[i] = item->len;
	p->n_refs = i + 1;
	return 0;
}

static struct pair pair_of(const struct json *hyp, const struct json *refs)
{
	struct pair p = {.hyp = hyp->text, .hyp_len = hyp->len};
	json_each(refs, take_ref, &p);
	return p;
}

static struct overlap *new (const char *const *names, size_t n, bool corpus)
{
	struct err e;
	struct overlap *o = overlap_new(names, n, corpus, &e);
	if (!o)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return o;
}

static void score(struct overlap *o, const struct pair *p, double *out)
{
	const struct overlap_refs refs = {p->ref, p->ref_len, p->n_refs};
	overlap_score(o, p->hyp, p->hyp_len, &refs, out);
}

/* The value of one measure for strings; the last reference is NULL. */
static double one(const char *name, const char *hyp, const char *const *ref)
{
	struct overlap *o = new (&name, 1, false);
	struct pair p = {.hyp = hyp, .hyp_len = strlen(hyp)};
	double out = NAN;
	for (; ref[p.n_refs]; p.n_refs++) {
		p.ref[p.n_refs] = ref[p.n_refs];
		p.ref_len[p.n_refs] = strlen(ref[p.n_refs]);
	}
	score(o, &p, &out);
	overlap_free(o);
	return out;
}
#define ONE(name, hyp, ...) one(name, hyp, (const char *const[]){__VA_ARGS__, NULL})

static void near(const char *id, const char *name, double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		test_fail(__FILE__, __LINE__, "%s %s is %.12g, expected %.12g", id, name, got, want);
}

/* ---- ../shared/golden/score/overlap: sentences ---- */

/* Names, and where their values are: fields of the pair, a number an index. */
struct wanted {
	const char *name, *path;
};
static const struct wanted all_refs[] = {
        {"bleu", "bleu/exp"},
        {"bleu:smooth=floor", "bleu/floor"},
        {"bleu:smooth=add-k", "bleu/add-k"},
        {"bleu:smooth=none", "bleu/none"},
        {"chrf", "chrf"},
        {"chrf++", "chrf++"},
        {"nltk_bleu:n=1", "nltk_bleu/method0/0"},
        {"nltk_bleu:n=2", "nltk_bleu/method0/1"},
        {"nltk_bleu:n=3", "nltk_bleu/method0/2"},
        {"nltk_bleu", "nltk_bleu/method0/3"},
        {"nltk_bleu:n=1:method=1", "nltk_bleu/method1/0"},
        {"nltk_bleu:n=2:method=1", "nltk_bleu/method1/1"},
        {"nltk_bleu:n=3:method=1", "nltk_bleu/method1/2"},
        {"nltk_bleu:method=1", "nltk_bleu/method1/3"},
        {"nltk_bleu:n=1:method=2", "nltk_bleu/method2/0"},
        {"nltk_bleu:n=2:method=2", "nltk_bleu/method2/1"},
        {"nltk_bleu:n=3:method=2", "nltk_bleu/method2/2"},
        {"nltk_bleu:method=2", "nltk_bleu/method2/3"},
        {"nltk_bleu:n=1:method=3", "nltk_bleu/method3/0"},
        {"nltk_bleu:n=2:method=3", "nltk_bleu/method3/1"},
        {"nltk_bleu:n=3:method=3", "nltk_bleu/method3/2"},
        {"nltk_bleu:method=3", "nltk_bleu/method3/3"},
        {"nltk_bleu:n=1:method=4", "nltk_bleu/method4/0"},
        {"nltk_bleu:n=2:method=4", "nltk_bleu/method4/1"},
        {"nltk_bleu:n=3:method=4", "nltk_bleu/method4/2"},
        {"nltk_bleu:method=4", "nltk_bleu/method4/3"},
        {"nltk_bleu:method=5", "nltk_bleu/method5/0"},
        {"nltk_bleu:method=7", "nltk_bleu/method7/0"},
        {"squad_em", "squad/em"},
        {"squad_f1", "squad/f1"},
        {"distinct_1", "distinct/0"},
        {"distinct_2", "distinct/1"},
        {"distinct_3", "distinct/2"},
        {"distinct_4", "distinct/3"},
};
static const struct wanted first_ref[] = {
        {"bleu", "bleu_first_ref/exp"},
        {"bleu:smooth=floor", "bleu_first_ref/floor"},
        {"bleu:smooth=add-k", "bleu_first_ref/add-k"},
        {"bleu:smooth=none", "bleu_first_ref/none"},
        {"nltk_bleu", "nltk_bleu_first_ref/method0/3"},
        {"nltk_bleu:method=1", "nltk_bleu_first_ref/method1/3"},
        {"nltk_bleu:method=2:n=3", "nltk_bleu_first_ref/method2/2"},
        {"nltk_bleu:method=3", "nltk_bleu_first_ref/method3/3"},
        {"nltk_bleu:method=4", "nltk_bleu_first_ref/method4/3"},
        {"nltk_bleu:method=5", "nltk_bleu_first_ref/method5/0"},
        {"nltk_bleu:method=7", "nltk_bleu_first_ref/method7/0"},
        {"bleu@1", "single_order_bleu/0"},
        {"bleu@2", "single_order_bleu/1"},
        {"bleu@3", "single_order_bleu/2"},
        {"bleu@4", "single_order_bleu/3"},
        {"rouge1:p", "rouge/plain/rouge1/0"},
        {"rouge1:r", "rouge/plain/rouge1/1"},
        {"rouge1", "rouge/plain/rouge1/2"},
        {"rouge2:p", "rouge/plain/rouge2/0"},
        {"rouge2:r", "rouge/plain/rouge2/1"},
        {"rouge2:f", "rouge/plain/rouge2/2"},
        {"rougeL:p", "rouge/plain/rougeL/0"},
        {"rougeL:r", "rouge/plain/rougeL/1"},
        {"rougeL", "rouge/plain/rougeL/2"},
        {"rougeLsum:p", "rouge/plain/rougeLsum/0"},
        {"rougeLsum:r", "rouge/plain/rougeLsum/1"},
        {"rougeLsum", "rouge/plain/rougeLsum/2"},
        {"rouge1:p:stem", "rouge/stem/rouge1/0"},
        {"rouge1:stem:r", "rouge/stem/rouge1/1"},
        {"rouge1:stem", "rouge/stem/rouge1/2"},
        {"rouge2:stem:p", "rouge/stem/rouge2/0"},
        {"rouge2:stem:r", "rouge/stem/rouge2/1"},
        {"rouge2:stem", "rouge/stem/rouge2/2"},
        {"rougeL:stem:p", "rouge/stem/rougeL/0"},
        {"rougeL:stem:r", "rouge/stem/rougeL/1"},
        {"rougeL:stem", "rouge/stem/rougeL/2"},
        {"rougeLsum:stem:p", "rouge/stem/rougeLsum/0"},
        {"rougeLsum:stem:r", "rouge/stem/rougeLsum/1"},
        {"rougeLsum:stem", "rouge/stem/rougeLsum/2"},
        {"wer", "wer/wer"},
};

struct nth {
	int64_t i;
	struct json out;
};
static int take_nth(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct nth *n = arg;
	(void)key;
	(void)key_len;
	n->out = *item;
	return i == n->i;
}
static struct json item(const struct json *v, int64_t i)
{
	struct nth n = {.i = i};
	json_each(v, take_nth, &n);
	return n.out;
}

static struct json at(const struct json *v, const char *path)
{
	char copy[128], *rest = copy, *part;
	struct json now = *v;
	snprintf(copy, sizeof copy, "%s", path);
	while ((part = strsep(&rest, "/")))
		now = part[0] >= '0' && part[0] <= '9' ? item(&now, part[0] - '0') : member(&now, part);
	return now;
}

static struct overlap *of_table(const struct wanted *w, size_t n)
{
	const char *names[64];
	for (size_t i = 0; i < n; i++)
		names[i] = w[i].name;
	return new (names, n, false);
}

static void check_pair(struct overlap *o, const struct wanted *w, size_t n, const struct json *v, int64_t most_refs)
{
	struct json hyp = member(v, "hyp"), refs = member(v, "refs"), id = member(v, "id");
	struct pair p = pair_of(&hyp, &refs);
	double got[64];
	if (p.n_refs > most_refs)
		p.n_refs = most_refs;
	score(o, &p, got);
	for (size_t i = 0; i < n; i++) {
		struct json want = at(v, w[i].path);
		if (want.kind == JSON_NULL)
			CHECK(isnan(got[i]));
		else
			near(id.text, w[i].name, got[i], want.number, 1e-9);
		CHECK(want.kind == JSON_NULL || want.kind == JSON_NUMBER);
	}
}

static void test_pairs(void)
{
	const char *path = test_shared("golden/score/overlap/pairs.jsonl");
	struct err e;
	struct json v;
	char *line;
	size_t len;
	int64_t n = 0;
	if (!path) {
		test_skip("../shared is not here");
		return;
	}
	struct stream *in = stream_open(path, &e);
	struct record *r = record_new();
	struct overlap *all = of_table(all_refs, ARRAY_LEN(all_refs)),
	               *first = of_table(first_ref, ARRAY_LEN(first_ref));
	for (; stream_next(in, &line, &len, &e) == 1; n++) {
		CHECK(!record_parse_value(r, line, len, &v, &e));
		check_pair(all, all_refs, ARRAY_LEN(all_refs), &v, 8);
		check_pair(first, first_ref, ARRAY_LEN(first_ref), &v, 1);
	}
	CHECK_INT(n, 200);
	overlap_free(all);
	overlap_free(first);
	record_free(r);
	stream_close(in);
}

/* ---- and corpora ---- */

static const struct wanted corpus_values[] = {
        {"bleu", "bleu_exp"},
        {"bleu:smooth=floor", "bleu_floor"},
        {"bleu:smooth=add-k", "bleu_add-k"},
        {"bleu:smooth=none", "bleu_none"},
        {"chrf", "chrf"},
        {"chrf++", "chrf++"},
        {"distinct_1:mean", "distinct_mean_of_responses/0"},
        {"distinct_2:mean", "distinct_mean_of_responses/1"},
        {"distinct_3:mean", "distinct_mean_of_responses/2"},
        {"distinct_4:mean", "distinct_mean_of_responses/3"},
        {"distinct_1", "distinct_corpus/0"},
        {"distinct_2", "distinct_corpus/1"},
        {"distinct_3", "distinct_corpus/2"},
        {"distinct_4", "distinct_corpus/3"},
        {"distinct_1:ecr", "distinct_per_sentence_ecr/0"},
        {"distinct_2:ecr", "distinct_per_sentence_ecr/1"},
        {"distinct_3:ecr", "distinct_per_sentence_ecr/2"},
        {"distinct_4:ecr", "distinct_per_sentence_ecr/3"},
        {"sent_cnt", "sentences"},
};
/* by the first reference alone */
static const struct wanted corpus_first[] = {
        {"bleu@1:ecr", "bleu_single_order_per_sentence_ecr/0"},
        {"bleu@2:ecr", "bleu_single_order_per_sentence_ecr/1"},
        {"bleu@3:ecr", "bleu_single_order_per_sentence_ecr/2"},
        {"bleu@4:ecr", "bleu_single_order_per_sentence_ecr/3"},
        {"wer", "wer"},
};

/* All lines of the pairs, by number. */
struct texts {
	struct record **record;
	struct json *v;
	char **line;
	int64_t n;
};

static void read_texts(struct texts *t, const char *path)
{
	struct err e;
	char *line;
	size_t len;
	struct stream *in = stream_open(path, &e);
	*t = (struct texts){.record = xcalloc(200, sizeof *t->record),
	                    .v = xcalloc(200, sizeof *t->v),
	                    .line = xcalloc(200, sizeof *t->line)};
	for (; t->n < 200 && stream_next(in, &line, &len, &e) == 1; t->n++) {
		t->record[t->n] = record_new();
		t->line[t->n] = xstrndup(line, len);
		CHECK(!record_parse_value(t->record[t->n], t->line[t->n], len, &t->v[t->n], &e));
	}
	stream_close(in);
}

static void free_texts(struct texts *t)
{
	for (int64_t i = 0; i < t->n; i++) {
		record_free(t->record[i]);
		free(t->line[i]);
	}
	free(t->record);
	free(t->v);
	free(t->line);
}

struct adding {
	struct overlap *o;
	const struct texts *texts;
	int64_t n_refs;
};
static int add_text(void *arg, int64_t i, const char *key, size_t key_len, const struct json *id)
{
	struct adding *a = arg;
	int64_t number = 0;
	(void)i;
	(void)key;
	(void)key_len;
	CHECK(parse_i64(id->text + 1, &number) && number < a->texts->n);
	const struct json *v = &a->texts->v[number];
	struct json hyp = member(v, "hyp"), refs = member(v, "refs");
	struct pair p = pair_of(&hyp, &refs);
	const struct overlap_refs given = {p.ref, p.ref_len, p.n_refs < a->n_refs ? p.n_refs : a->n_refs};
	overlap_corpus_add(a->o, p.hyp, p.hyp_len, &given, NULL);
	return 0;
}

static void check_set(const struct wanted *w, size_t n, const char *name, const struct json *set,
                      const struct texts *texts, int64_t n_refs)
{
	const char *names[64];
	struct json ids = member(set, "ids");
	int64_t had;
	for (size_t i = 0; i < n; i++)
		names[i] = w[i].name;
	struct adding a = {new (names, n, true), texts, n_refs};
	json_each(&ids, add_text, &a);
	for (size_t i = 0; i < n; i++)
		near(name, w[i].name, overlap_corpus_value(a.o, i, &had), at(set, w[i].path).number, 1e-9);
	for (int k = 0; k < 4 && !strcmp(names[0], "bleu"); k++) {
		struct json correct = member(set, "correct"), total = member(set, "total");
		CHECK_INT(a.o->metric[0].sum[k], item(&correct, k).integer);
		CHECK_INT(a.o->metric[0].sum[OVERLAP_ORDERS + k], item(&total, k).integer);
	}
	overlap_free(a.o);
}

struct sets {
	const struct texts *texts;
	int64_t n;
};
static int take_set(void *arg, int64_t i, const char *key, size_t key_len, const struct json *set)
{
	struct sets *s = arg;
	char name[32];
	(void)i;
	snprintf(name, sizeof name, "%.*s", (int)key_len, key);
	s->n++;
	check_set(corpus_values, ARRAY_LEN(corpus_values), name, set, s->texts, member(set, "references").integer);
	check_set(corpus_first, ARRAY_LEN(corpus_first), name, set, s->texts, 1);
	return 0;
}
static int take_self(void *arg, int64_t i, const char *key, size_t key_len, const struct json *set)
{
	struct sets *s = arg;
	static const struct wanted self[] = {{"self_bleu", "value"}};
	(void)i;
	(void)key;
	(void)key_len;
	s->n++;
	check_set(self, 1, "self", set, s->texts, 1);
	return 0;
}

/* A whole file, and its value. */
static struct json read_json(struct record *r, const char *path, char **text)
{
	struct err e;
	struct json v;
	struct str s;
	char buf[4096];
	size_t n;
	str_init(&s);
	FILE *f = fopen(path, "r");
	while (f && (n = fread(buf, 1, sizeof buf, f)) > 0)
		str_add(&s, buf, n);
	CHECK(f && !fclose(f));
	CHECK(!record_parse_value(r, s.buf, s.len, &v, &e));
	*text = str_detach(&s);
	return v;
}

static void test_corpora(void)
{
	const char *path = test_shared("golden/score/overlap/corpus.json");
	struct texts texts;
	char *text;
	if (!path) {
		test_skip("../shared is not here");
		return;
	}
	struct record *r = record_new();
	struct json v = read_json(r, path, &text), sets = member(&v, "sets"), self = member(&v, "self_bleu");
	read_texts(&texts, test_shared("golden/score/overlap/pairs.jsonl"));
	struct sets s = {&texts, 0};
	json_each(&sets, take_set, &s);
	CHECK_INT(s.n, json_length(&sets));
	s.n = 0;
	json_each(&self, take_self, &s);
	CHECK_INT(s.n, 8);
	free_texts(&texts);
	record_free(r);
	free(text);
}

/* ---- ../shared/data/metrics/sacrebleu_vectors.json ---- */

static double corpus_of(const char *name, const struct json *hyps, const struct json *ref_lists, int64_t *sums)
{
	struct overlap *o = new (&name, 1, true);
	int64_t n = 0, n_lists = json_length(ref_lists);
	for (int64_t i = 0; i < json_length(hyps); i++) {
		struct json h = item(hyps, i);
		struct pair p = {.hyp = h.text, .hyp_len = h.len, .n_refs = n_lists};
		for (int64_t k = 0; k < n_lists; k++) {
			struct json list = item(ref_lists, k), ref = item(&list, i);
			p.ref[k] = ref.text;
			p.ref_len[k] = ref.len;
		}
		const struct overlap_refs refs = {p.ref, p.ref_len, p.n_refs};
		overlap_corpus_add(o, p.hyp, p.hyp_len, &refs, NULL);
	}
	double value = overlap_corpus_value(o, 0, &n);
	if (sums)
		memcpy(sums, o->metric[0].sum, sizeof o->metric[0].sum);
	overlap_free(o);
	return value;
}

static int raw_corpus(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct json hyps = member(c, "hyps"), refs = member(c, "refs");
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	near("raw corpus", "bleu", corpus_of("bleu:tok=none:smooth=floor:value=.01", &hyps, &refs, NULL),
	     100 * member(c, "bleu").number, 1e-6);
	return 0;
}

static int corpus_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct json hyps = member(c, "hyps"), refs = member(c, "refs"), opts = member(c, "opts");
	struct json tok = member(&opts, "tokenize"), smooth = member(&opts, "smooth_method");
	char name[64];
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	snprintf(name, sizeof name, "bleu%s%s%s%s", tok.text ? ":tok=" : "", tok.text ? tok.text : "",
	         smooth.text ? ":smooth=" : "", smooth.text ? smooth.text : "");
	near("corpus", name, corpus_of(name, &hyps, &refs, NULL), member(c, "bleu").number, 1e-6);
	return 0;
}

static int statistics(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct overlap *o = new ((const char *const[]){"bleu:tok=none:smooth=floor:value=.1"}, 1, true);
	struct json hyp = member(c, "hyp"), ref = member(c, "ref"), counts = member(c, "counts"),
	            totals = member(c, "totals");
	const struct overlap_refs refs = {&ref.text, &ref.len, 1};
	int64_t n;
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	overlap_corpus_add(o, hyp.text, hyp.len, &refs, NULL);
	for (int k = 0; k < 4; k++) {
		CHECK_INT(o->metric[0].sum[k], item(&counts, k).integer);
		CHECK_INT(o->metric[0].sum[OVERLAP_ORDERS + k], item(&totals, k).integer);
	}
	near("statistics", "bleu", overlap_corpus_value(o, 0, &n), 100 * member(c, "raw_bleu/100").number, 1e-6);
	overlap_free(o);
	return 0;
}

static int compute_bleu(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct overlap *o = new ((const char *const[]){"bleu:smooth=none"}, 1, true);
	struct json counts = member(c, "counts"), totals = member(c, "totals");
	int64_t sum[OVERLAP_SUMS] = {0};
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	for (int k = 0; k < 4; k++) {
		sum[k] = item(&counts, k).integer;
		sum[OVERLAP_ORDERS + k] = item(&totals, k).integer;
	}
	sum[2 * OVERLAP_ORDERS] = member(c, "sys_len").integer;
	sum[2 * OVERLAP_ORDERS + 1] = member(c, "ref_len").integer;
	near("compute_bleu", "bleu", overlap_sums_value(&o->metric[0], sum, true), 100 * member(c, "bleu/100").number,
	     1e-8);
	overlap_free(o);
	return 0;
}

static int effective_order(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	near(member(c, "hyp").text, "effective order",
	     ONE("bleu:tok=none:smooth=floor:value=.01", member(c, "hyp").text, member(c, "ref").text),
	     100 * member(c, "bleu").number, 1e-9);
	return 0;
}

static int sentence_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	const struct json *v = arg;
	struct json value = item(c, 1);
	char name[96], text[32] = "";
	(void)i;
	(void)key;
	(void)key_len;
	if (value.kind == JSON_NUMBER)
		snprintf(text, sizeof text, ":value=%g", value.number);
	snprintf(name, sizeof name, "bleu:smooth=%s%s:tok=%s%s", item(c, 0).text, text, item(c, 3).text,
	         item(c, 2).boolean ? ":lower" : "");
	near("sentence", name, ONE(name, member(v, "sys").text, member(v, "ref").text), item(c, 4).number, 1e-3);
	return 0;
}

static int chrf_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	near("chrf", item(c, 0).text, ONE("chrf:beta=3:eps", item(c, 0).text, item(c, 1).text), item(c, 2).number,
	     1e-4);
	return 0;
}

/* The file's parts, each with its test: a new part is a failure. */
static int vector_part(void *arg, int64_t i, const char *key, size_t key_len, const struct json *part)
{
	static const struct {
		const char *name;
		int (*test)(void *, int64_t, const char *, size_t, const struct json *);
		int64_t cases;
	} parts[] = {
	        {"raw_corpus_bleu_cases(tokenize none, smooth floor .01, score/100)", raw_corpus, 3},
	        {"corpus_bleu_cases", corpus_case, 6},
	        {"statistics", statistics, 1},
	        {"compute_bleu", compute_bleu, 1},
	        {"effective_order(raw, smooth floor .01; /100)", effective_order, 3},
	        {"sentence_bleu(effective_order true)", sentence_case, 12},
	        {"chrf(char_order 6, word_order 0, beta 3, eps_smoothing true)", chrf_case, 7},
	};
	(void)arg;
	(void)i;
	for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
		if (strlen(parts[k].name) != key_len || memcmp(parts[k].name, key, key_len))
			continue;
		struct json whole = *part, cases = part->kind == JSON_OBJECT ? member(part, "cases") : *part;
		CHECK_INT(json_length(&cases), parts[k].cases);
		json_each(&cases, parts[k].test, &whole);
		return 0;
	}
	if (key_len != 6 || memcmp(key, "source", 6))
		test_fail(__FILE__, __LINE__, "no test of '%.*s'", (int)key_len, key);
	return 0;
}

/* ---- ../shared/data/metrics/nlg-eval ---- */

/* What is not offered: METEOR (needs WordNet and its paraphrases), CIDEr (weights from a collection), ROUGE_L (coco's:
 * beta 1.2, best precision and best recall of different references), and BLEU where an order has no match (coco's
 * constants, 1e-15 over 1e-9 more, stand in for it). */
static bool has_no_match(double bleu)
{
	return bleu < 1e-3;
}

static int nlg_case(void *arg, int64_t i, const char *key, size_t key_len, const struct json *c)
{
	struct json refs = member(c, "refs"), hyp = member(c, "hyp");
	struct pair p = pair_of(&hyp, &refs);
	(void)arg;
	(void)i;
	(void)key;
	(void)key_len;
	for (int n = 1; n <= 4; n++) {
		char field[24], name[32];
		snprintf(field, sizeof field, "Bleu_%d", n);
		snprintf(name, sizeof name, "nltk_bleu:n=%d", n);
		struct json want = member(c, field);
		CHECK(want.kind == JSON_NUMBER);
		if (!has_no_match(want.number))
			near(hyp.text, name, ONE(name, p.hyp, p.ref[0], p.ref[1]), want.number, 1e-5);
	}
	return 0;
}

static void test_nlg(void)
{
	const char *path = test_shared("data/metrics/nlg-eval/expected.json");
	char *text;
	if (!path) {
		test_skip("../shared is not here");
		return;
	}
	struct record *r = record_new();
	struct json v = read_json(r, path, &text), individual = member(&v, "individual"), corpus = member(&v, "corpus");
	struct json hyps = member(&corpus, "hyps"), refs = member(&corpus, "ref_lists");
	CHECK_INT(json_length(&individual), 2);
	json_each(&individual, nlg_case, NULL);
	for (int n = 1; n <= 4; n++) {
		char field[24], name[48];
		snprintf(field, sizeof field, "Bleu_%d", n);
		snprintf(name, sizeof name, "bleu:tok=none:smooth=none:n=%d", n);
		near("corpus", name, corpus_of(name, &hyps, &refs, NULL), 100 * member(&corpus, field).number, 1e-4);
	}
	record_free(r);
	free(text);
}

/* ---- ../shared/data/metrics/nltk-wmt15: mteval-v13a ---- */

/* What is not offered: NIST scores (information weights of n-grams). */
static void test_mteval(void)
{
	static const char dir[] = "data/metrics/nltk-wmt15/wmt15_eval/";
	static const double cumulative[] = {.5415, .4012, .3044, .2318, .1784, .1362, .1031, .0754, .0493},
	                    individual[] = {.5415, .2972, .1752, .1025, .0626, .0354, .0193, .0085, .0017};
	const char *names[OVERLAP_ORDERS];
	char name[OVERLAP_ORDERS][40], *hyp, *ref, path[128];
	size_t hyp_len, ref_len;
	struct err e;
	int64_t n = 0, had;
	snprintf(path, sizeof path, "%smteval-13a.output", dir);
	if (!test_shared(path)) {
		test_skip("../shared is not here");
		return;
	}
	for (int i = 0; i < OVERLAP_ORDERS; i++) {
		snprintf(name[i], sizeof name[i], "bleu:smooth=none:n=%d", i + 1);
		names[i] = name[i];
	}
	struct overlap *o = new (names, OVERLAP_ORDERS, true);
	snprintf(path, sizeof path, "%sgoogle.ru", dir);
	struct stream *hyps = stream_open(test_shared(path), &e);
	/* the scorer's reference was not tokenised before, the translation was */
	snprintf(path, sizeof path, "%snewstest-2015-100sents.en-ru.ref.ru", dir);
	struct stream *refs = stream_open(test_shared(path), &e);
	for (; stream_next(hyps, &hyp, &hyp_len, &e) == 1 && stream_next(refs, &ref, &ref_len, &e) == 1; n++) {
		const char *const one_ref[] = {ref};
		overlap_corpus_add(o, hyp, hyp_len, &(struct overlap_refs){one_ref, &ref_len, 1}, NULL);
	}
	CHECK_INT(n, 100);
	const int64_t *sum = o->metric[OVERLAP_ORDERS - 1].sum;
	CHECK_INT(sum[2 * OVERLAP_ORDERS], 1998);
	CHECK_INT(sum[2 * OVERLAP_ORDERS + 1], 1862);
	for (size_t i = 0; i < OVERLAP_ORDERS; i++) {
		near("mteval", name[i], overlap_corpus_value(o, i, &had) / 100, cumulative[i], 5e-5);
		near("mteval individual", name[i], (double)sum[i] / (double)sum[OVERLAP_ORDERS + i], individual[i],
		     5e-5);
	}
	overlap_free(o);
	stream_close(hyps);
	stream_close(refs);
}

/* ---- alignment against the tables ---- */

static int64_t plain_distance(const int32_t *x, int nx, const int32_t *y, int ny)
{
	int64_t *row = xcalloc((size_t)ny + 1, sizeof *row), d;
	for (int j = 0; j <= ny; j++)
		row[j] = j;
	for (int i = 1; i <= nx; i++) {
		int64_t corner = row[0]++;
		for (int j = 1; j <= ny; j++) {
			d = corner + (x[i - 1] != y[j - 1]);
			corner = row[j];
			d = row[j] + 1 < d ? row[j] + 1 : d;
			row[j] = row[j - 1] + 1 < d ? row[j - 1] + 1 : d;
		}
	}
	d = row[ny];
	free(row);
	return d;
}

/* The table of rouge_score; marks the words of x that its walk takes. */
static int64_t plain_lcs(const int32_t *x, int nx, const int32_t *y, int ny, uint8_t *taken)
{
	size_t wide = (size_t)ny + 1;
	int32_t *t = xcalloc((size_t)(nx + 1) * wide, sizeof *t);
	for (int i = 1; i <= nx; i++)
		for (int j = 1; j <= ny; j++) {
			int32_t up = t[(size_t)(i - 1) * wide + (size_t)j], left = t[(size_t)i * wide + (size_t)j - 1];
			t[(size_t)i * wide + (size_t)j] = x[i - 1] == y[j - 1]
			                                          ? t[(size_t)(i - 1) * wide + (size_t)j - 1] + 1
			                                  : up > left ? up
			                                              : left;
		}
	int64_t length = t[(size_t)nx * wide + (size_t)ny];
	for (int i = nx, j = ny; i > 0 && j > 0;) {
		if (x[i - 1] == y[j - 1]) {
			taken[--i] = 1;
			j--;
		} else if (t[(size_t)i * wide + (size_t)j - 1] > t[(size_t)(i - 1) * wide + (size_t)j]) {
			j--;
		} else {
			i--;
		}
	}
	free(t);
	return length;
}

static uint32_t draw(uint32_t *state, uint32_t below)
{
	*state = *state * 1664525 + 1013904223;
	return (*state >> 8) % below;
}

/* A text of words w0... in lines. */
static void random_text(struct str *s, uint32_t *state, uint32_t words, uint32_t n_words, uint32_t line)
{
	str_clear(s);
	for (uint32_t i = 0; i < words; i++)
		str_addf(s, "w%u%c", draw(state, n_words), draw(state, line) ? ' ' : '\n');
}

static int64_t plain_union(const struct words *w)
{
	int64_t marked[64] = {0}, have[64] = {0}, hits = 0;
	size_t end0 = w->text[0].n, end1 = end0 + w->text[1].n;
	uint8_t *taken = xcalloc(end1 + 1, 1);
	for (size_t i = 0; i < end0; i++)
		have[w->ids[i]]++;
	for (size_t r = 0; r < w->n_lines; r++) {
		size_t from = w->line[r], to = r + 1 < w->n_lines ? w->line[r + 1] : end1;
		if (from < end0)
			continue;
		for (size_t c = 0; c < w->n_lines && w->line[c] < end0; c++) {
			size_t at = w->line[c], past = w->line[c + 1];
			plain_lcs(w->ids + from, (int)(to - from), w->ids + at, (int)(past - at), taken + from);
		}
	}
	for (size_t i = end0; i < end1; i++)
		marked[w->ids[i]] += taken[i];
	for (int i = 0; i < 64; i++)
		hits += marked[i] < have[i] ? marked[i] : have[i];
	free(taken);
	return hits;
}

static void test_alignment(void)
{
	uint32_t state = 7;
	struct align a = {0};
	struct words w;
	struct str s;
	words_init(&w, WORDS_ROUGE, false);
	str_init(&s);
	for (int round = 0; round < 400; round++) {
		uint32_t n_words = 1 + draw(&state, 30), line = 1 + draw(&state, 200);
		words_clear(&w, false);
		for (int t = 0; t < 2; t++) {
			random_text(&s, &state, draw(&state, round % 4 ? 40 : 300), n_words, line);
			words_add(&w, s.buf, s.len);
		}
		const int32_t *x = w.ids, *y = w.ids + w.text[1].at;
		int nx = (int)w.text[0].n, ny = (int)w.text[1].n;
		uint8_t *taken = xcalloc((size_t)nx + 1, 1);
		CHECK_INT(align_lcs(&a, x, (size_t)nx, y, (size_t)ny, w.vocab.n), plain_lcs(x, nx, y, ny, taken));
		CHECK_INT(align_distance(&a, x, (size_t)nx, y, (size_t)ny, w.vocab.n), plain_distance(x, nx, y, ny));
		CHECK_INT(align_union(&a, &w, 1), plain_union(&w));
		free(taken);
	}
	words_release(&w);
	align_release(&a);
	str_release(&s);
}

/* ---- edges ---- */

static const char *const every[] = {"bleu",
                                    "bleu:tok=none",
                                    "bleu:tok=intl",
                                    "bleu:tok=char",
                                    "bleu:lower",
                                    "nltk_bleu",
                                    "nltk_bleu:method=6",
                                    "bleu@2",
                                    "chrf",
                                    "chrf++",
                                    "rouge1",
                                    "rouge2",
                                    "rougeL",
                                    "rougeLsum",
                                    "rougeLsum:stem",
                                    "squad_em",
                                    "squad_f1",
                                    "squad2_em",
                                    "squad2_f1",
                                    "distinct_1",
                                    "distinct_4",
                                    "wer"};

static void run_all(const char *hyp, size_t hyp_len, const char *ref, size_t ref_len)
{
	struct overlap *o = new (every, ARRAY_LEN(every), false);
	double out[ARRAY_LEN(every)];
	struct pair p = {hyp, {ref}, hyp_len, {ref_len}, 1};
	score(o, &p, out);
	for (size_t i = 0; i < ARRAY_LEN(every); i++)
		CHECK(isnan(out[i]) || (out[i] >= 0 && out[i] < 1e7));
	overlap_free(o);
}

static char *repeat(const char *word, size_t n, size_t *len)
{
	struct str s;
	str_init(&s);
	for (size_t i = 0; i < n; i++)
		str_adds(&s, word);
	*len = s.len;
	return str_detach(&s);
}

static void test_floods(void)
{
	static const char *const word[] = {"a ",         "a\n", "\x01\x1f ",        "yyyyyyyy",
	                                   "b\xCC\x81 ", "..,", "\xF0\x9F\x98\x80", "a b\n"};
	size_t len, other_len;
	char *other = repeat("the cat sat on the mat.\nit was a ", 20, &other_len);
	for (size_t i = 0; i < ARRAY_LEN(word); i++) {
		char *text = repeat(word[i], (1 << 20) / strlen(word[i]), &len);
		run_all(text, len, other, other_len);
		free(text);
	}
	char *text = repeat("a b a c ", 2500, &len);
	run_all(text, len, text, len); /* ten thousand words against ten thousand */
	run_all("a\0b", 3, "\0", 1);
	free(text);
	free(other);
}

static void test_names(void)
{
	static const struct {
		const char *name, *want;
	} bad[] = {{"blue", "no measure 'blue'"},
	           {"rouge0", "no measure 'rouge0'"},
	           {"distinct_5", "no measure"},
	           {"bleu@5", "no measure"},
	           {"", "no measure ''"},
	           {"bleu:smooth=x", "option 'smooth=x' has a value that is not known"},
	           {"bleu:n=10", "'n=10' is not from 1 to 9"},
	           {"bleu:n=2.5", "not a whole number"},
	           {"nltk_bleu:method=8", "'method=8' is not from 0 to 7"},
	           {"rouge1:x", "option 'x' is not known"},
	           {"rouge1:", "option '' is not known"},
	           {"wer:p", "option 'p' is not known"},
	           {"self_bleu", "rl-eval --corpus"},
	           {"item_ratio:item=x", "rl-eval --corpus"},
	           {"sent_cnt:item=x", "rl-eval --corpus"},
	           {"distinct_1:ecr", "rl-eval --corpus"}};
	struct err e;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct overlap *o = overlap_new(&bad[i].name, 1, false, &e);
		CHECK(!o);
		if (!o && !strstr(e.msg, bad[i].want))
			test_fail(__FILE__, __LINE__, "'%s': %s", bad[i].name, e.msg);
		overlap_free(o);
	}
	const char *const twice[] = {"wer", "wer"};
	CHECK(!overlap_new(twice, 2, false, &e) && strstr(e.msg, "twice"));
}

static void test_edges(void)
{
	struct overlap *o = new (every, ARRAY_LEN(every), false);
	double out[ARRAY_LEN(every)];
	overlap_score(o, "a a", 3, &(struct overlap_refs){NULL, NULL, -1}, out);
	for (size_t i = 0; i < ARRAY_LEN(every); i++)
		CHECK(isnan(out[i]) == (strncmp(every[i], "distinct", 8) != 0));
	overlap_score(o, "", 0, &(struct overlap_refs){NULL, NULL, 0}, out); /* a question without an answer */
	for (size_t i = 0; i < ARRAY_LEN(every); i++)
		if (!strncmp(every[i], "squad2", 6))
			CHECK_NEAR(out[i], 1, 0);
	overlap_free(o);
	/* of several references: the closest length, the best score */
	CHECK_NEAR(ONE("rougeL", "a b c", "x", "a b", "a b c d"), 6. / 7, 1e-12);
	CHECK_NEAR(ONE("rougeL:p", "a b c", "x", "a b", "a b c d"), 1, 1e-12);
	CHECK_NEAR(ONE("wer", "a b c", "", "a b x y", "a b"), .5, 1e-12);
	CHECK_NEAR(ONE("squad_f1", "the cat", "dog", "a cat sat"), 2. / 3, 1e-12);
	CHECK_NEAR(ONE("squad2_f1", "", "", "x"), 0, 0);
	CHECK_NEAR(ONE("squad2_em", "", "", "x"), 0, 0);
	CHECK_NEAR(ONE("squad2_em", "", "the"), 1, 0);
	CHECK_NEAR(ONE("squad_f1", "", ""), 0, 0);
	CHECK_NEAR(ONE("squad_em", "\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3", "\xCE\xBF\xCE\xB4\xCE\xBF\xCF\x82"), 1, 0);
	/* nltk's own example of all methods, four digits of each */
	static const double chen[] = {.4118, .4118, .4452, .4118, .4118, .4905, .4135, .4905};
	for (int i = 0; i < 8; i++) {
		char name[40];
		snprintf(name, sizeof name, "nltk_bleu:method=%d", i);
		CHECK_NEAR(
		        ONE(name,
		            "It is a guide to action which ensures that the military always obeys the commands of the "
		            "party",
		            "It is a guide to action that ensures that the military will forever heed Party commands"),
		        chen[i], 1e-4);
	}
	CHECK(isnan(ONE("nltk_bleu:method=6", "a b c d", "a b d c")));
}

int main(void)
{
	struct record *r = record_new();
	char *text;

	test_case("200 pairs: sacrebleu, nltk, rouge_score, SQuAD, distinct-n, jiwer");
	test_pairs();
	test_case("10 corpora and 8 sets of answers: summed statistics, means, distinct-n, self-BLEU");
	test_corpora();
	test_case("sacrebleu's published vectors, all");
	const char *path = test_shared("data/metrics/sacrebleu_vectors.json");
	if (path) {
		struct json v = read_json(r, path, &text);
		CHECK_INT(json_length(&v), 8);
		json_each(&v, vector_part, NULL);
		free(text);
	} else {
		test_skip("../shared is not here");
	}
	test_case("nlg-eval's BLEU where every order matches; METEOR, CIDEr, coco's ROUGE_L and constants are not "
	          "offered");
	test_nlg();
	test_case("mteval-v13a on WMT 2015: cumulative and individual BLEU of nine orders; NIST is not offered");
	test_mteval();
	test_case("rouge-pltrdy's values");
	test_skip("not offered: it counts sets of n-grams, splits at blanks, and its rouge-l divides by other lengths; "
	          "rouge_score's values of its texts are among the 200 pairs");
	test_case("bit-parallel alignment against the plain tables, 400 random pairs");
	test_alignment();
	test_case("references: none, empty, several; nltk's methods 0 to 7");
	test_edges();
	test_case("names and options");
	test_names();
	test_case("a megabyte of one word, of lines, of marks; ten thousand words against ten thousand");
	test_floods();
	record_free(r);
	return test_done();
}
