/* util - see util.h */
#include "lib/util.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__attribute__((noreturn)) static void out_of_memory(size_t bytes)
{
	fprintf(stderr, "out of memory: %zu bytes wanted\n", bytes);
	_exit(1);
}

static char mapping_lost[1024];

static void on_bus_error(int number)
{
	(void)number;
	if (write(STDERR_FILENO, mapping_lost, strlen(mapping_lost)) < 0)
		_exit(2);
	_exit(1);
}

void guard_mapping(const char *path)
{
	struct sigaction a = {.sa_handler = on_bus_error};
	snprintf(mapping_lost, sizeof mapping_lost,
	         "%s: a part of '%s' cannot be read: the file is cut short, or its disk failed\n",
	         program_invocation_short_name, path);
	sigaction(SIGBUS, &a, NULL);
}

void *xmalloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);
	if (!p)
		out_of_memory(bytes);
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);
	if (!p)
		out_of_memory(n * size);
	return p;
}

void *xrealloc(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	if (!p)
		out_of_memory(bytes);
	return p;
}

void *xrealloc_array(void *p, size_t n, size_t size)
{
	size_t bytes;
	if (!size_mul(n, size, &bytes))
		out_of_memory(SIZE_MAX);
	return xrealloc(p, bytes);
}

char *xstrndup(const char *s, size_t n)
{
	char *p = xmalloc(n + 1);
	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

bool size_mul(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

bool size_add(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

void *xaligned(size_t bytes)
{
	size_t padded;
	if (!size_add(bytes, 64, &padded))
		out_of_memory(bytes);
	padded &= ~(size_t)63;
	void *p = aligned_alloc(64, padded);
	if (!p)
		out_of_memory(bytes);
	memset(p, 0, padded);
	return p;
}

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t k0, uint64_t k1)
{
	const unsigned char *p = data;
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
	                 k1 ^ 0x7465646279746573};
	size_t left = len;
	for (; left >= 8; left -= 8, p += 8) {
		uint64_t m;
		memcpy(&m, p, 8);
		v[3] ^= m;
		sip_round(v);
		sip_round(v);
		v[0] ^= m;
	}
	uint64_t m = (uint64_t)len << 56;
	for (size_t i = 0; i < left; i++)
		m |= (uint64_t)p[i] << (8 * i);
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Eight tables (slicing by eight): a store verifies gigabytes at start. */
static uint32_t crc_table[8][256];
/* What CRC_LANE zero bytes make of a register, by its bytes; the register is linear in its bits. */
enum { CRC_LANE = 1024 };
static uint32_t crc_lane[4][256];

static uint32_t crc_sliced(uint32_t c, const unsigned char **p, size_t *len)
{
	for (; *len >= 8; *p += 8, *len -= 8) {
		uint64_t x;
		memcpy(&x, *p, 8);
		x ^= c;
		c = 0;
		for (int i = 0; i < 8; i++)
			c ^= crc_table[7 - i][x >> (8 * i) & 255];
	}
	return c;
}

static void crc_init_lane(void)
{
	static const unsigned char zero[CRC_LANE];
	for (int bit = 0; bit < 32; bit++) {
		const unsigned char *p = zero;
		size_t len = sizeof zero;
		crc_lane[bit / 8][1 << bit % 8] = crc_sliced((uint32_t)1 << bit, &p, &len);
	}
	for (int i = 0; i < 4; i++)
		for (int x = 1; x < 256; x++)
			crc_lane[i][x] = crc_lane[i][x & (x - 1)] ^ crc_lane[i][x & -x];
}

__attribute__((constructor)) static void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int b = 0; b < 8; b++)
			c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
		crc_table[0][i] = c;
	}
	for (int t = 1; t < 8; t++)
		for (int i = 0; i < 256; i++)
			crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
	crc_init_lane();
}

#if defined(__x86_64__)
#include <nmmintrin.h>
static uint64_t after_lane(uint64_t c)
{
	return crc_lane[0][c & 255] ^ crc_lane[1][c >> 8 & 255] ^ crc_lane[2][c >> 16 & 255] ^
	       crc_lane[3][c >> 24 & 255];
}

/* An instruction gives its result after three cycles and can begin in each: three lanes side by side, put together
 * behind (Gopal et al. 2011, "Fast CRC computation for iSCSI polynomial using CRC32 instruction"). */
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t c, const unsigned char **p, size_t *len)
{
	uint64_t acc = c;
	for (; *len >= (size_t)3 * CRC_LANE; *p += (size_t)3 * CRC_LANE, *len -= (size_t)3 * CRC_LANE) {
		uint64_t second = 0, third = 0;
		for (size_t i = 0; i < CRC_LANE; i += 8) {
			uint64_t x[3];
			for (size_t lane = 0; lane < 3; lane++)
				memcpy(&x[lane], *p + lane * CRC_LANE + i, 8);
			acc = _mm_crc32_u64(acc, x[0]);
			second = _mm_crc32_u64(second, x[1]);
			third = _mm_crc32_u64(third, x[2]);
		}
		acc = after_lane(after_lane(acc) ^ second) ^ third;
	}
	for (; *len >= 8; *p += 8, *len -= 8) {
		uint64_t x;
		memcpy(&x, *p, 8);
		acc = _mm_crc32_u64(acc, x);
	}
	return (uint32_t)acc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint32_t c = ~crc;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		c = crc_hardware(c, &p, &len);
	else
#endif
		c = crc_sliced(c, &p, &len);
	for (; len; len--)
		c = c >> 8 ^ crc_table[0][(c ^ *p++) & 255];
	return ~c;
}

double now_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t edit_distance(const char *a, const char *b)
{
	enum { MAX = 63 };
	size_t la = strlen(a), lb = strlen(b), row[MAX + 1];
	if (la > MAX || lb > MAX)
		return MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diag = row[0];
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diag + (a[i - 1] != b[j - 1]);
			best = row[j] + 1 < best ? row[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			diag = row[j];
			row[j] = best;
		}
	}
	return row[lb];
}

const char *nearest_word(const char *word, const char *const *words, size_t n)
{
	const char *best = NULL;
	size_t best_distance = strlen(word) / 3 + 2;
	for (size_t i = 0; i < n; i++) {
		size_t d = edit_distance(word, words[i]);
		if (d < best_distance) {
			best = words[i];
			best_distance = d;
		}
	}
	return best;
}

bool parse_i64(const char *s, int64_t *out)
{
	char *end;
	if (!*s || isspace((unsigned char)*s))
		return false;
	errno = 0;
	long long v = strtoll(s, &end, 10);
	if (errno || *end)
		return false;
	*out = v;
	return true;
}

/* Digits below 2^53 over a power of ten that a double holds exactly: one division rounds it right (Clinger 1990). */
static bool short_decimal(const char *s, double *out)
{
	static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
	                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	bool minus = *s == '-';
	uint64_t digits = 0;
	size_t n = 0, behind = 0;
	for (s += minus; *s >= '0' && *s <= '9'; s++, n++)
		digits = digits * 10 + (uint64_t)(*s - '0');
	if (*s == '.')
		for (s++; *s >= '0' && *s <= '9'; s++, n++, behind++)
			digits = digits * 10 + (uint64_t)(*s - '0');
	if (*s || !n || n > 18 || digits > (uint64_t)1 << 53)
		return false;
	*out = (double)digits / power[behind];
	*out = minus ? -*out : *out;
	return true;
}

bool parse_double(const char *s, double *out)
{
	if (short_decimal(s, out))
		return true;
	static locale_t c_locale;
	if (!c_locale)
		c_locale = newlocale(LC_ALL_MASK, "C", NULL);
	char *end;
	if (!*s || isspace((unsigned char)*s))
		return false;
	double v = strtod_l(s, &end, c_locale);
	if (*end || !isfinite(v))
		return false;
	*out = v;
	return true;
}

int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
