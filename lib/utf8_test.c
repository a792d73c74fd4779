/* utf8: decoding, maximal parts, properties, normal forms. */
#include <time.h>

#include "lib/test.h"
#include "lib/utf8.h"
#include "lib/util.h"

static void lossy(const char *in, const char *want)
{
	struct str s;

	str_init(&s);
	utf8_lossy(in, strlen(in), &s);
	CHECK_STR(s.buf, want);
	str_release(&s);
}

static void normal(enum utf8_form form, const char *in, const char *want)
{
	struct str s;

	str_init(&s);
	utf8_normalize(form, in, strlen(in), &s);
	CHECK_STR(s.buf, want);
	str_release(&s);
}

#define R "\xEF\xBF\xBD"

/* Processor seconds to normalize n marks, every other one in the wrong order. */
static double marks(size_t n)
{
	struct str in, out;
	clock_t from;

	str_init(&in);
	str_init(&out);
	str_addc(&in, 'a');
	for (size_t i = 0; i < n; i++)
		str_adds(&in, i & 1 ? "\xCC\x96" : "\xCC\x81");
	from = clock();
	utf8_normalize(UTF8_NFC, in.buf, in.len, &out);
	double seconds = (double)(clock() - from) / CLOCKS_PER_SEC;
	CHECK(out.len > n);
	str_release(&in);
	str_release(&out);
	return seconds;
}

int main(void)
{
	uint32_t cp;
	char bytes[4];
	int bad = 0;

	test_case("every code point there and back");
	for (uint32_t c = 0; c < 0x110000; c++) {
		if (c >= 0xD800 && c < 0xE000)
			continue;
		size_t n = utf8_put(c, bytes);
		bad += utf8_next(bytes, n, &cp) != n || cp != c;
		if (n > 1)
			bad += utf8_next(bytes, n - 1, &cp) != n - 1 || cp != UTF8_CUT;
	}
	CHECK_INT(bad, 0);
	CHECK_INT(utf8_put(0xD800, bytes), 3);
	CHECK(!memcmp(bytes, R, 3));

	test_case("one U+FFFD for each maximal part");
	/* the table of Unicode 15, 3.9, and its like */
	lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A");
	lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A");
	lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B");
	lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A");
	lossy("a\xE2\x82", "a" R);
	CHECK(utf8_valid("na\xC3\xAFve", 6) && !utf8_valid("a\xE2\x82", 3) && utf8_valid("", 0));

	test_case("lengths and offsets");
	CHECK_INT(utf8_length("a\xC3\xA9\xE6\x97\xA5\xF0\x9F\x99\x82", 10), 4);
	CHECK_INT(utf8_offset("a\xC3\xA9\xE6\x97\xA5\xF0\x9F\x99\x82", 10, 2), 3);
	CHECK_INT(utf8_offset("a\xC3\xA9", 3, 9), 3);

	test_case("properties");
	CHECK(utf8_is_space(0x85) && utf8_is_space(0x3000) && !utf8_is_space(0x200B) && !utf8_is_space(0x1C));
	CHECK(utf8_is_letter(0xAA) && utf8_is_letter(0x65E5) && !utf8_is_letter(0x301) && !utf8_is_letter('1'));
	CHECK(utf8_is_number(0xBD) && utf8_is_number(0x2160) && !utf8_is_number('a'));
	CHECK(utf8_is_punct('$') && utf8_is_punct('`') && utf8_is_punct(0xBF) && !utf8_is_punct(0x20AC));
	CHECK(utf8_is_word('_') && utf8_is_word(0x301) && utf8_is_word(0x24B6) && !utf8_is_word('-') &&
	      !utf8_is_word(0xBD));
	CHECK(utf8_is_symbol('$') && utf8_is_symbol(0x1F600) && !utf8_is_symbol('-') && !utf8_is_symbol(0xBF));
	CHECK(utf8_is_upper('A') && utf8_is_lower(0xE9) && !utf8_is_upper('1'));

	test_case("normal forms");
	normal(UTF8_NFC, "e\xCC\x81", "\xC3\xA9");
	normal(UTF8_NFD, "\xC3\xA9", "e\xCC\x81");
	normal(UTF8_NFKC, "\xEF\xAC\x81", "fi");
	normal(UTF8_NFC, "\xEF\xAC\x81", "\xEF\xAC\x81");
	normal(UTF8_NFC,
	       "a\xCC\x95\xCC\x80\xD6\xAE\xCC\x80"
	       "b",
	       "\xC3\xA0\xD6\xAE\xCC\x80\xCC\x95"
	       "b");
	normal(UTF8_NFC, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81");
	normal(UTF8_NFC, "\xE2\x84\xAB plain", "\xC3\x85 plain");
	normal(UTF8_NFC, "", "");

	test_case("lower case");
	struct str s;
	str_init(&s);
	utf8_lower("\xC3\x89"
	           "A\xC4\xB0\xCE\xA3",
	           7, &s);
	CHECK_STR(s.buf, "\xC3\xA9"
	                 "ai\xCC\x87\xCF\x83");
	str_clear(&s);
	utf8_lower_text("ΟΔΟΣ ΣΑ ΑΣ. ΑΣ'Α Σ 1Σ İΣ", strlen("ΟΔΟΣ ΣΑ ΑΣ. ΑΣ'Α Σ 1Σ İΣ"), &s); /* as Python's lower() */
	CHECK_STR(s.buf, "οδος σα ας. ασ'α σ 1σ i̇ς");

	test_case("folding: compatibility forms, full case, ignorables");
	str_clear(&s);
	utf8_fold("\u1e9e\ufb03\u2126 x\u200dy \u0130", strlen("\u1e9e\ufb03\u2126 x\u200dy \u0130"), &s);
	CHECK_STR(s.buf, "ssffi\u03c9 xy i\u0307");
	str_release(&s);

	test_case("marks in the wrong order take time in proportion");
	marks(1000);
	double half = marks(100000), whole = marks(400000);
	if (whole > 10 * half + .05)
		test_fail(__FILE__, __LINE__, "100,000 marks: %g s, 400,000: %g s", half, whole);
	return test_done();
}
