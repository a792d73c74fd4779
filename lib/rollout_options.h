/*
 * rollout_options - options of a sampler as text: what the user wrote, and what a run remembers of it.
 */
#ifndef LIB_ROLLOUT_OPTIONS_H
#define LIB_ROLLOUT_OPTIONS_H

#include <stdint.h>

#include "lib/str.h"

/* --max-tokens N or LO..HI: the upper one; misuse ends the process. */
int64_t rollout_parse_range(const char *text, int64_t *low);
/* --lag L or none (ROLLOUT_LAG_NONE). */
int64_t rollout_parse_lag(const char *text);
/* Appends " NAME=VALUE" to the options that decide rollouts, blanks in the value as %20. */
void rollout_option_add(struct str *s, const char *name, const char *value);

#endif
