/*
 * arch - what differs between GPT-2, Llama, Mistral, Qwen2 and Qwen3: a descriptor, read from config.json.
 *
 * The decoder (lib/decoder.h) is driven by this struct and the tensor table (lib/tensors.h) is made from it; nobody
 * else asks which architecture a model is.  config.json is hostile input: every number is bounded so that no size made
 * of them overflows 63 bits; a key that changes what the model computes and that is not implemented is refused, never
 * ignored.  The spellings of transformers 4 and 5 are both read (torch_dtype and dtype, rope_scaling and
 * rope_parameters).
 *
 * A block, for every architecture:
 *     a = attention(norm(x));  x = x + a;  x = x + mlp(norm(x))          (pre-norm), and a final norm before the head
 *     mlp(y) = down(act(gate(y)) * up(y))  when gated,  down(act(up(y)))  otherwise
 */
#ifndef LIB_ARCH_H
#define LIB_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lib/err.h"

#define ARCH_MAX_EOS 16

enum arch_rope {
	ARCH_ROPE_NONE,    /* learned positions, added to the token embedding */
	ARCH_ROPE_DEFAULT, /* f_i = theta^(-2i/D) */
	ARCH_ROPE_LINEAR,  /* f_i / factor */
	ARCH_ROPE_LLAMA3   /* low frequencies divided by factor, high ones kept, those between blended */
};

struct arch {
	char model_type[16]; /* "gpt2", "llama", "mistral", "qwen2", "qwen3" */
	int64_t V;           /* vocabulary */
	int64_t P;           /* longest context: positions are 0..P-1 */
	int64_t C, H, G, D;  /* channels, query heads, key/value heads, head size (H*D need not be C) */
	int64_t F, L;        /* feed-forward size, layers */

	bool rms_norm; /* else layer norm, which has biases */
	float norm_eps;
	bool fused_qkv;      /* one matrix [(H+2G)*D, C], rows q then k then v; else three */
	bool bias_qkv;       /* biases on q, k, v */
	bool bias_o;         /* on the output projection of attention */
	bool bias_mlp;       /* on every matrix of the MLP */
	bool qk_norm;        /* RMS norm of each head of q and of k, gains of size D, before rope */
	bool gated;          /* the MLP has a gate */
	enum kn_act act;     /* of the MLP */
	bool tied;           /* the head is the token embedding */
	float attn_scale;    /* 1/sqrt(D), or 1 where the model does not scale */
	int64_t window;      /* sliding window, the token itself counted; 0: none */
	int64_t window_from; /* layers from this one on have the window; ask arch_window */
	bool value_model;    /* ...ForSequenceClassification: score.weight [1,C] instead of the head */

	enum arch_rope rope; /* rotate-half: pairs (j, j + D/2) */
	double rope_theta, rope_factor, rope_low, rope_high;
	int64_t rope_original; /* context before scaling */

	double init_std;      /* of matrices and embeddings at random initialisation */
	bool init_residual;   /* GPT-2: output projections of attention and MLP by init_std / sqrt(2L) */
	bool transposed_file; /* Conv1D of GPT-2: matrices of the blocks are [in,out] in files */

	int32_t bos;               /* -1: none */
	int32_t eos[ARCH_MAX_EOS]; /* of config.json alone; lib/model.h has the union with the other files */
	int n_eos;
};

/* Reads the text of a config.json.  -1: *e says what is wrong with which key ("'num_hidden_layers' is 0, ..."). */
int arch_from_config(struct arch *a, const char *text, size_t len, struct err *e);

/* Do both compute the same with the same weights?  (Initialisation and the tokens that begin and end a text aside.) */
bool arch_same(const struct arch *a, const struct arch *b);

/* Sliding window of a layer; 0: none. */
int64_t arch_window(const struct arch *a, int64_t layer);

/* Angle per position of the D/2 pairs of a head; only when rope is not ARCH_ROPE_NONE.
 * "llama3" is by wavelength w = 2 pi / f: kept where w < original/high, f/factor where w > original/low, between them
 * (1-s) f/factor + s f with s = (original/w - low) / (high - low). */
void arch_rope_frequencies(const struct arch *a, float *inv_freq);

/* Widths of the projections: H*D, G*D, and (H+2G)*D. */
static inline int64_t arch_q_width(const struct arch *a)
{
	return a->H * a->D;
}
static inline int64_t arch_kv_width(const struct arch *a)
{
	return a->G * a->D;
}
static inline int64_t arch_qkv_width(const struct arch *a)
{
	return (a->H + 2 * a->G) * a->D;
}

#endif
