/*
 * rl-reward-logprob - reward what makes a value likelier: gain in its log-probability over a base.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/filter.h"
#include "lib/gain.h"
#include "lib/progress.h"
#include "lib/prompt.h"
#include "lib/scorer.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *store, *run, *value, *context, *base, *base_model, *as;
	bool raw, per_token, follow;
	int reduce;
	double otherwise;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]",
         "the model: a slot or a snapshot; default ref, the reference of the run", 0, 0},
        {"follow", 0, OPT_FLAG, AT(follow), NULL, NULL, "of the slot, the version that sampled: policy_version", 0, 0},
        {"value", 0, OPT_STR, AT(value), ".value", "FILTER", "what is to become likely", 0, 0},
        {"context", 0, OPT_STR, AT(context), NULL, "FILTER", "what is before it; default prompt and completion", 0, 0},
        {"base", 0, OPT_STR, AT(base), NULL, "FILTER",
         "the context of the base; default the prompt, with --base-model the same context", 0, 0},
        {"base-model", 0, OPT_STR, AT(base_model), NULL, "NAME", "the model of the base; default the same", 0, 0},
        {"raw", 0, OPT_FLAG, AT(raw), NULL, NULL, "no base: the reward is the log-probability", 0, 0},
        {"reduce", 0, OPT_CHOICE, AT(reduce), "mean", GAIN_REDUCES, "over the tokens of the value", 0, 0},
        {"per-token", 0, OPT_FLAG, AT(per_token), NULL, NULL,
         "the reward is an array; the value's tokens are the record's", 0, 0},
        {"otherwise", 0, OPT_NUM, AT(otherwise), "0", "X", "reward where a completion gives no context", 0, 0},
        {"as", 0, OPT_STR, AT(as), "reward_logprob", "NAME", "name of the reward that is added", 0, 0},
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run whose reference is meant", 0, 0},
        {NULL},
};

struct reward_logprob {
	struct config c;
	struct scorer scorer;
	struct scorer_model model, base_model;
	bool two_models;
	int64_t seen; /* the version that is known to be there */
	struct filter *value, *context, *base;
};

/* ---- contexts ---- */

/* Two lists of ids, one after the other. */
static void join(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b, int32_t **out, int64_t *n,
                 struct arena *arena)
{
	*out = arena_array(arena, (size_t)(n_a + n_b) + 1, sizeof **out);
	if (n_a)
		memcpy(*out, a, (size_t)n_a * sizeof **out);
	if (n_b)
		memcpy(*out + n_a, b, (size_t)n_b * sizeof **out);
	*n = n_a + n_b;
}

/* Prompt and completion, without the token that ended it. */
static int default_context(struct reward_logprob *x, struct record *r, int32_t **ids, int64_t *n, struct err *e)
{
	const struct model_info *m = &x->model.info;
	struct arena *a = &x->scorer.arena;
	int32_t *prompt, *completion;
	int64_t n_prompt, n_completion;
	if (prompt_read(m, r, &prompt, &n_prompt, a, e) || completion_read(m, r, &completion, &n_completion, a, e))
		return -1;
	if (n_completion && model_is_eos(m, completion[n_completion - 1]))
		n_completion--;
	join(prompt, n_prompt, completion, n_completion, ids, n, a);
	return 0;
}

static int read_filter(struct reward_logprob *x, struct filter *f, const char *what, bool begins, struct record *r,
                       int32_t **ids, int64_t *n, struct err *e)
{
	struct json v;
	struct arena *a = &x->scorer.arena;
	if (filter_run(f, r, &v, a, e) < 0)
		return -1;
	return prompt_from(&x->model.info, &v, what, begins, ids, n, a, e);
}

/* 0; 1: what a model wrote gives no terms, and *e says why; -1. */
static int read_terms(struct reward_logprob *x, struct record *r, struct gain *g, const int32_t *value, struct err *e)
{
	struct arena *a = &x->scorer.arena;
	int32_t *ids, *base;
	int64_t n, n_base;
	/* texts in a store without a tokenizer are the user's fault */
	int soft = record_has(r, "completion") && x->model.info.tokenizer ? 1 : -1;
	if (!x->context && default_context(x, r, &ids, &n, e))
		return -1;
	if ((x->context && read_filter(x, x->context, "--context", true, r, &ids, &n, e)) ||
	    gain_term_set(&g->of, &x->model, ids, n, value, g->n, a, e))
		return soft;
	if (x->c.raw)
		return 0;
	base = ids;
	n_base = n;
	if (!x->base && !x->two_models && prompt_read(&x->model.info, r, &base, &n_base, a, e))
		return -1;
	if (x->base && read_filter(x, x->base, "--base", true, r, &base, &n_base, e))
		return soft;
	if (gain_term_set(&g->base, x->two_models ? &x->base_model : &x->model, base, n_base, value, g->n, a, e)) {
		err_where(e, "the base");
		return soft;
	}
	return 0;
}

/* ---- a record ---- */

static int check_aligned(const struct record *r, int64_t n, struct err *e)
{
	struct json tokens;
	if (record_json(r, "tokens", &tokens, e) < 0)
		return -1;
	int64_t has = tokens.kind == JSON_ARRAY ? json_length(&tokens) : -1;
	if (has < 0)
		return err_set(e, "--per-token needs 'tokens', which the reward belongs to");
	return has == n ? 0
	                : err_set(e, "the value has %lld tokens, but 'tokens' has %lld: --per-token needs as many",
	                          (long long)n, (long long)has);
}

/* What a model wrote never stops a run: it has its reward, and the first one is told of. */
static void mark_unscored(struct tool *t, const struct reward_logprob *x, struct gain *g, struct err *e)
{
	char shown[2048];
	g->unscored = true;
	if (t->count[0].n++)
		return;
	err_where(e, "%s:%lld", t->source, (long long)t->line);
	progress_escape(shown, sizeof shown, e->msg, strlen(e->msg));
	progress_wipe(t->progress);
	cli_warn("%s; its reward is %g, as that of all others without one", shown, x->c.otherwise);
}

static int read_version(struct reward_logprob *x, const struct record *r, struct gain *g, struct err *e)
{
	int64_t version = x->model.ref.version;
	int got = x->c.follow ? record_int(r, "policy_version", &version, e) : 1;
	if (got <= 0)
		return got ? -1 : err_set(e, "--follow: 'policy_version' is not there");
	if (version != x->seen && scorer_check(&x->scorer, x->model.ref.slot, version, e))
		return err_where(e, "--follow");
	x->seen = g->of.version = version;
	if (!x->two_models)
		g->base.version = version;
	return 0;
}

static int read_gain(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e)
{
	struct reward_logprob *x = arg;
	struct gain *g = arena_array(&x->scorer.arena, 1, sizeof *g);
	int32_t *value;
	if (gain_check_new(r, x->c.as, &x->scorer.arena, e) ||
	    read_filter(x, x->value, "--value", false, r, &value, &g->n, e))
		return -1;
	if (g->n < 1)
		return err_set(e, "--value has no token");
	if (x->c.per_token && check_aligned(r, g->n, e))
		return -1;
	g->has_base = !x->c.raw;
	int got = read_terms(x, r, g, value, e);
	if (got < 0 || (got == 0 && read_version(x, r, g, e)))
		return -1;
	if (got)
		mark_unscored(t, x, g, e);
	*item = g;
	*tokens = g->unscored ? 0 : g->of.n_context + g->base.n_context + 2 * g->n;
	return 0;
}

static int compute(void *arg, void **item, int64_t n, struct err *e)
{
	struct reward_logprob *x = arg;
	struct gain **gain = arena_array(&x->scorer.arena, (size_t)n, sizeof(struct gain *));
	for (int64_t i = 0; i < n; i++)
		gain[i] = item[i];
	return gain_compute(&x->scorer, gain, n, e);
}

static int add(void *arg, struct tool *t, struct record *r, void *item, struct err *e)
{
	struct reward_logprob *x = arg;
	struct gain *g = item;
	t->n_tokens += g->unscored ? 0 : g->n;
	return gain_add(r, x->c.as, (enum gain_reduce)x->c.reduce, x->c.per_token, x->c.otherwise, g, &x->scorer.arena,
	                e);
}

static const struct scorer_calls calls = {read_gain, compute, add};

/* ---- the tool ---- */

static void check_options(struct reward_logprob *x)
{
	struct err e;
	if (!x->c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	if (x->c.raw && (x->c.base || x->c.base_model))
		cli_misuse("--raw has no base: it goes with neither --base nor --base-model");
	if (x->c.per_token && cli_given("reduce"))
		cli_misuse("--per-token gives each token its own: it does not go with --reduce");
	x->two_models = x->c.base_model != NULL;
	if (!(x->value = filter_new("value", x->c.value, NULL, 0, &e)) ||
	    (x->c.context && !(x->context = filter_new("context", x->c.context, NULL, 0, &e))) ||
	    (x->c.base && !(x->base = filter_new("base", x->c.base, NULL, 0, &e))))
		cli_misuse("%s", e.msg);
}

static int check_models(const struct reward_logprob *x, struct err *e)
{
	const struct scorer_model *const model[] = {&x->model, x->two_models ? &x->base_model : &x->model};
	for (size_t i = 0; i < ARRAY_LEN(model); i++)
		if (model[i]->info.arch.value_model)
			return err_set(e, "%s has a critic's head and none for tokens", model[i]->name);
	if (model[0]->info.arch.V != model[1]->info.arch.V)
		return err_set(e, "%s has %lld tokens, but %s has %lld", model[1]->name,
		               (long long)model[1]->info.arch.V, model[0]->name, (long long)model[0]->info.arch.V);
	return 0;
}

static int open_all(struct reward_logprob *x, const struct engine_config *engine, struct err *e)
{
	char *path, *name;
	store_split(x->c.store, &path, &name);
	int failed = scorer_open(&x->scorer, path, engine, e) ||
	             scorer_find(&x->scorer,
	                         *name         ? name
	                         : x->c.follow ? "policy"
	                                       : "ref",
	                         name, x->c.run, &x->model, e) ||
	             (x->two_models && scorer_find(&x->scorer, x->c.base_model, name, x->c.run, &x->base_model, e));
	free(path);
	free(name);
	x->seen = x->model.ref.version;
	return failed ? -1 : check_models(x, e);
}

int main(int argc, char **argv)
{
	struct reward_logprob x = {0};
	struct tool_config config = {0};
	struct engine_config engine = {0};
	struct tool t;
	struct err e;
	int n;
	const struct opt_group groups[] = {
	        {NULL, options, &x.c}, {"Engine", engine_options, &engine}, {"All filters", tool_options, &config}};
	const struct cli cli = {.tool = "rl-reward-logprob",
	                        .summary = "reward what makes a value likelier",
	                        .usage = "-s STORE [OPTION]... [FILE]...",
	                        .details = "Adds reward_logprob, logp - base, and logprob {logp, base, tokens}:\n"
	                                   "log p(value | context), and that of the base.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	check_options(&x);
	tool_init(&t, &config);
	t.count[0].name = "without a reward";
	int status =
	        open_all(&x, &engine, &e) ? tool_end(&t, -1, &e) : scorer_run(&x.scorer, &t, operands, n, &calls, &x);
	model_info_release(&x.model.info);
	model_info_release(&x.base_model.info);
	scorer_close(&x.scorer);
	filter_free(x.value);
	filter_free(x.context);
	filter_free(x.base);
	return status;
}
