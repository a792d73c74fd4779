/*
 * tokenizer - text to ids and back, as Hugging Face tokenizers does it.
 *
 * Reads tokenizer.json (BPE: byte-level, byte-fallback) and vocab.json + merges.txt; trains a byte-level BPE.  The
 * files are hostile: every length and id is bounded, and what is not supported is refused by name.  A tokenizer does
 * not change after loading and may be used by several threads at once; what a call needs besides is kept in it for the
 * next call. Time is O(n log n) in the text, also for a megabyte without spaces.
 */
#ifndef LIB_TOKENIZER_H
#define LIB_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/str.h"

struct tokenizer;

/* From the bytes of tokenizer.json; name is for messages. */
struct tokenizer *tokenizer_from_json(const char *text, size_t len, const char *name, struct err *e);
/* From GPT-2's vocab.json (encoder.json) and merges.txt (vocab.bpe). */
struct tokenizer *tokenizer_from_vocab(const char *vocab, size_t vocab_len, const char *merges, size_t merges_len,
                                       const char *name, struct err *e);
/* A path: tokenizer.json, or a directory that holds it or vocab.json and merges.txt. */
struct tokenizer *tokenizer_open(const char *path, struct err *e);
void tokenizer_free(struct tokenizer *t);

int32_t tokenizer_size(const struct tokenizer *t); /* largest id + 1 */
/* Id of a token's content, or -1. */
int32_t tokenizer_id(const struct tokenizer *t, const char *content, size_t len);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);

enum {
	TOKENIZER_PLAIN =
	        1, /* special tokens written in the text are mere text (added tokens that are not special match) */
	TOKENIZER_TEMPLATE = 2 /* the post-processor's BOS and EOS */
};
/* Appends ids (memory from the arena). */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, int flags, int32_t **ids, int64_t *n,
                     struct arena *a, struct err *e);

/* The text of ids; with skip_special, special tokens are left out.  Invalid UTF-8 becomes U+FFFD as the library does
 * it. An id that does not exist: -1. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, struct str *out,
                     struct err *e);

/*
 * The text of a completion and where each token ends in it.  It is the middle of a text: no space is taken off its
 * start, as decoders do with a whole text.  ends[n]: the code point of *out at which token i ends; a token that ends
 * inside a character ends where that character ends.  Special tokens are left out and end where the token before them
 * ends.
 */
int tokenizer_decode_completion(const struct tokenizer *t, const int32_t *ids, int64_t n, struct str *out,
                                int32_t *ends, struct err *e);

/* Text as ids arrive: what was appended is never taken back, and never ends inside a character. */
struct tokenizer_stream {
	const struct tokenizer *t;
	char held[4];
	size_t n_held;
	bool begun;
};
/* middle: the ids go on where a text left off. */
void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, bool middle);
int tokenizer_stream_add(struct tokenizer_stream *s, int32_t id, bool skip_special, struct str *out, struct err *e);
/* What was held back: the part of a character that never ended, as U+FFFD (one for each byte-fallback token). */
void tokenizer_stream_end(struct tokenizer_stream *s, struct str *out);

/* Byte-level BPE training (rl-tokenize --train): see tokenizer_train.h */
#endif
