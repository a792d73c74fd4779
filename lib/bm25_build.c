/*
 * bm25_build - a corpus to an index, in bounded memory; see bm25.h
 *
 * Words are looked up as they stand in the text and, where the analyzer changes words, carry the number of the term
 * that it makes of them, so each different word is stemmed once per run.  A term's occurrences are numbers of variable
 * length in pieces of an arena: the document (0: the same as before, else the gap + 1, the first from -1), then, where
 * the index has positions, the gap to the position before in that document.  When memory is full they become a run; at
 * the end the runs are merged and blocks are made.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

#define MAX_DOCUMENTS ((int64_t)1 << 28)
#define DROPPED UINT32_MAX
#define NO_DOC UINT32_MAX

enum { FIRST_PIECE = 16, LAST_PIECE = 4096, FIRST_TABLE = 4096, BATCH = 64 };

/* Behind the bytes of a piece, so that a list that knows where it writes knows this too. */
struct piece_end {
	unsigned char *next;
	uint32_t used, next_cap;
};
struct list {
	unsigned char *at; /* in the last piece, `room` bytes before its end */
	uint32_t room, doc, position, df;
	unsigned char *first; /* of FIRST_PIECE bytes */
};

/* Which ids were there: open addressing by a hash of 32 bits; what collides is compared in the file. */
struct id_slot {
	uint32_t doc, hash; /* doc + 1; 0 is free */
};

struct bm25_builder {
	struct bm25_options options;
	struct bm25_info info;
	struct bm25_analysis *analysis;
	struct bm25_writer *writer;
	struct bm25_runs *runs;
	/* the run in memory */
	struct bm25_dict surface, terms;
	struct arena pieces;
	size_t piece_bytes;
	uint32_t *term_of; /* by number of a surface word */
	size_t term_cap;
	struct list *lists; /* by number of a term */
	size_t list_cap;
	/* the table of documents */
	uint32_t *lengths;
	size_t length_cap, n_slots;
	struct id_slot *slots;
};

static bool has_surface(const struct bm25_builder *b)
{
	return b->options.analyzer == BM25_STOP || b->options.analyzer == BM25_PORTER;
}

static void begin_run(struct bm25_builder *b)
{
	bm25_dict_init(&b->terms);
	bm25_dict_init(&b->surface);
	arena_init(&b->pieces);
	b->piece_bytes = 0;
}

static void release_run(struct bm25_builder *b)
{
	bm25_dict_release(&b->terms);
	bm25_dict_release(&b->surface);
	arena_release(&b->pieces);
	free(b->term_of);
	free(b->lists);
	b->term_of = NULL;
	b->lists = NULL;
	b->term_cap = b->list_cap = 0;
}

struct bm25_builder *bm25_builder_new(const struct bm25_options *o, const char *path, struct err *e)
{
	struct bm25_writer *w = bm25_writer_open(path, o->memory / 16, e);
	if (!w)
		return NULL;
	struct bm25_builder *b = xcalloc(1, sizeof *b);
	b->options = *o;
	b->writer = w;
	b->runs = bm25_runs_new(path, o->memory / 4);
	b->analysis = bm25_analysis_new(o->analyzer);
	b->info.analyzer = o->analyzer;
	b->info.positions = o->positions;
	b->info.texts = o->texts;
	b->n_slots = FIRST_TABLE;
	b->slots = xcalloc(b->n_slots, sizeof *b->slots);
	begin_run(b);
	return b;
}

void bm25_builder_free(struct bm25_builder *b)
{
	if (!b)
		return;
	release_run(b);
	bm25_analysis_free(b->analysis);
	bm25_writer_abandon(b->writer);
	bm25_runs_free(b->runs);
	free(b->lengths);
	free(b->slots);
	free(b);
}

/* ---- the table of documents ---- */

static size_t table_bytes(const struct bm25_builder *b)
{
	return b->length_cap * sizeof *b->lengths + b->n_slots * sizeof *b->slots;
}

static int grow_table(struct bm25_builder *b, struct err *e)
{
	size_t n = (size_t)b->info.documents, room = b->options.memory / 8 * 5;
	if (n == b->length_cap) {
		b->length_cap = n ? n + n / 2 : FIRST_TABLE;
		b->lengths = xrealloc_array(b->lengths, b->length_cap, sizeof *b->lengths);
	}
	if (4 * (n + 1) <= 3 * b->n_slots)
		return 0;
	if (table_bytes(b) + 2 * b->n_slots * sizeof *b->slots > room)
		return err_set(e, "--memory of %zu MiB holds the table of %zu documents, not of more",
		               b->options.memory >> 20, n);
	struct id_slot *old = b->slots;
	size_t n_old = b->n_slots;
	b->n_slots *= 2;
	b->slots = xcalloc(b->n_slots, sizeof *b->slots);
	for (size_t i = 0; i < n_old; i++) {
		size_t s = old[i].hash & (b->n_slots - 1);
		while (old[i].doc && b->slots[s].doc)
			s = (s + 1) & (b->n_slots - 1);
		if (old[i].doc)
			b->slots[s] = old[i];
	}
	free(old);
	return 0;
}

/* The id's slot, free so far; -1 when it is taken. */
static int new_slot(struct bm25_builder *b, const char *id, size_t len, struct id_slot **out, struct err *e)
{
	uint32_t hash = (uint32_t)(bm25_dict_hash(id, len) >> 32);
	size_t s = hash & (b->n_slots - 1);
	for (; b->slots[s].doc; s = (s + 1) & (b->n_slots - 1)) {
		const char *other;
		size_t other_len;
		if (b->slots[s].hash != hash)
			continue;
		if (bm25_writer_id(b->writer, b->slots[s].doc - 1, &other, &other_len, e))
			return -1;
		if (other_len == len && !memcmp(other, id, len))
			return err_set(e, "document '%.*s' is there twice", len > 200 ? 200 : (int)len, id);
	}
	b->slots[s].hash = hash;
	*out = &b->slots[s];
	return 0;
}

/* ---- the run in memory ---- */

static size_t run_bytes(const struct bm25_builder *b)
{
	size_t arrays = bm25_dict_arrays(&b->terms) + bm25_dict_arrays(&b->surface) + b->term_cap * sizeof *b->term_of +
	                b->list_cap * sizeof *b->lists;
	/* while an array is doubled, its old half is there too; and the terms will be sorted */
	return b->piece_bytes + b->terms.text_bytes + b->surface.text_bytes + arrays + arrays / 2 +
	       b->terms.n * sizeof(uint32_t);
}

static bool is_full(const struct bm25_builder *b)
{
	size_t most = b->options.memory / 4 * 3, table = table_bytes(b), least = b->options.memory / 8;
	return run_bytes(b) > (most > table + least ? most - table : least);
}

static uint32_t list_number(struct bm25_builder *b, const char *term, size_t len, uint64_t hash)
{
	bool is_new;
	uint32_t t = bm25_dict_add_hashed(&b->terms, term, len, hash, &is_new);
	if (b->list_cap < b->terms.cap) {
		b->list_cap = b->terms.cap;
		b->lists = xrealloc_array(b->lists, b->list_cap, sizeof *b->lists);
	}
	if (is_new)
		b->lists[t] = (struct list){.doc = NO_DOC};
	return t;
}

/* The number of the list of the term that a word stands for. */
static uint32_t term_number(struct bm25_builder *b, const char *word, size_t word_len, uint64_t hash)
{
	bool is_new;
	const char *term;
	size_t len;
	if (!has_surface(b))
		return list_number(b, word, word_len, hash);
	uint32_t w = bm25_dict_add_hashed(&b->surface, word, word_len, hash, &is_new);
	if (!is_new)
		return b->term_of[w];
	if (b->term_cap < b->surface.cap) {
		b->term_cap = b->surface.cap;
		b->term_of = xrealloc_array(b->term_of, b->term_cap, sizeof *b->term_of);
	}
	bool kept = bm25_term(b->analysis, word, word_len, &term, &len);
	b->term_of[w] = kept ? list_number(b, term, len, bm25_dict_hash(term, len)) : DROPPED;
	return b->term_of[w];
}

static void grow_list(struct bm25_builder *b, struct list *l)
{
	struct piece_end *last = l->first ? (struct piece_end *)(l->at + l->room) : NULL;
	uint32_t cap = last ? last->next_cap : FIRST_PIECE;
	unsigned char *p = arena_alloc(&b->pieces, cap + sizeof *last);
	b->piece_bytes += cap + sizeof *last;
	if (last) {
		last->next = p;
		last->used -= l->room;
	} else {
		l->first = p;
	}
	l->at = p;
	l->room = cap;
	*(struct piece_end *)(p + cap) = (struct piece_end){NULL, cap, cap < LAST_PIECE ? 2 * cap : LAST_PIECE};
}

static void add_occurrence(struct bm25_builder *b, uint32_t t, uint32_t doc, uint32_t position)
{
	struct list *l = &b->lists[t];
	/* a number takes at most five bytes */
	if (l->room < (b->options.positions ? 10 : 5))
		grow_list(b, l);
	unsigned char *p = l->at;
	if (l->doc == doc) {
		*p++ = 0;
	} else {
		/* the document before the first is -1, which NO_DOC is here */
		p = bm25_put_varint(p, (uint32_t)(doc - l->doc - 1) + (uint64_t)1);
		l->doc = doc;
		l->position = 0;
		l->df++;
	}
	if (b->options.positions)
		p = bm25_put_varint(p, position - l->position);
	l->position = position;
	l->room -= (uint32_t)(p - l->at);
	l->at = p;
}

/* The words of a text, BATCH at a time: what one step reads is on its way while the step before deals with the other
 * words.  The number of terms. */
static uint32_t add_text(struct bm25_builder *b, uint32_t doc)
{
	struct bm25_span span[BATCH];
	struct bm25_dict *d = has_surface(b) ? &b->surface : &b->terms;
	uint64_t hash[BATCH];
	uint32_t term[BATCH], position = 0, count = 0;
	const char *words;
	size_t n;
	do {
		n = bm25_next_words(b->analysis, span, BATCH, &words);
		for (size_t i = 0; i < n; i++) {
			hash[i] = bm25_dict_hash(words + span[i].at, span[i].len);
			bm25_dict_fetch_slot(d, hash[i]);
		}
		for (size_t i = 0; i < n; i++)
			bm25_dict_fetch_word(d, hash[i]);
		for (size_t i = 0; i < n; i++) {
			term[i] = term_number(b, words + span[i].at, span[i].len, hash[i]);
			if (term[i] != DROPPED)
				__builtin_prefetch(&b->lists[term[i]]);
		}
		for (size_t i = 0; i < n; i++)
			if (term[i] != DROPPED)
				__builtin_prefetch(b->lists[term[i]].at, 1);
		for (size_t i = 0; i < n; i++, position++) {
			if (term[i] == DROPPED)
				continue;
			add_occurrence(b, term[i], doc, position);
			count++;
		}
	} while (n == BATCH);
	return count;
}

/* ---- a run to disk ---- */

static int by_key(const void *pa, const void *pb, void *arg)
{
	const struct bm25_word *words = arg, *a = &words[*(const uint32_t *)pa], *b = &words[*(const uint32_t *)pb];
	char ka[BM25_KEY_MAX], kb[BM25_KEY_MAX];
	if (a->len <= BM25_KEY_MAX && b->len <= BM25_KEY_MAX)
		return bm25_compare_keys(a->text, a->len, b->text, b->len);
	size_t na = bm25_key(a->text, a->len, ka), nb = bm25_key(b->text, b->len, kb);
	return bm25_compare_keys(ka, na, kb, nb);
}

static int spill_list(struct bm25_builder *b, uint32_t t, struct err *e)
{
	const struct bm25_word *term = &b->terms.words[t];
	const struct list *l = &b->lists[t];
	char key[BM25_KEY_MAX];
	size_t key_len = bm25_key(term->text, term->len, key);
	uint64_t len = 0;
	const struct piece_end *end;
	((struct piece_end *)(l->at + l->room))->used -= l->room;
	uint32_t cap = FIRST_PIECE;
	for (const unsigned char *p = l->first; p; p = end->next, cap = end->next_cap) {
		end = (const struct piece_end *)(p + cap);
		len += end->used;
	}
	if (bm25_runs_record(b->runs, key, key_len, l->df, len, e))
		return -1;
	cap = FIRST_PIECE;
	for (const unsigned char *p = l->first; p; p = end->next, cap = end->next_cap) {
		end = (const struct piece_end *)(p + cap);
		if (bm25_runs_bytes(b->runs, p, end->used, e))
			return -1;
	}
	return 0;
}

static int spill(struct bm25_builder *b, struct err *e)
{
	size_t n = b->terms.n;
	if (!n)
		return 0;
	uint32_t *order = xcalloc(n, sizeof *order);
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	qsort_r(order, n, sizeof *order, by_key, b->terms.words);
	int rc = bm25_runs_begin(b->runs, e);
	for (size_t i = 0; i < n && !rc; i++)
		rc = spill_list(b, order[i], e);
	free(order);
	release_run(b);
	begin_run(b);
	return rc ? -1 : bm25_runs_end(b->runs, e);
}

int bm25_builder_add(struct bm25_builder *b, const char *id, size_t id_len, const char *text, size_t len, struct err *e)
{
	struct id_slot *slot = NULL;
	if (!id_len)
		return err_set(e, "the id of a document is empty");
	if (b->info.documents == MAX_DOCUMENTS)
		return err_set(e, "an index holds at most %lld documents", (long long)MAX_DOCUMENTS);
	if (grow_table(b, e) || new_slot(b, id, id_len, &slot, e) ||
	    bm25_writer_document(b->writer, id, id_len, b->options.texts ? text : NULL, len, e))
		return -1;
	uint32_t doc = (uint32_t)b->info.documents++;
	slot->doc = doc + 1;
	bm25_analysis_text(b->analysis, text, len);
	uint32_t n = add_text(b, doc);
	b->lengths[doc] = n;
	b->info.tokens += n;
	b->info.empty += !n;
	return is_full(b) ? spill(b, e) : 0;
}

/* ---- merging ---- */

struct merger {
	struct bm25_builder *b;
	char key[BM25_KEY_MAX];
	size_t key_len;
	struct bm25_list list;
	struct str positions, group; /* of the block, of the blocks before it; group begins with the ends */
	uint32_t ends[BM25_POSITION_BLOCKS], n_ends, n_groups;
};

static int write_group(struct merger *m, struct err *e)
{
	struct str *value = &m->positions; /* its block has gone into group */
	if (!m->n_ends)
		return 0;
	str_clear(value);
	str_add(value, m->ends, m->n_ends * sizeof *m->ends);
	str_add(value, m->group.buf, m->group.len);
	int rc = bm25_writer_positions(m->b->writer, m->key, m->key_len, m->n_groups++, value, e);
	str_clear(value);
	str_clear(&m->group);
	m->n_ends = 0;
	return rc;
}

/* The positions of a whole block stand in m->positions. */
static int end_position_block(struct merger *m, struct err *e)
{
	str_add(&m->group, m->positions.buf, m->positions.len);
	str_clear(&m->positions);
	m->ends[m->n_ends++] = (uint32_t)m->group.len;
	return m->n_ends == BM25_POSITION_BLOCKS ? write_group(m, e) : 0;
}

static int end_term(struct merger *m, struct err *e)
{
	if (!m->list.df)
		return 0;
	bool partial = m->list.n > 0;
	size_t len = bm25_list_end(&m->list, m->b->lengths);
	if (m->b->options.positions && ((partial && end_position_block(m, e)) || write_group(m, e)))
		return -1;
	m->b->info.terms++;
	return bm25_writer_term(m->b->writer, m->key, m->key_len, &m->list, len, e);
}

static int add_posting(struct merger *m, uint32_t doc, uint32_t tf, struct err *e)
{
	bool ended = bm25_list_add(&m->list, doc, tf, m->b->lengths);
	return ended && m->b->options.positions ? end_position_block(m, e) : 0;
}

static int merge_record(void *arg, struct bm25_record *r, struct err *e)
{
	struct merger *m = arg;
	if (!m->list.df || bm25_compare_keys(m->key, m->key_len, r->key, r->key_len)) {
		if (end_term(m, e))
			return -1;
		memcpy(m->key, r->key, r->key_len);
		m->key_len = r->key_len;
		m->n_groups = 0;
		bm25_list_begin(&m->list);
	}
	uint32_t doc = NO_DOC, tf = 0, gap, position;
	unsigned char bytes[10];
	while (r->left) {
		if (bm25_record_varint(r, &gap, e))
			return -1;
		if (gap && tf && add_posting(m, doc, tf, e))
			return -1;
		if (gap) {
			doc += gap;
			tf = 0;
		}
		tf++;
		if (!m->b->options.positions)
			continue;
		if (bm25_record_varint(r, &position, e))
			return -1;
		str_add(&m->positions, bytes, (size_t)(bm25_put_varint(bytes, position) - bytes));
	}
	return tf ? add_posting(m, doc, tf, e) : 0;
}

int bm25_builder_save(struct bm25_builder *b, struct err *e)
{
	static const uint32_t none;
	struct merger m = {.b = b};
	if (spill(b, e))
		return -1;
	free(b->slots); /* merging needs their room */
	b->slots = NULL;
	bm25_list_init(&m.list);
	bm25_list_begin(&m.list);
	str_init(&m.positions);
	str_init(&m.group);
	int rc = bm25_runs_merge(b->runs, 0, b->options.memory / 4, merge_record, &m, e);
	if (!rc)
		rc = end_term(&m, e);
	bm25_list_release(&m.list);
	str_release(&m.positions);
	str_release(&m.group);
	if (rc)
		return -1;
	struct bm25_writer *w = b->writer;
	b->writer = NULL;
	return bm25_writer_finish(w, &b->info, b->info.documents ? b->lengths : &none, e);
}
