/* act - activations, plain and gated; see kernels.h.  The formulas are those of ref/act.c. */
#include "kernels/cuda/math.cuh"

#define GELU_A 0.7978845608f
#define GELU_B 0.044715f
#define SQRT_HALF 0.7071067812f
#define INV_SQRT_2PI 0.3989422804f

/* tanh(sqrt(2/pi) (x + 0.044715 x^3)) */
static __device__ inline float gelu_inner(float x)
{
	return cu_tanh(GELU_A * fmaf(GELU_B, x * x * x, x));
}

static __device__ inline float act_value(float x, enum kn_act act)
{
	switch (act) {
	case KN_GELU_TANH:
		return 0.5f * x * (1 + gelu_inner(x));
	case KN_GELU_ERF:
		return 0.5f * x * (1 + cu_erf(x * SQRT_HALF));
	case KN_SILU:
		return x / (1 + cu_exp(0 - x));
	case KN_RELU:
		return x > 0 ? x : 0;
	}
	return x;
}

/* act'(x) */
static __device__ inline float act_slope(float x, enum kn_act act)
{
	float half_x = 0.5f * x;
	switch (act) {
	case KN_GELU_TANH: {
		float t = gelu_inner(x), inner = fmaf(3 * GELU_B, x * x, 1.0f), sech2 = fmaf(0 - t, t, 1.0f);
		return fmaf(half_x * sech2, GELU_A * inner, 0.5f * (1 + t));
	}
	case KN_GELU_ERF:
		return fmaf(x * INV_SQRT_2PI, cu_exp(0 - half_x * x), 0.5f * (1 + cu_erf(x * SQRT_HALF)));
	case KN_SILU: {
		float s = 1 / (1 + cu_exp(0 - x));
		return s * fmaf(x, 1 - s, 1.0f);
	}
	case KN_RELU:
		return x > 0 ? 1 : 0;
	}
	return x;
}

static __global__ void act_fwd_kernel(cu_real *y, const cu_real *x, enum kn_act act, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] = act_value(x[i], act);
}

static __global__ void act_bwd_kernel(cu_real *dx, const cu_real *dy, const cu_real *x, enum kn_act act, int64_t n)
{
	for (CU_EACH(i, n))
		dx[i] = dy[i] * act_slope(x[i], act);
}

static __global__ void glu_fwd_kernel(cu_real *y, const cu_real *g, const cu_real *u, enum kn_act act, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] = act_value(g[i], act) * u[i];
}

/* dg and du may be the buffers of g and u: an element is read before it is written */
static __global__ void glu_bwd_kernel(cu_real *dg, cu_real *du, const cu_real *dy, const cu_real *g, const cu_real *u,
                                      enum kn_act act, int64_t n)
{
	for (CU_EACH(i, n)) {
		float d = dy[i], gate = g[i], up = u[i];
		dg[i] = d * up * act_slope(gate, act);
		du[i] = d * act_value(gate, act);
	}
}

void CU(act_fwd)(void *ctx, float *y, const float *x, enum kn_act act, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, act_fwd_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(y), cu_reals(x), act, n);
}

void CU(act_bwd)(void *ctx, float *dx, const float *dy, const float *x, enum kn_act act, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, act_bwd_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(dx), cu_reals(dy), cu_reals(x), act,
		          n);
}

void CU(glu_fwd)(void *ctx, float *y, const float *g, const float *u, enum kn_act act, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, glu_fwd_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(y), cu_reals(g), cu_reals(u), act,
		          n);
}

void CU(glu_bwd)(void *ctx, float *dg, float *du, const float *dy, const float *g, const float *u, enum kn_act act,
                 int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, glu_bwd_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(dg), cu_reals(du), cu_reals(dy),
		          cu_reals(g), cu_reals(u), act, n);
}
