/* Moments in 8 bits against bitsandbytes (testdata/adam8), against their bounds, and in the store. */
#include "lib/optim_moment.h"

#include <sys/stat.h>

#include "lib/decoder_test.h"
#include "lib/optim.h"

/* ---- the files of testdata/adam8: lines of a name and its numbers ---- */

enum { STEPS = 4, MOST = 1024 };

static const char *cursor;

/* The next line, which must be called so: how many numbers it has. */
static int numbers(const char *name, double *x)
{
	size_t n = strlen(name);
	int count = 0;
	if (!cursor || strncmp(cursor, name, n) || cursor[n] != ' ') {
		test_fail(__FILE__, __LINE__, "no line '%s'", name);
		return 0;
	}
	for (cursor += n; *cursor && *cursor != '\n' && count < MOST;) {
		char *end;
		x[count++] = strtod(cursor, &end);
		cursor = end;
	}
	cursor += *cursor == '\n';
	return count;
}

/* As by_bitsandbytes.py draws them. */
static void draw(float *x, int n, uint32_t z, int spread)
{
	for (int i = 0; i < n; i++) {
		z = z * 1664525 + 1013904223;
		x[i] = (float)ldexp((double)(z >> 8) - 0x1p23, -23 - i * 7 % spread);
	}
}

/* ---- the map ---- */

static void test_map(void)
{
	double want[MOST];
	for (int sign = 0; sign < 2; sign++) {
		float map[OPTIM_MOMENT_CODES];
		int below = 0, zero = 0;
		optim_moment_map(map, sign);
		for (int i = 0; i < OPTIM_MOMENT_CODES; i++) {
			CHECK(i == 0 || map[i] > map[i - 1]);
			below += map[i] < 0;
			zero += map[i] == 0;
		}
		CHECK_INT(below, sign ? 127 : 0);
		CHECK_INT(zero, 1);
		CHECK(map[255] == 1 && map[0] == (sign ? -.99296875f : 0));
	}
	test_case("moments: the maps of bitsandbytes, entry by entry within a unit in the last place of one");
	for (int sign = 1; sign >= 0; sign--) {
		float map[OPTIM_MOMENT_CODES];
		optim_moment_map(map, sign);
		CHECK_INT(numbers(sign ? "map.m" : "map.v", want), OPTIM_MOMENT_CODES);
		for (int i = 0; i < OPTIM_MOMENT_CODES; i++)
			CHECK_NEAR(map[i], want[i], 0x1p-22 * fabs(want[i]));
	}
}

/* ---- the update ---- */

struct eight {
	uint8_t code[MOST];
	float absmax[MOST / KN_BLOCK8], map[OPTIM_MOMENT_CODES];
};

static struct kn_moment8 eight_view(struct eight *x, bool sign)
{
	optim_moment_map(x->map, sign);
	return (struct kn_moment8){x->code, x->absmax, x->map};
}

/* What the file says of a moment after a step.  How many codes differ. */
static int compare(const struct eight *x, const char *code, const char *absmax)
{
	double want[MOST];
	int differ = 0, n = numbers(code, want);
	for (int i = 0; i < n; i++)
		differ += x->code[i] != (uint8_t)want[i];
	n = numbers(absmax, want);
	CHECK(n > 0);
	for (int i = 0; i < n; i++)
		CHECK_NEAR(x->absmax[i], want[i], 1e-6 * want[i]);
	return differ;
}

static void test_golden(const char *isa)
{
	struct test_backend b;
	double want[MOST], before[MOST], slack[MOST] = {0};
	static float w[MOST], g[MOST];
	static struct eight m, v;
	memset(&m, 0, sizeof m);
	memset(&v, 0, sizeof v);
	if (!test_backend_open(&b, isa, 1)) {
		test_skip("not on this machine");
		return;
	}
	struct kn_moment8 m8 = eight_view(&m, true), v8 = eight_view(&v, false);
	struct kn_adamw a = {1e-2, .9, .999, 1e-8, .1, 1, 1};
	draw(w, 600, 1, 3);
	for (int i = 0; i < 600; i++)
		before[i] = w[i];
	for (; a.step <= STEPS; a.step++) {
		draw(g, 600, 10 + (uint32_t)a.step, 20);
		b.k->adamw8(b.k->ctx, w, &m8, &v8, g, &a, 600);
		CHECK_INT(numbers("w", want), 600);
		/* float32 against double: a unit in the last place of the weight a step; of how far the step goes five,
		 * one for the entries of each map and six roundings of half a one. */
		for (int i = 0; i < 600; i++) {
			slack[i] += 0x1p-23 * (fabs(want[i]) + 5 * fabs(want[i] - before[i]));
			before[i] = want[i];
			CHECK_NEAR(w[i], want[i], slack[i]);
		}
		CHECK_INT(compare(&m, "m.code", "m.absmax"), 0);
		CHECK_INT(compare(&v, "v.code", "v.absmax"), 0);
	}
	test_backend_close(&b);
}

static void against_bitsandbytes(void)
{
	static const char *const isas[] = {"", "avx2", "neon", "plain", "ref"};
	static char name[ARRAY_LEN(isas)][80];
	size_t len;
	char *text = test_read("testdata/adam8/steps.txt", &len);
	cursor = text;
	test_case("moments: the maps rise and have a zero");
	test_map();
	const char *steps = cursor;
	for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
		cursor = steps;
		snprintf(name[i], sizeof name[i], "moments: four steps of AdamW rounded by bitsandbytes, %s",
		         *isas[i] ? isas[i] : "the best here");
		test_case(name[i]);
		test_golden(isas[i]);
	}
	free(text);
}

/* ---- bounds ---- */

/* With betas and rate 0 the moments are the gradient and its square, and nothing but the rounding is left. */
static void test_rounding(void)
{
	struct test_backend b;
	static float w[MOST], g[MOST];
	static struct eight m, v;
	CHECK(test_backend_open(&b, "", 1));
	struct kn_moment8 view[] = {eight_view(&m, true), eight_view(&v, false)};
	struct kn_adamw a = {0, 0, 0, 1e-8, 0, 1, 1};
	draw(g, MOST, 5, 24);
	memset(g + 256, 0, 256 * sizeof *g);
	b.k->adamw8(b.k->ctx, w, &view[0], &view[1], g, &a, MOST);
	double most[2] = {0};
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < MOST; i++) {
			double x = k ? (double)(g[i] * g[i]) : g[i], absmax = view[k].absmax[i / KN_BLOCK8];
			double got = (double)view[k].map[view[k].code[i]] * absmax, nearest = INFINITY;
			for (int j = 0; j < OPTIM_MOMENT_CODES; j++)
				nearest = fmin(nearest, fabs(view[k].map[j] * absmax - x));
			CHECK(fabs(got - x) <= nearest + 1e-6 * fabs(x));
			CHECK(fabs(x) <= absmax);
			if (absmax > 0)
				most[k] = fmax(most[k], fabs(got - x) / absmax);
		}
	/* Half of the widest gap: of the signed map between .979 and .993, of the other between .989 and .996; and of
	 * the signed one all from -1 to -.993. */
	CHECK(most[0] > 0 && most[0] <= .9 / 128 + 1e-6);
	CHECK(most[1] > 0 && most[1] <= .9 / 256 + 1e-6);
	test_case("moments: a block of zeros stays zero, beside others");
	CHECK(view[0].absmax[1] == 0 && view[1].absmax[1] == 0 && view[0].absmax[0] > 0 && view[0].absmax[2] > 0);
	for (int i = 256; i < 512; i++)
		CHECK(view[0].map[view[0].code[i]] * view[0].absmax[1] == 0);
	test_backend_close(&b);
}

/* ---- over a table ---- */

struct slabs {
	struct test_backend backend;
	struct test_model model;
	struct optim_moment m, v;
	struct weights g;
};

static void slabs_open(struct slabs *s, const char *config, bool eight)
{
	struct err e = {""};
	const struct kernels *k;
	CHECK(test_backend_open(&s->backend, "", 2) && test_model_random(&s->model, k = s->backend.k, config, true) &&
	      !weights_zero(&s->g, k, &s->model.table, &e) &&
	      !optim_moment_init(&s->m, k, &s->model.table, false, eight, &e) &&
	      !optim_moment_init(&s->v, k, &s->model.table, true, eight, &e));
	CHECK_STR(e.msg, "");
}

static void slabs_close(struct slabs *s)
{
	optim_moment_release(&s->m);
	optim_moment_release(&s->v);
	weights_release(&s->g);
	test_model_close(&s->model);
	test_backend_close(&s->backend);
}

static void step(struct slabs *s, int64_t n)
{
	struct optim_config c = {.weight_decay = .1, .eps = 1e-8, .beta1 = .9, .beta2 = .999};
	c.kind = s->m.code ? OPTIM_ADAM8 : OPTIM_ADAMW;
	for (int64_t j = 0; j < s->model.table.size; j++)
		s->g.slab[j] = (float)(sin((double)(j * 7 + n * 3)) * (1 + j % 13));
	optim_step(&c, .01, .03, .25, n, &s->model.w, &s->m, &s->v, &s->g);
}

static void test_table(const char *config, int want_packed)
{
	struct slabs a = {0}, b = {0};
	slabs_open(&a, config, false);
	slabs_open(&b, config, true);
	const struct tensors *table = &a.model.table;
	int packed = 0;
	for (int64_t n = 1; n <= 5; n++) {
		step(&a, n);
		step(&b, n);
		for (int i = 0; i < table->n; i++) {
			const struct tensor *t = &table->tensor[i];
			const float *x = a.model.w.slab + t->offset, *y = b.model.w.slab + t->offset;
			bool same = !memcmp(x, y, (size_t)t->count * sizeof *x);
			/* The first step uses moments that were never rounded. */
			CHECK(same == (n == 1 || !optim_moment_in_8_bits(&b.m, i)));
			double by = 0;
			for (int64_t j = 0; j < t->count; j++)
				by = fmax(by, fabs(x[j] - y[j]));
			CHECK(by <= .01 * (double)n);
		}
	}
	for (int i = 0; i < table->n; i++) {
		bool in = optim_moment_in_8_bits(&b.m, i);
		CHECK(in == (table->tensor[i].count >= 4096 && !strstr(table->tensor[i].name, "wte") &&
		             !strstr(table->tensor[i].name, "wpe") && !strstr(table->tensor[i].name, "embed")));
		CHECK(!optim_moment_in_8_bits(&a.m, i));
		packed += in;
	}
	CHECK_INT(packed, want_packed);
	slabs_close(&a);
	slabs_close(&b);
}

static void test_finite(void)
{
	struct slabs s = {0};
	struct err e = {""};
	slabs_open(&s, test_gpt2_config, true);
	CHECK_INT(optim_moment_check_finite(&s.v, "the second moment of", &e), 0);
	int at = 0;
	while (!optim_moment_in_8_bits(&s.v, at))
		at++;
	optim_moment_view(&s.v, at).absmax[2] = INFINITY;
	CHECK_INT(optim_moment_check_finite(&s.v, "the second moment of", &e), -1);
	char text[200];
	const struct tensor *t = &s.model.table.tensor[at];
	snprintf(text, sizeof text, "the second moment of '%s' has 1 of %lld blocks that are NaN or infinite", t->name,
	         (long long)(t->count / 256));
	CHECK_STR(e.msg, text);
	slabs_close(&s);
}

/* ---- the store ---- */

static void put_all(struct store *s, const struct slabs *x, int64_t version)
{
	struct err e = {""};
	struct store_update *u = store_update_begin(s, &e);
	int failed = !u;
	for (int i = 0; i < x->model.table.n && !failed; i++)
		failed = optim_moment_put(&x->m, i, u, "policy", version, NULL, &e) ||
		         optim_moment_put(&x->v, i, u, "policy", version, NULL, &e);
	if (failed || store_put_current(u, "policy", version, &e) || store_update_commit(u, &e))
		test_fail(__FILE__, __LINE__, "%s", e.msg);
}

static int read_into(struct store *s, struct optim_moment *m, struct err *e)
{
	struct store_view *v = store_view_open(s, e);
	struct store_ref ref = {"policy", 0};
	int failed = !v || store_resolve(v, "policy", &ref, e) || optim_moment_read(m, v, &ref, e);
	store_view_close(v);
	return failed ? -1 : 0;
}

static bool same_moment(const struct optim_moment *a, const struct optim_moment *b)
{
	return a->n_slab == b->n_slab && a->n_code == b->n_code &&
	       !memcmp(a->slab, b->slab, (size_t)a->n_slab * sizeof *a->slab) &&
	       !memcmp(a->code, b->code, (size_t)a->n_code) &&
	       !memcmp(a->absmax, b->absmax, (size_t)(a->n_code / KN_BLOCK8) * sizeof *a->absmax);
}

static void test_store(void)
{
	char path[] = P_tmpdir "/rl-moment-test-XXXXXX", file[64];
	struct slabs a = {0}, b = {0}, plain = {0}, fresh = {0};
	struct err e = {""};
	CHECK(mkdtemp(path) != NULL);
	snprintf(file, sizeof file, "%s/s.lmdb", path);
	struct store *s = store_open(file, STORE_CREATE, &e);
	slabs_open(&a, test_gpt2_config, true);
	slabs_open(&b, test_gpt2_config, true);
	slabs_open(&plain, test_gpt2_config, false);
	for (int64_t n = 1; n <= 3; n++)
		step(&a, n);
	put_all(s, &a, 1);
	CHECK_INT(read_into(s, &b.m, &e) + read_into(s, &b.v, &e), 0);
	CHECK(same_moment(&a.m, &b.m) && same_moment(&a.v, &b.v) && !same_moment(&a.m, &b.v));
	slabs_open(&fresh, test_gpt2_config, true);
	CHECK(!same_moment(&a.m, &fresh.m) && !same_moment(&a.v, &fresh.v));
	optim_moment_zero(&a.m);
	optim_moment_zero(&a.v);
	CHECK(same_moment(&a.m, &fresh.m) && same_moment(&a.v, &fresh.v));
	slabs_close(&fresh);

	test_case("moments: those of the other form are refused, by name");
	CHECK_INT(read_into(s, &plain.m, &e), -1);
	CHECK(strstr(e.msg, "tensor 'adam.m/transformer.h.0.attn.c_attn.weight' is codes of 8 bits, expected numbers"));
	step(&plain, 1);
	put_all(s, &plain, 2);
	CHECK_INT(read_into(s, &b.m, &e), -1);
	CHECK(strstr(e.msg, "tensor 'adam.m/transformer.h.0.attn.c_attn.weight' is 27648 bytes that are no codes, "
	                    "expected 6912 codes of 8 bits"));
	CHECK_INT(read_into(s, &plain.v, &e), 0);
	slabs_close(&a);
	slabs_close(&b);
	slabs_close(&plain);
	store_close(s);
	unlink(file);
	snprintf(file, sizeof file, "%s/s.lmdb-lock", path);
	unlink(file);
	rmdir(path);
}

int main(void)
{
	against_bitsandbytes();
	test_case("moments: each is rounded to the nearest entry of the map, within half of its widest gap");
	test_rounding();
	test_case("moments: matrices in 8 bits; small tensors and embeddings move as AdamW moves them, gpt2");
	test_table(test_gpt2_config, 6);
	test_case("moments: the same, llama, whose head is a matrix too");
	test_table(test_llama_config, 1);
	test_case("moments: a block that is not finite is named");
	test_finite();
	test_case("moments: to the store and back, bit for bit, and to zero");
	test_store();
	return test_done();
}
