/* gain - see gain.h */
#include "lib/gain.h"

#include <math.h>
#include <string.h>

#include "lib/str.h"
#include "lib/trainer.h"

int gain_term_set(struct gain_term *t, const struct scorer_model *m, const int32_t *context, int64_t n_context,
                  const int32_t *value, int64_t n, struct arena *a, struct err *e)
{
	if (n_context < 1)
		return err_set(e, "the context has no token, so the value's first has nothing before it");
	if (n > m->info.arch.P - n_context)
		return err_set(e, "%lld tokens of context and %lld of the value do not fit the model's context of %lld",
		               (long long)n_context, (long long)n, (long long)m->info.arch.P);
	int32_t *all = arena_array(a, (size_t)(n_context + n), sizeof *all);
	memcpy(all, context, (size_t)n_context * sizeof *all);
	memcpy(all + n_context, value, (size_t)n * sizeof *all);
	*t = (struct gain_term){m, m->ref.version, all, n_context, arena_array(a, (size_t)n, sizeof(float))};
	return 0;
}

/* ---- computing ---- */

/* The terms of one version of one model. */
struct pass {
	struct trainer_row *row;
	int64_t n;
};

static int run_pass(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct pass *p = arg;
	return trainer_score(d, w, p->row, p->n, SCORER_TOKENS, e);
}

static bool same_weights(const struct gain_term *a, const struct gain_term *b)
{
	return a->version == b->version && !strcmp(a->model->ref.slot, b->model->ref.slot);
}

/* Terms of the samples of one prompt: the base is the same. */
static bool same_term(const struct gain_term *a, int64_t n_a, const struct gain_term *b, int64_t n_b)
{
	return same_weights(a, b) && n_a == n_b && a->n_context == b->n_context &&
	       !memcmp(a->token, b->token, (size_t)(n_a + a->n_context) * sizeof *a->token);
}

struct term_list {
	struct gain_term **term;
	int64_t *n_value;
	int64_t n;
};

static void list_term(struct term_list *l, struct gain_term *t, int64_t n)
{
	l->term[l->n] = t;
	l->n_value[l->n++] = n;
}

static struct term_list list_terms(struct gain *const *gain, int64_t n, struct arena *a)
{
	struct term_list l = {arena_array(a, 2 * (size_t)n, sizeof *l.term),
	                      arena_array(a, 2 * (size_t)n, sizeof *l.n_value), 0};
	struct gain_term *before = NULL;
	int64_t n_before = 0;
	for (int64_t i = 0; i < n; i++) {
		struct gain_term *base = &gain[i]->base;
		if (gain[i]->unscored)
			continue;
		list_term(&l, &gain[i]->of, gain[i]->n);
		if (!gain[i]->has_base)
			continue;
		if (before && same_term(before, n_before, base, gain[i]->n)) {
			base->logprobs = before->logprobs;
			continue;
		}
		list_term(&l, base, gain[i]->n);
		before = base;
		n_before = gain[i]->n;
	}
	return l;
}

int gain_compute(struct scorer *s, struct gain *const *gain, int64_t n, struct err *e)
{
	struct term_list l = list_terms(gain, n, &s->arena);
	struct pass p = {arena_array(&s->arena, (size_t)l.n + 1, sizeof *p.row), 0};
	for (int64_t first = 0; first < l.n; first++) {
		if (!l.term[first]) /* in a pass before */
			continue;
		struct scorer_model m = *l.term[first]->model;
		const struct gain_term weights = *l.term[first];
		m.ref.version = weights.version;
		p.n = 0;
		for (int64_t i = first; i < l.n; i++) {
			const struct gain_term *t = l.term[i];
			if (!t || !same_weights(t, &weights))
				continue;
			p.row[p.n++] =
			        (struct trainer_row){t->token, t->n_context, l.n_value[i], 1, .logprobs = t->logprobs};
			l.term[i] = NULL;
		}
		if (scorer_with(s, &m, run_pass, &p, e))
			return -1;
	}
	return 0;
}

/* ---- adding ---- */

static const char *terms_name(const char *name, struct arena *a)
{
	return !strncmp(name, "reward_", 7) && name[7] ? name + 7 : arena_printf(a, "%s_terms", name);
}

int gain_check_new(const struct record *r, const char *name, struct arena *a, struct err *e)
{
	return record_check_new(r, name, e) || record_check_new(r, terms_name(name, a), e);
}

static double reduced(const float *logprobs, int64_t n, enum gain_reduce reduce)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += logprobs[i];
	return reduce == GAIN_SUM ? sum : sum / (double)n;
}

static int check_finite(const struct gain_term *t, int64_t n, struct err *e)
{
	for (int64_t i = 0; i < n; i++)
		if (!isfinite(t->logprobs[i]))
			return err_set(e, "the log-probability of token %lld under %s@%lld is not finite", (long long)i,
			               t->model->ref.slot, (long long)t->version);
	return 0;
}

static void put_term(struct str *s, const char *name, const struct gain *x, const struct gain_term *t,
                     enum gain_reduce reduce, bool per_token)
{
	str_adds(s, name);
	if (x->unscored)
		str_adds(s, "null");
	else if (per_token)
		json_put_floats(s, t->logprobs, x->n);
	else
		json_put_num(s, reduced(t->logprobs, x->n, reduce));
}

static int add_terms(struct record *r, const char *name, enum gain_reduce reduce, bool per_token, const struct gain *x,
                     struct err *e)
{
	struct str s;
	str_init(&s);
	put_term(&s, "{\"logp\":", x, &x->of, reduce, per_token);
	if (x->has_base)
		put_term(&s, ",\"base\":", x, &x->base, reduce, per_token);
	str_adds(&s, ",\"tokens\":");
	json_put_int(&s, x->n);
	str_addc(&s, '}');
	int failed = record_add_raw(r, name, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

static int add_tokens(struct record *r, const char *name, double otherwise, const struct gain *x, struct arena *a,
                      struct err *e)
{
	float *out = arena_array(a, (size_t)x->n, sizeof *out);
	for (int64_t i = 0; i < x->n && !x->unscored; i++)
		out[i] = x->of.logprobs[i] - (x->has_base ? x->base.logprobs[i] : 0);
	if (x->unscored)
		out[x->n - 1] = (float)otherwise;
	return record_add_floats(r, name, out, x->n, e);
}

int gain_add(struct record *r, const char *name, enum gain_reduce reduce, bool per_token, double otherwise,
             const struct gain *x, struct arena *a, struct err *e)
{
	double gain = otherwise;
	if (!x->unscored && (check_finite(&x->of, x->n, e) || (x->has_base && check_finite(&x->base, x->n, e))))
		return -1;
	if (!x->unscored && !per_token)
		gain = reduced(x->of.logprobs, x->n, reduce) -
		       (x->has_base ? reduced(x->base.logprobs, x->n, reduce) : 0);
	if (add_terms(r, terms_name(name, a), reduce, per_token, x, e))
		return -1;
	return per_token ? add_tokens(r, name, otherwise, x, a, e) : record_add_num(r, name, gain, e);
}
