/* tokenizer: small tokenizers by hand, what is refused, ends, time, threads, and shortcuts against the plain way. */
#include <pthread.h>
#include <time.h>

#include "lib/test.h"
#include "lib/tokenizer_impl.h"
#include "lib/util.h"

/* Over a, b, c, the space and the bar. */
#define MODEL                                                                                                          \
	"\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"\xC4\xA0\":3,\"ab\":4,\"abc\":5,\"\xC4\xA0"  \
	"a\":6},"                                                                                                      \
	"\"merges\":[\"a b\",[\"ab\",\"c\"],\"\xC4\xA0 a\"]}"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define PLAIN_BYTES "\"pre_tokenizer\":" BYTES ",\"decoder\":" BYTES ","

static struct tokenizer *load(const char *json)
{
	struct err e;
	struct tokenizer *t = tokenizer_from_json(json, strlen(json), "t", &e);

	if (!t)
		test_fail(__FILE__, __LINE__, "%s", e.msg);
	return t;
}

static void refused(const char *json, const char *why)
{
	struct err e = {""};
	struct tokenizer *t = tokenizer_from_json(json, strlen(json), "t", &e);

	CHECK(!t);
	CHECK_STR(e.msg, why);
	tokenizer_free(t);
}

static void encodes(const struct tokenizer *t, const char *text, int flags, const char *want)
{
	struct arena a;
	struct err e;
	struct str s;
	int32_t *ids;
	int64_t n;

	arena_init(&a);
	str_init(&s);
	if (tokenizer_encode(t, text, strlen(text), flags, &ids, &n, &a, &e))
		test_fail(__FILE__, __LINE__, "'%s': %s", text, e.msg);
	else
		for (int64_t i = 0; i < n; i++)
			str_addf(&s, i ? " %d" : "%d", ids[i]);
	CHECK_STR(s.buf, want);
	str_release(&s);
	arena_release(&a);
}

static void basics(void)
{
	struct tokenizer *t = load("{" PLAIN_BYTES MODEL "}");
	struct arena a;
	struct err e;
	struct str out;
	int32_t *ids, some[] = {6, 1, 5};
	int64_t n;

	test_case("merges by rank, then from the left; words do not join");
	encodes(t, "abc", 0, "5");
	encodes(t, "ababc ab", 0, "4 5 3 4");
	encodes(t, "", TOKENIZER_TEMPLATE, "");
	str_init(&out);
	CHECK(tokenizer_decode(t, some, 3, true, &out, &e) == 0);
	CHECK_STR(out.buf, " ababc");
	CHECK_INT(tokenizer_size(t), 7);
	CHECK_INT(tokenizer_id(t, "abc", 3), 5);
	CHECK_INT(tokenizer_id(t, "abd", 3), -1);

	test_case("bytes that the vocabulary lacks are left out, where there is no unknown token");
	encodes(t,
	        "a\xC3\xA9"
	        "b",
	        0, "4");

	test_case("ids that do not exist, text that is no UTF-8");
	some[1] = 7;
	CHECK(tokenizer_decode(t, some, 3, true, &out, &e) == -1);
	CHECK_STR(e.msg, "token 1 is 7, which is not in the vocabulary");
	some[1] = -1;
	CHECK(tokenizer_decode(t, some, 3, true, &out, &e) == -1);
	arena_init(&a);
	CHECK(tokenizer_encode(t, "a\xFF", 2, 0, &ids, &n, &a, &e) == -1);
	CHECK_STR(e.msg, "the text is not valid UTF-8");
	arena_release(&a);
	str_release(&out);
	tokenizer_free(t);
}

static void refusals(void)
{
	test_case("what is not supported is refused by name");
	refused("[]", "t: not an object");
	refused("{}", "t: model: 'model' is missing");
	refused("{\"model\":{\"type\":\"Unigram\"}}", "t: model: type 'Unigram' is not supported; only BPE is");
	refused("{\"model\":{\"type\":\"BPE\",\"dropout\":0.1}}",
	        "t: model: 'dropout' is not supported and must be null");
	refused("{\"model\":{\"end_of_word_suffix\":\"</w>\"}}",
	        "t: model: 'end_of_word_suffix' is not supported and must be null");
	refused("{\"normalizer\":{\"type\":\"BertNormalizer\"}," MODEL "}",
	        "t: normalizer 'BertNormalizer': this type is not supported");
	refused("{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Whitespace\"}]}," MODEL "}",
	        "t: pre_tokenizer 'Whitespace': this type is not supported");
	refused("{\"decoder\":{\"type\":\"WordPiece\"}," MODEL "}",
	        "t: decoder 'WordPiece': this type is not supported");
	refused("{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL "}",
	        "t: post_processor 'BertProcessing': this type is not supported");
	refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}," MODEL
	        "}",
	        "t: pre_tokenizer 'Split': pattern '(': end pattern with unmatched parenthesis");
	refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Merged\"}," MODEL
	        "}",
	        "t: pre_tokenizer 'Split': behavior 'Merged' is not one of Removed, Isolated, MergedWithPrevious, "
	        "MergedWithNext, Contiguous");

	test_case("a broken vocabulary is refused");
	refused("{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}",
	        "t: model: token 'a' is there twice, with id 0 and 1");
	refused("{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
	        "t: model: tokens 'a' and 'b' both have id 0");
	refused("{\"model\":{\"vocab\":{\"a\":16777216},\"merges\":[]}}",
	        "t: model: token 'a' has id 16777216; ids must be below 16777216");
	refused("{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}",
	        "t: model: token 'a' has id -1; ids must be below 16777216");
	refused("{\"model\":{\"vocab\":{\"a\":0.5},\"merges\":[]}}",
	        "t: model: vocab: the id of 'a' is not an integer");
	refused("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
	        "t: model: merge 0 names 'b', which is not in the vocabulary");
	refused("{\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}",
	        "t: model: merge 0 names 'ab', which is not in the vocabulary");
	refused("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "t: model: merge 0 is not a pair of tokens");
	refused("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]}}",
	        "t: model: merge 0 is not a pair of tokens");
	refused("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"<unk>\"}}",
	        "t: model: unk_token '<unk>' is not in the vocabulary");
	refused("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
	        "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[99]}}}," MODEL "}",
	        "t: the template names token 99, which is not in the vocabulary");
	refused("{\"added_tokens\":[{\"id\":9,\"content\":\"\"}]," MODEL "}",
	        "t: an added token of 0 bytes; from 1 to 4096");
}

static void special_tokens(void)
{
	struct tokenizer *t = load("{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true},"
	                           "{\"id\":10,\"content\":\"<t>\",\"special\":false}],"
	                           "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
	                           "{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{"
	                           "\"ids\":[9]}}}," PLAIN_BYTES MODEL "}");
	struct str out;
	struct err e;
	int32_t ids[] = {0, 9, 1};

	test_case("special tokens in the text, as text, and around it");
	encodes(t, "a<s>b<t>", 0, "0 9 1 10");
	encodes(t, "a<s>b<t>", TOKENIZER_PLAIN, "0 1 10");
	encodes(t, "a", TOKENIZER_TEMPLATE, "9 0");
	CHECK(tokenizer_is_special(t, 9) && !tokenizer_is_special(t, 10) && !tokenizer_is_special(t, 99));
	str_init(&out);
	CHECK(tokenizer_decode(t, ids, 3, true, &out, &e) == 0);
	CHECK_STR(out.buf, "ab");
	str_clear(&out);
	CHECK(tokenizer_decode(t, ids, 3, false, &out, &e) == 0);
	CHECK_STR(out.buf, "a<s>b");
	str_release(&out);
	tokenizer_free(t);
}

/* Llama 2's scheme over a few letters. */
#define LLAMA                                                                                                          \
	"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}," \
	"{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]},"                        \
	"\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"              \
	"\"\xE2\x96\x81\"},"                                                                                           \
	"\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","    \
	"\"start\":1,\"stop\":0}]},\"added_tokens\":[{\"id\":0,\"content\":\"</s>\",\"special\":true}],"               \
	"\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"</s>\",\"fuse_unk\":true,\"vocab\":{\"</"  \
	"s>\":0,"                                                                                                      \
	"\"\xE2\x96\x81\":1,\"a\":2,\"b\":3,\"\xE2\x96\x81"                                                            \
	"a\":4,\"ab\":5,\"\xE2\x96\x81"                                                                                \
	"ab\":6,"                                                                                                      \
	"\"\xE2\x96\x81\xE2\x96\x81\":7,\"<0xC3>\":8,\"<0xA9>\":9,\"ba\":10},\"merges\":[\"\xE2\x96\x81 "              \
	"\xE2\x96\x81\","                                                                                              \
	"\"\xE2\x96\x81 a\",\"a b\",\"b a\",\"\xE2\x96\x81"                                                            \
	"a b\"]}}"

static void completion(const struct tokenizer *t, const int32_t *ids, int64_t n, const char *text, const char *want)
{
	int32_t ends[16];
	struct str out, list;
	struct err e;

	str_init(&out);
	str_init(&list);
	CHECK(tokenizer_decode_completion(t, ids, n, &out, ends, &e) == 0);
	CHECK_STR(out.buf, text);
	for (int64_t i = 0; i < n; i++)
		str_addf(&list, i ? " %d" : "%d", ends[i]);
	CHECK_STR(list.buf, want);
	str_release(&out);
	str_release(&list);
}

static void completions(void)
{
	struct tokenizer *t = load(LLAMA);

	test_case("a completion keeps its first space, and says where tokens end");
	completion(t, (int32_t[]){4, 5, 8, 9, 2, 0}, 6,
	           " aab\xC3\xA9"
	           "a",
	           "2 4 5 5 6 6");
	completion(t, (int32_t[]){0, 0}, 2, "", "0 0");
	completion(t, NULL, 0, "", "");

	test_case("byte tokens that are no text are one U+FFFD each");
	completion(t, (int32_t[]){8, 2, 8, 8}, 4,
	           "\xEF\xBF\xBD"
	           "a\xEF\xBF\xBD\xEF\xBF\xBD",
	           "1 2 3 4");
	tokenizer_free(t);
}

/* Ids of random words, once as they are cut before bars and once as one word. */
static void cut_bars(void)
{
	struct tokenizer *t = load(LLAMA);
	struct arena a;
	struct err e;
	uint64_t seed = 1;
	int bad = 0;

	test_case("text cut before bars gives the ids of the whole");
	CHECK(t->cut_bars);
	arena_init(&a);
	for (int row = 0; row < 5000; row++) {
		char text[40];
		int32_t *cut, *whole;
		int64_t n, m;
		for (size_t i = 0; i < sizeof text; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[i] = "ab  abz"[(seed >> 33) % 7];
		}
		t->cut_bars = true;
		CHECK(tokenizer_encode(t, text, sizeof text, 0, &cut, &n, &a, &e) == 0);
		t->cut_bars = false;
		CHECK(tokenizer_encode(t, text, sizeof text, 0, &whole, &m, &a, &e) == 0);
		bad += n != m || memcmp(cut, whole, (size_t)n * sizeof *cut);
		arena_reset(&a);
	}
	CHECK_INT(bad, 0);
	arena_release(&a);
	tokenizer_free(t);

	test_case("a merge over such a border forbids the cut");
	t = load("{\"model\":{\"unk_token\":\"a\",\"vocab\":{\"a\":0,\"\xE2\x96\x81\":1,\"a\xE2\x96\x81\":2},"
	         "\"merges\":[\"a \xE2\x96\x81\"]}}");
	CHECK(!t->cut_bars);
	encodes(t, "a\xE2\x96\x81", 0, "2");
	tokenizer_free(t);
}

/* A vocabulary over a and b with random merges: by heap, and by looking for the best pair again and again. */
static void against_naive(void)
{
	uint64_t seed = 7;
	int bad = 0;

	test_case("the heap merges as the plain way does");
	for (int round = 0; round < 200; round++) {
		struct str json;
		str_init(&json);
		/* every string of up to three letters has a token; random pairs make them */
		static const char *const all[] = {"a",   "b",   "aa",  "ab",  "ba",  "bb",  "aab",
		                                  "aba", "abb", "bab", "bba", "baa", "aaa", "bbb"};
		str_adds(&json, "{\"model\":{\"vocab\":{");
		for (size_t i = 0; i < ARRAY_LEN(all); i++)
			str_addf(&json, "%s\"%s\":%zu", i ? "," : "", all[i], i);
		str_adds(&json, "},\"merges\":[");
		int rank_of[6][6] = {{0}}, n_merges = 0;
		for (int k = 0; k < 40; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			size_t l = (seed >> 33) % 6, r = (seed >> 50) % 6;
			if (strlen(all[l]) + strlen(all[r]) > 3 || rank_of[l][r])
				continue;
			str_addf(&json, "%s[\"%s\",\"%s\"]", n_merges ? "," : "", all[l], all[r]);
			rank_of[l][r] = ++n_merges;
		}
		str_adds(&json, "]}}");
		struct tokenizer *t = load(json.buf);
		char text[64];
		int32_t list[64], *ids;
		int64_t n = sizeof text, got;
		for (int i = 0; i < 64; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[i] = "ab"[seed >> 63];
			list[i] = text[i] == 'b';
		}
		for (;;) {
			int best = 0;
			int64_t at = 0;
			for (int64_t i = 0; i + 1 < n; i++) {
				int r = list[i] < 6 && list[i + 1] < 6 ? rank_of[list[i]][list[i + 1]] : 0;
				if (r && (!best || r < best))
					best = r, at = i;
			}
			if (!best)
				break;
			char whole[8];
			snprintf(whole, sizeof whole, "%s%s", all[list[at]], all[list[at + 1]]);
			list[at] = tokenizer_id(t, whole, strlen(whole));
			memmove(list + at + 1, list + at + 2, (size_t)(n - at - 2) * sizeof *list);
			n--;
		}
		struct arena a;
		struct err e;
		arena_init(&a);
		CHECK(tokenizer_encode(t, text, sizeof text, 0, &ids, &got, &a, &e) == 0);
		bad += got != n || memcmp(ids, list, (size_t)n * sizeof *ids);
		arena_release(&a);
		tokenizer_free(t);
		str_release(&json);
	}
	CHECK_INT(bad, 0);
}

/* Processor seconds for a text of n bytes without a space, the best of three. */
static double unbroken(const struct tokenizer *t, size_t n)
{
	char *text = xmalloc(n);
	double best = 1e9;
	int32_t *ids;
	int64_t n_ids;
	struct arena a;
	struct err e;

	for (size_t i = 0; i < n; i++)
		text[i] = "abcab"[i * i % 5];
	arena_init(&a);
	for (int i = 0; i < 3; i++) {
		clock_t from = clock();
		CHECK(tokenizer_encode(t, text, n, 0, &ids, &n_ids, &a, &e) == 0);
		double s = (double)(clock() - from) / CLOCKS_PER_SEC;
		best = s < best ? s : best;
		arena_reset(&a);
	}
	arena_release(&a);
	free(text);
	return best;
}

static void time_is_bounded(const char *name, const char *json)
{
	struct tokenizer *t = load(json);
	double half, whole;

	test_case(name);
	half = unbroken(t, 512 << 10);
	whole = unbroken(t, 1 << 20);
	/* quadratic would be four times */
	if (whole > 3 * half)
		test_fail(__FILE__, __LINE__, "half a megabyte %g s, a megabyte %g s", half, whole);
	tokenizer_free(t);
}

static void *encode_often(void *arg)
{
	const struct tokenizer *t = arg;
	struct arena a;
	struct err e;
	intptr_t bad = 0;

	arena_init(&a);
	for (int i = 0; i < 2000; i++) {
		int32_t *ids;
		int64_t n;
		bad += tokenizer_encode(t, "ababc abc", 9, 0, &ids, &n, &a, &e) || n != 4 || ids[0] != 4 || ids[3] != 5;
		arena_reset(&a);
	}
	arena_release(&a);
	return (void *)bad;
}

static void threads(void)
{
	struct tokenizer *t = load("{" PLAIN_BYTES MODEL "}");
	pthread_t other;
	void *bad;

	test_case("two threads at once");
	pthread_create(&other, NULL, encode_often, t);
	CHECK(encode_often(t) == NULL);
	pthread_join(other, &bad);
	CHECK(bad == NULL);
	tokenizer_free(t);
}

int main(void)
{
	basics();
	refusals();
	special_tokens();
	completions();
	cut_bars();
	against_naive();
	time_is_bounded("a megabyte without spaces, byte-level", "{" PLAIN_BYTES MODEL "}");
	time_is_bounded("a megabyte without spaces, one word", LLAMA);
	threads();
	return test_done();
}
