/*
 * chunk - a text in sentences, and sentences packed into segments of a budget.
 *
 * Segments follow one another without a gap: white space belongs to what stands before it (at the start of the text, to
 * the first segment), so that without overlap the texts of all segments joined are the text, and none is empty.
 */
#ifndef LIB_CHUNK_H
#define LIB_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/tokenizer.h"

/*
 * The bytes at which sentences end, white space behind them not counted; the last is the end of the text.  English
 * rules: a sentence ends at . ! ? or an ellipsis and the quotes and brackets that close after it, before white space
 * and what can begin a sentence; not after titles, initials and abbreviations, nor in numbers.  Also at the full stops
 * of other scripts, and at blank lines.  Memory from the arena; time linear in the text.
 */
void chunk_sentences(const char *text, size_t len, size_t **end, int64_t *n, struct arena *a);

struct chunk_config {
	int64_t max_words;                 /* > 0: a segment has at most that many words (runs without white space) */
	int64_t max_tokens;                /* > 0: at most that many tokens, encoded by itself */
	const struct tokenizer *tokenizer; /* for max_tokens */
	bool sentences;                    /* one sentence each: nothing is packed */
	int64_t overlap; /* a segment begins with whole sentences of the one before, of at most that many words or
	                    tokens */
};

struct chunk {
	size_t from, to;    /* bytes */
	int64_t start, end; /* code points */
};

/*
 * The segments of a text (memory from the arena); none for an empty text.  Without a budget, and with `sentences`, each
 * sentence is one.  A sentence over the budget begins a segment and is split between words, a word over the budget
 * between characters; only one character can be over it.
 */
int chunk_text(const struct chunk_config *c, const char *text, size_t len, struct chunk **out, int64_t *n,
               struct arena *a, struct err *e);

/*
 * Key-value pairs, as Attention-Guided RL takes them from an article: pair i begins at token i * stride of the text,
 * its first tokens are the key, the next the value, and the rest of the stride is left out.
 */
struct chunk_pairs_config {
	const struct tokenizer *tokenizer;
	int64_t key, value; /* tokens, > 0 */
	int64_t stride;     /* >= key + value */
	int64_t pairs;      /* > 0: so many, of a text that has so many whole strides, and none of a shorter one */
};

struct chunk_pair {
	int64_t start;      /* its first token's place in the text */
	const int32_t *ids; /* key + value of them */
	const char *text;   /* of these ids; a part of a character at its ends is U+FFFD */
	size_t key_len, len;
};

/* Pairs that are whole (memory from the arena); special tokens written in the text are mere text. */
int chunk_pairs(const struct chunk_pairs_config *c, const char *text, size_t len, struct chunk_pair **out, int64_t *n,
                struct arena *a, struct err *e);

#endif
