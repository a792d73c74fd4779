/* progress - see progress.h */
#include "lib/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/util.h"

#define INTERVAL .1 /* seconds between two lines */

struct progress {
	bool shown, wiped;
	char tool[64];
	double started, last;
};

static bool wanted(bool quiet)
{
	const char *term = getenv("TERM");
	struct stat st;
	if (quiet || !isatty(STDERR_FILENO) || (term && !strcmp(term, "dumb")))
		return false;
	return fstat(STDOUT_FILENO, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) &&
	       !isatty(STDOUT_FILENO);
}

struct progress *progress_new(const char *tool, bool quiet)
{
	struct progress *p = xcalloc(1, sizeof *p);
	p->shown = wanted(quiet);
	p->wiped = true;
	snprintf(p->tool, sizeof p->tool, "%s", tool);
	p->started = p->last = now_seconds();
	return p;
}

void progress_wipe(struct progress *p)
{
	if (p->shown && !p->wiped)
		fputs("\r\033[K", stderr);
	p->wiped = true;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	progress_wipe(p);
	free(p);
}

static int put_left(char *out, size_t cap, double seconds)
{
	int64_t s = (int64_t)(seconds + .5);
	if (s < 3600)
		return snprintf(out, cap, ", %lld:%02lld left", (long long)s / 60, (long long)s % 60);
	return snprintf(out, cap, ", %lld:%02lld h left", (long long)s / 3600, (long long)s / 60 % 60);
}

void progress_show(struct progress *p, int64_t records, int64_t tokens, int64_t bytes, int64_t total)
{
	if (!p->shown)
		return;
	double now = now_seconds(), spent = now - p->started;
	if (now - p->last < INTERVAL)
		return;
	p->last = now;
	char line[200];
	int n = snprintf(line, sizeof line, "%s: %lld records", p->tool, (long long)records);
	if (tokens > 0)
		n += snprintf(line + n, sizeof line - (size_t)n, ", %.0f tokens/s", (double)tokens / spent);
	if (total > 0 && bytes > 0 && bytes <= total) {
		n += snprintf(line + n, sizeof line - (size_t)n, ", %d %%",
		              (int)(100.0 * (double)bytes / (double)total));
		put_left(line + n, sizeof line - (size_t)n, spent * (double)(total - bytes) / (double)bytes);
	}
	fprintf(stderr, "\r%s\033[K", line);
	p->wiped = false;
}

/* C0 but newline and tab, DEL, and C1 as UTF-8 (U+0080 to U+009F), which terminals obey too. */
static size_t control_len(const unsigned char *p, size_t left)
{
	if ((p[0] < 0x20 && p[0] != '\n' && p[0] != '\t') || p[0] == 0x7f)
		return 1;
	return p[0] == 0xc2 && left > 1 && p[1] >= 0x80 && p[1] <= 0x9f ? 2 : 0;
}

void progress_escape(char *out, size_t cap, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t used = 0;
	for (size_t i = 0; i < len && used + 7 < cap;) {
		size_t n = control_len(p + i, len - i);
		if (n) {
			used += (size_t)snprintf(out + used, cap - used, "\\u%04x", n == 2 ? p[i + 1] : p[i]);
			i += n;
		} else {
			out[used++] = text[i++];
		}
	}
	if (cap)
		out[used] = 0;
}
