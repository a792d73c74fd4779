/*
 * advantage_test - what the unit tests of advantage share: golden files, rows, comparison.
 */
#ifndef LIB_ADVANTAGE_TEST_H
#define LIB_ADVANTAGE_TEST_H

#include "lib/advantage.h"
#include "lib/arena.h"
#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"

enum { ROWS = 64, TOKENS = 64 };

static struct record *r;
static struct arena a;
static struct err e;
static struct advantage_row row[ROWS];
static float out[ROWS][3][TOKENS];

static inline struct advantage_config defaults(void)
{
	return (struct advantage_config){.gamma = 1, .lam = .95, .kl_coef = .05, .whiten = true, .eos = -1};
}

static inline void clear_rows(void)
{
	memset(row, 0, sizeof row);
	for (int i = 0; i < ROWS; i++) {
		row[i].rewards = out[i][0];
		row[i].advantages = out[i][1];
		row[i].returns = out[i][2];
	}
}

/* One JSON document in a file. */
static inline bool load(const char *name)
{
	const char *path = test_shared(name);
	struct stream *s = path ? stream_open(path, &e) : NULL;
	struct str text;
	char *line;
	size_t len;
	bool ok = false;
	if (!s) {
		test_skip("the golden data is not beside the tree");
		return false;
	}
	str_init(&text);
	while (stream_next(s, &line, &len, &e) > 0) {
		str_add(&text, line, len);
		str_addc(&text, '\n');
	}
	arena_reset(&a);
	ok = record_parse(r, text.buf, text.len, &e) == 0;
	CHECK(ok);
	str_release(&text);
	stream_close(s);
	return ok;
}

static inline struct json at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline struct json at(const char *fmt, ...)
{
	char path[200];
	struct json v;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof path, fmt, ap);
	va_end(ap);
	record_path(r, path, &v, &e);
	return v;
}

static inline float *floats(struct json v, int64_t *n)
{
	float *x = NULL;
	*n = 0;
	if (v.kind == JSON_ARRAY && json_floats(&v, "golden", &x, n, &a, &e) < 0)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return x;
}

struct nullable {
	double x[TOKENS];
	int64_t n;
};

static inline int put_item(void *arg, int64_t i, const char *key, size_t len, const struct json *item)
{
	struct nullable *l = arg;
	(void)key, (void)len;
	l->x[i] = item->kind == JSON_NUMBER ? item->number : NAN;
	l->n = i + 1;
	return 0;
}

/* x agrees with the array v wherever that is not null. */
static inline void check_array(const float *x, int64_t n, struct json v, double rtol, double atol, const char *what)
{
	struct nullable want = {.n = 0};
	json_each(&v, put_item, &want);
	if (want.n != n)
		test_fail(__FILE__, __LINE__, "%s: %lld numbers, expected %lld", what, (long long)n, (long long)want.n);
	for (int64_t i = 0; i < want.n && i < n; i++)
		if (!isnan(want.x[i]) && !(fabs((double)x[i] - want.x[i]) <= atol + rtol * fabs(want.x[i])))
			test_fail(__FILE__, __LINE__, "%s[%lld] is %.9g, expected %.9g", what, (long long)i,
			          (double)x[i], want.x[i]);
}

/* The cells of a row with the one behind its last token. */
static inline void check_cells(const float *x, const struct advantage_row *p, double terminal, struct json v,
                               double rtol, double atol, const char *what)
{
	float cells[TOKENS + 1];
	memcpy(cells, x, (size_t)p->n * sizeof *x);
	cells[p->n] = (float)terminal;
	check_array(cells, p->n + p->has_terminal, v, rtol, atol, what);
}

static inline int index_of(const char *text, const char *const *words)
{
	int i = 0;
	while (words[i] && strcmp(text, words[i]))
		i++;
	return i;
}

__attribute__((unused)) static const char *const estimators[] = {"k1", "k2", "k3", NULL};

static inline double *score_row(int64_t n, double score)
{
	double *x = arena_array(&a, (size_t)n, sizeof *x);
	x[n - 1] = score;
	return x;
}

/* Appends the lines of a file under golden/rl/, `between` them. */
static inline bool add_lines(struct str *text, const char *dir, const char *name, const char *between)
{
	char path[200];
	snprintf(path, sizeof path, "golden/rl/%s/%s", dir, name);
	const char *found = test_shared(path);
	struct stream *s = found ? stream_open(found, &e) : NULL;
	char *line;
	size_t len;
	if (!s) {
		test_skip("the golden data is not beside the tree");
		return false;
	}
	for (int i = 0; stream_next(s, &line, &len, &e) > 0; i++)
		str_addf(text, "%s%s", i ? between : "", line);
	stream_close(s);
	return true;
}

static inline void run_cases(const char *file, void (*one)(int))
{
	if (!load(file))
		return;
	struct json cases = at(".cases");
	int n = (int)json_length(&cases);
	CHECK(n > 0);
	for (int i = 0; i < n; i++)
		one(i);
}

#endif
