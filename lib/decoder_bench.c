/*
 * decoder_bench - how fast the whole model is; never part of a test.
 *
 *   decoder_bench [-j THREADS] [SECTION...]      sections: train decode
 *
 * train   GPT-2 124M, 4x64 and 8x256 tokens: forward, head, loss and backward, against the matrix products of such a
 * step alone by oneDNN, where the build has it decode  greedy tokens of one sequence, against reading the weights once
 * per token
 *
 * Both sides take turns, and a figure is the fastest of the rounds: what others do on the machine can only slow one
 * down.
 */
#include "lib/decoder_test.h"

#include "lib/generate.h"

#ifdef HAVE_DNNL
#include <dnnl.h>
#endif

static const char gpt2_124m[] =
        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2LMHeadModel\"],\"activation_function\":\"gelu_new\","
        "\"n_embd\":768,\"n_head\":12,\"n_layer\":12,\"n_positions\":1024,\"vocab_size\":50257,"
        "\"layer_norm_epsilon\":1e-5}";

enum { ROUNDS = 4, DECODE_TOKENS = 24 };

static const struct {
	int64_t I, O, count;
} product[] = {{768, 2304, 12}, {768, 768, 12}, {768, 3072, 12}, {3072, 768, 12}, {768, 50257, 1}};

/* ---- the bar: oneDNN's products, no more ---- */

static double products(int64_t N, float *x, float *w, float *y)
{
	double start = now_seconds();
#ifdef HAVE_DNNL
	for (size_t p = 0; p < ARRAY_LEN(product); p++)
		for (int64_t n = 0; n < product[p].count; n++) {
			int64_t I = product[p].I, O = product[p].O;
			dnnl_sgemm('N', 'T', N, O, I, 1, x, I, w, I, 0, y, O);
			dnnl_sgemm('N', 'N', N, I, O, 1, y, O, w, I, 0, x, I);
			dnnl_sgemm('T', 'N', O, I, N, 1, y, O, x, I, 1, w, I);
		}
#else
	(void)N, (void)x, (void)w, (void)y;
#endif
	return now_seconds() - start;
}

/* ---- a training step ---- */

struct step {
	struct test_model *m;
	struct weights g;
	struct activations *acts;
	struct batch b;
	int32_t *token, *pos;
	struct kn_seq *seq;
	float *h, *dh, *logprob, *lse, *dlogprob;
};

static void step_init(struct step *s, struct test_model *m, int64_t B, int64_t T)
{
	int64_t N = B * T, C = m->arch.C;
	struct err e;
	*s = (struct step){.m = m, .acts = activations_new(&m->d)};
	if (weights_zero(&s->g, m->k, &m->table, &e))
		abort();
	s->token = xcalloc((size_t)N, sizeof *s->token);
	s->pos = xcalloc((size_t)N, sizeof *s->pos);
	s->seq = xcalloc((size_t)B, sizeof *s->seq);
	for (int64_t i = 0; i < N; i++) {
		s->token[i] = (int32_t)(i * 7919 % m->arch.V);
		s->pos[i] = (int32_t)(i % T);
	}
	for (int64_t i = 0; i < B; i++)
		s->seq[i] = (struct kn_seq){i * T, T, 0, 0, 0, i * T};
	s->b = (struct batch){N, B, s->token, s->pos, s->seq};
	s->h = xaligned((size_t)(N * C) * 4);
	s->dh = xaligned((size_t)(N * C) * 4);
	s->logprob = xaligned((size_t)N * 4);
	s->lse = xaligned((size_t)N * 4);
	s->dlogprob = xaligned((size_t)N * 4);
	for (int64_t i = 0; i < N; i++)
		s->dlogprob[i] = -1.0F / (float)N;
}

static void step_release(struct step *s)
{
	void *all[] = {s->token, s->pos, s->seq, s->h, s->dh, s->logprob, s->lse, s->dlogprob};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	activations_free(s->acts);
	weights_release(&s->g);
}

/* Seconds of each part. */
struct parts {
	double forward, head, backward;
};

static struct parts step_run(struct step *s)
{
	struct decoder *d = &s->m->d;
	struct weights *w = &s->m->w;
	struct err e;
	int64_t N = s->b.N;
	double t0 = now_seconds();
	int failed = decoder_forward(d, w, &s->b, NULL, s->acts, s->h, &e);
	double t1 = now_seconds();
	failed |= decoder_head(d, w, s->h, N, s->token, NULL, s->logprob, s->lse, NULL, NULL, true, &e);
	failed |=
	        decoder_head_backward(d, w, s->h, N, s->token, NULL, s->lse, NULL, s->dlogprob, NULL, s->dh, &s->g, &e);
	double t2 = now_seconds();
	failed |= decoder_backward(d, w, &s->b, s->acts, s->dh, &s->g, &e);
	decoder_backward_finish(d, &s->g);
	if (failed)
		abort();
	return (struct parts){t1 - t0, t2 - t1, now_seconds() - t2};
}

static double sum(struct parts p)
{
	return p.forward + p.head + p.backward;
}

static void train(struct test_model *m, int64_t B, int64_t T)
{
	struct step s;
	struct parts best = {1e9, 1e9, 1e9};
	double bar = 1e9;
	int64_t N = B * T;
	float *x = xaligned((size_t)N * 3072 * 4), *y = xaligned((size_t)N * 50257 * 4),
	      *w = xaligned((size_t)768 * 50257 * 4);
	step_init(&s, m, B, T);
	step_run(&s);
	for (int round = 0; round < ROUNDS; round++) {
		struct parts now = step_run(&s);
		if (sum(now) < sum(best))
			best = now;
		usleep(8000); /* oneDNN's threads go on spinning for a while */
		bar = fmin(bar, products(N, x, w, y));
		usleep(8000);
	}
	printf("train, GPT-2 124M, %ldx%ld: forward %.0f ms, head %.0f ms, backward %.0f ms: %.0f ms, %.0f tokens/s",
	       (long)B, (long)T, 1e3 * best.forward, 1e3 * best.head, 1e3 * best.backward, 1e3 * sum(best),
	       (double)N / sum(best));
#ifdef HAVE_DNNL
	printf("; oneDNN's products alone %.0f ms; ratio %.2f", 1e3 * bar, bar / sum(best));
#endif
	printf("\n");
	fflush(stdout);
	step_release(&s);
	free(x);
	free(y);
	free(w);
}

/* ---- decode ---- */

struct reading {
	const float *w;
	int64_t n;
	float sum[KN_MAX_THREADS * 16];
};

enum { READ_ITEM = 1 << 18 };

static void read_item(void *arg, int64_t i, int worker)
{
	struct reading *r = arg;
	typedef float v8 __attribute__((vector_size(32), may_alias));
	const v8 *p = (const v8 *)(r->w + i * READ_ITEM);
	v8 a = {0}, b = {0}, c = {0}, d = {0};
	for (int n = 0; n < READ_ITEM / 8; n += 4) {
		a += p[n];
		b += p[n + 1];
		c += p[n + 2];
		d += p[n + 3];
	}
	a += b + c + d;
	r->sum[worker * 16] += a[0];
}

/* Tokens per second from the difference of two lengths, so that the prompt and set-up do not count. */
static double decode_seconds(struct test_model *m, const struct model_info *info, int64_t tokens)
{
	int32_t prompt[4] = {1, 2, 3, 4};
	struct generate_request q = {prompt, 4, 1, 0, 0, 1, tokens};
	struct generate_config c = {.temperature = 0, .top_p = 1, .ignore_eos = true};
	struct generate_result r;
	struct err e;
	double start = now_seconds();
	if (generate_run(&m->d, &m->w, info, &c, &q, 1, &r, &e))
		abort();
	generate_result_release(&r);
	return now_seconds() - start;
}

static void decode(struct test_model *m, struct test_backend *b)
{
	struct model_info info = {.arch = m->arch};
	struct reading r = {.w = m->w.slab, .n = m->table.size / READ_ITEM};
	double token = 1e9, read = 1e9;
	/* the table of positions is not read, but for a row */
	double bytes = 4.0 * (double)(m->table.count - m->arch.P * m->arch.C);
	decode_seconds(m, &info, 2);
	for (int round = 0; round < 2 * ROUNDS; round++) {
		double few = decode_seconds(m, &info, 2), many = decode_seconds(m, &info, 2 + DECODE_TOKENS);
		token = fmin(token, (many - few) / DECODE_TOKENS);
		double start = now_seconds();
		par_run(b->par, r.n, read_item, &r);
		read = fmin(read, now_seconds() - start);
	}
	double bandwidth = 4.0 * (double)(r.n * READ_ITEM) / read;
	printf("decode, GPT-2 124M, one sequence, greedy: %.1f ms, %.1f tokens/s, %.1f GB/s; reading alone %.1f GB/s; "
	       "ratio "
	       "%.2f\n",
	       1e3 * token, 1 / token, 1e-9 * bytes / token, 1e-9 * bandwidth, bytes / token / bandwidth);
}

int main(int argc, char **argv)
{
	struct test_backend b;
	struct test_model m;
	int64_t threads = 0;
	bool want_train = true, want_decode = true;
	for (int opt; (opt = getopt(argc, argv, "j:")) != -1;)
		if (opt != 'j' || !parse_i64(optarg, &threads))
			return 2;
	if (optind < argc) {
		want_train = want_decode = false;
		for (; optind < argc; optind++) {
			want_train |= !strcmp(argv[optind], "train");
			want_decode |= !strcmp(argv[optind], "decode");
		}
	}
	if (!test_backend_open(&b, "", (int)threads) || !test_model_random(&m, b.k, gpt2_124m, false))
		return 1;
	for (int64_t i = 0; i < m.table.size; i++)
		m.w.slab[i] *= .1F;
	printf("%s, %d threads\n", b.k->name, par_threads(b.par));
	if (want_decode)
		decode(&m, &b);
	if (want_train) {
		train(&m, 4, 64);
		train(&m, 8, 256);
	}
	test_model_close(&m);
	test_backend_close(&b);
	return 0;
}
