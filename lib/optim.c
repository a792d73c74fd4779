/* optim - see optim.h */
#include "lib/optim.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define AT(field) offsetof(struct optim_config, field)
const struct opt optim_options[] = {
        {"optim", 0, OPT_CHOICE, AT(kind), "adamw", "adamw|sgd|adam8", "how a gradient becomes a step", 0, 0},
        {"momentum", 0, OPT_NUM, AT(momentum), "0.9", "X", "of sgd", 0, 1},
        {"lr", 0, OPT_NUM, AT(schedule.lr), "3e-6", "X", "learning rate; without gae 1e-6", 0, 1e3},
        {"schedule", 0, OPT_CHOICE, AT(schedule.kind), "constant", "constant|linear|cosine",
         "of the learning rate, over --steps", 0, 0},
        {"warmup", 0, OPT_INT, AT(schedule.warmup), "0", "N", "updates over which the learning rate rises", 0, 1e12},
        {"weight-decay", 0, OPT_NUM, AT(weight_decay), "0", "X", "decoupled, times the learning rate", 0, 1e3},
        {"decay", 0, OPT_CHOICE, AT(decay), "matrices", "matrices|all",
         "what decays: not biases and norm gains, or all", 0, 0},
        {"betas", 0, OPT_STR, AT(betas), "0.9,0.999", "A,B", "of AdamW", 0, 0},
        {"eps", 0, OPT_NUM, AT(eps), "1e-8", "X", "of AdamW", 0, 1},
        {"max-grad-norm", 0, OPT_NUM, AT(max_grad_norm), "1", "X", "clip the gradient to this norm; 0 is off", 0, 1e30},
        {NULL},
};

const char *const optim_kind_names[] = {"adamw", "sgd", "adam8"};

const struct opt *optim_options_lr(const char *lr)
{
	static struct opt rows[ARRAY_LEN(optim_options)];
	memcpy(rows, optim_options, sizeof rows);
	for (size_t i = 0; rows[i].name; i++)
		if (!strcmp(rows[i].name, "lr")) {
			rows[i].fallback = lr;
			rows[i].help = "learning rate";
		}
	return rows;
}

void optim_check(struct optim_config *c, int64_t steps)
{
	const char *comma = strchr(c->betas, ',');
	char *first = comma ? xstrndup(c->betas, (size_t)(comma - c->betas)) : NULL;
	if (!first || !parse_double(first, &c->beta1) || !parse_double(comma + 1, &c->beta2) || c->beta1 < 0 ||
	    c->beta1 >= 1 || c->beta2 < 0 || c->beta2 >= 1)
		cli_misuse("--betas is '%s', but must be two numbers in [0,1) with a comma between them", c->betas);
	free(first);
	if (c->schedule.kind != SCHEDULE_CONSTANT && steps <= 0)
		cli_misuse("a schedule that is not constant needs --steps");
}

const struct opt optim_critic_options[] = {
        {"critic-lr", 0, OPT_NUM, AT(critic_lr), "-1", "X", "learning rate of the critic; -1: that of the policy", -1,
         1e3},
        {NULL},
};

double optim_critic_rate(const struct optim_config *c, int64_t u, int64_t total)
{
	struct schedule_config s = c->schedule;
	if (c->critic_lr >= 0)
		s.lr = c->critic_lr;
	return schedule_rate(&s, u, total);
}

const char *const optim_group_names[GROUP_COUNT] = {"embed", "attn", "mlp", "norm", "head", "value"};

static enum optim_group group_of(enum tensor_part part)
{
	switch (part) {
	case PART_TOKENS:
	case PART_POSITIONS:
		return GROUP_EMBED;
	case PART_HEAD:
		return GROUP_HEAD;
	case PART_SCORE:
		return GROUP_VALUE;
	case PART_NORM:
	case PART_NORM_BIAS:
	case PART_NORM1:
	case PART_NORM1_BIAS:
	case PART_NORM2:
	case PART_NORM2_BIAS:
	case PART_Q_NORM:
	case PART_K_NORM:
		return GROUP_NORM;
	default:
		return part >= PART_GATE ? GROUP_MLP : GROUP_ATTN;
	}
}

bool optim_has_group(const struct tensors *t, enum optim_group group)
{
	for (int i = 0; i < t->n; i++)
		if (!t->tensor[i].frozen && group_of(t->tensor[i].part) == group)
			return true;
	return false;
}

double optim_sum_squares(const struct weights *g, double group[GROUP_COUNT])
{
	double sum = 0;
	for (int i = 0; i < g->table->n; i++) {
		const struct tensor *t = &g->table->tensor[i];
		if (t->frozen)
			continue;
		double squares = g->k->sum_squares(g->k->ctx, g->slab + t->offset, t->count);
		sum += squares;
		if (group)
			group[group_of(t->part)] += squares;
	}
	return sum;
}

int optim_check_finite(const struct weights *w, const char *what, struct err *e)
{
	for (int i = 0; i < w->table->n; i++) {
		const struct tensor *t = &w->table->tensor[i];
		int64_t bad = t->frozen ? 0 : w->k->count_nonfinite(w->k->ctx, w->slab + t->offset, t->count);
		if (bad)
			return err_set(e, "%s '%s' has %lld of %lld elements that are NaN or infinite", what, t->name,
			               (long long)bad, (long long)t->count);
	}
	return 0;
}

static bool decays(const struct optim_config *c, const struct tensor *t)
{
	return c->decay == DECAY_ALL || (t->role != TENSOR_BIAS && t->role != TENSOR_GAIN);
}

/* Axpy is all that it takes, so every backend has it. */
static void sgd(const struct optim_config *c, double lr, double decay, double grad_scale, float *w, float *m,
                const float *g, int64_t n, const struct kernels *k)
{
	if (c->momentum != 1)
		k->axpy(k->ctx, m, (float)(c->momentum - 1), m, n);
	k->axpy(k->ctx, m, (float)grad_scale, g, n);
	if (decay != 0)
		k->axpy(k->ctx, w, (float)(-lr * decay), w, n);
	k->axpy(k->ctx, w, (float)-lr, m, n);
}

void optim_step(const struct optim_config *c, double lr, double value_lr, double grad_scale, int64_t step,
                struct weights *w, struct optim_moment *m, struct optim_moment *v, const struct weights *g)
{
	const struct kernels *k = w->k;
	for (int i = 0; i < w->table->n; i++) {
		const struct tensor *t = &w->table->tensor[i];
		if (t->frozen)
			continue;
		float *x = w->slab + t->offset, *dx = g->slab + t->offset;
		struct kn_adamw a = {.lr = t->role == TENSOR_VALUE ? value_lr : lr,
		                     .beta1 = c->beta1,
		                     .beta2 = c->beta2,
		                     .eps = c->eps,
		                     .weight_decay = decays(c, t) ? c->weight_decay : 0,
		                     .grad_scale = grad_scale,
		                     .step = step};
		if (c->kind == OPTIM_SGD) {
			sgd(c, a.lr, a.weight_decay, grad_scale, x, m->slab + m->at[i], dx, t->count, k);
		} else if (optim_moment_in_8_bits(m, i)) {
			struct kn_moment8 m8 = optim_moment_view(m, i), v8 = optim_moment_view(v, i);
			k->adamw8(k->ctx, x, &m8, &v8, dx, &a, t->count);
		} else {
			k->adamw(k->ctx, x, m->slab + m->at[i], v->slab + v->at[i], dx, &a, t->count);
		}
	}
	weights_refresh(w);
}
