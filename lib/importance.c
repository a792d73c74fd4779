/* importance - see importance.h */
#include "lib/importance.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#define AT(field) offsetof(struct importance_config, field)
const struct opt importance_options[] = {
        {"proximal", 0, OPT_CHOICE, AT(proximal), "auto", "auto|always|never",
         "take ratios against the policy before the update: for rows of other versions, all, none", 0, 0},
        {"importance", 0, OPT_CHOICE, AT(kind), "truncate", "truncate|mask|sequence-mask|none",
         "what the weights of such rows' tokens do at their bounds", 0, 0},
        {"importance-min", 0, OPT_NUM, AT(least), "0", "X", "lower bound", 0, 1e9},
        {"importance-max", 0, OPT_NUM, AT(most), "2", "X", "upper bound", 0, 1e9},
        {NULL},
};

void importance_check(const struct importance_config *c)
{
	if (c->least > c->most)
		cli_misuse("--importance-min is %g, but --importance-max %g", c->least, c->most);
}

static bool outside(const struct importance_config *c, double w)
{
	return w < c->least || w > c->most;
}

static void count(struct importance_stats *s, double d, double w)
{
	if (s->tokens == 0 || w < s->min)
		s->min = w;
	if (s->tokens == 0 || w > s->max)
		s->max = w;
	if (fabs(d) > s->largest)
		s->largest = fabs(d);
	s->difference += fabs(d);
	s->sum += w;
	s->tokens++;
}

/* exp of the mean of the differences. */
static double of_row(int64_t n, const int32_t *mask, const float *proximal, const float *behaviour)
{
	double sum = 0, chosen = 0;
	for (int64_t t = 0; t < n; t++)
		if (!mask || mask[t]) {
			sum += (double)proximal[t] - behaviour[t];
			chosen++;
		}
	return chosen > 0 ? exp(sum / chosen) : 1;
}

void importance_weights(const struct importance_config *c, int64_t n, const int32_t *mask, const float *proximal,
                        const float *behaviour, float *weight, struct importance_stats *stats)
{
	bool row_out = c->kind == IMPORTANCE_SEQUENCE_MASK && outside(c, of_row(n, mask, proximal, behaviour));
	stats->rows++;
	for (int64_t t = 0; t < n; t++) {
		weight[t] = 0;
		if (mask && !mask[t])
			continue;
		double d = (double)proximal[t] - behaviour[t], w = exp(d);
		bool out = c->kind == IMPORTANCE_SEQUENCE_MASK ? row_out : c->kind != IMPORTANCE_NONE && outside(c, w);
		count(stats, d, w);
		stats->bounded += out;
		if (c->kind == IMPORTANCE_NONE)
			w = 1;
		else if (out)
			w = c->kind == IMPORTANCE_TRUNCATE ? fmin(fmax(w, c->least), c->most) : 0;
		weight[t] = (float)w;
	}
}
