/*
 * scorer - what the filters that compute with a model's weights do alike.
 *
 * Records are taken together for speed: as many as are there without waiting, up to a budget of tokens.  What is
 * computed for one must not depend on the others; order stays.  Which version of a model is meant is settled once, when
 * it is opened; no view of the store is held while input is waited for, which would keep the writer from using its free
 * pages again.
 *
 *     scorer_open(&s, store, &engine_config, &e) || scorer_find(&s, name, run, &model, &e)
 *     status = scorer_run(&s, &tool, operands, n, &calls, arg);
 *     model_info_release(&model.info); scorer_close(&s);
 */
#ifndef LIB_SCORER_H
#define LIB_SCORER_H

#include <stdint.h>

#include "lib/arena.h"
#include "lib/err.h"
#include "lib/model.h"
#include "lib/record.h"
#include "lib/store.h"
#include "lib/tool.h"
#include "lib/weights_kept.h"

/* Tokens of a forward pass, and of the records taken together.  It decides no result, only memory and speed. */
enum { SCORER_TOKENS = 4096 };

struct scorer_model {
	struct store_ref ref;
	struct model_info info;
	char name[96]; /* "policy@3", for messages */
};

struct scorer_calls {
	/* What is to be computed for a record, in s->arena, and its tokens; -1: the record fails with *e. */
	int (*read)(void *arg, struct tool *t, struct record *r, void **item, int64_t *tokens, struct err *e);
	/* Computes n >= 1 items. */
	int (*compute)(void *arg, void **item, int64_t n, struct err *e);
	/* Adds the item's fields; -1: the record fails.  r takes fields only: what it had cannot be read (see
	 * record_resume). */
	int (*add)(void *arg, struct tool *t, struct record *r, void *item, struct err *e);
};

struct scorer {
	struct engine engine;
	struct store *store;
	struct arena arena; /* of the records that wait */
	/* private */
	struct weights_kept kept;
	const struct scorer_calls *calls;
	void *arg;
	struct scorer_record *record;
	int64_t n, cap, tokens;
};

/* -1 with *e; scorer_close is right in either case, and after no scorer_open on zeroed memory too. */
int scorer_open(struct scorer *s, const char *store_path, const struct engine_config *c, struct err *e);
void scorer_close(struct scorer *s);

/* Does the name mean an adapter, which runs train?  1, 0, -1. */
int scorer_is_adapter(struct scorer *s, const char *name, struct err *e);
/* A slot, slot@version or snapshot; "ref" is the reference of the run on `trained` (what -s names; the policy when that
 * is nothing that runs train), as loop_reference has it. */
int scorer_find(struct scorer *s, const char *name, const char *trained, const char *run, struct scorer_model *m,
                struct err *e);

/* Has the store slot@version still?  -1 with *e when not. */
int scorer_check(struct scorer *s, const char *slot, int64_t version, struct err *e);

/* Calls fn with the model's weights mapped, for this call only. */
int scorer_with(struct scorer *s, const struct scorer_model *m,
                int (*fn)(void *arg, struct decoder *d, const struct weights *w, struct err *e), void *arg,
                struct err *e);

/* Plans a forward pass of SCORER_TOKENS, with log-probs, values or both; returns what memory_plan_settle does. */
int scorer_plan(struct scorer *s, const struct scorer_model *m, bool print, bool head, bool values, struct err *e);

/* tool_run over all records: the exit status.  t: after tool_init. */
int scorer_run(struct scorer *s, struct tool *t, char **operands, int n_operands, const struct scorer_calls *calls,
               void *arg);

#endif
