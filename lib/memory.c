/* memory - see memory.h */
#include "lib/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/memory_impl.h"
#include "lib/real.h"
#include "lib/stream.h"
#include "lib/util.h"

const char *const memory_kind_names[MEMORY_KINDS] = {"scratch",     "weights", "gradients", "moments",
                                                     "activations", "cache",   "logits"};

/* ---- counting ---- */

void memory_count_take(struct memory_count *c, void *p, size_t bytes)
{
	struct memory_use *u = &c->use;
	enum memory_kind kind = c->all != MEMORY_SCRATCH ? c->all : c->one;
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->piece = xrealloc_array(c->piece, c->cap, sizeof *c->piece);
	}
	c->piece[c->n++] = (struct memory_piece){p, bytes, kind};
	u->now += bytes;
	u->of[kind] += bytes;
	if (u->of[kind] > u->peak[kind])
		u->peak[kind] = u->of[kind];
	if (u->now > u->high) {
		u->high = u->now;
		memcpy(u->at_high, u->of, sizeof u->of);
	}
}

/* The last are the first to go. */
size_t memory_count_give(struct memory_count *c, const void *p)
{
	for (size_t i = c->n; p && i-- > 0;)
		if (c->piece[i].p == p) {
			size_t bytes = c->piece[i].bytes;
			c->use.now -= bytes;
			c->use.of[c->piece[i].kind] -= bytes;
			c->piece[i] = c->piece[--c->n];
			return bytes;
		}
	return 0;
}

/* ---- a table that is watched ---- */

/* Ops get the backend's ctx and nothing else, so that is what a watcher is found by. */
struct watcher {
	struct memory_count count;
	const void *ctx;
	void *(*alloc)(void *ctx, size_t bytes);
	void (*free)(void *ctx, void *p);
	struct watcher *next;
};
static struct watcher *watchers;

static struct watcher *find(const void *ctx)
{
	struct watcher *w = watchers;
	while (w && w->ctx != ctx)
		w = w->next;
	return w;
}

static void *watched_alloc(void *ctx, size_t bytes)
{
	struct watcher *w = find(ctx);
	void *p = w->alloc(ctx, bytes);
	if (p)
		memory_count_take(&w->count, p, bytes);
	return p;
}

static void watched_free(void *ctx, void *p)
{
	struct watcher *w = find(ctx);
	memory_count_give(&w->count, p);
	w->free(ctx, p);
}

void memory_watch(struct kernels *k)
{
	struct watcher *w = xcalloc(1, sizeof *w);
	*w = (struct watcher){.ctx = k->ctx, .alloc = k->alloc, .free = k->free, .next = watchers};
	watchers = w;
	k->alloc = watched_alloc;
	k->free = watched_free;
}

void memory_unwatch(struct kernels *k)
{
	struct watcher **at = &watchers;
	while (*at && (*at)->ctx != k->ctx)
		at = &(*at)->next;
	struct watcher *w = *at;
	if (!w)
		return;
	*at = w->next;
	k->alloc = w->alloc;
	k->free = w->free;
	free(w->count.piece);
	free(w);
}

static struct memory_count *count_of(const struct kernels *k)
{
	if (memory_is_planner(k))
		return memory_planner_count(k);
	struct watcher *w = k->alloc == watched_alloc ? find(k->ctx) : NULL;
	return w ? &w->count : NULL;
}

const struct memory_use *memory_use(const struct kernels *k)
{
	const struct memory_count *c = count_of(k);
	return c ? &c->use : NULL;
}

/* ---- kinds ---- */

void *memory_alloc(const struct kernels *k, enum memory_kind kind, size_t bytes)
{
	struct memory_count *c = count_of(k);
	if (c)
		c->one = kind;
	void *p = k->alloc(k->ctx, bytes);
	if (c)
		c->one = MEMORY_SCRATCH;
	return p;
}

kn_real *memory_alloc_reals(const struct kernels *k, enum memory_kind kind, int64_t n)
{
	return memory_alloc(k, kind, real_bytes(k, n));
}

void memory_as(const struct kernels *k, enum memory_kind kind)
{
	struct memory_count *c = count_of(k);
	if (c)
		c->all = kind;
}

int memory_none(const struct kernels *k, struct err *e, const char *fmt, ...)
{
	char why[256], line[512];
	va_list ap;
	if (k->sync(k->ctx, why, sizeof why))
		return err_set(e, "%s: %s", k->name, why);
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	size_t left, total, own;
	k->memory(k->ctx, &left, &total, &own);
	return total ? err_set(e, "%s; the device has %zu of %zu MB free", line, left >> 20, total >> 20)
	             : err_set(e, "%s", line);
}

/* ---- plans ---- */

/* What the host could give without swapping; 0: not known. */
static size_t host_available(void)
{
	char line[128];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/meminfo", "re");
	while (f && !kib && fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
			kib = 0;
	if (f)
		fclose(f);
	return (size_t)kib << 10;
}

void memory_plan_take(struct memory_plan *p, const struct kernels *planner)
{
	const struct kernels *k = memory_planner_of(planner);
	*p = (struct memory_plan){.use = memory_planner_count(planner)->use};
	k->memory(k->ctx, &p->free, &p->total, &p->own);
	p->device = p->total > 0;
	if (!p->device) {
		long pages = sysconf(_SC_PHYS_PAGES);
		p->free = host_available();
		p->total = pages > 0 ? (size_t)pages * (size_t)sysconf(_SC_PAGESIZE) : 0;
	}
}

bool memory_plan_fits(const struct memory_plan *p)
{
	return p->free == 0 || p->use.high <= p->free;
}

static void put(struct str *out, const char *name, size_t bytes)
{
	str_addf(out, ",\"%s\":%zu", name, bytes);
}

void memory_plan_json(const struct memory_plan *p, const struct kernels *k, struct str *out)
{
	str_addf(out, "{\"device\":\"%s\"", k->name);
	for (int i = 1; i <= MEMORY_KINDS; i++)
		put(out, memory_kind_names[i % MEMORY_KINDS], p->use.at_high[i % MEMORY_KINDS]);
	put(out, "total", p->use.high);
	put(out, "staging", p->own);
	put(out, "free", p->free);
	put(out, "missing", memory_plan_fits(p) ? 0 : p->use.high - p->free);
	str_addf(out, ",\"fits\":%s}", memory_plan_fits(p) ? "true" : "false");
}

int memory_plan_check(const struct memory_plan *p, struct err *e)
{
	if (memory_plan_fits(p))
		return 0;
	return err_set(e,
	               "not enough memory on the %s: %zu bytes are needed, %zu of %zu are free, %zu are missing "
	               "(--plan says what for)",
	               p->device ? "device" : "host", p->use.high, p->free, p->total, p->use.high - p->free);
}

bool memory_plan_wanted(const struct kernels *k, bool print)
{
	size_t left, total, own;
	k->memory(k->ctx, &left, &total, &own);
	return print || total;
}

static int print_line(const struct str *line, struct err *e)
{
	struct sink *out = sink_open_fd(STDOUT_FILENO, "standard output", false, e);
	if (!out)
		return -1;
	int failed = sink_write(out, line->buf, line->len, e) < 0;
	return sink_close(out, e) < 0 || failed ? -1 : 0;
}

int memory_plan_settle(const struct kernels *planner, bool print, struct err *e)
{
	struct memory_plan p;
	memory_plan_take(&p, planner);
	if (!print)
		return p.device ? memory_plan_check(&p, e) : 0;
	struct str line;
	str_init(&line);
	memory_plan_json(&p, planner, &line);
	str_addc(&line, '\n');
	int failed = print_line(&line, e);
	str_release(&line);
	return failed || memory_plan_check(&p, e) ? -1 : 1;
}

void memory_use_json(const struct memory_use *use, const struct kernels *k, struct str *out)
{
	size_t left, total, own;
	k->memory(k->ctx, &left, &total, &own);
	str_addf(out, "{\"device\":\"%s\"", k->name);
	for (int i = 1; i <= MEMORY_KINDS; i++)
		put(out, memory_kind_names[i % MEMORY_KINDS], use->peak[i % MEMORY_KINDS]);
	put(out, "high_water", use->high);
	put(out, "staging", own);
	str_addc(out, '}');
}
