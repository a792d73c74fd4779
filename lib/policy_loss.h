/*
 * policy_loss - losses of policy and critic over completion tokens, with their gradients.
 *
 * d = new - old log-probability of a token, n the tokens of its row, A its advantage, lo = 1 - cliprange,
 * hi = 1 + cliprange_high.  The ratio, by --ratio:
 *
 *     token     r = exp(d)
 *     sequence  r = exp(mean of d over the row), for all its tokens  (Zheng et al. 2025, GSPO)
 *     product   r = exp(sum of d over the row): of the whole completion  (Ahmadian et al. 2024, as TRL's RLOO)
 *
 * A token's loss l, by --loss:
 *
 *     ppo        max(-A r, -A clip(r, lo, hi))  (Schulman et al. 2017).  --delta X holds the r of the first term to at
 *                most X (INTELLECT-2, 2025); --dual-clip X holds l to at most -A X where A < 0 (Ye et al. 2020)
 *     grpo, dr_grpo, dapo, bnpo, gspo    the same; they differ in what is below  (Shao et al. 2024, Liu et al. 2025,
 *                Yu et al. 2025, TRL's name for a mean over the tokens of a batch, Zheng et al. 2025)
 *     reinforce  -A new  (Williams 1992)
 *     cispo      -A clip(r, lo, hi) new, with no gradient through r  (MiniMax-M1, 2025)
 *     sapo       -A 4/tau s(tau (r - 1)), s the logistic function, tau by the sign of A  (Gao et al. 2025,
 *                arXiv:2511.20347)
 *     geo_mean   -A R, R = exp(mean over the row of d, each held to at most cliprange_high where A > 0, to at least
 *                -cliprange where A < 0): the geometric mean of clipped ratios  (Zhao et al. 2025, arXiv:2507.20673)
 *     clip_cov   as ppo, but none of tokens that are drawn among those whose covariance (A - mean A) (new - mean new),
 *                means over the mini-batch, lies between cov_low and cov_high and that are not clipped: as many as
 *                cov_ratio of all, one at least
 *     kl_cov     -A r, and + cov_kl_coef |d| where that covariance is among the largest, cov_ratio of all, one at
 * least, with its equals (both Cui et al. 2025, arXiv:2505.22617); which tokens is settled before the gradient
 *
 * to which are added, where asked for, kl_coef k (KL in the loss: k an estimate of advantage.h with d = new - ref) and
 * -entropy_coef H.  From tokens to the loss, by --loss-agg:
 *
 *     token-mean           sum of all l / tokens
 *     seq-mean-token-sum   mean over rows of (sum of l / length)
 *     seq-mean-token-mean  mean over rows of the mean of l
 *
 * length is --loss-length, else with dr_grpo the longest completion of the batch, else 1.
 *
 * Tokens are those with mask 1; a row without any is no row.  With mask_truncated a row that was cut gives no loss; it
 * stays in the number of rows, and with dapo in that of tokens, but not in the means that are printed.
 *
 * Through a ratio of the row every token gets the derivative of the whole row's loss.  (verl has the GSPO-token form,
 * where it is that of its own l: the same where A is one number per row.)
 *
 *     value   mean over cells of .5 max((v - R)^2, (clip(v, v_old - cv, v_old + cv) - R)^2); cv 0: not clipped
 *     loss    policy + vf_coef value
 *
 * Cells are the same tokens, and in a row with a terminal cell (--compat trl, where the value after the last token is
 * trained as well) one more.  Denominators are known before the first row is seen, so that a batch may come in pieces;
 * sums are double, rows in order, and do not depend on the pieces.
 */
#ifndef LIB_POLICY_LOSS_H
#define LIB_POLICY_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/advantage.h"
#include "lib/cli.h"

enum {
	LOSS_PPO,
	LOSS_REINFORCE,
	LOSS_GRPO,
	LOSS_DR_GRPO,
	LOSS_DAPO,
	LOSS_BNPO,
	LOSS_GSPO,
	LOSS_CISPO,
	LOSS_SAPO,
	LOSS_GEO_MEAN,
	LOSS_CLIP_COV,
	LOSS_KL_COV
};
enum { RATIO_TOKEN, RATIO_SEQUENCE, RATIO_PRODUCT };
enum { AGG_TOKEN_MEAN, AGG_SEQ_MEAN_TOKEN_SUM, AGG_SEQ_MEAN_TOKEN_MEAN };
enum { KL_IN_REWARD, KL_IN_LOSS };

struct policy_loss_config {
	int loss, ratio, agg, kl_in;
	double cliprange, cliprange_high;
	double dual_clip, delta;                          /* 0: none */
	double tau_pos, tau_neg;                          /* sapo */
	double cov_ratio, cov_low, cov_high, cov_kl_coef; /* clip_cov, kl_cov */
	int64_t length;                                   /* 0: by the rule above */
	bool mask_truncated;
	double entropy_coef;
	double top_entropy; /* share of the tokens, those of highest entropy, that have a policy loss; 1: all */
	double cliprange_value, vf_coef;
	/* of the KL in the loss: estimator, and compat with its bounds; borrowed, NULL: none, as of this framework */
	const struct advantage_config *advantage;
	double kl_coef; /* of the KL in the loss; 0: none */
};
extern const struct opt policy_loss_options[];

/*
 * After cli_parse and before advantage_settle: what was not given takes the defaults of --loss and of compat, the
 * method of the advantages and the KL's estimator among them:
 *
 *              advantage   ratio     agg                  cliprange  high  kl-in   estimator
 *     ppo       gae        token     token-mean           .2         .2    reward  k1
 *     reinforce reinforce  token     token-mean           -          -     reward  k1
 *     grpo      grpo       token     seq-mean-token-mean  .2         .2    loss    k3
 *     dr_grpo   grpo, not  token     seq-mean-token-sum   .2         .2    loss    k3
 *               divided
 *     dapo      grpo       token     token-mean           .2         .28   loss    k3
 *     bnpo      grpo       token     token-mean           .2         .2    loss    k3
 *     gspo      grpo       sequence  seq-mean-token-mean  3e-4       4e-4  loss    k3
 *     cispo     grpo       token     token-mean           1          4     loss    k3
 *     sapo      grpo       token     seq-mean-token-mean  -          -     loss    k3
 *     geo_mean  grpo       sequence  seq-mean-token-mean  .4         .4    loss    k3
 *     clip_cov  grpo       token     token-mean           .2         .2    loss    k3
 *     kl_cov    grpo       token     token-mean           -          -     loss    k3
 *
 * Misuse ends the process.
 */
void policy_loss_settle(struct policy_loss_config *c, struct advantage_config *a);

/* What means are over; begin with zero, length and places set where they are known. */
struct policy_loss_scale {
	double tokens, rows;         /* that have a loss */
	double all_tokens, all_rows; /* those of rows that mask_truncated leaves out too */
	double cells;
	double length;        /* of seq-mean-token-sum; 0: 1 */
	double places;        /* of approxkl and ratio; 0: tokens.  With --compat trl rows x longest completion */
	double least_entropy; /* tokens below have no policy loss (top_entropy); 0: all have */
	/* of policy_loss_choose */
	double mean_advantage, mean_logprob;
	double least_cov;  /* kl_cov: tokens at or above */
	double draw_below; /* clip_cov: tokens whose number, drawn under key, is below */
	uint64_t key;
};

/* One row; arrays of n, or of cells (n, or n + 1 with a terminal cell) where said. */
struct policy_loss_row {
	int64_t n, cells;
	uint64_t id;                              /* in the mini-batch, for what is drawn (clip_cov) */
	bool cut;                                 /* for mask_truncated */
	const int32_t *mask;                      /* NULL: all 1 */
	const float *old_logprobs, *advantages;   /* [n] */
	const float *weights;                     /* [n] that a token's loss l is multiplied by; NULL: all 1 */
	const float *ref_logprobs;                /* [n], or NULL without KL in the loss */
	const float *kl;                          /* [n] of estimator exact, else NULL */
	const float *old_values, *returns;        /* [cells]; NULL: no critic */
	const float *logprobs, *entropy, *values; /* new: [n], [n] or NULL, [cells] */
	/* out: d loss / d logprob [n], / d entropy [n] or NULL, / d value [cells] */
	float *dlogprobs, *dentropy, *dvalues;
	float *dkl; /* / d kl [n], or NULL */
};

/* Sums of one mini-batch; policy_loss_means turns them into means. */
struct policy_loss_stats {
	double policy, kl, bonus; /* as aggregated: l; k without its coefficient; H without its own */
	double value;
	double approxkl, policykl;            /* d^2 / 2 over places; -d over tokens */
	double clipfrac, clip_low, clip_high; /* shares of tokens, or of rows where a ratio is a row's: clipped at all;
	                                       * r < lo and A < 0; r > hi and A > 0 (cispo: whatever A is) */
	double clip_dual;                     /* held by dual_clip */
	double cov;                           /* share of tokens that clip_cov or kl_cov has chosen */
	double value_clipfrac, entropy, ratio;
	double kl_tokens; /* k over tokens */
};

/* Counts a row (its mask, n, cells, cut) into the denominators. */
void policy_loss_count(const struct policy_loss_config *c, const struct policy_loss_row *row,
                       struct policy_loss_scale *s);
/* clip_cov, kl_cov: of all rows of a mini-batch, with their new log-probabilities, which tokens; s->key is set. */
void policy_loss_choose(const struct policy_loss_config *c, const struct policy_loss_row *row, int64_t n,
                        struct policy_loss_scale *s);
static inline bool policy_loss_chooses(const struct policy_loss_config *c)
{
	return c->loss == LOSS_CLIP_COV || c->loss == LOSS_KL_COV;
}
/* Is token t, with ratio r, one of those? */
bool policy_loss_chosen(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, int64_t t, double r);

/* The policy's part: adds the row's tokens to the sums and overwrites dlogprobs and dentropy (0 where the mask is 0).
 */
void policy_loss_tokens(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, struct policy_loss_stats *sums);
/* The critic's part: its cells and dvalues. */
void policy_loss_cells(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                       const struct policy_loss_row *row, struct policy_loss_stats *sums);
struct policy_loss_stats policy_loss_means(const struct policy_loss_config *c, const struct policy_loss_stats *sums,
                                           const struct policy_loss_scale *s);
/* The whole loss out of means. */
double policy_loss_total(const struct policy_loss_config *c, const struct policy_loss_stats *means);

/* The quantile q of x[n], n > 0, between neighbours by linear interpolation; x is put in order. */
double policy_loss_quantile(double *x, int64_t n, double q);
/* An estimate of the KL within the bounds of compat; *slope: its derivative by the log-probability. */
double policy_loss_kl(const struct advantage_config *a, double d, double *slope);

#endif
