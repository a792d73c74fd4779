/* embed - rows of the token and position tables; see kernels.h */
#include "kernels/ref/ref.h"

void REF(embed_fwd)(void *ctx, real *y, const struct kn_mat *tok, const struct kn_mat *pos_table, const int32_t *token,
                    const int32_t *pos, int64_t N)
{
	(void)ctx;
	int64_t C = tok->cols;
	for (int64_t n = 0; n < N; n++)
		for (int64_t c = 0; c < C; c++) {
			double sum = REF(mat_at)(tok, token[n], c);
			if (pos_table)
				sum += REF(mat_at)(pos_table, pos[n], c);
			y[n * C + c] = (real)sum;
		}
}

void REF(embed_bwd)(void *ctx, real *dtok, real *dpos, const real *dy, const int32_t *token, const int32_t *pos,
                    int64_t N, int64_t C)
{
	(void)ctx;
	for (int64_t n = 0; n < N; n++)
		for (int64_t c = 0; c < C; c++) {
			if (dtok)
				dtok[token[n] * C + c] += dy[n * C + c];
			if (dpos)
				dpos[pos[n] * C + c] += dy[n * C + c];
		}
}
