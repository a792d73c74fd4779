/*
 * rl-index - a corpus to a BM25 index in one file.
 *
 * The corpus is JSON Lines, or one JSON array of objects, plain or zstd.  The index appears under its name when it is
 * complete, not before.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bm25.h"
#include "lib/cli.h"
#include "lib/filter.h"
#include "lib/progress.h"
#include "lib/stream.h"
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
	struct record *record; /* of one document */
	struct arena arena;
	struct str joined;
	struct progress *progress;
	struct stream *in;
	int64_t n, line;
};

/* ---- one document ---- */

static int get_id(struct indexer *x, const char **id, size_t *len, struct err *e)
{
	struct json v;
	if (!x->id)
		return record_id(x->record, x->line, id, len, &x->arena, e) < 0 ? -1 : 0;
	if (filter_run(x->id, x->record, &v, &x->arena, e))
		return -1;
	if (v.kind == JSON_NUMBER && v.is_int) {
		*id = arena_printf(&x->arena, "%lld", (long long)v.integer);
		*len = strlen(*id);
		return 0;
	}
	if (v.kind != JSON_STRING)
		return err_set(e, "--id: '%s' gives no string", filter_program(x->id));
	*id = v.text;
	*len = v.len;
	return 0;
}

static int get_text(struct indexer *x, const char **text, size_t *len, struct err *e)
{
	const char *title;
	size_t title_len = 0;
	int found;
	if (x->text) {
		if ((found = filter_str(x->text, x->record, text, len, &x->arena, e)) == 0)
			return err_set(e, "--text: '%s' gives nothing", filter_program(x->text));
		return found < 0 ? -1 : 0;
	}
	if ((found = record_str(x->record, "text", text, len, e)) == 0)
		found = record_str(x->record, "contents", text, len, e);
	if (found == 0)
		return err_set(e, "no 'text' or 'contents'; --text FILTER names what is indexed");
	if (found < 0 || (found = record_str(x->record, "title", &title, &title_len, e)) < 0)
		return -1;
	if (!found || !title_len)
		return 0;
	str_clear(&x->joined);
	str_add(&x->joined, title, title_len);
	str_addc(&x->joined, ' ');
	str_add(&x->joined, *text, *len);
	*text = x->joined.buf;
	*len = x->joined.len;
	return 0;
}

static int add_document(struct indexer *x, const char *json, size_t json_len, struct err *e)
{
	const char *id, *text;
	size_t id_len, len;
	arena_reset(&x->arena);
	if (record_parse(x->record, json, json_len, e) || get_id(x, &id, &id_len, e) || get_text(x, &text, &len, e) ||
	    bm25_builder_add(x->builder, id, id_len, text, len, e))
		return -1;
	if ((++x->n & 1023) == 0)
		progress_show(x->progress, x->n, 0, stream_consumed(x->in), stream_size(x->in));
	return 0;
}

/* ---- a file ---- */

static int add_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct {
		struct indexer *x;
		struct err *e;
		struct str text;
	} *a = arg;
	(void)key;
	(void)key_len;
	a->x->line = i + 1;
	str_clear(&a->text);
	json_text(item, &a->text);
	if (!add_document(a->x, a->text.buf, a->text.len, a->e))
		return 0;
	return err_where(a->e, "element %lld", (long long)i + 1);
}

/* One array over any number of lines, of which `line` is the first. */
static int add_array(struct indexer *x, char *line, size_t len, struct err *e)
{
	struct {
		struct indexer *x;
		struct err *e;
		struct str text;
	} arg = {.x = x, .e = e};
	struct str all;
	struct json v;
	struct record *whole = record_new();
	int rc;
	str_init(&all);
	str_init(&arg.text);
	do {
		str_add(&all, line, len);
		str_addc(&all, '\n');
	} while ((rc = stream_next(x->in, &line, &len, e)) > 0);
	if (!rc && !(rc = record_parse_value(whole, all.buf, all.len, &v, e)))
		rc = json_each(&v, add_item, &arg);
	if (rc && all.len)
		err_where(e, "%s", stream_name(x->in));
	str_release(&arg.text);
	str_release(&all);
	record_free(whole);
	return rc;
}

static int add_file(struct indexer *x, const char *path, struct err *e)
{
	char *line;
	size_t len;
	int rc;
	x->in = stream_open(path, e);
	if (!x->in)
		return -1;
	bool first = true;
	while ((rc = stream_next(x->in, &line, &len, e)) > 0) {
		size_t space = strspn(line, " \t");
		if (space == len)
			continue;
		if (first && line[space] == '[') {
			rc = add_array(x, line, len, e);
			break;
		}
		first = false;
		x->line = stream_line(x->in);
		if (add_document(x, line, len, e)) {
			rc = err_where(e, "%s:%lld", stream_name(x->in), (long long)x->line);
			break;
		}
	}
	stream_close(x->in);
	return rc;
}

/* ---- the tool ---- */

static int process(struct indexer *x, char **operands, int n, struct err *e)
{
	const char *index = operands[n - 1];
	const struct bm25_options how = {(enum bm25_analyzer)x->config.analyzer, x->config.positions, x->config.texts,
	                                 (size_t)x->config.memory << 20};
	double start = now_seconds();
	if (!(x->builder = bm25_builder_new(&how, index, e)))
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
	const struct cli cli = {.tool = "rl-index",
	                        .summary = "make a BM25 index of a corpus",
	                        .usage = "[OPTION]... CORPUS... INDEX",
	                        .details = "CORPUS is JSON Lines or a JSON array of objects; - is standard input.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .min_operands = 2,
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if ((x.config.id && !(x.id = filter_new("id", x.config.id, NULL, 0, &e))) ||
	    (x.config.text && !(x.text = filter_new("text", x.config.text, NULL, 0, &e))))
		cli_misuse("%s", e.msg);
	x.record = record_new();
	arena_init(&x.arena);
	str_init(&x.joined);
	x.progress = progress_new(cli_tool(), x.config.quiet);
	int status = process(&x, operands, n, &e) ? 1 : 0;
	progress_free(x.progress);
	if (status)
		cli_warn("%s", e.msg);
	bm25_builder_free(x.builder);
	record_free(x.record);
	arena_release(&x.arena);
	str_release(&x.joined);
	filter_free(x.id);
	filter_free(x.text);
	return status;
}
