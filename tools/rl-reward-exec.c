/*
 * rl-reward-exec - any program as a reward: it is given a line for each record and answers with one.
 *
 * Up to -j programs work at once.  Records leave in the order they came, and while input pauses none is held.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/coprocess.h"
#include "lib/reward_value.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	const char *fields;
	double otherwise;
	int64_t jobs;
	struct coprocess_config program;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)
static const struct opt options[] = {
        {"jobs", 'j', OPT_INT, FIELD(jobs), "1", "N", "programs that work at the same time", 1, 256},
        {"fields", 0, OPT_STR, FIELD(fields), NULL, "A,B,...",
         "what the program is given; default all but the arrays of tokens", 0, 0},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), NULL, "X", "reward where no answer makes sense", 0, 0},
        {NULL},
};

/* What a reward does not want by default: thousands of numbers. */
static const char *const token_arrays[] = {"tokens",   "prompt_tokens", "ends",         "mask",
                                           "logprobs", "values",        "rewards",      "advantages",
                                           "returns",  "entropies",     "ref_logprobs", "sampling_logprobs"};

enum { LONGEST_ANSWER = 16 << 20, PER_PROGRAM = 4, PATIENCE = 5 };

/* A record that waits for its answer, or for those before it. */
struct job {
	char *line;
	size_t len;
	const char *source;
	int64_t number, n_tokens; /* line of the source; -1: no tokens */
	struct coprocess *worker; /* NULL: not asked yet, or it passes */
	bool passes;
	struct str request;
};

struct reward_exec {
	struct config config;
	struct str field; /* reward_NAME */
	bool has_otherwise;
	char **command;
	struct coprocess **worker;
	struct job **queue; /* a ring */
	int64_t first, n, room;
	struct record *record, *answer;
	struct arena arena;
};

/* ---- the request ---- */

static bool wanted(const struct reward_exec *x, const char *name, size_t len, const struct json *v)
{
	for (const char *f = x->config.fields; f; f = strchr(f, ',') ? strchr(f, ',') + 1 : NULL)
		if (strcspn(f, ",") == len && !memcmp(f, name, len))
			return true;
	if (x->config.fields)
		return false;
	for (size_t i = 0; v->kind == JSON_ARRAY && i < ARRAY_LEN(token_arrays); i++)
		if (strlen(token_arrays[i]) == len && !memcmp(token_arrays[i], name, len))
			return false;
	return true;
}

static void make_request(const struct reward_exec *x, const struct record *r, struct str *out)
{
	const char *name;
	size_t len;
	struct json v;
	str_addc(out, '{');
	for (int64_t i = 0; record_field(r, i, &name, &len, &v); i++) {
		if (!wanted(x, name, len, &v))
			continue;
		if (out->len > 1)
			str_addc(out, ',');
		json_put_str(out, name, len);
		str_addc(out, ':');
		json_text(&v, out);
	}
	str_addc(out, '}');
}

static int add_answer(struct reward_exec *x, const struct job *j, const char *line, size_t len, struct err *e)
{
	struct json v;
	record_clear(x->answer); /* else it keeps the values of all answers */
	if (record_parse_value(x->answer, line, len, &v, e))
		return err_where(e, "the answer '%.*s'", len > 60 ? 60 : (int)len, line);
	return reward_value_add(x->record, x->field.buf, &v, j->n_tokens, &x->arena, e);
}

/* ---- the queue ---- */

static struct job *at(const struct reward_exec *x, int64_t i)
{
	return x->queue[(x->first + i) % x->room];
}

static struct coprocess *idle_worker(const struct reward_exec *x)
{
	for (int64_t i = 0; i < x->config.jobs; i++)
		if (coprocess_state(x->worker[i]) == COPROCESS_IDLE)
			return x->worker[i];
	return NULL;
}

static int ask_waiting(struct reward_exec *x, struct err *e)
{
	for (int64_t i = 0; i < x->n; i++) {
		struct job *j = at(x, i);
		if (j->worker || j->passes)
			continue;
		if (!(j->worker = idle_worker(x)))
			return 0;
		if (coprocess_ask(j->worker, j->request.buf, j->request.len, e))
			return -1;
	}
	return 0;
}

/* The first of the queue has its answer, or will never have it: it leaves. */
static int leave(struct reward_exec *x, struct tool *t, struct err *e)
{
	struct job *j = at(x, 0);
	const char *source = t->source;
	size_t len;
	int rc = 0;
	arena_reset(&x->arena);
	record_resume(x->record, j->line, j->len);
	t->source = j->source;
	if (j->worker) {
		enum coprocess_state state = coprocess_state(j->worker);
		const char *answer = coprocess_answer(j->worker, &len);
		if (state != COPROCESS_ANSWERED)
			rc = err_set(e, "%s", coprocess_why(j->worker));
		else if ((rc = add_answer(x, j, answer, len, e)))
			coprocess_reject(j->worker);
		coprocess_done(j->worker);
		if (rc && x->has_otherwise && state != COPROCESS_DIED) {
			t->count[0].n++;
			rc = record_add_num(x->record, x->field.buf, x->config.otherwise, e);
		}
	}
	if (rc) {
		err_where(e, "'%s'", x->command[0]);
		rc = tool_reject(t, x->record, j->number, e);
	} else {
		rc = tool_write(t, x->record, e);
	}
	t->source = source;
	str_release(&j->request);
	free(j->line);
	free(j);
	x->first = (x->first + 1) % x->room;
	x->n--;
	return rc;
}

/* Lets records go until at most `most` are left. */
static int work(struct reward_exec *x, struct tool *t, int64_t most, struct err *e)
{
	while (x->n) {
		if (ask_waiting(x, e))
			return err_where(e, "'%s'", x->field.buf);
		coprocess_run(x->worker, (int)x->config.jobs, false, -1);
		struct job *j = at(x, 0);
		if (j->passes || (j->worker && coprocess_state(j->worker) != COPROCESS_WORKING)) {
			if (leave(x, t, e))
				return -1;
			continue;
		}
		if (x->n <= most)
			return 0;
		if (sink_flush(t->out, e))
			return -1;
		if (!coprocess_run(x->worker, (int)x->config.jobs, true, STDOUT_FILENO))
			return err_set(e, "standard output: the reader has gone");
	}
	return 0;
}

static int drain(struct tool *t, void *arg, struct err *e)
{
	return work(arg, t, 0, e);
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_exec *x = arg;
	struct json tokens;
	size_t len;
	bool passes = tool_passes(t, r);
	if (!passes && record_check_new(r, x->field.buf, e))
		return drain(t, arg, e) ? -2 : record_check_new(r, x->field.buf, e);
	struct job *j = xcalloc(1, sizeof *j);
	const char *line = record_line(r, &len);
	*j = (struct job){
	        .line = xstrndup(line, len), .len = len, .source = t->source, .number = t->line, .passes = passes};
	j->n_tokens =
	        record_json(r, "tokens", &tokens, e) == 1 && tokens.kind == JSON_ARRAY ? json_length(&tokens) : -1;
	str_init(&j->request);
	if (!passes)
		make_request(x, r, &j->request);
	x->queue[(x->first + x->n++) % x->room] = j;
	/* while input pauses nothing is held: a sampler may wait for these very records */
	return work(x, t, stream_poll(t->in) ? x->room - 1 : 0, e) ? -2 : 1;
}

/* ---- the tool ---- */

/* reward_NAME, checked; the command behind it; the workers. */
static void set_up(struct reward_exec *x, char **operands, int n)
{
	const char *name = operands[0];
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(name))
		cli_misuse("'%s' is no name of a reward: letters, digits and _", name);
	str_init(&x->field);
	str_addf(&x->field, "reward_%s", name);
	x->command = operands + 1;
	if (n > 2 && !strcmp(x->command[0], "--"))
		x->command++;
	x->has_otherwise = cli_given("otherwise");
	x->config.program.argv = x->command;
	x->config.program.longest = LONGEST_ANSWER;
	x->worker = xcalloc((size_t)x->config.jobs, sizeof *x->worker);
	for (int64_t i = 0; i < x->config.jobs; i++)
		x->worker[i] = coprocess_new(&x->config.program);
	x->room = PER_PROGRAM * x->config.jobs;
	x->queue = xcalloc((size_t)x->room, sizeof *x->queue);
	x->record = record_new();
	x->answer = record_new();
	arena_init(&x->arena);
}

/* False when a program wrote more lines than it was asked for. */
static bool tear_down(struct reward_exec *x)
{
	bool all_asked = true;
	for (int64_t i = 0; i < x->config.jobs; i++)
		all_asked &= coprocess_free(x->worker[i], PATIENCE);
	for (; x->n; x->n--, x->first = (x->first + 1) % x->room) {
		str_release(&at(x, 0)->request);
		free(at(x, 0)->line);
		free(at(x, 0));
	}
	free(x->worker);
	free(x->queue);
	record_free(x->record);
	record_free(x->answer);
	arena_release(&x->arena);
	str_release(&x->field);
	return all_asked;
}

int main(int argc, char **argv)
{
	struct reward_exec x = {0};
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config},
	                                   {"The program", coprocess_options, &x.config.program},
	                                   {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reward-exec",
	        .summary = "reward records by any program",
	        .usage = "[OPTION]... NAME COMMAND [ARGUMENT]...",
	        .details = "COMMAND reads a JSON object per line and answers each with a line: a number, null,\n"
	                   "a number per token, spans [[start, end, x], ...], or {\"reward\": one of these}.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .min_operands = 2,
	        .max_operands = -1,
	        .stop_at_operand = true};
	char **operands = cli_parse(&cli, argc, argv, &n);
	struct tool t;
	set_up(&x, operands, n);
	tool_init(&t, &x.config.tool);
	t.takes_all = true;
	t.drain = drain;
	t.drain_arg = &x;
	t.count[0].name = "without an answer";
	int status = tool_run(&t, NULL, 0, process, drain, &x);
	if (!tear_down(&x) && status != 1) {
		cli_warn("'%s' wrote a line that no record asked for: its rewards may belong to other records",
		         operands[1]);
		status = 1;
	}
	return status;
}
