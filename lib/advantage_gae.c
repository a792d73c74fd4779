/* advantage_gae - generalised advantage estimation with a critic; see advantage.h */
#include "lib/advantage_impl.h"

/* r[n] becomes A[n]; returns are written. */
static void estimate(const struct advantage_batch *b, struct advantage_row *r, double *x)
{
	const struct advantage_config *c = b->c;
	double next_value = 0, next = 0;
	if (r->has_terminal) {
		next = r->bootstrap_reward - r->bootstrap_value;
		next_value = r->bootstrap_value;
		r->bootstrap_return = next + next_value;
	} else if (c->bootstrap && r->cut && r->has_bootstrap) {
		next_value = r->bootstrap_value;
	}
	for (int64_t t = r->n - 1; t >= 0; t--) {
		bool chosen = advantage_chosen(r, t);
		if (!chosen && b->k->mask != MASK_ZEROS) {
			x[t] = 0;
			r->returns[t] = 0;
			continue;
		}
		double value = chosen && r->values ? (double)r->values[t] : 0;
		double delta = x[t] + c->gamma * next_value - value;
		next = delta + c->gamma * c->lam * next;
		next_value = value;
		x[t] = chosen ? next : 0;
		r->returns[t] = chosen ? (float)(next + value) : 0;
	}
}

void advantage_gae(struct advantage_batch *b)
{
	for (int64_t i = 0; i < b->n_rows; i++)
		if (!b->row[i].left_out)
			estimate(b, b->row + i, b->x + b->at[i]);
}
