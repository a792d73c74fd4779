/*
 * ranks - one training tool as several processes: forks, what they read, and how they end together.
 *
 * The process that was started is rank 0; it reads the input, writes the store and speaks.  The others run the same
 * program: they get the lines of the input from it, write to /dev/null, and only read the store.  What they say is kept
 * for the case that they fail.
 *
 * When a rank ends before it should, by an error or a signal, all of them end within a second with one line that names
 * it, and exit status 1: where rank 0 is in a call of the comm, by the error of that call; else the process ends where
 * it is, which a store bears (lib/store.h).  That, and the line, are what this module does that a library else does
 * not. When rank 0 ends in any way the others are killed with it; signals of the keyboard are rank 0's to take.
 */
#ifndef LIB_RANKS_H
#define LIB_RANKS_H

#include <stdint.h>

#include "lib/cli.h"
#include "lib/comm.h"
#include "lib/err.h"
#include "lib/tool.h"

struct ranks_config {
	int64_t ranks;
};
/* --ranks */
extern const struct opt ranks_options[];

struct ranks {
	struct comm *comm; /* NULL: there is one rank */
	/* private */
	struct ranks_watch *watch; /* of rank 0 */
};

/*
 * Forks: returns in every rank, before anything is opened that a fork must not carry (a store, a device, threads) and
 * before tool_open.  t, operands: of the tool; in the ranks that read from rank 0 they are changed to do so.
 */
int ranks_begin(struct ranks *r, const struct ranks_config *c, struct tool *t, int *n_operands, struct err *e);

/* The end of this rank, before tool_end: rank 0 waits for the others, or with `failed` ends them.  Returns failed, or
 * -1 with *e when another rank has failed. */
int ranks_end(struct ranks *r, int failed, struct err *e);

#endif
