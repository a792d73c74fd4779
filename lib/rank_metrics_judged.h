/*
 * rank_metrics_judged - which documents are relevant, as a record says it.
 *
 * A value is an array of ids (strings or integers), one id alone, {id: grade}, or an array of {"id", "grade"}; ids and
 * objects may be mixed.  Without a grade it is 1; what is not above 0 is not relevant; of an id that is there twice the
 * highest grade counts.
 */
#ifndef LIB_RANK_METRICS_JUDGED_H
#define LIB_RANK_METRICS_JUDGED_H

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/record.h"

struct rank_judged {
	const char *id;
	size_t len;
	double grade; /* above 0 */
};
struct rank_judgements {
	struct rank_judged *row; /* sorted, each id once */
	double *ideal;           /* the grades, falling */
	int64_t n;
};

/* All memory is the arena's.  -1: an element is none of these (*e names it by its place). */
int rank_judgements_read(struct rank_judgements *j, const struct json *v, struct arena *a, struct err *e);
/* 0 for a document that is not relevant. */
double rank_judgements_grade(const struct rank_judgements *j, const char *id, size_t len);

#endif
