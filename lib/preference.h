/*
 * preference - pairs of a chosen and a rejected answer to one prompt: reading them, and the losses learned from them.
 *
 * With p and q the sums of ln p over the tokens of an answer by the model and by a reference, and
 * d = (p - q) of the chosen less that of the rejected answer,
 *
 *     dpo   -(1 - e) ln s(beta d) - e ln s(-beta d), s(x) = 1 / (1 + exp(-x))
 *           Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; e > 0: Mitchell 2023, "A note on DPO with noisy
 * preferences" ipo   (d' - 1 / (2 beta))^2, d' as d with means over the tokens of each answer Azar et al. 2023
 * (arXiv:2310.12036), eq. 17, whose tau is beta; means over tokens as TRL 1.16 has them
 *
 * and with the scores u, v that a reward model gives chosen and rejected answer,
 *
 *     -ln s(u - v - margin) + c (u + v)^2
 *           Bradley and Terry 1952; margin: Touvron et al. 2023 (Llama 2), 3.2.2; c: Eisenstein et al. 2023
 *           (arXiv:2312.09244), eq. 2
 */
#ifndef LIB_PREFERENCE_H
#define LIB_PREFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/records_run.h"

enum preference_side { CHOSEN, REJECTED };

/* ---- losses ---- */

enum preference_kind { PREFERENCE_DPO, PREFERENCE_IPO };
struct preference_config {
	int kind; /* enum preference_kind */
	double beta, label_smoothing;
};
/* --loss, --beta, --label-smoothing */
extern const struct opt preference_options[];
/* Ends the process (misuse) when they do not go together. */
void preference_check(const struct preference_config *c);

/* The loss of one pair.  ratio: sums of ln p by the model less those by the reference; n: tokens; gradient: by the sums
 * of ln p. */
double preference_loss(const struct preference_config *c, const double ratio[2], const int64_t n[2],
                       double gradient[2]);
double preference_bradley_terry(const double score[2], double margin, double center, double gradient[2]);

/* ---- pairs ---- */

struct preference_pair {
	int32_t *token[2]; /* prompt, then answer; in r->arena */
	int64_t n_prompt, n[2];
};
/*
 * prompt_tokens or prompt, and chosen and rejected, each a text or an array of ids.  append_eos: an answer given as
 * text ends with EOS.  bare: there may be no prompt, and then a text begins as a prompt does, and what comes after the
 * first token counts as the answer.  -1: no token in prompt or answer, or too many, or ids outside of the vocabulary.
 */
int preference_pair_read(struct preference_pair *p, struct records_run *r, const struct record *record, bool append_eos,
                         bool bare, struct err *e);

#endif
