/* bm25_batch - see bm25_batch.h */
#include "lib/bm25_batch.h"

#include <stdlib.h>

#include "lib/answers.h"
#include "lib/bm25_feedback.h"
#include "lib/par.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct bm25_batch_config, name)

const struct opt bm25_batch_options[] = {
        {"boolean", 0, OPT_FLAG, FIELD(boolean), NULL, NULL,
         "queries with AND, OR, NOT, (parentheses), \"phrases\"; needs rl-index --positions", 0, 0},
        {"variant", 0, OPT_CHOICE, FIELD(variant), "lucene", BM25_VARIANTS, "form of BM25", 0, 0},
        {"k1", 0, OPT_NUM, FIELD(k1), "1.2", "X", "saturation of term frequency", 0, 1e6},
        {"b", 0, OPT_NUM, FIELD(b), "0.75", "X", "weight of document length", 0, 1},
        {"exhaustive", 0, OPT_FLAG, FIELD(exhaustive), NULL, NULL,
         "score all matching documents: the same result, slower", 0, 0},
        {"feedback", 0, OPT_FLAG, FIELD(feedback), NULL, NULL,
         "queries grow by words of what they find first (RM3); needs rl-index --texts", 0, 0},
        {"feedback-docs", 0, OPT_INT, FIELD(feedback_docs), "10", "N", "documents that are taken for that", 1, 1000},
        {"feedback-terms", 0, OPT_INT, FIELD(feedback_terms), "10", "N", "words that are taken", 1, 1000},
        {"original-weight", 0, OPT_NUM, FIELD(original_weight), "0.5", "X", "weight of the query as it was", 0, 1},
        {"threads", 'j', OPT_INT, FIELD(threads), "1", "N", "queries searched at the same time; 0: all processors", 0,
         256},
        {NULL},
};

/* A document among the results of several queries. */
struct voted {
	uint32_t doc;
	uint32_t votes;
	int64_t first; /* place in the row of all results */
};

struct worker {
	struct bm25_searcher *searcher;
	struct bm25_feedback *feedback;
	struct voted *voted;
	size_t room;
	struct str scratch, passage; /* of a text that may hold an answer */
};

struct bm25_batch {
	struct bm25_batch_config config;
	struct par *par;
	struct worker *worker;
	struct bm25_request *const *request; /* of the run */
};

void bm25_request_release(struct bm25_request *r)
{
	free(r->hits);
	free(r->holds);
	r->hits = NULL;
	r->holds = NULL;
	r->n = r->room = 0;
}

struct bm25_batch *bm25_batch_new(const struct bm25_index *x, const struct bm25_batch_config *c, struct err *e)
{
	/* now, so that a quotation mark of a model never stops a run */
	if (c->boolean && !bm25_info(x)->positions) {
		err_set(e, "--boolean needs positions; build the index with rl-index --positions");
		return NULL;
	}
	if (c->feedback && !bm25_info(x)->texts) {
		err_set(e, "--feedback needs texts; build the index with rl-index --texts");
		return NULL;
	}
	const struct bm25_feedback_params feedback = {c->feedback_docs, c->feedback_terms, c->original_weight};
	const struct bm25_params params = {(enum bm25_variant)c->variant, c->k1, c->b, c->exhaustive};
	struct bm25_batch *b = xcalloc(1, sizeof *b);
	b->config = *c;
	b->par = par_new((int)c->threads);
	b->worker = xcalloc((size_t)par_threads(b->par), sizeof *b->worker);
	for (int i = 0; i < par_threads(b->par); i++) {
		str_init(&b->worker[i].scratch);
		str_init(&b->worker[i].passage);
		if (c->feedback)
			b->worker[i].feedback = bm25_feedback_new(x, &feedback);
	}
	for (int i = 0; i < par_threads(b->par); i++)
		if (!(b->worker[i].searcher = bm25_searcher_new(x, &params, e))) {
			bm25_batch_free(b);
			return NULL;
		}
	return b;
}

void bm25_batch_free(struct bm25_batch *b)
{
	if (!b)
		return;
	for (int i = 0; i < par_threads(b->par); i++) {
		bm25_searcher_free(b->worker[i].searcher);
		bm25_feedback_free(b->worker[i].feedback);
		free(b->worker[i].voted);
		str_release(&b->worker[i].scratch);
		str_release(&b->worker[i].passage);
	}
	free(b->worker);
	par_free(b->par);
	free(b);
}

int bm25_batch_threads(const struct bm25_batch *b)
{
	return par_threads(b->par);
}

const struct bm25_searcher *bm25_batch_searcher(const struct bm25_batch *b)
{
	return b->worker[0].searcher;
}

/* ---- one query ---- */

/* 1; 0 when the text is no query; -1. */
static int search(const struct bm25_batch *b, struct worker *w, const struct bm25_request *r, int64_t i,
                  const struct bm25_hit **hits, int64_t *n, struct err *e)
{
	if (b->config.boolean)
		return bm25_search_boolean(w->searcher, r->query[i], r->len[i], r->depth, hits, n, e);
	if (b->config.feedback)
		return bm25_feedback_search(w->feedback, w->searcher, r->query[i], r->len[i], r->depth, hits, n, e) ? -1
		                                                                                                    : 1;
	return bm25_search(w->searcher, r->query[i], r->len[i], r->depth, hits, n, e) ? -1 : 1;
}

static void reserve(struct bm25_request *r, int64_t n)
{
	if (n <= r->room)
		return;
	r->room = n;
	r->hits = xrealloc_array(r->hits, (size_t)n, sizeof *r->hits);
	r->holds = xrealloc_array(r->holds, (size_t)n, sizeof *r->holds);
}

static void answer_one(const struct bm25_batch *b, struct worker *w, struct bm25_request *r)
{
	const struct bm25_hit *hits;
	int64_t n = 0;
	r->found = search(b, w, r, 0, &hits, &n, &r->e);
	if (r->found <= 0)
		return;
	reserve(r, n);
	for (int64_t i = 0; i < n; i++)
		r->hits[i] = hits[i];
	r->n = n;
}

/* ---- several queries ---- */

static int by_doc(const void *pa, const void *pb)
{
	const struct voted *a = pa, *b = pb;
	if (a->doc != b->doc)
		return a->doc < b->doc ? -1 : 1;
	return (a->first > b->first) - (a->first < b->first);
}

static int by_votes(const void *pa, const void *pb)
{
	const struct voted *a = pa, *b = pb;
	if (a->votes != b->votes)
		return a->votes > b->votes ? -1 : 1;
	return (a->first > b->first) - (a->first < b->first);
}

/* All results in a row, each document once, with its votes. */
static size_t collect(const struct bm25_batch *b, struct worker *w, struct bm25_request *r)
{
	size_t n = 0, kept = 0;
	r->found = 0;
	for (int64_t q = 0; q < r->n_queries; q++) {
		const struct bm25_hit *hits;
		int64_t found = 0;
		int rc = search(b, w, r, q, &hits, &found, &r->e);
		if (rc < 0) {
			r->found = -1;
			return 0;
		}
		/* a part that is no query has no vote */
		r->found |= rc;
		if (rc && n + (size_t)found > w->room) {
			w->room = 2 * (n + (size_t)found);
			w->voted = xrealloc_array(w->voted, w->room, sizeof *w->voted);
		}
		for (int64_t i = 0; rc && i < found; i++, n++)
			w->voted[n] = (struct voted){hits[i].doc, 1, (int64_t)n};
	}
	if (n)
		qsort(w->voted, n, sizeof *w->voted, by_doc);
	for (size_t i = 0; i < n; i++) {
		if (kept && w->voted[kept - 1].doc == w->voted[i].doc)
			w->voted[kept - 1].votes++;
		else
			w->voted[kept++] = w->voted[i];
	}
	return kept;
}

static void answer_several(const struct bm25_batch *b, struct worker *w, struct bm25_request *r)
{
	size_t n = collect(b, w, r);
	if (!n)
		return;
	qsort(w->voted, n, sizeof *w->voted, by_votes);
	r->n = (int64_t)n < r->depth ? (int64_t)n : r->depth;
	reserve(r, r->n);
	for (int64_t i = 0; i < r->n; i++)
		r->hits[i] = (struct bm25_hit){w->voted[i].doc, w->voted[i].votes};
}

/* ---- answers in what was found ---- */

static int holds_one(struct worker *w, const struct bm25_request *r, uint32_t doc, bool *holds, struct err *e)
{
	const char *text;
	size_t len;
	if (bm25_doc_text(w->searcher, doc, &text, &len, e))
		return -1;
	answers_tokens(text, len, &w->scratch, &w->passage);
	for (int64_t i = 0; i < r->n_answers && !*holds; i++)
		*holds = answers_hold(w->passage.buf, w->passage.len, r->answers[i].text, r->answers[i].len);
	return 0;
}

static void look_for_answers(struct worker *w, struct bm25_request *r)
{
	bool any = false;
	for (int64_t i = 0; i < r->n; i++) {
		r->holds[i] = false;
		if (!r->n_answers || i >= r->answers_depth || (any && r->first_only))
			continue;
		if (holds_one(w, r, r->hits[i].doc, &r->holds[i], &r->e)) {
			r->found = -1;
			return;
		}
		any |= r->holds[i];
	}
}

/* ---- all of them ---- */

static void answer(void *arg, int64_t i, int worker)
{
	struct bm25_batch *b = arg;
	struct bm25_request *r = b->request[i];
	r->n = 0;
	if (r->n_queries == 1)
		answer_one(b, &b->worker[worker], r);
	else
		answer_several(b, &b->worker[worker], r);
	look_for_answers(&b->worker[worker], r);
}

void bm25_batch_run(struct bm25_batch *b, struct bm25_request *const *r, int64_t n)
{
	b->request = r;
	par_run(b->par, n, answer, b);
}
