/*
 * record_doc - what lib/record.cc (simdjson, std::to_chars) gives to lib/record_fields.c: a parsed text, and places in
 * it. Not for others.
 */
#ifndef LIB_RECORD_DOC_H
#define LIB_RECORD_DOC_H

#include "lib/record.h"

struct record_doc;

struct record_doc *record_doc_new(void);
void record_doc_free(struct record_doc *d);
/* Any JSON value, copied; -1 and *e when it is not JSON as record.h has it. */
int record_doc_parse(struct record_doc *d, const char *text, size_t len, struct err *e);
/* The value at a place; ROOT is the whole.  json.at is the place of a value. */
enum { RECORD_DOC_ROOT = 1 };
void record_doc_value(const struct record_doc *d, size_t at, struct json *out);
/* The integer that a number is, written so or as 5.0. */
bool record_doc_whole(const struct json *v, int64_t *out);
/* True for a number that was written as an integer of 64 bits, signed or not. */
bool record_doc_integer(const struct json *v);
/* "a number" */
const char *record_doc_kind(enum json_kind k);

#endif
