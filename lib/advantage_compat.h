/*
 * advantage_compat - what other frameworks do differently, as a table: --compat NAME sets every default and convention.
 *
 *              none         trl-old       trl             verl           openrlhf
 * what         this         TRL 0.8       TRL 0.24        b178a3c        3c3be62
 * score on     its tokens   last token    gae: behind     its tokens     last token
 *                                         the last token
 * mask 0       passed over  r = V = 0     refused         passed over    r = V = 0
 * whiten       unbiased     unbiased      unbiased        unbiased       population
 *              + 1e-8       + 1e-8        + 1e-8          + 1e-8         at least 1e-8
 *   of rloo    over tokens  -             over rows,      over tokens    -
 *                                         std + 1e-4
 * grpo, std +  1e-4         -             1e-4            1e-6           1e-9
 * group of 1   an error     -             an error        baseline 0     an error
 * KL, groups   before the   -             before          before         after the baseline, reward to go
 *              baseline
 * KL at most   -            -             -               k3 10          10
 * baseline     G_t - mean   -             -               R - mean       G_t - mean of scores
 * group
 * lam          .95          .95           .95             1              1
 * kl-coef      .05, grpo 0  .2            .05, grpo 0     0              .01
 *
 * losses (lib/policy_loss.h)
 * cv, vf-coef  .2, .1       .2, .1        .2, .1          .5, 1          .5, 1
 * dual clip    -            -             -               3              -
 * log-ratio    -            -             -               20; of a row   20
 * at most                                                 10
 * ratio of a   derivative   -             derivative      own token's    derivative
 * row                                                     (GSPO-token)
 * rloo, ratio  of tokens    -             of completions  of tokens      of tokens
 * dapo, high   .28          -             .2              .28            .28
 * cispo        0 .. 5       -             0 .. 5          .8 .. 1.2      0 .. 5
 * KL that      sums of      sums of rows  sums of rows    means of rows  means of rows
 * adapts       rows
 *
 * optimizer (lib/ppo.h), of gae; without it the rate is 1e-6 and there is one pass
 * lr, passes   3e-6, 4      1.41e-5, 4    3e-6, 4         1e-6, 1        1e-6, 1
 * lr, critic   lr           lr            lr              1e-5           9e-6
 * betas        .9, .999     .9, .999      .9, .999        .9, .999       .9, .95
 * decay        0            0             0               .01 of all     0
 *
 * "std + x" divides by std + x; "+ 1e-8" is under the root.  A dash: the framework does not have it; what we do then is
 * as in the first column, and a method that it does not have is refused.  Sources: each framework at that version, as
 * ../shared/reference/rl-frameworks.md describes it; the numbers of all but trl-old are held against runs of them.
 */
#ifndef LIB_ADVANTAGE_COMPAT_H
#define LIB_ADVANTAGE_COMPAT_H

#include "lib/advantage.h"

enum { SCORE_ITS_TOKENS, SCORE_LAST_TOKEN, SCORE_BEHIND };
enum { MASK_PASSED_OVER, MASK_ZEROS, MASK_REFUSED };

struct advantage_compat {
	const char *name;
	unsigned methods; /* bit ADVANTAGE_x */
	int score, mask;
	bool population;       /* variance of whitening: / n, at least 1e-8; else / (n - 1), plus 1e-8 */
	bool rows_whiten;      /* rloo: over rows, divided by std + std_eps */
	double std_eps;        /* grpo */
	bool lone;             /* a group of one is compared with 0 */
	bool kl_after;         /* group baselines are of scores; the KL is added afterwards, token by token */
	bool group_whole;      /* reinforce with baseline group: R for every token, not G_t */
	double kl_max, k3_max; /* bounds of |kl_t|; 0: none */
	double lam, kl_coef, kl_coef_grpo;
	/* losses */
	double cliprange_value, vf_coef;
	double dual_clip;                   /* its default; 0: off */
	double log_ratio_max, sequence_max; /* bounds of |log r| of tokens, of log r of a sequence; 0: none */
	bool gspo_token;                    /* through a ratio of the row a token gets the slope of its own loss */
	bool rloo_product;                  /* rloo: the ratio is of the completion, means are of rows */
	bool dapo_even;                     /* dapo: the range is the same on both sides */
	double cispo_range;                 /* of cispo, on both sides; 0: as in the paper */
	bool kl_of_means;                   /* the KL that moves --adaptive-kl: mean of the rows' means, not sums */
	/* optimizer */
	double lr, critic_lr; /* with gae; critic_lr < 0: as lr */
	int64_t epochs;       /* with gae */
	const char *betas;
	double weight_decay;
	bool decay_all; /* norm gains and biases too */
};

const struct advantage_compat *advantage_compat(const struct advantage_config *c);

#endif
