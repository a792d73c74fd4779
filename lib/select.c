/* select - see select.h */
#include "lib/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/real.h"
#include "lib/memory.h"
#include "lib/util.h"

int64_t select_width(const struct arch *a, enum select_side side)
{
	return side == SELECT_QUERY ? arch_q_width(a) : arch_kv_width(a);
}

/* ---- embeddings ---- */

/* The mean over rows [n, width], or the last of them. */
static void pool_rows(const float *rows, int64_t n, int64_t width, enum select_position position, float *out)
{
	if (position == SELECT_LAST) {
		memcpy(out, rows + (n - 1) * width, (size_t)width * sizeof *out);
		return;
	}
	for (int64_t i = 0; i < width; i++) {
		double sum = 0;
		for (int64_t t = 0; t < n; t++)
			sum += rows[t * width + i];
		out[i] = (float)(sum / (double)n);
	}
}

/* A pass over some texts; its arrays have room for cap tokens. */
struct pass {
	struct decoder *d;
	const struct weights *w;
	int64_t layer, width, cap;
	enum select_side side;
	enum select_position position;
	int32_t *token, *pos;
	struct kn_seq *seq;
	kn_real *device; /* [cap, width], and on the host */
	float *host;
};

static int run_pass(struct pass *p, const struct select_text *text, int64_t n, float *out, struct err *e)
{
	struct batch b = {.token = p->token, .pos = p->pos, .seq = p->seq, .n_seq = n};
	for (int64_t s = 0; s < n; s++) {
		p->seq[s] = (struct kn_seq){.q_row = b.N, .n_q = text[s].n, .own_row = b.N};
		for (int64_t i = 0; i < text[s].n; i++) {
			p->token[b.N + i] = text[s].token[i];
			p->pos[b.N + i] = (int32_t)i;
		}
		b.N += text[s].n;
	}
	bool query = p->side == SELECT_QUERY;
	if (decoder_project(p->d, p->w, &b, p->layer, query ? p->device : NULL, query ? NULL : p->device, e))
		return -1;
	real_get(p->d->k, p->host, p->device, b.N * p->width);
	for (int64_t s = 0; s < n; s++)
		pool_rows(p->host + p->seq[s].q_row * p->width, text[s].n, p->width, p->position, out + s * p->width);
	return 0;
}

int select_embed(struct decoder *d, const struct weights *w, const struct select_text *text, int64_t n, int64_t layer,
                 enum select_side side, enum select_position position, int64_t max_tokens, float *out, struct err *e)
{
	const struct kernels *k = d->k;
	struct pass p = {d, w, layer, select_width(d->arch, side), max_tokens, side, position, .device = NULL};
	for (int64_t i = 0; i < n; i++)
		p.cap = text[i].n > p.cap ? text[i].n : p.cap;
	size_t cap = (size_t)p.cap;
	p.token = xcalloc(cap, sizeof *p.token);
	p.pos = xcalloc(cap, sizeof *p.pos);
	p.seq = xcalloc(cap, sizeof *p.seq);
	p.host = xcalloc(cap * (size_t)p.width, sizeof *p.host);
	p.device = memory_alloc_reals(k, MEMORY_ACTIVATIONS, p.cap * p.width);
	int failed = p.device ? 0 : memory_none(k, e, "no memory for a pass over %lld tokens", (long long)p.cap);
	for (int64_t i = 0, count; i < n && !failed; i += count) {
		int64_t tokens = 0;
		for (count = 0; i + count < n && tokens + text[i + count].n <= p.cap; count++)
			tokens += text[i + count].n;
		failed = run_pass(&p, text + i, count, out + i * p.width, e);
	}
	k->free(k->ctx, p.device);
	free(p.token);
	free(p.pos);
	free(p.seq);
	free(p.host);
	return failed ? -1 : 0;
}

/* ---- heads ---- */

int select_heads(const char *list, int64_t H, bool *use, struct err *e)
{
	bool all = !strcmp(list, "all");
	for (int64_t h = 0; h < H; h++)
		use[h] = all;
	for (const char *p = list; !all; p++) {
		char word[24] = "";
		size_t len = strcspn(p, ",");
		int64_t h;
		memcpy(word, p, len < sizeof word ? len : sizeof word - 1);
		if (!parse_i64(word, &h) || h < 0 || h >= H)
			return err_set(e, "--heads: '%s' is no head: the model has %lld, from 0", word, (long long)H);
		if (use[h])
			return err_set(e, "--heads: %lld is named twice", (long long)h);
		use[h] = true;
		p += len;
		if (!*p)
			return 0;
	}
	return 0;
}

/* ---- probabilities ---- */

/* Adds one head's softmax over the keys that are left to p; score[n] is scratch. */
static bool add_head(const float *q, const float *keys, int64_t stride, int64_t D, double by, const bool *used,
                     int64_t n, double *p, double *score)
{
	double max = -INFINITY, sum = 0;
	for (int64_t i = 0; i < n; i++) {
		double dot = 0;
		if (used[i])
			continue;
		for (int64_t j = 0; j < D; j++)
			dot += (double)q[j] * keys[i * stride + j];
		score[i] = dot * by;
		if (!isfinite(score[i]))
			return false;
		max = score[i] > max ? score[i] : max;
	}
	for (int64_t i = 0; i < n; i++)
		if (!used[i])
			sum += score[i] = exp(score[i] - max);
	for (int64_t i = 0; i < n; i++)
		if (!used[i])
			p[i] += score[i] / sum;
	return true;
}

static int descending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? 1 : x > y ? -1 : 0;
}

/* Keeps the top_k largest, the first of equal ones, and divides by their sum. */
static void keep_top(double *p, int64_t n, int64_t top_k, double *sorted)
{
	memcpy(sorted, p, (size_t)n * sizeof *p);
	qsort(sorted, (size_t)n, sizeof *sorted, descending);
	double least = sorted[top_k - 1], sum = 0;
	int64_t ties = 0;
	for (int64_t i = 0; i < top_k; i++)
		ties += sorted[i] == least;
	for (int64_t i = 0; i < n; i++) {
		if (p[i] < least || (p[i] == least && ties-- <= 0))
			p[i] = 0;
		sum += p[i];
	}
	for (int64_t i = 0; i < n; i++)
		p[i] /= sum;
}

int64_t select_probabilities(const struct arch *a, const bool *heads, const float *query, const float *keys,
                             const bool *used, int64_t n, double temperature, int64_t top_k, double *p, double *scratch)
{
	int64_t left = 0, n_heads = 0;
	for (int64_t i = 0; i < n; i++) {
		p[i] = 0;
		left += !used[i];
	}
	for (int64_t h = 0; h < a->H && left; h++) {
		if (!heads[h])
			continue;
		n_heads++;
		if (!add_head(query + h * a->D, keys + h / (a->H / a->G) * a->D, arch_kv_width(a), a->D,
		              1 / sqrt((double)a->D) / temperature, used, n, p, scratch))
			return -1;
	}
	for (int64_t i = 0; i < n && left; i++)
		p[i] /= (double)n_heads;
	if (top_k > 0 && top_k < left) {
		keep_top(p, n, top_k, scratch);
		left = top_k;
	}
	return left;
}

int64_t select_draw(const double *p, int64_t n, double u)
{
	double sum = 0, at = 0;
	int64_t last = 0;
	for (int64_t i = 0; i < n; i++)
		sum += p[i];
	for (int64_t i = 0; i < n; i++) {
		if (p[i] == 0)
			continue;
		last = i;
		at += p[i];
		if (u * sum < at)
			return i;
	}
	return last;
}

int64_t select_best(const double *p, int64_t n)
{
	int64_t best = 0;
	for (int64_t i = 1; i < n; i++)
		best = p[i] > p[best] ? i : best;
	return best;
}
