/* rng - see rng.h */
#include "lib/rng.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>

#include "lib/str.h"
#include "lib/util.h"

uint64_t rng_key(const char *purpose, uint64_t seed, const char *run, uint64_t epoch)
{
	/* Lengths in front, so that no two argument lists make the same bytes. */
	uint64_t fixed[4] = {strlen(purpose), seed, strlen(run), epoch};
	struct str s;
	str_init(&s);
	str_add(&s, fixed, sizeof fixed);
	str_adds(&s, purpose);
	str_adds(&s, run);
	uint64_t key = hash_bytes(s.buf, s.len, 0x726c70697065, 1);
	str_release(&s);
	return key;
}

uint64_t rng_id(const char *id, size_t len)
{
	return hash_bytes(id, len, 0x726c70697065, 2);
}

void rng_words(uint32_t out[4], uint64_t key, uint64_t id, uint32_t a, uint32_t b)
{
	philox4x32_ctr_t c = {{(uint32_t)id, (uint32_t)(id >> 32), a, b}};
	philox4x32_key_t k = {{(uint32_t)key, (uint32_t)(key >> 32)}};
	philox4x32_ctr_t r = philox4x32(c, k);
	memcpy(out, r.v, sizeof r.v);
}

static double unit(uint32_t hi, uint32_t lo)
{
	uint64_t bits = ((uint64_t)hi << 32 | lo) >> 11;
	return (double)bits * 0x1p-53 + 0x1p-54;
}

double rng_uniform(uint64_t key, uint64_t id, uint32_t a, uint32_t b)
{
	uint32_t w[4];
	rng_words(w, key, id, a, b);
	return unit(w[0], w[1]);
}

double rng_normal(uint64_t key, uint64_t id, uint32_t a, uint32_t b)
{
	uint32_t w[4];
	rng_words(w, key, id, a, b);
	return sqrt(-2 * log(unit(w[0], w[1]))) * cos(2 * M_PI * unit(w[2], w[3]));
}

/* A uniform integer below n: 64-bit draws from the ragged end of the range are drawn again. */
static uint64_t below(uint64_t n, uint64_t key, uint64_t place)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n;
	for (uint32_t again = 0;; again++) {
		uint32_t w[4];
		rng_words(w, key, place, again, 0);
		uint64_t x = (uint64_t)w[0] << 32 | w[1];
		if (x < limit)
			return x % n;
	}
}

void rng_shuffle(int64_t *out, int64_t n, uint64_t key)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = i;
	for (int64_t i = n - 1; i > 0; i--) {
		int64_t j = (int64_t)below((uint64_t)i + 1, key, (uint64_t)i);
		int64_t t = out[i];
		out[i] = out[j];
		out[j] = t;
	}
}
