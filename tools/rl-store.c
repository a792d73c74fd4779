/* rl-store - make, import, export, show and check a store of weights */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cli.h"
#include "lib/loop.h"
#include "lib/model_files.h"
#include "lib/model_show.h"
#include "lib/record.h"
#include "lib/store.h"
#include "lib/util.h"

struct config {
	const char *config, *tokenizer, *dtype;
	int64_t seed, threads;
	bool json, replace, force, delete, quiet;
};

static const struct opt options[] = {
        {"config", 0, OPT_STR, offsetof(struct config, config), NULL, "FILE", "init: config.json of the new model", 0,
         0},
        {"tokenizer", 0, OPT_STR, offsetof(struct config, tokenizer), NULL, "FILE", "init: its tokenizer.json", 0, 0},
        {"seed", 0, OPT_INT, offsetof(struct config, seed), "0", "N", "init: of the random weights", 0, 9e15},
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
        {"quiet", 'q', OPT_FLAG, offsetof(struct config, quiet), NULL, NULL, "no closing line", 0, 0},
        {NULL},
};

static struct config config;
static int say(struct str *s, struct err *e)
{
	int failed = write_all(1, s->buf, s->len) ? err_errno(e, "standard output") : 0;
	str_release(s);
	return failed;
}

/* ---- opening ---- */

/* A store to write to: the trainer's lock is taken first, for the rest of the process. */
static struct store *open_locked(const char *path, enum store_mode mode, struct loop_locks *l, struct err *e)
{
	int got = loop_open(l, path, e) ? -1 : loop_try(l, LOOP_TRAINER, e);
	if (got == 0)
		err_set(e, "a trainer has '%s' (one process at a time changes its weights)", path);
	struct store *s = got > 0 ? store_open(path, mode, e) : NULL;
	if (!s)
		loop_close(l);
	return s;
}

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

/* A store that was not there is taken away again when nothing came into it. */
static int put_into(const char *path, const char *slot, struct model_source *p, struct err *e)
{
	static const char *const suffix[] = {"", "-lock", "-loop"};
	bool absent = access(path, F_OK) != 0;
	struct loop_locks l = {.fd = -1};
	struct store *s = open_locked(path, STORE_CREATE, &l, e);
	int failed = s ? model_put(s, p, slot, e) : -1;
	store_close(s);
	for (size_t i = 0; failed && absent && l.fd >= 0 && i < ARRAY_LEN(suffix); i++) {
		struct str name;
		str_init(&name);
		str_addf(&name, "%s%s", path, suffix[i]);
		unlink(name.buf);
		str_release(&name);
	}
	loop_close(&l);
	return failed;
}

static int run_init(char **arg, struct err *e)
{
	struct model_new m;
	if (!config.config)
		cli_misuse("init needs --config");
	if (model_new_open(&m, config.config, config.tokenizer, e))
		return -1;
	int failed = m.arch.value_model ? err_set(e, "%s: a value model cannot be the policy", config.config) : 0;
	struct par *par = par_new((int)config.threads);
	struct model_source p = {.made = &m, .name = config.config, .seed = config.seed, .par = par};
	if (!failed)
		failed = put_into(arg[0], "policy", &p, e);
	par_free(par);
	model_new_release(&m);
	return failed;
}

static int run_import(char **arg, struct err *e)
{
	char *path, *slot;
	struct model_dir *d = model_dir_open(arg[0], e);
	if (!d)
		return -1;
	store_split(arg[1], &path, &slot);
	const char *name = *slot ? slot : "policy";
	bool value = model_dir_arch(d)->value_model;
	struct model_source p = {.dir = d, .name = arg[0], .replace = config.replace};
	int failed;
	if (value != !strcmp(name, "value"))
		failed = err_set(e,
		                 value ? "%s: a value model goes into slot value, not %s: STORE:value"
		                       : "%s: not a value model (one is ...ForSequenceClassification with "
		                         "score.weight), so it cannot be slot %s",
		                 arg[0], name);
	else
		failed = put_into(path, name, &p, e);
	free(path);
	free(slot);
	model_dir_close(d);
	return failed;
}

/* ---- export, show, log, verify ---- */

static int run_export(char **arg, struct err *e)
{
	struct reading r;
	if (config.dtype && strcmp(config.dtype, "F32") && strcmp(config.dtype, "F16") && strcmp(config.dtype, "BF16"))
		cli_misuse("--dtype is '%s', expected F32, F16 or BF16", config.dtype);
	int failed = reading_open(&r, arg[0], e) || store_resolve(r.v, r.name, &r.ref, e) ||
	             model_export(r.v, &r.ref, arg[1], config.dtype, config.force, e);
	reading_close(&r);
	return failed;
}
static int run_show(char **arg, struct err *e)
{
	struct reading r;
	struct str s;
	str_init(&s);
	int failed = reading_open(&r, arg[0], e) || model_show(r.v, r.path, config.json, &s, e) || say(&s, e);
	reading_close(&r);
	return failed;
}

static int run_log(char **arg, struct err *e)
{
	struct reading r;
	struct str s;
	str_init(&s);
	int failed = reading_open(&r, arg[0], e) || model_show_log(r.v, config.json, &s, e) || say(&s, e);
	reading_close(&r);
	return failed;
}

static int run_verify(char **arg, struct err *e)
{
	struct reading r;
	struct model_verified m;
	struct str s;
	if (reading_open(&r, arg[0], e)) {
		reading_close(&r);
		return -1;
	}
	model_verify(r.v, &m);
	str_init(&s);
	str_addf(&s,
	         config.json ? "{\"versions\":%" PRId64 ",\"tensors\":%" PRId64 ",\"blobs\":%" PRId64
	                       ",\"log\":%" PRId64 ",\"faults\":%" PRId64 "}\n"
	                     : "%" PRId64 " versions, %" PRId64 " tensors, %" PRId64 " blobs, %" PRId64
	                       " log entries: %" PRId64 " faults\n",
	         m.versions, m.tensors, m.blobs, m.entries, m.faults);
	int failed = say(&s, e);
	if (!failed && m.faults) {
		m.lines.buf[m.lines.len - 1] = 0;
		char *last = strrchr(m.lines.buf, '\n');
		if (last) {
			*last = 0;
			for (char *rest = m.lines.buf, *line; (line = strsep(&rest, "\n"));)
				cli_warn("%s", line);
		}
		failed = err_set(e, "%s", last ? last + 1 : m.lines.buf);
	}
	str_release(&m.lines);
	reading_close(&r);
	return failed;
}

/* ---- snapshot, copy ---- */

static int run_snapshot(char **arg, struct err *e)
{
	char *path, *name;
	struct loop_locks l = {.fd = -1};
	struct store_ref ref;
	store_split(arg[0], &path, &name);
	struct store *s = access(path, F_OK) ? store_open(path, STORE_READ, e) : open_locked(path, STORE_WRITE, &l, e);
	struct store_view *v = s ? store_view_open(s, e) : NULL;
	int failed = v ? store_resolve(v, config.delete ? arg[1] : name, &ref, e) : -1;
	store_view_close(v);
	struct store_update *u = failed ? NULL : store_update_begin(s, e);
	if (u) {
		failed = config.delete ? store_delete_name(u, arg[1], e) : store_put_name(u, arg[1], &ref, e);
		if (failed)
			store_update_abort(u);
		else
			failed = store_update_commit(u, e);
	}
	store_close(s);
	loop_close(&l);
	free(path);
	free(name);
	return failed || !u ? -1 : 0;
}

static int run_copy(char **arg, struct err *e)
{
	struct reading r;
	if (reading_open(&r, arg[0], e)) {
		reading_close(&r);
		return -1;
	}
	int fd = open(arg[1], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int failed = fd < 0 ? err_errno(e, "%s", arg[1]) : store_copy(r.s, fd, e);
	if (!failed && (fsync(fd) || close(fd)))
		failed = err_errno(e, "%s", arg[1]);
	if (failed && fd >= 0)
		unlink(arg[1]);
	reading_close(&r);
	return failed;
}

static const struct {
	const char *name;
	int operands;
	int (*run)(char **arg, struct err *e);
} commands[] = {
        {"init", 1, run_init}, {"import", 2, run_import}, {"export", 2, run_export},     {"show", 1, run_show},
        {"log", 1, run_log},   {"verify", 1, run_verify}, {"snapshot", 2, run_snapshot}, {"copy", 2, run_copy},
};

int main(int argc, char **argv)
{
	struct err e = {""};
	int n;
	const struct opt_group groups[] = {{NULL, options, &config}};
	const struct cli cli = {.tool = "rl-store",
	                        .summary = "make, import, export, show and check a store of weights",
	                        .usage = "init --config FILE [--tokenizer FILE] [--seed N] STORE\n"
	                                 "import DIR STORE[:SLOT]\n"
	                                 "export STORE[:NAME] DIR\n"
	                                 "show STORE\n"
	                                 "log STORE\n"
	                                 "verify STORE\n"
	                                 "snapshot STORE[:SLOT] NAME\n"
	                                 "copy STORE FILE",
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
	cli_misuse("unknown command '%s'; known are init, import, export, show, log, verify, snapshot, copy",
	           operands[0]);
}
