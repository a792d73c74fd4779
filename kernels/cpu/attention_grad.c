/*
 * attention_grad - the backward pass; see kernels.h and attention.h.
 *
 * Scores are computed again, tile of keys by tile of keys; p = exp(s - lse).
 * A work item owns dq, dk and dv of one key/value head, of one sequence, or of
 * all of them when some share the rows of a prefix.
 */
#include "kernels/cpu/attention.h"

struct backward {
	const struct cpu *cpu;
	float *dq, *dk, *dv, *delta;
	const float *do_, *o, *lse, *q, *k, *v;
	const struct kn_attn *a;
	int shared;
};

/* Tiles in scratch; rows are `width` floats apart. */
struct tiles {
	float *k, *dk, *dv;  /* [KEYS] */
	float *kt, *vt;      /* [D][KEYS] */
	float *q, *dq, *do_; /* [ATT_ROWS] */
	float *p, *ds;       /* [ATT_ROWS][KEYS] */
};

_Static_assert((8 * KEYS * KN_MAX_HEAD + 2 * ATT_ROWS * KEYS) * sizeof(float) <= KN_SCRATCH, "the tiles fit");

static struct tiles tiles_in(float *at, int64_t width)
{
	int64_t size = KEYS * width;
	struct tiles t = {.k = at, .dk = at + size, .dv = at + 2 * size, .kt = at + 3 * size, .vt = at + 4 * size};
	t.q = at + 5 * size;
	t.dq = at + 6 * size;
	t.do_ = at + 7 * size;
	t.p = at + 8 * size;
	t.ds = t.p + ATT_ROWS * KEYS;
	return t;
}

/* p and ds of one row, zero where it does not see the key: s and dp are its products with keys and values */
static void row_softmax(float *p, float *ds, float scale, float lse, float delta)
{
	for (int j = 0; j < KEYS; j += 16) {
		v16 s = v16_mul(v16_load(p + j), v16_set(scale)), e = v16_exp(v16_sub(s, v16_set(lse)));
		v16 d = v16_mul(v16_sub(v16_load(ds + j), v16_set(delta)), v16_set(scale));
		v16_store(p + j, e);
		v16_store(ds + j, v16_mul(e, d));
	}
}

/* p, ds and dq of n virtual rows from row0 on against the tile of keys at t0 */
static void rows_backward(const struct backward *b, const struct span *s, struct tiles *t, int64_t row0, int64_t n,
                          int64_t t0)
{
	int64_t D = b->a->D, width = s->width;
	for (int64_t i = 0; i < n; i++) {
		copy_row(t->q + i * width, b->q + q_offset(s, row0 + i), D, width);
		copy_row(t->do_ + i * width, b->do_ + o_offset(s, row0 + i), D, width);
		copy_row(t->dq + i * width, b->dq + q_offset(s, row0 + i), D, width);
	}
	for (int64_t i = 0; i < n; i += 2) {
		int64_t j = min64(i + 1, n - 1);
		score_rows(t->p + i * KEYS, t->p + j * KEYS, t->q + i * width, t->q + j * width, t->kt, D);
		score_rows(t->ds + i * KEYS, t->ds + j * KEYS, t->do_ + i * width, t->do_ + j * width, t->vt, D);
	}
	for (int64_t i = 0; i < n; i++) {
		int64_t at = lse_offset(s, row0 + i), lo = row_first(s, row0 + i) - t0,
		        hi = row_position(s, row0 + i) + 1 - t0;
		row_softmax(t->p + i * KEYS, t->ds + i * KEYS, b->a->scale, b->lse[at], b->delta[at]);
		lo = lo < 0 ? 0 : lo;
		hi = min64(hi, KEYS);
		if (lo < hi)
			weighted_rows(t->dq + i * width, 1, t->ds + i * KEYS + lo, 1, t->k + lo * width, width, hi - lo,
			              width);
		memcpy(b->dq + q_offset(s, row0 + i), t->dq + i * width, (size_t)D * sizeof(float));
	}
}

/* dk and dv of key j of the tile (position `at`) from those of the n rows from row0 on that see it */
static void key_backward(const struct span *s, struct tiles *t, int64_t j, int64_t at, int64_t row0, int64_t n)
{
	int64_t window = s->a->window, lo = (at - s->s->pos) * s->group - row0;
	int64_t hi = window > 0 ? (at + window - s->s->pos) * s->group - row0 : n;
	lo = lo < 0 ? 0 : lo;
	hi = min64(hi, n);
	if (lo >= hi)
		return;
	weighted_rows(t->dk + j * s->width, 1, t->ds + lo * KEYS + j, KEYS, t->q + lo * s->width, s->width, hi - lo,
	              s->width);
	weighted_rows(t->dv + j * s->width, 1, t->p + lo * KEYS + j, KEYS, t->do_ + lo * s->width, s->width, hi - lo,
	              s->width);
}

/* Everything that touches the n keys from t0 on. */
static void keys_backward(const struct backward *b, const struct span *s, struct tiles *t, int64_t t0, int64_t n)
{
	int64_t D = b->a->D, width = s->width, total = span_rows(s), window = b->a->window;
	int64_t first = (t0 - s->s->pos) * s->group, last = total;
	if (window > 0)
		last = min64(total, (t0 + n - 1 + window - s->s->pos) * s->group);
	first = first < 0 ? 0 : first;
	if (first >= last)
		return;
	transpose_keys(t->kt, s, b->k, t0, n);
	transpose_keys(t->vt, s, b->v, t0, n);
	for (int64_t j = 0; j < n; j++) {
		int64_t at = kv_offset(s, t0 + j);
		copy_row(t->k + j * width, b->k + at, D, width);
		copy_row(t->dk + j * width, b->dk + at, D, width);
		copy_row(t->dv + j * width, b->dv + at, D, width);
	}
	for (int64_t row = first; row < last; row += ATT_ROWS) {
		int64_t rows = min64(ATT_ROWS, last - row);
		rows_backward(b, s, t, row, rows, t0);
		for (int64_t j = 0; j < n; j++)
			key_backward(s, t, j, t0 + j, row, rows);
	}
	for (int64_t j = 0; j < n; j++) {
		int64_t at = kv_offset(s, t0 + j);
		memcpy(b->dk + at, t->dk + j * width, (size_t)D * sizeof(float));
		memcpy(b->dv + at, t->dv + j * width, (size_t)D * sizeof(float));
	}
}

static void span_backward(const struct backward *b, const struct span *s, int worker)
{
	struct tiles t = tiles_in(cpu_scratch(b->cpu, worker), s->width);
	if (span_rows(s) == 0)
		return;
	for (int64_t row = 0; row < span_rows(s); row++) {
		int64_t at = o_offset(s, row);
		b->delta[lse_offset(s, row)] = dot_order1(b->do_ + at, b->o + at, b->a->D);
	}
	int64_t end = s->s->pos + s->s->n_q;
	for (int64_t t0 = row_first(s, 0) / KEYS * KEYS; t0 < end; t0 += KEYS)
		keys_backward(b, s, &t, t0, min64(KEYS, end - t0));
}

static void backward_item(void *arg, int64_t item, int worker)
{
	const struct backward *b = arg;
	int64_t G = b->a->G, from = b->shared ? 0 : item / G, to = b->shared ? b->a->n_seq : from + 1;
	for (int64_t i = from; i < to; i++) {
		struct span s = span_of(b->a, i, item % G);
		span_backward(b, &s, worker);
	}
}

void KN(attention_bwd)(void *ctx, float *dq, float *dk, float *dv, const float *do_, const float *o, const float *lse,
                       const float *q, const float *k, const float *v, const struct kn_attn *a, float *scratch)
{
	struct backward b = {ctx, dq, dk, dv, scratch, do_, o, lse, q, k, v, a, 0};
	double work = 0;
	for (int64_t i = 0; i < a->n_seq; i++) {
		b.shared |= a->seq[i].prefix_n > 0;
		work += (double)a->seq[i].n_q * (double)(a->seq[i].pos + a->seq[i].n_q) * (double)(a->H * a->D);
	}
	cpu_for(ctx, b.shared ? a->G : a->n_seq * a->G, 3 * work, backward_item, &b);
}
