/* metrics_table - see metrics_table.h */
#include "lib/metrics_table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/record.h"
#include "lib/util.h"

enum { TITLES_EVERY = 20, STEP = 10, SECONDS = 8, LEFT = 8 };

const struct metrics_column metrics_columns_ppo[] = {
        {"reward", "objective/scores", 10, 4, "%*.*f"},
        {"eval", "eval/reward", 9, 4, "%*.*f", true},
        {"kl", "objective/kl", 9, 3, "%*.*f"},
        {"length", "completions/mean_length", 7, 1, "%*.*f"},
        {"clipped", "policy/clipfrac_avg", 9, 4, "%*.*f"},
        {"grad norm", "grad_norm", 10, 3, "%*.*g"},
        {NULL},
};
const struct metrics_column metrics_columns_sft[] = {
        {"loss", "loss", 10, 4, "%*.*f"},    {"grad norm", "grad_norm", 11, 3, "%*.*g"}, {"lr", "lr", 10, 3, "%*.*g"},
        {"tokens", "tokens", 9, 0, "%*.*f"}, {"epoch", "epoch", 8, 2, "%*.*f"},          {NULL},
};

bool metrics_table_wanted(void)
{
	return isatty(STDOUT_FILENO);
}

void metrics_table_init(struct metrics_table *t, const struct metrics_column *columns)
{
	*t = (struct metrics_table){.column = columns};
}

static void put_titles(const struct metrics_table *t, struct str *out)
{
	str_addf(out, "%*s", STEP, "step");
	for (const struct metrics_column *c = t->column; c->title; c++)
		str_addf(out, "%*s", c->width, c->title);
	str_addf(out, "%*s%*s\n", SECONDS, "s", LEFT, "left");
}

static double seconds_of(const struct record *r)
{
	static const char *const parts[] = {"time/rollout", "time/prepare", "time/update"};
	double sum = 0, x;
	struct err e;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (record_num(r, parts[i], &x, &e) > 0)
			sum += x;
	return sum;
}

static void put_left(struct str *out, double seconds)
{
	char text[32];
	int64_t s = (int64_t)(seconds + .5);
	if (s < 3600)
		snprintf(text, sizeof text, "%lld:%02lld", (long long)s / 60, (long long)s % 60);
	else
		snprintf(text, sizeof text, "%lldh%02lld", (long long)s / 3600, (long long)s / 60 % 60);
	str_addf(out, "%*s\n", LEFT, text);
}

static void put_times(struct metrics_table *t, const struct record *r, int64_t step, int64_t total, struct str *out)
{
	double seconds = seconds_of(r);
	t->seconds += seconds;
	str_addf(out, "%*.2f", SECONDS, seconds);
	if (total >= step)
		put_left(out, t->seconds / (double)t->rows * (double)(total - step));
	else
		str_addf(out, "%*s\n", LEFT, "-");
}

void metrics_table_put(struct metrics_table *t, const char *line, size_t len, int64_t step, int64_t total,
                       struct str *out)
{
	struct record *r = record_new();
	struct err e;
	char place[48];
	if (record_parse(r, line, len, &e)) /* not ours */
		record_clear(r);
	if (t->rows++ % TITLES_EVERY == 0)
		put_titles(t, out);
	snprintf(place, sizeof place, total > 0 ? "%lld/%lld" : "%lld", (long long)step, (long long)total);
	str_addf(out, "%*s", STEP, place);
	for (const struct metrics_column *c = t->column; c->title; c++) {
		double x;
		const char *key = c->evaluation && t->evaluation ? t->evaluation : c->key;
		if (record_num(r, key, &x, &e) > 0)
			str_addf(out, c->format, c->width, c->digits, x);
		else
			str_addf(out, "%*s", c->width, c->evaluation ? "" : "-");
	}
	put_times(t, r, step, total, out);
	record_free(r);
}
