/* reward_mix_state - what a mix holds after a batch, as JSON; see reward_mix.h */
#include <stdlib.h>
#include <string.h>

#include "lib/reward_mix.h"
#include "lib/util.h"

/* {"batches":2,"seen":{"NAME":{"n":3,"mean":0.5,"m2":0.25}},"totals":12,"recent":[...]} */
void reward_mix_put_state(struct str *s, const struct reward_mix *m)
{
	bool any = false;
	str_addf(s, "{\"batches\":%lld,\"seen\":{", (long long)m->batches);
	for (int64_t i = 0; i < m->n; i++) {
		const struct reward_mix_component *c = &m->component[i];
		if (!c->normalize)
			continue;
		if (any)
			str_addc(s, ',');
		any = true;
		json_put_str(s, c->name, strlen(c->name));
		str_addf(s, ":{\"n\":%lld,\"mean\":", (long long)c->seen.n);
		json_put_num(s, c->seen.mean);
		str_adds(s, ",\"m2\":");
		json_put_num(s, c->seen.m2);
		str_addc(s, '}');
	}
	str_addf(s, "},\"totals\":%lld,\"recent\":[", (long long)m->seen);
	for (int64_t i = 0; i < m->n_recent; i++) {
		if (i)
			str_addc(s, ',');
		json_put_num(s, m->recent[i]);
	}
	str_adds(s, "]}");
}

static int damaged(const struct reward_mix *m, const char *what, struct err *e)
{
	return err_set(e, "the '%s' of the run is not what rl-reward-mix wrote: '%s'", m->state_field, what);
}

static int read_seen(struct reward_mix *m, const struct json *seen, struct err *e)
{
	for (int64_t i = 0; i < m->n; i++) {
		struct reward_mix_component *c = &m->component[i];
		struct json v, n, mean, m2;
		if (!c->normalize || !json_member(seen, c->name, &v))
			continue;
		if (v.kind != JSON_OBJECT || !json_member(&v, "n", &n) || !n.is_int || n.integer < 0 ||
		    !json_member(&v, "mean", &mean) || mean.kind != JSON_NUMBER || !json_member(&v, "m2", &m2) ||
		    m2.kind != JSON_NUMBER || m2.number < 0)
			return damaged(m, c->name, e);
		c->seen = (struct reward_running){n.integer, mean.number, m2.number};
	}
	return 0;
}

static int read_state(struct reward_mix *m, const struct json *v, struct arena *a, struct err *e)
{
	struct json batches, seen, totals, recent;
	double *x;
	if (v->kind != JSON_OBJECT || !json_member(v, "batches", &batches) || !batches.is_int)
		return damaged(m, "batches", e);
	if (!json_member(v, "seen", &seen) || seen.kind != JSON_OBJECT)
		return damaged(m, "seen", e);
	if (!json_member(v, "totals", &totals) || !totals.is_int)
		return damaged(m, "totals", e);
	if (!json_member(v, "recent", &recent) || recent.kind != JSON_ARRAY)
		return damaged(m, "recent", e);
	if (json_doubles(&recent, "recent", &x, &m->n_recent, a, e) || read_seen(m, &seen, e))
		return -1;
	m->batches = batches.integer;
	m->seen = totals.integer;
	m->cap_recent = m->n_recent;
	free(m->recent);
	m->recent = xmalloc((size_t)m->n_recent * sizeof *m->recent + 1);
	if (m->n_recent)
		memcpy(m->recent, x, (size_t)m->n_recent * sizeof *m->recent);
	return 0;
}

int reward_mix_load(struct reward_mix *m, const struct loop_run *r, struct err *e)
{
	struct record *rec = record_new();
	struct arena a;
	struct json v;
	arena_init(&a);
	int got = loop_run_state(r, m->config->as, rec, &v, e);
	if (got > 0)
		got = read_state(m, &v, &a, e);
	arena_release(&a);
	record_free(rec);
	return got < 0 ? -1 : 0;
}
