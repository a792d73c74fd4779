/*
 * rl-index - a corpus to a BM25 index in one file.
 *
 * The corpus is JSON Lines (BEIR's too), one JSON array of objects, or TREC text, plain or zstd.  The index appears
 * under its name when it is complete, not before.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25.h"
#include "lib/bm25_corpus.h"
#include "lib/cli.h"
#include "lib/filter.h"
#include "lib/progress.h"
#include "lib/util.h"

struct config {
	const char *id, *text;
	int analyzer;
	bool positions, texts, quiet;
	int64_t memory;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"id", 0, OPT_STR, FIELD(id), NULL, "FILTER",
         "a document's id; default .id, ._id, .query_id or .doc_id, else the line number", 0, 0},
        {"text", 0, OPT_STR, FIELD(text), NULL, "FILTER", "its text; default .text or .contents, behind .title if any",
         0, 0},
        {"analyzer", 0, OPT_CHOICE, FIELD(analyzer), "none", BM25_ANALYZERS,
         "ASCII words in lower case; without stop words; and stemmed; words of any script", 0, 0},
        {"positions", 0, OPT_FLAG, FIELD(positions), NULL, NULL, "keep where words stand, for phrases", 0, 0},
        {"texts", 0, OPT_FLAG, FIELD(texts), NULL, NULL, "keep the texts, for answers and feedback", 0, 0},
        {"memory", 0, OPT_INT, FIELD(memory), "1024", "MIB", "most memory that is used", 32, 1 << 20},
        {"quiet", 'q', OPT_FLAG, FIELD(quiet), NULL, NULL, "no progress, no closing line", 0, 0},
        {NULL},
};

struct indexer {
	struct config config;
	struct filter *id, *text;
	struct bm25_builder *builder;
	struct progress *progress;
	int64_t n;
};

static int add_file(struct indexer *x, const char *path, struct err *e)
{
	struct corpus_document doc;
	struct corpus *c = corpus_open(path, x->id, x->text, e);
	int rc = -1;
	if (!c)
		return -1;
	while ((rc = corpus_next(c, &doc, e)) > 0) {
		if (bm25_builder_add(x->builder, doc.id, doc.id_len, doc.text, doc.len, e)) {
			rc = corpus_where(c, e);
			break;
		}
		if ((++x->n & 1023) == 0)
			progress_show(x->progress, x->n, 0, corpus_consumed(c), corpus_size(c));
	}
	corpus_close(c);
	return rc;
}

static int process(struct indexer *x, char **operands, int n, struct err *e)
{
	const char *index = operands[n - 1];
	const struct bm25_options how = {.analyzer = (enum bm25_analyzer)x->config.analyzer,
	                                 .positions = x->config.positions,
	                                 .texts = x->config.texts,
	                                 .memory = (size_t)x->config.memory << 20};
	double start = now_seconds();
	if (bm25_check_target(index, e) || !(x->builder = bm25_builder_new(&how, index, e)))
		return -1;
	for (int i = 0; i < n - 1; i++)
		if (add_file(x, operands[i], e))
			return -1;
	if (!x->n)
		return err_set(e, "no documents came in");
	if (bm25_builder_save(x->builder, e))
		return -1;
	progress_wipe(x->progress);
	if (!x->config.quiet)
		cli_warn("%s: %lld documents, %.0f per second", index, (long long)x->n,
		         (double)x->n / (now_seconds() - start + 1e-9));
	return 0;
}

int main(int argc, char **argv)
{
	struct indexer x = {0};
	struct err e;
	int n;
	mallopt(M_MMAP_THRESHOLD, 1 << 16); /* what is given back goes to the system: --memory counts on it */
	const struct opt_group groups[] = {{NULL, options, &x.config}};
	const struct cli cli = {
	        .tool = "rl-index",
	        .summary = "make a BM25 index of a corpus",
	        .usage = "[OPTION]... CORPUS... INDEX",
	        .details = "CORPUS is JSON Lines, a JSON array of objects or TREC text; - is standard input.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .min_operands = 2,
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if ((x.config.id && !(x.id = filter_new("id", x.config.id, NULL, 0, &e))) ||
	    (x.config.text && !(x.text = filter_new("text", x.config.text, NULL, 0, &e))))
		cli_misuse("%s", e.msg);
	x.progress = progress_new(cli_tool(), x.config.quiet);
	int status = process(&x, operands, n, &e) ? 1 : 0;
	progress_free(x.progress);
	if (status)
		cli_warn("%s", e.msg);
	bm25_builder_free(x.builder);
	filter_free(x.id);
	filter_free(x.text);
	return status;
}
