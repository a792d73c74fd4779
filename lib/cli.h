/*
 * cli - one option table makes the parser, --help and the RL_ defaults.
 *
 * A tool has a config struct and a table of rows; a library module whose
 * parameters a tool exposes brings its own table over its own struct (so two
 * tools cannot disagree).  cli_parse takes the groups in the order of --help.
 *
 *     static const struct opt options[] = {
 *             {"gamma", 0, OPT_NUM, offsetof(struct config, gamma), "1", "X", "discount per token", .min = 0, .max =
 * 1},
 *             {"query", 0, OPT_STR, offsetof(struct config, query), ".completion", "FILTER", "what is searched"},
 *             {NULL},
 *     };
 *
 * Every long option --some-name has RL_SOME_NAME as its default and
 * RL_TOOL_SOME_NAME (RL_GENERATE_SEED) before it.  A preset (--preset FILE in
 * tools whose table has it, RL_PRESET for all) is a file of such variables,
 * for those that the environment does not have.  An RL_ variable that no
 * tool knows is warned about, with the nearest one.  Misuse ends the process
 * with one line on stderr and status 2; --help and --version end it with 0.
 */
#ifndef LIB_CLI_H
#define LIB_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_VERSION "0.1.0"

enum opt_type {
	OPT_FLAG,  /* bool; --no-NAME sets it to false */
	OPT_INT,   /* int64_t */
	OPT_NUM,   /* double */
	OPT_STR,   /* const char *; borrowed from argv or the environment */
	OPT_LIST,  /* struct cli_list: may be given several times; in RL_ variables separated by newlines */
	OPT_CHOICE /* int: index into the words of `meta`, "a|b|c" */
};

struct cli_list {
	const char **item;
	size_t n;
};

struct opt {
	const char *name; /* long name without dashes; NULL ends the table */
	char letter;      /* 0: none */
	enum opt_type type;
	size_t offset;        /* into the group's struct */
	const char *fallback; /* the default as text, or NULL: zero, NULL, unset */
	const char *meta;     /* name of the value in --help; for OPT_CHOICE the words */
	const char *help;
	double min, max; /* OPT_INT, OPT_NUM: allowed range; both 0: any */
};

struct opt_group {
	const char *title; /* heading in --help; NULL: "Options" */
	const struct opt *rows;
	void *base; /* the struct the offsets are into */
};

struct cli {
	const char *tool;    /* "rl-gae" */
	const char *summary; /* one line, no full stop */
	const char *usage;   /* operands: "[FILE]...", or several lines, each printed behind the tool's name */
	const char *details; /* paragraph under the usage in --help, or NULL */
	const struct opt_group *groups;
	size_t n_groups;
	int min_operands, max_operands; /* max < 0: any number; options after the first operand are not parsed if */
	bool stop_at_operand;           /* this is set (for tools that take a command line, as rl-reward-exec) */
};

/* Options by another framework's name: shown as `no --beta; here it is --kl-coef`. */
struct cli_alias {
	const char *theirs, *ours;
};

/* Fills the structs behind the groups; returns the operands (argv is permuted) and their number. */
char **cli_parse(const struct cli *c, int argc, char **argv, int *n_operands);

/* Does any tool read the variable? */
bool cli_known_variable(const char *name);
/* Puts the variables of a preset into the environment, but for those that are there. */
void cli_preset(const char *path);

/* True when the option was given on the command line or in the environment (not merely its default). */
bool cli_given(const char *long_name);
/* True when it was given on the command line: the environment speaks to all tools of a pipe. */
bool cli_typed(const char *long_name);

/* All effective options as one JSON object {"name": value, ...}, for the store's log; owned by the caller. */
char *cli_options_json(const struct cli *c);
/* The operands as a JSON array of strings; owned by the caller. */
char *cli_operands_json(char *const *operands, int n);

/* "rl-gae: ..." on stderr, and the process ends with status 2 (misuse), 1 (failure). */
_Noreturn void cli_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same line without ending. */
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The tool's name, after cli_parse. */
const char *cli_tool(void);

#endif
