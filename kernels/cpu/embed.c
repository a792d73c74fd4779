/* embed - rows of the token and position tables; see kernels.h */
#include "kernels/cpu/cpu.h"

#define COLUMNS 64 /* of one item of the backward pass: threads split columns, so tokens stay in row order */

struct embed {
	float *y, *dtok, *dpos;
	const float *dy;
	const struct kn_mat *tok, *pos_table;
	const int32_t *token, *pos;
	int64_t N, C;
};

static void embed_row(void *arg, int64_t n, int worker)
{
	(void)worker;
	const struct embed *e = arg;
	const struct kn_mat *tok = e->tok, *table = e->pos_table;
	const void *a = mat_row(tok, e->token[n]), *b = table ? mat_row(table, e->pos[n]) : NULL;
	float *y = e->y + n * e->C;
	int64_t c = 0;
	for (; c + 16 <= e->C; c += 16) {
		v16 sum = mat_load(a, tok->dtype, c);
		v16_store(y + c, b ? v16_add(sum, mat_load(b, table->dtype, c)) : sum);
	}
	if (c < e->C) {
		v16 sum = mat_load_tail(a, tok->dtype, c, e->C - c);
		if (b)
			sum = v16_add(sum, mat_load_tail(b, table->dtype, c, e->C - c));
		v16_store_tail(y + c, sum, e->C - c);
	}
}

void KN(embed_fwd)(void *ctx, float *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                   const int32_t *pos, int64_t N)
{
	struct embed e = {.y = y, .tok = tok, .pos_table = pos_table, .token = token, .pos = pos, .C = tok->cols};
	cpu_for(ctx, N, (double)N * (double)e.C, embed_row, &e);
}

static void embed_columns(void *arg, int64_t item, int worker)
{
	(void)worker;
	const struct embed *e = arg;
	int64_t c0 = item * COLUMNS, cols = min64(COLUMNS, e->C - c0);
	for (int64_t n = 0; n < e->N; n++) {
		const float *dy = e->dy + n * e->C + c0;
		float *dtok = e->dtok ? e->dtok + e->token[n] * e->C + c0 : NULL;
		float *dpos = e->dpos ? e->dpos + e->pos[n] * e->C + c0 : NULL;
		for (int64_t c = 0; dtok && c < cols; c++)
			dtok[c] += dy[c];
		for (int64_t c = 0; dpos && c < cols; c++)
			dpos[c] += dy[c];
	}
}

void KN(embed_bwd)(void *ctx, float *dtok, float *dpos, const float *dy, const int32_t *token, const int32_t *pos,
                   int64_t N, int64_t C)
{
	struct embed e = {.dtok = dtok, .dpos = dpos, .dy = dy, .token = token, .pos = pos, .N = N, .C = C};
	cpu_for(ctx, ceil_div(C, COLUMNS), (double)N * (double)C, embed_columns, &e);
}
