/* trainer_ranks - see trainer_ranks.h */
#include "lib/trainer_ranks.h"

#include <stdlib.h>

#include "lib/util.h"

static int64_t tokens_of(const struct trainer_row *row)
{
	return row->n_prompt + row->n;
}

/* Row i and those joined to it: where they end; *tokens: of them. */
static int64_t end_of_unit(const struct trainer_row *row, int64_t n_rows, int64_t i, int64_t *tokens)
{
	*tokens = 0;
	do
		*tokens += tokens_of(&row[i]);
	while (++i < n_rows && row[i].joined);
	return i;
}

/* The rank of `tokens` tokens behind `before` others, out of `all`. */
static int rank_of(int64_t before, int64_t tokens, int64_t all, int ranks)
{
	return (int)((2 * before + tokens) * ranks / (2 * all + 1));
}

static int64_t all_tokens(const struct trainer_row *row, int64_t n_rows)
{
	int64_t all = 0;
	for (int64_t i = 0; i < n_rows; i++)
		all += tokens_of(&row[i]);
	return all;
}

struct trainer_part trainer_part(const struct comm *c, const struct trainer_row *row, int64_t n_rows)
{
	int64_t all = all_tokens(row, n_rows), before = 0, tokens;
	struct trainer_part part = {0, 0, 0};
	for (int64_t i = 0, end; i < n_rows; i = end, before += tokens) {
		end = end_of_unit(row, n_rows, i, &tokens);
		int rank = rank_of(before, tokens, all, comm_ranks(c));
		if (rank < comm_rank(c))
			part = (struct trainer_part){end, end, before + tokens};
		else if (rank == comm_rank(c))
			part.end = end;
	}
	return part;
}

/* ---- what comes back ---- */

/* The outputs of one row as pieces: how many. */
static int64_t pieces_of(struct comm_piece *piece, const struct trainer_row *r, int64_t C, int from)
{
	struct {
		float *data;
		int64_t n;
	} const output[] = {
	        {r->logprobs, r->n}, {r->entropy, r->n}, {r->values, r->n + 1}, {r->kl, r->n}, {r->hidden, r->n * C}};
	int64_t n = 0;
	for (size_t i = 0; i < ARRAY_LEN(output); i++)
		if (output[i].data)
			piece[n++] = (struct comm_piece){output[i].data, (size_t)output[i].n * sizeof(float), from};
	return n;
}

int trainer_gather(struct comm *c, const struct trainer_row *row, int64_t n_rows, int64_t C, struct err *e)
{
	enum { OUTPUTS = 5 };
	if (comm_ranks(c) == 1)
		return 0;
	struct comm_piece *piece = xcalloc((size_t)n_rows * OUTPUTS + 1, sizeof *piece);
	int64_t n = 0, all = all_tokens(row, n_rows), before = 0, tokens;
	for (int64_t i = 0, end; i < n_rows; before += tokens) {
		end = end_of_unit(row, n_rows, i, &tokens);
		int from = rank_of(before, tokens, all, comm_ranks(c));
		for (; i < end; i++)
			n += pieces_of(piece + n, &row[i], C, from);
	}
	int failed = comm_share(c, piece, n, e);
	free(piece);
	return failed;
}

int trainer_score_ranks(struct comm *c, struct decoder *d, const struct weights *w, struct trainer_row *row,
                        int64_t n_rows, int64_t micro_tokens, struct err *e)
{
	struct trainer_part part = trainer_part(c, row, n_rows);
	if (trainer_score(d, w, row + part.first, part.end - part.first, micro_tokens, e))
		return -1;
	return trainer_gather(c, row, n_rows, d->arch->C, e);
}

/* ---- the step ---- */

int trainer_sum_gradient(struct trainer *t, struct err *e)
{
	return comm_sum(t->comm, t->k, t->g.slab, t->info.table.size, e);
}

/* crc[i] of the bytes of tensor i; 0 for frozen ones, which nobody changes. */
static void digest(struct trainer *t, uint32_t *crc)
{
	const struct tensors *table = &t->info.table;
	bool here = weights_on_host(t->k);
	for (int i = 0; i < table->n; i++) {
		const struct tensor *x = &table->tensor[i];
		if (x->frozen)
			continue;
		size_t bytes = (size_t)x->count * sizeof(float);
		float *host = here ? NULL : xmalloc(bytes);
		if (host)
			t->k->get(t->k->ctx, host, t->w.slab + x->offset, bytes);
		crc[i] = crc32c(0, host ? host : t->w.slab + x->offset, bytes);
		free(host);
	}
}

int trainer_same_weights(struct trainer *t, struct err *e)
{
	int ranks = comm_ranks(t->comm), n = t->info.table.n, failed;
	if (ranks == 1)
		return 0;
	uint32_t *crc = xcalloc((size_t)ranks * (size_t)n, sizeof *crc);
	struct comm_piece piece[COMM_MAX_RANKS];
	for (int q = 0; q < ranks; q++)
		piece[q] = (struct comm_piece){crc + (size_t)q * (size_t)n, (size_t)n * sizeof *crc, q};
	digest(t, crc + (size_t)comm_rank(t->comm) * (size_t)n);
	failed = comm_share(t->comm, piece, ranks, e);
	for (int64_t i = 0; i < (int64_t)ranks * n && !failed; i++)
		if (crc[i] != crc[i % n])
			failed = err_set(
			        e, "after step %lld tensor '%s' is not the same in ranks 0 and %lld: CRC %08x and %08x",
			        (long long)t->step, t->info.table.tensor[i % n].name, (long long)(i / n), crc[i % n],
			        crc[i]);
	free(crc);
	return failed;
}
