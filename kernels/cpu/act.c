/* act - activations, plain and gated; see kernels.h */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

#define CHUNK 8192 /* elements of one item; a multiple of 16 */

static const float gelu_a = 0.7978845608f, gelu_b = 0.044715f, sqrt_half = 0.7071067812f, inv_sqrt_2pi = 0.3989422804f;

KN_INLINE v16 minus(v16 x)
{
	return v16_sub(v16_set(0), x);
}

/* tanh(sqrt(2/pi) (x + 0.044715 x^3)) */
KN_INLINE v16 gelu_inner(v16 x)
{
	v16 cube = v16_mul(v16_mul(x, x), x);
	return v16_tanh(v16_mul(v16_set(gelu_a), v16_fma(v16_set(gelu_b), cube, x)));
}

KN_INLINE v16 sigmoid(v16 x)
{
	return v16_div(v16_set(1), v16_add(v16_set(1), v16_exp(minus(x))));
}

KN_INLINE v16 act_value(v16 x, enum kn_act act)
{
	v16 one = v16_set(1), half_x = v16_mul(v16_set(0.5f), x);
	switch (act) {
	case KN_GELU_TANH:
		return v16_mul(half_x, v16_add(one, gelu_inner(x)));
	case KN_GELU_ERF:
		return v16_mul(half_x, v16_add(one, v16_erf(v16_mul(x, v16_set(sqrt_half)))));
	case KN_SILU:
		return v16_div(x, v16_add(one, v16_exp(minus(x))));
	case KN_RELU:
		return v16_if_positive(x, x);
	}
	return x;
}

/* act'(x); the formulas are those of ref/act.c */
KN_INLINE v16 act_slope(v16 x, enum kn_act act)
{
	v16 one = v16_set(1), half = v16_set(0.5f), half_x = v16_mul(half, x);
	switch (act) {
	case KN_GELU_TANH: {
		v16 t = gelu_inner(x), left = v16_mul(half, v16_add(one, t));
		v16 inner = v16_fma(v16_set(3 * gelu_b), v16_mul(x, x), one);
		v16 sech2 = v16_fma(minus(t), t, one);
		return v16_fma(v16_mul(half_x, sech2), v16_mul(v16_set(gelu_a), inner), left);
	}
	case KN_GELU_ERF: {
		v16 left = v16_mul(half, v16_add(one, v16_erf(v16_mul(x, v16_set(sqrt_half)))));
		return v16_fma(v16_mul(x, v16_set(inv_sqrt_2pi)), v16_exp(minus(v16_mul(half_x, x))), left);
	}
	case KN_SILU: {
		v16 s = sigmoid(x);
		return v16_mul(s, v16_fma(x, v16_sub(one, s), one));
	}
	case KN_RELU:
		return v16_if_positive(x, one);
	}
	return x;
}

/* Sixteen elements of an op; unused pointers are NULL. */
struct act {
	float *out, *out2;
	const float *x, *u, *dy;
	enum kn_act act;
	int64_t n;
};

enum act_op { ACT_FWD, ACT_BWD, GLU_FWD, GLU_BWD };

KN_INLINE void act_step(float *out, float *out2, const float *x, const float *u, const float *dy, enum kn_act act,
                        enum act_op op)
{
	v16 at = v16_load(x);
	if (op == ACT_FWD)
		v16_store(out, act_value(at, act));
	else if (op == ACT_BWD)
		v16_store(out, v16_mul(v16_load(dy), act_slope(at, act)));
	else if (op == GLU_FWD)
		v16_store(out, v16_mul(act_value(at, act), v16_load(u)));
	else {
		v16 d = v16_load(dy), up = v16_mul(d, v16_load(u));
		v16_store(out, v16_mul(up, act_slope(at, act)));
		v16_store(out2, v16_mul(d, act_value(at, act)));
	}
}

/* The last 1 to 15 elements, by the same step on copies. */
KN_INLINE void act_tail(const struct act *a, int64_t i, int64_t n, enum kn_act act, enum act_op op)
{
	float x[16] = {0}, u[16] = {0}, dy[16] = {0}, out[16], out2[16] = {0};
	size_t bytes = (size_t)n * sizeof *x;
	memcpy(x, a->x + i, bytes);
	if (a->u)
		memcpy(u, a->u + i, bytes);
	if (a->dy)
		memcpy(dy, a->dy + i, bytes);
	act_step(out, out2, x, u, dy, act, op);
	memcpy(a->out + i, out, bytes);
	if (a->out2)
		memcpy(a->out2 + i, out2, bytes);
}

KN_INLINE void act_chunk(const struct act *a, int64_t item, enum kn_act act, enum act_op op)
{
	int64_t i = item * CHUNK, end = min64(i + CHUNK, a->n);
	for (; i + 16 <= end; i += 16)
		act_step(a->out + i, op == GLU_BWD ? a->out2 + i : NULL, a->x + i, op >= GLU_FWD ? a->u + i : NULL,
		         op == ACT_BWD || op == GLU_BWD ? a->dy + i : NULL, act, op);
	if (i < end)
		act_tail(a, i, end - i, act, op);
}

/* One loop per activation and op, so that nothing is chosen inside it. */
#define ACT_ITEM(name, op)                                                                                             \
	static void name(void *arg, int64_t item, int worker)                                                          \
	{                                                                                                              \
		(void)worker;                                                                                          \
		const struct act *a = arg;                                                                             \
		if (a->act == KN_GELU_TANH)                                                                            \
			act_chunk(a, item, KN_GELU_TANH, op);                                                          \
		else if (a->act == KN_GELU_ERF)                                                                        \
			act_chunk(a, item, KN_GELU_ERF, op);                                                           \
		else if (a->act == KN_SILU)                                                                            \
			act_chunk(a, item, KN_SILU, op);                                                               \
		else                                                                                                   \
			act_chunk(a, item, KN_RELU, op);                                                               \
	}
ACT_ITEM(act_fwd_item, ACT_FWD)
ACT_ITEM(act_bwd_item, ACT_BWD)
ACT_ITEM(glu_fwd_item, GLU_FWD)
ACT_ITEM(glu_bwd_item, GLU_BWD)

static void act_run(void *ctx, struct act *a, void (*fn)(void *arg, int64_t i, int worker))
{
	cpu_for(ctx, ceil_div(a->n, CHUNK), 20 * (double)a->n, fn, a);
}

void KN(act_fwd)(void *ctx, float *y, const float *x, enum kn_act act, int64_t n)
{
	act_run(ctx, &(struct act){.out = y, .x = x, .act = act, .n = n}, act_fwd_item);
}

void KN(act_bwd)(void *ctx, float *dx, const float *dy, const float *x, enum kn_act act, int64_t n)
{
	act_run(ctx, &(struct act){.out = dx, .dy = dy, .x = x, .act = act, .n = n}, act_bwd_item);
}

void KN(glu_fwd)(void *ctx, float *y, const float *g, const float *u, enum kn_act act, int64_t n)
{
	act_run(ctx, &(struct act){.out = y, .x = g, .u = u, .act = act, .n = n}, glu_fwd_item);
}

void KN(glu_bwd)(void *ctx, float *dg, float *du, const float *dy, const float *g, const float *u, enum kn_act act,
                 int64_t n)
{
	act_run(ctx, &(struct act){.out = dg, .out2 = du, .dy = dy, .x = g, .u = u, .act = act, .n = n}, glu_bwd_item);
}
