/*
 * par - a small pool of threads.
 *
 * par_run hands out items; an item owns its outputs, so how they are split
 * never changes a result.  One par_run at a time per pool; not from inside an
 * item.
 */
#ifndef LIB_PAR_H
#define LIB_PAR_H

#include <stdint.h>

struct par;

/* threads <= 0: as many as this process may run on.  Never fails: with fewer threads than asked it is slower. */
struct par *par_new(int threads);
void par_free(struct par *p);
int par_threads(const struct par *p);
/* What 0 threads are: as many as this process may run on. */
int par_usable(void);

/* Calls fn(arg, i, worker) once for each 0 <= i < n, 0 <= worker < par_threads; returns when all are done.
 * The signature is that of struct kn_par, so that a pool can be lent to the kernels. */
void par_run(void *pool, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);

#endif
