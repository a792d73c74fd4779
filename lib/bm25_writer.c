/*
 * bm25_writer - the file of an index, written; see bm25_impl.h and, for what is in it, bm25_index.c
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { IN_MAIN, IN_TERMS, IN_IDS, IN_TEXTS, IN_POSITIONS, N_DBS };
static const char *const names[N_DBS] = {NULL, "terms", "ids", "texts", "positions"};

struct bm25_writer {
	char *path, *temporary;
	int lock; /* held on the temporary file while we live */
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi[N_DBS];
	size_t uncommitted, commit_bytes;
	uint32_t n_docs;
	struct str ids; /* of the last group, not yet full */
	uint32_t ends[BM25_ID_GROUP];
};

static int lmdb_error(struct err *e, const char *path, int rc)
{
	return err_set(e, "%s: %s", path, mdb_strerror(rc));
}

static void big_endian(uint32_t x, unsigned char out[4])
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(x >> (24 - 8 * i));
}

/* The largest map that the system grants: address space, not memory. */
static int open_env(struct bm25_writer *w, struct err *e)
{
	int rc = ENOMEM;
	for (size_t size = (size_t)1 << 40; size >= (size_t)1 << 28; size /= 2) {
		if ((rc = mdb_env_create(&w->env)))
			break;
		mdb_env_set_mapsize(w->env, size);
		mdb_env_set_maxdbs(w->env, N_DBS);
		rc = mdb_env_open(w->env, w->temporary, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0644);
		if (!rc)
			return 0;
		mdb_env_close(w->env);
		w->env = NULL;
		if (rc != ENOMEM)
			break;
	}
	return lmdb_error(e, w->temporary, rc);
}

/* What builds that were killed have left: a builder holds a lock on its file. */
static void remove_stale(const char *path)
{
	struct str pattern;
	glob_t found;
	str_init(&pattern);
	for (const char *p = path; *p; p++) {
		if (strchr("*?[\\", *p))
			str_addc(&pattern, '\\');
		str_addc(&pattern, *p);
	}
	str_adds(&pattern, ".tmp-*");
	if (!glob(pattern.buf, GLOB_NOSORT, NULL, &found)) {
		for (size_t i = 0; i < found.gl_pathc; i++) {
			int fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
			if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
				unlink(found.gl_pathv[i]);
			if (fd >= 0)
				close(fd);
		}
		globfree(&found);
	}
	str_release(&pattern);
}

static int open_locked(struct bm25_writer *w, struct err *e)
{
	w->lock = open(w->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
	if (w->lock < 0)
		return err_errno(e, "%s", w->temporary);
	flock(w->lock, LOCK_EX | LOCK_NB);
	return open_env(w, e);
}

struct bm25_writer *bm25_writer_open(const char *path, size_t commit_bytes, struct err *e)
{
	struct bm25_writer *w = xcalloc(1, sizeof *w);
	struct str name;
	int rc;
	str_init(&name);
	str_init(&w->ids);
	str_addf(&name, "%s.tmp-%ld", path, (long)getpid());
	w->path = xstrdup(path);
	w->temporary = str_detach(&name);
	w->commit_bytes = commit_bytes;
	w->lock = -1;
	remove_stale(path);
	if (open_locked(w, e))
		goto fail;
	rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
	for (int i = 0; i < N_DBS && !rc; i++)
		rc = mdb_dbi_open(w->txn, names[i], names[i] ? MDB_CREATE : 0, &w->dbi[i]);
	if (!rc)
		return w;
	lmdb_error(e, w->temporary, rc);
fail:
	bm25_writer_abandon(w);
	return NULL;
}

static void writer_free(struct bm25_writer *w)
{
	if (w->txn)
		mdb_txn_abort(w->txn);
	if (w->env)
		mdb_env_close(w->env);
	if (w->lock >= 0)
		close(w->lock);
	str_release(&w->ids);
	free(w->path);
	free(w->temporary);
	free(w);
}

void bm25_writer_abandon(struct bm25_writer *w)
{
	if (!w)
		return;
	if (w->lock >= 0)
		unlink(w->temporary);
	writer_free(w);
}

static int next_txn(struct bm25_writer *w, struct err *e)
{
	int rc = mdb_txn_commit(w->txn);
	w->txn = NULL;
	w->uncommitted = 0;
	if (!rc)
		rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
	return rc ? lmdb_error(e, w->temporary, rc) : 0;
}

/* Room for a value; what is put is on its way to the disk before too much of it is in memory. */
static int reserve(struct bm25_writer *w, int db, MDB_val key, size_t len, unsigned flags, char **room, struct err *e)
{
	MDB_val value = {len, NULL};
	if (w->uncommitted > w->commit_bytes && next_txn(w, e))
		return -1;
	int rc = mdb_put(w->txn, w->dbi[db], &key, &value, flags | MDB_RESERVE);
	if (rc)
		return lmdb_error(e, w->temporary, rc);
	w->uncommitted += len + key.mv_size;
	*room = value.mv_data;
	return 0;
}

static int put(struct bm25_writer *w, int db, MDB_val key, const void *data, size_t len, unsigned flags, struct err *e)
{
	char *room;
	if (reserve(w, db, key, len, flags, &room, e))
		return -1;
	memcpy(room, data, len);
	return 0;
}

/* ---- documents ---- */

static int end_group(struct bm25_writer *w, struct err *e)
{
	uint32_t n = w->n_docs % BM25_ID_GROUP ? w->n_docs % BM25_ID_GROUP : w->n_docs ? BM25_ID_GROUP : 0;
	unsigned char key[4];
	char *room;
	if (!n)
		return 0;
	big_endian((w->n_docs - 1) / BM25_ID_GROUP, key);
	if (reserve(w, IN_IDS, (MDB_val){4, key}, n * sizeof *w->ends + w->ids.len, MDB_APPEND, &room, e))
		return -1;
	memcpy(room, w->ends, n * sizeof *w->ends);
	memcpy(room + n * sizeof *w->ends, w->ids.buf, w->ids.len);
	str_clear(&w->ids);
	return 0;
}

int bm25_writer_document(struct bm25_writer *w, const char *id, size_t id_len, const char *text, size_t len,
                         struct err *e)
{
	unsigned char key[4];
	big_endian(w->n_docs, key);
	if (text && put(w, IN_TEXTS, (MDB_val){4, key}, text, len, MDB_APPEND, e))
		return -1;
	str_add(&w->ids, id, id_len);
	w->ends[w->n_docs++ % BM25_ID_GROUP] = (uint32_t)w->ids.len;
	return w->n_docs % BM25_ID_GROUP ? 0 : end_group(w, e);
}

int bm25_writer_id(struct bm25_writer *w, uint32_t doc, const char **id, size_t *len, struct err *e)
{
	uint32_t group = doc / BM25_ID_GROUP, i = doc % BM25_ID_GROUP, ends[2] = {0, 0}, n = BM25_ID_GROUP;
	const char *bytes = w->ids.buf, *table = (const char *)w->ends;
	if (group != w->n_docs / BM25_ID_GROUP) {
		unsigned char key[4];
		MDB_val k = {4, key}, v;
		big_endian(group, key);
		int rc = mdb_get(w->txn, w->dbi[IN_IDS], &k, &v);
		if (rc)
			return lmdb_error(e, w->temporary, rc);
		table = v.mv_data;
		bytes = table + n * sizeof *ends;
	}
	if (i)
		memcpy(ends, table + (i - 1) * sizeof *ends, sizeof *ends);
	memcpy(ends + 1, table + i * sizeof *ends, sizeof *ends);
	*id = bytes + ends[0];
	*len = ends[1] - ends[0];
	return 0;
}

/* ---- terms ---- */

int bm25_writer_term(struct bm25_writer *w, const char *key, size_t len, const struct bm25_list *list, size_t list_len,
                     struct err *e)
{
	char *room;
	if (list_len >= UINT32_MAX)
		return err_set(e, "%s: a posting list of %zu bytes, at most %u fit", w->path, list_len, UINT32_MAX - 1);
	if (reserve(w, IN_TERMS, (MDB_val){len, (void *)key}, list_len, MDB_APPEND, &room, e))
		return -1;
	bm25_list_write(list, room);
	return 0;
}

int bm25_writer_positions(struct bm25_writer *w, const char *key, size_t len, uint32_t group, const struct str *value,
                          struct err *e)
{
	char buf[BM25_KEY_MAX + 4];
	memcpy(buf, key, len);
	big_endian(group, (unsigned char *)buf + len);
	return put(w, IN_POSITIONS, (MDB_val){len + 4, buf}, value->buf, value->len, MDB_APPEND, e);
}

/* ---- the end ---- */

static int sync_directory(const char *path, struct err *e)
{
	char *copy = xstrdup(path), *slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = 0;
	int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	if (fd < 0 || (fsync(fd) && errno != EINVAL))
		rc = err_errno(e, "%s: cannot sync the directory", path);
	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

/* The map is cut to what is used: a reader maps no more than that. */
static int cut_map(struct bm25_writer *w, struct err *e)
{
	MDB_envinfo info;
	MDB_stat st;
	if (next_txn(w, e))
		return -1;
	mdb_txn_abort(w->txn);
	w->txn = NULL;
	mdb_env_info(w->env, &info);
	mdb_env_stat(w->env, &st);
	/* the last transaction writes the meta value and the path down to it */
	int rc = mdb_env_set_mapsize(w->env, (info.me_last_pgno + 1 + 64) * st.ms_psize);
	if (!rc)
		rc = mdb_txn_begin(w->env, NULL, 0, &w->txn);
	return rc ? lmdb_error(e, w->temporary, rc) : 0;
}

int bm25_writer_finish(struct bm25_writer *w, const struct bm25_info *info, const uint32_t *lengths, struct err *e)
{
	struct bm25_meta m = {.magic = BM25_MAGIC,
	                      .layout = BM25_LAYOUT,
	                      .byte_order = BM25_BYTE_ORDER,
	                      .analyzer = info->analyzer,
	                      .positions = info->positions,
	                      .texts = info->texts,
	                      .documents = info->documents,
	                      .empty = info->empty,
	                      .tokens = info->tokens,
	                      .terms = info->terms};
	int rc;
	if ((w->n_docs % BM25_ID_GROUP && end_group(w, e)) ||
	    put(w, IN_MAIN, (MDB_val){4, "\0len"}, lengths, (size_t)info->documents * sizeof *lengths, 0, e) ||
	    cut_map(w, e) || put(w, IN_MAIN, (MDB_val){5, "\0meta"}, &m, sizeof m, 0, e))
		goto fail;
	rc = mdb_txn_commit(w->txn);
	w->txn = NULL;
	if (rc || (rc = mdb_env_sync(w->env, 1))) {
		lmdb_error(e, w->temporary, rc);
		goto fail;
	}
	if (rename(w->temporary, w->path)) {
		err_errno(e, "%s: cannot rename to '%s'", w->temporary, w->path);
		goto fail;
	}
	rc = sync_directory(w->path, e);
	writer_free(w);
	return rc;
fail:
	bm25_writer_abandon(w);
	return -1;
}
