/*
 * porter - the stems of English words as nltk's PorterStemmer gives them in its default mode.
 *
 * M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the changes that nltk calls
 * NLTK_EXTENSIONS: twelve irregular forms, words of one and two letters as they are, "ies" and "ied" of four letters
 * ("dies" to "die"), y to i behind a consonant only and in short words too ("enjoy", "fli"), "alli" before the other
 * endings of step 2, "bli", "fulli" and "logi" there, and *o met by a vowel and a consonant alone.  rouge_score stems
 * with it.  Snowball's porter (lib/bm25.h) is the original algorithm: of 23,531 words 470 have another stem there.
 */
#ifndef LIB_PORTER_H
#define LIB_PORTER_H

#include <stddef.h>

/* Stems lower-case ASCII in place and returns the new length, which is never more than the old one.  Time
 * O(len). */
size_t porter_stem(char *word, size_t len);

#endif
