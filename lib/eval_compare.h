/*
 * eval_compare - systems against a base, record by record: rl-eval --compare.
 */
#ifndef LIB_EVAL_COMPARE_H
#define LIB_EVAL_COMPARE_H

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/eval_limits.h"
#include "lib/eval_records.h"
#include "lib/eval_rows.h"
#include "lib/stats.h"

struct eval_compare { /* all borrowed */
	struct eval_rows *rows;
	const struct eval_input *input; /* groups are those of the base */
	const struct stats_config *stats;
	enum stats_adjust adjust; /* of the t tests' p over all rows */
	struct eval_limits *limits;
};

/* files[0] is the base.  Reads all of them, joins each with the base by id, and prints a row per system,
 * measure and group. */
int eval_compare(struct eval_compare *c, char **files, int n_files, struct err *e);

/* The records of the tool's input, their own text against each baseline of the input's (lib/eval_source.h). */
int eval_compare_baselines(struct eval_compare *c, struct err *e);

#endif
