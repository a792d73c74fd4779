/* tokenizer_train - a byte-level BPE from text. */
#include "lib/tokenizer_train.h"

#include <stdlib.h>
#include <string.h>

#include "lib/record.h"
#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

/* A distinct word: its bytes, later its symbols. */
struct word {
	size_t at; /* in bytes, then in symbols */
	int32_t len;
	int32_t stamp; /* the merge that changed it last */
	int64_t count;
};

/* An adjacent pair of ids: how often, and in which words (some may have lost it). */
struct pair {
	uint64_t key;
	int64_t count;
	int32_t *where;
	int32_t n_where, cap_where;
	int32_t stamp; /* the merge that raised it last */
};

struct candidate {
	int64_t count;
	uint64_t key;
	size_t pair;
};

struct merge {
	int32_t left, right;
	int64_t count;
};

struct tokenizer_train {
	struct tokenizer_train_config c;
	struct tokenizer *steps; /* only its pre-tokenizer is used */
	struct tok_vocab vocab;
	int32_t byte_id[256];

	struct str bytes; /* of all words */
	struct word *word;
	size_t n_words, cap_words;
	uint32_t *word_slot; /* index + 1; 0 free */
	size_t n_word_slots;

	int32_t *symbol; /* of all words, each at its place */
	int32_t *joined; /* one word in the making, and which symbols are new (in it, and in the word before) */
	uint8_t *fresh, *gone;
	struct pair *pair;
	size_t n_pairs, cap_pairs;
	uint32_t *pair_slot;
	size_t n_pair_slots;
	struct candidate *heap;
	size_t n_heap, cap_heap;
	size_t *raised; /* pairs that the merge at hand has made */
	size_t n_raised, cap_raised;

	struct merge *merge;
	int64_t n_merges, cap_merges;
};

/* ---- what a vocabulary begins with ---- */

static const struct split {
	const char *name, *regex;
} splits[] = {
        {"gpt2", NULL},
        {"llama3", TOK_LLAMA3_REGEX},
        {"qwen2", TOK_QWEN2_REGEX},
};

static const struct split *find_split(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(splits); i++)
		if (!strcmp(splits[i].name, name))
			return &splits[i];
	return NULL;
}

static int put_special(struct tokenizer_train *t, const char *s, struct err *e)
{
	size_t len = strlen(s);
	uint32_t cp;

	if (len == 0 || len > TOK_MAX_CONTENT)
		return err_set(e, "a special token of %zu bytes; from 1 to %d", len, TOK_MAX_CONTENT);
	if (!utf8_valid(s, len))
		return err_set(e, "special token '%s' is not valid UTF-8", s);
	if (utf8_next(s, len, &cp) == len && tok_char_byte(cp) >= 0)
		return err_set(e, "special token '%s' is the character of a byte", s);
	return tok_vocab_put(&t->vocab, s, len, t->vocab.size, e);
}

static int put_alphabet(struct tokenizer_train *t, struct err *e)
{
	char text[4];

	for (uint32_t cp = 0; cp <= 0x143; cp++) {
		int byte = tok_char_byte(cp);
		if (byte < 0)
			continue;
		t->byte_id[byte] = t->vocab.size;
		if (tok_vocab_put(&t->vocab, text, utf8_put(cp, text), t->vocab.size, e))
			return -1;
	}
	return 0;
}

static int load_split(struct tokenizer_train *t, struct err *e)
{
	const struct split *s = find_split(t->c.split);
	struct tok_step *step = &t->steps->step[0];

	if (!s)
		return err_set(e, "split '%s' is not one of gpt2, llama3, qwen2", t->c.split);
	if (!s->regex)
		return tok_gpt2_steps(t->steps, e);
	*step = (struct tok_step){.kind = TOK_SPLIT, .behavior = TOK_ISOLATED};
	t->steps->step[1] = (struct tok_step){.kind = TOK_BYTES, .behavior = TOK_ISOLATED};
	t->steps->n_steps = 2;
	return tok_pattern_regex(&step->pattern, s->regex, strlen(s->regex), e);
}

struct tokenizer_train *tokenizer_train_new(const struct tokenizer_train_config *c, struct err *e)
{
	struct tokenizer_train *t = xcalloc(1, sizeof *t);
	int failed;

	t->c = *c;
	t->steps = tok_new();
	tok_merges_init(&t->steps->merges, 0);
	tok_vocab_init(&t->vocab);
	str_init(&t->bytes);
	t->n_word_slots = 1024;
	t->word_slot = xcalloc(t->n_word_slots, sizeof *t->word_slot);
	failed = load_split(t, e);
	for (size_t i = 0; i < c->n_special && !failed; i++)
		failed = put_special(t, c->special[i], e);
	if (!failed)
		failed = put_alphabet(t, e);
	if (!failed && (c->vocab_size < t->vocab.size || c->vocab_size > TOK_MAX_ID))
		failed = err_set(e, "a vocabulary of %lld; with the bytes and %zu special tokens from %d to %d",
		                 (long long)c->vocab_size, c->n_special, t->vocab.size, TOK_MAX_ID);
	if (!failed)
		return t;
	tokenizer_train_free(t);
	return NULL;
}

void tokenizer_train_free(struct tokenizer_train *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_pairs; i++)
		free(t->pair[i].where);
	free(t->pair);
	free(t->pair_slot);
	free(t->heap);
	free(t->raised);
	free(t->merge);
	free(t->symbol);
	free(t->joined);
	free(t->fresh);
	free(t->gone);
	free(t->word);
	free(t->word_slot);
	str_release(&t->bytes);
	tok_vocab_release(&t->vocab);
	tokenizer_free(t->steps);
	free(t);
}

/* ---- words ---- */

static size_t find_word(const struct tokenizer_train *t, const char *s, size_t len)
{
	size_t mask = t->n_word_slots - 1, i = (size_t)hash_bytes(s, len, 0x776f726473, len) & mask;

	for (; t->word_slot[i]; i = (i + 1) & mask) {
		const struct word *w = &t->word[t->word_slot[i] - 1];
		if ((size_t)w->len == len && !memcmp(t->bytes.buf + w->at, s, len))
			break;
	}
	return i;
}

static void grow_word_slots(struct tokenizer_train *t)
{
	free(t->word_slot);
	t->n_word_slots *= 4;
	t->word_slot = xcalloc(t->n_word_slots, sizeof *t->word_slot);
	for (size_t i = 0; i < t->n_words; i++)
		t->word_slot[find_word(t, t->bytes.buf + t->word[i].at, (size_t)t->word[i].len)] = (uint32_t)i + 1;
}

static int count_word(void *arg, const char *s, size_t len, struct err *e)
{
	struct tokenizer_train *t = arg;
	size_t slot;

	if ((t->n_words + 1) * 2 > t->n_word_slots)
		grow_word_slots(t);
	slot = find_word(t, s, len);
	if (!t->word_slot[slot]) {
		if (t->n_words == INT32_MAX)
			return err_set(e, "more than %d distinct words", INT32_MAX);
		if (t->n_words == t->cap_words) {
			t->cap_words = t->cap_words ? t->cap_words * 2 : 1024;
			t->word = xrealloc_array(t->word, t->cap_words, sizeof *t->word);
		}
		t->word[t->n_words++] = (struct word){.at = t->bytes.len, .len = (int32_t)len};
		t->word_slot[slot] = (uint32_t)t->n_words;
		str_add(&t->bytes, s, len);
	}
	t->word[t->word_slot[slot] - 1].count++;
	return 0;
}

int tokenizer_train_add(struct tokenizer_train *t, const char *text, size_t len, struct err *e)
{
	struct tokenizer_scratch *x;
	int failed;

	if (len > TOK_MAX_TEXT)
		return err_set(e, "a text of %zu bytes; at most %zu", len, TOK_MAX_TEXT);
	if (!utf8_valid(text, len))
		return err_set(e, "the text is not valid UTF-8");
	x = tok_scratch_take(t->steps);
	x->on_word = count_word;
	x->arg = t;
	failed = tok_split(t->steps, x, text, len, true, e);
	x->on_word = NULL;
	tok_scratch_give(t->steps, x);
	return failed;
}

/* ---- pairs ---- */

static size_t key_slot(const struct tokenizer_train *t, uint64_t key)
{
	size_t mask = t->n_pair_slots - 1, i = tok_pair_hash(key) & mask;

	while (t->pair_slot[i] && t->pair[t->pair_slot[i] - 1].key != key)
		i = (i + 1) & mask;
	return i;
}

static void grow_pair_slots(struct tokenizer_train *t)
{
	free(t->pair_slot);
	t->n_pair_slots = t->n_pair_slots ? t->n_pair_slots * 4 : 4096;
	t->pair_slot = xcalloc(t->n_pair_slots, sizeof *t->pair_slot);
	for (size_t i = 0; i < t->n_pairs; i++)
		t->pair_slot[key_slot(t, t->pair[i].key)] = (uint32_t)i + 1;
}

static struct pair *find_pair(struct tokenizer_train *t, int32_t left, int32_t right)
{
	uint64_t key = TOK_PAIR(left, right);
	size_t slot;

	if ((t->n_pairs + 1) * 2 > t->n_pair_slots)
		grow_pair_slots(t);
	slot = key_slot(t, key);
	if (!t->pair_slot[slot]) {
		if (t->n_pairs == t->cap_pairs) {
			t->cap_pairs = t->cap_pairs ? t->cap_pairs * 2 : 1024;
			t->pair = xrealloc_array(t->pair, t->cap_pairs, sizeof *t->pair);
		}
		t->pair[t->n_pairs++] = (struct pair){.key = key, .stamp = -1};
		t->pair_slot[slot] = (uint32_t)t->n_pairs;
	}
	return &t->pair[t->pair_slot[slot] - 1];
}

static void note_word(struct pair *p, int32_t word)
{
	if (p->n_where && p->where[p->n_where - 1] == word)
		return;
	if (p->n_where == p->cap_where) {
		p->cap_where = p->cap_where ? p->cap_where * 2 : 4;
		p->where = xrealloc_array(p->where, (size_t)p->cap_where, sizeof *p->where);
	}
	p->where[p->n_where++] = word;
}

/* ---- the most frequent pair: counts in the heap may be too high, never too low ---- */

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void push(struct tokenizer_train *t, size_t pair)
{
	struct candidate c = {t->pair[pair].count, t->pair[pair].key, pair};
	size_t i = t->n_heap++;

	if (t->n_heap > t->cap_heap) {
		t->cap_heap = t->cap_heap ? t->cap_heap * 2 : 1024;
		t->heap = xrealloc_array(t->heap, t->cap_heap, sizeof *t->heap);
	}
	for (; i > 0 && before(&c, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
		t->heap[i] = t->heap[(i - 1) / 2];
	t->heap[i] = c;
}

static struct candidate pop(struct tokenizer_train *t)
{
	struct candidate *h = t->heap, top = h[0], last = h[--t->n_heap];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < t->n_heap; i = child) {
		if (child + 1 < t->n_heap && before(&h[child + 1], &h[child]))
			child++;
		if (!before(&h[child], &last))
			break;
		h[i] = h[child];
	}
	h[i] = last;
	return top;
}

/* The pair to join next, with its true count; false when none is frequent enough. */
static bool next_pair(struct tokenizer_train *t, size_t *pair)
{
	int64_t least = t->c.min_frequency > 1 ? t->c.min_frequency : 1;

	while (t->n_heap) {
		struct candidate c = pop(t);
		if (c.count < least)
			return false;
		if (t->pair[c.pair].count == c.count) {
			*pair = c.pair;
			return true;
		}
		if (t->pair[c.pair].count >= least)
			push(t, c.pair);
	}
	return false;
}

/* ---- joining ---- */

/* The word with the pair joined, in t->joined; gone marks its old symbols that were joined, fresh the new ones. */
static int32_t join(struct tokenizer_train *t, const int32_t *s, int32_t n, int32_t left, int32_t right, int32_t id)
{
	int32_t out = 0;

	for (int32_t i = 0; i < n; i++, out++) {
		bool hit = i + 1 < n && s[i] == left && s[i + 1] == right;
		t->joined[out] = hit ? id : s[i];
		t->fresh[out] = t->gone[i] = hit;
		if (hit)
			t->gone[++i] = true;
	}
	return out;
}

static void raise_pair(struct tokenizer_train *t, int32_t left, int32_t right, int32_t word, int32_t stamp)
{
	struct pair *p = find_pair(t, left, right);

	p->count += t->word[word].count;
	note_word(p, word);
	if (p->stamp == stamp)
		return;
	p->stamp = stamp;
	if (t->n_raised == t->cap_raised) {
		t->cap_raised = t->cap_raised ? t->cap_raised * 2 : 256;
		t->raised = xrealloc_array(t->raised, t->cap_raised, sizeof *t->raised);
	}
	t->raised[t->n_raised++] = (size_t)(p - t->pair);
}

/* Joins the pair in one word and brings the counts of the places that change up to date. */
static void join_word(struct tokenizer_train *t, int32_t word, const struct merge *m, int32_t id, int32_t stamp)
{
	struct word *w = &t->word[word];
	int32_t *s = t->symbol + w->at, n;

	if (w->stamp == stamp)
		return;
	w->stamp = stamp;
	n = join(t, s, w->len, m->left, m->right, id);
	if (n == w->len)
		return;
	for (int32_t i = 0; i + 1 < w->len; i++)
		if (t->gone[i] || t->gone[i + 1])
			find_pair(t, s[i], s[i + 1])->count -= w->count;
	for (int32_t i = 0; i + 1 < n; i++)
		if (t->fresh[i] || t->fresh[i + 1])
			raise_pair(t, t->joined[i], t->joined[i + 1], word, stamp);
	memcpy(s, t->joined, (size_t)n * sizeof *s);
	w->len = n;
}

static struct merge *add_merge(struct tokenizer_train *t, const struct pair *p)
{
	if (t->n_merges == t->cap_merges) {
		t->cap_merges = t->cap_merges ? t->cap_merges * 2 : 256;
		t->merge = xrealloc_array(t->merge, (size_t)t->cap_merges, sizeof *t->merge);
	}
	t->merge[t->n_merges] = (struct merge){(int32_t)(p->key >> 32), (int32_t)(uint32_t)p->key, p->count};
	return &t->merge[t->n_merges++];
}

/* The id of the joined token: a new one, or that of a token of the same content. */
static int32_t joined_id(struct tokenizer_train *t, const struct merge *m)
{
	struct str s;
	struct err e;
	size_t len;
	int32_t id;

	str_init(&s);
	const char *part = tok_vocab_name(&t->vocab, m->left, &len);
	str_add(&s, part, len);
	part = tok_vocab_name(&t->vocab, m->right, &len);
	str_add(&s, part, len);
	id = tok_vocab_id(&t->vocab, s.buf, s.len);
	if (id < 0 && tok_vocab_put(&t->vocab, s.buf, s.len, t->vocab.size, &e) == 0)
		id = t->vocab.size - 1;
	str_release(&s);
	return id;
}

static void join_everywhere(struct tokenizer_train *t, size_t pair)
{
	struct merge m = *add_merge(t, &t->pair[pair]);
	int32_t id = joined_id(t, &m), stamp = (int32_t)t->n_merges, *where = t->pair[pair].where;
	int32_t n = t->pair[pair].n_where;

	/* the list leaves the pair first: pairs move when their table grows, and this one may come back */
	t->pair[pair].where = NULL;
	t->pair[pair].n_where = t->pair[pair].cap_where = 0;
	t->n_raised = 0;
	for (int32_t i = 0; i < n; i++)
		join_word(t, where[i], &m, id, stamp);
	for (size_t i = 0; i < t->n_raised; i++)
		if (t->pair[t->raised[i]].count > 0)
			push(t, t->raised[i]);
	free(where);
}

/* Bytes become symbols, and every place is counted. */
static void count_pairs(struct tokenizer_train *t)
{
	int32_t longest = 0;

	t->symbol = xrealloc_array(NULL, t->bytes.len + 1, sizeof *t->symbol);
	for (size_t i = 0; i < t->bytes.len; i++)
		t->symbol[i] = t->byte_id[(unsigned char)t->bytes.buf[i]];
	for (size_t w = 0; w < t->n_words; w++) {
		const int32_t *s = t->symbol + t->word[w].at;
		for (int32_t i = 0; i + 1 < t->word[w].len; i++) {
			struct pair *p = find_pair(t, s[i], s[i + 1]);
			p->count += t->word[w].count;
			note_word(p, (int32_t)w);
		}
		if (t->word[w].len > longest)
			longest = t->word[w].len;
	}
	for (size_t i = 0; i < t->n_pairs; i++)
		push(t, i);
	t->joined = xrealloc_array(NULL, (size_t)longest + 1, sizeof *t->joined);
	t->fresh = xcalloc((size_t)longest + 1, 1);
	t->gone = xcalloc((size_t)longest + 1, 1);
}

void tokenizer_train_run(struct tokenizer_train *t)
{
	size_t pair;

	count_pairs(t);
	while (t->vocab.size < t->c.vocab_size && next_pair(t, &pair))
		join_everywhere(t, pair);
}

/* ---- results ---- */

int64_t tokenizer_train_merges(const struct tokenizer_train *t)
{
	return t->n_merges;
}

int64_t tokenizer_train_size(const struct tokenizer_train *t)
{
	return t->vocab.size;
}

int64_t tokenizer_train_merge(const struct tokenizer_train *t, int64_t i, const char **left, size_t *left_len,
                              const char **right, size_t *right_len)
{
	*left = tok_vocab_name(&t->vocab, t->merge[i].left, left_len);
	*right = tok_vocab_name(&t->vocab, t->merge[i].right, right_len);
	return t->merge[i].count;
}

static void put_name(const struct tokenizer_train *t, int32_t id, struct str *out)
{
	size_t len;
	const char *s = tok_vocab_name(&t->vocab, id, &len);

	json_put_str(out, s, len);
}

#define BYTE_LEVEL(use_regex)                                                                                          \
	"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" use_regex "}"

static void put_steps(const struct tokenizer_train *t, struct str *out)
{
	const char *regex = find_split(t->c.split)->regex;

	str_adds(out, "\"normalizer\":null,\"pre_tokenizer\":");
	if (regex) {
		str_adds(out, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":");
		json_put_str(out, regex, strlen(regex));
		str_adds(out, "},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL("false") "]}");
	} else {
		str_adds(out, BYTE_LEVEL("true"));
	}
	str_adds(out, ",\"post_processor\":null,\"decoder\":" BYTE_LEVEL("true"));
}

void tokenizer_train_json(const struct tokenizer_train *t, struct str *out)
{
	str_adds(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
	for (size_t i = 0; i < t->c.n_special; i++) {
		str_addf(out, "%s{\"id\":%zu,\"content\":", i ? "," : "", i);
		put_name(t, (int32_t)i, out);
		str_adds(out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
		              "\"special\":true}");
	}
	str_adds(out, "],");
	put_steps(t, out);
	str_adds(out,
	         ",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
	         "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,"
	         "\"vocab\":{");
	for (int32_t id = 0; id < t->vocab.size; id++) {
		str_adds(out, id ? "," : "");
		put_name(t, id, out);
		str_addf(out, ":%d", id);
	}
	str_adds(out, "},\"merges\":[");
	for (int64_t i = 0; i < t->n_merges; i++) {
		str_adds(out, i ? ",[" : "[");
		put_name(t, t->merge[i].left, out);
		str_addc(out, ',');
		put_name(t, t->merge[i].right, out);
		str_addc(out, ']');
	}
	str_adds(out, "]}}\n");
}
