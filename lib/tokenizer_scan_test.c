/* tokenizer_scan against Oniguruma: every character, random texts of tricky characters, and real text. */
#include "lib/test.h"
#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

static const struct {
	const char *name, *regex;
} patterns[] = {{"gpt2", TOK_GPT2_REGEX}, {"llama3", TOK_LLAMA3_REGEX}, {"qwen2", TOK_QWEN2_REGEX}};

static struct tok_pattern fast, slow;
static struct tokenizer_scratch scratch;

/* The same pieces; false at the first that differs. */
static bool same(const char *s, size_t len)
{
	struct err e;

	for (size_t at = 0, a0, a1, b0, b1; at < len; at = a1) {
		if (tok_pattern_find(&fast, &scratch, s, len, at, &a0, &a1, &e) != 1 ||
		    tok_pattern_find(&slow, &scratch, s, len, at, &b0, &b1, &e) != 1 || a0 != b0 || a1 != b1) {
			test_fail(__FILE__, __LINE__, "at byte %zu of '%.*s'", at, (int)(len < 60 ? len : 60), s);
			return false;
		}
	}
	return true;
}

static void all_characters(void)
{
	struct tok_pattern assigned;
	struct err e;
	int bad = 0;

	CHECK(tok_pattern_onig(&assigned, "\\P{Cn}", 6, &e) == 0);
	for (uint32_t cp = 0; cp < 0x110000 && bad < 5; cp++) {
		char s[16] = "a";
		size_t n, from, to;
		if (cp >= 0xD800 && cp < 0xE000)
			continue;
		n = utf8_put(cp, s + 1) + 1;
		/* the libraries may be of two versions of Unicode */
		if (!utf8_is_assigned(cp) || tok_pattern_find(&assigned, &scratch, s, n, 1, &from, &to, &e) != 1)
			continue;
		s[n++] = '1';
		s[n++] = '.';
		bad += !same(s, n);
	}
	tok_pattern_release(&assigned);
}

static void random_texts(uint64_t seed)
{
	static const char *const parts[] = {" ",
	                                    " ",
	                                    "\n",
	                                    "\r",
	                                    "\t",
	                                    "'",
	                                    "s",
	                                    "S",
	                                    "re",
	                                    "LL",
	                                    "\xC5\xBF",
	                                    "l",
	                                    "v",
	                                    "e",
	                                    "d",
	                                    "1",
	                                    "23",
	                                    "456",
	                                    "\xC2\xB2",
	                                    ".",
	                                    "!?",
	                                    "\xC2\xA0",
	                                    "\xE3\x80\x80",
	                                    "\xC3\xA9",
	                                    "e\xCC\x81",
	                                    "\xE6\x97\xA5",
	                                    "\xF0\x9F\x99\x82",
	                                    "_",
	                                    "\xE2\x80\x8B"};
	char s[256];

	for (int row = 0; row < 20000; row++) {
		size_t len = 0;
		for (int k = 0; k < 12; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			const char *p = parts[(seed >> 33) % ARRAY_LEN(parts)];
			memcpy(s + len, p, strlen(p));
			len += strlen(p);
		}
		if (!same(s, len))
			return;
	}
}

static void real_text(void)
{
	const char *path = test_shared("data/text/wikitext-2/test.txt");
	FILE *f = path ? fopen(path, "rb") : NULL;
	static char text[400000];
	size_t len;

	if (!f)
		return test_skip("no data beside the tree");
	len = fread(text, 1, sizeof text, f);
	while (!utf8_valid(text, len))
		len--;
	same(text, len);
	fclose(f);
}

int main(void)
{
	char names[ARRAY_LEN(patterns)][3][64];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
		const char *regex = patterns[i].regex;
		snprintf(names[i][0], sizeof names[i][0], "%s: every character", patterns[i].name);
		snprintf(names[i][1], sizeof names[i][1], "%s: random texts", patterns[i].name);
		snprintf(names[i][2], sizeof names[i][2], "%s: real text", patterns[i].name);
		test_case(names[i][0]);
		CHECK(tok_pattern_regex(&fast, regex, strlen(regex), &e) == 0 && fast.kind == TOK_SCAN);
		CHECK(tok_pattern_onig(&slow, regex, strlen(regex), &e) == 0 && slow.kind == TOK_REGEX);
		all_characters();
		test_case(names[i][1]);
		random_texts(i + 1);
		test_case(names[i][2]);
		real_text();
		tok_pattern_release(&fast);
		tok_pattern_release(&slow);
	}
	tok_region_free(scratch.region);
	return test_done();
}
