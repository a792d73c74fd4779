/* head - logits, log-probs, entropy and their gradient; see kernels.h */
#include "kernels/ref/ref.h"

/* Scratch is one row of V logits. */
size_t REF(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C)
{
	(void)ctx;
	(void)M;
	(void)C;
	return (size_t)V * sizeof(double);
}

void REF(head_logits)(void *ctx, real *logits, const real *h, const struct kn_mat *w, const real *b, int64_t M)
{
	REF(matmul_fwd)(ctx, logits, h, w, b, M);
}

void REF(logits_stats)(void *ctx, real *logprob, real *lse, real *entropy, int32_t *argmax, const real *logits,
                       const int32_t *target, const float *inv_temp, int64_t M, int64_t V)
{
	(void)ctx;
	for (int64_t m = 0; m < M; m++, logits += V) {
		double by = inv_temp ? inv_temp[m] : 1, max = -INFINITY, sum = 0, mean = 0;
		int32_t best = 0;
		for (int64_t v = 0; v < V; v++)
			if (logits[v] * by > max) {
				max = logits[v] * by;
				best = (int32_t)v;
			}
		for (int64_t v = 0; v < V; v++) {
			double z = logits[v] * by - max;
			sum += exp(z);
			mean += exp(z) * z;
		}
		lse[m] = (real)(max + log(sum));
		if (logprob)
			logprob[m] = (real)(logits[target[m]] * by - max - log(sum));
		if (entropy)
			entropy[m] = (real)(log(sum) - mean / sum);
		if (argmax)
			argmax[m] = best;
	}
}

void REF(head_fwd)(void *ctx, real *logprob, real *lse, real *entropy, int32_t *argmax, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, int64_t M,
                   real *keep, void *scratch)
{
	(void)keep; /* head_bwd computes them again */
	for (int64_t m = 0; m < M; m++) {
		REF(head_logits)(ctx, scratch, h + m * w->cols, w, b, 1);
		REF(logits_stats)
		(ctx, logprob ? logprob + m : NULL, lse + m, entropy ? entropy + m : NULL, argmax ? argmax + m : NULL,
		 scratch, target ? target + m : NULL, inv_temp ? inv_temp + m : NULL, 1, w->rows);
	}
}

/* By z: dlogprob ([v = target] - p) - dentropy p (log p + entropy). */
void REF(head_bwd)(void *ctx, real *dh, real *dw, real *db, const real *dlogprob, const real *dentropy, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, const real *lse,
                   const real *entropy, int64_t M, real *keep, void *scratch)
{
	(void)keep;
	real *z = scratch;
	int64_t C = w->cols;
	for (int64_t m = 0; m < M; m++, h += C, dh += C) {
		double by = inv_temp ? inv_temp[m] : 1;
		REF(head_logits)(ctx, z, h, w, b, 1);
		memset(dh, 0, (size_t)C * sizeof *dh);
		for (int64_t v = 0; v < w->rows; v++) {
			double logp = z[v] * by - lse[m], p = exp(logp);
			double dz = dlogprob ? dlogprob[m] * ((v == target[m]) - p) : 0;
			if (dentropy)
				dz -= dentropy[m] * p * (logp + entropy[m]);
			z[v] = (real)(dz * by);
		}
		for (int64_t c = 0; c < C; c++) {
			double sum = 0;
			for (int64_t v = 0; v < w->rows; v++)
				sum += (double)z[v] * REF(mat_at)(w, v, c);
			dh[c] = (real)sum;
		}
		for (int64_t v = 0; v < w->rows; v++) {
			for (int64_t c = 0; dw && c < C; c++)
				dw[v * C + c] += z[v] * h[c];
			if (db)
				db[v] += z[v];
		}
	}
}
