/* vec - sums, rows and conversions over flat arrays; see kernels.h */
#include "kernels/cpu/cpu.h"

#define CHUNK 16384
#define COLUMNS 256 /* of one item of scatter_rows: threads split columns, so rows stay in order */

struct flat {
	struct cpu *cpu;
	float *y;
	const float *x;
	uint16_t *half_out;
	const uint16_t *half_in;
	const int64_t *row;
	int64_t n, C, x_stride;
	float a;
	int64_t count[KN_MAX_THREADS];
};

static int64_t chunk_end(const struct flat *f, int64_t item)
{
	return min64((item + 1) * CHUNK, f->n);
}

static void flat_run(struct flat *f, void (*fn)(void *arg, int64_t i, int worker))
{
	cpu_for(f->cpu, ceil_div(f->n, CHUNK), (double)f->n, fn, f);
}

static void add_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	for (int64_t i = item * CHUNK; i < chunk_end(f, item); i++)
		f->y[i] += f->x[i];
}

static void scale_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	for (int64_t i = item * CHUNK; i < chunk_end(f, item); i++)
		f->y[i] = f->a * f->x[i];
}

static void axpy_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	int64_t i = item * CHUNK, end = chunk_end(f, item);
	v16 a = v16_set(f->a);
	for (; i + 16 <= end; i += 16)
		v16_store(f->y + i, v16_fma(a, v16_load(f->x + i), v16_load(f->y + i)));
	if (i < end) {
		int64_t n = end - i;
		v16_store_tail(f->y + i, v16_fma(a, v16_load_tail(f->x + i, n, 0), v16_load_tail(f->y + i, n, 0)), n);
	}
}

void KN(add)(void *ctx, float *y, const float *x, int64_t n)
{
	flat_run(&(struct flat){.cpu = ctx, .y = y, .x = x, .n = n}, add_item);
}

void KN(scale)(void *ctx, float *y, float a, const float *x, int64_t n)
{
	flat_run(&(struct flat){.cpu = ctx, .y = y, .x = x, .n = n, .a = a}, scale_item);
}

void KN(axpy)(void *ctx, float *y, float a, const float *x, int64_t n)
{
	flat_run(&(struct flat){.cpu = ctx, .y = y, .x = x, .n = n, .a = a}, axpy_item);
}

static void gather_item(void *arg, int64_t m, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	if (f->C)
		memcpy(f->y + m * f->C, f->x + f->row[m] * f->C, (size_t)f->C * sizeof *f->y);
}

void KN(gather_rows)(void *ctx, float *y, const float *x, const int64_t *row, int64_t M, int64_t C)
{
	struct flat f = {.cpu = ctx, .y = y, .x = x, .row = row, .n = M, .C = C};
	cpu_for(ctx, M, (double)M * (double)C, gather_item, &f);
}

static void store_item(void *arg, int64_t m, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	if (f->C)
		memcpy(f->y + f->row[m] * f->C, f->x + m * f->x_stride, (size_t)f->C * sizeof *f->y);
}

void KN(store_rows)(void *ctx, float *y, const int64_t *row, const float *x, int64_t x_stride, int64_t M, int64_t C)
{
	struct flat f = {.cpu = ctx, .y = y, .x = x, .row = row, .n = M, .C = C, .x_stride = x_stride};
	cpu_for(ctx, M, (double)M * (double)C, store_item, &f);
}

static void scatter_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	int64_t from = item * COLUMNS, to = min64(from + COLUMNS, f->C);
	for (int64_t m = 0; m < f->n; m++) {
		float *x = f->y + f->row[m] * f->C;
		const float *y = f->x + m * f->C;
		for (int64_t c = from; c < to; c++)
			x[c] += y[c];
	}
}

void KN(scatter_rows)(void *ctx, float *x, const float *y, const int64_t *row, int64_t M, int64_t C)
{
	struct flat f = {.cpu = ctx, .y = x, .x = y, .row = row, .n = M, .C = C};
	cpu_for(ctx, ceil_div(C, COLUMNS), (double)M * (double)C, scatter_item, &f);
}

/* Sixteen sums side by side: gcc turns the inner loop into vectors of double without changing an order. */
static void sum_block(void *arg, int64_t slot, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	const float *x = f->x + slot * KN_SUM_BLOCK;
	int64_t n = min64(KN_SUM_BLOCK, f->n - slot * KN_SUM_BLOCK);
	double s[16] = {0};
	int64_t i = 0;
	for (; i + 16 <= n; i += 16)
		for (int j = 0; j < 16; j++)
			s[j] += (double)x[i + j] * x[i + j];
	for (int j = 0; i < n; i++, j++)
		s[j] += (double)x[i] * x[i];
	for (int width = 8; width; width /= 2)
		for (int j = 0; j < width; j++)
			s[j] += s[j + width];
	f->cpu->sums[slot] = s[0];
}

double KN(sum_squares)(void *ctx, const float *x, int64_t n)
{
	struct cpu *cpu = ctx;
	double sum = 0;
	for (int64_t at = 0; at < n; at += KN_SUM_SLOTS * KN_SUM_BLOCK) {
		int64_t len = min64(n - at, KN_SUM_SLOTS * KN_SUM_BLOCK), slots = ceil_div(len, KN_SUM_BLOCK);
		struct flat f = {.cpu = cpu, .x = x + at, .n = len};
		cpu_for(cpu, slots, (double)len, sum_block, &f);
		for (int64_t s = 0; s < slots; s++)
			sum += cpu->sums[s];
	}
	return sum;
}

static void count_item(void *arg, int64_t item, int worker)
{
	struct flat *f = arg;
	int64_t count = 0;
	for (int64_t i = item * CHUNK; i < chunk_end(f, item); i++) {
		uint32_t bits;
		memcpy(&bits, f->x + i, sizeof bits);
		count += (bits & 0x7f800000) == 0x7f800000;
	}
	f->count[worker] += count;
}

int64_t KN(count_nonfinite)(void *ctx, const float *x, int64_t n)
{
	struct flat f = {.cpu = ctx, .x = x, .n = n};
	flat_run(&f, count_item);
	int64_t sum = 0;
	for (int t = 0; t < KN_MAX_THREADS; t++)
		sum += f.count[t];
	return sum;
}

static void to_bf16_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	for (int64_t i = item * CHUNK; i < chunk_end(f, item); i++) {
		uint32_t bits;
		memcpy(&bits, f->x + i, sizeof bits);
		uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
		f->half_out[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
	}
}

static void from_bf16_item(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct flat *f = arg;
	for (int64_t i = item * CHUNK; i < chunk_end(f, item); i++) {
		uint32_t bits = (uint32_t)f->half_in[i] << 16;
		memcpy(f->y + i, &bits, sizeof bits);
	}
}

void KN(to_bf16)(void *ctx, uint16_t *y, const float *x, int64_t n)
{
	flat_run(&(struct flat){.cpu = ctx, .half_out = y, .x = x, .n = n}, to_bf16_item);
}

void KN(from_bf16)(void *ctx, float *y, const uint16_t *x, int64_t n)
{
	flat_run(&(struct flat){.cpu = ctx, .y = y, .half_in = x, .n = n}, from_bf16_item);
}
