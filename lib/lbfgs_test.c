/* lbfgs: functions with known minima, bad ones, and the limits. */
#include "lib/lbfgs.h"
#include "lib/test.h"

/* Rosenbrock's valley: the minimum is 0 at all ones. */
static double valley(void *arg, const double *x, double *g)
{
	int n = *(int *)arg;
	double f = 0;
	for (int i = 0; i < n; i++)
		g[i] = 0;
	for (int i = 0; i + 1 < n; i++) {
		double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
		f += 100 * a * a + b * b;
		g[i] += -400 * a * x[i] - 2 * b;
		g[i + 1] += 200 * a;
	}
	return f;
}

static void test_valley(void)
{
	for (int n = 2; n <= 20; n += 9) {
		double x[20] = {0};
		struct lbfgs_result r;
		struct err e;
		x[0] = -1.2;
		CHECK_INT(lbfgs_minimize(valley, &n, x, n, 1e-9, 500, &r, &e), 0);
		for (int i = 0; i < n; i++)
			CHECK_NEAR(x[i], 1, 1e-6);
		CHECK(r.value < 1e-12 && r.gradient <= 1e-9 && r.iterations > 5 && r.calls > r.iterations);
	}
}

/* sum of c_i (x_i - i)^2 / 2, c from 1 to 1e6. */
static double bowl(void *arg, const double *x, double *g)
{
	double f = 0, c = 1;
	(void)arg;
	for (int i = 0; i < 7; i++, c *= 10) {
		g[i] = c * (x[i] - i);
		f += c * (x[i] - i) * (x[i] - i) / 2;
	}
	return f;
}

static void test_bowl(void)
{
	double x[7] = {0}, at[7] = {0, 1, 2, 3, 4, 5, 6};
	struct lbfgs_result r;
	struct err e;
	CHECK_INT(lbfgs_minimize(bowl, NULL, x, 7, 1e-12, 500, &r, &e), 0);
	for (int i = 0; i < 7; i++)
		CHECK_NEAR(x[i], i, 1e-4);
	CHECK_INT(lbfgs_minimize(bowl, NULL, at, 7, 1e-12, 500, &r, &e), 0);
	CHECK_INT(r.iterations, 0);
	CHECK_INT(r.calls, 1);
	CHECK_NEAR(r.gradient, 0, 0);
}

static double slope(void *arg, const double *x, double *g)
{
	(void)arg;
	g[0] = 1;
	return x[0];
}

static double nothing(void *arg, const double *x, double *g)
{
	(void)arg;
	g[0] = NAN;
	return x[0] > 1e300 ? 0 : NAN;
}

static void test_bad_functions(void)
{
	struct lbfgs_result r;
	struct err e;
	double x[2] = {-1.2, 1};
	int n = 2;
	CHECK_INT(lbfgs_minimize(valley, &n, x, 2, 1e-9, 3, &r, &e), -1);
	CHECK(strstr(e.msg, "no minimum after 3 steps: the gradient is "));
	x[0] = 0;
	CHECK_INT(lbfgs_minimize(slope, NULL, x, 1, 1e-9, 50, &r, &e), -1);
	CHECK(strstr(e.msg, "no minimum after 50 steps"));
	CHECK_INT(lbfgs_minimize(nothing, NULL, x, 1, 1e-9, 50, &r, &e), -1);
	CHECK(strstr(e.msg, "not finite"));
}

int main(void)
{
	test_case("Rosenbrock's valley in 2, 11 and 20 variables");
	test_valley();
	test_case("a bowl a million times steeper on one side; a start at the minimum");
	test_bowl();
	test_case("too few steps, no minimum, not a number");
	test_bad_functions();
	return test_done();
}
