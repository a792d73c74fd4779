/* lbfgs - see lbfgs.h */
#include "lib/lbfgs.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

enum { HISTORY = 10, HALVINGS = 60 };

#define ARMIJO 1e-4
#define ROUNDING 1e-10 /* of f: less is not told from rounding */
#define FLATTER .9     /* slope after a step, as a share of that before */

struct search {
	lbfgs_function f;
	void *arg;
	int64_t n;
	double *x, *g, *next_x, *next_g, *direction;
	double value;
	/* the last steps and what they did to the gradient, a ring */
	double *step[HISTORY], *change[HISTORY], curvature[HISTORY];
	int64_t n_steps;
	int64_t calls;
};

/* In four sums: one alone waits for itself. */
static double dot(const double *a, const double *b, int64_t n)
{
	double sum[4] = {0};
	int64_t i = 0;
	for (; i + 4 <= n; i += 4)
		for (int k = 0; k < 4; k++)
			sum[k] += a[i + k] * b[i + k];
	for (; i < n; i++)
		sum[0] += a[i] * b[i];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void add_scaled(double *y, double a, const double *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		y[i] += a * x[i];
}

/* direction = -H g, H the inverse Hessian as the last steps show it. */
static void find_direction(struct search *s)
{
	double alpha[HISTORY];
	int64_t n = s->n, first = s->n_steps > HISTORY ? s->n_steps - HISTORY : 0;
	for (int64_t i = 0; i < n; i++)
		s->direction[i] = -s->g[i];
	for (int64_t k = s->n_steps - 1; k >= first; k--) {
		int64_t at = k % HISTORY;
		alpha[at] = dot(s->step[at], s->direction, n) / s->curvature[at];
		add_scaled(s->direction, -alpha[at], s->change[at], n);
	}
	if (s->n_steps) {
		int64_t last = (s->n_steps - 1) % HISTORY;
		double scale = s->curvature[last] / dot(s->change[last], s->change[last], n);
		for (int64_t i = 0; i < n; i++)
			s->direction[i] *= scale;
	}
	for (int64_t k = first; k < s->n_steps; k++) {
		int64_t at = k % HISTORY;
		double beta = dot(s->change[at], s->direction, n) / s->curvature[at];
		add_scaled(s->direction, alpha[at] - beta, s->step[at], n);
	}
}

/* The next point along the direction, into next_x and next_g, and its value; false when there is none. */
static bool find_step(struct search *s, double *value)
{
	double slope = dot(s->g, s->direction, s->n), a = s->n_steps ? 1 : 1 / sqrt(dot(s->g, s->g, s->n));
	if (!(slope < 0))
		return false;
	for (int i = 0; i < HALVINGS; i++, a /= 2) {
		memcpy(s->next_x, s->x, (size_t)s->n * sizeof *s->x);
		add_scaled(s->next_x, a, s->direction, s->n);
		*value = s->f(s->arg, s->next_x, s->next_g);
		s->calls++;
		if (*value <= s->value + ARMIJO * a * slope)
			return true;
		if (*value <= s->value + ROUNDING * fabs(s->value) &&
		    fabs(dot(s->next_g, s->direction, s->n)) <= -FLATTER * slope)
			return true;
	}
	return false;
}

static void swap(double **a, double **b)
{
	double *x = *a;
	*a = *b;
	*b = x;
}

static void take_step(struct search *s, double value)
{
	int64_t at = s->n_steps % HISTORY;
	for (int64_t i = 0; i < s->n; i++) {
		s->step[at][i] = s->next_x[i] - s->x[i];
		s->change[at][i] = s->next_g[i] - s->g[i];
	}
	s->curvature[at] = dot(s->step[at], s->change[at], s->n);
	/* one that does not curve upwards says nothing of a minimum */
	s->n_steps += s->curvature[at] > 0;
	swap(&s->x, &s->next_x);
	swap(&s->g, &s->next_g);
	s->value = value;
}

static int search(struct search *s, double tolerance, int64_t most, struct lbfgs_result *out, struct err *e)
{
	double value = s->value = s->f(s->arg, s->x, s->g), start = sqrt(dot(s->g, s->g, s->n)), norm = start;
	int64_t i = 0;
	s->calls = 1;
	for (; norm > tolerance * start && i < most; i++) {
		find_direction(s);
		if (!find_step(s, &value))
			break;
		take_step(s, value);
		norm = sqrt(dot(s->g, s->g, s->n));
	}
	*out = (struct lbfgs_result){i, s->calls, s->value, start > 0 ? norm / start : 0};
	if (!isfinite(s->value) || !isfinite(norm))
		return err_set(e, "the function is not finite after %lld steps", (long long)i);
	if (norm > tolerance * start)
		return err_set(e,
		               "no minimum after %lld steps: the gradient is %.3g of that at the start, expected %.3g",
		               (long long)i, out->gradient, tolerance);
	return 0;
}

int lbfgs_minimize(lbfgs_function f, void *arg, double *x, int64_t n, double tolerance, int64_t most,
                   struct lbfgs_result *out, struct err *e)
{
	struct search s = {.f = f, .arg = arg, .n = n};
	double *memory = xcalloc((size_t)n * (5 + 2 * HISTORY) + 1, sizeof *memory), *p = memory;
	double **part[] = {&s.x, &s.g, &s.next_x, &s.next_g, &s.direction};
	for (size_t i = 0; i < ARRAY_LEN(part); i++, p += n)
		*part[i] = p;
	for (int i = 0; i < HISTORY; i++, p += 2 * n) {
		s.step[i] = p;
		s.change[i] = p + n;
	}
	memcpy(s.x, x, (size_t)n * sizeof *x);
	int rc = search(&s, tolerance, most, out, e);
	memcpy(x, s.x, (size_t)n * sizeof *x);
	free(memory);
	return rc;
}
