/* rank_metrics_read - files of judgements and of runs; see rank_metrics_impl.h */
#include <stdlib.h>
#include <string.h>

#include "lib/rank_metrics_impl.h"
#include "lib/stream.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* Names by number, from 1; open addressing, at most half full. */
struct names {
	struct arena *arena;
	const char **name;
	size_t *len;
	uint32_t n, *slot, n_slots;
};

static uint32_t hash(const char *s, size_t len)
{
	return (uint32_t)hash_bytes(s, len, 1, 2);
}

static void grow(struct names *x)
{
	uint32_t n = x->n_slots ? 2 * x->n_slots : 256;
	free(x->slot);
	x->slot = xcalloc(n, sizeof *x->slot);
	x->n_slots = n;
	x->name = xrealloc_array(x->name, n / 2 + 2, sizeof *x->name);
	x->len = xrealloc_array(x->len, n / 2 + 2, sizeof *x->len);
	for (uint32_t i = 1; i <= x->n; i++) {
		uint32_t at = hash(x->name[i], x->len[i]) & (n - 1);
		while (x->slot[at])
			at = (at + 1) & (n - 1);
		x->slot[at] = i;
	}
}

static uint32_t number_of(struct names *x, const char *s, uint32_t guess)
{
	size_t len = strlen(s);
	if (guess && x->len[guess] == len && !memcmp(x->name[guess], s, len))
		return guess;
	if (2 * (x->n + 1) > x->n_slots)
		grow(x);
	uint32_t at = hash(s, len) & (x->n_slots - 1);
	for (; x->slot[at]; at = (at + 1) & (x->n_slots - 1))
		if (x->len[x->slot[at]] == len && !memcmp(x->name[x->slot[at]], s, len))
			return x->slot[at];
	x->slot[at] = ++x->n;
	x->name[x->n] = arena_strndup(x->arena, s, len);
	x->len[x->n] = len;
	return x->n;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

int trec_columns(char *line, char **column, int most)
{
	int n = 0;
	for (char *p = line;; n++) {
		while (is_space(*p))
			p++;
		if (!*p || n == most)
			return n + (*p != 0);
		column[n] = p;
		while (*p && !is_space(*p))
			p++;
		if (*p)
			*p++ = 0;
	}
}

/* ---- rows ---- */

static const struct {
	int columns, doc, value, judge, part;
	const char *shape, *number;
} shapes[] = {
        [TREC_QRELS] = {4, 2, 3, 0, 0, "query 0 document grade", "grade"},
        [TREC_QRELS_JG] = {4, 2, 3, 1, 0, "query judge document grade", "grade"},
        [TREC_PREFS] = {5, 3, 4, 1, 2, "query judge part document level", "level"},
        [TREC_QRELS_PREFS] = {4, 2, 3, 1, 0, "query judge document level", "level"},
        [TREC_QRELS_PREFS + 1] = {6, 2, 4, 0, 0, "query Q0 document rank score run", "score"},
};

/* The rows of one query that stand together. */
struct run_of_rows {
	uint32_t query;
	int64_t begin, end;
};

struct reading {
	struct trec_rows *x;
	int format;
	struct names queries, names;
	struct run_of_rows *together;
	int64_t n_together;
};

static int value_of(struct reading *r, const char *text, double *out, struct err *e)
{
	int64_t grade;
	if (r->format == TREC_QRELS || r->format == TREC_QRELS_JG) {
		if (!parse_i64(text, &grade) || grade > TREC_MAX_GRADE || grade < INT32_MIN)
			return err_set(e, "grade '%s' is no integer of at most %d", text, TREC_MAX_GRADE);
		*out = (double)grade;
		return 0;
	}
	if (!parse_double(text, out))
		return err_set(e, "%s '%s' is no number", r->format == TREC_RUN_FILE ? "score" : "level", text);
	return *out < 0 && r->format != TREC_RUN_FILE ? err_set(e, "level '%s' is below 0", text) : 0;
}

static int add_row(struct reading *r, char **c, struct err *e)
{
	struct trec_rows *x = r->x;
	size_t shape = r->format == TREC_RUN_FILE ? TREC_QRELS_PREFS + 1 : (size_t)r->format;
	struct run_of_rows *last = r->n_together ? &r->together[r->n_together - 1] : NULL;
	uint32_t query = number_of(&r->queries, c[0], last ? last->query : 0);
	if (x->n == x->cap) {
		x->cap = x->cap ? 2 * x->cap : 1024;
		x->row = xrealloc_array(x->row, (size_t)x->cap, sizeof *x->row);
	}
	struct trec_row *row = &x->row[x->n], *before = x->n ? row - 1 : NULL;
	const char *doc = c[shapes[shape].doc];
	size_t len = strlen(doc);
	*row = (struct trec_row){.doc = arena_strndup(&x->arena, doc, len), .hash = hash(doc, len)};
	if (shapes[shape].judge)
		row->judge = number_of(&r->names, c[shapes[shape].judge], before ? before->judge : 0);
	if (shapes[shape].part)
		row->part = number_of(&r->names, c[shapes[shape].part], before ? before->part : 0);
	if (value_of(r, c[shapes[shape].value], &row->value, e))
		return -1;
	if (!last || last->query != query) {
		r->together = xrealloc_array(r->together, (size_t)r->n_together + 1, sizeof *r->together);
		r->together[r->n_together++] = (struct run_of_rows){query, x->n, x->n};
	}
	r->together[r->n_together - 1].end = ++x->n;
	if (!x->run)
		x->run = r->format == TREC_RUN_FILE ? arena_strndup(&x->arena, c[5], strlen(c[5])) : "";
	return 0;
}

static bool is_ascii(const char *s, size_t len)
{
	uint64_t any = 0, eight;
	for (; len >= sizeof eight; s += sizeof eight, len -= sizeof eight) {
		memcpy(&eight, s, sizeof eight);
		any |= eight;
	}
	while (len--)
		any |= (uint64_t)(unsigned char)*s++;
	return !(any & 0x8080808080808080u);
}

static int read_line(struct reading *r, char *line, size_t len, struct err *e)
{
	char *c[6];
	size_t shape = r->format == TREC_RUN_FILE ? TREC_QRELS_PREFS + 1 : (size_t)r->format;
	if (!is_ascii(line, len) && !utf8_valid(line, len))
		return err_set(e, "the line is no valid UTF-8");
	int n = trec_columns(line, c, shapes[shape].columns);
	/* what stands behind the columns of a run is ignored, as trec_eval does */
	if (n < shapes[shape].columns || (n > shapes[shape].columns && r->format != TREC_RUN_FILE))
		return err_set(e, "%s%d columns, expected %d: %s", n > shapes[shape].columns ? "at least " : "", n,
		               shapes[shape].columns, shapes[shape].shape);
	return add_row(r, c, e);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct trec_query *)a)->name, ((const struct trec_query *)b)->name);
}

/* Brings the rows of a query together where they are not, and the queries in order. */
static void arrange(struct reading *r)
{
	struct trec_rows *x = r->x;
	int64_t *at = xcalloc(r->queries.n + 2, sizeof *at);
	x->n_queries = r->queries.n;
	x->query = xcalloc((size_t)x->n_queries + 1, sizeof *x->query);
	for (int64_t i = 0; i < r->n_together; i++)
		at[r->together[i].query + 1] += r->together[i].end - r->together[i].begin;
	for (uint32_t q = 1; q <= r->queries.n; q++) {
		at[q + 1] += at[q];
		x->query[q - 1] = (struct trec_query){r->queries.name[q], {at[q], at[q + 1]}};
	}
	if (r->n_together > x->n_queries) {
		struct trec_row *row = xcalloc((size_t)x->n, sizeof *row);
		for (int64_t i = 0; i < r->n_together; i++) {
			const struct run_of_rows *t = &r->together[i];
			memcpy(row + at[t->query], x->row + t->begin, (size_t)(t->end - t->begin) * sizeof *row);
			at[t->query] += t->end - t->begin;
		}
		free(x->row);
		x->row = row;
	}
	qsort(x->query, (size_t)x->n_queries, sizeof *x->query, by_name);
	free(at);
}

static void names_release(struct names *x)
{
	free(x->slot);
	free(x->len);
	free(x->name);
}

int trec_read(struct trec_rows *x, const char *path, int format, struct err *e)
{
	*x = (struct trec_rows){.path = path};
	arena_init(&x->arena);
	struct reading r = {.x = x, .format = format, .queries.arena = &x->arena, .names.arena = &x->arena};
	struct stream *in = stream_open(path, e);
	char *line;
	size_t len;
	int rc = in ? 0 : -1;
	while (!rc && (rc = stream_next(in, &line, &len, e)) > 0) {
		rc = 0;
		if (*line == '#' || line[strspn(line, " \t\r")] == 0)
			continue;
		rc = read_line(&r, line, len, e);
		if (rc)
			err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
	}
	if (!rc && !x->n)
		rc = err_set(e, "%s: no lines", path);
	if (in)
		stream_close(in);
	if (!rc)
		arrange(&r);
	x->name = r.names.name;
	r.names.name = NULL;
	names_release(&r.names);
	names_release(&r.queries);
	free(r.together);
	return rc;
}

void trec_rows_release(struct trec_rows *x)
{
	arena_release(&x->arena);
	free(x->row);
	free(x->query);
	free(x->name);
	*x = (struct trec_rows){0};
}
