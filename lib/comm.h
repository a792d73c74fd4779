/*
 * comm - what the ranks of one training run tell each other: processes of one machine, numbered from 0.
 *
 * Each is a fork of one process (lib/ranks.h) and makes the same calls in the same order; a call returns when this
 * rank's part is done.  A NULL comm is a rank alone: 0 of 1, and every call does nothing and succeeds.
 *
 * What they hand over goes through memory that all of them map, a window at a time; sums of a device's memory can go
 * over NCCL instead (comm_device).  A sum of n ranks is ((x0 + x1) + x2) + ... + x[n-1], element by element, in
 * float32, whichever way it goes: all ranks have the same bits, and the way does not change them.
 *
 * When a rank is lost somebody says so (comm_fail), and every call of the others returns -1 with that line, at once
 * where they wait; a call that all ranks have made already succeeds.
 */
#ifndef LIB_COMM_H
#define LIB_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lib/err.h"

#define COMM_MAX_RANKS 64

struct comm;

/* Before the fork, in the process that becomes rank 0; 1 <= ranks <= COMM_MAX_RANKS.  NULL: *e, no memory. */
struct comm *comm_new(int ranks, struct err *e);
/* In a fork of it: this process is rank `rank` from now on. */
void comm_join(struct comm *c, int rank);
/* This process's part of it; the others go on. */
void comm_free(struct comm *c);

int comm_rank(const struct comm *c);
int comm_ranks(const struct comm *c);
/* Is this rank 0, which reads, writes and speaks for all? */
bool comm_first(const struct comm *c);

/* Returns when all ranks have called it. */
int comm_barrier(struct comm *c, struct err *e);

/* Host memory that one rank has and all are to have. */
struct comm_piece {
	void *data; /* [bytes]; read in rank `from`, overwritten in the others; NULL only where bytes is 0 */
	size_t bytes;
	int from;
};
/* All ranks give the same list but for the addresses. */
int comm_share(struct comm *c, const struct comm_piece *piece, int64_t n, struct err *e);

/* x[n] in k's memory becomes the sum over ranks.  -1 also when the device fails. */
int comm_sum(struct comm *c, const struct kernels *k, float *x, int64_t n, struct err *e);

/*
 * Once, when the backend is open: sums of k's memory go from device to device by NCCL where that can be: not for
 * backends of the host, not where ranks share a device (`shared`), not without libnccl.so.2.  1: by NCCL; 0: through
 * the host, with *note why where k is a device ("" where it is none); -1.
 */
int comm_device(struct comm *c, const struct kernels *k, bool shared, struct err *note, struct err *e);

/* Ends the calls of all ranks with this line; only the first one counts.  By a rank, or the process that watches them;
 * from any thread. */
void comm_fail(struct comm *c, const char *why);
/* True, with the line, when that has happened. */
bool comm_failed(const struct comm *c, struct err *e);

#endif
