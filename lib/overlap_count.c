/* overlap_count - see overlap_count.h: n-grams */
#include "lib/overlap_count.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void grams_release(struct grams *g)
{
	pairs_release(&g->pairs);
	free(g->at);
	free(g->count);
	*g = (struct grams){0};
}

/* The words themselves are the 1-grams: `at` is a copy of ids, with room for a count of each. */
static void begin(struct grams *g, const struct words *w, size_t n)
{
	if (n > g->at_cap) {
		g->at_cap = 2 * n;
		g->at = xrealloc_array(g->at, g->at_cap, sizeof *g->at);
	}
	if (n)
		memcpy(g->at, w->ids, n * sizeof *g->at);
	size_t n_counts = w->text[0].n;
	if (n_counts + 1 > g->count_cap) {
		g->count_cap = 2 * (n_counts + 1);
		g->count = xrealloc_array(g->count, g->count_cap, sizeof *g->count);
	}
}

/* Numbers the n-grams of the answer and counts them. */
static void number_answer(struct grams *g, int32_t *at, int64_t n, int order)
{
	pairs_clear(&g->pairs, (size_t)n);
	for (int64_t i = 0; i < n; i++) {
		uint32_t a = (uint32_t)at[i], b = order == 1 ? 0 : (uint32_t)at[i + 1];
		if (order > 1 && (at[i] < 0 || at[i + 1] < 0)) {
			at[i] = -1;
			continue;
		}
		int32_t known = g->pairs.n, id = pairs_intern(&g->pairs, a, b);
		if (id == known)
			g->count[id] = (struct gram_count){.reference = -1};
		g->count[id].answer++;
		at[i] = id;
	}
}

/* Looks the n-grams of a reference up; returns its matches and adds to those of all references together. */
static int64_t match_reference(struct grams *g, int32_t *at, int64_t n, int order, int64_t reference, int64_t *any)
{
	int64_t matches = 0;
	for (int64_t i = 0; i < n; i++) {
		if (order > 1 && (at[i] < 0 || at[i + 1] < 0)) {
			at[i] = -1;
			continue;
		}
		at[i] = pairs_find(&g->pairs, (uint32_t)at[i], order == 1 ? 0 : (uint32_t)at[i + 1]);
		if (at[i] < 0)
			continue;
		struct gram_count *c = &g->count[at[i]];
		if (c->reference != reference) {
			c->reference = reference;
			c->seen = 0;
		}
		matches += ++c->seen <= c->answer;
		if (c->seen > c->most) {
			c->most = c->seen;
			*any += c->most <= c->answer;
		}
	}
	return matches;
}

void grams_match(struct grams *g, const struct words *w, int orders, struct gram_matches *out,
                 int64_t (*each)[OVERLAP_ORDERS])
{
	size_t n_refs = w->n_texts - 1;
	*out = (struct gram_matches){0};
	memset(each, 0, n_refs * sizeof *each);
	begin(g, w, w->n_ids);
	bool alive = true;
	for (int order = 1; order <= orders && alive; order++) {
		int64_t n = grams_total(w->text[0].n, order);
		number_answer(g, g->at, n, order);
		for (size_t r = 0; r < n_refs; r++)
			each[r][order - 1] =
			        match_reference(g, g->at + w->text[r + 1].at, grams_total(w->text[r + 1].n, order),
			                        order, (int64_t)r, &out->any[order - 1]);
		alive = out->any[order - 1] > 0;
		for (int64_t i = 0; i < n && order < orders; i++)
			if (g->at[i] >= 0 && !g->count[g->at[i]].most)
				g->at[i] = -1;
	}
}

void grams_distinct(struct grams *g, const struct words *w, int orders, int64_t *out)
{
	begin(g, w, w->text[0].n);
	for (int order = 1; order <= orders; order++) {
		int64_t n = grams_total(w->text[0].n, order), alone = 0;
		number_answer(g, g->at, n, order);
		/* an n-gram with a part that is there once is there once */
		for (int64_t i = 0; i < n; i++) {
			alone += g->at[i] < 0;
			if (g->at[i] >= 0 && g->count[g->at[i]].answer == 1)
				g->at[i] = -1;
		}
		out[order - 1] = g->pairs.n + alone;
	}
}
