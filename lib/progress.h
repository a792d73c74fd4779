/*
 * progress - one line on a terminal that says how far, and the closing line.
 *
 * Shown only when standard error is a terminal and standard output is not a pipe (the last tool of a pipe speaks), at
 * most ten times a second; nothing when TERM is dumb.
 */
#ifndef LIB_PROGRESS_H
#define LIB_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress;

/* quiet: a progress that shows nothing (never NULL). */
struct progress *progress_new(const char *tool, bool quiet);
void progress_free(struct progress *p); /* wipes the line */
/* records so far, tokens so far (0: not shown), bytes read of total (-1: unknown; ETA only when known). */
void progress_show(struct progress *p, int64_t records, int64_t tokens, int64_t bytes, int64_t total);
/* Text for a terminal: control characters and escape sequences made visible; into a buffer of the caller. */
void progress_escape(char *out, size_t cap, const char *text, size_t len);

#endif
