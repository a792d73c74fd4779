/* dpo - see dpo.h */
#include "lib/dpo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/util.h"

const struct opt dpo_options[] = {
        {"append-eos", 0, OPT_FLAG, offsetof(struct dpo_config, append_eos), "1", NULL,
         "an answer given as text ends with EOS", 0, 0},
        {NULL},
};

static const char kind[] = "dpo";

struct dpo_pair {
	struct preference_pair p;
	double reference[2]; /* sums of ln p */
	bool known;
};

/* ---- records ---- */

/* A sum, or one number per token: 1, 0, -1. */
static int read_reference(struct dpo *d, const struct record *r, const char *name, int64_t n, const char *of,
                          double *sum, struct err *e)
{
	float *each;
	int64_t count;
	if (record_kind(r, name) != JSON_ARRAY)
		return record_num(r, name, sum, e);
	int got = record_floats(r, name, &each, &count, n, of, &d->run.arena, e);
	*sum = 0;
	for (int64_t i = 0; i < n && got > 0; i++)
		*sum += each[i];
	return got;
}

static int take(void *arg, struct record *r, struct err *e)
{
	struct dpo *d = arg;
	struct dpo_pair x = {0};
	if (preference_pair_read(&x.p, &d->run, r, d->config.append_eos, false, e))
		return -1;
	int chosen = read_reference(d, r, "ref_chosen_logps", x.p.n[CHOSEN], "chosen", &x.reference[CHOSEN], e);
	int rejected = chosen < 0 ? -1
	                          : read_reference(d, r, "ref_rejected_logps", x.p.n[REJECTED], "rejected",
	                                           &x.reference[REJECTED], e);
	if (rejected < 0)
		return -1;
	if (chosen != rejected)
		return err_set(e, "there is 'ref_%s_logps', but no 'ref_%s_logps'", chosen ? "chosen" : "rejected",
		               chosen ? "rejected" : "chosen");
	x.known = chosen > 0;
	d->needs_reference = d->needs_reference || !x.known;
	if (d->n == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 256;
		d->pair = xrealloc_array(d->pair, (size_t)d->cap, sizeof *d->pair);
	}
	d->pair[d->n++] = x;
	return 0;
}

/* ---- the reference ---- */

static struct trainer_row pass_row(const struct preference_pair *p, int side, struct arena *a)
{
	return (struct trainer_row){.token = p->token[side],
	                            .n_prompt = p->n_prompt,
	                            .n = p->n[side],
	                            .temperature = 1,
	                            .joined = side == REJECTED,
	                            .logprobs = arena_array(a, (size_t)p->n[side], sizeof(float))};
}

static double sum_of(const struct trainer_row *row)
{
	double sum = 0;
	for (int64_t i = 0; i < row->n; i++)
		sum += row->logprobs[i];
	return sum;
}

static int score_pair(struct dpo *d, struct dpo_pair *x, struct decoder *decoder, const struct weights *w,
                      struct arena *a, struct err *e)
{
	arena_reset(a);
	struct trainer_row row[] = {pass_row(&x->p, CHOSEN, a), pass_row(&x->p, REJECTED, a)};
	if (trainer_score(decoder, w, row, 2, d->run.model.micro_tokens, e))
		return -1;
	for (int side = CHOSEN; side <= REJECTED; side++) {
		x->reference[side] = sum_of(&row[side]);
		if (!isfinite(x->reference[side]))
			return err_set(e, "the reference %s@%lld gives a log-probability that is not finite",
			               d->reference.slot, (long long)d->reference.version);
	}
	x->known = true;
	return 0;
}

/* The pairs that the rest of the run comes by, each once. */
static int score_pairs(struct dpo *d, struct decoder *decoder, const struct weights *w, struct err *e)
{
	struct arena a;
	int64_t missing = 0, end = records_run_places(&d->run);
	int failed = 0;
	arena_init(&a);
	for (int64_t i = 0; i < d->n; i++)
		missing += !d->pair[i].known;
	for (int64_t i = d->run.run.batches * d->run.config->batch_size; i < end && missing > 0 && !failed; i++) {
		struct dpo_pair *x = &d->pair[records_run_row(&d->run, i)];
		if (x->known)
			continue;
		failed = score_pair(d, x, decoder, w, &a, e);
		missing--;
	}
	arena_release(&a);
	return failed;
}

static int check_reference(const struct dpo *d, const struct model_info *m, struct err *e)
{
	const struct arch *ours = &d->run.info.arch;
	if (m->arch.value_model)
		return err_set(e, "the reference %s@%lld has a value head and none for tokens", d->reference.slot,
		               (long long)d->reference.version);
	if (m->arch.V != ours->V || m->arch.P < ours->P)
		return err_set(e,
		               "the reference %s@%lld has %lld tokens and a context of %lld, but %s has %lld and %lld",
		               d->reference.slot, (long long)d->reference.version, (long long)m->arch.V,
		               (long long)m->arch.P, d->run.slot, (long long)ours->V, (long long)ours->P);
	return 0;
}

static int score_with(struct dpo *d, struct store_view *v, const struct model_info *m, struct err *e)
{
	struct weights w;
	struct decoder decoder;
	if (check_reference(d, m, e) || weights_map(&w, d->run.k, &m->table, v, &d->reference, e))
		return -1;
	int failed = decoder_init(&decoder, &m->arch, &m->table, d->run.k, e) || score_pairs(d, &decoder, &w, e);
	decoder_release(&decoder);
	weights_release(&w);
	return failed ? -1 : 0;
}

static int begin(void *arg, struct err *e)
{
	struct dpo *d = arg;
	struct model_info m;
	struct str ref;
	if (!d->needs_reference)
		return 0;
	struct store_view *v = store_view_open(d->run.store, e);
	if (!v)
		return -1;
	str_init(&ref);
	int failed = loop_reference(v, d->run.anew ? NULL : d->run.key, d->run.slot, &d->reference, e);
	if (!failed) {
		str_addf(&ref, "%s@%lld", d->reference.slot, (long long)d->reference.version);
		failed = model_info_load(&m, v, ref.buf, false, e);
	}
	if (!failed) {
		failed = score_with(d, v, &m, e);
		model_info_release(&m);
	}
	str_release(&ref);
	store_view_close(v);
	return failed;
}

/* The first commit of a run holds the version that it began with. */
static int commit(void *arg, struct store_update *u, struct err *e)
{
	struct dpo *d = arg;
	if (!d->needs_reference || !d->run.anew || d->run.info.lora || d->run.version > d->run.run.base)
		return 0;
	return loop_hold_reference(u, d->run.key, &d->reference, e);
}

/* ---- one batch ---- */

struct batch_loss {
	struct dpo *d;
	struct trainer_row *row; /* chosen, rejected, chosen, ... */
	const int64_t *pair;
	int64_t n;
};

static void take_loss(void *arg, int64_t first, int64_t end, bool count)
{
	struct batch_loss *b = arg;
	struct dpo_stats beside = {0}, *s = count ? &b->d->stats : &beside;
	double pairs = (double)b->n, beta = b->d->loss.beta;
	for (int64_t i = first; i < end; i += 2) {
		const struct dpo_pair *x = &b->d->pair[b->pair[i / 2]];
		double ratio[2], gradient[2];
		for (int side = CHOSEN; side <= REJECTED; side++) {
			double logp = sum_of(&b->row[i + side]);
			ratio[side] = logp - x->reference[side];
			s->logps[side] += logp;
			s->rewards[side] += beta * ratio[side];
		}
		s->accuracy += ratio[CHOSEN] > ratio[REJECTED];
		s->loss += preference_loss(&b->d->loss, ratio, x->p.n, gradient);
		for (int side = CHOSEN; side <= REJECTED; side++)
			for (int64_t t = 0; t < x->p.n[side]; t++)
				b->row[i + side].dlogprobs[t] = (float)(gradient[side] / pairs);
	}
}

static int gradient(void *arg, const int64_t *row, int64_t n, struct arena *a, struct err *e)
{
	struct dpo *d = arg;
	struct batch_loss b = {.d = d, .row = arena_array(a, 2 * (size_t)n, sizeof *b.row), .pair = row, .n = n};
	d->run.learned = 0;
	for (int64_t i = 0; i < 2 * n; i++) {
		struct trainer_row *x = &b.row[i];
		*x = pass_row(&d->pair[row[i / 2]].p, i % 2, a);
		x->dlogprobs = arena_array(a, (size_t)x->n, sizeof(float));
		d->run.tokens += x->n_prompt + x->n;
		d->run.learned += (double)x->n;
	}
	d->stats = (struct dpo_stats){.pairs = (double)n};
	return trainer_backward(&d->run.model, b.row, 2 * n, take_loss, &b, e) ||
	                       records_run_finite(&d->run, b.row, 2 * n, 2, row, "a value", e)
	               ? -1
	               : 1;
}

/* ---- the run ---- */

static void describe(void *arg, struct str *out)
{
	const struct dpo *d = arg;
	str_addf(out, " loss=%s beta=%.17g label-smoothing=%.17g append-eos=%d",
	         d->loss.kind == PREFERENCE_IPO ? "ipo" : "dpo", d->loss.beta, d->loss.label_smoothing,
	         d->config.append_eos);
}

static void metrics(void *arg, struct str *out)
{
	const struct dpo *d = arg;
	const struct dpo_stats *s = &d->stats;
	const struct {
		const char *name;
		double x;
	} member[] = {{"loss", s->loss},
	              {"rewards/chosen", s->rewards[CHOSEN]},
	              {"rewards/rejected", s->rewards[REJECTED]},
	              {"rewards/accuracies", s->accuracy},
	              {"rewards/margins", s->rewards[CHOSEN] - s->rewards[REJECTED]},
	              {"logps/chosen", s->logps[CHOSEN]},
	              {"logps/rejected", s->logps[REJECTED]}};
	for (size_t i = 0; i < ARRAY_LEN(member); i++) {
		str_addf(out, ",\"%s\":", member[i].name);
		json_put_num(out, member[i].x / s->pairs);
	}
}

static const struct records_run_method method = {.tool = "rl-dpo-step",
                                                 .kind = kind,
                                                 .take = take,
                                                 .describe = describe,
                                                 .begin = begin,
                                                 .gradient = gradient,
                                                 .metrics = metrics,
                                                 .commit = commit};

void dpo_init(struct dpo *d)
{
	d->run.method = &method;
	d->run.arg = d;
}

void dpo_release(struct dpo *d)
{
	free(d->pair);
}
