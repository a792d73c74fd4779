/* sampler - see sampler.h */
#include "lib/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

struct sampler {
	int64_t V;
	double *p;     /* weights exp(z - max), not normalised: the largest is 1 */
	int32_t *heap; /* ids, the most probable on top */
};

/* What the warpers left: token v is in when p[v] > p_last, or p[v] = p_last and v <= last. */
struct kept {
	double p_last;
	int32_t last;
};

struct sampler *sampler_new(int64_t V)
{
	struct sampler *s = xcalloc(1, sizeof *s);
	s->V = V;
	s->p = xcalloc((size_t)V, sizeof *s->p);
	s->heap = xcalloc((size_t)V, sizeof *s->heap);
	return s;
}

void sampler_free(struct sampler *s)
{
	if (!s)
		return;
	free(s->p);
	free(s->heap);
	free(s);
}

/*
 * exp(x) for x <= 0, to about 1e-15: ours, because the C library's last bit differs from machine to machine and a draw
 * must not.  Taylor's series after x = k ln 2 + r, |r| <= ln 2 / 2.
 */
static double exp_below(double x)
{
	static const double ln2_high = 0x1.62e42fefap-1, ln2_low = 0x1.cf79abc9e3b39p-40, to_integer = 0x1.8p52;
	if (!(x > -700))
		return 0;
	double k = x * 0x1.71547652b82fep0 + to_integer;
	int64_t shift;
	memcpy(&shift, &k, sizeof shift);
	k -= to_integer;
	double r = (x - k * ln2_high) - k * ln2_low, y = 1 / 6227020800.0;
	static const double inverse_factorial[] = {
	        1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0, 1 / 40320.0, 1 / 5040.0, 1 / 720.0,
	        1 / 120.0,       1 / 24.0,       1 / 6.0,       1 / 2.0,      1,           1};
	for (size_t i = 0; i < ARRAY_LEN(inverse_factorial); i++)
		y = y * r + inverse_factorial[i];
	int64_t bits = (int64_t)((uint64_t)(shift + 1023) << 52);
	double scale;
	memcpy(&scale, &bits, sizeof scale);
	return y * scale;
}

/* Lowest id of the largest logit; -1 for a row that is no distribution. */
static int64_t largest(const float *logits, int64_t V)
{
	int64_t best = -1;
	float max = -INFINITY;
	for (int64_t v = 0; v < V; v++) {
		if (!(logits[v] < INFINITY))
			return -1;
		if (logits[v] > max) {
			max = logits[v];
			best = v;
		}
	}
	return best;
}

static void weigh(struct sampler *s, const float *logits, float max, double temperature)
{
	double by = (float)(1 / temperature);
	for (int64_t v = 0; v < s->V; v++)
		s->p[v] = exp_below(((double)logits[v] - max) * by);
}

static bool before(const struct sampler *s, int32_t a, int32_t b)
{
	return s->p[a] > s->p[b] || (s->p[a] == s->p[b] && a < b);
}

static void sift(struct sampler *s, int64_t i, int64_t n)
{
	int32_t moved = s->heap[i];
	for (int64_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(s, s->heap[child + 1], s->heap[child]))
			child++;
		if (!before(s, s->heap[child], moved))
			break;
		s->heap[i] = s->heap[child];
	}
	s->heap[i] = moved;
}

static void heap_fill(struct sampler *s)
{
	for (int64_t v = 0; v < s->V; v++)
		s->heap[v] = (int32_t)v;
	for (int64_t i = s->V / 2; i-- > 0;)
		sift(s, i, s->V);
}

/* The most probable of the n left goes to heap[n-1]. */
static int32_t heap_pop(struct sampler *s, int64_t n)
{
	int32_t top = s->heap[0];
	s->heap[0] = s->heap[n - 1];
	s->heap[n - 1] = top;
	if (n > 1)
		sift(s, 0, n - 1);
	return top;
}

static bool is_kept(const struct sampler *s, const struct kept *k, int64_t v)
{
	return s->p[v] > k->p_last || (s->p[v] == k->p_last && v <= k->last);
}

static double kept_sum(const struct sampler *s, const struct kept *k)
{
	double sum = 0;
	for (int64_t v = 0; v < s->V; v++)
		if (is_kept(s, k, v))
			sum += s->p[v];
	return sum;
}

static struct kept take(const struct sampler *s, int32_t id)
{
	return (struct kept){s->p[id], id};
}

/* top-k, then top-p of what it left: both keep a beginning of the ids in falling order of probability. */
static struct kept keep_most_probable(struct sampler *s, const struct sampler_config *c)
{
	struct kept k = {0, (int32_t)(s->V - 1)};
	bool limited = c->top_k > 0 && c->top_k < s->V;
	int64_t limit = limited ? c->top_k : s->V;
	if (limited) {
		heap_fill(s);
		for (int64_t i = 0; i < limit; i++)
			k = take(s, heap_pop(s, s->V - i));
	}
	if (!(c->top_p < 1))
		return k;
	double enough = c->top_p * kept_sum(s, &k), sum = 0;
	heap_fill(s);
	for (int64_t i = 0; i < limit && (i == 0 || sum < enough); i++) {
		k = take(s, heap_pop(s, s->V - i));
		sum += k.p_last;
	}
	return k;
}

/* Puts zero at what min-p takes out, after the others. */
static struct kept warp(struct sampler *s, const struct sampler_config *c)
{
	struct kept k = keep_most_probable(s, c);
	for (int64_t v = 0; c->min_p > 0 && v < s->V; v++)
		if (s->p[v] < c->min_p)
			s->p[v] = 0;
	return k;
}

static int32_t draw(const struct sampler *s, const struct kept *k, double u, double sum)
{
	double at = 0, goal = u * sum;
	int64_t last = -1;
	for (int64_t v = 0; v < s->V; v++) {
		if (!is_kept(s, k, v) || s->p[v] == 0)
			continue;
		at += s->p[v];
		last = v;
		if (at > goal)
			break;
	}
	return (int32_t)last;
}

int32_t sampler_choose(struct sampler *s, const struct sampler_config *c, const float *logits, double u,
                       float *sampling_logprob)
{
	int64_t best = largest(logits, s->V);
	if (best < 0)
		return -1;
	if (sampling_logprob)
		*sampling_logprob = 0;
	if (c->temperature == 0)
		return (int32_t)best;
	weigh(s, logits, logits[best], c->temperature);
	struct kept k = warp(s, c);
	double sum = kept_sum(s, &k);
	int32_t id = draw(s, &k, u, sum);
	if (sampling_logprob)
		*sampling_logprob = (float)log(s->p[id] / sum);
	return id;
}

int sampler_probabilities(struct sampler *s, const struct sampler_config *c, const float *logits, double *p)
{
	int64_t best = largest(logits, s->V);
	if (best < 0)
		return -1;
	if (c->temperature == 0) {
		memset(p, 0, (size_t)s->V * sizeof *p);
		p[best] = 1;
		return 0;
	}
	weigh(s, logits, logits[best], c->temperature);
	struct kept k = warp(s, c);
	double sum = kept_sum(s, &k);
	for (int64_t v = 0; v < s->V; v++)
		p[v] = is_kept(s, &k, v) ? s->p[v] / sum : 0;
	return 0;
}
