/* decoder_head - the head over rows of hidden states, and the value head; see decoder.h */
#include "lib/decoder.h"
#include "lib/decoder_impl.h"

enum { HEAD_ROWS = 2048 }; /* rows of one call, which bounds its scratch */
#define KEEP_BYTES ((size_t)512 << 20)

static int head_index(const struct decoder *d, struct err *e)
{
	int i = tensors_part(d->table, -1, d->arch->tied ? PART_TOKENS : PART_HEAD);
	return d->arch->value_model || i < 0 ? err_set(e, "the model has a value head and no head for tokens") : i;
}

static int64_t rows_at_once(int64_t left)
{
	return left < HEAD_ROWS ? left : HEAD_ROWS;
}

/* Rows from m on of one call: all have kept logits, or none. */
static int64_t rows_alike(int64_t m, int64_t M, int64_t kept)
{
	return rows_at_once(m < kept ? kept - m : M - m);
}

/* Room for the logits of the first rows of M, by each of `models`; how many says kept.  Without memory there is none.
 */
static float *keep_room(struct decoder *d, int64_t M, int models)
{
	struct decoder_impl *m = d->impl;
	struct err ignored;
	size_t row = (size_t)models * (size_t)KN_KEEP_STRIDE(d->arch->V) * sizeof(float);
	int64_t rows = (int64_t)(KEEP_BYTES / row);
	rows = rows < M ? rows : M;
	float *keep = rows ? decoder_scratch(d, BUFFER_KEEP, (size_t)rows * row, &ignored) : NULL;
	m->kept = keep ? rows : 0;
	return keep;
}

static void *head_scratch(struct decoder *d, int64_t M, struct err *e)
{
	int64_t rows = rows_at_once(M);
	return decoder_scratch(d, BUFFER_HEAD, d->k->head_scratch(d->k->ctx, rows, d->arch->V, d->arch->C), e);
}

#define FROM(p, at) ((p) ? (p) + (at) : NULL)

/* The matrix of the reference's head, of the policy's vocabulary; NULL: *e. */
static const struct kn_mat *reference_head(const struct decoder *d, const struct decoder_kl *kl, struct err *e)
{
	int theirs = head_index(kl->of.d, e);
	const struct kn_mat *w = theirs < 0 ? NULL : &kl->of.w->mat[theirs];
	if (!w)
		err_where(e, "the reference of the exact KL");
	else if (w->rows != d->arch->V)
		err_set(e, "the reference has %lld tokens, but the policy %lld", (long long)w->rows,
		        (long long)d->arch->V);
	return w && w->rows == d->arch->V ? w : NULL;
}

/* Rows from m on; room: of the kept logits, the policy's rows before the reference's, or NULL. */
static struct kn_reference reference_rows(const struct decoder *d, const struct decoder_kl *kl, const struct kn_mat *w,
                                          int64_t m, float *room)
{
	const struct decoder_impl *impl = d->impl;
	return (struct kn_reference){.h = real_at(d->k, kl->h, m * w->cols),
	                             .w = w,
	                             .kl = kl->kl + m,
	                             .gap = kl->gap + m,
	                             .dkl = FROM(kl->dkl, m),
	                             .keep = FROM(room, (impl->kept + m) * KN_KEEP_STRIDE(d->arch->V))};
}

int decoder_head_kl(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, const int32_t *target,
                    const float *inv_temp, float *logprob, float *lse, float *entropy, int32_t *argmax,
                    const struct decoder_kl *kl, bool keep, struct err *e)
{
	struct decoder_impl *impl = d->impl;
	struct kn_reference ref;
	int head = head_index(d, e);
	void *scratch = head < 0 ? NULL : head_scratch(d, M, e);
	const struct kn_mat *theirs = scratch && kl ? reference_head(d, kl, e) : NULL;
	if (!scratch || (kl && !theirs))
		return -1;
	impl->kept = 0;
	float *room = keep ? keep_room(d, M, kl ? 2 : 1) : NULL;
	for (int64_t m = 0, n; m < M; m += n) {
		n = rows_alike(m, M, impl->kept);
		float *kept = m < impl->kept ? room : NULL;
		if (kl)
			ref = reference_rows(d, kl, theirs, m, kept);
		d->k->head_fwd(d->k->ctx, FROM(logprob, m), lse + m, FROM(entropy, m), FROM(argmax, m),
		               real_at(d->k, h, m * d->arch->C), &w->mat[head], NULL, FROM(target, m),
		               FROM(inv_temp, m), n, kl ? &ref : NULL, FROM(kept, m * KN_KEEP_STRIDE(d->arch->V)),
		               scratch);
	}
	return decoder_sync(d, e);
}

int decoder_head(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, const int32_t *target,
                 const float *inv_temp, float *logprob, float *lse, float *entropy, int32_t *argmax, bool keep,
                 struct err *e)
{
	return decoder_head_kl(d, w, h, M, target, inv_temp, logprob, lse, entropy, argmax, NULL, keep, e);
}

int decoder_head_kl_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                             const int32_t *target, const float *inv_temp, const float *lse, const float *entropy,
                             const float *dlogprob, const float *dentropy, const struct decoder_kl *kl, kn_real *dh,
                             struct weights *g, struct err *e)
{
	struct kn_reference ref;
	int head = head_index(d, e);
	void *scratch = head < 0 ? NULL : head_scratch(d, M, e);
	const struct kn_mat *theirs = scratch && kl ? reference_head(d, kl, e) : NULL;
	if (!scratch || (kl && !theirs))
		return -1;
	struct decoder_impl *impl = d->impl;
	float *dw = g && !d->table->tensor[head].frozen ? g->slab + d->table->tensor[head].offset : NULL;
	for (int64_t m = 0, n; m < M; m += n) {
		n = rows_alike(m, M, impl->kept);
		float *kept = m < impl->kept ? impl->buffer[BUFFER_KEEP].p : NULL;
		if (kl)
			ref = reference_rows(d, kl, theirs, m, kept);
		d->k->head_bwd(d->k->ctx, real_at(d->k, dh, m * d->arch->C), dw, NULL, FROM(dlogprob, m),
		               FROM(dentropy, m), real_at(d->k, h, m * d->arch->C), &w->mat[head], NULL,
		               FROM(target, m), FROM(inv_temp, m), lse + m, FROM(entropy, m), n, kl ? &ref : NULL,
		               FROM(kept, m * KN_KEEP_STRIDE(d->arch->V)), scratch);
	}
	impl->kept = 0; /* they are gradients now */
	return decoder_sync(d, e);
}

int decoder_head_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                          const int32_t *target, const float *inv_temp, const float *lse, const float *entropy,
                          const float *dlogprob, const float *dentropy, kn_real *dh, struct weights *g, struct err *e)
{
	return decoder_head_kl_backward(d, w, h, M, target, inv_temp, lse, entropy, dlogprob, dentropy, NULL, dh, g, e);
}

int decoder_logits(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, float *logits,
                   struct err *e)
{
	int head = head_index(d, e);
	if (head < 0)
		return -1;
	d->k->head_logits(d->k->ctx, logits, h, &w->mat[head], NULL, M);
	return decoder_sync(d, e);
}

int decoder_draw(struct decoder *d, const float *logits, int64_t M, const struct kn_warp *warp, const double *u,
                 uint64_t *weight, struct kn_drawn *drawn, struct err *e)
{
	if (d->arch->V > KN_MAX_DRAW)
		return err_set(e, "the model has %lld tokens, and at most %d can be drawn from", (long long)d->arch->V,
		               KN_MAX_DRAW);
	d->k->draw(d->k->ctx, drawn, weight, logits, u, warp, M, d->arch->V);
	return decoder_sync(d, e);
}

static int score_index(const struct decoder *d, struct err *e)
{
	int i = tensors_part(d->table, -1, PART_SCORE);
	return i < 0 ? err_set(e, "the model has no value head: 'score.weight' is missing") : i;
}

int decoder_values(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, kn_real *values,
                   struct err *e)
{
	int score = score_index(d, e);
	if (score < 0)
		return -1;
	d->k->matmul_fwd(d->k->ctx, values, h, &w->mat[score], NULL, M);
	return decoder_sync(d, e);
}

int decoder_values_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                            const kn_real *dvalues, kn_real *dh, struct weights *g, struct err *e)
{
	int score = score_index(d, e);
	if (score < 0)
		return -1;
	d->k->matmul_dx(d->k->ctx, dh, dvalues, &w->mat[score], M, 1);
	d->k->matmul_dw(d->k->ctx, g->slab + d->table->tensor[score].offset, NULL, dvalues, h, M, 1, d->arch->C);
	return decoder_sync(d, e);
}
