/* tokenizer_train: lists of merges by hand, and those of ../shared/golden/tokenizers/training. */
#include "lib/record.h"
#include "lib/test.h"
#include "lib/tokenizer.h"
#include "lib/tokenizer_train.h"
#include "lib/util.h"

static const char *const none[] = {NULL};

static char *slurp(const char *path, size_t *len)
{
	FILE *f = path ? fopen(path, "rb") : NULL;
	char *text;

	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*len = (size_t)ftell(f);
	rewind(f);
	text = xmalloc(*len + 1);
	*len = fread(text, 1, *len, f);
	text[*len] = 0;
	fclose(f);
	return text;
}

/* [file, first byte, bytes] of data/text. */
struct slice {
	char path[256];
	int64_t number[3];
};

static int slice_part(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct slice *s = arg;

	(void)key, (void)key_len;
	if (v->kind == JSON_STRING)
		snprintf(s->path, sizeof s->path, "data/text/%.*s", (int)v->len, v->text);
	else if (i < 3)
		s->number[i] = v->integer;
	return 0;
}

/* The whole file, of which the slice begins at *text. */
static char *read_slice(const struct json *v, const char **text, size_t *len)
{
	struct slice s = {0};
	size_t size;
	char *all;

	json_each(v, slice_part, &s);
	all = slurp(test_shared(s.path), &size);
	if (!all || (size_t)(s.number[1] + s.number[2]) > size)
		return NULL;
	*text = all + s.number[1];
	*len = (size_t)s.number[2];
	return all;
}

static int add_document(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct err e;

	(void)i, (void)key, (void)key_len;
	return tokenizer_train_add(arg, v->text, v->len, &e);
}

struct list {
	const char *item[8];
	size_t n;
};

static int keep_string(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct list *l = arg;

	(void)i, (void)key, (void)key_len;
	l->item[l->n++] = xstrndup(v->text, v->len);
	return 0;
}

static int check_count(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	const struct tokenizer_train *t = arg;
	const char *left, *right;
	size_t n, m;

	(void)key, (void)key_len;
	if (i < tokenizer_train_merges(t))
		CHECK_INT(tokenizer_train_merge(t, i, &left, &n, &right, &m), v->integer);
	return 0;
}

struct expected {
	const struct tokenizer_train *t;
	int64_t row;
	int bad;
};

static int check_part(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct expected *x = arg;
	const char *part[2] = {"", ""};
	size_t len[2] = {0, 0};

	(void)key, (void)key_len;
	if (x->row < tokenizer_train_merges(x->t))
		tokenizer_train_merge(x->t, x->row, &part[0], &len[0], &part[1], &len[1]);
	if (len[i] != v->len || memcmp(part[i], v->text, v->len)) {
		if (x->bad++ < 3)
			test_fail(__FILE__, __LINE__, "merge %lld, part %lld is '%.*s', expected '%.*s'",
			          (long long)x->row, (long long)i, (int)len[i], part[i], (int)v->len, v->text);
	}
	return 0;
}

static int check_merge(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct expected *x = arg;

	(void)key, (void)key_len;
	x->row = i;
	return json_each(v, check_part, x);
}

/* The trained file is read again and gives the number of tokens of the held-out text. */
static void check_held_out(const struct tokenizer_train *t, const struct record *r)
{
	struct json where;
	struct err e;
	struct arena a;
	struct str json;
	const char *text;
	size_t len;
	int32_t *ids;
	int64_t n = 0, want = 0;

	arena_init(&a);
	str_init(&json);
	tokenizer_train_json(t, &json);
	struct tokenizer *tok = tokenizer_from_json(json.buf, json.len, "trained", &e);
	record_json(r, "held_out", &where, &e);
	char *all = read_slice(&where, &text, &len);
	if (!tok || !all || tokenizer_encode(tok, text, len, 0, &ids, &n, &a, &e))
		test_fail(__FILE__, __LINE__, "held-out text: %s", e.msg);
	record_int(r, "held_out_tokens", &want, &e);
	CHECK_INT(n, want);
	tokenizer_free(tok);
	free(all);
	str_release(&json);
	arena_release(&a);
}

static void golden(const char *name, const char *split)
{
	char path[128];
	size_t len;
	struct err e;
	struct json v;
	struct list special = {.n = 0};
	int64_t vocab_size = 0, least = 0;
	char *all = NULL;
	const char *text;

	snprintf(path, sizeof path, "golden/tokenizers/training/%s.json", name);
	test_case(name);
	char *file = slurp(test_shared(path), &len);
	if (!file)
		return test_skip("no golden data beside the tree");
	struct record *r = record_new();
	CHECK(record_parse(r, file, len, &e) == 0);
	CHECK(record_int(r, "vocab_size", &vocab_size, &e) == 1 && record_int(r, "min_frequency", &least, &e) == 1);
	if (record_json(r, "special_tokens", &v, &e) == 1)
		json_each(&v, keep_string, &special);
	struct tokenizer_train_config c = {split, vocab_size, least, special.item, special.n};
	struct tokenizer_train *t = tokenizer_train_new(&c, &e);
	CHECK(t != NULL);
	if (record_json(r, "documents", &v, &e) == 1) {
		CHECK_INT(json_each(&v, add_document, t), 0);
	} else {
		CHECK(record_json(r, "corpus", &v, &e) == 1);
		all = read_slice(&v, &text, &len);
		CHECK(all && tokenizer_train_add(t, text, len, &e) == 0);
	}
	tokenizer_train_run(t);
	CHECK(record_json(r, "merges", &v, &e) == 1);
	CHECK_INT(tokenizer_train_merges(t), json_length(&v));
	struct expected x = {.t = t};
	json_each(&v, check_merge, &x);
	CHECK_INT(x.bad, 0);
	if (record_json(r, "counts", &v, &e) == 1)
		json_each(&v, check_count, t);
	check_held_out(t, r);
	tokenizer_train_free(t);
	record_free(r);
	for (size_t i = 0; i < special.n; i++)
		free((char *)special.item[i]);
	free(all);
	free(file);
}

static struct tokenizer_train *train(const char *text, int64_t size, int64_t least)
{
	struct tokenizer_train_config c = {"gpt2", size, least, none, 0};
	struct err e;
	struct tokenizer_train *t = tokenizer_train_new(&c, &e);

	CHECK(tokenizer_train_add(t, text, strlen(text), &e) == 0);
	tokenizer_train_run(t);
	return t;
}

static void check_list(const struct tokenizer_train *t, const char *want)
{
	struct str s;
	const char *left, *right;
	size_t n, m;

	str_init(&s);
	for (int64_t i = 0; i < tokenizer_train_merges(t); i++) {
		int64_t count = tokenizer_train_merge(t, i, &left, &n, &right, &m);
		str_addf(&s, "%.*s+%.*s:%lld ", (int)n, left, (int)m, right, (long long)count);
	}
	CHECK_STR(s.buf, want);
	str_release(&s);
}

static void refused(const char *split, int64_t size, const char *special, const char *why)
{
	struct tokenizer_train_config c = {split, size, 0, &special, special != NULL};
	struct err e = {""};
	struct tokenizer_train *t = tokenizer_train_new(&c, &e);

	CHECK(t == NULL);
	CHECK_STR(e.msg, why);
	tokenizer_train_free(t);
}

int main(void)
{
	test_case("overlapping places count, and are joined from the left");
	struct tokenizer_train *t = train("aaaaa", 300, 0);
	check_list(t, "a+a:4 aa+a:1 aa+aaa:1 ");
	tokenizer_train_free(t);

	test_case("of equal counts the lowest left id, then the lowest right id");
	t = train("zy zx ab", 260, 0);
	/* the space is U+0120, above the letters */
	check_list(t, "a+b:1 z+x:1 z+y:1 \xC4\xA0+ab:1 ");
	tokenizer_train_free(t);

	test_case("a count below the least ends it");
	t = train("ab ab ab cd cd", 1000, 3);
	check_list(t, "a+b:3 ");
	tokenizer_train_free(t);

	test_case("the vocabulary size is kept to");
	t = train("ab ab ab cd cd", 257, 0);
	CHECK_INT(tokenizer_train_size(t), 257);
	tokenizer_train_free(t);

	test_case("what cannot be is refused");
	refused("words", 512, NULL, "split 'words' is not one of gpt2, llama3, qwen2");
	refused("gpt2", 255, NULL, "a vocabulary of 255; with the bytes and 0 special tokens from 256 to 16777216");
	refused("gpt2", 512, "a", "special token 'a' is the character of a byte");
	refused("gpt2", 512, "", "a special token of 0 bytes; from 1 to 4096");
	refused("gpt2", 512, "\xFF", "special token '\xFF' is not valid UTF-8");

	golden("exhausted", "gpt2");
	golden("frequent-only", "gpt2");
	golden("prose-700", "gpt2");
	golden("ties", "gpt2");
	golden("wiki-512", "gpt2");
	golden("wiki-1000", "gpt2");
	golden("shakespeare-1000", "llama3");
	return test_done();
}
