/* vec - sums, rows and conversions over flat arrays; see kernels.h */
#include "kernels/ref/ref.h"

void REF(add)(void *ctx, real *y, const real *x, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		y[i] += x[i];
}

void REF(scale)(void *ctx, real *y, float a, const real *x, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		y[i] = (real)((double)a * x[i]);
}

void REF(axpy)(void *ctx, real *y, float a, const real *x, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++)
		y[i] = (real)((double)a * x[i] + y[i]);
}

void REF(gather_rows)(void *ctx, real *y, const real *x, const int64_t *row, int64_t M, int64_t C)
{
	(void)ctx;
	for (int64_t m = 0; m < M; m++)
		for (int64_t c = 0; c < C; c++)
			y[m * C + c] = x[row[m] * C + c];
}

void REF(store_rows)(void *ctx, real *y, const int64_t *row, const real *x, int64_t x_stride, int64_t M, int64_t C)
{
	(void)ctx;
	for (int64_t m = 0; m < M; m++)
		for (int64_t c = 0; c < C; c++)
			y[row[m] * C + c] = x[m * x_stride + c];
}

void REF(scatter_rows)(void *ctx, real *x, const real *y, const int64_t *row, int64_t M, int64_t C)
{
	(void)ctx;
	for (int64_t m = 0; m < M; m++)
		for (int64_t c = 0; c < C; c++)
			x[row[m] * C + c] += y[m * C + c];
}

double REF(sum_squares)(void *ctx, const real *x, int64_t n)
{
	(void)ctx;
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)x[i] * x[i];
	return sum;
}

int64_t REF(count_nonfinite)(void *ctx, const real *x, int64_t n)
{
	(void)ctx;
	int64_t count = 0;
	for (int64_t i = 0; i < n; i++)
		count += !isfinite(x[i]);
	return count;
}

void REF(to_bf16)(void *ctx, uint16_t *y, const real *x, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++) {
		float f = (float)x[i];
		uint32_t bits;
		memcpy(&bits, &f, sizeof bits);
		uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
		y[i] = (uint16_t)(isnan(f) ? bits >> 16 | 0x40 : rounded >> 16);
	}
}

void REF(from_bf16)(void *ctx, real *y, const uint16_t *x, int64_t n)
{
	(void)ctx;
	for (int64_t i = 0; i < n; i++) {
		uint32_t bits = (uint32_t)x[i] << 16;
		float f;
		memcpy(&f, &bits, sizeof f);
		y[i] = f;
	}
}
