/* bow_classifier - see bow_classifier.h */
#include "lib/bow_classifier.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bow_words.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/util.h"

/* What is known of a numbered word or pair. */
struct weight {
	double value;
	int64_t count; /* in the text that is scored */
	bool is_feature;
};

struct bow_classifier {
	struct bow_features features;
	struct weight *weight; /* by number */
	int32_t cap;
	double bias;
	struct bow_words words;
	int32_t *found; /* for word i: its number at 2 i, that of the pair it ends at 2 i + 1; -1 for none */
	struct sentiment_word *out;
};

/* ---- arithmetic ---- */

/* exp(x) for x <= 0: Taylor's series of 13 terms after x = k ln 2 + r, |r| <= ln 2 / 2.  The C library's last bit
 * differs from machine to machine. */
static double exp_below(double x)
{
	if (!(x > -700))
		return 0;
	double k = rint(x * 0x1.71547652b82fep0), r = (x - k * 0x1.62e42fefap-1) - k * 0x1.cf79abc9e3b39p-40, y = 1;
	for (int i = 13; i > 0; i--)
		y = 1 + y * r / i;
	return ldexp(y, (int)k);
}

/* log(1 + x) for 0 <= x <= 1, as 2 atanh(x / (2 + x)): the argument is 1/3 at most. */
static double log_above(double x)
{
	double s = x / (2 + x), square = s * s, y = 0;
	for (int i = 33; i > 0; i -= 2)
		y = y * square + 1.0 / i;
	return 2 * s * y;
}

double bow_logistic(double z, double *softplus)
{
	double x = exp_below(-fabs(z));
	if (softplus)
		*softplus = log_above(x) + (z > 0 ? z : 0);
	return z < 0 ? x / (1 + x) : 1 / (1 + x);
}

/* ---- the file ---- */

/* The number of a feature that is written as one word or as two. */
static int add_feature(struct bow_classifier *c, const char *text, size_t len, int32_t *number, struct err *e)
{
	const char *space = memchr(text, ' ', len);
	size_t first = space ? (size_t)(space - text) : len, second = space ? len - first - 1 : 1;
	if (!first || !second || (space && memchr(space + 1, ' ', second)))
		return err_set(e, "the feature '%s' is neither a word nor two with a space between them", text);
	*number = bow_features_add(&c->features, text, first, bow_hash(text, first));
	if (!space)
		return 0;
	int32_t other = bow_features_add(&c->features, space + 1, second, bow_hash(space + 1, second));
	*number = bow_features_add_pair(&c->features, *number, other);
	return 0;
}

static int add_weight(struct bow_classifier *c, const struct record *r, struct err *e)
{
	const char *text;
	size_t len;
	double value;
	int32_t number = -1;
	int has = record_str(r, "feature", &text, &len, e);
	if (has <= 0)
		return has < 0 ? -1 : err_set(e, "no 'feature'");
	if ((has = record_num(r, "weight", &value, e)) <= 0)
		return has < 0 ? -1 : err_set(e, "no 'weight'");
	if (fabs(value) > FLT_MAX)
		return err_set(e, "the weight of '%s' is %g, more than a float holds", text, value);
	if (c->features.n > INT32_MAX - 3)
		return err_set(e, "more than %d features", INT32_MAX);
	if (add_feature(c, text, len, &number, e))
		return -1;
	while (c->features.n > c->cap) {
		int32_t cap = c->cap > INT32_MAX / 2 ? INT32_MAX : c->cap ? 2 * c->cap : 1024;
		c->weight = xrealloc_array(c->weight, (size_t)cap, sizeof *c->weight);
		memset(c->weight + c->cap, 0, (size_t)(cap - c->cap) * sizeof *c->weight);
		c->cap = cap;
	}
	if (c->weight[number].is_feature)
		return err_set(e, "the feature '%s' is there twice", text);
	c->weight[number] = (struct weight){.value = value, .is_feature = true};
	return 0;
}

/* The first line. */
static int read_head(struct bow_classifier *c, const struct record *r, int64_t *n, struct err *e)
{
	const char *format;
	size_t len;
	int64_t version;
	int has = record_kind(r, "format") == JSON_STRING ? record_str(r, "format", &format, &len, e) : 0;
	if (has <= 0 || strcmp(format, BOW_FORMAT))
		return err_set(e, "no classifier: its first line has no \"format\":\"%s\"", BOW_FORMAT);
	if ((has = record_int(r, "version", &version, e)) <= 0)
		return has < 0 ? -1 : err_set(e, "no 'version'");
	if (version != BOW_VERSION)
		return err_set(e, "a classifier of version %lld, expected %d", (long long)version, BOW_VERSION);
	if ((has = record_int(r, "features", n, e)) <= 0)
		return has < 0 ? -1 : err_set(e, "no 'features'");
	if ((has = record_num(r, "bias", &c->bias, e)) <= 0)
		return has < 0 ? -1 : err_set(e, "no 'bias'");
	return fabs(c->bias) > FLT_MAX ? err_set(e, "the bias is %g, more than a float holds", c->bias) : 0;
}

struct reading {
	struct bow_classifier *c;
	struct record *r;
	int64_t line, n, want; /* features read and promised */
	bool ended;
};

static int read_line(struct reading *g, const char *line, size_t len, struct err *e)
{
	if (g->ended)
		return err_set(e, "a line behind the end");
	if (record_parse(g->r, line, len, e))
		return -1;
	if (g->line == 1)
		return read_head(g->c, g->r, &g->want, e);
	if (record_has(g->r, "end")) {
		g->ended = true;
		return g->n == g->want ? 0
		                       : err_set(e, "the end after %lld features, expected %lld", (long long)g->n,
		                                 (long long)g->want);
	}
	g->n++;
	return add_weight(g->c, g->r, e);
}

static int read_file(struct bow_classifier *c, const char *path, struct err *e)
{
	struct stream *in = stream_open(path, e);
	struct reading g = {.c = c};
	char *line;
	size_t len;
	int rc;
	if (!in)
		return -1;
	g.r = record_new();
	while ((rc = stream_next(in, &line, &len, e)) > 0) {
		g.line = stream_line(in);
		if ((rc = read_line(&g, line, len, e))) {
			err_where(e, "%s:%lld", path, (long long)g.line);
			break;
		}
	}
	if (!rc && !g.line)
		rc = err_set(e, "%s: empty, no classifier", path);
	if (!rc && !g.ended)
		rc = err_set(e, "%s: cut off after %lld features, expected %lld and an end", path, (long long)g.n,
		             (long long)g.want);
	record_free(g.r);
	stream_close(in);
	return rc;
}

struct bow_classifier *bow_classifier_open(const char *path, struct err *e)
{
	struct bow_classifier *c = xcalloc(1, sizeof *c);
	bow_features_init(&c->features);
	bow_words_init(&c->words);
	if (read_file(c, path, e)) {
		bow_classifier_free(c);
		return NULL;
	}
	return c;
}

void bow_classifier_free(struct bow_classifier *c)
{
	if (!c)
		return;
	bow_features_release(&c->features);
	bow_words_release(&c->words);
	free(c->weight);
	free(c->found);
	free(c->out);
	free(c);
}

/* ---- scores ---- */

/* Counts a feature, if it is one; the weights are added up where features are met first. */
static int32_t count(struct bow_classifier *c, int32_t number, double *sum, int64_t *distinct)
{
	if (number < 0 || !c->weight[number].is_feature)
		return -1;
	if (!c->weight[number].count++) {
		*sum += c->weight[number].value;
		++*distinct;
	}
	return number;
}

static double share(const struct bow_classifier *c, int32_t number)
{
	return number < 0 ? 0 : c->weight[number].value / (double)c->weight[number].count;
}

void bow_classifier_score(struct bow_classifier *c, const char *text, size_t len, struct bow_score *out,
                          const struct sentiment_word **words, int64_t *n_words)
{
	const struct bow_words *w = &c->words;
	double sum = 0;
	int64_t distinct = 0;
	int32_t last = -1;
	bow_words_find(&c->words, text, len);
	c->found = xrealloc_array(c->found, 2 * (size_t)w->n + 1, sizeof *c->found);
	c->out = xrealloc_array(c->out, (size_t)w->n + 1, sizeof *c->out);
	for (int64_t i = 0; i < w->n; i++) {
		int32_t one =
		        bow_features_find(&c->features, w->lower.buf + w->word[i].at, w->word[i].len, w->word[i].hash);
		int32_t pair = last < 0 || one < 0 ? -1 : bow_features_find_pair(&c->features, last, one);
		c->found[2 * i] = count(c, one, &sum, &distinct);
		c->found[2 * i + 1] = count(c, pair, &sum, &distinct);
		last = one;
	}
	double scale = distinct ? 1 / sqrt((double)distinct) : 0;
	out->log_odds = c->bias + scale * sum;
	out->probability = bow_logistic(out->log_odds, NULL);
	for (int64_t i = 0; i < w->n; i++)
		c->out[i] =
		        (struct sentiment_word){w->word[i].start, w->word[i].end,
		                                scale * (share(c, c->found[2 * i]) + share(c, c->found[2 * i + 1]))};
	for (int64_t i = 0; i < 2 * w->n; i++)
		if (c->found[i] >= 0)
			c->weight[c->found[i]].count = 0;
	if (words) {
		*words = c->out;
		*n_words = w->n;
	}
}
