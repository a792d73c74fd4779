/* matmul - y = x w^T: one row of x, and how the work is cut; matmul_few.c, matmul_many.c, matmul_grad.c have the rest
 */
#include "kernels/cpu/matmul.h"

#define MANY 24     /* rows of x from which packing pays */
#define BLOCK_N 84  /* rows of x of one work item, where there are as many */
#define BLOCK_O 192 /* rows of w of one work item */
#define DECODE_O 4  /* rows of w walked together for a single row of x */

struct forward {
	const struct cpu *cpu;
	float *y;
	const float *x;
	const struct kn_mat *w;
	const float *b;
	int64_t N, n_step, o_step;
};

/* One row of x against DECODE_O rows of w, straight through memory. */
KN_INLINE void decode_rows(float *y, const float *x, const void *const *w, enum kn_dtype dtype, const float *b,
                           int64_t I, int64_t o)
{
	v16 acc[DECODE_O];
	float sums[DECODE_O * 16];
	int64_t whole = I / 16 * 16;
#pragma GCC unroll 4
	for (int r = 0; r < DECODE_O; r++)
		acc[r] = v16_set(0);
	for (int64_t k = 0; k < whole; k += 16) {
		v16 a = v16_load(x + k);
#pragma GCC unroll 4
		for (int r = 0; r < DECODE_O; r++)
			acc[r] = v16_fma(a, mat_load(w[r], dtype, k), acc[r]);
	}
	if (whole < I) {
		v16 a = v16_load_tail(x + whole, I - whole, 0);
		for (int r = 0; r < DECODE_O; r++)
			acc[r] = v16_fma(a, mat_load_tail(w[r], dtype, whole, I - whole), acc[r]);
	}
	for (int r = 0; r < DECODE_O; r++)
		v16_store(sums + r * 16, acc[r]);
	v4 out = tree_sum4(sums, sums + 16, sums + 32, sums + 48);
	for (int64_t r = 0; r < o; r++)
		y[r] = b ? out[r] + b[r] : out[r];
}

static void decode_block(float *y, const float *x, const struct kn_mat *w, const float *b, int64_t o0, int64_t o1)
{
	for (int64_t o = o0; o < o1; o += DECODE_O) {
		const void *rows[DECODE_O];
		int64_t left = min64(DECODE_O, o1 - o);
		for (int r = 0; r < DECODE_O; r++)
			rows[r] = mat_row(w, o + min64(r, left - 1));
		const float *bias = b ? b + o : NULL;
		if (w->dtype == KN_F32)
			decode_rows(y + o - o0, x, rows, KN_F32, bias, w->cols, left);
		else if (w->dtype == KN_BF16)
			decode_rows(y + o - o0, x, rows, KN_BF16, bias, w->cols, left);
		else
			decode_rows(y + o - o0, x, rows, KN_F16, bias, w->cols, left);
	}
}

void KN(forward_block)(const struct cpu *cpu, int worker, float *y, int64_t ldy, const float *x, const struct kn_mat *w,
                       const float *b, int64_t o0, int64_t o1, int64_t N)
{
	if (N == 1)
		decode_block(y, x, w, b, o0, o1);
	else if (N < MANY || !KN(forward_many)(cpu, worker, y, ldy, x, w, b, o0, o1, N))
		KN(forward_few)(cpu, worker, y, ldy, x, w, b, o0, o1, N);
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
