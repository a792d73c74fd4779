/* cli - see cli.h */
#include "lib/cli.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/str.h"
#include "lib/util.h"

extern char **environ;

enum { MAX_GIVEN = 256 };

static const char *tool_name = "rl";
static const char *given[MAX_GIVEN];
static size_t n_given;

/* What people type who come from other frameworks (TRL, OpenRLHF, verl, transformers). */
static const struct cli_alias aliases[] = {
        {"beta", "kl-coef"},
        {"init-kl-coef", "kl-coef"},
        {"learning-rate", "lr"},
        {"num-ppo-epochs", "ppo-epochs"},
        {"num-mini-batches", "mini-batches"},
        {"num-generations", "n"},
        {"max-new-tokens", "max-tokens"},
        {"max-completion-length", "max-tokens"},
        {"response-length", "max-tokens"},
        {"eps-clip", "cliprange"},
        {"clip-ratio", "cliprange"},
        {"epsilon", "cliprange"},
        {"epsilon-high", "cliprange-high"},
        {"clip-ratio-low", "cliprange"},
        {"clip-ratio-high", "cliprange-high"},
        {"clip-ratio-c", "dual-clip"},
        {"loss-type", "loss"},
        {"policy-loss-type", "loss"},
        {"loss-agg-mode", "loss-agg"},
        {"importance-sampling-level", "ratio"},
        {"mask-truncated-completions", "mask-truncated"},
        {"top-entropy-quantile", "top-entropy"},
        {"sapo-temperature-pos", "tau-pos"},
        {"sapo-temperature-neg", "tau-neg"},
        {"clip-cov-ratio", "cov-ratio"},
        {"kl-cov-ratio", "cov-ratio"},
        {"clip-cov-lb", "cov-low"},
        {"clip-cov-ub", "cov-high"},
        {"ppo-kl-coef", "cov-kl-coef"},
        {"entropy-coeff", "entropy-coef"},
        {"entropy-loss-coef", "entropy-coef"},
        {"use-kl-loss", "kl-in"},
        {"kl-target", "adaptive-kl"},
        {"critic-freezing-steps", "critic-warmup"},
        {"value-clip", "cliprange-value"},
        {"lambd", "lam"},
        {"lambda", "lam"},
        {"gae-lambda", "lam"},
        {"num-train-epochs", "epochs"},
        {"per-device-train-batch-size", "batch-size"},
        {"gradient-accumulation-steps", "batch-size"},
        {"train-batch-size", "batch-size"},
        {"lr-scheduler-type", "schedule"},
        {"warmup-steps", "warmup"},
        {"max-steps", "steps"},
        {"model", "store"},
};

static const struct opt common_rows[] = {
        {"help", 'h', OPT_FLAG, 0, NULL, NULL, "print this and exit", 0, 0},
        {"version", 0, OPT_FLAG, 0, NULL, NULL, "print the version and exit", 0, 0},
        {NULL},
};

static void vmessage(const char *fmt, va_list ap)
{
	char line[2048];
	int n = vsnprintf(line, sizeof line, fmt, ap);
	if (n >= (int)sizeof line)
		memcpy(line + sizeof line - 4, "...", 4);
	fprintf(stderr, "%s: ", tool_name);
	/* names out of foreign files may hold anything; a message is one line and leaves a terminal as it was */
	for (const char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7F)
			fprintf(stderr, "\\x%02x", (unsigned char)*p);
		else
			fputc(*p, stderr);
	fputc('\n', stderr);
}

void cli_misuse(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vmessage(fmt, ap);
	va_end(ap);
	exit(2);
}

void cli_fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vmessage(fmt, ap);
	va_end(ap);
	exit(1);
}

void cli_warn(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vmessage(fmt, ap);
	va_end(ap);
}

const char *cli_tool(void)
{
	return tool_name;
}

bool cli_given(const char *long_name)
{
	for (size_t i = 0; i < n_given; i++)
		if (!strcmp(given[i], long_name))
			return true;
	return false;
}

static const char *typed[MAX_GIVEN];
static size_t n_typed;

bool cli_typed(const char *long_name)
{
	for (size_t i = 0; i < n_typed; i++)
		if (!strcmp(typed[i], long_name))
			return true;
	return false;
}

static void mark_typed(const char *long_name)
{
	if (!cli_typed(long_name) && n_typed < MAX_GIVEN)
		typed[n_typed++] = long_name;
}

static void mark_given(const char *long_name)
{
	if (!cli_given(long_name) && n_given < MAX_GIVEN)
		given[n_given++] = long_name;
}

/* ---- values ---- */

static int choice_index(const char *words, const char *value)
{
	size_t len = strlen(value);
	int index = 0;
	for (const char *w = words;; index++) {
		const char *end = strchrnul(w, '|');
		if ((size_t)(end - w) == len && !memcmp(w, value, len))
			return index;
		if (!*end)
			return -1;
		w = end + 1;
	}
}

static void add_item(struct cli_list *list, const char *value)
{
	list->item = xrealloc_array(list->item, list->n + 1, sizeof *list->item);
	list->item[list->n++] = value;
}

/* A variable holds several values of an OPT_LIST on lines of its own. */
static void add_lines(struct cli_list *list, const char *value)
{
	for (const char *p = value; *p;) {
		size_t len = strcspn(p, "\n");
		if (len)
			add_item(list, xstrndup(p, len));
		p += len + (p[len] == '\n');
	}
}

static void check_range(const struct opt *o, const char *from, double v)
{
	if ((o->min != 0 || o->max != 0) && !(v >= o->min && v <= o->max))
		cli_misuse("%s is %g, but must be between %g and %g", from, v, o->min, o->max);
}

/* An empty value is 0. */
static bool parse_flag(const char *value, bool *out)
{
	static const char *const no[] = {"", "0", "no", "false", "off"}, *const yes[] = {"1", "yes", "true", "on"};
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (!strcmp(value, no[i])) {
			*out = false;
			return true;
		}
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		if (!strcmp(value, yes[i])) {
			*out = true;
			return true;
		}
	return false;
}

/* `from` names the option or the variable, for the message. */
static void set_value(const struct opt *o, void *base, const char *from, const char *value, bool lines)
{
	char *field = (char *)base + o->offset;
	switch (o->type) {
	case OPT_FLAG:
		if (!parse_flag(value, (bool *)(void *)field))
			cli_misuse("%s is '%s', but must be 1 or 0 (yes or no, true or false, on or off)", from, value);
		break;
	case OPT_INT:
		if (!parse_i64(value, (int64_t *)(void *)field))
			cli_misuse("%s wants an integer, not '%s'", from, value);
		check_range(o, from, (double)*(int64_t *)(void *)field);
		break;
	case OPT_NUM:
		if (!parse_double(value, (double *)(void *)field))
			cli_misuse("%s wants a number, not '%s'", from, value);
		check_range(o, from, *(double *)(void *)field);
		break;
	case OPT_STR:
		*(const char **)(void *)field = value;
		break;
	case OPT_LIST:
		if (lines)
			add_lines((struct cli_list *)(void *)field, value);
		else
			add_item((struct cli_list *)(void *)field, value);
		break;
	case OPT_CHOICE:
		*(int *)(void *)field = choice_index(o->meta, value);
		if (*(int *)(void *)field < 0)
			cli_misuse("%s is '%s', but must be one of %s", from, value, o->meta);
		break;
	}
}

static void set_defaults(const struct cli *c)
{
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name; o++)
			if (o->fallback)
				set_value(o, c->groups[g].base, o->name, o->fallback, true);
}

/* ---- the environment ---- */

/* "rl-gae", "kl-coef" -> RL_GAE_KL_COEF; tool NULL -> RL_KL_COEF */
static void variable_name(struct str *s, const char *tool, const char *name)
{
	str_clear(s);
	str_adds(s, "RL_");
	if (tool) {
		str_adds(s, strncmp(tool, "rl-", 3) ? tool : tool + 3);
		str_addc(s, '_');
	}
	str_adds(s, name);
	for (char *p = s->buf; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

static void read_environment(const struct cli *c)
{
	struct str var;
	str_init(&var);
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name; o++)
			for (int own = 0; own < 2; own++) {
				variable_name(&var, own ? c->tool : NULL, o->name);
				const char *value = getenv(var.buf);
				if (!value)
					continue;
				if (o->type == OPT_LIST)
					*(struct cli_list *)(void *)((char *)c->groups[g].base + o->offset) =
					        (struct cli_list){0};
				set_value(o, c->groups[g].base, var.buf, value, true);
				mark_given(o->name);
			}
	str_release(&var);
}

/* Every option of every tool, and every tool: made by the Makefile from the option tables. */
static const char *const known_options[] = {
#include "gen/options.h"
};

static const char *const known_tools[] = {
#include "gen/tools.h"
};

bool cli_known_variable(const char *name)
{
	struct str s;
	str_init(&s);
	bool found = false;
	for (size_t i = 0; i < ARRAY_LEN(known_options) && !found; i++) {
		variable_name(&s, NULL, known_options[i]);
		found = !strcmp(s.buf, name);
		for (size_t t = 0; t < ARRAY_LEN(known_tools) && !found; t++) {
			variable_name(&s, known_tools[t], known_options[i]);
			found = !strcmp(s.buf, name);
		}
	}
	str_release(&s);
	return found || !strcmp(name, "RL_MAP_SIZE") || !strcmp(name, "RL_ISA") || !strcmp(name, "RL_LIBDIR") ||
	       !strcmp(name, "RL_CUDA_PRODUCTS") || !strcmp(name, "RL_CUDA_GRAPHS");
}

static void warn_unknown(const char *name)
{
	char *words[ARRAY_LEN(known_options)];
	struct str s;
	str_init(&s);
	for (size_t i = 0; i < ARRAY_LEN(known_options); i++) {
		variable_name(&s, NULL, known_options[i]);
		words[i] = xstrdup(s.buf);
	}
	const char *near = nearest_word(name, (const char *const *)words, ARRAY_LEN(words));
	if (near)
		cli_warn("warning: no tool reads the variable %s; did you mean %s?", name, near);
	else
		cli_warn("warning: no tool reads the variable %s", name);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		free(words[i]);
	str_release(&s);
}

static void check_environment(void)
{
	for (char **e = environ; *e; e++) {
		if (strncmp(*e, "RL_", 3))
			continue;
		char *name = xstrndup(*e, strcspn(*e, "="));
		if (!cli_known_variable(name))
			warn_unknown(name);
		free(name);
	}
}

/* ---- --help ---- */

static const char *const type_meta[] = {"", "N", "X", "TEXT", "TEXT", ""};

static void print_row(const struct opt *o)
{
	char left[128];
	const char *meta = o->meta ? o->meta : type_meta[o->type];
	int n = snprintf(left, sizeof left, "  %c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
	                 o->letter ? "," : " ", o->name, *meta ? " " : "", meta);
	bool show = o->fallback && *o->fallback && !(o->type == OPT_FLAG);
	const char *gap = n < 34 ? "" : "\n                                   ";
	printf("%-34s %s%s", left, gap, o->help);
	if (show)
		printf(" [%s]", o->fallback);
	else if (o->fallback && !strcmp(o->fallback, "1"))
		printf(" (--no-%s turns it off)", o->name);
	putchar('\n');
}

static void print_help(const struct cli *c)
{
	printf("%s - %s\n\n", c->tool, c->summary);
	const char *lead = "usage:";
	for (const char *p = c->usage; *p;) {
		int len = (int)strcspn(p, "\n");
		printf("%s %s %.*s\n", lead, c->tool, len, p);
		lead = "      ";
		p += len + (p[len] == '\n');
	}
	if (c->details)
		printf("\n%s\n", c->details);
	for (size_t g = 0; g < c->n_groups; g++) {
		printf("\n%s:\n", c->groups[g].title ? c->groups[g].title : "Options");
		for (const struct opt *o = c->groups[g].rows; o->name; o++)
			print_row(o);
	}
	printf("\nHelp:\n");
	for (const struct opt *o = common_rows; o->name; o++)
		print_row(o);
	printf("\nEvery option --some-name reads its default from RL_SOME_NAME.  See man %s and man 7 rl.\n", c->tool);
}

/* ---- the command line ---- */

struct found {
	const struct opt *row;
	void *base;
	bool negated;
};

static struct found find_long(const struct cli *c, const char *name, size_t len)
{
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name; o++) {
			if (strlen(o->name) == len && !strncmp(o->name, name, len))
				return (struct found){o, c->groups[g].base, false};
			if (o->type == OPT_FLAG && len > 3 && !strncmp(name, "no-", 3) && strlen(o->name) == len - 3 &&
			    !strncmp(o->name, name + 3, len - 3))
				return (struct found){o, c->groups[g].base, true};
		}
	return (struct found){0};
}

static struct found find_letter(const struct cli *c, char letter)
{
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name; o++)
			if (o->letter == letter)
				return (struct found){o, c->groups[g].base, false};
	return (struct found){0};
}

static _Noreturn void unknown_option(const struct cli *c, const char *name, size_t len)
{
	char word[128];
	snprintf(word, sizeof word, "%.*s", (int)len, name);
	for (char *p = word; (p = strchr(p, '_'));)
		*p = '-'; /* as in Python */
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (!strcmp(aliases[i].theirs, word) && find_long(c, aliases[i].ours, strlen(aliases[i].ours)).row)
			cli_misuse("no --%s; here it is --%s", word, aliases[i].ours);
	if (find_long(c, word, strlen(word)).row)
		cli_misuse("no --%.*s; here it is --%s", (int)len, name, word);
	const char *names[512];
	size_t n = 0;
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name && n < ARRAY_LEN(names); o++)
			names[n++] = o->name;
	const char *near = nearest_word(word, names, n);
	if (near)
		cli_misuse("unknown option --%s; did you mean --%s? (see %s --help)", word, near, c->tool);
	cli_misuse("unknown option --%s (see %s --help)", word, c->tool);
}

static void apply(const struct cli *c, struct found f, const char *value)
{
	(void)c;
	char from[128];
	snprintf(from, sizeof from, "--%s", f.row->name);
	/* The first value on the command line replaces what a variable or the default said. */
	static const struct opt *seen_lists[64];
	static size_t n_seen;
	if (f.row->type == OPT_LIST) {
		bool seen = false;
		for (size_t i = 0; i < n_seen; i++)
			seen |= seen_lists[i] == f.row;
		if (!seen) {
			*(struct cli_list *)(void *)((char *)f.base + f.row->offset) = (struct cli_list){0};
			if (n_seen < ARRAY_LEN(seen_lists))
				seen_lists[n_seen++] = f.row;
		}
	}
	set_value(f.row, f.base, from, value, false);
	mark_given(f.row->name);
	mark_typed(f.row->name);
}

static void common_option(const struct cli *c, const char *arg)
{
	if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
		print_help(c);
	} else if (!strcmp(arg, "--version")) {
		printf("%s (rlpipe) %s\n", c->tool, RL_VERSION);
	} else {
		return;
	}
	if (fflush(stdout) || ferror(stdout))
		cli_fail("cannot write to standard output");
	exit(0);
}

/* --name, --name=value, --name value; returns how many words were used. */
static int long_option(const struct cli *c, char **argv)
{
	const char *name = argv[0] + 2;
	size_t len = strcspn(name, "=");
	struct found f = find_long(c, name, len);
	if (!f.row)
		unknown_option(c, name, len);
	if (f.row->type == OPT_FLAG) {
		if (name[len])
			cli_misuse("--%s takes no value", f.row->name);
		apply(c, f, f.negated ? "0" : "1");
		return 1;
	}
	if (name[len]) {
		apply(c, f, name + len + 1);
		return 1;
	}
	if (!argv[1])
		cli_misuse("--%s wants a value (%s)", f.row->name, f.row->meta ? f.row->meta : type_meta[f.row->type]);
	apply(c, f, argv[1]);
	return 2;
}

/* -q, -qz, -n4, -n 4; returns how many words were used. */
static int short_options(const struct cli *c, char **argv)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		struct found f = find_letter(c, *p);
		if (!f.row)
			cli_misuse("unknown option -%c (see %s --help)", *p, c->tool);
		if (f.row->type == OPT_FLAG) {
			apply(c, f, "1");
			continue;
		}
		if (p[1]) {
			apply(c, f, p + 1);
			return 1;
		}
		if (!argv[1])
			cli_misuse("-%c wants a value (%s)", *p, f.row->meta ? f.row->meta : type_meta[f.row->type]);
		apply(c, f, argv[1]);
		return 2;
	}
	return 1;
}

/* A closed descriptor 0, 1 or 2 would be given to the next file that is opened, the store included.  Opened the wrong
 * way round, reads and writes on it still fail as they did. */
static void open_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(1);
}

static void check_operands(const struct cli *c, int n, char **operands)
{
	if (n < c->min_operands)
		cli_misuse("%d operand%s given, %d wanted: %s %s (see --help)", n, n == 1 ? "" : "s", c->min_operands,
		           c->tool, c->usage);
	if (c->max_operands >= 0 && n > c->max_operands)
		cli_misuse("unexpected operand '%s' (see %s --help)", operands[c->max_operands], c->tool);
}

/* --preset where the tool has it, else RL_PRESET: before the environment is read, of which it becomes a part. */
static void read_preset(const struct cli *c, int argc, char **argv)
{
	static const char option[] = "--preset";
	const char *path = getenv("RL_PRESET");
	const size_t n = sizeof option - 1;
	for (int i = 1; find_long(c, option + 2, n - 2).row && i < argc && strcmp(argv[i], "--"); i++)
		if (!strncmp(argv[i], option, n) && argv[i][n] == '=')
			path = argv[i] + n + 1;
		else if (!strcmp(argv[i], option) && i + 1 < argc)
			path = argv[++i];
	if (path && *path)
		cli_preset(path);
}

char **cli_parse(const struct cli *c, int argc, char **argv, int *n_operands)
{
	tool_name = c->tool;
	open_standard_descriptors();
	setvbuf(stderr, NULL, _IOLBF, 0);
	set_defaults(c);
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (c->stop_at_operand && argv[i][0] != '-')
			break;
		else
			common_option(c, argv[i]);
	read_preset(c, argc, argv);
	read_environment(c);
	check_environment();
	int n = 0;
	char **operands = argv + 1;
	for (int i = 1; i < argc;) {
		bool option = argv[i][0] == '-' && argv[i][1];
		if (option && !strcmp(argv[i], "--")) {
			for (i++; i < argc; i++)
				operands[n++] = argv[i];
		} else if (!option) {
			operands[n++] = argv[i++];
			while (c->stop_at_operand && i < argc)
				operands[n++] = argv[i++];
		} else {
			i += argv[i][1] == '-' ? long_option(c, argv + i) : short_options(c, argv + i);
		}
	}
	check_operands(c, n, operands);
	operands[n] = NULL;
	*n_operands = n;
	return operands;
}
