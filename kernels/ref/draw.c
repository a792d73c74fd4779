/* draw - see kernels.h: tokens are taken one after the other, the heaviest first, and the rest is left out */
#include "kernels/draw.h"

#include "kernels/ref/ref.h"

/* Tokens down to this one, in falling order of weight and rising order of ids, are kept. */
struct last {
	uint64_t weight;
	int64_t id;
};

static int is_kept(const uint64_t *weight, int64_t v, struct last last)
{
	return weight[v] > last.weight || (weight[v] == last.weight && v <= last.id);
}

/* The first token behind `last`; there is one. */
static struct last next(const uint64_t *weight, int64_t V, struct last last)
{
	struct last best = {0, V};
	for (int64_t v = 0; v < V; v++)
		if (!is_kept(weight, v, last) && (best.id == V || weight[v] > best.weight))
			best = (struct last){weight[v], v};
	return best;
}

static struct last keep(const uint64_t *weight, const struct kn_warp *c, int64_t V)
{
	const struct last none = {UINT64_MAX, -1}, all = {0, V};
	struct last k = c->top_k > 0 && c->top_k < V ? none : all, p = none;
	for (int64_t i = 0; k.id != V && i < c->top_k; i++)
		k = next(weight, V, k);
	if (c->top_p >= 1)
		return k;
	uint64_t sum = 0, have = 0;
	for (int64_t v = 0; v < V; v++)
		sum += is_kept(weight, v, k) ? weight[v] : 0;
	while (have < kn_draw_mass(c->top_p, sum)) {
		p = next(weight, V, p);
		have += p.weight;
	}
	return p;
}

static void warp(uint64_t *weight, const struct kn_warp *c, int64_t V)
{
	struct last last = keep(weight, c, V);
	for (int64_t v = 0; v < V; v++)
		if (!is_kept(weight, v, last) || weight[v] < kn_draw_least(c->min_p))
			weight[v] = 0;
}

static struct kn_drawn draw_row(uint64_t *weight, const float *z, double u, const struct kn_warp *c, int64_t V)
{
	struct kn_drawn d = {.token = -1};
	for (int64_t v = 0; v < V; v++) {
		if (!(z[v] < INFINITY))
			return (struct kn_drawn){.token = -1};
		if (z[v] > -INFINITY && (d.token < 0 || z[v] > z[d.token]))
			d.token = v;
	}
	if (d.token < 0 || c->temperature == 0)
		return (struct kn_drawn){d.token, d.token >= 0, d.token >= 0};
	float by = (float)(1 / c->temperature), max = z[d.token];
	for (int64_t v = 0; v < V; v++)
		weight[v] = kn_draw_weight(((double)z[v] - max) * by);
	warp(weight, c, V);
	for (int64_t v = 0; v < V; v++)
		d.sum += weight[v];
	uint64_t at = 0, goal = kn_draw_goal(u, d.sum);
	for (d.token = 0; (at += weight[d.token]) <= goal;)
		d.token++;
	d.weight = weight[d.token];
	return d;
}

void ref_draw(void *ctx, struct kn_drawn *drawn, uint64_t *weight, const float *logits, const double *u,
              const struct kn_warp *c, int64_t M, int64_t V)
{
	(void)ctx;
	for (int64_t m = 0; m < M; m++)
		drawn[m] = draw_row(weight ? weight + m * V : NULL, logits + m * V, u ? u[m] : 0, c, V);
}
