/*
 * eval_limits - MEASURE=X: a mean that must not be under X, for experiments that end with an error.
 */
#ifndef LIB_EVAL_LIMITS_H
#define LIB_EVAL_LIMITS_H

#include <stdbool.h>

#include "lib/cli.h"
#include "lib/err.h"

struct eval_limits {
	const struct cli_list *specs; /* borrowed */
	char failed[512];             /* what is to be said, so far */
	bool *checked;                /* by spec: there was a mean to compare */
};

/* Whether every spec is a name and a number; else *wrong is the first that is not. */
bool eval_limits_valid(const struct cli_list *specs, const char **wrong);
/* 0: the measure of every spec is one of the names. */
int eval_limits_known(const struct eval_limits *l, const char *const *names, size_t n, struct err *e);
/* Compares a mean with the limits of its measure; system: "" or a name put in front. */
void eval_limits_check(struct eval_limits *l, const char *measure, double mean, const char *system);
/* -1: some were under their limit, or had no value. */
int eval_limits_end(struct eval_limits *l, struct err *e);

#endif
