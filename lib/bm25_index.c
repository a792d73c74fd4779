/*
 * bm25_index - the file of an index; see bm25.h and bm25_impl.h
 *
 * An LMDB file of one map: "\0meta", "\0len" (u32 per document), "\0off" and "\0ids" (where the ids are, the ids), and
 * "t" + key for each term.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

#define LAYOUT 1u
#define BYTE_ORDER_MARK 0x01020304u
static const char magic[8] = "rl-bm25";

enum { COMMIT_BYTES = 64 << 20, LONG_KEY_TEXT = BM25_KEY_MAX - 17 };

struct meta {
	char magic[8];
	uint32_t layout, byte_order, analyzer, reserved;
	int64_t documents, empty, tokens, terms;
};

struct bm25_writer {
	char *path, *temporary;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	size_t uncommitted;
};

struct bm25_index {
	char *path;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	struct bm25_info info;
	const uint32_t *lengths;
	const unsigned char *offsets, *ids;
	size_t ids_len;
};

size_t bm25_key(const char *term, size_t len, char key[BM25_KEY_MAX])
{
	if (len <= BM25_KEY_MAX) {
		memcpy(key, term, len);
		return len;
	}
	/* no term holds the byte 1, so a long one never meets a short one */
	uint64_t hash[2] = {hash_bytes(term, len, 1, 2), hash_bytes(term, len, 3, 4)};
	memcpy(key, term, LONG_KEY_TEXT);
	key[LONG_KEY_TEXT] = 1;
	memcpy(key + LONG_KEY_TEXT + 1, hash, sizeof hash);
	return BM25_KEY_MAX;
}

static MDB_val term_key(const char *term, size_t len, char buf[BM25_KEY_MAX + 1])
{
	buf[0] = 't';
	return (MDB_val){1 + bm25_key(term, len, buf + 1), buf};
}

static int lmdb_error(struct err *e, const char *path, int rc)
{
	return err_set(e, "%s: %s", path, mdb_strerror(rc));
}

/* ---- writing ---- */

/* The largest map that the system grants: address space, not memory. */
static int open_env(struct bm25_writer *w, struct err *e)
{
	int rc = ENOMEM;
	for (size_t size = (size_t)1 << 40; size >= (size_t)1 << 28; size /= 2) {
		if ((rc = mdb_env_create(&w->env)))
			break;
		mdb_env_set_mapsize(w->env, size);
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

struct bm25_writer *bm25_writer_open(const char *path, struct err *e)
{
	struct bm25_writer *w = xcalloc(1, sizeof *w);
	struct str name;
	int rc;
	str_init(&name);
	str_addf(&name, "%s.tmp-%ld", path, (long)getpid());
	w->path = xstrdup(path);
	w->temporary = str_detach(&name);
	unlink(w->temporary);
	if (open_env(w, e))
		goto fail;
	if ((rc = mdb_txn_begin(w->env, NULL, 0, &w->txn)) || (rc = mdb_dbi_open(w->txn, NULL, 0, &w->dbi))) {
		lmdb_error(e, w->temporary, rc);
		goto fail;
	}
	return w;
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
	free(w->path);
	free(w->temporary);
	free(w);
}

void bm25_writer_abandon(struct bm25_writer *w)
{
	if (!w)
		return;
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

static int put(struct bm25_writer *w, MDB_val key, const void *data, size_t len, unsigned flags, struct err *e)
{
	MDB_val value = {len, (void *)data};
	int rc = mdb_put(w->txn, w->dbi, &key, &value, flags);
	if (rc)
		return lmdb_error(e, w->temporary, rc);
	w->uncommitted += len;
	return w->uncommitted > COMMIT_BYTES ? next_txn(w, e) : 0;
}

int bm25_writer_term(struct bm25_writer *w, const char *term, size_t len, const struct str *postings, struct err *e)
{
	char buf[BM25_KEY_MAX + 1];
	return put(w, term_key(term, len, buf), postings->buf, postings->len, MDB_APPEND, e);
}

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

static int write_documents(struct bm25_writer *w, const struct bm25_info *info, const uint32_t *lengths,
                           const uint64_t *offsets, const char *ids, struct err *e)
{
	size_t n = (size_t)info->documents;
	if (offsets[n] >= UINT32_MAX)
		return err_set(e, "%s: the ids of %zu documents take %llu bytes, at most %u fit", w->path, n,
		               (unsigned long long)offsets[n], UINT32_MAX - 1);
	if (put(w, (MDB_val){4, "\0len"}, lengths, n * sizeof *lengths, 0, e) ||
	    put(w, (MDB_val){4, "\0off"}, offsets, (n + 1) * sizeof *offsets, 0, e))
		return -1;
	return put(w, (MDB_val){4, "\0ids"}, ids, (size_t)offsets[n], 0, e);
}

int bm25_writer_finish(struct bm25_writer *w, const struct bm25_info *info, const uint32_t *lengths,
                       const uint64_t *offsets, const char *ids, struct err *e)
{
	struct meta m = {.layout = LAYOUT,
	                 .byte_order = BYTE_ORDER_MARK,
	                 .analyzer = info->analyzer,
	                 .documents = info->documents,
	                 .empty = info->empty,
	                 .tokens = info->tokens,
	                 .terms = info->terms};
	memcpy(m.magic, magic, sizeof magic);
	int rc;
	if (write_documents(w, info, lengths, offsets, ids, e) || cut_map(w, e) ||
	    put(w, (MDB_val){5, "\0meta"}, &m, sizeof m, 0, e))
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

/* ---- reading ---- */

static int get(const struct bm25_index *x, MDB_val key, MDB_val *out)
{
	return mdb_get(x->txn, x->dbi, &key, out);
}

/* LMDB reads pages where its header says they are; behind the end of the file that would be a fault. */
static int check_size(const struct bm25_index *x, struct err *e)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	if (stat(x->path, &file))
		return err_errno(e, "%s", x->path);
	mdb_env_info(x->env, &info);
	mdb_env_stat(x->env, &st);
	unsigned long long want = (unsigned long long)(info.me_last_pgno + 1) * st.ms_psize;
	if ((unsigned long long)file.st_size < want)
		return err_set(e, "%s: cut short: %lld bytes, %llu expected", x->path, (long long)file.st_size, want);
	return 0;
}

static int read_meta(struct bm25_index *x, struct err *e)
{
	MDB_val v;
	struct meta m;
	if (get(x, (MDB_val){5, "\0meta"}, &v) || v.mv_size < sizeof m.magic || memcmp(v.mv_data, magic, sizeof magic))
		return err_set(e, "%s: not an index of rl-index", x->path);
	if (v.mv_size != sizeof m)
		return err_set(e, "%s: an index of another version; build it again", x->path);
	memcpy(&m, v.mv_data, sizeof m);
	if (m.layout != LAYOUT)
		return err_set(e, "%s: an index of layout %u, this program reads %u; build it again", x->path, m.layout,
		               LAYOUT);
	if (m.byte_order != BYTE_ORDER_MARK || m.analyzer > BM25_UNICODE || m.documents < 0 ||
	    m.documents > (int64_t)1 << 28 || m.tokens < 0)
		return err_set(e, "%s: the index is damaged, or of a machine with another byte order", x->path);
	x->info = (struct bm25_info){m.analyzer, m.documents, m.empty, m.tokens, m.terms, 0};
	if (m.documents)
		x->info.average_length = (double)m.tokens / (double)m.documents;
	return 0;
}

static int read_documents(struct bm25_index *x, struct err *e)
{
	MDB_val lengths, offsets, ids;
	size_t n = (size_t)x->info.documents;
	if (get(x, (MDB_val){4, "\0len"}, &lengths) || get(x, (MDB_val){4, "\0off"}, &offsets) ||
	    get(x, (MDB_val){4, "\0ids"}, &ids) || lengths.mv_size != n * sizeof *x->lengths ||
	    offsets.mv_size != (n + 1) * sizeof(uint64_t))
		return err_set(e, "%s: the index is damaged: its table of documents", x->path);
	x->offsets = offsets.mv_data;
	x->ids = ids.mv_data;
	x->ids_len = ids.mv_size;
	/* small values are not aligned in the file */
	uint32_t *copy = xmalloc(n * sizeof *copy + 1);
	memcpy(copy, lengths.mv_data, n * sizeof *copy);
	x->lengths = copy;
	return 0;
}

struct bm25_index *bm25_open(const char *path, struct err *e)
{
	struct bm25_index *x = xcalloc(1, sizeof *x);
	int rc;
	x->path = xstrdup(path);
	if (access(path, R_OK)) {
		err_errno(e, "%s", path);
		goto fail;
	}
	if ((rc = mdb_env_create(&x->env)) ||
	    (rc = mdb_env_open(x->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY | MDB_NOTLS, 0644))) {
		err_set(e, "%s: not an index of rl-index (%s)", path, mdb_strerror(rc));
		goto fail;
	}
	if (check_size(x, e))
		goto fail;
	if ((rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &x->txn)) || (rc = mdb_dbi_open(x->txn, NULL, 0, &x->dbi))) {
		lmdb_error(e, path, rc);
		goto fail;
	}
	if (read_meta(x, e) || read_documents(x, e))
		goto fail;
	return x;
fail:
	bm25_close(x);
	return NULL;
}

void bm25_close(struct bm25_index *x)
{
	if (!x)
		return;
	if (x->txn)
		mdb_txn_abort(x->txn);
	if (x->env)
		mdb_env_close(x->env);
	free((void *)x->lengths);
	free(x->path);
	free(x);
}

const struct bm25_info *bm25_info(const struct bm25_index *x)
{
	return &x->info;
}

const uint32_t *bm25_lengths(const struct bm25_index *x)
{
	return x->lengths;
}

int bm25_doc_id(const struct bm25_index *x, uint32_t doc, const char **id, size_t *len, struct err *e)
{
	uint64_t at[2];
	if (doc >= x->info.documents)
		return err_set(e, "%s: document %u of %lld", x->path, doc, (long long)x->info.documents);
	memcpy(at, x->offsets + doc * sizeof at[0], sizeof at);
	if (at[0] > at[1] || at[1] > x->ids_len)
		return err_set(e, "%s: the index is damaged: the id of document %u", x->path, doc);
	*id = (const char *)x->ids + at[0];
	*len = (size_t)(at[1] - at[0]);
	return 0;
}

int bm25_lookup(const struct bm25_index *x, const char *term, size_t len, struct bm25_postings *out, struct err *e)
{
	char buf[BM25_KEY_MAX + 1];
	MDB_val v;
	int rc = get(x, term_key(term, len, buf), &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return lmdb_error(e, x->path, rc);
	if (bm25_postings_get(v.mv_data, v.mv_size, x->info.documents, out, e))
		return err_where(e, "%s", x->path);
	return 1;
}
