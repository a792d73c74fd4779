/*
 * choices_record - the choices of a record, and what is said of them.
 *
 * LIST is a jq filter when it begins with `.`, `[` or `(`, and gives an array of texts, numbers and arrays of ids;
 * else it is texts between commas, blanks kept.  A number stands for its digits.
 */
#ifndef LIB_CHOICES_RECORD_H
#define LIB_CHOICES_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/choices.h"
#include "lib/err.h"
#include "lib/filter.h"
#include "lib/model.h"
#include "lib/record.h"

/* By what a choice's log-probability is divided before choices are compared: nothing, its tokens, code points or bytes;
 * of the text the blanks in front do not count (lm-evaluation-harness has them in its delimiter). */
enum choices_length { CHOICES_NONE, CHOICES_TOKEN, CHOICES_CHARACTER, CHOICES_BYTE };
#define CHOICES_LENGTHS "none|token|character|byte"

struct choices_list {
	struct filter *filter; /* NULL: fixed */
	char **text;
	int64_t n;
};
/* -1 with *e when it is no program, or names no choice; choices_list_release is right in either case. */
int choices_list_init(struct choices_list *l, const char *option, const char *list, struct err *e);
void choices_list_release(struct choices_list *l);

/* A choice as it was given; memory of the arena. */
struct choices_text {
	const char *text; /* NULL: ids that no tokenizer was there to decode */
	size_t len;
	bool is_number;
	double number;
};
/* choice[n] with room for log-probs, and text[n].  Each has a token, and fits the context behind n_prompt tokens. */
int choices_read(const struct choices_list *l, struct record *r, const struct model_info *m, int64_t n_prompt,
                 struct choice **choice, struct choices_text **text, int64_t *n, struct arena *a, struct err *e);

/*
 * Adds NAME, [{text, tokens, logprob, p}], where logprob is the sum over its tokens, in order, in double, and p the
 * softmax over all choices of logprob / length; NAME_best, the index of the largest p (the first of several); and where
 * every choice is a number NAME_expected, the sum of p times number.
 */
int choices_check_new(const struct record *r, const char *name, struct arena *a, struct err *e);
int choices_add(struct record *r, const char *name, enum choices_length by, const struct choice *choice,
                const struct choices_text *text, int64_t n, struct arena *a, struct err *e);

#endif
