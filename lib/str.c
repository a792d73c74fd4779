/* str - see str.h */
#include "lib/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

static char empty[1];

void str_init(struct str *s)
{
	*s = (struct str){.buf = empty};
}

void str_release(struct str *s)
{
	if (s->cap)
		free(s->buf);
	str_init(s);
}

void str_clear(struct str *s)
{
	s->len = 0;
	if (s->cap)
		s->buf[0] = 0;
}

void str_reserve(struct str *s, size_t extra)
{
	size_t want;
	if (!size_add(s->len, extra, &want) || !size_add(want, 1, &want))
		want = SIZE_MAX;
	if (want <= s->cap)
		return;
	size_t cap = s->cap < 64 ? 64 : s->cap + s->cap / 2;
	if (cap < want)
		cap = want;
	s->buf = s->cap ? xrealloc(s->buf, cap) : xmalloc(cap);
	s->cap = cap;
	s->buf[s->len] = 0;
}

void str_add(struct str *s, const void *data, size_t len)
{
	str_reserve(s, len);
	memcpy(s->buf + s->len, data, len);
	s->len += len;
	s->buf[s->len] = 0;
}

void str_adds(struct str *s, const char *text)
{
	str_add(s, text, strlen(text));
}

void str_addc(struct str *s, char c)
{
	str_add(s, &c, 1);
}

void str_addf(struct str *s, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	str_reserve(s, (size_t)n);
	vsnprintf(s->buf + s->len, (size_t)n + 1, fmt, again);
	va_end(again);
	s->len += (size_t)n;
}

char *str_detach(struct str *s)
{
	str_reserve(s, 0);
	char *p = s->buf;
	str_init(s);
	return p;
}
