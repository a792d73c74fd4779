/* cases_model - the cases of the head and of attention; see check.h */
#include "kernels/checks/check.h"

/* M, C, V, dtype, which outputs, bias */
void check_head_fwd(struct run *r, const int64_t *d)
{
	int64_t M = d[0], C = d[1], V = d[2];
	int all = d[4] > 0;
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1);
	kn_real *h = check_real_in(r, M * C, 1);
	float *b = d[5] ? check_bias(r, V) : NULL, *lse = check_out(r, M);
	float *logprob = all ? check_out(r, M) : NULL, *entropy = all ? check_out(r, M) : NULL;
	float *inv_temp = check_host(r, (size_t)M * sizeof *inv_temp);
	for (int64_t m = 0; m < M; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	int32_t *argmax = all ? check_bytes(r, (size_t)M * 4, ROLE_OUT) : NULL;
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, logprob, lse, entropy, argmax, h, &w, b, all ? check_ids(r, M, V) : NULL, inv_temp, M,
	               NULL, NULL, scratch);
}

void check_head_bwd(struct run *r, const int64_t *d)
{
	int64_t M = d[0], C = d[1], V = d[2];
	int all = d[4] > 0;
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1);
	kn_real *h = check_real_in(r, M * C, 1), *dh = check_real_out(r, M * C);
	float *b = d[5] ? check_bias(r, V) : NULL;
	float *dw = all ? check_add(r, V * C) : NULL, *db = all && b ? check_add(r, V) : NULL;
	float *dlogprob = check_in(r, M, 1), *dentropy = all ? check_in(r, M, 1) : NULL;
	float *lse = check_add(r, M), *entropy = check_add(r, M),
	      *inv_temp = check_host(r, (size_t)M * sizeof *inv_temp);
	for (int64_t m = 0; m < M; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	int32_t *target = check_ids(r, M, V);
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, NULL, lse, entropy, NULL, h, &w, b, NULL, inv_temp, M, NULL, NULL, scratch);
	r->k->head_bwd(r->k->ctx, dh, dw, db, dlogprob, dentropy, h, &w, b, target, inv_temp, lse, entropy, M, NULL,
	               NULL, scratch);
}

/* A reference of C + 5 channels; its matrix is *w, of the caller. */
static struct kn_reference reference(struct run *r, struct kn_mat *w, const int64_t *d, enum check_role role)
{
	int64_t M = d[0], C = d[1] + 5, V = d[2];
	*w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1);
	return (struct kn_reference){.h = check_real_in(r, M * C, 1),
	                             .w = w,
	                             .b = d[5] ? check_bias(r, V) : NULL,
	                             .kl = check_bytes(r, (size_t)M * sizeof(float), role),
	                             .gap = check_bytes(r, (size_t)M * sizeof(float), role),
	                             .dkl = check_in(r, M, 1)};
}

void check_head_fwd_kl(struct run *r, const int64_t *d)
{
	int64_t M = d[0], C = d[1], V = d[2];
	int all = d[4] > 0;
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1), rw;
	struct kn_reference ref = reference(r, &rw, d, ROLE_OUT);
	kn_real *h = check_real_in(r, M * C, 1);
	float *b = d[5] ? check_bias(r, V) : NULL, *lse = check_out(r, M);
	float *logprob = all ? check_out(r, M) : NULL, *entropy = all ? check_out(r, M) : NULL;
	float *inv_temp = all ? check_host(r, (size_t)M * sizeof *inv_temp) : NULL;
	for (int64_t m = 0; all && m < M; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, logprob, lse, entropy, NULL, h, &w, b, all ? check_ids(r, M, V) : NULL, inv_temp, M,
	               &ref, NULL, scratch);
}

void check_head_bwd_kl(struct run *r, const int64_t *d)
{
	int64_t M = d[0], C = d[1], V = d[2];
	int all = d[4] > 0;
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1), rw;
	struct kn_reference ref = reference(r, &rw, d, ROLE_SCRATCH);
	kn_real *h = check_real_in(r, M * C, 1), *dh = check_real_out(r, M * C);
	float *b = d[5] ? check_bias(r, V) : NULL;
	float *dw = all ? check_add(r, V * C) : NULL, *db = all && b ? check_add(r, V) : NULL;
	float *dlogprob = all ? check_in(r, M, 1) : NULL, *dentropy = all ? check_in(r, M, 1) : NULL;
	float *lse = check_bytes(r, (size_t)M * sizeof *lse, ROLE_SCRATCH), *entropy = all ? check_out(r, M) : NULL;
	float *inv_temp = all ? check_host(r, (size_t)M * sizeof *inv_temp) : NULL;
	for (int64_t m = 0; all && m < M; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	int32_t *target = all ? check_ids(r, M, V) : NULL;
	void *scratch = check_bytes(r, r->k->head_scratch(r->k->ctx, M, V, C), ROLE_SCRATCH);
	r->k->head_fwd(r->k->ctx, NULL, lse, entropy, NULL, h, &w, b, NULL, inv_temp, M, &ref, NULL, scratch);
	r->k->head_bwd(r->k->ctx, dh, dw, db, dlogprob, dentropy, h, &w, b, target, inv_temp, lse, entropy, M, &ref,
	               NULL, scratch);
}

void check_head_logits(struct run *r, const int64_t *d)
{
	int64_t M = d[0], C = d[1], V = d[2];
	struct kn_mat w = check_mat(r, (enum kn_dtype)d[3], V, C, 1, 1);
	kn_real *h = check_real_in(r, M * C, 1);
	float *b = d[5] ? check_bias(r, V) : NULL, *z = check_out(r, M * V);
	r->k->head_logits(r->k->ctx, z, h, &w, b, M);
}

void check_logits_stats(struct run *r, const int64_t *d)
{
	int64_t M = d[0], V = d[2];
	int all = d[4] > 0;
	float *host = check_host(r, (size_t)(M * V) * sizeof *host);
	for (int64_t i = 0; i < M * V; i++)
		host[i] = (float)(int)(9 * check_random(r)); /* ties, of which the first wins */
	float *z = check_in_from(r, host, M * V), *lse = check_out(r, M),
	      *inv_temp = check_host(r, (size_t)M * sizeof *inv_temp);
	for (int64_t m = 0; m < M; m++)
		inv_temp[m] = (float)(1 + 0.5 * check_random(r));
	float *logprob = all ? check_out(r, M) : NULL, *entropy = all ? check_out(r, M) : NULL;
	int32_t *argmax = all ? check_bytes(r, (size_t)M * 4, ROLE_OUT) : NULL;
	r->k->logits_stats(r->k->ctx, logprob, lse, entropy, argmax, z, all ? check_ids(r, M, V) : NULL, inv_temp, M,
	                   V);
}

const int64_t check_head_dims[][CHECK_DIMS] = {{1, 1, 2, KN_F32, 1, 1},      {1, 48, 307, KN_F32, 1, 0},
                                               {7, 13, 512, KN_F32, 1, 1},   {3, 16, 513, KN_F32, 0, 0},
                                               {70, 24, 1031, KN_F32, 1, 1}, {5, 40, 4999, KN_F32, 1, 0},
                                               {9, 33, 700, KN_BF16, 1, 1},  {300, 8, 97, KN_F32, 1, 1},
                                               {0, 8, 20, KN_F32, 1, 1},     END};

/* Pages for `rows` rows out of those of keys that no sequence had yet, counted down from the last one. */
static const int32_t *take_pages(struct run *r, int64_t *left, int64_t rows)
{
	int64_t n = (rows + KN_PAGE - 1) / KN_PAGE;
	int32_t *page = check_host(r, (size_t)n * sizeof *page);
	for (int64_t i = 0; i < n; i++)
		page[i] = (int32_t)-- * left;
	return page;
}

/* The same sequences with their keys in pages; the number of rows that the keys then take. */
static int64_t attention_pages(struct run *r, struct kn_seq *s, int64_t n)
{
	int64_t pages = 0, left, prompt = 0;
	for (int64_t i = 0; i < n; i++)
		pages += (s[i].pos + s[i].n_q - s[i].prefix_n + KN_PAGE - 1) / KN_PAGE;
	left = pages;
	for (int64_t i = 0; i < n; i++) {
		s[i].page = take_pages(r, &left, s[i].pos + s[i].n_q - s[i].prefix_n);
		prompt = s[i].prefix_n ? prompt : i;
		s[i].prefix_page = s[i].prefix_n ? s[prompt].page : NULL;
		s[i].own_row = s[i].prefix_row = -1;
	}
	return pages * KN_PAGE;
}

/*
 * H, G, D, window, kind, packed.  Kinds: 0 four full sequences, 1 two prompts of which each has three samples that
 * share its rows, 2 one query each at the end of a long cache (decoding), 3 as 1 in pages, 4 as 2 in pages.
 */
static int64_t attention_seqs(struct kn_seq *s, int64_t kind, int64_t *queries, int64_t *keys)
{
	static const int64_t lengths[] = {7, 65, 1, 40}, cached[] = {1, 32, 33, 100};
	int64_t n = 0, row = 0;
	if (kind == 0)
		for (; n < 4; row += lengths[n++])
			s[n] = (struct kn_seq){.q_row = row, .n_q = lengths[n], .own_row = row};
	else if (kind == 1)
		for (int64_t p = 0; p < 2; p++) {
			int64_t prompt = row, length = 20 + 17 * p;
			s[n++] = (struct kn_seq){.q_row = row, .n_q = length, .own_row = row};
			row += length;
			for (int64_t i = 0; i < 3; i++, row += 5 + 9 * i)
				s[n++] = (struct kn_seq){row, 5 + 9 * i, length, prompt, length, row};
		}
	else {
		for (*keys = 0; n < 4; *keys += cached[n++])
			s[n] = (struct kn_seq){.q_row = n, .n_q = 1, .pos = cached[n] - 1, .own_row = *keys};
		*queries = 4;
		return n;
	}
	*queries = *keys = row;
	return n;
}

struct attention {
	struct kn_attn a;
	struct kn_seq *seq;
	int64_t queries, keys;
	kn_real *q, *k, *v;
};

static struct attention attention_make(struct run *r, const int64_t *d)
{
	struct attention t = {.a = {.H = d[0], .G = d[1], .D = d[2], .window = d[3], .scale = 0.3f}};
	t.seq = check_host(r, 8 * sizeof *t.seq);
	t.a.n_seq = attention_seqs(t.seq, d[4] > 2 ? d[4] - 2 : d[4], &t.queries, &t.keys);
	if (d[4] > 2)
		t.keys = attention_pages(r, t.seq, t.a.n_seq);
	t.a.seq = t.seq;
	t.a.q_stride = d[0] * d[2] + 3 * d[5];
	t.a.kv_stride = d[1] * d[2] + 5 * d[5];
	t.q = check_real_in(r, t.queries * t.a.q_stride, 2);
	t.k = check_real_in(r, t.keys * t.a.kv_stride, 2);
	t.v = check_real_in(r, t.keys * t.a.kv_stride, 1);
	return t;
}

void check_attention_fwd(struct run *r, const int64_t *d)
{
	struct attention t = attention_make(r, d);
	kn_real *o = check_real_out(r, t.queries * d[0] * d[2]);
	float *lse = check_out(r, t.queries * d[0]);
	r->k->attention_fwd(r->k->ctx, o, d[4] % 2 == 0 && d[4] ? NULL : lse, t.q, t.k, t.v, &t.a);
	if (d[4] % 2 == 0 && d[4])
		r->k->zero(r->k->ctx, lse, (size_t)(t.queries * d[0]) * sizeof *lse);
}

void check_attention_bwd(struct run *r, const int64_t *d)
{
	struct attention t = attention_make(r, d);
	int64_t n = t.queries * d[0];
	kn_real *o = check_real_out(r, n * d[2]), *do_ = check_real_in(r, n * d[2], 1);
	kn_real *dq = check_real_add(r, t.queries * t.a.q_stride), *dk = check_real_add(r, t.keys * t.a.kv_stride);
	kn_real *dv = check_real_add(r, t.keys * t.a.kv_stride);
	float *lse = check_out(r, n);
	float *scratch = check_bytes(r, (size_t)n * sizeof *scratch, ROLE_SCRATCH);
	r->k->attention_fwd(r->k->ctx, o, lse, t.q, t.k, t.v, &t.a);
	r->k->attention_bwd(r->k->ctx, dq, dk, dv, do_, o, lse, t.q, t.k, t.v, &t.a, scratch);
}

const int64_t check_attention_dims[][CHECK_DIMS] = {
        {1, 1, 1, 0, 0, 0},   {4, 4, 12, 0, 0, 1},  {4, 4, 13, 0, 1, 1},   {4, 2, 12, 8, 0, 0},
        {6, 2, 80, 0, 1, 0},  {4, 1, 120, 0, 0, 1}, {12, 12, 64, 0, 0, 1}, {4, 2, 16, 33, 1, 1},
        {8, 2, 64, 0, 2, 1},  {4, 4, 14, 10, 2, 0}, {3, 1, 31, 1, 0, 0},   {4, 2, 21, 0, 3, 1},
        {4, 4, 16, 11, 3, 0}, {6, 2, 33, 0, 4, 1},  {4, 4, 16, 40, 4, 0},  END};
