/*
 * choices - see choices.h
 *
 * Rows go together into one pass while they fit.  Prompt and choices may be in the same one: a layer puts all keys into
 * the cache before any is read.
 */
#include "lib/choices.h"

#include <stdlib.h>
#include <string.h>

#include "lib/real.h"
#include "lib/memory.h"
#include "lib/util.h"

enum { LOGIT_ROWS = 64 }; /* prompts whose logits are in memory at once */

struct scoring {
	struct decoder *d;
	const struct weights *w;
	const struct choices_row *row;
	struct kvcache cache;
	int64_t first, n;  /* rows of the group that is gathered */
	int64_t cache_row; /* next free one */
	int64_t cap;       /* tokens of a pass */
	/* the pass: host */
	struct batch b;
	int32_t *token, *pos;
	struct kn_seq *seq;
	int64_t M; /* tokens of choices that predict the next */
	int64_t *head_row;
	int32_t *target;
	float *inv_temp, *logprob, **to;
	int64_t n_ended; /* prompts whose last token is in it */
	int64_t *end_row, *end_slot;
	/* backend: [cap,C] [cap,C] [group,C]; [cap] [cap] [LOGIT_ROWS,V] [2,LOGIT_ROWS] */
	kn_real *h, *hm, *prompt_h;
	float *lp, *lse, *logits, *stats;
};

int64_t choices_tokens(const struct choices_row *row)
{
	int64_t n = row->n_prompt;
	for (int64_t i = 0; i < row->n; i++)
		n += row->choice[i].n - 1;
	return n;
}

static int scoring_init(struct scoring *s, int64_t n_rows, struct err *e)
{
	const struct kernels *k = s->d->k;
	int64_t C = s->d->arch->C, V = s->d->arch->V, all = 0, largest = 0;
	for (int64_t i = 0; i < n_rows; i++) {
		int64_t n = choices_tokens(s->row + i);
		all += n;
		largest = n > largest ? n : largest;
	}
	s->cap = all < s->cap ? all : s->cap;
	if (kvcache_init(&s->cache, k, s->d->arch, largest > s->cap ? largest : s->cap, e))
		return -1;
	size_t cap = (size_t)s->cap;
	s->token = xcalloc(cap, sizeof *s->token);
	s->pos = xcalloc(cap, sizeof *s->pos);
	s->seq = xcalloc(cap, sizeof *s->seq);
	s->head_row = xcalloc(cap, sizeof *s->head_row);
	s->target = xcalloc(cap, sizeof *s->target);
	s->inv_temp = xcalloc(cap, sizeof *s->inv_temp);
	s->logprob = xcalloc(cap, sizeof *s->logprob);
	s->to = xcalloc(cap, sizeof *s->to);
	s->end_row = xcalloc(cap, sizeof *s->end_row);
	s->end_slot = xcalloc(cap, sizeof *s->end_slot);
	struct {
		float **to;
		int64_t n;
	} const floats[] = {
	        {&s->lp, s->cap}, {&s->lse, s->cap}, {&s->logits, LOGIT_ROWS * V}, {&s->stats, 2L * LOGIT_ROWS}};
	kn_real **const reals[] = {&s->h, &s->hm, &s->prompt_h};
	bool there = true;
	for (size_t i = 0; i < ARRAY_LEN(reals); i++)
		there = there && (*reals[i] = memory_alloc_reals(k, MEMORY_ACTIVATIONS, s->cap * C));
	for (size_t i = 0; i < ARRAY_LEN(floats); i++)
		there = there && (*floats[i].to = memory_alloc(k, MEMORY_LOGITS, (size_t)floats[i].n * sizeof(float)));
	return there ? 0 : memory_none(k, e, "no memory for a pass over %lld tokens", (long long)s->cap);
}

static void scoring_release(struct scoring *s)
{
	const struct kernels *k = s->d->k;
	void *const device[] = {s->h, s->hm, s->lp, s->lse, s->prompt_h, s->logits, s->stats};
	for (size_t i = 0; i < ARRAY_LEN(device); i++)
		k->free(k->ctx, device[i]);
	if (s->cache.k)
		kvcache_release(&s->cache);
	free(s->token);
	free(s->pos);
	free(s->seq);
	free(s->head_row);
	free(s->target);
	free(s->inv_temp);
	free(s->logprob);
	free(s->to);
	free(s->end_row);
	free(s->end_slot);
}

/* ---- a pass ---- */

/* Runs what is in the pass, and empties it: later tokens of choices, and the states after whole prompts. */
static int run_pass(struct scoring *s, struct err *e)
{
	const struct kernels *k = s->d->k;
	int64_t C = s->d->arch->C, M = s->M;
	if (s->b.N == 0)
		return 0;
	s->b.token = s->token;
	s->b.pos = s->pos;
	s->b.seq = s->seq;
	if (decoder_forward(s->d, s->w, &s->b, &s->cache, NULL, s->h, e))
		return -1;
	for (int64_t i = 0; i < s->n_ended; i++)
		k->gather_rows(k->ctx, real_at(k, s->prompt_h, s->end_slot[i] * C), s->h, s->end_row + i, 1, C);
	if (M) {
		k->gather_rows(k->ctx, s->hm, s->h, s->head_row, M, C);
		if (decoder_head(s->d, s->w, s->hm, M, s->target, s->inv_temp, s->lp, s->lse, NULL, NULL, false, e))
			return -1;
		k->get(k->ctx, s->logprob, s->lp, (size_t)M * sizeof(float));
	}
	for (int64_t i = 0; i < M; i++)
		*s->to[i] = s->logprob[i];
	s->b.N = s->b.n_seq = s->M = s->n_ended = 0;
	return 0;
}

/* Tokens of one sequence into passes, as many as it takes; where: what its sequences have in common (prefix, own_row).
 * choice: NULL for a prompt. */
static int add_tokens(struct scoring *s, struct kn_seq where, const int32_t *token, int64_t n, float inv_temp,
                      const struct choice *choice, int64_t slot, struct err *e)
{
	for (int64_t done = 0, piece; done < n; done += piece) {
		if (s->b.N == s->cap && run_pass(s, e))
			return -1;
		int64_t at = s->b.N;
		piece = n - done < s->cap - at ? n - done : s->cap - at;
		struct kn_seq *q = s->seq + s->b.n_seq++;
		*q = where;
		q->q_row = at;
		q->n_q = piece;
		q->pos = where.prefix_n + done;
		for (int64_t i = 0; i < piece; i++) {
			s->token[at + i] = token[done + i];
			s->pos[at + i] = (int32_t)(q->pos + i);
			if (!choice)
				continue;
			s->head_row[s->M] = at + i;
			s->target[s->M] = token[done + i + 1];
			s->inv_temp[s->M] = inv_temp;
			s->to[s->M++] = choice->logprobs + done + i + 1;
		}
		s->b.N += piece;
	}
	if (!choice) {
		s->end_row[s->n_ended] = s->b.N - 1;
		s->end_slot[s->n_ended++] = slot;
	}
	return 0;
}

static int add_row(struct scoring *s, const struct choices_row *row, struct err *e)
{
	float inv_temp = (float)(1 / row->temperature);
	int64_t prompt_row = s->cache_row;
	s->cache_row += row->n_prompt;
	if (add_tokens(s, (struct kn_seq){.own_row = prompt_row}, row->prompt, row->n_prompt, inv_temp, NULL, s->n, e))
		return -1;
	for (int64_t i = 0; i < row->n; i++) {
		const struct choice *c = row->choice + i;
		struct kn_seq where = {.prefix_row = prompt_row, .prefix_n = row->n_prompt, .own_row = s->cache_row};
		s->cache_row += c->n - 1;
		if (add_tokens(s, where, c->token, c->n - 1, inv_temp, c, 0, e))
			return -1;
	}
	s->n++;
	return 0;
}

/* ---- first tokens ---- */

/* The i-th choice of each of n prompts whose logits are there; a prompt that has fewer takes part and is not read. */
static void first_tokens(struct scoring *s, const struct choices_row *row, int64_t n, int64_t i)
{
	const struct kernels *k = s->d->k;
	int32_t target[LOGIT_ROWS];
	float inv_temp[LOGIT_ROWS], logprob[LOGIT_ROWS];
	for (int64_t j = 0; j < n; j++) {
		target[j] = i < row[j].n ? row[j].choice[i].token[0] : 0;
		inv_temp[j] = (float)(1 / row[j].temperature);
	}
	k->logits_stats(k->ctx, s->stats, s->stats + LOGIT_ROWS, NULL, NULL, s->logits, target, inv_temp, n,
	                s->d->arch->V);
	k->get(k->ctx, logprob, s->stats, (size_t)n * sizeof(float));
	for (int64_t j = 0; j < n; j++)
		if (i < row[j].n)
			row[j].choice[i].logprobs[0] = logprob[j];
}

/* What the group still lacks; then the next may begin. */
static int end_group(struct scoring *s, struct err *e)
{
	if (run_pass(s, e))
		return -1;
	for (int64_t at = 0; at < s->n; at += LOGIT_ROWS) {
		const struct choices_row *row = s->row + s->first + at;
		int64_t n = s->n - at < LOGIT_ROWS ? s->n - at : LOGIT_ROWS, most = 0;
		if (decoder_logits(s->d, s->w, real_at(s->d->k, s->prompt_h, at * s->d->arch->C), n, s->logits, e))
			return -1;
		for (int64_t j = 0; j < n; j++)
			most = row[j].n > most ? row[j].n : most;
		for (int64_t i = 0; i < most; i++)
			first_tokens(s, row, n, i);
	}
	s->first += s->n;
	s->n = s->cache_row = 0;
	return 0;
}

int choices_score(struct decoder *d, const struct weights *w, const struct choices_row *row, int64_t n_rows,
                  int64_t max_tokens, struct err *e)
{
	struct scoring s = {.d = d, .w = w, .row = row, .cap = max_tokens};
	if (n_rows == 0)
		return 0;
	int failed = scoring_init(&s, n_rows, e);
	for (int64_t i = 0; i < n_rows && !failed; i++) {
		failed = s.n && s.cache_row + choices_tokens(row + i) > s.cap && end_group(&s, e);
		if (!failed)
			failed = add_row(&s, row + i, e);
	}
	if (!failed)
		failed = end_group(&s, e);
	scoring_release(&s);
	return failed ? -1 : 0;
}
