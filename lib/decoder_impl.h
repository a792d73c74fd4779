/*
 * decoder_impl - what the files of the decoder share.
 *
 * A layer's buffers are the same struct in training, where each layer has its own, and in inference, where all layers
 * use one after another.
 */
#ifndef LIB_DECODER_IMPL_H
#define LIB_DECODER_IMPL_H

#include "lib/decoder.h"
#include "lib/real.h"

/* Of one layer, N rows each; NULL where the architecture has no such thing. */
struct layer_acts {
	kn_real *x;             /* [C] what comes in */
	float *mean1, *rstd1;   /* [1] of the norm before attention */
	kn_real *q, *k, *v;     /* [HD] [GD] [GD] after norm and rope; columns of one buffer when fused */
	kn_real *q_raw, *k_raw; /* before their norm */
	float *q_rstd, *k_rstd; /* [H] [G] */
	float *lse;             /* [H] of attention */
	kn_real *o;             /* [HD] */
	kn_real *x_mid;         /* [C] after attention */
	float *mean2, *rstd2;   /* [1] */
	kn_real *gate, *up;     /* [F] before the activation */
};

struct activations {
	const struct kernels *k;
	const struct arch *arch;
	int64_t cap;              /* rows there is room for */
	struct layer_acts *layer; /* [n_layers] */
	int64_t n_layers;
	kn_real *x;         /* [C] before the final norm */
	float *mean, *rstd; /* [1] of it */
	char *slab;
};
/* Room for N rows; -1 when memory is out. */
int activations_reserve(struct activations *a, int64_t N, struct err *e);

/* Scratch, in backend memory. */
enum decoder_buffer {
	BUFFER_Y,       /* [N,C] a normed row, and its gradient */
	BUFFER_ACT,     /* [N,F] */
	BUFFER_DX,      /* [N,C] */
	BUFFER_DY,      /* [N,C] */
	BUFFER_DQKV,    /* [N,(H+2G)D] */
	BUFFER_DRAW,    /* [N,(H+G)D] before the norms of q and k */
	BUFFER_DO,      /* [N,HD] */
	BUFFER_DELTA,   /* [N,H] */
	BUFFER_DGATE,   /* [N,F] */
	BUFFER_DUP,     /* [N,F] */
	BUFFER_LORA,    /* [N,r] twice: A x, and s times that */
	BUFFER_LORA_Y,  /* [N,out] what an adapter adds */
	BUFFER_LORA_X,  /* [N,in] x after dropout */
	BUFFER_NOWHERE, /* gradient of a frozen gain, which nobody reads */
	BUFFER_HEAD,    /* of head_fwd and head_bwd */
	BUFFER_KEEP,    /* logits between them */
	BUFFER_COUNT
};

struct decoder_impl {
	float *inv_freq; /* host [D/2]; NULL: learned positions */
	struct {
		void *p;
		size_t bytes;
	} buffer[BUFFER_COUNT];
	struct activations *one; /* of inference: one layer */
	uint64_t drop_key;       /* of the dropout of the pass under way; 0: none */
	int64_t drop_first;      /* place of its first token in the mini-batch */
	int64_t kept;            /* rows of BUFFER_KEEP that decoder_head has filled for decoder_head_backward */
	int64_t *row;            /* host, rows to copy */
	int64_t row_cap;
};

/* At least `bytes`; contents are lost when it grows.  NULL: *e. */
void *decoder_scratch(struct decoder *d, enum decoder_buffer which, size_t bytes, struct err *e);
kn_real *decoder_rows(struct decoder *d, enum decoder_buffer which, int64_t N, int64_t cols, struct err *e);

/* A block's tensor, or NULL when the model has none. */
const struct kn_mat *decoder_mat(const struct decoder *d, const struct weights *w, int64_t layer,
                                 enum tensor_part part);
const float *decoder_vec(const struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part);
/* Where its gradient goes, or NULL. */
float *decoder_grad(const struct decoder *d, const struct weights *g, int64_t layer, enum tensor_part part);

/* y[N,C] = norm(x); mean, rstd are written (layer norm: both). */
void decoder_norm(struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part, kn_real *y,
                  float *mean, float *rstd, const kn_real *x, int64_t N);
/* a[N,F] = act(gate) * up, or act(up). */
void decoder_act(struct decoder *d, const struct layer_acts *a, kn_real *y, int64_t N);
/* The attention of a layer over the batch's own rows. */
struct kn_attn decoder_attn(const struct decoder *d, const struct batch *b, int64_t layer);
/* y += what the adapter of the matrix makes of x; nothing without one. */
int decoder_lora_forward(struct decoder *d, const struct weights *w, int64_t layer, enum tensor_part part, kn_real *y,
                         const kn_real *x, int64_t N, struct err *e);
/* Its gradients, and dx += that by x. */
int decoder_lora_backward(struct decoder *d, const struct weights *w, const struct weights *g, int64_t layer,
                          enum tensor_part part, kn_real *dx, const kn_real *dy, const kn_real *x, int64_t N,
                          struct err *e);
/* 0, or -1 with a device's error. */
int decoder_sync(const struct decoder *d, struct err *e);

/* Gradient rows of a tied embedding that wait for decoder_backward_finish: one micro-batch. */
struct pending {
	kn_real *dx; /* backend memory, room for cap rows */
	int32_t *token, *pos;
	int64_t N, cap;
};

struct weights_impl {
	void **owned; /* backend memory behind mat */
	int n_owned;
	struct kn_block *block; /* one per tensor, for those that are one piece */
	struct pending *pending;
	int n_pending, n_chunks; /* waiting, allocated */
};
/* No tensors yet. */
void weights_begin(struct weights *w, const struct kernels *k, const struct tensors *table);
/* Tensor i is one piece of this dtype. */
void weights_set_piece(struct weights *w, int i, enum kn_dtype dtype, const void *data);
/* Backend memory that weights_release frees; NULL when there is none. */
void *weights_own(struct weights *w, size_t bytes);
/* Keeps a copy of dx. */
int weights_pend(struct weights *g, const kn_real *dx, const struct batch *b, int64_t C, struct err *e);

#endif
