/*
 * rl-logprob - the log-probability of each token of a completion under a model.
 *
 * Records are taken together for speed: as many as are there without waiting, up to a budget of tokens.  What is
 * computed for one does not depend on the others, and the order stays.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/loop.h"
#include "lib/prompt.h"
#include "lib/tool.h"
#include "lib/trainer.h"
#include "lib/util.h"

enum { BATCH_TOKENS = 4096 };

struct config {
	const char *store, *as, *run;
	bool entropy, values;
	double temperature;
};

#define AT(field) offsetof(struct config, field)
static const struct opt options[] = {
        {"store", 's', OPT_STR, AT(store), NULL, "STORE[:NAME]",
         "the model: a slot or a snapshot; ref is the reference of the run", 0, 0},
        {"as", 0, OPT_STR, AT(as), "ref_logprobs", "NAME", "name of the added field", 0, 0},
        {"temperature", 0, OPT_NUM, AT(temperature), "0", "T", "0: the record's own, else 1", 0, 1000},
        {"entropy", 0, OPT_FLAG, AT(entropy), NULL, NULL, "add entropy, of the model at each token", 0, 0},
        {"values", 0, OPT_FLAG, AT(values), NULL, NULL, "add values and bootstrap_value, of the model's critic", 0, 0},
        {"run", 0, OPT_STR, AT(run), "", "NAME", "name of the run whose reference is meant", 0, 0},
        {NULL},
};

/* A record that waits; row.token is NULL for one that passes as it is. */
struct waiting {
	char *line;
	size_t len;
	struct trainer_row row;
};

struct state {
	struct config c;
	struct engine_config engine_config;
	struct engine engine;
	struct store *store;
	struct store_ref ref;
	struct model_info model;
	bool logprobs;      /* the model has a head for tokens */
	struct arena arena; /* of those that wait */
	struct waiting *record;
	int64_t n, cap, tokens;
};

/* ---- reading ---- */

/* Ids where they are, else the text's. */
static int read_ids(struct state *s, const struct record *r, const char *ids_name, const char *text_name,
                    int (*encode)(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n,
                                  struct arena *a, struct err *e),
                    int32_t **ids, int64_t *n, struct err *e)
{
	const char *text;
	size_t len;
	int got = record_ints(r, ids_name, ids, n, -1, NULL, &s->arena, e);
	if (got)
		return got < 0 ? -1 : prompt_check_ids(&s->model, ids_name, *ids, *n, e);
	got = record_str(r, text_name, &text, &len, e);
	if (got <= 0)
		return got ? -1 : err_set(e, "neither '%s' nor '%s' is there", ids_name, text_name);
	return encode(&s->model, text, len, ids, n, &s->arena, e);
}

static int read_temperature(const struct state *s, const struct record *r, double *temperature, struct err *e)
{
	*temperature = s->c.temperature;
	if (*temperature == 0 && record_num(r, "temperature", temperature, e) < 0)
		return -1;
	if (*temperature == 0)
		*temperature = 1;
	float by = (float)(1 / *temperature);
	if (!(by > 0) || !isfinite(by))
		return err_set(e, "'temperature' is %g, which is out of range", *temperature);
	return 0;
}

static int check_names(const struct state *s, const struct record *r, struct err *e)
{
	if ((s->logprobs && record_check_new(r, s->c.as, e)) || (s->c.entropy && record_check_new(r, "entropy", e)) ||
	    (s->c.values && (record_check_new(r, "values", e) || record_check_new(r, "bootstrap_value", e))))
		return -1;
	return 0;
}

static int read_row(struct state *s, const struct record *r, struct trainer_row *row, struct err *e)
{
	int32_t *prompt, *completion, *all;
	int64_t n_prompt, n;
	if (check_names(s, r, e) || read_temperature(s, r, &row->temperature, e) ||
	    read_ids(s, r, "prompt_tokens", "prompt", prompt_encode, &prompt, &n_prompt, e) ||
	    read_ids(s, r, "tokens", "completion", completion_encode, &completion, &n, e))
		return -1;
	if (n_prompt < 1)
		return err_set(e, "the prompt has no token, so the first token has nothing before it");
	if (n > s->model.arch.P - n_prompt)
		return err_set(e, "%lld prompt tokens and %lld of the completion do not fit the context of %lld",
		               (long long)n_prompt, (long long)n, (long long)s->model.arch.P);
	all = arena_array(&s->arena, (size_t)(n_prompt + n), sizeof *all);
	memcpy(all, prompt, (size_t)n_prompt * sizeof *all);
	memcpy(all + n_prompt, completion, (size_t)n * sizeof *all);
	row->token = all;
	row->n_prompt = n_prompt;
	row->n = n;
	row->logprobs = s->logprobs ? arena_array(&s->arena, (size_t)n + 1, sizeof *row->logprobs) : NULL;
	row->entropy = s->c.entropy ? arena_array(&s->arena, (size_t)n + 1, sizeof *row->entropy) : NULL;
	row->values = s->c.values ? arena_array(&s->arena, (size_t)n + 1, sizeof *row->values) : NULL;
	return 0;
}

static void add_waiting(struct state *s, struct record *r, const struct trainer_row *row)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->record = xrealloc_array(s->record, (size_t)s->cap, sizeof *s->record);
	}
	size_t len;
	const char *line = record_line(r, &len);
	s->record[s->n++] = (struct waiting){arena_strndup(&s->arena, line, len), len, *row};
	s->tokens += row->token ? row->n_prompt + row->n : 0;
}

/* ---- those that waited ---- */

static int score(struct state *s, struct err *e)
{
	struct trainer_row *row = arena_array(&s->arena, (size_t)s->n, sizeof *row);
	int64_t n = 0;
	for (int64_t i = 0; i < s->n; i++)
		if (s->record[i].row.token)
			row[n++] = s->record[i].row;
	if (n == 0)
		return 0;
	/* No view is held while input is waited for: it would keep the writer from using its free pages again. */
	struct store_view *v = store_view_open(s->store, e);
	struct weights w;
	struct decoder d;
	int failed = !v || weights_map(&w, s->engine.k, &s->model.table, v, &s->ref, e);
	if (!failed) {
		failed = decoder_init(&d, &s->model.arch, &s->model.table, s->engine.k, e);
		if (!failed)
			failed = trainer_score(&d, &w, row, n, BATCH_TOKENS, e);
		decoder_release(&d);
		weights_release(&w);
	}
	store_view_close(v);
	return failed ? -1 : 0;
}

static int add_fields(const struct state *s, struct record *r, const struct trainer_row *row, struct err *e)
{
	if (!row->token)
		return 0;
	if ((row->logprobs && record_add_floats(r, s->c.as, row->logprobs, row->n, e)) ||
	    (row->entropy && record_add_floats(r, "entropy", row->entropy, row->n, e)) ||
	    (row->values && (record_add_floats(r, "values", row->values, row->n, e) ||
	                     record_add_num(r, "bootstrap_value", row->values[row->n], e))))
		return err_where(e, "%s@%lld", s->ref.slot, (long long)s->ref.version);
	return 0;
}

static int drain(struct tool *t, void *arg, struct err *e)
{
	struct state *s = arg;
	int failed = score(s, e);
	for (int64_t i = 0; i < s->n && !failed; i++) {
		record_resume(t->record, s->record[i].line, s->record[i].len);
		failed = add_fields(s, t->record, &s->record[i].row, e) || tool_write(t, t->record, e);
		t->n_tokens += s->record[i].row.n;
	}
	s->n = s->tokens = 0;
	arena_reset(&s->arena);
	return failed ? -1 : 0;
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct state *s = arg;
	struct trainer_row row = {0};
	if (!tool_passes(t, r) && read_row(s, r, &row, e)) {
		row.token = NULL;
		if (tool_mark(t, r, 0, e))
			return -2;
	}
	add_waiting(s, r, &row);
	if ((s->tokens >= BATCH_TOKENS || !stream_poll(t->in)) && drain(t, s, e))
		return -2;
	return 1;
}

/* ---- the model ---- */

/* ref_logprobs of the policy itself would be a trap: without a name that field is of the run's reference. */
static const char *default_model(const struct state *s)
{
	return cli_given("as") || s->c.values || s->c.entropy ? "policy" : "ref";
}

static int load_model(struct state *s, struct store_view *v, const char *name, struct err *e)
{
	char at[96];
	if (!*name)
		name = default_model(s);
	if (!strcmp(name, "ref") ? loop_reference(v, s->c.run, &s->ref, e) : store_resolve(v, name, &s->ref, e))
		return -1;
	snprintf(at, sizeof at, "%s@%lld", s->ref.slot, (long long)s->ref.version);
	if (model_info_load(&s->model, v, at, true, e))
		return -1;
	s->logprobs = !s->model.arch.value_model;
	if (!s->logprobs && (s->c.entropy || !s->c.values))
		return err_set(e, "%s has a critic's head and none for tokens: only --values can be had", at);
	if (s->c.values && tensors_part(&s->model.table, -1, PART_SCORE) < 0)
		return err_set(e, "%s has no critic: tensor 'score.weight' is missing", at);
	return 0;
}

static int open_all(struct state *s, struct err *e)
{
	char *path, *name;
	store_split(s->c.store, &path, &name);
	s->store = store_open(path, STORE_READ, e);
	struct store_view *v = s->store ? store_view_open(s->store, e) : NULL;
	int failed = !v || load_model(s, v, name, e) || engine_open(&s->engine, &s->engine_config, e);
	store_view_close(v);
	free(path);
	free(name);
	return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct state s = {0};
	struct tool t;
	struct tool_config config = {0};
	struct err e;
	int n, status = 1;
	const struct opt_group groups[] = {{NULL, options, &s.c},
	                                   {"Engine", engine_options, &s.engine_config},
	                                   {"All filters", tool_options, &config}};
	const struct cli cli = {
	        .tool = "rl-logprob",
	        .summary = "log-probabilities, entropies and values of completions under a model",
	        .usage = "-s STORE [OPTION]... [FILE]...",
	        .details = "Reads prompt_tokens and tokens, or prompt and completion where those are absent.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	if (!s.c.store)
		cli_misuse("no store: give -s STORE or set RL_STORE");
	tool_init(&t, &config);
	t.takes_all = true;
	t.drain = drain;
	t.drain_arg = &s;
	arena_init(&s.arena);
	if (open_all(&s, &e))
		status = tool_end(&t, -1, &e);
	else
		status = tool_run(&t, operands, n, process, drain, &s);
	model_info_release(&s.model);
	engine_close(&s.engine);
	store_close(s.store);
	arena_release(&s.arena);
	free(s.record);
	return status;
}
