/* head - logits, log-probs, entropy and their gradient; see kernels.h */
#include "kernels/ref/ref.h"

/* Scratch is one row of V logits, and one of the reference's. */
size_t REF(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C)
{
	(void)ctx;
	(void)M;
	(void)C;
	return 2 * (size_t)V * sizeof(double);
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

/* Row m of the reference's logits, into y. */
static void reference_row(real *y, const struct REFERENCE *ref, int64_t m)
{
	REF(head_logits)(NULL, y, ref->h + m * ref->w->cols, ref->w, ref->b, 1);
}

/* gap = sum p (z - y); kl = gap - lse z + lse y, each sum from its own maximum on. */
static void reference_stats(const struct REFERENCE *ref, int64_t m, const real *z, const real *y, double by, int64_t V)
{
	double max = -INFINITY, ymax = -INFINITY, sum = 0, ysum = 0, gap = 0;
	for (int64_t v = 0; v < V; v++) {
		max = fmax(max, z[v] * by);
		ymax = fmax(ymax, y[v] * by);
	}
	for (int64_t v = 0; v < V; v++) {
		double e = exp(z[v] * by - max);
		sum += e;
		ysum += exp(y[v] * by - ymax);
		gap += e * ((double)z[v] - y[v]) * by;
	}
	ref->gap[m] = (real)(gap / sum);
	ref->kl[m] = (real)(gap / sum + (ymax - max) + log(ysum / sum));
}

void REF(head_fwd)(void *ctx, real *logprob, real *lse, real *entropy, int32_t *argmax, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, int64_t M,
                   const struct REFERENCE *ref, real *keep, void *scratch)
{
	(void)keep; /* head_bwd computes them again */
	real *z = scratch, *y = z + w->rows;
	for (int64_t m = 0; m < M; m++) {
		REF(head_logits)(ctx, z, h + m * w->cols, w, b, 1);
		REF(logits_stats)
		(ctx, logprob ? logprob + m : NULL, lse + m, entropy ? entropy + m : NULL, argmax ? argmax + m : NULL,
		 z, target ? target + m : NULL, inv_temp ? inv_temp + m : NULL, 1, w->rows);
		if (ref) {
			reference_row(y, ref, m);
			reference_stats(ref, m, z, y, inv_temp ? inv_temp[m] : 1, w->rows);
		}
	}
}

/* By z: dlogprob ([v = target] - p) - dentropy p (log p + entropy) + dkl p (z - y - gap). */
void REF(head_bwd)(void *ctx, real *dh, real *dw, real *db, const real *dlogprob, const real *dentropy, const real *h,
                   const struct kn_mat *w, const real *b, const int32_t *target, const float *inv_temp, const real *lse,
                   const real *entropy, int64_t M, const struct REFERENCE *ref, real *keep, void *scratch)
{
	(void)keep;
	real *z = scratch, *y = z + w->rows;
	int64_t C = w->cols;
	for (int64_t m = 0; m < M; m++, h += C, dh += C) {
		double by = inv_temp ? inv_temp[m] : 1;
		REF(head_logits)(ctx, z, h, w, b, 1);
		if (ref)
			reference_row(y, ref, m);
		memset(dh, 0, (size_t)C * sizeof *dh);
		for (int64_t v = 0; v < w->rows; v++) {
			double logp = z[v] * by - lse[m], p = exp(logp);
			double dz = dlogprob ? dlogprob[m] * ((v == target[m]) - p) : 0;
			if (dentropy)
				dz -= dentropy[m] * p * (logp + entropy[m]);
			if (ref)
				dz += ref->dkl[m] * p * (((double)z[v] - y[v]) * by - ref->gap[m]);
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
