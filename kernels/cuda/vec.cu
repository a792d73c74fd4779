/* vec - sums and rows of activations; see kernels.h */
#include "kernels/cuda/common.cuh"

#include <algorithm>

static __global__ void add_kernel(cu_real *y, const cu_real *x, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] += x[i];
}

static __global__ void scale_kernel(cu_real *y, float a, const cu_real *x, int64_t n)
{
	for (CU_EACH(i, n))
		y[i] = a * x[i];
}

void CU(add)(void *ctx, float *y, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, add_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(y), cu_reals(x), n);
}

void CU(scale)(void *ctx, float *y, float a, const float *x, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, scale_kernel, cu_grid(cu, n), CU_THREADS, cu_reals(y), a, cu_reals(x), n);
}

/*
 * Rows that are added to the same row must come in order, and no two threads
 * may write one element.  So the host sorts (to, from) pairs while it stages
 * them, and the block of threads that meets the first pair of a row adds all
 * of that row's.
 */
struct pair {
	int64_t to, from;
};

static bool pair_before(const struct pair &a, const struct pair &b)
{
	return a.to != b.to ? a.to < b.to : a.from < b.from;
}

static __global__ void gather_kernel(cu_real *y, const cu_real *x, const int64_t *row, int64_t C)
{
	int64_t m = blockIdx.x;
	for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
		y[m * C + c] = x[row[m] * C + c];
}

static __global__ void store_kernel(cu_real *y, const int64_t *row, const cu_real *x, int64_t x_stride, int64_t C)
{
	int64_t m = blockIdx.x;
	for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
		y[row[m] * C + c] = x[m * x_stride + c];
}

template <typename T>
static __global__ void add_rows_kernel(T *to, const cu_real *from, const struct pair *pair, int64_t M, int64_t C)
{
	int64_t first = blockIdx.x, row = pair[first].to;
	if (first > 0 && pair[first - 1].to == row)
		return;
	for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
		float sum = to[row * C + c];
		for (int64_t i = first; i < M && pair[i].to == row; i++)
			sum += from[pair[i].from * C + c];
		to[row * C + c] = sum;
	}
}

/* to[row[m]] += from[m] for rows of C, those of one row in rising m order */
template <typename T, typename R>
static void add_rows(struct cuda *cu, T *to, const kn_real *from, const R *row, int64_t M, int64_t C)
{
	size_t bytes = (size_t)M * sizeof(struct pair);
	if (M == 0 || C == 0)
		return;
	struct pair *pair = (struct pair *)cu_ring_take(cu, bytes);
	if (!pair)
		return;
	for (int64_t m = 0; m < M; m++)
		pair[m] = {row[m], m};
	std::sort(pair, pair + M, pair_before);
	const struct pair *sent = (const struct pair *)cu_ring_send(cu, pair, bytes);
	if (sent)
		CU_LAUNCH(cu, add_rows_kernel<T>, (unsigned)M, CU_THREADS, to, cu_reals(from), sent, M, C);
}

void CU(add_to_table)(struct cuda *cu, float *to, const kn_real *from, const int32_t *row, int64_t M, int64_t C)
{
	add_rows(cu, to, from, row, M, C);
}

void CU(gather_rows)(void *ctx, float *y, const float *x, const int64_t *row, int64_t M, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	int ok = 1;
	if (M == 0 || C == 0 || !cu_enter(cu))
		return;
	const int64_t *rows = (const int64_t *)cu_stage(cu, row, (size_t)M * sizeof *row, &ok);
	if (ok)
		CU_LAUNCH(cu, gather_kernel, (unsigned)M, CU_THREADS, cu_reals(y), cu_reals(x), rows, C);
}

void CU(store_rows)(void *ctx, float *y, const int64_t *row, const float *x, int64_t x_stride, int64_t M, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	int ok = 1;
	if (M == 0 || C == 0 || !cu_enter(cu))
		return;
	const int64_t *rows = (const int64_t *)cu_stage(cu, row, (size_t)M * sizeof *row, &ok);
	if (ok)
		CU_LAUNCH(cu, store_kernel, (unsigned)M, CU_THREADS, cu_reals(y), rows, cu_reals(x), x_stride, C);
}

void CU(scatter_rows)(void *ctx, float *x, const float *y, const int64_t *row, int64_t M, int64_t C)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		add_rows(cu, cu_reals(x), y, row, M, C);
}
