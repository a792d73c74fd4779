/* advantage_record - see advantage_record.h */
#include "lib/advantage_record.h"

#include <string.h>

#include "lib/util.h"

static int read_critic(struct record *r, struct arena *arena, struct advantage_row *a, struct err *e)
{
	float *values = NULL;
	if (record_floats(r, "values", &values, &a->n, a->n, "tokens", arena, e) < 0)
		return -1;
	if (!values)
		return err_set(e, "there is no 'values' (rl-logprob --values adds it)");
	int has = record_num(r, "bootstrap_value", &a->bootstrap_value, e);
	a->values = values;
	a->has_bootstrap = has > 0;
	return has < 0 ? -1 : 0;
}

static int read_numbers(const struct advantage_config *c, struct reward *total, struct record *r, struct arena *arena,
                        struct advantage_row *a, struct err *e)
{
	int64_t n;
	int32_t *token, *mask = NULL;
	float *logprobs = NULL, *ref = NULL;
	double *reward;
	int has = record_ints(r, "tokens", &token, &n, -1, NULL, arena, e);
	if (has <= 0)
		return has < 0 ? -1 : err_set(e, "there is no 'tokens'");
	if (record_ints(r, "mask", &mask, &a->n, n, "tokens", arena, e) < 0)
		return -1;
	has = reward_read(total, r, n, mask, &reward, &a->score, arena, e);
	a->n = n;
	a->left_out = has <= 0 || !n;
	if (a->left_out)
		return has < 0 ? -1 : 0;
	if (record_floats(r, "logprobs", &logprobs, &a->n, n, "tokens", arena, e) < 0 ||
	    record_floats(r, "ref_logprobs", &ref, &a->n, n, "tokens", arena, e) < 0)
		return -1;
	a->n = n;
	a->reward = reward;
	a->token = token;
	a->mask = mask;
	a->logprobs = logprobs;
	a->ref_logprobs = ref;
	return c->method == ADVANTAGE_GAE ? read_critic(r, arena, a, e) : 0;
}

void advantage_record_group(const struct record *r, int64_t line, struct advantage_row *row, struct arena *a)
{
	const char *text;
	size_t len;
	int64_t epoch = 0;
	double temperature = 1;
	struct err ignored;
	row->sample = 0;
	if (record_int(r, "sample", &row->sample, &ignored) < 0 || row->sample < 0 || row->sample > 1 << 24)
		row->sample = 0;
	row->greedy = record_num(r, "temperature", &temperature, &ignored) > 0 && temperature == 0;
	if (record_str(r, "group", &text, &len, &ignored) > 0) {
		row->group = arena_strndup(a, text, len);
		return;
	}
	if (record_id(r, line, &text, &len, a, &ignored) < 0)
		return;
	bool later = record_int(r, "epoch", &epoch, &ignored) > 0 && epoch != 0;
	row->group = later ? arena_printf(a, "%s@%lld", text, (long long)epoch) : text;
}

static int read_finish(const struct advantage_config *c, struct record *r, struct advantage_row *a, struct err *e)
{
	const char *finish;
	size_t len;
	int has = record_str(r, "finish", &finish, &len, e);
	if (has < 0)
		return -1;
	if (!has && c->missing_eos_penalty != 0 && c->eos < 0)
		return err_set(e, "there is no 'finish', which --missing-eos-penalty needs where --eos is not given");
	a->cut = has && !strcmp(finish, "length");
	return 0;
}

static int check_names(const struct advantage_config *c, const struct advantage_row *row, const struct record *r,
                       struct err *e)
{
	static const char *const made[] = {"rewards", "advantages", "returns", "bootstrap_reward", "bootstrap_return"};
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		if (record_check_new(r, made[i], e) < 0)
			return -1;
	if (c->method == ADVANTAGE_REINFORCE && c->baseline == BASELINE_MOVING &&
	    record_check_new(r, "state_" ADVANTAGE_STATE, e) < 0)
		return -1;
	return row->greedy ? record_check_new(r, "skip", e) : 0;
}

int advantage_record_read(const struct advantage_config *c, struct reward *reward, struct record *r, int64_t line,
                          struct advantage_row *row, struct arena *a, struct err *e)
{
	*row = (struct advantage_row){0};
	advantage_record_group(r, line, row, a);
	if (check_names(c, row, r, e) < 0 || read_numbers(c, reward, r, a, row, e) < 0 || read_finish(c, r, row, e) < 0)
		return -1;
	row->rewards = arena_alloc(a, (size_t)row->n * sizeof(float));
	row->advantages = arena_alloc(a, (size_t)row->n * sizeof(float));
	row->returns = arena_alloc(a, (size_t)row->n * sizeof(float));
	return 0;
}

void advantage_moving_put(struct str *s, const struct advantage_moving *m)
{
	str_addf(s, "{\"batches\":%lld,\"mean\":", (long long)m->batches);
	json_put_num(s, m->mean);
	str_addc(s, '}');
}

int advantage_moving_read(const struct json *v, struct advantage_moving *m, struct err *e)
{
	struct json batches, mean;
	if (v->kind != JSON_OBJECT || !json_member(v, "batches", &batches) || !batches.is_int || batches.integer < 0 ||
	    !json_member(v, "mean", &mean) || mean.kind != JSON_NUMBER)
		return err_set(e, "'state_" ADVANTAGE_STATE "' is not what rl-reinforce wrote");
	*m = (struct advantage_moving){batches.integer, mean.number};
	return 0;
}

int advantage_moving_load(const struct loop_run *r, struct advantage_moving *m, struct err *e)
{
	struct record *rec = record_new();
	struct json v;
	*m = (struct advantage_moving){0};
	int got = loop_run_state(r, ADVANTAGE_STATE, rec, &v, e);
	if (got > 0)
		got = advantage_moving_read(&v, m, e);
	record_free(rec);
	return got < 0 ? -1 : 0;
}

int advantage_record_add(struct record *r, const struct advantage_row *row, struct err *e)
{
	if (row->is_baseline)
		return record_add_str(r, "skip", ADVANTAGE_BASELINE_SKIP, sizeof ADVANTAGE_BASELINE_SKIP - 1, e);
	if (record_add_floats(r, "rewards", row->rewards, row->n, e) < 0 ||
	    record_add_floats(r, "advantages", row->advantages, row->n, e) < 0 ||
	    record_add_floats(r, "returns", row->returns, row->n, e) < 0)
		return -1;
	return row->has_terminal && (record_add_num(r, "bootstrap_reward", row->bootstrap_reward, e) < 0 ||
	                             record_add_num(r, "bootstrap_return", row->bootstrap_return, e) < 0)
	               ? -1
	               : 0;
}
