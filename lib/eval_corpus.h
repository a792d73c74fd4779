/*
 * eval_corpus - overlap measures of all records together (lib/overlap.h): rl-eval --corpus.
 */
#ifndef LIB_EVAL_CORPUS_H
#define LIB_EVAL_CORPUS_H

#include <stdbool.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/eval_rows.h"
#include "lib/tool.h"

/* The options that a tool with --corpus has: a group over a struct eval_corpus_config. */
struct eval_corpus_config {
	bool corpus;
	const char *text, *refs;
};
extern const struct opt eval_corpus_options[];

/*
 * Reads all records of the tool's input, and prints a row per measure: its name, how many texts it is of, its
 * value (none: NaN).  A record without a text is left out; one without
 * references is left out of the measures that need them.
 */
int eval_corpus(struct tool *t, const struct eval_corpus_config *c, const struct cli_list *measures,
                struct eval_rows *rows, struct err *e);

#endif
