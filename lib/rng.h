/*
 * rng - randomness that depends on what is drawn, never on when.
 *
 * Philox4x32-10 (Salmon et al. 2011, the Random123 library).  The key says
 * which stream: a hash of purpose, seed, run and epoch.  The counter says
 * which draw: record id, sample, token.  So a draw is the same for every batch
 * size, thread count, shard and restart.
 */
#ifndef LIB_RNG_H
#define LIB_RNG_H

#include <stddef.h>
#include <stdint.h>

/* purpose: "sample", "shuffle", "init", ...; run: "" outside a loop. */
uint64_t rng_key(const char *purpose, uint64_t seed, const char *run, uint64_t epoch);

/* The 64-bit name of a record id, for the counter. */
uint64_t rng_id(const char *id, size_t len);

/* Four words for one place. */
void rng_words(uint32_t out[4], uint64_t key, uint64_t id, uint32_t a, uint32_t b);

/* Uniform in (0,1), a multiple of 2^-53 plus 2^-54: never 0, never 1; words 0 and 1 of the place. */
double rng_uniform(uint64_t key, uint64_t id, uint32_t a, uint32_t b);

/* Standard normal (Box-Muller on the four words, in double). */
double rng_normal(uint64_t key, uint64_t id, uint32_t a, uint32_t b);

/* A permutation of 0..n-1 in out (Fisher-Yates over the key; unbiased by rejection). */
void rng_shuffle(int64_t *out, int64_t n, uint64_t key);

#endif
