/*
 * optim_moment - what an optimizer remembers of every element of a table: a running mean of gradients, or of their
 * squares.
 *
 * In float32; or in 8 bits, by blocks of KN_BLOCK8 elements (kernels.h has the arithmetic), with the dynamic map of
 * Dettmers, Lewis, Shleifer, Zettlemoyer, "8-bit Optimizers via Block-wise Quantization", ICLR 2022, as bitsandbytes
 * makes it.  Then these stay in float32, as they do there: tensors of fewer than OPTIM_MOMENT_LEAST elements, and
 * embeddings of tokens and positions (its StableEmbedding), whose gradients differ by token and hardly within a block.
 */
#ifndef LIB_OPTIM_MOMENT_H
#define LIB_OPTIM_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/decoder.h"
#include "lib/err.h"
#include "lib/store.h"
#include "lib/tensors.h"

#define OPTIM_MOMENT_LEAST 4096
/* Entries of a map. */
#define OPTIM_MOMENT_CODES 256

struct optim_moment {
	const struct kernels *k;     /* borrowed; NULL: there is no such moment */
	const struct tensors *table; /* borrowed */
	const char *name;            /* in the store: "adam.m", "adam.v" */
	int64_t *at;                 /* [table->n] place in slab, or in code (a multiple of KN_BLOCK8); frozen: -1 */
	float *slab;                 /* of those in float32; where all are, at the table's offsets */
	uint8_t *code;               /* of those in 8 bits; NULL: none is */
	float *absmax, *map;
	int64_t n_slab, n_code;
};

/* All zero.  second: of squares.  eight: in 8 bits.  Of frozen tensors there is none. */
int optim_moment_init(struct optim_moment *m, const struct kernels *k, const struct tensors *table, bool second,
                      bool eight, struct err *e);
void optim_moment_release(struct optim_moment *m);
/* Back to zero. */
void optim_moment_zero(struct optim_moment *m);

/* Is tensor i of the table in 8 bits? */
bool optim_moment_in_8_bits(const struct optim_moment *m, int i);
/* Tensor i for kernels; it must be in 8 bits. */
struct kn_moment8 optim_moment_view(const struct optim_moment *m, int i);
/* 0, or -1 naming the first tensor with NaN or infinity, of which `what` is said; in 8 bits these show in absmax. */
int optim_moment_check_finite(const struct optim_moment *m, const char *what, struct err *e);

/* From a version in the store, checksums looked at; what it has none of stays zero.  -1 too when it is there in another
 * form. */
int optim_moment_read(struct optim_moment *m, struct store_view *v, const struct store_ref *ref, struct err *e);
/* Puts tensor i; host: room for it in float32, or NULL when backend memory is the host's. */
int optim_moment_put(const struct optim_moment *m, int i, struct store_update *u, const char *slot, int64_t version,
                     float *host, struct err *e);

/*
 * The map: with d = 0..6, the 2^d parts (2^(d+1) when it is unsigned) of [0.1, 1] give their middles times 10^(d-6);
 * signed the same below zero; and 0, and 1.  Rising.
 */
void optim_moment_map(float map[OPTIM_MOMENT_CODES], bool with_sign);

#endif
