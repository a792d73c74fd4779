/*
 * answers - whether a passage holds an answer, by the rule that DPR's evaluation and pyserini use.
 *
 * Both texts are brought into form NFD; tokens are runs of letters, marks and numbers, and each other character that is
 * neither a separator nor a control character, format character or unassigned; they are made lower case (as Python's
 * str.lower).  The passage holds the answer where the answer's tokens stand in it next to each other, in order.  So
 * "U.S." is in "the u. s. army", "us" is not, and accents count.  (Karpukhin et al. 2020, dpr/data/qa_validation.py.)
 * Unlike there, an answer without a token is in no passage.
 */
#ifndef LIB_ANSWERS_H
#define LIB_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"

/* What texts are compared by: *out becomes the tokens, each between control characters that no token holds; empty
 * where there are none.  text is valid UTF-8; scratch is overwritten. */
void answers_tokens(const char *text, size_t len, struct str *scratch, struct str *out);
/* Of two such texts. */
bool answers_hold(const char *passage, size_t passage_len, const char *answer, size_t len);

#endif
