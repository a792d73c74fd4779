/* select_record - see select_record.h */
#include "lib/select_record.h"

#include <stdlib.h>
#include <string.h>

#include "lib/prompt.h"
#include "lib/rng.h"
#include "lib/str.h"
#include "lib/util.h"

#define AT(field) offsetof(struct select_config, field)
const struct opt select_options[] = {
        {"query", 0, OPT_STR, AT(query), NULL, "FILTER", "the query; default .tokens, else .completion", 0, 0},
        {"key", 0, OPT_STR, AT(key), ".key", "FILTER", "of a record of POOL: what a query is compared with", 0, 0},
        {"layer", 0, OPT_INT, AT(layer), "-1", "N", "layer whose projections are taken; -1 is the last", -100000,
         100000},
        {"heads", 0, OPT_STR, AT(heads), "all", "LIST", "heads that count: all, or 0,3,5", 0, 0},
        {"position", 0, OPT_CHOICE, AT(position), "mean", SELECT_POSITIONS, "of a text's tokens", 0, 0},
        {"temperature", 0, OPT_NUM, AT(temperature), "1", "T", "of the softmax over keys; 0: the likeliest", 0, 1e6},
        {"top-k", 0, OPT_INT, AT(top_k), "0", "N", "choose among the N likeliest; 0: all", 0, 1e15},
        {"n", 'n', OPT_INT, AT(n), "1", "N", "how many are chosen for a record, each once", 1, 1e9},
        {"exclude", 0, OPT_STR, AT(exclude), NULL, "FILTER", "ids that a record cannot have", 0, 0},
        {"without-replacement", 0, OPT_FLAG, AT(without_replacement), NULL, NULL, "what is chosen is not chosen again",
         0, 0},
        {"per", 0, OPT_STR, AT(per), NULL, "FILTER", "--without-replacement for each of its values by itself", 0, 0},
        {"probabilities", 0, OPT_FLAG, AT(probabilities), NULL, NULL, "add those of all keys", 0, 0},
        {"items", 0, OPT_FLAG, AT(items), NULL, NULL, "add the chosen records of POOL", 0, 0},
        {"seed", 0, OPT_INT, AT(seed), "0", "N", "seed of the choices", 0, 9e18},
        {"as", 0, OPT_STR, AT(as), "selected", "NAME", "name of the added field, and beginning of the others", 0, 0},
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run", 0, 0},
        {NULL},
};

/* ---- the pool ---- */

static int compile(struct filter **f, const char *option, const char *program, struct err *e)
{
	if (program)
		*f = filter_new(option, program, NULL, 0, e);
	return program && !*f ? -1 : 0;
}

int selection_init(struct selection *s, const struct select_config *c, struct err *e)
{
	*s = (struct selection){.c = c};
	return compile(&s->query, "query", c->query, e) || compile(&s->key, "key", c->key, e) ||
	                       compile(&s->per, "per", c->per, e) || compile(&s->exclude, "exclude", c->exclude, e)
	               ? -1
	               : 0;
}

int selection_open(struct selection *s, const struct model_info *m, const char *pool, struct err *e)
{
	s->m = m;
	s->layer = s->c->layer < 0 ? s->c->layer + m->arch.L : s->c->layer;
	if (s->layer < 0 || s->layer >= m->arch.L)
		return err_set(e, "--layer is %lld, but the model has %lld, from 0", (long long)s->c->layer,
		               (long long)m->arch.L);
	s->heads = xcalloc((size_t)m->arch.H, sizeof *s->heads);
	if (select_heads(s->c->heads, m->arch.H, s->heads, e) || select_pool_read(&s->pool, pool, s->key, m, e))
		return -1;
	size_t n = (size_t)s->pool.n;
	s->keys = xcalloc(n * (size_t)arch_kv_width(&m->arch), sizeof *s->keys);
	s->mask = xcalloc(n, sizeof *s->mask);
	s->p = xcalloc(n, sizeof *s->p);
	s->scratch = xcalloc(n, sizeof *s->scratch);
	s->used = select_used_new(s->pool.n);
	return 0;
}

void selection_release(struct selection *s)
{
	struct filter *const filter[] = {s->query, s->key, s->per, s->exclude};
	for (size_t i = 0; i < ARRAY_LEN(filter); i++)
		filter_free(filter[i]);
	select_pool_release(&s->pool);
	select_used_free(s->used);
	free(s->keys);
	free(s->heads);
	free(s->mask);
	free(s->p);
	free(s->scratch);
	*s = (struct selection){0};
}

/* ---- what a record asks ---- */

/* 0; 1: what a model wrote is no query, and *e says why; -1. */
static int read_query(struct selection *s, struct record *r, struct select_text *query, struct arena *a, struct err *e)
{
	struct json v;
	int32_t *ids;
	int64_t n, context = s->m->arch.P;
	int soft = record_has(r, "completion") && s->m->tokenizer ? 1 : -1;
	if (!s->query && completion_read(s->m, r, &ids, &n, a, e))
		return -1;
	if (s->query &&
	    (filter_run(s->query, r, &v, a, e) < 0 || prompt_from(s->m, &v, "--query", false, &ids, &n, a, e)))
		return soft;
	/* what ended it is no part of a query */
	if (!s->query && n && model_is_eos(s->m, ids[n - 1]))
		n--;
	if (n < 1)
		err_set(e, "the query has no token");
	else if (n > context)
		err_set(e, "the query's %lld tokens do not fit the context of %lld", (long long)n, (long long)context);
	if (n < 1 || n > context)
		return record_has(r, "completion") || record_has(r, "tokens") ? 1 : -1;
	*query = (struct select_text){ids, n};
	return 0;
}

static int read_place(struct selection *s, const struct record *r, int64_t line, struct select_request *x,
                      struct arena *a, struct err *e)
{
	const char *id;
	size_t len;
	int64_t epoch = 0, sample = 0;
	if (record_id(r, line, &id, &len, a, e) < 0 || record_int(r, "epoch", &epoch, e) < 0 ||
	    record_int(r, "sample", &sample, e) < 0)
		return -1;
	x->key = rng_key("select", (uint64_t)s->c->seed, s->c->run, (uint64_t)epoch);
	x->id = rng_id(id, len);
	x->sample = (uint32_t)sample;
	return 0;
}

static int read_excluded(struct selection *s, struct record *r, struct select_request *x, struct arena *a,
                         struct err *e)
{
	const char **id;
	size_t *len;
	int64_t n;
	int got = s->exclude ? filter_strs(s->exclude, r, &id, &len, &n, a, e) : 0;
	if (got <= 0)
		return got;
	x->excluded = arena_array(a, (size_t)s->pool.n, sizeof *x->excluded);
	for (int64_t i = 0; i < n; i++) {
		int64_t at = select_pool_find(&s->pool, id[i], len[i]);
		if (at < 0)
			return err_set(e, "--exclude: the pool has no '%s'", id[i]);
		x->n_excluded += !x->excluded[at];
		x->excluded[at] = true;
	}
	return 0;
}

static int read_taken(struct selection *s, struct record *r, struct select_request *x, struct arena *a, struct err *e)
{
	const char **name;
	size_t *len;
	int64_t n;
	if (!s->c->without_replacement)
		return 0;
	if (!s->per) {
		x->taken = select_used_of(s->used, "", 0);
		return 0;
	}
	int got = filter_strs(s->per, r, &name, &len, &n, a, e);
	if (got < 0)
		return -1;
	if (got == 0 || n != 1)
		return err_set(e, "--per: '%s' gives no name", filter_program(s->per));
	x->taken = select_used_of(s->used, name[0], len[0]);
	return 0;
}

static const char *field(const struct selection *s, const char *suffix, struct arena *a)
{
	return arena_printf(a, "%s%s", s->c->as, suffix);
}

static int check_new(const struct selection *s, const struct record *r, struct arena *a, struct err *e)
{
	return record_check_new(r, s->c->as, e) || record_check_new(r, field(s, "_p", a), e) ||
	       (s->c->probabilities && record_check_new(r, field(s, "_probabilities", a), e)) ||
	       (s->c->items && record_check_new(r, field(s, "_items", a), e));
}

int selection_read(struct selection *s, struct record *r, int64_t line, struct select_request *x, struct arena *a,
                   struct err *e)
{
	*x = (struct select_request){0};
	x->embedding = arena_array(a, (size_t)arch_q_width(&s->m->arch), sizeof *x->embedding);
	if (check_new(s, r, a, e) || read_place(s, r, line, x, a, e) || read_excluded(s, r, x, a, e) ||
	    read_taken(s, r, x, a, e))
		return -1;
	return read_query(s, r, &x->query, a, e);
}

/* ---- what it is given ---- */

/* NULL, or why there is no choice. */
static const char *choose(struct selection *s, struct select_request *x, double *first, struct arena *a)
{
	const struct select_config *c = s->c;
	int64_t n = s->pool.n;
	for (int64_t i = 0; i < n; i++)
		s->mask[i] = (x->excluded && x->excluded[i]) || (x->taken && x->taken[i]);
	for (int64_t i = 0; i < c->n; i++) {
		double *p = i ? s->p : first;
		int64_t left = select_probabilities(&s->m->arch, s->heads, x->embedding, s->keys, s->mask, n,
		                                    c->temperature > 0 ? c->temperature : 1, c->top_k, p, s->scratch);
		if (left < 0)
			return "the attention of the query is not finite";
		if (left == 0)
			return arena_printf(a, "%lld are to be chosen, but of the pool's %lld only %lld are left",
			                    (long long)c->n, (long long)n, (long long)i);
		double u = rng_uniform(x->key, x->id, x->sample, x->n_excluded + (uint32_t)i);
		x->pick[i] = c->temperature > 0 ? select_draw(p, n, u) : select_best(p, n);
		x->pick_p[i] = p[x->pick[i]];
		s->mask[x->pick[i]] = true;
	}
	return NULL;
}

void selection_choose(struct selection *s, struct select_request *x, struct arena *a)
{
	size_t n = s->c->n < s->pool.n ? (size_t)s->c->n : (size_t)s->pool.n;
	x->pick = arena_array(a, n, sizeof *x->pick);
	x->pick_p = arena_array(a, n, sizeof *x->pick_p);
	x->first = s->c->probabilities ? arena_array(a, (size_t)s->pool.n, sizeof *x->first) : NULL;
	x->why = choose(s, x, x->first ? x->first : s->p, a);
	for (int64_t i = 0; x->taken && !x->why && i < s->c->n; i++)
		x->taken[x->pick[i]] = true;
}

static void put_id(struct str *out, const struct select_item *x)
{
	json_put_str(out, x->id, x->id_len);
}

static int add_chosen(const struct selection *s, struct record *r, const struct select_request *x, struct arena *a,
                      struct err *e)
{
	struct str ids, p, items;
	str_init(&ids);
	str_init(&p);
	str_init(&items);
	for (int64_t i = 0; i < s->c->n; i++) {
		const struct select_item *item = s->pool.item + x->pick[i];
		str_addc(&ids, i ? ',' : '[');
		put_id(&ids, item);
		str_addc(&p, i ? ',' : '[');
		json_put_num(&p, x->pick_p[i]);
		str_addc(&items, i ? ',' : '[');
		str_add(&items, item->line, item->len);
	}
	str_addc(&ids, ']');
	str_addc(&p, ']');
	str_addc(&items, ']');
	int failed = record_add_raw(r, s->c->as, ids.buf, ids.len, e) ||
	             record_add_raw(r, field(s, "_p", a), p.buf, p.len, e) ||
	             (s->c->items && record_add_raw(r, field(s, "_items", a), items.buf, items.len, e));
	str_release(&ids);
	str_release(&p);
	str_release(&items);
	return failed;
}

static int add_probabilities(const struct selection *s, struct record *r, const double *p, struct arena *a,
                             struct err *e)
{
	struct str out;
	str_init(&out);
	str_addc(&out, '{');
	for (int64_t i = 0; i < s->pool.n; i++) {
		if (p[i] == 0)
			continue;
		if (out.len > 1)
			str_addc(&out, ',');
		put_id(&out, s->pool.item + i);
		str_addc(&out, ':');
		json_put_num(&out, p[i]);
	}
	str_addc(&out, '}');
	int failed = record_add_raw(r, field(s, "_probabilities", a), out.buf, out.len, e);
	str_release(&out);
	return failed;
}

int selection_add(const struct selection *s, struct record *r, const struct select_request *x, struct arena *a,
                  struct err *e)
{
	if (x->why)
		return err_set(e, "%s", x->why);
	if (add_chosen(s, r, x, a, e) || (x->first && add_probabilities(s, r, x->first, a, e)))
		return -1;
	return 0;
}
