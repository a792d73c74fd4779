/*
 * eval_corpus - overlap measures of all records together (lib/overlap.h): rl-eval --corpus.
 */
#ifndef LIB_EVAL_CORPUS_H
#define LIB_EVAL_CORPUS_H

#include <stdbool.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/eval_limits.h"
#include "lib/eval_records.h"
#include "lib/eval_rows.h"

/* The options that a tool with --corpus has: a group over a struct eval_corpus_config. */
struct eval_corpus_config {
	bool corpus;
	const char *refs;
};
extern const struct opt eval_corpus_options[];

struct eval_corpus { /* all borrowed */
	struct eval_rows *rows;
	const struct eval_corpus_config *config;
	const struct eval_input *input; /* measures: names of lib/overlap.h, or @dialogue for those of EVAL_DIALOGUE */
	struct eval_limits *limits;
};

/* What the dialogue project's evaluator reports (source: UniCRS, ConvEvaluator): bleu@k, dist@k, item_ratio, sent_cnt.
 */
#define EVAL_DIALOGUE                                                                                                  \
	"bleu@1:ecr", "bleu@2:ecr", "bleu@3:ecr", "bleu@4:ecr", "distinct_1:ecr", "distinct_2:ecr", "distinct_3:ecr",  \
	        "distinct_4:ecr", "item_ratio", "sent_cnt"

/*
 * Prints a row per measure and group: its name, how many texts it is of, its value (none: NaN).  A record without a
 * text is left out; one without references is left out of the measures that need them.
 *
 * n_files > 0: the first is a base, and the rows say how far each other is from it, in per cent of it too; with
 * baselines the records of the tool's input are compared with each of them alike; else the rows are of the tool's
 * input.
 */
int eval_corpus(struct eval_corpus *c, char **files, int n_files, struct err *e);

#endif
