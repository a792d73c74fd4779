/* matmul - y = x w^T: one row of x, and how the work is cut; matmul_many.c and matmul_grad.c have the rest
 */
#include "kernels/cpu/matmul.h"

#define MANY 24           /* rows of x of one work item, at least, where there are as many */
#define BLOCK_N 84        /* rows of x of one work item, where there are as many */
#define BLOCK_O 192       /* rows of w of one work item */
#define DECODE_O 4        /* rows of w whose trees are added together, for a single row of x */
#define DECODE_AHEAD 1024 /* bytes */

struct forward {
	const struct cpu *cpu;
	float *y;
	const float *x;
	const struct kn_mat *w;
	const float *b;
	int64_t N, n_step, o_step;
};

/*
 * sums[16] = the products of x with one row of w.  One row after the other is one stream through memory, which the
 * machine fetches better than several; rows of 16-bit numbers are over too soon and are fetched ahead.
 */
KN_INLINE void decode_row(float *sums, const float *x, const void *row, enum kn_dtype dtype, int64_t I)
{
	v16 acc = v16_set(0);
	int64_t k = 0;
	for (; k + 16 <= I; k += 16) {
		if (dtype != KN_F32 && k % 32 == 0)
			__builtin_prefetch((const char *)row + k * 2 + DECODE_AHEAD, 0, 3);
		acc = v16_fma(v16_load(x + k), mat_load(row, dtype, k), acc);
	}
	if (k < I)
		acc = v16_fma(v16_load_tail(x + k, I - k, 0), mat_load_tail(row, dtype, k, I - k), acc);
	v16_store(sums, acc);
}

/* DECODE_O rows, of which the first n count. */
KN_INLINE void decode_rows(float *y, const float *x, const struct kn_mat *w, enum kn_dtype dtype, const float *b,
                           int64_t o, int64_t n)
{
	float sums[DECODE_O][16] = {{0}};
	for (int64_t r = 0; r < n; r++)
		decode_row(sums[r], x, mat_row(w, o + r), dtype, w->cols);
	v4 out = tree_sum4(sums[0], sums[1], sums[2], sums[3]);
	for (int64_t r = 0; r < n; r++)
		y[r] = b ? out[r] + b[o + r] : out[r];
}

static void decode_block(float *y, const float *x, const struct kn_mat *w, const float *b, int64_t o0, int64_t o1)
{
	for (int64_t o = o0; o < o1; o += DECODE_O) {
		int64_t n = min64(DECODE_O, o1 - o);
		if (w->dtype == KN_F32)
			decode_rows(y + o - o0, x, w, KN_F32, b, o, n);
		else if (w->dtype == KN_BF16)
			decode_rows(y + o - o0, x, w, KN_BF16, b, o, n);
		else
			decode_rows(y + o - o0, x, w, KN_F16, b, o, n);
	}
}

void KN(forward_block)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                       const float *b, int64_t o0, int64_t o1, int64_t N)
{
	if (N > 1 && KN(forward_many)(cpu, worker, y, ldy, x, w, b, o0, o1, N))
		return;
	for (int64_t n = 0; n < N; n++)
		decode_block(y + n * ldy, x + n * w->cols, w, b, o0, o1);
}

static void forward_item(void *arg, int64_t i, int worker)
{
	const struct forward *f = arg;
	int64_t O = f->w->rows, I = f->w->cols, rows = ceil_div(f->N, f->n_step);
	int64_t o = i / rows * f->o_step, n = i % rows * f->n_step;
	KN(forward_block)
	(f->cpu, worker, f->y + n * O + o, O, f->x + n * I, f->w, f->b, o, min64(o + f->o_step, O),
	 min64(f->n_step, f->N - n));
}

/* Items of equal size, at least four to a thread when there is work for that. */
void KN(matmul_fwd)(void *ctx, float *y, const float *x, const struct kn_mat *w, const float *b, int64_t N)
{
	const struct cpu *cpu = ctx;
	int64_t O = w->rows, wanted = 4 * cpu->par.threads;
	if (N == 0 || O == 0)
		return;
	int64_t rows = ceil_div(N, BLOCK_N), columns = ceil_div(O, BLOCK_O);
	while (rows * columns < wanted && O / (columns + 1) >= 4 * TILE_O)
		columns++;
	while (rows * columns < wanted && N / (rows + 1) >= MANY)
		rows++;
	struct forward f = {cpu, y, x, w, b, N, ceil_div(N, rows), ceil_div(O, columns)};
	f.n_step = ceil_div(f.n_step, TILE_N) * TILE_N;
	f.o_step = ceil_div(f.o_step, 12) * 12;
	cpu_for(cpu, ceil_div(N, f.n_step) * ceil_div(O, f.o_step), (double)N * (double)O * (double)w->cols,
	        forward_item, &f);
}
