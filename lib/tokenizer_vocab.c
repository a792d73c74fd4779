/* tokenizer_vocab - contents and ids, merges, and the byte-level alphabet. */
#include <stdlib.h>
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- vocabulary ---- */

static void alloc_slots(struct tok_vocab *v, size_t n)
{
	v->n_slots = n;
	v->slot = xmalloc(n * sizeof *v->slot);
	memset(v->slot, 0xFF, n * sizeof *v->slot);
}

void tok_vocab_init(struct tok_vocab *v)
{
	memset(v, 0, sizeof *v);
	str_init(&v->text);
	alloc_slots(v, 1024);
}

void tok_vocab_release(struct tok_vocab *v)
{
	str_release(&v->text);
	free(v->name);
	free(v->slot);
}

/* Multiplies and folds eight bytes at a time.  Seeded with where the tables lie, which a file cannot know. */
static uint64_t content_hash(const struct tok_vocab *v, const char *s, size_t len)
{
	uint64_t h = (uint64_t)(uintptr_t)v * 0x9E3779B97F4A7C15u + len, word;

	for (; len >= 8; s += 8, len -= 8) {
		memcpy(&word, s, 8);
		h = tok_pair_hash(h ^ word);
	}
	word = 0;
	for (size_t i = 0; i < len; i++)
		word = word << 8 | (unsigned char)s[i];
	return tok_pair_hash(h ^ word);
}

const char *tok_vocab_name(const struct tok_vocab *v, int32_t id, size_t *len)
{
	*len = 0;
	if (id < 0 || id >= v->size || v->name[id].len < 0)
		return NULL;
	*len = (size_t)v->name[id].len;
	return v->text.buf + v->name[id].at;
}

/* The slot that holds the content, or the free one where it belongs. */
static struct tok_slot *find_slot(const struct tok_vocab *v, const char *s, size_t len, uint32_t *tag)
{
	size_t mask = v->n_slots - 1, other_len;
	uint64_t hash = content_hash(v, s, len);

	*tag = (uint32_t)(hash >> 32);
	for (size_t i = hash & mask; v->slot[i].id >= 0; i = (i + 1) & mask) {
		if (v->slot[i].tag != *tag)
			continue;
		const char *other = tok_vocab_name(v, v->slot[i].id, &other_len);
		if (other_len == len && !memcmp(other, s, len))
			return &v->slot[i];
	}
	for (size_t i = hash & mask;; i = (i + 1) & mask)
		if (v->slot[i].id < 0)
			return &v->slot[i];
}

int32_t tok_vocab_id(const struct tok_vocab *v, const char *content, size_t len)
{
	uint32_t tag;

	return find_slot(v, content, len, &tag)->id;
}

void tok_vocab_warm(const struct tok_vocab *v, const char *content, size_t len, int step)
{
	const struct tok_slot *slot = &v->slot[content_hash(v, content, len) & (v->n_slots - 1)];

	if (step == 0)
		__builtin_prefetch(slot);
	else if (slot->id >= 0 && step == 1)
		__builtin_prefetch(&v->name[slot->id]);
	else if (slot->id >= 0)
		__builtin_prefetch(v->text.buf + v->name[slot->id].at);
}

void tok_vocab_reserve(struct tok_vocab *v, size_t n)
{
	struct tok_slot *old = v->slot;
	size_t n_old = v->n_slots, n_slots = n_old, len;

	while (n_slots < n * 2)
		n_slots *= 2;
	if (n_slots == n_old)
		return;
	alloc_slots(v, n_slots);
	for (size_t i = 0; i < n_old; i++)
		if (old[i].id >= 0) {
			const char *s = tok_vocab_name(v, old[i].id, &len);
			uint32_t tag;
			*find_slot(v, s, len, &tag) = old[i];
		}
	free(old);
}

static void grow_names(struct tok_vocab *v, int32_t id)
{
	if (id >= v->cap) {
		int32_t cap = id < 512 ? 1024 : id * 2;
		v->name = xrealloc_array(v->name, (size_t)cap, sizeof *v->name);
		v->cap = cap;
	}
	for (; v->size <= id; v->size++)
		v->name[v->size] = (struct tok_name){0, -1};
}

int tok_vocab_put(struct tok_vocab *v, const char *content, size_t len, int64_t id, struct err *e)
{
	struct tok_slot *slot;
	size_t other_len;
	const char *other;
	uint32_t tag;

	if (id < 0 || id >= TOK_MAX_ID)
		return err_set(e, "token '%.*s' has id %lld; ids must be below %d", (int)len, content, (long long)id,
		               TOK_MAX_ID);
	if (len > TOK_MAX_TEXT || v->text.len + len > UINT32_MAX / 2)
		return err_set(e, "the vocabulary holds more than %u bytes of text", UINT32_MAX / 2);
	other = tok_vocab_name(v, (int32_t)id, &other_len);
	if (other)
		return err_set(e, "tokens '%.*s' and '%.*s' both have id %lld", (int)other_len, other, (int)len,
		               content, (long long)id);
	if ((v->n + 1) * 2 > v->n_slots)
		tok_vocab_reserve(v, v->n * 2);
	slot = find_slot(v, content, len, &tag);
	if (slot->id >= 0)
		return err_set(e, "token '%.*s' is there twice, with id %d and %lld", (int)len, content, slot->id,
		               (long long)id);
	grow_names(v, (int32_t)id);
	v->name[id] = (struct tok_name){(uint32_t)v->text.len, (int32_t)len};
	str_add(&v->text, content, len);
	*slot = (struct tok_slot){tag, (int32_t)id};
	v->n++;
	return 0;
}

/* ---- merges ---- */

static void merges_alloc(struct tok_merges *m, size_t n_slots)
{
	m->n_slots = n_slots;
	m->slot = xmalloc(n_slots * sizeof *m->slot);
	memset(m->slot, 0xFF, n_slots * sizeof *m->slot);
}

void tok_merges_init(struct tok_merges *m, size_t expected)
{
	size_t n_slots = 64;

	while (n_slots < expected + expected / 2)
		n_slots *= 2;
	m->n = 0;
	merges_alloc(m, n_slots);
}

void tok_merges_release(struct tok_merges *m)
{
	free(m->slot);
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014). */
size_t tok_pair_hash(uint64_t x)
{
	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
	x = (x ^ x >> 27) * 0x94D049BB133111EBu;
	return (size_t)(x ^ x >> 31);
}

static struct tok_merge *pair_slot(const struct tok_merges *m, uint64_t pair)
{
	size_t mask = m->n_slots - 1, i = tok_pair_hash(pair) & mask;

	while (m->slot[i].pair != UINT64_MAX && m->slot[i].pair != pair)
		i = (i + 1) & mask;
	return &m->slot[i];
}

void tok_merges_put(struct tok_merges *m, uint64_t pair, int32_t rank, int32_t id)
{
	struct tok_merge *s;

	if (m->n + m->n / 2 >= m->n_slots) {
		struct tok_merges old = *m;
		merges_alloc(m, old.n_slots * 2);
		for (size_t i = 0; i < old.n_slots; i++)
			if (old.slot[i].pair != UINT64_MAX)
				*pair_slot(m, old.slot[i].pair) = old.slot[i];
		tok_merges_release(&old);
	}
	s = pair_slot(m, pair);
	m->n += s->pair == UINT64_MAX;
	*s = (struct tok_merge){pair, rank, id};
}

const struct tok_merge *tok_merges_find(const struct tok_merges *m, uint64_t pair)
{
	const struct tok_merge *s = pair_slot(m, pair);

	return s->pair == pair ? s : NULL;
}

void tok_merges_warm(const struct tok_merges *m, uint64_t pair)
{
	__builtin_prefetch(&m->slot[tok_pair_hash(pair) & (m->n_slots - 1)], 1);
}

static int merge_part(const struct tokenizer *t, int32_t rank, const char *s, size_t len, int32_t *id, struct err *e)
{
	*id = tok_vocab_id(&t->vocab, s, len);
	if (*id < 0)
		return err_set(e, "merge %d names '%.*s', which is not in the vocabulary", rank, (int)len, s);
	return 0;
}

int tok_merge_ids(const struct tokenizer *t, int32_t rank, const char *whole, size_t left_len, size_t right_len,
                  uint64_t *pair, int32_t *id, struct err *e)
{
	int32_t l, r;

	if (merge_part(t, rank, whole, left_len, &l, e) || merge_part(t, rank, whole + left_len, right_len, &r, e) ||
	    merge_part(t, rank, whole, left_len + right_len, id, e))
		return -1;
	*pair = TOK_PAIR(l, r);
	return 0;
}

/* ---- the byte-level alphabet: what can be shown stands for itself, the other 68 bytes are U+0100.. in order ---- */

static bool shown(int byte)
{
	return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t tok_byte_char(int byte)
{
	if (shown(byte))
		return (uint32_t)byte;
	if (byte <= 0x20)
		return 0x100 + (uint32_t)byte;
	return byte == 0xAD ? 0x143 : 0x121 + (uint32_t)byte - 0x7F;
}

int tok_char_byte(uint32_t cp)
{
	if (cp < 0x100)
		return shown((int)cp) ? (int)cp : -1;
	if (cp <= 0x120)
		return (int)cp - 0x100;
	if (cp <= 0x142)
		return (int)cp - 0x121 + 0x7F;
	return cp == 0x143 ? 0xAD : -1;
}

void tok_map_bytes(const char *s, size_t len, struct str *out)
{
	str_reserve(out, len * 2);
	for (size_t i = 0; i < len; i++)
		out->len += utf8_put(tok_byte_char((unsigned char)s[i]), out->buf + out->len);
	out->buf[out->len] = 0;
}
