/* answers: tokens, and what holds what; the cases of the projects that this follows are in tools/seed_vectors.bats. */
#include "lib/answers.h"

#include "lib/test.h"

static struct str scratch, passage, answer;

/* The tokens between bars. */
static const char *tokens(const char *text)
{
	answers_tokens(text, strlen(text), &scratch, &passage);
	for (size_t i = 0; i < passage.len; i++)
		if (passage.buf[i] == 0x1f)
			passage.buf[i] = '|';
	return passage.buf;
}

static bool holds(const char *text, const char *what)
{
	answers_tokens(text, strlen(text), &scratch, &passage);
	answers_tokens(what, strlen(what), &scratch, &answer);
	return answers_hold(passage.buf, passage.len, answer.buf, answer.len);
}

int main(void)
{
	str_init(&scratch);
	str_init(&passage);
	str_init(&answer);
	test_case("tokens: runs of letters, marks and numbers; other characters one by one");
	CHECK_STR(tokens("The U.S. won 3,000 (1984)"), "|the|u|.|s|.|won|3|,|000|(|1984|)|");
	CHECK_STR(tokens("O'Neil -- a_b"), "|o|'|neil|-|-|a|_|b|");
	CHECK_STR(tokens("$5\xe2\x82\xac 1\xc2\xbd \xe2\x80\x9cx\xe2\x80\x9d"),
	          "|$|5|\xe2\x82\xac|1\xc2\xbd|\xe2\x80\x9c|x|\xe2\x80\x9d|");
	CHECK_STR(tokens(""), "");
	/* space, no-break space, line separator, controls, zero-width space, byte order mark */
	CHECK_STR(tokens(" \xc2\xa0\xe2\x80\xa8\t\n\x1f\x7f\xe2\x80\x8b\xef\xbb\xbf"), "");
	CHECK_STR(tokens("a\x1f\x62"), "|a|b|");
	test_case("accents are marks of their own, in either form; lower case as Python has it");
	CHECK_STR(tokens("CAF\xc3\x89"), "|cafe\xcc\x81|");
	CHECK_STR(tokens("cafe\xcc\x81"), "|cafe\xcc\x81|");
	CHECK_STR(tokens("\xce\x9f\xce\xa3 \xce\xa3"),
	          "|\xce\xbf\xcf\x82|\xcf\x83|");                                    /* a final sigma, and one alone */
	CHECK_STR(tokens("\xed\x95\x9c"), "|\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab|"); /* Hangul in its parts */
	test_case("an answer is in a passage as whole tokens, in order, next to each other");
	CHECK(holds("the U. S. army", "u.s."));
	CHECK(!holds("the U.S. army", "us"));
	CHECK(!holds("catalogue", "cat"));
	CHECK(!holds("cat a log", "cat log"));
	CHECK(!holds("b a", "a b"));
	CHECK(holds("a a b", "a b"));
	CHECK(holds("x", "X"));
	CHECK(!holds("Caf\xc3\xa9", "cafe"));
	test_case("an answer without a token is nowhere");
	CHECK(!holds("x", ""));
	CHECK(!holds("", ""));
	CHECK(!holds("a b", " \n"));
	str_release(&scratch);
	str_release(&passage);
	str_release(&answer);
	return test_done();
}
