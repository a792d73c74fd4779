/*
 * bm25 - an inverted index in one file, and five forms of BM25 over it.
 *
 * A document's score is the sum over the query's tokens that it contains, each repetition counted again, of
 * idf(n) * w(tf).  N documents (empty ones too), n of them with the term, norm = 1 - b + b * length / mean length, ln
 * natural, delta = .5 for bm25l and 1 for bm25+:
 *
 *     robertson   max(0, ln((N - n + .5) / (n + .5)))   tf / (tf + k1 norm)
 *     atire       ln(N / n)                             tf (k1 + 1) / (tf + k1 norm)
 *     lucene      ln(1 + (N - n + .5) / (n + .5))       tf / (tf + k1 norm)
 *     bm25l       ln((N + 1) / (n + .5))                (k1 + 1)(c + delta) / (k1 + c + delta), c = tf / norm
 *     bm25+       ln((N + 1) / n)                       tf (k1 + 1) / (tf + k1 norm) + delta
 *
 * (Robertson and Zaragoza 2009; Trotman et al. 2014; Lv and Zhai 2011: terms that do not occur add nothing.)
 * Only scores above 0 are hits.  Scores that agree to ten decimals keep the order of the corpus; the result of a search
 * is the same whether or not documents were pruned.
 *
 * Analyzers: none = runs of ASCII letters and digits, ASCII lower case, everything else separates; stop = without the
 * 33 words of Lucene's list; porter = then the Snowball stemmer "porter"; an empty stem is no token.  unicode = the
 * text folded (utf8_fold), then runs of letters, marks and numbers, each Han or Hiragana character a word of its own,
 * with the marks behind it; everything else separates.  Words count from 0 for positions, those that are dropped too.
 *
 * An index is immutable: it is built beside its path and renamed into place.  It is private to its machine (native
 * byte order, refused otherwise) and needs no lock to be read.
 */
#ifndef LIB_BM25_H
#define LIB_BM25_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* ---- text to terms ---- */
enum bm25_analyzer { BM25_NONE, BM25_STOP, BM25_PORTER, BM25_UNICODE };
#define BM25_ANALYZERS "none|stop|porter|unicode"

struct bm25_analysis;
struct bm25_analysis *bm25_analysis_new(enum bm25_analyzer kind);
void bm25_analysis_free(struct bm25_analysis *a);
/* Calls fn with each term of the text in order; the term is borrowed for the call and has no NUL behind it. position:
 * number of its word. */
void bm25_analyze(struct bm25_analysis *a, const char *text, size_t len,
                  void (*fn)(void *arg, const char *term, size_t len, uint32_t position), void *arg);

/* ---- building ---- */
struct bm25_options {
	enum bm25_analyzer analyzer;
	bool positions; /* of the words, for phrases */
	bool texts;     /* kept, for bm25_doc_text */
	size_t memory;  /* bytes, at least BM25_MEMORY_MIN: for everything but the document that is added */
};
#define BM25_MEMORY_MIN ((size_t)32 << 20)
struct bm25_builder;
/*
 * Begins an index beside path.  Postings are sorted in memory and spilled to files without a name in path's directory;
 * bm25_builder_save merges them.  The table of documents (at most 28 bytes each while it grows) lies in memory all
 * the time; when it outgrows five eighths of it, bm25_builder_add fails.  NULL with *e: path cannot be written to.
 */
struct bm25_builder *bm25_builder_new(const struct bm25_options *o, const char *path, struct err *e);
/* Also forgets an index that was not saved. */
void bm25_builder_free(struct bm25_builder *b);
/* -1 when the id was there before, is empty, or the index is full (2^28 documents, or --memory). */
int bm25_builder_add(struct bm25_builder *b, const char *id, size_t id_len, const char *text, size_t len,
                     struct err *e);
/* Finishes the index, makes it durable and renames it to its path; an index that was there is replaced.  Once. */
int bm25_builder_save(struct bm25_builder *b, struct err *e);

/* ---- searching ---- */
struct bm25_info {
	enum bm25_analyzer analyzer;
	bool positions, texts;
	int64_t documents, empty, tokens, terms;
	double average_length; /* tokens per document, after analysis */
};

struct bm25_index;
/* -1 when there is something at path that is no index, and so nothing to be replaced by one. */
int bm25_check_target(const char *path, struct err *e);
/* NULL with *e: not there, not an index, written by another version, or cut short. */
struct bm25_index *bm25_open(const char *path, struct err *e);
void bm25_close(struct bm25_index *x);
const struct bm25_info *bm25_info(const struct bm25_index *x);

enum bm25_variant { BM25_ROBERTSON, BM25_ATIRE, BM25_LUCENE, BM25_L, BM25_PLUS };
#define BM25_VARIANTS "robertson|atire|lucene|bm25l|bm25+"

struct bm25_params {
	enum bm25_variant variant;
	double k1, b;    /* k1 >= 0, 0 <= b <= 1 */
	bool exhaustive; /* score every document that has a term, for comparison: the same result, later */
};

struct bm25_hit {
	uint32_t doc;
	double score;
};

struct bm25_searcher;
/* Borrows the index.  One searcher per thread. */
struct bm25_searcher *bm25_searcher_new(const struct bm25_index *x, const struct bm25_params *p, struct err *e);
void bm25_searcher_free(struct bm25_searcher *s);
/* The id of document number `doc` (in corpus order, from 0); borrowed from the index. */
int bm25_doc_id(const struct bm25_searcher *s, uint32_t doc, const char **id, size_t *len, struct err *e);
/* Its text, where the index keeps texts (else an error that says so). */
int bm25_doc_text(const struct bm25_searcher *s, uint32_t doc, const char **text, size_t *len, struct err *e);
/* The best k documents for the text, best first; *hits is borrowed until the next search.  -1: the index is damaged. */
int bm25_search(struct bm25_searcher *s, const char *query, size_t len, int64_t k, const struct bm25_hit **hits,
                int64_t *n, struct err *e);

/*
 * Boolean queries, from the loosest to the tightest:
 *
 *     or    = and { "OR" and }
 *     and   = not { ["AND"] not }
 *     not   = "NOT" not | "(" or ")" | '"' words '"' | word
 *
 * Operators are in capital letters; a word ends at white space, a parenthesis or a quotation mark.  The analyzer makes
 * terms of words: all terms of a word must be there, and those of a phrase as far apart as they stand in it; a word or
 * phrase without a term is left out of the query, with its operator.  Of the documents that satisfy the query, the best
 * k by the terms that stand under an even number of NOTs; as anywhere, a score of 0 is no hit.
 *
 * 1; 0 with *e: no such query, nested deeper, longer or with more terms than the limits; -1: the index is damaged, or
 * keeps no positions, without which a phrase cannot be judged.
 */
enum { BM25_BOOLEAN_DEPTH = 100, BM25_BOOLEAN_TERMS = 1024, BM25_BOOLEAN_BYTES = 1 << 16 };
int bm25_search_boolean(struct bm25_searcher *s, const char *query, size_t len, int64_t k, const struct bm25_hit **hits,
                        int64_t *n, struct err *e);

#endif
