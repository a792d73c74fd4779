/*
 * progress - one line on a terminal that says how far, and the closing line.
 *
 * Shown only when standard error is a terminal and standard output is neither a pipe (the last tool of a pipe speaks)
 * nor a terminal (its records are there to see), at most ten times a second; nothing when TERM is dumb.
 */
#ifndef LIB_PROGRESS_H
#define LIB_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress;

/* quiet: a progress that shows nothing (never NULL). */
struct progress *progress_new(const char *tool, bool quiet);
void progress_free(struct progress *p); /* wipes the line */
/* records so far, tokens so far (0: not shown), bytes read of total (-1: unknown; ETA only when known). */
void progress_show(struct progress *p, int64_t records, int64_t tokens, int64_t bytes, int64_t total);
/* Takes the line away, so that something else can be printed; the next progress_show brings it back. */
void progress_wipe(struct progress *p);
/* Text for a terminal: control characters (but newline and tab) as \u001b, cut to what fits into the caller's buffer,
 * seven bytes of which stay free. */
void progress_escape(char *out, size_t cap, const char *text, size_t len);

#endif
