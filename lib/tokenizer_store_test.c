/* tokenizer_store: a store with a tokenizer of its own, one of the policy's, and none. */
#include "lib/tokenizer_store.h"

#include "lib/test.h"

#define TINY "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}"

static struct err e;
static char path[128];

static void put_slot(struct store_update *u, const char *slot, const char *key, const char *value)
{
	float x[2] = {1, 2};

	CHECK(store_put(u, slot, 0, "x", KN_F32, 1, (int64_t[]){2}, x, &e) == 0);
	CHECK(store_put_current(u, slot, 0, &e) == 0);
	if (key)
		CHECK(store_put_blob(u, slot, key, value, strlen(value), &e) == 0);
}

static int32_t size_of(const char *name)
{
	char spec[256];
	struct tokenizer *t;
	int32_t size;

	snprintf(spec, sizeof spec, "%s%s%s", path, *name ? ":" : "", name);
	t = tokenizer_from_store(spec, &e);
	size = t ? tokenizer_size(t) : -1;
	tokenizer_free(t);
	return size;
}

static void make(const char *key, const char *value)
{
	struct store *s;
	struct store_update *u;

	unlink(path);
	s = store_open(path, STORE_CREATE, &e);
	u = s ? store_update_begin(s, &e) : NULL;
	if (!u)
		return test_fail(__FILE__, __LINE__, "%s", e.msg);
	put_slot(u, "policy", key, value);
	put_slot(u, "value", NULL, NULL);
	if (key && !strcmp(key, "file/vocab.json"))
		CHECK(store_put_blob(u, "policy", "file/merges.txt", "#version: 0.2\na b\n", 18, &e) == 0);
	CHECK(store_update_commit(u, &e) == 0);
	store_close(s);
}

int main(void)
{
	char dir[] = P_tmpdir "/rl-tokenizer-store-XXXXXX";

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof path, "%s/s.lmdb", dir);

	test_case("tokenizer.json of the policy serves the slots that have none");
	make("file/tokenizer.json", TINY);
	CHECK_INT(size_of(""), 3);
	CHECK_INT(size_of("value"), 3);

	test_case("vocab.json and merges.txt");
	make("file/vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"c\":3}");
	CHECK_INT(size_of("value"), 4);

	test_case("a store without a tokenizer, a slot that is not there, a broken file, no store");
	make(NULL, NULL);
	CHECK_INT(size_of(""), -1);
	CHECK(strstr(e.msg, "slot 'policy' has no tokenizer: it works on ids alone") != NULL);
	CHECK_INT(size_of("nobody"), -1);
	CHECK(strstr(e.msg, "nobody") != NULL);
	make("file/tokenizer.json", "{");
	CHECK_INT(size_of(""), -1);
	CHECK(strstr(e.msg, "tokenizer.json") != NULL);
	unlink(path);
	CHECK_INT(size_of(""), -1);

	char command[160];
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command) ? 1 : test_done();
}
