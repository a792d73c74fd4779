/* ppo_eval - see ppo_eval.h */
#include "lib/ppo_eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/record.h"
#include "lib/stats.h"
#include "lib/util.h"

#define EVAL_STATE "ppo/eval" /* no field state_NAME is called so */
#define AT(field) offsetof(struct ppo_config, field)

const struct opt ppo_eval_options[] = {
        {"best", 0, OPT_STR, AT(best), NULL, "METRIC", "keep the snapshot best: eval/reward, or eval/reward_NAME", 0,
         0},
        {"patience", 0, OPT_INT, AT(patience), "0", "N", "close the run after N evaluations without progress; 0: never",
         0, 1e9},
        {NULL},
};

void ppo_eval_check(const struct ppo_config *c)
{
	if (c->best && strncmp(c->best, "eval/reward", 11))
		cli_misuse("--best is '%s', but must be eval/reward or eval/reward_NAME", c->best);
	if (c->patience && !c->best)
		cli_misuse("--patience is %lld, but without --best there is no progress", (long long)c->patience);
}

/* ---- state ---- */

int ppo_eval_load(struct ppo *p, struct err *e)
{
	struct record *rec = record_new();
	struct json v, count, best, version, since;
	p->eval = (struct ppo_eval_state){.best_version = -1};
	int got = loop_run_state(&p->run, EVAL_STATE, rec, &v, e);
	if (got > 0) {
		if (v.kind == JSON_OBJECT && json_member(&v, "count", &count) && count.is_int &&
		    json_member(&v, "best", &best) && best.kind == JSON_NUMBER &&
		    json_member(&v, "version", &version) && version.is_int && json_member(&v, "since", &since) &&
		    since.is_int)
			p->eval = (struct ppo_eval_state){count.integer, since.integer, version.integer, best.number};
		else
			got = err_set(e, "the state of the run is damaged: '" EVAL_STATE "'");
	}
	record_free(rec);
	return got < 0 ? -1 : 0;
}

static int save(struct ppo *p, struct err *e)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "{\"" EVAL_STATE "\":{\"count\":%lld,\"best\":", (long long)p->eval.count);
	json_put_num(&s, p->eval.best);
	str_addf(&s, ",\"version\":%lld,\"since\":%lld}}", (long long)p->eval.best_version, (long long)p->eval.since);
	int failed = loop_run_set_states(&p->run, s.buf, s.len, e);
	str_release(&s);
	return failed;
}

/* ---- an evaluation ---- */

/* Over the rows that have a value, in order. */
static void mean_of(struct stats_mean *out, const struct rollout_column *c, int64_t n)
{
	static const struct stats_config config = {.interval = STATS_T};
	double *x = xcalloc((size_t)n, sizeof *x);
	int64_t k = 0;
	for (int64_t i = 0; i < n; i++)
		if (!isnan(c->x[i]))
			x[k++] = c->x[i];
	stats_mean(out, x, NULL, k, &config);
	free(x);
}

static int find_best(const struct ppo *p, const struct rollout_scores *s, double *value, struct err *e)
{
	const struct rollout_column *c = rollout_scores_column(s, p->config->best + strlen("eval/"));
	struct stats_mean m;
	if (!c) {
		struct str names;
		str_init(&names);
		for (int64_t i = 0; i < s->n_columns; i++)
			str_addf(&names, "%s eval/%s", i ? "," : "", s->column[i].name);
		err_set(e, "--best: the evaluation has no '%s'; it has%s", p->config->best,
		        s->n_columns ? names.buf : " nothing that was scored");
		str_release(&names);
		return -1;
	}
	mean_of(&m, c, s->n);
	*value = m.mean;
	return 0;
}

/* Is the version that was evaluated still there to be named? */
static int check_version(struct ppo *p, int64_t version, struct err *e)
{
	struct store_ref ref;
	char name[96];
	if (version < 0)
		return err_set(e, "--best: the evaluation has no 'policy_version'");
	snprintf(name, sizeof name, "%s@%lld", p->slot, (long long)version);
	struct store_view *v = store_view_open(p->store, e);
	int failed = !v || store_resolve(v, name, &ref, e);
	store_view_close(v);
	return failed ? err_where(e, "--best: version %lld, which was evaluated, is not kept (--max-lag)",
	                          (long long)version)
	              : 0;
}

int ppo_eval_take(struct ppo *p, const struct rollout_rows *rows, struct err *e)
{
	const struct rollout_scores *s = rows->eval;
	struct ppo_eval_state *v = &p->eval;
	double value;
	v->improved = false;
	if (!s || !p->config->best)
		return 0;
	if (find_best(p, s, &value, e))
		return -1;
	v->improved = v->best_version < 0 || value > v->best;
	v->since = v->improved ? 0 : v->since + 1;
	v->count++;
	if (v->improved) {
		v->best = value;
		v->best_version = s->version;
		if (check_version(p, s->version, e))
			return -1;
	}
	p->run.closed |= p->config->patience > 0 && v->since >= p->config->patience;
	return save(p, e);
}

int ppo_eval_put(const struct ppo *p, struct store_update *u, struct err *e)
{
	struct store_ref ref = {.version = p->eval.best_version};
	struct str name;
	if (!p->eval.improved)
		return 0;
	snprintf(ref.slot, sizeof ref.slot, "%s", p->slot);
	str_init(&name);
	str_addf(&name, *p->config->run ? "best/%s" : "best", p->config->run);
	int failed = store_put_name(u, name.buf, &ref, e);
	str_release(&name);
	return failed;
}

static void put(struct str *out, const char *name, const char *what, double x)
{
	str_addc(out, ',');
	str_adds(out, "\"eval/");
	str_adds(out, name);
	str_adds(out, what);
	str_adds(out, "\":");
	json_put_num(out, x);
}

void ppo_eval_metrics(struct str *out, const struct ppo *p, const struct rollout_rows *rows)
{
	const struct rollout_scores *s = rows->eval;
	struct stats_mean m;
	if (!s)
		return;
	out->buf[--out->len] = 0;
	put(out, "version", "", (double)s->version);
	put(out, "rows", "", (double)(s->n - s->skipped));
	put(out, "skipped", "", (double)s->skipped);
	for (int64_t i = 0; i < s->n_columns; i++) {
		mean_of(&m, &s->column[i], s->n);
		put(out, s->column[i].name, "", m.mean);
		put(out, s->column[i].name, "/low", m.low);
		put(out, s->column[i].name, "/high", m.high);
	}
	if (p->config->best) {
		put(out, "best", "", p->eval.best);
		put(out, "best_version", "", (double)p->eval.best_version);
		put(out, "since_best", "", (double)p->eval.since);
	}
	str_addc(out, '}');
}
