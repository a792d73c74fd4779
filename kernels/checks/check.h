/*
 * check - holds every table to ref/ and to the promises of kernels.h.
 *
 * A case runs one op on one shape of one table.  It takes its buffers from the
 * run: random input, output that is poisoned (forward) or holds random numbers
 * (backward adds).  Every buffer lies between guard values.  The harness runs
 * the case on the reference, on the table, again, and on the table with other
 * threads, and compares outputs.
 */
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#include "kernels/kernels.h"

#include <stdint.h>
#include <stddef.h>

#define CHECK_BUFFERS 24
#define CHECK_DIMS 6

enum check_role { ROLE_IN, ROLE_OUT, ROLE_ADD, ROLE_SCRATCH };
enum check_type { TYPE_FLOAT, TYPE_REAL }; /* float32 (or bits), or the table's kn_real */

struct check_buffer {
	char *memory; /* of the backend: guard, data, guard */
	char *host;   /* what was put there, later what came back */
	size_t bytes;
	enum check_role role;
	enum check_type type;
};

struct run {
	const struct kernels *k;
	uint64_t random;
	int round; /* the case is for a table of bf16: activations, matrices and biases hold numbers of bf16, on ref too
	            */
	int n_buffers;
	struct check_buffer buffers[CHECK_BUFFERS];
	struct kn_block blocks[8]; /* of matrices given out */
	int n_blocks;
	void *host[16]; /* host arrays given out */
	int n_host;
};

typedef void check_fn(struct run *r, const int64_t *d);

/* One op: shapes end with one whose first number is -1. */
struct check_case {
	const char *op;
	check_fn *fn;
	double nmse;          /* largest squared error over the squares of the truth; 0: the same bits */
	double reals, floats; /* the same of a table of bf16: of its activations, of all else; 0: as nmse */
	const int64_t (*dims)[CHECK_DIMS];
	size_t slot; /* offset in struct kernels of the pointer it needs */
};

extern const struct check_case check_cases[];

/* Cases of cases_model.c. */
#define END                                                                                                            \
	{                                                                                                              \
		-1, 0, 0, 0, 0, 0                                                                                      \
	}
extern const int64_t check_head_dims[][CHECK_DIMS], check_attention_dims[][CHECK_DIMS];
check_fn check_head_fwd;
check_fn check_head_bwd;
check_fn check_head_fwd_kl;
check_fn check_head_bwd_kl;
check_fn check_head_logits;
check_fn check_logits_stats;
check_fn check_attention_fwd;
check_fn check_attention_bwd;

/* uniform in (-1, 1) */
double check_random(struct run *r);
int64_t check_below(struct run *r, int64_t n);

/* Buffers in the backend's memory, 64-byte aligned, valid until the run ends.  real: of kn_real. */
kn_real *check_real_in(struct run *r, int64_t n, double scale);
kn_real *check_real_out(struct run *r, int64_t n);
kn_real *check_real_add(struct run *r, int64_t n);
kn_real *check_at(const struct run *r, const kn_real *p, int64_t i); /* element i */
float *check_bias(struct run *r, int64_t n); /* float32, of bf16 numbers where the table is of bf16 */
float *check_in(struct run *r, int64_t n, double scale);
float *check_in_from(struct run *r, const float *host, int64_t n);
float *check_out(struct run *r, int64_t n); /* poisoned */
float *check_add(struct run *r, int64_t n); /* random; the op adds */
void *check_bytes(struct run *r, size_t bytes, enum check_role role);
/* A random matrix in one piece, or in three when `pieces` and rows allow. */
struct kn_mat check_mat(struct run *r, enum kn_dtype dtype, int64_t rows, int64_t cols, double scale, int pieces);
/* Host arrays, freed with the run. */
int32_t *check_ids(struct run *r, int64_t n, int64_t below);
void *check_host(struct run *r, size_t bytes);

/* TAP */
void check_result(int ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* squared error over squares of the truth; infinite when one is NaN and the other is not */
double check_nmse(const float *got, const float *want, int64_t n);

/* The harness (run.c): NULL, or in words what is wrong with the case on this table. */
#define CHECK_THREADS 3 /* tables of one instruction set, with 1, 2 and 3 threads; NULL where there are fewer */
struct check_tables {
	struct kernels *k[CHECK_THREADS];
};
const char *check_shape(const struct check_tables *t, const struct check_case *c, const int64_t *d, struct kernels *ref,
                        struct kernels *other, double *worst);
void check_run_free(struct run *r);

void check_gradients(void);                     /* ref/ against central differences */
void check_math(void);                          /* accuracy of exp, log, tanh, erf, sin, cos */
void check_invariance(const struct kernels *k); /* batches, decoding, prefixes and micro-batches, in bits */

#endif
