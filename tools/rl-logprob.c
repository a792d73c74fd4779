/*
 * rl-logprob - the log-probability of each token of a completion under a model, or of given answers to a prompt.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/advantage.h"
#include "lib/choices_record.h"
#include "lib/filter.h"
#include "lib/prompt.h"
#include "lib/scorer.h"
#include "lib/tool.h"
#include "lib/trainer.h"
#include "lib/util.h"

struct config {
	const char *store, *as, *run, *prompt, *choices;
	bool entropy, values;
	int normalize, compat;
	double temperature;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]",
         "the model: a slot or a snapshot; ref is the reference of the run", 0, 0},
        {"choices", 0, OPT_STR, AT(choices), NULL, "LIST",
         "answers to compare, a,b,c or a filter that begins with . [ or (", 0, 0},
        {"normalize", 0, OPT_CHOICE, AT(normalize), "none", CHOICES_LENGTHS,
         "length of a choice that its log-probability is divided by", 0, 0},
        {"prompt", 0, OPT_STR, AT(prompt), NULL, "FILTER",
         "what the model is given; default .prompt_tokens, else .prompt", 0, 0},
        {"as", 0, OPT_STR, AT(as), "ref_logprobs", "NAME", "name of the added field; default with --choices: choices",
         0, 0},
        {"temperature", 0, OPT_NUM, AT(temperature), "0", "T", "0: the record's own, else 1", 0, 1000},
        {"compat", 0, OPT_CHOICE, AT(compat), "none", "none|trl-old|trl|verl|openrlhf",
         "follow another framework: trl adds 1e-7 to the temperature", 0, 0},
        {"entropy", 0, OPT_FLAG, AT(entropy), NULL, NULL, "add entropy, of the model at each token", 0, 0},
        {"values", 0, OPT_FLAG, AT(values), NULL, NULL, "add values and bootstrap_value, of the model's critic", 0, 0},
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run whose reference is meant", 0, 0},
        {NULL},
};

struct state {
	struct config c;
	struct scorer scorer;
	struct scorer_model model;
	bool logprobs; /* the model has a head for tokens */
	struct filter *prompt;
	struct choices_list choices;
};

/* ---- a record ---- */

static int read_temperature(const struct state *s, const struct record *r, double *temperature, struct err *e)
{
	*temperature = s->c.temperature;
	if (*temperature == 0 && record_num(r, "temperature", temperature, e) < 0)
		return -1;
	if (*temperature == 0)
		*temperature = 1;
	*temperature = advantage_temperature(s->c.compat, *temperature);
	float by = (float)(1 / *temperature);
	if (!(by > 0) || !isfinite(by))
		return err_set(e, "'temperature' is %g, which is out of range", *temperature);
	return 0;
}

static int check_names(const struct state *s, const struct record *r, struct err *e)
{
	return (s->logprobs && record_check_new(r, s->c.as, e)) ||
	       (s->c.entropy && record_check_new(r, "entropy", e)) ||
	       (s->c.values && (record_check_new(r, "values", e) || record_check_new(r, "bootstrap_value", e)));
}

static int read_prompt(struct state *s, struct record *r, int32_t **prompt, int64_t *n, struct err *e)
{
	struct json v;
	if (!s->prompt ? prompt_read(&s->model.info, r, prompt, n, &s->scorer.arena, e)
	               : filter_run(s->prompt, r, &v, &s->scorer.arena, e) < 0 ||
	                         prompt_from(&s->model.info, &v, "--prompt", true, prompt, n, &s->scorer.arena, e))
		return -1;
	return *n < 1 ? err_set(e, "the prompt has no token, so the first token has nothing before it") : 0;
}

static float *room(struct state *s, bool wanted, int64_t n)
{
	return wanted ? arena_array(&s->scorer.arena, (size_t)n, sizeof(float)) : NULL;
}

static int read_row(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e)
{
	struct state *s = arg;
	struct arena *a = &s->scorer.arena;
	const struct model_info *m = &s->model.info;
	struct trainer_row *row = arena_array(a, 1, sizeof *row);
	int32_t *prompt, *completion, *all;
	int64_t n_prompt, n;
	(void)t;
	if (check_names(s, r, e) || read_temperature(s, r, &row->temperature, e) ||
	    read_prompt(s, r, &prompt, &n_prompt, e) || completion_read(m, r, &completion, &n, a, e))
		return -1;
	if (n > m->arch.P - n_prompt)
		return err_set(e, "%lld prompt tokens and %lld of the completion do not fit the context of %lld",
		               (long long)n_prompt, (long long)n, (long long)m->arch.P);
	all = arena_array(a, (size_t)(n_prompt + n), sizeof *all);
	memcpy(all, prompt, (size_t)n_prompt * sizeof *all);
	if (n)
		memcpy(all + n_prompt, completion, (size_t)n * sizeof *all);
	row->token = all;
	row->n_prompt = n_prompt;
	row->n = n;
	row->logprobs = room(s, s->logprobs, n + 1);
	row->entropy = room(s, s->c.entropy, n + 1);
	row->values = room(s, s->c.values, n + 1);
	*item = row;
	*tokens = n_prompt + n;
	return 0;
}

struct rows {
	struct trainer_row *row;
	int64_t n;
};

static int score_rows(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct rows *x = arg;
	return trainer_score(d, w, x->row, x->n, SCORER_TOKENS, e);
}

static int score(void *arg, void **item, int64_t n, struct err *e)
{
	struct state *s = arg;
	struct rows x = {arena_array(&s->scorer.arena, (size_t)n, sizeof *x.row), n};
	for (int64_t i = 0; i < n; i++)
		x.row[i] = *(struct trainer_row *)item[i];
	return scorer_with(&s->scorer, &s->model, score_rows, &x, e);
}

static int add_fields(void *arg, struct tool *t, struct record *r, void *item, struct err *e)
{
	const struct state *s = arg;
	const struct trainer_row *row = item;
	t->n_tokens += row->n;
	if ((row->logprobs && record_add_floats(r, s->c.as, row->logprobs, row->n, e)) ||
	    (row->entropy && record_add_floats(r, "entropy", row->entropy, row->n, e)) ||
	    (row->values && (record_add_floats(r, "values", row->values, row->n, e) ||
	                     record_add_num(r, "bootstrap_value", row->values[row->n], e))))
		return err_where(e, "%s", s->model.name);
	return 0;
}

static const struct scorer_calls calls = {read_row, score, add_fields};

/* ---- a record with --choices ---- */

struct question {
	struct choices_row row;
	const struct choices_text *text;
};

static int read_question(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e)
{
	struct state *s = arg;
	struct arena *a = &s->scorer.arena;
	struct question *q = arena_array(a, 1, sizeof *q);
	struct choices_text *text;
	struct choice *choice;
	int32_t *prompt;
	(void)t;
	if (choices_check_new(r, s->c.as, a, e) || read_temperature(s, r, &q->row.temperature, e) ||
	    read_prompt(s, r, &prompt, &q->row.n_prompt, e) ||
	    choices_read(&s->choices, r, &s->model.info, q->row.n_prompt, &choice, &text, &q->row.n, a, e))
		return -1;
	q->row.prompt = prompt;
	q->row.choice = choice;
	q->text = text;
	*item = q;
	*tokens = choices_tokens(&q->row);
	return 0;
}

struct questions {
	struct choices_row *row;
	int64_t n;
};

static int score_questions(void *arg, struct decoder *d, const struct weights *w, struct err *e)
{
	struct questions *x = arg;
	return choices_score(d, w, x->row, x->n, SCORER_TOKENS, e);
}

static int answer(void *arg, void **item, int64_t n, struct err *e)
{
	struct state *s = arg;
	struct questions x = {arena_array(&s->scorer.arena, (size_t)n, sizeof *x.row), n};
	for (int64_t i = 0; i < n; i++)
		x.row[i] = ((struct question *)item[i])->row;
	return scorer_with(&s->scorer, &s->model, score_questions, &x, e);
}

static int add_answers(void *arg, struct tool *t, struct record *r, void *item, struct err *e)
{
	struct state *s = arg;
	const struct question *q = item;
	t->n_tokens += choices_tokens(&q->row);
	if (choices_add(r, s->c.as, (enum choices_length)s->c.normalize, q->row.choice, q->text, q->row.n,
	                &s->scorer.arena, e))
		return err_where(e, "%s", s->model.name);
	return 0;
}

static const struct scorer_calls choice_calls = {read_question, answer, add_answers};

/* ---- the model ---- */

/* Without a name, or with an adapter's, the field is of the run's reference, not of what is trained.  NULL with *e. */
static const char *choose_model(struct state *s, const char *name, struct err *e)
{
	bool own = cli_given("as") || s->c.values || s->c.entropy || s->c.choices;
	int adapter = *name && !own ? scorer_is_adapter(&s->scorer, name, e) : 0;
	if (adapter < 0)
		return NULL;
	return *name && !adapter ? name : own ? "policy" : "ref";
}

static int open_all(struct state *s, const struct engine_config *engine, struct err *e)
{
	char *path, *name;
	store_split(s->c.store, &path, &name);
	const char *model = scorer_open(&s->scorer, path, engine, e) ? NULL : choose_model(s, name, e);
	int failed = !model || scorer_find(&s->scorer, model, name, s->c.run, &s->model, e);
	free(path);
	free(name);
	if (failed)
		return -1;
	s->logprobs = !s->model.info.arch.value_model;
	if (!s->logprobs && (s->c.entropy || !s->c.values))
		return err_set(e, "%s has a critic's head and none for tokens: only --values can be had",
		               s->model.name);
	if (s->c.values && tensors_part(&s->model.info.table, -1, PART_SCORE) < 0)
		return err_set(e, "%s has no critic: tensor 'score.weight' is missing", s->model.name);
	if (engine->plan && s->c.choices)
		return err_set(e, "--plan does not know what --choices will be");
	return s->c.choices ? 0 : scorer_plan(&s->scorer, &s->model, engine->plan, s->logprobs, s->c.values, e);
}

static void check_options(struct state *s)
{
	struct err e;
	if (!s->c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	if (s->c.choices && (s->c.entropy || s->c.values))
		cli_misuse("--choices goes with neither --entropy nor --values");
	if (s->c.normalize != CHOICES_NONE && !s->c.choices)
		cli_misuse("--normalize is of --choices");
	if (s->c.choices && !cli_given("as"))
		s->c.as = "choices";
	if ((s->c.choices && choices_list_init(&s->choices, "choices", s->c.choices, &e)) ||
	    (s->c.prompt && !(s->prompt = filter_new("prompt", s->c.prompt, NULL, 0, &e))))
		cli_misuse("%s", e.msg);
}

int main(int argc, char **argv)
{
	struct state s = {0};
	struct tool t;
	struct tool_config config = {0};
	struct engine_config engine = {0};
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Engine", engine_options, &engine},
	                                   {"Memory", engine_memory_options, &engine},
	                                   {"All filters", tool_options, &config}};
	const struct cli cli = {
	        .tool = "rl-logprob",
	        .summary = "log-probabilities, entropies and values of completions, or of choices, under a model",
	        .usage = "-s STORE [OPTION]... [FILE]...",
	        .details = "Reads prompt_tokens and tokens, or prompt and completion where those are absent.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	check_options(&s);
	tool_init(&t, &config);
	int planned = open_all(&s, &engine, &e);
	t.config.quiet |= planned > 0;
	int status = planned ? tool_end(&t, planned < 0, &e)
	                     : scorer_run(&s.scorer, &t, operands, n, s.c.choices ? &choice_calls : &calls, &s);
	model_info_release(&s.model.info);
	scorer_close(&s.scorer);
	choices_list_release(&s.choices);
	filter_free(s.prompt);
	return status;
}
