/*
 * generate - see generate.h
 *
 * A step admits what there is room for, runs the new prompts in chunks of tokens, draws their first tokens, then runs
 * one token of every running sequence and draws the next.  A prompt's rows of the cache are shared by its samples and
 * given back with the last of them.
 */
#include "lib/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/real.h"
#include "lib/rng.h"
#include "lib/util.h"

enum {
	MAX_RUNNING = 256,     /* when the caller does not say */
	PREFILL_TOKENS = 512,  /* tokens of one forward pass over prompts */
	DRAW_ROWS = 64,        /* rows of logits in memory at once */
	CACHE_BYTES = 1 << 30, /* the cache is at most this large unless one request needs more */
};

const char *const generate_finish_name[] = {"length", "eos", "stop"};

/* Rows of the cache in use, in rising order; first fit. */
struct span {
	int64_t row, n;
};
struct rows {
	struct span *used;
	int64_t n_used, cap, total;
};

/* A request that has begun. */
struct prompt_state {
	int64_t row;       /* of the cache */
	int64_t slot;      /* row of prompt_h */
	int64_t samples;   /* that are not done yet */
	int64_t prefilled; /* tokens already in the cache */
};

struct running {
	int64_t request, sample; /* sample: from 0 within the request */
	int64_t own_row;
	struct generate_result *result;
};

struct generator {
	struct decoder *d;
	const struct weights *w;
	const struct model_info *m;
	const struct generate_config *c;
	const struct generate_request *request;
	int64_t n_requests;
	struct generate_result *results;
	struct kvcache cache;
	struct rows rows;
	struct prompt_state *prompt; /* [n_requests] */
	struct running *run;         /* [max_running] */
	int64_t n_run, max_run;
	bool *slot_used; /* [max_running] */
	int64_t next_request, next_sample;
	int64_t first_result; /* of next_request */
	struct kn_warp warp;
	bool warped;
	float inv_temp;
	int64_t V, C, h_rows;
	kn_real *h, *prompt_h, *draw_h; /* [h_rows,C] [max_run,C] [DRAW_ROWS,C] */
	float *logits, *stats;          /* backend: [DRAW_ROWS,V] [2,DRAW_ROWS] */
	uint64_t *weight;               /* [DRAW_ROWS,V] */
	int32_t *token, *pos;
	struct kn_seq *seq;
	int64_t *owner; /* request of each sequence of a prefill pass */
	struct str text;
};

/* ---- rows of the cache ---- */

static int64_t rows_take(struct rows *r, int64_t n)
{
	int64_t at = 0, i = 0;
	if (n == 0)
		return 0;
	for (; i < r->n_used && r->used[i].row - at < n; i++)
		at = r->used[i].row + r->used[i].n;
	if (i == r->n_used && r->total - at < n)
		return -1;
	if (r->n_used == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->used = xrealloc_array(r->used, (size_t)r->cap, sizeof *r->used);
	}
	memmove(r->used + i + 1, r->used + i, (size_t)(r->n_used - i) * sizeof *r->used);
	r->used[i] = (struct span){at, n};
	r->n_used++;
	return at;
}

static void rows_give(struct rows *r, int64_t row, int64_t n)
{
	for (int64_t i = 0; n && i < r->n_used; i++)
		if (r->used[i].row == row) {
			r->n_used--;
			memmove(r->used + i, r->used + i + 1, (size_t)(r->n_used - i) * sizeof *r->used);
			return;
		}
}

/* The last token of a completion is never fed back. */
static int64_t own_rows(const struct generate_request *q)
{
	return q->max_tokens > 0 ? q->max_tokens - 1 : 0;
}

static bool wants(const struct generate_request *q)
{
	return q->n_samples > 0 && q->max_tokens > 0;
}

/* ---- before the first step ---- */

static int check_request(const struct generator *g, int64_t i, struct err *e)
{
	const struct generate_request *q = g->request + i;
	int64_t context = g->d->arch->P;
	if (q->n_prompt < 1)
		return err_set(e,
		               "the prompt has no tokens, and the model has no beginning-of-text token to put there");
	if (wants(q) && q->n_prompt > context - 1)
		return err_set(e, "the prompt has %lld tokens, but the model's context is %lld and one must be left",
		               (long long)q->n_prompt, (long long)context);
	if (q->max_tokens < 0 || q->max_tokens > context - q->n_prompt)
		return err_set(e, "%lld prompt tokens and %lld to generate do not fit the model's context of %lld",
		               (long long)q->n_prompt, (long long)q->max_tokens, (long long)context);
	for (int64_t t = 0; t < q->n_prompt; t++)
		if (q->prompt[t] < 0 || q->prompt[t] >= g->V)
			return err_set(e, "prompt token %lld is %d, but the model has %lld tokens", (long long)t,
			               q->prompt[t], (long long)g->V);
	return 0;
}

static int check_config(struct generator *g, struct err *e)
{
	const struct generate_config *c = g->c;
	if (c->n_stop && !g->m->tokenizer)
		return err_set(e, "--stop needs a tokenizer, and the store has none");
	g->warp = (struct kn_warp){c->temperature, c->top_k, c->top_p, c->min_p};
	g->warped = c->temperature > 0 && (c->top_k > 0 || c->top_p < 1 || c->min_p > 0);
	g->inv_temp = c->temperature > 0 ? (float)(1 / c->temperature) : 1;
	if (!(c->temperature >= 0) || !isfinite(g->inv_temp) || g->inv_temp == 0)
		return err_set(e, "temperature %g is out of range", c->temperature);
	return 0;
}

/* Sizes from the requests: how many run together at most, rows of the cache, rows of a pass. */
static void plan(struct generator *g)
{
	int64_t samples = 0, all = 0, largest_need = 0;
	for (int64_t i = 0; i < g->n_requests; i++) {
		const struct generate_request *q = g->request + i;
		if (!wants(q))
			continue;
		samples += q->n_samples;
		all += q->n_prompt + q->n_samples * own_rows(q);
		if (q->n_prompt + own_rows(q) > largest_need)
			largest_need = q->n_prompt + own_rows(q);
	}
	g->max_run = g->c->max_running > 0 ? g->c->max_running : MAX_RUNNING;
	if (g->max_run > samples)
		g->max_run = samples;
	const struct arch *a = g->d->arch;
	int64_t limit = g->c->max_rows > 0 ? g->c->max_rows : CACHE_BYTES / (8 * a->L * a->G * a->D);
	g->rows.total = all < limit ? all : limit;
	if (g->rows.total < largest_need)
		g->rows.total = largest_need;
	g->h_rows = PREFILL_TOKENS > g->max_run ? PREFILL_TOKENS : g->max_run;
}

static float *floats(const struct generator *g, int64_t rows, int64_t cols)
{
	return g->d->k->alloc(g->d->k->ctx, (size_t)rows * (size_t)cols * sizeof(float));
}

static int generator_check(struct generator *g, struct err *e)
{
	g->C = g->d->arch->C;
	g->V = g->d->arch->V;
	if (check_config(g, e))
		return -1;
	for (int64_t i = 0; i < g->n_requests; i++)
		if (check_request(g, i, e))
			return err_where(e, "request %lld", (long long)i);
	plan(g);
	return 0;
}

static int generator_init(struct generator *g, struct err *e)
{
	str_init(&g->text);
	if (kvcache_init(&g->cache, g->d->k, g->d->arch, g->rows.total, e))
		return -1;
	g->prompt = xcalloc((size_t)g->n_requests, sizeof *g->prompt);
	g->run = xcalloc((size_t)g->max_run, sizeof *g->run);
	g->slot_used = xcalloc((size_t)g->max_run, sizeof *g->slot_used);
	g->token = xcalloc((size_t)g->h_rows, sizeof *g->token);
	g->pos = xcalloc((size_t)g->h_rows, sizeof *g->pos);
	g->seq = xcalloc((size_t)g->h_rows, sizeof *g->seq);
	g->owner = xcalloc((size_t)g->h_rows, sizeof *g->owner);
	g->h = real_alloc(g->d->k, g->h_rows * g->C);
	g->prompt_h = real_alloc(g->d->k, g->max_run * g->C);
	g->draw_h = real_alloc(g->d->k, DRAW_ROWS * g->C);
	g->logits = floats(g, DRAW_ROWS, g->V);
	g->stats = floats(g, 2, DRAW_ROWS);
	g->weight = g->d->k->alloc(g->d->k->ctx, (size_t)(DRAW_ROWS * g->V) * sizeof *g->weight);
	if (!g->h || !g->prompt_h || !g->draw_h || !g->logits || !g->stats || !g->weight)
		return err_set(e, "out of memory on the device for %lld sequences", (long long)g->max_run);
	return 0;
}

static void generator_release(struct generator *g)
{
	const struct kernels *k = g->d->k;
	void *const buffer[] = {g->h, g->prompt_h, g->draw_h, g->logits, g->stats, g->weight};
	for (size_t i = 0; i < ARRAY_LEN(buffer); i++)
		k->free(k->ctx, buffer[i]);
	kvcache_release(&g->cache);
	free(g->rows.used);
	free(g->prompt);
	free(g->run);
	free(g->slot_used);
	free(g->token);
	free(g->pos);
	free(g->seq);
	free(g->owner);
	str_release(&g->text);
}

/* ---- joining ---- */

static int64_t take_slot(struct generator *g)
{
	int64_t i = 0;
	while (g->slot_used[i])
		i++;
	g->slot_used[i] = true;
	return i;
}

/* The next sample joins: true; false when there is no room for it yet. */
static bool admit(struct generator *g)
{
	const struct generate_request *q = g->request + g->next_request;
	struct prompt_state *p = g->prompt + g->next_request;
	bool first = g->next_sample == 0;
	int64_t prompt_row = first ? rows_take(&g->rows, q->n_prompt) : p->row;
	if (prompt_row < 0)
		return false;
	int64_t own = rows_take(&g->rows, own_rows(q));
	if (own < 0) {
		if (first)
			rows_give(&g->rows, prompt_row, q->n_prompt);
		return false;
	}
	if (first)
		*p = (struct prompt_state){.row = prompt_row, .slot = take_slot(g), .samples = q->n_samples};
	struct generate_result *r = g->results + g->first_result + g->next_sample;
	r->token = xcalloc((size_t)q->max_tokens, sizeof *r->token);
	r->logprob = xcalloc((size_t)q->max_tokens, sizeof *r->logprob);
	r->sampling_logprob = g->warped ? xcalloc((size_t)q->max_tokens, sizeof *r->logprob) : NULL;
	g->run[g->n_run++] = (struct running){g->next_request, g->next_sample, own, r};
	g->next_sample++;
	return true;
}

/* Past requests that want nothing. */
static void skip_empty(struct generator *g)
{
	while (g->next_request < g->n_requests) {
		const struct generate_request *q = g->request + g->next_request;
		if (wants(q) && g->next_sample < q->n_samples)
			return;
		g->first_result += q->n_samples;
		g->next_request++;
		g->next_sample = 0;
	}
}

/* The next n tokens of a prompt as one sequence of the batch. */
static void add_piece(struct generator *g, struct batch *b, int64_t request, int64_t n)
{
	const struct generate_request *q = g->request + request;
	struct prompt_state *p = g->prompt + request;
	for (int64_t t = 0; t < n; t++) {
		g->token[b->N + t] = q->prompt[p->prefilled + t];
		g->pos[b->N + t] = (int32_t)(p->prefilled + t);
	}
	g->owner[b->n_seq] = request;
	g->seq[b->n_seq++] = (struct kn_seq){b->N, n, p->prefilled, p->row, 0, p->row};
	b->N += n;
	p->prefilled += n;
}

/*
 * One forward pass over pieces of the prompts from request *at on: fills the batch up to PREFILL_TOKENS.  The states
 * after last tokens are kept in prompt_h.
 */
static int prefill_pass(struct generator *g, int64_t *at, int64_t end, struct err *e)
{
	const struct kernels *k = g->d->k;
	struct batch b = {.token = g->token, .pos = g->pos, .seq = g->seq};
	while (*at < end && b.N < PREFILL_TOKENS) {
		struct prompt_state *p = g->prompt + *at;
		int64_t n = wants(g->request + *at) ? g->request[*at].n_prompt - p->prefilled : 0;
		if (n > PREFILL_TOKENS - b.N)
			n = PREFILL_TOKENS - b.N;
		if (n)
			add_piece(g, &b, *at, n);
		if (!wants(g->request + *at) || p->prefilled == g->request[*at].n_prompt)
			++*at;
	}
	if (b.N == 0)
		return 0;
	if (decoder_forward(g->d, g->w, &b, &g->cache, NULL, g->h, e))
		return -1;
	for (int64_t s = 0; s < b.n_seq; s++) {
		const struct prompt_state *p = g->prompt + g->owner[s];
		int64_t last = g->seq[s].q_row + g->seq[s].n_q - 1;
		if (p->prefilled == g->request[g->owner[s]].n_prompt)
			k->gather_rows(k->ctx, real_at(k, g->prompt_h, p->slot * g->C), g->h, &last, 1, g->C);
	}
	return 0;
}

/* ---- drawing ---- */

/* A stop text shows only in the text: it may span tokens, and its tokens may hold more. */
static int reached_stop(struct generator *g, const struct generate_result *r, bool *stopped, struct err *e)
{
	*stopped = false;
	if (!g->c->n_stop)
		return 0;
	str_clear(&g->text);
	if (tokenizer_decode(g->m->tokenizer, r->token, r->n, true, &g->text, e))
		return -1;
	for (int64_t i = 0; i < g->c->n_stop; i++)
		if (memmem(g->text.buf, g->text.len, g->c->stop[i], strlen(g->c->stop[i])))
			*stopped = true;
	return 0;
}

/* Draws one token for each of n <= DRAW_ROWS running sequences from rows of h. */
static int draw_rows(struct generator *g, const struct running *run, int64_t n, const kn_real *h, const int64_t *row,
                     struct err *e)
{
	const struct kernels *k = g->d->k;
	int32_t target[DRAW_ROWS];
	float inv_temp[DRAW_ROWS], logprob[DRAW_ROWS];
	double u[DRAW_ROWS];
	struct kn_drawn drawn[DRAW_ROWS];
	k->gather_rows(k->ctx, g->draw_h, h, row, n, g->C);
	if (decoder_logits(g->d, g->w, g->draw_h, n, g->logits, e))
		return -1;
	for (int64_t i = 0; i < n; i++) {
		const struct generate_request *q = g->request + run[i].request;
		u[i] = rng_uniform(q->key ? q->key : g->c->key, q->id, (uint32_t)(q->first_sample + run[i].sample),
		                   (uint32_t)run[i].result->n);
	}
	if (decoder_draw(g->d, g->logits, n, &g->warp, u, g->weight, drawn, e))
		return -1;
	for (int64_t i = 0; i < n; i++) {
		struct generate_result *r = run[i].result;
		const struct generate_request *q = g->request + run[i].request;
		if (drawn[i].token < 0)
			return err_set(e, "request %lld: the model's logits after token %lld are not finite",
			               (long long)run[i].request, (long long)(q->n_prompt + r->n - 1));
		target[i] = (int32_t)drawn[i].token;
		inv_temp[i] = g->inv_temp;
		if (g->warped)
			r->sampling_logprob[r->n] = (float)log((double)drawn[i].weight / (double)drawn[i].sum);
	}
	k->logits_stats(k->ctx, g->stats, g->stats + DRAW_ROWS, NULL, NULL, g->logits, target, inv_temp, n, g->V);
	k->get(k->ctx, logprob, g->stats, (size_t)n * sizeof(float));
	for (int64_t i = 0; i < n; i++) {
		struct generate_result *r = run[i].result;
		r->token[r->n] = target[i];
		r->logprob[r->n++] = logprob[i];
	}
	return 0;
}

/* 1: this sequence ends with the token drawn last; 0: it goes on. */
static int ends(struct generator *g, const struct running *run, struct err *e)
{
	struct generate_result *r = run->result;
	bool stopped;
	if (!g->c->ignore_eos && model_is_eos(g->m, r->token[r->n - 1])) {
		r->finish = FINISH_EOS;
		return 1;
	}
	if (reached_stop(g, r, &stopped, e))
		return -1;
	r->finish = stopped ? FINISH_STOP : FINISH_LENGTH;
	return stopped || r->n == g->request[run->request].max_tokens;
}

static void leave(struct generator *g, const struct running *run)
{
	const struct generate_request *q = g->request + run->request;
	struct prompt_state *p = g->prompt + run->request;
	rows_give(&g->rows, run->own_row, own_rows(q));
	if (--p->samples == 0) {
		rows_give(&g->rows, p->row, q->n_prompt);
		g->slot_used[p->slot] = false;
	}
}

/* Draws for run[from..n_run): h holds one row per prompt slot (first tokens) or one per sequence; then the ended leave.
 */
static int draw_all(struct generator *g, int64_t from, const kn_real *h, bool by_slot, struct err *e)
{
	for (int64_t i = from; i < g->n_run; i += DRAW_ROWS) {
		int64_t n = g->n_run - i < DRAW_ROWS ? g->n_run - i : DRAW_ROWS, row[DRAW_ROWS];
		for (int64_t j = 0; j < n; j++)
			row[j] = by_slot ? g->prompt[g->run[i + j].request].slot : i + j;
		if (draw_rows(g, g->run + i, n, h, row, e))
			return -1;
	}
	int64_t kept = from;
	for (int64_t i = from; i < g->n_run; i++) {
		int done = ends(g, g->run + i, e);
		if (done < 0)
			return -1;
		if (done)
			leave(g, g->run + i);
		else
			g->run[kept++] = g->run[i];
	}
	g->n_run = kept;
	return 0;
}

/* ---- steps ---- */

/*
 * With nothing running there is room for one sample of any request, but the rows of a prompt that is already there may
 * lie so that its next sample does not fit beside them: it begins again at row 0.
 */
static void move_prompt(struct generator *g)
{
	const struct generate_request *q = g->request + g->next_request;
	struct prompt_state *p = g->prompt + g->next_request;
	rows_give(&g->rows, p->row, q->n_prompt);
	p->row = rows_take(&g->rows, q->n_prompt);
	p->prefilled = 0;
	admit(g);
}

/* What there is room for joins: its prompt is run and its first token drawn. */
static int join_step(struct generator *g, struct err *e)
{
	int64_t from = g->n_run, at = g->next_request;
	for (skip_empty(g); g->next_request < g->n_requests && g->n_run < g->max_run && admit(g); skip_empty(g))
		;
	if (g->n_run == 0 && g->next_request < g->n_requests) {
		move_prompt(g);
		skip_empty(g);
	}
	int64_t end = g->next_request + (g->next_sample > 0);
	while (at < end)
		if (prefill_pass(g, &at, end, e))
			return -1;
	return g->n_run > from ? draw_all(g, from, g->prompt_h, true, e) : 0;
}

/* One token of every running sequence. */
static int decode_step(struct generator *g, struct err *e)
{
	struct batch b = {g->n_run, g->n_run, g->token, g->pos, g->seq};
	for (int64_t i = 0; i < g->n_run; i++) {
		const struct running *r = g->run + i;
		const struct prompt_state *p = g->prompt + r->request;
		int64_t n_prompt = g->request[r->request].n_prompt, at = n_prompt + r->result->n - 1;
		g->token[i] = r->result->token[r->result->n - 1];
		g->pos[i] = (int32_t)at;
		g->seq[i] = (struct kn_seq){i, 1, at, p->row, n_prompt, r->own_row};
	}
	if (decoder_forward(g->d, g->w, &b, &g->cache, NULL, g->h, e))
		return -1;
	return draw_all(g, 0, g->h, false, e);
}

static int generate_all(struct generator *g, struct err *e)
{
	for (;;) {
		if (join_step(g, e))
			return -1;
		if (g->n_run == 0 && g->next_request >= g->n_requests)
			return 0;
		if (g->n_run && decode_step(g, e))
			return -1;
	}
}

int generate_run(struct decoder *d, const struct weights *w, const struct model_info *m,
                 const struct generate_config *c, const struct generate_request *request, int64_t n_requests,
                 struct generate_result *results, struct err *e)
{
	struct generator g = {.d = d, .w = w, .m = m, .c = c, .request = request, .n_requests = n_requests};
	int64_t n = 0;
	for (int64_t i = 0; i < n_requests; i++)
		n += request[i].n_samples;
	memset(results, 0, (size_t)n * sizeof *results);
	g.results = results;
	int rc = generator_check(&g, e);
	if (rc == 0 && g.max_run > 0) {
		rc = generator_init(&g, e);
		if (rc == 0)
			rc = generate_all(&g, e);
		generator_release(&g);
	}
	for (int64_t i = 0; rc && i < n; i++)
		generate_result_release(results + i);
	return rc;
}

void generate_result_release(struct generate_result *r)
{
	free(r->token);
	free(r->logprob);
	free(r->sampling_logprob);
	memset(r, 0, sizeof *r);
}
