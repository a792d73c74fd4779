/* sentiment_lexicon - the words that the rules of sentiment know, in one table. */
#ifndef LIB_SENTIMENT_LEXICON_H
#define LIB_SENTIMENT_LEXICON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"

/* Words that rules name.  Others have 0. */
enum sentiment_name {
	W_OTHER,
	W_NO,
	W_OR,
	W_NOR,
	W_NEVER,
	W_SO,
	W_THIS,
	W_WITHOUT,
	W_DOUBT,
	W_LEAST,
	W_AT,
	W_VERY,
	W_KIND,
	W_OF,
	W_BUT,
	W_THE,
	W_SHIT,
	W_BOMB,
	W_BAD,
	W_ASS,
	W_BUS,
	W_STOP,
	W_YEAH,
	W_RIGHT,
	W_KISS,
	W_DEATH,
	W_TO,
	W_DIE,
	W_FOR,
	W_BEATING,
	W_BROKEN,
	W_HEART,
	W_JUST,
	W_ENOUGH,
	W_SORT,
	W_NAMES
};

struct sentiment_entry {
	const char *text; /* lower case */
	size_t len;
	uint64_t hash;
	double valence, boost;
	bool in_lexicon, is_booster, negates;
	enum sentiment_name name;
};

struct sentiment_emoji {
	uint32_t code; /* 0: free */
	const char *text;
	size_t len;
};

/* Most words of a text are not in the table: what a look-up of those reads is kept small. */
struct sentiment_slot {
	uint32_t hash;  /* upper half */
	uint32_t entry; /* 1 + its index; 0: free */
};

struct sentiment_lexicon {
	struct arena arena;
	struct sentiment_entry *entries;
	struct sentiment_slot *slots;
	size_t n, cap, n_slots;
	struct sentiment_emoji *emoji;
	size_t n_emoji, n_emoji_slots;
};

/* Boosters, negations and named words are there before any file is read. */
void sentiment_lexicon_init(struct sentiment_lexicon *x);
void sentiment_lexicon_release(struct sentiment_lexicon *x);
int sentiment_lexicon_read(struct sentiment_lexicon *x, const char *path, struct err *e);
int sentiment_lexicon_read_emoji(struct sentiment_lexicon *x, const char *path, struct err *e);

/* By FNV-1a of the bytes: a lookup is cheaper than the hash of anything stronger, and the table does not grow by texts.
 */
#define SENTIMENT_HASH_START 0xcbf29ce484222325u
static inline uint64_t sentiment_hash_step(uint64_t hash, unsigned char c)
{
	return (hash ^ c) * 0x100000001b3u;
}
const struct sentiment_entry *sentiment_find(const struct sentiment_lexicon *x, const char *word, size_t len,
                                             uint64_t hash);
const struct sentiment_emoji *sentiment_find_emoji(const struct sentiment_lexicon *x, uint32_t code);

#endif
