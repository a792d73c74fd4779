/*
 * tensors - the table of a model: name, shape, role of every tensor.
 *
 * Allocation, store keys, import, export, initialisation, gradients, optimizer and tests walk this table; nobody spells
 * a tensor's name anywhere else.
 *
 * Names are those that transformers writes today, so that gradients and steps compare by name with other
 * implementations: "transformer.h.0.attn.c_attn.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight",
 * "score.weight".  Files without the first component ("h.0...", "layers.0...") are accepted on import, never written.
 *
 * Matrices are [out, in], row-major, here and in the store, whatever the file has.  Everything is float32 in a slab.
 */
#ifndef LIB_TENSORS_H
#define LIB_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arch.h"
#include "lib/err.h"

enum tensor_role {
	TENSOR_EMBEDDING, /* [V,C] */
	TENSOR_POSITION,  /* [P,C] */
	TENSOR_MATRIX,    /* [out,in] */
	TENSOR_BIAS,      /* [out], of a matrix or of a layer norm */
	TENSOR_GAIN,      /* [n], of a norm */
	TENSOR_HEAD,      /* [V,C], only when not tied */
	TENSOR_VALUE,     /* [1,C], the value head */
	TENSOR_LORA_A,    /* [r,in] of an adapter (lib/lora.h) */
	TENSOR_LORA_B     /* [out,r] */
};

/* Which tensor of the model it is; those of a block come once per layer. */
enum tensor_part {
	PART_TOKENS, /* not in a block: layer is -1 */
	PART_POSITIONS,
	PART_NORM,
	PART_NORM_BIAS,
	PART_HEAD,
	PART_SCORE,
	PART_NORM1, /* in a block: before attention */
	PART_NORM1_BIAS,
	PART_QKV, /* fused [(H+2G)D, C] */
	PART_QKV_BIAS,
	PART_Q, /* separate */
	PART_Q_BIAS,
	PART_K,
	PART_K_BIAS,
	PART_V,
	PART_V_BIAS,
	PART_Q_NORM,
	PART_K_NORM,
	PART_O, /* [C, HD] */
	PART_O_BIAS,
	PART_NORM2, /* before the MLP */
	PART_NORM2_BIAS,
	PART_GATE, /* [F,C] */
	PART_GATE_BIAS,
	PART_UP, /* [F,C] */
	PART_UP_BIAS,
	PART_DOWN, /* [C,F] */
	PART_DOWN_BIAS,
	PART_COUNT
};

enum tensor_init { TENSOR_INIT_ZERO, TENSOR_INIT_ONE, TENSOR_INIT_NORMAL, TENSOR_INIT_UNIFORM };

struct tensor {
	char name[80];
	enum tensor_role role;
	enum tensor_part part; /* of an adapter's: that of its matrix */
	int64_t layer;         /* -1: not in a block */
	int n_dims;            /* 1 or 2 */
	int64_t shape[2];
	int64_t rows, cols;    /* shape as a matrix: a vector is one row */
	int64_t count;         /* elements */
	int64_t offset;        /* in a slab, in floats; a multiple of 16; -1 when frozen */
	bool transposed;       /* in the file it is [shape[1], shape[0]] */
	bool frozen;           /* of an adapter's base: read, never written; no gradient, no moments, in no slab */
	int lora;              /* of a matrix: index of its A (B is the next), -1: none */
	enum tensor_init init; /* the architecture's own convention */
	double init_std;       /* or the bound of a uniform one */
};

struct tensors {
	struct tensor *tensor; /* in the order of the model: embeddings, blocks, final norm, heads */
	int n;
	int64_t size;                    /* floats in a slab, padding included (which stays zero) */
	int64_t count;                   /* parameters, without padding and frozen ones */
	double lora_scale, lora_dropout; /* of an adapter */
	int64_t L;
	int *at;     /* [(1+L) * PART_COUNT] index or -1; see tensors_part */
	int *sorted; /* indexes by name */
};

/* The table of the architecture.  with_value: PART_SCORE is in it beside the head; a value_model has it anyway and has
 * no head.  -1 when the whole is too big for this machine's addresses. */
int tensors_init(struct tensors *t, const struct arch *a, bool with_value, struct err *e);
void tensors_release(struct tensors *t);

/* For lib/lora: freezes all that is there but the value head; appends a tensor, of which name, role, part, layer,
 * shape and init are given; puts the names in order again. */
void tensors_freeze(struct tensors *t);
int tensors_append(struct tensors *t, const struct tensor *x, struct err *e);
void tensors_sort(struct tensors *t);

/* Index of a name, or -1. */
int tensors_find(const struct tensors *t, const char *name);
/* Index of a part, or -1 when the model has none; layer -1 for what is not in a block. */
int tensors_part(const struct tensors *t, int64_t layer, enum tensor_part part);

/* Elements first .. first+n-1 of tensor i at random initialisation: element k is drawn at counter k of the tensor's
 * name under rng_key("init", seed, "", 0), so any piece is the same on any machine, in any order. */
void tensors_fill(const struct tensors *t, int i, uint64_t seed, int64_t first, int64_t n, float *out);

/* y[cols,rows] = x[rows,cols] transposed. */
void tensor_transpose(float *y, const float *x, int64_t rows, int64_t cols);

/* "[768, 2304]" into buf, for messages. */
#define TENSOR_SHAPE_TEXT 96
const char *tensor_shape_text(char buf[TENSOR_SHAPE_TEXT], int n_dims, const int64_t *shape);

#endif
