/* policy_loss - the critic's part; see policy_loss.h */
#include <stddef.h>

#include "lib/policy_loss.h"

static void value_cell(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                       const struct policy_loss_row *row, int64_t t, struct policy_loss_stats *sums)
{
	double v = row->values[t], old = row->old_values[t], R = row->returns[t], range = c->cliprange_value;
	double near = v < old - range ? old - range : v > old + range ? old + range : v;
	double plain = (v - R) * (v - R), clipped = (near - R) * (near - R);
	bool clip = range > 0 && clipped > plain;
	row->dvalues[t] = clip ? 0 : (float)(c->vf_coef * (v - R) / s->cells);
	sums->value += 0.5 * (clip ? clipped : plain);
	sums->value_clipfrac += clip;
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
