/* bad_batch - see bad_batch.h */
#include "lib/bad_batch.h"

#include <math.h>
#include <stdio.h>
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

int bad_batch_floats(const float *x, int64_t n, const char *name, struct err *e)
{
	int64_t i = first_bad(x, n);
	if (i < 0)
		return 0;
	return err_set(e, "%s would be %s at index %lld", name, isnan(x[i]) ? "NaN" : "infinite", (long long)i);
}

bool bad_batch_row_finite(const struct trainer_row *r)
{
	return first_bad(r->logprobs, r->n) < 0 && first_bad(r->values, r->n + 1) < 0 && first_bad(r->kl, r->n) < 0 &&
	       first_bad(r->dlogprobs, r->n) < 0 && first_bad(r->dentropy, r->n) < 0 &&
	       first_bad(r->dvalues, r->n + 1) < 0;
}

int bad_batch_row(const struct trainer_row *r, const char *value, struct err *e)
{
	char gradient[80];
	snprintf(gradient, sizeof gradient, "the gradient of the loss by %s", value);
	return bad_batch_floats(r->logprobs, r->n, "the policy's log-probability", e) ||
	                       bad_batch_floats(r->values, r->n + 1, value, e) ||
	                       bad_batch_floats(r->kl, r->n, "the exact KL", e) ||
	                       bad_batch_floats(r->dlogprobs, r->n, "the gradient of the policy's loss", e) ||
	                       bad_batch_floats(r->dentropy, r->n, "the gradient of the entropy", e) ||
	                       bad_batch_floats(r->dvalues, r->n + 1, gradient, e)
	               ? -1
	               : 0;
}

int bad_batch_model(const struct trainer *t, struct err *e)
{
	return optim_check_finite(&t->w, "after the update tensor", e) ||
	                       (t->v.k && optim_moment_check_finite(&t->v, "after the update the second moment of", e))
	               ? -1
	               : 0;
}

int bad_batch_may_skip(const struct loop_run *run, int64_t allowed, bool in_rows, struct err *e)
{
	struct err why = *e;
	if (run->bad < allowed)
		return 0;
	if (allowed)
		return err_set(
		        e, "%s; the store is as it was, and %lld of --skip-bad-batches %lld were passed over before",
		        why.msg, (long long)run->bad, (long long)allowed);
	return err_set(e, "%s; the store is as it was: %s, or go on without the batch by --skip-bad-batches N", why.msg,
	               in_rows ? "mend the records or leave them out (\"skip\")"
	                       : "leave the record out (\"skip\"), lower --lr or --max-grad-norm");
}

void bad_batch_metrics(struct str *out, const struct loop_run *run, const struct err *why)
{
	str_addf(out, ",\"bad_batches\":%lld,\"bad\":", (long long)run->bad);
	json_put_str(out, why->msg, strlen(why->msg));
}
