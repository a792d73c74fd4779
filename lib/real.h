/*
 * real - arrays of kn_real (kernels/kernels.h) outside a backend: sizes, addresses, and the way to and from the host,
 * where numbers are float32.
 */
#ifndef LIB_REAL_H
#define LIB_REAL_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

static inline size_t real_bytes(const struct kernels *k, int64_t n)
{
	return (size_t)n * (k->real == KN_F32 ? 4 : 2);
}

/* Element i of p; NULL for NULL. */
static inline kn_real *real_at(const struct kernels *k, const kn_real *p, int64_t i)
{
	void *at = p ? (char *)(uintptr_t)p + (ptrdiff_t)real_bytes(k, 1) * i : NULL;
	return at;
}

static inline void real_zero(const struct kernels *k, kn_real *p, int64_t n)
{
	k->zero(k->ctx, p, real_bytes(k, n));
}

/* host[n]; put rounds to nearest even. */
void real_get(const struct kernels *k, float *host, const kn_real *p, int64_t n);
void real_put(const struct kernels *k, kn_real *p, const float *host, int64_t n);

#endif
