/* reward_model - see reward_model.h */
#include "lib/reward_model.h"

#include <stdlib.h>

#include "lib/util.h"

#define AT(field) offsetof(struct reward_model_config, field)
const struct opt reward_model_options[] = {
        {"append-eos", 0, OPT_FLAG, AT(append_eos), "1", NULL, "an answer given as text ends with EOS", 0, 0},
        {"center-rewards", 0, OPT_NUM, AT(center), "0", "X", "hold the scores of a pair around 0", 0, 1e9},
        {NULL},
};

struct reward_model_pair {
	struct preference_pair p;
	double margin;
};

/* ---- records ---- */

static int take(void *arg, struct record *r, struct err *e)
{
	struct reward_model *m = arg;
	struct reward_model_pair x = {0};
	if (preference_pair_read(&x.p, &m->run, r, m->config.append_eos, true, e) ||
	    record_num(r, "margin", &x.margin, e) < 0)
		return -1;
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->pair = xrealloc_array(m->pair, (size_t)m->cap, sizeof *m->pair);
	}
	m->pair[m->n++] = x;
	return 0;
}

/* ---- one batch ---- */

struct batch_loss {
	struct reward_model *m;
	struct trainer_row *row; /* chosen, rejected, chosen, ... */
	const int64_t *pair;
};

static void take_loss(void *arg, int64_t first, int64_t end, bool count)
{
	struct batch_loss *b = arg;
	struct reward_model_stats beside = {0}, *s = count ? &b->m->stats : &beside;
	for (int64_t i = first; i < end; i += 2) {
		double score[] = {b->row[i].values[0], b->row[i + 1].values[0]}, gradient[2];
		s->loss += preference_bradley_terry(score, b->m->pair[b->pair[i / 2]].margin, b->m->config.center,
		                                    gradient);
		s->accuracy += score[CHOSEN] > score[REJECTED];
		s->margin += score[CHOSEN] - score[REJECTED];
		for (int side = CHOSEN; side <= REJECTED; side++) {
			bool first_of_all = i + side == 0;
			s->score += score[side];
			s->lowest = first_of_all || score[side] < s->lowest ? score[side] : s->lowest;
			s->highest = first_of_all || score[side] > s->highest ? score[side] : s->highest;
			b->row[i + side].dvalues[0] = (float)(gradient[side] / s->pairs);
		}
	}
}

static int gradient(void *arg, const int64_t *row, int64_t n, struct arena *a, struct err *e)
{
	struct reward_model *m = arg;
	struct batch_loss b = {m, arena_array(a, 2 * (size_t)n, sizeof *b.row), row};
	m->run.learned = 0;
	for (int64_t i = 0; i < 2 * n; i++) {
		const struct preference_pair *p = &m->pair[row[i / 2]].p;
		/* all of it is context: the one value is that of the last token */
		b.row[i] = (struct trainer_row){.token = p->token[i % 2],
		                                .n_prompt = p->n_prompt + p->n[i % 2],
		                                .temperature = 1,
		                                .joined = i % 2,
		                                .values = arena_array(a, 1, sizeof(float)),
		                                .dvalues = arena_array(a, 1, sizeof(float))};
		m->run.tokens += b.row[i].n_prompt;
		m->run.learned += (double)b.row[i].n_prompt;
	}
	m->stats = (struct reward_model_stats){.pairs = (double)n};
	return trainer_backward(&m->run.model, b.row, 2 * n, take_loss, &b, e) ||
	                       records_run_finite(&m->run, b.row, 2 * n, 2, row, "the score", e)
	               ? -1
	               : 1;
}

/* ---- the run ---- */

static void describe(void *arg, struct str *out)
{
	const struct reward_model *m = arg;
	str_addf(out, " append-eos=%d center-rewards=%.17g", m->config.append_eos, m->config.center);
}

static void metrics(void *arg, struct str *out)
{
	const struct reward_model *m = arg;
	const struct reward_model_stats *s = &m->stats;
	const struct {
		const char *name;
		double x;
	} member[] = {{"loss", s->loss / s->pairs},
	              {"accuracy", s->accuracy / s->pairs},
	              {"margin", s->margin / s->pairs},
	              {"min_reward", s->lowest},
	              {"mean_reward", s->score / (2 * s->pairs)},
	              {"max_reward", s->highest}};
	for (size_t i = 0; i < ARRAY_LEN(member); i++) {
		str_addf(out, ",\"%s\":", member[i].name);
		json_put_num(out, member[i].x);
	}
}

static const struct records_run_method method = {.tool = "rl-rm-step",
                                                 .kind = "rm",
                                                 .take = take,
                                                 .describe = describe,
                                                 .gradient = gradient,
                                                 .metrics = metrics};

void reward_model_init(struct reward_model *m)
{
	m->run.method = &method;
	m->run.arg = m;
	m->run.with_value = true;
}

void reward_model_release(struct reward_model *m)
{
	free(m->pair);
}
