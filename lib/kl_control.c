/* kl_control - see kl_control.h */
#include "lib/kl_control.h"

#include <math.h>
#include <stdlib.h>

#include "lib/record.h"
#include "lib/str.h"
#include "lib/util.h"

#define STEP_MAX .2
/* Its name among the states of a run. */
#define STATE "kl_control"

int kl_control_init(struct kl_control *k, const char *text, double coef)
{
	*k = (struct kl_control){.coef = coef};
	if (!*text)
		return 0;
	char *end;
	k->target = strtod(text, &end);
	if (end == text || *end != ',')
		return -1;
	const char *second = end + 1;
	k->horizon = strtod(second, &end);
	if (end == second || *end)
		return -1;
	k->adaptive = true;
	return k->target > 0 && k->horizon > 0 && isfinite(k->target) && isfinite(k->horizon) ? 0 : -1;
}

int kl_control_update(struct kl_control *k, double kl, int64_t n, struct err *e)
{
	if (!k->adaptive)
		return 0;
	if (!isfinite(kl))
		return err_set(e, "the KL to the reference is not finite: --adaptive-kl cannot follow it");
	double step = kl / k->target - 1, part = (double)n / k->horizon;
	if (part > 1 / STEP_MAX)
		return err_set(e, "%lld rows are more than 5 times the horizon %g of --adaptive-kl", (long long)n,
		               k->horizon);
	step = step > STEP_MAX ? STEP_MAX : step < -STEP_MAX ? -STEP_MAX : step;
	k->coef *= 1 + step * part;
	k->batches++;
	return 0;
}

static int read_state(struct kl_control *k, const struct json *v, struct err *e)
{
	struct json batches, coef;
	if (json_member(v, "batches", &batches) != 1 || batches.kind != JSON_NUMBER ||
	    json_member(v, "coef", &coef) != 1 || coef.kind != JSON_NUMBER)
		return err_set(e, "the state of the run is damaged: '" STATE "'");
	k->batches = (int64_t)batches.number;
	k->coef = coef.number;
	return 0;
}

int kl_control_load(struct kl_control *k, const struct loop_run *r, struct err *e)
{
	if (!k->adaptive)
		return 0;
	struct record *rec = record_new();
	struct json v;
	int got = loop_run_state(r, STATE, rec, &v, e);
	if (got > 0)
		got = read_state(k, &v, e);
	record_free(rec);
	return got < 0 ? -1 : 0;
}

int kl_control_keep(const struct kl_control *k, struct loop_run *r, struct err *e)
{
	if (!k->adaptive)
		return 0;
	struct str s;
	str_init(&s);
	str_addf(&s, "{\"" STATE "\":{\"batches\":%lld,\"coef\":", (long long)k->batches);
	json_put_num(&s, k->coef);
	str_adds(&s, "}}");
	int failed = loop_run_set_states(r, s.buf, s.len, e);
	str_release(&s);
	return failed;
}
