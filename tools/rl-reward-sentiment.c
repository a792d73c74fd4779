/*
 * rl-reward-sentiment - valence of a text by VADER's lexicon and rules: one number, or one per token.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/filter.h"
#include "lib/sentiment.h"
#include "lib/sentiment_place.h"
#include "lib/tool.h"
#include "lib/util.h"

enum mode { SCALAR, WORDS, MASK, STRENGTH, SIGNED };

struct config {
	const char *lexicon, *emoji, *text, *as;
	bool per_token;
	int mode;
	double otherwise;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"lexicon", 0, OPT_STR, FIELD(lexicon), NULL, "FILE", "words and their valence; required", 0, 0},
        {"emoji", 0, OPT_STR, FIELD(emoji), NULL, "FILE", "emoji and the words that they stand for", 0, 0},
        {"text", 0, OPT_STR, FIELD(text), ".completion", "FILTER", "what is scored", 0, 0},
        {"mode", 0, OPT_CHOICE, FIELD(mode), "scalar", "scalar|words|mask|strength|signed",
         "one number, or one per token: each word's valence on the token in which it ends; the strength of the text "
         "on words with a valence, or everywhere; its signed score everywhere",
         0, 0},
        {"per-token", 0, OPT_FLAG, FIELD(per_token), NULL, NULL, "--mode words", 0, 0},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where --text fails or gives no string", 0, 0},
        {"as", 0, OPT_STR, FIELD(as), "reward_sentiment", "NAME", "name of the reward that is added", 0, 0},
        {NULL},
};

struct reward_sentiment {
	struct config config;
	struct filter *text;
	struct sentiment *sentiment;
	struct str json;
};

/* What was found in a text. */
struct found {
	bool text;
	double score, strength;
	const struct sentiment_word *words;
	int64_t n_words;
};

static int add_scores(struct reward_sentiment *x, struct record *r, const struct sentiment_score *s, struct err *e)
{
	const struct {
		const char *name;
		double value;
	} part[] = {
	        {"{\"neg\":", s->neg}, {",\"neu\":", s->neu}, {",\"pos\":", s->pos}, {",\"compound\":", s->compound}};
	str_clear(&x->json);
	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		str_adds(&x->json, part[i].name);
		json_put_num(&x->json, part[i].value);
	}
	str_addc(&x->json, '}');
	return record_add_raw(r, "sentiment", x->json.buf, x->json.len, e);
}

/* One number for each token. */
static int add_vector(struct reward_sentiment *x, struct tool *t, struct record *r, const struct found *f,
                      struct err *e)
{
	int32_t *ends = NULL, *mask = NULL;
	int64_t n = 0;
	int has = record_ints(r, "ends", &ends, &n, -1, NULL, &t->arena, e);
	if (has <= 0)
		return has < 0 ? -1 : err_set(e, "a reward per token needs 'ends', where each token ends in the text");
	if (record_ints(r, "mask", &mask, &n, n, "ends", &t->arena, e) < 0)
		return -1;
	float *out = arena_array(&t->arena, (size_t)n + 1, sizeof *out);
	if (!f->text && n)
		out[n - 1] = (float)x->config.otherwise;
	else if (x->config.mode == WORDS)
		sentiment_place_words(f->words, f->n_words, ends, n, out);
	else if (x->config.mode == MASK)
		sentiment_place_mask(f->words, f->n_words, f->strength, ends, n, out);
	else
		sentiment_place_text(x->config.mode == STRENGTH ? f->strength : f->score, mask, n, out);
	return record_add_floats(r, x->config.as, out, n, e);
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_sentiment *x = arg;
	struct sentiment_score score = {0};
	struct found f = {0};
	const char *text = NULL;
	size_t len;
	bool per_word = x->config.mode == WORDS || x->config.mode == MASK;
	int found = filter_str(x->text, r, &text, &len, &t->arena, e);
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	if (found < 0 && !record_has(r, "completion"))
		return -1;
	if (!found && !record_has(r, "completion"))
		return err_set(e, "--text: '%s' gives nothing", filter_program(x->text));
	t->count[0].n += found <= 0;
	f.text = found > 0;
	if (f.text)
		sentiment_score(x->sentiment, text, len, &score, per_word ? &f.words : NULL, &f.n_words);
	f.score = score.compound;
	f.strength = (1 + fabs(f.score)) / 2;
	if (add_scores(x, r, &score, e))
		return -1;
	if (x->config.mode != SCALAR)
		return add_vector(x, t, r, &f, e);
	return record_add_num(r, x->config.as, f.text ? f.score : x->config.otherwise, e);
}

int main(int argc, char **argv)
{
	struct reward_sentiment x = {0};
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config}, {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reward-sentiment",
	        .summary = "reward a text by its sentiment",
	        .usage = "[OPTION]... --lexicon FILE [FILE]...",
	        .details = "Adds sentiment {neg, neu, pos, compound} and reward_sentiment, the compound score.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (!x.config.lexicon)
		cli_misuse("--lexicon is required");
	if (x.config.per_token && cli_given("mode") && x.config.mode == SCALAR)
		cli_misuse("--per-token is a number for each token, --mode scalar is one for the text");
	if (x.config.per_token && x.config.mode == SCALAR)
		x.config.mode = WORDS;
	if (!(x.text = filter_new("text", x.config.text, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
	if (!(x.sentiment = sentiment_open(x.config.lexicon, x.config.emoji, &e)))
		cli_fail("%s", e.msg);
	str_init(&x.json);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.count[0].name = "without a text";
	int status = tool_run(&t, operands, n, process, NULL, &x);
	str_release(&x.json);
	sentiment_free(x.sentiment);
	filter_free(x.text);
	return status;
}
