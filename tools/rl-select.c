/*
 * rl-select - a choice from a pool, by the attention that a model pays to its keys.
 *
 * Queries are embedded together; the choices are made one after another, because one may take a key from the next.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/progress.h"
#include "lib/scorer.h"
#include "lib/select_record.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *store;
	bool follow;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]",
         "the model: a slot or a snapshot; default ref, the reference of the run", 0, 0},
        {"follow", 0, OPT_FLAG, AT(follow), NULL, NULL, "of the slot, the version that sampled: policy_version", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct select_config select;
	struct scorer scorer;
	struct scorer_model model;
	struct selection selection;
	int64_t keys_of; /* version of the keys; -1: there are none yet */
	int64_t seen;    /* version that is known to be there */
};

struct waiting {
	struct select_request request;
	int64_t version;
};

/* ---- reading ---- */

/* What a model wrote never stops a run: without a query all keys are alike, and the first one is told of. */
static void note_blind(struct tool *t, struct err *e)
{
	char shown[2048];
	if (t->count[0].n++)
		return;
	err_where(e, "%s:%lld", t->source, (long long)t->line);
	progress_escape(shown, sizeof shown, e->msg, strlen(e->msg));
	progress_wipe(t->progress);
	cli_warn("%s; to it, as to all others without a query, all keys are alike", shown);
}

static int read_version(struct state *s, const struct record *r, int64_t *version, struct err *e)
{
	*version = s->model.ref.version;
	int got = s->c.follow ? record_int(r, "policy_version", version, e) : 1;
	if (got <= 0)
		return got ? -1 : err_set(e, "--follow: 'policy_version' is not there");
	if (*version != s->seen && scorer_check(&s->scorer, s->model.ref.slot, *version, e))
		return err_where(e, "--follow");
	s->seen = *version;
	return 0;
}

static int read_waiting(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e)
{
	struct state *s = arg;
	struct waiting *x = arena_array(&s->scorer.arena, 1, sizeof *x);
	if (read_version(s, r, &x->version, e))
		return -1;
	int got = selection_read(&s->selection, r, t->line, &x->request, &s->scorer.arena, e);
	if (got < 0)
		return -1;
	if (got)
		note_blind(t, e);
	*item = x;
	*tokens = x->request.query.n;
	return 0;
}

/* ---- embeddings ---- */

/* Records of one version. */
struct pass {
	struct state *s;
	struct waiting **waiting;
	int64_t n;
};

static int embed(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct pass *p = arg;
	struct state *s = p->s;
	struct selection *x = &s->selection;
	enum select_position position = (enum select_position)s->select.position;
	int64_t version = p->waiting[0]->version, width = select_width(d->arch, SELECT_QUERY), n = 0;
	struct select_text *text = arena_array(&s->scorer.arena, (size_t)p->n, sizeof *text);
	float *out = arena_array(&s->scorer.arena, (size_t)(p->n * width), sizeof *out);
	if (version != s->keys_of &&
	    select_embed(d, w, x->pool.key, x->pool.n, x->layer, SELECT_KEY, position, SCORER_TOKENS, x->keys, e))
		return -1;
	s->keys_of = version;
	for (int64_t i = 0; i < p->n; i++)
		if (p->waiting[i]->request.query.n)
			text[n++] = p->waiting[i]->request.query;
	if (n && select_embed(d, w, text, n, x->layer, SELECT_QUERY, position, SCORER_TOKENS, out, e))
		return -1;
	for (int64_t i = 0; i < p->n; i++)
		if (p->waiting[i]->request.query.n) {
			memcpy(p->waiting[i]->request.embedding, out, (size_t)width * sizeof *out);
			out += width;
		}
	return 0;
}

static int pass_version(struct pass *p, struct err *e)
{
	struct scorer_model m = p->s->model;
	m.ref.version = p->waiting[0]->version;
	if (scorer_with(&p->s->scorer, &m, embed, p, e))
		return -1;
	for (int64_t i = 0; i < p->n; i++)
		selection_choose(&p->s->selection, &p->waiting[i]->request, &p->s->scorer.arena);
	return 0;
}

static int compute(void *arg, void **item, int64_t n, struct err *e)
{
	struct pass p = {arg, NULL, 0};
	p.waiting = arena_array(&p.s->scorer.arena, (size_t)n, sizeof(struct waiting *));
	for (int64_t i = 0; i < n; i++) {
		struct waiting *x = item[i];
		if (p.n && p.waiting[0]->version != x->version) {
			if (pass_version(&p, e))
				return -1;
			p.n = 0;
		}
		p.waiting[p.n++] = x;
	}
	return pass_version(&p, e);
}

static int add(void *arg, struct tool *t, struct record *r, void *item, struct err *e)
{
	struct state *s = arg;
	struct waiting *x = item;
	t->n_tokens += x->request.query.n;
	return selection_add(&s->selection, r, &x->request, &s->scorer.arena, e);
}

static const struct scorer_calls calls = {read_waiting, compute, add};

/* ---- the tool ---- */

static int open_all(struct state *s, const struct engine_config *engine, const char *pool, struct err *e)
{
	char *path, *name;
	store_split(s->c.store, &path, &name);
	int failed = scorer_open(&s->scorer, path, engine, e) || scorer_find(&s->scorer,
	                                                                     *name         ? name
	                                                                     : s->c.follow ? "policy"
	                                                                                   : "ref",
	                                                                     name, s->select.run, &s->model, e);
	free(path);
	free(name);
	s->keys_of = -1;
	s->seen = s->model.ref.version;
	return failed || selection_open(&s->selection, &s->model.info, pool, e) ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct state s = {0};
	struct tool_config config = {0};
	struct engine_config engine = {0};
	struct tool t;
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Choice", select_options, &s.select},
	                                   {"Engine", engine_options, &engine},
	                                   {"All filters", tool_options, &config}};
	const struct cli cli = {.tool = "rl-select",
	                        .summary = "choose from a pool by a model's attention",
	                        .usage = "-s STORE [OPTION]... POOL [FILE]...",
	                        .details =
	                                "Adds selected, ids of records of POOL, and selected_p, the probability that\n"
	                                "each was drawn with: the attention of the query to its key.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .min_operands = 1,
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (!s.c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	if (s.select.per && !s.select.without_replacement)
		cli_misuse("--per is of --without-replacement");
	if (selection_init(&s.selection, &s.select, &e))
		cli_misuse("%s", e.msg);
	tool_init(&t, &config);
	t.count[0].name = "without a query";
	int status = open_all(&s, &engine, operands[0], &e)
	                     ? tool_end(&t, -1, &e)
	                     : scorer_run(&s.scorer, &t, operands + 1, n - 1, &calls, &s);
	selection_release(&s.selection);
	model_info_release(&s.model.info);
	scorer_close(&s.scorer);
	return status;
}
