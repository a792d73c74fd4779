/*
 * tokenizer_train - a byte-level BPE from text.
 *
 * The rules are those of Hugging Face's BpeTrainer, so the same text gives the same list of merges:
 * ids are the special tokens, the 256 byte characters by code point, then one for each merge, up to the vocabulary
 * size. Each document is cut into words by itself; words are counted.  The count of a pair is the number of adjacent
 * places in all words, overlapping ones too, each times the count of its word.  The pair with the highest count is
 * joined next, of equal ones that with the lowest left, then right id; in each word from left to right.  Training ends
 * early when no count reaches max(1, min_frequency).  The order of documents changes nothing.  (Sennrich, Haddow, Birch
 * 2016.)
 */
#ifndef LIB_TOKENIZER_TRAIN_H
#define LIB_TOKENIZER_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"

struct tokenizer_train_config {
	const char *split; /* how words are cut: "gpt2", "llama3" or "qwen2" */
	int64_t vocab_size, min_frequency;
	const char *const *special;
	size_t n_special;
};

struct tokenizer_train;

/* NULL with *e: an unknown split, a special token that is empty or a byte character or there twice, a vocabulary that
 * has no room for the bytes. */
struct tokenizer_train *tokenizer_train_new(const struct tokenizer_train_config *c, struct err *e);
void tokenizer_train_free(struct tokenizer_train *t);

/* Counts the words of one document (valid UTF-8).  Memory grows with distinct words, not with the text. */
int tokenizer_train_add(struct tokenizer_train *t, const char *text, size_t len, struct err *e);
/* Finds the merges; call once, after the last document. */
void tokenizer_train_run(struct tokenizer_train *t);

int64_t tokenizer_train_merges(const struct tokenizer_train *t);
int64_t tokenizer_train_size(const struct tokenizer_train *t); /* tokens in all */
/* Merge i: its parts (borrowed, not terminated) and its count when it was made. */
int64_t tokenizer_train_merge(const struct tokenizer_train *t, int64_t i, const char **left, size_t *left_len,
                              const char **right, size_t *right_len);

/* Appends the tokenizer.json. */
void tokenizer_train_json(const struct tokenizer_train *t, struct str *out);

#endif
