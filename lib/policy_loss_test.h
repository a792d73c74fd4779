/*
 * policy_loss_test - what the unit tests of policy_loss share: golden files, a mini-batch, comparison.
 */
#ifndef LIB_POLICY_LOSS_TEST_H
#define LIB_POLICY_LOSS_TEST_H

#include "lib/policy_loss.h"
#include "lib/record.h"
#include "lib/str.h"
#include "lib/test.h"
#include "lib/util.h"

enum { MAX_ROWS = 64, MAX_CELLS = 64 };

/* A ragged matrix of the golden files; NAN where they say null. */
struct ragged {
	int64_t n, len[MAX_ROWS];
	float x[MAX_ROWS][MAX_CELLS];
};

static inline int take_cell(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	(void)key, (void)key_len;
	if (i >= MAX_CELLS)
		return -1;
	((float *)arg)[i] = item->kind == JSON_NUMBER ? (float)item->number : NAN;
	return 0;
}

static inline int take_row(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct ragged *m = arg;
	(void)key, (void)key_len;
	if (i >= MAX_ROWS)
		return -1;
	m->n = i + 1;
	m->len[i] = json_length(item);
	return json_each(item, take_cell, m->x[i]);
}

static inline struct ragged *ragged(const struct json *object, const char *key)
{
	struct json v;
	struct ragged *m = xcalloc(1, sizeof *m);
	if (json_member(object, key, &v) != 1 || json_each(&v, take_row, m))
		test_fail(__FILE__, __LINE__, "no matrix '%s'", key);
	return m;
}

static inline double number(const struct json *object, const char *path)
{
	struct json v = *object;
	char *copy = xstrdup(path), *save, *key;
	for (key = strtok_r(copy, ".", &save); key; key = strtok_r(NULL, ".", &save))
		if (json_member(&v, key, &v) != 1)
			v.number = NAN;
	free(copy);
	return v.number;
}

/* A mini-batch: rows, their outputs and the sums. */
struct mini {
	struct policy_loss_config config;
	struct policy_loss_scale scale;
	int64_t n;
	struct policy_loss_row row[MAX_ROWS];
	int32_t mask[MAX_ROWS][MAX_CELLS];
	float dlogprobs[MAX_ROWS][MAX_CELLS], dentropy[MAX_ROWS][MAX_CELLS], dvalues[MAX_ROWS][MAX_CELLS];
	struct policy_loss_stats means;
};

static inline void run(struct mini *m)
{
	struct policy_loss_stats sums = {0};
	/* what is known of the whole stays, what is counted is counted anew */
	m->scale.tokens = m->scale.rows = m->scale.all_tokens = m->scale.all_rows = m->scale.cells = 0;
	for (int64_t i = 0; i < m->n; i++) {
		m->row[i].dlogprobs = m->dlogprobs[i];
		m->row[i].dentropy = m->dentropy[i];
		m->row[i].dvalues = m->dvalues[i];
		policy_loss_count(&m->config, &m->row[i], &m->scale);
	}
	for (int64_t i = 0; i < m->n; i++) {
		if (m->row[i].advantages)
			policy_loss_tokens(&m->config, &m->scale, &m->row[i], &sums);
		if (m->row[i].returns)
			policy_loss_cells(&m->config, &m->scale, &m->row[i], &sums);
	}
	m->means = policy_loss_means(&m->config, &sums, &m->scale);
}

static inline void compare(float got[MAX_ROWS][MAX_CELLS], const struct ragged *want, double rtol, double atol)
{
	for (int64_t i = 0; i < want->n; i++)
		for (int64_t t = 0; t < want->len[i]; t++)
			if (!isnan(want->x[i][t]))
				CHECK_NEAR(got[i][t], want->x[i][t], atol + rtol * fabs(want->x[i][t]));
}

static inline void take_mask(struct mini *m, const struct ragged *mask)
{
	for (int64_t i = 0; i < mask->n; i++) {
		for (int64_t t = 0; t < mask->len[i]; t++)
			m->mask[i][t] = mask->x[i][t] != 0;
		m->row[i].mask = m->mask[i];
	}
}

static inline char *read_whole(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	struct str s;
	char buf[65536];
	size_t got;
	str_init(&s);
	while (f && (got = fread(buf, 1, sizeof buf, f)) > 0)
		str_add(&s, buf, got);
	if (f)
		fclose(f);
	*len = s.len;
	return str_detach(&s);
}

static inline void each_case_with(const char *name, int64_t least,
                                  int (*fn)(void *, int64_t, const char *, size_t, const struct json *), void *arg)
{
	char path[128];
	struct record *r = record_new();
	struct json cases;
	struct err e;
	size_t len;
	snprintf(path, sizeof path, "golden/rl/%s.json", name);
	const char *file = test_shared(path);
	if (!file) {
		test_skip("no ../shared/golden");
		record_free(r);
		return;
	}
	char *text = read_whole(file, &len);
	CHECK(!record_parse(r, text, len, &e) && record_json(r, "cases", &cases, &e) == 1);
	CHECK(json_length(&cases) >= least);
	CHECK_INT(json_each(&cases, fn, arg), 0);
	record_free(r);
	free(text);
}

static inline void each_case(const char *name, int64_t least,
                             int (*fn)(void *, int64_t, const char *, size_t, const struct json *))
{
	each_case_with(name, least, fn, NULL);
}

#endif
