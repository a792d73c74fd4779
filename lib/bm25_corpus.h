/*
 * bm25_corpus - the documents of a corpus file: id and text.
 *
 * Read as they are, plain or zstd, told apart by their first byte that is no white space:
 *
 *     {   JSON Lines.  Text: .text, else .contents, behind .title where that is not empty; id as in rl-record(5).  This
 *         is also BEIR's form ({_id, title, text}).
 *     [   one JSON array of such objects, on any number of lines, an element at a time
 *     <   TREC text: <DOC> <DOCNO> id </DOCNO> ... </DOC>.  Text is all that stands in a document outside of DOCNO and
 *         DOCHDR, tags left out, the five entities of XML replaced.  Tags in any case.
 */
#ifndef LIB_BM25_CORPUS_H
#define LIB_BM25_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/filter.h"

struct corpus;

/* "-" is standard input.  id, text: programs in place of the fields (borrowed; NULL: none), not for TREC text. */
struct corpus *corpus_open(const char *path, struct filter *id, struct filter *text, struct err *e);
void corpus_close(struct corpus *c);

struct corpus_document {
	const char *id, *text;
	size_t id_len, len;
};
/* 1: a document, borrowed until the next call; 0: the corpus is complete; -1: it is not, *e says why and where. */
int corpus_next(struct corpus *c, struct corpus_document *out, struct err *e) __attribute__((warn_unused_result));
/* Puts the place of the last document in front: "FILE:LINE: ", "FILE: element 3: ". */
int corpus_where(const struct corpus *c, struct err *e);
/* For progress: bytes read, and of how many (-1: unknown). */
int64_t corpus_consumed(const struct corpus *c);
int64_t corpus_size(const struct corpus *c);

#endif
