/* trainer_plan - see trainer_plan.h */
#include "lib/trainer_plan.h"

static struct trainer_row row_like(struct arena *a, int64_t length, bool head, bool values)
{
	size_t n = (size_t)length;
	struct trainer_row r = {.token = arena_array(a, n, sizeof *r.token), .n_prompt = 1, .temperature = 1};
	if (head) {
		r.logprobs = arena_array(a, n, sizeof(float));
		r.entropy = arena_array(a, n, sizeof(float));
		r.dlogprobs = arena_array(a, n, sizeof(float));
		r.dentropy = arena_array(a, n, sizeof(float));
	}
	if (values) {
		r.values = arena_array(a, n, sizeof(float));
		r.dvalues = arena_array(a, n, sizeof(float));
	}
	return r;
}

void trainer_plan_rows_init(struct trainer_plan_rows *p, const struct arch *a, int64_t most, int64_t tokens, bool head,
                            bool values)
{
	int64_t length = a->P < tokens ? a->P : tokens, n = (tokens + length - 1) / length;
	*p = (struct trainer_plan_rows){.n = n < most ? n : most};
	arena_init(&p->arena);
	p->row = arena_array(&p->arena, (size_t)p->n, sizeof *p->row);
	struct trainer_row like = row_like(&p->arena, length + 1, head, values);
	for (int64_t i = 0; i < p->n; i++) {
		int64_t left = tokens - i * length;
		p->row[i] = like;
		p->row[i].n = (left < length ? left : length) - 1;
	}
}

void trainer_plan_rows_release(struct trainer_plan_rows *p)
{
	arena_release(&p->arena);
}

static void no_loss(void *arg, int64_t first, int64_t end, bool count)
{
	(void)arg;
	(void)first;
	(void)end;
	(void)count;
}

int trainer_plan_backward(struct trainer *t, struct trainer_plan_rows *p, struct err *e)
{
	return trainer_backward(t, p->row, p->n, no_loss, NULL, e);
}
