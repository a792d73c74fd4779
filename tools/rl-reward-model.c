/*
 * rl-reward-model - the score that a decoder with a scalar head gives a completion, as its reward.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/filter.h"
#include "lib/progress.h"
#include "lib/prompt.h"
#include "lib/scorer.h"
#include "lib/tool.h"
#include "lib/trainer.h"
#include "lib/util.h"

struct config {
	const char *store, *text, *as;
	bool append_eos;
	double otherwise;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]", "the reward model: a slot or a snapshot; reward", 0,
         0},
        {"text", 0, OPT_STR, AT(text), NULL, "FILTER", "what is scored; default prompt and completion", 0, 0},
        {"append-eos", 0, OPT_FLAG, AT(append_eos), "1", NULL, "what was given as text ends with EOS", 0, 0},
        {"otherwise", 0, OPT_NUM, AT(otherwise), "0", "X", "reward of what is too long for the model", 0, 0},
        {"as", 0, OPT_STR, AT(as), "reward_model", "NAME", "name of the reward that is added", 0, 0},
        {NULL},
};

struct reward {
	struct config c;
	struct scorer scorer;
	struct scorer_model model;
	struct filter *text;
};

struct item {
	int32_t *token; /* NULL: there is no score */
	int64_t n;
	float score;
};

/* ---- a record ---- */

/* a and b, and EOS where it is wanted and not there. */
static void join(struct reward *x, struct item *it, const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b,
                 bool eos)
{
	const struct model_info *m = &x->model.info;
	it->n = n_a + n_b;
	it->token = arena_array(&x->scorer.arena, (size_t)it->n + 1, sizeof *it->token);
	if (n_a)
		memcpy(it->token, a, (size_t)n_a * sizeof *a);
	if (n_b)
		memcpy(it->token + n_a, b, (size_t)n_b * sizeof *b);
	if (eos && x->c.append_eos && m->n_eos > 0 && !(it->n && model_is_eos(m, it->token[it->n - 1])))
		it->token[it->n++] = m->eos[0];
}

static int read_ids(struct reward *x, struct record *r, struct item *it, struct err *e)
{
	const struct model_info *m = &x->model.info;
	struct arena *a = &x->scorer.arena;
	int32_t *prompt, *completion;
	int64_t n_prompt, n_completion;
	struct json v;
	if (!x->text) {
		if (prompt_read(m, r, &prompt, &n_prompt, a, e) ||
		    completion_read(m, r, &completion, &n_completion, a, e))
			return -1;
		join(x, it, prompt, n_prompt, completion, n_completion, !record_has(r, "tokens"));
		return 0;
	}
	if (filter_run(x->text, r, &v, a, e) < 0 || prompt_from(m, &v, "--text", true, &prompt, &n_prompt, a, e))
		return -1;
	join(x, it, prompt, n_prompt, NULL, 0, true);
	return 0;
}

/* What a model wrote never stops a run: it has its reward, and the first one is told of. */
static void mark_unscored(struct tool *t, const struct reward *x, struct item *it)
{
	int64_t n = it->n;
	it->token = NULL;
	it->n = 0;
	if (t->count[0].n++)
		return;
	progress_wipe(t->progress);
	cli_warn("%s:%lld: %lld tokens do not fit the context of %lld; its reward is %g, as that of all others that "
	         "are too long",
	         t->source, (long long)t->line, (long long)n, (long long)x->model.info.arch.P, x->c.otherwise);
}

static int read_item(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e)
{
	struct reward *x = arg;
	struct item *it = arena_array(&x->scorer.arena, 1, sizeof *it);
	*it = (struct item){0};
	if (record_check_new(r, x->c.as, e) || read_ids(x, r, it, e))
		return -1;
	if (it->n < 1)
		return err_set(e, "there is no token to score");
	if (it->n > x->model.info.arch.P)
		mark_unscored(t, x, it);
	*item = it;
	*tokens = it->n;
	return 0;
}

struct pass {
	struct trainer_row *row;
	int64_t n;
};

static int run_pass(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct pass *p = arg;
	return trainer_score(d, w, p->row, p->n, SCORER_TOKENS, e);
}

static int compute(void *arg, void **item, int64_t n, struct err *e)
{
	struct reward *x = arg;
	struct pass p = {arena_array(&x->scorer.arena, (size_t)n, sizeof *p.row), 0};
	for (int64_t i = 0; i < n; i++) {
		struct item *it = item[i];
		/* all of it is context: the one value is that of the last token */
		if (it->token)
			p.row[p.n++] = (struct trainer_row){
			        .token = it->token, .n_prompt = it->n, .temperature = 1, .values = &it->score};
	}
	return p.n ? scorer_with(&x->scorer, &x->model, run_pass, &p, e) : 0;
}

static int add(void *arg, struct tool *t, struct record *r, void *item, struct err *e)
{
	struct reward *x = arg;
	struct item *it = item;
	t->n_tokens += it->n;
	return record_add_num(r, x->c.as, it->token ? (double)it->score : x->c.otherwise, e);
}

static const struct scorer_calls calls = {read_item, compute, add};

/* ---- the tool ---- */

static void check_options(struct reward *x)
{
	struct err e;
	if (!x->c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	if (x->c.text && !(x->text = filter_new("text", x->c.text, NULL, 0, &e)))
		cli_misuse("%s", e.msg);
}

static int open_all(struct reward *x, const struct engine_config *engine, struct err *e)
{
	char *path, *name;
	store_split(x->c.store, &path, &name);
	int failed = scorer_open(&x->scorer, path, engine, e) ||
	             scorer_find(&x->scorer, *name ? name : "reward", "policy", "", &x->model, e);
	free(path);
	free(name);
	if (!failed && tensors_part(&x->model.info.table, -1, PART_SCORE) < 0)
		return err_set(e, "%s has no head for scores, 'score.weight': rl-rm-step makes one", x->model.name);
	return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct reward x = {0};
	struct tool_config config = {0};
	struct engine_config engine = {0};
	struct tool t;
	struct err e;
	int n;
	const struct opt_group groups[] = {
	        {NULL, options, &x.c}, {"Engine", engine_options, &engine}, {"All filters", tool_options, &config}};
	const struct cli cli = {.tool = "rl-reward-model",
	                        .summary = "the score of a reward model",
	                        .usage = "-s STORE[:NAME] [OPTION]... [FILE]...",
	                        .details = "Adds reward_model, the score of the last token of prompt and completion.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	check_options(&x);
	tool_init(&t, &config);
	t.count[0].name = "without a score";
	int status =
	        open_all(&x, &engine, &e) ? tool_end(&t, -1, &e) : scorer_run(&x.scorer, &t, operands, n, &calls, &x);
	model_info_release(&x.model.info);
	scorer_close(&x.scorer);
	filter_free(x.text);
	return status;
}
