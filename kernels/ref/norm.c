/* norm - layer norm and RMS norm; see kernels.h */
#include "kernels/ref/ref.h"

void REF(layernorm_fwd)(void *ctx, real *y, real *mean, real *rstd, const real *x, const real *g, const real *b,
                        float eps, int64_t N, int64_t C)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++, x += C, y += C) {
		double sum = 0, squares = 0;
		for (int64_t c = 0; c < C; c++)
			sum += x[c];
		double mu = C ? sum / (double)C : 0;
		for (int64_t c = 0; c < C; c++)
			squares += (x[c] - mu) * (x[c] - mu);
		double r = C ? 1 / sqrt(squares / (double)C + eps) : 0;
		for (int64_t c = 0; c < C; c++)
			y[c] = (real)((x[c] - mu) * r * g[c] + b[c]);
		if (mean)
			mean[n] = (real)mu;
		if (rstd)
			rstd[n] = (real)r;
	}
}

/* With h = (x - mean) rstd and dh = dy g: dx = rstd (dh - mean(dh) - h mean(dh h)). */
void REF(layernorm_bwd)(void *ctx, real *dx, real *dg, real *db, const real *dy, const real *x, const real *mean,
                        const real *rstd, const real *g, int64_t N, int64_t C)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++, x += C, dy += C, dx += C) {
		double mu = mean[n], r = rstd[n], sum = 0, sum_h = 0;
		for (int64_t c = 0; c < C; c++) {
			double h = (x[c] - mu) * r, dh = (double)dy[c] * g[c];
			sum += dh;
			sum_h += dh * h;
			dg[c] += (real)(dy[c] * h);
			db[c] += dy[c];
		}
		for (int64_t c = 0; c < C; c++) {
			double h = (x[c] - mu) * r, dh = (double)dy[c] * g[c];
			dx[c] += (real)(r * (dh - sum / (double)C - h * (sum_h / (double)C)));
		}
	}
}

void REF(rmsnorm_fwd)(void *ctx, real *y, real *rstd, const real *x, const real *g, float eps, int64_t N, int64_t C)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++, x += C, y += C) {
		double squares = 0;
		for (int64_t c = 0; c < C; c++)
			squares += (double)x[c] * x[c];
		double r = C ? 1 / sqrt(squares / (double)C + eps) : 0;
		for (int64_t c = 0; c < C; c++)
			y[c] = (real)(x[c] * r * g[c]);
		if (rstd)
			rstd[n] = (real)r;
	}
}

/* With h = x rstd and dh = dy g: dx = rstd (dh - h mean(dh h)). */
void REF(rmsnorm_bwd)(void *ctx, real *dx, real *dg, const real *dy, const real *x, const real *rstd, const real *g,
                      int64_t N, int64_t C)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++, x += C, dy += C, dx += C) {
		double r = rstd[n], sum_h = 0;
		for (int64_t c = 0; c < C; c++) {
			sum_h += (double)dy[c] * g[c] * x[c] * r;
			dg[c] += (real)(dy[c] * (x[c] * r));
		}
		for (int64_t c = 0; c < C; c++)
			dx[c] += (real)(r * ((double)dy[c] * g[c] - x[c] * r * (sum_h / (double)C)));
	}
}
