/*
 * bm25_index - the file of an index, read; see bm25.h and bm25_impl.h
 *
 * An LMDB file.  In its main part "\0meta" (struct bm25_meta) and "\0len" (u32 per document); named parts:
 *
 *     terms      key of a term -> posting list
 *     ids        number of a group of BM25_ID_GROUP documents -> u32 where each id ends, the ids
 *     texts      number of a document -> its text (where kept)
 *     positions  key of a term, number of a group of blocks -> positions (where kept)
 *
 * Numbers in keys are big-endian, all else is in the machine's byte order.
 */
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bm25_impl.h"
#include "lib/util.h"

enum { LONG_KEY_TEXT = BM25_KEY_MAX - 17 };

enum { IN_TERMS, IN_IDS, IN_TEXTS, IN_POSITIONS, N_DBS };
static const char *const names[N_DBS] = {"terms", "ids", "texts", "positions"};

struct bm25_index {
	char *path;
	MDB_env *env;
	MDB_dbi main, dbi[N_DBS];
	MDB_txn *txn; /* keeps what lengths points at */
	struct bm25_info info;
	const uint32_t *lengths;
	uint32_t *own_lengths;
};

struct bm25_view {
	const struct bm25_index *index;
	MDB_txn *txn;
};

static int lmdb_error(struct err *e, const char *path, int rc)
{
	return err_set(e, "%s: %s", path, mdb_strerror(rc));
}

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

/* ---- opening ---- */

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
	MDB_val v, key = {5, "\0meta"};
	struct bm25_meta m;
	if (mdb_get(x->txn, x->main, &key, &v) || v.mv_size < offsetof(struct bm25_meta, byte_order) ||
	    memcmp(v.mv_data, BM25_MAGIC, sizeof m.magic))
		return err_set(e, "%s: not an index of rl-index", x->path);
	memcpy(&m, v.mv_data, v.mv_size < sizeof m ? v.mv_size : sizeof m);
	if (m.layout != BM25_LAYOUT)
		return err_set(e, "%s: an index of layout %u, this program reads %u; build it again", x->path, m.layout,
		               BM25_LAYOUT);
	if (v.mv_size != sizeof m || m.byte_order != BM25_BYTE_ORDER || m.analyzer > BM25_UNICODE || m.documents < 0 ||
	    m.documents > (int64_t)1 << 28 || m.tokens < 0)
		return err_set(e, "%s: the index is damaged, or of a machine with another byte order", x->path);
	x->info = (struct bm25_info){.analyzer = m.analyzer,
	                             .positions = m.positions,
	                             .texts = m.texts,
	                             .documents = m.documents,
	                             .empty = m.empty,
	                             .tokens = m.tokens,
	                             .terms = m.terms};
	if (m.documents)
		x->info.average_length = (double)m.tokens / (double)m.documents;
	return 0;
}

static int read_documents(struct bm25_index *x, struct err *e)
{
	MDB_val v, key = {4, "\0len"};
	size_t bytes = (size_t)x->info.documents * sizeof *x->lengths;
	int rc = mdb_get(x->txn, x->main, &key, &v);
	for (int i = 0; i < N_DBS && !rc; i++)
		rc = mdb_dbi_open(x->txn, names[i], 0, &x->dbi[i]);
	if (rc || v.mv_size != bytes)
		return err_set(e, "%s: the index is damaged: its table of documents", x->path);
	x->lengths = v.mv_data;
	if ((uintptr_t)v.mv_data % sizeof *x->lengths) { /* a small value may lie anywhere */
		x->own_lengths = xmalloc(bytes + 1);
		memcpy(x->own_lengths, v.mv_data, bytes);
		x->lengths = x->own_lengths;
	}
	return 0;
}

/* The magic of the meta record, whatever the layout. */
static bool is_index(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi main;
	MDB_val v, key = {5, "\0meta"};
	bool is = false;
	if (mdb_env_create(&env))
		return false;
	mdb_env_set_maxdbs(env, N_DBS);
	if (!mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY | MDB_NOTLS, 0644) &&
	    !mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)) {
		is = !mdb_dbi_open(txn, NULL, 0, &main) && !mdb_get(txn, main, &key, &v) &&
		     v.mv_size >= offsetof(struct bm25_meta, byte_order) &&
		     !memcmp(v.mv_data, BM25_MAGIC, sizeof((struct bm25_meta *)0)->magic);
		mdb_txn_abort(txn);
	}
	mdb_env_close(env);
	return is;
}

int bm25_check_target(const char *path, struct err *e)
{
	struct stat st;
	if (stat(path, &st) || (S_ISREG(st.st_mode) && st.st_size == 0))
		return 0;
	guard_mapping(path);
	if (S_ISREG(st.st_mode) && is_index(path))
		return 0;
	return err_set(e, "'%s' is there and no index of rl-index: it is not replaced", path);
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
	if ((rc = mdb_env_create(&x->env)) || (rc = mdb_env_set_maxdbs(x->env, N_DBS)) ||
	    (rc = mdb_env_open(x->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY | MDB_NOTLS, 0644))) {
		err_set(e, "%s: not an index of rl-index (%s)", path, mdb_strerror(rc));
		goto fail;
	}
	guard_mapping(x->path);
	if (check_size(x, e))
		goto fail;
	if ((rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &x->txn)) || (rc = mdb_dbi_open(x->txn, NULL, 0, &x->main))) {
		lmdb_error(e, path, rc);
		goto fail;
	}
	if (read_meta(x, e) || read_documents(x, e))
		goto fail;
	/* the handles are the environment's from here on */
	rc = mdb_txn_commit(x->txn);
	x->txn = NULL;
	if (!rc)
		rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &x->txn);
	if (!rc)
		return x;
	lmdb_error(e, path, rc);
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
	free(x->own_lengths);
	free(x->path);
	free(x);
}

const struct bm25_info *bm25_info(const struct bm25_index *x)
{
	return &x->info;
}

const char *bm25_path(const struct bm25_index *x)
{
	return x->path;
}

const uint32_t *bm25_lengths(const struct bm25_index *x)
{
	return x->lengths;
}

/* ---- a view ---- */

struct bm25_view *bm25_view_new(const struct bm25_index *x, struct err *e)
{
	struct bm25_view *v = xcalloc(1, sizeof *v);
	v->index = x;
	int rc = mdb_txn_begin(x->env, NULL, MDB_RDONLY, &v->txn);
	if (!rc)
		return v;
	free(v);
	lmdb_error(e, x->path, rc);
	return NULL;
}

void bm25_view_free(struct bm25_view *v)
{
	if (!v)
		return;
	mdb_txn_abort(v->txn);
	free(v);
}

static int get(const struct bm25_view *v, int db, const void *key, size_t len, MDB_val *out)
{
	MDB_val k = {len, (void *)key};
	return mdb_get(v->txn, v->index->dbi[db], &k, out);
}

static void big_endian(uint32_t x, unsigned char out[4])
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(x >> (24 - 8 * i));
}

int bm25_view_id(const struct bm25_view *v, uint32_t doc, const char **id, size_t *len, struct err *e)
{
	const struct bm25_index *x = v->index;
	uint32_t i = doc % BM25_ID_GROUP, first = doc - i, ends[2] = {0, 0}, n = BM25_ID_GROUP;
	unsigned char key[4];
	MDB_val value;
	if (doc >= x->info.documents)
		return err_set(e, "%s: document %u of %lld", x->path, doc, (long long)x->info.documents);
	if (x->info.documents - first < n)
		n = (uint32_t)(x->info.documents - first);
	big_endian(doc / BM25_ID_GROUP, key);
	int rc = get(v, IN_IDS, key, sizeof key, &value);
	if (rc || value.mv_size < n * sizeof *ends)
		return err_set(e, "%s: the index is damaged: the id of document %u", x->path, doc);
	if (i)
		memcpy(ends, (const char *)value.mv_data + (i - 1) * sizeof *ends, sizeof *ends);
	memcpy(ends + 1, (const char *)value.mv_data + i * sizeof *ends, sizeof *ends);
	if (ends[0] > ends[1] || ends[1] > value.mv_size - n * sizeof *ends)
		return err_set(e, "%s: the index is damaged: the id of document %u", x->path, doc);
	*id = (const char *)value.mv_data + n * sizeof *ends + ends[0];
	*len = ends[1] - ends[0];
	return 0;
}

int bm25_view_text(const struct bm25_view *v, uint32_t doc, const char **text, size_t *len, struct err *e)
{
	unsigned char key[4];
	MDB_val value;
	if (!v->index->info.texts)
		return err_set(e, "%s: the index keeps no texts", v->index->path);
	big_endian(doc, key);
	if (get(v, IN_TEXTS, key, sizeof key, &value))
		return err_set(e, "%s: the index is damaged: the text of document %u", v->index->path, doc);
	*text = value.mv_data;
	*len = value.mv_size;
	return 0;
}

int bm25_view_lookup(const struct bm25_view *v, const char *term, size_t len, struct bm25_postings *out, struct err *e)
{
	char key[BM25_KEY_MAX];
	MDB_val value;
	if (!len)
		return 0;
	int rc = get(v, IN_TERMS, key, bm25_key(term, len, key), &value);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return lmdb_error(e, v->index->path, rc);
	if (bm25_postings_get(value.mv_data, value.mv_size, v->index->info.documents, out, e))
		return err_where(e, "%s", v->index->path);
	return 1;
}

int bm25_view_positions(const struct bm25_view *v, const char *key, size_t key_len, uint32_t block, uint32_t n_blocks,
                        const unsigned char **bytes, size_t *len, struct err *e)
{
	char buf[BM25_KEY_MAX + 4];
	uint32_t i = block % BM25_POSITION_BLOCKS, ends[2] = {0, 0}, n = n_blocks - (block - i);
	MDB_val value;
	if (!v->index->info.positions)
		return err_set(e, "%s: the index keeps no positions; build it with rl-index --positions",
		               v->index->path);
	if (n > BM25_POSITION_BLOCKS)
		n = BM25_POSITION_BLOCKS;
	memcpy(buf, key, key_len);
	big_endian(block / BM25_POSITION_BLOCKS, (unsigned char *)buf + key_len);
	if (get(v, IN_POSITIONS, buf, key_len + 4, &value) || value.mv_size < n * sizeof *ends)
		return err_set(e, "%s: the index is damaged: positions of block %u", v->index->path, block);
	const unsigned char *table = value.mv_data;
	if (i)
		memcpy(ends, table + (i - 1) * sizeof *ends, sizeof *ends);
	memcpy(ends + 1, table + i * sizeof *ends, sizeof *ends);
	if (ends[0] > ends[1] || ends[1] > value.mv_size - n * sizeof *ends)
		return err_set(e, "%s: the index is damaged: positions of block %u", v->index->path, block);
	*bytes = table + n * sizeof *ends + ends[0];
	*len = ends[1] - ends[0];
	return 0;
}
