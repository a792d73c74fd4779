/*
 * model_files - Hugging Face directories in and out of the store, and new models.
 *
 * A directory is config.json, *.safetensors (one file, or shards and model.safetensors.index.json) and small files that
 * are kept as bytes and exported again.  Weights are float32 in the store; which dtype each tensor had in its file is
 * remembered in the blob "meta/dtype" of the slot: the commonest on the first line, then lines "NAME DTYPE".
 *
 * Accepted on import and never written: names without their first component, GPT-2's mask buffers, rotary_emb.inv_freq,
 * a lm_head.weight beside a tied embedding.  Any other tensor that the architecture does not have is an error.
 */
#ifndef LIB_MODEL_FILES_H
#define LIB_MODEL_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/arch.h"
#include "lib/err.h"
#include "lib/par.h"
#include "lib/store.h"

struct model_dir;
/* Reads config.json and all headers, and checks that every tensor of the architecture is there in its shape: after this
 * only reading can fail.  NULL with *e. */
struct model_dir *model_dir_open(const char *dir, struct err *e);
void model_dir_close(struct model_dir *d);
const struct arch *model_dir_arch(const struct model_dir *d);
/* Tensors and files into the update, under slot@version (not made current). */
int model_dir_put(const struct model_dir *d, struct store_update *u, const char *slot, int64_t version, struct err *e);

/* A model at random initialisation from the text of a config.json; tokenizer: a path, or NULL. */
struct model_new {
	char *config;
	size_t config_len;
	char *tokenizer; /* bytes of tokenizer.json, NULL: none */
	size_t tokenizer_len;
	struct arch arch;
};
/* Reads and checks both; a tokenizer with ids beyond vocab_size is an error. */
int model_new_open(struct model_new *m, const char *config_path, const char *tokenizer_path, struct err *e);
void model_new_release(struct model_new *m);
int model_new_put(const struct model_new *m, struct par *par, uint64_t seed, struct store_update *u, const char *slot,
                  int64_t version, struct err *e);

/* One of the two, and what the log says of it. */
struct model_source {
	const struct model_new *made;
	const struct model_dir *dir;
	const char *name;
	int64_t seed;    /* of made */
	struct par *par; /* for made */
	bool replace;    /* a slot that is there gets its next version; otherwise it is an error */
};
/* Whether a new slot may have this name: no snapshot has it, nor will a run or an adapter give it to one. */
int model_check_new_slot(struct store_view *v, const char *slot, struct err *e);
/* The model becomes the current version of the slot (0 when the slot is new), with its files and a log entry. */
int model_put(struct store *s, const struct model_source *m, const char *slot, struct err *e);

/*
 * A version as a directory, which is made; one that holds files is refused unless force.  dtype: "F32", "F16", "BF16",
 * or NULL for that of the imported file.  A value head on a language model stays behind, because no file of that kind
 * has it.
 */
int model_export(struct store_view *v, const struct store_ref *ref, const char *dir, const char *dtype, bool force,
                 struct err *e);

/* The directory of an export, which must be new, empty, or with force without a model in shards; a file in it. */
int model_make_dir(const char *dir, bool force, struct err *e);
int model_write_file(const char *dir, const char *name, const void *data, size_t len, struct err *e);
/* A whole file of at most `most` bytes: terminated, owned by the caller.  1; 0 when there is none; -1. */
int model_read_file(const char *path, size_t most, char **data, size_t *len, struct err *e);
/* Names of the small files that are kept, ended by NULL. */
extern const char *const model_small_files[];

#endif
