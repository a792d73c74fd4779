/*
 * rl-reward-sentiment - sentiment of a text by VADER's rules or by a trained classifier: one number, or one per token.
 *
 * --train reads texts with labels and writes a classifier.
 */
#include <math.h>
#include <stdlib.h>

#include "lib/bow_classifier.h"
#include "lib/bow_train.h"
#include "lib/filter.h"
#include "lib/sentiment.h"
#include "lib/sentiment_place.h"
#include "lib/tool.h"
#include "lib/util.h"

enum mode { SCALAR, WORDS, MASK, STRENGTH, SIGNED };

struct config {
	const char *lexicon, *emoji, *classifier, *text, *as, *label;
	bool per_token, train;
	int mode;
	double otherwise, l2;
	int64_t min_texts, folds, threads;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"lexicon", 0, OPT_STR, FIELD(lexicon), NULL, "FILE", "score by VADER: words and their valence", 0, 0},
        {"emoji", 0, OPT_STR, FIELD(emoji), NULL, "FILE", "emoji and the words that they stand for", 0, 0},
        {"classifier", 0, OPT_STR, FIELD(classifier), NULL, "FILE", "score by a classifier that --train made", 0, 0},
        {"text", 0, OPT_STR, FIELD(text), NULL, "FILTER",
         "what is scored, by default .completion, or trained on, by default .text", 0, 0},
        {"mode", 0, OPT_CHOICE, FIELD(mode), "scalar", "scalar|words|mask|strength|signed",
         "one number, or one per token: each word's value on the token in which it ends; the strength of the text "
         "on words with a value, or everywhere; its signed score everywhere",
         0, 0},
        {"per-token", 0, OPT_FLAG, FIELD(per_token), NULL, NULL, "--mode words", 0, 0},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where --text fails or gives no string", 0, 0},
        {"as", 0, OPT_STR, FIELD(as), "reward_sentiment", "NAME", "name of the reward that is added", 0, 0},
        {NULL},
};

static const struct opt train_options[] = {
        {"train", 0, OPT_FLAG, FIELD(train), NULL, NULL, "train a classifier on labelled texts", 0, 0},
        {"label", 0, OPT_STR, FIELD(label), ".label", "FILTER", "1 or true for a positive text, 0 or false", 0, 0},
        {"l2", 0, OPT_NUM, FIELD(l2), "0.05", "X", "penalty on the weights' squares", 1e-6, 1e6},
        {"min-texts", 0, OPT_INT, FIELD(min_texts), "2", "N", "features that are in fewer texts are left out", 1,
         INT32_MAX},
        {"folds", 0, OPT_INT, FIELD(folds), "0", "K", "first measure the accuracy in K folds; 0: don't", 0, 1000},
        {"threads", 'j', OPT_INT, FIELD(threads), "0", "N", "threads; 0: all processors", 0, 256},
        {NULL},
};

struct reward_sentiment {
	struct config config;
	struct filter *text, *label;
	struct sentiment *sentiment;
	struct bow_classifier *classifier;
	struct bow_train *train;
	struct str json;
};

/* ---- scoring ---- */

/* What was found in a text. */
struct found {
	bool text;
	double score, strength;
	const struct sentiment_word *words;
	int64_t n_words;
};

struct part {
	const char *name;
	double value;
};

static int add_parts(struct reward_sentiment *x, struct record *r, const char *name, const struct part *part, size_t n,
                     struct err *e)
{
	str_clear(&x->json);
	for (size_t i = 0; i < n; i++) {
		str_adds(&x->json, i ? ",\"" : "{\"");
		str_adds(&x->json, part[i].name);
		str_adds(&x->json, "\":");
		json_put_num(&x->json, part[i].value);
	}
	str_addc(&x->json, '}');
	return record_add_raw(r, name, x->json.buf, x->json.len, e);
}

/* Scores the text, if there is one, and adds the parts of its score. */
static int add_lexicon(struct reward_sentiment *x, struct record *r, const char *text, size_t len, bool words,
                       struct found *f, struct err *e)
{
	struct sentiment_score s = {0};
	if (f->text)
		sentiment_score(x->sentiment, text, len, &s, words ? &f->words : NULL, &f->n_words);
	f->score = s.compound;
	f->strength = (1 + fabs(s.compound)) / 2;
	const struct part part[] = {{"neg", s.neg}, {"neu", s.neu}, {"pos", s.pos}, {"compound", s.compound}};
	return add_parts(x, r, "sentiment", part, ARRAY_LEN(part), e);
}

static int add_classifier(struct reward_sentiment *x, struct record *r, const char *text, size_t len, bool words,
                          struct found *f, struct err *e)
{
	struct bow_score s = {NAN, NAN};
	if (f->text)
		bow_classifier_score(x->classifier, text, len, &s, words ? &f->words : NULL, &f->n_words);
	f->score = s.log_odds;
	f->strength = fmax(s.probability, 1 - s.probability);
	const struct part part[] = {{"probability", s.probability}, {"log_odds", s.log_odds}};
	return add_parts(x, r, "classifier", part, ARRAY_LEN(part), e);
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
	struct found f = {0};
	const char *text = NULL;
	size_t len = 0;
	bool words = x->config.mode == WORDS || x->config.mode == MASK;
	int found = filter_str(x->text, r, &text, &len, &t->arena, e);
	/* what a model wrote never stops a run; a record without anything that a model wrote is the user's fault */
	if (found < 0 && !record_has(r, "completion"))
		return -1;
	if (!found && !record_has(r, "completion"))
		return err_set(e, "--text: '%s' gives nothing", filter_program(x->text));
	t->count[0].n += found <= 0;
	f.text = found > 0;
	if ((x->classifier ? add_classifier : add_lexicon)(x, r, text, len, words, &f, e))
		return -1;
	if (x->config.mode != SCALAR)
		return add_vector(x, t, r, &f, e);
	return record_add_num(r, x->config.as, f.text ? f.score : x->config.otherwise, e);
}

/* ---- training ---- */

static int get_label(struct reward_sentiment *x, struct tool *t, struct record *r, int *label, struct err *e)
{
	struct json v;
	if (filter_run(x->label, r, &v, &t->arena, e))
		return -1;
	*label = v.kind == JSON_BOOL ? v.boolean : v.kind == JSON_NUMBER && v.number == 1;
	if (v.kind == JSON_BOOL || (v.kind == JSON_NUMBER && (v.number == 0 || v.number == 1)))
		return 0;
	return err_set(e, "--label: '%s' gives neither 0 nor 1, neither false nor true", filter_program(x->label));
}

static int learn(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_sentiment *x = arg;
	const char *text;
	size_t len;
	int label;
	if (tool_passes(t, r))
		return 1;
	int found = filter_str(x->text, r, &text, &len, &t->arena, e);
	if (found <= 0)
		return found < 0 ? -1 : err_set(e, "--text: '%s' gives nothing", filter_program(x->text));
	return get_label(x, t, r, &label, e) || bow_train_add(x->train, text, len, label, e) ? -1 : 1;
}

/* The classifier onto standard output, and in its first line what is known of it. */
static int write_trained(struct tool *t, void *arg, struct err *e)
{
	struct reward_sentiment *x = arg;
	struct bow_report p;
	struct str more, out;
	double accuracy = NAN;
	if (!t->n_in)
		return 0; /* tool_end has a line for that */
	if (x->config.folds && bow_train_folds(x->train, x->config.folds, &accuracy, e))
		return -1;
	if (bow_train_run(x->train, &p, e))
		return -1;
	str_init(&more);
	str_init(&out);
	str_addf(&more, ",\"texts\":%lld,\"positive\":%lld,\"min_texts\":%lld,\"l2\":", (long long)p.texts,
	         (long long)p.positive, (long long)x->config.min_texts);
	json_put_num(&more, x->config.l2);
	str_addf(&more, ",\"iterations\":%lld,\"loss\":", (long long)p.iterations);
	json_put_num(&more, p.loss);
	str_adds(&more, ",\"gradient\":");
	json_put_num(&more, p.gradient);
	str_adds(&more, ",\"train_accuracy\":");
	json_put_num(&more, p.accuracy);
	if (x->config.folds) {
		str_addf(&more, ",\"folds\":%lld,\"accuracy\":", (long long)x->config.folds);
		json_put_num(&more, accuracy);
	}
	bow_train_write(x->train, more.buf, &out);
	int failed = sink_write(t->out, out.buf, out.len, e);
	str_release(&more);
	str_release(&out);
	return failed;
}

/* ---- the tool ---- */

static void check_options(struct config *c)
{
	if (c->per_token && cli_given("mode") && c->mode == SCALAR)
		cli_misuse("--per-token is a number for each token, --mode scalar is one for the text");
	if (c->per_token && c->mode == SCALAR)
		c->mode = WORDS;
	if (!c->train && !c->lexicon == !c->classifier)
		cli_misuse(c->lexicon ? "--lexicon and --classifier are two ways to score: give one of them"
		                      : "nothing to score by: give --lexicon, --classifier or --train");
	if (c->train && c->folds == 1)
		cli_misuse("--folds 1 leaves nothing to train on");
	if (!c->text)
		c->text = c->train ? ".text" : ".completion";
}

static void prepare(struct reward_sentiment *x)
{
	const struct config *c = &x->config;
	const struct bow_train_config train = {c->l2, c->min_texts, (int)c->threads};
	struct err e;
	if (!(x->text = filter_new("text", c->text, NULL, 0, &e)) ||
	    !(x->label = filter_new("label", c->label, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
	if (c->train)
		x->train = bow_train_new(&train);
	else if (c->lexicon && !(x->sentiment = sentiment_open(c->lexicon, c->emoji, &e)))
		cli_fail("%s", e.msg);
	else if (c->classifier && !(x->classifier = bow_classifier_open(c->classifier, &e)))
		cli_fail("%s", e.msg);
	str_init(&x->json);
}

int main(int argc, char **argv)
{
	struct reward_sentiment x = {0};
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config},
	                                   {"Training", train_options, &x.config},
	                                   {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reward-sentiment",
	        .summary = "reward a text by its sentiment",
	        .usage = "(--lexicon FILE | --classifier FILE) [OPTION]... [FILE]...\n"
	                 "--train [OPTION]... [FILE]... > CLASSIFIER",
	        .details = "Adds sentiment {neg, neu, pos, compound} or classifier {probability, log_odds}, and\n"
	                   "reward_sentiment, the compound score or the log-odds, or one number per token.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	check_options(&x.config);
	prepare(&x);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.count[0].name = "without a text";
	t.fails_when_empty = t.takes_all = t.drops_errors = x.config.train;
	int status =
	        tool_run(&t, operands, n, x.config.train ? learn : process, x.config.train ? write_trained : NULL, &x);
	str_release(&x.json);
	sentiment_free(x.sentiment);
	bow_classifier_free(x.classifier);
	bow_train_free(x.train);
	filter_free(x.text);
	filter_free(x.label);
	return status;
}
