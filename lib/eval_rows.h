/*
 * eval_rows - the rows that rl-eval prints: a table with a head, as text or Markdown, or an object per row.
 */
#ifndef LIB_EVAL_ROWS_H
#define LIB_EVAL_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"
#include "lib/tool.h"

struct eval_rows {
	struct tool *tool;   /* whose output they go to; n_out counts them */
	struct str *out;     /* the row under way */
	bool json, markdown; /* neither: text */
	bool grouped;        /* a column of groups behind the measure */
	bool labelled;       /* and one of text behind the cells: for those who make the rows */
};

/* The names of the cells behind measure, group and n, and of one with text behind those (NULL: none); nothing for JSON.
 */
int eval_rows_head(struct eval_rows *r, const char *const *names, size_t n, const char *text, struct err *e);
/* group: JSON text; in the table a string is without its quotes.  NULL when not grouped. */
void eval_rows_begin(struct eval_rows *r, const char *measure, const char *group, int64_t n);
/* A cell; NaN is null in JSON and a dash in the table. */
void eval_rows_put(struct eval_rows *r, const char *name, double x);
void eval_rows_put_text(struct eval_rows *r, const char *name, const char *text);
int eval_rows_end(struct eval_rows *r, struct err *e);

#endif
