/*
 * metrics_table - lines of metrics as a table for people who watch a run in a terminal.
 *
 * One row per update, at most 80 columns wide, with the names of the columns above and again every 20 rows.  What a
 * line does not hold is "-"; an evaluation, which most lines do not hold, is blank.
 */
#ifndef LIB_METRICS_TABLE_H
#define LIB_METRICS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

struct metrics_column {
	const char *title;
	const char *key; /* of the metric */
	int width, digits;
	const char *format; /* of a double with width and digits: "%*.*f"; NULL ends the table */
	bool evaluation;
};
/* rl-ppo-step's and rl-sft-step's. */
extern const struct metrics_column metrics_columns_ppo[], metrics_columns_sft[];

struct metrics_table {
	const struct metrics_column *column;
	const char *evaluation; /* the metric of the column of evaluations; NULL: that of its key */
	int64_t rows;           /* so far */
	double seconds;         /* that they took */
};

/* Where standard output is a terminal rows are for people. */
bool metrics_table_wanted(void);
void metrics_table_init(struct metrics_table *t, const struct metrics_column *columns);

/* Appends the row of a line (an object), with its newline.  step of total (0: not known): where it is known, the time
 * that is left at the speed of the rows so far.  An update takes time/rollout, time/prepare and time/update. */
void metrics_table_put(struct metrics_table *t, const char *line, size_t len, int64_t step, int64_t total,
                       struct str *out);

#endif
