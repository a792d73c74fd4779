/*
 * reward_value - what may be the value of reward_NAME, checked before it is added to a record.
 *
 * A number; null (it cannot be scored); an array of one number per token; an array of [start, end, x] spans with
 * 0 <= start <= end; or an object whose "reward" is one of these.
 */
#ifndef LIB_REWARD_VALUE_H
#define LIB_REWARD_VALUE_H

#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/record.h"

/* Adds v under the name.  n_tokens: the length of an array of numbers, -1 for any.  -1: v is none of these ("the answer
 * ..."), or the name is there. */
int reward_value_add(struct record *r, const char *name, const struct json *v, int64_t n_tokens, struct arena *a,
                     struct err *e);

#endif
