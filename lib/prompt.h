/*
 * prompt - the ids that a text stands for, as the model wants them.
 *
 * A prompt begins with the BOS of the tokenizer's template, where it has one, and never carries its EOS.  A completion
 * is plain.  Special tokens written in the text are recognised unless plain is set.
 */
#ifndef LIB_PROMPT_H
#define LIB_PROMPT_H

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/model.h"
#include "lib/record.h"

/* -1 when the store has no tokenizer.  Memory from the arena. */
int prompt_encode(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n, struct arena *a,
                  struct err *e);
int completion_encode(const struct model_info *m, const char *text, size_t len, int32_t **ids, int64_t *n,
                      struct arena *a, struct err *e);

/* Every id lies in the vocabulary: 0, or -1 naming the field, place and id. */
int prompt_check_ids(const struct model_info *m, const char *field, const int32_t *ids, int64_t n, struct err *e);

/* A record's own: the ids of prompt_tokens (tokens) where they are, else the text of prompt (completion).  -1 when
 * neither is there. */
int prompt_read(const struct model_info *m, const struct record *r, int32_t **ids, int64_t *n, struct arena *a,
                struct err *e);
int completion_read(const struct model_info *m, const struct record *r, int32_t **ids, int64_t *n, struct arena *a,
                    struct err *e);

/* Of a filter's value: a text; or an array of texts, ids and arrays of ids, one after another, each text tokenised by
 * itself.  begins: a text in front is encoded as a prompt.  `what` names the value in messages.  An absent or null
 * value is an error. */
int prompt_from(const struct model_info *m, const struct json *v, const char *what, bool begins, int32_t **ids,
                int64_t *n, struct arena *a, struct err *e);

#endif
