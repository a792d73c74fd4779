/* answers - see answers.h */
#include "lib/answers.h"

#include <ctype.h>
#include <string.h>

#include "lib/utf8.h"

enum { MARK = 0x1f }; /* before each token and behind the last */

enum part { NONE, SINGLE, RUN };

static enum part part_of(uint32_t cp)
{
	if (cp < 0x80)
		return isalnum((int)cp) ? RUN : ispunct((int)cp) ? SINGLE : NONE;
	if (utf8_is_letter(cp) || utf8_is_mark(cp) || utf8_is_number(cp))
		return RUN;
	return utf8_is_punct(cp) || utf8_is_symbol(cp) ? SINGLE : NONE;
}

static bool is_ascii(const char *s, size_t len)
{
	size_t i = 0;
	while (i < len && (unsigned char)s[i] < 0x80)
		i++;
	return i == len;
}

/* The bytes of the token at s, 0 where there is none; *skip: the character's. */
static size_t token_at(const char *s, size_t len, size_t *skip)
{
	uint32_t cp;
	*skip = utf8_next(s, len, &cp);
	enum part part = part_of(cp);
	if (part != RUN)
		return part == SINGLE ? *skip : 0;
	size_t n = *skip;
	while (n < len) {
		size_t more = utf8_next(s + n, len - n, &cp);
		if (part_of(cp) != RUN)
			break;
		n += more;
	}
	return n;
}

void answers_tokens(const char *text, size_t len, struct str *scratch, struct str *out)
{
	bool ascii = is_ascii(text, len);
	str_clear(out);
	if (!ascii) {
		str_clear(scratch);
		utf8_normalize(UTF8_NFD, text, len, scratch);
		text = scratch->buf;
		len = scratch->len;
	}
	for (size_t i = 0, n, skip; i < len; i += n ? n : skip) {
		n = token_at(text + i, len - i, &skip);
		if (!n)
			continue;
		str_addc(out, MARK);
		if (ascii)
			for (size_t c = 0; c < n; c++)
				str_addc(out, (char)tolower((unsigned char)text[i + c]));
		else
			utf8_lower_text(text + i, n, out);
	}
	if (out->len)
		str_addc(out, MARK);
}

bool answers_hold(const char *passage, size_t passage_len, const char *answer, size_t len)
{
	return len && memmem(passage, passage_len, answer, len);
}
