/* tokenizer_scan - the regexes of well-known tokenizers, written by hand. */
#include "lib/tokenizer_impl.h"

size_t (*tok_scanner(const char *regex, size_t len))(const char *s, size_t len)
{
	(void)regex, (void)len;
	return NULL;
}
