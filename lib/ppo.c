/* ppo - see ppo.h */
#include "lib/ppo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage_compat.h"
#include "lib/advantage_record.h"
#include "lib/bad_batch.h"
#include "lib/ppo_batch.h"
#include "lib/ppo_metrics.h"
#include "lib/ppo_eval.h"
#include "lib/ppo_ranks.h"
#include "lib/ppo_rollouts.h"
#include "lib/rng.h"
#include "lib/run_log.h"
#include "lib/trainer_ranks.h"
#include "lib/util.h"

#define AT(field) offsetof(struct ppo_config, field)
const struct opt ppo_options[] = {
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run", 0, 0},
        {"steps", 0, OPT_INT, AT(steps), "0", "N", "close the run after N updates; 0: at the last batch", 0, 1e12},
        {"ppo-epochs", 0, OPT_INT, AT(epochs), "4", "N", "passes over each batch; without gae 1", 1, 1e6},
        {"mini-batches", 0, OPT_INT, AT(mini_batches), "1", "N", "optimizer steps per pass", 1, 1e6},
        {"target-kl", 0, OPT_NUM, AT(target_kl), "0", "X", "end the update when it is 1.5 X from its batch; 0: off", 0,
         1e9},
        {"adaptive-kl", 0, OPT_STR, AT(adaptive_kl), "", "TARGET,HORIZON", "let --kl-coef follow the KL", 0, 0},
        {"critic", 0, OPT_CHOICE, AT(critic), "shared", "shared|separate|none",
         "where values come from; without gae none", 0, 0},
        {"critic-warmup", 0, OPT_INT, AT(critic_warmup), "0", "N", "batches that train the separate critic only", 0,
         1e12},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "seed of the order of mini-batches", 0, 9e18},
        {"max-lag", 0, OPT_INT, AT(max_lag), "0", "N", "keep versions for a sampler that is N updates behind", 0, 1e6},
        {"rollouts", 0, OPT_STR, AT(rollouts), NULL, "DIR", "write each batch, with all that was computed, into DIR", 0,
         0},
        {"snapshot-every", 0, OPT_INT, AT(snapshot_every), "0", "K",
         "every K batches keep a version that training can go on from, as RUN/000120", 0, 1e12},
        {"checkpoint-every", 0, OPT_INT, AT(checkpoint_every), "1", "N",
         "commit every N updates, and between only the policy for samplers", 1, 1e9},
        {"skip-bad-batches", 0, OPT_INT, AT(skip_bad_batches), "0", "N",
         "go on without up to N batches that hold NaN, infinity or a record that cannot be used", 0, 1e12},
        {NULL},
};

const struct opt ppo_advantage_options[] = {
        {"advantage", 0, OPT_CHOICE, offsetof(struct advantage_config, method), "gae", "gae|rloo|grpo|reinforce",
         "how advantages are estimated where they are missing", 0, 0},
        {NULL},
};

/* Defaults of method and compat. */
static void settle_optim(struct ppo_config *c, const struct advantage_config *a, struct optim_config *o)
{
	const struct advantage_compat *k = advantage_compat(a);
	bool gae = a->method == ADVANTAGE_GAE;
	if (!cli_given("ppo-epochs"))
		c->epochs = gae ? k->epochs : 1;
	if (!cli_given("lr"))
		o->schedule.lr = gae ? k->lr : 1e-6;
	if (!cli_given("critic-lr"))
		o->critic_lr = k->critic_lr;
	if (!cli_given("weight-decay"))
		o->weight_decay = k->weight_decay;
	if (!cli_given("decay"))
		o->decay = k->decay_all ? DECAY_ALL : DECAY_MATRICES;
	if (!cli_given("betas"))
		o->betas = k->betas;
}

void ppo_settle(struct ppo_config *c, struct advantage_config *a, struct policy_loss_config *l, struct optim_config *o)
{
	struct kl_control k;
	policy_loss_settle(l, a);
	advantage_settle(a);
	if (kl_control_init(&k, c->adaptive_kl, a->kl_coef))
		cli_misuse("--adaptive-kl is '%s', but must be TARGET,HORIZON, two numbers above 0", c->adaptive_kl);
	if (k.adaptive && a->kl_coef == 0)
		cli_misuse("--adaptive-kl has nothing to move: --kl-coef is 0");
	if (a->method != ADVANTAGE_GAE && !cli_given("critic"))
		c->critic = CRITIC_NONE;
	settle_optim(c, a, o);
	if (c->critic_warmup > 0 && c->critic != CRITIC_SEPARATE)
		cli_misuse("--critic-warmup needs --critic separate: the weights of another are the policy's own");
}

/* ---- opening ---- */

int ppo_open_models(struct ppo *p, struct store_view *v, struct err *e)
{
	bool shared = p->config->critic == CRITIC_SHARED;
	char base[LORA_BASE_NAME];
	if (trainer_open(&p->policy, p->k, v, p->slot, NULL, shared, p->optim->kind, e))
		return -1;
	p->policy.comm = p->comm;
	const char *like = p->policy.info.lora ? lora_base_name(base, p->slot) : p->slot;
	if (p->config->critic == CRITIC_SEPARATE &&
	    trainer_open(&p->value, p->k, v, "value", like, true, p->optim->kind, e))
		return -1;
	p->value.comm = p->comm;
	p->needs_reference = p->kl.coef != 0;
	return p->needs_reference ? loop_reference(v, p->config->run, p->slot, &p->reference, e) : 0;
}

/* A run begins its optimizer anew. */
static void begin_models(struct ppo *p)
{
	trainer_forget_moments(&p->policy);
	if (p->config->critic == CRITIC_SEPARATE)
		trainer_forget_moments(&p->value);
}

/* What a trainer that is gone published after its last commit is made again, with the same bits if the options are the
 * same: samplers are to wait for it. */
static int forget_published(struct ppo *p, struct err *e)
{
	int64_t base, batches;
	struct store_view *v = store_view_open(p->store, e);
	int got = v ? loop_published(v, p->config->run, &base, &batches, e) : -1;
	store_view_close(v);
	if (got <= 0)
		return got;
	struct store_update *u = store_update_begin(p->store, e);
	if (!u)
		return -1;
	if (p->config->max_lag > 0)
		store_keep_range(u, p->slot, p->checkpoint - p->config->max_lag, p->checkpoint);
	if (!loop_unpublish(u, p->config->run, e))
		return store_update_commit(u, e);
	store_update_abort(u);
	return -1;
}

int ppo_load(struct ppo *p, struct err *e)
{
	str_init(&p->passed);
	str_init(&p->pending);
	struct store_view *v = store_view_open(p->store, e);
	kl_control_init(&p->kl, p->config->adaptive_kl, p->advantage->kl_coef);
	int failed = !v || trainer_slot(v, p->name, p->slot, e) || loop_run_load(&p->run, v, p->config->run, e) ||
	             loop_same_slot(&p->run, p->config->run, p->slot, e);
	store_view_close(v);
	p->checkpoint = p->run.version;
	return failed ? -1 : 0;
}

int ppo_begin(struct ppo *p, struct err *e)
{
	return ppo_load(p, e) || (comm_first(p->comm) && forget_published(p, e)) ? -1 : 0;
}

int ppo_open(struct ppo *p, struct err *e)
{
	if (!p->run.closed) {
		struct store_view *v = store_view_open(p->store, e);
		int failed = !v || advantage_moving_load(&p->run, &p->moving, e) ||
		             kl_control_load(&p->kl, &p->run, e) || ppo_eval_load(p, e) || ppo_open_models(p, v, e);
		store_view_close(v);
		if (failed)
			return -1;
	}
	if (p->run.begun && !p->run.closed && p->config->steps > 0 && p->run.updates >= p->config->steps)
		return err_set(e, "run '%s' has made %lld updates already, and --steps is %lld", p->config->run,
		               (long long)p->run.updates, (long long)p->config->steps);
	if (p->run.begun && !p->run.closed &&
	    (trainer_same_optim(&p->policy, p->config->run, e) || ppo_same_ranks(p, e)))
		return -1;
	if (p->config->rollouts && !p->run.closed && ppo_rollouts_open(p, e))
		return -1;
	if (p->run.begun)
		return p->run.closed ? 0 : loop_run_undisturbed(&p->run, p->config->run, p->policy.version, e);
	p->run.base = p->checkpoint = p->policy.version;
	snprintf(p->run.slot, sizeof p->run.slot, "%s", p->slot);
	begin_models(p);
	return ppo_keep_ranks(p, e);
}

void ppo_close(struct ppo *p)
{
	trainer_close(&p->policy);
	trainer_close(&p->value);
	loop_run_release(&p->run);
	str_release(&p->passed);
	str_release(&p->pending);
}

/* ---- one update ---- */

/* The mini-batch that a loss is taken of: rows of the batch in its order. */
struct mini {
	struct ppo *p;
	struct ppo_batch *b;
	const int64_t *pick; /* [n] rows of the batch */
	int64_t n;
	struct trainer_row *row; /* [n] of the pass under way */
	struct policy_loss_scale scale;
	struct policy_loss_stats sums;
	const struct rollout_rows *rows; /* for messages */
	int64_t bad;                     /* the first of this mini-batch whose numbers are not finite; -1: none */
	double step_seconds;             /* that were no pass */
};

static struct policy_loss_row loss_row(const struct mini *m, int64_t i)
{
	const struct ppo_row *r = &m->b->row[m->pick[i]];
	return (struct policy_loss_row){.n = r->n,
	                                .id = (uint64_t)m->pick[i],
	                                .cells = r->cells,
	                                .cut = r->source->cut,
	                                .mask = r->mask,
	                                .old_logprobs = r->proximal ? r->proximal : r->logprobs,
	                                .weights = r->weights,
	                                .ref_logprobs = r->ref_logprobs,
	                                .advantages = r->advantages,
	                                .old_values = r->values,
	                                .returns = r->returns,
	                                .logprobs = m->row[i].logprobs,
	                                .entropy = m->row[i].entropy,
	                                .values = m->row[i].values,
	                                .dlogprobs = m->row[i].dlogprobs,
	                                .dentropy = m->row[i].dentropy,
	                                .kl = m->row[i].kl,
	                                .dkl = m->row[i].dkl,
	                                .dvalues = m->row[i].dvalues};
}

/* Called between the forward and the backward pass of rows first..end-1. */
static void take_loss(void *arg, int64_t first, int64_t end, bool count)
{
	struct mini *m = arg;
	struct policy_loss_stats beside = {0}, *sums = count ? &m->sums : &beside;
	for (int64_t i = first; i < end; i++) {
		struct policy_loss_row r = loss_row(m, i);
		if (r.dlogprobs)
			policy_loss_tokens(m->p->loss, &m->scale, &r, sums);
		if (r.dvalues)
			policy_loss_cells(m->p->loss, &m->scale, &r, sums);
		if (count && m->bad < 0 && !bad_batch_row_finite(&m->row[i]))
			m->bad = i;
	}
}

static void count_scale(struct mini *m)
{
	const struct policy_loss_config *c = m->p->loss;
	m->scale = (struct policy_loss_scale){.length = 1};
	if (c->length > 0)
		m->scale.length = (double)c->length;
	else if (c->loss == LOSS_DR_GRPO)
		m->scale.length = (double)m->b->longest;
	for (int64_t i = 0; i < m->n; i++) {
		struct policy_loss_row r = loss_row(m, i);
		policy_loss_count(c, &r, &m->scale);
	}
	if (m->p->advantage->compat == ADVANTAGE_TRL)
		m->scale.places = (double)(m->n * m->b->longest);
}

/* Rows of a pass: which outputs and gradients it has. */
static void choose(struct mini *m, bool policy, bool value)
{
	for (int64_t i = 0; i < m->n; i++) {
		struct ppo_row *r = &m->b->row[m->pick[i]];
		m->row[i] = r->pass;
		if (!policy)
			m->row[i].logprobs = m->row[i].entropy = m->row[i].dlogprobs = m->row[i].dentropy =
			        m->row[i].kl = m->row[i].dkl = NULL;
		if (!value)
			m->row[i].values = m->row[i].dvalues = NULL;
		else
			memset(m->row[i].dvalues, 0, (size_t)(r->n + 1) * sizeof(float));
	}
}

/* What take_loss has found. */
static int check_rows(struct mini *m, struct err *e)
{
	m->p->bad = m->bad >= 0;
	if (!m->p->bad)
		return 0;
	const struct rollout_row *r = m->b->row[m->pick[m->bad]].source;
	bad_batch_row(&m->row[m->bad], "the critic's value", e);
	return err_where(e, "row %lld ('%s')", (long long)(r - m->rows->row), r->id);
}

static int backward(struct mini *m, struct trainer *t, bool policy, bool value, struct err *e)
{
	double started = now_seconds();
	choose(m, policy, value);
	trainer_zero_gradient(t);
	m->step_seconds += now_seconds() - started;
	m->bad = -1;
	return trainer_backward(t, m->row, m->n, take_loss, m, e) ? -1 : check_rows(m, e);
}

/* The policy's outputs and, where `loss`, its loss, but no gradient. */
static int forward(struct mini *m, bool loss, struct err *e)
{
	struct trainer *t = &m->p->policy;
	choose(m, true, false);
	for (int64_t i = 0; !loss && i < m->n; i++)
		m->row[i].kl = NULL;
	if (trainer_score_ranks(m->p->comm, &t->d, &t->w, m->row, m->n, t->micro_tokens, e))
		return -1;
	m->bad = -1;
	if (loss)
		take_loss(m, 0, m->n, true);
	return check_rows(m, e);
}

static void find_least_entropy(struct mini *m)
{
	const struct policy_loss_config *c = m->p->loss;
	double *x = xcalloc((size_t)m->scale.tokens + 1, sizeof *x);
	int64_t n = 0;
	for (int64_t i = 0; i < m->n; i++) {
		struct policy_loss_row r = loss_row(m, i);
		for (int64_t t = 0; t < r.n && !(c->mask_truncated && r.cut); t++)
			if (!r.mask || r.mask[t])
				x[n++] = r.entropy[t];
	}
	if (n > 0)
		m->scale.least_entropy = policy_loss_quantile(x, n, 1 - c->top_entropy);
	free(x);
}

static void choose_by_covariance(struct mini *m)
{
	const struct ppo *p = m->p;
	struct policy_loss_row *row = xcalloc((size_t)m->n, sizeof *row);
	for (int64_t i = 0; i < m->n; i++)
		row[i] = loss_row(m, i);
	m->scale.key = rng_key("clip-cov", (uint64_t)p->config->seed, p->config->run, (uint64_t)p->policy.step);
	policy_loss_choose(p->loss, row, m->n, &m->scale);
	free(row);
}

/* Which tokens --top-entropy and the losses by covariance choose: known before the first gradient, at the price of a
 * forward pass. */
static int look_ahead(struct mini *m, struct err *e)
{
	const struct policy_loss_config *c = m->p->loss;
	if (c->top_entropy >= 1 && !policy_loss_chooses(c))
		return 0;
	if (forward(m, false, e))
		return -1;
	if (c->top_entropy < 1)
		find_least_entropy(m);
	if (policy_loss_chooses(c))
		choose_by_covariance(m);
	return 0;
}

static bool too_far(const struct mini *m)
{
	double target = m->p->config->target_kl;
	return target > 0 && m->scale.tokens > 0 && m->sums.approxkl / m->scale.tokens > 1.5 * target;
}

/* 1: the policy has gone far enough, and no step was taken. */
static int mini_step(struct mini *m, double lr, struct ppo_stats *stats, struct err *e)
{
	struct ppo *p = m->p;
	int critic = p->config->critic;
	bool warming = p->run.batches < p->config->critic_warmup;
	choose(m, true, critic == CRITIC_SHARED);
	count_scale(m);
	m->sums = (struct policy_loss_stats){0};
	if (look_ahead(m, e) ||
	    (warming ? forward(m, true, e) : backward(m, &p->policy, true, critic == CRITIC_SHARED, e)) ||
	    (critic == CRITIC_SEPARATE && backward(m, &p->value, false, true, e)))
		return -1;
	struct policy_loss_stats means = policy_loss_means(p->loss, &m->sums, &m->scale);
	ppo_stats_add(stats, &means);
	if (too_far(m))
		return 1;
	struct trainer *const models[] = {&p->policy, &p->value};
	int first = warming ? 1 : 0, end = critic == CRITIC_SEPARATE ? 2 : 1;
	double norm = 0;
	double critic_lr = optim_critic_rate(p->optim, p->run.batches, p->config->steps);
	double started = now_seconds();
	if (trainer_step(models + first, end - first, p->optim, warming ? critic_lr : lr, critic_lr, &norm, e)) {
		p->bad = !isfinite(norm);
		return -1;
	}
	m->step_seconds += now_seconds() - started;
	stats->norm += norm;
	stats->steps++;
	ppo_metrics_add_norms(stats, p);
	return 0;
}

/* One pass over the batch: 0, 1 it was broken off, -1.  With one mini-batch rows stay in order; with several they are
 * dealt by seed. */
static int epoch(struct ppo *p, struct ppo_batch *b, const struct rollout_rows *rows, int64_t number, double lr,
                 struct ppo_stats *stats, struct err *e)
{
	int64_t parts = p->config->mini_batches, *order = xcalloc((size_t)b->n, sizeof *order);
	uint64_t place = (uint64_t)(p->run.batches * p->config->epochs + number);
	struct mini m = {.p = p, .b = b, .rows = rows, .row = xcalloc((size_t)b->n, sizeof *m.row)};
	int failed = 0;
	if (parts > 1)
		rng_shuffle(order, b->n, rng_key("mini-batch", (uint64_t)p->config->seed, p->config->run, place));
	else
		for (int64_t i = 0; i < b->n; i++)
			order[i] = i;
	for (int64_t i = 0; i < parts && !failed; i++) {
		int64_t first = b->n * i / parts, end = b->n * (i + 1) / parts;
		m.pick = order + first;
		m.n = end - first;
		if (m.n > 0)
			failed = mini_step(&m, lr, stats, e);
	}
	stats->step_seconds += m.step_seconds;
	free(order);
	free(m.row);
	return failed;
}

/* The run as it is after the batch: what a copy of it goes on with is the batch of the same number. */
static int keep_snapshot(const struct ppo *p, struct store_update *u, struct err *e)
{
	struct str name;
	if (p->config->snapshot_every == 0 || p->run.batches % p->config->snapshot_every)
		return 0;
	str_init(&name);
	str_addf(&name, "%s%s%06lld", p->config->run, *p->config->run ? "/" : "", (long long)p->run.batches);
	int failed = store_put_checkpoint(u, name.buf, e);
	str_release(&name);
	return failed;
}

/* Everything that the run goes on from. */
static int put_checkpoint(struct ppo *p, struct store_update *u, int64_t version, struct err *e)
{
	if (trainer_put(&p->policy, u, version, e) ||
	    (p->config->critic == CRITIC_SEPARATE && trainer_put(&p->value, u, p->value.version + 1, e)) ||
	    loop_run_save(&p->run, u, p->config->run, e) || loop_unpublish(u, p->config->run, e) ||
	    ppo_eval_put(p, u, e))
		return -1;
	for (const char *line = p->pending.buf, *end; (end = strchr(line, '\n')); line = end + 1)
		if (store_put_log(u, line, (size_t)(end - line), e))
			return -1;
	bool first = p->checkpoint == p->run.base;
	if (p->needs_reference && !p->policy.info.lora && first &&
	    loop_hold_reference(u, p->config->run, &p->reference, e))
		return -1;
	return keep_snapshot(p, u, e);
}

/* What a sampler that is behind needs of the newest version, and of the one that a restart goes back to. */
static void keep_versions(const struct ppo *p, struct store_update *u, int64_t checkpoint, int64_t version)
{
	int64_t lag = p->config->max_lag;
	if (checkpoint < version || lag > 0)
		store_keep_from(u, p->slot, version - lag > p->run.base ? version - lag : p->run.base);
	if (checkpoint < version && lag > 0)
		store_keep_range(u, p->slot, checkpoint - lag, checkpoint);
}

static bool is_checkpoint(const struct ppo *p)
{
	const struct ppo_config *c = p->config;
	return p->run.closed || p->run.updates % c->checkpoint_every == 0 ||
	       (c->snapshot_every > 0 && p->run.batches % c->snapshot_every == 0);
}

/* What a commit changes in a rank that does not write. */
static void follow(struct ppo *p, int64_t version, bool all)
{
	p->policy.version = version;
	p->value.version += all && p->config->critic == CRITIC_SEPARATE;
	if (all)
		p->checkpoint = version;
}

static int commit(struct ppo *p, const struct str *metrics, struct err *e)
{
	double started = now_seconds();
	int64_t version = p->policy.version + 1;
	bool all = is_checkpoint(p);
	/* from here on nobody reads the store, or is still to fail in this update */
	if (comm_barrier(p->comm, e))
		return -1;
	if (!comm_first(p->comm)) {
		follow(p, version, all);
		return 0;
	}
	struct store_update *u = store_update_begin(p->store, e);
	if (!u)
		return -1;
	run_log_entry(&p->pending, "rl-ppo-step", p->config->run, p->slot, version, p->config->seed,
	              p->run.cursor.records, p->options, p->operands, metrics->buf);
	str_addc(&p->pending, '\n');
	int failed = all ? put_checkpoint(p, u, version, e)
	                 : trainer_publish(&p->policy, u, version, e) || loop_publish(&p->run, u, p->config->run, e);
	keep_versions(p, u, all ? version : p->checkpoint, version);
	if (failed) {
		store_update_abort(u);
		return -1;
	}
	if (store_update_commit(u, e))
		return -1;
	p->commit_seconds = now_seconds() - started;
	if (all) {
		p->checkpoint = version;
		str_clear(&p->pending);
	}
	return 0;
}

static void advance(struct ppo *p, struct rollout_rows *rows, int64_t trained)
{
	p->run.begun = true;
	p->run.updates++;
	p->run.version = p->policy.version + 1;
	p->run.batches = rows->batch + 1;
	p->run.episodes += trained;
	p->run.closed = rows->last || (p->config->steps > 0 && p->run.updates >= p->config->steps);
	free(p->run.cursor.options);
	p->run.cursor = rows->cursor;
	p->run.cursor.options = xstrdup(rows->cursor.options);
}

/* What filters held after the batch goes into the run, or what the estimate here holds, where that is newer. */
static int keep_states(struct ppo *p, const struct rollout_rows *rows, struct err *e)
{
	struct advantage_moving kept;
	if (rows->states && loop_run_set_states(&p->run, rows->states, strlen(rows->states), e))
		return -1;
	if (advantage_moving_load(&p->run, &kept, e))
		return -1;
	if (p->moving.batches <= kept.batches) {
		p->moving = kept;
		return 0;
	}
	struct str s;
	str_init(&s);
	str_adds(&s, "{\"" ADVANTAGE_STATE "\":");
	advantage_moving_put(&s, &p->moving);
	str_addc(&s, '}');
	int failed = loop_run_set_states(&p->run, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

/* The coefficient that holds now, where the KL is. */
static void place_kl(struct ppo *p)
{
	bool in_loss = p->loss->kl_in == KL_IN_LOSS;
	p->advantage->kl_coef = in_loss ? 0 : p->kl.coef;
	p->loss->kl_coef = in_loss ? p->kl.coef : 0;
}

static int move_kl(struct ppo *p, const struct ppo_batch *b, struct err *e)
{
	struct ppo_kl kl = ppo_batch_kl(b);
	double seen = advantage_compat(p->advantage)->kl_of_means ? kl.mean_of_means : kl.mean;
	/* an update without a row has seen no KL */
	return (b->n && kl_control_update(&p->kl, seen, b->n, e)) || kl_control_keep(&p->kl, &p->run, e);
}

/* Everything up to the commit; *p has new weights, and is otherwise as it was. */
static int take_update(struct ppo *p, struct ppo_batch *b, struct rollout_rows *rows, struct ppo_stats *stats,
                       struct err *e)
{
	double started = now_seconds();
	stats->lr = schedule_rate(&p->optim->schedule, p->run.batches, p->config->steps);
	if (trainer_attach(&p->policy, p->store, e) || ppo_batch_prepare(b, p, rows, e))
		return -1;
	double prepared = now_seconds();
	int got = 0;
	for (int64_t i = 0; i < p->config->epochs && b->n && !got; i++) {
		got = epoch(p, b, rows, i, stats->lr, stats, e);
		if (i == 0)
			ppo_batch_first_pass(b);
	}
	if (got < 0)
		return -1;
	double stepped = now_seconds();
	if (bad_batch_model(&p->policy, e) || (p->config->critic == CRITIC_SEPARATE && bad_batch_model(&p->value, e))) {
		p->bad = true;
		return -1;
	}
	stats->prepare_seconds = prepared - started;
	stats->update_seconds = now_seconds() - prepared;
	stats->step_seconds += now_seconds() - stepped;
	return 0;
}

/* The models as they were before the batch. */
static int reopen_models(struct ppo *p, struct err *e)
{
	trainer_close(&p->policy);
	trainer_close(&p->value);
	struct store_view *v = store_view_open(p->store, e);
	int failed = !v || ppo_open_models(p, v, e);
	store_view_close(v);
	if (!failed && !p->run.begun)
		begin_models(p);
	return failed ? -1 : 0;
}

static void put_bad_metrics(struct str *out, const struct ppo *p, const struct rollout_rows *rows,
                            const struct err *why, double seconds)
{
	str_addf(out, "{\"batch\":%lld,\"version\":%lld,\"episode\":%lld,\"rows\":0,\"skipped\":%lld,\"tokens\":0",
	         (long long)rows->batch, (long long)p->policy.version + 1, (long long)p->run.episodes,
	         (long long)(rows->n + rows->strays_n));
	bad_batch_metrics(out, &p->run, why);
	str_adds(out, ",\"time/update\":");
	json_put_num(out, seconds);
	str_addc(out, '}');
}

/* *e says why nothing can be trained on the batch: goes on without it, or fails. */
static int pass_over(struct ppo *p, struct rollout_rows *rows, struct str *metrics, double started, struct err *e)
{
	const struct err why = *e;
	if (rows->bad)
		err_set(e, "%s", rows->bad_at);
	if (bad_batch_may_skip(&p->run, p->config->skip_bad_batches, p->bad_rows, e))
		return -1;
	str_adds(&p->passed, e->msg);
	if (reopen_models(p, e))
		return -1;
	advance(p, rows, 0);
	p->run.bad++;
	if (keep_states(p, rows, e) || ppo_eval_take(p, rows, e))
		return -1;
	put_bad_metrics(metrics, p, rows, &why, now_seconds() - started);
	ppo_eval_metrics(metrics, p, rows);
	if (p->config->rollouts && ppo_rollouts_write(p, NULL, rows, e))
		return -1;
	return commit(p, metrics, e);
}

int ppo_update(struct ppo *p, struct rollout_rows *rows, struct str *metrics, struct err *e)
{
	struct ppo_batch b;
	struct ppo_stats stats = {0};
	struct advantage_moving moving = p->moving;
	double started = now_seconds();
	ppo_batch_init(&b);
	place_kl(p);
	str_clear(&p->passed);
	p->bad = rows->bad != NULL;
	p->bad_rows = false;
	int failed = p->bad ? err_set(e, "%s", rows->bad) : take_update(p, &b, rows, &stats, e);
	trainer_detach(&p->policy);
	if (failed && p->bad) {
		p->moving = moving;
		failed = pass_over(p, rows, metrics, started, e);
	} else if (!failed) {
		failed = p->config->rollouts ? ppo_rollouts_write(p, &b, rows, e) : 0;
		advance(p, rows, b.n);
		failed = failed || keep_states(p, rows, e) || move_kl(p, &b, e) || ppo_eval_take(p, rows, e);
		ppo_metrics(metrics, p, &b, rows, &stats);
		ppo_eval_metrics(metrics, p, rows);
		/* before the commit: with it a sampler that waits goes on, and takes memory itself */
		ppo_batch_release(&b);
		ppo_batch_init(&b);
		trainer_rest(&p->policy);
		trainer_rest(&p->value);
		failed = failed || commit(p, metrics, e);
	}
	ppo_batch_release(&b);
	return failed ? err_where(e, "batch %lld", (long long)rows->batch) : 0;
}

int ppo_each_metrics(struct ppo *p, int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e)
{
	return p->run.begun ? run_log_each(p->store, "rl-ppo-step", p->config->run, p->slot, p->run.base, fn, arg, e)
	                    : 0;
}
