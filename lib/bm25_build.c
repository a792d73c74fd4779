/*
 * bm25_build - a corpus to an index, in memory until it is saved; see bm25.h
 *
 * Words are looked up as they stand in the text and carry the number of the term that the analyzer makes of them, so
 * each different word is stemmed once.  A term's postings grow as variable-length numbers; blocks are made at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

#define MAX_DOCUMENTS ((int64_t)1 << 28)
#define DROPPED UINT32_MAX

struct list {
	unsigned char *bytes;
	uint32_t len, cap;
	uint32_t df;       /* finished postings */
	uint32_t last_doc; /* of them */
	uint32_t doc, tf;  /* the one being counted; tf 0: none */
};

struct bm25_builder {
	struct bm25_analysis *analysis;
	struct bm25_dict surface, terms, ids;
	uint32_t *term_of; /* by number of a surface word */
	size_t term_cap;
	struct list *lists; /* by number of a term */
	size_t list_cap;
	uint32_t *lengths;
	size_t length_cap;
	struct bm25_info info;
};

struct bm25_builder *bm25_builder_new(enum bm25_analyzer kind)
{
	struct bm25_builder *b = xcalloc(1, sizeof *b);
	b->analysis = bm25_analysis_new(kind);
	b->info.analyzer = kind;
	bm25_dict_init(&b->surface);
	bm25_dict_init(&b->terms);
	bm25_dict_init(&b->ids);
	return b;
}

void bm25_builder_free(struct bm25_builder *b)
{
	if (!b)
		return;
	bm25_analysis_free(b->analysis);
	for (size_t i = 0; i < b->terms.n; i++)
		free(b->lists[i].bytes);
	bm25_dict_release(&b->surface);
	bm25_dict_release(&b->terms);
	bm25_dict_release(&b->ids);
	free(b->term_of);
	free(b->lists);
	free(b->lengths);
	free(b);
}

static unsigned char *put_varint(unsigned char *p, uint32_t x)
{
	for (; x >= 0x80; x >>= 7)
		*p++ = (unsigned char)(x | 0x80);
	*p++ = (unsigned char)x;
	return p;
}

static const unsigned char *get_varint(const unsigned char *p, uint32_t *x)
{
	uint32_t v = 0;
	for (unsigned shift = 0;; shift += 7, p++) {
		v |= (uint32_t)(*p & 0x7f) << shift;
		if (!(*p & 0x80))
			break;
	}
	*x = v;
	return p + 1;
}

static void finish_posting(struct list *l)
{
	enum { MOST = 10 };
	if (!l->tf)
		return;
	if (l->cap - l->len < MOST) {
		l->cap = l->cap ? 2 * l->cap : 2 * MOST;
		l->bytes = xrealloc(l->bytes, l->cap);
	}
	unsigned char *p = put_varint(l->bytes + l->len, l->doc - l->last_doc);
	p = put_varint(p, l->tf);
	l->len = (uint32_t)(p - l->bytes);
	l->last_doc = l->doc;
	l->df++;
	l->tf = 0;
}

/* The number of the term that a word stands for. */
static uint32_t term_number(struct bm25_builder *b, const char *word, size_t word_len)
{
	bool is_new, new_term;
	const char *term;
	size_t len;
	uint32_t w = bm25_dict_add(&b->surface, word, word_len, &is_new);
	if (!is_new)
		return b->term_of[w];
	if (b->term_cap < b->surface.cap) {
		b->term_cap = b->surface.cap;
		b->term_of = xrealloc_array(b->term_of, b->term_cap, sizeof *b->term_of);
	}
	b->term_of[w] = DROPPED;
	if (!bm25_term(b->analysis, word, word_len, &term, &len))
		return DROPPED;
	uint32_t t = b->term_of[w] = bm25_dict_add(&b->terms, term, len, &new_term);
	if (b->list_cap < b->terms.cap) {
		b->list_cap = b->terms.cap;
		b->lists = xrealloc_array(b->lists, b->list_cap, sizeof *b->lists);
	}
	if (new_term)
		memset(&b->lists[t], 0, sizeof b->lists[t]);
	return t;
}

int bm25_builder_add(struct bm25_builder *b, const char *id, size_t id_len, const char *text, size_t len, struct err *e)
{
	bool is_new;
	if (!id_len)
		return err_set(e, "the id of a document is empty");
	if (b->info.documents == MAX_DOCUMENTS)
		return err_set(e, "an index holds at most %lld documents", (long long)MAX_DOCUMENTS);
	uint32_t doc = bm25_dict_add(&b->ids, id, id_len, &is_new), n = 0;
	if (!is_new)
		return err_set(e, "document '%.*s' is there twice", id_len > 200 ? 200 : (int)id_len, id);
	const char *word;
	size_t word_len;
	bm25_analysis_text(b->analysis, text, len);
	while (bm25_next_word(b->analysis, &word, &word_len)) {
		uint32_t t = term_number(b, word, word_len);
		if (t == DROPPED)
			continue;
		struct list *l = &b->lists[t];
		if (l->tf && l->doc != doc)
			finish_posting(l);
		l->doc = doc;
		l->tf++;
		n++;
	}
	if (b->length_cap < b->ids.cap) {
		b->length_cap = b->ids.cap;
		b->lengths = xrealloc_array(b->lengths, b->length_cap, sizeof *b->lengths);
	}
	b->lengths[doc] = n;
	b->info.documents++;
	b->info.tokens += n;
	b->info.empty += !n;
	return 0;
}

/* ---- saving ---- */

struct sorted {
	size_t len;
	uint32_t term;
	char key[BM25_KEY_MAX];
};

static int by_key(const void *pa, const void *pb)
{
	const struct sorted *a = *(const struct sorted *const *)pa, *b = *(const struct sorted *const *)pb;
	int c = memcmp(a->key, b->key, a->len < b->len ? a->len : b->len);
	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static struct sorted **sort_terms(const struct bm25_builder *b, struct arena *a)
{
	struct sorted **order = arena_array(a, b->terms.n + 1, sizeof *order);
	for (size_t i = 0; i < b->terms.n; i++) {
		char key[BM25_KEY_MAX];
		size_t n = bm25_key(b->terms.words[i].text, b->terms.words[i].len, key);
		order[i] = arena_alloc(a, offsetof(struct sorted, key) + n);
		order[i]->len = n;
		order[i]->term = (uint32_t)i;
		memcpy(order[i]->key, key, n);
	}
	qsort(order, b->terms.n, sizeof *order, by_key);
	return order;
}

static void unpack_list(struct list *l, uint32_t *docs, uint32_t *tfs)
{
	finish_posting(l);
	const unsigned char *p = l->bytes;
	uint32_t doc = 0, gap;
	for (uint32_t i = 0; i < l->df; i++) {
		p = get_varint(p, &gap);
		docs[i] = doc += gap;
		p = get_varint(p, &tfs[i]);
	}
}

static int write_terms(struct bm25_builder *b, struct bm25_writer *w, struct err *e)
{
	struct arena a;
	struct str value;
	size_t n = (size_t)b->info.documents + 1;
	uint32_t *docs = xmalloc(n * sizeof *docs), *tfs = xmalloc(n * sizeof *tfs);
	int rc = 0;
	arena_init(&a);
	str_init(&value);
	struct sorted **order = sort_terms(b, &a);
	for (size_t i = 0; i < b->terms.n && !rc; i++) {
		struct list *l = &b->lists[order[i]->term];
		const struct bm25_word *term = &b->terms.words[order[i]->term];
		unpack_list(l, docs, tfs);
		str_clear(&value);
		bm25_postings_put(&value, docs, tfs, l->df, b->lengths);
		rc = bm25_writer_term(w, term->text, term->len, &value, e);
	}
	str_release(&value);
	arena_release(&a);
	free(docs);
	free(tfs);
	return rc;
}

int bm25_builder_save(struct bm25_builder *b, const char *path, struct err *e)
{
	struct bm25_writer *w = bm25_writer_open(path, e);
	if (!w)
		return -1;
	if (write_terms(b, w, e)) {
		bm25_writer_abandon(w);
		return -1;
	}
	struct str ids;
	size_t n = (size_t)b->info.documents;
	uint64_t *offsets = xcalloc(n + 1, sizeof *offsets);
	str_init(&ids);
	for (size_t i = 0; i < n; i++) {
		str_add(&ids, b->ids.words[i].text, b->ids.words[i].len);
		offsets[i + 1] = ids.len;
	}
	b->info.terms = (int64_t)b->terms.n;
	uint32_t none = 0;
	int rc = bm25_writer_finish(w, &b->info, n ? b->lengths : &none, offsets, ids.buf, e);
	str_release(&ids);
	free(offsets);
	return rc;
}
