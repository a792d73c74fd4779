/* reward_weight - see reward_weight.h */
#include "lib/reward_weight.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

/* One point, VALUE or VALUE:BATCH; text is written into. */
static int parse_point(struct reward_weight *w, char *text, struct err *e)
{
	int64_t i = w->n, batch = 0;
	char *colon = strchr(text, ':');
	if (colon)
		*colon = 0;
	if (i == REWARD_WEIGHT_POINTS)
		return err_set(e, "it has more than %d points", REWARD_WEIGHT_POINTS);
	if (!parse_double(text, &w->value[i]))
		return err_set(e, "'%s' is no number", text);
	if (colon && (!parse_i64(colon + 1, &batch) || batch < 0))
		return err_set(e, "'%s' is no batch", colon + 1);
	if (i && !colon)
		return err_set(e, "'%s' is reached at no batch: VALUE:BATCH", text);
	if (i && batch <= w->batch[i - 1])
		return err_set(e, "batch %lld comes after batch %lld", (long long)batch, (long long)w->batch[i - 1]);
	w->batch[i] = batch;
	w->n++;
	return 0;
}

int reward_weight_parse(struct reward_weight *w, const char *text, struct err *e)
{
	char *copy = xstrdup(text), *at = copy;
	int failed = 0;
	w->n = 0;
	while (at && !failed) {
		char *next = strstr(at, "..");
		if (next) {
			*next = 0;
			next += 2;
		}
		failed = parse_point(w, at, e);
		at = next;
	}
	free(copy);
	return failed;
}

double reward_weight_at(const struct reward_weight *w, int64_t batch)
{
	int64_t i = 0;
	while (i < w->n && w->batch[i] <= batch)
		i++;
	if (i == 0 || i == w->n)
		return w->value[i ? w->n - 1 : 0];
	double share = (double)(batch - w->batch[i - 1]) / (double)(w->batch[i] - w->batch[i - 1]);
	return w->value[i - 1] + share * (w->value[i] - w->value[i - 1]);
}

double reward_weight_last(const struct reward_weight *w)
{
	return w->value[w->n - 1];
}
