/* eval_rows - see eval_rows.h */
#include "lib/eval_rows.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/record.h"
#include "lib/util.h"

/* Text of a cell in Markdown, shown as it is: what would part cells or style them is escaped. */
static void put_escaped(struct str *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool in_word =
		        i > 0 && i + 1 < len && isalnum((unsigned char)s[i - 1]) && isalnum((unsigned char)s[i + 1]);
		if (s[i] && (strchr("\\|*<[`~&", s[i]) || (s[i] == '_' && !in_word)))
			str_addc(out, '\\');
		str_addc(out, iscntrl((unsigned char)s[i]) ? ' ' : s[i]);
	}
}

static void put_markdown(struct str *out, const char *s, size_t len)
{
	str_adds(out, " ");
	put_escaped(out, s, len);
	str_adds(out, " |");
}

void eval_rows_put(struct eval_rows *r, const char *name, double x)
{
	if (r->json) {
		str_addf(r->out, ",\"%s\":", name);
		json_put_num(r->out, x);
	} else if (isnan(x)) {
		str_addf(r->out, r->markdown ? " %s |" : " %10s", "-");
	} else {
		str_addf(r->out, r->markdown ? " %.4g |" : " %10.4g", x);
	}
}

void eval_rows_put_text(struct eval_rows *r, const char *name, const char *text)
{
	if (r->json) {
		str_addf(r->out, ",\"%s\":", name);
		json_put_str(r->out, text, strlen(text));
	} else if (r->markdown) {
		put_markdown(r->out, text, strlen(text));
	} else {
		str_addf(r->out, "  %s", text);
	}
}

/* As it is in a table; in the one of text, code points are counted as columns. */
static void put_group(const struct eval_rows *r, const char *json)
{
	size_t quoted = *json == '"', len = strlen(json) - 2 * quoted, columns = 0;
	json += quoted;
	for (size_t i = 0; i < len; i++)
		columns += ((unsigned char)json[i] & 0xc0) != 0x80;
	if (r->markdown)
		put_markdown(r->out, json, len);
	else
		str_addf(r->out, " %.*s%*s", (int)len, json, columns < 16 ? (int)(16 - columns) : 0, "");
}

/* Measure, group and n of a row of a table, or their names. */
static void put_front(const struct eval_rows *r, const char *measure, const char *group, const char *n)
{
	if (r->markdown) {
		str_addc(r->out, '|');
		put_markdown(r->out, measure, strlen(measure));
	} else {
		str_addf(r->out, "%-28s", measure);
	}
	if (r->grouped)
		put_group(r, group);
	str_addf(r->out, r->markdown ? " %s |" : " %8s", n);
}

void eval_rows_begin(struct eval_rows *r, const char *measure, const char *group, int64_t n)
{
	if (r->json) {
		str_adds(r->out, "{\"measure\":");
		json_put_str(r->out, measure, strlen(measure));
		if (r->grouped)
			str_addf(r->out, ",\"group\":%s", group);
		str_addf(r->out, ",\"n\":%lld", (long long)n);
	} else {
		char count[24];
		snprintf(count, sizeof count, "%lld", (long long)n);
		put_front(r, measure, group, count);
	}
}

int eval_rows_end(struct eval_rows *r, struct err *e)
{
	str_adds(r->out, r->json ? "}\n" : "\n");
	int failed = sink_write(r->tool->out, r->out->buf, r->out->len, e);
	str_clear(r->out);
	r->tool->n_out++;
	return failed < 0 ? -1 : 0;
}

int eval_rows_head(struct eval_rows *r, const char *const *names, size_t n, const char *text, struct err *e)
{
	if (r->json)
		return 0;
	put_front(r, "measure", "group", "n");
	for (size_t i = 0; i < n; i++)
		str_addf(r->out, r->markdown ? " %s |" : " %10s", names[i]);
	if (text)
		eval_rows_put_text(r, text, text);
	str_addc(r->out, '\n');
	if (r->markdown) {
		str_adds(r->out, r->grouped ? "| :-- | :-- | --: |" : "| :-- | --: |");
		for (size_t i = 0; i < n; i++)
			str_adds(r->out, " --: |");
		str_adds(r->out, text ? " :-- |\n" : "\n");
	}
	int failed = sink_write(r->tool->out, r->out->buf, r->out->len, e);
	str_clear(r->out);
	return failed < 0 ? -1 : 0;
}
