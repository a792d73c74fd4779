/*
 * utf8 - code points, their properties, and normal forms.
 *
 * Text inside the project is valid UTF-8 (records are checked when they are parsed); what models emit may not be, and
 * is made valid by utf8_lossy.  Properties and normal forms are Unicode's, by libutf8proc.
 */
#ifndef LIB_UTF8_H
#define LIB_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"

#define UTF8_BAD 0xFFFFFFFFu /* no character begins here */
#define UTF8_CUT 0xFFFFFFFEu /* the text ends inside a character that could be a good one */
#define UTF8_REPLACEMENT 0xFFFDu

/*
 * The code point at s (len > 0) and the bytes it takes.  For UTF8_BAD and UTF8_CUT the number of bytes is that of the
 * maximal part of a broken character (Unicode 15, 3.9, "substitution of maximal subparts"): the bytes that one U+FFFD
 * stands for.
 */
size_t utf8_next(const char *s, size_t len, uint32_t *cp);
/* The bytes of cp (at most 4) into out; surrogates and what is beyond U+10FFFF become U+FFFD. */
size_t utf8_put(uint32_t cp, char *out);
bool utf8_valid(const char *s, size_t len);
/* Code points in valid UTF-8. */
int64_t utf8_length(const char *s, size_t len);
/* The byte at which code point n of valid UTF-8 begins (len where there are fewer). */
size_t utf8_offset(const char *s, size_t len, int64_t n);
/* Appends s; each maximal part of a broken character becomes one U+FFFD. */
void utf8_lossy(const char *s, size_t len, struct str *out);

/* ---- properties ---- */
bool utf8_is_space(uint32_t cp);  /* White_Space: \s */
bool utf8_is_letter(uint32_t cp); /* \p{L} */
bool utf8_is_mark(uint32_t cp);   /* \p{M} */
bool utf8_is_number(uint32_t cp); /* \p{N} */
bool utf8_is_punct(uint32_t cp);  /* \p{P}, and the ASCII symbols $+<=>^`|~ */
bool utf8_is_symbol(uint32_t cp); /* \p{S} */
bool utf8_is_word(uint32_t cp);   /* \w: letters, marks, decimal digits, connectors, joiners */
bool utf8_is_upper(uint32_t cp);  /* \p{Lu}, \p{Lt} */
bool utf8_is_lower(uint32_t cp);  /* \p{Ll} */
bool utf8_is_assigned(uint32_t cp);

/* ---- normal forms (appended to out; s is valid UTF-8) ---- */
enum utf8_form { UTF8_NFC, UTF8_NFD, UTF8_NFKC, UTF8_NFKD };
/* Time O(n log n), also for long runs of combining marks in the wrong order. */
void utf8_normalize(enum utf8_form form, const char *s, size_t len, struct str *out);
/* Lower case, one code point at a time, but U+0130, which becomes i and U+0307. */
void utf8_lower(const char *s, size_t len, struct str *out);
/* The same, and a capital sigma at the end of a word becomes the final one (Unicode 3.13, Final_Sigma): Python's
 * str.lower. */
void utf8_lower_text(const char *s, size_t len, struct str *out);
/* For comparing words: NFKC, full case folding (sharp s becomes ss), without default ignorables (soft hyphens,
 * joiners), NFKC. */
void utf8_fold(const char *s, size_t len, struct str *out);

#endif
