/*
 * rank_metrics_trec - trec_eval: rankings against judgements, in the format and to the byte of NIST's version 10.
 *
 * Judgements are lines `query 0 document grade`, rankings `query Q0 document rank score run`; columns are separated by
 * white space, lines that begin with # are comments.  The rank column is ignored: documents go by falling score, equal
 * scores by falling bytes of the document's name.  A grade below 0 is a document that was not judged.  Averages are
 * over the judged queries; a judged query that the run lacks is an error unless `complete` counts it as an empty
 * ranking. Where trec_eval divides 0 by 0 the value here is 0.
 *
 * Other formats of judgements (trec_eval's -R):
 *     qrels_jg     the second column names a judge: measures *_avgjg are averaged over the judges of a query
 *     prefs        `query judge part document level`: a document is preferred to those of a lower level (>= 0) in the
 *                  same part of the same judge; the parts of a judge are closed under transitivity.  Here equal scores
 *                  go by rising bytes of the document's name, as in trec_eval.
 *     qrels_prefs  `query judge document level`: the same with one part
 *
 * A measure is named as in trec_eval: "map", "P.5,10", "G.1=3.5,2=9", or a set: official, set, all_trec, prefs,
 * all_prefs, qrels_jg (without names: official, prefs or qrels_jg, by the format).  "P_5" is understood too.  Output is
 * in the order of trec_eval's table, whatever the order of names.
 */
#ifndef LIB_RANK_METRICS_TREC_H
#define LIB_RANK_METRICS_TREC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/str.h"

enum trec_format { TREC_QRELS, TREC_QRELS_JG, TREC_PREFS, TREC_QRELS_PREFS };
#define TREC_FORMATS "qrels|qrels_jg|prefs|qrels_prefs"

/* One value: of a query, or of all (query NULL). */
struct trec_value {
	const char *query, *measure;
	double x;
	bool integer;
	const char *text; /* instead of a number: runid, relstring; else NULL */
};

struct trec_config {
	const char *const *measures; /* borrowed; none: the set of the format */
	size_t n_measures;
	int format; /* enum trec_format */
	bool per_query, no_summary, complete, judged_only;
	int64_t level;       /* lowest grade that is relevant */
	int64_t max_docs;    /* of a ranking; 0: all */
	int64_t n_docs;      /* in the collection, for utility */
	const char *zscores; /* a file of `query measure mean deviation`: a query's value becomes its distance from the
	                      * mean in deviations, -1000000 where the file lacks it; NULL: values as they are */
	/* Takes the values, in the order of the lines, instead of `out`; NULL: lines. */
	void (*value)(void *arg, const struct trec_value *v);
	void *arg;
};

enum { TREC_MAX_GRADE = 1000000 };

extern const struct opt trec_options[]; /* over a struct trec_config: format and what follows */

/* Appends the lines to out.  "-" is standard input. */
int trec_evaluate(const struct trec_config *c, const char *judgements, const char *run, struct str *out, struct err *e);

#endif
