/*
 * bm25_impl - what the files of bm25 share: the dictionary of a build, posting lists, the file.
 *
 * A posting list is a value of its own:
 *
 *     u32 df, u32 blocks          blocks of 128 postings, the last one shorter
 *     blocks x struct bm25_block  where each ends, and what bounds the weights in it
 *     per block: u8 bits, u8 bits, then document gaps - 1 and term frequencies - 1, packed in that many bits each
 *     8 bytes of zero             so that the last numbers can be read as whole words
 *
 * Positions are apart, in values of BM25_POSITION_BLOCKS blocks each: u32 per block where its bytes end behind these
 * numbers, then for each posting its tf positions, as gaps of variable length, the first from 0.
 */
#ifndef LIB_BM25_IMPL_H
#define LIB_BM25_IMPL_H

#include "lib/arena.h"
#include "lib/bm25.h"
#include "lib/str.h"

enum { BM25_BLOCK = 128, BM25_POSITION_BLOCKS = 32, BM25_ID_GROUP = 256 };

/* ---- bm25_analyze.c ---- */
/* Begins with the words of a text, borrowed until they are read. */
void bm25_analysis_text(struct bm25_analysis *a, const char *text, size_t len);
struct bm25_span {
	size_t at, len;
};
/* The next words, at most `max`, in lower case, terminated: where they stand in *words, which is borrowed until the
 * next call.  Fewer at the end. */
size_t bm25_next_words(struct bm25_analysis *a, struct bm25_span *span, size_t max, const char **words);
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
	size_t n, cap, n_slots, text_bytes;
};
void bm25_dict_init(struct bm25_dict *d);
void bm25_dict_release(struct bm25_dict *d);
/* The string's number; *is_new tells whether it was added. */
uint32_t bm25_dict_add(struct bm25_dict *d, const char *text, size_t len, bool *is_new);
/* The same in three steps, the first two of which only ask for memory: a table of many words is in no cache, so whoever
 * has several to look up takes each step for all of them before the next. */
void bm25_dict_fetch_slot(const struct bm25_dict *d, uint64_t hash);
void bm25_dict_fetch_word(const struct bm25_dict *d, uint64_t hash);
uint32_t bm25_dict_add_hashed(struct bm25_dict *d, const char *text, size_t len, uint64_t hash, bool *is_new);
/* Bytes of its arrays, which grow by doubling, and of its texts. */
size_t bm25_dict_arrays(const struct bm25_dict *d);
uint64_t bm25_dict_hash(const char *text, size_t len);

/* ---- numbers of variable length, seven bits a byte, the low ones first ---- */
static inline unsigned char *bm25_put_varint(unsigned char *p, uint64_t x)
{
	for (; x >= 0x80; x >>= 7)
		*p++ = (unsigned char)(x | 0x80);
	*p++ = (unsigned char)x;
	return p;
}
/* Reads at most ten bytes. */
static inline const unsigned char *bm25_get_varint(const unsigned char *p, uint64_t *x)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		v |= (uint64_t)(*p & 0x7f) << (shift & 63);
		if (!(*p++ & 0x80))
			break;
	}
	*x = v;
	return p;
}

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
/* A list in the making, block by block. */
struct bm25_list {
	struct str table, data;
	uint32_t df, n; /* n: of the block that is being filled */
	int64_t last;
	uint32_t docs[BM25_BLOCK], tfs[BM25_BLOCK];
};
void bm25_list_init(struct bm25_list *l);
void bm25_list_release(struct bm25_list *l);
void bm25_list_begin(struct bm25_list *l);
/* docs rise strictly, tf is at least 1, lengths are those of all documents; true when this posting ended a block. */
bool bm25_list_add(struct bm25_list *l, uint32_t doc, uint32_t tf, const uint32_t *lengths);
/* After the last posting: bytes of the value. */
size_t bm25_list_end(struct bm25_list *l, const uint32_t *lengths);
void bm25_list_write(const struct bm25_list *l, char *out);

/* Bounds of the value are checked here, of each block in bm25_postings_block. */
int bm25_postings_get(const void *value, size_t len, int64_t n_docs, struct bm25_postings *out, struct err *e);
struct bm25_block bm25_postings_entry(const struct bm25_postings *p, uint32_t block);
/* The frequencies of a block, still packed. */
struct bm25_tfs {
	const unsigned char *in;
	unsigned bits;
};
/* Unpacks the documents of a block: *n postings (at most BM25_BLOCK). */
int bm25_postings_docs(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *n,
                       struct bm25_tfs *tfs, struct err *e);
uint32_t bm25_tfs_get(const struct bm25_tfs *t, uint32_t i);
void bm25_tfs_unpack(const struct bm25_tfs *t, uint32_t *tfs, uint32_t n);
/* The frequencies too. */
int bm25_postings_block(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *tfs,
                        uint32_t *n, struct err *e);

/* The key of a term: the term itself, or where that is longer than a key may be, its beginning and a hash. */
enum { BM25_KEY_MAX = 255 };
size_t bm25_key(const char *term, size_t len, char key[BM25_KEY_MAX]);
int bm25_compare_keys(const char *a, size_t a_len, const char *b, size_t b_len);

/* ---- bm25_runs.c: sorted pieces on disk ---- */
struct bm25_runs;
struct bm25_run_reader;
struct bm25_record {
	char key[BM25_KEY_MAX];
	size_t key_len;
	uint32_t df;   /* documents */
	uint64_t left; /* bytes not yet read */
	struct bm25_run_reader *in;
};
/* All of the record must be read in the call. */
typedef int (*bm25_record_fn)(void *arg, struct bm25_record *record, struct err *e);
/* Files lie beside that path, without a name.  memory: for all buffers together. */
struct bm25_runs *bm25_runs_new(const char *beside, size_t memory);
void bm25_runs_free(struct bm25_runs *r);
/* A run: begin, for each key in rising order a record and its bytes (in any pieces), end. */
int bm25_runs_begin(struct bm25_runs *r, struct err *e);
int bm25_runs_record(struct bm25_runs *r, const char *key, size_t key_len, uint32_t df, uint64_t len, struct err *e);
int bm25_runs_bytes(struct bm25_runs *r, const void *bytes, size_t len, struct err *e);
int bm25_runs_end(struct bm25_runs *r, struct err *e);
/* Calls fn with the records of the runs from number `first` on, keys rising, records of one key in the order of runs.
 */
int bm25_runs_merge(struct bm25_runs *r, size_t first, size_t memory, bm25_record_fn fn, void *arg, struct err *e);
/* Parts of a record, in order: what is at hand of its bytes (borrowed until the next call), a number. */
int bm25_record_bytes(struct bm25_record *r, const unsigned char **bytes, size_t *len, struct err *e);
int bm25_record_varint(struct bm25_record *r, uint32_t *x, struct err *e);

/* ---- bm25_writer.c: the file, written ---- */
struct bm25_writer;
/* commit_bytes: how much may be held back before it is written. */
struct bm25_writer *bm25_writer_open(const char *path, size_t commit_bytes, struct err *e);
/* Documents in their order; text may be NULL. */
int bm25_writer_document(struct bm25_writer *w, const char *id, size_t id_len, const char *text, size_t len,
                         struct err *e);
/* The id of a document that was written: borrowed until the next call of the writer. */
int bm25_writer_id(struct bm25_writer *w, uint32_t doc, const char **id, size_t *len, struct err *e);
/* Terms in rising order of keys; the positions of a term before the next term's, in order. */
int bm25_writer_term(struct bm25_writer *w, const char *key, size_t len, const struct bm25_list *list, size_t list_len,
                     struct err *e);
int bm25_writer_positions(struct bm25_writer *w, const char *key, size_t len, uint32_t group, const struct str *value,
                          struct err *e);
/* Commits and renames; w is gone either way. */
int bm25_writer_finish(struct bm25_writer *w, const struct bm25_info *info, const uint32_t *lengths, struct err *e);
void bm25_writer_abandon(struct bm25_writer *w);

/* ---- bm25_index.c: the file, read ---- */
#define BM25_LAYOUT 2u
#define BM25_BYTE_ORDER 0x01020304u
#define BM25_MAGIC "rl-bm25"
struct bm25_meta {
	char magic[8];
	uint32_t layout, byte_order, analyzer, positions, texts, reserved;
	int64_t documents, empty, tokens, terms;
};
/* A view of an index for one thread. */
struct bm25_view;
struct bm25_view *bm25_view_new(const struct bm25_index *x, struct err *e);
void bm25_view_free(struct bm25_view *v);
const char *bm25_path(const struct bm25_index *x);
/* Lengths of all documents, borrowed from the index. */
const uint32_t *bm25_lengths(const struct bm25_index *x);
int bm25_view_id(const struct bm25_view *v, uint32_t doc, const char **id, size_t *len, struct err *e);
int bm25_view_text(const struct bm25_view *v, uint32_t doc, const char **text, size_t *len, struct err *e);
/* 1; 0 when no document has the term. */
int bm25_view_lookup(const struct bm25_view *v, const char *term, size_t len, struct bm25_postings *out, struct err *e);
/* The bytes of the positions of a block of a list of n_blocks. */
int bm25_view_positions(const struct bm25_view *v, const char *key, size_t key_len, uint32_t block, uint32_t n_blocks,
                        const unsigned char **bytes, size_t *len, struct err *e);

/* ---- bm25_search.c: what the other ways to search take from it ---- */
/* The weights w(tf) of documents by their length; small ones from a table, the same bits. */
enum { BM25_TF_TABLE = 32, BM25_LENGTH_TABLE = 512 };
struct bm25_weights {
	enum bm25_variant variant;
	double k1, b, mean;
	double table[BM25_TF_TABLE + 1][BM25_LENGTH_TABLE]; /* [tf - 1][length]; the last row: the largest tf */
};
double bm25_weight_formula(const struct bm25_weights *w, uint32_t tf, uint32_t length);
/* Rises with tf and falls with length, in every form. */
static inline double bm25_weight(const struct bm25_weights *w, uint32_t tf, uint32_t length)
{
	return tf - 1 < BM25_TF_TABLE && length < BM25_LENGTH_TABLE ? w->table[tf - 1][length]
	                                                            : bm25_weight_formula(w, tf, length);
}
/* bm25_weight_row(w, tf)[bm25_weight_column(length)] is never below bm25_weight(w, tf, length). */
static inline const double *bm25_weight_row(const struct bm25_weights *w, uint32_t tf)
{
	return w->table[tf - 1 < BM25_TF_TABLE ? tf - 1 : BM25_TF_TABLE];
}
static inline uint32_t bm25_weight_column(uint32_t length)
{
	return length < BM25_LENGTH_TABLE ? length : BM25_LENGTH_TABLE - 1;
}
const struct bm25_weights *bm25_searcher_weights(const struct bm25_searcher *s);
const uint32_t *bm25_searcher_lengths(const struct bm25_searcher *s);
uint32_t bm25_searcher_documents(const struct bm25_searcher *s);
/* A term that weighs something, and how it is asked for. */
struct bm25_term_list {
	struct bm25_postings list;
	double idf; /* times its weight in the query, above 0 */
};
/* The best k documents that have any of the terms, the scores summed in their order. */
int bm25_search_terms(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, int64_t k,
                      const struct bm25_hit **hits, int64_t *n_hits, struct err *e);

#define BM25_NO_DOC UINT32_MAX
#define BM25_SLACK (1 + 1e-9) /* far above the rounding of a sum, far below what pruning loses by it */
/* A term of a query, walking its postings. */
struct bm25_cursor {
	struct bm25_postings list;
	double idf;   /* times the repetitions in the query */
	double bound; /* of its parts in all documents */
	uint32_t block, n, at;
	uint32_t doc; /* docs[at], BM25_NO_DOC at the end */
	uint32_t docs[BM25_BLOCK], tfs[BM25_BLOCK];
};
/* At the first document.  Leaves bound alone. */
int bm25_open_cursor(struct bm25_searcher *s, struct bm25_cursor *c, const struct bm25_postings *list, double idf,
                     struct err *e);
/* To the first document not before `doc`; never back. */
int bm25_seek(struct bm25_searcher *s, struct bm25_cursor *c, uint32_t doc, struct err *e);
/* What the term adds to the score of the document that it stands at. */
double bm25_part(const struct bm25_searcher *s, const struct bm25_cursor *c);
/* Of its parts in all documents. */
double bm25_bound(const struct bm25_searcher *s, const struct bm25_cursor *c);
double bm25_idf(const struct bm25_searcher *s, double n);
/* The best k: begin (false when there is nothing to look for), add each document that it takes, end.  Documents may
 * come in any order. */
bool bm25_best_begin(struct bm25_searcher *s, int64_t k);
/* No document of at most this score, times the slack, can enter any more, where documents come in rising order. */
double bm25_best_limit(const struct bm25_searcher *s);
bool bm25_best_takes(const struct bm25_searcher *s, uint32_t doc, double score);
void bm25_best_add(struct bm25_searcher *s, uint32_t doc, double score);
int64_t bm25_best_end(struct bm25_searcher *s, const struct bm25_hit **hits);
struct bm25_view *bm25_searcher_view(const struct bm25_searcher *s);
struct bm25_analysis *bm25_searcher_analysis(const struct bm25_searcher *s);

/* ---- bm25_window.c ---- */
/* Adds to the best all documents that belong there, without looking at all; a: forgotten by the caller. */
int bm25_scan_windows(struct bm25_searcher *s, const struct bm25_term_list *terms, size_t n, struct arena *a,
                      struct err *e);

#endif
