/*
 * coprocess - a program that answers one line for each line that it is given.
 *
 * One request is in flight at a time.  What is written and read goes through poll, so a program that does not read, or
 * writes more than it was asked for, cannot block the caller.  After anything but one whole line in time the process
 * and its group are killed; the next request starts a new one.  A line too many is seen when it is there before the
 * next request, else at the end (coprocess_free): what comes between the two cannot be told from the next answer, but
 * for a program that is run for each request.
 *
 * With `once` the program is run anew for each request: its input ends behind the line, and its answer is all that it
 * wrote, one line, when it has ended with status 0.
 *
 * The program runs in a process group of its own, with PYTHONUNBUFFERED=1, standard error as ours, no other descriptor,
 * default signal actions, and is killed when this process ends (Linux).
 */
#ifndef LIB_COPROCESS_H
#define LIB_COPROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/cli.h"
#include "lib/err.h"

struct coprocess_config {
	char *const *argv;  /* borrowed, NULL at the end; found along PATH */
	size_t longest;     /* bytes of an answer */
	double timeout;     /* seconds from the request to its answer; 0: none */
	int64_t max_memory; /* MiB of address space of each of its processes; 0: no limit */
	bool once, network; /* network false: a network namespace of its own, without any interface up */
};
/* --once, --timeout, --max-memory, --network */
extern const struct opt coprocess_options[];

enum coprocess_state {
	COPROCESS_IDLE,     /* takes a request; no process may be running yet */
	COPROCESS_WORKING,  /* a request is in flight */
	COPROCESS_ANSWERED, /* coprocess_answer has the line */
	COPROCESS_FAILED,   /* no answer in time, too long a one, or more than one line */
	COPROCESS_DIED      /* it ended, or closed its output, before it answered */
};

struct coprocess;
struct coprocess *coprocess_new(const struct coprocess_config *config);
/* Closes its input, gives it `patience` seconds to end by itself, kills what is left of its group.  False when it has
 * written what nobody asked for: its answers may belong to other requests then. */
bool coprocess_free(struct coprocess *c, double patience);

/* Begins a request: the line (copied) and a newline.  Starts the program where none runs.  -1: it cannot be started. */
int coprocess_ask(struct coprocess *c, const char *line, size_t len, struct err *e);
enum coprocess_state coprocess_state(const struct coprocess *c);
/* The answer without its newline, terminated; borrowed until the next request. */
const char *coprocess_answer(const struct coprocess *c, size_t *len);
/* Why it failed or died: "no answer within 5 seconds"; borrowed. */
const char *coprocess_why(const struct coprocess *c);
/* Makes it idle again after an answer or a failure. */
void coprocess_done(struct coprocess *c);
/* Kills it: its answer made no sense, so the next one might not either.  It is idle then. */
void coprocess_reject(struct coprocess *c);

/*
 * Moves the requests of n processes on.  With wait, returns when one of them is no longer working, or when the pipe
 * `watch` (-1: none) has lost its reader; without, at once.  True unless that pipe has lost its reader.
 */
bool coprocess_run(struct coprocess *const *c, int n, bool wait, int watch);

#endif
