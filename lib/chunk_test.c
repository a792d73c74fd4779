/* chunk: sentences by rules, segments without gaps within their budget, and the golden paragraphs. */
#include "lib/chunk.h"

#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/utf8.h"
#include "lib/util.h"

static struct arena arena;
static struct err e;

/* The sentences of a text, each followed by '|'. */
static void sentences(const char *text, const char *want)
{
	size_t *end, from = 0;
	int64_t n;
	struct str s;

	str_init(&s);
	chunk_sentences(text, strlen(text), &end, &n, &arena);
	for (int64_t i = 0; i < n; from = end[i++]) {
		while (text[from] == ' ' || text[from] == '\n')
			from++;
		str_add(&s, text + from, end[i] - from);
		str_addc(&s, '|');
	}
	CHECK_STR(s.buf, want);
	str_release(&s);
}

static void rules(void)
{
	test_case("full stops, questions, exclamations");
	sentences("One. Two? Three! Four", "One.|Two?|Three!|Four|");
	sentences("", "");
	sentences("  Lead. Tail.  ", "Lead.|Tail.  |");
	sentences("What?! No way. Yes", "What?!|No way.|Yes|");
	sentences("It stopped. and went on", "It stopped.|and went on|");
	sentences("Stop! he cried. Go", "Stop! he cried.|Go|");

	test_case("abbreviations and initials");
	sentences("Dr. Smith met Mrs. Jones. They left.", "Dr. Smith met Mrs. Jones.|They left.|");
	sentences("J. R. R. Tolkien wrote. He died.", "J. R. R. Tolkien wrote.|He died.|");
	sentences("See Fig. 3 and eq. 4, e.g. Here et al. Found it.",
	          "See Fig. 3 and eq. 4, e.g. Here et al. Found it.|");
	sentences("In the U.S. Army he served. In the U.S. The end.",
	          "In the U.S. Army he served.|In the U.S.|The end.|");
	sentences("Acme Inc. The firm. Acme Inc. Shares", "Acme Inc.|The firm.|Acme Inc. Shares|");
	sentences("Is it No. 5? No. It is not.", "Is it No. 5?|No.|It is not.|");
	sentences("At 5 p.m. He left at 6 p.m. Tuesday.", "At 5 p.m.|He left at 6 p.m. Tuesday.|");

	sentences("It has vitamin C. The rest is in World War I. The end.",
	          "It has vitamin C.|The rest is in World War I.|The end.|");
	sentences("Smith v. Jones, c. 1850, pp. 3 and p. 5.", "Smith v. Jones, c. 1850, pp. 3 and p. 5.|");

	sentences("She studied art. The lot of St. John on Main St. The end.",
	          "She studied art.|The lot of St. John on Main St.|The end.|");

	test_case("numbers, decimals, lists");
	sentences("It cost 3.5 dollars in 1990. The next year 4.", "It cost 3.5 dollars in 1990.|The next year 4.|");
	sentences("1. Take it. 2. Eat it.", "1. Take it.|2. Eat it.|");

	test_case("quotes and brackets");
	sentences("He said \"Go.\" She went. (It rained.) Then sun.",
	          "He said \"Go.\"|She went.|(It rained.)|Then sun.|");
	sentences("\"Why?\" he asked. \"So,\" she said.", "\"Why?\" he asked.|\"So,\" she said.|");
	sentences("\xE2\x80\x9CGo.\xE2\x80\x9D She went.", "\xE2\x80\x9CGo.\xE2\x80\x9D|She went.|");

	test_case("ellipses");
	sentences("Well... maybe. Well... Maybe\xE2\x80\xA6 yes.", "Well... maybe.|Well...|Maybe\xE2\x80\xA6 yes.|");

	test_case("blank lines, other scripts");
	sentences("A title\n\nThe text\ngoes on", "A title|The text\ngoes on|");
	sentences("\xE5\xA5\xBD\xE3\x80\x82\xE5\xA5\xBD\xE3\x80\x82",
	          "\xE5\xA5\xBD\xE3\x80\x82|\xE5\xA5\xBD\xE3\x80\x82|");
}

/* Text of words and stops by a seed; long words and white space of all kinds among them. */
static size_t random_text(uint64_t *seed, char *text)
{
	static const char *const parts[] = {"word",
	                                    " ",
	                                    ". ",
	                                    "A",
	                                    "! ",
	                                    "\n\n",
	                                    "  ",
	                                    "\xC3\xA9",
	                                    "\xE6\x97\xA5",
	                                    "Mr. ",
	                                    "abcdefghijklmnopqrstuvwxyz",
	                                    "\xE2\x80\x83",
	                                    "? \"",
	                                    "7",
	                                    ", "};
	size_t len = 0;

	for (int k = 0; k < 60; k++) {
		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		const char *p = parts[(*seed >> 33) % ARRAY_LEN(parts)];
		memcpy(text + len, p, strlen(p));
		len += strlen(p);
	}
	text[len] = 0;
	return len;
}

static int64_t words_of(const char *s, size_t len)
{
	int64_t n = 0;
	bool in = false;
	uint32_t cp;

	for (size_t i = 0; i < len;) {
		i += utf8_next(s + i, len - i, &cp);
		n += !utf8_is_space(cp) && !in;
		in = !utf8_is_space(cp);
	}
	return n;
}

static int64_t tokens_of(const struct tokenizer *t, const char *s, size_t len)
{
	int32_t *ids;
	int64_t n = -1;

	CHECK(tokenizer_encode(t, s, len, TOKENIZER_PLAIN, &ids, &n, &arena, &e) == 0);
	return n;
}

/* Segments of random texts: no gap, none empty, none over the budget, code points right. */
static void properties(struct chunk_config c)
{
	uint64_t seed = 11;
	char text[4096];

	for (int row = 0; row < 300; row++) {
		size_t len = random_text(&seed, text), at = 0;
		struct chunk *k;
		int64_t n;
		arena_reset(&arena);
		CHECK(chunk_text(&c, text, len, &k, &n, &arena, &e) == 0);
		for (int64_t i = 0; i < n; i++) {
			size_t size = k[i].to - k[i].from;
			bool gap = c.overlap ? k[i].from > at || k[i].to <= at : k[i].from != at;
			if (gap || !size || (i && k[i].from <= k[i - 1].from && c.overlap))
				return test_fail(__FILE__, __LINE__, "row %d, segment %lld: a gap", row, (long long)i);
			if (k[i].start != utf8_length(text, k[i].from) || k[i].end != utf8_length(text, k[i].to))
				return test_fail(__FILE__, __LINE__, "row %d, segment %lld: code points", row,
				                 (long long)i);
			if (c.max_words && words_of(text + k[i].from, size) > c.max_words)
				return test_fail(__FILE__, __LINE__, "row %d, segment %lld: too many words", row,
				                 (long long)i);
			if (c.max_tokens && k[i].end - k[i].start > 1 &&
			    tokens_of(c.tokenizer, text + k[i].from, size) > c.max_tokens)
				return test_fail(__FILE__, __LINE__, "row %d, segment %lld: too many tokens", row,
				                 (long long)i);
			at = k[i].to;
		}
		CHECK(at == len);
	}
}

static void budgets(void)
{
	const char *path = test_shared("golden/tokenizers/llama2/tokenizer.json");
	struct tokenizer *t;

	test_case("segments: no budget, one sentence each");
	properties((struct chunk_config){0});
	properties((struct chunk_config){.max_words = 5, .sentences = true});
	test_case("segments of words");
	properties((struct chunk_config){.max_words = 7});
	properties((struct chunk_config){.max_words = 1});
	test_case("segments that overlap");
	properties((struct chunk_config){.max_words = 9, .overlap = 4});
	test_case("segments of tokens");
	if (!path)
		return test_skip("no golden data beside the tree");
	t = tokenizer_open(path, &e);
	properties((struct chunk_config){.max_tokens = 24, .tokenizer = t});
	properties((struct chunk_config){.max_tokens = 3, .tokenizer = t});
	properties((struct chunk_config){.max_tokens = 30, .tokenizer = t, .overlap = 12});
	tokenizer_free(t);
}

static void packing(void)
{
	static const char text[] = "One two. Three four. Five six seven eight nine ten. Eleven.";
	struct chunk *k;
	int64_t n;

	test_case("whole sentences are packed, a long one is split between words");
	CHECK(chunk_text(&(struct chunk_config){.max_words = 4}, text, strlen(text), &k, &n, &arena, &e) == 0);
	CHECK_INT(n, 3);
	CHECK(n == 3 && k[0].end == 21 && k[1].end == 42 && k[2].end == 59);
	test_case("the overlap is whole sentences");
	CHECK(chunk_text(&(struct chunk_config){.max_words = 8, .overlap = 2}, text, strlen(text), &k, &n, &arena,
	                 &e) == 0);
	CHECK(n == 3 && k[0].end == 21 && k[1].start == 9 && k[2].start == 52);
}

static int has(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	(void)i, (void)key, (void)key_len;
	return v->integer == *(int64_t *)arg;
}

struct search {
	const size_t *end;
	int64_t n, found, all;
};

static int find_end(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct search *s = arg;

	(void)i, (void)key, (void)key_len;
	s->all++;
	for (int64_t k = 0; k + 1 < s->n; k++)
		s->found += (int64_t)s->end[k] == v->integer;
	return 0;
}

static void golden(void)
{
	const char *path = test_shared("golden/score/sentences.jsonl");
	struct stream *in;
	struct record *r;
	struct search both = {0};
	int64_t inside = 0, ours = 0;
	char *line;
	size_t len;

	test_case("sentence ends of real paragraphs: .97 of both splitters' found, .95 of ours inside either");
	if (!path)
		return test_skip("no golden data beside the tree");
	in = stream_open(path, &e);
	r = record_new();
	while (stream_next(in, &line, &len, &e) == 1) {
		const char *text;
		struct json v;
		size_t *end;
		CHECK(record_parse(r, line, len, &e) == 0 && record_str(r, "text", &text, &len, &e) == 1);
		chunk_sentences(text, len, &end, &both.n, &arena);
		both.end = end;
		CHECK(record_json(r, "both", &v, &e) == 1);
		json_each(&v, find_end, &both);
		CHECK(record_json(r, "either", &v, &e) == 1);
		for (int64_t i = 0; i + 1 < both.n; i++, ours++)
			inside += json_each(&v, has, &(int64_t){(int64_t)end[i]});
	}
	printf("# found %lld of %lld, inside either %lld of %lld\n", (long long)both.found, (long long)both.all,
	       (long long)inside, (long long)ours);
	CHECK((double)both.found >= .97 * (double)both.all && both.all > 200);
	CHECK((double)inside >= .95 * (double)ours);
	record_free(r);
	stream_close(in);
}

int main(void)
{
	arena_init(&arena);
	rules();
	packing();
	budgets();
	golden();
	arena_release(&arena);
	return test_done();
}
