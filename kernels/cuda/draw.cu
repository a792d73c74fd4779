/*
 * draw - a token of each row, a block of threads each; see kernels.h and draw.h
 *
 * Weights are whole numbers, so threads may add them in any order, atomics too.  The cut of top-k and top-p is found
 * digit by digit as on the CPU.
 */
#include "kernels/cuda/common.cuh"
#include "kernels/draw.h"

#define THREADS 512
#define DIGIT_BITS 9 /* five digits: weights have 45 bits */
#define DIGITS 5
#define DIGIT_VALUES (1 << DIGIT_BITS)

static_assert(DIGITS * DIGIT_BITS == KN_DRAW_BITS + 1, "the digits make a weight");
static_assert(DIGIT_VALUES <= THREADS, "a thread clears a value");

typedef unsigned long long whole; /* what atomicAdd takes */

struct draws {
	struct kn_drawn *drawn;
	uint64_t *weight;
	const float *logits;
	const double *u;
	int64_t V, top_k;
	double top_p, min_p;
	float by; /* 1 / temperature; 0: greedy */
};

/* What the threads of a block share. */
struct shared {
	whole total[DIGIT_VALUES], part[THREADS];
	float max[THREADS / CU_WARP];
	int id[THREADS / CU_WARP], bad[THREADS / CU_WARP];
	whole cut, goal; /* find_cut: the weight so far, and what is still to be reached; then how many ties are kept */
	whole sum;
};

/* The largest logit and its lowest id, in max[0] and id[0]; bad[0]: the row is no distribution. */
static __device__ inline void find_largest(struct shared *s, const float *z, int64_t V)
{
	float max = -INFINITY;
	int id = 0, bad = 0, warp = threadIdx.x / CU_WARP;
	for (int64_t v = threadIdx.x; v < V; v += THREADS) {
		bad |= !(z[v] < INFINITY);
		if (z[v] > max) {
			max = z[v];
			id = (int)v;
		}
	}
	for (int width = CU_WARP / 2; width; width /= 2) {
		float other = __shfl_xor_sync(0xffffffffu, max, width);
		int other_id = __shfl_xor_sync(0xffffffffu, id, width);
		bad |= __shfl_xor_sync(0xffffffffu, bad, width);
		if (other > max || (other == max && other_id < id)) {
			max = other;
			id = other_id;
		}
	}
	s->max[warp] = max;
	s->id[warp] = id;
	s->bad[warp] = bad;
	__syncthreads();
	if (threadIdx.x == 0) {
		for (int i = 1; i < THREADS / CU_WARP; i++) {
			s->bad[0] |= s->bad[i];
			if (s->max[i] > s->max[0] || (s->max[i] == s->max[0] && s->id[i] < s->id[0])) {
				s->max[0] = s->max[i];
				s->id[0] = s->id[i];
			}
		}
		s->bad[0] |= !(s->max[0] > -INFINITY);
	}
	__syncthreads();
}

/* s->sum = the sum of all weights */
static __device__ inline void find_sum(struct shared *s, const uint64_t *weight, int64_t V)
{
	whole sum = 0;
	if (threadIdx.x == 0)
		s->sum = 0;
	__syncthreads();
	for (int64_t v = threadIdx.x; v < V; v += THREADS)
		sum += weight[v];
	atomicAdd(&s->sum, sum);
	__syncthreads();
}

/* s->cut and, in s->goal, how many of those that have this weight are kept; s->goal says what is to be reached. */
static __device__ inline void find_cut(struct shared *s, const uint64_t *weight, int64_t V, int by_mass)
{
	if (threadIdx.x == 0)
		s->cut = 0;
	for (int shift = (DIGITS - 1) * DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
		if (threadIdx.x < DIGIT_VALUES)
			s->total[threadIdx.x] = 0;
		__syncthreads();
		for (int64_t v = threadIdx.x; v < V; v += THREADS)
			if (weight[v] >> (shift + DIGIT_BITS) == s->cut)
				atomicAdd(&s->total[weight[v] >> shift & (DIGIT_VALUES - 1)],
				          by_mass ? (whole)weight[v] : 1);
		__syncthreads();
		if (threadIdx.x == 0) {
			int value = DIGIT_VALUES - 1;
			for (; s->total[value] < s->goal; value--)
				s->goal -= s->total[value];
			s->cut = s->cut << DIGIT_BITS | (whole)value;
		}
		__syncthreads();
	}
	if (threadIdx.x == 0 && by_mass && s->cut)
		s->goal = (s->goal + s->cut - 1) / s->cut;
	__syncthreads();
}

/* Zeros for what is beyond the cut.  Where more have the weight of the cut than are kept, which is rare, one thread takes
 * them in the order of ids. */
static __device__ inline void cut_off(struct shared *s, uint64_t *weight, int64_t V)
{
	whole ties = 0;
	if (threadIdx.x == 0)
		s->sum = 0;
	__syncthreads();
	for (int64_t v = threadIdx.x; v < V; v += THREADS) {
		ties += weight[v] == s->cut;
		if (weight[v] < s->cut)
			weight[v] = 0;
	}
	atomicAdd(&s->sum, ties);
	__syncthreads();
	if (threadIdx.x == 0 && s->cut && s->sum > s->goal) {
		whole left = s->goal;
		for (int64_t v = 0; v < V; v++)
			if (weight[v] == s->cut && left-- == 0) {
				weight[v] = 0;
				left = 0;
			}
	}
	__syncthreads();
}

static __device__ inline void warp_weights(struct shared *s, uint64_t *weight, const struct draws &d)
{
	if (d.top_k > 0 && d.top_k < d.V) {
		if (threadIdx.x == 0)
			s->goal = (whole)d.top_k;
		__syncthreads();
		find_cut(s, weight, d.V, 0);
		cut_off(s, weight, d.V);
	}
	if (d.top_p < 1) {
		find_sum(s, weight, d.V);
		if (threadIdx.x == 0)
			s->goal = kn_draw_mass(d.top_p, s->sum);
		__syncthreads();
		find_cut(s, weight, d.V, 1);
		cut_off(s, weight, d.V);
	}
	for (int64_t v = threadIdx.x; d.min_p > 0 && v < d.V; v += THREADS)
		if (weight[v] < kn_draw_least(d.min_p))
			weight[v] = 0;
	__syncthreads();
}

/* Each thread owns a run of ids; the one in whose run the running sum passes the goal walks it. */
static __device__ inline void choose(struct shared *s, struct kn_drawn *to, const uint64_t *weight, double u, int64_t V)
{
	int64_t run = (V + THREADS - 1) / THREADS, from = cu_least(run * threadIdx.x, V), end = cu_least(from + run, V);
	whole sum = 0, before = 0, goal;
	for (int64_t v = from; v < end; v++)
		sum += weight[v];
	s->part[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x == 0) {
		for (int i = 0; i < THREADS; i++) {
			whole here = s->part[i];
			s->part[i] = before;
			before += here;
		}
		s->sum = before;
	}
	__syncthreads();
	before = s->part[threadIdx.x];
	goal = kn_draw_goal(u, s->sum);
	if (before > goal || before + sum <= goal)
		return;
	while ((before += weight[from]) <= goal)
		from++;
	*to = kn_drawn{from, weight[from], s->sum};
}

static __global__ void __launch_bounds__(THREADS) draw_kernel(const struct draws d)
{
	__shared__ struct shared s;
	int64_t m = blockIdx.x;
	const float *z = d.logits + m * d.V;
	find_largest(&s, z, d.V);
	if (s.bad[0] || d.by == 0) {
		if (threadIdx.x == 0)
			d.drawn[m] = s.bad[0] ? kn_drawn{-1, 0, 0} : kn_drawn{s.id[0], 1, 1};
		return;
	}
	uint64_t *weight = d.weight + m * d.V;
	double max = s.max[0];
	for (int64_t v = threadIdx.x; v < d.V; v += THREADS)
		weight[v] = kn_draw_weight((z[v] - max) * d.by);
	__syncthreads();
	warp_weights(&s, weight, d);
	choose(&s, d.drawn + m, weight, d.u[m], d.V);
}

void cu_draw(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
             const struct kn_warp *c, int64_t M, int64_t V)
{
	struct cuda *cu = (struct cuda *)ctx;
	int64_t most = CU_SUM_SLOTS * (int64_t)sizeof(double) / (int64_t)sizeof *drawn;
	int ok = 1;
	cu_step_flush(cu);
	for (int64_t m = 0, n; m < M; m += n) {
		n = cu_min(M - m, most);
		struct draws d = {(struct kn_drawn *)cu->sums,
		                  weight ? weight + m * V : NULL,
		                  logits + m * V,
		                  NULL,
		                  V,
		                  c->top_k,
		                  c->top_p,
		                  c->min_p,
		                  c->temperature > 0 ? (float)(1 / c->temperature) : 0};
		if (!cu_enter(cu))
			return;
		d.u = (const double *)cu_stage(cu, u ? u + m : NULL, (size_t)n * sizeof *u, &ok);
		if (!ok)
			return;
		CU_LAUNCH(cu, draw_kernel, (unsigned)n, THREADS, d);
		size_t bytes = (size_t)n * sizeof *drawn;
		cudaError_t error =
		        cudaMemcpyAsync(cu->sums_host, cu->sums, bytes, cudaMemcpyDeviceToHost, cu->stream);
		if (cu_failed(cu, error, "draw") || cu_failed(cu, cudaStreamSynchronize(cu->stream), "draw"))
			return;
		memcpy(drawn + m, cu->sums_host, bytes);
	}
}
