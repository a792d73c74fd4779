/* policy_loss - the policy's part: ratios, token losses and what is added to them; see policy_loss.h */
#include <math.h>
#include <stddef.h>

#include "lib/advantage_compat.h"
#include "lib/policy_loss.h"

#define K3_EXP_MAX 20.0 /* as advantage_kl has it */

static const struct advantage_compat *compat(const struct policy_loss_config *c)
{
	static const struct advantage_config ours = {.compat = ADVANTAGE_OURS};
	return advantage_compat(c->advantage ? c->advantage : &ours);
}

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

/* x within +-max, where there is a bound; *slope becomes 0 beyond. */
static double within(double x, double max, double *slope)
{
	if (max == 0 || fabs(x) <= max)
		return x;
	*slope = 0;
	return copysign(max, x);
}

double policy_loss_kl(const struct advantage_config *a, double d, double *slope)
{
	double k = advantage_kl(a->kl_estimator, d), held = advantage_kl_of(a, d);
	*slope = a->kl_estimator == ADVANTAGE_K1 ? 1 : a->kl_estimator == ADVANTAGE_K2 ? d : -expm1(-d);
	if (held != k || (a->kl_estimator == ADVANTAGE_K3 && fabs(d) > K3_EXP_MAX))
		*slope = 0;
	return held;
}

/* ---- one token ---- */

struct token {
	double loss, slope; /* slope: by the log of the ratio, or where there is none by the log-probability */
	bool clipped, low, high, dual;
};

/* max(-A min(r, delta), -A clip(r, lo, hi)), and dual_clip. */
static struct token clipped(const struct policy_loss_config *c, double A, double r)
{
	double low = 1 - c->cliprange, high = 1 + c->cliprange_high;
	double plain = -A * (c->delta > 0 && r > c->delta ? c->delta : r), second = -A * clamp(r, low, high);
	struct token x = {.clipped = second > plain, .low = r < low && A<0, .high = r> high && A > 0};
	bool flat = x.clipped ? r < low || r > high : c->delta > 0 && r > c->delta;
	x.loss = x.clipped ? second : plain;
	x.slope = flat ? 0 : -A * r;
	if (c->dual_clip > 0 && A < 0 && x.loss > -A * c->dual_clip) {
		x.dual = true;
		x.loss = -A * c->dual_clip;
		x.slope = 0;
	}
	return x;
}

static struct token weighted(const struct policy_loss_config *c, double A, double r, double logprob)
{
	double low = 1 - c->cliprange, high = 1 + c->cliprange_high, w = clamp(r, low, high);
	return (struct token){
	        .loss = -w * A * logprob, .slope = -w * A, .clipped = w != r, .low = r<low, .high = r> high};
}

static struct token soft(const struct policy_loss_config *c, double A, double r)
{
	double tau = A > 0 ? c->tau_pos : c->tau_neg, gate = 1 / (1 + exp(-tau * (r - 1)));
	return (struct token){.loss = -A * 4 / tau * gate, .slope = -A * 4 * gate * (1 - gate) * r};
}

static struct token token_loss(const struct policy_loss_config *c, double A, double r, double logprob)
{
	switch (c->loss) {
	case LOSS_REINFORCE:
		return (struct token){.loss = -A * logprob, .slope = -A};
	case LOSS_CISPO:
		return weighted(c, A, r, logprob);
	case LOSS_SAPO:
		return soft(c, A, r);
	case LOSS_GEO_MEAN: /* clipped in the ratio already */
	case LOSS_KL_COV:
		return (struct token){.loss = -A * r, .slope = -A * r};
	default:
		return clipped(c, A, r);
	}
}

/* The same where clip_cov or kl_cov has chosen the token, whose log-ratio is d. */
static void by_covariance(const struct policy_loss_config *c, double d, struct token *x)
{
	if (c->loss == LOSS_CLIP_COV) {
		x->loss = x->slope = 0;
		return;
	}
	x->loss += c->cov_kl_coef * fabs(d);
	x->slope += c->cov_kl_coef * ((d > 0) - (d < 0));
}

/* ---- one row ---- */

/* The row under way. */
struct walk {
	const struct policy_loss_config *c;
	const struct advantage_compat *k;
	const struct policy_loss_scale *s;
	const struct policy_loss_row *row;
	double chosen;          /* tokens */
	double by_row, by_cell; /* a token's loss is divided by: within its row; within the whole loss */
	double ratio;           /* of the row, unless of tokens */
	double within_bounds;   /* 0 where the row's log-ratio is held to a bound, else 1 */
	bool low, high, clipped, dual;
};

static bool chosen(const struct policy_loss_row *row, int64_t t)
{
	return !row->mask || row->mask[t];
}

static double log_ratio(const struct policy_loss_row *row, int64_t t)
{
	return (double)row->logprobs[t] - row->old_logprobs[t];
}

/* A token's part of geo_mean's ratio; *x says whether it is held. */
static double held_log_ratio(const struct policy_loss_config *c, const struct policy_loss_row *row, int64_t t,
                             struct token *x)
{
	double d = log_ratio(row, t), A = row->advantages[t];
	x->high = A > 0 && d > c->cliprange_high;
	x->low = A < 0 && d < -c->cliprange;
	x->clipped = x->high || x->low;
	return A == 0 ? 0 : x->high ? c->cliprange_high : x->low ? -c->cliprange : d;
}

static struct walk begin(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                         const struct policy_loss_row *row)
{
	struct walk w = {.c = c, .k = compat(c), .s = s, .row = row};
	double sum = 0;
	struct token held_token;
	for (int64_t t = 0; t < row->n; t++)
		if (chosen(row, t)) {
			w.chosen++;
			sum += c->ratio == RATIO_TOKEN    ? 0
			       : c->loss == LOSS_GEO_MEAN ? held_log_ratio(c, row, t, &held_token)
			                                  : log_ratio(row, t);
		}
	if (w.chosen == 0)
		return w;
	double mean = sum / w.chosen, max = w.k->sequence_max;
	bool held = c->ratio == RATIO_SEQUENCE && c->loss != LOSS_GEO_MEAN && max > 0 && mean > max;
	w.within_bounds = !held;
	w.ratio = exp(c->ratio == RATIO_PRODUCT ? sum : held ? max : mean);
	if (c->agg == AGG_TOKEN_MEAN) {
		w.by_row = 1;
		w.by_cell = c->loss == LOSS_DAPO ? s->all_tokens : s->tokens;
	} else {
		w.by_row = c->agg == AGG_SEQ_MEAN_TOKEN_MEAN ? w.chosen : s->length > 0 ? s->length : 1;
		w.by_cell = s->all_rows * w.by_row;
	}
	return w;
}

static void add_kl(struct walk *w, int64_t t, struct policy_loss_stats *sums)
{
	const struct policy_loss_row *row = w->row;
	double k, slope;
	if (row->kl) {
		k = row->kl[t];
		row->dkl[t] = (float)(w->c->kl_coef / w->by_cell);
	} else {
		k = policy_loss_kl(w->c->advantage, (double)row->logprobs[t] - row->ref_logprobs[t], &slope);
		row->dlogprobs[t] += (float)(w->c->kl_coef * slope / w->by_cell);
	}
	sums->kl += k / w->by_row;
	sums->kl_tokens += k;
}

static void add_entropy(struct walk *w, int64_t t, struct policy_loss_stats *sums)
{
	sums->entropy += w->row->entropy[t];
	sums->bonus += w->row->entropy[t] / w->by_row;
	if (w->row->dentropy)
		w->row->dentropy[t] = (float)(-w->c->entropy_coef / w->by_cell);
}

/* Returns the slope of the token's loss by the log of its row's ratio, where there is one. */
static double add_policy(struct walk *w, int64_t t, struct policy_loss_stats *sums)
{
	const struct policy_loss_row *row = w->row;
	bool of_row = w->c->ratio != RATIO_TOKEN, geo_mean = w->c->loss == LOSS_GEO_MEAN;
	/* the framework that has a bound has none in these */
	double max = geo_mean || policy_loss_chooses(w->c) ? 0 : w->k->log_ratio_max;
	double open = 1, d = within(log_ratio(row, t), max, &open);
	double r = of_row ? w->ratio : exp(d);
	sums->approxkl += 0.5 * d * d;
	sums->policykl -= d;
	sums->ratio += r;
	struct token x = token_loss(w->c, row->advantages[t], r, row->logprobs[t]);
	if (geo_mean)
		held_log_ratio(w->c, row, t, &x);
	if (policy_loss_chooses(w->c) && policy_loss_chosen(w->c, w->s, row, t, r)) {
		by_covariance(w->c, d, &x);
		sums->cov++;
	}
	if (row->weights) {
		x.loss *= row->weights[t];
		x.slope *= row->weights[t];
	}
	w->low |= x.low, w->high |= x.high, w->clipped |= x.clipped, w->dual |= x.dual;
	if (!of_row || geo_mean)
		sums->clipfrac += x.clipped, sums->clip_low += x.low, sums->clip_high += x.high,
		        sums->clip_dual += x.dual;
	if (row->entropy && row->entropy[t] < w->s->least_entropy)
		return 0;
	sums->policy += x.loss / w->by_row;
	bool own = w->c->loss == LOSS_REINFORCE || w->c->loss == LOSS_CISPO;
	if (own || !of_row)
		row->dlogprobs[t] = (float)(x.slope * (own ? 1 : open) / w->by_cell);
	else if (w->k->gspo_token && !geo_mean)
		row->dlogprobs[t] = (float)(x.slope * w->within_bounds *
		                            (w->c->ratio == RATIO_PRODUCT ? w->chosen : 1) / w->by_cell);
	return own || !of_row ? 0 : x.slope;
}

/* Every token's part of the row's ratio. */
static void spread(struct walk *w, double slope)
{
	double part = w->within_bounds * slope / w->by_cell;
	if (w->c->ratio == RATIO_SEQUENCE)
		part /= w->chosen;
	for (int64_t t = 0; t < w->row->n; t++) {
		struct token x = {0};
		if (!chosen(w->row, t))
			continue;
		if (w->c->loss == LOSS_GEO_MEAN)
			held_log_ratio(w->c, w->row, t, &x);
		bool has_part = !x.clipped && (w->c->loss != LOSS_GEO_MEAN || w->row->advantages[t] != 0);
		w->row->dlogprobs[t] = has_part ? (float)part : 0;
	}
}

void policy_loss_tokens(const struct policy_loss_config *c, const struct policy_loss_scale *s,
                        const struct policy_loss_row *row, struct policy_loss_stats *sums)
{
	for (int64_t t = 0; t < row->n; t++) {
		row->dlogprobs[t] = 0;
		if (row->dentropy)
			row->dentropy[t] = 0;
		if (row->dkl)
			row->dkl[t] = 0;
	}
	struct walk w = begin(c, s, row);
	if (w.chosen == 0 || (c->mask_truncated && row->cut))
		return;
	double slope = 0;
	for (int64_t t = 0; t < row->n; t++)
		if (chosen(row, t))
			slope += add_policy(&w, t, sums);
	if (c->ratio != RATIO_TOKEN) {
		if (c->loss != LOSS_GEO_MEAN)
			sums->clipfrac += w.clipped, sums->clip_low += w.low, sums->clip_high += w.high,
			        sums->clip_dual += w.dual;
		if ((!w.k->gspo_token || c->loss == LOSS_GEO_MEAN) && c->loss != LOSS_REINFORCE &&
		    c->loss != LOSS_CISPO)
			spread(&w, slope);
	}
	for (int64_t t = 0; t < row->n; t++) {
		if (!chosen(row, t))
			continue;
		if (c->kl_coef != 0)
			add_kl(&w, t, sums);
		if (row->entropy)
			add_entropy(&w, t, sums);
	}
}
