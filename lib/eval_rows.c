/* eval_rows - see eval_rows.h */
#include "lib/eval_rows.h"

#include <math.h>
#include <string.h>

#include "lib/record.h"
#include "lib/util.h"

/* A cell of a row; NaN is null in JSON and a dash in the table. */
void eval_rows_put(struct eval_rows *r, const char *name, double x)
{
	if (r->json) {
		str_addf(r->out, ",\"%s\":", name);
		json_put_num(r->out, x);
	} else if (isnan(x)) {
		str_addf(r->out, " %10s", "-");
	} else {
		str_addf(r->out, " %10.4g", x);
	}
}

/* As it is in the table: code points are counted as columns. */
static void put_group(struct str *out, const char *json)
{
	size_t len = strlen(json), quoted = *json == '"', columns = 0;
	for (size_t i = quoted; i < len - quoted; i++)
		columns += ((unsigned char)json[i] & 0xc0) != 0x80;
	str_addf(out, " %.*s%*s", (int)(len - 2 * quoted), json + quoted, columns < 16 ? (int)(16 - columns) : 0, "");
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
		str_addf(r->out, "%-28s", measure);
		if (r->grouped)
			put_group(r->out, group);
		str_addf(r->out, " %8lld", (long long)n);
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

int eval_rows_head(struct eval_rows *r, const char *const *names, size_t n, struct err *e)
{
	if (r->json)
		return 0;
	str_addf(r->out, "%-28s", "measure");
	if (r->grouped)
		put_group(r->out, "group");
	str_addf(r->out, " %8s", "n");
	for (size_t i = 0; i < n; i++)
		str_addf(r->out, " %10s", names[i]);
	str_addc(r->out, '\n');
	int failed = sink_write(r->tool->out, r->out->buf, r->out->len, e);
	str_clear(r->out);
	return failed < 0 ? -1 : 0;
}
