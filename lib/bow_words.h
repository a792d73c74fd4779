/*
 * bow_words - the words of a text and their numbers, as a bag-of-words classifier sees them.
 *
 * A word is a run of letters, marks, digits and connectors (\w of Unicode) in lower case, with single apostrophes
 * between two of them (U+2019 counts as '); every other character that is no white space is a word of its own.  A
 * feature is a word, or two that follow each other, written with a space between them.
 */
#ifndef LIB_BOW_WORDS_H
#define LIB_BOW_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/str.h"

struct bow_word {
	int64_t start, end; /* code points of the text: [start, end) */
	size_t at, len;     /* bytes of `lower` */
	uint64_t hash;      /* of these bytes */
};

struct bow_words {
	struct str lower;
	struct bow_word *word;
	int64_t n, cap;
};

void bow_words_init(struct bow_words *w);
void bow_words_release(struct bow_words *w);
/* The words of valid UTF-8, in w until the next call. */
void bow_words_find(struct bow_words *w, const char *text, size_t len);

/* ---- features and their numbers ---- */

struct bow_name; /* a word that has a number */
struct bow_pair;

struct bow_features {
	struct arena arena;
	struct bow_name *names;
	struct bow_pair *pairs;
	size_t n_names, name_slots, n_pairs, pair_slots;
	int32_t n; /* numbers given so far, to words and pairs alike */
};

void bow_features_init(struct bow_features *f);
void bow_features_release(struct bow_features *f);
/* The number of a word or of a pair of numbered words; -1 when it has none.  The hash is FNV-1a's, see bow_hash. */
int32_t bow_features_find(const struct bow_features *f, const char *word, size_t len, uint64_t hash);
int32_t bow_features_find_pair(const struct bow_features *f, int32_t first, int32_t second);
/* The same, and what has none gets the next one.  There are at most INT32_MAX. */
int32_t bow_features_add(struct bow_features *f, const char *word, size_t len, uint64_t hash);
int32_t bow_features_add_pair(struct bow_features *f, int32_t first, int32_t second);
/* Calls fn for each feature, in no order that means anything: second is NULL for a word. */
void bow_features_each(const struct bow_features *f,
                       void (*fn)(void *arg, int32_t number, const char *first, const char *second), void *arg);

uint64_t bow_hash(const char *word, size_t len);

#endif
