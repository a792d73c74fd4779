/*
 * attention_mma_check - attention on tensor cores against ref/, on the same bf16 inputs.  TAP on stdout.
 *
 * The same program runs on a GPU and on kernels/cuda/emu.  Every output lies between guards.  What is promised in bits
 * (a row alone as in any batch, a second run as the first) is compared in bits.
 */
#include "kernels/cuda/attention_mma.cuh"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "kernels/ref/ref.h"
struct kernels *rl_kernels_cuda_open(size_t table_bytes, const struct kn_cuda *config, char *why, size_t why_len);
}

#define GUARD 64 /* elements before and after */
#define SEQS 8

/*
 * Largest errors allowed, squared, over squares of the truth.  The backward pass of ref/ is given the o and lse that
 * the forward pass on tensor cores left.  What rounding to bf16 alone gives, by the same formulas in double with the
 * same kind of numbers, 7 to 130 queries, 40 times each: p rounded .9e-6 of o, with o rounded too 3.5e-6 (at
 * most 3.7e-6); ds rounded 2.8e-6 of dq, with dq rounded too 4.9e-6 (at most 8e-6, where few rows leave room for
 * chance).
 */
#define NMSE_O 1e-5
#define NMSE_LSE 1e-12
#define NMSE_GRAD 1e-5

static struct kernels *k;
static int results, failures;
static uint64_t random_state = 1;
static double worst_o, worst_lse, worst_grad;

static void result(int ok, const char *what)
{
	printf("%sok %d - attention_mma: %s\n", ok ? "" : "not ", ++results, what);
	failures += !ok;
}

/* uniform in (-1, 1), by splitmix64 */
static double random_number(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

static uint16_t to_bf16(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float y;
	memcpy(&y, &bits, sizeof y);
	return y;
}

/* Numbers on the host as float32, and on the device as bf16 or (`wide`) float32 between guards. */
struct array {
	int64_t n;
	int wide;
	float *host;
	char *device;
};

static size_t bytes_of(const struct array *x, int64_t n)
{
	return (size_t)n * (x->wide ? 4 : 2);
}

static void put(struct array *x)
{
	size_t bytes = bytes_of(x, x->n + 2 * GUARD), guard = bytes_of(x, GUARD);
	char *there = (char *)malloc(bytes);
	memset(there, 0xa5, bytes);
	for (int64_t i = 0; i < x->n; i++) {
		uint16_t narrow = to_bf16(x->host[i]);
		memcpy(there + guard + bytes_of(x, i), x->wide ? (void *)&x->host[i] : (void *)&narrow,
		       x->wide ? 4 : 2);
	}
	k->put(k->ctx, x->device, there, bytes);
	k->sync(k->ctx, NULL, 0);
	free(there);
}

/* n random numbers up to `scale`, exact in bf16 */
static struct array make(int64_t n, double scale, int wide)
{
	struct array x = {n, wide, (float *)calloc((size_t)n + 1, sizeof(float)), NULL};
	for (int64_t i = 0; i < n; i++)
		x.host[i] = from_bf16(to_bf16((float)(scale * random_number())));
	x.device = (char *)k->alloc(k->ctx, bytes_of(&x, n + 2 * GUARD));
	put(&x);
	return x;
}

static void release(struct array *x)
{
	free(x->host);
	k->free(k->ctx, x->device);
}

static float *at(const struct array *x)
{
	return (float *)(x->device + bytes_of(x, GUARD));
}

/* What is there now, as float32; 0 if a guard was written to or the device complains. */
static int get(float *to, const struct array *x)
{
	size_t bytes = bytes_of(x, x->n + 2 * GUARD), guard = bytes_of(x, GUARD);
	unsigned char *there = (unsigned char *)malloc(bytes);
	char why[256] = "";
	int ok = k->sync(k->ctx, why, sizeof why) == 0;
	if (!ok)
		printf("# %s\n", why);
	k->get(k->ctx, there, x->device, bytes);
	for (size_t i = 0; i < guard; i++)
		ok &= there[i] == 0xa5 && there[bytes - 1 - i] == 0xa5;
	for (int64_t i = 0; i < x->n; i++) {
		uint16_t narrow;
		memcpy(&narrow, there + guard + bytes_of(x, i), 2);
		if (x->wide)
			memcpy(&to[i], there + guard + bytes_of(x, i), 4);
		else
			to[i] = from_bf16(narrow);
	}
	free(there);
	return ok;
}

static double nmse(const float *got, const float *want, int64_t n)
{
	double error = 0, truth = 0;
	for (int64_t i = 0; i < n; i++) {
		error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
		truth += (double)want[i] * want[i];
	}
	return error == 0 ? 0 : isnan(error) || truth == 0 ? INFINITY : error / truth;
}

/* ---- problems ---- */

enum kind { FULL, SHARED, DECODE }; /* whole sequences; a prompt, and samples that share its rows; one query each */

struct shape_of {
	int64_t H, G, D, window, extra; /* extra numbers between rows of q and of k */
	enum kind kind;
	int64_t lengths[5]; /* 0 ends them */
};

struct problem {
	struct kn_attn a;
	struct kn_seq seq[SEQS];
	int64_t queries, keys;
	struct array q, k, v, o, lse;
};

static struct problem problem_make(const struct shape_of *d)
{
	struct problem p = {};
	for (int i = 0; d->lengths[i]; i++) {
		int64_t n = d->lengths[i];
		struct kn_seq *s = &p.seq[p.a.n_seq++];
		if (d->kind == DECODE)
			*s = {p.queries, 1, n - 1, 0, 0, p.keys};
		else if (d->kind == FULL || i == 0)
			*s = {p.queries, n, 0, 0, 0, p.keys};
		else
			*s = {p.queries, n, d->lengths[0], 0, d->lengths[0], p.keys};
		p.queries += s->n_q;
		p.keys += n;
	}
	p.a.H = d->H;
	p.a.G = d->G;
	p.a.D = d->D;
	p.a.window = d->window;
	p.a.scale = (float)(1 / sqrt((double)d->D));
	p.a.q_stride = d->H * d->D + d->extra;
	p.a.kv_stride = d->G * d->D + d->extra;
	p.q = make(p.queries * p.a.q_stride, 2, 0);
	p.k = make(p.keys * p.a.kv_stride, 2, 0);
	p.v = make(p.keys * p.a.kv_stride, 1, 0);
	p.o = make(p.queries * d->H * d->D, 9, 0);
	p.lse = make(p.queries * d->H, 9, 1);
	return p;
}

static void problem_release(struct problem *p)
{
	release(&p->q);
	release(&p->k);
	release(&p->v);
	release(&p->o);
	release(&p->lse);
}

static void attend(struct problem *p, const struct kn_seq *seq, int64_t n_seq)
{
	struct kn_attn a = p->a;
	a.seq = seq;
	a.n_seq = n_seq;
	cu_attention_mma_fwd(k->ctx, at(&p->o), at(&p->lse), at(&p->q), at(&p->k), at(&p->v), &a);
}

static float *numbers(int64_t n)
{
	return (float *)calloc((size_t)n + 1, sizeof(float));
}

/* NULL, or what is wrong; the results stay in p->o and p->lse, on the host too. */
static const char *check_forward(struct problem *p)
{
	const char *why = NULL;
	float *o = numbers(p->o.n), *lse = numbers(p->lse.n), *o_want = numbers(p->o.n), *lse_want = numbers(p->lse.n);
	ref_attention_fwd(NULL, o_want, lse_want, p->q.host, p->k.host, p->v.host, &p->a);
	attend(p, p->seq, p->a.n_seq);
	if (!get(o, &p->o) || !get(lse, &p->lse))
		why = "o or lse: wrote outside, or failed";
	double e_o = nmse(o, o_want, p->o.n), e_lse = nmse(lse, lse_want, p->lse.n);
	if (!why && (!(e_o <= NMSE_O) || !(e_lse <= NMSE_LSE)))
		why = "o or lse differs from ref";
	worst_o = fmax(worst_o, e_o);
	worst_lse = fmax(worst_lse, e_lse);
	memcpy(p->o.host, o, (size_t)p->o.n * 4); /* inputs of the backward pass */
	memcpy(p->lse.host, lse, (size_t)p->lse.n * 4);
	free(o);
	free(lse);
	free(o_want);
	free(lse_want);
	return why;
}

static const char *gradient_of(struct array *d, const float *want, const char *name)
{
	float *got = numbers(d->n);
	const char *why = get(got, d) ? NULL : "a gradient: wrote outside, or failed";
	double e = nmse(got, want, d->n);
	worst_grad = fmax(worst_grad, e);
	if (!why && !(e <= NMSE_GRAD))
		why = name;
	free(got);
	return why;
}

static void differentiate(struct problem *p, const struct array *do_, struct array *d, struct array *scratch,
                          const struct kn_seq *seq, int64_t n_seq)
{
	struct kn_attn a = p->a;
	a.seq = seq;
	a.n_seq = n_seq;
	cu_attention_mma_bwd(k->ctx, at(&d[0]), at(&d[1]), at(&d[2]), at(do_), at(&p->o), at(&p->lse), at(&p->q),
	                     at(&p->k), at(&p->v), &a, at(scratch));
}

static const char *check_backward(struct problem *p)
{
	struct array do_ = make(p->o.n, 1, 0), scratch = make(p->lse.n, 1, 1);
	struct array d[] = {make(p->q.n, 0.1, 0), make(p->k.n, 0.1, 0), make(p->v.n, 0.1, 0)};
	differentiate(p, &do_, d, &scratch, p->seq, p->a.n_seq);
	ref_attention_bwd(NULL, d[0].host, d[1].host, d[2].host, do_.host, p->o.host, p->lse.host, p->q.host, p->k.host,
	                  p->v.host, &p->a, NULL);
	const char *why[] = {gradient_of(&d[0], d[0].host, "dq differs from ref"),
	                     gradient_of(&d[1], d[1].host, "dk differs from ref"),
	                     gradient_of(&d[2], d[2].host, "dv differs from ref")};
	for (int i = 0; i < 3; i++)
		release(&d[i]);
	release(&do_);
	release(&scratch);
	return why[0] ? why[0] : why[1] ? why[1] : why[2];
}

static void check_shape(const struct shape_of *d)
{
	struct problem p = problem_make(d);
	p.a.seq = p.seq;
	const char *why = !cu_attention_mma_takes(&p.a) ? "not taken" : check_forward(&p);
	if (!why && cu_attention_mma_takes_grad((struct cuda *)k->ctx, &p.a) != (d->kind != SHARED))
		why = "backward takes a shared prefix, or nothing";
	if (!why && d->kind != SHARED)
		why = check_backward(&p);
	char what[160];
	snprintf(what, sizeof what, "H %d, G %d, D %d, window %d, %s of %d.. %s%s", (int)d->H, (int)d->G, (int)d->D,
	         (int)d->window,
	         d->kind == FULL     ? "sequences"
	         : d->kind == SHARED ? "samples"
	                             : "caches",
	         (int)d->lengths[0], why ? ": " : "", why ? why : "");
	result(!why, what);
	problem_release(&p);
}

/* ---- promises in bits ---- */

/* Rows `from` on of o and lse as they are now against what they were in a batch. */
static int same_rows(const struct problem *p, const float *o, const float *lse, int64_t row, int64_t n)
{
	float *o_now = numbers(p->o.n), *lse_now = numbers(p->lse.n);
	int64_t width = p->a.H * p->a.D;
	int ok = get(o_now, &p->o) && get(lse_now, &p->lse) &&
	         !memcmp(o_now + row * width, o + row * width, (size_t)(n * width) * 4) &&
	         !memcmp(lse_now + row * p->a.H, lse + row * p->a.H, (size_t)(n * p->a.H) * 4);
	free(o_now);
	free(lse_now);
	return ok;
}

/* Pieces of `step` queries of each sequence, and the queries of several sequences together, one each. */
static void check_rows(const struct shape_of *d, int64_t step)
{
	struct problem p = problem_make(d);
	float *o = numbers(p.o.n), *lse = numbers(p.lse.n);
	int ok = 1;
	attend(&p, p.seq, p.a.n_seq);
	ok &= get(o, &p.o) && get(lse, &p.lse);
	put(&p.o);
	put(&p.lse);
	for (int64_t i = 0; i < p.a.n_seq; i++)
		for (int64_t t = 0; t < p.seq[i].n_q; t += step) {
			struct kn_seq s = p.seq[i];
			s.q_row += t;
			s.pos += t;
			s.n_q = s.n_q - t < step ? s.n_q - t : step;
			attend(&p, &s, 1);
			ok &= same_rows(&p, o, lse, s.q_row, s.n_q);
		}
	char what[160];
	snprintf(what, sizeof what, "batch-invariant: H %d, G %d, D %d, window %d: %d queries alone as in the batch",
	         (int)d->H, (int)d->G, (int)d->D, (int)d->window, (int)step);
	result(ok, what);
	free(o);
	free(lse);
	problem_release(&p);
}

/* Gradients of sequences one by one are those of the batch; another run gives the same. */
static void check_gradients_alone(const struct shape_of *d)
{
	struct problem p = problem_make(d);
	struct array do_ = make(p.o.n, 1, 0), scratch = make(p.lse.n, 1, 1);
	struct array g[] = {make(p.q.n, 0.1, 0), make(p.k.n, 0.1, 0), make(p.v.n, 0.1, 0)};
	int ok = 1;
	attend(&p, p.seq, p.a.n_seq);
	differentiate(&p, &do_, g, &scratch, p.seq, p.a.n_seq);
	float *before[3], *after[3];
	for (int i = 0; i < 3; i++) {
		before[i] = numbers(g[i].n);
		after[i] = numbers(g[i].n);
		ok &= get(before[i], &g[i]);
		put(&g[i]);
	}
	for (int64_t i = 0; i < p.a.n_seq; i++)
		differentiate(&p, &do_, g, &scratch, &p.seq[i], 1);
	for (int i = 0; i < 3; i++) {
		ok &= get(after[i], &g[i]) && !memcmp(before[i], after[i], (size_t)g[i].n * 4);
		free(before[i]);
		free(after[i]);
		release(&g[i]);
	}
	result(ok, "gradients of sequences alone as in the batch, in bits");
	release(&do_);
	release(&scratch);
	problem_release(&p);
}

/* A long context, split: near ref, the same again, and other bits than when it is not. */
static void check_splits(const struct shape_of *d)
{
	struct cuda *cu = (struct cuda *)k->ctx;
	struct problem p = problem_make(d);
	p.a.seq = p.seq;
	cu->any_order = 1;
	const char *why = check_forward(&p);
	float *o = numbers(p.o.n), *lse = numbers(p.lse.n);
	get(o, &p.o);
	get(lse, &p.lse);
	attend(&p, p.seq, p.a.n_seq);
	if (!why && !same_rows(&p, o, lse, 0, p.queries))
		why = "second run has other bits";
	cu->any_order = 0;
	attend(&p, p.seq, p.a.n_seq);
	if (!why && same_rows(&p, o, lse, 0, p.queries))
		why = "nothing was split";
	char what[160];
	snprintf(what, sizeof what, "contexts of %d.. keys split, D %d, window %d%s%s", (int)d->lengths[0], (int)d->D,
	         (int)d->window, why ? ": " : "", why ? why : "");
	result(!why, what);
	free(o);
	free(lse);
	problem_release(&p);
}

static void check_taken(void)
{
	struct kn_attn a = {};
	int ok = 1;
	a.scale = 1;
	for (a.D = 0; a.D <= 300; a.D++)
		ok &= cu_attention_mma_takes(&a) == (a.D >= 32 && a.D <= 256 && a.D % 16 == 0);
	a.D = 64;
	a.q_stride = 4;
	ok &= !cu_attention_mma_takes(&a);
	a.q_stride = 8;
	a.kv_stride = 12;
	ok &= !cu_attention_mma_takes(&a);
	a.kv_stride = 0;
	a.scale = 0;
	ok &= !cu_attention_mma_takes(&a);
	result(ok, "which head sizes, strides and scales are taken");
}

static const struct shape_of shapes[] = {
        {1, 1, 32, 0, 0, FULL, {1}},
        {2, 2, 64, 0, 0, FULL, {7, 65, 1, 33}},
        {2, 1, 64, 5, 8, FULL, {65, 7}},
        {4, 1, 64, 40, 0, FULL, {33, 130}},
        {8, 1, 128, 0, 16, FULL, {33, 7}},
        {2, 2, 128, 40, 0, FULL, {130, 1}},
        {2, 1, 128, 2, 0, FULL, {66}},
        {4, 2, 48, 0, 0, FULL, {33, 7, 65}},
        {2, 1, 80, 5, 8, FULL, {65}},
        {2, 2, 96, 0, 0, FULL, {7, 65}},
        {2, 1, 112, 0, 0, FULL, {33}},
        {2, 1, 144, 0, 0, FULL, {40}},
        {2, 2, 192, 5, 0, FULL, {33, 7}},
        {2, 1, 256, 0, 8, FULL, {7, 65}},
        {8, 1, 32, 40, 0, FULL, {130}},
        {4, 2, 64, 0, 0, SHARED, {33, 7, 65, 1}},
        {2, 2, 128, 40, 0, SHARED, {65, 33, 7}},
        {2, 1, 80, 5, 8, SHARED, {20, 33, 5}},
        {4, 1, 64, 0, 0, DECODE, {1, 64, 65, 130}},
        {8, 1, 128, 0, 0, DECODE, {33, 130}},
        {2, 2, 80, 40, 8, DECODE, {7, 130}},
        {4, 2, 32, 5, 0, DECODE, {64, 33}},
        {2, 1, 256, 0, 0, DECODE, {65, 32}},
};

int main(void)
{
	char why[256];
	struct kn_cuda config = {};
	k = rl_kernels_cuda_open(sizeof *k, &config, why, sizeof why);
	if (!k) {
		printf("ok 1 # SKIP attention_mma: %s\n1..1\n", why);
		return 0;
	}
	struct cuda *cu = (struct cuda *)k->ctx;
	cu->any_order = 0;
	check_taken();
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		check_shape(&shapes[i]);
	const struct shape_of batches[] = {{4, 1, 64, 0, 0, FULL, {33, 66}},
	                                   {2, 2, 128, 40, 8, FULL, {70}},
	                                   {4, 2, 80, 0, 0, SHARED, {20, 7, 9}},
	                                   {2, 1, 256, 5, 0, FULL, {34}}};
	for (int i = 0; i < 4; i++) {
		check_rows(&batches[i], 1);
		check_rows(&batches[i], 13);
	}
	/* A piece begins at position 62, of whose tile only the last key is hidden, and only from one row; the batch
	 * ends at 144, from which only the first key of a tile is hidden. */
	const struct shape_of edges = {2, 1, 64, 80, 0, FULL, {145}};
	check_rows(&edges, 1);
	check_rows(&edges, 31);
	check_gradients_alone(&batches[0]);
	const struct shape_of contexts[] = {{4, 1, 64, 0, 0, DECODE, {700, 129, 3}},
	                                    {2, 2, 128, 300, 0, DECODE, {700}},
	                                    {2, 1, 256, 0, 0, DECODE, {600, 300, 5}}};
	for (int i = 0; i < 3; i++)
		check_splits(&contexts[i]);
	printf("# largest nmse: o %.2g, lse %.2g, gradients %.2g\n", worst_o, worst_lse, worst_grad);
	k->release(k);
	printf("1..%d\n", results);
	return failures != 0;
}
