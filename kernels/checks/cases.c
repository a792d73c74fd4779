/* cases - each op of the table on its shapes; see check.h */
#include "kernels/checks/check.h"

#include <math.h>
#include <string.h>

#define CASE(op, fn, nmse, dims)                                                                                       \
	{                                                                                                              \
#op, fn, nmse, 0, 0, dims, offsetof(struct kernels, op)                                                \
	}
/* An op on activations: the bounds of a table of bf16 for them, and for what is float32. */
#define CASE_REAL(op, fn, nmse, dims, reals, floats)                                                                   \
	{                                                                                                              \
#op, fn, nmse, reals, floats, dims, offsetof(struct kernels, op)                                       \
	}
#define END                                                                                                            \
	{                                                                                                              \
		-1, 0, 0, 0, 0, 0                                                                                      \
	}

static void embed_fwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1], V = d[2];
	struct kn_mat tok = check_mat(r, (enum kn_dtype)d[3], V, C, 1, (int)d[4]);
	struct kn_mat table = check_mat(r, (enum kn_dtype)d[3], 40, C, 1, 0);
	kn_real *y = check_real_out(r, N * C);
	r->k->embed_fwd(r->k->ctx, y, &tok, d[5] ? &table : NULL, check_ids(r, N, V), check_ids(r, N, 40), N);
}

static void embed_bwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1], V = d[2];
	float *dtok = check_add(r, V * C), *dpos = d[5] ? check_add(r, 40 * C) : NULL;
	kn_real *dy = check_real_in(r, N * C, 1);
	r->k->embed_bwd(r->k->ctx, dtok, dpos, dy, check_ids(r, N, V), check_ids(r, N, 40), N, C);
}

static const int64_t embed_dims[][CHECK_DIMS] = {
        {1, 1, 1, KN_F32, 0, 1},  {7, 13, 5, KN_F32, 0, 1},    {33, 48, 17, KN_F32, 1, 0}, {64, 80, 11, KN_BF16, 1, 1},
        {5, 31, 3, KN_F16, 0, 1}, {900, 67, 50, KN_F32, 1, 1}, {0, 16, 4, KN_F32, 0, 1},   END};

/* N, I, O, dtype, pieces, bias or add */
static void matmul_fwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], I = d[1], O = d[2];
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], O, I, 1, (int)d[4]);
	kn_real *x = check_real_in(r, N * I, 1);
	float *b = d[5] ? check_bias(r, O) : NULL;
	kn_real *y = check_real_out(r, N * O);
	r->k->matmul_fwd(r->k->ctx, y, x, &w, b, N);
}

static void matmul_dx(struct run *r, const int64_t *d)
{
	int64_t N = d[0], I = d[1], O = d[2];
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], O, I, 1, (int)d[4]);
	kn_real *dy = check_real_in(r, N * O, 1), *dx = d[5] ? check_real_add(r, N * I) : check_real_out(r, N * I);
	r->k->matmul_dx(r->k->ctx, dx, dy, &w, N, (int)d[5]);
}

static void matmul_dw(struct run *r, const int64_t *d)
{
	int64_t N = d[0], I = d[1], O = d[2];
	float *dw = check_add(r, O * I), *db = d[5] ? check_add(r, O) : NULL;
	kn_real *dy = check_real_in(r, N * O, 1), *x = check_real_in(r, N * I, 1);
	r->k->matmul_dw(r->k->ctx, dw, db, dy, x, N, O, I);
}

static const int64_t matmul_dims[][CHECK_DIMS] = {{1, 1, 1, KN_F32, 0, 0},
                                                  {1, 64, 48, KN_F32, 0, 1},
                                                  {1, 13, 7, KN_F32, 0, 1},
                                                  {2, 31, 5, KN_F32, 1, 1},
                                                  {3, 16, 3, KN_F32, 0, 0},
                                                  {4, 48, 61, KN_F32, 1, 1},
                                                  {5, 17, 97, KN_F32, 0, 1},
                                                  {6, 100, 4, KN_F32, 1, 0},
                                                  {7, 1, 130, KN_F32, 0, 1},
                                                  {13, 129, 257, KN_F32, 1, 1},
                                                  {37, 80, 121, KN_F32, 0, 0},
                                                  {131, 47, 64, KN_F32, 1, 1},
                                                  {150, 33, 200, KN_F32, 0, 1},
                                                  {9, 1040, 70, KN_F32, 1, 1},
                                                  {11, 2071, 19, KN_F32, 0, 1},
                                                  {600, 20, 30, KN_F32, 1, 0},
                                                  {60, 1700, 50, KN_F32, 1, 1},
                                                  {26, 1601, 40, KN_BF16, 1, 0},
                                                  {3, 300, 1031, KN_F32, 1, 1},
                                                  {1, 129, 257, KN_BF16, 1, 1},
                                                  {8, 1100, 33, KN_BF16, 1, 1},
                                                  {29, 77, 260, KN_BF16, 0, 1},
                                                  {1, 129, 257, KN_F16, 1, 1},
                                                  {8, 1100, 33, KN_F16, 1, 0},
                                                  {29, 77, 260, KN_F16, 0, 1},
                                                  {0, 16, 16, KN_F32, 0, 1},
                                                  {5, 16, 0, KN_F32, 0, 0},
                                                  {5, 0, 6, KN_F32, 0, 1},
                                                  END};

/* rows too long to be packed; sums of 4125 terms in a chain */
static const int64_t long_dims[][CHECK_DIMS] = {{3, 66000, 2, KN_F32, 0, 0}, END};

/* N, C */
static void layernorm_fwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1];
	kn_real *x = check_real_in(r, N * C, 3);
	float *g = check_in(r, C, 1), *b = check_in(r, C, 1);
	kn_real *y = check_real_out(r, N * C);
	float *mean = d[2] ? check_out(r, N) : NULL, *rstd = d[2] ? check_out(r, N) : NULL;
	r->k->layernorm_fwd(r->k->ctx, y, mean, rstd, x, g, b, 1e-5f, N, C);
}

static void layernorm_bwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1];
	kn_real *dx = check_real_add(r, N * C);
	float *dg = check_add(r, C), *db = check_add(r, C);
	kn_real *dy = check_real_in(r, N * C, 1), *x = check_real_in(r, N * C, 1);
	float *g = check_in(r, C, 1);
	float *mean = check_in(r, N, 0.1), *rstd = check_in(r, N, 1);
	r->k->layernorm_bwd(r->k->ctx, dx, dg, db, dy, x, mean, rstd, g, N, C);
}

static void rmsnorm_fwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1];
	kn_real *x = check_real_in(r, N * C, 3);
	float *g = check_in(r, C, 1);
	kn_real *y = check_real_out(r, N * C);
	r->k->rmsnorm_fwd(r->k->ctx, y, d[2] ? check_out(r, N) : NULL, x, g, 1e-6f, N, C);
}

static void rmsnorm_bwd(struct run *r, const int64_t *d)
{
	int64_t N = d[0], C = d[1];
	kn_real *dx = check_real_add(r, N * C);
	float *dg = check_add(r, C);
	kn_real *dy = check_real_in(r, N * C, 1), *x = check_real_in(r, N * C, 1);
	float *g = check_in(r, C, 1), *rstd = check_in(r, N, 1);
	r->k->rmsnorm_bwd(r->k->ctx, dx, dg, dy, x, rstd, g, N, C);
}

static const int64_t norm_dims[][CHECK_DIMS] = {{1, 2, 1},   {3, 13, 1},   {17, 16, 0}, {9, 48, 1},    {31, 97, 1},
                                                {4, 768, 1}, {200, 67, 1}, {0, 16, 1},  {65, 1000, 1}, END};

/* N, heads, D, extra floats per row, direction, largest position */
static void rope(struct run *r, const int64_t *d)
{
	int64_t N = d[0], heads = d[1], D = d[2], stride = heads * D + d[3];
	kn_real *x = check_real_add(r, N * stride);
	float *inv_freq = check_host(r, (size_t)(D / 2) * sizeof *inv_freq);
	for (int64_t j = 0; j < D / 2; j++)
		inv_freq[j] = (float)pow(10000, -2.0 * (double)j / (double)D);
	r->k->rope(r->k->ctx, x, check_ids(r, N, d[5]), inv_freq, N, heads, D, stride, (int)d[4]);
}

static const int64_t rope_dims[][CHECK_DIMS] = {
        {1, 1, 2, 0, 1, 4},         {5, 3, 12, 7, 1, 100},     {7, 2, 64, 0, -1, 131072}, {33, 4, 80, 5, 1, 9000},
        {3, 1, 120, 0, -1, 131072}, {90, 12, 64, 64, 1, 1024}, {0, 2, 8, 0, 1, 3},        END};

/* elements */
#define ACT_CASE(name, ACT)                                                                                            \
	static void act_fwd_##name(struct run *r, const int64_t *d)                                                    \
	{                                                                                                              \
		kn_real *x = check_real_in(r, d[0], 6), *y = check_real_out(r, d[0]);                                  \
		r->k->act_fwd(r->k->ctx, y, x, ACT, d[0]);                                                             \
	}                                                                                                              \
	static void act_bwd_##name(struct run *r, const int64_t *d)                                                    \
	{                                                                                                              \
		kn_real *x = check_real_in(r, d[0], 6), *dy = check_real_in(r, d[0], 1),                               \
		        *dx = check_real_out(r, d[0]);                                                                 \
		r->k->act_bwd(r->k->ctx, dx, dy, x, ACT, d[0]);                                                        \
	}                                                                                                              \
	static void glu_fwd_##name(struct run *r, const int64_t *d)                                                    \
	{                                                                                                              \
		kn_real *g = check_real_in(r, d[0], 6), *u = check_real_in(r, d[0], 1), *y = check_real_out(r, d[0]);  \
		r->k->glu_fwd(r->k->ctx, y, g, u, ACT, d[0]);                                                          \
	}                                                                                                              \
	static void glu_bwd_##name(struct run *r, const int64_t *d)                                                    \
	{                                                                                                              \
		kn_real *g = check_real_in(r, d[0], 6), *u = check_real_in(r, d[0], 1),                                \
		        *dy = check_real_in(r, d[0], 1);                                                               \
		kn_real *dg = check_real_out(r, d[0]), *du = check_real_out(r, d[0]);                                  \
		r->k->glu_bwd(r->k->ctx, dg, du, dy, g, u, ACT, d[0]);                                                 \
	}
ACT_CASE(gelu, KN_GELU_TANH)
ACT_CASE(erf, KN_GELU_ERF)
ACT_CASE(relu, KN_RELU)
ACT_CASE(silu, KN_SILU)

static void act_in_place(struct run *r, const int64_t *d)
{
	kn_real *x = check_real_in(r, d[0], 6), *dx = check_real_add(r, d[0]);
	r->k->act_bwd(r->k->ctx, dx, dx, x, KN_GELU_TANH, d[0]);
}

static const int64_t flat_dims[][CHECK_DIMS] = {{1}, {15}, {16}, {31}, {4097}, {33333}, {0}, END};

static void add(struct run *r, const int64_t *d)
{
	kn_real *y = check_real_add(r, d[0]);
	r->k->add(r->k->ctx, y, check_real_in(r, d[0], 1), d[0]);
}

static void scale(struct run *r, const int64_t *d)
{
	r->k->scale(r->k->ctx, check_real_out(r, d[0]), -0.37f, check_real_in(r, d[0], 1), d[0]);
}

static void axpy(struct run *r, const int64_t *d)
{
	float *y = check_add(r, d[0]);
	r->k->axpy(r->k->ctx, y, -0.37f, check_in(r, d[0], 1), d[0]);
}

/* a count or a double goes to the outputs as four bytes-wise pieces */
static void put_result(struct run *r, double value)
{
	float f = (float)value;
	r->k->put(r->k->ctx, check_out(r, 1), &f, sizeof f);
}

static void sum_squares(struct run *r, const int64_t *d)
{
	put_result(r, r->k->sum_squares(r->k->ctx, check_in(r, d[0], 1), d[0]));
}

static void count_nonfinite(struct run *r, const int64_t *d)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY, 0, 3e38f, 1e-45f};
	float *host = check_host(r, (size_t)d[0] * sizeof *host);
	for (int64_t i = 0; i < d[0]; i++)
		host[i] = odd[check_below(r, 6)];
	put_result(r, (double)r->k->count_nonfinite(r->k->ctx, check_in_from(r, host, d[0]), d[0]));
}

static const int64_t sum_dims[][CHECK_DIMS] = {{1}, {15}, {4096}, {4097}, {5000000}, {50021}, {0}, END};

static void to_bf16(struct run *r, const int64_t *d)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 3.3961775e38f, 1e-45f, 1.00390625f};
	float *host = check_host(r, (size_t)d[0] * sizeof *host);
	for (int64_t i = 0; i < d[0]; i++)
		host[i] = i < 8 ? odd[i] : (float)(check_random(r) * pow(10, 30 * check_random(r)));
	float *x = check_in_from(r, host, d[0]);
	r->k->to_bf16(r->k->ctx, check_bytes(r, (size_t)d[0] * 2, ROLE_OUT), x, d[0]);
}

static void from_bf16(struct run *r, const int64_t *d)
{
	uint16_t *x = check_bytes(r, (size_t)d[0] * 2, ROLE_IN);
	r->k->from_bf16(r->k->ctx, check_out(r, d[0]), x, d[0]);
}

/* M, C, rows of the table */
static int64_t *random_rows(struct run *r, int64_t M, int64_t below)
{
	int64_t *row = check_host(r, (size_t)M * sizeof *row);
	for (int64_t m = 0; m < M; m++)
		row[m] = check_below(r, below);
	return row;
}

/* Onto itself: momentum. */
static void axpy_self(struct run *r, const int64_t *d)
{
	float *y = check_add(r, d[0]);
	r->k->axpy(r->k->ctx, y, -0.1f, y, d[0]);
}

static void gather_rows(struct run *r, const int64_t *d)
{
	kn_real *x = check_real_in(r, d[2] * d[1], 1), *y = check_real_out(r, d[0] * d[1]);
	r->k->gather_rows(r->k->ctx, y, x, random_rows(r, d[0], d[2]), d[0], d[1]);
}

/* Rows in an order of their own; the others keep what they hold, and x has columns that are not taken. */
static void store_rows(struct run *r, const int64_t *d)
{
	int64_t M = d[0] < d[2] ? d[0] : d[2], *row = check_host(r, (size_t)d[2] * sizeof *row);
	for (int64_t i = 0; i < d[2]; i++) {
		int64_t j = check_below(r, i + 1);
		row[i] = row[j];
		row[j] = i;
	}
	kn_real *y = check_real_add(r, d[2] * d[1]), *x = check_real_in(r, M * (d[1] + 3), 1);
	r->k->store_rows(r->k->ctx, y, row, x, d[1] + 3, M, d[1]);
}

static void scatter_rows(struct run *r, const int64_t *d)
{
	kn_real *x = check_real_add(r, d[2] * d[1]), *y = check_real_in(r, d[0] * d[1], 1);
	r->k->scatter_rows(r->k->ctx, x, y, random_rows(r, d[0], d[2]), d[0], d[1]);
}

static const int64_t row_dims[][CHECK_DIMS] = {{1, 1, 1}, {7, 13, 5}, {33, 300, 9}, {100, 777, 50},
                                               {0, 8, 3}, {4, 0, 3},  END};

static void adamw(struct run *r, const int64_t *d)
{
	struct kn_adamw a = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};
	a.grad_scale = 0.7;
	a.step = d[1];
	float *w = check_add(r, d[0]), *m = check_add(r, d[0]), *g = check_in(r, d[0], 1);
	float *host = check_host(r, (size_t)d[0] * sizeof *host), *v = check_add(r, d[0]);
	for (int64_t i = 0; i < d[0]; i++)
		host[i] = (float)fabs(check_random(r));
	r->k->put(r->k->ctx, v, host, (size_t)d[0] * sizeof *host);
	r->k->adamw(r->k->ctx, w, m, v, g, &a, d[0]);
}

/* A moment in 8 bits with random codes; of a map, cubes: fine near 0, as the optimizer's are. */
static struct kn_moment8 moment8(struct run *r, int64_t n, int is_signed)
{
	int64_t blocks = (n + KN_BLOCK8 - 1) / KN_BLOCK8;
	struct kn_moment8 m = {.code = check_bytes(r, (size_t)n, ROLE_ADD)};
	uint8_t *code = check_host(r, (size_t)n);
	float *host = check_host(r, (size_t)blocks * sizeof *host), map[256];
	for (int64_t i = 0; i < n; i++)
		code[i] = (uint8_t)check_below(r, 256);
	for (int64_t i = 0; i < blocks; i++)
		host[i] = i % 3 ? (float)fabs(check_random(r)) : 0;
	for (int i = 0; i < 256; i++)
		map[i] = (float)pow(is_signed ? (i - 127) / 128. : i / 255., 3);
	r->k->put(r->k->ctx, m.code, code, (size_t)n);
	r->k->put(r->k->ctx, m.absmax = check_add(r, blocks), host, (size_t)blocks * sizeof *host);
	r->k->put(r->k->ctx, m.map = check_add(r, 256), map, sizeof map);
	return m;
}

/* n, steps; of every third block the gradient is 0, so that codes of nothing come up too */
static void adamw8(struct run *r, const int64_t *d)
{
	struct kn_adamw a = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};
	float *w = check_add(r, d[0]), *host = check_host(r, (size_t)d[0] * sizeof *host);
	struct kn_moment8 m = moment8(r, d[0], 1), v = moment8(r, d[0], 0);
	a.grad_scale = 0.7;
	for (int64_t i = 0; i < d[0]; i++)
		host[i] = i / KN_BLOCK8 % 3 ? (float)check_random(r) : 0;
	const float *g = check_in_from(r, host, d[0]);
	for (a.step = 1; a.step <= d[1]; a.step++)
		r->k->adamw8(r->k->ctx, w, &m, &v, g, &a, d[0]);
}

/* First moments in the middle between two entries of an even map, times a largest one whose reciprocal is not exact. */
static void adamw8_ties(struct run *r, const int64_t *d)
{
	struct kn_adamw a = {.lr = 1e-2, .eps = 1e-8, .grad_scale = 1, .step = 1};
	float *w = check_add(r, d[0]), *host = check_host(r, (size_t)d[0] * sizeof *host), map[256];
	struct kn_moment8 m = moment8(r, d[0], 1), v = moment8(r, d[0], 0);
	for (int i = 0; i < 256; i++)
		map[i] = (float)(i - 128) / 128;
	r->k->put(r->k->ctx, m.map, map, sizeof map);
	r->k->zero(r->k->ctx, m.code, (size_t)d[0]);
	r->k->zero(r->k->ctx, m.absmax, (size_t)(d[0] + KN_BLOCK8 - 1) / KN_BLOCK8 * sizeof(float));
	for (int64_t i = 0; i < d[0]; i++)
		host[i] = i % KN_BLOCK8 ? 7 * (float)(2 * (i % KN_BLOCK8 - 1) - 255) / 256 : -7;
	r->k->adamw8(r->k->ctx, w, &m, &v, check_in_from(r, host, d[0]), &a, d[0]);
}

static const int64_t adamw8_dims[][CHECK_DIMS] = {{1, 1},    {17, 3},    {255, 2}, {256, 5}, {257, 40},
                                                  {1000, 2}, {70001, 4}, {0, 1},   END};
static const int64_t adamw_dims[][CHECK_DIMS] = {{1, 1}, {17, 1}, {1000, 2}, {40001, 10}, {64, 100000}, {0, 1}, END};

/* the largest weights, and ties: logits are multiples of 1/8 */
static void draw(struct run *r, const int64_t *d)
{
	int64_t M = d[0], V = d[1];
	struct kn_warp c = {
	        .temperature = 0.8, .top_k = d[2], .top_p = (double)d[3] / 100, .min_p = (double)d[4] / 100};
	float *host = check_host(r, (size_t)(M * V) * sizeof *host);
	double *u = check_host(r, (size_t)M * sizeof *u);
	struct kn_drawn *drawn = check_host(r, (size_t)M * sizeof *drawn);
	for (int64_t i = 0; i < M * V; i++)
		host[i] = (float)((double)check_below(r, 96) / 8);
	for (int64_t m = 0; m < M; m++)
		u[m] = 0.5 + check_random(r) / 2;
	uint64_t *weight = check_bytes(r, (size_t)(M * V) * sizeof *weight, ROLE_OUT);
	r->k->draw(r->k->ctx, drawn, weight, check_in_from(r, host, M * V), u, &c, M, V);
	r->k->put(r->k->ctx, check_bytes(r, (size_t)M * sizeof *drawn, ROLE_OUT), drawn, (size_t)M * sizeof *drawn);
}

static void draw_greedy(struct run *r, const int64_t *d)
{
	int64_t M = d[0], V = d[1];
	struct kn_warp c = {.top_p = 1};
	float *host = check_host(r, (size_t)(M * V) * sizeof *host);
	struct kn_drawn *drawn = check_host(r, (size_t)M * sizeof *drawn);
	for (int64_t i = 0; i < M * V; i++)
		host[i] = (float)check_below(r, 96);
	/* rows that are no distribution, and one that has a single token */
	for (int64_t v = 0; M > 4 && v < V; v++)
		host[V + v] = host[2 * V + v] = -INFINITY;
	if (M > 4) {
		host[2 * V + V / 2] = -3;
		host[3 * V + V - 1] = NAN;
		host[4 * V] = INFINITY;
	}
	r->k->draw(r->k->ctx, drawn, NULL, check_in_from(r, host, M * V), NULL, &c, M, V);
	r->k->put(r->k->ctx, check_bytes(r, (size_t)M * sizeof *drawn, ROLE_OUT), drawn, (size_t)M * sizeof *drawn);
}

static const int64_t draw_dims[][CHECK_DIMS] = {{1, 1, 0, 100, 0},    {3, 17, 0, 100, 0},
                                                {5, 515, 0, 100, 0},  {4, 5000, 0, 100, 0},
                                                {3, 300, 1, 100, 0},  {3, 300, 10, 100, 0},
                                                {3, 700, 0, 90, 0},   {3, 700, 0, 1, 0},
                                                {3, 700, 40, 50, 0},  {3, 700, 0, 100, 5},
                                                {3, 700, 50, 90, 10}, {6, 1025, 0, 100, 0},
                                                {0, 10, 0, 100, 0},   END};

/*
 * Bounds: a float result of correctly rounded arithmetic has NMSE 1.2e-15; sums of n terms in 16 chains, or in chains
 * of 256, stay under 1e-12 for the sizes here, and a wrong or lost term is above 1e-6.  head_bwd takes lse in float32,
 * so p has an error of 6e-8 |lse|, which 1 - p of a likely target magnifies.
 *
 * A number of bf16 is at most 2^-8 of itself from what was rounded to it, so what is rounded once has an NMSE of at
 * most 2^-16 = 1.53e-5 (ROUNDED; on average 2e-6).  attention_bwd reads an o that was rounded, head_bwd multiplies with
 * rounded gradients of logits: each is one more rounding of what the sums are made of.  A product's sum in float32 is
 * one chain over k, and a tensor core may cut instead of rounding: PRODUCT.
 */
#define ROUNDED 1.53e-5
#define TWICE 1e-4
#define PRODUCT 1e-10
const struct check_case check_cases[] = {
        CASE_REAL(embed_fwd, embed_fwd, 1e-14, embed_dims, ROUNDED, 0),
        CASE_REAL(embed_bwd, embed_bwd, 1e-13, embed_dims, ROUNDED, 1e-13),
        CASE_REAL(matmul_fwd, matmul_fwd, 1e-13, matmul_dims, ROUNDED, 0),
        CASE_REAL(matmul_fwd, matmul_fwd, 1e-11, long_dims, ROUNDED, 0),
        CASE_REAL(matmul_dx, matmul_dx, 1e-12, matmul_dims, ROUNDED, 0),
        CASE_REAL(matmul_dw, matmul_dw, 1e-12, matmul_dims, ROUNDED, PRODUCT),
        CASE_REAL(layernorm_fwd, layernorm_fwd, 1e-13, norm_dims, ROUNDED, 1e-13),
        CASE_REAL(layernorm_bwd, layernorm_bwd, 1e-12, norm_dims, ROUNDED, 1e-12),
        CASE_REAL(rmsnorm_fwd, rmsnorm_fwd, 1e-13, norm_dims, ROUNDED, 1e-13),
        CASE_REAL(rmsnorm_bwd, rmsnorm_bwd, 1e-12, norm_dims, ROUNDED, 1e-12),
        CASE_REAL(rope, rope, 1e-13, rope_dims, ROUNDED, 0),
        CASE_REAL(attention_fwd, check_attention_fwd, 1e-12, check_attention_dims, ROUNDED, 1e-12),
        CASE_REAL(attention_bwd, check_attention_bwd, 1e-12, check_attention_dims, TWICE, 1e-12),
        CASE_REAL(act_fwd, act_fwd_gelu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_bwd, act_bwd_gelu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_bwd, act_in_place, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_fwd, act_fwd_erf, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_bwd, act_bwd_erf, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_fwd, act_fwd_relu, 0, flat_dims, ROUNDED, 0),
        CASE_REAL(act_bwd, act_bwd_relu, 0, flat_dims, ROUNDED, 0),
        CASE_REAL(act_fwd, act_fwd_silu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(act_bwd, act_bwd_silu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_fwd, glu_fwd_gelu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_bwd, glu_bwd_gelu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_fwd, glu_fwd_erf, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_bwd, glu_bwd_erf, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_fwd, glu_fwd_relu, 1e-14, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_bwd, glu_bwd_relu, 1e-14, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_fwd, glu_fwd_silu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(glu_bwd, glu_bwd_silu, 1e-12, flat_dims, ROUNDED, 0),
        CASE_REAL(add, add, 0, flat_dims, ROUNDED, 0),
        CASE_REAL(scale, scale, 1e-14, flat_dims, ROUNDED, 0),
        CASE(axpy, axpy, 1e-14, flat_dims),
        CASE(axpy, axpy_self, 1e-14, flat_dims),
        CASE(gather_rows, gather_rows, 0, row_dims),
        CASE_REAL(scatter_rows, scatter_rows, 0, row_dims, ROUNDED, 0),
        CASE_REAL(store_rows, store_rows, 0, row_dims, ROUNDED, 0),
        CASE_REAL(head_fwd, check_head_fwd, 1e-12, check_head_dims, ROUNDED, PRODUCT),
        CASE_REAL(head_bwd, check_head_bwd, 1e-10, check_head_dims, TWICE, TWICE),
        CASE_REAL(head_fwd, check_head_fwd_kl, 1e-12, check_head_dims, ROUNDED, PRODUCT),
        CASE_REAL(head_bwd, check_head_bwd_kl, 1e-10, check_head_dims, TWICE, TWICE),
        CASE_REAL(head_logits, check_head_logits, 1e-13, check_head_dims, ROUNDED, PRODUCT),
        CASE(logits_stats, check_logits_stats, 1e-12, check_head_dims),
        CASE(draw, draw, 0, draw_dims),
        CASE(draw, draw_greedy, 0, draw_dims),
        CASE(sum_squares, sum_squares, 1e-14, sum_dims),
        CASE(count_nonfinite, count_nonfinite, 0, sum_dims),
        CASE(adamw, adamw, 1e-13, adamw_dims),
        CASE(adamw8, adamw8, 0, adamw8_dims),
        CASE(adamw8, adamw8_ties, 0, flat_dims),
        CASE(to_bf16, to_bf16, 0, flat_dims),
        CASE(from_bf16, from_bf16, 0, flat_dims),
        {0},
};
