/* Ranks that are forks of the test: sums in the order of ranks, pieces, barriers, and the loss of one. */
#include "lib/comm_test.h"

#include "lib/rng.h"
#include "lib/util.h"

static const struct kernels *k;

/* ---- sums ---- */

/* Sizes that differ by orders of magnitude, so that another order of summation gives other bits. */
enum { NUMBERS = 4099 };
static float numbers[NUMBERS];

static void make_numbers(void)
{
	for (int i = 0; i < NUMBERS; i++)
		numbers[i] =
		        (float)(exp(8 * rng_uniform(3, 0, 0, (uint32_t)i)) * (rng_uniform(3, 0, 1, (uint32_t)i) - .5));
}

static float number(int rank, int64_t i)
{
	return numbers[(i * 31 + rank * 977) % NUMBERS];
}

static float in_order(int64_t i, int ranks, bool reversed)
{
	float sum = number(reversed ? ranks - 1 : 0, i);
	for (int q = 1; q < ranks; q++)
		sum += number(reversed ? ranks - 1 - q : q, i);
	return sum;
}

static void sum_sizes(struct comm *c, int rank)
{
	static const int64_t size[] = {0, 1, 2, 15, 17, 1000, (1 << 18) - 1, (1 << 18) + 1, 700001};
	for (size_t s = 0; s < ARRAY_LEN(size); s++) {
		struct err e;
		int64_t n = size[s], other = 0;
		float *x = k->alloc(k->ctx, (size_t)n * sizeof *x + 4);
		for (int64_t i = 0; i < n; i++)
			x[i] = number(rank, i);
		x[n] = 7;
		EXPECT(!comm_sum(c, k, x, n, &e));
		for (int64_t i = 0; i < n; i++) {
			EXPECT(x[i] == in_order(i, comm_ranks(c), false));
			other += x[i] != in_order(i, comm_ranks(c), true);
		}
		/* the order can be seen in what is summed */
		EXPECT(comm_ranks(c) < 3 || n < 1000 || other > n / 10);
		EXPECT(x[n] == 7);
		k->free(k->ctx, x);
	}
}

/* Small ones close behind each other, among barriers and pieces. */
static void many(struct comm *c, int rank)
{
	struct err e;
	int ranks = comm_ranks(c);
	for (int round = 0; round < 300; round++) {
		float x[5];
		int32_t said = round * 100 + rank, from = round % ranks;
		for (int i = 0; i < 5; i++)
			x[i] = (float)(round + i * (rank + 1));
		EXPECT(!comm_sum(c, k, x, 1 + round % 5, &e));
		for (int i = 0; i <= round % 5; i++)
			EXPECT(x[i] == (float)(round * ranks + i * ranks * (ranks + 1) / 2));
		EXPECT(!comm_share(c, &(struct comm_piece){&said, sizeof said, from}, 1, &e));
		EXPECT(said == round * 100 + from);
		if (round % 7 == 0)
			EXPECT(!comm_barrier(c, &e));
	}
}

/* ---- pieces ---- */

static unsigned char byte_of(int64_t piece, size_t at)
{
	return (unsigned char)((size_t)piece * 37 + at * 11 + at / 251);
}

/* From all ranks in turn, of all sizes: nothing, a byte, more than a window of all ranks. */
static void pieces(struct comm *c, int rank)
{
	static const size_t bytes[] = {0, 1, 3, 4096, 0, 9000001, 5, 1, 64, 1 << 20, 777777, 2};
	struct comm_piece piece[ARRAY_LEN(bytes)];
	struct err e;
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
		unsigned char *data = bytes[i] ? xmalloc(bytes[i]) : NULL;
		piece[i] = (struct comm_piece){data, bytes[i], (int)(i * 5 % (size_t)comm_ranks(c))};
		for (size_t j = 0; j < bytes[i]; j++)
			data[j] = piece[i].from == rank ? byte_of((int64_t)i, j) : 0xee;
	}
	EXPECT(!comm_share(c, piece, 0, &e));
	EXPECT(!comm_share(c, piece, ARRAY_LEN(bytes), &e));
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
		const unsigned char *data = piece[i].data;
		for (size_t j = 0; j < bytes[i]; j++)
			EXPECT(data[j] == byte_of((int64_t)i, j));
		free(piece[i].data);
	}
}

/* ---- barriers and losses ---- */

static void barriers(struct comm *c, int rank)
{
	struct err e;
	(void)rank;
	for (int64_t i = 1; i <= 500; i++) {
		atomic_fetch_add(&board->count[0], 1);
		EXPECT(!comm_barrier(c, &e));
		int64_t seen = atomic_load(&board->count[0]);
		EXPECT(seen >= i * comm_ranks(c) && seen <= (i + 1) * comm_ranks(c));
	}
}

/* Rank 1 stops for good between two barriers. */
static void one_is_lost(struct comm *c, int rank)
{
	struct err e = {""};
	float x[100] = {0};
	EXPECT(!comm_barrier(c, &e));
	if (rank == 1)
		raise(SIGSTOP);
	if (rank == 0)
		EXPECT(comm_sum(c, k, x, 100, &e) == -1);
	else
		EXPECT(comm_barrier(c, &e) == -1);
	EXPECT(!strcmp(e.msg, "rank was killed"));
	/* from now on at once */
	EXPECT(comm_barrier(c, &e) == -1 && comm_share(c, &(struct comm_piece){x, 4, 0}, 1, &e) == -1);
	EXPECT(comm_failed(c, &e) && !strcmp(e.msg, "rank was killed"));
}

static void alone(void)
{
	struct err e = {""}, note = {"x"};
	float x[2] = {1, 2};
	int word = 5;
	CHECK_INT(comm_ranks(NULL), 1);
	CHECK_INT(comm_rank(NULL), 0);
	CHECK(comm_first(NULL) && !comm_failed(NULL, &e));
	CHECK_INT(comm_barrier(NULL, &e), 0);
	CHECK_INT(comm_sum(NULL, k, x, 2, &e), 0);
	CHECK_INT(comm_share(NULL, &(struct comm_piece){&word, sizeof word, 0}, 1, &e), 0);
	CHECK_INT(comm_device(NULL, k, false, &note, &e), 0);
	CHECK(x[0] == 1 && x[1] == 2 && word == 5 && !*note.msg);
}

int main(void)
{
	struct kernels *cpu = kernels_ref(NULL);
	make_numbers();
	k = cpu;
	board_open();
	test_case("sums of 1 to 8 ranks are in the order of ranks, whatever the size");
	for (int n = 1; n <= 8; n += n < 3 ? 1 : 5)
		in_ranks(n, -1, sum_sizes);
	test_case("sums, pieces and barriers close behind each other");
	for (int n = 2; n <= 5; n++)
		in_ranks(n, -1, many);
	test_case("pieces of any size, from any rank, in one list");
	for (int n = 1; n <= 4; n++)
		in_ranks(n, -1, pieces);
	test_case("nobody leaves a barrier before all are there");
	for (int n = 2; n <= 4; n++) {
		atomic_store(&board->count[0], 0);
		in_ranks(n, -1, barriers);
	}
	test_case("when a rank is lost the others' calls end with its line");
	in_ranks(2, 1, one_is_lost);
	in_ranks(4, 1, one_is_lost);
	test_case("a rank alone");
	alone();
	kernels_free(cpu);
	return test_done();
}
