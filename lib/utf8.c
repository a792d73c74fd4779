/* utf8 - code points, their properties, and normal forms. */
#include "lib/utf8.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "lib/util.h"

size_t utf8_next(const char *text, size_t len, uint32_t *cp)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char lead = s[0], low = 0x80, high = 0xBF;
	size_t need;
	uint32_t c;

	if (lead < 0x80) {
		*cp = lead;
		return 1;
	}
	if (lead < 0xC2 || lead > 0xF4) {
		*cp = UTF8_BAD;
		return 1;
	}
	need = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
	c = lead & (0x3Fu >> need);
	/* the second byte is narrower where overlong forms, surrogates or the end of Unicode lie beyond it */
	if (lead == 0xE0)
		low = 0xA0;
	else if (lead == 0xED)
		high = 0x9F;
	else if (lead == 0xF0)
		low = 0x90;
	else if (lead == 0xF4)
		high = 0x8F;
	for (size_t i = 1; i <= need; i++) {
		if (i == len) {
			*cp = UTF8_CUT;
			return i;
		}
		if (s[i] < low || s[i] > high) {
			*cp = UTF8_BAD;
			return i;
		}
		c = c << 6 | (s[i] & 0x3F);
		low = 0x80, high = 0xBF;
	}
	*cp = c;
	return need + 1;
}

size_t utf8_put(uint32_t cp, char *out)
{
	if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
		cp = UTF8_REPLACEMENT;
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xC0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3F));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xE0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
		out[2] = (char)(0x80 | (cp & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
	out[3] = (char)(0x80 | (cp & 0x3F));
	return 4;
}

bool utf8_valid(const char *s, size_t len)
{
	uint32_t cp;

	for (size_t i = 0; i < len;) {
		i += utf8_next(s + i, len - i, &cp);
		if (cp >= UTF8_CUT)
			return false;
	}
	return true;
}

int64_t utf8_length(const char *s, size_t len)
{
	int64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xC0) != 0x80;
	return n;
}

size_t utf8_offset(const char *s, size_t len, int64_t n)
{
	size_t i = 0;

	for (; i < len; i++)
		if (((unsigned char)s[i] & 0xC0) != 0x80 && n-- == 0)
			break;
	return i;
}

void utf8_lossy(const char *s, size_t len, struct str *out)
{
	size_t good = 0;
	uint32_t cp;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_next(s + i, len - i, &cp);
		if (cp >= UTF8_CUT) {
			str_add(out, s + good, i - good);
			str_adds(out, "\xEF\xBF\xBD");
			good = i + n;
		}
		i += n;
	}
	str_add(out, s + good, len - good);
}

/* ---- properties ---- */

bool utf8_is_space(uint32_t cp)
{
	if (cp < 0x80)
		return cp == ' ' || (cp >= '\t' && cp <= '\r');
	return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 ||
	       cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static utf8proc_category_t category(uint32_t cp)
{
	return utf8proc_category((utf8proc_int32_t)cp);
}

bool utf8_is_letter(uint32_t cp)
{
	utf8proc_category_t c;

	if (cp < 0x80)
		return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
	c = category(cp);
	return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool utf8_is_mark(uint32_t cp)
{
	utf8proc_category_t c = category(cp);

	return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool utf8_is_number(uint32_t cp)
{
	utf8proc_category_t c;

	if (cp < 0x80)
		return cp >= '0' && cp <= '9';
	c = category(cp);
	return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool utf8_is_punct(uint32_t cp)
{
	utf8proc_category_t c;

	if (cp < 0x80)
		return cp > ' ' && cp < 0x7F && !utf8_is_letter(cp) && !utf8_is_number(cp);
	c = category(cp);
	return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool utf8_is_symbol(uint32_t cp)
{
	utf8proc_category_t c = category(cp);

	return c >= UTF8PROC_CATEGORY_SM && c <= UTF8PROC_CATEGORY_SO;
}

bool utf8_is_word(uint32_t cp)
{
	utf8proc_category_t c = category(cp);

	switch (c) {
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_PC:
		return true;
	case UTF8PROC_CATEGORY_SO: /* Other_Alphabetic: circled and squared letters */
		return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
		       (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
	default:
		return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_ME) || cp == 0x200C || cp == 0x200D;
	}
}

bool utf8_is_upper(uint32_t cp)
{
	utf8proc_category_t c = category(cp);

	return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LT;
}

bool utf8_is_lower(uint32_t cp)
{
	return category(cp) == UTF8PROC_CATEGORY_LL;
}

bool utf8_is_assigned(uint32_t cp)
{
	return category(cp) != UTF8PROC_CATEGORY_CN;
}

/* ---- normal forms ---- */

struct points {
	utf8proc_int32_t *cp;
	size_t n, cap;
};

static void points_room(struct points *p, size_t extra)
{
	if (p->cap - p->n >= extra)
		return;
	p->cap = (p->n + extra) * 2;
	p->cp = xrealloc_array(p->cp, p->cap, sizeof *p->cp);
}

static void decompose(enum utf8_form form, const char *s, size_t len, struct points *p)
{
	utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
	uint32_t cp;

	if (form == UTF8_NFKC || form == UTF8_NFKD)
		options |= UTF8PROC_COMPAT;
	for (size_t i = 0; i < len;) {
		i += utf8_next(s + i, len - i, &cp);
		if (cp >= UTF8_CUT)
			cp = UTF8_REPLACEMENT;
		points_room(p, 32); /* the longest decomposition is 18 */
		int boundary = UTF8PROC_BOUNDCLASS_START;
		utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)cp, p->cp + p->n,
		                                               (utf8proc_ssize_t)(p->cap - p->n), options, &boundary);
		if (got > 0)
			p->n += (size_t)got;
		else
			p->cp[p->n++] = (utf8proc_int32_t)cp;
	}
}

static int combining(utf8proc_int32_t cp)
{
	return cp < 0x300 ? 0 : utf8proc_get_property(cp)->combining_class;
}

/* Sorts the marks of one run by class, equal ones in order: counting keeps a hostile run of a million marks cheap. */
static void sort_marks(utf8proc_int32_t *cp, size_t n)
{
	size_t at[257] = {0};
	utf8proc_int32_t *copy;

	if (n < 2)
		return;
	if (n < 8) {
		for (size_t i = 1; i < n; i++)
			for (size_t j = i; j > 0 && combining(cp[j - 1]) > combining(cp[j]); j--) {
				utf8proc_int32_t swap = cp[j];
				cp[j] = cp[j - 1], cp[j - 1] = swap;
			}
		return;
	}
	copy = xmalloc(n * sizeof *copy);
	memcpy(copy, cp, n * sizeof *copy);
	for (size_t i = 0; i < n; i++)
		at[combining(copy[i]) + 1]++;
	for (int c = 1; c < 257; c++)
		at[c] += at[c - 1];
	for (size_t i = 0; i < n; i++)
		cp[at[combining(copy[i])]++] = copy[i];
	free(copy);
}

static void canonical_order(struct points *p)
{
	for (size_t i = 0; i < p->n;) {
		size_t end = i;
		while (end < p->n && combining(p->cp[end]))
			end++;
		sort_marks(p->cp + i, end - i);
		i = end > i ? end : i + 1;
	}
}

void utf8_normalize(enum utf8_form form, const char *s, size_t len, struct str *out)
{
	struct points p = {0};
	char bytes[4];
	size_t low = 0;
	/* below U+0300 (U+00A0 for compatibility forms, U+00C0 where things come apart) every form is the text itself
	 */
	unsigned char first = form == UTF8_NFC ? 0xCC : 0xC2;

	while (low < len && (unsigned char)s[low] < first)
		low++;
	if (low == len) {
		str_add(out, s, len);
		return;
	}
	decompose(form, s, len, &p);
	canonical_order(&p);
	if (form == UTF8_NFC || form == UTF8_NFKC) {
		utf8proc_ssize_t n =
		        utf8proc_normalize_utf32(p.cp, (utf8proc_ssize_t)p.n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		if (n >= 0)
			p.n = (size_t)n;
	}
	str_reserve(out, len);
	for (size_t i = 0; i < p.n; i++)
		str_add(out, bytes, utf8_put((uint32_t)p.cp[i], bytes));
	free(p.cp);
}

void utf8_lower(const char *s, size_t len, struct str *out)
{
	char bytes[4];
	uint32_t cp;

	for (size_t i = 0; i < len;) {
		i += utf8_next(s + i, len - i, &cp);
		if (cp >= UTF8_CUT)
			cp = UTF8_REPLACEMENT;
		if (cp == 0x130) { /* the one character whose lower case is two */
			str_adds(out, "i\xCC\x87");
			continue;
		}
		str_add(out, bytes, utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), bytes));
	}
}

/* Case_Ignorable: marks, format characters, modifiers, and what may stand inside a word. */
static bool is_case_ignorable(uint32_t cp)
{
	switch (category(cp)) {
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_SK:
		return true;
	default:
		return cp == '\'' || cp == '.' || cp == ':' || cp == 0xB7 || cp == 0x387 || cp == 0x55F ||
		       cp == 0x5F4 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024 || cp == 0x2027 || cp == 0xFE13 ||
		       cp == 0xFE52 || cp == 0xFE55 || cp == 0xFF07 || cp == 0xFF0E || cp == 0xFF1A;
	}
}

/* Cased: letters that have a case, Roman numerals, circled letters. */
static bool is_cased(uint32_t cp)
{
	utf8proc_category_t c = category(cp);

	return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LT) || cp == 0xAA || cp == 0xBA ||
	       (cp >= 0x2160 && cp <= 0x217F) || (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
	       (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
}

/* The first character at or behind s[i] that is not ignorable has a case. */
static bool cased_ahead(const char *s, size_t len, size_t i)
{
	uint32_t cp;

	while (i < len) {
		i += utf8_next(s + i, len - i, &cp);
		if (!is_case_ignorable(cp))
			return is_cased(cp);
	}
	return false;
}

void utf8_lower_text(const char *s, size_t len, struct str *out)
{
	bool cased_behind = false;
	size_t done = 0;
	uint32_t cp;

	while (done < len && (unsigned char)s[done] < 0x80)
		done++;
	if (done == len) { /* ASCII: most texts */
		str_reserve(out, len);
		for (size_t i = 0; i < len; i++)
			out->buf[out->len++] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] | 0x20) : s[i];
		out->buf[out->len] = 0;
		return;
	}
	done = 0;
	for (size_t i = 0; i < len;) {
		size_t n = utf8_next(s + i, len - i, &cp);
		if (cp == 0x3A3 && cased_behind && !cased_ahead(s, len, i + n)) {
			utf8_lower(s + done, i - done, out);
			str_adds(out, "\xCF\x82");
			done = i + n;
		}
		if (!is_case_ignorable(cp))
			cased_behind = is_cased(cp);
		i += n;
	}
	utf8_lower(s + done, len - done, out);
}

void utf8_fold(const char *s, size_t len, struct str *out)
{
	enum { MOST = 8 }; /* the longest folding is 3 */
	struct str once, folded;
	utf8proc_int32_t points[MOST];
	char bytes[4];
	uint32_t cp;

	str_init(&once);
	str_init(&folded);
	utf8_normalize(UTF8_NFKC, s, len, &once);
	for (size_t i = 0; i < once.len;) {
		int boundary = UTF8PROC_BOUNDCLASS_START;
		i += utf8_next(once.buf + i, once.len - i, &cp);
		if (cp >= UTF8_CUT)
			cp = UTF8_REPLACEMENT;
		utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, points, MOST,
		                                             UTF8PROC_CASEFOLD | UTF8PROC_IGNORE, &boundary);
		for (utf8proc_ssize_t k = 0; k < n && k < MOST; k++)
			str_add(&folded, bytes, utf8_put((uint32_t)points[k], bytes));
	}
	utf8_normalize(UTF8_NFKC, folded.buf, folded.len, out);
	str_release(&once);
	str_release(&folded);
}
