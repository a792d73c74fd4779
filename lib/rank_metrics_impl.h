/*
 * rank_metrics_impl - what the files of rank_metrics_trec share: rows of a file, one query, the table of measures.
 */
#ifndef LIB_RANK_METRICS_IMPL_H
#define LIB_RANK_METRICS_IMPL_H

#include "lib/arena.h"
#include "lib/rank_metrics_trec.h"

/* ---- files ---- */
struct trec_row {
	const char *doc;
	double value;         /* score, grade or level */
	uint32_t hash;        /* of doc */
	uint32_t judge, part; /* numbers of names; 0: without */
};
/* Rows from begin to before end. */
struct trec_span {
	int64_t begin, end;
};
struct trec_query {
	const char *name;
	struct trec_span span;
};
/* A file: its queries by rising bytes of their names; the rows of one stand together, in the order of the file. */
struct trec_rows {
	const char *path, *run; /* run: last column of the first row */
	struct trec_row *row;
	int64_t n;
	struct trec_query *query; /* [n_queries] */
	int64_t n_queries;
	const char **name; /* of judges and parts, by number */
	/* private */
	int64_t cap;
	struct arena arena;
};
enum trec_kind_of_file { TREC_RUN_FILE = -1 }; /* else enum trec_format */
/* -1 names file and line.  Released whether it succeeded or not. */
int trec_read(struct trec_rows *x, const char *path, int format, struct err *e);
void trec_rows_release(struct trec_rows *x);
/* Cuts a line at white space into column [most]: how many there are, at most `most` + 1. */
int trec_columns(char *line, char **column, int most);

/* ---- one query ---- */
enum { TREC_NOT_IN_POOL = -1, TREC_NOT_JUDGED = -2 };
struct trec_ranking {
	const int64_t *rel; /* [n] grade by rank, or TREC_NOT_... */
	int64_t n, n_relevant, n_relevant_found, n_outside, n_unjudged;
	const int64_t *at_level; /* [n_levels] judged documents of each grade */
	int64_t n_levels, level, n_docs;
	const struct trec_preferences *preferences; /* of the formats with preferences, instead of all the above */
};

/* What became of the preferences of one judge: kept where the preferred document stands before the other; both of them
 * ranked, exactly one of them (it comes first), or none. */
struct trec_judge {
	int64_t kept_both, all_both, kept_one, all_one, none;
	int64_t n_rel, n_rel_ranked, n_nonrel, n_nonrel_ranked; /* documents of a level above 0, of level 0 */
	/* the same with as many documents of level 0 as of levels above it: prefs_avgjg_Rnonrel, and its _ret */
	int64_t even_kept, even_all, even_ranked_kept, even_ranked_all;
};
struct trec_preferences {
	struct trec_judge *judge; /* [n] */
	int64_t n;
	/* over pairs of documents: the share of judges whose preference is kept, summed; and pairs */
	double share_both, share_one;
	int64_t pairs_both, pairs_one, pairs_none;
};
/* Counts the preferences of `judged` (one query, sorted by document) in `ranked` (best first).  -1 when they contradict
 * each other.  Reset by the next call. */
struct trec_counter;
struct trec_counter *trec_counter_new(void);
void trec_counter_free(struct trec_counter *c);
int trec_count(struct trec_counter *c, const struct trec_rows *x, struct trec_span judged,
               const struct trec_row *const *ranked, int64_t n_ranked, const struct trec_preferences **out,
               struct err *e);

enum trec_kind {
	TREC_RUN,     /* the run's name */
	TREC_QUERIES, /* how many */
	TREC_COUNT,   /* a sum over queries, an integer */
	TREC_MEAN,
	TREC_GEOMETRIC, /* mean of logarithms; not shown for a query */
	TREC_STRING     /* grades as text; shown for a query only */
};

/* ---- measures ---- */
enum trec_parameters { TREC_NONE, TREC_CUTS, TREC_SHARES, TREC_NUMBERS, TREC_PAIRS };

struct trec_parameter {
	double value;
	char name[32]; /* of a pair */
};

enum { TREC_MAX_PARAMETERS = 64, TREC_MAX_NAME = 128 };
struct trec_measure {
	const char *name;
	enum trec_kind kind;
	enum trec_parameters parameters;
	const char *defaults; /* parameters as on the command line */
	int formats;          /* of judgements, 1 << enum trec_format */
	/* exactly one of them: a value; a value per cut or share; those all at once; a value of preferences */
	double (*one)(const struct trec_ranking *r, const struct trec_parameter *p, int n);
	double (*at)(const struct trec_ranking *r, double cut);
	void (*many)(const struct trec_ranking *r, const struct trec_parameter *p, int n, double *out);
	double (*prefs)(const struct trec_ranking *r, int scope);
	int scope;
};
extern const struct trec_measure trec_measures[];
extern const size_t trec_n_measures;

#endif
