/* eval_limits - see eval_limits.h */
#include "lib/eval_limits.h"

#include <stdio.h>
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

void eval_limits_check(struct eval_limits *l, const char *measure, double mean, const char *system)
{
	for (size_t i = 0; i < l->specs->n; i++) {
		const char *spec = l->specs->item[i], *is = strrchr(spec, '=');
		size_t len = (size_t)(is - spec), at = strlen(l->failed);
		double limit;
		if (len != strlen(measure) || memcmp(spec, measure, len) != 0)
			continue;
		l->n_checked++;
		if (parse_double(is + 1, &limit) && mean < limit)
			snprintf(l->failed + at, sizeof l->failed - at, "%s%s%s'%s' is %.6g, under %g", at ? "; " : "",
			         system, *system ? ": " : "", measure, mean, limit);
	}
}

int eval_limits_end(const struct eval_limits *l, struct err *e)
{
	if (*l->failed)
		return err_set(e, "%s", l->failed);
	if (l->specs->n && !l->n_checked)
		return err_set(e, "--fail-under %s: there is no such measure", l->specs->item[0]);
	return 0;
}
