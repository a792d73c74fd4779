/* advantage_record - see advantage_record.h */
#include "lib/advantage_record.h"

#include <string.h>

#include "lib/util.h"

static int read_numbers(struct reward *total, struct record *r, struct arena *arena, struct advantage_row *a,
                        struct err *e)
{
	int64_t n;
	int32_t *token, *mask = NULL;
	float *array[3] = {NULL, NULL, NULL};
	static const char *const names[] = {"logprobs", "ref_logprobs", "values"};
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
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (record_floats(r, names[i], &array[i], &a->n, n, "tokens", arena, e) < 0)
			return -1;
	if (!array[2])
		return err_set(e, "there is no 'values' (rl-logprob --values adds it)");
	has = record_num(r, "bootstrap_value", &a->bootstrap_value, e);
	if (has < 0)
		return -1;
	a->n = n;
	a->reward = reward;
	a->has_bootstrap = has;
	a->token = token;
	a->mask = mask;
	a->logprobs = array[0];
	a->ref_logprobs = array[1];
	a->values = array[2];
	return 0;
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

static int check_names(const struct record *r, struct err *e)
{
	static const char *const made[] = {"rewards", "advantages", "returns", "bootstrap_reward", "bootstrap_return"};
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		if (record_check_new(r, made[i], e) < 0)
			return -1;
	return 0;
}

int advantage_record_read(const struct advantage_config *c, struct reward *reward, struct record *r,
                          struct advantage_row *row, struct arena *a, struct err *e)
{
	*row = (struct advantage_row){0};
	if (check_names(r, e) < 0 || read_numbers(reward, r, a, row, e) < 0 || read_finish(c, r, row, e) < 0)
		return -1;
	row->rewards = arena_alloc(a, (size_t)row->n * sizeof(float));
	row->advantages = arena_alloc(a, (size_t)row->n * sizeof(float));
	row->returns = arena_alloc(a, (size_t)row->n * sizeof(float));
	return 0;
}

int advantage_record_add(struct record *r, const struct advantage_row *row, struct err *e)
{
	if (record_add_floats(r, "rewards", row->rewards, row->n, e) < 0 ||
	    record_add_floats(r, "advantages", row->advantages, row->n, e) < 0 ||
	    record_add_floats(r, "returns", row->returns, row->n, e) < 0)
		return -1;
	return row->has_terminal && (record_add_num(r, "bootstrap_reward", row->bootstrap_reward, e) < 0 ||
	                             record_add_num(r, "bootstrap_return", row->bootstrap_return, e) < 0)
	               ? -1
	               : 0;
}
