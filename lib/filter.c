/* filter - see filter.h */
#include "lib/filter.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jv.h>
#include <jq.h>

#include "lib/str.h"
#include "lib/util.h"

enum { PATHS_MAX = 8 };

struct filter {
	char *option; /* with its dashes, or an operand */
	char *program;
	char *path[PATHS_MAX]; /* alternatives, tried in order; n_paths 0: a program for jq */
	int n_paths;
	jq_state *jq;
	struct str said; /* what jq said while it compiled */
};

/* ---- plain paths ---- */

static const char *skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n')
		p++;
	return p;
}

/* The end of a plain path at p: `.`, or steps `.name` and `[3]`; NULL when it is something else. */
static const char *path_end(const char *p)
{
	if (*p != '.')
		return NULL;
	if (!isalpha((unsigned char)p[1]) && p[1] != '_')
		return p + 1;
	while (*p == '.' || *p == '[') {
		if (*p == '.') {
			if (!isalpha((unsigned char)*++p) && *p != '_')
				return NULL;
			while (isalnum((unsigned char)*p) || *p == '_')
				p++;
		} else {
			p += p[1] == '-' ? 2 : 1;
			size_t digits = strspn(p, "0123456789");
			if (!digits || digits > 9 || p[digits] != ']')
				return NULL;
			p += digits + 1;
		}
	}
	return p;
}

/* Fills f->path; leaves n_paths 0 when the program is more than paths joined by //. */
static void read_paths(struct filter *f)
{
	const char *p = skip_space(f->program);
	int n = 0;
	while (n < PATHS_MAX) {
		const char *end = path_end(p);
		if (!end)
			break;
		f->path[n++] = xstrndup(p, (size_t)(end - p));
		p = skip_space(end);
		if (!*p) {
			f->n_paths = n;
			return;
		}
		if (strncmp(p, "//", 2) || p[2] == '=')
			break;
		p = skip_space(p + 2);
	}
	while (n)
		free(f->path[--n]);
}

static int get_path(struct record *r, const char *path, struct json *out, struct err *e)
{
	if (strcmp(path, "."))
		return record_path(r, path, out, e);
	size_t len;
	const char *line = record_line(r, &len);
	return record_parse_value(r, line, len, out, e);
}

static int run_paths(struct filter *f, struct record *r, struct json *out, struct err *e)
{
	for (int i = 0; i < f->n_paths; i++) {
		if (get_path(r, f->path[i], out, e) < 0)
			return -1;
		if (out->kind != JSON_ABSENT && out->kind != JSON_NULL && !(out->kind == JSON_BOOL && !out->boolean))
			break;
	}
	return 0;
}

/* ---- jq ---- */

static void hear(void *arg, jv msg)
{
	struct filter *f = arg;
	msg = jq_format_error(msg);
	str_adds(&f->said, jv_string_value(msg));
	str_addc(&f->said, '\n');
	jv_free(msg);
}

/* The first line of what jq said, without what is about the jq command. */
static void compile_error(struct filter *f, struct err *e)
{
	static const char lead[] = "jq: error: ", quoting[] = " (Unix shell quoting issues?)";
	char *line = f->said.buf;
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, lead, sizeof lead - 1))
		line += sizeof lead - 1;
	char *noise = strstr(line, quoting);
	if (noise)
		memmove(noise, noise + sizeof quoting - 1, strlen(noise + sizeof quoting - 1) + 1);
	err_set(e, "%s: '%s' is no jq program: %s", f->option, f->program, *line ? line : "it does not compile");
}

/* The directory of our own modules, where make and make install put it: with the executable in PREFIX/bin that is
 * PREFIX/share/rlpipe/lib.  NULL where it is not there. */
static char *own_modules(void)
{
	static const char modules[] = "/../share/rlpipe/lib";
	char path[PATH_MAX + sizeof modules];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	if (n <= 0)
		return NULL;
	path[n] = 0;
	memcpy(strrchr(path, '/'), modules, sizeof modules);
	return realpath(path, NULL);
}

/* Those of the user, then our own.  Whole paths: where a module includes another one, libjq takes relative ones from
 * that module's directory. */
static jv directories(const char *const *dirs, size_t n)
{
	jv list = jv_array();
	for (size_t i = 0; i < n; i++) {
		char *whole = realpath(dirs[i], NULL);
		list = jv_array_append(list, jv_string(whole ? whole : dirs[i]));
		free(whole);
	}
	char *own = own_modules();
	if (own)
		list = jv_array_append(list, jv_string(own));
	free(own);
	return list;
}

/*
 * Two traps of libjq 1.6: it reads definitions from $HOME/.jq, which would make results depend on the user; and a
 * program with `import` or `include` ends the process unless the three attributes are set.
 */
static int compile(struct filter *f, const char *const *dirs, size_t n_dirs, struct err *e)
{
	f->jq = jq_init();
	if (!f->jq)
		return err_set(e, "%s: no memory for jq", f->option);
	jq_set_error_cb(f->jq, hear, f);
	jq_set_attr(f->jq, jv_string("JQ_LIBRARY_PATH"), directories(dirs, n_dirs));
	jq_set_attr(f->jq, jv_string("JQ_ORIGIN"), jv_string("/dev/null"));
	jq_set_attr(f->jq, jv_string("PROGRAM_ORIGIN"), jv_string("."));
	char *home = getenv("HOME") ? xstrdup(getenv("HOME")) : NULL;
	setenv("HOME", "/dev/null/nowhere", 1);
	int ok = jq_compile_args(f->jq, f->program, jv_object());
	if (home)
		setenv("HOME", home, 1);
	else
		unsetenv("HOME");
	free(home);
	if (!ok)
		compile_error(f, e);
	return ok ? 0 : -1;
}

struct filter *filter_new(const char *option, const char *program, const char *const *dirs, size_t n_dirs,
                          struct err *e)
{
	struct filter *f = xcalloc(1, sizeof *f);
	str_init(&f->said);
	f->program = xstrdup(program);
	f->option = xmalloc(strlen(option) + 3);
	memcpy(f->option, "--", 3);
	strncat(f->option, option + strspn(option, "-"), strlen(option));
	if (isupper((unsigned char)*option))
		memmove(f->option, f->option + 2, strlen(f->option) - 1);
	read_paths(f);
	if (!f->n_paths && compile(f, dirs, n_dirs, e) < 0) {
		filter_free(f);
		return NULL;
	}
	return f;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->n_paths; i++)
		free(f->path[i]);
	if (f->jq)
		jq_teardown(&f->jq);
	str_release(&f->said);
	free(f->option);
	free(f->program);
	free(f);
}

/* The message of an invalid value (consumed): libjq puts the whole text that it could not parse into it. */
static int run_error(struct filter *f, jv v, struct err *e)
{
	jv msg = jv_invalid_get_msg(v);
	if (jv_get_kind(msg) != JV_KIND_STRING)
		msg = jv_dump_string(msg, 0);
	char *text = xstrdup(jv_string_value(msg));
	char *input = strstr(text, " (while parsing '");
	if (input)
		*input = 0;
	text[strcspn(text, "\n")] = 0;
	err_set(e, "%s: %.400s%s", f->option, text, strlen(text) > 400 ? "..." : "");
	free(text);
	jv_free(msg);
	return -1;
}

/* Where jq prints them, NaN becomes null and infinity the largest double: numbers that nobody computed.  Borrows v. */
static const char *strange_number(jv v)
{
	const char *found = NULL;
	if (jv_get_kind(v) == JV_KIND_NUMBER) {
		double x = jv_number_value(v);
		return isfinite(x) ? NULL : isnan(x) ? "not a number" : "infinite";
	}
	if (jv_get_kind(v) == JV_KIND_ARRAY) {
		for (int i = 0, n = jv_array_length(jv_copy(v)); i < n && !found; i++) {
			jv item = jv_array_get(jv_copy(v), i);
			found = strange_number(item);
			jv_free(item);
		}
	} else if (jv_get_kind(v) == JV_KIND_OBJECT) {
		for (int i = jv_object_iter(v); jv_object_iter_valid(v, i) && !found; i = jv_object_iter_next(v, i)) {
			jv item = jv_object_iter_value(v, i);
			found = strange_number(item);
			jv_free(item);
		}
	}
	return found;
}

/* Consumes v. */
static int to_json(struct filter *f, jv v, struct record *r, struct json *out, struct arena *a, struct err *e)
{
	int rc = 0;
	const char *strange = strange_number(v);
	*out = (struct json){.kind = JSON_NULL};
	if (strange) {
		bool whole = jv_get_kind(v) == JV_KIND_NUMBER;
		jv_free(v);
		return err_set(e, "%s: %s is %s", f->option, whole ? "the result" : "a number in the result", strange);
	}
	switch (jv_get_kind(v)) {
	case JV_KIND_TRUE:
	case JV_KIND_FALSE:
		out->kind = JSON_BOOL;
		out->boolean = jv_get_kind(v) == JV_KIND_TRUE;
		break;
	case JV_KIND_NUMBER:
		out->kind = JSON_NUMBER;
		out->number = jv_number_value(v);
		if (out->number == floor(out->number) && fabs(out->number) <= 9007199254740992.0) {
			out->is_int = true;
			out->integer = (int64_t)out->number;
		}
		break;
	case JV_KIND_STRING:
		out->kind = JSON_STRING;
		out->len = (size_t)jv_string_length_bytes(jv_copy(v));
		out->text = arena_strndup(a, jv_string_value(v), out->len);
		break;
	case JV_KIND_ARRAY:
	case JV_KIND_OBJECT: {
		jv text = jv_dump_string(jv_copy(v), 0);
		rc = record_parse_value(r, jv_string_value(text), (size_t)jv_string_length_bytes(jv_copy(text)), out,
		                        e);
		if (rc < 0)
			err_where(e, "%s", f->option);
		jv_free(text);
		break;
	}
	default:
		break;
	}
	jv_free(v);
	return rc;
}

/* The one value of the program; JV_KIND_INVALID without a message when there is none. */
static int one_value(struct filter *f, jv *out, struct err *e)
{
	jv v = jq_next(f->jq), more = jv_invalid();
	if (jv_is_valid(v)) {
		jv_free(more);
		more = jq_next(f->jq);
	}
	int rc = 0;
	if (!jv_is_valid(v) && jv_invalid_has_msg(jv_copy(v)))
		rc = run_error(f, jv_copy(v), e);
	else if (!jv_is_valid(more) && jv_invalid_has_msg(jv_copy(more)))
		rc = run_error(f, jv_copy(more), e);
	else if (jv_is_valid(more))
		rc = err_set(e, "%s: '%s' gives more than one value", f->option, f->program);
	else if (jq_halted(f->jq))
		rc = err_set(e, "%s: '%s' halted", f->option, f->program);
	jv_free(more);
	if (rc < 0)
		jv_free(v);
	else
		*out = v;
	return rc;
}

static int run_jq(struct filter *f, struct record *r, struct json *out, struct arena *a, struct err *e)
{
	size_t len;
	const char *line = record_line(r, &len);
	jv input = jv_parse_sized(line, (int)len);
	if (!jv_is_valid(input))
		return run_error(f, input, e);
	jv v;
	jq_start(f->jq, input, 0);
	if (one_value(f, &v, e) < 0)
		return -1;
	if (jv_is_valid(v))
		return to_json(f, v, r, out, a, e);
	jv_free(v);
	*out = (struct json){.kind = JSON_ABSENT};
	return 0;
}

int filter_run(struct filter *f, struct record *r, struct json *out, struct arena *a, struct err *e)
{
	return f->n_paths ? run_paths(f, r, out, e) : run_jq(f, r, out, a, e);
}

/* ---- typed ---- */

static const char *const kind_name[] = {"nothing",  "null",     "a boolean", "a number",
                                        "a string", "an array", "an object"};

int filter_str(struct filter *f, struct record *r, const char **text, size_t *len, struct arena *a, struct err *e)
{
	struct json v;
	if (filter_run(f, r, &v, a, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return 0;
	if (v.kind != JSON_STRING)
		return err_set(e, "%s: '%s' is %s, not a string", f->option, f->program, kind_name[v.kind]);
	*text = v.text;
	*len = v.len;
	return 1;
}

struct list {
	struct filter *f;
	const char **text;
	size_t *len;
	struct arena *a;
	struct err *e;
};

static int add_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *item)
{
	struct list *l = arg;
	(void)key, (void)key_len;
	if (item->kind == JSON_STRING) {
		l->text[i] = item->text;
		l->len[i] = item->len;
		return 0;
	}
	if (item->kind != JSON_NUMBER || !item->is_int)
		return err_set(l->e, "%s: '%s' holds %s at index %lld, not a string", l->f->option, l->f->program,
		               kind_name[item->kind], (long long)i);
	l->text[i] = arena_printf(l->a, "%lld", (long long)item->integer);
	l->len[i] = strlen(l->text[i]);
	return 0;
}

int filter_strs(struct filter *f, struct record *r, const char ***text, size_t **len, int64_t *n, struct arena *a,
                struct err *e)
{
	struct json v;
	if (filter_run(f, r, &v, a, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return 0;
	bool single = v.kind == JSON_STRING || v.kind == JSON_NUMBER;
	if (!single && v.kind != JSON_ARRAY)
		return err_set(e, "%s: '%s' is %s, not an array of strings", f->option, f->program, kind_name[v.kind]);
	*n = single ? 1 : json_length(&v);
	struct list l = {f, arena_array(a, (size_t)*n, sizeof *l.text), arena_array(a, (size_t)*n, sizeof *l.len), a,
	                 e};
	*text = l.text;
	*len = l.len;
	int rc = single ? add_item(&l, 0, NULL, 0, &v) : json_each(&v, add_item, &l);
	return rc < 0 ? -1 : 1;
}

const char *filter_program(const struct filter *f)
{
	return f->program;
}
