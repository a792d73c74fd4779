/* ppo_metrics - see ppo_metrics.h */
#include "lib/ppo_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/memory.h"
#include "lib/record.h"
#include "lib/util.h"

static void put(struct str *out, const char *name, double x)
{
	str_addf(out, ",\"%s\":", name);
	json_put_num(out, x);
}

/* Numbers one by one (Welford 1962). */
struct moments {
	double n, mean, squares;
};

static void moments_add(struct moments *m, double x)
{
	double d = x - m->mean;
	m->mean += d / ++m->n;
	m->squares += d * (x - m->mean);
}

/* Unbiased. */
static double variance(const struct moments *m)
{
	return m->squares / (m->n - 1);
}

/* ---- completions, groups ---- */

static int compare_rows(const void *a, const void *b)
{
	const struct ppo_row *x = *(const struct ppo_row *const *)a, *y = *(const struct ppo_row *const *)b;
	int order = strcmp(x->source->group, y->source->group);
	if (order == 0)
		order = (x->n > y->n) - (x->n < y->n);
	if (order == 0)
		order = memcmp(x->source->token + x->source->n_prompt, y->source->token + y->source->n_prompt,
		               (size_t)x->n * sizeof *x->source->token);
	return order;
}

struct groups {
	int64_t n, flat;       /* with several rows; of them with one reward */
	double distinct, stds; /* sums over groups */
};

/* Rows of one group, alike ones beside each other. */
static void count_group(struct groups *g, const struct ppo_row *const *row, int64_t n)
{
	struct moments score = {0};
	int64_t distinct = 1;
	if (n < 2)
		return;
	for (int64_t i = 0; i < n; i++)
		moments_add(&score, row[i]->score);
	for (int64_t i = 1; i < n; i++)
		distinct += compare_rows(&row[i - 1], &row[i]) != 0;
	g->n++;
	g->flat += score.squares == 0;
	g->distinct += (double)distinct / (double)n;
	g->stds += sqrt(variance(&score));
}

static void put_groups(struct str *out, const struct ppo_batch *b)
{
	const struct ppo_row **row = xcalloc((size_t)b->n, sizeof *row);
	struct groups g = {0};
	int64_t n = 0, first = 0;
	double score = 0;
	for (int64_t i = 0; i < b->n; i++) {
		score += b->row[i].score;
		if (b->row[i].source->group)
			row[n++] = &b->row[i];
	}
	qsort(row, (size_t)n, sizeof *row, compare_rows);
	for (int64_t i = 1; i <= n; i++)
		if (i == n || strcmp(row[i]->source->group, row[first]->source->group)) {
			count_group(&g, row + first, i - first);
			first = i;
		}
	free(row);
	if (g.n == 0)
		return;
	put(out, "completions/distinct_ratio", g.distinct / (double)g.n);
	put(out, "reward", score / (double)b->n);
	put(out, "reward_std", g.stds / (double)g.n);
	put(out, "frac_reward_zero_std", (double)g.flat / (double)g.n);
}

void ppo_metrics_completions(struct str *out, const struct ppo_batch *b)
{
	int64_t least = b->row[0].chosen, most = 0, cut = 0;
	if (b->n == 0)
		return;
	for (int64_t i = 0; i < b->n; i++) {
		int64_t n = b->row[i].chosen;
		least = n < least ? n : least;
		most = n > most ? n : most;
		cut += b->row[i].source->cut;
	}
	put(out, "completions/min_length", (double)least);
	put(out, "completions/max_length", (double)most);
	put(out, "completions/clipped_ratio", (double)cut / (double)b->n);
	put_groups(out, b);
}

/* ---- rewards, rows that are left out ---- */

static const struct reward_component *part_of(const struct rollout_row *s, const char *name)
{
	for (int64_t i = 0; i < s->n_parts; i++)
		if (!strcmp(s->part[i].name, name))
			return &s->part[i];
	return NULL;
}

static void put_name(struct str *out, const char *name, const char *what, double x)
{
	struct str key;
	str_init(&key);
	str_addf(&key, "rewards/%s/%s", name, what);
	str_addc(out, ',');
	json_put_str(out, key.buf, key.len);
	str_addc(out, ':');
	json_put_num(out, x);
	str_release(&key);
}

static void put_reward(struct str *out, const struct ppo_batch *b, const char *name)
{
	struct moments m = {0};
	for (int64_t i = 0; i < b->n; i++) {
		const struct reward_component *part = part_of(b->row[i].source, name);
		if (part)
			moments_add(&m, part->sum);
	}
	put_name(out, name, "mean", m.mean);
	if (m.n > 1)
		put_name(out, name, "std", sqrt(variance(&m)));
}

/* In a row before i? */
static bool seen(const struct ppo_batch *b, int64_t i, const char *name)
{
	while (--i >= 0)
		if (part_of(b->row[i].source, name))
			return true;
	return false;
}

void ppo_metrics_rewards(struct str *out, const struct ppo_batch *b)
{
	for (int64_t i = 0; i < b->n; i++) {
		const struct rollout_row *s = b->row[i].source;
		for (int64_t j = 0; j < s->n_parts; j++)
			if (!seen(b, i, s->part[j].name))
				put_reward(out, b, s->part[j].name);
	}
}

void ppo_metrics_skipped(struct str *out, const struct ppo_batch *b, const struct rollout_rows *rows)
{
	static const char *const reasons[][2] = {
	        {"skip", "skipped/skip"}, {"no reward", "skipped/no_reward"}, {"no token", "skipped/no_token"}};
	int64_t left = rows->skipped;
	for (size_t k = 0; k < ARRAY_LEN(reasons); k++) {
		/* a filter in the pipe marks the same rows as baselines by `skip` */
		int64_t n = k == 0 ? b->baselines : 0;
		for (int64_t i = 0; i < rows->n; i++)
			n += rows->row[i].skip && !strcmp(rows->row[i].skip, reasons[k][0]);
		left -= n;
		if (n)
			put(out, reasons[k][1], (double)n);
	}
	if (left) /* errors, also those that belong to no row */
		put(out, "skipped/error", (double)left);
}

/* ---- the critic ---- */

void ppo_metrics_critic(struct str *out, const struct ppo_batch *b)
{
	struct moments returns = {0};
	double squares = 0;
	for (int64_t i = 0; i < b->n; i++) {
		const struct ppo_row *r = &b->row[i];
		for (int64_t t = 0; t < r->n; t++) {
			if (r->mask && !r->mask[t])
				continue;
			double miss = (double)r->returns[t] - r->values[t];
			squares += miss * miss;
			moments_add(&returns, r->returns[t]);
		}
	}
	double v = returns.n > 1 ? variance(&returns) : 0;
	put(out, "val/var_explained", v > 0 ? 1 - squares / returns.n / v : NAN);
}

/* ---- the gradient ---- */

void ppo_metrics_add_norms(struct ppo_stats *s, const struct ppo *p)
{
	double squares = 0;
	for (int i = 0; i < GROUP_COUNT; i++) {
		s->group_norm[i] += p->policy.norm[i];
		squares += p->value.norm[i] * p->value.norm[i];
	}
	s->critic_norm += sqrt(squares);
	s->critic_lr = optim_critic_rate(p->optim, p->run.batches, p->config->steps);
}

void ppo_metrics_norms(struct str *out, const struct ppo *p, const struct ppo_stats *s)
{
	double n = s->steps ? (double)s->steps : 1;
	for (int i = 0; i < GROUP_COUNT; i++)
		if (optim_has_group(&p->policy.info.table, i)) {
			str_addf(out, ",\"grad_norm/%s\":", optim_group_names[i]);
			json_put_num(out, s->group_norm[i] / n);
		}
	if (p->config->critic == CRITIC_SEPARATE)
		put(out, "grad_norm/critic", s->critic_norm / n);
	if (p->config->critic != CRITIC_NONE && p->optim->critic_lr >= 0)
		put(out, "lr/critic", s->critic_lr);
}

/* ---- time and memory ---- */

static void put_speed(struct str *out, const char *name, double tokens, double seconds)
{
	if (tokens > 0 && seconds > 0)
		put(out, name, tokens / seconds);
}

void ppo_metrics_importance(struct str *out, const struct ppo_batch *b)
{
	const struct importance_stats *s = &b->importance;
	if (s->rows == 0)
		return;
	double n = s->tokens > 0 ? (double)s->tokens : 1;
	put(out, "offpolicy/rows", (double)s->rows);
	put(out, "offpolicy/lag", b->lag / (double)b->n);
	put(out, "sampling/sampling_logp_difference/mean", s->difference / n);
	put(out, "sampling/sampling_logp_difference/max", s->largest);
	put(out, "sampling/importance_sampling_ratio/min", s->min);
	put(out, "sampling/importance_sampling_ratio/mean", s->sum / n);
	put(out, "sampling/importance_sampling_ratio/max", s->max);
	put(out, "sampling/importance_bounded", (double)s->bounded / n);
}

void ppo_metrics_time(struct str *out, const struct ppo *p, const struct ppo_batch *b, const struct ppo_stats *s)
{
	double sampled = 0, scored = 0, whole = 0;
	struct rusage use;
	for (int64_t i = 0; i < b->n; i++) {
		const struct rollout_row *r = b->row[i].source;
		double len = (double)(r->n_prompt + r->n);
		sampled += (double)r->n;
		whole += len;
		scored += p->needs_reference && (b->reference || !r->ref_logprobs) ? len : 0;
		scored += b->row[i].values && !r->values ? len : 0;
	}
	put(out, "time/rollout", p->waited);
	put(out, "time/prepare", s->prepare_seconds);
	put(out, "time/update", s->update_seconds);
	put(out, "time/step", s->step_seconds);
	if (p->commit_seconds > 0)
		put(out, "time/commit", p->commit_seconds);
	put_speed(out, "time/tokens_per_second/rollout", sampled, p->waited);
	put_speed(out, "time/tokens_per_second/prepare", scored, s->prepare_seconds);
	put_speed(out, "time/tokens_per_second/update", whole * (double)p->config->epochs, s->update_seconds);
	const struct memory_use *device = weights_on_host(p->k) ? NULL : memory_use(p->k);
	if (device)
		put(out, "time/peak_device_mib", round((double)device->high / 1048576));
	if (!getrusage(RUSAGE_SELF, &use))
		put(out, "time/peak_rss_mib", round((double)use.ru_maxrss / 1024));
}
