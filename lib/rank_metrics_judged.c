/* rank_metrics_judged - see rank_metrics_judged.h */
#include "lib/rank_metrics_judged.h"

#include <stdlib.h>
#include <string.h>

struct reading {
	struct rank_judgements *j;
	struct arena *arena;
	struct err *e;
};

static int compare_ids(const void *pa, const void *pb)
{
	const struct rank_judged *a = pa, *b = pb;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->id, b->id, a->len);
}

/* Of one id the highest grade first. */
static int compare_judged(const void *pa, const void *pb)
{
	const struct rank_judged *a = pa, *b = pb;
	int c = compare_ids(a, b);
	return c ? c : (a->grade < b->grade) - (a->grade > b->grade);
}

static int falling(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;
	return (a < b) - (a > b);
}

static void add(struct reading *x, const char *id, size_t len, double grade)
{
	if (grade > 0)
		x->j->row[x->j->n++] = (struct rank_judged){arena_strndup(x->arena, id, len), len, grade};
}

static int add_judged(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct reading *x = arg;
	struct json id = *v, grade = {.kind = JSON_NUMBER, .number = 1};
	if (key) {
		if (v->kind != JSON_NUMBER)
			return err_set(x->e, "the grade of '%.*s' is no number", key_len > 200 ? 200 : (int)key_len,
			               key);
		add(x, key, key_len, v->number);
		return 0;
	}
	if (v->kind == JSON_OBJECT &&
	    (json_member(v, "id", &id) != 1 || json_member(v, "grade", &grade) != 1 || grade.kind != JSON_NUMBER))
		return err_set(x->e, "element %lld has no 'id', or no number as 'grade'", (long long)i + 1);
	if (id.kind == JSON_STRING) {
		add(x, id.text, id.len, grade.number);
	} else if (id.kind == JSON_NUMBER && id.is_int) {
		const char *digits = arena_printf(x->arena, "%lld", (long long)id.integer);
		add(x, digits, strlen(digits), grade.number);
	} else {
		return err_set(x->e, "element %lld is neither a string nor an integer", (long long)i + 1);
	}
	return 0;
}

int rank_judgements_read(struct rank_judgements *j, const struct json *v, struct arena *a, struct err *e)
{
	struct reading x = {j, a, e};
	bool several = v->kind == JSON_ARRAY || v->kind == JSON_OBJECT;
	*j = (struct rank_judgements){.row = arena_array(a, several ? (size_t)json_length(v) + 1 : 1, sizeof *j->row)};
	if (several ? json_each(v, add_judged, &x) : add_judged(&x, 0, NULL, 0, v))
		return -1;
	qsort(j->row, (size_t)j->n, sizeof *j->row, compare_judged);
	int64_t n = 0;
	for (int64_t i = 0; i < j->n; i++)
		if (!n || compare_ids(&j->row[n - 1], &j->row[i]))
			j->row[n++] = j->row[i];
	j->n = n;
	j->ideal = arena_array(a, (size_t)n + 1, sizeof *j->ideal);
	for (int64_t i = 0; i < n; i++)
		j->ideal[i] = j->row[i].grade;
	qsort(j->ideal, (size_t)n, sizeof *j->ideal, falling);
	return 0;
}

double rank_judgements_grade(const struct rank_judgements *j, const char *id, size_t len)
{
	const struct rank_judged key = {id, len, 0};
	const struct rank_judged *found = bsearch(&key, j->row, (size_t)j->n, sizeof key, compare_ids);
	return found ? found->grade : 0;
}
