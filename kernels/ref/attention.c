/*
 * attention - causal, grouped heads, optional window; see kernels.h.
 *
 * Scores are never stored: each pass computes them again from q and k.
 */
#include "kernels/ref/ref.h"

static int64_t first_key(const struct kn_attn *a, int64_t p)
{
	return a->window > 0 && p >= a->window ? p - a->window + 1 : 0;
}

static double dot(const real *a, const real *b, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

/* One query: o[D] and the log of the sum over positions lo..hi; k and v are columns of this head. */
static double attend(double *out, const real *q, const real *k, const real *v, const struct kn_attn *a,
                     const struct kn_seq *s, int64_t lo, int64_t hi)
{
	double max = -INFINITY, sum = 0;
	for (int64_t p = lo; p <= hi; p++)
		max = fmax(max, a->scale * dot(q, k + kn_key_row(s, p) * a->kv_stride, a->D));
	memset(out, 0, (size_t)a->D * sizeof *out);
	for (int64_t p = lo; p <= hi; p++) {
		int64_t at = kn_key_row(s, p) * a->kv_stride;
		double e = exp(a->scale * dot(q, k + at, a->D) - max);
		sum += e;
		for (int64_t d = 0; d < a->D; d++)
			out[d] += e * v[at + d];
	}
	for (int64_t d = 0; d < a->D; d++)
		out[d] /= sum;
	return max + log(sum);
}

void REF(attention_fwd)(void *ctx, real *o, real *lse, const real *q, const real *k, const real *v,
                        const struct kn_attn *a)
{
	(void)ctx;
	double out[KN_MAX_HEAD];
	for (const struct kn_seq *s = a->seq; s < a->seq + a->n_seq; s++)
		for (int64_t t = 0; t < s->n_q; t++)
			for (int64_t h = 0; h < a->H; h++) {
				int64_t row = s->q_row + t, p = s->pos + t, kv = h / (a->H / a->G) * a->D;
				double l = attend(out, q + row * a->q_stride + h * a->D, k + kv, v + kv, a, s,
				                  first_key(a, p), p);
				for (int64_t d = 0; d < a->D; d++)
					o[(row * a->H + h) * a->D + d] = (real)out[d];
				if (lse)
					lse[row * a->H + h] = (real)l;
			}
}

/*
 * With p = exp(s - lse) and delta = do . o:
 *   dv += p do;  ds = p (do . v - delta) scale;  dq += ds k;  dk += ds q.
 */
void REF(attention_bwd)(void *ctx, real *dq, real *dk, real *dv, const real *do_, const real *o, const real *lse,
                        const real *q, const real *k, const real *v, const struct kn_attn *a, real *scratch)
{
	(void)ctx;
	(void)scratch;
	for (const struct kn_seq *s = a->seq; s < a->seq + a->n_seq; s++)
		for (int64_t t = 0; t < s->n_q; t++)
			for (int64_t h = 0; h < a->H; h++) {
				int64_t row = s->q_row + t, pos = s->pos + t, kv = h / (a->H / a->G) * a->D;
				int64_t qo = row * a->q_stride + h * a->D, oo = (row * a->H + h) * a->D;
				double delta = dot(do_ + oo, o + oo, a->D);
				for (int64_t p = first_key(a, pos); p <= pos; p++) {
					int64_t at = kn_key_row(s, p) * a->kv_stride + kv;
					double e = exp(a->scale * dot(q + qo, k + at, a->D) - lse[row * a->H + h]);
					double ds = e * (dot(do_ + oo, v + at, a->D) - delta) * a->scale;
					for (int64_t d = 0; d < a->D; d++) {
						dv[at + d] += (real)(e * do_[oo + d]);
						dq[qo + d] += (real)(ds * k[at + d]);
						dk[at + d] += (real)(ds * q[qo + d]);
					}
				}
			}
}
