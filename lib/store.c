/* store - opening and reading; see store.h.  Writing is in store_write.c. */
#include "lib/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/store_internal.h"
#include "lib/util.h"

_Static_assert(sizeof(struct store_header) == 48, "the data must lie 64 bytes into a page");

static const char *const table_name[TABLE_COUNT] = {"meta", "tensor", "blob", "name", "log"};

void store_split(const char *spec, char **path, char **name)
{
	const char *colon = strrchr(spec, ':');
	if (colon && colon > spec && access(spec, F_OK)) {
		char *head = xstrndup(spec, (size_t)(colon - spec));
		if (!strchr(colon, '/') || !access(head, F_OK)) {
			*path = head;
			*name = xstrdup(colon + 1);
			return;
		}
		free(head);
	}
	*path = xstrdup(spec);
	*name = xstrdup("");
}

/* ---- opening ---- */

/* Opens the tables; in a new store makes them. */
static int open_tables(struct store *s, bool create, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, create ? 0 : MDB_RDONLY, &txn);
	if (rc)
		return store_failed(s, "open", rc, e);
	for (int i = 0; i < TABLE_COUNT && !rc; i++)
		rc = mdb_dbi_open(txn, table_name[i], create ? MDB_CREATE : 0, &s->table[i]);
	if (!rc && create) {
		char layout[16];
		snprintf(layout, sizeof layout, "%d", STORE_LAYOUT);
		MDB_val k = {6, "layout"}, v = {strlen(layout), layout};
		rc = mdb_put(txn, s->table[TABLE_META], &k, &v, 0);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return store_failed(s, create ? "make" : "open", rc, e);
	}
	rc = mdb_txn_commit(txn);
	return rc ? store_failed(s, create ? "make" : "open", rc, e) : 0;
}

static int check_layout(struct store *s, struct err *e)
{
	MDB_txn *txn;
	MDB_val k = {6, "layout"}, v;
	char text[16] = "";
	int64_t layout;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
	if (!rc) {
		rc = mdb_get(txn, s->table[TABLE_META], &k, &v);
		if (!rc)
			memcpy(text, v.mv_data, v.mv_size < sizeof text ? v.mv_size : sizeof text - 1);
		mdb_txn_abort(txn);
	}
	if (rc)
		return store_failed(s, "open", rc, e);
	if (!parse_i64(text, &layout))
		return err_set(e, "'%s' is not a store", s->path);
	if (layout != STORE_LAYOUT)
		return err_set(e,
		               "'%s' has layout %" PRId64
		               ", this program reads %d (export it with the program that made it)",
		               s->path, layout, STORE_LAYOUT);
	return 0;
}

/* A file that was cut, as far as its length tells: LMDB may leave a few last pages unwritten.  guard_mapping has the
 * rest. */
static int check_length(struct store *s, struct err *e)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	mdb_env_info(s->env, &info);
	mdb_env_stat(s->env, &st);
	s->page = st.ms_psize;
	size_t want = (info.me_last_pgno + 1) * st.ms_psize;
	if (stat(s->path, &file))
		return err_errno(e, "'%s'", s->path);
	if ((size_t)file.st_size + 256 * (size_t)st.ms_psize < want)
		return err_set(e, "'%s' is cut short: %lld bytes, expected %zu", s->path, (long long)file.st_size,
		               want);
	return 0;
}

/* An environment on the largest map the system grants. */
static int open_env(struct store *s, struct err *e)
{
	size_t size = store_map_size(e);
	unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (s->mode == STORE_READ ? MDB_RDONLY : 0);
	if (!size)
		return -1;
	for (;; size /= 2) {
		int rc = mdb_env_create(&s->env);
		if (rc)
			return store_failed(s, "open", rc, e);
		mdb_env_set_mapsize(s->env, size);
		mdb_env_set_maxdbs(s->env, TABLE_COUNT);
		mdb_env_set_maxreaders(s->env, 1024);
		rc = mdb_env_open(s->env, s->path, flags, 0600);
		if (!rc)
			return 0;
		mdb_env_close(s->env);
		s->env = NULL;
		if (rc != ENOMEM || size < (size_t)8 << 20)
			return store_failed(s, "open", rc, e);
	}
}

/* LMDB takes memory for each value of a transaction and gives it back behind it: memory that goes to the system each
 * time comes from it as zeros each time, which took a third of a commit.  32 MiB are the most that malloc allows. */
static void keep_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

static int open_checked(struct store *s, struct err *e)
{
	bool absent;
	if (store_place_check(s->path, s->mode, &absent, e))
		return -1;
	if (s->mode != STORE_READ) {
		signal(SIGXFSZ, SIG_IGN); /* a file-size limit is an error of the write, not the end of the process */
		keep_memory();
	}
	guard_mapping(s->path);
	if (open_env(s, e) || check_length(s, e))
		return -1;
	MDB_stat st;
	/* A writer killed while it made the store leaves no table behind. */
	if (s->mode == STORE_CREATE && !absent) {
		MDB_txn *txn;
		MDB_dbi main_table;
		int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
		if (rc)
			return store_failed(s, "open", rc, e);
		if (!(rc = mdb_dbi_open(txn, NULL, 0, &main_table)))
			rc = mdb_stat(txn, main_table, &st);
		mdb_txn_abort(txn);
		absent = !rc && st.ms_entries == 0;
	}
	if (open_tables(s, absent, e) || check_layout(s, e))
		return -1;
	int dead;
	mdb_reader_check(s->env, &dead);
	return s->mode == STORE_READ ? 0 : store_clean(s, e);
}

struct store *store_open(const char *path, enum store_mode mode, struct err *e)
{
	struct store *s = xcalloc(1, sizeof *s);
	s->path = xstrdup(path);
	s->mode = mode;
	if (!open_checked(s, e))
		return s;
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->env)
		mdb_env_close(s->env);
	free(s->path);
	free(s);
}

const char *store_path(const struct store *s)
{
	return s->path;
}

int store_copy(struct store *s, int fd, struct err *e)
{
	int rc = mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT);
	return rc ? store_failed(s, "copy", rc, e) : 0;
}

int store_copy_file(struct store *s, const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int failed = fd < 0 ? err_errno(e, "%s", path) : store_copy(s, fd, e);
	if (!failed && (fsync(fd) || close(fd)))
		failed = err_errno(e, "%s", path);
	if (failed && fd >= 0)
		unlink(path);
	return failed;
}

/* ---- views ---- */

struct store_view *store_view_open(struct store *s, struct err *e)
{
	struct store_view *v = xcalloc(1, sizeof *v);
	v->s = s;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &v->txn);
	if (rc) {
		free(v);
		store_failed(s, "read", rc, e);
		return NULL;
	}
	arena_init(&v->arena);
	return v;
}

void store_view_close(struct store_view *v)
{
	if (!v)
		return;
	mdb_txn_abort(v->txn);
	arena_release(&v->arena);
	free(v);
}

int store_read_small(MDB_txn *txn, struct store *s, enum store_table table, const void *key, size_t key_len,
                     const void **data, size_t *len, struct err *e)
{
	MDB_val k = {key_len, (void *)key}, v;
	uint32_t crc;
	int rc = mdb_get(txn, s->table[table], &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return store_failed(s, "read", rc, e);
	if (v.mv_size < sizeof crc)
		return err_set(e, "'%s': '%.*s' is damaged", s->path, (int)key_len, (const char *)key);
	*data = v.mv_data;
	*len = v.mv_size - sizeof crc;
	memcpy(&crc, (char *)v.mv_data + *len, sizeof crc);
	if (crc32c(0, *data, *len) != crc)
		return err_set(e, "'%s': '%.*s' is damaged (its checksum differs)", s->path, (int)key_len,
		               (const char *)key);
	return 1;
}

int store_unfinished(MDB_txn *txn, struct store *s, const struct store_ref *ref, struct err *e)
{
	const void *data;
	size_t len, n;
	char line[96];
	int got = store_read_small(txn, s, TABLE_META, "unfinished", 10, &data, &len, e);
	if (got <= 0)
		return got;
	n = (size_t)snprintf(line, sizeof line, "%s@%" PRId64 "\n", ref->slot, ref->version);
	for (const char *p = data, *end = p + len; p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t m = newline ? (size_t)(newline - p) + 1 : (size_t)(end - p);
		if (m == n && !memcmp(p, line, n))
			return 1;
		p += m;
	}
	return 0;
}

/* ---- names ---- */

struct names {
	struct str list;
};

static int list_name(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct names *n = arg;
	(void)snapshot;
	str_addf(&n->list, "%s%s (version %" PRId64 ")", n->list.len ? ", " : "", name, ref->version);
	return 0;
}

static int no_such_name(struct store_view *v, const char *name, struct err *e)
{
	struct names n;
	str_init(&n.list);
	if (!store_each_name(v, list_name, &n, e))
		err_set(e, "'%s' has no '%s'; it has %s", v->s->path, name, n.list.len ? n.list.buf : "nothing yet");
	str_release(&n.list);
	return -1;
}

/* slot@version: is there a finished version with a tensor? */
static int resolve_version(struct store_view *v, const char *name, struct store_ref *out, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	if (!store_parse_ref(name, strlen(name), out))
		return no_such_name(v, name, e);
	size_t n = store_tensor_key(key, out->slot, out->version, "", 0, e);
	MDB_cursor *c;
	MDB_val k = {n, key}, d;
	if (!n)
		return -1;
	int rc = mdb_cursor_open(v->txn, v->s->table[TABLE_TENSOR], &c);
	if (rc)
		return store_failed(v->s, "read", rc, e);
	rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
	bool found = !rc && k.mv_size > n && !memcmp(k.mv_data, key, n);
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return store_failed(v->s, "read", rc, e);
	int unfinished = store_unfinished(v->txn, v->s, out, e);
	if (unfinished < 0)
		return -1;
	return found && !unfinished ? 0 : no_such_name(v, name, e);
}

int store_resolve(struct store_view *v, const char *name, struct store_ref *out, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	const void *data;
	size_t len;
	if (!*name)
		name = "policy";
	if (strchr(name, '@'))
		return resolve_version(v, name, out, e);
	for (int i = 0; i < 2; i++) {
		struct err ignored;
		size_t n = store_name_key(key, "sn"[i], name, &ignored);
		int got = n ? store_read_small(v->txn, v->s, TABLE_NAME, key, n, &data, &len, e) : 0;
		if (got < 0)
			return -1;
		if (got && !store_parse_ref(data, len, out))
			return err_set(e, "'%s': the name '%s' is damaged", v->s->path, name);
		if (got)
			return 0;
	}
	return no_such_name(v, name, e);
}

/* Calls fn for every pair of a table whose key begins with prefix, the checksum checked and taken off. */
static int each_small(struct store_view *v, enum store_table table, const char *prefix, size_t prefix_len,
                      int (*fn)(void *arg, const char *key, size_t key_len, const void *data, size_t len), void *arg,
                      struct err *e)
{
	MDB_cursor *c;
	MDB_val k = {prefix_len, (void *)prefix}, d;
	int rc = mdb_cursor_open(v->txn, v->s->table[table], &c), result = 0;
	if (rc)
		return store_failed(v->s, "read", rc, e);
	rc = mdb_cursor_get(c, &k, &d, prefix_len ? MDB_SET_RANGE : MDB_FIRST);
	while (!rc && k.mv_size >= prefix_len && !memcmp(k.mv_data, prefix, prefix_len)) {
		const void *data;
		size_t len;
		result = store_read_small(v->txn, v->s, table, k.mv_data, k.mv_size, &data, &len, e);
		if (result > 0)
			result = fn(arg, k.mv_data, k.mv_size, data, len);
		if (result)
			break;
		rc = mdb_cursor_get(c, &k, &d, MDB_NEXT);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return store_failed(v->s, "read", rc, e);
	return result;
}

struct each_name {
	int (*fn)(void *arg, const char *name, const struct store_ref *ref, bool snapshot);
	void *arg;
	struct store *s;
	struct err *e;
};

static int call_name(void *arg, const char *key, size_t key_len, const void *data, size_t len)
{
	struct each_name *x = arg;
	struct store_ref ref;
	char name[STORE_MAX_KEY + 1];
	if (key_len < 3 || key_len > STORE_MAX_KEY || !store_parse_ref(data, len, &ref))
		return err_set(x->e, "'%s': a name in it is damaged", x->s->path);
	memcpy(name, key + 2, key_len - 2);
	name[key_len - 2] = 0;
	return x->fn(x->arg, name, &ref, key[0] == 'n');
}

int store_each_name(struct store_view *v,
                    int (*fn)(void *arg, const char *name, const struct store_ref *ref, bool snapshot), void *arg,
                    struct err *e)
{
	struct each_name x = {fn, arg, v->s, e};
	int result = each_small(v, TABLE_NAME, "s:", 2, call_name, &x, e);
	return result ? result : each_small(v, TABLE_NAME, "n:", 2, call_name, &x, e);
}

/* ---- blobs and log ---- */

int store_get_blob(struct store_view *v, const char *slot, const char *key, const void **data, size_t *len,
                   struct err *e)
{
	char full[STORE_MAX_KEY + 1];
	size_t n = store_blob_key(full, slot, key, e);
	return n ? store_read_small(v->txn, v->s, TABLE_BLOB, full, n, data, len, e) : -1;
}

struct each_blob {
	int (*fn)(void *arg, const char *key, const void *data, size_t len);
	void *arg;
	size_t skip;
};

static int call_blob(void *arg, const char *key, size_t key_len, const void *data, size_t len)
{
	struct each_blob *x = arg;
	char name[STORE_MAX_KEY + 1];
	memcpy(name, key + x->skip, key_len - x->skip);
	name[key_len - x->skip] = 0;
	return x->fn(x->arg, name, data, len);
}

int store_each_blob(struct store_view *v, const char *slot, const char *prefix,
                    int (*fn)(void *arg, const char *key, const void *data, size_t len), void *arg, struct err *e)
{
	char full[STORE_MAX_KEY + 1];
	size_t n = store_blob_key(full, slot, prefix, e);
	struct each_blob x = {fn, arg, strlen(slot) + 1};
	return n ? each_small(v, TABLE_BLOB, full, n, call_blob, &x, e) : -1;
}

struct each_log {
	int (*fn)(void *arg, int64_t index, const char *json, size_t len);
	void *arg;
	int64_t index;
};

static int call_log(void *arg, const char *key, size_t key_len, const void *data, size_t len)
{
	struct each_log *x = arg;
	(void)key, (void)key_len;
	return x->fn(x->arg, x->index++, data, len);
}

int store_each_log(struct store_view *v, int (*fn)(void *arg, int64_t index, const char *json, size_t len), void *arg,
                   struct err *e)
{
	struct each_log x = {fn, arg, 0};
	return each_small(v, TABLE_LOG, "", 0, call_log, &x, e);
}

/* ---- tensors ---- */

static int damaged(struct store_view *v, const char *key, const char *why, struct err *e)
{
	return err_set(e, "'%s': tensor '%s' is damaged (%s)", v->s->path, key, why);
}

/* One piece: header and length agree with each other and with what the first piece said (NULL: it is the first). */
static int read_piece(struct store_view *v, const char *key, const MDB_val *value, const struct store_header *first,
                      unsigned piece, struct store_header *h, struct err *e)
{
	struct store_rows r;
	if (value->mv_size < sizeof *h)
		return damaged(v, key, "shorter than its header", e);
	memcpy(h, value->mv_data, sizeof *h);
	if (h->magic != STORE_MAGIC || !store_rows_of((enum kn_dtype)h->dtype, h->n_dims, h->shape, &r))
		return damaged(v, key, "its header makes no sense", e);
	if (h->piece != piece || h->n_pieces < 1 || h->rows < 1 || h->rows > r.rows ||
	    (first && (h->n_pieces != first->n_pieces || memcmp(h->shape, first->shape, sizeof h->shape) ||
	               h->dtype != first->dtype || h->n_dims != first->n_dims)))
		return damaged(v, key, "its pieces do not fit", e);
	if (value->mv_size != store_value_size(v->s, r.row_bytes * h->rows))
		return damaged(v, key, "its length does not fit its shape", e);
	return 0;
}

/* All pieces of the tensor whose first piece is `value`. */
static int read_tensor(struct store_view *v, const struct store_ref *ref, const char *name, MDB_val value, bool check,
                       struct store_tensor *out, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	struct store_header first, h;
	int64_t rows = 0;
	if (!store_tensor_key(key, ref->slot, ref->version, name, 0, e) ||
	    read_piece(v, key, &value, NULL, 0, &first, e))
		return -1;
	struct store_rows r;
	store_rows_of((enum kn_dtype)first.dtype, first.n_dims, first.shape, &r);
	struct kn_block *block = arena_array(&v->arena, first.n_pieces, sizeof *block);
	*out = (struct store_tensor){.dtype = (enum kn_dtype)first.dtype, .n_dims = first.n_dims};
	for (unsigned i = 0; i < first.n_pieces; i++) {
		if (i) {
			size_t n = store_tensor_key(key, ref->slot, ref->version, name, i, e);
			MDB_val k = {n, key};
			int rc = mdb_get(v->txn, v->s->table[TABLE_TENSOR], &k, &value);
			if (rc == MDB_NOTFOUND)
				return damaged(v, key, "a piece is missing", e);
			if (rc)
				return store_failed(v->s, "read", rc, e);
			if (read_piece(v, key, &value, &first, i, &h, e))
				return -1;
		} else {
			h = first;
		}
		block[i] = (struct kn_block){(char *)value.mv_data + sizeof h, h.rows};
		if (check && store_header_crc(&h, block[i].data, r.row_bytes * h.rows) != h.crc)
			return damaged(v, key, "its checksum differs", e);
		rows += h.rows;
	}
	if (rows != r.rows)
		return damaged(v, key, "rows are missing", e);
	memcpy(out->shape, first.shape, sizeof out->shape);
	out->n_blocks = first.n_pieces;
	out->blocks = block;
	out->bytes = r.bytes;
	return 0;
}

static int get(struct store_view *v, const struct store_ref *ref, const char *name, bool check,
               struct store_tensor *out, struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	size_t n = store_tensor_key(key, ref->slot, ref->version, name, 0, e);
	MDB_val k = {n, key}, d;
	if (!n)
		return -1;
	int rc = mdb_get(v->txn, v->s->table[TABLE_TENSOR], &k, &d);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return store_failed(v->s, "read", rc, e);
	return read_tensor(v, ref, name, d, check, out, e) ? -1 : 1;
}

int store_get(struct store_view *v, const struct store_ref *ref, const char *name, struct store_tensor *out,
              struct err *e)
{
	return get(v, ref, name, false, out, e);
}

int store_check(struct store_view *v, const struct store_ref *ref, const char *name, struct err *e)
{
	struct store_tensor t;
	int got = get(v, ref, name, true, &t, e);
	if (got == 0)
		return err_set(e, "'%s' has no tensor '%s' in %s@%" PRId64, v->s->path, name, ref->slot, ref->version);
	return got < 0 ? -1 : 0;
}

int store_each(struct store_view *v, const struct store_ref *ref,
               int (*fn)(void *arg, const char *name, const struct store_tensor *t), void *arg, struct err *e)
{
	char key[STORE_MAX_KEY + 1], name[STORE_MAX_KEY + 1];
	MDB_cursor *c;
	size_t prefix = store_tensor_key(key, ref->slot, ref->version, "", 0, e);
	if (!prefix)
		return -1;
	MDB_val k = {prefix, key}, d;
	int rc = mdb_cursor_open(v->txn, v->s->table[TABLE_TENSOR], &c), result = 0;
	if (rc)
		return store_failed(v->s, "read", rc, e);
	rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
	for (; !rc && !result; rc = mdb_cursor_get(c, &k, &d, MDB_NEXT)) {
		struct store_tensor t;
		if (k.mv_size < prefix || k.mv_size > STORE_MAX_KEY || memcmp(k.mv_data, key, prefix))
			break;
		if (memchr(k.mv_data, 0, k.mv_size))
			continue; /* a further piece */
		memcpy(name, (char *)k.mv_data + prefix, k.mv_size - prefix);
		name[k.mv_size - prefix] = 0;
		result = read_tensor(v, ref, name, d, false, &t, e);
		if (!result)
			result = fn(arg, name, &t);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return store_failed(v->s, "read", rc, e);
	return result;
}

int store_walk_versions(MDB_txn *txn, struct store *s, int (*fn)(void *arg, const struct store_ref *ref), void *arg,
                        struct err *e)
{
	char key[STORE_MAX_KEY + 1];
	MDB_cursor *c;
	MDB_val k, d;
	int rc = mdb_cursor_open(txn, s->table[TABLE_TENSOR], &c), result = 0;
	if (rc)
		return store_failed(s, "read", rc, e);
	rc = mdb_cursor_get(c, &k, &d, MDB_FIRST);
	while (!rc) {
		struct store_ref ref;
		size_t len;
		if (!store_parse_key(k.mv_data, k.mv_size, &ref, &len)) {
			result = err_set(e, "'%s' is damaged: a tensor has no version", s->path);
			break;
		}
		if ((result = fn(arg, &ref)))
			break;
		/* The character after '/' leads past all of this version. */
		k.mv_size = (size_t)snprintf(key, sizeof key, "%s@%" PRId64 "0", ref.slot, ref.version);
		k.mv_data = key;
		rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
	}
	mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		return store_failed(s, "read", rc, e);
	return result;
}

int store_each_version(struct store_view *v, int (*fn)(void *arg, const struct store_ref *ref), void *arg,
                       struct err *e)
{
	return store_walk_versions(v->txn, v->s, fn, arg, e);
}
