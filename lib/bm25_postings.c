/* bm25_postings - posting lists in packed blocks; see bm25_impl.h */
#include <string.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { HEADER = 8, PADDING = 8 };

static unsigned bits_for(uint32_t max)
{
	return max ? 32 - (unsigned)__builtin_clz(max) : 0;
}

static size_t packed_bytes(uint32_t n, unsigned bits)
{
	return ((size_t)n * bits + 7) / 8;
}

static void pack(struct str *out, const uint32_t *x, uint32_t n, unsigned bits)
{
	uint64_t acc = 0;
	unsigned have = 0;
	for (uint32_t i = 0; i < n; i++) {
		acc |= (uint64_t)x[i] << have;
		for (have += bits; have >= 8; have -= 8, acc >>= 8)
			str_addc(out, (char)(acc & 0xff));
	}
	if (have)
		str_addc(out, (char)(acc & 0xff));
}

/* Reads whole words: up to 7 bytes behind the packed ones must be readable. */
static void unpack(const unsigned char *in, uint32_t *x, uint32_t n, unsigned bits)
{
	uint64_t mask = ((uint64_t)1 << bits) - 1, word;
	size_t at = 0;
	for (uint32_t i = 0; i < n; i++, at += bits) {
		memcpy(&word, in + (at >> 3), sizeof word);
		x[i] = (uint32_t)(word >> (at & 7) & mask);
	}
}

/* One block behind document `last` (-1 at the start). */
static void put_block(struct str *out, const uint32_t *docs, const uint32_t *tfs, uint32_t n, int64_t last,
                      const uint32_t *lengths, struct bm25_block *entry)
{
	uint32_t gaps[BM25_BLOCK], counts[BM25_BLOCK], max_gap = 0;
	entry->max_tf = 0;
	entry->min_len = UINT32_MAX;
	for (uint32_t i = 0; i < n; i++) {
		gaps[i] = (uint32_t)(docs[i] - last - 1);
		counts[i] = tfs[i] - 1;
		last = docs[i];
		max_gap = gaps[i] > max_gap ? gaps[i] : max_gap;
		entry->max_tf = tfs[i] > entry->max_tf ? tfs[i] : entry->max_tf;
		entry->min_len = lengths[docs[i]] < entry->min_len ? lengths[docs[i]] : entry->min_len;
	}
	entry->last_doc = (uint32_t)last;
	unsigned doc_bits = bits_for(max_gap), tf_bits = bits_for(entry->max_tf - 1);
	str_addc(out, (char)doc_bits);
	str_addc(out, (char)tf_bits);
	pack(out, gaps, n, doc_bits);
	pack(out, counts, n, tf_bits);
}

void bm25_postings_put(struct str *out, const uint32_t *docs, const uint32_t *tfs, uint32_t df, const uint32_t *lengths)
{
	uint32_t n_blocks = (df + BM25_BLOCK - 1) / BM25_BLOCK;
	size_t table = out->len + HEADER, table_len = (size_t)n_blocks * sizeof(struct bm25_block);
	str_add(out, &df, sizeof df);
	str_add(out, &n_blocks, sizeof n_blocks);
	str_reserve(out, table_len);
	out->len += table_len;
	size_t data = out->len;
	int64_t last = -1;
	for (uint32_t b = 0; b < n_blocks; b++) {
		uint32_t at = b * BM25_BLOCK, n = df - at < BM25_BLOCK ? df - at : BM25_BLOCK;
		struct bm25_block entry;
		put_block(out, docs + at, tfs + at, n, last, lengths, &entry);
		last = entry.last_doc;
		entry.end = (uint32_t)(out->len - data);
		memcpy(out->buf + table + b * sizeof entry, &entry, sizeof entry);
	}
	static const char zero[PADDING];
	str_add(out, zero, sizeof zero);
}

struct bm25_block bm25_postings_entry(const struct bm25_postings *p, uint32_t block)
{
	struct bm25_block entry;
	memcpy(&entry, p->table + (size_t)block * sizeof entry, sizeof entry);
	return entry;
}

int bm25_postings_get(const void *value, size_t len, int64_t n_docs, struct bm25_postings *out, struct err *e)
{
	const unsigned char *v = value;
	if (len < HEADER + PADDING)
		return err_set(e, "a posting list has %zu bytes, at least %d are needed", len, HEADER + PADDING);
	memcpy(&out->df, v, sizeof out->df);
	memcpy(&out->n_blocks, v + sizeof out->df, sizeof out->n_blocks);
	size_t table = (size_t)out->n_blocks * sizeof(struct bm25_block);
	if (!out->df || out->df > n_docs || out->n_blocks != ((uint64_t)out->df + BM25_BLOCK - 1) / BM25_BLOCK ||
	    table > len - HEADER - PADDING)
		return err_set(e, "a posting list is damaged: %u postings, %u blocks, %zu bytes", out->df,
		               out->n_blocks, len);
	out->table = v + HEADER;
	out->data = out->table + table;
	out->data_len = len - HEADER - PADDING - table;
	return 0;
}

int bm25_postings_block(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *tfs,
                        uint32_t *n, struct err *e)
{
	struct bm25_block entry = bm25_postings_entry(p, block), before = {.last_doc = UINT32_MAX};
	if (block)
		before = bm25_postings_entry(p, block - 1);
	uint32_t at = block * BM25_BLOCK, count = p->df - at < BM25_BLOCK ? p->df - at : BM25_BLOCK;
	*n = count;
	if (entry.end > p->data_len || before.end > entry.end || entry.end - before.end < 2)
		return err_set(e, "block %u of a posting list ends at byte %u of %zu", block, entry.end, p->data_len);
	const unsigned char *in = p->data + before.end;
	unsigned doc_bits = in[0], tf_bits = in[1];
	size_t doc_bytes = packed_bytes(count, doc_bits);
	if (doc_bits > 32 || tf_bits > 32 || entry.end - before.end != 2 + doc_bytes + packed_bytes(count, tf_bits))
		return err_set(e, "block %u of a posting list is damaged", block);
	unpack(in + 2, docs, count, doc_bits);
	unpack(in + 2 + doc_bytes, tfs, count, tf_bits);
	/* the document before the first is -1, which UINT32_MAX is here */
	uint64_t doc = block ? (uint64_t)before.last_doc + 1 : 0;
	for (uint32_t i = 0; i < count; i++) {
		doc += docs[i];
		docs[i] = (uint32_t)doc++;
		tfs[i]++;
	}
	if (doc > (uint64_t)n_docs || doc - 1 != entry.last_doc)
		return err_set(e, "block %u of a posting list names document %llu of %lld", block,
		               (unsigned long long)doc - 1, (long long)n_docs);
	return 0;
}
