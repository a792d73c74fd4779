/*
 * rl-reward-jq - a jq program as a reward.
 */
#include <string.h>

#include "lib/filter.h"
#include "lib/progress.h"
#include "lib/record_names.h"
#include "lib/reward_value.h"
#include "lib/tool.h"
#include "lib/util.h"

struct config {
	struct cli_list dirs;
	double otherwise;
	struct tool_config tool;
};

#define FIELD(name) offsetof(struct config, name)

static const struct opt options[] = {
        {"library", 'L', OPT_LIST, FIELD(dirs), NULL, "DIR", "where include and import look for modules", 0, 0},
        {"otherwise", 0, OPT_NUM, FIELD(otherwise), "0", "X", "reward where the program fails or gives none", 0, 0},
        {NULL},
};

struct reward_jq {
	struct config config;
	const char *name;
	struct str field, text; /* reward_NAME; the object as it is added */
	struct filter *program;
};

/* The program's value onto the record: 0; -1 when it is no reward. */
static int add_value(struct reward_jq *x, struct tool *t, struct record *r, const struct json *v, struct err *e)
{
	struct json tokens;
	struct err none;
	if (v->kind == JSON_ABSENT)
		return err_set(e, "PROGRAM: it gives nothing");
	int64_t n =
	        record_json(r, "tokens", &tokens, &none) == 1 && tokens.kind == JSON_ARRAY ? json_length(&tokens) : -1;
	/* before anything is added: v may be a part of the record */
	str_clear(&x->text);
	if (v->kind == JSON_OBJECT)
		json_text(v, &x->text);
	if (reward_value_add(r, x->field.buf, v, n, &t->arena, e))
		return err_where(e, "PROGRAM");
	return v->kind == JSON_OBJECT ? record_add_raw(r, x->name, x->text.buf, x->text.len, e) : 0;
}

/* What a model wrote never stops a run: it has its reward, and the first one is told of. */
static int add_otherwise(struct reward_jq *x, struct tool *t, struct record *r, struct err *e)
{
	char shown[2048];
	if (!t->count[0].n++) {
		err_where(e, "%s:%lld", t->source, (long long)t->line);
		progress_escape(shown, sizeof shown, e->msg, strlen(e->msg));
		progress_wipe(t->progress);
		cli_warn("%s; its reward is %g, as that of all others without one", shown, x->config.otherwise);
	}
	return record_add_num(r, x->field.buf, x->config.otherwise, e);
}

static int process(struct tool *t, struct record *r, void *arg, struct err *e)
{
	struct reward_jq *x = arg;
	struct json v;
	if (record_check_new(r, x->field.buf, e))
		return -1;
	if (filter_run(x->program, r, &v, &t->arena, e) < 0)
		return add_otherwise(x, t, r, e);
	if (v.kind == JSON_OBJECT && record_check_new(r, x->name, e))
		return -1;
	return add_value(x, t, r, &v, e) ? add_otherwise(x, t, r, e) : 0;
}

static void check_name(const char *name)
{
	if (!record_name_plain(name))
		cli_misuse("'%s' is no name of a reward: letters, digits and _", name);
	if (record_name_taken(name))
		cli_misuse("'%s' is a field that other tools read (rl-record(5)), and no name for what a program gives",
		           name);
}

int main(int argc, char **argv)
{
	struct reward_jq x = {0};
	struct err e;
	int n;
	const struct opt_group groups[] = {{NULL, options, &x.config}, {"All filters", tool_options, &x.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reward-jq",
	        .summary = "reward records by a jq program",
	        .usage = "[OPTION]... NAME PROGRAM [FILE]...",
	        .details = "PROGRAM gives a number, null, a number per token, spans [[start, end, x], ...], or\n"
	                   "{\"reward\": one of these, other terms}.  Adds reward_NAME, and such an object as NAME.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .min_operands = 2,
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	x.name = operands[0];
	check_name(x.name);
	if (!(x.program = filter_new("PROGRAM", operands[1], x.config.dirs.item, x.config.dirs.n, &e)))
		cli_misuse("%s", e.msg);
	str_init(&x.field);
	str_init(&x.text);
	str_addf(&x.field, "reward_%s", x.name);
	struct tool t;
	tool_init(&t, &x.config.tool);
	t.count[0].name = "without a reward";
	int status = tool_run(&t, operands + 2, n - 2, process, NULL, &x);
	str_release(&x.field);
	str_release(&x.text);
	filter_free(x.program);
	return status;
}
