/* flat - parameters and their gradients as flat arrays of float32: sums and conversions; see kernels.h */
#include "kernels/cuda/common.cuh"

static __global__ void axpy_kernel(float *y, float a, const float *x, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] = fmaf(a, x[i], y[i]);
}

void cu_axpy(void *ctx, float *y, float a, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, axpy_kernel, cu_grid(cu, n), CU_THREADS, y, a, x, n);
}

/* Sixteen lanes sum one block of CU_SUM_BLOCK elements. */
static __global__ void squares_kernel(double *sums, const float *x, int64_t n)
{
	int64_t block = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 16, at = block * CU_SUM_BLOCK;
	int lane = threadIdx.x % 16;
	int64_t end = at + CU_SUM_BLOCK < n ? at + CU_SUM_BLOCK : n;
	double s = 0;
	for (int64_t i = at + lane; i < end; i += 16) {
		double v = x[i];
		s = __dadd_rn(s, __dmul_rn(v, v));
	}
	s = cu_tree_sum(s);
	if (lane == 0 && at < n)
		sums[block] = s;
}

static int fetch_sums(struct cuda *cu, size_t bytes)
{
	cudaError_t error = cudaMemcpyAsync(cu->sums_host, cu->sums, bytes, cudaMemcpyDeviceToHost, cu->stream);
	return !cu_failed(cu, error, "sums") && !cu_failed(cu, cudaStreamSynchronize(cu->stream), "sums");
}

double cu_sum_squares(void *ctx, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	const double *part = (const double *)cu->sums_host;
	double sum = 0;
	if (!cu_enter(cu))
		return 0;
	cu_step_flush(cu);
	for (int64_t at = 0; at < n; at += CU_SUM_SLOTS * CU_SUM_BLOCK) {
		int64_t len = cu_min(n - at, CU_SUM_SLOTS * CU_SUM_BLOCK), blocks = cu_ceil_div(len, CU_SUM_BLOCK);
		unsigned grid = (unsigned)cu_ceil_div(blocks * 16, CU_THREADS);
		CU_LAUNCH(cu, squares_kernel, grid, CU_THREADS, (double *)cu->sums, x + at, len);
		if (!fetch_sums(cu, (size_t)blocks * sizeof *part))
			return 0;
		for (int64_t i = 0; i < blocks; i++)
			sum += part[i];
	}
	return sum;
}

/* Counts are whole numbers, whose sum has no order. */
static __global__ void nonfinite_kernel(unsigned long long *count, const float *x, int64_t n)
{
	unsigned long long mine = 0;
	for (CU_EACH(i, n))
		mine += (__float_as_uint(x[i]) & 0x7f800000u) == 0x7f800000u;
	if (mine)
		atomicAdd(count, mine);
}

int64_t cu_count_nonfinite(void *ctx, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	unsigned long long *count = (unsigned long long *)cu->sums;
	cu_step_flush(cu);
	if (n <= 0 || !cu_enter(cu) || cu_failed(cu, cudaMemsetAsync(count, 0, sizeof *count, cu->stream), "count"))
		return 0;
	CU_LAUNCH(cu, nonfinite_kernel, cu_grid(cu, n), CU_THREADS, count, x, n);
	return fetch_sums(cu, sizeof *count) ? (int64_t) * (unsigned long long *)cu->sums_host : 0;
}

static __global__ void to_bf16_kernel(uint16_t *y, const float *x, int64_t n)
{
	for (CU_EACH(i, n)) {
		uint32_t bits = __float_as_uint(x[i]), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
		y[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
	}
}

static __global__ void from_bf16_kernel(float *y, const uint16_t *x, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] = __uint_as_float((uint32_t)x[i] << 16);
}

void cu_to_bf16(void *ctx, uint16_t *y, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, to_bf16_kernel, cu_grid(cu, n), CU_THREADS, y, x, n);
}

void cu_from_bf16(void *ctx, float *y, const uint16_t *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, from_bf16_kernel, cu_grid(cu, n), CU_THREADS, y, x, n);
}
