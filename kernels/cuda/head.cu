/*
 * head - logits, log-probs, entropy and their gradient, without the logits of
 * the batch ever being in memory; see kernels.h.
 *
 * Logits are made HEAD_ROWS x HEAD_VOCAB at a time.  Sixteen lanes turn a block
 * of KN_VOCAB_BLOCK logits of a row into a few numbers; one thread then combines
 * those of a row in rising order of blocks (order 4).  A reference's logits are
 * made tile by tile beside the policy's.
 */
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/head_products.cuh"

#include <math.h>

#define FAR_BELOW -1e30f /* stands for minus infinity where 0 * -inf would be NaN */

/*
 * Of one block: largest z, sum exp(z - max), sum exp(z - max) (z - max), sum exp(z - max) (z - y) with y of a
 * reference, lowest index of the largest.
 */
struct block_stats {
	float max, sum, mean, gap;
	int32_t best;
};

/* Per row; pointers may be NULL as in kernels.h. */
struct rows {
	float *logprob, *lse, *entropy;
	int32_t *argmax;
	const int32_t *target;
	const float *inv_temp;
	struct block_stats *stats; /* [blocks][M] */
	float *target_z;           /* [M] */
	int64_t M;
	/* of a reference, or NULL */
	struct block_stats *ref_stats; /* [blocks][M] */
	float *kl, *gap;               /* [M] */
};

static __device__ inline float largest16(float a)
{
	for (int width = 8; width; width /= 2) {
		float b = __shfl_xor_sync(0xffffffffu, a, width, 16);
		a = b > a ? b : a;
	}
	return a;
}

static __device__ inline int least16(int a)
{
	for (int width = 8; width; width /= 2) {
		int b = __shfl_xor_sync(0xffffffffu, a, width, 16);
		a = b < a ? b : a;
	}
	return a;
}

static __device__ inline float gap_of(float z, float y)
{
	return (FAR_BELOW > z ? FAR_BELOW : z) - (FAR_BELOW > y ? FAR_BELOW : y);
}

/*
 * n <= KN_VOCAB_BLOCK logits before the temperature, y those of a reference or NULL, by sixteen lanes; the sums are in
 * the first of them
 */
static __device__ inline struct block_stats stats_of(const float *z, const float *y, int n, float by, int lane)
{
	float max = -INFINITY, sum = 0, mean = 0, gap = 0;
	int best = KN_VOCAB_BLOCK;
	for (int i = lane; i < n; i += 16)
		max = z[i] * by > max ? z[i] * by : max;
	max = largest16(max);
	for (int i = lane; max > -INFINITY && i < n; i += 16) {
		float d = z[i] * by - max, e;
		d = FAR_BELOW > d ? FAR_BELOW : d;
		e = cu_exp(d);
		sum += e;
		mean = fmaf(e, d, mean);
		if (y)
			gap = fmaf(e, gap_of(z[i] * by, y[i] * by), gap);
		best = z[i] * by == max && i < best ? i : best;
	}
	sum = cu_tree_sum(sum);
	mean = cu_tree_sum(mean);
	gap = cu_tree_sum(gap);
	best = least16(best);
	return {max, sum, mean, gap, best < KN_VOCAB_BLOCK ? best : 0};
}

/* `r` begins at the first row of the tile. */
static __global__ void stats_kernel(const struct tile t, const struct rows r)
{
	int64_t blocks = (t.n + KN_VOCAB_BLOCK - 1) / KN_VOCAB_BLOCK;
	int64_t item = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 16, m = item / blocks;
	int64_t at = item % blocks * KN_VOCAB_BLOCK;
	int lane = threadIdx.x % 16, n = m < t.M ? (int)cu_least(KN_VOCAB_BLOCK, t.n - at) : 0;
	const float *z = t.z + m * t.ldz + at, *y = t.y ? t.y + m * t.ldz + at : NULL;
	float by = n && r.inv_temp ? r.inv_temp[m] : 1;
	struct block_stats s = stats_of(z, y, n, by, lane), theirs = {0};
	if (y)
		theirs = stats_of(y, NULL, n, by, lane);
	if (lane > 0 || n == 0)
		return;
	int64_t place = (t.v0 + at) / KN_VOCAB_BLOCK * r.M + m;
	r.stats[place] = s;
	if (y)
		r.ref_stats[place] = theirs;
	int64_t target = r.logprob ? r.target[m] - t.v0 - at : -1;
	if (target >= 0 && target < n)
		r.target_z[m] = z[target] * by;
}

struct row_stats {
	double sum, mean, gap;
	float max;
	int32_t best;
};

/* The next block of a row; moving the maximum by d turns sum e^x x into e^d (sum e^x x + d sum e^x). */
static __device__ inline void row_combine(struct row_stats *r, const struct block_stats &b, int64_t block)
{
	float max = b.max > r->max ? b.max : r->max;
	if (b.max > r->max)
		r->best = (int32_t)(block * KN_VOCAB_BLOCK) + b.best;
	double old = 0, fresh = 0;
	if (r->sum > 0) {
		old = cu_exp(r->max - max);
		r->mean = old * (r->mean + (double)(r->max - max) * r->sum);
	}
	if (b.max > -INFINITY) {
		fresh = cu_exp(b.max - max);
		r->mean += fresh * (b.mean + (double)(b.max - max) * b.sum);
	}
	r->gap = old * r->gap + fresh * b.gap;
	r->sum = old * r->sum + fresh * b.sum;
	r->max = max;
}

static __device__ inline void row_finish(const struct rows &r, int64_t m, const struct row_stats &s, float target_z)
{
	double log_sum = cu_log((float)s.sum);
	r.lse[m] = (float)(s.max + log_sum);
	if (r.logprob)
		r.logprob[m] = (float)((double)target_z - s.max - log_sum);
	if (r.entropy)
		r.entropy[m] = (float)(log_sum - s.mean / s.sum);
	if (r.argmax)
		r.argmax[m] = s.best;
}

/* The log of the ratio, since the difference of two logs is rounded as they are. */
static __device__ inline void row_reference(const struct rows &r, int64_t m, const struct row_stats &s,
                                            const struct row_stats &theirs)
{
	double gap = s.gap / s.sum;
	r.gap[m] = (float)gap;
	r.kl[m] = (float)(gap + ((double)theirs.max - s.max) + cu_log((float)(theirs.sum / s.sum)));
}

static __global__ void combine_kernel(const struct rows r, int64_t blocks)
{
	int64_t m = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
	if (m >= r.M)
		return;
	struct row_stats s = {0, 0, 0, -INFINITY, 0}, theirs = s;
	for (int64_t i = 0; i < blocks; i++)
		row_combine(&s, r.stats[i * r.M + m], i);
	row_finish(r, m, s, r.logprob ? r.target_z[m] : 0);
	for (int64_t i = 0; r.kl && i < blocks; i++)
		row_combine(&theirs, r.ref_stats[i * r.M + m], i);
	if (r.kl)
		row_reference(r, m, s, theirs);
}

/* One block of threads per row, without scratch: sixteen blocks of the vocabulary at a time, combined by one thread. */
static __global__ void logits_stats_kernel(const struct rows r, const float *logits, int64_t V)
{
	__shared__ struct block_stats part[CU_THREADS / 16];
	int64_t m = blockIdx.x, blocks = (V + KN_VOCAB_BLOCK - 1) / KN_VOCAB_BLOCK;
	const float *z = logits + m * V;
	float by = r.inv_temp ? r.inv_temp[m] : 1;
	struct row_stats s = {0, 0, 0, -INFINITY, 0};
	for (int64_t i = 0; i < blocks; i += CU_THREADS / 16) {
		int64_t at = (i + threadIdx.x / 16) * KN_VOCAB_BLOCK;
		int n = (int)cu_least(KN_VOCAB_BLOCK, V - at);
		struct block_stats mine = stats_of(z + at, NULL, n, by, threadIdx.x % 16);
		if (threadIdx.x % 16 == 0)
			part[threadIdx.x / 16] = mine;
		__syncthreads();
		for (int64_t k = 0; threadIdx.x == 0 && k < CU_THREADS / 16 && i + k < blocks; k++)
			row_combine(&s, part[k], i + k);
		__syncthreads();
	}
	if (threadIdx.x == 0)
		row_finish(r, m, s, r.logprob ? z[r.target[m]] * by : 0);
}

static int64_t block_count(int64_t V)
{
	return cu_ceil_div(V, KN_VOCAB_BLOCK);
}

static int64_t tile_floats(int64_t M, int64_t V)
{
	return cu_min(M, HEAD_ROWS) * cu_min(V, HEAD_VOCAB);
}

/* The statistics of every block, the logits of the targets, and a tile of logits: of a policy and of a reference. */
size_t CU(head_scratch)(void *ctx, int64_t M, int64_t V, int64_t C)
{
	(void)ctx;
	return 2 * (size_t)(block_count(V) * M) * sizeof(struct block_stats) +
	       (size_t)(2 * tile_floats(M, V) + M) * sizeof(float) + narrow_bytes(M, V, C);
}

static void queue_stats(struct cuda *cu, const struct tile *t, const struct rows *r)
{
	unsigned grid = (unsigned)cu_ceil_div(t->M * block_count(t->n) * 16, CU_THREADS);
	CU_LAUNCH(cu, stats_kernel, grid, CU_THREADS, *t, *r);
}

static void queue_combine(struct cuda *cu, const struct rows *r, int64_t V)
{
	CU_LAUNCH(cu, combine_kernel, (unsigned)cu_ceil_div(r->M, 64), 64, *r, block_count(V));
}

/* The same arrays from row m on.  stats keeps its stride, which is M. */
static struct rows rows_from(const struct rows *r, int64_t m)
{
	struct rows s = *r;
	s.target = r->target ? r->target + m : NULL;
	s.inv_temp = r->inv_temp ? r->inv_temp + m : NULL;
	s.stats = r->stats + m;
	s.target_z = r->target_z + m;
	s.ref_stats = r->ref_stats + m;
	return s;
}

/* Host arrays to the device; 0 if that failed. */
static int stage_rows(struct cuda *cu, const int32_t **target, const float **inv_temp, int64_t M)
{
	int ok = 1;
	*target = (const int32_t *)cu_stage(cu, *target, (size_t)M * sizeof **target, &ok);
	*inv_temp = (const float *)cu_stage(cu, *inv_temp, (size_t)M * sizeof **inv_temp, &ok);
	return ok;
}

/*
 * Rows m on, columns v on: where their logits are, in what is kept or else at `room`, of tile_floats for each model.
 */
static struct tile tile_at(float *room, float *keep, const struct kn_reference *ref, int64_t m, int64_t v, int64_t M,
                           int64_t V)
{
	int64_t n = cu_min(HEAD_VOCAB, V - v), ldz = keep ? KN_KEEP_STRIDE(V) : n, at = keep ? m * ldz + v : 0;
	struct tile t = {keep ? keep + at : room, NULL, ldz, v, n, cu_min(HEAD_ROWS, M - m)};
	if (ref)
		t.y = keep ? ref->keep + at : room + tile_floats(M, V);
	return t;
}

/* The reference's logits of a tile that begins at row m. */
static void queue_reference(struct cuda *cu, const struct tile *t, const struct kn_reference *ref, int64_t m)
{
	queue_logits(cu, t->y, t->ldz, row_at(ref->h, m, ref->w->cols), ref->w, ref->b, t->v0, t->n, t->M);
}

void CU(head_fwd)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *h,
                  const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp, int64_t M,
                  const struct kn_reference *ref, float *keep, void *scratch)
{
	struct cuda *cu = (struct cuda *)ctx;
	int64_t V = w->rows, stats = block_count(V) * M;
	struct rows r = {
	        logprob, lse, entropy, argmax, logprob ? target : NULL, inv_temp, (struct block_stats *)scratch,
	        NULL,    M};
	if (M == 0 || !cu_enter(cu) || !stage_rows(cu, &r.target, &r.inv_temp, M))
		return;
	r.ref_stats = r.stats + stats;
	r.target_z = (float *)(r.ref_stats + stats);
	r.kl = ref ? ref->kl : NULL;
	r.gap = ref ? ref->gap : NULL;
	for (int64_t m = 0; m < M; m += HEAD_ROWS)
		for (int64_t v = 0; v < V; v += HEAD_VOCAB) {
			struct tile t = tile_at(r.target_z + M, keep, ref, m, v, M, V);
			struct rows part = rows_from(&r, m);
			queue_logits(cu, t.z, t.ldz, row_at(h, m, w->cols), w, b, v, t.n, t.M);
			if (ref)
				queue_reference(cu, &t, ref, m);
			queue_stats(cu, &t, &part);
		}
	queue_combine(cu, &r, V);
}

void CU(head_logits)(void *ctx, float *logits, const float *h, const struct kn_mat *w, const float *b, int64_t M)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu_enter(cu))
		queue_logits(cu, logits, w->rows, h, w, b, 0, w->rows, M);
}

void CU(logits_stats)(void *ctx, float *logprob, float *lse, float *entropy, int32_t *argmax, const float *logits,
                      const int32_t *target, const float *inv_temp, int64_t M, int64_t V)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct rows r = {logprob, lse, entropy, argmax, logprob ? target : NULL, inv_temp, NULL, NULL, M};
	if (M > 0 && cu_enter(cu) && stage_rows(cu, &r.target, &r.inv_temp, M))
		CU_LAUNCH(cu, logits_stats_kernel, (unsigned)M, CU_THREADS, r, logits, V);
}

/* Per row, for head_bwd; pointers may be NULL as in kernels.h. */
struct grads {
	const float *dlogprob, *dentropy, *lse, *entropy;
	const int32_t *target;
	const float *inv_temp, *dkl, *gap;
};

/*
 * z becomes its gradient: ([v = target] dlogprob - p (dlogprob + dentropy (log p + entropy) - dkl (z - y - gap)))
 * inv_temp
 */
static __global__ void grad_kernel(const struct tile t, const struct grads g)
{
	for (CU_EACH(i, t.M * t.n)) {
		int64_t m = i / t.n, v = i % t.n;
		float by = g.inv_temp ? g.inv_temp[m] : 1, dlogprob = g.dlogprob ? g.dlogprob[m] : 0;
		float dentropy = g.dentropy ? g.dentropy[m] : 0, entropy = g.dentropy ? g.entropy[m] : 0;
		float z = t.z[m * t.ldz + v] * by, logp = z - g.lse[m];
		logp = FAR_BELOW > logp ? FAR_BELOW : logp;
		float d = fmaf(dentropy, logp + entropy, dlogprob);
		if (t.y)
			d = fmaf(-g.dkl[m], gap_of(z, t.y[m * t.ldz + v] * by) - g.gap[m], d);
		d = cu_exp(logp) * d * -by;
		if (g.dlogprob && g.target[m] == t.v0 + v)
			d += dlogprob * by;
		t.z[m * t.ldz + v] = d;
	}
}

static const float *skip(const float *p, int64_t n)
{
	return p ? p + n : NULL;
}

void CU(head_bwd)(void *ctx, float *dh, float *dw, float *db, const float *dlogprob, const float *dentropy,
                  const float *h, const struct kn_mat *w, const float *b, const int32_t *target, const float *inv_temp,
                  const float *lse, const float *entropy, int64_t M, const struct kn_reference *ref, float *keep,
                  void *scratch)
{
	struct cuda *cu = (struct cuda *)ctx;
	int64_t C = w->cols, V = w->rows;
	struct narrow narrow = narrow_at((float *)scratch + 2 * tile_floats(M, V), M, V);
	if (!dlogprob)
		target = NULL;
	if (M == 0 || !cu_enter(cu) || !stage_rows(cu, &target, &inv_temp, M))
		return;
	for (int64_t m = 0; m < M; m += HEAD_ROWS) {
		struct grads g = {skip(dlogprob, m), skip(dentropy, m), lse + m, skip(entropy, m), target, inv_temp};
		g.target = target ? target + m : NULL;
		g.inv_temp = skip(inv_temp, m);
		g.dkl = ref ? ref->dkl + m : NULL;
		g.gap = ref ? ref->gap + m : NULL;
		for (int64_t v = 0; v < V; v += HEAD_VOCAB) {
			struct tile t = tile_at((float *)scratch, keep, ref, m, v, M, V);
			if (!keep)
				queue_logits(cu, t.z, t.ldz, row_at(h, m, C), w, b, v, t.n, t.M);
			if (!keep && ref)
				queue_reference(cu, &t, ref, m);
			CU_LAUNCH(cu, grad_kernel, cu_grid(cu, t.M * t.n), CU_THREADS, t, g);
			queue_gradients(cu, &t, &narrow, row_at(dh, m, C), dw, db, row_at(h, m, C), w);
		}
		queue_dh(cu, row_at(dh, m, C), &narrow, cu_min(HEAD_ROWS, M - m), C);
	}
}
