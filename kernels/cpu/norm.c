/*
 * norm - layer norm and RMS norm; see kernels.h.
 *
 * Sums over a row are sixteen partial sums and a tree (order 1).  Rows are
 * split over threads; the gradients of gain and bias are a second pass, in
 * which threads split columns and tokens come in row order (order 2).
 */
#include "kernels/cpu/cpu.h"

#include <math.h>

#define ROWS 8     /* of one item of a pass over rows */
#define COLUMNS 64 /* of one item of a pass over columns */

struct norm {
	float *y, *mean, *rstd;
	float *dx, *dg, *db;
	const float *x, *dy, *g, *b;
	const float *mean_in, *rstd_in;
	float eps;
	int64_t N, C;
};

/* x[c..c+15] of a row of C, zero-filled */
KN_INLINE v16 load(const float *x, int64_t c, int64_t C)
{
	return c + 16 <= C ? v16_load(x + c) : v16_load_tail(x + c, C - c, 0);
}

KN_INLINE void store(float *x, v16 a, int64_t c, int64_t C)
{
	if (c + 16 <= C)
		v16_store(x + c, a);
	else
		v16_store_tail(x + c, a, C - c);
}

static float row_sum(const float *x, int64_t C)
{
	v16 sum = v16_set(0);
	for (int64_t c = 0; c < C; c += 16)
		sum = v16_add(sum, load(x, c, C));
	return v16_sum(sum);
}

/* sum of (x - mean)^2; lanes beyond C hold the mean, so that they add nothing */
static float row_spread(const float *x, float mean, int64_t C)
{
	v16 sum = v16_set(0), mu = v16_set(mean);
	for (int64_t c = 0; c < C; c += 16) {
		v16 d = v16_sub(c + 16 <= C ? v16_load(x + c) : v16_load_tail(x + c, C - c, mean), mu);
		sum = v16_fma(d, d, sum);
	}
	return v16_sum(sum);
}

static float inverse_root(float sum, int64_t C, float eps)
{
	return 1 / sqrtf(sum / (float)C + eps);
}

static void layernorm_row(const struct norm *a, int64_t n)
{
	const float *x = a->x + n * a->C;
	float mu = row_sum(x, a->C) / (float)a->C, r = inverse_root(row_spread(x, mu, a->C), a->C, a->eps);
	for (int64_t c = 0; c < a->C; c += 16) {
		v16 h = v16_mul(v16_sub(load(x, c, a->C), v16_set(mu)), v16_set(r));
		store(a->y + n * a->C, v16_fma(h, load(a->g, c, a->C), load(a->b, c, a->C)), c, a->C);
	}
	if (a->mean)
		a->mean[n] = mu;
	if (a->rstd)
		a->rstd[n] = r;
}

static void rmsnorm_row(const struct norm *a, int64_t n)
{
	const float *x = a->x + n * a->C;
	float r = inverse_root(dot_order1(x, x, a->C), a->C, a->eps);
	for (int64_t c = 0; c < a->C; c += 16) {
		v16 h = v16_mul(load(x, c, a->C), v16_set(r));
		store(a->y + n * a->C, v16_mul(h, load(a->g, c, a->C)), c, a->C);
	}
	if (a->rstd)
		a->rstd[n] = r;
}

/* mean = 0 makes this the RMS norm's, which has no mean to take out of the gradient */
static void gradient_row(const struct norm *a, int64_t n)
{
	const float *x = a->x + n * a->C, *dy = a->dy + n * a->C;
	v16 mu = v16_set(a->mean_in ? a->mean_in[n] : 0), r = v16_set(a->rstd_in[n]);
	v16 sum = v16_set(0), sum_h = v16_set(0);
	for (int64_t c = 0; c < a->C; c += 16) {
		v16 h = v16_mul(v16_sub(load(x, c, a->C), mu), r), dh = v16_mul(load(dy, c, a->C), load(a->g, c, a->C));
		sum = v16_add(sum, dh);
		sum_h = v16_fma(dh, h, sum_h);
	}
	v16 mean_dh = v16_set(a->mean_in ? v16_sum(sum) / (float)a->C : 0),
	    mean_h = v16_set(-v16_sum(sum_h) / (float)a->C);
	for (int64_t c = 0; c < a->C; c += 16) {
		v16 h = v16_mul(v16_sub(load(x, c, a->C), mu), r), dh = v16_mul(load(dy, c, a->C), load(a->g, c, a->C));
		v16 d = v16_mul(r, v16_fma(h, mean_h, v16_sub(dh, mean_dh)));
		float *dx = a->dx + n * a->C;
		store(dx, v16_add(load(dx, c, a->C), d), c, a->C);
	}
}

static void each_row(const struct norm *a, int64_t item, void (*row)(const struct norm *, int64_t))
{
	for (int64_t n = item * ROWS; n < min64(item * ROWS + ROWS, a->N); n++)
		row(a, n);
}

static void layernorm_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	each_row(arg, item, layernorm_row);
}

static void rmsnorm_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	each_row(arg, item, rmsnorm_row);
}

static void gradient_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	each_row(arg, item, gradient_row);
}

/* dg and db of COLUMNS columns */
static void gain_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct norm *a = arg;
	int64_t from = item * COLUMNS, to = min64(from + COLUMNS, a->C);
	for (int64_t c = from; c < to; c += 16) {
		v16 dg = load(a->dg, c, a->C), db = a->db ? load(a->db, c, a->C) : v16_set(0);
		for (int64_t n = 0; n < a->N; n++) {
			v16 mu = v16_set(a->mean_in ? a->mean_in[n] : 0), dy = load(a->dy + n * a->C, c, a->C);
			v16 h = v16_mul(v16_sub(load(a->x + n * a->C, c, a->C), mu), v16_set(a->rstd_in[n]));
			dg = v16_fma(dy, h, dg);
			db = v16_add(db, dy);
		}
		store(a->dg, dg, c, a->C);
		if (a->db)
			store(a->db, db, c, a->C);
	}
}

static double norm_work(const struct norm *a)
{
	return 4 * (double)a->N * (double)a->C;
}

void KN(layernorm_fwd)(void *ctx, float *y, float *mean, float *rstd, const float *x, const float *g, const float *b,
                       float eps, int64_t N, int64_t C)
{
	struct norm a = {.y = y, .mean = mean, .rstd = rstd, .x = x, .g = g, .b = b, .eps = eps, .N = N, .C = C};
	cpu_for(ctx, ceil_div(N, ROWS), norm_work(&a), layernorm_item, &a);
}

void KN(layernorm_bwd)(void *ctx, float *dx, float *dg, float *db, const float *dy, const float *x, const float *mean,
                       const float *rstd, const float *g, int64_t N, int64_t C)
{
	struct norm a = {.dx = dx, .dg = dg, .db = db, .dy = dy, .x = x, .g = g, .N = N, .C = C};
	a.mean_in = mean;
	a.rstd_in = rstd;
	cpu_for(ctx, ceil_div(C, COLUMNS), norm_work(&a), gain_item, &a);
	cpu_for(ctx, ceil_div(N, ROWS), norm_work(&a), gradient_item, &a);
}

void KN(rmsnorm_fwd)(void *ctx, float *y, float *rstd, const float *x, const float *g, float eps, int64_t N, int64_t C)
{
	struct norm a = {.y = y, .rstd = rstd, .x = x, .g = g, .eps = eps, .N = N, .C = C};
	cpu_for(ctx, ceil_div(N, ROWS), norm_work(&a), rmsnorm_item, &a);
}

void KN(rmsnorm_bwd)(void *ctx, float *dx, float *dg, const float *dy, const float *x, const float *rstd,
                     const float *g, int64_t N, int64_t C)
{
	struct norm a = {.dx = dx, .dg = dg, .dy = dy, .x = x, .g = g, .rstd_in = rstd, .N = N, .C = C};
	cpu_for(ctx, ceil_div(C, COLUMNS), norm_work(&a), gain_item, &a);
	cpu_for(ctx, ceil_div(N, ROWS), norm_work(&a), gradient_item, &a);
}
