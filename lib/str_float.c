/* str_float - see str_float.h */
#include "lib/str_float.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * x = c 2^-h with c of 24 bits and 4 <= h <= 37.  With 10^-n the largest power of ten not above 2^-h, x lies between s
 * and s + 1 times it, and every float has a decimal of that unit inside its rounding interval; at most one of ten times
 * the unit (R. Giulietti, The Schubfach way to render doubles, 2021).  As h and n are small here, all of it is exact in
 * 64 bits, in units of 10^-n / 2^h, of which c 10^n is x and 10^n / 2 either side its interval.
 */
static const uint64_t power[] = {1,        10,        100,        1000,        10000,        100000,       1000000,
                                 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000};

struct decimal {
	uint32_t digits; /* below 2^24 * 10 */
	int n;           /* how many of them stand after the point */
};

static struct decimal shortest(uint32_t c, int h)
{
	int n = (h * 1262611 + 4194303) >> 22; /* ceil(h log10 2) */
	/* The ends of the interval are no decimals of this unit: they have an odd factor over 2^(h + 1), and n <= h. */
	uint64_t twice = power[n], x = c * power[n], one = (uint64_t)1 << h;
	uint64_t s = x >> h, rest = x & (one - 1), tens = s / 10 * 10;
	bool below = 2 * ((s - tens) * one + rest) < twice, above = 2 * ((tens + 10 - s) * one - rest) < twice;
	if (below != above)
		return (struct decimal){(uint32_t)(tens / 10 + above), n - 1};
	below = 2 * rest < twice;
	above = 2 * (one - rest) < twice;
	if (below != above)
		return (struct decimal){(uint32_t)(s + above), n};
	return (struct decimal){(uint32_t)(s + (2 * rest > one || (2 * rest == one && (s & 1)))), n};
}

/* ---- digits ---- */

/* The 8 digits of d, the first in the lowest byte: pairs of four, then of two, then single ones beside each other. */
static uint64_t eight_digits(uint32_t d)
{
	uint64_t four = d / 10000 | (uint64_t)(d % 10000) << 32;
	uint64_t hundreds = four * 10486 >> 20 & 0x0000007f0000007f;
	uint64_t two = hundreds | (four - 100 * hundreds) << 16;
	uint64_t tens = two * 103 >> 10 & 0x000f000f000f000f;
	return (tens | (two - 10 * tens) << 8) + 0x3030303030303030;
}

static int count_digits(uint32_t d)
{
	return 1 + (d >= 10) + (d >= 100) + (d >= 1000) + (d >= 10000) + (d >= 100000) + (d >= 1000000) +
	       (d >= 10000000) + (d >= 100000000);
}

/* Digits stay in a register until they are where they belong; stores run over the end, into room that is asked for. */
static char *put_fixed(char *p, struct decimal v, int len)
{
	__uint128_t digits = (__uint128_t)eight_digits(v.digits % 100000000) << 8 | ('0' + v.digits / 100000000);
	digits >>= 8 * (9 - len);
	if (v.n >= len) { /* 0.00ddd */
		memcpy(p, "0.00", 4);
		p += 2 + v.n - len;
		memcpy(p, &digits, sizeof digits);
		return p + len;
	}
	memcpy(p, &digits, 8); /* six at most before the point */
	p += len - v.n;
	if (!v.n)
		return p;
	*p++ = '.';
	digits >>= 8 * (len - v.n);
	memcpy(p, &digits, 8);
	return p + v.n;
}

char *str_put_float(char *p, float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	int h = 150 - (int)(bits >> 23 & 0xff);
	uint32_t fraction = bits & 0x7fffff;
	float size = x < 0 ? -x : x;
	if (!(size > 1e-4f && size < 1e6f) || !fraction)
		return NULL;
	struct decimal v = shortest(fraction | 0x800000, h);
	while (v.n > 0 && v.digits % 10 == 0) {
		v.digits /= 10;
		v.n--;
	}
	int len = count_digits(v.digits);
	/* 1e-04 is shorter than 0.0001, 1e+05 than 100000 */
	if (v.n - len >= 3 || (!v.n && v.digits % 100000 == 0))
		return NULL;
	*p = '-';
	return put_fixed(p + (x < 0), v, len);
}
