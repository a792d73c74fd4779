/* err - see err.h */
#include "lib/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A line that does not fit ends in "...", so that nobody takes it for whole. */
static void mark_cut(struct err *e, int wanted)
{
	if (wanted >= (int)sizeof e->msg)
		memcpy(e->msg + sizeof e->msg - 4, "...", 4);
}

int err_set(struct err *e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	mark_cut(e, n);
	return -1;
}

int err_errno(struct err *e, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	if (n >= 0 && n < (int)sizeof e->msg)
		n += snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", strerror(saved));
	mark_cut(e, n);
	return -1;
}

int err_where(struct err *e, const char *fmt, ...)
{
	char where[sizeof e->msg], old[sizeof e->msg];
	memcpy(old, e->msg, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(where, sizeof where, fmt, ap);
	va_end(ap);
	int n = snprintf(e->msg, sizeof e->msg, "%s: ", where);
	if (n < (int)sizeof e->msg)
		n += snprintf(e->msg + n, sizeof e->msg - (size_t)n, "%s", old);
	mark_cut(e, n);
	return -1;
}
