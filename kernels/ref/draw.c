/* draw - see kernels.h: the tokens sorted by weight, then taken from the top */
#include "kernels/ref/ref.h"

#include "kernels/draw.h"

#include <stdlib.h>

struct entry {
	uint64_t weight;
	int64_t id;
};

static int heavier_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

/* How many of the sorted tokens are kept. */
static int64_t kept(const struct entry *sorted, const struct kn_warp *c, int64_t V)
{
	int64_t n = c->top_k > 0 && c->top_k < V ? c->top_k : V, least = 0;
	uint64_t sum = 0, have = 0;
	for (int64_t i = 0; i < n; i++)
		sum += sorted[i].weight;
	if (c->top_p < 1) {
		uint64_t mass = kn_draw_mass(c->top_p, sum);
		while (have < mass)
			have += sorted[least++].weight;
		n = least;
	}
	while (n > 0 && sorted[n - 1].weight < kn_draw_least(c->min_p))
		n--;
	return n;
}

static void warp(uint64_t *weight, const struct kn_warp *c, int64_t V)
{
	struct entry *sorted = malloc((size_t)V * sizeof *sorted);
	if (!sorted)
		abort();
	for (int64_t v = 0; v < V; v++)
		sorted[v] = (struct entry){weight[v], v};
	qsort(sorted, (size_t)V, sizeof *sorted, heavier_first);
	for (int64_t i = kept(sorted, c, V); i < V; i++)
		weight[sorted[i].id] = 0;
	free(sorted);
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
