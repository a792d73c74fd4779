/*
 * model - what a tool opens by `-s STORE[:NAME]`: descriptor, tensor table, weights, tokenizer, stop ids.
 *
 * A session holds the backend and its threads; a model is one version of one slot, mapped.  Nothing is copied on the
 * CPU.
 */
#ifndef LIB_MODEL_H
#define LIB_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/comm.h"
#include "lib/decoder.h"
#include "lib/lora.h"
#include "lib/par.h"
#include "lib/tokenizer.h"

/* The options of every tool that computes: -j --threads, --device cpu|cuda|ref, --dtype, --batch-invariant, --isa. */
struct engine_config {
	int64_t threads;
	const char *device, *isa;
	int dtype;            /* enum engine_dtype */
	bool batch_invariant; /* of bfloat16 */
	bool plan, memory;
};
enum engine_dtype { ENGINE_FLOAT32, ENGINE_BFLOAT16 };
extern const struct opt engine_options[];
/* --plan, --memory: of the tools that plan. */
extern const struct opt engine_memory_options[];

struct engine {
	struct par *par;
	struct kn_par lent;
	struct kernels *k;
	bool report; /* what memory was needed, to standard error, when it is closed */
};
int engine_open(struct engine *g, const struct engine_config *c, struct err *e);
/*
 * The part of one rank of a comm (NULL: all of it): threads are divided, at least one each; of GPUs a rank has the one
 * of its number, or of a list, "cuda:0,2,3", the one in its place, which may be that of another rank too.  -1 also when
 * a list is not as long as there are ranks.  *note: what the user should know of the way of the gradients, or "".
 */
int engine_open_rank(struct engine *g, const struct engine_config *c, struct comm *comm, struct err *note,
                     struct err *e);
void engine_close(struct engine *g);

/* What a slot's files say; no weights.  Valid after the view is closed. */
struct model_info {
	struct arch arch;
	struct tensors table;        /* with_value: score.weight is in it */
	struct lora_config *lora;    /* of an adapter, whose table, tokenizer and stop ids are its base's; else NULL */
	struct store_ref base;       /* of an adapter */
	struct tokenizer *tokenizer; /* NULL: the store works on ids alone */
	int32_t *eos;
	int n_eos;
	int32_t bos; /* -1: none */
};
/* slot: its current version, or "slot@version", decides whether score.weight is in the table. */
int model_info_load(struct model_info *m, struct store_view *v, const char *slot, bool with_tokenizer, struct err *e);
void model_info_release(struct model_info *m);
/* The same table with a value head, or without. */
int model_info_table(struct model_info *m, bool with_value, struct err *e);
bool model_is_eos(const struct model_info *m, int32_t token);

#endif
