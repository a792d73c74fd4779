/* run_log - see run_log.h */
#include "lib/run_log.h"

#include <stdlib.h>
#include <string.h>

#include "lib/record.h"

static void put_prefix(struct str *out, const char *tool, const char *run, const char *slot)
{
	str_addf(out, "{\"tool\":\"%s\",\"run\":", tool);
	json_put_str(out, run, strlen(run));
	str_adds(out, ",\"slot\":");
	json_put_str(out, slot, strlen(slot));
	str_adds(out, ",\"version\":");
}

void run_log_entry(struct str *out, const char *tool, const char *run, const char *slot, int64_t version, int64_t seed,
                   int64_t records, const char *options, const char *operands, const char *metrics)
{
	put_prefix(out, tool, run, slot);
	str_addf(out,
	         "%lld,\"parent\":%lld,\"seed\":%lld,\"records\":%lld,\"options\":%s,\"operands\":%s,\"metrics\":%s}",
	         (long long)version, (long long)version - 1, (long long)seed, (long long)records, options, operands,
	         metrics);
}

struct reading {
	struct str prefix;
	int64_t base;
	int (*fn)(void *arg, const char *line, size_t len);
	void *arg;
};

static int one_entry(void *arg, int64_t index, const char *json, size_t len)
{
	static const char key[] = "\"metrics\":{";
	const size_t key_len = sizeof key - 1;
	const struct reading *g = arg;
	(void)index;
	if (len < g->prefix.len || memcmp(json, g->prefix.buf, g->prefix.len))
		return 0;
	if (strtoll(json + g->prefix.len, NULL, 10) <= g->base)
		return 0;
	for (size_t i = len - key_len; i > 0; i--)
		if (!memcmp(json + i, key, key_len))
			return g->fn(g->arg, json + i + key_len - 1, len - i - key_len);
	return 0;
}

int run_log_each(struct store *s, const char *tool, const char *run, const char *slot, int64_t base,
                 int (*fn)(void *arg, const char *line, size_t len), void *arg, struct err *e)
{
	struct store_view *v = store_view_open(s, e);
	if (!v)
		return -1;
	struct reading g = {.base = base, .fn = fn, .arg = arg};
	str_init(&g.prefix);
	put_prefix(&g.prefix, tool, run, slot);
	int failed = store_each_log(v, one_entry, &g, e);
	str_release(&g.prefix);
	store_view_close(v);
	return failed ? -1 : 0;
}
