/*
 * rl-reward-bm25 - search with the generated query; the reward says how well the relevant documents rank.
 *
 * With -j records are held until there are enough for all threads, or input pauses; they leave in the order in which
 * they came.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_batch.h"
#include "lib/bm25_reward.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	struct bm25_reward_config reward;
	struct bm25_batch_config search;
	struct tool_config tool;
};

enum { PER_THREAD = 16, HELD_BYTES = 64 << 20 };

/* A record that waits for its search, or for those before it. */
struct held {
	struct str line;
	const char *source;
	int64_t number; /* line of the source */
	bool passes;
	struct bm25_job job;
};

struct reward_bm25 {
	struct config config;
	struct bm25_index *index;
	struct bm25_batch *batch;
	struct bm25_reward *reward;
	struct held *held;
	struct bm25_request **request; /* of those that search */
	int64_t n, room;
	size_t bytes; /* of the lines that are held */
	struct record *record;
	int64_t count[BM25_REWARD_COUNTS];
};

static int leave(struct reward_bm25 *x, struct tool *t, struct held *h, struct err *e)
{
	const char *source = t->source;
	int rc = 0;
	record_resume(x->record, h->line.buf, h->line.len);
	t->source = h->source;
	if (!h->passes)
		rc = bm25_reward_add(x->reward, bm25_batch_searcher(x->batch), &h->job, x->record, x->count, e);
	rc = rc ? tool_reject(t, x->record, h->number, e) : tool_write(t, x->record, e);
	t->source = source;
	return rc;
}

/* All that is held is searched for, and leaves. */
static int drain(struct tool *t, void *arg, struct err *e)
{
	struct reward_bm25 *x = arg;
	int64_t n = 0;
	int rc = 0;
	for (int64_t i = 0; i < x->n; i++)
		if (!x->held[i].passes && x->held[i].job.searches)
			x->request[n++] = &x->held[i].job.request;
	bm25_batch_run(x->batch, x->request, n);
	for (int64_t i = 0; i < x->n && !rc; i++)
		rc = leave(x, t, &x->held[i], e);
	x->n = 0;
	x->bytes = 0;
	for (size_t i = 0; i < BM25_REWARD_COUNTS; i++)
		t->count[i].n = x->count[i];
	return rc;
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_bm25 *x = arg;
	struct held *h = &x->held[x->n];
	size_t len;
	h->passes = tool_passes(t, r);
	if (!h->passes && bm25_reward_read(x->reward, r, &h->job, x->count, e)) {
		struct err why = *e;
		if (drain(t, arg, e))
			return -2;
		*e = why;
		return -1;
	}
	const char *line = record_line(r, &len);
	str_clear(&h->line);
	str_add(&h->line, line, len);
	h->source = t->source;
	h->number = t->line;
	x->n++;
	x->bytes += len;
	/* while input pauses nothing is held: a sampler may wait for these very records */
	if (x->n < x->room && x->bytes < HELD_BYTES && stream_poll(t->in))
		return 1;
	return drain(t, arg, e) ? -2 : 1;
}

static void set_up(struct reward_bm25 *x, const char *index)
{
	struct err e;
	if (x->config.reward.answers && cli_given("relevant"))
		cli_misuse("--relevant or --answers, not both");
	if (x->config.search.feedback && x->config.search.boolean)
		cli_misuse("--feedback makes words of a query, which --boolean does not take");
	if (!(x->reward = bm25_reward_new(&x->config.reward, &e)))
		cli_misuse("%s", e.msg);
	if (!(x->index = bm25_open(index, &e)))
		cli_fail("%s", e.msg);
	if (x->config.reward.answers && !bm25_info(x->index)->texts)
		cli_fail("%s: --answers needs texts; build the index with rl-index --texts", index);
	if (!(x->batch = bm25_batch_new(x->index, &x->config.search, &e)))
		cli_fail("%s: %s", index, e.msg);
	int threads = bm25_batch_threads(x->batch);
	x->room = threads > 1 ? PER_THREAD * threads : 1;
	x->held = xcalloc((size_t)x->room, sizeof *x->held);
	x->request = xcalloc((size_t)x->room, sizeof *x->request);
	for (int64_t i = 0; i < x->room; i++)
		str_init(&x->held[i].line);
	x->record = record_new();
}

static void tear_down(struct reward_bm25 *x)
{
	for (int64_t i = 0; i < x->room; i++) {
		str_release(&x->held[i].line);
		bm25_job_release(&x->held[i].job);
	}
	free(x->held);
	free(x->request);
	record_free(x->record);
	bm25_batch_free(x->batch);
	bm25_close(x->index);
	bm25_reward_free(x->reward);
	free(x->config.reward.metrics.item);
	free(x->config.reward.dirs.item);
}

int main(int argc, char **argv)
{
	struct reward_bm25 x = {0};
	int n;
	const struct opt_group groups[] = {{NULL, bm25_reward_options, &x.config.reward},
	                                   {"Search", bm25_batch_options, &x.config.search},
	                                   {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {.tool = "rl-reward-bm25",
	                        .summary = "reward a query by the rank of the relevant documents",
	                        .usage = "[OPTION]... INDEX [FILE]...",
	                        .details =
	                                "INDEX is made by rl-index.  Adds reward_bm25, and with --hits what was found.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .min_operands = 1,
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	set_up(&x, operands[0]);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.takes_all = true;
	t.drain = drain;
	t.drain_arg = &x;
	for (size_t i = 0; i < BM25_REWARD_COUNTS; i++)
		t.count[i].name = bm25_reward_counts[i];
	int status = tool_run(&t, operands + 1, n - 1, process, drain, &x);
	tear_down(&x);
	return status;
}
