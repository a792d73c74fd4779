/* store_write - one update of a store; see store.h.
 *
 * The order of transactions, each of which a kill leaves done or undone:
 *   1. tensors, about 64 MB at a time; the first one lists the versions as unfinished and deletes what is left of an
 *      earlier attempt at them
 *   2. the flip: current versions, blobs, names, log; the list now has what nothing holds any more
 *   3. what is in the list is deleted
 *   4. the list is emptied
 * A start does 3 and 4 when the list is not empty.  LMDB gives out a page only in the second transaction after the one
 * that freed it, and not while a reader is as old as that one: 4, small and after 3, is what lets the next update, and
 * readers that come between, have the pages freed in 3.
 */
#include <errno.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store_internal.h"
#include "lib/util.h"

#define TRANSACTION_BYTES ((size_t)64 << 20)
/* A piece is in memory while it is written, and the smaller it is, the sooner that memory serves again (store.c,
 * keep_memory); but kernels look for a row piece by piece, so there are few. */
#define PIECE_LEAST ((size_t)24 << 20)
#define PIECE_MOST ((size_t)160 << 20)
#define PIECES 8
/* Rows of a piece are a multiple of what kernels walk the vocabulary by, so that no block of theirs spans two. */
#define PIECE_ROWS KN_VOCAB_BLOCK
#define COPY_BYTES ((size_t)64 << 10)

enum op_kind { OP_PUT, OP_DELETE, OP_DELETE_ALL, OP_LOG }; /* DELETE_ALL: the keys that begin so */

struct op {
	enum op_kind kind;
	enum store_table table;
	char key[STORE_MAX_KEY + 1];
	size_t key_len;
	void *data;
	size_t len;
};

struct keep {
	char slot[STORE_MAX_SLOT + 1];
	int64_t first, last;
};

struct store_update {
	struct store *s;
	MDB_txn *txn; /* the open write transaction, or NULL */
	size_t pending;
	struct store_ref *begun;
	size_t n_begun;
	struct op *op;
	size_t n_op;
	struct keep *keep;
	size_t n_keep;
};

/* ---- transactions ---- */

static int begin(struct store_update *u, struct err *e)
{
	if (u->txn)
		return 0;
	int rc = mdb_txn_begin(u->s->env, NULL, 0, &u->txn);
	u->pending = 0;
	return rc ? store_failed(u->s, "write", rc, e) : 0;
}

static int end(struct store_update *u, struct err *e)
{
	if (!u->txn)
		return 0;
	int rc = mdb_txn_commit(u->txn);
	u->txn = NULL;
	return rc ? store_failed(u->s, "write", rc, e) : 0;
}

/* The disk has the data before the page that leads to it is written, but that page may wait for the next transaction:
 * nobody can miss tensors of a version that is not current. */
int store_update_flush(struct store_update *u, struct err *e)
{
	mdb_env_set_flags(u->s->env, MDB_NOMETASYNC, 1);
	int failed = end(u, e);
	mdb_env_set_flags(u->s->env, MDB_NOMETASYNC, 0);
	return failed;
}

static void rollback(struct store_update *u)
{
	if (u->txn)
		mdb_txn_abort(u->txn);
	u->txn = NULL;
}

static int put_small(MDB_txn *txn, struct store *s, enum store_table table, const void *key, size_t key_len,
                     const void *data, size_t len, struct err *e)
{
	uint32_t crc = crc32c(0, data, len);
	MDB_val k = {key_len, (void *)key}, v = {len + sizeof crc, NULL};
	int rc = mdb_put(txn, s->table[table], &k, &v, MDB_RESERVE);
	if (rc)
		return store_failed(s, "write", rc, e);
	if (len)
		memcpy(v.mv_data, data, len);
	memcpy((char *)v.mv_data + len, &crc, sizeof crc);
	return 0;
}

/* ---- deleting versions ---- */

/* All keys that begin so. */
static int delete_prefix(MDB_txn *txn, struct store *s, enum store_table table, const char *prefix, size_t len,
                         struct err *e)
{
	MDB_cursor *c;
	MDB_val k = {len, (void *)prefix}, d;
	int rc = mdb_cursor_open(txn, s->table[table], &c);
	if (rc)
		return store_failed(s, "write", rc, e);
	rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
	while (!rc && k.mv_size >= len && !memcmp(k.mv_data, prefix, len)) {
		rc = mdb_cursor_del(c, 0);
		if (rc)
			break;
		k = (MDB_val){len, (void *)prefix};
		rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
	}
	mdb_cursor_close(c);
	return rc && rc != MDB_NOTFOUND ? store_failed(s, "write", rc, e) : 0;
}

static int delete_version(MDB_txn *txn, struct store *s, const struct store_ref *ref, const char *part, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	size_t n = store_tensor_key(key, ref->slot, ref->version, part, 0, e);
	return n ? delete_prefix(txn, s, TABLE_TENSOR, key, n, e) : -1;
}

/* The list has a line for each version, "slot@version", or for a part of one, "slot@version/adam.". */
static int delete_line(MDB_txn *txn, struct store *s, const char *line, struct err *e)
{
	struct store_ref ref;
	const char *slash = strchr(line, '/');
	size_t n = slash ? (size_t)(slash - line) : strlen(line);
	if (!store_parse_ref(line, n, &ref))
		return err_set(e, "'%s': its list of unfinished versions is damaged", s->path);
	return delete_version(txn, s, &ref, slash ? slash + 1 : "", e);
}

/* Deletes what is listed; the list stays.  1 when there was one, 0, -1. */
static int delete_listed(MDB_txn *txn, struct store *s, struct err *e)
{
	const void *data;
	size_t len;
	int got = store_read_small(txn, s, TABLE_META, "unfinished", 10, &data, &len, e);
	if (got <= 0)
		return got;
	char *list = xstrndup(data, len), *rest = list, *line;
	int failed = 0;
	while (!failed && (line = strsep(&rest, "\n")))
		if (*line)
			failed = delete_line(txn, s, line, e);
	free(list);
	return failed ? -1 : 1;
}

static int clear_list(MDB_txn *txn, struct store *s, struct err *e)
{
	MDB_val k = {10, "unfinished"};
	int rc = mdb_del(txn, s->table[TABLE_META], &k, NULL);
	return rc && rc != MDB_NOTFOUND ? store_failed(s, "write", rc, e) : 0;
}

/* One transaction around a step. */
static int in_transaction(struct store *s, int (*step)(MDB_txn *txn, struct store *s, struct err *e), struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc)
		return store_failed(s, "write", rc, e);
	if (step(txn, s, e) < 0) {
		mdb_txn_abort(txn);
		return -1;
	}
	rc = mdb_txn_commit(txn);
	return rc ? store_failed(s, "write", rc, e) : 0;
}

int store_clean(struct store *s, struct err *e)
{
	MDB_txn *txn;
	const void *data;
	size_t len;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return store_failed(s, "open", rc, e);
	int got = store_read_small(txn, s, TABLE_META, "unfinished", 10, &data, &len, e);
	mdb_txn_abort(txn);
	if (got <= 0)
		return got;
	return in_transaction(s, delete_listed, e) || in_transaction(s, clear_list, e) ? -1 : 0;
}

/* ---- tensors ---- */

struct store_update *store_update_begin(struct store *s, struct err *e)
{
	if (s->mode == STORE_READ) {
		err_set(e, "'%s' is open for reading only", s->path);
		return NULL;
	}
	int dead;
	mdb_reader_check(s->env, &dead);
	struct store_update *u = xcalloc(1, sizeof *u);
	u->s = s;
	return u;
}

struct held {
	const struct store_ref *ref;
	bool found;
};

static int is_held(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct held *h = arg;
	(void)name, (void)snapshot;
	h->found = !strcmp(ref->slot, h->ref->slot) && ref->version == h->ref->version;
	return h->found;
}

/* Names of the transaction, as a view sees them. */
static int each_name(struct store_update *u,
                     int (*fn)(void *arg, const char *name, const struct store_ref *ref, bool snap), void *arg,
                     struct err *e)
{
	struct store_view v = {.s = u->s, .txn = u->txn};
	return store_each_name(&v, fn, arg, e);
}

/* Lists slot@version as unfinished before its first tensor is written. */
static int begin_version(struct store_update *u, const char *slot, int64_t version, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	struct store_ref ref = {.version = version};
	struct held h = {&ref, false};
	for (size_t i = 0; i < u->n_begun; i++)
		if (!strcmp(u->begun[i].slot, slot) && u->begun[i].version == version)
			return 0;
	if (!store_tensor_key(key, slot, version, "", 0, e))
		return -1;
	snprintf(ref.slot, sizeof ref.slot, "%s", slot);
	if (begin(u, e) || each_name(u, is_held, &h, e) < 0)
		return -1;
	if (h.found)
		return err_set(e, "'%s': %s@%" PRId64 " is in use and cannot be written again", u->s->path, slot,
		               version);
	u->begun = xrealloc_array(u->begun, u->n_begun + 1, sizeof *u->begun);
	u->begun[u->n_begun++] = ref;
	struct str list;
	str_init(&list);
	for (size_t i = 0; i < u->n_begun; i++)
		str_addf(&list, "%s@%" PRId64 "\n", u->begun[i].slot, u->begun[i].version);
	int failed = u->n_begun == 1 ? delete_listed(u->txn, u->s, e) < 0 : 0;
	if (!failed)
		failed = delete_version(u->txn, u->s, &ref, "", e);
	if (!failed)
		failed = put_small(u->txn, u->s, TABLE_META, "unfinished", 10, list.buf, list.len, e);
	str_release(&list);
	return failed ? -1 : 0;
}

/* Each part is summed while the cache has it: memory is read once for both. */
static uint32_t copy_summed(uint32_t crc, void *to, const void *from, size_t len)
{
	char *out = to;
	for (size_t at = 0, n; at < len; at += n) {
		n = len - at < COPY_BYTES ? len - at : COPY_BYTES;
		memcpy(out + at, (const char *)from + at, n);
		crc = crc32c(crc, out + at, n);
	}
	return crc;
}

static int put_piece(struct store_update *u, const char *key, size_t key_len, const struct store_header *header,
                     const void *data, size_t len, struct err *e)
{
	struct store_header h = *header;
	size_t size = store_value_size(u->s, len);
	if (u->txn && u->pending && u->pending + size > TRANSACTION_BYTES && store_update_flush(u, e))
		return -1;
	if (begin(u, e))
		return -1;
	MDB_val k = {key_len, (void *)key}, v = {size, NULL};
	int rc = mdb_put(u->txn, u->s->table[TABLE_TENSOR], &k, &v, MDB_RESERVE);
	if (rc)
		return store_failed(u->s, "write", rc, e);
	h.crc = copy_summed(crc32c(0, &h, sizeof h), (char *)v.mv_data + sizeof h, data, len);
	memcpy(v.mv_data, &h, sizeof h);
	memset((char *)v.mv_data + sizeof h + len, 0, size - sizeof h - len);
	u->pending += size;
	return 0;
}

static int64_t rows_of_piece(const struct store_rows *r)
{
	size_t bytes = r->bytes / PIECES;
	bytes = bytes < PIECE_LEAST ? PIECE_LEAST : bytes > PIECE_MOST ? PIECE_MOST : bytes;
	int64_t rows = (int64_t)(bytes / r->row_bytes);
	if (rows > PIECE_ROWS)
		rows -= rows % PIECE_ROWS;
	else if (r->row_bytes <= PIECE_MOST / PIECE_ROWS)
		rows = PIECE_ROWS;
	if (rows >= r->rows)
		return r->rows;
	return rows > 0 ? rows : 1;
}

int store_put(struct store_update *u, const char *slot, int64_t version, const char *name, enum kn_dtype dtype,
              int n_dims, const int64_t *shape, const void *data, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	struct store_rows r;
	struct store_header h = {.magic = STORE_MAGIC, .dtype = (uint8_t)dtype, .n_dims = (uint8_t)n_dims};
	if (!*name || !store_rows_of(dtype, n_dims, shape, &r) || r.row_bytes > (size_t)1 << 30)
		return err_set(e, "tensor '%s' has a shape that cannot be stored", name);
	if (begin_version(u, slot, version, e))
		return -1;
	memcpy(h.shape, shape, (size_t)n_dims * sizeof *shape);
	int64_t step = rows_of_piece(&r), pieces = (r.rows + step - 1) / step;
	if (pieces > UINT16_MAX)
		return err_set(e, "tensor '%s' is too big: %zu bytes", name, r.bytes);
	h.n_pieces = (uint16_t)pieces;
	for (int64_t row = 0; row < r.rows; row += step, h.piece++) {
		size_t n = store_tensor_key(key, slot, version, name, h.piece, e);
		h.rows = (uint32_t)(r.rows - row < step ? r.rows - row : step);
		if (!n ||
		    put_piece(u, key, n, &h, (const char *)data + (size_t)row * r.row_bytes, r.row_bytes * h.rows, e))
			return -1;
	}
	return 0;
}

/* ---- what takes effect in the flip ---- */

static int add_op(struct store_update *u, enum op_kind kind, enum store_table table, const char *key, size_t key_len,
                  const void *data, size_t len)
{
	if (!key_len && kind != OP_LOG)
		return -1;
	u->op = xrealloc_array(u->op, u->n_op + 1, sizeof *u->op);
	struct op *op = &u->op[u->n_op++];
	*op = (struct op){.kind = kind, .table = table, .key_len = key_len, .len = len};
	memcpy(op->key, key, key_len);
	op->data = xmalloc(len);
	if (len)
		memcpy(op->data, data, len);
	return 0;
}

static int put_ref(struct store_update *u, char kind, const char *name, const struct store_ref *ref, struct err *e)
{
	char key[STORE_MAX_KEY + 1], text[STORE_MAX_SLOT + 32];
	size_t n = store_name_key(key, kind, name, e);
	int len = snprintf(text, sizeof text, "%s@%" PRId64, ref->slot, ref->version);
	return add_op(u, OP_PUT, TABLE_NAME, key, n, text, (size_t)len);
}

int store_put_current(struct store_update *u, const char *slot, int64_t version, struct err *e)
{
	struct store_ref ref = {.version = version};
	snprintf(ref.slot, sizeof ref.slot, "%s", slot);
	return put_ref(u, 's', slot, &ref, e);
}

/* What the name holds, if it is a checkpoint. */
static int forget_checkpoint(struct store_update *u, const char *name, struct err *e)
{
	char key[STORE_MAX_KEY + 1], full[2 * STORE_MAX_KEY];
	if (!store_name_key(key, 'n', name, e))
		return -1;
	snprintf(full, sizeof full, STORE_CHECKPOINT "%s@", name);
	return add_op(u, OP_DELETE_ALL, TABLE_BLOB, key, store_blob_key(key, "", full, e), NULL, 0);
}

int store_put_name(struct store_update *u, const char *name, const struct store_ref *ref, struct err *e)
{
	return forget_checkpoint(u, name, e) ? -1 : put_ref(u, 'n', name, ref, e);
}

int store_delete_name(struct store_update *u, const char *name, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	if (forget_checkpoint(u, name, e))
		return -1;
	return add_op(u, OP_DELETE, TABLE_NAME, key, store_name_key(key, 'n', name, e), NULL, 0);
}

/* Copies one of the update's blobs into the checkpoint, or adds one of its slots to the list. */
static int keep_op(struct store_update *u, const char *name, const struct op *op, struct str *slots, struct err *e)
{
	char key[STORE_MAX_KEY + 1], full[3 * STORE_MAX_KEY];
	if (op->kind == OP_PUT && op->table == TABLE_NAME && op->key[0] == 's')
		str_addf(slots, "%.*s\n", (int)op->len, (const char *)op->data);
	if (op->kind != OP_PUT || op->table != TABLE_BLOB)
		return 0;
	snprintf(full, sizeof full, STORE_CHECKPOINT "%s@%.*s", name, (int)op->key_len, op->key);
	return add_op(u, OP_PUT, TABLE_BLOB, key, store_blob_key(key, "", full, e), op->data, op->len);
}

int store_put_checkpoint(struct store_update *u, const char *name, struct err *e)
{
	char key[STORE_MAX_KEY + 1], full[2 * STORE_MAX_KEY];
	struct str slots;
	struct store_ref ref;
	size_t n = u->n_op;
	str_init(&slots);
	int failed = forget_checkpoint(u, name, e);
	for (size_t i = 0; i < n && !failed; i++) {
		struct op op = u->op[i]; /* the array moves when it grows */
		failed = keep_op(u, name, &op, &slots, e);
	}
	if (!failed && !store_parse_ref(slots.buf, strcspn(slots.buf, "\n"), &ref))
		failed = err_set(e, "a checkpoint of an update that makes no version");
	snprintf(full, sizeof full, STORE_CHECKPOINT "%s@slots", name);
	if (!failed)
		failed = put_ref(u, 'n', name, &ref, e) ||
		         add_op(u, OP_PUT, TABLE_BLOB, key, store_blob_key(key, "", full, e), slots.buf, slots.len);
	str_release(&slots);
	return failed ? -1 : 0;
}

int store_put_blob(struct store_update *u, const char *slot, const char *key, const void *data, size_t len,
                   struct err *e)
{
	char full[STORE_MAX_KEY + 1];
	return add_op(u, OP_PUT, TABLE_BLOB, full, store_blob_key(full, slot, key, e), data, len);
}

int store_delete_blob(struct store_update *u, const char *slot, const char *key, struct err *e)
{
	char full[STORE_MAX_KEY + 1];
	return add_op(u, OP_DELETE, TABLE_BLOB, full, store_blob_key(full, slot, key, e), NULL, 0);
}

int store_put_log(struct store_update *u, const char *json, size_t len, struct err *e)
{
	(void)e;
	return add_op(u, OP_LOG, TABLE_LOG, "", 0, json, len);
}

void store_keep_from(struct store_update *u, const char *slot, int64_t version)
{
	store_keep_range(u, slot, version, INT64_MAX);
}

void store_keep_range(struct store_update *u, const char *slot, int64_t first, int64_t last)
{
	u->keep = xrealloc_array(u->keep, u->n_keep + 1, sizeof *u->keep);
	struct keep *k = &u->keep[u->n_keep++];
	snprintf(k->slot, sizeof k->slot, "%s", slot);
	k->first = first;
	k->last = last;
}

/* ---- the end ---- */

/* The log's keys are numbers, big end first, so that they sort. */
static int append_log(struct store_update *u, const struct op *op, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, d;
	uint64_t next = 0;
	int rc = mdb_cursor_open(u->txn, u->s->table[TABLE_LOG], &c);
	if (rc)
		return store_failed(u->s, "write", rc, e);
	rc = mdb_cursor_get(c, &k, &d, MDB_LAST);
	if (!rc && k.mv_size == sizeof next) {
		memcpy(&next, k.mv_data, sizeof next);
		next = __builtin_bswap64(next) + 1;
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return store_failed(u->s, "write", rc, e);
	next = __builtin_bswap64(next);
	return put_small(u->txn, u->s, TABLE_LOG, &next, sizeof next, op->data, op->len, e);
}

static int apply(struct store_update *u, const struct op *op, struct err *e)
{
	MDB_val k = {op->key_len, (void *)op->key};
	int rc;
	switch (op->kind) {
	case OP_PUT:
		return put_small(u->txn, u->s, op->table, op->key, op->key_len, op->data, op->len, e);
	case OP_DELETE_ALL:
		return delete_prefix(u->txn, u->s, op->table, op->key, op->key_len, e);
	case OP_LOG:
		return append_log(u, op, e);
	case OP_DELETE:
		rc = mdb_del(u->txn, u->s->table[op->table], &k, NULL);
		return rc && rc != MDB_NOTFOUND ? store_failed(u->s, "write", rc, e) : 0;
	}
	return 0;
}

/* Another writer's start deletes what it takes for a dead one's versions: then this update is not whole. */
static int still_ours(struct store_update *u, struct err *e)
{
	for (size_t i = 0; i < u->n_begun; i++) {
		int got = store_unfinished(u->txn, u->s, &u->begun[i], e);
		if (got < 0)
			return -1;
		if (!got)
			return err_set(e, "another program wrote to '%s' at the same time; this update is dropped",
			               u->s->path);
	}
	return 0;
}

struct sweep {
	struct store_update *u;
	struct store_ref *all; /* every version there is */
	bool *held, *complete; /* complete: current, or held by a checkpoint: with its moments */
	size_t n;
	struct err *e;
};

static int collect(void *arg, const struct store_ref *ref)
{
	struct sweep *w = arg;
	w->all = xrealloc_array(w->all, w->n + 1, sizeof *w->all);
	w->all[w->n++] = *ref;
	return 0;
}

static void mark(struct sweep *w, const struct store_ref *ref, bool complete)
{
	for (size_t i = 0; i < w->n; i++)
		if (!strcmp(w->all[i].slot, ref->slot) && w->all[i].version == ref->version) {
			w->held[i] = true;
			w->complete[i] = w->complete[i] || complete;
		}
}

static int mark_name(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)name;
	mark(arg, ref, !snapshot);
	return 0;
}

static int mark_complete(void *arg, const struct store_ref *ref)
{
	mark(arg, ref, true);
	return 0;
}

static int mark_checkpoint(void *arg, const char *key, const void *data, size_t len)
{
	struct sweep *w = arg;
	const char *at = strchr(key, '@');
	if (!at || strcmp(at, "@slots"))
		return 0;
	return store_checkpoint_refs(w->u->s, data, len, mark_complete, w, w->e) < 0 ? -1 : 0;
}

static int mark_all(struct sweep *w)
{
	struct store_view v = {.s = w->u->s, .txn = w->u->txn};
	return each_name(w->u, mark_name, w, w->e) ||
	       store_each_blob(&v, "", STORE_CHECKPOINT, mark_checkpoint, w, w->e);
}

static bool kept(const struct store_update *u, const struct store_ref *ref)
{
	for (size_t i = 0; i < u->n_keep; i++)
		if (!strcmp(u->keep[i].slot, ref->slot) && ref->version >= u->keep[i].first &&
		    ref->version <= u->keep[i].last)
			return true;
	return false;
}

static bool has_moments(struct store_update *u, const struct store_ref *ref)
{
	char key[STORE_MAX_KEY + 1];
	struct err e;
	MDB_cursor *c;
	size_t n = store_tensor_key(key, ref->slot, ref->version, "adam.", 0, &e);
	MDB_val k = {n, key}, d;
	if (mdb_cursor_open(u->txn, u->s->table[TABLE_TENSOR], &c))
		return false;
	bool has = !mdb_cursor_get(c, &k, &d, MDB_SET_RANGE) && k.mv_size >= n && !memcmp(k.mv_data, key, n);
	mdb_cursor_close(c);
	return has;
}

/* Makes the list of what nothing holds any more. */
static int list_dead(struct store_update *u, struct err *e)
{
	struct sweep w = {.u = u, .e = e};
	struct str list;
	str_init(&list);
	int failed = store_walk_versions(u->txn, u->s, collect, &w, e);
	w.held = xcalloc(w.n, sizeof *w.held);
	w.complete = xcalloc(w.n, sizeof *w.complete);
	if (!failed)
		failed = mark_all(&w);
	for (size_t i = 0; i < w.n && !failed; i++) {
		bool gone = !w.held[i] && !kept(u, &w.all[i]);
		if (gone || (!w.complete[i] && has_moments(u, &w.all[i])))
			str_addf(&list, "%s@%" PRId64 "%s\n", w.all[i].slot, w.all[i].version, gone ? "" : "/adam.");
	}
	if (!failed && list.len)
		failed = put_small(u->txn, u->s, TABLE_META, "unfinished", 10, list.buf, list.len, e);
	else if (!failed)
		failed = clear_list(u->txn, u->s, e);
	str_release(&list);
	free(w.all);
	free(w.held);
	free(w.complete);
	return failed ? -1 : 0;
}

static int flip(struct store_update *u, struct err *e)
{
	if (begin(u, e) || still_ours(u, e))
		return -1;
	for (size_t i = 0; i < u->n_op; i++)
		if (apply(u, &u->op[i], e))
			return -1;
	return list_dead(u, e) ? -1 : end(u, e);
}

static void release(struct store_update *u)
{
	for (size_t i = 0; i < u->n_op; i++)
		free(u->op[i].data);
	free(u->op);
	free(u->begun);
	free(u->keep);
	free(u);
}

int store_update_commit(struct store_update *u, struct err *e)
{
	if (flip(u, e)) {
		store_update_abort(u);
		return -1;
	}
	/* The update is made.  What a failure leaves here, the next start or update deletes. */
	struct err later;
	(void)store_clean(u->s, &later);
	release(u);
	return 0;
}

void store_update_abort(struct store_update *u)
{
	struct err ignored;
	if (!u)
		return;
	rollback(u);
	/* On a full disk this fails too; then the next start does it. */
	if (u->n_begun)
		(void)store_clean(u->s, &ignored);
	release(u);
}
