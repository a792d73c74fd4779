/* sft - see sft.h */
#include "lib/sft.h"

#include <stdlib.h>

#include "lib/prompt.h"
#include "lib/util.h"

const struct opt sft_options[] = {
        {"append-eos", 0, OPT_FLAG, offsetof(struct sft_config, append_eos), "1", NULL,
         "a completion given as text ends with EOS", 0, 0},
        {NULL},
};

/* ---- records ---- */

static bool wants_eos(const struct sft *s)
{
	return s->config.append_eos && s->run.info.n_eos > 0;
}

static int take_ids(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	int32_t *prompt, *completion;
	if (record_ints(r, "prompt_tokens", &prompt, &row->n_prompt, -1, NULL, &s->run.arena, e) < 0)
		return -1;
	int got = record_ints(r, "tokens", &completion, &row->n, -1, NULL, &s->run.arena, e);
	if (got == 0)
		err_set(e, "there is 'prompt_tokens', but no 'tokens'");
	if (got <= 0)
		return -1;
	row->token = records_run_join(&s->run, prompt, row->n_prompt, completion, row->n, false);
	return 0;
}

static int take_pair(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	const char *prompt, *completion;
	size_t prompt_len, len;
	int32_t *a, *b;
	int64_t n, m;
	int got = record_str(r, "prompt", &prompt, &prompt_len, e);
	if (got > 0 && (got = record_str(r, "completion", &completion, &len, e)) == 0)
		err_set(e, "there is 'prompt', but no 'completion'");
	if (got <= 0 || prompt_encode(&s->run.info, prompt, prompt_len, &a, &n, &s->run.arena, e) ||
	    completion_encode(&s->run.info, completion, len, &b, &m, &s->run.arena, e))
		return -1;
	bool eos = wants_eos(s);
	*row = (struct sft_row){.token = records_run_join(&s->run, a, n, b, m, eos), .n_prompt = n, .n = m + eos};
	return 0;
}

/* All tokens after the first are the completion. */
static int take_text(struct sft *s, struct record *r, struct sft_row *row, struct err *e)
{
	const char *text;
	size_t len;
	int32_t *a;
	int64_t n;
	int got = record_str(r, "text", &text, &len, e);
	if (got == 0)
		err_set(e, "there is neither 'prompt_tokens' nor 'prompt' nor 'text'");
	if (got <= 0 || prompt_encode(&s->run.info, text, len, &a, &n, &s->run.arena, e))
		return -1;
	bool eos = wants_eos(s);
	*row = (struct sft_row){
	        .token = records_run_join(&s->run, a, n, NULL, 0, eos), .n_prompt = 1, .n = n + eos - 1};
	return 0;
}

static int take(void *arg, struct record *r, struct err *e)
{
	struct sft *s = arg;
	struct sft_row row = {0};
	int64_t n;
	int failed = record_has(r, "prompt_tokens") ? take_ids(s, r, &row, e)
	             : record_has(r, "prompt")      ? take_pair(s, r, &row, e)
	                                            : take_text(s, r, &row, e);
	if (failed || records_run_check(&s->run, "tokens", row.token, row.n_prompt, row.n, e))
		return -1;
	int got = record_ints(r, "mask", &row.mask, &n, row.n, "tokens", &s->run.arena, e);
	if (got < 0)
		return -1;
	if (got == 0)
		row.mask = NULL;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->row = xrealloc_array(s->row, (size_t)s->cap, sizeof *s->row);
	}
	s->row[s->n++] = row;
	return 0;
}

/* ---- one batch ---- */

struct batch_loss {
	struct trainer_row *row;
	const struct sft_row **source;
	double tokens, sum;
};

static void likelihood(void *arg, int64_t first, int64_t end, bool count)
{
	struct batch_loss *b = arg;
	for (int64_t i = first; i < end; i++)
		for (int64_t t = 0; t < b->row[i].n; t++) {
			bool counts = !b->source[i]->mask || b->source[i]->mask[t];
			b->row[i].dlogprobs[t] = counts ? (float)(-1 / b->tokens) : 0;
			b->sum -= counts && count ? b->row[i].logprobs[t] : 0;
		}
}

static void fill_batch(struct sft *s, struct batch_loss *b, const int64_t *row, int64_t n, struct arena *a)
{
	b->row = arena_array(a, (size_t)n, sizeof *b->row);
	b->source = arena_array(a, (size_t)n, sizeof *b->source);
	for (int64_t i = 0; i < n; i++) {
		const struct sft_row *r = b->source[i] = &s->row[row[i]];
		b->row[i] =
		        (struct trainer_row){.token = r->token, .n_prompt = r->n_prompt, .n = r->n, .temperature = 1};
		b->row[i].logprobs = arena_array(a, (size_t)r->n, sizeof(float));
		b->row[i].dlogprobs = arena_array(a, (size_t)r->n, sizeof(float));
		s->run.tokens += r->n_prompt + r->n;
		for (int64_t t = 0; t < r->n; t++)
			b->tokens += !r->mask || r->mask[t];
	}
}

static int gradient(void *arg, const int64_t *row, int64_t n, struct arena *a, struct err *e)
{
	struct sft *s = arg;
	struct batch_loss b = {0};
	fill_batch(s, &b, row, n, a);
	s->run.learned = b.tokens;
	s->sum = 0;
	if (b.tokens == 0)
		return 0; /* nothing but empty completions */
	if (trainer_backward(&s->run.model, b.row, n, likelihood, &b, e))
		return -1;
	s->sum = b.sum;
	return records_run_finite(&s->run, b.row, n, 1, row, "a value", e) ? -1 : 1;
}

/* Runs that were begun before this was told had it on, as it is by default, or have finished. */
static void describe(void *arg, struct str *out)
{
	const struct sft *s = arg;
	if (!s->config.append_eos)
		str_adds(out, " append-eos=0");
}

static void metrics(void *arg, struct str *out)
{
	const struct sft *s = arg;
	str_adds(out, ",\"loss\":");
	json_put_num(out, s->sum / s->run.learned); /* null when there is no token */
}

static const struct records_run_method method = {.tool = "rl-sft-step",
                                                 .kind = "sft",
                                                 .take = take,
                                                 .describe = describe,
                                                 .gradient = gradient,
                                                 .metrics = metrics};

void sft_init(struct sft *s)
{
	s->run.method = &method;
	s->run.arg = s;
}

void sft_release(struct sft *s)
{
	free(s->row);
}
