/*
 * stream - lines in and bytes out, plain or zstd.
 *
 * Input is recognised by content: zstd frames (also several in a row, also
 * skippable ones) or plain text.  End of input is proved, not assumed: a
 * stream that stops inside a frame, or a frame whose checksum is wrong, is an
 * error, and the lines of that frame are not given out: a frame's text counts
 * when the frame is whole.  Two exceptions keep memory and time bounded: a frame
 * with more than 16 MiB of text, and one whose writer has paused inside it for
 * half a second, are given out as they come (ours are at most 4 MiB, and end at
 * every flush).  Nothing is written to a full disk or a closed pipe in silence.
 */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define STREAM_MAX_LINE ((size_t)1 << 30) /* a longer line is an error that says so */

struct stream; /* input */
struct sink;   /* output */

/* path "-" is standard input.  NULL with *e filled in when it cannot be opened.  A BOM at the start is skipped. */
struct stream *stream_open(const char *path, struct err *e);
/* Takes over the descriptor; name is for messages. */
struct stream *stream_open_fd(int fd, const char *name, struct err *e);
void stream_close(struct stream *s);

/*
 * The next line.  1: *line points at len bytes (no newline, no CR before it, then a NUL), borrowed until the next call;
 * 0: the input is complete; -1: it is not, *e says why ("FILE:LINE: ...").  A last line without newline is a line.
 */
int stream_next(struct stream *s, char **line, size_t *len, struct err *e) __attribute__((warn_unused_result));

/* True when a call of stream_next would not wait: a whole line is in memory, or the end is known. */
bool stream_ready(const struct stream *s);
/* Takes in what can be had without waiting, until stream_ready; says whether it is.  The last line stays borrowed no
 * longer. */
bool stream_poll(struct stream *s);
/* Waits until stream_ready: true; false when the descriptor `watch` (-1: none; a pipe we write to) has lost its reader.
 */
bool stream_wait(struct stream *s, int watch);
/* The descriptor, for poll(); -1 at the end. */
int stream_fd(const struct stream *s);
/* For messages: the file's name ("standard input") and the number of the last line given out, from 1. */
const char *stream_name(const struct stream *s);
int64_t stream_line(const struct stream *s);
/* Bytes of the input consumed so far, and its size (-1 for a pipe): for progress. */
int64_t stream_consumed(const struct stream *s);
int64_t stream_size(const struct stream *s);

/* Output to descriptor fd (not closed by sink_close unless it is > 2); zstd: level 1 frames of at most 4 MiB with
 * checksums. Refuses (NULL, *e) compressed bytes to a terminal. */
struct sink *sink_open_fd(int fd, const char *name, bool zstd, struct err *e);
/* Writes a file beside PATH and renames it into place in sink_close, after fsync; an existing PATH is replaced. */
struct sink *sink_open_file(const char *path, bool zstd, struct err *e);
int sink_write(struct sink *s, const void *data, size_t len, struct err *e) __attribute__((warn_unused_result));
/* Everything written so far can be read, and proved, by the other side (ends the zstd frame if something is in it). */
int sink_flush(struct sink *s, struct err *e) __attribute__((warn_unused_result));
/* Flushes, ends the frame, checks, closes; 0 or -1.  s is gone either way. */
int sink_close(struct sink *s, struct err *e) __attribute__((warn_unused_result));
/* Forgets what sink_open_file began; nothing is renamed. */
void sink_abandon(struct sink *s);

#endif
