/* math - how good our exp, log, tanh, erf, sin and cos are; every instruction set has the bits of this one */
#define KN_ISA plain
#include "kernels/cpu/vec_math.h"
#include "kernels/checks/check.h"
#include "kernels/draw.h"

#include <math.h>

/* |got - want| in units of the last place of a float32 of want's size */
static double ulps(float got, double want)
{
	int exponent;
	frexp(want, &exponent);
	double last = ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
	return fabs(got - want) / last;
}

static vf vector_exp(vf x)
{
	return vf_exp(x);
}

static vf vector_log(vf x)
{
	return vf_log(x);
}

static vf vector_tanh(vf x)
{
	return vf_tanh(x);
}

static vf vector_erf(vf x)
{
	return vf_erf(x);
}

static void sweep(const char *name, vf (*ours)(vf x), double (*truth)(double x), double lo, double hi, int logarithmic,
                  double most)
{
	double worst = 0, at = 0;
	const int64_t n = 400000;
	for (int64_t i = 0; i <= n; i++) {
		double t = lo + (hi - lo) * (double)i / (double)n;
		float x = (float)(logarithmic ? exp(t) : t);
		double e = ulps(ours(vf_set(x))[0], truth(x));
		if (!(e <= worst)) {
			worst = e;
			at = x;
		}
	}
	check_result(worst <= most, "cpu %s: worst error %.2f ulp at %.6g, at most %.1f", name, worst, at, most);
}

static void sweep_angles(void)
{
	double worst = 0, at = 0;
	for (int64_t i = 0; i < 400000; i++) {
		double x = (double)(i * 131072 / 400000) * (double)(float)pow(10000, -(double)(i % 64) / 64), s, c;
		kn_sincos(x, &s, &c);
		double e = fmax(fabs(s - sin(x)), fabs(c - cos(x)));
		if (!(e <= worst)) {
			worst = e;
			at = x;
		}
	}
	check_result(worst <= 1e-13, "cpu sincos: worst error %.1e at %.9g, at most 1e-13", worst, at);
}

static void special(void)
{
	int ok = vf_exp(vf_set(-INFINITY))[0] == 0 && vf_exp(vf_set(INFINITY))[0] == INFINITY &&
	         vf_exp(vf_set(0))[0] == 1 && isnan(vf_exp(vf_set(NAN))[0]) && vf_tanh(vf_set(40))[0] == 1 &&
	         vf_tanh(vf_set(-40))[0] == -1 && isnan(vf_tanh(vf_set(NAN))[0]) && vf_erf(vf_set(9))[0] == 1 &&
	         vf_erf(vf_set(-9))[0] == -1 && isnan(vf_erf(vf_set(NAN))[0]) && vf_log(vf_set(1))[0] == 0 &&
	         vf_tanh(vf_set(INFINITY))[0] == 1 && vf_erf(vf_set(-INFINITY))[0] == -1 &&
	         vf_exp(vf_set(88.8f))[0] == INFINITY;
	check_result(ok, "cpu exp, log, tanh, erf: infinities, NaN, zero and one");
}

/* In units of the weight's last place, a half of which is rounding. */
static void draw_weights(void)
{
	double worst = 0;
	for (int64_t i = 0; i <= 400000; i++) {
		double x = -35.0 * (double)i / 400000;
		double e = fabs((double)kn_draw_weight(x) - exp(x) * 0x1p44);
		worst = e > worst ? e : worst;
	}
	check_result(worst <= 0.52 && kn_draw_weight(0) == KN_DRAW_ONE && kn_draw_weight(-INFINITY) == 0,
	             "weights of draw: worst error %.3f of a unit, at most .52", worst);
}

void check_math(void)
{
	sweep("exp", vector_exp, exp, -104, 88.72, 0, 1.5);
	sweep("exp near 0", vector_exp, exp, -1, 1, 0, 1.5);
	sweep("log", vector_log, log, -80, 80, 1, 1.5);
	sweep("log near 1", vector_log, log, -1, 1, 1, 1.5);
	sweep("tanh", vector_tanh, tanh, -10, 10, 0, 2.5);
	sweep("tanh near 0", vector_tanh, tanh, -0.7, 0.7, 0, 2.5);
	sweep("erf", vector_erf, erf, -5, 5, 0, 2.5);
	sweep_angles();
	draw_weights();
	special();
}
