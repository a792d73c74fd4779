/*
 * policy_loss - losses of policy and critic over completion tokens, with their gradients.
 *
 * Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347), r = exp(new - old):
 *
 *     policy  mean over tokens of max(-A r, -A clip(r, 1 - cliprange, 1 + cliprange))
 *     value   mean over cells of .5 max((v - R)^2, (clip(v, v_old - cv, v_old + cv) - R)^2)
 *     loss    policy + vf_coef value
 *
 * Tokens are those with mask 1.  Cells are the same tokens, and in a row with a terminal cell (--compat trl, where the
 * value after the last token is trained as well) one more.  Denominators are known before the first row is seen, so
 * that a batch may come in pieces; sums are double, rows in order, and do not depend on the pieces.
 */
#ifndef LIB_POLICY_LOSS_H
#define LIB_POLICY_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"

struct policy_loss_config {
	double cliprange, cliprange_value, vf_coef;
};
/* --cliprange, --cliprange-value, --vf-coef */
extern const struct opt policy_loss_options[];

/* What means are over. */
struct policy_loss_scale {
	double tokens, cells;
	double places; /* of approxkl and ratio: tokens; with --compat trl rows x longest completion, padding counted */
};

/* One row; arrays of n, or of cells (n, or n + 1 with a terminal cell) where said. */
struct policy_loss_row {
	int64_t n, cells;
	const int32_t *mask;                      /* NULL: all 1 */
	const float *old_logprobs, *advantages;   /* [n] */
	const float *old_values, *returns;        /* [cells]; NULL: no critic */
	const float *logprobs, *entropy, *values; /* new: [n], [n] or NULL, [cells] */
	float *dlogprobs, *dvalues;               /* out: d loss / d logprob [n], d loss / d value [cells] */
};

/* Sums of one mini-batch; policy_loss_means turns them into means. */
struct policy_loss_stats {
	double policy, value, approxkl, clipfrac, value_clipfrac, entropy, ratio;
};

/* The policy's part: adds the row's tokens to the sums and overwrites dlogprobs (0 where the mask is 0). */
void policy_loss_tokens(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, struct policy_loss_stats *sums);
/* The critic's part: its cells and dvalues. */
void policy_loss_cells(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                       const struct policy_loss_row *row, struct policy_loss_stats *sums);
struct policy_loss_stats policy_loss_means(const struct policy_loss_stats *sums, const struct policy_loss_scale *s);

#endif
