/* comm - see comm.h */
#include "lib/comm.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"

/* Of a window, for each rank: small enough to stay in a cache between the rank that writes it and the one that reads.
 */
#define WINDOW ((size_t)1 << 20)
#define WINDOW_FLOATS ((int64_t)(WINDOW / sizeof(float)))
/* Looks before a rank sleeps: ranks that run side by side arrive within microseconds. */
#define SPINS 2000
/* A rank that sleeps looks by itself, in case nobody is left to wake it. */
#define SLEEP_NS 100000000L

enum failure { NONE, BEING_WRITTEN, WRITTEN };

/* At the head of what all ranks map; two sets of windows lie behind it. */
struct shared {
	_Atomic uint32_t arrived, phase; /* of the barrier: ranks that are there; barriers that are complete */
	_Atomic int failure;             /* enum failure */
	char why[sizeof((struct err *)0)->msg];
	char device_id[KN_COMM_ID];
	bool device_there;
};

struct comm {
	int rank, ranks;
	struct shared *shared;
	size_t bytes; /* mapped */
	char *windows[2];
	int turn; /* which of the two is next */
	struct kn_comm *device;
};

struct comm *comm_new(int ranks, struct err *e)
{
	size_t head = (sizeof(struct shared) + 4095) / 4096 * 4096, set = (size_t)ranks * WINDOW;
	size_t bytes = head + 2 * set;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		err_errno(e, "no memory between %d ranks: %zu bytes", ranks, bytes);
		return NULL;
	}
	struct comm *c = xcalloc(1, sizeof *c);
	*c = (struct comm){.ranks = ranks, .shared = p, .bytes = bytes};
	c->windows[0] = (char *)p + head;
	c->windows[1] = c->windows[0] + set;
	return c;
}

void comm_join(struct comm *c, int rank)
{
	c->rank = rank;
}

void comm_free(struct comm *c)
{
	if (!c)
		return;
	if (c->device)
		c->device->release(c->device);
	munmap(c->shared, c->bytes);
	free(c);
}

int comm_rank(const struct comm *c)
{
	return c ? c->rank : 0;
}

int comm_ranks(const struct comm *c)
{
	return c ? c->ranks : 1;
}

bool comm_first(const struct comm *c)
{
	return comm_rank(c) == 0;
}

/* ---- failures ---- */

/* The ranks are processes, so this is not FUTEX_PRIVATE. */
static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is)
{
	const struct timespec most = {.tv_nsec = SLEEP_NS};
	syscall(SYS_futex, word, FUTEX_WAIT, while_it_is, &most, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void comm_fail(struct comm *c, const char *why)
{
	int none = NONE;
	if (!atomic_compare_exchange_strong(&c->shared->failure, &none, BEING_WRITTEN))
		return;
	snprintf(c->shared->why, sizeof c->shared->why, "%s", why);
	atomic_store(&c->shared->failure, WRITTEN);
	futex_wake(&c->shared->phase);
}

bool comm_failed(const struct comm *c, struct err *e)
{
	if (!c || atomic_load(&c->shared->failure) != WRITTEN)
		return false;
	err_set(e, "%s", c->shared->why);
	return true;
}

/* ---- the barrier ---- */

static void pause_briefly(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

int comm_barrier(struct comm *c, struct err *e)
{
	if (!c || c->ranks == 1)
		return 0;
	struct shared *s = c->shared;
	uint32_t phase = atomic_load(&s->phase);
	if (comm_failed(c, e))
		return -1;
	if (atomic_fetch_add(&s->arrived, 1) + 1 == (uint32_t)c->ranks) {
		atomic_store(&s->arrived, 0);
		atomic_fetch_add(&s->phase, 1);
		futex_wake(&s->phase);
		return 0;
	}
	for (int64_t i = 0; atomic_load(&s->phase) == phase; i++) {
		/* what was complete before the failure was seen succeeds: so all ranks come to the same end */
		if (comm_failed(c, e) && atomic_load(&s->phase) == phase)
			return -1;
		if (i < SPINS)
			pause_briefly();
		else
			futex_wait(&s->phase, phase);
	}
	return 0;
}

/*
 * The next set of windows.  The two are used in turn and every use has a barrier between writing and reading: who
 * writes into a set has passed the barrier of the other one since, and so has everyone who read this one before.
 */
static char *next_windows(struct comm *c)
{
	char *w = c->windows[c->turn];
	c->turn = !c->turn;
	return w;
}

/* ---- pieces of host memory ---- */

/* Copies what of the pieces lies in bytes [at, at + room) of all of them, laid end to end: this rank's own into the
 * window, or the others' out of it. */
static void copy_pieces(const struct comm *c, const struct comm_piece *piece, int64_t n, size_t at, size_t room,
                        char *window, bool in)
{
	size_t begin = 0;
	for (int64_t i = 0; i < n && begin < at + room; begin += piece[i++].bytes) {
		size_t end = begin + piece[i].bytes;
		size_t from = begin > at ? begin : at, to = end < at + room ? end : at + room;
		if (from >= to || (piece[i].from == c->rank) != in)
			continue;
		char *mine = (char *)piece[i].data + (from - begin), *there = window + (from - at);
		memcpy(in ? there : mine, in ? mine : there, to - from);
	}
}

int comm_share(struct comm *c, const struct comm_piece *piece, int64_t n, struct err *e)
{
	if (!c || c->ranks == 1)
		return 0;
	size_t all = 0, room = (size_t)c->ranks * WINDOW;
	for (int64_t i = 0; i < n; i++)
		all += piece[i].bytes;
	for (size_t at = 0; at < all; at += room) {
		char *window = next_windows(c);
		copy_pieces(c, piece, n, at, room, window, true);
		if (comm_barrier(c, e))
			return -1;
		copy_pieces(c, piece, n, at, room, window, false);
	}
	return 0;
}

/* ---- sums ---- */

/* Elements [first, end) of all ranks' windows, added into the first of them. */
static void add_ranks(float *window, int ranks, int64_t first, int64_t end)
{
	for (int q = 1; q < ranks; q++) {
		const float *x = window + q * WINDOW_FLOATS;
		for (int64_t i = first; i < end; i++)
			window[i] += x[i];
	}
}

/* Each rank puts its own into a window, adds up its share of all windows, and takes the whole. */
static int sum_through_host(struct comm *c, const struct kernels *k, float *x, int64_t n, struct err *e)
{
	float *window = (float *)(void *)next_windows(c);
	size_t bytes = (size_t)n * sizeof *x;
	k->get(k->ctx, window + c->rank * WINDOW_FLOATS, x, bytes);
	if (comm_barrier(c, e))
		return -1;
	add_ranks(window, c->ranks, n * c->rank / c->ranks, n * (c->rank + 1) / c->ranks);
	if (comm_barrier(c, e))
		return -1;
	k->put(k->ctx, x, window, bytes);
	return 0;
}

int comm_sum(struct comm *c, const struct kernels *k, float *x, int64_t n, struct err *e)
{
	char why[512];
	if (!c || c->ranks == 1)
		return 0;
	if (c->device) {
		if (c->device->sum(c->device->ctx, x, n, why, sizeof why))
			return err_set(e, "%s: %s", k->name, why);
		return 0;
	}
	for (int64_t at = 0; at < n; at += WINDOW_FLOATS)
		if (sum_through_host(c, k, x + at, n - at < WINDOW_FLOATS ? n - at : WINDOW_FLOATS, e))
			return -1;
	return k->sync(k->ctx, why, sizeof why) ? err_set(e, "%s: %s", k->name, why) : 0;
}

int comm_device(struct comm *c, const struct kernels *k, bool shared, struct err *note, struct err *e)
{
	struct shared *s = c ? c->shared : NULL;
	char why[512] = "";
	err_set(note, "%s", "");
	if (!c || c->ranks == 1 || strncmp(k->name, "cuda", 4))
		return 0;
	if (shared) {
		err_set(note, "ranks share a GPU, which NCCL does not do: gradients are summed through the host");
		return 0;
	}
	/* rank 0 says whether, for all, so that no rank waits for one that cannot */
	if (comm_first(c))
		s->device_there = kernels_cuda_comm_id(s->device_id, why, sizeof why) == 0;
	if (comm_barrier(c, e))
		return -1;
	if (!s->device_there) {
		err_set(note, "%s%sgradients are summed through the host", why, *why ? ": " : "");
		return 0;
	}
	c->device = kernels_cuda_comm(k, s->device_id, c->rank, c->ranks, why, sizeof why);
	return c->device ? 1 : err_set(e, "%s", why);
}
