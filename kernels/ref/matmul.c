/* matmul - products with a weight matrix [O, I]; see kernels.h */
#include "kernels/ref/ref.h"

static double from_half(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double size = exponent == 31  ? (mantissa ? NAN : INFINITY)
	              : exponent == 0 ? ldexp(mantissa, -24)
	                              : ldexp(1024 + mantissa, exponent - 25);
	return h & 0x8000 ? -size : size;
}

static double from_brain(uint16_t h)
{
	uint32_t bits = (uint32_t)h << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

double REF(mat_at)(const struct kn_mat *w, int64_t row, int64_t col)
{
	const struct kn_block *piece = w->blocks;
	while (row >= piece->rows)
		row -= piece++->rows;
	int64_t at = row * w->cols + col;
	if (w->dtype == KN_BF16)
		return from_brain(((const uint16_t *)piece->data)[at]);
	if (w->dtype == KN_F16)
		return from_half(((const uint16_t *)piece->data)[at]);
	return ((const real *)piece->data)[at];
}

void REF(matmul_fwd)(void *ctx, real *y, const real *x, const struct kn_mat *w, const real *b, int64_t N)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++)
		for (int64_t o = 0; o < w->rows; o++) {
			double sum = b ? b[o] : 0;
			for (int64_t i = 0; i < w->cols; i++)
				sum += (double)x[n * w->cols + i] * REF(mat_at)(w, o, i);
			y[n * w->rows + o] = (real)sum;
		}
}

void REF(matmul_dx)(void *ctx, real *dx, const real *dy, const struct kn_mat *w, int64_t N, int add)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++)
		for (int64_t i = 0; i < w->cols; i++) {
			double sum = add ? dx[n * w->cols + i] : 0;
			for (int64_t o = 0; o < w->rows; o++)
				sum += (double)dy[n * w->rows + o] * REF(mat_at)(w, o, i);
			dx[n * w->cols + i] = (real)sum;
		}
}

void REF(matmul_dw)(void *ctx, real *dw, real *db, const real *dy, const real *x, int64_t N, int64_t O, int64_t I)
{
	(void)ctx;
	for (int64_t o = 0; o < O; o++) {
		for (int64_t i = 0; dw && i < I; i++) {
			double sum = dw[o * I + i];
			for (int64_t n = 0; n < N; n++)
				sum += (double)dy[n * O + o] * x[n * I + i];
			dw[o * I + i] = (real)sum;
		}
		double sum = db ? db[o] : 0;
		for (int64_t n = 0; n < N; n++)
			sum += dy[n * O + o];
		if (db)
			db[o] = (real)sum;
	}
}
