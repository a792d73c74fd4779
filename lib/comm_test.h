/*
 * comm_test - ranks that are forks of a test.
 */
#ifndef LIB_COMM_TEST_H
#define LIB_COMM_TEST_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/comm.h"
#include "lib/test.h"

/* What the ranks find: the first complaint, and memory for them to count in. */
struct board {
	_Atomic int bad_line;
	_Atomic int64_t count[4];
};
static struct board *board;

static inline void board_open(void)
{
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* CHECK, in a rank. */
#define EXPECT(x)                                                                                                      \
	do {                                                                                                           \
		int none = 0;                                                                                          \
		if (!(x))                                                                                              \
			atomic_compare_exchange_strong(&board->bad_line, &none, __LINE__);                             \
	} while (0)

typedef void rank_fn(struct comm *c, int rank);

/* Runs fn in n processes.  lost: a rank that is killed after it has stopped itself, or -1. */
static inline void in_ranks(int n, int lost, rank_fn *fn)
{
	struct err e;
	pid_t pid[COMM_MAX_RANKS];
	struct comm *c = comm_new(n, &e);
	CHECK(c);
	atomic_store(&board->bad_line, 0);
	for (int i = 0; i < n; i++)
		if (!(pid[i] = fork())) {
			alarm(60); /* a rank that hangs is a failure, not the end of the tests */
			comm_join(c, i);
			fn(c, i);
			comm_free(c);
			_exit(0);
		}
	int status;
	if (lost >= 0) {
		waitpid(pid[lost], &status, WUNTRACED);
		CHECK(WIFSTOPPED(status));
		kill(pid[lost], SIGKILL);
		waitpid(pid[lost], &status, 0);
		comm_fail(c, "rank was killed");
		comm_fail(c, "a second line does not count");
	}
	for (int i = 0; i < n; i++)
		if (i != lost) {
			waitpid(pid[i], &status, 0);
			CHECK_INT(status, 0);
		}
	CHECK_INT(atomic_load(&board->bad_line), 0); /* the line of EXPECT */
	comm_free(c);
}

#endif
