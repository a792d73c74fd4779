/*
 * record_raw - the bytes of a value as they stand in a line.
 *
 * Values of a record (lib/record.h) are parsed; printed again, 1.50 would be 1.5 and a \u00e9 an é.  Tools that put
 * whole records into others, or take them out, need the bytes.  All functions are for text that record_parse has
 * accepted: they only find where values begin and end, and check nothing.
 */
#ifndef LIB_RECORD_RAW_H
#define LIB_RECORD_RAW_H

#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/record.h"

/* The bytes of one value, borrowed from its line. */
struct raw {
	const char *text;
	size_t len;
};

/* The value of a top-level field of the input line: 1; 0 when the record came without it (fields that were added do
 * not count).  Borrowed until the record changes. */
int record_raw_field(struct record *r, const char *name, struct raw *out);
/* The same for an array, as its elements (memory from the arena): 1; 0 when it is not there; -1 when it is no array. */
int record_raw_array(struct record *r, const char *name, struct raw **out, int64_t *n, struct arena *a, struct err *e);
/* Each element of an array, each value of an object, in document order; stops at the first non-zero result and returns
 * it. */
int record_raw_each(struct raw v, int (*fn)(void *arg, int64_t i, struct raw item), void *arg);

#endif
