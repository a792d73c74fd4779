/*
 * trainer - a model that is being trained: passes over rows, gradients, one step, and the commit.
 *
 * Weights and gradients are float32 slabs of the trainer's own, moments of their own form (lib/optim_moment.h); the
 * store is read at the start and written by trainer_put.  Of an adapter that is A and B; its base is frozen
 * (trainer_attach).  Rows go through in micro-batches of a token budget, cut at rows; nothing depends on where they are
 * cut.
 */
#ifndef LIB_TRAINER_H
#define LIB_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/comm.h"
#include "lib/decoder.h"
#include "lib/err.h"
#include "lib/model.h"
#include "lib/optim.h"
#include "lib/optim_moment.h"
#include "lib/store.h"

/* A prompt of at least one token and its completion; token is borrowed; ids and length fit the model (checked by the
 * caller). */
struct trainer_row {
	const int32_t *token; /* [n_prompt + n] */
	int64_t n_prompt, n;
	double temperature; /* > 0 */
	bool joined;        /* goes into the pass of the row before it: the loss is of both */
	/* out, memory of the caller, NULL where not wanted; with trainer_backward also in: the gradients */
	float *logprobs, *entropy;   /* [n] */
	float *values;               /* [n + 1]: before each token, and after the last */
	float *dlogprobs, *dentropy; /* [n] */
	float *dvalues;              /* [n + 1] */
	/* the exact KL to a reference (decoder_head_kl); hidden, out: the final states that its tokens are chosen from
	 * [n,C], which are ref_hidden of another model's pass */
	float *hidden;
	const struct decoder_reference *reference; /* one for all rows of a call; NULL: no kl */
	const float *ref_hidden;                   /* [n,C of the reference] */
	float *kl, *dkl;                           /* [n] */
};

/* One model under training. */
struct trainer {
	const struct kernels *k; /* borrowed */
	struct model_info info;
	char slot[64];
	int64_t version; /* of the weights as they were read */
	int64_t step;    /* optimizer steps so far */
	int optim;       /* enum optim_kind; sgd has no v */
	char stored[16]; /* whose moments the store has, by name; "": nobody's */
	struct weights w, g;
	struct optim_moment m, v;
	double norm[GROUP_COUNT]; /* of the gradient of the last step, by part of the model, before clipping */
	struct decoder d;
	struct activations *acts;
	int64_t micro_tokens;    /* budget of a pass */
	struct comm *comm;       /* whose ranks share the passes (lib/trainer_ranks.h); borrowed, NULL: none */
	struct store_view *view; /* of trainer_attach */
	char *config;            /* of a model begun as a copy: the config.json that it gets; else NULL */
};

/*
 * Opens slot's current version.  with_value: the table has score.weight; where the store has none it begins at zero.
 * like: NULL, or a slot to begin as a copy of when `slot` does not exist (a critic of its own; its version is then -1,
 * and it has no moments).  optim: enum optim_kind; moments of another kind are not read.  The view may be closed
 * afterwards.
 */
int trainer_open(struct trainer *t, const struct kernels *k, struct store_view *v, const char *slot, const char *like,
                 bool with_value, int optim, struct err *e);
/* -1 when the moments in the store are of another kind than this run's options want. */
int trainer_same_optim(const struct trainer *t, const char *run, struct err *e);
void trainer_close(struct trainer *t);
/* On a device: gives back what passes need, and no weight, gradient or moment, so that a sampler finds room for its
 * cache while this waits for it.  The next pass takes it anew. */
void trainer_rest(struct trainer *t);

/*
 * Of an adapter the base is not copied: it is read in the store, between these two.  Nothing for a model of its own.
 * On a device the base is copied once.  Detach before a commit and before waiting: a view keeps the writer from using
 * free pages again.
 */
int trainer_attach(struct trainer *t, struct store *s, struct err *e);
void trainer_detach(struct trainer *t);

/* The slot that a training tool's `-s STORE:NAME` means; -1 when NAME is no policy and no adapter. */
int trainer_slot(struct store_view *v, const char *name, char slot[64], struct err *e);

/* Moments and step count to zero: a new run begins its optimizer anew. */
void trainer_forget_moments(struct trainer *t);

/* A forward pass without gradients: fills logprobs, entropy and values of the rows where they are wanted.  w, d: whose;
 * the trainer's own, or weights mapped from elsewhere (a reference). */
int trainer_score(struct decoder *d, const struct weights *w, struct trainer_row *row, int64_t n_rows,
                  int64_t micro_tokens, struct err *e);

/*
 * Forward and backward of rows in order.  After the forward pass of a micro-batch (whose outputs are in its rows),
 * `loss` is called for its rows [first, end) to fill dlogprobs, dentropy and dvalues; gradients add to t->g.  A row
 * where one of these is NULL has none of that kind.  The same bits for any micro_tokens.
 *
 * Over ranks the gradients of this rank's rows are added, and `loss` is called for its rows, and at the end, with the
 * outputs of all of them, for all rows.  count: the rows are to be counted into sums; each is once, in order.
 */
typedef void (*trainer_loss)(void *arg, int64_t first, int64_t end, bool count);
int trainer_backward(struct trainer *t, struct trainer_row *row, int64_t n_rows, trainer_loss loss, void *arg,
                     struct err *e);
void trainer_zero_gradient(struct trainer *t);

/*
 * One optimizer step of one or two models (policy, critic), whose gradients are clipped together.  The value head, and
 * all of the second model, learn at critic_lr.  *norm: before clipping.  -1 when a gradient is not finite: nothing has
 * changed.  Over ranks gradients are summed first, and now and then the weights compared.
 */
int trainer_step(struct trainer *const *t, int n, const struct optim_config *c, double lr, double critic_lr,
                 double *norm, struct err *e);

/* Puts weights and moments as slot@version into an update and makes it current. */
int trainer_put(struct trainer *t, struct store_update *u, int64_t version, struct err *e);
/* Puts the weights alone, for samplers, and leaves what is current as it is: nothing goes on from that version.  On a
 * table of bf16 the matrices are what passes read, bf16: half as much, and the same bits for a sampler on such a table.
 */
int trainer_publish(struct trainer *t, struct store_update *u, int64_t version, struct err *e);

#endif
