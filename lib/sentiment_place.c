/* sentiment_place - see sentiment_place.h */
#include "lib/sentiment_place.h"

#include <stddef.h>

void sentiment_place_words(const struct sentiment_word *w, int64_t n_words, const int32_t *ends, int64_t n, float *out)
{
	int64_t t = 0;
	for (int64_t i = 0; i < n; i++)
		out[i] = 0;
	for (int64_t i = 0; i < n_words && n; i++) {
		while (t + 1 < n && ends[t] < w[i].end)
			t++;
		out[t] += (float)w[i].valence;
	}
}

void sentiment_place_mask(const struct sentiment_word *w, int64_t n_words, double x, const int32_t *ends, int64_t n,
                          float *out)
{
	int64_t i = 0;
	for (int64_t t = 0, start = 0; t < n; start = ends[t++]) {
		out[t] = 0;
		/* the next token may share the last word looked at, so it stays */
		while (i < n_words && (w[i].valence == 0 || w[i].end <= start))
			i++;
		if (i < n_words && w[i].start < ends[t] && ends[t] > start)
			out[t] = (float)x;
	}
}

void sentiment_place_text(double x, const int32_t *mask, int64_t n, float *out)
{
	for (int64_t t = 0; t < n; t++)
		out[t] = !mask || mask[t] != 0 ? (float)x : 0;
}
