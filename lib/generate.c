/*
 * generate - see generate.h
 *
 * A step admits what there is room for, runs the new prompts in chunks of tokens, draws their first tokens, then runs
 * one token of every running sequence and draws the next.
 *
 * The cache is cut into pages.  A prompt's pages are shared by its samples and given back with the last of them; a
 * sample takes a page when it has filled those it has.  When none is left, the sequence that joined last gives up its
 * own and waits; there being room again, what it had drawn is run again, which gives the same bits.
 */
#include "lib/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
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

/* A request that has begun. */
struct prompt_state {
	int32_t *page;     /* of the cache; NULL while it has none */
	int64_t slot;      /* row of prompt_h, while it has pages */
	int64_t samples;   /* that are not done yet */
	int64_t running;   /* of these */
	int64_t prefilled; /* tokens already in the cache */
};

struct running {
	int64_t request, sample; /* sample: from 0 within the request */
	int32_t *page;           /* of its own: room for all that it can need */
	int64_t n_pages;
	int64_t filled; /* own tokens already in the cache, while it joins */
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
	struct kvpages pages;
	struct prompt_state *prompt; /* [n_requests] */
	struct running *run;         /* [max_running] */
	int64_t n_run, max_run;
	struct running *wait; /* [max_running] gave up their pages; the one that joined first is last */
	int64_t n_wait;
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

/* Sizes from the requests: how many run together at most, pages of the cache, rows of a pass. */
static void plan(struct generator *g)
{
	int64_t samples = 0, all = 0, largest = 0;
	for (int64_t i = 0; i < g->n_requests; i++) {
		const struct generate_request *q = g->request + i;
		if (!wants(q))
			continue;
		samples += q->n_samples;
		int64_t prompt = kvpages_of(q->n_prompt), own = kvpages_of(own_rows(q));
		all += prompt + q->n_samples * own;
		if (prompt + own > largest)
			largest = prompt + own;
	}
	g->max_run = g->c->max_running > 0 ? g->c->max_running : MAX_RUNNING;
	if (g->max_run > samples)
		g->max_run = samples;
	const struct arch *a = g->d->arch;
	int64_t row = 2 * (int64_t)real_bytes(g->d->k, a->L * a->G * a->D);
	int64_t limit = (g->c->max_rows > 0 ? g->c->max_rows : CACHE_BYTES / row) / KN_PAGE;
	g->pages.total = all < limit ? all : limit;
	if (g->pages.total < largest)
		g->pages.total = largest;
	g->h_rows = PREFILL_TOKENS > g->max_run ? PREFILL_TOKENS : g->max_run;
}

static float *floats(const struct generator *g, int64_t rows, int64_t cols)
{
	return memory_alloc(g->d->k, MEMORY_LOGITS, (size_t)rows * (size_t)cols * sizeof(float));
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
	if (kvcache_init(&g->cache, g->d->k, g->d->arch, g->pages.total * KN_PAGE, e))
		return -1;
	kvpages_init(&g->pages, g->pages.total);
	g->prompt = xcalloc((size_t)g->n_requests, sizeof *g->prompt);
	g->run = xcalloc((size_t)g->max_run, sizeof *g->run);
	g->wait = xcalloc((size_t)g->max_run, sizeof *g->wait);
	g->slot_used = xcalloc((size_t)g->max_run, sizeof *g->slot_used);
	g->token = xcalloc((size_t)g->h_rows, sizeof *g->token);
	g->pos = xcalloc((size_t)g->h_rows, sizeof *g->pos);
	g->seq = xcalloc((size_t)g->h_rows, sizeof *g->seq);
	g->owner = xcalloc((size_t)g->h_rows, sizeof *g->owner);
	g->h = memory_alloc_reals(g->d->k, MEMORY_ACTIVATIONS, g->h_rows * g->C);
	g->prompt_h = memory_alloc_reals(g->d->k, MEMORY_ACTIVATIONS, g->max_run * g->C);
	g->draw_h = memory_alloc_reals(g->d->k, MEMORY_ACTIVATIONS, DRAW_ROWS * g->C);
	g->logits = floats(g, DRAW_ROWS, g->V);
	g->stats = floats(g, 2, DRAW_ROWS);
	g->weight = memory_alloc(g->d->k, MEMORY_LOGITS, (size_t)(DRAW_ROWS * g->V) * sizeof *g->weight);
	if (!g->h || !g->prompt_h || !g->draw_h || !g->logits || !g->stats || !g->weight)
		return memory_none(g->d->k, e, "no memory for the logits and states of %lld sequences",
		                   (long long)g->max_run);
	return 0;
}

static void generator_release(struct generator *g)
{
	const struct kernels *k = g->d->k;
	void *const buffer[] = {g->h, g->prompt_h, g->draw_h, g->logits, g->stats, g->weight};
	for (size_t i = 0; i < ARRAY_LEN(buffer); i++)
		k->free(k->ctx, buffer[i]);
	kvcache_release(&g->cache);
	kvpages_release(&g->pages);
	for (int64_t i = 0; g->prompt && i < g->n_requests; i++)
		free(g->prompt[i].page);
	for (int64_t i = 0; i < g->n_run; i++)
		free(g->run[i].page);
	for (int64_t i = 0; i < g->n_wait; i++)
		free(g->wait[i].page);
	free(g->prompt);
	free(g->run);
	free(g->wait);
	free(g->slot_used);
	free(g->token);
	free(g->pos);
	free(g->seq);
	free(g->owner);
	str_release(&g->text);
}

/* ---- pages ---- */

static int64_t take_slot(struct generator *g)
{
	int64_t i = 0;
	while (g->slot_used[i])
		i++;
	g->slot_used[i] = true;
	return i;
}

static void prompt_take(struct generator *g, int64_t request)
{
	struct prompt_state *p = g->prompt + request;
	int64_t n = kvpages_of(g->request[request].n_prompt);
	p->page = xcalloc((size_t)n, sizeof *p->page);
	kvpages_take(&g->pages, p->page, n);
	p->slot = take_slot(g);
	p->prefilled = 0;
}

static void prompt_give(struct generator *g, int64_t request)
{
	struct prompt_state *p = g->prompt + request;
	if (!p->page)
		return;
	kvpages_give(&g->pages, p->page, kvpages_of(g->request[request].n_prompt));
	free(p->page);
	p->page = NULL;
	g->slot_used[p->slot] = false;
}

/* Prompts that wait for their next sample and have none running; `keep` keeps its own. */
static void idle_prompts_give(struct generator *g, int64_t keep)
{
	for (int64_t i = 0; i < g->n_requests && i <= g->next_request; i++)
		if (i != keep && g->prompt[i].running == 0)
			prompt_give(g, i);
}

static void own_take(struct generator *g, struct running *r, int64_t n)
{
	kvpages_take(&g->pages, r->page + r->n_pages, n);
	r->n_pages += n;
}

static void own_give(struct generator *g, struct running *r)
{
	kvpages_give(&g->pages, r->page, r->n_pages);
	r->n_pages = 0;
}

/* May it need another page? */
static bool grows(const struct generator *g, const struct running *r)
{
	return r->n_pages < kvpages_of(own_rows(g->request + r->request));
}

/* The sequence that joined last waits; the prompt too, if that was its only one. */
static void evict(struct generator *g)
{
	struct running *r = g->run + --g->n_run;
	own_give(g, r);
	if (--g->prompt[r->request].running == 0)
		prompt_give(g, r->request);
	g->wait[g->n_wait++] = *r;
}

/* A page for each running sequence whose next token has no row; at the cost of those that joined last. */
static void grow(struct generator *g)
{
	for (int64_t i = 0; i < g->n_run; i++) {
		struct running *r = g->run + i;
		if (r->result->n <= r->n_pages * KN_PAGE)
			continue;
		if (g->pages.n_free == 0)
			idle_prompts_give(g, -1);
		while (g->pages.n_free == 0 && g->n_run > i)
			evict(g);
		if (g->n_run > i)
			own_take(g, r, 1);
	}
}

/* ---- joining ---- */

/*
 * r joins: true; false when there is no room for it yet.  While others run, they and it must have a page left to grow
 * into, so that nobody joins to be turned out within the next KN_PAGE tokens.  The first always finds room.
 */
static bool join(struct generator *g, const struct running *joins)
{
	struct running *r = g->run + g->n_run;
	struct prompt_state *p = g->prompt + joins->request;
	int64_t drawn = joins->result->n, own = drawn ? kvpages_of(drawn - 1) : 0;
	int64_t need = own + (p->page ? 0 : kvpages_of(g->request[joins->request].n_prompt)), spare = 0;
	*r = *joins;
	r->filled = 0;
	for (int64_t i = 0; g->n_run && i <= g->n_run; i++)
		spare += grows(g, g->run + i);
	if (g->n_run == 0)
		idle_prompts_give(g, r->request);
	if (g->pages.n_free < need + spare)
		return false;
	if (!p->page)
		prompt_take(g, r->request);
	own_take(g, r, own);
	p->running++;
	g->n_run++;
	return true;
}

/* The sequence that waits longest goes on. */
static bool resume(struct generator *g)
{
	if (!join(g, g->wait + g->n_wait - 1))
		return false;
	g->n_wait--;
	return true;
}

/* The next sample begins. */
static bool begin(struct generator *g)
{
	const struct generate_request *q = g->request + g->next_request;
	struct generate_result *r = g->results + g->first_result + g->next_sample;
	if (!join(g, &(struct running){g->next_request, g->next_sample, NULL, 0, 0, r}))
		return false;
	if (g->next_sample == 0)
		g->prompt[g->next_request].samples = q->n_samples;
	g->run[g->n_run - 1].page = xcalloc((size_t)kvpages_of(own_rows(q)), sizeof(int32_t));
	r->token = xcalloc((size_t)q->max_tokens, sizeof *r->token);
	r->logprob = xcalloc((size_t)q->max_tokens, sizeof *r->logprob);
	r->sampling_logprob = g->warped ? xcalloc((size_t)q->max_tokens, sizeof *r->logprob) : NULL;
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

/* n tokens as one sequence of the batch, seq but for its rows. */
static void add_piece(struct generator *g, struct batch *b, int64_t request, const int32_t *token, int64_t n,
                      struct kn_seq seq)
{
	for (int64_t t = 0; t < n; t++) {
		g->token[b->N + t] = token[t];
		g->pos[b->N + t] = (int32_t)(seq.pos + t);
	}
	seq.q_row = b->N;
	seq.n_q = n;
	g->owner[b->n_seq] = request;
	g->seq[b->n_seq++] = seq;
	b->N += n;
}

static int64_t room(const struct batch *b, int64_t n)
{
	return n < PREFILL_TOKENS - b->N ? n : PREFILL_TOKENS - b->N;
}

/* What a joining sequence still has to have in the cache: its prompt, then what it had drawn.  True: all is there. */
static bool add_missing(struct generator *g, struct batch *b, struct running *r)
{
	const struct generate_request *q = g->request + r->request;
	struct prompt_state *p = g->prompt + r->request;
	int64_t n = room(b, q->n_prompt - p->prefilled), own = r->result->n ? r->result->n - 1 : 0;
	if (n) {
		add_piece(g, b, r->request, q->prompt + p->prefilled, n,
		          (struct kn_seq){.pos = p->prefilled, .page = p->page});
		p->prefilled += n;
	}
	n = room(b, own - r->filled);
	if (n) {
		add_piece(g, b, r->request, r->result->token + r->filled, n,
		          (struct kn_seq){.pos = q->n_prompt + r->filled,
		                          .prefix_n = q->n_prompt,
		                          .prefix_page = p->page,
		                          .page = r->page});
		r->filled += n;
	}
	return p->prefilled == q->n_prompt && r->filled == own;
}

/*
 * One forward pass for those that join, run[*at] and behind: fills the batch up to PREFILL_TOKENS.  The states after
 * the last tokens of prompts are kept in prompt_h.
 */
static int prefill_pass(struct generator *g, int64_t *at, struct err *e)
{
	const struct kernels *k = g->d->k;
	struct batch b = {.token = g->token, .pos = g->pos, .seq = g->seq};
	while (*at < g->n_run && add_missing(g, &b, g->run + *at))
		++*at;
	if (b.N == 0)
		return 0;
	if (decoder_forward(g->d, g->w, &b, &g->cache, NULL, g->h, e))
		return -1;
	for (int64_t s = 0; s < b.n_seq; s++) {
		const struct prompt_state *p = g->prompt + g->owner[s];
		int64_t last = g->seq[s].q_row + g->seq[s].n_q - 1;
		if (g->seq[s].prefix_n == 0 && g->seq[s].pos + g->seq[s].n_q == g->request[g->owner[s]].n_prompt)
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

static void leave(struct generator *g, struct running *run)
{
	struct prompt_state *p = g->prompt + run->request;
	own_give(g, run);
	free(run->page);
	p->running--;
	if (--p->samples == 0)
		prompt_give(g, run->request);
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
 * What there is room for joins: those that wait, then new ones.  What they lack in the cache is run, and the first
 * token of the new ones is drawn.
 */
static int join_step(struct generator *g, struct err *e)
{
	int64_t at = g->n_run;
	while (g->n_wait && resume(g))
		;
	int64_t fresh = g->n_run;
	for (skip_empty(g); g->n_wait == 0 && g->next_request < g->n_requests && g->n_run < g->max_run && begin(g);
	     skip_empty(g))
		;
	while (at < g->n_run)
		if (prefill_pass(g, &at, e))
			return -1;
	return g->n_run > fresh ? draw_all(g, fresh, g->prompt_h, true, e) : 0;
}

/* One token of every running sequence. */
static int decode_step(struct generator *g, struct err *e)
{
	grow(g);
	struct batch b = {g->n_run, g->n_run, g->token, g->pos, g->seq};
	for (int64_t i = 0; i < g->n_run; i++) {
		const struct running *r = g->run + i;
		const struct prompt_state *p = g->prompt + r->request;
		int64_t n_prompt = g->request[r->request].n_prompt, at = n_prompt + r->result->n - 1;
		g->token[i] = r->result->token[r->result->n - 1];
		g->pos[i] = (int32_t)at;
		g->seq[i] = (struct kn_seq){
		        .q_row = i, .n_q = 1, .pos = at, .prefix_n = n_prompt, .prefix_page = p->page, .page = r->page};
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
		if (g->n_run == 0 && g->n_wait == 0 && g->next_request >= g->n_requests)
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
