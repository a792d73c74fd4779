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

/* Number i of those packed in `bits` bits each.  Reads a whole word: up to 7 bytes behind must be readable. */
static inline uint32_t packed(const unsigned char *in, uint32_t i, unsigned bits)
{
	uint64_t word;
	size_t at = (size_t)i * bits;
	memcpy(&word, in + (at >> 3), sizeof word);
	return (uint32_t)(word >> (at & 7) & (((uint64_t)1 << bits) - 1));
}

/* Eight numbers of at most 8 bits are one word, which then need not be read again. */
static inline __attribute__((always_inline)) uint32_t unpack_bytes(const unsigned char *in, uint32_t *x, uint32_t n,
                                                                   unsigned bits)
{
	const uint64_t mask = ((uint64_t)1 << bits) - 1;
	uint32_t i = 0;
	for (; i + 8 <= n; i += 8, in += bits) {
		uint64_t word;
		memcpy(&word, in, sizeof word);
		for (unsigned j = 0; j < 8; j++)
			x[i + j] = (uint32_t)(word >> j * bits & mask);
	}
	return i;
}

static void unpack(const unsigned char *in, uint32_t *x, uint32_t n, unsigned bits)
{
	uint32_t i = 0;
	switch (bits) {
	case 0:
		memset(x, 0, n * sizeof *x);
		return;
	case 1:
		i = unpack_bytes(in, x, n, 1);
		break;
	case 2:
		i = unpack_bytes(in, x, n, 2);
		break;
	case 3:
		i = unpack_bytes(in, x, n, 3);
		break;
	case 4:
		i = unpack_bytes(in, x, n, 4);
		break;
	case 5:
		i = unpack_bytes(in, x, n, 5);
		break;
	case 6:
		i = unpack_bytes(in, x, n, 6);
		break;
	case 7:
		i = unpack_bytes(in, x, n, 7);
		break;
	case 8:
		i = unpack_bytes(in, x, n, 8);
		break;
	}
	for (; i < n; i++)
		x[i] = packed(in, i, bits);
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

void bm25_list_init(struct bm25_list *l)
{
	memset(l, 0, sizeof *l);
	str_init(&l->table);
	str_init(&l->data);
}

void bm25_list_release(struct bm25_list *l)
{
	str_release(&l->table);
	str_release(&l->data);
}

void bm25_list_begin(struct bm25_list *l)
{
	str_clear(&l->table);
	str_clear(&l->data);
	l->df = l->n = 0;
	l->last = -1;
}

static void end_block(struct bm25_list *l, const uint32_t *lengths)
{
	struct bm25_block entry;
	put_block(&l->data, l->docs, l->tfs, l->n, l->last, lengths, &entry);
	l->last = entry.last_doc;
	entry.end = (uint32_t)l->data.len;
	str_add(&l->table, &entry, sizeof entry);
	l->n = 0;
}

bool bm25_list_add(struct bm25_list *l, uint32_t doc, uint32_t tf, const uint32_t *lengths)
{
	l->docs[l->n] = doc;
	l->tfs[l->n++] = tf;
	l->df++;
	if (l->n < BM25_BLOCK)
		return false;
	end_block(l, lengths);
	return true;
}

size_t bm25_list_end(struct bm25_list *l, const uint32_t *lengths)
{
	if (l->n)
		end_block(l, lengths);
	return HEADER + l->table.len + l->data.len + PADDING;
}

void bm25_list_write(const struct bm25_list *l, char *out)
{
	uint32_t head[2] = {l->df, (uint32_t)(l->table.len / sizeof(struct bm25_block))};
	memcpy(out, head, HEADER);
	memcpy(out + HEADER, l->table.buf, l->table.len);
	memcpy(out + HEADER + l->table.len, l->data.buf, l->data.len);
	memset(out + HEADER + l->table.len + l->data.len, 0, PADDING);
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

void bm25_tfs_unpack(const struct bm25_tfs *t, uint32_t *tfs, uint32_t n)
{
	unpack(t->in, tfs, n, t->bits);
	for (uint32_t i = 0; i < n; i++)
		tfs[i]++;
}

uint32_t bm25_tfs_get(const struct bm25_tfs *t, uint32_t i)
{
	return packed(t->in, i, t->bits) + 1;
}

int bm25_postings_docs(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *n,
                       struct bm25_tfs *tfs, struct err *e)
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
	*tfs = (struct bm25_tfs){in + 2 + doc_bytes, tf_bits};
	unpack(in + 2, docs, count, doc_bits);
	/* the document before the first is -1, which UINT32_MAX is here; i stands for the ones in the gaps */
	uint64_t sum = block ? (uint64_t)before.last_doc + 1 : 0;
	for (uint32_t i = 0; i < count; i++) {
		sum += docs[i];
		docs[i] = (uint32_t)(sum + i);
	}
	uint64_t last = sum + count - 1;
	if (last >= (uint64_t)n_docs || last != entry.last_doc)
		return err_set(e, "block %u of a posting list names document %llu of %lld", block,
		               (unsigned long long)last, (long long)n_docs);
	return 0;
}

int bm25_postings_block(const struct bm25_postings *p, uint32_t block, int64_t n_docs, uint32_t *docs, uint32_t *tfs,
                        uint32_t *n, struct err *e)
{
	struct bm25_tfs packed_tfs;
	if (bm25_postings_docs(p, block, n_docs, docs, n, &packed_tfs, e))
		return -1;
	bm25_tfs_unpack(&packed_tfs, tfs, *n);
	return 0;
}
