/* act - activations, plain and gated; see kernels.h */
#include "kernels/ref/ref.h"

static const double sqrt_2_over_pi = 0.79788456080286535588, sqrt_half = 0.70710678118654752440;
static const double inv_sqrt_2pi = 0.39894228040143267794;

static double value(double x, enum kn_act act)
{
	switch (act) {
	case KN_GELU_TANH:
		return 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
	case KN_GELU_ERF:
		return 0.5 * x * (1 + erf(x * sqrt_half));
	case KN_RELU:
		return x > 0 ? x : 0;
	case KN_SILU:
		return x / (1 + exp(-x));
	}
	return NAN;
}

static double slope(double x, enum kn_act act)
{
	switch (act) {
	case KN_GELU_TANH: {
		double t = tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x));
		return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt_2_over_pi * (1 + 3 * 0.044715 * x * x);
	}
	case KN_GELU_ERF:
		return 0.5 * (1 + erf(x * sqrt_half)) + x * exp(-0.5 * x * x) * inv_sqrt_2pi;
	case KN_RELU:
		return x > 0;
	case KN_SILU: {
		double s = 1 / (1 + exp(-x));
		return s * (1 + x * (1 - s));
	}
	}
	return NAN;
}

void REF(act_fwd)(void *ctx, real *y, const real *x, enum kn_act act, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		y[i] = (real)value(x[i], act);
}

void REF(act_bwd)(void *ctx, real *dx, const real *dy, const real *x, enum kn_act act, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		dx[i] = (real)(dy[i] * slope(x[i], act));
}

void REF(glu_fwd)(void *ctx, real *y, const real *g, const real *u, enum kn_act act, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		y[i] = (real)(value(g[i], act) * u[i]);
}

void REF(glu_bwd)(void *ctx, real *dg, real *du, const real *dy, const real *g, const real *u, enum kn_act act,
                  int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++) {
		double d = dy[i], gate = g[i], up = u[i];
		dg[i] = (real)(d * up * slope(gate, act));
		du[i] = (real)(d * value(gate, act));
	}
}
