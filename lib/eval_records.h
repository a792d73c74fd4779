/*
 * eval_records - numbers out of records: columns by measure, keyed so that two files can be joined.
 */
#ifndef LIB_EVAL_RECORDS_H
#define LIB_EVAL_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/eval_source.h"
#include "lib/tool.h"

/* One measure's values; NaN where a record has none (absent or null). */
struct eval_column {
	char *name;
	double *x;
	double *w;      /* what x is a sum over: 1 but for a perplexity */
	bool is_exp;    /* the measure is e to the power of the mean */
	int64_t source; /* whose text it is of (lib/eval_source.h): 0 the record's own */
};

/* Rows that are measured together. */
struct eval_group {
	char *name; /* as JSON text; NULL without --group-by */
	int64_t *row;
	int64_t n;
};

struct eval_table {
	struct eval_column *column;
	int64_t n_columns;
	char **key; /* id, epoch and sample of each record */
	int64_t n, cap;
	struct eval_group *group; /* the last is all rows */
	int64_t n_groups;
	char **group_of; /* while it is read: the name of each row's group, or NULL */
};

/* What is read out of records. */
struct eval_input {
	struct cli_list measures;
	const char *group_by; /* NULL: no groups */
	const char *target;   /* a filter, for the measures of eval_measure.h */
	const struct eval_texts_config *texts;
};

void eval_table_release(struct eval_table *t);
/* The names of the columns, borrowed, in an array of the caller's. */
const char **eval_table_names(const struct eval_table *t);
/* Index of a column, the first of that name, or -1. */
int64_t eval_table_find(const struct eval_table *t, const char *name);

/*
 * Reads all records of the tool's input.  in->measures: names of top-level fields, jq programs that begin with a dot,
 * NAME=PROGRAM, or those of eval_measure.h with @ in front; with none, every top-level field that is a number (true and
 * false count as 1 and 0) but the book-keeping ones of rl-record(5). A measure that is something else than a number
 * somewhere is an error naming the record.  With -k the tool counts a record with an error and leaves it out; one that
 * carries `error` or `skip` is left out always.  With baselines every measure must be one of a text, and has a column
 * for each source, one behind the other.
 *
 * in->group_by: a jq program; the rows of each of its values are a group, values sorted (lib/eval_group.h).  A record
 * where it is absent or null is in the group of all alone, and counted.
 */
int eval_read(struct eval_table *out, struct tool *t, const struct eval_input *in, struct err *e);

/* Opens a file beside the tool's own input, with the tool's options and output, calls `read`, and adds up what was
 * counted. */
int eval_one_file(struct tool *tool, char **file, int (*read)(struct tool *one, void *arg, struct err *e), void *arg,
                  struct err *e);

/*
 * The rows of b in the order of a: match[i] = row of b whose key is that of row i of a, or -1 (owned by the caller).
 * -1 when a key is in either table twice.
 */
int eval_join(const struct eval_table *a, const struct eval_table *b, int64_t **match, struct err *e);

#endif
