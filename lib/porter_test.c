/* porter: every word of the vocabulary against nltk's own stems, the rules that differ from Porter's, words that a
 * model may make. */
#include "lib/porter.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/util.h"

static const char *stem(const char *word)
{
	static char out[64];
	snprintf(out, sizeof out, "%s", word);
	out[porter_stem(out, strlen(out))] = 0;
	return out;
}

/* Words of the vocabulary whose stem is not that of the file. */
static int64_t differ(const char *outputs, int64_t *n)
{
	static const char dir[] = "data/retrieval/porter/porter_test/";
	char path[256], *word, *want;
	struct err e;
	size_t len, want_len;
	int64_t bad = 0;
	snprintf(path, sizeof path, "%sporter_vocabulary.txt", dir);
	struct stream *v = stream_open(test_shared(path), &e);
	snprintf(path, sizeof path, "%s%s", dir, outputs);
	struct stream *o = stream_open(test_shared(path), &e);
	for (*n = 0; stream_next(v, &word, &len, &e) == 1 && stream_next(o, &want, &want_len, &e) == 1; ++*n) {
		len = porter_stem(word, len);
		bad += len != want_len || memcmp(word, want, len);
	}
	stream_close(v);
	stream_close(o);
	return bad;
}

int main(void)
{
	int64_t n;

	test_case("nltk's stems of 23,531 words, all; Porter's own for all but 470");
	if (test_shared("data/retrieval/porter/porter_test/porter_nltk_output.txt")) {
		CHECK_INT(differ("porter_nltk_output.txt", &n), 0);
		CHECK_INT(n, 23531);
		CHECK_INT(differ("porter_original_output.txt", &n), 470);
	} else {
		test_skip("../shared is not here");
	}

	test_case("the rules that differ from Porter's");
	static const char *const pair[][2] = {{"as", "as"},          {"skies", "sky"},       {"dying", "die"},
	                                      {"dies", "die"},       {"flies", "fli"},       {"died", "die"},
	                                      {"spied", "spi"},      {"enjoy", "enjoy"},     {"fly", "fli"},
	                                      {"happy", "happi"},    {"howe", "howe"},       {"geology", "geolog"},
	                                      {"hopefully", "hope"}, {"radically", "radic"}, {"proceed", "proceed"},
	                                      {"ing", "ing"},        {"sses", "ss"},         {"2001s", "2001"}};
	for (size_t i = 0; i < ARRAY_LEN(pair); i++)
		CHECK_STR(stem(pair[i][0]), pair[i][1]);

	test_case("a megabyte of y, of consonants, of endings is a word too");
	for (int kind = 0; kind < 3; kind++) {
		char *word = xmalloc(1 << 20);
		for (size_t i = 0; i < 1 << 20; i++)
			word[i] = kind == 0 ? 'y' : kind == 1 ? 'b' : "alli"[i % 4];
		CHECK(porter_stem(word, 1 << 20) <= 1 << 20);
		free(word);
	}
	return test_done();
}
