/*
 * cli_preset - a file of RL_ variables, for what the environment does not say; see cli.h
 *
 *     # PPO as some project has it
 *     RL_LR=1e-5
 *     RL_GENERATE_TEMPERATURE=.7
 *     RL_PROMPT='.query + "\n"'        quotes are taken off; the shell reads the same file with `set -a; . FILE`
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cli.h"

/* Blanks at both ends taken off, in place. */
static char *trim(char *s)
{
	char *end;
	s += strspn(s, " \t");
	for (end = s + strlen(s); end > s && strchr(" \t\r\n", end[-1]); end--)
		;
	*end = 0;
	return s;
}

static char *unquote(char *s)
{
	size_t n = strlen(s);
	if (n < 2 || (*s != '\'' && *s != '"') || s[n - 1] != *s)
		return s;
	s[n - 1] = 0;
	return s + 1;
}

static void take_line(const char *path, int64_t number, char *line)
{
	line = trim(line);
	if (!*line || *line == '#')
		return;
	char *name = strsep(&line, "=");
	if (!line)
		cli_misuse("%s:%lld: '%s' is no RL_NAME=value", path, (long long)number, name);
	if (strncmp(name, "RL_", 3) || !cli_known_variable(name))
		cli_misuse("%s:%lld: no tool reads the variable %s", path, (long long)number, name);
	setenv(name, unquote(line), 0);
}

void cli_preset(const char *path)
{
	char *line = NULL;
	size_t room = 0;
	FILE *f = fopen(path, "re");
	if (!f)
		cli_misuse("--preset %s: %s", path, strerror(errno));
	for (int64_t number = 1; getline(&line, &room, f) >= 0; number++)
		take_line(path, number, line);
	if (ferror(f))
		cli_misuse("--preset %s: %s", path, strerror(errno));
	free(line);
	fclose(f);
}
