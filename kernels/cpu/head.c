/*
 * head - logits, log-probs, entropy and their gradient, without the logits of
 * the batch ever being in memory; see kernels.h.
 *
 * Each block of KN_VOCAB_BLOCK logits of a row gives a few numbers; those of a
 * row are combined in rising order of blocks (order 4).  Blocks are computed
 * on any thread, which is how one row of a large vocabulary uses all of them.
 * A reference's logits are computed beside the policy's, block by block.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

#include <math.h>
#include <stdbool.h>

#define HEAD_ROWS 128    /* rows of h of one work item */
#define GRAD_CHUNK 256   /* rows of h whose dz is in memory at once */
#define GRAD_VOCAB 4096  /* columns of that dz: whole blocks */
#define FAR_BELOW -1e30f /* stands for minus infinity where 0 * -inf would be NaN */

#define TILE_BYTES (HEAD_ROWS * KN_VOCAB_BLOCK * sizeof(float))
_Static_assert(KN_FORWARD_SCRATCH + 2 * TILE_BYTES <= KN_SCRATCH, "room for a tile of logits of each model");
_Static_assert(GRAD_VOCAB % KN_VOCAB_BLOCK == 0 && KN_VOCAB_BLOCK % KN_OUT_BLOCK == 0, "blocks nest");

/*
 * Of one block: largest z, sum exp(z - max), sum exp(z - max) (z - max), sum exp(z - max) (z - y) with y of a
 * reference, lowest index of the largest.
 */
struct block_stats {
	float max, sum, mean, gap;
	int32_t best;
};

struct row_stats {
	double sum, mean, gap;
	float max;
	int32_t best;
};

struct head {
	const struct cpu *cpu;
	float *logprob, *lse, *entropy;
	int32_t *argmax;
	const float *h, *b, *logits, *inv_temp;
	const struct kn_mat *w;
	const int32_t *target;
	int64_t M, V;
	struct block_stats *stats; /* [blocks][M] */
	float *target_z;           /* [M] */
	float *keep;               /* [M] of KN_KEEP_STRIDE(V), or NULL */
	const struct kn_reference *ref;
	struct block_stats *ref_stats; /* [blocks][M] */
};

static int64_t block_count(int64_t V)
{
	return ceil_div(V, KN_VOCAB_BLOCK);
}

KN_INLINE v16 scaled(const float *z, int64_t i, int64_t n, v16 by)
{
	return i + 16 <= n ? v16_mul(v16_load(z + i), by) : v16_mul(v16_load_tail(z + i, n - i, FAR_BELOW), by);
}

static int32_t first_index(const float *z, int64_t n, float by, float of)
{
	for (int64_t i = 0; i < n; i++)
		if (z[i] * by == of)
			return (int32_t)i;
	return 0;
}

KN_INLINE v16 gap_of(v16 z, v16 y)
{
	v16 low = v16_set(FAR_BELOW);
	return v16_sub(v16_max(low, z), v16_max(low, y));
}

/* z[n] are logits before the temperature, y[n] those of a reference, or NULL; n <= KN_VOCAB_BLOCK */
static struct block_stats stats_of(const float *z, const float *y, int64_t n, float inv_temp, int want_best)
{
	v16 by = v16_set(inv_temp), max = v16_set(-INFINITY), sum = v16_set(0), mean = sum, gap = sum;
	v16 low = v16_set(FAR_BELOW);
	for (int64_t i = 0; i < n; i += 16)
		max = v16_max(scaled(z, i, n, by), max);
	struct block_stats s = {.max = v16_largest(max)};
	if (s.max == -INFINITY)
		return s;
	for (int64_t i = 0; i < n; i += 16) {
		v16 x = scaled(z, i, n, by), d = v16_max(low, v16_sub(x, v16_set(s.max))), e = v16_exp(d);
		sum = v16_add(sum, e);
		mean = v16_fma(e, d, mean);
		if (y)
			gap = v16_fma(e, gap_of(x, scaled(y, i, n, by)), gap);
	}
	s.sum = v16_sum(sum);
	s.mean = v16_sum(mean);
	s.gap = v16_sum(gap);
	s.best = want_best ? first_index(z, n, inv_temp, s.max) : 0;
	return s;
}

/* The next block of a row; moving the maximum by d turns sum e^x x into e^d (sum e^x x + d sum e^x). */
static void row_combine(struct row_stats *r, const struct block_stats *b, int64_t block)
{
	float max = b->max > r->max ? b->max : r->max;
	if (b->max > r->max)
		r->best = (int32_t)(block * KN_VOCAB_BLOCK) + b->best;
	double old = 0, new = 0;
	if (r->sum > 0) {
		old = kn_exp(r->max - max);
		r->mean = old * (r->mean + (double)(r->max - max) * r->sum);
	}
	if (b->max > -INFINITY) {
		new = kn_exp(b->max - max);
		r->mean += new *(b->mean + (double)(b->max - max) * b->sum);
	}
	r->gap = old * r->gap + new * b->gap;
	r->sum = old * r->sum + new * b->sum;
	r->max = max;
}

static void row_finish(const struct head *a, int64_t m, const struct row_stats *r, float target_z)
{
	double log_sum = kn_log((float)r->sum);
	a->lse[m] = (float)(r->max + log_sum);
	if (a->logprob)
		a->logprob[m] = (float)((double)target_z - r->max - log_sum);
	if (a->entropy)
		a->entropy[m] = (float)(log_sum - r->mean / r->sum);
	if (a->argmax)
		a->argmax[m] = r->best;
}

/* The log of the ratio, since the difference of two logs is rounded as they are. */
static void row_reference(const struct kn_reference *ref, int64_t m, const struct row_stats *r,
                          const struct row_stats *theirs)
{
	double gap = r->gap / r->sum;
	ref->gap[m] = (float)gap;
	ref->kl[m] = (float)(gap + ((double)theirs->max - r->max) + kn_log((float)(theirs->sum / r->sum)));
}

static float temperature(const struct head *a, int64_t m)
{
	return a->inv_temp ? a->inv_temp[m] : 1;
}

/* The reference's logits of the same rows and block into y, and their statistics. */
static void reference_item(const struct head *a, int worker, float *y, int64_t ldz, int64_t block, int64_t m0,
                           int64_t rows, int64_t n)
{
	const struct kn_reference *ref = a->ref;
	int64_t v0 = block * KN_VOCAB_BLOCK;
	KN(forward_block)(a->cpu, worker, y, ldz, ref->h + m0 * ref->w->cols, ref->w, ref->b, v0, v0 + n, rows);
	for (int64_t r = 0; r < rows; r++)
		a->ref_stats[block * a->M + m0 + r] = stats_of(y + r * ldz, NULL, n, temperature(a, m0 + r), 0);
}

/* The logits of HEAD_ROWS rows in one block, and their statistics. */
static void head_item(void *arg, int64_t item, int worker)
{
	const struct head *a = arg;
	int64_t chunks = ceil_div(a->M, HEAD_ROWS), block = item / chunks, m0 = item % chunks * HEAD_ROWS;
	int64_t v0 = block * KN_VOCAB_BLOCK, n = min64(KN_VOCAB_BLOCK, a->V - v0), rows = min64(HEAD_ROWS, a->M - m0);
	char *scratch = (char *)cpu_scratch(a->cpu, worker) + KN_FORWARD_SCRATCH;
	float *z = (float *)scratch, *y = a->ref ? (float *)(scratch + TILE_BYTES) : NULL;
	int64_t ldz = n;
	if (a->keep) {
		ldz = KN_KEEP_STRIDE(a->V);
		z = a->keep + m0 * ldz + v0;
		y = a->ref ? a->ref->keep + m0 * ldz + v0 : NULL;
	}
	if (y)
		reference_item(a, worker, y, ldz, block, m0, rows, n);
	KN(forward_block)(a->cpu, worker, z, ldz, a->h + m0 * a->w->cols, a->w, a->b, v0, v0 + n, rows);
	for (int64_t r = 0; r < rows; r++) {
		int64_t m = m0 + r, t = a->logprob ? a->target[m] - v0 : -1;
		a->stats[block * a->M + m] =
		        stats_of(z + r * ldz, y ? y + r * ldz : NULL, n, temperature(a, m), a->argmax != NULL);
		if (t >= 0 && t < n)
			a->target_z[m] = z[r * ldz + t] * temperature(a, m);
	}
}

size_t KN(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C)
{
	(void)ctx;
	(void)C;
	size_t forward = (size_t)M * (2 * (size_t)block_count(V) * sizeof(struct block_stats) + sizeof(float));
	size_t backward = (size_t)min64(M, GRAD_CHUNK) * (size_t)min64(V, GRAD_VOCAB) * sizeof(float);
	return forward > backward ? forward : backward;
}

/* What the blocks of row m make together. */
static struct row_stats row_of(const struct block_stats *stats, int64_t m, int64_t blocks, int64_t M)
{
	struct row_stats r = {.max = -INFINITY};
	for (int64_t i = 0; i < blocks; i++)
		row_combine(&r, &stats[i * M + m], i);
	return r;
}

void KN(head_fwd)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *h,
                  const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp, int64_t M,
                  const struct kn_reference *ref, float *keep, void *scratch)
{
	struct head a = {ctx,      logprob, lse,    entropy, argmax,  h,       b,    NULL,
	                 inv_temp, w,       target, M,       w->rows, scratch, NULL, keep};
	int64_t blocks = block_count(a.V);
	a.ref = ref;
	a.ref_stats = a.stats + blocks * M;
	a.target_z = (float *)(a.ref_stats + blocks * M);
	double work = (double)M * (double)a.V * (double)(w->cols + (ref ? ref->w->cols : 0));
	cpu_for(ctx, blocks * ceil_div(M, HEAD_ROWS), work, head_item, &a);
	for (int64_t m = 0; m < M; m++) {
		struct row_stats r = row_of(a.stats, m, blocks, M);
		row_finish(&a, m, &r, logprob ? a.target_z[m] : 0);
		if (ref) {
			struct row_stats theirs = row_of(a.ref_stats, m, blocks, M);
			row_reference(ref, m, &r, &theirs);
		}
	}
}

static void stats_item(void *arg, int64_t m, int worker)
{
	(void)worker;
	const struct head *a = arg;
	const float *z = a->logits + m * a->V;
	struct row_stats r = {.max = -INFINITY};
	for (int64_t i = 0; i < block_count(a->V); i++) {
		int64_t v0 = i * KN_VOCAB_BLOCK, n = min64(KN_VOCAB_BLOCK, a->V - v0);
		struct block_stats s = stats_of(z + v0, NULL, n, temperature(a, m), a->argmax != NULL);
		row_combine(&r, &s, i);
	}
	row_finish(a, m, &r, a->logprob ? z[a->target[m]] * temperature(a, m) : 0);
}

void KN(logits_stats)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *logits,
                      const int32_t *target, const float *inv_temp, int64_t M, int64_t V)
{
	struct head a = {.logprob = logprob, .lse = lse, .entropy = entropy, .argmax = argmax, .logits = logits};
	a.target = target;
	a.inv_temp = inv_temp;
	a.V = V;
	cpu_for(ctx, M, 20 * (double)M * (double)V, stats_item, &a);
}

void KN(head_logits)(void *ctx, float *logits, const float *h, const struct kn_mat *w, const float *b, int64_t M)
{
	KN(matmul_fwd)(ctx, logits, h, w, b, M);
}

/* dz of GRAD_CHUNK rows and GRAD_VOCAB columns from (m0, v0) on. */
struct head_grad {
	const struct cpu *cpu;
	float *dz; /* row stride ldz */
	int64_t ldz;
	bool kept; /* dz holds the logits already */
	const float *dlogprob, *dentropy, *h, *b, *inv_temp, *lse, *entropy;
	const struct kn_mat *w;
	const int32_t *target;
	const struct kn_reference *ref; /* NULL, or from row m0 on; with kept its keep holds its logits */
	int64_t rows, v0, v1;
};

/*
 * z becomes its gradient: ([v = target] dlogprob - p (dlogprob + dentropy (log p + entropy) - dkl (z - y - gap)))
 * inv_temp; y: the reference's logits, or NULL.
 */
static void grad_row(const struct head_grad *g, float *z, const float *y, int64_t n, int64_t m, int64_t v0)
{
	float by = g->inv_temp ? g->inv_temp[m] : 1, dlogprob = g->dlogprob ? g->dlogprob[m] : 0;
	float dentropy = g->dentropy ? g->dentropy[m] : 0, entropy = g->dentropy ? g->entropy[m] : 0;
	float dkl = y ? g->ref->dkl[m] : 0, gap = y ? g->ref->gap[m] : 0;
	v16 low = v16_set(FAR_BELOW);
	for (int64_t i = 0; i < n; i += 16) {
		v16 x = scaled(z, i, n, v16_set(by)), logp = v16_max(low, v16_sub(x, v16_set(g->lse[m])));
		v16 d = v16_fma(v16_set(dentropy), v16_add(logp, v16_set(entropy)), v16_set(dlogprob));
		if (y) {
			v16 off = v16_sub(gap_of(x, scaled(y, i, n, v16_set(by))), v16_set(gap));
			d = v16_fma(v16_set(-dkl), off, d);
		}
		d = v16_mul(v16_mul(v16_exp(logp), d), v16_set(-by));
		if (i + 16 <= n)
			v16_store(z + i, d);
		else
			v16_store_tail(z + i, d, n - i);
	}
	int64_t t = g->dlogprob ? g->target[m] - v0 : -1;
	if (t >= 0 && t < n)
		z[t] += dlogprob * by;
}

/* The reference's logits of these rows and columns, row stride *ldy: kept, or made in the worker's scratch. */
static const float *reference_block(const struct head_grad *g, int worker, int64_t m0, int64_t rows, int64_t v0,
                                    int64_t v1, int64_t *ldy)
{
	const struct kn_reference *ref = g->ref;
	*ldy = g->kept ? g->ldz : v1 - v0;
	if (!ref || g->kept)
		return ref ? ref->keep + m0 * g->ldz + v0 : NULL;
	float *y = (float *)((char *)cpu_scratch(g->cpu, worker) + KN_FORWARD_SCRATCH);
	KN(forward_block)(g->cpu, worker, y, *ldy, ref->h + m0 * ref->w->cols, ref->w, ref->b, v0, v1, rows);
	return y;
}

static void grad_item(void *arg, int64_t item, int worker)
{
	const struct head_grad *g = arg;
	int64_t chunks = ceil_div(g->rows, HEAD_ROWS), m0 = item % chunks * HEAD_ROWS, ldy;
	int64_t v0 = g->v0 + item / chunks * KN_VOCAB_BLOCK, v1 = min64(v0 + KN_VOCAB_BLOCK, g->v1);
	int64_t rows = min64(HEAD_ROWS, g->rows - m0);
	float *dz = g->dz + m0 * g->ldz + v0 - g->v0;
	if (!g->kept)
		KN(forward_block)(g->cpu, worker, dz, g->ldz, g->h + m0 * g->w->cols, g->w, g->b, v0, v1, rows);
	const float *y = reference_block(g, worker, m0, rows, v0, v1, &ldy);
	for (int64_t r = 0; r < rows; r++)
		grad_row(g, dz + r * g->ldz, y ? y + r * ldy : NULL, v1 - v0, m0 + r, v0);
}

static const float *skip(const float *p, int64_t n)
{
	return p ? p + n : NULL;
}

/* The same from row m on, for head_bwd. */
static struct kn_reference reference_from(const struct kn_reference *ref, int64_t m)
{
	struct kn_reference r = *ref;
	r.h += m * r.w->cols;
	r.gap += m;
	r.dkl += m;
	r.keep = r.keep ? r.keep + m * KN_KEEP_STRIDE(r.w->rows) : NULL;
	return r;
}

void KN(head_bwd)(void *ctx, float *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
                  const float *h, const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
                  const float *lse, const float *entropy, int64_t M, const struct kn_reference *ref, float *keep,
                  void *scratch)
{
	int64_t C = w->cols, V = w->rows;
	for (int64_t m = 0; m < M; m += GRAD_CHUNK) {
		struct head_grad g = {.cpu = ctx, .h = h + m * C, .b = b, .lse = lse + m, .w = w, .kept = keep};
		g.ldz = keep ? KN_KEEP_STRIDE(V) : min64(V, GRAD_VOCAB);
		g.dlogprob = skip(dlogprob, m);
		g.dentropy = skip(dentropy, m);
		g.entropy = skip(entropy, m);
		g.inv_temp = skip(inv_temp, m);
		g.target = target ? target + m : NULL;
		struct kn_reference from = ref ? reference_from(ref, m) : (struct kn_reference){0};
		g.ref = ref ? &from : NULL;
		g.rows = min64(GRAD_CHUNK, M - m);
		for (g.v0 = 0; g.v0 < V; g.v0 = g.v1) {
			g.v1 = min64(g.v0 + GRAD_VOCAB, V);
			int64_t n = g.v1 - g.v0;
			g.dz = keep ? keep + m * g.ldz + g.v0 : scratch;
			cpu_for(ctx, block_count(n) * ceil_div(g.rows, HEAD_ROWS),
			        (double)g.rows * (double)n * (double)C, grad_item, &g);
			KN(dx_rows)(ctx, dh + m * C, g.dz, g.ldz, w, g.v0, g.v1, g.rows, g.v0 > 0);
			if (dw || db)
				KN(dw_rows)
			(ctx, dw ? dw + g.v0 * C : NULL, db ? db + g.v0 : NULL, g.dz, g.ldz, g.h, g.rows, n, C);
		}
	}
}
