/*
 * str_float - the shortest decimal of a float32, quickly, for the magnitudes that records hold.
 *
 * The result is byte for byte that of std::to_chars without a format: the fewest digits that read back as the same
 * float, of those the nearest; fixed or scientific, whichever is shorter.
 */
#ifndef LIB_STR_FLOAT_H
#define LIB_STR_FLOAT_H

/* Room that is needed at p, and most characters of any float (-1.23456789e-38). */
enum { STR_FLOAT_ROOM = 32, STR_FLOAT_MAX = 16 };

/*
 * Writes x at p (no NUL) and returns the end, behind which more may be overwritten; NULL for what it leaves to
 * std::to_chars: 0, powers of two, what is not finite, and magnitudes outside 1e-4 .. 1e6.
 */
char *str_put_float(char *p, float x);

#endif
