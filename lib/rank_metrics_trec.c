/* rank_metrics_trec - queries, averages and lines of trec_eval; see rank_metrics_trec.h */
#include "lib/rank_metrics_trec.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rank_metrics_impl.h"
#include "lib/stream.h"
#include "lib/util.h"

#define AT(field) offsetof(struct trec_config, field)
const struct opt trec_options[] = {
        {"complete", 'c', OPT_FLAG, AT(complete), NULL, NULL, "judged queries that the run lacks are empty rankings", 0,
         0},
        {"judged-only", 'J', OPT_FLAG, AT(judged_only), NULL, NULL, "leave out documents that were not judged", 0, 0},
        {"level", 'l', OPT_INT, AT(level), "1", "N", "lowest grade that is relevant", 0, TREC_MAX_GRADE},
        {"max-docs", 'M', OPT_INT, AT(max_docs), "0", "N", "look at the first N documents of a ranking; 0: all", 0,
         1e15},
        {"judgements", 'R', OPT_CHOICE, AT(format), "qrels", TREC_FORMATS, "format of the judgements", 0, 0},
        {"no-summary", 'n', OPT_FLAG, AT(no_summary), NULL, NULL, "no values over all queries", 0, 0},
        {"zscores", 'Z', OPT_STR, AT(zscores), NULL, "FILE", "print distances from the means in FILE, in deviations", 0,
         0},
        {"n-docs", 'N', OPT_INT, AT(n_docs), "0", "N", "documents in the collection, for utility", 0, 1e15},
        {NULL},
};

/* ---- measures that were asked for ---- */

struct wanted {
	const struct trec_measure *m;
	char *label;                 /* the name with its parameters, for measures of one value */
	char (*name)[TREC_MAX_NAME]; /* [n_values] as printed */
	struct trec_parameter p[TREC_MAX_PARAMETERS];
	int n, n_values;
	double value[TREC_MAX_PARAMETERS], sum[TREC_MAX_PARAMETERS];
};

/* The mean and deviation that a value of a query is compared with. */
struct zscore {
	const char *query, *measure;
	double mean, deviation;
};

struct evaluation {
	const struct trec_config *c;
	struct wanted *wanted; /* by number in trec_measures; m NULL: not wanted */
	struct str *out;
	const char *run;
	int64_t n_queries;
	int64_t *rel, *at_level;
	const struct trec_row **ranked; /* of the current query, best first */
	uint32_t *slot;                 /* a table of documents, by number from 1 */
	int64_t room, n_slots;
	struct trec_counter *counter;
	struct zscore *zscore; /* sorted */
	int64_t n_zscores;
	struct arena arena;
};

#define ALL_PREFS                                                                                                      \
	"prefs_num_prefs_poss prefs_num_prefs_ful prefs_num_prefs_ful_ret prefs_simp prefs_pair prefs_avgjg "          \
	"prefs_avgjg_Rnonrel prefs_simp_ret prefs_pair_ret prefs_avgjg_ret prefs_avgjg_Rnonrel_ret prefs_simp_imp "    \
	"prefs_pair_imp prefs_avgjg_imp"
/* Sets of measures; words that are parted by spaces. */
static const struct {
	const char *name, *words;
} sets[] = {
        {"official", "runid num_q num_ret num_rel num_rel_ret map gm_map Rprec bpref recip_rank iprec_at_recall P"},
        {"set", "runid num_q num_ret num_rel num_rel_ret utility set_P set_recall set_relative_P set_map set_F"},
        {"all_trec", "runid num_q num_ret num_rel num_rel_ret map gm_map Rprec bpref recip_rank iprec_at_recall P "
                     "relstring recall unj rbp rbp_resid infAP gm_bpref utility 11pt_avg ndcg relative_P Rprec_mult "
                     "success map_cut ndcg_cut ndcg_rel Rndcg binG G set_P set_recall set_relative_P set_map set_F "
                     "num_nonrel_judged_ret"},
        {"prefs", "runid num_q prefs_num_prefs_poss prefs_num_prefs_ful prefs_num_prefs_ful_ret prefs_simp prefs_pair "
                  "prefs_avgjg"},
        {"all_prefs", "runid num_q " ALL_PREFS},
        {"qrels_jg", "runid num_q map_avgjg P_avgjg Rprec_mult_avgjg"},
};
static const char *const set_of_format[] = {"official", "qrels_jg", "prefs", "prefs"};
static const char *const format_name[] = {"qrels", "qrels_jg", "prefs", "qrels_prefs"};

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
		if (!value || !parse_double(value, &x->value) || (cuts && (x->value < 1 || x->value > 1e15)))
			return err_set(e, "measure '%s': '%s' is no %s", w->m->name, part,
			               pairs  ? "name=number"
			               : cuts ? "positive integer"
			                      : "number");
		if (cuts)
			x->value = floor(x->value); /* as trec_eval does */
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
		if (!(m->formats >> x->c->format & 1))
			return err_set(e, "measure '%s' is not one of judgements in the format %s", m->name,
			               format_name[x->c->format]);
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
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		if (!strcmp(name, sets[i].name))
			return want_words(x, sets[i].words, e);
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

/* ---- values ---- */

static void make_names(struct wanted *w)
{
	w->name = xcalloc((size_t)w->n_values, sizeof *w->name);
	for (int i = 0; i < w->n_values; i++) {
		if (w->m->parameters == TREC_CUTS)
			snprintf(w->name[i], TREC_MAX_NAME, "%s_%lld", w->m->name, (long long)w->p[i].value);
		else if (w->m->parameters == TREC_SHARES)
			snprintf(w->name[i], TREC_MAX_NAME, "%s_%3.2f", w->m->name, w->p[i].value);
		else
			snprintf(w->name[i], TREC_MAX_NAME, "%s", w->label ? w->label : w->m->name);
	}
}

static void put(const struct evaluation *x, const struct wanted *w, int i, const char *query, double value,
                const char *text)
{
	bool z = x->c->zscores && !text;
	bool integer = !z && (w->m->kind == TREC_COUNT || w->m->kind == TREC_QUERIES);
	const char *shown = query ? query : "all";
	if (x->c->value) {
		const struct trec_value v = {query, w->name[i], value, integer, text};
		x->c->value(x->c->arg, &v);
	} else if (text) {
		str_addf(x->out, "%-22s\t%s\t%s\n", w->name[i], shown, text);
	} else if (integer) {
		str_addf(x->out, "%-22s\t%s\t%lld\n", w->name[i], shown, (long long)value);
	} else {
		str_addf(x->out, "%s%-22s\t%s\t%6.4f\n", z ? "Z" : "", w->name[i], shown, value);
	}
}

static void put_grades(const struct evaluation *x, const struct wanted *w, const char *query,
                       const struct trec_ranking *r)
{
	struct str text;
	str_init(&text);
	str_addc(&text, '\'');
	for (int64_t k = 0; k < r->n && (double)(k + 1) <= w->p[0].value; k++)
		str_addc(&text, r->rel[k] > 9                   ? '>'
		                : r->rel[k] >= 0                ? (char)('0' + r->rel[k])
		                : r->rel[k] == TREC_NOT_IN_POOL ? '-'
		                                                : '.');
	str_addc(&text, '\'');
	str_addc(&text, 0);
	put(x, w, 0, query, NAN, text.buf);
	str_release(&text);
}

static void put_query(const struct evaluation *x, const char *query, const struct trec_ranking *r)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		const struct wanted *w = &x->wanted[i];
		if (!w->m || w->m->kind == TREC_RUN || w->m->kind == TREC_QUERIES || w->m->kind == TREC_GEOMETRIC)
			continue;
		if (w->m->kind == TREC_STRING)
			put_grades(x, w, query, r);
		else
			for (int v = 0; v < w->n_values; v++)
				put(x, w, v, query, w->value[v], NULL);
	}
}

static void put_all(const struct evaluation *x)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		const struct wanted *w = &x->wanted[i];
		if (!w->m || w->m->kind == TREC_STRING)
			continue;
		if (w->m->kind == TREC_RUN) {
			put(x, w, 0, NULL, NAN, x->run);
			continue;
		}
		for (int v = 0; v < w->n_values; v++) {
			double mean = w->sum[v] / (double)x->n_queries;
			put(x, w, v, NULL,
			    w->m->kind == TREC_MEAN        ? mean
			    : w->m->kind == TREC_GEOMETRIC ? exp(mean)
			                                   : w->sum[v],
			    NULL);
		}
	}
}

/* ---- distances from a mean ---- */

enum { NO_ZSCORE = -1000000 };

static int by_query_measure(const void *pa, const void *pb)
{
	const struct zscore *a = pa, *b = pb;
	int c = strcmp(a->query, b->query);
	return c ? c : strcmp(a->measure, b->measure);
}

static int read_zscore(struct evaluation *x, char *line, struct err *e)
{
	char *c[4];
	int n = trec_columns(line, c, 4);
	struct zscore z;
	if (n != 4)
		return err_set(e, "%s%d columns, expected 4: query measure mean deviation", n > 4 ? "at least " : "",
		               n);
	if (!parse_double(c[2], &z.mean) || !parse_double(c[3], &z.deviation))
		return err_set(e, "mean '%s' or deviation '%s' is no number", c[2], c[3]);
	z.query = arena_strndup(&x->arena, c[0], strlen(c[0]));
	z.measure = arena_strndup(&x->arena, c[1], strlen(c[1]));
	x->zscore = xrealloc_array(x->zscore, (size_t)x->n_zscores + 1, sizeof *x->zscore);
	x->zscore[x->n_zscores++] = z;
	return 0;
}

static int read_zscores(struct evaluation *x, struct err *e)
{
	struct stream *in = stream_open(x->c->zscores, e);
	char *line;
	size_t len;
	int rc = in ? 0 : -1;
	while (!rc && (rc = stream_next(in, &line, &len, e)) > 0) {
		rc = line[strspn(line, " \t\r")] ? read_zscore(x, line, e) : 0;
		if (rc)
			err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
	}
	if (in)
		stream_close(in);
	if (!rc)
		qsort(x->zscore, (size_t)x->n_zscores, sizeof *x->zscore, by_query_measure);
	return rc;
}

static double zscore(const struct evaluation *x, const char *query, const char *measure, double value)
{
	const struct zscore want = {query, measure, 0, 0};
	const struct zscore *z =
	        x->n_zscores ? bsearch(&want, x->zscore, (size_t)x->n_zscores, sizeof want, by_query_measure) : NULL;
	if (z && z->deviation != 0)
		return (value - z->mean) / z->deviation;
	return z && value == z->mean ? 0 : NO_ZSCORE;
}

/* ---- one query ---- */

/* Whether a stands before b: by score, then by name; where preferences are judged names rise, as in trec_eval. */
static bool stands_before(const struct trec_row *a, const struct trec_row *b, bool rising)
{
	if (a->value != b->value)
		return a->value > b->value;
	return (strcmp(a->doc, b->doc) < 0) == rising;
}

/* Merge sort, from the ordered runs that are there: a file is mostly in order already. */
static void sort_ranked(const struct trec_row **row, const struct trec_row **spare, int64_t n, bool rising)
{
	int64_t half = n / 2, i = 0, j = half, k = 0;
	for (i = 1; i < n && !stands_before(row[i], row[i - 1], rising); i++)
		;
	if (i >= n)
		return;
	sort_ranked(row, spare, half, rising);
	sort_ranked(row + half, spare, n - half, rising);
	memcpy(spare, row, (size_t)half * sizeof(const struct trec_row *));
	for (i = 0; i < half; k++)
		row[k] = j < n && stands_before(row[j], spare[i], rising) ? row[j++] : spare[i++];
}

static void make_room(struct evaluation *x, int64_t n)
{
	if (n <= x->room)
		return;
	x->room = 2 * n;
	for (x->n_slots = 64; x->n_slots < 4 * x->room; x->n_slots *= 2)
		;
	x->ranked = xrealloc_array(x->ranked, 2 * (size_t)x->room, sizeof(const struct trec_row *));
	x->rel = xrealloc_array(x->rel, (size_t)x->room, sizeof *x->rel);
	x->slot = xrealloc_array(x->slot, (size_t)x->n_slots, sizeof *x->slot);
}

/* The table of documents: where one is or belongs. */
static uint32_t *slot_of(const struct evaluation *x, const struct trec_row *rows, int64_t mask,
                         const struct trec_row *want)
{
	int64_t at = want->hash & mask;
	for (; x->slot[at]; at = (at + 1) & mask) {
		const struct trec_row *row = &rows[x->slot[at] - 1];
		if (row->hash == want->hash && !strcmp(row->doc, want->doc))
			break;
	}
	return &x->slot[at];
}

/* Fills the table with the rows of a query (of a judge); -1 when a document is there twice. */
static int tabulate(const struct evaluation *x, const struct trec_rows *file, const char *query, struct trec_span span,
                    int64_t *mask, struct err *e)
{
	int64_t n = span.end - span.begin;
	for (*mask = 64; *mask < 2 * n; *mask *= 2)
		;
	memset(x->slot, 0, (size_t)*mask * sizeof *x->slot);
	--*mask;
	for (int64_t i = 0; i < n; i++) {
		const struct trec_row *row = &file->row[span.begin + i];
		uint32_t *slot = slot_of(x, file->row + span.begin, *mask, row);
		if (*slot)
			return err_set(e, "%s: query '%s' has document '%s' twice", file->path, query, row->doc);
		*slot = (uint32_t)i + 1;
	}
	return 0;
}

/* The documents of a query in their order: how many. */
static int64_t rank_documents(struct evaluation *x, const struct trec_rows *run, struct trec_span span)
{
	int64_t n = span.end - span.begin;
	for (int64_t i = 0; i < n; i++)
		x->ranked[i] = &run->row[span.begin + i];
	sort_ranked(x->ranked, x->ranked + x->room, n, x->c->format >= TREC_PREFS);
	return x->c->max_docs && n > x->c->max_docs ? x->c->max_docs : n;
}

static int judge(struct evaluation *x, const struct trec_rows *judged, const char *query, struct trec_span span,
                 int64_t n_ranked, struct trec_ranking *r, struct err *e)
{
	const struct trec_row *rows = judged->row + span.begin;
	int64_t n = span.end - span.begin, top = 0, mask;
	*r = (struct trec_ranking){.level = x->c->level, .n_docs = x->c->n_docs};
	if (tabulate(x, judged, query, span, &mask, e))
		return -1;
	for (int64_t i = 0; i < n; i++)
		top = rows[i].value > (double)top ? (int64_t)rows[i].value : top;
	x->at_level = xrealloc_array(x->at_level, (size_t)top + 1, sizeof *x->at_level);
	memset(x->at_level, 0, ((size_t)top + 1) * sizeof *x->at_level);
	for (int64_t i = 0; i < n; i++) {
		if (rows[i].value < 0)
			continue;
		x->at_level[(int64_t)rows[i].value]++;
		r->n_relevant += rows[i].value >= (double)r->level;
	}
	for (int64_t i = 0; i < n_ranked; i++) {
		uint32_t at = *slot_of(x, rows, mask, x->ranked[i]);
		int64_t rel = !at                      ? TREC_NOT_IN_POOL
		              : rows[at - 1].value < 0 ? TREC_NOT_JUDGED
		                                       : (int64_t)rows[at - 1].value;
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
	return 0;
}

/* The values of the measures, added to what stands in value. */
static void compute(struct evaluation *x, const struct trec_ranking *r)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		struct wanted *w = &x->wanted[i];
		double value[TREC_MAX_PARAMETERS];
		if (!w->m)
			continue;
		if (w->m->many)
			w->m->many(r, w->p, w->n, value);
		else if (!w->m->at)
			value[0] = w->m->one ? w->m->one(r, w->p, w->n) : w->m->prefs(r, w->m->scope);
		for (int v = 0; v < w->n_values; v++)
			w->value[v] += w->m->at ? w->m->at(r, w->p[v].value) : value[v];
	}
}

static int by_judge(const void *pa, const void *pb, void *names)
{
	const struct trec_row *a = pa, *b = pb;
	const char *const *name = names;
	return a->judge == b->judge ? 0 : strcmp(name[a->judge], name[b->judge]);
}

/* The sums over the judges of a query, divided by their number. */
static int judge_by_judge(struct evaluation *x, const struct trec_rows *judged, const struct trec_query *q,
                          int64_t n_ranked, struct trec_ranking *r, struct err *e)
{
	struct trec_row *row = judged->row;
	int64_t n = 0;
	qsort_r(row + q->span.begin, (size_t)(q->span.end - q->span.begin), sizeof *row, by_judge, judged->name);
	for (int64_t i = q->span.begin, end; i < q->span.end; i = end, n++) {
		for (end = i; end < q->span.end && row[end].judge == row[i].judge; end++)
			;
		if (judge(x, judged, q->name, (struct trec_span){i, end}, n_ranked, r, e))
			return -1;
		compute(x, r);
	}
	for (size_t i = 0; i < trec_n_measures; i++)
		for (int v = 0; x->wanted[i].m && v < x->wanted[i].n_values; v++)
			x->wanted[i].value[v] /= (double)n;
	return 0;
}

static void add_up(struct evaluation *x, const char *query, const struct trec_ranking *r)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		struct wanted *w = &x->wanted[i];
		for (int v = 0; w->m && v < w->n_values; v++) {
			if (x->c->zscores && w->m->kind != TREC_QUERIES)
				w->value[v] = zscore(x, query, w->name[v], w->value[v]);
			w->sum[v] += w->value[v];
		}
	}
	x->n_queries++;
	if (x->c->per_query)
		put_query(x, query, r);
}

static int evaluate(struct evaluation *x, const struct trec_rows *judged, const struct trec_query *q,
                    const struct trec_rows *run, struct trec_span span, struct err *e)
{
	struct trec_ranking r = {0};
	int64_t n = q->span.end - q->span.begin, mask;
	make_room(x, n > span.end - span.begin ? n : span.end - span.begin);
	for (size_t i = 0; i < trec_n_measures; i++)
		for (int v = 0; v < x->wanted[i].n_values; v++)
			x->wanted[i].value[v] = 0;
	if (tabulate(x, run, q->name, span, &mask, e))
		return -1;
	int64_t n_ranked = rank_documents(x, run, span);
	if (x->c->format == TREC_QRELS_JG) {
		if (judge_by_judge(x, judged, q, n_ranked, &r, e))
			return -1;
		add_up(x, q->name, &r);
		return 0;
	}
	if (x->c->format == TREC_QRELS
	            ? judge(x, judged, q->name, q->span, n_ranked, &r, e)
	            : trec_count(x->counter, judged, q->span, x->ranked, n_ranked, &r.preferences, e))
		return x->c->format == TREC_QRELS ? -1 : err_where(e, "%s: query '%s'", judged->path, q->name);
	compute(x, &r);
	add_up(x, q->name, &r);
	return 0;
}

/* With -c trec_eval's num_rel of all queries counts every grade above 0, whatever the lowest relevant one is. */
static void count_all_judged(struct evaluation *x, const struct trec_rows *judged)
{
	for (size_t i = 0; i < trec_n_measures; i++) {
		struct wanted *w = &x->wanted[i];
		if (!w->m || x->c->zscores || strcmp(w->m->name, "num_rel") != 0)
			continue;
		w->sum[0] = 0;
		for (int64_t k = 0; k < judged->n; k++)
			w->sum[0] += judged->row[k].value > 0;
	}
}

static int evaluate_all(struct evaluation *x, const struct trec_rows *judged, const struct trec_rows *run,
                        struct err *e)
{
	for (int64_t i = 0, j = 0; i < judged->n_queries; i++) {
		const struct trec_query *q = &judged->query[i];
		while (j < run->n_queries && strcmp(run->query[j].name, q->name) < 0)
			j++;
		bool there = j < run->n_queries && !strcmp(run->query[j].name, q->name);
		if (!there && !x->c->complete)
			return err_set(e, "%s: query '%s' of '%s' is not there; -c counts it as an empty ranking",
			               run->path, q->name, judged->path);
		if (evaluate(x, judged, q, run, there ? run->query[j].span : (struct trec_span){0, 0}, e))
			return -1;
	}
	if (x->c->complete)
		count_all_judged(x, judged);
	if (!x->c->no_summary)
		put_all(x);
	return 0;
}

static int want_all(struct evaluation *x, struct err *e)
{
	const struct trec_config *c = x->c;
	if (!c->n_measures && want_name(x, set_of_format[c->format], e))
		return -1;
	for (size_t i = 0; i < c->n_measures; i++)
		if (want_name(x, c->measures[i], e))
			return -1;
	for (size_t i = 0; i < trec_n_measures; i++)
		if (x->wanted[i].m)
			make_names(&x->wanted[i]);
	return 0;
}

int trec_evaluate(const struct trec_config *c, const char *judgements, const char *run, struct str *out, struct err *e)
{
	struct evaluation x = {.c = c, .out = out, .wanted = xcalloc(trec_n_measures, sizeof *x.wanted)};
	struct trec_rows judged = {0}, ranked = {0};
	arena_init(&x.arena);
	x.counter = trec_counter_new();
	int rc = want_all(&x, e);
	if (!rc && c->zscores)
		rc = read_zscores(&x, e);
	if (!rc)
		rc = trec_read(&judged, judgements, c->format, e);
	if (!rc)
		rc = trec_read(&ranked, run, TREC_RUN_FILE, e);
	x.run = ranked.run;
	if (!rc)
		rc = evaluate_all(&x, &judged, &ranked, e);
	for (size_t i = 0; i < trec_n_measures; i++) {
		free(x.wanted[i].label);
		free(x.wanted[i].name);
	}
	trec_rows_release(&judged);
	trec_rows_release(&ranked);
	trec_counter_free(x.counter);
	arena_release(&x.arena);
	free(x.zscore);
	free(x.wanted);
	free(x.rel);
	free(x.at_level);
	free(x.ranked);
	free(x.slot);
	return rc;
}
