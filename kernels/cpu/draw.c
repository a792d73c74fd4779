/*
 * draw - a token of each row; see kernels.h and draw.h
 *
 * The warpers need no sorted row: the weight at which top-k or top-p cuts is found digit by digit, from the highest,
 * by counting (or summing) what has each value of the digit.
 */
#include "kernels/draw.h"

#include "kernels/cpu/cpu.h"

#define DIGIT_BITS 9 /* five digits: weights have 45 bits */
#define DIGITS 5
#define DIGIT_VALUES (1 << DIGIT_BITS)

_Static_assert(DIGITS *DIGIT_BITS == KN_DRAW_BITS + 1, "the digits make a weight");

struct draws {
	struct kn_drawn *drawn;
	uint64_t *weight;
	const float *logits;
	const double *u;
	const struct kn_warp *c;
	int64_t V;
};

/* What is kept: all above `weight`, and the first `ties` of those that have it. */
struct cut {
	uint64_t weight, ties;
};

/*
 * Where the running total of the tokens in falling order reaches `goal`: a token counts its weight (by_mass), or 1.
 * The total of all is at least the goal.
 */
static struct cut find_cut(const uint64_t *weight, int64_t V, uint64_t goal, int by_mass)
{
	uint64_t high = 0, total[DIGIT_VALUES];
	for (int shift = (DIGITS - 1) * DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
		int value = DIGIT_VALUES - 1;
		memset(total, 0, sizeof total);
		for (int64_t v = 0; v < V; v++)
			if (weight[v] >> (shift + DIGIT_BITS) == high)
				total[weight[v] >> shift & (DIGIT_VALUES - 1)] += by_mass ? weight[v] : 1;
		for (; total[value] < goal; value--)
			goal -= total[value];
		high = high << DIGIT_BITS | (uint64_t)value;
	}
	return (struct cut){high, by_mass && high ? (goal + high - 1) / high : goal};
}

static void cut_off(uint64_t *weight, int64_t V, struct cut c)
{
	for (int64_t v = 0; v < V; v++) {
		if (weight[v] < c.weight || (weight[v] == c.weight && !c.ties))
			weight[v] = 0;
		else if (weight[v] == c.weight)
			c.ties--;
	}
}

static uint64_t sum_of(const uint64_t *weight, int64_t V)
{
	uint64_t sum = 0;
	for (int64_t v = 0; v < V; v++)
		sum += weight[v];
	return sum;
}

static uint64_t warp(uint64_t *weight, const struct kn_warp *c, int64_t V)
{
	if (c->top_k > 0 && c->top_k < V)
		cut_off(weight, V, find_cut(weight, V, (uint64_t)c->top_k, 0));
	if (c->top_p < 1)
		cut_off(weight, V, find_cut(weight, V, kn_draw_mass(c->top_p, sum_of(weight, V)), 1));
	for (int64_t v = 0; c->min_p > 0 && v < V; v++)
		weight[v] = weight[v] < kn_draw_least(c->min_p) ? 0 : weight[v];
	return sum_of(weight, V);
}

/* The largest logit of a row that is a distribution; -INFINITY or INFINITY of another. */
static float largest(const float *z, int64_t V)
{
	float max = -INFINITY;
	int bad = 0;
	for (int64_t v = 0; v < V; v++) {
		max = z[v] > max ? z[v] : max;
		bad |= !(z[v] < INFINITY);
	}
	return bad ? INFINITY : max;
}

static void draw_item(void *arg, int64_t m, int worker)
{
	(void)worker;
	const struct draws *d = arg;
	const float *z = d->logits + m * d->V;
	float max = largest(z, d->V);
	struct kn_drawn *to = d->drawn + m;
	*to = (struct kn_drawn){.token = -1};
	if (!(max > -INFINITY && max < INFINITY))
		return;
	to->token = 0;
	if (d->c->temperature == 0) {
		while (z[to->token] != max)
			to->token++;
		to->weight = to->sum = 1;
		return;
	}
	uint64_t *weight = d->weight + m * d->V, at = 0;
	double by = (float)(1 / d->c->temperature);
	for (int64_t v = 0; v < d->V; v++)
		weight[v] = kn_draw_weight(((double)z[v] - max) * by);
	to->sum = warp(weight, d->c, d->V);
	uint64_t goal = kn_draw_goal(d->u[m], to->sum);
	while ((at += weight[to->token]) <= goal)
		to->token++;
	to->weight = weight[to->token];
}

void KN(draw)(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
              const struct kn_warp *c, int64_t M, int64_t V)
{
	cpu_for(ctx, M, (double)(M * V) * 16, draw_item, &(struct draws){drawn, weight, logits, u, c, V});
}
