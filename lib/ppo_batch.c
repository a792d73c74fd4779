/* ppo_batch - see ppo_batch.h */
#include "lib/ppo_batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage_record.h"
#include "lib/bad_batch.h"
#include "lib/ppo_metrics.h"
#include "lib/record.h"
#include "lib/trainer_ranks.h"
#include "lib/util.h"

void ppo_batch_init(struct ppo_batch *b)
{
	*b = (struct ppo_batch){0};
	arena_init(&b->arena);
}

/* The reference as it is in the store. */
struct ppo_reference {
	struct store_view *view;
	struct model_info info;
	struct weights w;
	struct decoder d;
	struct decoder_reference of; /* the two */
};

static void reference_close(struct ppo_reference *r)
{
	if (!r)
		return;
	decoder_release(&r->d);
	weights_release(&r->w);
	model_info_release(&r->info);
	store_view_close(r->view);
	free(r);
}

void ppo_batch_release(struct ppo_batch *b)
{
	reference_close(b->reference);
	arena_release(&b->arena);
}

static float *floats(struct ppo_batch *b, int64_t n)
{
	return arena_array(&b->arena, (size_t)n, sizeof(float));
}

/* ---- rows ---- */

static void init_row(struct ppo_batch *b, struct ppo_row *r, const struct rollout_row *s, const struct ppo *p)
{
	bool critic = p->config->critic != CRITIC_NONE;
	*r = (struct ppo_row){.source = s, .n = s->n, .cells = s->n, .chosen = s->n, .mask = s->mask};
	for (int64_t t = 0; s->mask && t < s->n; t++)
		r->chosen -= s->mask[t] == 0;
	r->logprobs = s->logprobs;
	r->ref_logprobs = s->ref_logprobs;
	r->rewards = s->rewards ? s->rewards : floats(b, s->n);
	r->advantages = s->advantages ? s->advantages : floats(b, s->n);
	r->returns = floats(b, s->n + 1);
	if (critic)
		r->values = floats(b, s->n + 1);
	r->pass = (struct trainer_row){.token = s->token,
	                               .n_prompt = s->n_prompt,
	                               .n = s->n,
	                               .temperature = advantage_temperature(p->advantage->compat, s->temperature),
	                               .logprobs = floats(b, s->n),
	                               .entropy = floats(b, s->n),
	                               .values = critic ? floats(b, s->n + 1) : NULL,
	                               .dlogprobs = floats(b, s->n),
	                               .dentropy = p->loss->entropy_coef != 0 ? floats(b, s->n) : NULL,
	                               .dvalues = critic ? floats(b, s->n + 1) : NULL};
	b->tokens += r->chosen;
	if (s->n > b->longest)
		b->longest = s->n;
}

/* Sampled greedily only for the others of its group to be compared with. */
static bool is_baseline(const struct ppo *p, const struct rollout_row *s)
{
	return !s->skip && s->greedy && !s->advantages && p->advantage->method == ADVANTAGE_REINFORCE &&
	       p->advantage->baseline == BASELINE_GREEDY;
}

/* Did stages before decide that no row is to be trained on?  Then the update changes nothing, and the run goes on. */
static bool all_skipped(const struct rollout_rows *rows)
{
	for (int64_t i = 0; i < rows->n; i++)
		if (!rows->row[i].skip || strcmp(rows->row[i].skip, "skip"))
			return false;
	return true;
}

/* Where --max-lag is set it is kept without a sampler in the loop too; a version that is still to come is none of
 * this store's. */
static int check_version(const struct ppo *p, const struct rollout_rows *rows, const struct rollout_row *s,
                         struct err *e)
{
	long long now = p->policy.version, then = s->version, most = p->config->max_lag;
	if (then < 0 || most == 0 || (then <= now && now - then <= most))
		return 0;
	return err_set(e, "row %lld ('%s') has policy_version %lld, but '%s' is at version %lld, and --max-lag is %lld",
	               (long long)(s - rows->row), s->id, then, p->slot, now, most);
}

static int take_rows(struct ppo_batch *b, const struct ppo *p, struct rollout_rows *rows, struct err *e)
{
	b->row = arena_array(&b->arena, (size_t)rows->n, sizeof *b->row);
	for (int64_t i = 0; i < rows->n; i++) {
		if (!rows->row[i].skip && check_version(p, rows, &rows->row[i], e))
			return -1;
		if (is_baseline(p, &rows->row[i]))
			b->baselines++;
		else if (!rows->row[i].skip)
			init_row(b, &b->row[b->n++], &rows->row[i], p);
	}
	if (b->n == 0 && all_skipped(rows))
		return 0;
	if (b->n == 0)
		return err_set(e, "none of %lld rows can be trained on (the first is left out for '%s')",
		               (long long)rows->n, rows->row[0].skip ? rows->row[0].skip : ADVANTAGE_BASELINE_SKIP);
	rows->skipped += b->baselines;
	if (b->tokens == 0)
		return err_set(e, "no token of %lld rows was chosen by the policy", (long long)b->n);
	return 0;
}

/* ---- what is missing ---- */

static int reference_open(struct ppo_reference *r, struct ppo *p, struct err *e)
{
	if (!(r->view = store_view_open(p->store, e)) ||
	    model_info_load(&r->info, r->view, p->reference.slot, false, e))
		return -1;
	if (r->info.arch.V != p->policy.info.arch.V)
		return err_set(e, "the reference has %lld tokens, but the policy %lld", (long long)r->info.arch.V,
		               (long long)p->policy.info.arch.V);
	if (weights_map(&r->w, p->k, &r->info.table, r->view, &p->reference, e) ||
	    decoder_init(&r->d, &r->info.arch, &r->info.table, p->k, e))
		return -1;
	r->of = (struct decoder_reference){&r->d, &r->w};
	return 0;
}

static struct trainer_row without_outputs(const struct ppo_row *r)
{
	struct trainer_row row = r->pass;
	row.logprobs = row.values = row.entropy = row.dlogprobs = row.dentropy = row.dvalues = NULL;
	row.kl = row.dkl = NULL;
	return row;
}

/* What the reference says of rows that do not say it themselves; with `exact` its hidden states instead. */
static int run_reference(struct ppo_batch *b, struct ppo *p, struct ppo_reference *ref, bool exact, struct err *e)
{
	struct trainer_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	int64_t n = 0;
	for (int64_t i = 0; i < b->n; i++) {
		struct ppo_row *r = &b->row[i];
		if (r->ref_logprobs && !exact)
			continue;
		row[n] = without_outputs(r);
		if (exact) {
			r->pass.ref_hidden = row[n].hidden = floats(b, r->n * ref->info.arch.C);
			r->pass.reference = &ref->of;
		} else {
			row[n].logprobs = r->ref_logprobs = floats(b, r->n);
		}
		n++;
	}
	return trainer_score_ranks(p->comm, &ref->d, &ref->w, row, n, p->policy.micro_tokens, e);
}

/*
 * The exact KL of the policy as it is before the update; and, where it is in the loss, room for that of each pass, the
 * first of which is the same where it has all rows.
 */
static int exact_kl(struct ppo_batch *b, struct ppo *p, struct err *e)
{
	bool in_loss = p->loss->kl_in == KL_IN_LOSS;
	for (int64_t i = 0; in_loss && i < b->n; i++) {
		b->row[i].pass.kl = floats(b, b->row[i].n);
		b->row[i].pass.dkl = floats(b, b->row[i].n);
	}
	b->kl_at_first_pass = in_loss && p->config->mini_batches == 1;
	if (b->kl_at_first_pass)
		return 0;
	struct trainer_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	for (int64_t i = 0; i < b->n; i++) {
		struct ppo_row *r = &b->row[i];
		row[i] = without_outputs(r);
		row[i].kl = r->exact_kl = floats(b, r->n);
	}
	return trainer_score_ranks(p->comm, &p->policy.d, &p->policy.w, row, b->n, p->policy.micro_tokens, e);
}

static int score_reference(struct ppo_batch *b, struct ppo *p, struct err *e)
{
	bool exact = p->advantage->kl_estimator == ADVANTAGE_EXACT, wanted = exact;
	for (int64_t i = 0; i < b->n; i++)
		wanted |= b->row[i].ref_logprobs == NULL;
	if (!wanted)
		return 0;
	struct ppo_reference *ref = xcalloc(1, sizeof *ref);
	int failed = reference_open(ref, p, e) || run_reference(b, p, ref, exact, e) || (exact && exact_kl(b, p, e));
	if (exact)
		b->reference = ref;
	else
		reference_close(ref);
	return failed ? -1 : 0;
}

/* Rows of a pass without gradients: with log-probs, or with values. */
static struct trainer_row *scored(struct ppo_batch *b, const struct trainer_row *row, int64_t n, bool values)
{
	struct trainer_row *out = arena_array(&b->arena, (size_t)n, sizeof *out);
	for (int64_t i = 0; i < n; i++) {
		out[i] = (struct trainer_row){.token = row[i].token, .n_prompt = 1, .n = row[i].n, .temperature = 1};
		if (values)
			out[i].values = floats(b, row[i].n + 1);
		else
			out[i].logprobs = floats(b, row[i].n);
	}
	return out;
}

/* The row's exact KL is computed like those of a batch. */
static void with_exact_kl(struct ppo_batch *b, struct trainer_row *row, struct ppo_reference *ref, bool gradient)
{
	row->reference = &ref->of;
	row->ref_hidden = floats(b, row->n * ref->info.arch.C);
	row->kl = floats(b, row->n);
	row->dkl = gradient ? floats(b, row->n) : NULL;
}

static int plan_exact_kl(struct ppo_batch *b, struct ppo *p, struct trainer_row *row, int64_t n, struct err *e)
{
	bool in_loss = p->loss->kl_in == KL_IN_LOSS;
	struct trainer_row *before = scored(b, row, n, false);
	for (int64_t i = 0; i < n; i++) {
		before[i].logprobs = NULL;
		with_exact_kl(b, &before[i], b->reference, false);
		if (in_loss)
			with_exact_kl(b, &row[i], b->reference, true);
	}
	if (in_loss && p->config->mini_batches == 1)
		return 0; /* as exact_kl */
	return trainer_score(&p->policy.d, &p->policy.w, before, n, p->policy.micro_tokens, e);
}

int ppo_batch_plan(struct ppo_batch *b, struct ppo *p, struct trainer_row *row, int64_t n, struct err *e)
{
	struct trainer *critic = p->config->critic == CRITIC_SEPARATE ? &p->value : &p->policy;
	int64_t micro = p->policy.micro_tokens;
	if (p->needs_reference) {
		struct ppo_reference *ref = xcalloc(1, sizeof *ref);
		int failed = reference_open(ref, p, e) ||
		             trainer_score(&ref->d, &ref->w, scored(b, row, n, false), n, micro, e);
		if (p->advantage->kl_estimator == ADVANTAGE_EXACT && !failed) {
			b->reference = ref;
			failed = plan_exact_kl(b, p, row, n, e);
		} else {
			reference_close(ref);
		}
		if (failed)
			return -1;
	}
	return p->config->critic == CRITIC_NONE
	               ? 0
	               : trainer_score(&critic->d, &critic->w, scored(b, row, n, true), n, micro, e);
}

/* Values as they are in the rows; the others from the critic as it is before the update. */
static int score_values(struct ppo_batch *b, struct ppo *p, struct err *e)
{
	struct trainer *t = p->config->critic == CRITIC_SEPARATE ? &p->value : &p->policy;
	struct trainer_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	int64_t n = 0;
	for (int64_t i = 0; i < b->n; i++) {
		struct ppo_row *r = &b->row[i];
		if (r->source->values) {
			memcpy(r->values, r->source->values, (size_t)r->n * sizeof(float));
			r->values[r->n] = r->source->has_bootstrap ? (float)r->source->bootstrap_value : 0;
			continue;
		}
		row[n] = without_outputs(r);
		row[n++].values = r->values;
	}
	return n ? trainer_score_ranks(p->comm, &t->d, &t->w, row, n, t->micro_tokens, e) : 0;
}

/* Of rows that another policy sampled than the one before the update: its log-probabilities, and how much they count.
 */
static int score_proximal(struct ppo_batch *b, struct ppo *p, struct err *e)
{
	const struct importance_config *c = &p->config->importance;
	struct trainer *t = &p->policy;
	struct trainer_row *row = arena_array(&b->arena, (size_t)b->n, sizeof *row);
	int64_t n = 0;
	for (int64_t i = 0; i < b->n; i++) {
		struct ppo_row *r = &b->row[i];
		bool other = r->source->version >= 0 && r->source->version != t->version;
		b->lag += other && r->source->version < t->version ? (double)(t->version - r->source->version) : 0;
		if (c->proximal == PROXIMAL_NEVER || (c->proximal == PROXIMAL_AUTO && !other))
			continue;
		r->proximal = floats(b, r->n);
		r->weights = floats(b, r->n);
		row[n] = r->pass;
		row[n].values = row[n].entropy = row[n].dlogprobs = row[n].dentropy = row[n].dvalues = NULL;
		row[n++].logprobs = r->proximal;
	}
	if (n && trainer_score_ranks(p->comm, &t->d, &t->w, row, n, t->micro_tokens, e))
		return -1;
	for (int64_t i = 0; i < b->n; i++)
		if (b->row[i].proximal)
			importance_weights(c, b->row[i].n, b->row[i].mask, b->row[i].proximal, b->row[i].logprobs,
			                   b->row[i].weights, &b->importance);
	return 0;
}

/* The value after the last token: as the record says; where values are computed here every row has one. */
static bool bootstraps(const struct ppo_row *r)
{
	return r->source->values ? r->source->has_bootstrap : r->values != NULL;
}

/* A row that is not trained on: a baseline, or one that only counts in the size of its group. */
static void beside(struct advantage_row *a, const struct rollout_row *s)
{
	*a = (struct advantage_row){.left_out = s->skip != NULL,
	                            .n = s->skip ? 0 : s->n,
	                            .token = s->skip ? NULL : s->token + s->n_prompt,
	                            .mask = s->mask,
	                            .reward = s->reward,
	                            .cut = s->cut,
	                            .group = s->group,
	                            .sample = s->sample,
	                            .greedy = s->greedy};
}

static void to_advantage(struct advantage_row *a, const struct ppo_row *r)
{
	const struct rollout_row *s = r->source;
	*a = (struct advantage_row){.n = r->n,
	                            .group = s->group,
	                            .sample = s->sample,
	                            .greedy = s->greedy,
	                            .token = s->token + s->n_prompt,
	                            .mask = r->mask,
	                            .logprobs = r->logprobs,
	                            .ref_logprobs = r->ref_logprobs,
	                            .exact_kl = r->exact_kl,
	                            .values = r->values,
	                            .reward = s->reward,
	                            .given_rewards = s->rewards,
	                            .cut = s->cut,
	                            .has_bootstrap = bootstraps(r),
	                            .bootstrap_value = r->values ? r->values[r->n] : 0,
	                            .rewards = r->rewards,
	                            .advantages = r->advantages,
	                            .returns = r->returns};
}

static int estimate(struct ppo_batch *b, struct ppo *p, const struct rollout_rows *rows, struct err *e)
{
	struct advantage_row *a = arena_array(&b->arena, (size_t)rows->n, sizeof *a);
	int64_t bad = -1, k = 0;
	for (int64_t i = 0; i < rows->n; i++)
		if (k < b->n && b->row[k].source == &rows->row[i])
			to_advantage(&a[i], &b->row[k++]);
		else
			beside(&a[i], &rows->row[i]);
	advantage_widths(a, rows->n);
	if (advantage_compute(p->advantage, &p->moving, a, rows->n, &bad, e)) {
		p->bad = p->bad_rows = bad >= 0;
		return p->bad ? err_where(e, "row %lld ('%s')", (long long)bad, rows->row[bad].id) : -1;
	}
	for (k = 0; k < b->n; k++) {
		struct ppo_row *r = &b->row[k];
		const struct advantage_row *from = &a[r->source - rows->row];
		r->score = from->score;
		r->kl = from->kl;
		if (from->has_terminal) {
			r->cells = r->n + 1;
			r->returns[r->n] = (float)from->bootstrap_return;
		}
	}
	return 0;
}

/* The sum over the chosen tokens of kl[n], NULL: 0. */
static double kl_of_row(const struct ppo_row *r, const float *kl)
{
	double sum = 0;
	for (int64_t t = 0; kl && t < r->n; t++)
		sum += !r->mask || r->mask[t] ? (double)kl[t] : 0;
	return sum;
}

void ppo_batch_first_pass(struct ppo_batch *b)
{
	/* of rows with rewards of their own the estimate looks at no KL */
	for (int64_t i = 0; b->kl_at_first_pass && i < b->n; i++)
		if (b->row[i].source->advantages || !b->row[i].source->rewards)
			b->row[i].kl = kl_of_row(&b->row[i], b->row[i].pass.kl);
}

/* Rows that came through an advantage tool: their numbers are used as they are. */
static int use_given(struct ppo_batch *b, const struct ppo *p, int64_t given, struct err *e)
{
	if (given != b->n)
		return err_set(e, "%lld of %lld rows have 'advantages'; all or none", (long long)given,
		               (long long)b->n);
	for (int64_t i = 0; i < b->n; i++) {
		struct ppo_row *r = &b->row[i];
		const struct rollout_row *s = r->source;
		if (p->config->critic != CRITIC_NONE && !s->returns)
			return err_set(e, "row %lld ('%s') has 'advantages', but no 'returns' for the critic",
			               (long long)i, s->id);
		if (s->returns)
			memcpy(r->returns, s->returns, (size_t)r->n * sizeof(float));
		if (s->has_bootstrap_return) {
			r->cells = r->n + 1;
			r->returns[r->n] = (float)s->bootstrap_return;
		}
		struct advantage_row a;
		to_advantage(&a, r);
		r->score = s->score - advantage_penalty(p->advantage, &a);
		if (p->advantage->kl_estimator == ADVANTAGE_EXACT) {
			r->kl = kl_of_row(r, r->exact_kl);
			continue;
		}
		for (int64_t t = 0; r->ref_logprobs && t < r->n; t++)
			if (!r->mask || r->mask[t])
				r->kl += advantage_kl_of(p->advantage, (double)r->logprobs[t] - r->ref_logprobs[t]);
	}
	return 0;
}

/* What was computed for the rows. */
static int check_scores(const struct ppo_batch *b, const struct rollout_rows *rows, struct err *e)
{
	for (int64_t k = 0; k < b->n; k++) {
		const struct ppo_row *r = &b->row[k];
		if (bad_batch_floats(r->ref_logprobs, r->n, "'ref_logprobs'", e) ||
		    bad_batch_floats(r->exact_kl, r->n, "the exact KL", e) ||
		    bad_batch_floats(r->values, r->n + 1, "'values'", e))
			return err_where(e, "row %lld ('%s')", (long long)(r->source - rows->row), r->source->id);
	}
	return 0;
}

/* Rewards that came in have the KL penalty in them: the coefficient must be the one that the controller has come to. */
static int check_given_kl(const struct ppo *p, int64_t i, const struct rollout_row *s, struct err *e)
{
	if (!p->kl.adaptive || p->loss->kl_in != KL_IN_REWARD || !s->rewards)
		return 0;
	if (!s->has_kl_coef)
		return err_set(e, "row %lld ('%s') has 'rewards', whose KL penalty --adaptive-kl could not move",
		               (long long)i, s->id);
	if (s->kl_coef == p->kl.coef)
		return 0;
	return err_set(e,
	               "row %lld ('%s') has 'rewards' with a KL coefficient of %.17g, but that of --adaptive-kl is "
	               "%.17g here: it is of another run, or not of this batch",
	               (long long)i, s->id, s->kl_coef, p->kl.coef);
}

int ppo_batch_prepare(struct ppo_batch *b, struct ppo *p, struct rollout_rows *rows, struct err *e)
{
	if (take_rows(b, p, rows, e)) {
		p->bad = p->bad_rows = true;
		return -1;
	}
	if (!b->n)
		return 0;
	int64_t given = 0;
	for (int64_t i = 0; i < b->n; i++) {
		given += b->row[i].source->advantages != NULL;
		if (check_given_kl(p, i, b->row[i].source, e))
			return -1;
	}
	if ((p->needs_reference && score_reference(b, p, e)) ||
	    (p->config->critic != CRITIC_NONE && score_values(b, p, e)) || score_proximal(b, p, e))
		return -1;
	if (check_scores(b, rows, e)) {
		p->bad = true;
		return -1;
	}
	return given ? use_given(b, p, given, e) : estimate(b, p, rows, e);
}

/* ---- metrics ---- */

struct ppo_kl ppo_batch_kl(const struct ppo_batch *b)
{
	struct ppo_kl k = {0};
	double n = (double)b->n, squares = 0;
	for (int64_t i = 0; i < b->n; i++) {
		const struct ppo_row *r = &b->row[i];
		k.mean += r->kl / n;
		k.mean_of_means += r->chosen ? r->kl / (double)r->chosen / n : 0;
	}
	for (int64_t i = 0; i < b->n; i++)
		squares += (b->row[i].kl - k.mean) * (b->row[i].kl - k.mean);
	k.standard_error = b->n > 1 ? sqrt(squares / (n - 1) / n) : 0;
	return k;
}

void ppo_stats_add(struct ppo_stats *s, const struct policy_loss_stats *m)
{
	/* a struct of doubles and nothing else */
	double *to = (double *)&s->sum;
	const double *from = (const double *)m;
	for (size_t i = 0; i < sizeof s->sum / sizeof(double); i++)
		to[i] += from[i];
	s->n++;
	s->ratio_squares += m->ratio * m->ratio;
}

static void put(struct str *out, const char *name, double x)
{
	str_addf(out, ",\"%s\":", name);
	json_put_num(out, x);
}

static void put_objective(struct str *out, const struct ppo *p, const struct ppo_batch *b)
{
	bool trl = p->advantage->compat == ADVANTAGE_TRL;
	struct ppo_kl kl = ppo_batch_kl(b);
	double entropy = 0, score = 0, n = (double)b->n;
	int64_t eos = 0;
	bool reference = b->reference != NULL; /* of the exact KL */
	for (int64_t i = 0; i < b->n; i++) {
		const struct ppo_row *r = &b->row[i];
		reference |= r->ref_logprobs != NULL;
		score += r->score;
		for (int64_t t = 0; t < r->n; t++) {
			entropy -= !r->mask || r->mask[t] ? r->logprobs[t] : 0;
			eos += model_is_eos(&p->policy.info, r->source->token[r->source->n_prompt + t]);
		}
		/* There padding holds a log-probability of 1. */
		entropy -= trl ? (double)(b->longest - r->n) : 0;
	}
	double penalty = -p->advantage->kl_coef * kl.mean;
	put(out, "objective/kl", reference ? kl.mean : NAN);
	if (p->needs_reference)
		put(out, "objective/kl_se", kl.standard_error);
	if (p->kl.adaptive)
		put(out, "objective/kl_coef", p->loss->kl_in == KL_IN_LOSS ? p->loss->kl_coef : p->advantage->kl_coef);
	put(out, "objective/entropy", entropy / n);
	put(out, "objective/non_score_reward", penalty + 0.0);
	put(out, "objective/rlhf_reward", score / n + penalty);
	put(out, "objective/scores", score / n);
	put(out, "val/num_eos_tokens", (double)eos);
}

static void put_losses(struct str *out, const struct ppo *p, const struct ppo_stats *s)
{
	double n = (double)s->n, ratio = s->sum.ratio / n;
	double var = s->n > 1 ? (s->ratio_squares - n * ratio * ratio) / (n - 1) : 0;
	put(out, "policy/approxkl_avg", s->sum.approxkl / n);
	put(out, "policy/policykl_avg", s->sum.policykl / n);
	put(out, "policy/clipfrac_avg", s->sum.clipfrac / n);
	if (policy_loss_chooses(p->loss))
		put(out, "policy/covfrac_avg", s->sum.cov / n);
	put(out, "policy/entropy_avg", s->sum.entropy / n);
	put(out, "clip_ratio/low_mean", s->sum.clip_low / n);
	put(out, "clip_ratio/high_mean", s->sum.clip_high / n);
	put(out, "clip_ratio/region_mean", (s->sum.clip_low + s->sum.clip_high) / n);
	if (p->loss->dual_clip > 0)
		put(out, "clip_ratio/dual_mean", s->sum.clip_dual / n);
	put(out, "entropy", s->sum.entropy / n);
	if (p->loss->kl_coef != 0)
		put(out, "kl", s->sum.kl_tokens / n);
	put(out, "loss", policy_loss_total(p->loss, &s->sum) / n);
	put(out, "loss/policy_avg", s->sum.policy / n);
	if (p->config->critic != CRITIC_NONE) {
		put(out, "loss/value_avg", s->sum.value / n);
		put(out, "val/clipfrac_avg", s->sum.value_clipfrac / n);
	}
	put(out, "val/ratio", ratio);
	put(out, "val/ratio_var", var > 0 ? var : 0);
	put(out, "grad_norm", s->steps ? s->norm / (double)s->steps : 0);
	if (p->config->target_kl > 0)
		put(out, "optimizer_steps", (double)s->steps);
	put(out, "lr", s->lr);
}

void ppo_metrics(struct str *out, const struct ppo *p, const struct ppo_batch *b, const struct rollout_rows *rows,
                 const struct ppo_stats *s)
{
	str_addf(out,
	         "{\"batch\":%lld,\"version\":%lld,\"episode\":%lld,\"rows\":%lld,\"skipped\":%lld,\"tokens\":%lld",
	         (long long)rows->batch, (long long)p->policy.version + 1, (long long)p->run.episodes, (long long)b->n,
	         (long long)rows->skipped, (long long)b->tokens);
	if (p->config->skip_bad_batches)
		str_addf(out, ",\"bad_batches\":%lld", (long long)p->run.bad);
	put(out, "completions/mean_length", (double)b->tokens / (double)b->n);
	ppo_metrics_completions(out, b);
	put_objective(out, p, b);
	ppo_metrics_rewards(out, b);
	put_losses(out, p, s);
	ppo_metrics_norms(out, p, s);
	if (p->config->critic != CRITIC_NONE)
		ppo_metrics_critic(out, b);
	ppo_metrics_skipped(out, b, rows);
	ppo_metrics_importance(out, b);
	ppo_metrics_time(out, p, b, s);
	str_addc(out, '}');
}
