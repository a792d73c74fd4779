/*
 * batch_stage - a filter over whole batches: records wait until their batch is whole, its rows are computed in order,
 * and the records go on in the order in which they came.
 *
 * Which batch a record belongs to, and its place in it, are in the record (batch, row, batch_size); rows may arrive in
 * any order, and one that is there twice is an error.  Where records name no batch, one is batch_size records or all;
 * with `batch` alone, as from another program, one ends where the next number comes.  Records that carry `skip` or
 * `error` keep their place.  Those of an evaluation (`eval` is true) have no part in a batch and do not wait.
 */
#ifndef LIB_BATCH_STAGE_H
#define LIB_BATCH_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/loop.h"
#include "lib/tool.h"

/* A record that waits. */
struct batch_row {
	char *line;
	size_t len;
	const char *source;
	int64_t number, row; /* line of the source, place in the batch */
	void *data;          /* the stage's own, data_size bytes in the batch's arena */
};

struct whole_batch {
	struct whole_batch *next;
	int64_t number, size; /* -1 and 0: records that name no batch */
	int64_t n, cap;
	struct batch_row *record; /* [n] in the order in which they came */
	struct arena arena;
};

struct batch_stage {
	/* set by the stage */
	int64_t batch_size; /* of streams that do not say; 0: all of them */
	size_t data_size;
	void *arg;
	/* Reads what the batch needs of a record into data (zeroed before).  -1: the record failed; with -k it keeps
	 * its place, with data as it was left. */
	int (*read)(struct tool *t, struct record *r, bool passes, void *data, struct arena *a, void *arg,
	            struct err *e);
	/* All rows of the batch in order: computes.  -1 with *bad the row that failed (with -k the record is marked,
	 * its data given to leave_out, and compute is called again), or -1 when it was none. */
	int (*compute)(struct whole_batch *b, struct batch_row **order, int64_t *bad, void *arg, struct err *e);
	void (*leave_out)(void *data, void *arg);
	/* What goes on with the record; it holds only what it came with and cannot be read (record_resume). */
	int (*add)(struct record *r, const struct batch_row *row, void *arg, struct err *e);
	/* NULL, or what goes on with a record of an evaluation. */
	int (*evaluation)(struct tool *t, struct record *r, void *arg, struct err *e);
	/* private */
	struct whole_batch *batches; /* those that are not whole yet, in the order of their first record */
	bool named;                  /* the stream names its batches */
};

/* A tool_process and a finish over a struct batch_stage; the tool takes_all. */
int batch_stage_process(struct tool *t, struct record *r, void *arg, struct err *e);
int batch_stage_finish(struct tool *t, void *arg, struct err *e);
void batch_stage_release(struct batch_stage *s);

/*
 * For stages with memory, where the stream begins with a batch that is not the run's first: calls fn with the run as
 * the store has it.  store: NULL is an error, which says that `what` is there; so is a run that stands elsewhere.
 */
int batch_stage_memory(const char *store, const char *run, int64_t batch, const char *what,
                       int (*fn)(const struct loop_run *r, void *arg, struct err *e), void *arg, struct err *e);
/* --store, --run over a struct batch_stage_memory_config. */
struct batch_stage_memory_config {
	const char *store, *run;
};
extern const struct opt batch_stage_memory_options[];

#endif
