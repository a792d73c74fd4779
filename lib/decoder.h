/*
 * decoder - one forward and one backward pass for every architecture.
 *
 * The descriptor (lib/arch.h) says what differs between GPT-2 and Llama; the tensor table (lib/tensors.h) says what
 * there is.  A batch is ragged: tokens of all sequences one after another, no padding.  The pass gives the final-normed
 * hidden state of every token; logits never exist for the whole batch (decoder_head works in chunks).
 *
 * The same rows give the same bits in a full forward pass, in cached decoding, in any batch and on any thread count.
 */
#ifndef LIB_DECODER_H
#define LIB_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lib/arch.h"
#include "lib/err.h"
#include "lib/store.h"
#include "lib/tensors.h"

/*
 * Weights of one model where the backend can read them: mat[i] for tensor i of the table (vectors are one row; a gain
 * or bias is read through weights_vector).  Either mapped from a view (nothing is copied on the CPU) or in a slab of
 * the trainer's own.
 */
struct weights {
	const struct kernels *k;
	const struct tensors *table;
	struct kn_mat *mat;
	float *slab; /* owned, float32, tensors at table offsets; NULL when mapped */
	void *impl;
};
/* Elements of a vector or of a small matrix in one piece, float32, in backend memory. */
static inline const float *weights_vector(const struct weights *w, int i)
{
	return w->mat[i].blocks[0].data;
}
/* Borrows v until weights_release.  Of an adapter: its own tensors from ref, the frozen ones from its base.  Checks
 * names, shapes and dtypes against the table; vectors that are not float32 are converted. */
int weights_map(struct weights *w, const struct kernels *k, const struct tensors *table, struct store_view *v,
                const struct store_ref *ref, struct err *e);
/* A copy in float32 that may be changed through slab. */
int weights_copy(struct weights *w, const struct kernels *k, const struct tensors *table, struct store_view *v,
                 const struct store_ref *ref, struct err *e);
/* One tensor shaped as t, stored under `name`, to float32 in backend memory: 1, 0 when there is none, -1. */
int weights_read(const struct kernels *k, float *dst, const struct tensor *t, const char *name, struct store_view *v,
                 const struct store_ref *ref, struct err *e);
/* Is the backend's memory the host's? */
bool weights_on_host(const struct kernels *k);
/* Points the frozen tensors of a copy at v, which is borrowed until the next call or weights_release; on a device they
 * are copied once and nothing is borrowed.  ref is the adapter's.  Does nothing where none is frozen. */
int weights_map_frozen(struct weights *w, struct store_view *v, const struct store_ref *ref, struct err *e);
/* A zeroed slab (gradients, moments); frozen tensors have none. */
int weights_zero(struct weights *w, const struct kernels *k, const struct tensors *table, struct err *e);
/*
 * A slab of weights on a table of bf16: passes read its matrices from copies in bf16, which weights_shadow makes room
 * for and weights_refresh fills, after every change of the slab.  On other tables neither does anything.
 */
int weights_shadow(struct weights *w, struct err *e);
void weights_refresh(struct weights *w);
/* The copy of tensor i, which is not frozen; NULL: passes read the slab itself. */
const void *weights_shadow_of(const struct weights *w, int i);
void weights_release(struct weights *w);
/* Gives back the room for gradient rows that wait; none may wait now. */
void weights_forget(struct weights *g);

struct decoder {
	const struct arch *arch;
	const struct tensors *table;
	const struct kernels *k;
	uint64_t dropout; /* key of an adapter's dropout in passes with activations; 0: none */
	void *impl; /* scratch buffers that grow with the largest batch seen; the rope table; tensor indexes by role */
};
int decoder_init(struct decoder *d, const struct arch *arch, const struct tensors *table, const struct kernels *k,
                 struct err *e);
void decoder_release(struct decoder *d);
/* Gives scratch back; the next pass takes it anew. */
void decoder_forget(struct decoder *d);

/* Sequences one after another: seq s has rows seq[s].q_row .. +n_q-1; token, pos: host [N]. */
struct batch {
	int64_t N, n_seq;
	const int32_t *token, *pos;
	const struct kn_seq *seq;
	int64_t first; /* place of its first token among those of all micro-batches: dropout draws by it */
};

/* Keys and values of past tokens: per layer k, v [rows, G*D]. */
struct kvcache {
	const struct kernels *k;
	int64_t L, rows, width;
	kn_real **key, **value;
};
int kvcache_init(struct kvcache *c, const struct kernels *k, const struct arch *arch, int64_t rows, struct err *e);
void kvcache_release(struct kvcache *c);

/* Which pages of a cache (KN_PAGE rows each) nobody has.  Low ones are given out first. */
struct kvpages {
	int32_t *free; /* [n_free] the next one last */
	int64_t n_free, total;
};
void kvpages_init(struct kvpages *p, int64_t total);
void kvpages_release(struct kvpages *p);
int64_t kvpages_of(int64_t rows); /* how many n rows take */
/* n of them into page; the caller knows that there are as many. */
void kvpages_take(struct kvpages *p, int32_t *page, int64_t n);
void kvpages_give(struct kvpages *p, const int32_t *page, int64_t n);

/* What backward needs, kept by a training forward; memory is reused from call to call. */
struct activations;
struct activations *activations_new(const struct decoder *d);
void activations_free(struct activations *a);
void activations_forget(struct activations *a); /* gives their memory back; the next pass takes it anew */

/*
 * h[N,C] = final-normed hidden states.  With a cache, the key of row i of sequence s at position p is written to cache
 * row kn_key_row(&seq, p) before attention, and attention reads the cache through seq; without one, keys
 * are those of the batch (prefix_n = 0, own_row = q_row).  With activations (then no cache), they are kept for
 * backward.
 */
int decoder_forward(struct decoder *d, const struct weights *w, const struct batch *b, struct kvcache *cache,
                    struct activations *acts, kn_real *h, struct err *e);
/*
 * What the query and key projections of a layer give, with their biases, before norms of heads and positions: q[N,HD],
 * k[N,GD] in backend memory; either may be NULL.  Runs the layers below that one only; the keys are those of the batch
 * (prefix_n = 0, own_row = q_row).
 */
int decoder_project(struct decoder *d, const struct weights *w, const struct batch *b, int64_t layer, kn_real *q,
                    kn_real *k, struct err *e);
/*
 * Adds the gradients of all tensors (but the head's own, when it is not tied) to g->slab.  dh[N,C] is used up.  Several
 * calls (micro-batches, cut between sequences) give the same bits as one; for that the tokens' share of a tied
 * embedding is kept apart until decoder_backward_finish, which adds it behind the head's.  Call it once after the last
 * micro-batch, before g->slab is read; then the next batch begins.
 */
int decoder_backward(struct decoder *d, const struct weights *w, const struct batch *b, struct activations *acts,
                     kn_real *dh, struct weights *g, struct err *e);
void decoder_backward_finish(struct decoder *d, struct weights *g);

/*
 * The head over M rows of h; see head_fwd, head_bwd in kernels.h (targets, inv_temp on the host).  Outputs are in
 * backend memory; entropy, argmax may be NULL.  keep: decoder_head_backward over the same rows is the next call of the
 * two, and the logits of as many of them as go into half a gigabyte wait for it, which saves one product of four there.
 */
int decoder_head(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, const int32_t *target,
                 const float *inv_temp, float *logprob, float *lse, float *entropy, int32_t *argmax, bool keep,
                 struct err *e);
int decoder_head_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                          const int32_t *target, const float *inv_temp, const float *lse, const float *entropy,
                          const float *dlogprob, const float *dentropy, kn_real *dh, struct weights *g, struct err *e);

/* A reference model: its decoder and weights, borrowed. */
struct decoder_reference {
	struct decoder *d;
	const struct weights *w;
};
/* The exact KL of M rows to a reference of the same vocabulary; see struct kn_reference.  All but `of` in backend
 * memory. */
struct decoder_kl {
	struct decoder_reference of;
	const kn_real *h; /* [M,C of the reference] its final-normed hidden states */
	float *kl, *gap;  /* [M], written; backward reads gap */
	const float *dkl; /* [M], to backward */
};
/*
 * The head with the exact KL (NULL: without), whose logits share the half gigabyte.  Without logprob no target is
 * needed.  Backward: dlogprob may be NULL.
 */
int decoder_head_kl(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, const int32_t *target,
                    const float *inv_temp, float *logprob, float *lse, float *entropy, int32_t *argmax,
                    const struct decoder_kl *kl, bool keep, struct err *e);
int decoder_head_kl_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                             const int32_t *target, const float *inv_temp, const float *lse, const float *entropy,
                             const float *dlogprob, const float *dentropy, const struct decoder_kl *kl, kn_real *dh,
                             struct weights *g, struct err *e);

/* logits[M,V], for the sampler. */
int decoder_logits(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, float *logits,
                   struct err *e);
/* A token of each row of them: drawn, u on the host, weight[M,V] in backend memory; see draw in kernels.h. */
int decoder_draw(struct decoder *d, const float *logits, int64_t M, const struct kn_warp *warp, const double *u,
                 uint64_t *weight, struct kn_drawn *drawn, struct err *e);
/* values[M] = score.weight . h (tensor "score.weight" [1,C] of the table); backward adds to dh and to the gradient. */
int decoder_values(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M, kn_real *values,
                   struct err *e);
int decoder_values_backward(struct decoder *d, const struct weights *w, const kn_real *h, int64_t M,
                            const kn_real *dvalues, kn_real *dh, struct weights *g, struct err *e);

#endif
