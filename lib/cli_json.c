/* cli_json - the effective options and the operands, for the store's log; see cli.h */
#include "lib/cli.h"

#include <string.h>

#include "lib/str.h"

/* Bytes of the UTF-8 character that text begins with; 0: it begins with none (RFC 3629, 4). */
static size_t character(const unsigned char *text)
{
	unsigned char a = text[0], low = 0x80, high = 0xbf;
	size_t n = a < 0x80 ? 1 : a < 0xc2 ? 0 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : a < 0xf5 ? 4 : 0;
	if (a == 0xe0)
		low = 0xa0;
	else if (a == 0xed)
		high = 0x9f;
	else if (a == 0xf0)
		low = 0x90;
	else if (a == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (text[i] < low || text[i] > high)
			return 0;
	return n;
}

/* A file's name can be any bytes, the log cannot: what is no UTF-8 becomes U+FFFD. */
static void json_string(struct str *s, const char *text)
{
	str_addc(s, '"');
	while (*text) {
		unsigned char ch = (unsigned char)*text;
		size_t n = character((const unsigned char *)text);
		if (n == 0)
			str_adds(s, "\\ufffd");
		else if (ch == '"' || ch == '\\')
			str_addf(s, "\\%c", ch);
		else if (ch < 0x20)
			str_addf(s, "\\u%04x", ch);
		else
			str_add(s, text, n);
		text += n ? n : 1;
	}
	str_addc(s, '"');
}

static void json_list(struct str *s, const char *const *item, size_t n)
{
	str_addc(s, '[');
	for (size_t i = 0; i < n; i++) {
		str_adds(s, i ? "," : "");
		json_string(s, item[i]);
	}
	str_addc(s, ']');
}

static void json_value(struct str *s, const struct opt *o, const void *base)
{
	const void *field = (const char *)base + o->offset;
	const char *text = NULL;
	switch (o->type) {
	case OPT_FLAG:
		str_adds(s, *(const bool *)field ? "true" : "false");
		break;
	case OPT_INT:
		str_addf(s, "%lld", (long long)*(const int64_t *)field);
		break;
	case OPT_NUM:
		str_addf(s, "%.17g", *(const double *)field);
		break;
	case OPT_STR:
		text = *(const char *const *)field;
		if (text)
			json_string(s, text);
		else
			str_adds(s, "null");
		break;
	case OPT_LIST:
		json_list(s, ((const struct cli_list *)field)->item, ((const struct cli_list *)field)->n);
		break;
	case OPT_CHOICE:
		text = o->meta;
		for (int i = *(const int *)field; i > 0 && *text; i--)
			text += strcspn(text, "|") + 1;
		str_addf(s, "\"%.*s\"", (int)strcspn(text, "|"), text);
		break;
	}
}

char *cli_options_json(const struct cli *c)
{
	struct str s;
	str_init(&s);
	str_addc(&s, '{');
	for (size_t g = 0; g < c->n_groups; g++)
		for (const struct opt *o = c->groups[g].rows; o->name; o++) {
			str_adds(&s, s.len > 1 ? "," : "");
			str_addf(&s, "\"%s\":", o->name);
			json_value(&s, o, c->groups[g].base);
		}
	str_addc(&s, '}');
	return str_detach(&s);
}

char *cli_operands_json(char *const *operands, int n)
{
	struct str s;
	str_init(&s);
	json_list(&s, (const char *const *)operands, (size_t)n);
	return str_detach(&s);
}
