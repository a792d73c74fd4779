/* tokenizer_load - files to a tokenizer: tokenizer.json, or GPT-2's vocabulary and merges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/tokenizer_impl.h"
#include "lib/util.h"

/* The contents of a merge's two parts. */
struct pair {
	const char *s[2];
	size_t len[2];
};

/* A merge that waits for its turn. */
struct waiting {
	size_t whole; /* where its parts are, in loading.joined */
	size_t left, right;
	uint64_t pair;
	int32_t id;
};

#define BLOCK 64

/* Merges are looked up in blocks: three contents each, all over a table of megabytes, cost a wait for memory each if
 * they are taken one by one. */
struct loading {
	struct tokenizer *t;
	struct err *e;
	struct waiting merge[BLOCK];
	int n_merges;
	struct str joined;
};

/* ---- the model ---- */

static int load_token(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct loading *l = arg;

	(void)i;
	if (v->kind != JSON_NUMBER || !v->is_int)
		return err_set(l->e, "vocab: the id of '%.*s' is not an integer", (int)key_len, key);
	return tok_vocab_put(&l->t->vocab, key, key_len, v->integer, l->e);
}

static int pair_item(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct pair *p = arg;

	(void)key, (void)key_len;
	if (i > 1 || v->kind != JSON_STRING)
		return -1;
	p->s[i] = v->text;
	p->len[i] = v->len;
	return 0;
}

/* "a b", as older files and merges.txt have it. */
static int split_pair(const char *s, size_t len, struct pair *p)
{
	const char *space = memchr(s, ' ', len);

	if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - s)))
		return -1;
	*p = (struct pair){{s, space + 1}, {(size_t)(space - s), len - (size_t)(space + 1 - s)}};
	return 0;
}

static int add_waiting(struct loading *l)
{
	struct tokenizer *t = l->t;
	struct waiting *m;

	for (int step = 0; step < 3; step++)
		for (m = l->merge; m < l->merge + l->n_merges; m++) {
			const char *whole = l->joined.buf + m->whole;
			tok_vocab_warm(&t->vocab, whole, m->left, step);
			tok_vocab_warm(&t->vocab, whole + m->left, m->right, step);
			tok_vocab_warm(&t->vocab, whole, m->left + m->right, step);
		}
	for (m = l->merge; m < l->merge + l->n_merges; m++) {
		if (tok_merge_ids(t, t->n_merges + (int32_t)(m - l->merge), l->joined.buf + m->whole, m->left, m->right,
		                  &m->pair, &m->id, l->e))
			return -1;
		tok_merges_warm(&t->merges, m->pair);
	}
	for (m = l->merge; m < l->merge + l->n_merges; m++)
		tok_merges_put(&t->merges, m->pair, t->n_merges++, m->id);
	l->n_merges = 0;
	str_clear(&l->joined);
	return 0;
}

static int add_merge(struct loading *l, const struct pair *p)
{
	if (l->t->n_merges > INT32_MAX - BLOCK)
		return err_set(l->e, "more than %d merges", INT32_MAX - BLOCK);
	l->merge[l->n_merges++] = (struct waiting){.whole = l->joined.len, .left = p->len[0], .right = p->len[1]};
	str_add(&l->joined, p->s[0], p->len[0]);
	str_add(&l->joined, p->s[1], p->len[1]);
	return l->n_merges == BLOCK ? add_waiting(l) : 0;
}

static int load_merge(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct loading *l = arg;
	struct pair p = {0};
	int wrong = -1;

	(void)key, (void)key_len;
	if (v->kind == JSON_STRING)
		wrong = split_pair(v->text, v->len, &p);
	else if (v->kind == JSON_ARRAY)
		wrong = json_each(v, pair_item, &p) || !p.s[1];
	if (wrong)
		return err_set(l->e, "merge %lld is not a pair of tokens", (long long)i);
	return add_merge(l, &p);
}

static int model_flag(const struct json *m, const char *key, bool *out, struct err *e)
{
	struct json v;

	*out = false;
	if (!json_member(m, key, &v) || v.kind == JSON_NULL)
		return 0;
	if (v.kind != JSON_BOOL)
		return err_set(e, "'%s' is not true or false", key);
	*out = v.boolean;
	return 0;
}

/* Keys that change ids and that nothing here follows must be null (or empty). */
static int refuse_key(const struct json *m, const char *key, struct err *e)
{
	struct json v;

	if (!json_member(m, key, &v) || v.kind == JSON_NULL || (v.kind == JSON_STRING && v.len == 0))
		return 0;
	return err_set(e, "'%s' is not supported and must be null", key);
}

static int load_lists(struct loading *l, const struct json *m)
{
	struct json v;

	if (!json_member(m, "vocab", &v) || v.kind != JSON_OBJECT)
		return err_set(l->e, "'vocab' is missing or not an object");
	tok_vocab_reserve(&l->t->vocab, (size_t)json_length(&v));
	if (json_each(&v, load_token, l))
		return -1;
	if (!json_member(m, "merges", &v) || v.kind != JSON_ARRAY)
		return err_set(l->e, "'merges' is missing or not an array");
	tok_merges_init(&l->t->merges, (size_t)json_length(&v));
	return json_each(&v, load_merge, l) || add_waiting(l) ? -1 : 0;
}

static int load_model(struct loading *l, const struct json *m)
{
	struct tokenizer *t = l->t;
	struct json v;

	if (m->kind != JSON_OBJECT)
		return err_set(l->e, "'model' is missing");
	if (json_member(m, "type", &v) && (v.kind != JSON_STRING || v.len != 3 || memcmp(v.text, "BPE", 3)))
		return err_set(l->e, "type '%.*s' is not supported; only BPE is",
		               v.kind == JSON_STRING ? (int)v.len : 0, v.kind == JSON_STRING ? v.text : "");
	if (refuse_key(m, "dropout", l->e) || refuse_key(m, "continuing_subword_prefix", l->e) ||
	    refuse_key(m, "end_of_word_suffix", l->e) || model_flag(m, "fuse_unk", &t->fuse_unk, l->e) ||
	    model_flag(m, "byte_fallback", &t->byte_fallback, l->e) ||
	    model_flag(m, "ignore_merges", &t->ignore_merges, l->e) || load_lists(l, m))
		return -1;
	if (!json_member(m, "unk_token", &v) || v.kind == JSON_NULL)
		return 0;
	if (v.kind != JSON_STRING)
		return err_set(l->e, "'unk_token' is not a string");
	t->unk = tok_vocab_id(&t->vocab, v.text, v.len);
	return t->unk >= 0 ? 0 : err_set(l->e, "unk_token '%.*s' is not in the vocabulary", (int)v.len, v.text);
}

/* ---- added tokens ---- */

static int load_added(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	static const char *const keys[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
	struct loading *l = arg;
	struct tok_added a = {0};
	bool *const flags[] = {&a.single_word, &a.lstrip, &a.rstrip, &a.normalized, &a.special};
	struct json content, id;

	(void)key, (void)key_len;
	if (!json_member(v, "content", &content) || content.kind != JSON_STRING)
		return err_set(l->e, "added token %lld has no content", (long long)i);
	if (!json_member(v, "id", &id) || id.kind != JSON_NUMBER || !id.is_int)
		return err_set(l->e, "added token %lld has no id", (long long)i);
	for (size_t k = 0; k < ARRAY_LEN(keys); k++)
		if (model_flag(v, keys[k], flags[k], l->e))
			return err_where(l->e, "added token %lld", (long long)i);
	return tok_add_added(l->t, content.text, content.len, id.integer, &a, l->e);
}

/* ---- whole files ---- */

static void part(const struct json *v, const char *key, struct json *out)
{
	if (!json_member(v, key, out))
		*out = (struct json){0};
}

static int load_document(struct loading *l, const struct json *v)
{
	struct json x;

	if (v->kind != JSON_OBJECT)
		return err_set(l->e, "not an object");
	part(v, "model", &x);
	if (load_model(l, &x))
		return err_where(l->e, "model");
	part(v, "added_tokens", &x);
	if (x.kind == JSON_ARRAY && json_each(&x, load_added, l))
		return -1;
	part(v, "normalizer", &x);
	if (tok_load_normalizer(l->t, &x, l->e))
		return -1;
	part(v, "pre_tokenizer", &x);
	if (tok_load_pre_tokenizer(l->t, &x, l->e))
		return -1;
	part(v, "decoder", &x);
	if (tok_load_decoder(l->t, &x, l->e))
		return -1;
	part(v, "post_processor", &x);
	if (tok_load_post_processor(l->t, &x, l->e))
		return -1;
	return tok_finish(l->t, l->e);
}

/* NULL, with the name in front of the message, when loading failed. */
static struct tokenizer *loaded(struct loading *l, int failed, const char *name)
{
	str_release(&l->joined);
	if (!failed)
		return l->t;
	err_where(l->e, "%s", name);
	tokenizer_free(l->t);
	return NULL;
}

struct tokenizer *tokenizer_from_json(const char *text, size_t len, const char *name, struct err *e)
{
	struct loading l = {.t = tok_new(), .e = e};
	struct record *r = record_new();
	struct json v;

	str_init(&l.joined);
	int failed = record_parse_value(r, text, len, &v, e) || load_document(&l, &v);

	record_free(r);
	return loaded(&l, failed, name);
}

static int load_merges_text(struct loading *l, const char *s, size_t len)
{
	struct pair p;
	size_t n = 0;

	tok_merges_init(&l->t->merges, len / 8);
	for (size_t at = 0, line_len; at < len; at += line_len + 1) {
		const char *end = memchr(s + at, '\n', len - at);
		line_len = end ? (size_t)(end - s) - at : len - at;
		size_t shown = line_len - (line_len && s[at + line_len - 1] == '\r');
		n++;
		/* only a first line: tokens may begin with # */
		if (shown == 0 || (n == 1 && shown >= 8 && !memcmp(s + at, "#version", 8)))
			continue;
		if (split_pair(s + at, shown, &p))
			return err_set(l->e, "line %zu of the merges is not a pair of tokens", n);
		if (add_merge(l, &p))
			return -1;
	}
	return add_waiting(l);
}

#define GPT2_END "<|endoftext|>"

static int load_gpt2(struct loading *l, const struct json *v, const char *merges, size_t len)
{
	static const struct tok_added special = {.special = true};
	int32_t end;

	if (v->kind != JSON_OBJECT)
		return err_set(l->e, "the vocabulary is not an object");
	if (json_each(v, load_token, l) || load_merges_text(l, merges, len) || tok_gpt2_steps(l->t, l->e))
		return -1;
	end = tok_vocab_id(&l->t->vocab, GPT2_END, strlen(GPT2_END));
	if (end >= 0 && tok_add_added(l->t, GPT2_END, strlen(GPT2_END), end, &special, l->e))
		return -1;
	return tok_finish(l->t, l->e);
}

struct tokenizer *tokenizer_from_vocab(const char *vocab, size_t vocab_len, const char *merges, size_t merges_len,
                                       const char *name, struct err *e)
{
	struct loading l = {.t = tok_new(), .e = e};
	struct record *r = record_new();
	struct json v;

	str_init(&l.joined);
	int failed = record_parse_value(r, vocab, vocab_len, &v, e) || load_gpt2(&l, &v, merges, merges_len);

	record_free(r);
	return loaded(&l, failed, name);
}

/* ---- paths ---- */

static int read_file(const char *path, struct str *out, struct err *e)
{
	struct stat st;
	FILE *f = fopen(path, "rbe");
	int rc = 0;

	if (!f)
		return err_errno(e, "%s", path);
	if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)TOK_MAX_TEXT) {
		rc = err_set(e, "%s: not a regular file of at most %zu bytes", path, TOK_MAX_TEXT);
	} else {
		str_reserve(out, (size_t)st.st_size);
		out->len = fread(out->buf, 1, (size_t)st.st_size, f);
		out->buf[out->len] = 0;
		if (ferror(f) || out->len != (size_t)st.st_size)
			rc = err_set(e, "%s: read %zu bytes, expected %lld", path, out->len, (long long)st.st_size);
	}
	fclose(f);
	return rc;
}

static bool is_there(const char *dir, const char *name, char *path, size_t size)
{
	struct stat st;

	return snprintf(path, size, "%s/%s", dir, name) < (int)size && stat(path, &st) == 0;
}

static struct tokenizer *open_pair(const char *vocab, const char *merges, struct err *e)
{
	struct tokenizer *t = NULL;
	struct str v, m;

	str_init(&v);
	str_init(&m);
	if (!read_file(vocab, &v, e) && !read_file(merges, &m, e))
		t = tokenizer_from_vocab(v.buf, v.len, m.buf, m.len, vocab, e);
	str_release(&v);
	str_release(&m);
	return t;
}

struct tokenizer *tokenizer_open(const char *path, struct err *e)
{
	static const char *const pairs[][2] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}};
	char json[4096], merges[4096];
	struct tokenizer *t = NULL;
	struct stat st;
	struct str text;

	if (stat(path, &st)) {
		err_errno(e, "%s", path);
		return NULL;
	}
	snprintf(json, sizeof json, "%s", path);
	if (S_ISDIR(st.st_mode) && !is_there(path, "tokenizer.json", json, sizeof json)) {
		for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
			if (is_there(path, pairs[i][0], json, sizeof json) &&
			    is_there(path, pairs[i][1], merges, sizeof merges))
				return open_pair(json, merges, e);
		err_set(e, "%s: holds neither tokenizer.json nor vocab.json and merges.txt", path);
		return NULL;
	}
	str_init(&text);
	if (!read_file(json, &text, e))
		t = tokenizer_from_json(text.buf, text.len, json, e);
	str_release(&text);
	return t;
}
