/*
 * decoder_kl - the KL between the next-token distributions of two models, exact over the vocabulary.
 *
 *     kl[m] = sum_v p_v (ln p_v - ln q_v),  p = softmax(z inv_temp[m]),  q of the reference's logits alike
 *
 * and its gradient by the policy's hidden states and head: d kl / d z_v = inv_temp p_v (ln p_v - ln q_v - kl).  Logits
 * come from the kernels' head_logits, a few rows at a time; the sums are double on the host, in the order of the
 * vocabulary, row by row, so that nothing depends on how rows are cut.
 */
#ifndef LIB_DECODER_KL_H
#define LIB_DECODER_KL_H

#include "lib/decoder.h"

/* The reference of a pass: its decoder and weights, borrowed. */
struct decoder_reference {
	struct decoder *d;
	const struct weights *w;
};

/*
 * h[M,C], rh[M,C of the reference] final-normed hidden states in backend memory; inv_temp on the host, NULL: 1.
 * kl[M] on the host, or NULL.  dkl[M] on the host, or NULL for no gradient: dh[M,C] and dw[V,C] (backend; dw NULL: a
 * frozen head) get it added.
 */
int decoder_kl_rows(const struct kernels *k, const struct kn_mat *w, const float *h, const struct kn_mat *rw,
                    const float *rh, int64_t M, const float *inv_temp, float *kl, const float *dkl, float *dh,
                    float *dw, struct err *e);

/* The same of models; rh on the host.  g: NULL without dkl. */
int decoder_kl(struct decoder *d, const struct weights *w, const float *h, const struct decoder_reference *ref,
               const float *rh, int64_t M, const float *inv_temp, float *kl, const float *dkl, float *dh,
               struct weights *g, struct err *e);

#endif
