/* overlap_words - see overlap_words.h */
#include "lib/overlap_words.h"

#include <stdlib.h>
#include <string.h>

#include "lib/porter.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* ---- tables ---- */

static void slots_clear(struct hash_slot **slot, size_t *cap, uint32_t *stamp, size_t room)
{
	size_t want = 64;
	while (want < 2 * room)
		want *= 2;
	if (want > *cap) {
		free(*slot);
		*slot = xcalloc(want, sizeof **slot);
		*cap = want;
		*stamp = 0;
	} else if (*stamp == UINT32_MAX) {
		memset(*slot, 0, *cap * sizeof **slot);
		*stamp = 0;
	}
	++*stamp;
}

/* Twice the room, with the same numbers. */
static void slots_grow(struct hash_slot **slot, size_t *cap, uint32_t stamp, bool hashed)
{
	size_t wider = *cap * 2;
	struct hash_slot *to = xcalloc(wider, sizeof *to);
	for (size_t i = 0; i < *cap; i++) {
		const struct hash_slot *s = &(*slot)[i];
		if (s->stamp != stamp)
			continue;
		size_t at = (hashed ? s->key : hash_mix(s->key)) & (wider - 1);
		while (to[at].stamp)
			at = (at + 1) & (wider - 1);
		to[at] = *s;
	}
	free(*slot);
	*slot = to;
	*cap = wider;
}

void pairs_release(struct pairs *p)
{
	free(p->slot);
	*p = (struct pairs){0};
}

void pairs_clear(struct pairs *p, size_t room)
{
	slots_clear(&p->slot, &p->cap, &p->stamp, room);
	p->n = 0;
}

/* Where the key is, or the empty place for it. */
static inline size_t pairs_place(const struct pairs *p, uint64_t key)
{
	size_t at = hash_mix(key) & (p->cap - 1);
	while (p->slot[at].stamp == p->stamp && p->slot[at].key != key)
		at = (at + 1) & (p->cap - 1);
	return at;
}

int32_t pairs_intern(struct pairs *p, uint32_t a, uint32_t b)
{
	uint64_t key = (uint64_t)a << 32 | b;
	size_t at = pairs_place(p, key);
	if (p->slot[at].stamp == p->stamp)
		return p->slot[at].id;
	p->slot[at] = (struct hash_slot){key, p->stamp, p->n};
	if ((size_t)p->n * 2 >= p->cap)
		slots_grow(&p->slot, &p->cap, p->stamp, false);
	return p->n++;
}

int32_t pairs_find(const struct pairs *p, uint32_t a, uint32_t b)
{
	size_t at = pairs_place(p, (uint64_t)a << 32 | b);
	return p->slot[at].stamp == p->stamp ? p->slot[at].id : -1;
}

void vocab_init(struct vocab *v)
{
	*v = (struct vocab){0};
	str_init(&v->text);
	vocab_clear(v);
}

void vocab_release(struct vocab *v)
{
	str_release(&v->text);
	free(v->word);
	free(v->slot);
}

void vocab_clear(struct vocab *v)
{
	str_clear(&v->text);
	slots_clear(&v->slot, &v->cap, &v->stamp, 0);
	v->n = 0;
}

static uint64_t hash_word(const char *s, size_t len)
{
	uint64_t h = len, x;
	for (; len >= 8; s += 8, len -= 8) {
		memcpy(&x, s, 8);
		h = hash_mix(h ^ x);
	}
	x = 0;
	memcpy(&x, s, len);
	return hash_mix(h ^ x);
}

int32_t vocab_intern(struct vocab *v, size_t start)
{
	const char *s = v->text.buf + start;
	size_t len = v->text.len - start;
	uint64_t key = hash_word(s, len);
	size_t at = key & (v->cap - 1);
	for (; v->slot[at].stamp == v->stamp; at = (at + 1) & (v->cap - 1)) {
		const struct vocab_word *w = &v->word[v->slot[at].id];
		if (v->slot[at].key == key && w->len == len && !memcmp(v->text.buf + w->at, s, len)) {
			v->text.len = start;
			return v->slot[at].id;
		}
	}
	v->slot[at] = (struct hash_slot){key, v->stamp, v->n};
	if ((size_t)v->n * 2 >= v->cap)
		slots_grow(&v->slot, &v->cap, v->stamp, true);
	if ((size_t)v->n == v->word_cap) {
		v->word_cap = v->word_cap ? 2 * v->word_cap : 64;
		v->word = xrealloc_array(v->word, v->word_cap, sizeof *v->word);
	}
	v->word[v->n] = (struct vocab_word){start, len};
	return v->n++;
}

/* ---- texts ---- */

void words_init(struct words *w, enum words_rule rule, bool lower)
{
	*w = (struct words){.rule = rule, .lower = lower};
	vocab_init(&w->vocab);
	str_init(&w->scratch);
	str_init(&w->scratch2);
}

void words_release(struct words *w)
{
	vocab_release(&w->vocab);
	str_release(&w->scratch);
	str_release(&w->scratch2);
	free(w->ids);
	free(w->text);
	free(w->line);
}

void words_clear(struct words *w, bool keep_vocab)
{
	w->n_ids = w->n_texts = w->n_lines = 0;
	if (!keep_vocab)
		vocab_clear(&w->vocab);
}

static void put_id(struct words *w, int32_t id)
{
	if (w->n_ids == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 256;
		w->ids = xrealloc_array(w->ids, w->cap, sizeof *w->ids);
	}
	w->ids[w->n_ids++] = id;
}

static void put_word(struct words *w, const char *s, size_t len)
{
	size_t start = w->vocab.text.len;
	if (!len)
		return;
	str_add(&w->vocab.text, s, len);
	put_id(w, vocab_intern(&w->vocab, start));
}

static void put_line(struct words *w)
{
	if (w->n_lines == w->line_cap) {
		w->line_cap = w->line_cap ? 2 * w->line_cap : 16;
		w->line = xrealloc_array(w->line, w->line_cap, sizeof *w->line);
	}
	w->line[w->n_lines++] = w->n_ids;
}

bool words_is_space(uint32_t cp)
{
	return (cp >= 0x1C && cp <= 0x1F) || utf8_is_space(cp);
}

/* Bytes of white space at s[i], 0 for none. */
static inline size_t space_at(const char *s, size_t len, size_t i)
{
	unsigned char c = (unsigned char)s[i];
	uint32_t cp;
	if (c < 0x80)
		return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
	if (c != 0xC2 && c != 0xE1 && c != 0xE2 && c != 0xE3) /* the leads of all other white space */
		return 0;
	size_t n = utf8_next(s + i, len - i, &cp);
	return words_is_space(cp) ? n : 0;
}

static bool is_ascii_punct(char c)
{
	return c > ' ' && c < 0x7F && !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'));
}

/* chrF++: "(hi)" is "(hi" and ")". */
static void put_chrf_word(struct words *w, const char *s, size_t len)
{
	uint32_t cp;
	if (len > 0 && utf8_next(s, len, &cp) == len) {
		put_word(w, s, len);
	} else if (len > 0 && is_ascii_punct(s[len - 1])) {
		put_word(w, s, len - 1);
		put_word(w, s + len - 1, 1);
	} else if (len > 0 && is_ascii_punct(s[0])) {
		put_word(w, s, 1);
		put_word(w, s + 1, len - 1);
	} else {
		put_word(w, s, len);
	}
}

static void split_at_space(struct words *w, const char *s, size_t len)
{
	void (*put)(struct words *, const char *, size_t) = w->rule == WORDS_CHRF ? put_chrf_word : put_word;
	size_t begin = 0, n;
	for (size_t i = 0; i < len;) {
		if (!(n = space_at(s, len, i))) {
			i++;
			continue;
		}
		put(w, s + begin, i - begin);
		begin = i += n;
	}
	put(w, s + begin, len - begin);
}

static void split_chars(struct words *w, const char *s, size_t len)
{
	uint32_t cp;
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_next(s + i, len - i, &cp);
		if (words_is_space(cp))
			continue;
		if (w->rule == CHARS)
			put_id(w, (int32_t)cp);
		else
			put_word(w, s + i, n);
	}
}

/* ---- BLEU ---- */

/* s without the white space at its end. */
static size_t strip_right(const char *s, size_t len)
{
	for (size_t back = 1; back <= len && back <= 3;) {
		if (space_at(s, len, len - back) == back) {
			len -= back;
			back = 1;
		} else {
			back++;
		}
	}
	return len;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_period(char c)
{
	return c == '.' || c == ',';
}

/* Appends s to out with every `from` made `to`. */
static void substitute(struct str *out, const char *s, size_t len, const char *from, const char *to)
{
	size_t n = strlen(from);
	const char *hit, *end = s + len;
	while ((hit = memmem(s, (size_t)(end - s), from, n))) {
		str_add(out, s, (size_t)(hit - s));
		str_adds(out, to);
		s = hit + n;
	}
	str_add(out, s, (size_t)(end - s));
}

/* mteval-v13a's clean-up: what the task left, line ends, four entities, one after the other; result in scratch. */
static void clean_13a(struct words *w, const char *s, size_t len)
{
	static const char *const pair[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
	                                      {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
	str_clear(&w->scratch);
	str_addc(&w->scratch, ' ');
	str_add(&w->scratch, s, len);
	str_addc(&w->scratch, ' ');
	for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
		if (!memmem(w->scratch.buf, w->scratch.len, pair[i][0], strlen(pair[i][0])))
			continue;
		str_clear(&w->scratch2);
		substitute(&w->scratch2, w->scratch.buf, w->scratch.len, pair[i][0], pair[i][1]);
		struct str swap = w->scratch;
		w->scratch = w->scratch2;
		w->scratch2 = swap;
	}
}

/* ASCII marks that are always words of their own: all but ' , - . */
static bool is_13a_mark(char c)
{
	return is_ascii_punct(c) && c != '\'' && c != ',' && c != '-' && c != '.';
}

/*
 * The three later substitutions of 13a, each over the result of the one before, left to right and without overlap, as
 * Python's re.sub works.  Bytes do: what stands beside a period is only asked whether it is a digit.
 */
static void put_split(struct str *out, char c)
{
	const char three[] = {' ', c, ' '};
	str_add(out, three, 3);
}

static void spread_13a(struct words *w)
{
	struct str *a = &w->scratch, *b = &w->scratch2;
	str_clear(b); /* marks */
	str_reserve(b, 3 * a->len);
	for (size_t i = 0; i < a->len; i++)
		if (is_13a_mark(a->buf[i]))
			put_split(b, a->buf[i]);
		else
			b->buf[b->len++] = a->buf[i];
	str_clear(a); /* a period or comma that follows no digit */
	str_reserve(a, 3 * b->len);
	for (size_t i = 0; i < b->len; i++) {
		a->buf[a->len++] = b->buf[i];
		if (!is_digit(b->buf[i]) && i + 1 < b->len && is_period(b->buf[i + 1]))
			put_split(a, b->buf[++i]);
	}
	str_clear(b); /* one that no digit follows */
	str_reserve(b, 3 * a->len);
	for (size_t i = 0; i < a->len; i++) {
		if (is_period(a->buf[i]) && i + 1 < a->len && !is_digit(a->buf[i + 1])) {
			put_split(b, a->buf[i]);
			i++;
		}
		b->buf[b->len++] = a->buf[i];
	}
	str_clear(a); /* a dash that follows a digit */
	str_reserve(a, 3 * b->len);
	for (size_t i = 0; i < b->len; i++) {
		a->buf[a->len++] = b->buf[i];
		if (is_digit(b->buf[i]) && i + 1 < b->len && b->buf[i + 1] == '-')
			put_split(a, b->buf[++i]);
	}
}

static void split_13a(struct words *w, const char *s, size_t len)
{
	clean_13a(w, s, strip_right(s, len));
	spread_13a(w);
	split_at_space(w, w->scratch.buf, w->scratch.len);
}

static bool is_mark(uint32_t cp) /* \p{P} */
{
	return utf8_is_punct(cp) && !utf8_is_symbol(cp);
}

/* What one substitution of intl does: where(cp, next) is asked of each character and the one behind it; both go
 * through, with blanks around the first or the second. */
static void spread_intl(const struct str *in, struct str *out, int step)
{
	uint32_t cp, next = 0;
	str_clear(out);
	for (size_t i = 0, n, m; i < in->len; i += n) {
		n = utf8_next(in->buf + i, in->len - i, &cp);
		m = i + n < in->len ? utf8_next(in->buf + i + n, in->len - i - n, &next) : 0;
		bool first = step == 2   ? utf8_is_symbol(cp)
		             : step == 1 ? m && is_mark(cp) && !utf8_is_number(next)
		                         : false;
		bool second = step == 0 && m && !utf8_is_number(cp) && is_mark(next);
		if (first)
			str_addc(out, ' ');
		str_add(out, in->buf + i, n);
		if (first || second)
			str_addc(out, ' ');
		if (step == 2 || !(first || second))
			continue;
		str_add(out, in->buf + i + n, m);
		if (second)
			str_addc(out, ' ');
		n += m;
	}
}

static void split_intl(struct words *w, const char *s, size_t len)
{
	str_clear(&w->scratch);
	str_add(&w->scratch, s, strip_right(s, len));
	spread_intl(&w->scratch, &w->scratch2, 0);
	spread_intl(&w->scratch2, &w->scratch, 1);
	spread_intl(&w->scratch, &w->scratch2, 2);
	split_at_space(w, w->scratch2.buf, w->scratch2.len);
}

/* ---- ROUGE, SQuAD ---- */

static void end_rouge_word(struct words *w, size_t start)
{
	struct str *t = &w->vocab.text;
	if (t->len == start)
		return;
	if (w->rule == WORDS_STEM && t->len - start > 3)
		t->len = start + porter_stem(t->buf + start, t->len - start);
	if (t->len > start)
		put_id(w, vocab_intern(&w->vocab, start));
}

static void split_rouge(struct words *w, const char *s, size_t len)
{
	size_t start = w->vocab.text.len;
	str_reserve(&w->vocab.text, len);
	put_line(w);
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		/* two characters whose lower case is, or begins with, an ASCII letter: the Kelvin sign and dotted I */
		bool kelvin = c == '\xE2' && i + 2 < len && s[i + 1] == '\x84' && s[i + 2] == '\xAA';
		bool dotted = c == '\xC4' && i + 1 < len && s[i + 1] == '\xB0';
		if (is_digit(c) || (c >= 'a' && c <= 'z')) {
			str_addc(&w->vocab.text, c);
			continue;
		}
		if (kelvin) {
			str_addc(&w->vocab.text, 'k');
			i += 2;
			continue;
		}
		if (dotted)
			str_addc(&w->vocab.text, 'i');
		end_rouge_word(w, start);
		start = w->vocab.text.len;
		if (c == '\n')
			put_line(w);
	}
	end_rouge_word(w, start);
}

static bool is_python_word(uint32_t cp)
{
	return cp == '_' || utf8_is_letter(cp) || utf8_is_number(cp);
}

/* Bytes of an article at s[i], where a word begins; 0 for none. */
static size_t article_at(const char *s, size_t len, size_t i)
{
	static const char *const article[] = {"a", "an", "the"};
	uint32_t cp;
	for (size_t k = 0; k < ARRAY_LEN(article); k++) {
		size_t n = strlen(article[k]);
		if (len - i < n || memcmp(s + i, article[k], n))
			continue;
		if (i + n == len)
			return n;
		utf8_next(s + i + n, len - i - n, &cp);
		if (!is_python_word(cp))
			return n;
	}
	return 0;
}

/* Articles stand between places where a word of any script begins and ends (\b): they become blanks. */
static void split_squad(struct words *w, const char *s, size_t len)
{
	struct str *t = &w->scratch2;
	bool inside = false;
	uint32_t cp;
	str_clear(t);
	str_clear(&w->scratch);
	utf8_lower_text(s, len, t);
	size_t kept = 0;
	for (size_t i = 0; i < t->len; i++)
		if (!is_ascii_punct(t->buf[i]))
			t->buf[kept++] = t->buf[i];
	t->len = kept;
	for (size_t i = 0, n; i < kept; i += n) {
		n = inside ? 0 : article_at(t->buf, kept, i);
		if (n) {
			str_addc(&w->scratch, ' ');
			continue; /* not inside: what follows is no word */
		}
		n = utf8_next(t->buf + i, kept - i, &cp);
		inside = is_python_word(cp);
		str_add(&w->scratch, t->buf + i, n);
	}
	split_at_space(w, w->scratch.buf, w->scratch.len);
}

void words_add(struct words *w, const char *text, size_t len)
{
	struct str lower;
	if (w->n_texts == w->text_cap) {
		w->text_cap = w->text_cap ? 2 * w->text_cap : 4;
		w->text = xrealloc_array(w->text, w->text_cap, sizeof *w->text);
	}
	struct words_text *t = &w->text[w->n_texts++];
	t->at = w->n_ids;
	str_init(&lower);
	if (w->lower) {
		utf8_lower_text(text, len, &lower);
		text = lower.buf;
		len = lower.len;
	}
	switch (w->rule) {
	case WORDS_SPACE:
	case WORDS_CHRF:
		split_at_space(w, text, len);
		break;
	case WORDS_13A:
		split_13a(w, text, len);
		break;
	case WORDS_INTL:
		split_intl(w, text, len);
		break;
	case WORDS_CHAR:
	case CHARS:
		split_chars(w, text, len);
		break;
	case WORDS_ROUGE:
	case WORDS_STEM:
		split_rouge(w, text, len);
		break;
	case WORDS_SQUAD:
		split_squad(w, text, len);
		break;
	}
	str_release(&lower);
	t->n = w->n_ids - t->at;
}
