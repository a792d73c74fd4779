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

int32_t pairs_add(struct pairs *p, uint64_t key, size_t place)
{
	p->slot[place] = (struct hash_slot){key, p->stamp, p->n};
	if ((size_t)p->n * 2 >= p->cap)
		slots_grow(&p->slot, &p->cap, p->stamp, false);
	return p->n++;
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
	uint64_t h = len, x = 0;
	uint32_t first, last;
	if (len < 4) {
		if (len)
			x = (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[len / 2] << 8 |
			    (unsigned char)s[len - 1];
		return hash_mix(h << 32 ^ x);
	}
	if (len < 8) {
		memcpy(&first, s, 4);
		memcpy(&last, s + len - 4, 4);
		return hash_mix(h << 56 ^ ((uint64_t)first << 32 | last));
	}
	for (size_t i = 0; i + 8 < len; i += 8) {
		memcpy(&x, s + i, 8);
		h = hash_mix(h ^ x);
	}
	memcpy(&x, s + len - 8, 8);
	return hash_mix(h ^ x);
}

/* The number of the word, -1 where it is new; *place is where its slot is or goes. */
static int32_t vocab_find(const struct vocab *v, const char *s, size_t len, uint64_t key, size_t *place)
{
	size_t at = key & (v->cap - 1);
	*place = at;
	for (; v->slot[at].stamp == v->stamp; *place = at = (at + 1) & (v->cap - 1)) {
		const struct vocab_word *w = &v->word[v->slot[at].id];
		if (v->slot[at].key == key && w->len == len && !memcmp(v->text.buf + w->at, s, len))
			return v->slot[at].id;
	}
	return -1;
}

/* The new word is at the end of the text, from `start` on. */
static int32_t vocab_add(struct vocab *v, size_t start, uint64_t key, size_t place)
{
	v->slot[place] = (struct hash_slot){key, v->stamp, v->n};
	if ((size_t)v->n * 2 >= v->cap)
		slots_grow(&v->slot, &v->cap, v->stamp, true);
	if ((size_t)v->n == v->word_cap) {
		v->word_cap = v->word_cap ? 2 * v->word_cap : 64;
		v->word = xrealloc_array(v->word, v->word_cap, sizeof *v->word);
	}
	v->word[v->n] = (struct vocab_word){start, v->text.len - start};
	return v->n++;
}

int32_t vocab_intern(struct vocab *v, size_t start)
{
	const char *s = v->text.buf + start;
	size_t len = v->text.len - start, place;
	uint64_t key = hash_word(s, len);
	int32_t id = vocab_find(v, s, len, key, &place);
	if (id < 0)
		return vocab_add(v, start, key, place);
	v->text.len = start;
	return id;
}

/* The same for a word that is elsewhere: copied only when it is new. */
static int32_t vocab_intern_copy(struct vocab *v, const char *s, size_t len)
{
	size_t place, start = v->text.len;
	uint64_t key = hash_word(s, len);
	int32_t id = vocab_find(v, s, len, key, &place);
	if (id >= 0)
		return id;
	str_add(&v->text, s, len);
	return vocab_add(v, start, key, place);
}

/* ---- texts ---- */

void words_init(struct words *w, enum words_rule rule, bool lower)
{
	*w = (struct words){.rule = rule, .lower = lower};
	vocab_init(&w->vocab);
	str_init(&w->scratch);
	str_init(&w->scratch2);
	str_init(&w->part);
}

void words_release(struct words *w)
{
	vocab_release(&w->vocab);
	str_release(&w->scratch);
	str_release(&w->scratch2);
	str_release(&w->part);
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
	if (len)
		put_id(w, vocab_intern_copy(&w->vocab, s, len));
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

/* Bytes that a splitter looks at; 0 for all others. */
enum { SPACE = 1, WIDE = 2 /* white space may begin here */, MARK = 4, PERIOD = 8, DASH = 16 };
static const unsigned char byte_class[256] = {
        ['\t' ... '\r'] = SPACE, [0x1C ... ' '] = SPACE, [0xC2] = WIDE,        [0xE1 ... 0xE3] = WIDE,
        ['!' ... '&'] = MARK,    ['(' ... '+'] = MARK,   [','] = PERIOD,       ['-'] = DASH,
        ['.'] = PERIOD,          ['/'] = MARK,           [':' ... '@'] = MARK, ['[' ... '`'] = MARK,
        ['{' ... '~'] = MARK};

/* Bytes of white space at s[i], 0 for none. */
static inline size_t space_at(const char *s, size_t len, size_t i)
{
	unsigned char class = byte_class[(unsigned char)s[i]];
	uint32_t cp;
	if (!(class & (SPACE | WIDE)))
		return 0;
	if (class == SPACE)
		return 1;
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
		n = 1;
		cp = (unsigned char)s[i];
		if (cp >= 0x80)
			n = utf8_next(s + i, len - i, &cp);
		if (cp < 0x80 ? byte_class[cp] == SPACE : words_is_space(cp))
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

/* mteval-v13a's clean-up: what the task left, line ends, four entities, one after the other; the result is in scratch.
 * False: there is nothing to clean.  */
static bool clean_13a(struct words *w, const char *s, size_t len)
{
	static const struct {
		const char *sign, *from, *to;
	} pair[] = {{"<", "<skipped>", ""}, {"\n", "-\n", ""},  {"\n", "\n", " "}, {"&", "&quot;", "\""},
	            {"&", "&amp;", "&"},    {"&", "&lt;", "<"}, {"&", "&gt;", ">"}};
	bool dirty = memchr(s, '\n', len) || memchr(s, '&', len) ||
	             (memchr(s, '<', len) && memmem(s, len, pair[0].from, strlen(pair[0].from)));
	if (!dirty)
		return false;
	str_clear(&w->scratch);
	str_add(&w->scratch, s, len);
	for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
		if (!memchr(w->scratch.buf, *pair[i].sign, w->scratch.len) ||
		    !memmem(w->scratch.buf, w->scratch.len, pair[i].from, strlen(pair[i].from)))
			continue;
		str_clear(&w->scratch2);
		substitute(&w->scratch2, w->scratch.buf, w->scratch.len, pair[i].from, pair[i].to);
		struct str swap = w->scratch;
		w->scratch = w->scratch2;
		w->scratch2 = swap;
	}
	return true;
}

static void put_split(struct str *out, char c)
{
	out->buf[out->len++] = ' ';
	out->buf[out->len++] = c;
	out->buf[out->len++] = ' ';
}

/*
 * The four substitutions of 13a, each over the result of the one before, left to right and without overlap, as Python's
 * re.sub works; each makes `out` of `in`, at most three times as long.  Bytes do: what stands beside a period is only
 * asked whether it is a digit.  And they do part by part between white space, with a blank at both ends: no match goes
 * from one part to the next.
 */
static void spread_marks(const struct str *in, struct str *out)
{
	for (size_t i = 0; i < in->len; i++)
		if (byte_class[(unsigned char)in->buf[i]] == MARK)
			put_split(out, in->buf[i]);
		else
			out->buf[out->len++] = in->buf[i];
}

static void spread_after_no_digit(const struct str *in, struct str *out)
{
	for (size_t i = 0; i < in->len; i++) {
		out->buf[out->len++] = in->buf[i];
		if (!is_digit(in->buf[i]) && i + 1 < in->len && is_period(in->buf[i + 1]))
			put_split(out, in->buf[++i]);
	}
}

static void spread_before_no_digit(const struct str *in, struct str *out)
{
	for (size_t i = 0; i < in->len; i++) {
		if (is_period(in->buf[i]) && i + 1 < in->len && !is_digit(in->buf[i + 1]))
			put_split(out, in->buf[i++]);
		out->buf[out->len++] = in->buf[i];
	}
}

static void spread_dashes(const struct str *in, struct str *out)
{
	for (size_t i = 0; i < in->len; i++) {
		out->buf[out->len++] = in->buf[i];
		if (is_digit(in->buf[i]) && i + 1 < in->len && in->buf[i + 1] == '-')
			put_split(out, in->buf[++i]);
	}
}

/* A part between white space; seen: the classes of its bytes. */
static void put_13a(struct words *w, const char *s, size_t len, unsigned seen)
{
	static const struct {
		unsigned when;
		void (*spread)(const struct str *, struct str *);
	} step[] = {{MARK, spread_marks},
	            {PERIOD, spread_after_no_digit},
	            {PERIOD, spread_before_no_digit},
	            {DASH, spread_dashes}};
	struct str *in = &w->part, *out = &w->scratch2;
	if (!(seen & (MARK | PERIOD | DASH))) {
		put_word(w, s, len);
		return;
	}
	str_clear(in);
	str_addc(in, ' ');
	str_add(in, s, len);
	str_addc(in, ' ');
	for (size_t i = 0; i < ARRAY_LEN(step); i++) {
		if (!(seen & step[i].when))
			continue;
		str_clear(out);
		str_reserve(out, 3 * in->len);
		step[i].spread(in, out);
		struct str *swap = in;
		in = out;
		out = swap;
	}
	size_t begin = 0;
	for (size_t i = 0; i < in->len; i++) {
		if (in->buf[i] != ' ')
			continue;
		put_word(w, in->buf + begin, i - begin);
		begin = i + 1;
	}
	put_word(w, in->buf + begin, in->len - begin);
}

static void split_13a(struct words *w, const char *s, size_t len)
{
	size_t begin = 0, n;
	unsigned seen = 0;
	len = strip_right(s, len);
	if (clean_13a(w, s, len)) {
		s = w->scratch.buf;
		len = w->scratch.len;
	}
	for (size_t i = 0; i < len;) {
		unsigned class = byte_class[(unsigned char)s[i]];
		if (!(class & (SPACE | WIDE)) || !(n = space_at(s, len, i))) {
			seen |= class;
			i++;
			continue;
		}
		put_13a(w, s + begin, i - begin, seen);
		begin = i += n;
		seen = 0;
	}
	put_13a(w, s + begin, len - begin, seen);
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
