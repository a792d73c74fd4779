/*
 * gradients - the reference's backward against central differences of its
 * forward, all in double.  The other tables' backward is held to the
 * reference's, so this is where a wrong formula is found.
 */
#define KN_REF_DOUBLE
#include "kernels/ref/ref.h"
#include "kernels/checks/check.h"

#include <stdio.h>

#define STEP 1e-5
#define BOUND 1e-15 /* NMSE; the differences are good to about 1e-10 of a gradient, a wrong term is above 1e-6 */
#define INPUTS 3
#define ROOM 4096

/* x -> y, and dy -> g by the backward pass under test; g starts as zero */
struct diff {
	int n_in;
	double x[INPUTS][ROOM], g[INPUTS][ROOM];
	int64_t len[INPUTS], n_out;
	double y[ROOM], dy[ROOM];
	void (*forward)(struct diff *d);
	void (*backward)(struct diff *d);
	enum kn_act act;
	struct kn_attn attn;
	const float *inv_temp;
};

static const int32_t tokens[] = {3, 0, 4, 3, 1}, positions[] = {0, 1, 2, 5, 1};

static double loss(struct diff *d)
{
	double sum = 0;
	d->forward(d);
	for (int64_t i = 0; i < d->n_out; i++)
		sum += d->dy[i] * d->y[i];
	return sum;
}

static double difference(struct diff *d, double *x)
{
	double at = *x, up, down;
	*x = at + STEP;
	up = loss(d);
	*x = at - STEP;
	down = loss(d);
	*x = at;
	return (up - down) / (2 * STEP);
}

static void agree(struct diff *d, const char *name)
{
	struct run r = {.random = 99};
	double error = 0, truth = 0, worst = 0;
	for (int i = 0; i < d->n_in; i++)
		for (int64_t j = 0; j < d->len[i]; j++)
			d->x[i][j] = 1.5 * check_random(&r);
	for (int64_t j = 0; j < d->n_out; j++)
		d->dy[j] = check_random(&r);
	d->forward(d);
	memset(d->g, 0, sizeof d->g);
	d->backward(d);
	for (int i = 0; i < d->n_in; i++) {
		error = truth = 0;
		for (int64_t j = 0; j < d->len[i]; j++) {
			double want = difference(d, &d->x[i][j]);
			error += (d->g[i][j] - want) * (d->g[i][j] - want);
			truth += want * want;
		}
		worst = fmax(worst, error / truth);
	}
	check_result(worst <= BOUND, "ref %s: gradient against differences, nmse %.1e, at most %.0e", name, worst,
	             BOUND);
}

static struct kn_mat matrix(const double *data, int64_t rows, int64_t cols, struct kn_block *block)
{
	*block = (struct kn_block){data, rows};
	return (struct kn_mat){KN_F32, rows, cols, 1, block};
}

static void embed_forward(struct diff *d)
{
	struct kn_block a, b;
	struct kn_mat tok = matrix(d->x[0], 5, 4, &a), pos = matrix(d->x[1], 6, 4, &b);
	ref64_embed_fwd(NULL, d->y, &tok, &pos, tokens, positions, 5);
}

static void embed_backward(struct diff *d)
{
	ref64_embed_bwd(NULL, d->g[0], d->g[1], d->dy, tokens, positions, 5, 4);
}

static void matmul_forward(struct diff *d)
{
	struct kn_block b;
	struct kn_mat w = matrix(d->x[1], 4, 7, &b);
	ref64_matmul_fwd(NULL, d->y, d->x[0], &w, d->x[2], 3);
}

static void matmul_backward(struct diff *d)
{
	struct kn_block b;
	struct kn_mat w = matrix(d->x[1], 4, 7, &b);
	ref64_matmul_dx(NULL, d->g[0], d->dy, &w, 3, 0);
	ref64_matmul_dw(NULL, d->g[1], d->g[2], d->dy, d->x[0], 3, 4, 7);
}

static double mean[8], rstd[8];

static void layernorm_forward(struct diff *d)
{
	ref64_layernorm_fwd(NULL, d->y, mean, rstd, d->x[0], d->x[1], d->x[2], 1e-3f, 3, 7);
}

static void layernorm_backward(struct diff *d)
{
	ref64_layernorm_bwd(NULL, d->g[0], d->g[1], d->g[2], d->dy, d->x[0], mean, rstd, d->x[1], 3, 7);
}

static void rmsnorm_forward(struct diff *d)
{
	ref64_rmsnorm_fwd(NULL, d->y, rstd, d->x[0], d->x[1], 1e-3f, 3, 7);
}

static void rmsnorm_backward(struct diff *d)
{
	ref64_rmsnorm_bwd(NULL, d->g[0], d->g[1], d->dy, d->x[0], rstd, d->x[1], 3, 7);
}

static const float inv_freq[] = {1, 0.1f, 0.01f};

static void rope_forward(struct diff *d)
{
	memcpy(d->y, d->x[0], sizeof d->y);
	ref64_rope(NULL, d->y, positions, inv_freq, 5, 2, 6, 13, 1);
}

static void rope_backward(struct diff *d)
{
	memcpy(d->g[0], d->dy, sizeof d->g[0]);
	ref64_rope(NULL, d->g[0], positions, inv_freq, 5, 2, 6, 13, -1);
}

static double lse[ROOM], scratch[ROOM];

static void attention_forward(struct diff *d)
{
	ref64_attention_fwd(NULL, d->y, lse, d->x[0], d->x[1], d->x[2], &d->attn);
}

static void attention_backward(struct diff *d)
{
	ref64_attention_bwd(NULL, d->g[0], d->g[1], d->g[2], d->dy, d->y, lse, d->x[0], d->x[1], d->x[2], &d->attn,
	                    scratch);
}

static void act_forward(struct diff *d)
{
	ref64_act_fwd(NULL, d->y, d->x[0], d->act, 40);
}

static void act_backward(struct diff *d)
{
	ref64_act_bwd(NULL, d->g[0], d->dy, d->x[0], d->act, 40);
}

static void glu_forward(struct diff *d)
{
	ref64_glu_fwd(NULL, d->y, d->x[0], d->x[1], d->act, 40);
}

static void glu_backward(struct diff *d)
{
	ref64_glu_bwd(NULL, d->g[0], d->g[1], d->dy, d->x[0], d->x[1], d->act, 40);
}

static const int64_t rows[] = {2, 0, 2, 1};

static void rows_forward(struct diff *d)
{
	ref64_gather_rows(NULL, d->y, d->x[0], rows, 4, 5);
}

static void rows_backward(struct diff *d)
{
	ref64_scatter_rows(NULL, d->g[0], d->dy, rows, 4, 5);
}

/* y is logprob[3] then entropy[3] */
static void head_forward(struct diff *d)
{
	struct kn_block b;
	struct kn_mat w = matrix(d->x[1], 9, 6, &b);
	ref64_head_fwd(NULL, d->y, lse, d->y + 3, NULL, d->x[0], &w, d->x[2], tokens, d->inv_temp, 3, NULL, NULL,
	               scratch);
}

static void head_backward(struct diff *d)
{
	struct kn_block b;
	struct kn_mat w = matrix(d->x[1], 9, 6, &b);
	ref64_head_bwd(NULL, d->g[0], d->g[1], d->g[2], d->dy, d->dy + 3, d->x[0], &w, d->x[2], tokens, d->inv_temp,
	               lse, d->y + 3, 3, NULL, NULL, scratch);
}

static void check_op(struct diff *d, const char *name, void (*forward)(struct diff *), void (*backward)(struct diff *),
                     int n_in, const int64_t *len, int64_t n_out)
{
	d->forward = forward;
	d->backward = backward;
	d->n_in = n_in;
	memcpy(d->len, len, (size_t)n_in * sizeof *len);
	d->n_out = n_out;
	agree(d, name);
}

/* The same with a reference of 5 channels; y is logprob[3], entropy[3] and kl[3]. */
static double other_h[3 * 5], other_w[9 * 5], other_b[9], gap[3];

static struct ref64_reference other(struct diff *d, const struct kn_mat *w)
{
	return (struct ref64_reference){other_h, w, other_b, d->y + 6, gap, d->dy + 6, NULL};
}

static void head_kl_forward(struct diff *d)
{
	struct kn_block b, rb;
	struct kn_mat w = matrix(d->x[1], 9, 6, &b), rw = matrix(other_w, 9, 5, &rb);
	struct ref64_reference ref = other(d, &rw);
	ref64_head_fwd(NULL, d->y, lse, d->y + 3, NULL, d->x[0], &w, d->x[2], tokens, d->inv_temp, 3, &ref, NULL,
	               scratch);
}

static void head_kl_backward(struct diff *d)
{
	struct kn_block b, rb;
	struct kn_mat w = matrix(d->x[1], 9, 6, &b), rw = matrix(other_w, 9, 5, &rb);
	struct ref64_reference ref = other(d, &rw);
	ref64_head_bwd(NULL, d->g[0], d->g[1], d->g[2], d->dy, d->dy + 3, d->x[0], &w, d->x[2], tokens, d->inv_temp,
	               lse, d->y + 3, 3, &ref, NULL, scratch);
}

static void check_reference(struct diff *d)
{
	struct run r = {.random = 7};
	for (size_t i = 0; i < sizeof other_w / sizeof *other_w; i++)
		other_w[i] = check_random(&r);
	for (size_t i = 0; i < sizeof other_h / sizeof *other_h; i++)
		other_h[i] = check_random(&r);
	for (size_t i = 0; i < sizeof other_b / sizeof *other_b; i++)
		other_b[i] = check_random(&r);
	check_op(d, "head with a reference", head_kl_forward, head_kl_backward, 3, (int64_t[]){18, 54, 9}, 9);
}

static void check_acts(struct diff *d)
{
	static const char *const names[] = {"gelu_tanh", "gelu_erf", "relu", "silu"};
	char name[32];
	for (d->act = KN_GELU_TANH; d->act <= KN_SILU; d->act++) {
		d->len[0] = d->len[1] = d->n_out = 40;
		d->n_in = 1;
		d->forward = act_forward;
		d->backward = act_backward;
		snprintf(name, sizeof name, "act %s", names[d->act]);
		agree(d, name);
		d->n_in = 2;
		d->forward = glu_forward;
		d->backward = glu_backward;
		snprintf(name, sizeof name, "glu %s", names[d->act]);
		agree(d, name);
	}
}

/* A prompt of 4 tokens and two samples that share its rows, four heads on two, with and without a window. */
static void check_attention(struct diff *d)
{
	static const struct kn_seq seq[] = {{0, 4, 0, 0, 0, 0}, {4, 3, 4, 0, 4, 4}, {7, 2, 4, 0, 4, 7}};
	d->forward = attention_forward;
	d->backward = attention_backward;
	d->n_in = 3;
	d->len[0] = 9 * 13;
	d->len[1] = d->len[2] = 9 * 7;
	d->n_out = 9 * 12;
	d->attn = (struct kn_attn){4, 2, 3, 0, 0.6f, 13, 7, 3, seq};
	agree(d, "attention");
	d->attn.window = 3;
	agree(d, "attention in a window");
}

void check_gradients(void)
{
	static struct diff d;
	static const float inv_temp[] = {1, 0.7f, 1.6f};
	d.inv_temp = inv_temp;
	check_op(&d, "embed", embed_forward, embed_backward, 2, (int64_t[]){20, 24}, 20);
	check_op(&d, "matmul", matmul_forward, matmul_backward, 3, (int64_t[]){21, 28, 4}, 12);
	check_op(&d, "layernorm", layernorm_forward, layernorm_backward, 3, (int64_t[]){21, 7, 7}, 21);
	check_op(&d, "rmsnorm", rmsnorm_forward, rmsnorm_backward, 2, (int64_t[]){21, 7}, 21);
	check_op(&d, "rope", rope_forward, rope_backward, 1, (int64_t[]){65}, 65);
	check_op(&d, "rows", rows_forward, rows_backward, 1, (int64_t[]){15}, 20);
	check_op(&d, "head", head_forward, head_backward, 3, (int64_t[]){18, 54, 9}, 6);
	check_reference(&d);
	check_attention(&d);
	check_acts(&d);
}
