/*
 * store_internal - what the files of the store share; nobody else includes it.
 *
 * Tables of the LMDB file (rl-store(5)): meta (layout, unfinished), tensor, blob, name, log.
 */
#ifndef LIB_STORE_INTERNAL_H
#define LIB_STORE_INTERNAL_H

#include "lib/arena.h"
#include "lib/store.h"

struct MDB_env;
struct MDB_txn;

enum store_table { TABLE_META, TABLE_TENSOR, TABLE_BLOB, TABLE_NAME, TABLE_LOG, TABLE_COUNT };

struct store {
	char *path;
	enum store_mode mode;
	struct MDB_env *env;
	unsigned table[TABLE_COUNT];
	size_t page;
};

struct store_view {
	struct store *s;
	struct MDB_txn *txn;
	struct arena arena; /* block lists that were given out */
};

#define STORE_MAX_KEY 511
#define STORE_MAX_SLOT 63

/*
 * In front of every piece of a tensor.  LMDB puts 16 bytes before a value that has pages of its own, so the data lies
 * 64 bytes into a page.  The CRC-32C is of this header with crc = 0 and of the data.
 */
struct store_header {
	uint16_t magic;
	uint8_t dtype, n_dims;
	uint32_t crc;
	int64_t shape[STORE_MAX_DIMS]; /* of the whole tensor; 0 behind n_dims */
	uint32_t rows;                 /* in this piece; a vector is one row */
	uint16_t piece, n_pieces;
};
#define STORE_MAGIC 0x5254

/* Sizes of a tensor as rows: false when they are not sane. */
struct store_rows {
	int64_t rows;
	size_t row_bytes, bytes;
};
bool store_rows_of(enum kn_dtype dtype, int n_dims, const int64_t *shape, struct store_rows *out);
/* Bytes of the value that holds so much data: with header, and padded to a page of its own. */
size_t store_value_size(const struct store *s, size_t data);
uint32_t store_header_crc(const struct store_header *h, const void *data, size_t len);

/* Keys, into a buffer of STORE_MAX_KEY + 1.  Length, or 0 with *e. */
size_t store_tensor_key(char *key, const char *slot, int64_t version, const char *name, unsigned piece, struct err *e);
size_t store_blob_key(char *key, const char *slot, const char *name, struct err *e);
size_t store_name_key(char *key, char kind, const char *name, struct err *e); /* kind: 's' slot, 'n' snapshot */
/* "SLOT@VERSION/..." taken apart; the name (borrowed, terminated only by key_len) or NULL when it is no such key. */
const char *store_parse_key(const void *key, size_t key_len, struct store_ref *ref, size_t *name_len);
/* "slot@version" in full. */
bool store_parse_ref(const char *text, size_t len, struct store_ref *ref);

/* A small value with its CRC behind it: 1, 0 absent, -1. */
int store_read_small(struct MDB_txn *txn, struct store *s, enum store_table table, const void *key, size_t key_len,
                     const void **data, size_t *len, struct err *e);
/* Is slot@version in the list of unfinished versions? -1 on failure. */
int store_unfinished(struct MDB_txn *txn, struct store *s, const struct store_ref *ref, struct err *e);

/* Every version that has a tensor, finished or not; fn may not write. */
int store_walk_versions(struct MDB_txn *txn, struct store *s, int (*fn)(void *arg, const struct store_ref *ref),
                        void *arg, struct err *e);

/* A checkpoint NAME is the snapshot NAME and blobs of no slot whose keys begin so: this, NAME, "@" (which no name has).
 * With "slots" behind it: the versions, a line each; with the whole key of a blob: its copy. */
#define STORE_CHECKPOINT "checkpoint/"
/* Calls fn with the versions in the text of such a blob, 1; or what fn returned; -1 when it is damaged. */
int store_checkpoint_refs(const struct store *s, const void *data, size_t len,
                          int (*fn)(void *arg, const struct store_ref *ref), void *arg, struct err *e);

/* Where a store may lie, and how much room it is given. */
int store_place_check(const char *path, enum store_mode mode, bool *absent, struct err *e);
const char *store_network_name(unsigned long magic); /* NULL: a local file system */
size_t store_map_size(struct err *e);                /* 0 with *e when RL_MAP_SIZE is not a number */
/* A line for an LMDB return code, with what to do about it; always -1. */
int store_failed(const struct store *s, const char *doing, int rc, struct err *e);

/* Ends the open transaction of an update, as 64 MB do. */
int store_update_flush(struct store_update *u, struct err *e);

/* Deletes the versions that a writer left unfinished. */
int store_clean(struct store *s, struct err *e);

#endif
