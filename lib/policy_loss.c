/* policy_loss - see policy_loss.h */
#include "lib/policy_loss.h"

#include <math.h>
#include <stddef.h>

#define AT(field) offsetof(struct policy_loss_config, field)
const struct opt policy_loss_options[] = {
        {"cliprange", 0, OPT_NUM, AT(cliprange), "0.2", "X", "clip the ratio to 1 - X .. 1 + X", 0, 1e9},
        {"cliprange-value", 0, OPT_NUM, AT(cliprange_value), "0.2", "X", "clip the value to X around the old one", 0,
         1e9},
        {"vf-coef", 0, OPT_NUM, AT(vf_coef), "0.1", "X", "weight of the value loss", 0, 1e9},
        {NULL},
};

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

static void policy_token(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                         const struct policy_loss_row *row, int64_t t, struct policy_loss_stats *sums)
{
	double A = row->advantages[t], d = (double)row->logprobs[t] - row->old_logprobs[t], r = exp(d);
	double plain = -A * r, clipped = -A * clamp(r, 1 - c->cliprange, 1 + c->cliprange);
	bool clip = clipped > plain;
	/* Where the clipped term is the larger one the ratio is outside the range, and the clamp is flat. */
	row->dlogprobs[t] = clip ? 0 : (float)(plain / s->tokens);
	sums->policy += clip ? clipped : plain;
	sums->clipfrac += clip;
	sums->approxkl += 0.5 * d * d;
	sums->ratio += r;
	if (row->entropy)
		sums->entropy += row->entropy[t];
}

static void value_cell(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                       const struct policy_loss_row *row, int64_t t, struct policy_loss_stats *sums)
{
	double v = row->values[t], old = row->old_values[t], R = row->returns[t];
	double near = clamp(v, old - c->cliprange_value, old + c->cliprange_value);
	double plain = (v - R) * (v - R), clipped = (near - R) * (near - R);
	bool clip = clipped > plain;
	row->dvalues[t] = clip ? 0 : (float)(c->vf_coef * (v - R) / s->cells);
	sums->value += 0.5 * (clip ? clipped : plain);
	sums->value_clipfrac += clip;
}

void policy_loss_tokens(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, struct policy_loss_stats *sums)
{
	for (int64_t t = 0; t < row->n; t++) {
		row->dlogprobs[t] = 0;
		if (!row->mask || row->mask[t])
			policy_token(c, s, row, t, sums);
	}
}

void policy_loss_cells(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                       const struct policy_loss_row *row, struct policy_loss_stats *sums)
{
	for (int64_t t = 0; t < row->cells; t++) {
		row->dvalues[t] = 0;
		if (t == row->n || !row->mask || row->mask[t])
			value_cell(c, s, row, t, sums);
	}
}

struct policy_loss_stats policy_loss_means(const struct policy_loss_stats *sums, const struct policy_loss_scale *s)
{
	double tokens = s->tokens > 0 ? s->tokens : 1, cells = s->cells > 0 ? s->cells : 1;
	double places = s->places > 0 ? s->places : 1;
	return (struct policy_loss_stats){.policy = sums->policy / tokens,
	                                  .value = sums->value / cells,
	                                  .approxkl = sums->approxkl / places,
	                                  .clipfrac = sums->clipfrac / tokens,
	                                  .value_clipfrac = sums->value_clipfrac / cells,
	                                  .entropy = sums->entropy / tokens,
	                                  .ratio = (sums->ratio + (s->places - s->tokens)) / places};
}
