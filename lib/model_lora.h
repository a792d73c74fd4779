/*
 * model_lora - adapters in and out of the store: made anew, PEFT directories, merged models (lib/lora.h).
 */
#ifndef LIB_MODEL_LORA_H
#define LIB_MODEL_LORA_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/lora.h"
#include "lib/store.h"

/* Is the directory an adapter's? */
bool model_lora_is_dir(const char *dir);

/* A new adapter becomes version 0 of a slot that is not there yet; base: a slot or a snapshot that is a model; c by
 * lora_options. */
int model_lora_new(struct store *s, const char *slot, const struct lora_config *c, const char *base, uint64_t seed,
                   struct err *e);
/* A PEFT directory (adapter_config.json, adapter_model.safetensors) becomes version 0, or with replace the next version
 * of an adapter of the same shape. */
int model_lora_import(struct store *s, const char *dir, const char *slot, const char *base, bool replace,
                      struct err *e);
/* The same directory out of a version; dtype as model_export has it.  A value head stays behind: no file of that kind
 * has it. */
int model_lora_export(struct store_view *v, const struct store_ref *ref, const char *dir, const char *dtype, bool force,
                      struct err *e);
/* Base plus adapter becomes version 0 of the policy of an empty store, with the base's files. */
int model_lora_merge(struct store_view *v, const struct store_ref *ref, struct store *to, struct err *e);

#endif
