/*
 * rl-tokenize - text to ids, ids to text, and the training of a tokenizer.
 *
 * Encoding adds `tokens` to each record; --decode makes a new record of each, with `text` in place of `tokens`;
 * --train reads texts and writes one tokenizer.json.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/cli.h"
#include "lib/filter.h"
#include "lib/tokenizer.h"
#include "lib/tokenizer_store.h"
#include "lib/tokenizer_train.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *store, *tokenizer, *text;
	bool special, plain, decode, train;
	int64_t vocab_size, min_frequency;
	int split;
	struct cli_list special_tokens;
};

static const struct opt options[] = {
        {"store", 's', OPT_STR, offsetof(struct config, store), NULL, "STORE[:NAME]", "the tokenizer of a model", 0, 0},
        {"tokenizer", 0, OPT_STR, offsetof(struct config, tokenizer), NULL, "FILE",
         "tokenizer.json, or a directory with it or with vocab.json and merges.txt", 0, 0},
        {"text", 0, OPT_STR, offsetof(struct config, text), ".text", "FILTER", "what is encoded or trained on", 0, 0},
        {"special", 0, OPT_FLAG, offsetof(struct config, special), NULL, NULL,
         "BOS and EOS of the template; with --decode, special tokens are written", 0, 0},
        {"plain", 0, OPT_FLAG, offsetof(struct config, plain), NULL, NULL,
         "special tokens written in the text are mere text", 0, 0},
        {"decode", 0, OPT_FLAG, offsetof(struct config, decode), NULL, NULL, "turn .tokens into text", 0, 0},
        {NULL},
};

static const char *const split_names[] = {"gpt2", "llama3", "qwen2"};

static const struct opt train_options[] = {
        {"train", 0, OPT_FLAG, offsetof(struct config, train), NULL, NULL, "train a byte-level BPE on the texts", 0, 0},
        {"vocab-size", 0, OPT_INT, offsetof(struct config, vocab_size), NULL, "N", "tokens in all", 256, 1 << 24},
        {"min-frequency", 0, OPT_INT, offsetof(struct config, min_frequency), "0", "N",
         "a pair that is there fewer times is not joined", 0, INT32_MAX},
        {"special-token", 0, OPT_LIST, offsetof(struct config, special_tokens), NULL, "TOKEN",
         "a special token; may be repeated; <|endoftext|> if none is given, '' for none at all", 0, 0},
        {"split", 0, OPT_CHOICE, offsetof(struct config, split), "gpt2", "gpt2|llama3|qwen2",
         "how texts are cut into words", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct tool tool;
	struct filter *text;
	struct tokenizer *tokenizer;
	struct tokenizer_train *train;
	struct record *made; /* of --decode */
	struct str decoded;
};

static int get_text(struct state *s, struct record *r, const char **text, size_t *len, struct err *e)
{
	int got = filter_str(s->text, r, text, len, &s->tool.arena, e);

	return got == 0 ? err_set(e, "--text: '%s' gives no text", s->c.text) : got < 0 ? -1 : 0;
}

static int encode(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	int flags = (s->c.plain ? TOKENIZER_PLAIN : 0) | (s->c.special ? TOKENIZER_TEMPLATE : 0);
	const char *text;
	size_t len;
	int32_t *ids;
	int64_t n;

	if (get_text(s, r, &text, &len, e) || tokenizer_encode(s->tokenizer, text, len, flags, &ids, &n, &t->arena, e))
		return -1;
	t->n_tokens += n;
	return record_add_ints(r, "tokens", ids, n, e);
}

/* All fields but the tokens, and what they say. */
static int make_record(struct state *s, struct record *r, struct err *e)
{
	const char *name;
	size_t name_len;
	struct json v;
	struct str value;
	int failed = 0;

	str_init(&value);
	record_clear(s->made);
	for (int64_t i = 0; !failed && record_field(r, i, &name, &name_len, &v); i++) {
		const char *key = arena_strndup(&s->tool.arena, name, name_len);
		if (!strcmp(key, "tokens") || !strcmp(key, "text"))
			continue;
		str_clear(&value);
		json_text(&v, &value);
		failed = record_add_raw(s->made, key, value.buf, value.len, e);
	}
	str_release(&value);
	return failed || record_add_str(s->made, "text", s->decoded.buf, s->decoded.len, e) ? -1 : 0;
}

static int decode(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	int32_t *ids;
	int64_t n;
	int got = record_ints(r, "tokens", &ids, &n, -1, NULL, &t->arena, e);

	if (got <= 0)
		return got < 0 ? -1 : err_set(e, "'tokens' is missing");
	t->n_tokens += n;
	str_clear(&s->decoded);
	if (tokenizer_decode(s->tokenizer, ids, n, !s->c.special, &s->decoded, e) || make_record(s, r, e) ||
	    tool_write(t, s->made, e))
		return -1;
	return 1;
}

static int learn(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	const char *text;
	size_t len;

	(void)t;
	return get_text(s, r, &text, &len, e) || tokenizer_train_add(s->train, text, len, e) ? -1 : 1;
}

static int write_trained(struct tool *t, void *arg, struct err *e)
{
	struct state *s = arg;
	struct str json;
	int failed;

	tokenizer_train_run(s->train);
	if (tokenizer_train_size(s->train) < s->c.vocab_size)
		cli_warn("the text gives %lld tokens only; %lld were asked for",
		         (long long)tokenizer_train_size(s->train), (long long)s->c.vocab_size);
	str_init(&json);
	tokenizer_train_json(s->train, &json);
	failed = sink_write(t->out, json.buf, json.len, e);
	str_release(&json);
	return failed;
}

/* -s may come from the environment (RL_STORE), so that --tokenizer and --train go before it instead of against it. */
static void check_options(const struct config *c)
{
	if (c->train && c->decode)
		cli_misuse("--train makes a tokenizer: not with --decode");
	if (c->train && !c->vocab_size)
		cli_misuse("--train needs --vocab-size");
	if (!c->train && !c->store && !c->tokenizer)
		cli_misuse("no tokenizer: give -s STORE, --tokenizer FILE or --train");
	if (c->decode && c->plain)
		cli_misuse("--plain is about text: not with --decode");
}

static int prepare(struct state *s, struct err *e)
{
	static const char *const end_of_text[] = {"<|endoftext|>"};
	const struct cli_list *given = &s->c.special_tokens;
	bool none = given->n == 1 && given->item[0][0] == 0;
	struct tokenizer_train_config train = {split_names[s->c.split], s->c.vocab_size, s->c.min_frequency,
	                                       given->n ? given->item : end_of_text,
	                                       none       ? 0
	                                       : given->n ? given->n
	                                                  : 1};

	s->text = filter_new("--text", s->c.text, NULL, 0, e);
	if (!s->text)
		return -1;
	if (s->c.train) {
		s->train = tokenizer_train_new(&train, e);
		return s->train ? 0 : -1;
	}
	s->tokenizer = s->c.tokenizer ? tokenizer_open(s->c.tokenizer, e) : tokenizer_from_store(s->c.store, e);
	return s->tokenizer ? 0 : -1;
}

int main(int argc, char **argv)
{
	static struct state s;
	const struct opt_group groups[] = {
	        {NULL, options, &s.c}, {"Training", train_options, &s.c}, {"Stream", tool_options, &s.tool.config}};
	const struct cli cli = {.tool = "rl-tokenize",
	                        .summary = "text to ids and back; train a byte-level BPE",
	                        .usage = "(-s STORE | --tokenizer FILE) [OPTION]... [FILE]...\n"
	                                 "--train --vocab-size N [OPTION]... [FILE]... > tokenizer.json",
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
	s.tool.fails_when_empty = s.c.train;
	s.made = record_new();
	str_init(&s.decoded);
	int status = tool_run(&s.tool, operands, n_operands,
	                      s.c.train    ? learn
	                      : s.c.decode ? decode
	                                   : encode,
	                      s.c.train ? write_trained : NULL, &s);
	str_release(&s.decoded);
	record_free(s.made);
	filter_free(s.text);
	tokenizer_free(s.tokenizer);
	tokenizer_train_free(s.train);
	return status;
}
