/* Unit tests of store: what is written is read, and what a fault leaves is the version before. */
#include "lib/store.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/store_internal.h"
#include "lib/test.h"
#include "lib/util.h"

static struct err e;
static char dir[256], path[300];

static void fresh(void)
{
	char lock[320];
	snprintf(lock, sizeof lock, "%s-lock", path);
	unlink(path);
	unlink(lock);
}

static struct store *open_store(enum store_mode mode)
{
	struct store *s = store_open(path, mode, &e);
	if (!s) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		exit(test_done());
	}
	return s;
}

#define OK(call)                                                                                                       \
	do {                                                                                                           \
		if (call)                                                                                              \
			test_fail(__FILE__, __LINE__, "%s: %s", #call, e.msg);                                         \
	} while (0)

static void says(const char *text)
{
	if (!strstr(e.msg, text))
		test_fail(__FILE__, __LINE__, "the message is '%s', not '%s'", e.msg, text);
	e.msg[0] = 0;
}

/* A version whose every number follows from slot letter, version and place. */
enum { BIG = 1 << 20, SMALL = 5 };
static float number(int64_t version, int64_t i)
{
	return (float)(version * 1000003 % 8191) + (float)(i % 4099);
}
static float *big;

static int put_version(struct store_update *u, const char *slot, int64_t version, int tensors)
{
	float small[SMALL];
	char name[32];
	if (!big)
		big = xmalloc(BIG * sizeof *big);
	for (int64_t i = 0; i < BIG; i++)
		big[i] = number(version, i);
	for (int i = 0; i < SMALL; i++)
		small[i] = number(version, i);
	for (int t = 0; t < tensors; t++) {
		snprintf(name, sizeof name, "layer.%d", t);
		if (store_put(u, slot, version, name, KN_F32, 2, (int64_t[]){1024, BIG / 1024}, big, &e))
			return -1;
	}
	return store_put(u, slot, version, "bias", KN_F32, 1, (int64_t[]){SMALL}, small, &e) ||
	       store_put_current(u, slot, version, &e);
}

static int write_version(struct store *s, const char *slot, int64_t version, int tensors)
{
	struct store_update *u = store_update_begin(s, &e);
	if (!u)
		return -1;
	if (put_version(u, slot, version, tensors)) {
		store_update_abort(u);
		return -1;
	}
	return store_update_commit(u, &e);
}

/* Every tensor of the version is whole and its own. */
static void check_version(struct store_view *v, const char *slot, int64_t version, int tensors)
{
	struct store_ref ref = {.version = version};
	struct store_tensor t;
	char name[32];
	snprintf(ref.slot, sizeof ref.slot, "%s", slot);
	for (int i = 0; i < tensors; i++) {
		snprintf(name, sizeof name, "layer.%d", i);
		OK(store_check(v, &ref, name, &e));
		CHECK_INT(store_get(v, &ref, name, &t, &e), 1);
		const float *x = t.blocks[0].data;
		CHECK(x[0] == number(version, 0) && x[BIG - 1] == number(version, BIG - 1));
	}
	CHECK_INT(store_get(v, &ref, "bias", &t, &e), 1);
	CHECK_INT(t.blocks[0].rows, 1);
	CHECK(((const float *)t.blocks[0].data)[4] == number(version, 4));
}

static int count_version(void *arg, const struct store_ref *ref)
{
	(void)ref;
	++*(int *)arg;
	return 0;
}

static int versions(struct store *s)
{
	int n = 0;
	struct store_view *v = store_view_open(s, &e);
	OK(store_each_version(v, count_version, &n, &e));
	store_view_close(v);
	return n;
}

static bool in_map(const void *p)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;
	while (f && fgets(line, sizeof line, f)) {
		unsigned long lo, hi;
		if (sscanf(line, "%lx-%lx", &lo, &hi) == 2 && (unsigned long)p >= lo && (unsigned long)p < hi)
			found = strstr(line, path) != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

/* ---- reading and writing ---- */

static int count_tensor(void *arg, const char *name, const struct store_tensor *t)
{
	(void)name, (void)t;
	++*(int *)arg;
	return 0;
}

static int last_log(void *arg, int64_t index, const char *json, size_t len)
{
	(void)len;
	CHECK(json[0] == '{');
	*(int64_t *)arg = index;
	return 0;
}

static int join_blob(void *arg, const char *key, const void *data, size_t len)
{
	str_addf(arg, "%s=%.*s ", key, (int)len, (const char *)data);
	return 0;
}

static void test_round_trip(void)
{
	test_case("a version is read as it was written, in place, at 64 bytes");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 2));
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	struct store_tensor t;
	OK(store_resolve(v, "", &ref, &e));
	CHECK_STR(ref.slot, "policy");
	CHECK_INT(ref.version, 0);
	check_version(v, "policy", 0, 2);
	CHECK_INT(store_get(v, &ref, "layer.1", &t, &e), 1);
	CHECK(t.n_dims == 2 && t.shape[0] == 1024 && t.n_blocks == 1 && t.blocks[0].rows == 1024 && t.bytes == BIG * 4);
	CHECK_INT((uintptr_t)t.blocks[0].data % 64, 0);
	CHECK(in_map(t.blocks[0].data));
	CHECK_INT(store_get(v, &ref, "bias", &t, &e), 1);
	CHECK_INT((uintptr_t)t.blocks[0].data % 64, 0);
	CHECK(in_map(t.blocks[0].data));
	CHECK_INT(store_get(v, &ref, "nothing", &t, &e), 0);
	int n = 0;
	OK(store_each(v, &ref, count_tensor, &n, &e));
	CHECK_INT(n, 3);
	test_case("names: what is not there is said with what is");
	CHECK_INT(store_resolve(v, "ref", &ref, &e), -1);
	says("has no 'ref'; it has policy (version 0)");
	CHECK_INT(store_resolve(v, "policy@7", &ref, &e), -1);
	says("has no 'policy@7'");
	OK(store_resolve(v, "policy@0", &ref, &e));
	store_view_close(v);

	test_case("blobs and log come with the flip");
	struct store_update *u = store_update_begin(s, &e);
	OK(store_put_blob(u, "policy", "file/a", "text", 4, &e));
	OK(store_put_blob(u, "policy", "file/b", "", 0, &e));
	OK(store_put_blob(u, "", "state/run", "{}", 2, &e));
	OK(store_put_log(u, "{\"a\":1}", 7, &e));
	OK(store_put_log(u, "{\"a\":2}", 7, &e));
	OK(store_update_commit(u, &e));
	u = store_update_begin(s, &e);
	OK(store_delete_blob(u, "policy", "file/b", &e));
	OK(store_put_log(u, "{}", 2, &e));
	OK(store_update_commit(u, &e));
	v = store_view_open(s, &e);
	struct str joined;
	str_init(&joined);
	OK(store_each_blob(v, "policy", "file/", join_blob, &joined, &e));
	CHECK_STR(joined.buf, "file/a=text ");
	str_release(&joined);
	const void *data;
	size_t len;
	CHECK_INT(store_get_blob(v, "", "state/run", &data, &len, &e), 1);
	CHECK_INT(len, 2);
	CHECK_INT(store_get_blob(v, "", "state/other", &data, &len, &e), 0);
	int64_t last = -1;
	OK(store_each_log(v, last_log, &last, &e));
	CHECK_INT(last, 2);
	store_view_close(v);
	store_close(s);
}

static void test_pieces(void)
{
	test_case("a large tensor comes in pieces of whole rows");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	int64_t rows = 3000, cols = 15000; /* 180 MB; memory that is never touched but here and there */
	float *x = xcalloc((size_t)(rows * cols), sizeof *x);
	for (int64_t r = 0; r < rows; r++)
		x[r * cols] = (float)r;
	struct store_update *u = store_update_begin(s, &e);
	OK(store_put(u, "policy", 0, "wide", KN_F32, 2, (int64_t[]){rows, cols}, x, &e));
	OK(store_put(u, "policy", 0, "wide.1", KN_F32, 1, (int64_t[]){2}, x, &e));
	OK(store_put_current(u, "policy", 0, &e));
	OK(store_update_commit(u, &e));
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref = {"policy", 0};
	struct store_tensor t;
	CHECK_INT(store_get(v, &ref, "wide", &t, &e), 1);
	CHECK_INT(t.n_blocks, 6);
	int64_t row = 0;
	for (int b = 0; b < t.n_blocks; b++) {
		CHECK_INT(t.blocks[b].rows, b < 5 ? 512 : 440);
		CHECK_INT((uintptr_t)t.blocks[b].data % 64, 0);
		for (int64_t r = 0; r < t.blocks[b].rows; r++, row++)
			CHECK(((const float *)t.blocks[b].data)[r * cols] == (float)row);
	}
	OK(store_check(v, &ref, "wide", &e));
	int n = 0;
	OK(store_each(v, &ref, count_tensor, &n, &e));
	CHECK_INT(n, 2);
	store_view_close(v);
	free(x);
	store_close(s);
}

static void put_both(struct store *s, int64_t version, const char *state, const char *name)
{
	float m[4] = {0};
	struct store_update *u = store_update_begin(s, &e);
	OK(put_version(u, "policy", version, 1));
	OK(store_put(u, "policy", version, "adam.m/bias", KN_F32, 1, (int64_t[]){4}, m, &e));
	OK(put_version(u, "value", version, 1));
	OK(store_put(u, "value", version, "adam.m/bias", KN_F32, 1, (int64_t[]){4}, m, &e));
	OK(store_put_blob(u, "policy", "trainer/step", state, strlen(state), &e));
	OK(store_put_blob(u, "", "run/", state, strlen(state), &e));
	if (name)
		OK(store_put_checkpoint(u, name, &e));
	OK(store_update_commit(u, &e));
}

static int list_ref(void *arg, const struct store_ref *ref)
{
	str_addf(arg, "%s@%lld ", ref->slot, (long long)ref->version);
	return 0;
}

static int list_blob(void *arg, const char *slot, const char *key, const void *data, size_t len)
{
	str_addf(arg, "%s %s=%.*s ", slot, key, (int)len, (const char *)data);
	return 0;
}

/* What the checkpoint is, and how many tensors are held of policy@v and value@v with and without moments. */
static void check_checkpoint(struct store *s, const char *name, int64_t v, const char *want, int moments)
{
	struct store_view *view = store_view_open(s, &e);
	struct str list;
	struct store_tensor t;
	str_init(&list);
	CHECK_INT(store_each_checkpoint_ref(view, name, list_ref, &list, &e), *want ? 1 : 0);
	CHECK_INT(store_each_checkpoint_blob(view, name, list_blob, &list, &e), 1);
	CHECK_STR(list.buf, want);
	CHECK_INT(store_get(view, &(struct store_ref){"policy", v}, "adam.m/bias", &t, &e) +
	                  store_get(view, &(struct store_ref){"value", v}, "adam.m/bias", &t, &e),
	          moments);
	str_release(&list);
	store_view_close(view);
}

static void test_checkpoint(struct store *s)
{
	put_both(s, 7, "seven", "run/7");
	put_both(s, 8, "eight", "run/7x");
	put_both(s, 9, "nine", NULL);
	check_checkpoint(s, "run/7", 7, "policy@7 value@7  run/=seven policy trainer/step=seven ", 2);
	check_checkpoint(s, "run/7x", 8, "policy@8 value@8  run/=eight policy trainer/step=eight ", 2);
	check_checkpoint(s, "run", 9, "", 2);
	/* a name for the version alone: the critic and the moments go */
	OK(store_snapshot(s, "run/7", "run/7", &e));
	check_checkpoint(s, "run/7", 7, "", 0);
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	OK(store_resolve(v, "policy@7", &ref, &e));
	CHECK_INT(store_resolve(v, "value@7", &ref, &e), -1);
	store_view_close(v);
	OK(store_snapshot(s, NULL, "run/7x", &e));
	check_checkpoint(s, "run/7x", 8, "", 0);
	struct store_update *u = store_update_begin(s, &e);
	CHECK_INT(store_put_checkpoint(u, "none", &e), -1);
	says("makes no version");
	CHECK_INT(store_put_checkpoint(u, "a@b", &e), -1);
	says("cannot be a name");
	store_update_abort(u);
	put_both(s, 6, "six", NULL);
}

static void test_sweep(void)
{
	test_case("what nothing holds is deleted; names and lag hold");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	struct store_ref zero = {"policy", 0};
	OK(write_version(s, "policy", 0, 1));
	struct store_update *u = store_update_begin(s, &e);
	OK(store_put_name(u, "reference/", &zero, &e));
	OK(store_update_commit(u, &e));
	for (int i = 1; i <= 3; i++)
		OK(write_version(s, "policy", i, 1));
	CHECK_INT(versions(s), 2);
	u = store_update_begin(s, &e);
	OK(put_version(u, "policy", 4, 1));
	store_keep_from(u, "policy", 3);
	OK(store_update_commit(u, &e));
	CHECK_INT(versions(s), 3);
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	OK(store_resolve(v, "reference/", &ref, &e));
	check_version(v, "policy", 0, 1);
	check_version(v, "policy", 3, 1);
	check_version(v, "policy", 4, 1);
	store_view_close(v);
	u = store_update_begin(s, &e);
	OK(store_delete_name(u, "reference/", &e));
	OK(store_update_commit(u, &e));
	CHECK_INT(versions(s), 1);

	test_case("moments stay with the current version only");
	float m[4] = {0};
	struct store_ref five = {"policy", 5}, six = {"policy", 6};
	u = store_update_begin(s, &e);
	OK(put_version(u, "policy", 5, 1));
	OK(store_put(u, "policy", 5, "adam.m/bias", KN_F32, 1, (int64_t[]){4}, m, &e));
	OK(store_put_name(u, "best", &five, &e));
	OK(store_update_commit(u, &e));
	struct store_tensor t;
	v = store_view_open(s, &e);
	CHECK_INT(store_get(v, &five, "adam.m/bias", &t, &e), 1);
	store_view_close(v);
	u = store_update_begin(s, &e);
	OK(put_version(u, "policy", 6, 1));
	OK(store_put(u, "policy", 6, "adam.m/bias", KN_F32, 1, (int64_t[]){4}, m, &e));
	OK(store_update_commit(u, &e));
	v = store_view_open(s, &e);
	CHECK_INT(store_get(v, &five, "adam.m/bias", &t, &e), 0);
	CHECK_INT(store_get(v, &five, "bias", &t, &e), 1);
	CHECK_INT(store_get(v, &six, "adam.m/bias", &t, &e), 1);
	store_view_close(v);
	test_case("a checkpoint holds all that its update made, with moments and a copy of the blobs, until its name "
	          "goes");
	test_checkpoint(s);
	test_case("a version in use is not written again");
	CHECK_INT(write_version(s, "policy", 6, 1), -1);
	says("policy@6 is in use");
	CHECK_INT(write_version(s, "policy", 5, 1), -1);
	test_case("a reader does not write");
	store_close(s);
	s = open_store(STORE_READ);
	CHECK(!store_update_begin(s, &e));
	says("for reading only");
	store_close(s);
}

static void test_abort(void)
{
	test_case("an aborted update leaves nothing, an unfinished one is deleted at the next start");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 1));
	struct store_update *u = store_update_begin(s, &e);
	OK(put_version(u, "policy", 1, 3));
	store_update_abort(u);
	CHECK_INT(versions(s), 1);
	store_close(s);
	pid_t child = fork();
	if (!child) {
		s = open_store(STORE_WRITE);
		u = store_update_begin(s, &e);
		/* Beyond 64 MB: some of it is committed. */
		_exit(put_version(u, "policy", 1, 20) ? 1 : 0);
	}
	int status;
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	s = open_store(STORE_READ);
	CHECK_INT(versions(s), 2);
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	CHECK_INT(store_resolve(v, "policy@1", &ref, &e), -1);
	OK(store_resolve(v, "", &ref, &e));
	CHECK_INT(ref.version, 0);
	store_view_close(v);
	store_close(s);
	s = open_store(STORE_WRITE);
	CHECK_INT(versions(s), 1);
	OK(write_version(s, "policy", 1, 1));
	CHECK_INT(versions(s), 1);
	store_close(s);
}

/* ---- faults ---- */

static void nap(double seconds)
{
	usleep((useconds_t)(seconds * 1e6));
}

static void write_for_ever(void)
{
	struct store *s = open_store(STORE_WRITE);
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	if (!v || store_resolve(v, "", &ref, &e))
		_exit(1);
	store_view_close(v);
	for (int64_t i = ref.version + 1;; i++)
		if (write_version(s, "policy", i, 3))
			_exit(1);
}

static void test_killed_writer(void)
{
	test_case("a writer killed anywhere in 60 updates leaves a whole version");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 3));
	store_close(s);
	double one = now_seconds();
	s = open_store(STORE_WRITE);
	OK(write_version(s, "policy", 1, 3));
	one = now_seconds() - one;
	store_close(s);
	int64_t last = 0;
	for (int i = 0; i < 60 && !test_bad; i++) {
		int status;
		pid_t child = fork();
		if (!child)
			write_for_ever();
		nap(.002 + one * (double)(i * 37 % 60) / 20);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		CHECK(WIFSIGNALED(status));
		s = open_store(STORE_WRITE);
		struct store_view *v = store_view_open(s, &e);
		struct store_ref ref;
		OK(store_resolve(v, "", &ref, &e));
		CHECK(ref.version >= last);
		last = ref.version;
		check_version(v, "policy", last, 3);
		store_view_close(v);
		CHECK_INT(versions(s), 1);
		store_close(s);
	}
	s = open_store(STORE_WRITE);
	OK(write_version(s, "policy", last + 1, 3));
	CHECK_INT(versions(s), 1);
	printf("# %lld updates under 60 kills\n", (long long)last);
	store_close(s);
}

static double file_bytes(void)
{
	struct stat st;
	return stat(path, &st) ? 0 : (double)st.st_size;
}

/* A process that holds a view; returns when it does. */
static pid_t reader(void)
{
	int fd[2];
	char c;
	if (pipe(fd))
		return -1;
	pid_t child = fork();
	if (!child) {
		struct store *s = open_store(STORE_READ);
		if (!store_view_open(s, &e) || write(fd[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(fd[0], &c, 1) != 1)
		test_fail(__FILE__, __LINE__, "the reader did not start");
	close(fd[0]);
	close(fd[1]);
	return child;
}

static void test_size(void)
{
	enum { TENSORS = 6 };
	double version = TENSORS * 4.0 * BIG;
	test_case("the file has at most 2.3 times what an update rewrites");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	for (int i = 0; i < 12; i++)
		OK(write_version(s, "policy", i, TENSORS));
	printf("# %.2f versions of 24 MiB\n", file_bytes() / version);
	CHECK(file_bytes() < 2.3 * version);
	store_close(s);

	test_case("a killed reader holds nothing");
	pid_t child = reader();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	s = open_store(STORE_WRITE);
	for (int i = 12; i < 20; i++)
		OK(write_version(s, "policy", i, TENSORS));
	printf("# %.2f versions\n", file_bytes() / version);
	CHECK(file_bytes() < 2.3 * version);
	store_close(s);

	test_case("a reader on the version that an update replaces: still 2.3 times");
	for (int i = 20; i < 26; i++) {
		child = reader();
		s = open_store(STORE_WRITE);
		OK(write_version(s, "policy", i, TENSORS));
		store_close(s);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	printf("# %.2f versions\n", file_bytes() / version);
	CHECK(file_bytes() < 2.3 * version);

	test_case("a reader on the version before that: 3.2 times");
	pid_t old = reader();
	for (int i = 26; i < 34; i++) {
		s = open_store(STORE_WRITE);
		OK(write_version(s, "policy", i, TENSORS));
		store_close(s);
		child = reader();
		kill(old, SIGKILL);
		waitpid(old, NULL, 0);
		old = child;
		s = open_store(STORE_WRITE);
		OK(write_version(s, "policy", ++i, TENSORS));
		store_close(s);
	}
	kill(old, SIGKILL);
	waitpid(old, NULL, 0);
	printf("# %.2f versions\n", file_bytes() / version);
	CHECK(file_bytes() < 3.2 * version);
}

static int64_t peak_bytes(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss * 1024LL;
}

static void test_memory(void)
{
	test_case("a commit of 600 MB takes less than 250 MB");
	fresh();
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		/* Memory that is only read stays the kernel's one page of zeros. */
		int64_t shape[2] = {50257, 768};
		float *x = xcalloc(50257 * 768, sizeof *x);
		struct store *s = open_store(STORE_CREATE);
		int64_t before = peak_bytes();
		struct store_update *u = store_update_begin(s, &e);
		char name[16];
		for (int i = 0; i < 4; i++) {
			snprintf(name, sizeof name, "t%d", i);
			if (store_put(u, "policy", 0, name, KN_F32, 2, shape, x, &e))
				_exit(1);
		}
		if (store_update_commit(u, &e))
			_exit(1);
		printf("# %.0f MB\n", (double)(peak_bytes() - before) / 1e6);
		fflush(stdout);
		_exit(peak_bytes() - before < 250e6 ? 0 : 2);
	}
	int status;
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	fresh();
}

static void test_two_writers(void)
{
	test_case("an update whose versions a second writer took for a dead one's is refused");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 1));
	struct store_update *u = store_update_begin(s, &e);
	OK(put_version(u, "policy", 1, 3));
	OK(store_update_flush(u, &e));
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		execl("/proc/self/exe", "store_test", "--second-writer", path, (char *)NULL);
		_exit(127);
	}
	int status;
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	CHECK_INT(store_update_commit(u, &e), -1);
	says("another program wrote to");
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref;
	OK(store_resolve(v, "", &ref, &e));
	CHECK_INT(ref.version, 7);
	check_version(v, "policy", 7, 1);
	store_view_close(v);
	CHECK_INT(versions(s), 1);
	store_close(s);
}

static int second_writer(void)
{
	struct store *s = store_open(path, STORE_WRITE, &e);
	int failed = !s || write_version(s, "policy", 7, 1);
	store_close(s);
	return failed;
}

static void test_disk_full(void)
{
	test_case("a file-size limit: a line, and the store as it was");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 2));
	store_close(s);
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		struct rlimit limit = {24 << 20, RLIM_INFINITY};
		setrlimit(RLIMIT_FSIZE, &limit);
		s = open_store(STORE_WRITE);
		if (!write_version(s, "policy", 1, 8))
			_exit(1);
		printf("# %s\n", e.msg);
		fflush(stdout);
		if (!strstr(e.msg, "ulimit -f") || versions(s) != 1)
			_exit(2);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	s = open_store(STORE_WRITE);
	struct store_view *v = store_view_open(s, &e);
	check_version(v, "policy", 0, 2);
	store_view_close(v);
	OK(write_version(s, "policy", 1, 8));
	store_close(s);
}

/* ---- what is refused ---- */

static void refused(enum store_mode mode, const char *text)
{
	struct store *s = store_open(path, mode, &e);
	CHECK(!s);
	says(text);
	store_close(s);
}

static void put_layout(const char *layout)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val k = {6, "layout"}, v = {strlen(layout), (void *)layout};
	mdb_env_create(&env);
	mdb_env_set_maxdbs(env, 8);
	mdb_env_open(env, path, MDB_NOSUBDIR, 0600);
	CHECK(!mdb_txn_begin(env, NULL, 0, &txn) && !mdb_dbi_open(txn, "meta", 0, &dbi) &&
	      !mdb_put(txn, dbi, &k, &v, 0) && !mdb_txn_commit(txn));
	mdb_env_close(env);
}

static void test_refused(void)
{
	test_case("refused: absent, empty, not a store, cut, another layout, open to all, a directory");
	fresh();
	refused(STORE_READ, "there is no store");
	fclose(fopen(path, "w"));
	refused(STORE_WRITE, "is empty");
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 5000; i++)
		fputs("not lmdb ", f);
	fclose(f);
	refused(STORE_READ, "is not a store");
	refused(STORE_CREATE, "is not a store");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 2));
	store_close(s);
	put_layout("2");
	refused(STORE_READ, "has layout 2, this program reads 1");
	put_layout("1");
	CHECK(!chmod(path, 0602));
	refused(STORE_READ, "anybody may write to");
	CHECK(!chmod(path, 0600));
	CHECK(!truncate(path, (off_t)(file_bytes() / 2)));
	refused(STORE_READ, "is cut short");
	fresh();
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	mdb_env_create(&env);
	mdb_env_set_maxdbs(env, 2);
	CHECK(!mdb_env_open(env, path, MDB_NOSUBDIR, 0600) && !mdb_txn_begin(env, NULL, 0, &txn) &&
	      !mdb_dbi_open(txn, "other", MDB_CREATE, &dbi) && !mdb_txn_commit(txn));
	mdb_env_close(env);
	refused(STORE_READ, "is not a store");
	refused(STORE_CREATE, "is not a store");
	CHECK(!store_open(dir, STORE_READ, &e));
	says("is not a file");
	CHECK(!store_open("/no/such/place/x.lmdb", STORE_CREATE, &e));
	says("there is no directory");
	test_case("network file systems by number");
	CHECK_STR(store_network_name(0x6969), "NFS");
	CHECK(!store_network_name(0xef53));
	test_case("RL_MAP_SIZE");
	fresh();
	setenv("RL_MAP_SIZE", "many", 1);
	refused(STORE_CREATE, "RL_MAP_SIZE is 'many'");
	setenv("RL_MAP_SIZE", "8388608", 1);
	s = open_store(STORE_CREATE);
	CHECK_INT(write_version(s, "policy", 0, 3), -1);
	says("RL_MAP_SIZE");
	unsetenv("RL_MAP_SIZE");
	store_close(s);
}

static void test_damage(void)
{
	test_case("damaged data is found by its checksum, the rest is read");
	fresh();
	struct store *s = open_store(STORE_CREATE);
	OK(write_version(s, "policy", 0, 2));
	struct store_view *v = store_view_open(s, &e);
	struct store_ref ref = {"policy", 0};
	struct store_tensor t;
	CHECK_INT(store_get(v, &ref, "layer.0", &t, &e), 1);
	unsigned char want[64], have[64];
	memcpy(want, (const char *)t.blocks[0].data + 1000000, sizeof want);
	store_view_close(v);
	store_close(s);
	int fd = open(path, O_RDWR);
	off_t at = -1;
	for (off_t i = 64; i < (off_t)file_bytes() && at < 0; i += 64) /* the same 64 bytes, wherever LMDB put them */
		if (pread(fd, have, sizeof have, i) == sizeof have && !memcmp(have, want, sizeof have))
			at = i;
	CHECK(at > 0);
	have[7] ^= 16;
	CHECK_INT(pwrite(fd, have, sizeof have, at), sizeof have);
	close(fd);
	s = open_store(STORE_READ);
	v = store_view_open(s, &e);
	int bad = 0;
	bad += store_check(v, &ref, "layer.0", &e) != 0;
	bad += store_check(v, &ref, "layer.1", &e) != 0;
	CHECK_INT(bad, 1);
	says("checksum");
	OK(store_check(v, &ref, "bias", &e));
	store_view_close(v);
	store_close(s);
}

static void test_split(void)
{
	char *p, *n;
	test_case("STORE:NAME");
	store_split("run.lmdb:ref", &p, &n);
	CHECK_STR(p, "run.lmdb");
	CHECK_STR(n, "ref");
	free(p);
	free(n);
	store_split("/a:b/run.lmdb", &p, &n);
	CHECK_STR(p, "/a:b/run.lmdb");
	CHECK_STR(n, "");
	free(p);
	free(n);
	char spec[400];
	snprintf(spec, sizeof spec, "%s/with:colon", dir);
	fclose(fopen(spec, "w"));
	store_split(spec, &p, &n);
	CHECK_STR(p, spec);
	free(p);
	free(n);
	snprintf(spec, sizeof spec, "%s/with:colon:reference/x", dir);
	store_split(spec, &p, &n);
	CHECK_STR(n, "reference/x");
	free(p);
	free(n);
	spec[strlen(spec) - strlen(":reference/x")] = 0;
	unlink(spec);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--second-writer")) {
		snprintf(path, sizeof path, "%s", argv[2]);
		return second_writer();
	}
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof dir, "%s/store-test.XXXXXX", tmp ? tmp : P_tmpdir);
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof path, "%s/store.lmdb", dir);
	test_round_trip();
	test_pieces();
	test_sweep();
	test_abort();
	test_killed_writer();
	test_size();
	test_memory();
	test_two_writers();
	test_disk_full();
	test_refused();
	test_damage();
	test_split();
	fresh();
	rmdir(dir);
	return test_done();
}
