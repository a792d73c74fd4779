/* A trainer over ranks: whose rows are whose, outputs and gradients against those of one rank, weights that differ. */
#include "lib/trainer_ranks.h"

#include "lib/comm_test.h"
#include "lib/decoder_test.h"
#include "lib/rng.h"

enum { ROWS = 7, TOKENS = 40 };

struct rows {
	struct trainer_row row[ROWS];
	int32_t token[ROWS][TOKENS];
	float out[ROWS][3][TOKENS], d[ROWS][3][TOKENS];
	int64_t counted; /* rows, by calls that count */
};

/* Ragged, one without a completion; outputs: log-probabilities, entropy, values; an objective that is linear in them.
 */
static void rows_fill(struct rows *r, int64_t V)
{
	static const int64_t prompt[ROWS] = {3, 1, 8, 1, 5, 2, 4}, n[ROWS] = {4, 9, 21, 0, 1, 14, 6};
	memset(r, 0, sizeof *r);
	for (int i = 0; i < ROWS; i++) {
		for (int64_t j = 0; j < prompt[i] + n[i]; j++)
			r->token[i][j] = (int32_t)((j * 37 + i * 11 + j * j) % V);
		for (int k = 0; k < 3; k++)
			for (int64_t j = 0; j <= n[i]; j++)
				r->d[i][k][j] = (float)(rng_uniform(5, (uint64_t)i, (uint32_t)k, (uint32_t)j) - .5);
		r->row[i] = (struct trainer_row){.token = r->token[i],
		                                 .n_prompt = prompt[i],
		                                 .n = n[i],
		                                 .temperature = i == 2 ? .7 : 1,
		                                 .logprobs = r->out[i][0],
		                                 .entropy = r->out[i][1],
		                                 .values = r->out[i][2],
		                                 .dlogprobs = r->d[i][0],
		                                 .dentropy = r->d[i][1],
		                                 .dvalues = r->d[i][2]};
	}
}

/* The gradients of the objective are there already; rows that count are to come once, in order. */
static void count_rows(void *arg, int64_t first, int64_t end, bool count)
{
	struct rows *r = arg;
	for (int64_t i = first; i < end && count; i++)
		r->counted = r->counted == i ? i + 1 : -1;
}

/* ---- a trainer over a model of a test, without a store ---- */

static struct test_backend backend;
static struct test_model model;
static struct trainer t;

static void open_trainer(const char *config)
{
	struct err e;
	CHECK(test_backend_open(&backend, "", 1) && test_model_random(&model, backend.k, config, true));
	t = (struct trainer){.k = backend.k, .micro_tokens = 4096};
	t.info.arch = model.arch;
	t.info.table = model.table;
	t.w = model.w;
	CHECK(!weights_zero(&t.g, t.k, &model.table, &e) && !decoder_init(&t.d, &model.arch, &model.table, t.k, &e));
	t.acts = activations_new(&t.d);
}

static void close_trainer(void)
{
	activations_free(t.acts);
	decoder_release(&t.d);
	weights_release(&t.g);
	test_model_close(&model);
	test_backend_close(&backend);
}

static float *copy_gradient(void)
{
	size_t bytes = (size_t)model.table.size * sizeof(float);
	float *g = xmalloc(bytes);
	memcpy(g, t.g.slab, bytes);
	return g;
}

/* The gradient of rows [first, end) by one rank; the caller's. */
static float *gradient_of(struct rows *r, int64_t first, int64_t end)
{
	struct err e;
	trainer_zero_gradient(&t);
	r->counted = 0;
	CHECK_INT(trainer_backward(&t, r->row + first, end - first, count_rows, r, &e), 0);
	CHECK_INT(r->counted, end - first);
	return copy_gradient();
}

/* ---- parts ---- */

static struct comm *rank_of_test(int rank, int ranks)
{
	struct err e;
	struct comm *c = comm_new(ranks, &e);
	comm_join(c, rank);
	return c;
}

/* All rows once, in order, none cut from those that it is joined to, and no part larger than its share and a row. */
static void check_parts(const struct trainer_row *row, int64_t n, int ranks)
{
	int64_t at = 0, tokens = 0, all = 0, largest = 0;
	for (int64_t i = 0; i < n; i++) {
		int64_t unit = row[i].n_prompt + row[i].n;
		all += unit;
		for (int64_t j = i + 1; j < n && row[j].joined; j++)
			unit += row[j].n_prompt + row[j].n;
		largest = unit > largest ? unit : largest;
	}
	for (int q = 0; q < ranks; q++) {
		struct comm *c = rank_of_test(q, ranks);
		struct trainer_part part = trainer_part(c, row, n);
		int64_t mine = 0;
		comm_free(c);
		if (part.first == part.end)
			continue;
		CHECK_INT(part.first, at);
		CHECK_INT(part.tokens, tokens);
		CHECK(!row[part.first].joined && (part.end == n || !row[part.end].joined));
		for (at = part.first; at < part.end; at++)
			mine += row[at].n_prompt + row[at].n;
		tokens += mine;
		CHECK(mine * ranks <= all + largest * ranks);
	}
	CHECK_INT(at, n);
}

static void test_parts(void)
{
	struct trainer_row row[100];
	for (int shape = 0; shape < 4; shape++)
		for (int64_t n = 0; n <= 100; n += n < 10 ? 1 : 45)
			for (int ranks = 1; ranks <= 9; ranks++) {
				for (int64_t i = 0; i < n; i++)
					row[i] = (struct trainer_row){.n_prompt = 1 + (shape == 1 ? i * 7 % 13 : 0),
					                              .n = shape == 2 && i == n / 2 ? 1000 : i % 5,
					                              .joined = shape == 3 && i % 2};
				check_parts(row, n, ranks);
			}
	/* alike rows are dealt alike */
	for (int i = 0; i < 8; i++)
		row[i] = (struct trainer_row){.n_prompt = 3, .n = 5};
	for (int q = 0; q < 4; q++) {
		struct comm *c = rank_of_test(q, 4);
		struct trainer_part part = trainer_part(c, row, 8);
		CHECK_INT(part.first, 2 * q);
		CHECK_INT(part.end, 2 * q + 2);
		comm_free(c);
	}
}

/* ---- passes ---- */

static struct rows alone, shared_rows;
static float *in_parts; /* the gradients of the parts, added in the order of ranks */
static float *together; /* of all rows by one rank */
static double bound;    /* of the difference of the two, see test_passes */

static bool close_to(const float *g, const float *want)
{
	for (int64_t j = 0; j < model.table.size; j++)
		if (!(fabs((double)g[j] - want[j]) <= bound))
			return false;
	return true;
}

static void pass(struct comm *c, int rank)
{
	struct err e;
	struct rows *r = &shared_rows;
	(void)rank;
	t.comm = c;
	for (int64_t budget = 1; budget <= 4096; budget *= 64) {
		t.micro_tokens = budget;
		rows_fill(r, model.arch.V);
		trainer_zero_gradient(&t);
		EXPECT(!trainer_backward(&t, r->row, ROWS, count_rows, r, &e));
		EXPECT(r->counted == ROWS);
		EXPECT(!memcmp(r->out, alone.out, sizeof r->out));
		EXPECT(!trainer_sum_gradient(&t, &e));
		EXPECT(!memcmp(t.g.slab, in_parts, (size_t)model.table.size * sizeof(float)));
		EXPECT(close_to(t.g.slab, together));
		memset(r->out, 0, sizeof r->out);
		EXPECT(!trainer_score_ranks(c, &t.d, &t.w, r->row, ROWS, budget, &e));
		EXPECT(!memcmp(r->out, alone.out, sizeof r->out));
	}
}

/*
 * Outputs have the bits of one rank, the gradient those of the parts' gradients in the order of ranks.  Against one
 * rank every element is the same terms in another order.  A sum of T terms in float32 is within (T - 1) 2^-24 sum
 * |term| of the true one, whatever the order (Higham 2002, 4.4), so the two differ by twice that; T is at most the
 * tokens, times the outputs that each has, and sum |term| is taken as the largest of its kind: of all elements, by
 * rows.
 */
static void test_passes(int ranks)
{
	size_t n = (size_t)model.table.size;
	rows_fill(&alone, model.arch.V);
	together = gradient_of(&alone, 0, ROWS);
	double *size = xcalloc(n, sizeof *size), largest = 0;
	int64_t terms = 0;
	for (int i = 0; i < ROWS; i++) {
		float *g = gradient_of(&shared_rows, i, i + 1);
		for (size_t j = 0; j < n; j++)
			size[j] += fabs((double)g[j]);
		terms += 3 * (alone.row[i].n_prompt + alone.row[i].n);
		free(g);
	}
	for (size_t j = 0; j < n; j++)
		largest = size[j] > largest ? size[j] : largest;
	bound = 2 * (double)terms * ldexp(1, -24) * largest;
	in_parts = xcalloc(n, sizeof *in_parts);
	for (int q = 0; q < ranks; q++) {
		struct comm *c = rank_of_test(q, ranks);
		struct trainer_part part = trainer_part(c, alone.row, ROWS);
		float *g = gradient_of(&shared_rows, part.first, part.end);
		for (size_t j = 0; j < n; j++)
			in_parts[j] = q ? in_parts[j] + g[j] : g[j];
		free(g);
		comm_free(c);
	}
	CHECK(ranks == 1 || memcmp(in_parts, together, n * sizeof(float)));
	in_ranks(ranks, -1, pass);
	free(size);
	free(in_parts);
	free(together);
}

/* ---- weights ---- */

static void weights_differ(struct comm *c, int rank)
{
	struct err e = {""};
	int last = 0;
	t.comm = c;
	EXPECT(!trainer_same_weights(&t, &e));
	for (int i = 0; i < model.table.n; i++)
		last = model.table.tensor[i].count > 1 ? i : last;
	const struct tensor *x = &model.table.tensor[last];
	uint32_t bits;
	float *w = t.w.slab + x->offset + x->count - 1;
	memcpy(&bits, w, sizeof bits);
	bits ^= rank == 1;
	memcpy(w, &bits, sizeof bits);
	EXPECT(trainer_same_weights(&t, &e) == -1);
	EXPECT(strstr(e.msg, x->name) && strstr(e.msg, "ranks 0 and 1"));
}

int main(void)
{
	static const char *const config[] = {test_gpt2_config, test_llama_config};
	board_open();
	test_case("trainer_ranks: parts are all rows once, in order, and even");
	test_parts();
	for (size_t i = 0; i < ARRAY_LEN(config); i++) {
		open_trainer(config[i]);
		rows_fill(&shared_rows, model.arch.V);
		test_case(i ? "trainer_ranks: outputs and gradients, llama"
		            : "trainer_ranks: outputs and gradients, gpt2");
		for (int ranks = 1; ranks <= 9; ranks += ranks < 3 ? 1 : 3)
			test_passes(ranks);
		test_case(i ? "trainer_ranks: a bit that differs is named, llama"
		            : "trainer_ranks: a bit that differs is named, gpt2");
		in_ranks(2, -1, weights_differ);
		in_ranks(3, -1, weights_differ);
		close_trainer();
	}
	return test_done();
}
