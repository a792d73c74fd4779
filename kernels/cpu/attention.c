/* attention - the forward pass; see kernels.h and attention.h */
#include "kernels/cpu/attention.h"

#include <math.h>

struct forward {
	const struct cpu *cpu;
	float *o, *lse;
	const float *q, *k, *v;
	const struct kn_attn *a;
	int64_t blocks; /* of ATT_ROWS virtual rows, of the longest sequence */
};

/* The rows of one work item and what they have seen so far. */
struct rows {
	struct span p;
	int64_t row0, n;
	float max[ATT_ROWS], sum[ATT_ROWS];
	float *out;    /* [ATT_ROWS][width] */
	float *keys;   /* [D][KEYS] */
	float *values; /* [KEYS][width] */
};

_Static_assert((ATT_ROWS + 2 * KEYS) * KN_MAX_HEAD * sizeof(float) <= KN_SCRATCH, "out, keys and values fit");

/* One row sees positions lo..hi-1 of the tile: s[KEYS] are its scores, unscaled. */
static void row_update(struct rows *r, int64_t i, float *s, int64_t lo, int64_t hi, float scale)
{
	v16 by = v16_set(scale), s0 = v16_mul(v16_load(s), by), s1 = v16_mul(v16_load(s + 16), by);
	if (lo > 0 || hi < KEYS) {
		v16_store(s, s0);
		v16_store(s + 16, s1);
		for (int64_t j = 0; j < KEYS; j++)
			s[j] = j >= lo && j < hi ? s[j] : -INFINITY;
		s0 = v16_load(s);
		s1 = v16_load(s + 16);
	}
	float largest = v16_largest(v16_max(s0, s1)), max = largest > r->max[i] ? largest : r->max[i];
	v16 p0 = v16_exp(v16_sub(s0, v16_set(max))), p1 = v16_exp(v16_sub(s1, v16_set(max)));
	float fade = max > r->max[i] ? kn_exp(r->max[i] - max) : 1;
	v16_store(s, p0);
	v16_store(s + 16, p1);
	r->sum[i] = r->sum[i] * fade + v16_sum(v16_add(p0, p1));
	r->max[i] = max;
	int64_t width = r->p.width;
	weighted_rows(r->out + i * width, fade, s + lo, 1, r->values + lo * width, width, hi - lo, width);
}

static void rows_tile(struct rows *r, const struct forward *f, int64_t t0, int64_t n)
{
	float s[2][KEYS];
	transpose_keys(r->keys, &r->p, f->k, t0, n);
	for (int64_t j = 0; j < n; j++)
		copy_row(r->values + j * r->p.width, f->v + kv_offset(&r->p, t0 + j), r->p.a->D, r->p.width);
	for (int64_t i = 0; i < r->n; i += 2) {
		int64_t pair = min64(i + 1, r->n - 1);
		score_rows(s[0], s[pair - i], f->q + q_offset(&r->p, r->row0 + i),
		           f->q + q_offset(&r->p, r->row0 + pair), r->keys, f->a->D);
		for (int64_t k = i; k <= pair; k++) {
			int64_t lo = row_first(&r->p, r->row0 + k) - t0, hi = row_position(&r->p, r->row0 + k) + 1 - t0;
			lo = lo < 0 ? 0 : lo;
			hi = min64(hi, KEYS);
			if (lo < hi)
				row_update(r, k, s[k - i], lo, hi, f->a->scale);
		}
	}
}

static void rows_finish(const struct rows *r, const struct forward *f)
{
	for (int64_t i = 0; i < r->n; i++) {
		float *o = f->o + o_offset(&r->p, r->row0 + i), *out = r->out + i * r->p.width;
		v16 by = v16_set(1 / r->sum[i]);
		for (int64_t d = 0; d < r->p.width; d += 16)
			v16_store(out + d, v16_mul(v16_load(out + d), by));
		memcpy(o, out, (size_t)f->a->D * sizeof *o);
		if (f->lse)
			f->lse[lse_offset(&r->p, r->row0 + i)] = r->max[i] + kn_log(r->sum[i]);
	}
}

static void forward_item(void *arg, int64_t item, int worker)
{
	const struct forward *f = arg;
	struct rows r = {.p = span_of(f->a, item / (f->blocks * f->a->G), item / f->blocks % f->a->G)};
	r.row0 = item % f->blocks * ATT_ROWS;
	r.n = min64(ATT_ROWS, span_rows(&r.p) - r.row0);
	if (r.n <= 0)
		return;
	r.out = cpu_scratch(f->cpu, worker);
	r.keys = r.out + ATT_ROWS * r.p.width;
	r.values = r.keys + KEYS * r.p.width;
	memset(r.out, 0, (size_t)(ATT_ROWS * r.p.width) * sizeof *r.out);
	for (int64_t i = 0; i < r.n; i++)
		r.max[i] = -INFINITY;
	int64_t first = row_first(&r.p, r.row0) / KEYS * KEYS, end = row_position(&r.p, r.row0 + r.n - 1) + 1;
	for (int64_t t0 = first; t0 < end; t0 += KEYS)
		rows_tile(&r, f, t0, min64(KEYS, end - t0));
	rows_finish(&r, f);
}

void KN(attention_fwd)(void *ctx, float *o, float *lse, const float *q, const float *k, const float *v,
                       const struct kn_attn *a)
{
	struct forward f = {ctx, o, lse, q, k, v, a, 0};
	double work = 0;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		int64_t blocks = ceil_div(s->n_q * (a->H / a->G), ATT_ROWS);
		f.blocks = blocks > f.blocks ? blocks : f.blocks;
		work += (double)s->n_q * (double)(s->pos + s->n_q) * (double)(a->H * a->D);
	}
	cpu_for(ctx, a->n_seq * a->G * f.blocks, work, forward_item, &f);
}
