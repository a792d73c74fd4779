/*
 * rank_metrics_trec - trec_eval: rankings against judgements, in the format and to the byte of NIST's version 10.
 *
 * Judgements are lines `query 0 document grade`, rankings `query Q0 document rank score run`; columns are separated by
 * white space, lines that begin with # are comments.  The rank column is ignored: documents go by falling score, equal
 * scores by falling bytes of the document's name.  A grade below 0 is a document that was not judged.  Averages are
 * over the judged queries; a judged query that the run lacks is an error unless `complete` counts it as an empty
 * ranking. Where trec_eval divides 0 by 0 the value here is 0.
 *
 * A measure is named as in trec_eval: "map", "P.5,10", "G.1=3.5,2=9", or a set: official (the default), set, all_trec.
 * "P_5" is understood too.  Output is in the order of trec_eval's table, whatever the order of names.
 */
#ifndef LIB_RANK_METRICS_TREC_H
#define LIB_RANK_METRICS_TREC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"

struct trec_config {
	const char *const *measures; /* borrowed; none: official */
	size_t n_measures;
	bool per_query, complete, judged_only;
	int64_t level;    /* lowest grade that is relevant */
	int64_t max_docs; /* of a ranking; 0: all */
	int64_t n_docs;   /* in the collection, for utility */
};

enum { TREC_MAX_GRADE = 1000000, TREC_NOT_IN_POOL = -1, TREC_NOT_JUDGED = -2 };

/* Appends the lines to out.  "-" is standard input. */
int trec_evaluate(const struct trec_config *c, const char *judgements, const char *run, struct str *out, struct err *e);

/* ---- one query, for lib/rank_metrics_measures.c ---- */
struct trec_ranking {
	const int64_t *rel; /* [n] grade by rank, or TREC_NOT_... */
	int64_t n, n_relevant, n_relevant_found, n_outside, n_unjudged;
	const int64_t *at_level; /* [n_levels] judged documents of each grade */
	int64_t n_levels, level, n_docs;
};

enum trec_kind {
	TREC_RUN,     /* the run's name */
	TREC_QUERIES, /* how many */
	TREC_COUNT,   /* a sum over queries, an integer */
	TREC_MEAN,
	TREC_GEOMETRIC, /* mean of logarithms; not shown for a query */
	TREC_STRING     /* grades as text; shown for a query only */
};

enum trec_parameters { TREC_NONE, TREC_CUTS, TREC_SHARES, TREC_NUMBERS, TREC_PAIRS };

struct trec_parameter {
	double value;
	char name[32]; /* of a pair */
};

enum { TREC_MAX_PARAMETERS = 64 };
struct trec_measure {
	const char *name;
	enum trec_kind kind;
	enum trec_parameters parameters;
	const char *defaults; /* parameters as on the command line */
	/* One value per cut or share, else one. */
	void (*compute)(const struct trec_ranking *r, const struct trec_parameter *p, int n, double *out);
};
extern const struct trec_measure trec_measures[];
extern const size_t trec_n_measures;

#endif
