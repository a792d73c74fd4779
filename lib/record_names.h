/*
 * record_names - names that a user gives to a field.
 */
#ifndef LIB_RECORD_NAMES_H
#define LIB_RECORD_NAMES_H

#include <stdbool.h>

/* Letters, digits and _, at least one: what jq takes behind a dot. */
bool record_name_plain(const char *name);
/* A field of rl-record(5) that a stage reads, and would misread if it held an object. */
bool record_name_taken(const char *name);

#endif
