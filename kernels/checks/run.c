/* run - buffers between guards, and a case on several tables; see check.h */
#include "kernels/checks/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 64 /* bytes before and after each buffer */
#define GUARD_BYTE 0xa5
#define POISON_BYTE 0xff /* floats of these are NaN */

static uint64_t next_random(struct run *r)
{
	uint64_t z = r->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

double check_random(struct run *r)
{
	return (double)(next_random(r) >> 11) * 0x1p-52 - 1;
}

int64_t check_below(struct run *r, int64_t n)
{
	return (int64_t)(next_random(r) % (uint64_t)n);
}

static void *allocate(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);
	if (!p)
		abort();
	return p;
}

/* `data` or, when NULL, poison. */
static void *typed_put(struct run *r, const void *data, size_t bytes, enum check_role role, enum check_type type)
{
	struct check_buffer *b = &r->buffers[r->n_buffers++];
	*b = (struct check_buffer){.bytes = bytes, .role = role, .type = type, .host = allocate(bytes + 2 * GUARD)};
	memset(b->host, GUARD_BYTE, bytes + 2 * GUARD);
	memset(b->host + GUARD, POISON_BYTE, bytes);
	if (data && bytes)
		memcpy(b->host + GUARD, data, bytes);
	b->memory = r->k->alloc(r->k->ctx, bytes + 2 * GUARD);
	if (!b->memory || r->n_buffers == CHECK_BUFFERS)
		abort();
	r->k->put(r->k->ctx, b->memory, b->host, bytes + 2 * GUARD);
	return b->memory + GUARD;
}

static void *buffer_put(struct run *r, const void *data, size_t bytes, enum check_role role)
{
	return typed_put(r, data, bytes, role, TYPE_FLOAT);
}

/* ---- bf16 ---- */

static uint16_t narrow(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float widened(uint16_t half)
{
	uint32_t bits = (uint32_t)half << 16;
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

static size_t real_bytes(const struct run *r, int64_t n)
{
	return (size_t)n * (r->k->real == KN_F32 ? 4 : 2);
}

kn_real *check_at(const struct run *r, const kn_real *p, int64_t i)
{
	return (kn_real *)((char *)(uintptr_t)p + real_bytes(r, 1) * (size_t)i);
}

static kn_real *random_reals(struct run *r, int64_t n, double scale, enum check_role role)
{
	float *host = allocate((size_t)n * sizeof *host);
	for (int64_t i = 0; i < n; i++) {
		host[i] = (float)(scale * check_random(r));
		host[i] = r->round ? widened(narrow(host[i])) : host[i];
	}
	uint16_t *half = (uint16_t *)host;
	for (int64_t i = 0; r->k->real != KN_F32 && i < n; i++)
		half[i] = narrow(host[i]);
	kn_real *p = typed_put(r, host, real_bytes(r, n), role, TYPE_REAL);
	free(host);
	return p;
}

kn_real *check_real_in(struct run *r, int64_t n, double scale)
{
	return random_reals(r, n, scale, ROLE_IN);
}

kn_real *check_real_out(struct run *r, int64_t n)
{
	return typed_put(r, NULL, real_bytes(r, n), ROLE_OUT, TYPE_REAL);
}

kn_real *check_real_add(struct run *r, int64_t n)
{
	return random_reals(r, n, 1, ROLE_ADD);
}

/* ---- float32, 16-bit and whole numbers ---- */

static float *random_floats(struct run *r, int64_t n, double scale, enum check_role role)
{
	float *host = allocate((size_t)n * sizeof *host);
	for (int64_t i = 0; i < n; i++)
		host[i] = (float)(scale * check_random(r));
	float *p = buffer_put(r, host, (size_t)n * sizeof *host, role);
	free(host);
	return p;
}

float *check_bias(struct run *r, int64_t n)
{
	float *host = allocate((size_t)n * sizeof *host);
	for (int64_t i = 0; i < n; i++) {
		host[i] = (float)check_random(r);
		host[i] = r->round ? widened(narrow(host[i])) : host[i];
	}
	float *p = check_in_from(r, host, n);
	free(host);
	return p;
}

float *check_in(struct run *r, int64_t n, double scale)
{
	return random_floats(r, n, scale, ROLE_IN);
}

float *check_in_from(struct run *r, const float *host, int64_t n)
{
	return buffer_put(r, host, (size_t)n * sizeof *host, ROLE_IN);
}

float *check_out(struct run *r, int64_t n)
{
	return buffer_put(r, NULL, (size_t)n * sizeof(float), ROLE_OUT);
}

float *check_add(struct run *r, int64_t n)
{
	return random_floats(r, n, 1, ROLE_ADD);
}

void *check_host(struct run *r, size_t bytes)
{
	return r->host[r->n_host++] = allocate(bytes);
}

int32_t *check_ids(struct run *r, int64_t n, int64_t below)
{
	int32_t *ids = check_host(r, (size_t)n * sizeof *ids);
	for (int64_t i = 0; i < n; i++)
		ids[i] = (int32_t)check_below(r, below);
	return ids;
}

/* 16-bit numbers with a small exponent: finite and of size about 1 in both formats */
static void random_half(struct run *r, uint16_t *h, int64_t n, enum kn_dtype dtype)
{
	for (int64_t i = 0; i < n; i++) {
		uint16_t bits = (uint16_t)next_random(r);
		h[i] = dtype == KN_F16 ? (uint16_t)((bits & (r->round ? 0x83f8 : 0x83ff)) | (12 + bits % 4) << 10)
		                       : (uint16_t)((bits & 0x807f) | (123 + bits % 5) << 7);
	}
}

void *check_bytes(struct run *r, size_t bytes, enum check_role role)
{
	if (role != ROLE_IN)
		return buffer_put(r, NULL, bytes, role);
	uint16_t *host = allocate(bytes);
	random_half(r, host, (int64_t)(bytes / 2), KN_BF16);
	void *p = buffer_put(r, host, bytes, role);
	free(host);
	return p;
}

static void *random_piece(struct run *r, enum kn_dtype dtype, int64_t n, double scale)
{
	if (dtype == KN_F32 && r->round)
		return check_bias(r, n);
	if (dtype == KN_F32)
		return check_in(r, n, scale);
	uint16_t *host = allocate((size_t)n * sizeof *host);
	random_half(r, host, n, dtype);
	void *p = buffer_put(r, host, (size_t)n * sizeof *host, ROLE_IN);
	free(host);
	return p;
}

#define SMALL 2000 /* elements of a matrix that stays float32 on a table of bf16, so that this is tried too */

struct kn_mat check_mat(struct run *r, enum kn_dtype dtype, int64_t rows, int64_t cols, double scale, int pieces)
{
	if (r->round && dtype == KN_F32 && rows * cols >= SMALL)
		dtype = KN_BF16;
	struct kn_mat w = {.dtype = dtype, .rows = rows, .cols = cols, .blocks = r->blocks + r->n_blocks};
	w.n_blocks = pieces && rows >= 3 ? 3 : 1;
	for (int i = 0; i < w.n_blocks; i++) {
		int64_t share = i + 1 < w.n_blocks ? rows / 3 : rows - (w.n_blocks - 1) * (rows / 3);
		r->blocks[r->n_blocks++] = (struct kn_block){random_piece(r, dtype, share * cols, scale), share};
	}
	return w;
}

double check_nmse(const float *got, const float *want, int64_t n)
{
	double error = 0, truth = 0;
	for (int64_t i = 0; i < n; i++) {
		if (isnan(want[i]) && isnan(got[i]))
			continue;
		error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
		truth += (double)want[i] * want[i];
	}
	return error == 0 ? 0 : isnan(error) || truth == 0 ? INFINITY : error / truth;
}

static int guards_hold(const struct check_buffer *b)
{
	for (size_t i = 0; i < GUARD; i++)
		if ((unsigned char)b->host[i] != GUARD_BYTE ||
		    (unsigned char)b->host[GUARD + b->bytes + i] != GUARD_BYTE)
			return 0;
	return 1;
}

/* Fetches every buffer; 0 if something outside the outputs was written or the device complains. */
static int run_fetch(struct run *r, const char **why)
{
	char reason[256];
	int ok = 1;
	if (r->k->sync(r->k->ctx, reason, sizeof reason)) {
		printf("# %s: %s\n", r->k->name, reason);
		*why = "sync";
		return 0;
	}
	for (int i = 0; i < r->n_buffers; i++) {
		struct check_buffer *b = &r->buffers[i];
		char *before = allocate(b->bytes + 2 * GUARD);
		memcpy(before, b->host, b->bytes + 2 * GUARD);
		r->k->get(r->k->ctx, b->host, b->memory, b->bytes + 2 * GUARD);
		if (!guards_hold(b)) {
			*why = "wrote outside its output";
			ok = 0;
		}
		if (b->role == ROLE_IN && memcmp(before, b->host, b->bytes + 2 * GUARD)) {
			*why = "changed its input";
			ok = 0;
		}
		free(before);
	}
	return ok;
}

static int run_case(struct run *r, const struct kernels *k, int round, const struct check_case *c, const int64_t *d,
                    const char **why)
{
	*r = (struct run){.k = k, .random = (uint64_t)d[0] * 7 + 1, .round = round};
	c->fn(r, d);
	return run_fetch(r, why);
}

void check_run_free(struct run *r)
{
	for (int i = 0; i < r->n_buffers; i++) {
		free(r->buffers[i].host);
		r->k->free(r->k->ctx, r->buffers[i].memory);
	}
	for (int i = 0; i < r->n_host; i++)
		free(r->host[i]);
}

static int same_bits(const struct run *a, const struct run *b)
{
	for (int i = 0; i < a->n_buffers; i++) {
		const struct check_buffer *x = &a->buffers[i], *y = &b->buffers[i];
		if (x->role != ROLE_SCRATCH && memcmp(x->host + GUARD, y->host + GUARD, x->bytes))
			return 0;
	}
	return 1;
}

/* A buffer as float32, owned by the caller. */
static float *as_floats(const struct run *r, const struct check_buffer *b, int64_t *n)
{
	int narrow_ones = b->type == TYPE_REAL && r->k->real != KN_F32;
	*n = (int64_t)(b->bytes / (narrow_ones ? 2 : 4));
	float *x = allocate((size_t)*n * sizeof *x);
	uint16_t half;
	for (int64_t i = 0; i < *n; i++) {
		memcpy(narrow_ones ? (void *)&half : (void *)&x[i], b->host + GUARD + i * (narrow_ones ? 2 : 4),
		       narrow_ones ? 2 : 4);
		x[i] = narrow_ones ? widened(half) : x[i];
	}
	return x;
}

static double buffer_nmse(const struct run *got, const struct run *want, int i)
{
	int64_t n, m;
	float *x = as_floats(got, &got->buffers[i], &n), *y = as_floats(want, &want->buffers[i], &m);
	double e = n == m ? check_nmse(x, y, n) : INFINITY;
	free(x);
	free(y);
	return e;
}

static double bound(const struct run *got, const struct check_case *c, enum check_type type)
{
	double of_bf16 = type == TYPE_REAL ? c->reals : c->floats;
	return got->k->real == KN_F32 || of_bf16 == 0 ? c->nmse : of_bf16;
}

/* Is every output as near to the reference as the case asks? */
static int near(const struct run *got, const struct run *want, const struct check_case *c, double *worst)
{
	int ok = c->nmse > 0 || got->k->real != KN_F32 || same_bits(got, want);
	for (int i = 0; i < got->n_buffers; i++) {
		const struct check_buffer *x = &got->buffers[i];
		if (x->role == ROLE_IN || x->role == ROLE_SCRATCH)
			continue;
		double e = buffer_nmse(got, want, i);
		*worst = e > *worst ? e : *worst;
		ok = ok && e <= bound(got, c, x->type);
	}
	return ok;
}

/* The same case on another table (or the same again) must give the same bits. */
static int repeats(const struct run *first, const struct kernels *k, const struct check_case *c, const int64_t *d)
{
	struct run again;
	const char *why = NULL;
	int ok = run_case(&again, k, first->round, c, d, &why) && same_bits(first, &again);
	check_run_free(&again);
	return ok;
}

const char *check_shape(const struct check_tables *t, const struct check_case *c, const int64_t *d, struct kernels *ref,
                        struct kernels *other, double *worst)
{
	struct run got, want;
	const char *why = NULL;
	int round = t->k[0]->real != KN_F32;
	if (!run_case(&want, ref, round, c, d, &why))
		why = "reference broke";
	if (!run_case(&got, t->k[0], round, c, d, &why))
		why = why ? why : "broke";
	if (!near(&got, &want, c, worst) && !why)
		why = "differs from ref";
	if (!why && !repeats(&got, t->k[0], c, d))
		why = "second run has other bits";
	for (int i = 1; !why && i < CHECK_THREADS; i++)
		if (t->k[i] && !repeats(&got, t->k[i], c, d))
			why = "other threads, other bits";
	if (!why && other && !repeats(&got, other, c, d))
		why = "another table has other bits";
	check_run_free(&got);
	check_run_free(&want);
	return why;
}
