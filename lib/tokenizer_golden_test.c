/* Every case of ../shared/golden/tokenizers and every vector of ../shared/data/tokenizers/vectors. */
#include <dirent.h>
#include <sys/wait.h>

#include "lib/record.h"
#include "lib/stream.h"
#include "lib/test.h"
#include "lib/tokenizer.h"
#include "lib/util.h"

static char built[256]; /* where the full vocabularies were built; empty: nowhere */

/* Runs a program; its status. */
static int run(const char *const *argv)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return status;
}

static void build_full(void)
{
	const char *make = test_shared("golden/make/tokenizer_vectors.py"), *data = test_shared("data");
	char dir[] = P_tmpdir "/rl-tokenizer-XXXXXX";

	if (!make || !data || !mkdtemp(dir))
		return;
	const char *argv[] = {"python3", make, "--data", data, "--build", dir, NULL};
	snprintf(built, sizeof built, "%s", dir);
	if (run(argv) != 0) {
		const char *rm[] = {"rm", "-rf", built, NULL};
		run(rm);
		built[0] = 0;
	}
}

/* The tokenizer of a case, or NULL: there is none here. */
static const char *find_tokenizer(const char *name)
{
	static char path[512];
	const char *p;

	if (!strcmp(name, "full-phi2"))
		return test_shared("data/tokenizers/phi2-codegen");
	if (!strcmp(name, "full-phi3"))
		return test_shared("data/tokenizers/phi3-llama2-hf");
	if (!strncmp(name, "full-", 5)) {
		snprintf(path, sizeof path, "%s/%s/tokenizer.json", built, name);
		return built[0] && access(path, R_OK) == 0 ? path : NULL;
	}
	snprintf(path, sizeof path, "golden/tokenizers/%s/tokenizer.json", name);
	p = test_shared(path);
	return p;
}

struct sheet {
	struct tokenizer *t;
	struct arena arena;
	struct record *r;
	const char *where;
	int64_t line;
	struct err e;
};

static void wrong(struct sheet *s, const char *field)
{
	test_fail(__FILE__, __LINE__, "%s:%lld: '%s' differs", s->where, (long long)s->line, field);
}

static void same_ids(struct sheet *s, const char *field, const char *text, size_t len, int flags)
{
	int32_t *ids, *want;
	int64_t n, n_want;

	if (record_ints(s->r, field, &want, &n_want, -1, NULL, &s->arena, &s->e) != 1)
		return wrong(s, field);
	if (tokenizer_encode(s->t, text, len, flags, &ids, &n, &s->arena, &s->e))
		return test_fail(__FILE__, __LINE__, "%s:%lld: %s", s->where, (long long)s->line, s->e.msg);
	if (n != n_want || (n && memcmp(ids, want, (size_t)n * sizeof *ids)))
		wrong(s, field);
}

static void same_text(struct sheet *s, const char *field, const int32_t *ids, int64_t n, bool skip, const char *want,
                      size_t len)
{
	struct str out;

	str_init(&out);
	if (tokenizer_decode(s->t, ids, n, skip, &out, &s->e))
		test_fail(__FILE__, __LINE__, "%s:%lld: %s", s->where, (long long)s->line, s->e.msg);
	else if (out.len != len || memcmp(out.buf, want, len))
		wrong(s, field);
	str_release(&out);
}

static void same_decoded(struct sheet *s, const char *field, const int32_t *ids, int64_t n, bool skip)
{
	const char *want;
	size_t len;

	if (record_str(s->r, field, &want, &len, &s->e) != 1)
		return wrong(s, field);
	same_text(s, field, ids, n, skip, want, len);
}

static void vector(struct sheet *s)
{
	const char *text;
	size_t len;
	int32_t *ids;
	int64_t n;

	if (record_str(s->r, "text", &text, &len, &s->e) != 1)
		return wrong(s, "text");
	same_ids(s, "ids", text, len, 0);
	same_ids(s, record_has(s->r, "ids_plain") ? "ids_plain" : "ids", text, len, TOKENIZER_PLAIN);
	same_ids(s, "ids_special", text, len, TOKENIZER_TEMPLATE);
	if (record_ints(s->r, "ids_special", &ids, &n, -1, NULL, &s->arena, &s->e) != 1)
		return wrong(s, "ids_special");
	same_decoded(s, "decoded", ids, n, true);
	same_decoded(s, "decoded_all", ids, n, false);
}

/* Prefixes and pieces of a stream. */
struct streaming {
	struct sheet *s;
	struct tokenizer_stream stream;
	const int32_t *ids;
	struct str shown;
};

static int prefix(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct streaming *x = arg;

	(void)key, (void)key_len;
	same_text(x->s, "prefixes", x->ids, i + 1, false, v->text, v->len);
	return 0;
}

static int piece(void *arg, int64_t i, const char *key, size_t key_len, const struct json *v)
{
	struct streaming *x = arg;

	(void)key, (void)key_len;
	str_clear(&x->shown);
	if (tokenizer_stream_add(&x->stream, x->ids[i], false, &x->shown, &x->s->e) || x->shown.len != v->len ||
	    memcmp(x->shown.buf, v->text, v->len))
		wrong(x->s, "pieces");
	return 0;
}

static void same_ends(struct sheet *s, const int32_t *ids, int64_t n)
{
	int32_t *ends = arena_array(&s->arena, (size_t)n + 1, sizeof *ends);
	struct str all, part;
	int64_t points = 0;

	str_init(&all);
	str_init(&part);
	if (tokenizer_decode_completion(s->t, ids, n, &all, ends, &s->e))
		wrong(s, "completion");
	for (size_t i = 0; i < all.len; i++)
		points += ((unsigned char)all.buf[i] & 0xC0) != 0x80;
	for (int64_t i = 0; i < n; i++) {
		if (ends[i] < (i ? ends[i - 1] : 0) || ends[i] > points)
			wrong(s, "ends");
		if (tokenizer_is_special(s->t, ids[i]) && ends[i] != (i ? ends[i - 1] : 0))
			wrong(s, "ends of special tokens");
	}
	if (n && ends[n - 1] != points)
		wrong(s, "last end");
	str_release(&all);
	str_release(&part);
}

static void decoding(struct sheet *s)
{
	struct streaming x = {.s = s};
	struct json v;
	const char *rest;
	size_t len;
	int32_t *ids;
	int64_t n;

	if (record_ints(s->r, "ids", &ids, &n, -1, NULL, &s->arena, &s->e) != 1)
		return wrong(s, "ids");
	x.ids = ids;
	same_ends(s, ids, n);
	if (record_has(s->r, "decoded")) {
		same_decoded(s, "decoded", ids, n, true);
		same_decoded(s, "decoded_all", ids, n, false);
	}
	str_init(&x.shown);
	tokenizer_stream_init(&x.stream, s->t, false);
	if (record_json(s->r, "prefixes", &v, &s->e) == 1)
		json_each(&v, prefix, &x);
	if (record_json(s->r, "pieces", &v, &s->e) == 1) {
		if (json_length(&v) != n || json_each(&v, piece, &x))
			wrong(s, "pieces");
		str_clear(&x.shown);
		tokenizer_stream_end(&x.stream, &x.shown);
		if (record_str(s->r, "rest", &rest, &len, &s->e) == 1 &&
		    (len != x.shown.len || memcmp(rest, x.shown.buf, len)))
			wrong(s, "rest");
	}
	str_release(&x.shown);
}

/* The digest of the ids in decimal, one per line, by sha256sum. */
static void digest(const int32_t *ids, int64_t n, char *hex)
{
	char path[] = P_tmpdir "/rl-ids-XXXXXX", command[128];
	FILE *f = fdopen(mkstemp(path), "w");

	for (int64_t i = 0; i < n; i++)
		fprintf(f, "%d\n", ids[i]);
	fclose(f);
	snprintf(command, sizeof command, "sha256sum %s", path);
	f = popen(command, "r");
	if (!f || fscanf(f, "%64s", hex) != 1)
		memcpy(hex, "no sha256sum", sizeof "no sha256sum");
	if (f)
		pclose(f);
	unlink(path);
}

static char *slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text;

	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*len = (size_t)ftell(f);
	rewind(f);
	text = xmalloc(*len + 1);
	*len = fread(text, 1, *len, f);
	text[*len] = 0;
	fclose(f);
	return text;
}

static void whole_file(struct sheet *s)
{
	const char *name, *want, *path;
	size_t len;
	char full[512], hex[65], *text;
	int32_t *ids;
	int64_t n, tokens;

	if (record_str(s->r, "file", &name, &len, &s->e) != 1 || record_str(s->r, "sha256", &want, &len, &s->e) != 1 ||
	    record_int(s->r, "tokens", &tokens, &s->e) != 1)
		return wrong(s, "file");
	record_str(s->r, "file", &name, &len, &s->e);
	snprintf(full, sizeof full, "data/%.*s", (int)len, name);
	path = test_shared(full);
	text = path ? slurp(path, &len) : NULL;
	if (!text)
		return wrong(s, "file");
	if (tokenizer_encode(s->t, text, len, 0, &ids, &n, &s->arena, &s->e)) {
		wrong(s, "tokens");
	} else {
		digest(ids, n, hex);
		CHECK_INT(n, tokens);
		if (memcmp(hex, want, 64))
			wrong(s, "sha256");
	}
	free(text);
}

static void sheet(const char *name, const char *file, struct tokenizer *t, void (*row)(struct sheet *))
{
	char path[256];
	const char *found;
	struct sheet s = {.t = t, .where = path, .r = record_new()};
	struct stream *in = NULL;
	char *line;
	size_t len;
	int rc = -1;

	arena_init(&s.arena);
	snprintf(path, sizeof path, "golden/tokenizers/%s/%s", name, file);
	found = test_shared(path);
	if (found)
		in = stream_open(found, &s.e);
	while (in && (rc = stream_next(in, &line, &len, &s.e)) == 1) {
		s.line++;
		arena_reset(&s.arena);
		if (record_parse(s.r, line, len, &s.e))
			wrong(&s, "line");
		else
			row(&s);
	}
	if (rc != 0 || s.line == 0)
		test_fail(__FILE__, __LINE__, "%s: %lld lines, then %s", path, (long long)s.line, s.e.msg);
	if (in)
		stream_close(in);
	record_free(s.r);
	arena_release(&s.arena);
}

static void one_case(const char *name)
{
	const char *path = find_tokenizer(name);
	struct tokenizer *t;
	struct err e;

	test_case(name);
	if (!path)
		return test_skip("its vocabulary is not there, or no python3 to build it");
	t = tokenizer_open(path, &e);
	if (!t)
		return test_fail(__FILE__, __LINE__, "%s", e.msg);
	sheet(name, "vectors.jsonl", t, vector);
	sheet(name, "decode.jsonl", t, decoding);
	sheet(name, "files.jsonl", t, whole_file);
	tokenizer_free(t);
}

/* llama.cpp's vectors: texts between lines of a marker, a line of ids for each. */
static void marked(const char *name, const char *vocabulary)
{
	static const char marker[] = "\n__ggml_vocab_test__\n";
	char inp[128], out[128], *texts, *at, *ids_text, *line;
	struct tokenizer *t;
	struct arena a;
	struct err e;
	size_t len;
	int rows = 0;

	test_case(name);
	snprintf(inp, sizeof inp, "data/tokenizers/vectors/%s.inp", name);
	snprintf(out, sizeof out, "data/tokenizers/vectors/%s.out", name);
	if (!vocabulary || !test_shared(inp))
		return test_skip("its vocabulary is not there");
	t = tokenizer_open(vocabulary, &e);
	if (!t)
		return test_fail(__FILE__, __LINE__, "%s", e.msg);
	texts = slurp(test_shared(inp), &len);
	ids_text = slurp(test_shared(out), &len);
	arena_init(&a);
	line = ids_text;
	for (at = texts; at && *line; rows++) {
		char *end = strstr(at, marker), *stop = strchr(line, '\n');
		int32_t *ids;
		int64_t n, i = 0;
		if (tokenizer_encode(t, at, end ? (size_t)(end - at) : strlen(at), 0, &ids, &n, &a, &e))
			test_fail(__FILE__, __LINE__, "%s", e.msg);
		for (char *p = line; stop && p < stop; i++) {
			long id = strtol(p, &p, 10);
			if (i >= n || ids[i] != id)
				test_fail(__FILE__, __LINE__, "%s: row %d, id %lld", name, rows, (long long)i);
			p += strspn(p, " \r");
		}
		CHECK_INT(n, i);
		at = end ? end + sizeof marker - 1 : NULL;
		line = stop ? stop + 1 : line + strlen(line);
	}
	CHECK(rows > 40);
	free(texts);
	free(ids_text);
	arena_release(&a);
	tokenizer_free(t);
}

int main(void)
{
	static const char *const names[] = {"gpt2",       "llama3",      "qwen2",           "neox",
	                                    "starcoder",  "falcon",      "splits",          "prefix-space",
	                                    "llama2",     "mistral",     "metaspace",       "unk",
	                                    "added-byte", "added-llama", "full-gpt2",       "full-phi2",
	                                    "full-phi3",  "full-llama3", "full-mistral-v1", "full-mistral-v3"};

	build_full();
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (test_shared("golden/tokenizers")) {
			one_case(names[i]);
		} else {
			test_case(names[i]);
			test_skip("no golden data beside the tree");
		}
	marked("gpt-2", test_shared("data/tokenizers/gpt2"));
	marked("llama-spm", test_shared("data/tokenizers/phi3-llama2-hf"));
	marked("llama-bpe", find_tokenizer("full-llama3"));
	if (built[0]) {
		const char *rm[] = {"rm", "-rf", built, NULL};
		run(rm);
	}
	return test_done();
}
