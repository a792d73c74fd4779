/* rl-store - make, import, export, show and check a store of weights */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cli.h"
#include "lib/loop.h"
#include "lib/model_copy.h"
#include "lib/model_files.h"
#include "lib/model_lora.h"
#include "lib/model_show.h"
#include "lib/record.h"
#include "lib/store.h"
#include "lib/util.h"

struct config {
	const char *config, *tokenizer, *dtype, *base;
	int64_t seed, threads;
	bool json, replace, force, delete, quiet;
};

static const struct opt options[] = {
        {"config", 0, OPT_STR, offsetof(struct config, config), NULL, "FILE", "init: config.json of the new model", 0,
         0},
        {"tokenizer", 0, OPT_STR, offsetof(struct config, tokenizer), NULL, "FILE", "init: its tokenizer.json", 0, 0},
        {"seed", 0, OPT_INT, offsetof(struct config, seed), "0", "N", "init, lora: of the random weights", 0, 9e15},
        {"threads", 'j', OPT_INT, offsetof(struct config, threads), "0", "N", "init: threads; 0: all processors", 0,
         256},
        {"replace", 0, OPT_FLAG, offsetof(struct config, replace), NULL, NULL,
         "import: as the next version of a slot that is there", 0, 0},
        {"dtype", 0, OPT_STR, offsetof(struct config, dtype), NULL, "F32|F16|BF16",
         "export: of the file; default that of the import", 0, 0},
        {"force", 0, OPT_FLAG, offsetof(struct config, force), NULL, NULL, "export: into a directory that has files", 0,
         0},
        {"delete", 0, OPT_FLAG, offsetof(struct config, delete), NULL, NULL, "snapshot: take the name away", 0, 0},
        {"json", 0, OPT_FLAG, offsetof(struct config, json), NULL, NULL, "show, log, verify: as JSON", 0, 0},
        {"base", 0, OPT_STR, offsetof(struct config, base), "policy", "NAME",
         "lora, import: the model that an adapter is for", 0, 0},
        {"quiet", 'q', OPT_FLAG, offsetof(struct config, quiet), NULL, NULL, "no closing line", 0, 0},
        {NULL},
};

static struct config config;
static struct lora_config lora;

static int say(const struct str *s, struct err *e)
{
	return write_all(1, s->buf, s->len) ? err_errno(e, "standard output") : 0;
}

/* ---- opening ---- */

struct reading {
	struct store *s;
	struct store_view *v;
	struct store_ref ref;
	char *path, *name;
};

static int reading_open(struct reading *r, const char *spec, struct err *e)
{
	*r = (struct reading){0};
	store_split(spec, &r->path, &r->name);
	return (r->s = store_open(r->path, STORE_READ, e)) && (r->v = store_view_open(r->s, e)) ? 0 : -1;
}

static void reading_close(struct reading *r)
{
	store_view_close(r->v);
	store_close(r->s);
	free(r->path);
	free(r->name);
}

/* ---- init, import ---- */

static int put_model(void *arg, struct store *s, const char *name, struct err *e)
{
	return model_put(s, arg, *name ? name : "policy", e);
}

static int run_init(char **arg, struct err *e)
{
	struct model_new m;
	if (!config.config)
		cli_misuse("init needs --config");
	if (model_new_open(&m, config.config, config.tokenizer, e))
		return -1;
	struct par *par = par_new((int)config.threads);
	struct model_source p = {.made = &m, .name = config.config, .seed = config.seed, .par = par};
	int failed = loop_store_with(arg[0], STORE_CREATE, put_model, &p, e);
	par_free(par);
	model_new_release(&m);
	return failed;
}

static int put_adapter(void *arg, struct store *s, const char *name, struct err *e)
{
	if (!*name)
		return err_set(e, "%s: an adapter needs a name: STORE:NAME", (const char *)arg);
	return model_lora_import(s, arg, name, config.base, config.replace, e);
}

static int run_import(char **arg, struct err *e)
{
	if (model_lora_is_dir(arg[0]))
		return loop_store_with(arg[1], STORE_WRITE, put_adapter, arg[0], e);
	struct model_dir *d = model_dir_open(arg[0], e);
	if (!d)
		return -1;
	struct model_source p = {.dir = d, .name = arg[0], .replace = config.replace};
	int failed = loop_store_with(arg[1], STORE_CREATE, put_model, &p, e);
	model_dir_close(d);
	return failed;
}

/* ---- adapters ---- */

static int make_adapter(void *arg, struct store *s, const char *name, struct err *e)
{
	(void)arg;
	if (!*name)
		return err_set(e, "an adapter needs a name: lora STORE:NAME");
	return model_lora_new(s, name, &lora, config.base, (uint64_t)config.seed, e);
}

static int run_lora(char **arg, struct err *e)
{
	return loop_store_with(arg[0], STORE_WRITE, make_adapter, NULL, e);
}

static int put_merged(void *arg, struct store *s, const char *name, struct err *e)
{
	struct reading *r = arg;
	(void)name;
	return model_lora_merge(r->v, &r->ref, s, e);
}

/* Out of an open store into a new one, which put makes. */
static int into_new(struct reading *r, const char *path,
                    int (*put)(void *arg, struct store *s, const char *name, struct err *e), struct err *e)
{
	if (!access(path, F_OK))
		return err_set(e, "%s is there already", path);
	return store_resolve(r->v, r->name, &r->ref, e) ? -1 : loop_store_with(path, STORE_CREATE, put, r, e);
}

static int run_merge(char **arg, struct err *e)
{
	struct reading r;
	int failed = reading_open(&r, arg[0], e) || into_new(&r, arg[1], put_merged, e);
	reading_close(&r);
	return failed;
}

/* ---- export, show, log, verify ---- */

static int run_export(char **arg, struct err *e)
{
	struct reading r;
	if (config.dtype && strcmp(config.dtype, "F32") && strcmp(config.dtype, "F16") && strcmp(config.dtype, "BF16"))
		cli_misuse("--dtype is '%s', expected F32, F16 or BF16", config.dtype);
	struct lora_config c = {0};
	int failed = reading_open(&r, arg[0], e) || store_resolve(r.v, r.name, &r.ref, e);
	int adapter = failed ? -1 : lora_of_slot(&c, r.v, r.ref.slot, e);
	if (adapter >= 0)
		failed = (adapter ? model_lora_export : model_export)(r.v, &r.ref, arg[1], config.dtype, config.force,
		                                                      e);
	lora_config_release(&c);
	reading_close(&r);
	return failed || adapter < 0 ? -1 : 0;
}

/* Prints what fn says of a store, which it has by its path, or of a name in it. */
static int printing(const char *spec, bool by_name,
                    int (*fn)(struct store_view *v, const char *what, bool json, struct str *out, struct err *e),
                    struct err *e)
{
	struct reading r;
	struct str s;
	str_init(&s);
	int failed = reading_open(&r, spec, e) || fn(r.v, by_name ? r.name : r.path, config.json, &s, e) || say(&s, e);
	str_release(&s);
	reading_close(&r);
	return failed ? -1 : 0;
}

static int run_show(char **arg, struct err *e)
{
	return printing(arg[0], false, model_show, e);
}

static int run_log(char **arg, struct err *e)
{
	return printing(arg[0], true, model_show_log, e);
}

static int run_verify(char **arg, struct err *e)
{
	struct reading r;
	struct str s, faults;
	str_init(&s);
	str_init(&faults);
	int failed = reading_open(&r, arg[0], e);
	if (!failed) {
		model_show_verified(r.v, config.json, &s, &faults);
		failed = say(&s, e);
	}
	for (char *line = faults.buf, *end; !failed && line && *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = 0;
		if (end[1])
			cli_warn("%s", line);
		else
			failed = err_set(e, "%s", line); /* main says it */
	}
	str_release(&s);
	str_release(&faults);
	reading_close(&r);
	return failed;
}

/* ---- snapshot, copy ---- */

static int set_name(void *arg, struct store *s, const char *name, struct err *e)
{
	return store_snapshot(s, config.delete ? NULL : name, arg, e);
}

static int run_snapshot(char **arg, struct err *e)
{
	if (lora_is_base_name(arg[1]))
		return err_set(e, "'%s': names that end in .base hold the bases of adapters", arg[1]);
	return loop_store_with(arg[0], STORE_WRITE, set_name, arg[1], e);
}

static int put_copy(void *arg, struct store *s, const char *name, struct err *e)
{
	struct reading *r = arg;
	(void)name;
	return model_copy(r->v, r->name, s, e);
}

static int run_copy(char **arg, struct err *e)
{
	struct reading r;
	int failed = reading_open(&r, arg[0], e) ||
	             (*r.name ? into_new(&r, arg[1], put_copy, e) : store_copy_file(r.s, arg[1], e));
	reading_close(&r);
	return failed;
}

static const struct {
	const char *name;
	int operands;
	int (*run)(char **arg, struct err *e);
} commands[] = {
        {"init", 1, run_init},         {"import", 2, run_import}, {"export", 2, run_export}, {"show", 1, run_show},
        {"log", 1, run_log},           {"verify", 1, run_verify}, {"lora", 1, run_lora},     {"merge", 2, run_merge},
        {"snapshot", 2, run_snapshot}, {"copy", 2, run_copy},
};

int main(int argc, char **argv)
{
	struct err e = {""};
	int n;
	const struct opt_group groups[] = {{NULL, options, &config}, {"Adapters", lora_options, &lora}};
	const struct cli cli = {.tool = "rl-store",
	                        .summary = "make, import, export, show and check a store of weights",
	                        .usage = "init --config FILE [--tokenizer FILE] [--seed N] STORE\n"
	                                 "import DIR STORE[:SLOT]\n"
	                                 "export STORE[:NAME] DIR\n"
	                                 "lora STORE:NAME\n"
	                                 "merge STORE:NAME NEWSTORE\n"
	                                 "show STORE\n"
	                                 "log STORE[:NAME]\n"
	                                 "verify STORE\n"
	                                 "snapshot STORE[:SLOT] NAME\n"
	                                 "copy STORE[:NAME] FILE",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .min_operands = 1,
	                        .max_operands = 3};
	char **operands = cli_parse(&cli, argc, argv, &n);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(operands[0], commands[i].name)) {
			if (n - 1 != commands[i].operands)
				cli_misuse("%s takes %d operands, not %d", operands[0], commands[i].operands, n - 1);
			int failed = commands[i].run(operands + 1, &e);
			if (failed)
				cli_warn("%s", e.msg);
			return failed ? 1 : 0;
		}
	cli_misuse(
	        "unknown command '%s'; known are init, import, export, lora, merge, show, log, verify, snapshot, copy",
	        operands[0]);
}
