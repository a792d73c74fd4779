/*
 * lora - low-rank adapters (Hu et al. 2021, arXiv:2106.09685) as PEFT defines and stores them.
 *
 * A linear map y = W x + b of the base becomes y = W x + b + s B (A x), A [r,in], B [out,r], with s = alpha / r, or
 * alpha / sqrt(r) (rslora; Kalajdzievski 2023).  The base is frozen.  A begins uniform in +-1/sqrt(in) (the default) or
 * normal of deviation 1/r (gaussian), B at zero, so that an adapter changes nothing until it is trained.  In training
 * dropout may be applied to x on its way to A, each matrix with a draw of its own.
 *
 * In the store an adapter is a slot: its A and B and nothing of the base, the blob "file/adapter_config.json" (PEFT's),
 * and the name SLOT.base, which holds the version of the base that it belongs to.  Tensor names are those of PEFT's
 * files: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".
 */
#ifndef LIB_LORA_H
#define LIB_LORA_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arch.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/store.h"
#include "lib/str.h"
#include "lib/tensors.h"

#define LORA_MAX_RANK 65536

struct lora_config {
	int64_t r;
	double alpha, dropout; /* dropout in [0,1) */
	bool rslora;
	int gaussian;        /* 1: the start of A */
	const char *modules; /* of --lora-target-modules; lora_config_targets reads it */
	bool all_linear;     /* every matrix of the blocks */
	char **target;       /* module names, or ends of them behind a dot: "q_proj", "attn.c_proj" */
	int n_target;
};
/* --lora-r, --lora-alpha, --lora-target-modules, --lora-dropout, --lora-init, --rslora */
extern const struct opt lora_options[];
void lora_config_release(struct lora_config *c);
/* The text of an adapter_config.json.  What would change the numbers and is not done here (DoRA, ranks by pattern,
 * biases, other PEFT methods) is refused by name. */
int lora_config_read(struct lora_config *c, const char *text, size_t len, struct err *e);
/* c->modules: "q_proj,v_proj", "all-linear", or "" for PEFT's default of the architecture. */
void lora_config_targets(struct lora_config *c, const struct arch *a);
/* The adapter_config.json of an adapter with this table. */
void lora_config_write(const struct lora_config *c, const struct tensors *t, bool fan_in_fan_out, struct str *out);

/* The table of the base becomes that of base and adapter: what the base has is frozen (but a value head, which an
 * adapter has of its own), A and B of each target come behind.  -1 when a target names no matrix (all: when none does).
 */
int lora_tensors(struct tensors *t, const struct lora_config *c, bool all, struct err *e);

/* w[rows,cols] += s B A, each element's sum in double. */
void lora_merge(float *w, const float *a, const float *b, int64_t rows, int64_t cols, int64_t r, double scale);

/* Is the slot an adapter?  1 with its config, 0, -1. */
int lora_of_slot(struct lora_config *c, struct store_view *v, const char *slot, struct err *e);
/* The version of the base of adapter `slot`. */
int lora_base(struct store_view *v, const char *slot, struct store_ref *base, struct err *e);
/* SLOT.base */
#define LORA_BASE_NAME 80
const char *lora_base_name(char buf[LORA_BASE_NAME], const char *slot);
bool lora_is_base_name(const char *name);

#endif
