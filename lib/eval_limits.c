/* eval_limits - see eval_limits.h */
#include "lib/eval_limits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

bool eval_limits_valid(const struct cli_list *specs, const char **wrong)
{
	for (size_t i = 0; i < specs->n; i++) {
		const char *is = strrchr(specs->item[i], '=');
		double x;
		*wrong = specs->item[i];
		if (!is || is == specs->item[i] || !parse_double(is + 1, &x))
			return false;
	}
	return true;
}

static bool is_of(const char *spec, const char *measure)
{
	size_t len = (size_t)(strrchr(spec, '=') - spec);
	return len == strlen(measure) && !memcmp(spec, measure, len);
}

int eval_limits_known(const struct eval_limits *l, const char *const *names, size_t n, struct err *e)
{
	for (size_t i = 0; i < l->specs->n; i++) {
		bool known = false;
		for (size_t k = 0; k < n; k++)
			known |= is_of(l->specs->item[i], names[k]);
		if (!known)
			return err_set(e, "--fail-under %s: there is no such measure", l->specs->item[i]);
	}
	return 0;
}

void eval_limits_check(struct eval_limits *l, const char *measure, double mean, const char *system)
{
	if (!l->checked)
		l->checked = xcalloc(l->specs->n + 1, sizeof *l->checked);
	for (size_t i = 0; i < l->specs->n; i++) {
		const char *spec = l->specs->item[i];
		size_t at = strlen(l->failed);
		double limit;
		if (!is_of(spec, measure) || isnan(mean))
			continue;
		l->checked[i] = true;
		if (parse_double(strrchr(spec, '=') + 1, &limit) && mean < limit)
			snprintf(l->failed + at, sizeof l->failed - at, "%s%s%s'%s' is %.6g, under %g", at ? "; " : "",
			         system, *system ? ": " : "", measure, mean, limit);
	}
}

int eval_limits_end(struct eval_limits *l, struct err *e)
{
	int failed = *l->failed ? err_set(e, "%s", l->failed) : 0;
	for (size_t i = 0; i < l->specs->n && !failed; i++)
		if (!l->checked || !l->checked[i])
			failed = err_set(e, "--fail-under %s: there is no value of it", l->specs->item[i]);
	free(l->checked);
	l->checked = NULL;
	return failed;
}
