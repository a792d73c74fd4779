/* bow_train - see bow_train.h */
#include "lib/bow_train.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bow_classifier.h"
#include "lib/bow_words.h"
#include "lib/lbfgs.h"
#include "lib/par.h"
#include "lib/record.h"
#include "lib/util.h"

#define TOLERANCE 1e-6

enum { MOST_STEPS = 1000, TEXTS_PART = 64, COLUMNS_PART = 512 };

/* Texts and features of one fit: texts x columns, each text's entries equal, by text and by column. */
struct matrix {
	int64_t texts, columns;
	int64_t *text_at, *column_at;    /* [texts + 1], [columns + 1] into the entries */
	int32_t *column;                 /* of an entry, texts in order */
	int32_t *text;                   /* of an entry, columns in order */
	double *entry;                   /* of a text: 1 / sqrt(its entries) */
	double *y, *loss, *residual;     /* of a text */
	int32_t *column_of, *feature_of; /* by feature, -1 for none; by column */
};

struct bow_train {
	struct bow_train_config config;
	struct par *par;
	struct bow_features features;
	struct bow_words words;
	int64_t texts, cap_texts;
	struct {
		int64_t at, end; /* in feature[] */
		int64_t nth;     /* of its label */
		int label;
	} * text;
	int64_t n_label[2];
	int32_t *feature; /* distinct ones of each text */
	int64_t n, cap;
	int64_t *seen; /* by feature: 1 + the last text that has it */
	int64_t cap_seen;
	/* of the last fit */
	struct matrix m;
	double *w; /* columns, and the bias */
};

struct bow_train *bow_train_new(const struct bow_train_config *c)
{
	struct bow_train *t = xcalloc(1, sizeof *t);
	t->config = *c;
	t->par = par_new(c->threads);
	bow_features_init(&t->features);
	bow_words_init(&t->words);
	return t;
}

static void release_fit(struct bow_train *t)
{
	struct matrix *m = &t->m;
	free(m->text_at);
	free(m->column_at);
	free(m->column);
	free(m->text);
	free(m->entry);
	free(m->y);
	free(m->loss);
	free(m->residual);
	free(m->column_of);
	free(m->feature_of);
	free(t->w);
	t->w = NULL;
	*m = (struct matrix){.texts = 0};
}

void bow_train_free(struct bow_train *t)
{
	if (!t)
		return;
	release_fit(t);
	par_free(t->par);
	bow_features_release(&t->features);
	bow_words_release(&t->words);
	free(t->text);
	free(t->feature);
	free(t->seen);
	free(t);
}

/* ---- texts ---- */

static void add_once(struct bow_train *t, int32_t feature)
{
	if (feature >= t->cap_seen) {
		int64_t cap = t->cap_seen ? 2 * t->cap_seen : 4096;
		t->seen = xrealloc_array(t->seen, (size_t)cap, sizeof *t->seen);
		memset(t->seen + t->cap_seen, 0, (size_t)(cap - t->cap_seen) * sizeof *t->seen);
		t->cap_seen = cap;
	}
	if (t->seen[feature] == t->texts + 1)
		return;
	t->seen[feature] = t->texts + 1;
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 4096;
		t->feature = xrealloc_array(t->feature, (size_t)t->cap, sizeof *t->feature);
	}
	t->feature[t->n++] = feature;
}

int bow_train_add(struct bow_train *t, const char *text, size_t len, int label, struct err *e)
{
	const struct bow_words *w = &t->words;
	int64_t at = t->n;
	int32_t last = -1;
	bow_words_find(&t->words, text, len);
	if (w->n > (INT32_MAX - t->features.n) / 2 || t->texts == INT32_MAX - 1)
		return err_set(e, "more than %d texts or features", INT32_MAX - 1);
	for (int64_t i = 0; i < w->n; i++) {
		int32_t one =
		        bow_features_add(&t->features, w->lower.buf + w->word[i].at, w->word[i].len, w->word[i].hash);
		add_once(t, one);
		if (last >= 0)
			add_once(t, bow_features_add_pair(&t->features, last, one));
		last = one;
	}
	if (t->texts == t->cap_texts) {
		t->cap_texts = t->cap_texts ? 2 * t->cap_texts : 1024;
		t->text = xrealloc_array(t->text, (size_t)t->cap_texts, sizeof *t->text);
	}
	t->text[t->texts].at = at;
	t->text[t->texts].end = t->n;
	t->text[t->texts].nth = t->n_label[label]++;
	t->text[t->texts++].label = label;
	return 0;
}

/* ---- the function ---- */

struct evaluation {
	struct matrix *m;
	const double *x;
	double *g;
	double l2;
};

static double log_odds(const struct matrix *m, int64_t i, const double *x)
{
	double sum = 0;
	for (int64_t k = m->text_at[i]; k < m->text_at[i + 1]; k++)
		sum += x[m->column[k]];
	return sum * m->entry[i] + x[m->columns];
}

static void texts_part(void *arg, int64_t part, int worker)
{
	struct evaluation *v = arg;
	struct matrix *m = v->m;
	int64_t end = (part + 1) * TEXTS_PART;
	(void)worker;
	for (int64_t i = part * TEXTS_PART; i < m->texts && i < end; i++) {
		double z = log_odds(m, i, v->x), softplus, p = bow_logistic(z, &softplus);
		m->loss[i] = softplus - m->y[i] * z;
		m->residual[i] = p - m->y[i];
	}
}

static void columns_part(void *arg, int64_t part, int worker)
{
	struct evaluation *v = arg;
	struct matrix *m = v->m;
	int64_t end = (part + 1) * COLUMNS_PART;
	(void)worker;
	for (int64_t c = part * COLUMNS_PART; c < m->columns && c < end; c++) {
		double sum = 0;
		for (int64_t k = m->column_at[c]; k < m->column_at[c + 1]; k++)
			sum += m->residual[m->text[k]] * m->entry[m->text[k]];
		v->g[c] = sum + v->l2 * v->x[c];
	}
}

static double objective(void *arg, const double *x, double *g)
{
	struct bow_train *t = arg;
	struct matrix *m = &t->m;
	struct evaluation v = {m, x, g, t->config.l2};
	double loss = 0, squares = 0, bias = 0;
	par_run(t->par, (m->texts + TEXTS_PART - 1) / TEXTS_PART, texts_part, &v);
	par_run(t->par, (m->columns + COLUMNS_PART - 1) / COLUMNS_PART, columns_part, &v);
	for (int64_t i = 0; i < m->texts; i++) {
		loss += m->loss[i];
		bias += m->residual[i];
	}
	for (int64_t c = 0; c < m->columns; c++)
		squares += x[c] * x[c];
	g[m->columns] = bias;
	return loss + t->config.l2 / 2 * squares;
}

double bow_train_objective(struct bow_train *t, const double *x, double *gradient)
{
	return objective(t, x, gradient);
}

const double *bow_train_weights(const struct bow_train *t)
{
	return t->w;
}

/* ---- one fit ---- */

/* fold < 0: no text is left out. */
static bool is_in(const struct bow_train *t, int64_t i, int64_t k, int64_t fold)
{
	return fold < 0 || t->text[i].nth % k != fold;
}

/* Features that enough texts have get columns, in the order of their numbers. */
static void choose_columns(struct bow_train *t, int64_t k, int64_t fold)
{
	struct matrix *m = &t->m;
	size_t n = (size_t)t->features.n + 1;
	int64_t *texts = xcalloc(n, sizeof *texts);
	m->column_of = xcalloc(n, sizeof *m->column_of);
	m->feature_of = xcalloc(n, sizeof *m->feature_of);
	for (int64_t i = 0; i < t->texts; i++)
		for (int64_t j = t->text[i].at; is_in(t, i, k, fold) && j < t->text[i].end; j++)
			texts[t->feature[j]]++;
	for (int32_t f = 0; f < t->features.n; f++) {
		m->column_of[f] = texts[f] >= t->config.min_texts && texts[f] ? (int32_t)m->columns : -1;
		if (m->column_of[f] >= 0)
			m->feature_of[m->columns++] = f;
	}
	free(texts);
}

/* Entries by column, texts in order in each. */
static void turn(struct matrix *m)
{
	int64_t n = m->text_at[m->texts];
	m->text = xcalloc((size_t)n + 1, sizeof *m->text);
	m->column_at = xcalloc((size_t)m->columns + 2, sizeof *m->column_at);
	for (int64_t k = 0; k < n; k++)
		m->column_at[m->column[k] + 2]++;
	for (int64_t c = 1; c <= m->columns; c++)
		m->column_at[c + 1] += m->column_at[c];
	for (int64_t i = 0; i < m->texts; i++)
		for (int64_t k = m->text_at[i]; k < m->text_at[i + 1]; k++)
			m->text[m->column_at[m->column[k] + 1]++] = (int32_t)i;
}

static void fill(struct bow_train *t, int64_t k, int64_t fold)
{
	struct matrix *m = &t->m;
	size_t texts = (size_t)t->texts + 1;
	choose_columns(t, k, fold);
	m->text_at = xcalloc(texts, sizeof *m->text_at);
	m->column = xcalloc((size_t)t->n + 1, sizeof *m->column);
	m->entry = xcalloc(texts, sizeof *m->entry);
	m->y = xcalloc(texts, sizeof *m->y);
	m->loss = xcalloc(texts, sizeof *m->loss);
	m->residual = xcalloc(texts, sizeof *m->residual);
	int64_t n = 0;
	for (int64_t i = 0; i < t->texts; i++) {
		if (!is_in(t, i, k, fold))
			continue;
		for (int64_t j = t->text[i].at; j < t->text[i].end; j++)
			if (m->column_of[t->feature[j]] >= 0)
				m->column[n++] = m->column_of[t->feature[j]];
		int64_t entries = n - m->text_at[m->texts];
		m->entry[m->texts] = entries ? 1 / sqrt((double)entries) : 0;
		m->y[m->texts++] = t->text[i].label;
		m->text_at[m->texts] = n;
	}
	turn(m);
}

static int fit(struct bow_train *t, int64_t k, int64_t fold, struct lbfgs_result *out, struct err *e)
{
	if (!t->n_label[0] || !t->n_label[1])
		return err_set(e, "all %lld texts have the label %d, there is nothing to tell apart",
		               (long long)t->texts, t->n_label[1] > 0);
	release_fit(t);
	fill(t, k, fold);
	t->w = xcalloc((size_t)t->m.columns + 1, sizeof *t->w);
	return lbfgs_minimize(objective, t, t->w, t->m.columns + 1, TOLERANCE, MOST_STEPS, out, e);
}

int bow_train_run(struct bow_train *t, struct bow_report *out, struct err *e)
{
	struct lbfgs_result r;
	int64_t right = 0;
	if (fit(t, 1, -1, &r, e))
		return -1;
	for (int64_t i = 0; i < t->m.texts; i++)
		right += (log_odds(&t->m, i, t->w) > 0) == (t->m.y[i] > 0);
	*out = (struct bow_report){t->texts,
	                           t->n_label[1],
	                           t->m.columns,
	                           r.iterations,
	                           r.value,
	                           r.gradient,
	                           (double)right / (double)t->texts};
	return 0;
}

/* ---- folds ---- */

/* The log-odds of a text that was left out. */
static double predict(const struct bow_train *t, int64_t i)
{
	double sum = 0;
	int64_t n = 0;
	for (int64_t j = t->text[i].at; j < t->text[i].end; j++) {
		int32_t column = t->m.column_of[t->feature[j]];
		sum += column >= 0 ? t->w[column] : 0;
		n += column >= 0;
	}
	return t->w[t->m.columns] + (n ? sum / sqrt((double)n) : 0);
}

int bow_train_folds(struct bow_train *t, int64_t k, double *accuracy, struct err *e)
{
	struct lbfgs_result r;
	int64_t right = 0;
	for (int label = 0; label < 2; label++)
		if (t->n_label[label] < k)
			return err_set(e, "%lld texts have the label %d, too few for %lld folds",
			               (long long)t->n_label[label], label, (long long)k);
	for (int64_t fold = 0; fold < k; fold++) {
		if (fit(t, k, fold, &r, e))
			return err_where(e, "fold %lld", (long long)fold + 1);
		for (int64_t i = 0; i < t->texts; i++)
			if (!is_in(t, i, k, fold))
				right += (predict(t, i) > 0) == t->text[i].label;
	}
	*accuracy = (double)right / (double)t->texts;
	return 0;
}

/* ---- the file ---- */

struct line {
	char *feature;
	size_t len;
	double weight;
};

struct lines {
	const struct bow_train *t;
	struct line *line;
};

static void add_line(void *arg, int32_t number, const char *first, const char *second)
{
	struct lines *x = arg;
	int32_t column = x->t->m.column_of[number];
	if (column < 0)
		return;
	struct str s;
	str_init(&s);
	str_adds(&s, first);
	if (second) {
		str_addc(&s, ' ');
		str_adds(&s, second);
	}
	x->line[column] = (struct line){.len = s.len, .weight = x->t->w[column]};
	x->line[column].feature = str_detach(&s);
}

static int by_bytes(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	return strcmp(x->feature, y->feature);
}

void bow_train_write(const struct bow_train *t, const char *more, struct str *out)
{
	struct lines x = {t, xcalloc((size_t)t->m.columns + 1, sizeof *x.line)};
	bow_features_each(&t->features, add_line, &x);
	qsort(x.line, (size_t)t->m.columns, sizeof *x.line, by_bytes);
	str_addf(out, "{\"format\":\"%s\",\"version\":%d,\"features\":%lld,\"bias\":", BOW_FORMAT, BOW_VERSION,
	         (long long)t->m.columns);
	json_put_float(out, (float)t->w[t->m.columns]);
	str_addf(out, "%s}\n", more);
	for (int64_t i = 0; i < t->m.columns; i++) {
		str_adds(out, "{\"feature\":");
		json_put_str(out, x.line[i].feature, x.line[i].len);
		str_adds(out, ",\"weight\":");
		json_put_float(out, (float)x.line[i].weight);
		str_adds(out, "}\n");
		free(x.line[i].feature);
	}
	str_addf(out, "{\"end\":%lld}\n", (long long)t->m.columns);
	free(x.line);
}
