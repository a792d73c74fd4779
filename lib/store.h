/*
 * store - one LMDB file that holds the weights and everything a run needs to go on.
 *
 * Names (store.5 has the layout):
 *   slot      where a model lives: "policy" (the default), "ref", "value", adapters by name
 *   version   how many updates the slot's model has had; an import is 0
 *   snapshot  a name for slot@version; snapshots and the reference are names, never copies
 * Tensor names are those of the model's table (lib/tensors.h).  Optimizer moments are tensors under the names
 * "adam.m/NAME" and "adam.v/NAME" of the same version; those in 8 bits are KN_U8, with float32 "adam.m.absmax/NAME" and
 * "adam.v.absmax/NAME" beside them.
 *
 * A version is written in transactions of about 64 MB and becomes current in one small one, together with trainer state
 * and log; until then nobody sees it, and a version that never became current is deleted at the next start.  What no
 * name, lag or current slot holds is deleted afterwards; moments ("adam.*") of versions that are not current are
 * deleted too, since nothing goes on from them, unless a checkpoint holds them.
 *
 * The file is private to its machine and its user; it is refused on network file systems, when another layout wrote it,
 * and when others may write it.  Never open one store twice in a process, never carry it across fork().
 */
#ifndef LIB_STORE_H
#define LIB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "lib/err.h"
#include "lib/str.h"

#define STORE_MAX_DIMS 4
#define STORE_LAYOUT 1

struct store;

/* "PATH[:NAME]" -> path and name ("" when absent); NAME is a slot or a snapshot.  Both owned by the caller.
 * A ':' that belongs to an existing file's name is not a separator. */
void store_split(const char *spec, char **path, char **name);

enum store_mode {
	STORE_READ,  /* must exist; readers only */
	STORE_WRITE, /* must exist; a writer's lock is taken per transaction */
	STORE_CREATE /* is made when absent */
};
/* NULL with *e.  In STORE_WRITE and STORE_CREATE dead readers are cleared and unfinished versions deleted (the caller
 * holds the trainer lock of lib/loop.h: nobody else writes). */
struct store *store_open(const char *path, enum store_mode mode, struct err *e);
void store_close(struct store *s);
const char *store_path(const struct store *s);

/* ---- reading: one view is one read transaction, the state of one moment ---- */
struct store_view;
struct store_view *store_view_open(struct store *s, struct err *e);
void store_view_close(struct store_view *v); /* all that was borrowed ends here; close before waiting for anything */

struct store_ref {
	char slot[64];
	int64_t version;
};
/* Resolves a name: a slot (its current version), a snapshot, or "slot@version"; "" is "policy".  -1: names it and those
 * that exist. */
int store_resolve(struct store_view *v, const char *name, struct store_ref *out, struct err *e);

struct store_tensor {
	enum kn_dtype dtype;
	int n_dims;
	int64_t shape[STORE_MAX_DIMS];
	int n_blocks;
	const struct kn_block *blocks; /* whole rows each, a vector is one row; 64-byte aligned, straight in the mapped
	                                  file; borrowed from v */
	size_t bytes;
};
/* 1; 0 when there is none of that name; -1: *e (header or shape damaged). */
int store_get(struct store_view *v, const struct store_ref *ref, const char *name, struct store_tensor *out,
              struct err *e);
/* Checks the CRC of one tensor's data. */
int store_check(struct store_view *v, const struct store_ref *ref, const char *name, struct err *e);
/* All tensor names of a version, in key order: fn returns non-zero to stop. */
int store_each(struct store_view *v, const struct store_ref *ref,
               int (*fn)(void *arg, const char *name, const struct store_tensor *t), void *arg, struct err *e);

/* Small values beside the tensors: files of the imported directory ("file/config.json", ...), "meta/..." of a slot.
 * key is SLOT-wide, not per version.  1 with borrowed bytes, 0 absent, -1. */
int store_get_blob(struct store_view *v, const char *slot, const char *key, const void **data, size_t *len,
                   struct err *e);
/* Trainer state: one blob per run ("state/RUN") and anything else by name.  The same as store_get_blob with slot "". */
/* The blobs of a slot whose keys begin with prefix. */
int store_each_blob(struct store_view *v, const char *slot, const char *prefix,
                    int (*fn)(void *arg, const char *key, const void *data, size_t len), void *arg, struct err *e);

/* Of a checkpoint: its versions; its blobs, fn(slot, key, data, len) with slot "" for those of no slot.  0 when `name`
 * is none, 1, -1, or what fn returned. */
int store_each_checkpoint_ref(struct store_view *v, const char *name, int (*fn)(void *arg, const struct store_ref *ref),
                              void *arg, struct err *e);
int store_each_checkpoint_blob(struct store_view *v, const char *name,
                               int (*fn)(void *arg, const char *slot, const char *key, const void *data, size_t len),
                               void *arg, struct err *e);

/* ---- writing: one update of one or several slots becomes visible at once ---- */
struct store_update;
/* Begins; versions are chosen by the caller (current + 1, or 0 for an import).  Anything left of an earlier, unfinished
 * attempt at these versions is deleted. */
struct store_update *store_update_begin(struct store *s, struct err *e);
/* Writes one tensor of slot@version.  data: rows of the full tensor in C order, host memory, of the given dtype. */
int store_put(struct store_update *u, const char *slot, int64_t version, const char *name, enum kn_dtype dtype,
              int n_dims, const int64_t *shape, const void *data, struct err *e);
/* These take effect in the flip, all or none: */
int store_put_current(struct store_update *u, const char *slot, int64_t version, struct err *e);
int store_put_blob(struct store_update *u, const char *slot, const char *key, const void *data, size_t len,
                   struct err *e);
int store_delete_blob(struct store_update *u, const char *slot, const char *key, struct err *e);
int store_put_name(struct store_update *u, const char *name, const struct store_ref *ref, struct err *e); /* snapshot */
int store_delete_name(struct store_update *u, const char *name, struct err *e);
/* A snapshot of what this update makes, so complete that training can go on from it: the slots that it made current so
 * far are held with their moments, the blobs that it has put so far are copied; the name stands for the first of the
 * slots. store_put_name and store_delete_name on this name let all of that go. */
int store_put_checkpoint(struct store_update *u, const char *name, struct err *e);
/* Appends to the log: one JSON object; the store adds nothing to it. */
int store_put_log(struct store_update *u, const char *json, size_t len, struct err *e);
/* Versions at or above this one of the slot are kept by the sweep even without a name (lag); default: only the current.
 */
void store_keep_from(struct store_update *u, const char *slot, int64_t version);
void store_keep_range(struct store_update *u, const char *slot, int64_t first, int64_t last); /* both included */
/* The flip; then what nothing holds is deleted.  0, or -1 with the store as it was before store_update_begin.  u is
 * gone. */
int store_update_commit(struct store_update *u, struct err *e);
void store_update_abort(struct store_update *u);

/* Log entries in order: the JSON text of each. */
int store_each_log(struct store_view *v, int (*fn)(void *arg, int64_t index, const char *json, size_t len), void *arg,
                   struct err *e);
/* Slots, then snapshots: fn(name, ref, is_snapshot). */
int store_each_name(struct store_view *v,
                    int (*fn)(void *arg, const char *name, const struct store_ref *ref, bool snapshot), void *arg,
                    struct err *e);
/* Every version that has a tensor, those included that only lag or an unfinished update holds. */
int store_each_version(struct store_view *v, int (*fn)(void *arg, const struct store_ref *ref), void *arg,
                       struct err *e);

/* An update of its own: `name` stands for the version that `from` (a slot, a snapshot, SLOT@VERSION) has; from NULL:
 * the name is taken away. */
int store_snapshot(struct store *s, const char *from, const char *name, struct err *e);

/* A copy without free pages, to the start of an empty file. */
int store_copy(struct store *s, int fd, struct err *e);
/* To a new file, which is taken away again when that fails. */
int store_copy_file(struct store *s, const char *path, struct err *e);

#endif
