/* eval_measure - see eval_measure.h */
#include "lib/eval_measure.h"

#include <ctype.h>
#include <string.h>

#include "lib/util.h"

static void trim(const char **s, size_t *len)
{
	for (; *len && isspace((unsigned char)**s); ++*s, --*len)
		;
	while (*len && isspace((unsigned char)(*s)[*len - 1]))
		--*len;
}

static int accuracy(const struct eval_texts *texts, struct record *r, double *x, double *w, struct arena *a,
                    struct err *e)
{
	(void)w;
	const char *text, **target;
	size_t len, *target_len;
	int64_t n;
	int got = eval_source_text(texts->text, r, &text, &len, a, e);
	if (got > 0)
		got = filter_strs(texts->target, r, &target, &target_len, &n, a, e);
	if (got <= 0)
		return got;
	*x = 0;
	trim(&text, &len);
	for (int64_t i = 0; i < n; i++) {
		trim(&target[i], &target_len[i]);
		if (len == target_len[i] && !memcmp(text, target[i], len))
			*x = 1;
	}
	return 1;
}

/* ---- BABILong ---- */

#define PLACES "bathroom bedroom garden hallway kitchen office"
static const struct {
	const char *task, *labels;
} tasks[] = {
        {"qa1", PLACES},
        {"qa2", PLACES},
        {"qa3", PLACES},
        {"qa4", PLACES},
        {"qa5", "bill fred jeff mary apple football milk"},
        {"qa6", "yes no"},
        {"qa7", "none one two three"},
        {"qa8", "apple football milk nothing"},
        {"qa9", "yes no"},
        {"qa10", "maybe yes no"},
        {"qa11", PLACES},
        {"qa12", PLACES},
        {"qa13", PLACES},
        {"qa14", "bedroom cinema kitchen office park school"},
        {"qa15", "cat mouse sheep wolf"},
        {"qa16", "gray green white yellow"},
        {"qa17", "yes no"},
        {"qa18", "yes no"},
        {"qa19", "n,n n,e n,w s,s s,e s,w e,e e,n e,s w,w w,n w,s"},
        {"qa20", "bedroom bored garden hungry kitchen thirsty tired"},
};

static int labels_of(struct record *r, const char **labels, struct err *e)
{
	const char *task = "qa1";
	size_t len = 3;
	if (record_str(r, "task", &task, &len, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
		*labels = tasks[i].labels;
		if (strlen(tasks[i].task) == len && !memcmp(tasks[i].task, task, len))
			return 0;
	}
	return err_set(e, "task '%.*s' is none of qa1 to qa20", (int)len, task);
}

static char *lower(const char *s, size_t len, struct arena *a)
{
	char *out = arena_strndup(a, s, len);
	for (size_t i = 0; i < len; i++)
		out[i] = (char)tolower((unsigned char)out[i]);
	return out;
}

static void cut_at(char *s, const char *mark)
{
	char *at = strstr(s, mark);
	if (at)
		*at = 0;
}

/* The next part of a list, a copy; NULL behind the last. */
static char *next_part(const char **list, const char *by, struct arena *a)
{
	if (!*list)
		return NULL;
	size_t len = strcspn(*list, by);
	char *part = arena_strndup(a, *list, len);
	*list = (*list)[len] ? *list + len + 1 : NULL;
	return part;
}

static bool answers(const char *answer, const char *question, const char *target, const char *labels, struct arena *a)
{
	const char *by = strlen(target) > 3 ? "," : "", *rest = target;
	int64_t given = 0, right = 0, wanted = 0;
	while (next_part(&rest, by, a))
		wanted++;
	for (char *label; (label = next_part(&labels, " ", a));) {
		if (!strstr(answer, label) || strstr(question, label))
			continue;
		given++;
		rest = target;
		for (char *part; (part = next_part(&rest, by, a));)
			right += !strcmp(part, label);
	}
	return given == wanted && right == wanted;
}

static int babilong(const struct eval_texts *texts, struct record *r, double *x, double *w, struct arena *a,
                    struct err *e)
{
	(void)w;
	const char *text, *target, *question = "", *labels;
	size_t len, target_len, question_len = 0;
	int got = record_str(r, "question", &question, &question_len, e);
	if (got == 0)
		got = record_str(r, "query", &question, &question_len, e);
	if (got < 0 || labels_of(r, &labels, e))
		return -1;
	got = eval_source_text(texts->text, r, &text, &len, a, e);
	if (got > 0)
		got = filter_str(texts->target, r, &target, &target_len, a, e);
	if (got <= 0)
		return got;
	char *answer = lower(text, len, a);
	cut_at(answer, ".");
	cut_at(answer, "<context>");
	cut_at(answer, "<example>");
	*x = answers(answer, lower(question, question_len, a), lower(target, target_len, a), labels, a);
	return 1;
}

static int perplexity(const struct eval_texts *texts, struct record *r, double *x, double *w, struct arena *a,
                      struct err *e)
{
	struct json v;
	double *p;
	int64_t n;
	(void)texts;
	if (record_json(r, "logprobs", &v, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT || v.kind == JSON_NULL)
		return 0;
	if (json_doubles(&v, "logprobs", &p, &n, a, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	*x = 0;
	*w = (double)n;
	for (int64_t i = 0; i < n; i++)
		*x -= p[i];
	return 1;
}

eval_measure eval_measure_find(const char *name, struct err *e)
{
	if (!strcmp(name, "accuracy"))
		return accuracy;
	if (!strcmp(name, "babilong"))
		return babilong;
	if (!strcmp(name, "perplexity"))
		return perplexity;
	err_set(e, "measure '@%s' is not known; there are @accuracy, @babilong and @perplexity", name);
	return NULL;
}

bool eval_measure_is_exp(eval_measure m)
{
	return m == perplexity;
}
