/*
 * rl-chunk - documents to segments: whole sentences, packed up to a budget of words or tokens; or to key-value pairs.
 *
 * Each document becomes as many new records as it has segments or pairs.
 */
#include <string.h>

#include "lib/chunk.h"
#include "lib/cli.h"
#include "lib/filter.h"
#include "lib/tokenizer_store.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *store, *tokenizer, *text, *keep;
	bool sentences, cumulative;
	int64_t max_tokens, max_words, overlap;
	int64_t keys, values, stride, pairs;
};

static const struct opt options[] = {
        {"text", 0, OPT_STR, offsetof(struct config, text), ".text", "FILTER", "what is cut", 0, 0},
        {"max-words", 0, OPT_INT, offsetof(struct config, max_words), NULL, "N", "words a segment may have", 1,
         INT32_MAX},
        {"max-tokens", 0, OPT_INT, offsetof(struct config, max_tokens), NULL, "N",
         "tokens a segment may have, with -s or --tokenizer", 1, INT32_MAX},
        {"sentences", 0, OPT_FLAG, offsetof(struct config, sentences), NULL, NULL,
         "one sentence each; so it is without a budget", 0, 0},
        {"overlap", 0, OPT_INT, offsetof(struct config, overlap), "0", "N",
         "begin with sentences of the segment before, of up to N words or tokens", 0, INT32_MAX},
        {"cumulative", 0, OPT_FLAG, offsetof(struct config, cumulative), NULL, NULL,
         "each text begins where the document does", 0, 0},
        {"keys", 0, OPT_INT, offsetof(struct config, keys), NULL, "N",
         "key-value pairs instead of segments: tokens of a key, with -s or --tokenizer", 1, INT32_MAX},
        {"values", 0, OPT_INT, offsetof(struct config, values), NULL, "N", "tokens of a value; by default as of a key",
         1, INT32_MAX},
        {"stride", 0, OPT_INT, offsetof(struct config, stride), NULL, "N",
         "tokens from one pair to the next; by default 4 times key and value", 1, INT32_MAX},
        {"pairs", 0, OPT_INT, offsetof(struct config, pairs), NULL, "N",
         "so many of each document; one that is too short for them has none", 1, INT32_MAX},
        {"keep", 0, OPT_STR, offsetof(struct config, keep), NULL, "FILTER",
         "an object: its members are the fields that segments keep; by default all but the text", 0, 0},
        {"store", 's', OPT_STR, offsetof(struct config, store), NULL, "STORE[:NAME]", "the tokenizer of a model", 0, 0},
        {"tokenizer", 0, OPT_STR, offsetof(struct config, tokenizer), NULL, "FILE",
         "tokenizer.json, or a directory with it or with vocab.json and merges.txt", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct tool tool;
	struct filter *text, *keep;
	struct tokenizer *tokenizer;
	struct chunk_config chunk;
	struct chunk_pairs_config pairs;
	struct record *made;
	struct str kept; /* the JSON text of a field */
	struct str doc, id;
	char own[256]; /* the field that the text comes from, where it is one */
};

/* ---- what segments keep ---- */

struct keeping {
	struct state *s;
	bool asked; /* by --keep: a name that is taken is then an error */
	struct err *e;
};

static int keep_field(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct keeping *k = arg;
	struct state *s = k->s;
	char *name = arena_strndup(&s->tool.arena, key, key_len);

	(void)i;
	if (!k->asked && (!strcmp(name, s->own) || record_has(s->made, name)))
		return 0;
	str_clear(&s->kept);
	json_text(v, &s->kept);
	return record_add_raw(s->made, name, s->kept.buf, s->kept.len, k->e);
}

static int keep_fields(struct state *s, struct record *r, struct err *e)
{
	struct keeping k = {s, s->keep != NULL, e};
	const char *name;
	size_t len;
	struct json v;

	if (s->keep) {
		if (filter_run(s->keep, r, &v, &s->tool.arena, e))
			return -1;
		if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
			return 0;
		return v.kind == JSON_OBJECT ? json_each(&v, keep_field, &k) : err_set(e, "--keep: not an object");
	}
	for (int64_t i = 0; record_field(r, i, &name, &len, &v); i++)
		if (keep_field(&k, i, name, len, &v))
			return -1;
	return 0;
}

/* ---- segments and pairs ---- */

/* What each new record begins with. */
static int begin(struct state *s, int64_t index, int64_t of, int64_t start, int64_t end, struct err *e)
{
	str_clear(&s->id);
	str_add(&s->id, s->doc.buf, s->doc.len);
	str_addf(&s->id, "/%lld", (long long)index);
	record_clear(s->made);
	return record_add_str(s->made, "id", s->id.buf, s->id.len, e) ||
	                       record_add_str(s->made, "doc", s->doc.buf, s->doc.len, e) ||
	                       record_add_int(s->made, "index", index, e) || record_add_int(s->made, "of", of, e) ||
	                       record_add_int(s->made, "start", start, e) || record_add_int(s->made, "end", end, e)
	               ? -1
	               : 0;
}

static int write_segment(struct state *s, struct record *r, const char *text, const struct chunk *c, int64_t index,
                         int64_t of, struct err *e)
{
	size_t from = s->c.cumulative ? 0 : c->from;

	if (begin(s, index, of, s->c.cumulative ? 0 : c->start, c->end, e) ||
	    record_add_str(s->made, "text", text + from, c->to - from, e) || keep_fields(s, r, e))
		return -1;
	return tool_write(&s->tool, s->made, e);
}

static int write_pair(struct state *s, struct record *r, const struct chunk_pair *p, int64_t index, int64_t of,
                      struct err *e)
{
	int64_t n_key = s->pairs.key, n_value = s->pairs.value;

	if (begin(s, index, of, p->start, p->start + n_key + n_value, e) ||
	    record_add_str(s->made, "key", p->text, p->key_len, e) ||
	    record_add_str(s->made, "value", p->text + p->key_len, p->len - p->key_len, e) ||
	    record_add_ints(s->made, "key_tokens", p->ids, n_key, e) ||
	    record_add_ints(s->made, "value_tokens", p->ids + n_key, n_value, e) || keep_fields(s, r, e))
		return -1;
	return tool_write(&s->tool, s->made, e);
}

static int cut(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	const char *text, *id;
	size_t len, id_len;
	struct chunk *chunk;
	struct chunk_pair *pair;
	int64_t n;
	int got = filter_str(s->text, r, &text, &len, &t->arena, e);

	if (got <= 0)
		return got < 0 ? -1 : err_set(e, "--text: '%s' gives no text", s->c.text);
	text = arena_strndup(&t->arena, text, len);
	if (record_id(r, t->line, &id, &id_len, &t->arena, e) < 0 ||
	    (s->c.keys ? chunk_pairs(&s->pairs, text, len, &pair, &n, &t->arena, e)
	               : chunk_text(&s->chunk, text, len, &chunk, &n, &t->arena, e)))
		return -1;
	str_clear(&s->doc);
	str_add(&s->doc, id, id_len);
	for (int64_t i = 0; i < n; i++)
		if (s->c.keys ? write_pair(s, r, &pair[i], i, n, e) : write_segment(s, r, text, &chunk[i], i, n, e))
			return -1;
	t->count[0].n += n == 0;
	return 1;
}

/* ---- options ---- */

static void check_options(struct config *c)
{
	if (!c->keys && (c->values || c->stride || c->pairs))
		cli_misuse("--values, --stride and --pairs need --keys");
	if (c->keys && (c->max_words || c->max_tokens || c->sentences || c->cumulative))
		cli_misuse("--keys makes pairs: no --max-words, --max-tokens, --sentences or --cumulative with it");
	if (c->keys && !c->store && !c->tokenizer)
		cli_misuse("--keys needs a tokenizer: give -s STORE or --tokenizer FILE");
	c->values = c->values ? c->values : c->keys;
	if (c->stride && c->stride < c->keys + c->values)
		cli_misuse("--stride is %lld, but key and value have %lld tokens", (long long)c->stride,
		           (long long)(c->keys + c->values));
	c->stride = c->stride ? c->stride : 4 * (c->keys + c->values);
	if (c->max_words && c->max_tokens)
		cli_misuse("--max-words and --max-tokens; give one");
	if (c->max_tokens && !c->store && !c->tokenizer)
		cli_misuse("--max-tokens needs a tokenizer: give -s STORE or --tokenizer FILE");
	if (c->overlap && (c->sentences || (!c->max_words && !c->max_tokens)))
		cli_misuse("--overlap needs --max-words or --max-tokens, and no --sentences");
}

/* The field of a filter that is `.name`. */
static void find_own(struct state *s)
{
	const char *p = s->c.text;

	if (p[0] == '.' &&
	    strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(p + 1) &&
	    strlen(p) <= sizeof s->own)
		memcpy(s->own, p + 1, strlen(p));
}

static int prepare(struct state *s, struct err *e)
{
	find_own(s);
	s->text = filter_new("--text", s->c.text, NULL, 0, e);
	if (!s->text || (s->c.keep && !(s->keep = filter_new("--keep", s->c.keep, NULL, 0, e))))
		return -1;
	s->chunk = (struct chunk_config){.max_words = s->c.max_words,
	                                 .max_tokens = s->c.max_tokens,
	                                 .sentences = s->c.sentences,
	                                 .overlap = s->c.overlap};
	s->pairs = (struct chunk_pairs_config){
	        .key = s->c.keys, .value = s->c.values, .stride = s->c.stride, .pairs = s->c.pairs};
	if (!s->c.max_tokens && !s->c.keys)
		return 0;
	s->tokenizer = s->c.tokenizer ? tokenizer_open(s->c.tokenizer, e) : tokenizer_from_store(s->c.store, e);
	s->chunk.tokenizer = s->pairs.tokenizer = s->tokenizer;
	return s->tokenizer ? 0 : -1;
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {{NULL, options, &s.c}, {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-chunk",
	                        .summary = "documents to segments of whole sentences, or to key-value pairs",
	                        .usage = "[OPTION]... [FILE]...",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	int n_operands;
	char **operands = cli_parse(&cli, argc, argv, &n_operands);
	struct tool_config tc = s.tool.config;
	struct err e;

	check_options(&s.c);
	if (prepare(&s, &e))
		cli_fail("%s", e.msg);
	tool_init(&s.tool, &tc);
	s.tool.count[0].name = s.c.keys ? "too short" : "without text";
	s.made = record_new();
	str_init(&s.kept);
	str_init(&s.doc);
	str_init(&s.id);
	int status = tool_run(&s.tool, operands, n_operands, cut, NULL, &s);
	str_release(&s.kept);
	str_release(&s.doc);
	str_release(&s.id);
	record_free(s.made);
	filter_free(s.text);
	filter_free(s.keep);
	tokenizer_free(s.tokenizer);
	return status;
}
