/*
 * tokenizer_store - the tokenizer that a store keeps with a model.
 *
 * It is that of the slot, or of `policy` where the slot has none (an adapter, a critic): file/tokenizer.json, or
 * file/vocab.json and file/merges.txt.
 */
#ifndef LIB_TOKENIZER_STORE_H
#define LIB_TOKENIZER_STORE_H

#include "lib/store.h"
#include "lib/tokenizer.h"

/* 1 with *t (owned by the caller), 0 when there is none, -1. */
int tokenizer_of_slot(struct store_view *v, const char *slot, struct tokenizer **t, struct err *e);
/* spec is "STORE" or "STORE:NAME".  NULL with *e, also when the store works on ids alone.  The store is closed again.
 */
struct tokenizer *tokenizer_from_store(const char *spec, struct err *e);

#endif
