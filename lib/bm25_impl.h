/*
 * bm25_impl - what the files of bm25 share: the dictionary of a build, posting lists, the file.
 *
 * A posting list is a value of its own:
 *
 *     u32 df, u32 blocks          blocks of 128 postings, the last one shorter
 *     blocks x struct bm25_block  where each ends, and what bounds the weights in it
 *     per block: u8 bits, u8 bits, then document gaps - 1 and term frequencies - 1, packed in that many bits each
 *     8 bytes of zero             so that the last numbers can be read as whole words
 */
#ifndef LIB_BM25_IMPL_H
#define LIB_BM25_IMPL_H

#include "lib/arena.h"
#include "lib/bm25.h"
#include "lib/str.h"

enum { BM25_BLOCK = 128 };

/* ---- bm25_analyze.c ---- */
/* Begins with the words of a text, borrowed until they are read. */
void bm25_analysis_text(struct bm25_analysis *a, const char *text, size_t len);
/* The next word, in lower case, terminated, borrowed until the next call; false at the end. */
bool bm25_next_word(struct bm25_analysis *a, const char **word, size_t *len);
/* What the analyzer makes of a word; false when it drops it.  Borrowed until the next call. */
bool bm25_term(struct bm25_analysis *a, const char *word, size_t len, const char **term, size_t *term_len);

/* ---- bm25_dict.c: byte strings to small numbers, in order of first appearance ---- */
#define BM25_WORD_HEAD 12
struct bm25_word {
	const char *text; /* terminated, but may hold any byte */
	uint64_t hash;
	uint32_t len;
	char head[BM25_WORD_HEAD]; /* its first bytes, so that looking up a short word reads no other place */
};
struct bm25_slot {
	uint32_t number; /* + 1; 0 is free */
	uint32_t tag;    /* high half of the hash */
};
struct bm25_dict {
	struct arena arena;
	struct bm25_word *words;
	struct bm25_slot *slots;
	size_t n, cap, n_slots;
};
void bm25_dict_init(struct bm25_dict *d);
void bm25_dict_release(struct bm25_dict *d);
/* The string's number; *is_new tells whether it was added. */
uint32_t bm25_dict_add(struct bm25_dict *d, const char *text, size_t len, bool *is_new);

/* ---- bm25_postings.c ---- */
struct bm25_block {
	uint32_t last_doc;
	uint32_t end;    /* of its bytes, from the start of the first block's */
	uint32_t max_tf; /* no weight in the block exceeds that of max_tf in a document of min_len */
	uint32_t min_len;
};
struct bm25_postings {
	uint32_t df, n_blocks;
	const unsigned char *table, *data;
	size_t data_len; /* without the padding */
};
/* Appends the list to out; docs rise strictly, tfs are at least 1, lengths are those of all documents. */
void bm25_postings_put(struct str *out, const uint32_t *docs, const uint32_t *tfs, uint32_t df,
                       const uint32_t *lengths);
/* Bounds of the value are checked here, of each block in bm25_postings_block. */
int bm25_postings_get(const void *value, size_t len, int64_t n_docs, struct bm25_postings *out, struct err *e);
struct bm25_block bm25_postings_entry(const struct bm25_postings *p, uint32_t block);
/* Unpacks a block: *n postings (at most BM25_BLOCK). */
int bm25_postings_block(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *tfs,
                        uint32_t *n, struct err *e);

/* ---- bm25_index.c: the file ---- */
struct bm25_writer;
struct bm25_writer *bm25_writer_open(const char *path, struct err *e);
/* Terms in rising order of bm25_key. */
int bm25_writer_term(struct bm25_writer *w, const char *term, size_t len, const struct str *postings, struct err *e);
/* ids: the n ids one after another; offsets has n + 1 entries.  Commits and renames; w is gone either way. */
int bm25_writer_finish(struct bm25_writer *w, const struct bm25_info *info, const uint32_t *lengths,
                       const uint64_t *offsets, const char *ids, struct err *e);
void bm25_writer_abandon(struct bm25_writer *w);

/* Lengths of all documents, borrowed from the index. */
const uint32_t *bm25_lengths(const struct bm25_index *x);
/* 1; 0 when no document has the term. */
int bm25_lookup(const struct bm25_index *x, const char *term, size_t len, struct bm25_postings *out, struct err *e);

/* The key of a term: the term itself, or where that is longer than a key may be, its beginning and a hash. */
enum { BM25_KEY_MAX = 255 };
size_t bm25_key(const char *term, size_t len, char key[BM25_KEY_MAX]);

#endif
