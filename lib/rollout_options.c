/* rollout_options - see rollout_options.h */
#include "lib/rollout_options.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cli.h"
#include "lib/rollout.h"
#include "lib/util.h"

int64_t rollout_parse_range(const char *text, int64_t *low)
{
	const char *dots = strstr(text, "..");
	char *first = dots ? xstrndup(text, (size_t)(dots - text)) : xstrdup(text);
	int64_t high;
	if (!parse_i64(first, low) || !parse_i64(dots ? dots + 2 : text, &high) || *low < 0 || high < *low ||
	    high > INT32_MAX)
		cli_misuse("--max-tokens is '%s', but must be N or LO..HI with 0 <= LO <= HI", text);
	free(first);
	return high;
}

int64_t rollout_parse_lag(const char *text)
{
	int64_t lag;
	if (!strcmp(text, "none"))
		return ROLLOUT_LAG_NONE;
	if (!parse_i64(text, &lag) || lag < 0)
		cli_misuse("--lag is '%s', but must be a number of updates or none", text);
	return lag;
}

void rollout_option_add(struct str *s, const char *name, const char *value)
{
	str_addf(s, " %s=", name);
	for (const char *p = value; *p; p++)
		str_adds(s, *p == ' ' ? "%20" : (char[]){*p, 0});
}
