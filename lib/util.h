/*
 * util - memory that does not fail, sizes that do not wrap, hashes, the clock.
 *
 * The x functions end the process with one line when memory is out: nothing
 * that a caller could do then is better.  Everything else reports.
 */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

void *xmalloc(size_t bytes);
/* The process reads a file through a mapping: when it turns out shorter than it should be, or cannot be read, the
 * kernel sends SIGBUS, and there is nowhere to return an error to.  From here on the end is one line that names the
 * file, and status 1. */
void guard_mapping(const char *path);
void *xcalloc(size_t n, size_t size); /* product checked */
void *xrealloc(void *p, size_t bytes);
void *xrealloc_array(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);

/* *out = a*b, a+b; false when it does not fit. */
bool size_mul(size_t a, size_t b, size_t *out);
bool size_add(size_t a, size_t b, size_t *out);

/* 64-byte aligned, zeroed; freed with free(). */
void *xaligned(size_t bytes);

/* SipHash-2-4 of the bytes under a key of two words (Aumasson, Bernstein 2012). */
uint64_t hash_bytes(const void *data, size_t len, uint64_t k0, uint64_t k1);
/* CRC-32C (Castagnoli), reflected, as in iSCSI; start with 0, feed the result back in. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* Seconds on a clock that never goes back. */
double now_seconds(void);

/* Closest of n words to `word` by edit distance, or NULL when none is near. */
const char *nearest_word(const char *word, const char *const *words, size_t n);

/* Whole-string number parsing, independent of the locale; false unless all of s is a number in range. */
bool parse_i64(const char *s, int64_t *out);
bool parse_double(const char *s, double *out); /* finite only */

/* write(2)s all of it, retrying on EINTR; 0, or -1 with errno. */
int write_all(int fd, const void *data, size_t len);

#endif
