/*
 * tool - what every filter does alike: the loop over records, and the end.
 *
 * main() parses options, fills a struct tool, and calls tool_run with its process function, which reads fields,
 * computes by calling the library, and adds fields.  The loop here owns: where records come from (operands, or standard
 * input), position in messages, -k (a bad record goes on with an `error` field), -z, -q, progress, flushing before it
 * blocks on input, noticing that the reader of our output has gone, the closing line of counts, and the exit status: 0
 * done, 1 failed, 3 done but records carry errors.
 *
 * A record that carries `error` or `skip` (not null) from a stage before is passed on untouched.  With -k a record on
 * which process fails goes on without what was added to it and with `error`; a line that is no record at all becomes
 * {"error":...}.  A fault of the stream itself (a cut frame, a read error) always ends the tool.
 */
#ifndef LIB_TOOL_H
#define LIB_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/record.h"
#include "lib/stream.h"

/* The options that every filter has: a group of its own in the tool's table, over a struct tool_config. */
struct tool_config {
	bool keep_going; /* -k */
	bool zstd;       /* -z */
	bool quiet;      /* -q */
};
extern const struct opt tool_options[];

struct tool {
	struct tool_config config;
	struct sink *out;
	struct record *record; /* the current one */
	struct arena arena;    /* reset for each record */
	struct stream *in;
	const char *source; /* for messages: file name, lives as long as the tool */
	int64_t line;
	int64_t n_in, n_out, n_errors, n_skipped;
	/* Further counts for the closing line ("12 unscored"); the name is borrowed. */
	struct {
		const char *name;
		int64_t n;
	} count[4];
	int64_t n_tokens;      /* for progress; counted by process */
	bool fails_when_empty; /* training tools: no record at all is an error */
	bool takes_all;        /* process sees records that carry `error` or `skip` too; else they pass as they are */
	bool no_record;    /* out: the last -1 of tool_next was a line that is no record, and it can be called again */
	bool drops_errors; /* whose output is no stream of records: with -k one that fails is counted, not written */
	/* Gets each line that is read, blank ones left out, and at the end of the last input NULL; NULL: nobody does.
	 * -1 with the whole message. */
	int (*feed)(void *arg, const char *line, size_t len, struct err *e);
	void *feed_arg;
	/* For tools that hold records back: writes them, called before a line that is no record goes on as an error,
	 * and when an input fails (NULL: none).  -1 with the whole message. */
	int (*drain)(struct tool *t, void *arg, struct err *e);
	void *drain_arg;
	/* private */
	char **operands;
	int n_operands, next_operand;
	bool terminal, own_out;
	double flushed;
	double started;
	struct progress *progress;
};

/* 0: the record goes on with what was added; 1: it was consumed (nothing is written for it); -1: it failed, *e (without
 * position); -2: the tool failed, also with -k: *e is the whole message. */
typedef int (*tool_process)(struct tool *t, struct record *r, void *arg, struct err *e);

void tool_init(struct tool *t, const struct tool_config *config);
/* Runs process over all records of the operands ("-" or none: standard input) and returns the exit status; prints what
 * went wrong.  Opens the sink on standard output unless t->out is set.  finish (may be NULL) is called at the end of
 * input and may write further records with tool_write. */
int tool_run(struct tool *t, char **operands, int n_operands, tool_process process,
             int (*finish)(struct tool *t, void *arg, struct err *e), void *arg);

/* ---- the parts, for tools whose loop differs (batches) ---- */
/* The next record, in t->record: 1; 0 at the end of the last input; -1: *e with position.  Flushes t->out before it
 * blocks; while it waits it notices that the reader of the output has gone (-1).  Resets t->arena. */
int tool_next(struct tool *t, struct err *e) __attribute__((warn_unused_result));
int tool_open(struct tool *t, char **operands, int n_operands, struct err *e); /* before the first tool_next */
/* Opens the first input, for those who wait on t->in themselves; tool_next would else. */
int tool_open_input(struct tool *t, struct err *e);
int tool_write(struct tool *t, struct record *r, struct err *e);
/* True for a record that carries `error` or `skip`; counts it. */
bool tool_passes(struct tool *t, const struct record *r);
/* r failed with *e: puts the position in front (line 0: t->line); with -k adds `error` instead of what was added, and
 * counts it: 0; else -1. */
int tool_mark(struct tool *t, struct record *r, int64_t line, struct err *e);
/* tool_mark, and writes the record unless t->drops_errors. */
int tool_reject(struct tool *t, struct record *r, int64_t line, struct err *e);
/* For tools that work on when the input has ended: shows `records` and t->n_tokens, and how far they are. */
void tool_progress(struct tool *t, int64_t records, int64_t done, int64_t total);
/* Closes everything, prints the line of counts (unless -q) or the error (status != 0), and returns the exit status. */
int tool_end(struct tool *t, int failed, const struct err *e);

#endif
