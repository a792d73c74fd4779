/* bm25_corpus - see bm25_corpus.h */
#include "lib/bm25_corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/record.h"
#include "lib/str.h"
#include "lib/stream.h"
#include "lib/utf8.h"
#include "lib/util.h"

enum shape { SHAPE_UNKNOWN, SHAPE_LINES, SHAPE_ARRAY, SHAPE_TREC };

struct corpus {
	struct stream *in;
	struct filter *id_filter, *text_filter;
	enum shape shape;
	struct record *record;
	struct arena arena;
	struct str raw, joined, id;
	int64_t line, element; /* where the document began */
	char *at;              /* what is left of the current line (array, TREC) */
	size_t left;
	bool closed; /* the array has ended */
};

struct corpus *corpus_open(const char *path, struct filter *id, struct filter *text, struct err *e)
{
	struct stream *in = stream_open(path, e);
	if (!in)
		return NULL;
	struct corpus *c = xcalloc(1, sizeof *c);
	c->in = in;
	c->id_filter = id;
	c->text_filter = text;
	c->record = record_new();
	arena_init(&c->arena);
	str_init(&c->raw);
	str_init(&c->joined);
	str_init(&c->id);
	return c;
}

void corpus_close(struct corpus *c)
{
	if (!c)
		return;
	stream_close(c->in);
	record_free(c->record);
	arena_release(&c->arena);
	str_release(&c->raw);
	str_release(&c->joined);
	str_release(&c->id);
	free(c);
}

int64_t corpus_consumed(const struct corpus *c)
{
	return stream_consumed(c->in);
}

int64_t corpus_size(const struct corpus *c)
{
	return stream_size(c->in);
}

int corpus_where(const struct corpus *c, struct err *e)
{
	if (c->shape == SHAPE_ARRAY)
		return err_where(e, "%s: element %lld", stream_name(c->in), (long long)c->element);
	return err_where(e, "%s:%lld", stream_name(c->in), (long long)c->line);
}

/* ---- a JSON object ---- */

static int get_id(struct corpus *c, int64_t number, struct corpus_document *out, struct err *e)
{
	struct json v;
	if (!c->id_filter)
		return record_id(c->record, number, &out->id, &out->id_len, &c->arena, e) < 0 ? -1 : 0;
	if (filter_run(c->id_filter, c->record, &v, &c->arena, e))
		return -1;
	if (v.kind == JSON_NUMBER && v.is_int) {
		out->id = arena_printf(&c->arena, "%lld", (long long)v.integer);
		out->id_len = strlen(out->id);
		return 0;
	}
	if (v.kind != JSON_STRING)
		return err_set(e, "--id: '%s' gives no string", filter_program(c->id_filter));
	out->id = v.text;
	out->id_len = v.len;
	return 0;
}

static int get_text(struct corpus *c, struct corpus_document *out, struct err *e)
{
	const char *title;
	size_t title_len = 0;
	int found;
	if (c->text_filter) {
		if ((found = filter_str(c->text_filter, c->record, &out->text, &out->len, &c->arena, e)) == 0)
			return err_set(e, "--text: '%s' gives nothing", filter_program(c->text_filter));
		return found < 0 ? -1 : 0;
	}
	if ((found = record_str(c->record, "text", &out->text, &out->len, e)) == 0)
		found = record_str(c->record, "contents", &out->text, &out->len, e);
	if (found == 0)
		return err_set(e, "no 'text' or 'contents'; --text FILTER names what is indexed");
	if (found < 0 || (found = record_str(c->record, "title", &title, &title_len, e)) < 0)
		return -1;
	if (!found || !title_len)
		return 0;
	str_clear(&c->joined);
	str_add(&c->joined, title, title_len);
	str_addc(&c->joined, ' ');
	str_add(&c->joined, out->text, out->len);
	out->text = c->joined.buf;
	out->len = c->joined.len;
	return 0;
}

static int read_object(struct corpus *c, const char *json, size_t len, int64_t number, struct corpus_document *out,
                       struct err *e)
{
	arena_reset(&c->arena);
	if (record_parse(c->record, json, len, e) || get_id(c, number, out, e) || get_text(c, out, e)) {
		corpus_where(c, e);
		return -1;
	}
	return 1;
}

/* ---- lines ---- */

/* The next line that is not blank into at and left: 1, 0, -1. */
static int next_line(struct corpus *c, struct err *e)
{
	int rc;
	while ((rc = stream_next(c->in, &c->at, &c->left, e)) > 0) {
		size_t space = strspn(c->at, " \t");
		if (space == c->left)
			continue;
		c->at += space;
		c->left -= space;
		return 1;
	}
	c->left = 0;
	return rc;
}

static int next_object(struct corpus *c, struct corpus_document *out, struct err *e)
{
	int rc = c->left ? 1 : next_line(c, e);
	if (rc <= 0)
		return rc;
	c->line = stream_line(c->in);
	size_t len = c->left;
	c->left = 0;
	return read_object(c, c->at, len, c->line, out, e);
}

/* ---- an array ---- */

static int array_fault(struct corpus *c, const char *what, struct err *e)
{
	err_set(e, "not JSON: %s", what);
	return err_where(e, "%s: element %lld", stream_name(c->in), (long long)c->element);
}

/* Bytes of the line that belong to the element that has begun; *depth 0 when they end it. */
static size_t take_part(const char *s, size_t len, int *depth, bool *quoted)
{
	for (size_t i = 0; i < len; i++) {
		if (*quoted) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				*quoted = false;
			continue;
		}
		if (s[i] == '"')
			*quoted = true;
		else if (s[i] == '{' || s[i] == '[')
			++*depth;
		else if ((s[i] == '}' || s[i] == ']') && --*depth == 0)
			return i + 1;
	}
	return len;
}

static void skip(struct corpus *c, size_t n)
{
	c->at += n;
	c->left -= n;
}

/* To the next byte that is no white space: 1; 0 at the end of the input. */
static int skip_space(struct corpus *c, struct err *e)
{
	for (;;) {
		while (c->left && *c->at && strchr(" \t\r", *c->at))
			skip(c, 1);
		if (c->left)
			return 1;
		int rc = next_line(c, e);
		if (rc <= 0)
			return rc;
	}
}

/* What may stand in front of element number c->element: 1 an element follows, 0 the array and the file have ended. */
static int find_element(struct corpus *c, struct err *e)
{
	int rc = c->closed ? 1 : skip_space(c, e);
	if (rc <= 0)
		return rc < 0 ? -1 : array_fault(c, "the array does not end", e);
	if (!c->closed && *c->at == ']') {
		c->closed = true;
		skip(c, 1);
	} else if (!c->closed && c->element > 1) {
		if (*c->at != ',')
			return array_fault(c, "no comma between elements", e);
		skip(c, 1);
		rc = skip_space(c, e);
		if (rc <= 0)
			return rc < 0 ? -1 : array_fault(c, "the array does not end", e);
	}
	if (!c->closed)
		return 1;
	rc = skip_space(c, e);
	return rc <= 0 ? rc : array_fault(c, "something stands behind the array", e);
}

static int next_element(struct corpus *c, struct corpus_document *out, struct err *e)
{
	int depth = 0, rc;
	bool quoted = false;
	c->element++;
	if ((rc = find_element(c, e)) <= 0)
		return rc;
	if (*c->at != '{')
		return array_fault(c, "an element that is no object", e);
	str_clear(&c->raw);
	for (;;) {
		size_t n = take_part(c->at, c->left, &depth, &quoted);
		str_add(&c->raw, c->at, n);
		skip(c, n);
		if (!depth)
			return read_object(c, c->raw.buf, c->raw.len, c->element, out, e);
		if (quoted)
			return array_fault(c, "a line ends inside a string", e);
		str_addc(&c->raw, '\n');
		if (c->raw.len > STREAM_MAX_LINE)
			return array_fault(c, "longer than 1 GiB", e);
		if ((rc = next_line(c, e)) <= 0)
			return rc < 0 ? -1 : array_fault(c, "the array does not end", e);
	}
}

/* ---- TREC text ---- */

static bool is_tag(const char *s, size_t len, const char *name)
{
	size_t n = strlen(name);
	return len > n && !strncasecmp(s, name, n) && strchr("> \t\r\n", s[n]);
}

static int trec_fault(struct corpus *c, const char *what, struct err *e)
{
	err_set(e, "%s", what);
	corpus_where(c, e);
	return -1;
}

/* The lines from <DOC> to </DOC> into raw: 1, 0 at the end. */
static int read_doc(struct corpus *c, struct err *e)
{
	char *line;
	size_t len;
	int rc;
	do {
		if (c->left) {
			line = c->at;
			len = c->left;
			c->left = 0;
		} else if ((rc = stream_next(c->in, &line, &len, e)) <= 0) {
			return rc;
		}
		line += strspn(line, " \t");
	} while (!*line);
	c->line = stream_line(c->in);
	if (!is_tag(line, strlen(line), "<doc"))
		return trec_fault(c, "expected <DOC>", e);
	str_clear(&c->raw);
	str_adds(&c->raw, line); /* up to a byte of zero, behind which </DOC> is not found */
	while (!strcasestr(c->raw.buf + (c->raw.len > len + 8 ? c->raw.len - len - 8 : 0), "</doc>")) {
		if ((rc = stream_next(c->in, &line, &len, e)) <= 0)
			return rc < 0 ? -1 : trec_fault(c, "the file ends before </DOC>", e);
		if (memchr(line, 0, len))
			return trec_fault(c, "a byte of zero", e);
		str_addc(&c->raw, '\n');
		str_add(&c->raw, line, len);
		if (c->raw.len > STREAM_MAX_LINE)
			return trec_fault(c, "a document is longer than 1 GiB", e);
	}
	return 1;
}

static size_t put_entity(const char *s, struct str *out)
{
	static const struct {
		const char *name;
		char c;
	} entity[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
	for (size_t i = 0; i < ARRAY_LEN(entity); i++) {
		size_t n = strlen(entity[i].name);
		if (strncmp(s, entity[i].name, n))
			continue;
		str_addc(out, entity[i].c);
		return n;
	}
	str_addc(out, *s);
	return 1;
}

/* Text without tags; a '<' that begins no tag is text. */
static void strip_tags(const char *s, const char *end, struct str *out)
{
	while (s < end) {
		const char *close = *s == '<' && s + 1 < end && strchr("/!?", s[1]) ? s + 1 : s;
		bool letter = close + 1 < end && (close[1] | 0x20) >= 'a' && (close[1] | 0x20) <= 'z';
		const char *gt = *s == '<' && (letter || close > s) ? memchr(s, '>', (size_t)(end - s)) : NULL;
		if (gt) {
			str_addc(out, ' ');
			s = gt + 1;
		} else if (*s == '&') {
			s += put_entity(s, out);
		} else {
			str_addc(out, *s++);
		}
	}
}

/* Finds <NAME>..</NAME>: where its content begins and ends, and with its tags. */
static bool element(char *s, const char *name, char **open, char **begin, char **end, char **close)
{
	char tag[32];
	snprintf(tag, sizeof tag, "<%s>", name);
	if (!(*open = strcasestr(s, tag)))
		return false;
	*begin = *open + strlen(tag);
	snprintf(tag, sizeof tag, "</%s>", name);
	if (!(*end = strcasestr(*begin, tag)))
		return false;
	*close = *end + strlen(tag);
	return true;
}

static int next_trec(struct corpus *c, struct corpus_document *out, struct err *e)
{
	int rc = read_doc(c, e);
	char *open, *begin, *end, *close, *a, *b;
	if (rc <= 0)
		return rc;
	if (!utf8_valid(c->raw.buf, c->raw.len))
		return trec_fault(c, "not valid UTF-8; iconv turns older text into it", e);
	char *stop = strcasestr(c->raw.buf, "</doc>"), *behind = stop + strlen("</doc>");
	if (behind[strspn(behind, " \t\r")])
		return trec_fault(c, "something stands behind </DOC> on its line", e);
	*stop = 0;
	if (!element(c->raw.buf, "docno", &open, &begin, &end, &close))
		return trec_fault(c, "a document without <DOCNO>", e);
	a = begin + strspn(begin, " \t\r\n");
	for (b = end; b > a && strchr(" \t\r\n", b[-1]); b--)
		;
	str_clear(&c->id);
	str_add(&c->id, a, (size_t)(b - a));
	str_clear(&c->joined);
	strip_tags(c->raw.buf + strcspn(c->raw.buf, ">") + 1, open, &c->joined);
	if (element(close, "dochdr", &a, &begin, &end, &b)) {
		strip_tags(close, a, &c->joined);
		close = b;
	}
	strip_tags(close, stop, &c->joined);
	*out = (struct corpus_document){c->id.buf, c->joined.buf, c->id.len, c->joined.len};
	return 1;
}

/* ---- all of them ---- */

int corpus_next(struct corpus *c, struct corpus_document *out, struct err *e)
{
	if (c->shape == SHAPE_UNKNOWN) {
		int rc = next_line(c, e);
		if (rc <= 0)
			return rc;
		c->shape = *c->at == '[' ? SHAPE_ARRAY : *c->at == '<' ? SHAPE_TREC : SHAPE_LINES;
		if (c->shape == SHAPE_ARRAY)
			skip(c, 1);
		if (c->shape == SHAPE_TREC && (c->id_filter || c->text_filter))
			return err_set(e, "%s: TREC text has no fields for --id and --text", stream_name(c->in));
	}
	switch (c->shape) {
	case SHAPE_ARRAY:
		return next_element(c, out, e);
	case SHAPE_TREC:
		return next_trec(c, out, e);
	default:
		return next_object(c, out, e);
	}
}
