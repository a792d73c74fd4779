/*
 * lbfgs - the minimum of a smooth function of many variables, by its gradient.
 *
 * Limited-memory BFGS (Nocedal 1980; Nocedal and Wright, Numerical Optimization, algorithm 7.5) with the last 10 steps,
 * and halving along the line: a step is taken when it lowers f enough (Armijo, 1e-4), or, where f is so near its
 * minimum that its last digits say nothing, when the slope along the line is less steep than before (after Hager and
 * Zhang 2005).  All sums run in a fixed order, so the same function gives the same bits.
 */
#ifndef LIB_LBFGS_H
#define LIB_LBFGS_H

#include <stdint.h>

#include "lib/err.h"

/* f(x), and its gradient into g. */
typedef double (*lbfgs_function)(void *arg, const double *x, double *g);

struct lbfgs_result {
	int64_t iterations, calls; /* of the function */
	double value;
	double gradient; /* its Euclidean norm, as a share of that at the start */
};

/* Minimises f from x[n], which becomes the minimum: the gradient's norm is at most `tolerance` of that at the start.
 * -1: that was not reached in `most` iterations, or f is not finite; *e says how near it came. */
int lbfgs_minimize(lbfgs_function f, void *arg, double *x, int64_t n, double tolerance, int64_t most,
                   struct lbfgs_result *out, struct err *e);

#endif
