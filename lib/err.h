/*
 * err - one line that says what went wrong, for the user to read.
 *
 * The library never prints and never exits: a function that can fail for a
 * reason a user can act on takes a `struct err *` and returns -1 with the line
 * filled in: lower case, no full stop, names in single quotes, both numbers
 * where two numbers disagree.  The tool prints it after its own name.
 */
#ifndef LIB_ERR_H
#define LIB_ERR_H

#include <stdarg.h>

struct err {
	char msg[1024]; /* always terminated; cut with "..." where too long */
};

/* Sets the line; always returns -1, so that callers write `return err_set(e, ...)`. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and the text of errno behind it. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "WHERE: " in front of the line that is there; always returns -1. */
int err_where(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
