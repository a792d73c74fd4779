/* rank_metrics_trec - files, queries, averages and lines of trec_eval; see rank_metrics_trec.h */
#include "lib/rank_metrics_trec.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/stream.h"
#include "lib/util.h"

/* ---- files ---- */

struct row {
	const char *query, *doc;
	double score; /* or grade */
};
struct rows {
	const char *path, *run;
	struct row *row;
	size_t n, cap;
	struct arena arena;
};

/* Cuts the line at white space; the number of columns, at most `most`. */
static int columns(char *line, char **column, int most)
{
	int n = 0;
	for (char *p = line; n < most;) {
		while (isspace((unsigned char)*p))
			p++;
		if (!*p)
			break;
		column[n++] = p;
		while (*p && !isspace((unsigned char)*p))
			p++;
		if (*p)
			*p++ = 0;
	}
	return n;
}

static int add_row(struct rows *x, char **c, bool judgements, struct err *e)
{
	int64_t grade;
	double score = 0;
	if (judgements && (!parse_i64(c[3], &grade) || grade > TREC_MAX_GRADE || grade < INT32_MIN))
		return err_set(e, "grade '%s' is no integer of at most %d", c[3], TREC_MAX_GRADE);
	if (!judgements && !parse_double(c[4], &score))
		return err_set(e, "score '%s' is no number", c[4]);
	if (x->n == x->cap) {
		x->cap = x->cap ? 2 * x->cap : 1024;
		x->row = xrealloc_array(x->row, x->cap, sizeof *x->row);
	}
	/* lines of a query stand together: its name is kept once */
	const char *query = x->n ? x->row[x->n - 1].query : "";
	if (!x->n || strcmp(query, c[0]))
		query = arena_strndup(&x->arena, c[0], strlen(c[0]));
	x->row[x->n++] =
	        (struct row){query, arena_strndup(&x->arena, c[2], strlen(c[2])), judgements ? (double)grade : score};
	if (!judgements && !x->run)
		x->run = arena_strndup(&x->arena, c[5], strlen(c[5]));
	return 0;
}

static int read_rows(struct rows *x, const char *path, bool judgements, struct err *e)
{
	struct stream *in = stream_open(path, e);
	char *line, *c[6];
	size_t len;
	int rc, want = judgements ? 4 : 6;
	x->path = path;
	if (!in)
		return -1;
	while ((rc = stream_next(in, &line, &len, e)) > 0) {
		if (*line == '#' || line[strspn(line, " \t")] == 0)
			continue;
		int n = columns(line, c, want);
		rc = n < want ? err_set(e, "%d columns, expected %d: %s", n, want,
		                        judgements ? "query 0 document grade" : "query Q0 document rank score run")
		              : add_row(x, c, judgements, e);
		if (rc) {
			err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
			break;
		}
	}
	stream_close(in);
	if (!rc && !x->n)
		rc = err_set(e, "%s: no lines", path);
	return rc;
}

static int by_doc(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = strcmp(a->query, b->query);
	return c ? c : strcmp(a->doc, b->doc);
}

static int by_score(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = strcmp(a->query, b->query);
	if (c || a->score != b->score)
		return c ? c : a->score > b->score ? -1 : 1;
	return strcmp(b->doc, a->doc);
}

static int check_once(const struct rows *x, struct err *e)
{
	for (size_t i = 1; i < x->n; i++)
		if (!by_doc(&x->row[i - 1], &x->row[i]))
			return err_set(e, "%s: query '%s' has document '%s' twice", x->path, x->row[i].query,
			               x->row[i].doc);
	return 0;
}

/* The end of the query that begins at i. */
static size_t query_end(const struct rows *x, size_t i)
{
	size_t end = i + 1;
	while (end < x->n && (x->row[end].query == x->row[i].query || !strcmp(x->row[end].query, x->row[i].query)))
		end++;
	return end;
}

/* ---- measures that were asked for ---- */

struct wanted {
	const struct trec_measure *m;
	char *label; /* the name with its parameters, for measures of one value */
	struct trec_parameter p[TREC_MAX_PARAMETERS];
	int n, n_values;
	double value[TREC_MAX_PARAMETERS], sum[TREC_MAX_PARAMETERS];
};

struct evaluation {
	const struct trec_config *c;
	struct wanted *wanted; /* by number in trec_measures; m NULL: not wanted */
	struct str *out;
	const char *run;
	int64_t n_queries;
	int64_t *rel, *at_level;
	size_t rel_cap;
};

static const char official[] = "runid num_q num_ret num_rel num_rel_ret map gm_map Rprec bpref recip_rank "
                               "iprec_at_recall P";
static const char set[] =
        "runid num_q num_ret num_rel num_rel_ret utility set_P set_recall set_relative_P set_map set_F";

static int compare_parameters(const void *pa, const void *pb)
{
	double a = ((const struct trec_parameter *)pa)->value, b = ((const struct trec_parameter *)pb)->value;
	return (a > b) - (a < b);
}

static int read_parameters(struct wanted *w, const char *text, struct err *e)
{
	bool pairs = w->m->parameters == TREC_PAIRS, cuts = w->m->parameters == TREC_CUTS;
	w->n = 0;
	for (const char *p = text; *p; p += strcspn(p, ","), p += *p == ',') {
		char part[64];
		size_t len = strcspn(p, ",");
		struct trec_parameter *x = &w->p[w->n];
		snprintf(part, sizeof part, "%.*s", len > 63 ? 63 : (int)len, p);
		char *value = pairs ? strchr(part, '=') : part;
		if (w->n == TREC_MAX_PARAMETERS)
			return err_set(e, "measure '%s' has more than %d parameters", w->m->name, TREC_MAX_PARAMETERS);
		if (pairs && value) {
			*value++ = 0;
			snprintf(x->name, sizeof x->name, "%.31s", part);
		}
		if (!value || !parse_double(value, &x->value) ||
		    (cuts && (x->value < 1 || x->value > 1e15 || x->value != floor(x->value))))
			return err_set(e, "measure '%s': '%s' is no %s", w->m->name, part,
			               pairs  ? "name=number"
			               : cuts ? "positive integer"
			                      : "number");
		w->n++;
	}
	bool sorted = cuts || w->m->parameters == TREC_SHARES;
	if (sorted)
		qsort(w->p, (size_t)w->n, sizeof *w->p, compare_parameters);
	if (!w->n && !pairs)
		return err_set(e, "measure '%s' needs parameters behind its dot", w->m->name);
	w->n_values = sorted ? w->n : 1;
	return 0;
}

/* Any measure of the list, or of the space-separated words; "." and "_" may stand before parameters. */
static int want(struct evaluation *x, const char *name, size_t len, const char *parameters, struct err *e)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		const struct trec_measure *m = &trec_measures[i];
		struct wanted *w = &x->wanted[i];
		if (strlen(m->name) != len || memcmp(m->name, name, len))
			continue;
		if (parameters && m->parameters == TREC_NONE)
			return err_set(e, "measure '%s' has no parameters", m->name);
		if (w->m && !parameters)
			return 0;
		w->m = m;
		w->n_values = 1;
		free(w->label);
		w->label = NULL;
		if (parameters) {
			struct str label;
			str_init(&label);
			str_addf(&label, "%s_%s", m->name, parameters);
			w->label = str_detach(&label);
		}
		if (m->parameters != TREC_NONE)
			return read_parameters(w, parameters ? parameters : m->defaults, e);
		return 0;
	}
	return err_set(e, "measure '%.*s' is not known", (int)len, name);
}

static int want_words(struct evaluation *x, const char *words, struct err *e)
{
	for (const char *p = words; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");
		if (want(x, p, len, NULL, e))
			return -1;
		p += len;
	}
	return 0;
}

static int want_name(struct evaluation *x, const char *name, struct err *e)
{
	if (!strcmp(name, "official"))
		return want_words(x, official, e);
	if (!strcmp(name, "set"))
		return want_words(x, set, e);
	if (!strcmp(name, "all_trec")) {
		for (size_t i = 0; i < trec_n_measures; i++)
			if (strcmp(trec_measures[i].name, "yaap") &&
			    want(x, trec_measures[i].name, strlen(trec_measures[i].name), NULL, e))
				return -1;
		return 0;
	}
	const char *dot = strchr(name, '.'), *line = strrchr(name, '_');
	struct err unknown;
	if (dot && line && line < dot && strspn(line + 1, "0123456789.") == strlen(line + 1) && line + 1 < dot)
		dot = NULL; /* iprec_at_recall_0.10 */
	if (dot)
		return want(x, name, (size_t)(dot - name), dot + 1, e);
	if (!want(x, name, strlen(name), NULL, &unknown))
		return 0;
	if (line && line[1] && strspn(line + 1, "0123456789.") == strlen(line + 1))
		return want(x, name, (size_t)(line - name), line + 1, e);
	*e = unknown;
	return -1;
}

/* ---- lines ---- */

static void put_value(struct evaluation *x, const struct wanted *w, int i, const char *query, double value)
{
	char name[128];
	if (w->m->parameters == TREC_CUTS)
		snprintf(name, sizeof name, "%s_%lld", w->m->name, (long long)w->p[i].value);
	else if (w->m->parameters == TREC_SHARES)
		snprintf(name, sizeof name, "%s_%3.2f", w->m->name, w->p[i].value);
	else
		snprintf(name, sizeof name, "%s", w->label ? w->label : w->m->name);
	if (w->m->kind == TREC_COUNT || w->m->kind == TREC_QUERIES)
		str_addf(x->out, "%-22s\t%s\t%lld\n", name, query, (long long)value);
	else
		str_addf(x->out, "%-22s\t%s\t%6.4f\n", name, query, value);
}

static void put_query(struct evaluation *x, const char *query, const struct trec_ranking *r)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		const struct wanted *w = &x->wanted[i];
		if (!w->m || w->m->kind == TREC_RUN || w->m->kind == TREC_QUERIES || w->m->kind == TREC_GEOMETRIC)
			continue;
		if (w->m->kind != TREC_STRING) {
			for (int v = 0; v < w->n_values; v++)
				put_value(x, w, v, query, w->value[v]);
			continue;
		}
		str_addf(x->out, "%-22s\t%s\t'", w->label ? w->label : w->m->name, query);
		for (int64_t k = 0; k < r->n && (double)(k + 1) <= w->p[0].value; k++)
			str_addc(x->out, r->rel[k] > 9                   ? '>'
			                 : r->rel[k] >= 0                ? (char)('0' + r->rel[k])
			                 : r->rel[k] == TREC_NOT_IN_POOL ? '-'
			                                                 : '.');
		str_adds(x->out, "'\n");
	}
}

static void put_all(struct evaluation *x)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		struct wanted *w = &x->wanted[i];
		if (!w->m || w->m->kind == TREC_STRING)
			continue;
		if (w->m->kind == TREC_RUN)
			str_addf(x->out, "%-22s\tall\t%s\n", "runid", x->run);
		for (int v = 0; v < w->n_values && w->m->kind != TREC_RUN; v++) {
			double mean = w->sum[v] / (double)x->n_queries;
			put_value(x, w, v, "all",
			          w->m->kind == TREC_MEAN        ? mean
			          : w->m->kind == TREC_GEOMETRIC ? exp(mean)
			                                         : w->sum[v]);
		}
	}
}

/* ---- one query ---- */

static int64_t grade_of(const struct row *judged, size_t n, const char *doc)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(judged[mid].doc, doc);
		if (!c)
			return judged[mid].score < 0 ? TREC_NOT_JUDGED : (int64_t)judged[mid].score;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return TREC_NOT_IN_POOL;
}

static void rank(struct evaluation *x, const struct row *judged, size_t n_judged, const struct row *ranked,
                 size_t n_ranked, struct trec_ranking *r)
{
	int64_t top = 0;
	*r = (struct trec_ranking){.level = x->c->level, .n_docs = x->c->n_docs};
	for (size_t i = 0; i < n_judged; i++)
		top = judged[i].score > (double)top ? (int64_t)judged[i].score : top;
	x->at_level = xrealloc_array(x->at_level, (size_t)top + 1, sizeof *x->at_level);
	memset(x->at_level, 0, ((size_t)top + 1) * sizeof *x->at_level);
	for (size_t i = 0; i < n_judged; i++) {
		if (judged[i].score < 0)
			continue;
		x->at_level[(int64_t)judged[i].score]++;
		r->n_relevant += judged[i].score >= (double)r->level;
	}
	if (n_ranked + 1 > x->rel_cap) {
		x->rel_cap = 2 * n_ranked + 1;
		x->rel = xrealloc_array(x->rel, x->rel_cap, sizeof *x->rel);
	}
	for (size_t i = 0; i < n_ranked && (!x->c->max_docs || i < (size_t)x->c->max_docs); i++) {
		int64_t rel = grade_of(judged, n_judged, ranked[i].doc);
		if (x->c->judged_only && rel < 0)
			continue;
		r->n_outside += rel == TREC_NOT_IN_POOL;
		r->n_unjudged += rel == TREC_NOT_JUDGED;
		r->n_relevant_found += rel >= r->level;
		x->rel[r->n++] = rel;
	}
	r->rel = x->rel;
	r->at_level = x->at_level;
	r->n_levels = top + 1;
}

static void evaluate(struct evaluation *x, const char *query, const struct trec_ranking *r)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		struct wanted *w = &x->wanted[i];
		if (!w->m)
			continue;
		w->m->compute(r, w->p, w->n, w->value);
		for (int v = 0; v < w->n_values; v++)
			w->sum[v] += w->value[v];
	}
	x->n_queries++;
	if (x->c->per_query)
		put_query(x, query, r);
}

static int evaluate_all(struct evaluation *x, const struct rows *judged, const struct rows *run, struct err *e)
{
	struct trec_ranking r;
	for (size_t i = 0, j = 0, i_end; i < judged->n; i = i_end) {
		const char *query = judged->row[i].query;
		size_t j_end = j;
		i_end = query_end(judged, i);
		while (j < run->n && strcmp(run->row[j].query, query) < 0)
			j = query_end(run, j);
		j_end = j < run->n && !strcmp(run->row[j].query, query) ? query_end(run, j) : j;
		if (j == j_end && !x->c->complete)
			return err_set(e, "%s: query '%s' of '%s' is not there; -c counts it as an empty ranking",
			               run->path, query, judged->path);
		rank(x, judged->row + i, i_end - i, run->row + j, j_end - j, &r);
		evaluate(x, query, &r);
		j = j_end;
	}
	put_all(x);
	return 0;
}

int trec_evaluate(const struct trec_config *c, const char *judgements, const char *run, struct str *out, struct err *e)
{
	struct evaluation x = {.c = c, .out = out, .wanted = xcalloc(trec_n_measures, sizeof *x.wanted)};
	struct rows rows[2] = {0};
	int rc = c->n_measures ? 0 : want_words(&x, official, e);
	arena_init(&rows[0].arena);
	arena_init(&rows[1].arena);
	for (size_t i = 0; i < c->n_measures && !rc; i++)
		rc = want_name(&x, c->measures[i], e);
	if (!rc)
		rc = read_rows(&rows[0], judgements, true, e) || read_rows(&rows[1], run, false, e) ? -1 : 0;
	if (rc)
		goto out;
	x.run = rows[1].run;
	for (int i = 0; i < 2 && !rc; i++) {
		qsort(rows[i].row, rows[i].n, sizeof *rows[i].row, by_doc);
		rc = check_once(&rows[i], e);
	}
	if (rc)
		goto out;
	qsort(rows[1].row, rows[1].n, sizeof *rows[1].row, by_score);
	rc = evaluate_all(&x, &rows[0], &rows[1], e);
out:
	for (size_t i = 0; i < trec_n_measures; i++)
		free(x.wanted[i].label);
	for (int i = 0; i < 2; i++) {
		arena_release(&rows[i].arena);
		free(rows[i].row);
	}
	free(x.wanted);
	free(x.rel);
	free(x.at_level);
	return rc;
}
