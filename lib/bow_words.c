/* bow_words - see bow_words.h */
#include "lib/bow_words.h"

#include <stdlib.h>
#include <string.h>

#include "lib/utf8.h"
#include "lib/util.h"

#define HASH_START 0xcbf29ce484222325u /* FNV-1a */
#define HASH_FACTOR 0x100000001b3u

uint64_t bow_hash(const char *word, size_t len)
{
	uint64_t hash = HASH_START;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)word[i]) * HASH_FACTOR;
	return hash;
}

/* ---- words ---- */

void bow_words_init(struct bow_words *w)
{
	*w = (struct bow_words){.n = 0};
	str_init(&w->lower);
}

void bow_words_release(struct bow_words *w)
{
	str_release(&w->lower);
	free(w->word);
}

enum kind { SPACE, WORD, APOSTROPHE, MARK };

static enum kind kind_of(uint32_t c)
{
	if (c < 0x80) {
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')
			return WORD;
		return c == '\'' ? APOSTROPHE : c <= ' ' || c == 0x7f ? SPACE : MARK;
	}
	return c == 0x2019 ? APOSTROPHE : utf8_is_word(c) ? WORD : utf8_is_space(c) || c < 0xa0 ? SPACE : MARK;
}

static void put_lower(struct bow_words *w, const char *p, size_t len, uint32_t c)
{
	if (c < 0x80)
		str_addc(&w->lower, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
	else if (c == 0x2019)
		str_addc(&w->lower, '\'');
	else
		utf8_lower(p, len, &w->lower);
}

static void begin(struct bow_words *w, int64_t code)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 64;
		w->word = xrealloc_array(w->word, (size_t)w->cap, sizeof *w->word);
	}
	w->word[w->n] = (struct bow_word){.start = code, .at = w->lower.len};
}

static void end(struct bow_words *w, int64_t code)
{
	struct bow_word *x = &w->word[w->n++];
	x->end = code;
	x->len = w->lower.len - x->at;
	x->hash = bow_hash(w->lower.buf + x->at, x->len);
}

/* Does a character that goes on with a word begin here? */
static bool word_at(const char *p, size_t len)
{
	uint32_t c;
	if (!len)
		return false;
	utf8_next(p, len, &c);
	return kind_of(c) == WORD;
}

void bow_words_find(struct bow_words *w, const char *text, size_t len)
{
	bool open = false;
	int64_t code = 0;
	size_t width;
	w->n = 0;
	str_clear(&w->lower);
	str_reserve(&w->lower, len + 1);
	for (size_t i = 0; i < len; i += width, code++) {
		uint32_t c = (unsigned char)text[i];
		width = c < 0x80 ? 1 : utf8_next(text + i, len - i, &c);
		enum kind kind = kind_of(c);
		if (kind == APOSTROPHE)
			kind = open && word_at(text + i + width, len - i - width) ? WORD : MARK;
		if (open && kind != WORD) {
			end(w, code);
			open = false;
		}
		if (kind == SPACE)
			continue;
		if (!open)
			begin(w, code);
		put_lower(w, text + i, width, c);
		open = kind == WORD;
		if (!open)
			end(w, code + 1);
	}
	if (open)
		end(w, code);
}

/* ---- features ---- */

struct bow_name {
	const char *text; /* terminated; NULL: free */
	size_t len;
	uint64_t hash;
	int32_t number;
};

struct bow_pair {
	int32_t first, second, number; /* number + 1; 0: free */
};

void bow_features_init(struct bow_features *f)
{
	*f = (struct bow_features){.n = 0};
	arena_init(&f->arena);
}

void bow_features_release(struct bow_features *f)
{
	arena_release(&f->arena);
	free(f->names);
	free(f->pairs);
}

/* The slot of the word, or the free one where it belongs.  FNV's low bits are its weakest. */
static struct bow_name *name_slot(const struct bow_features *f, const char *word, size_t len, uint64_t hash)
{
	size_t i = (size_t)(hash ^ hash >> 32) & (f->name_slots - 1);
	for (;; i = (i + 1) & (f->name_slots - 1)) {
		struct bow_name *s = &f->names[i];
		if (!s->text || (s->hash == hash && s->len == len && !memcmp(s->text, word, len)))
			return s;
	}
}

static struct bow_pair *pair_slot(const struct bow_features *f, int32_t first, int32_t second)
{
	uint64_t hash = ((uint64_t)(uint32_t)first << 32 | (uint32_t)second) * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(hash >> 32) & (f->pair_slots - 1);
	for (;; i = (i + 1) & (f->pair_slots - 1)) {
		struct bow_pair *s = &f->pairs[i];
		if (!s->number || (s->first == first && s->second == second))
			return s;
	}
}

int32_t bow_features_find(const struct bow_features *f, const char *word, size_t len, uint64_t hash)
{
	const struct bow_name *s = f->n_names ? name_slot(f, word, len, hash) : NULL;
	return s && s->text ? s->number : -1;
}

int32_t bow_features_find_pair(const struct bow_features *f, int32_t first, int32_t second)
{
	return f->n_pairs ? pair_slot(f, first, second)->number - 1 : -1;
}

static void grow_names(struct bow_features *f)
{
	struct bow_name *old = f->names;
	size_t n_old = f->name_slots;
	f->name_slots = n_old ? 2 * n_old : 1024;
	f->names = xcalloc(f->name_slots, sizeof *f->names);
	for (size_t i = 0; i < n_old; i++)
		if (old[i].text)
			*name_slot(f, old[i].text, old[i].len, old[i].hash) = old[i];
	free(old);
}

static void grow_pairs(struct bow_features *f)
{
	struct bow_pair *old = f->pairs;
	size_t n_old = f->pair_slots;
	f->pair_slots = n_old ? 2 * n_old : 1024;
	f->pairs = xcalloc(f->pair_slots, sizeof *f->pairs);
	for (size_t i = 0; i < n_old; i++)
		if (old[i].number)
			*pair_slot(f, old[i].first, old[i].second) = old[i];
	free(old);
}

int32_t bow_features_add(struct bow_features *f, const char *word, size_t len, uint64_t hash)
{
	if (2 * (f->n_names + 1) > f->name_slots)
		grow_names(f);
	struct bow_name *s = name_slot(f, word, len, hash);
	if (!s->text) {
		*s = (struct bow_name){arena_strndup(&f->arena, word, len), len, hash, f->n++};
		f->n_names++;
	}
	return s->number;
}

int32_t bow_features_add_pair(struct bow_features *f, int32_t first, int32_t second)
{
	if (2 * (f->n_pairs + 1) > f->pair_slots)
		grow_pairs(f);
	struct bow_pair *s = pair_slot(f, first, second);
	if (!s->number) {
		*s = (struct bow_pair){first, second, ++f->n};
		f->n_pairs++;
	}
	return s->number - 1;
}

void bow_features_each(const struct bow_features *f,
                       void (*fn)(void *arg, int32_t number, const char *first, const char *second), void *arg)
{
	const char **text = xcalloc((size_t)f->n + 1, sizeof *text);
	for (size_t i = 0; i < f->name_slots; i++)
		if (f->names[i].text)
			text[f->names[i].number] = f->names[i].text;
	for (int32_t i = 0; i < f->n; i++)
		if (text[i])
			fn(arg, i, text[i], NULL);
	for (size_t i = 0; i < f->pair_slots; i++)
		if (f->pairs[i].number)
			fn(arg, f->pairs[i].number - 1, text[f->pairs[i].first], text[f->pairs[i].second]);
	free(text);
}
