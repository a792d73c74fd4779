/* store_place - where a store may lie, how much room it gets, and what went wrong in words; see store.h */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/store_internal.h"
#include "lib/util.h"

/* Memory mapped from these is not kept in step between machines, and their locks are not ours. Numbers: statfs(2). */
const char *store_network_name(unsigned long magic)
{
	static const struct {
		unsigned long magic;
		const char *name;
	} known[] = {
	        {0x6969, "NFS"},      {0x517b, "SMB"},        {0xff534d42, "CIFS"},  {0xfe534d42, "SMB2"},
	        {0x01021997, "9P"},   {0x5346414f, "AFS"},    {0x6b414653, "AFS"},   {0x00c36400, "Ceph"},
	        {0x73757245, "Coda"}, {0x01161970, "GFS2"},   {0x7461636f, "OCFS2"}, {0x0bd00bd0, "Lustre"},
	        {0x47504653, "GPFS"}, {0x19830326, "BeeGFS"}, {0xaad7aaea, "PanFS"}, {0x65735546, "FUSE"},
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].magic == magic)
			return known[i].name;
	return NULL;
}

static int check_file_system(const char *path, struct err *e)
{
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	struct statfs fs;
	if (slash)
		slash[slash == dir] = 0;
	int rc = statfs(slash ? dir : ".", &fs);
	if (rc && errno == ENOENT)
		err_set(e, "'%s': there is no directory '%s'", path, slash ? dir : ".");
	else if (rc)
		err_errno(e, "'%s'", path);
	free(dir);
	if (rc)
		return -1;
	const char *name = store_network_name((unsigned long)fs.f_type & 0xffffffff);
	if (name)
		return err_set(e, "'%s' lies on a network file system (%s); a store is private to its machine", path,
		               name);
	return 0;
}

/* LMDB makes its lock file before it looks at the file: no lock beside what is none of its own. */
static bool is_lmdb(const char *path)
{
	uint32_t magic = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool is = fd < 0 || (pread(fd, &magic, sizeof magic, 16) == sizeof magic && magic == 0xbeefc0de);
	if (fd >= 0)
		close(fd);
	return is;
}

int store_place_check(const char *path, enum store_mode mode, bool *absent, struct err *e)
{
	struct stat st;
	*absent = false;
	if (check_file_system(path, e))
		return -1;
	if (stat(path, &st)) {
		if (errno != ENOENT)
			return err_errno(e, "'%s'", path);
		*absent = true;
		return mode == STORE_CREATE ? 0 : err_set(e, "there is no store '%s' (rl-store makes one)", path);
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, "'%s' is not a file, so it is not a store", path);
	if (st.st_mode & S_IWOTH)
		return err_set(e, "anybody may write to '%s' (mode %03o); a store is private: chmod o-w", path,
		               (unsigned)st.st_mode & 0777);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return err_set(e, "'%s' belongs to user %u, not to %u; a store is private to its user", path,
		               (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_size == 0) {
		*absent = true;
		return mode == STORE_CREATE ? 0 : err_set(e, "'%s' is empty, not a store", path);
	}
	if (st.st_size < 2 * sysconf(_SC_PAGESIZE) || !is_lmdb(path))
		return err_set(e, "'%s' is not a store", path);
	return 0;
}

size_t store_map_size(struct err *e)
{
	const char *text = getenv("RL_MAP_SIZE");
	int64_t size = (int64_t)1 << (sizeof(void *) > 4 ? 40 : 30);
	if (text && *text && (!parse_i64(text, &size) || size < 1 << 20)) {
		err_set(e, "RL_MAP_SIZE is '%s', expected a number of bytes from %d", text, 1 << 20);
		return 0;
	}
	return (size_t)size & ~(size_t)65535;
}

/* LMDB without a writable map says EIO for a full disk (a short write). */
static int disk_full(const struct store *s, const char *doing, int rc, struct err *e)
{
	struct rlimit limit;
	struct statfs fs;
	struct stat st;
	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && !stat(s->path, &st) &&
	    (uint64_t)st.st_size + (64 << 20) > limit.rlim_cur)
		return err_set(e,
		               "cannot %s '%s': a file may have %llu bytes at most (ulimit -f); the store is as it was",
		               doing, s->path, (unsigned long long)limit.rlim_cur);
	if (rc != EIO || (!statfs(s->path, &fs) && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < (64 << 20)))
		return err_set(e, "cannot %s '%s': disk full; the store is as it was", doing, s->path);
	return err_set(e, "cannot %s '%s': %s", doing, s->path, mdb_strerror(rc));
}

int store_failed(const struct store *s, const char *doing, int rc, struct err *e)
{
	switch (rc) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EIO:
		return disk_full(s, doing, rc, e);
	case MDB_MAP_FULL:
		return err_set(e, "cannot %s '%s': it is larger than its map of %zu bytes (RL_MAP_SIZE)", doing,
		               s->path, store_map_size(e));
	case MDB_MAP_RESIZED:
		return err_set(e, "cannot %s '%s': it has grown beyond RL_MAP_SIZE", doing, s->path);
	case MDB_INVALID:
	case MDB_NOTFOUND:
	case MDB_INCOMPATIBLE:
		return err_set(e, "'%s' is not a store", s->path);
	case MDB_VERSION_MISMATCH:
		return err_set(e, "'%s' was written by another version of LMDB", s->path);
	case MDB_READERS_FULL:
		return err_set(e, "cannot %s '%s': too many programs read it", doing, s->path);
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
		return err_set(e, "cannot %s '%s': it is damaged (%s)", doing, s->path, mdb_strerror(rc));
	case EACCES:
	case EPERM:
		return err_set(e, "cannot %s '%s' and its lock file '%s-lock': permission denied", doing, s->path,
		               s->path);
	default:
		return err_set(e, "cannot %s '%s': %s", doing, s->path, mdb_strerror(rc));
	}
}
