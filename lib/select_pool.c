/* select_pool - see select_pool.h */
#include "lib/select_pool.h"

#include <stdlib.h>
#include <string.h>

#include "lib/prompt.h"
#include "lib/stream.h"
#include "lib/util.h"

/* ---- reading ---- */

static int compare_ids(const char *a, size_t n_a, const char *b, size_t n_b)
{
	int by = memcmp(a, b, n_a < n_b ? n_a : n_b);
	return by ? by : n_a < n_b ? -1 : n_a > n_b;
}

static int read_key(struct select_pool *p, struct record *r, struct filter *key, const struct model_info *m,
                    struct err *e)
{
	struct json v;
	int32_t *ids;
	int64_t n;
	if (filter_run(key, r, &v, &p->arena, e) < 0 || prompt_from(m, &v, "--key", false, &ids, &n, &p->arena, e))
		return -1;
	if (n < 1)
		return err_set(e, "--key has no token");
	if (n > m->arch.P)
		return err_set(e, "the key's %lld tokens do not fit the context of %lld", (long long)n,
		               (long long)m->arch.P);
	p->key[p->n] = (struct select_text){ids, n};
	return 0;
}

static int add_record(struct select_pool *p, struct record *r, const char *line, size_t len, int64_t number,
                      struct filter *key, const struct model_info *m, struct err *e)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		p->item = xrealloc_array(p->item, (size_t)p->cap, sizeof *p->item);
		p->key = xrealloc_array(p->key, (size_t)p->cap, sizeof *p->key);
	}
	struct select_item *x = p->item + p->n;
	if (record_parse(r, line, len, e) || record_id(r, number, &x->id, &x->id_len, &p->arena, e) < 0 ||
	    read_key(p, r, key, m, e))
		return -1;
	const char *whole = record_line(r, &x->len);
	x->len -= whole[x->len - 1] == '\n';
	x->line = arena_strndup(&p->arena, whole, x->len);
	p->n++;
	return 0;
}

static int by_id(const void *a, const void *b, void *arg)
{
	const struct select_item *item = arg, *x = item + *(const int64_t *)a, *y = item + *(const int64_t *)b;
	return compare_ids(x->id, x->id_len, y->id, y->id_len);
}

static int sort_ids(struct select_pool *p, const char *path, struct err *e)
{
	p->sorted = xcalloc((size_t)p->n + 1, sizeof *p->sorted);
	for (int64_t i = 0; i < p->n; i++)
		p->sorted[i] = i;
	qsort_r(p->sorted, (size_t)p->n, sizeof *p->sorted, by_id, p->item);
	for (int64_t i = 1; i < p->n; i++)
		if (!by_id(p->sorted + i - 1, p->sorted + i, p->item))
			return err_set(e, "%s: the id '%s' is there twice", path, p->item[p->sorted[i]].id);
	return p->n ? 0 : err_set(e, "%s: there is no record to choose", path);
}

int select_pool_read(struct select_pool *p, const char *path, struct filter *key, const struct model_info *m,
                     struct err *e)
{
	char *line;
	size_t len;
	int got = 0;
	*p = (struct select_pool){0};
	arena_init(&p->arena);
	struct stream *in = stream_open(path, e);
	struct record *r = record_new();
	while (in && (got = stream_next(in, &line, &len, e)) > 0) {
		if (strspn(line, " \t\r") >= len)
			continue;
		if (add_record(p, r, line, len, stream_line(in), key, m, e)) {
			got = err_where(e, "%s:%lld", stream_name(in), (long long)stream_line(in));
			break;
		}
	}
	int failed = !in || got < 0 || sort_ids(p, path, e);
	stream_close(in);
	record_free(r);
	return failed ? -1 : 0;
}

void select_pool_release(struct select_pool *p)
{
	free(p->item);
	free(p->key);
	free(p->sorted);
	arena_release(&p->arena);
	*p = (struct select_pool){0};
}

int64_t select_pool_find(const struct select_pool *p, const char *id, size_t len)
{
	int64_t low = 0, high = p->n;
	while (low < high) {
		int64_t mid = low + (high - low) / 2;
		const struct select_item *x = p->item + p->sorted[mid];
		int by = compare_ids(x->id, x->id_len, id, len);
		if (by == 0)
			return p->sorted[mid];
		if (by < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

/* ---- what is used ---- */

struct used_name {
	char *name;
	size_t len;
	bool *used;
};
struct select_used {
	int64_t n, n_names, cap; /* keys; names; slots, a power of two */
	struct used_name *slot;
};

struct select_used *select_used_new(int64_t n)
{
	struct select_used *u = xcalloc(1, sizeof *u);
	*u = (struct select_used){n, 0, 64, xcalloc(64, sizeof *u->slot)};
	return u;
}

void select_used_free(struct select_used *u)
{
	if (!u)
		return;
	for (int64_t i = 0; i < u->cap; i++) {
		free(u->slot[i].name);
		free(u->slot[i].used);
	}
	free(u->slot);
	free(u);
}

/* The name's slot, or the empty one where it belongs. */
static struct used_name *slot_of(const struct select_used *u, const char *name, size_t len)
{
	uint64_t at = hash_bytes(name, len, 0, 0);
	for (;; at++) {
		struct used_name *x = u->slot + (at & (uint64_t)(u->cap - 1));
		if (!x->name || (x->len == len && !memcmp(x->name, name, len)))
			return x;
	}
}

static void grow(struct select_used *u)
{
	struct select_used wider = {u->n, u->n_names, 2 * u->cap, xcalloc(2 * (size_t)u->cap, sizeof *wider.slot)};
	for (int64_t i = 0; i < u->cap; i++)
		if (u->slot[i].name)
			*slot_of(&wider, u->slot[i].name, u->slot[i].len) = u->slot[i];
	free(u->slot);
	*u = wider;
}

bool *select_used_of(struct select_used *u, const char *name, size_t len)
{
	struct used_name *x = slot_of(u, name, len);
	if (x->name)
		return x->used;
	if (2 * ++u->n_names > u->cap) {
		grow(u);
		x = slot_of(u, name, len);
	}
	*x = (struct used_name){xstrndup(name, len), len, xcalloc((size_t)u->n, sizeof *x->used)};
	return x->used;
}
