/*
 * run_log - what the training tools write into the store's log, and the metrics back out of it.
 *
 *     {"tool":..., "run":..., "slot":..., "version":..., "parent":..., "seed":..., "records":..., "options":{...},
 *      "operands":[...], "metrics":{...}}
 *
 * Metrics stand last and are given out byte for byte, so that a restart prints what was printed before.
 */
#ifndef LIB_RUN_LOG_H
#define LIB_RUN_LOG_H

#include <stdint.h>

#include "lib/err.h"
#include "lib/store.h"
#include "lib/str.h"

/* Appends an entry; options and metrics are JSON objects, operands an array. */
void run_log_entry(struct str *out, const char *tool, const char *run, const char *slot, int64_t version, int64_t seed,
                   int64_t records, const char *options, const char *operands, const char *metrics);

/* The metrics of a tool's run whose versions are above `base`, in order; fn returns non-zero to stop (then -1 is
 * returned with *e as fn left it). */
int run_log_each(struct store *s, const char *tool, const char *run, const char *slot, int64_t base,
                 int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e);

#endif
