/* eval_group - see eval_group.h */
#include "lib/eval_group.h"

#include <math.h>
#include <string.h>

#include "lib/util.h"

int eval_group_of(struct filter *f, struct record *r, char **name, struct arena *a, struct err *e)
{
	struct json v;
	struct str s;
	*name = NULL;
	if (filter_run(f, r, &v, a, e))
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return 0;
	if (v.kind == JSON_ARRAY || v.kind == JSON_OBJECT)
		return err_set(e, "--group-by '%s' is an %s here, expected a string, a number or a boolean",
		               filter_program(f), v.kind == JSON_ARRAY ? "array" : "object");
	str_init(&s);
	if (v.kind == JSON_STRING)
		json_put_str(&s, v.text, v.len);
	else if (v.kind == JSON_BOOL)
		str_adds(&s, v.boolean ? "true" : "false");
	else if (v.is_int)
		json_put_int(&s, v.integer);
	else if (v.number == trunc(v.number) && fabs(v.number) <= 0x1p53)
		json_put_int(&s, (int64_t)v.number);
	else
		json_put_num(&s, v.number);
	*name = str_detach(&s);
	return 1;
}

static int kind_of(const char *json)
{
	return *json == '"' ? 2 : *json != 'f' && *json != 't';
}

int eval_group_order(const char *a, const char *b)
{
	int kind = kind_of(a), order = kind - kind_of(b);
	double x, y;
	if (!order && kind == 1 && parse_double(a, &x) && parse_double(b, &y))
		order = (x > y) - (x < y);
	if (order)
		return order;
	return kind == 2 ? strverscmp(a, b) : strcmp(a, b);
}
