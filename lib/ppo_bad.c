/* ppo_bad - see ppo_bad.h */
#include "lib/ppo_bad.h"

#include <math.h>
#include <string.h>

#include "lib/record.h"

/* The first place that is not finite, or -1; NULL has none. */
static int64_t first_bad(const float *x, int64_t n)
{
	for (int64_t i = 0; x && i < n; i++)
		if (!isfinite(x[i]))
			return i;
	return -1;
}

static int check(const float *x, int64_t n, const char *name, const struct rollout_row *s,
                 const struct rollout_rows *rows, struct err *e)
{
	int64_t i = first_bad(x, n);
	if (i < 0)
		return 0;
	return err_set(e, "row %lld ('%s'): %s would be %s at index %lld", (long long)(s - rows->row), s->id, name,
	               isnan(x[i]) ? "NaN" : "infinite", (long long)i);
}

int ppo_check_scores(const struct ppo_batch *b, const struct rollout_rows *rows, struct err *e)
{
	for (int64_t k = 0; k < b->n; k++) {
		const struct ppo_row *r = &b->row[k];
		if (check(r->ref_logprobs, r->n, "'ref_logprobs'", r->source, rows, e) ||
		    check(r->exact_kl, r->n, "the exact KL", r->source, rows, e) ||
		    check(r->values, r->n + 1, "'values'", r->source, rows, e))
			return -1;
	}
	return 0;
}

bool ppo_row_finite(const struct trainer_row *r)
{
	return first_bad(r->logprobs, r->n) < 0 && first_bad(r->values, r->n + 1) < 0 && first_bad(r->kl, r->n) < 0 &&
	       first_bad(r->dlogprobs, r->n) < 0 && first_bad(r->dentropy, r->n) < 0 &&
	       first_bad(r->dvalues, r->n + 1) < 0;
}

int ppo_bad_row(const struct ppo_row *r, const struct rollout_rows *rows, const struct trainer_row *pass, struct err *e)
{
	return check(pass->logprobs, r->n, "the policy's log-probability", r->source, rows, e) ||
	                       check(pass->values, r->n + 1, "the critic's value", r->source, rows, e) ||
	                       check(pass->kl, r->n, "the exact KL", r->source, rows, e) ||
	                       check(pass->dlogprobs, r->n, "the gradient of the policy's loss", r->source, rows, e) ||
	                       check(pass->dentropy, r->n, "the gradient of the entropy", r->source, rows, e) ||
	                       check(pass->dvalues, r->n + 1, "the gradient of the value loss", r->source, rows, e)
	               ? -1
	               : 0;
}

static int check_model(const struct trainer *t, struct err *e)
{
	return optim_check_finite(&t->w, "after the update tensor", e) ||
	                       (t->v.k && optim_moment_check_finite(&t->v, "after the update the second moment of", e))
	               ? -1
	               : 0;
}

int ppo_check_models(const struct ppo *p, struct err *e)
{
	return check_model(&p->policy, e) || (p->config->critic == CRITIC_SEPARATE && check_model(&p->value, e)) ? -1
	                                                                                                         : 0;
}

int ppo_may_skip(const struct ppo *p, struct err *e)
{
	int64_t allowed = p->config->skip_bad_batches;
	struct err why = *e;
	if (p->run.bad < allowed)
		return 0;
	if (allowed)
		return err_set(
		        e, "%s; the store is as it was, and %lld of --skip-bad-batches %lld were passed over before",
		        why.msg, (long long)p->run.bad, (long long)allowed);
	return err_set(e, "%s; the store is as it was: %s, or go on without the batch by --skip-bad-batches N", why.msg,
	               p->bad_rows ? "mend the records or leave them out (\"skip\")"
	                           : "leave the record out (\"skip\"), lower --lr or --max-grad-norm");
}

void ppo_bad_metrics(struct str *out, const struct ppo *p, const struct rollout_rows *rows, const struct err *why,
                     double seconds)
{
	str_addf(out,
	         "{\"batch\":%lld,\"version\":%lld,\"episode\":%lld,\"rows\":0,\"skipped\":%lld,\"tokens\":0,"
	         "\"bad_batches\":%lld,\"bad\":",
	         (long long)rows->batch, (long long)p->policy.version + 1, (long long)p->run.episodes,
	         (long long)(rows->n + rows->strays_n), (long long)p->run.bad);
	json_put_str(out, why->msg, strlen(why->msg));
	str_adds(out, ",\"time/update\":");
	json_put_num(out, seconds);
	str_addc(out, '}');
}
