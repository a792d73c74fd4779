/*
 * overlap_words - texts as sequences of small numbers, one per different word, under the rules of each measure.
 */
#ifndef LIB_OVERLAP_WORDS_H
#define LIB_OVERLAP_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

/* A place of a hash table that is emptied by counting `stamp` up. */
struct hash_slot {
	uint64_t key;
	uint32_t stamp;
	int32_t id;
};

/* Spreads a key over 64 bits. */
static inline uint64_t hash_mix(uint64_t x)
{
	x *= 0x9E3779B97F4A7C15u;
	return x ^ x >> 32;
}

/* Pairs of numbers, numbered in the order in which they come; nothing is allocated per pair. */
struct pairs {
	struct hash_slot *slot;
	size_t cap; /* a power of two, or 0 */
	uint32_t stamp;
	int32_t n;
};
void pairs_release(struct pairs *p);
/* Forgets all pairs; room for that many is made at once. */
void pairs_clear(struct pairs *p, size_t room);
/* Where the key is, or the empty place for it. */
static inline size_t pairs_place(const struct pairs *p, uint64_t key)
{
	size_t at = hash_mix(key) & (p->cap - 1);
	while (p->slot[at].stamp == p->stamp && p->slot[at].key != key)
		at = (at + 1) & (p->cap - 1);
	return at;
}
int32_t pairs_add(struct pairs *p, uint64_t key, size_t place);
/* The number of the pair; a new one is p->n, which grows. */
static inline int32_t pairs_intern(struct pairs *p, uint32_t a, uint32_t b)
{
	uint64_t key = (uint64_t)a << 32 | b;
	size_t at = pairs_place(p, key);
	return p->slot[at].stamp == p->stamp ? p->slot[at].id : pairs_add(p, key, at);
}
/* -1 where the pair is not there. */
static inline int32_t pairs_find(const struct pairs *p, uint32_t a, uint32_t b)
{
	size_t at = pairs_place(p, (uint64_t)a << 32 | b);
	return p->slot[at].stamp == p->stamp ? p->slot[at].id : -1;
}

/* Different words, in one buffer. */
struct vocab {
	struct str text;
	struct vocab_word {
		size_t at, len;
	} * word;
	size_t word_cap;
	struct hash_slot *slot;
	size_t cap;
	uint32_t stamp;
	int32_t n;
};
void vocab_init(struct vocab *v);
void vocab_release(struct vocab *v);
void vocab_clear(struct vocab *v);
/* The number of the word at the end of `text`, from byte `start` on; a word that is there already is cut off. */
int32_t vocab_intern(struct vocab *v, size_t start);

enum words_rule {
	WORDS_SPACE, /* parts between Unicode white space, as Python's str.split() */
	WORDS_13A,   /* sacrebleu's 13a: mteval-v13a */
	WORDS_INTL,  /* sacrebleu's intl: mteval-v14 */
	WORDS_CHAR,  /* each character that is no white space */
	WORDS_CHRF,  /* chrF++'s words: an ASCII mark at the end, else at the beginning, of a part is a word of its own
	              */
	WORDS_ROUGE, /* rouge_score: lower case, runs of [a-z0-9] */
	WORDS_STEM,  /* the same, words of more than three letters stemmed (lib/porter.h) */
	WORDS_SQUAD, /* SQuAD: lower case, no ASCII punctuation, no articles, parts between white space */
	CHARS        /* code points that are no white space, as they are: for chrF */
};

/* One text among those of a record. */
struct words_text {
	size_t at, n; /* its part of `ids` */
};

/* The texts of one record under one rule: text 0 is the answer, the others are references. */
struct words {
	enum words_rule rule;
	bool lower; /* the text is made lower case first */
	struct vocab vocab;
	int32_t *ids;
	size_t n_ids, cap;
	struct words_text *text;
	size_t n_texts, text_cap;
	size_t *line; /* WORDS_ROUGE, WORDS_STEM: places in ids where a line of text begins */
	size_t n_lines, line_cap;
	struct str scratch, scratch2, part;
};
void words_init(struct words *w, enum words_rule rule, bool lower);
void words_release(struct words *w);
/* Forgets the texts; keep_vocab: and not the numbers of words. */
void words_clear(struct words *w, bool keep_vocab);
/* Adds a text; it is valid UTF-8. */
void words_add(struct words *w, const char *text, size_t len);

/* White space as Python's str.split() has it: White_Space and the four information separators. */
bool words_is_space(uint32_t cp);

#endif
