/*
 * bench - how fast the ops are; never part of a test.
 *
 *   bench [-j THREADS] [-t TABLE] [SECTION...]      sections: matmul decode ops
 *
 * matmul  the matrix products of GPT-2 124M, 4x64 and 8x256 tokens, against
 *         oneDNN's sgemm where the build has it, call by call in turn
 * decode  the products of one token, against the read bandwidth of the moment
 * ops     everything else
 *
 * A figure is the fastest of the repetitions: what others do on the machine can only slow one down.
 */
#include "kernels/kernels.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_DNNL
#include <dnnl.h>
#else
static int dnnl_sgemm(char ta, char tb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda,
                      const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
	(void)ta, (void)tb, (void)M, (void)N, (void)K, (void)alpha, (void)A, (void)lda, (void)B, (void)ldb, (void)beta;
	(void)C, (void)ldc;
	return 0;
}
#endif

#define MOST_REPS 15
#define ENOUGH_SECONDS 1.0 /* of one side, after which no more repetitions are made */
#define SPIN 20000         /* looks at the counter before a worker sleeps */
#define REST_US 8000       /* between the two sides: OpenMP's threads go on spinning for a while */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- threads: the caller is worker 0 ---- */

static struct pool {
	int threads;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic int64_t generation, next;
	_Atomic int busy;
	int64_t n;
	void (*fn)(void *arg, int64_t i, int worker);
	void *arg;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void pool_work(int worker)
{
	for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.n;)
		pool.fn(pool.arg, i, worker);
}

static void *pool_main(void *arg)
{
	int64_t seen = 0;
	for (;; seen++) {
		for (int i = 0; i < SPIN && pool.generation == seen; i++)
			;
		pthread_mutex_lock(&pool.lock);
		while (pool.generation == seen)
			pthread_cond_wait(&pool.wake, &pool.lock);
		pthread_mutex_unlock(&pool.lock);
		pool_work((int)(intptr_t)arg);
		atomic_fetch_sub(&pool.busy, 1);
	}
	return NULL;
}

static void pool_run(void *unused, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
	(void)unused;
	pool.n = n;
	pool.fn = fn;
	pool.arg = arg;
	pool.next = 0;
	pool.busy = pool.threads - 1;
	pthread_mutex_lock(&pool.lock);
	pool.generation++;
	pthread_cond_broadcast(&pool.wake);
	pthread_mutex_unlock(&pool.lock);
	pool_work(0);
	while (pool.busy)
		;
}

static void pool_start(int threads)
{
	pthread_t id;
	pool.threads = threads;
	for (intptr_t i = 1; i < threads; i++)
		if (pthread_create(&id, NULL, pool_main, (void *)i))
			abort();
}

/* ---- one measured thing, and a pair of them in turn ---- */

static const struct kernels *k;

struct job {
	int64_t N, I, O, reps;
	float *x, *y, *w, *b, *dw; /* x, y of the table's activations; w of those too, but float32 in decoding */
	struct kn_block block;
	struct kn_mat mat;
	struct kn_attn attn;
	float *t[6];
	struct kn_moment8 m8[2];
	int32_t *ids;
	void *scratch;
};

typedef void job_fn(struct job *j);

static double timed(job_fn *fn, struct job *j)
{
	double start = now();
	fn(j);
	k->sync(k->ctx, NULL, 0);
	return now() - start;
}

/* The fastest of both in seconds; theirs may be NULL. */
static void measure(struct job *j, job_fn *ours, job_fn *theirs, double *t_ours, double *t_theirs)
{
	double spent = 0;
	*t_ours = *t_theirs = 1e9;
	timed(ours, j);
	if (theirs)
		timed(theirs, j);
	for (int n = 0; n < MOST_REPS && (n < 3 || spent < ENOUGH_SECONDS); n++) {
		if (theirs)
			usleep(REST_US);
		double a = timed(ours, j), b = theirs ? timed(theirs, j) : 0;
		*t_ours = a < *t_ours ? a : *t_ours;
		*t_theirs = b < *t_theirs ? b : *t_theirs;
		spent += a;
	}
}

static float *floats(int64_t n)
{
	float *host = malloc((size_t)n * sizeof *host), *p = k->alloc(k->ctx, (size_t)n * sizeof *p);
	if (!host || !p)
		abort();
	uint32_t z = 12345;
	for (int64_t i = 0; i < n; i++, z = z * 1664525 + 1013904223)
		host[i] = (float)(int32_t)z * 0x1p-31f;
	k->put(k->ctx, p, host, (size_t)n * sizeof *p);
	free(host);
	return p;
}

/* Numbers of the table's activations; the memory of as many floats. */
static void *reals(int64_t n)
{
	float *p = floats(n);
	if (k->real == KN_F32)
		return p;
	uint16_t *half = (uint16_t *)floats(n);
	k->to_bf16(k->ctx, half, p, n);
	k->free(k->ctx, p);
	return half;
}

/* Number n of an array of them. */
static float *at(float *p, int64_t n)
{
	return (float *)((char *)p + n * (k->real == KN_F32 ? 4 : 2));
}

static int on_device(void)
{
	return !strncmp(k->name, "cuda", 4);
}

/* Any codes, and a map whose entries lie evenly. */
static struct kn_moment8 moment8(int64_t n, float least)
{
	float map[256];
	struct kn_moment8 m = {(uint8_t *)floats((n + 3) / 4), floats(n / KN_BLOCK8 + 1), floats(256)};
	for (int i = 0; i < 256; i++)
		map[i] = least + (1 - least) * (float)i / 255;
	k->put(k->ctx, m.map, map, sizeof map);
	return m;
}

/* ---- matmul ---- */

static void our_fwd(struct job *j)
{
	k->matmul_fwd(k->ctx, j->y, j->x, &j->mat, NULL, j->N);
}

static void our_dx(struct job *j)
{
	k->matmul_dx(k->ctx, j->x, j->y, &j->mat, j->N, 0);
}

static void our_dw(struct job *j)
{
	k->matmul_dw(k->ctx, j->dw, NULL, j->y, j->x, j->N, j->O, j->I);
}

static void their_fwd(struct job *j)
{
	dnnl_sgemm('N', 'T', j->N, j->O, j->I, 1, j->x, j->I, j->w, j->I, 0, j->y, j->O);
}

static void their_dx(struct job *j)
{
	dnnl_sgemm('N', 'N', j->N, j->I, j->O, 1, j->y, j->O, j->w, j->I, 0, j->x, j->I);
}

static void their_dw(struct job *j)
{
	dnnl_sgemm('T', 'N', j->O, j->I, j->N, 1, j->y, j->O, j->x, j->I, 1, j->w, j->I);
}

static const struct shape {
	const char *name;
	int64_t I, O, count;
} gpt2[] = {{"qkv", 768, 2304, 12},
            {"proj", 768, 768, 12},
            {"up", 768, 3072, 12},
            {"down", 3072, 768, 12},
            {"head", 768, 50257, 1}};

static struct job matmul_job(int64_t N, const struct shape *s)
{
	struct job j = {
	        .N = N, .I = s->I, .O = s->O, .x = reals(N * s->I), .y = reals(N * s->O), .w = reals(s->O * s->I)};
	j.dw = k->real == KN_F32 ? j.w : floats(s->O * s->I);
	return j;
}

static void matmul_free(struct job *j)
{
	k->free(k->ctx, j->x);
	k->free(k->ctx, j->y);
	if (j->dw != j->w)
		k->free(k->ctx, j->dw);
	k->free(k->ctx, j->w);
}

static void matmul_tokens(int64_t B, int64_t T)
{
	static const struct {
		const char *name;
		job_fn *ours, *theirs;
	} ops[] = {{"fwd", our_fwd, their_fwd}, {"dx", our_dx, their_dx}, {"dw", our_dw, their_dw}};
#ifdef HAVE_DNNL
	int theirs = !on_device();
#else
	int theirs = 0;
#endif
	double sum[2][2] = {{0}};
	printf("matmul, GPT-2 124M, %ldx%ld tokens\n", (long)B, (long)T);
	for (size_t i = 0; i < sizeof gpt2 / sizeof *gpt2; i++) {
		struct job j = matmul_job(B * T, &gpt2[i]);
		j.block = (struct kn_block){j.w, j.O};
		j.mat = (struct kn_mat){k->real, j.O, j.I, 1, &j.block};
		for (int op = 0; op < 3; op++) {
			double a, b, flop = 2.0 * (double)j.N * (double)j.I * (double)j.O;
			measure(&j, ops[op].ours, theirs ? ops[op].theirs : NULL, &a, &b);
			printf("  %-5s %-4s %8.2f ms %7.1f GFLOP/s", gpt2[i].name, ops[op].name, 1e3 * a,
			       1e-9 * flop / a);
			printf(theirs ? "   oneDNN %8.2f ms %7.1f   ratio %.2f\n" : "\n", 1e3 * b, 1e-9 * flop / b,
			       b / a);
			fflush(stdout);
			sum[op > 0][0] += (double)gpt2[i].count * a;
			sum[op > 0][1] += (double)gpt2[i].count * b;
		}
		matmul_free(&j);
	}
	printf("  all of a forward pass   %8.1f ms", 1e3 * sum[0][0]);
	printf(theirs ? "   oneDNN %8.1f ms   ratio %.2f\n" : "\n", 1e3 * sum[0][1], sum[0][1] / sum[0][0]);
	printf("  forward and backward    %8.1f ms", 1e3 * (sum[0][0] + sum[1][0]));
	printf(theirs ? "   oneDNN %8.1f ms   ratio %.2f\n" : "\n", 1e3 * (sum[0][1] + sum[1][1]),
	       (sum[0][1] + sum[1][1]) / (sum[0][0] + sum[1][0]));
}

/* ---- decode: every weight once ---- */

#define DECODE_LAYERS 12

static void read_item(void *arg, int64_t i, int worker)
{
	const struct job *j = arg;
	typedef float v8 __attribute__((vector_size(32)));
	const v8 *p = (const v8 *)j->w + i * 32768;
	v8 a = {0}, b = {0}, c = {0}, d = {0};
	for (int n = 0; n < 32768; n += 4) {
		a += p[n];
		b += p[n + 1];
		c += p[n + 2];
		d += p[n + 3];
	}
	a += b + c + d;
	j->t[0][worker * 16] = a[0];
}

/* sums the weights: the bandwidth of the moment */
static void read_all(struct job *j)
{
	pool_run(NULL, j->O * j->I / 8 / 32768, read_item, j);
}

static void decode_all(struct job *j)
{
	int64_t row = 0;
	for (size_t s = 0; s < sizeof gpt2 / sizeof *gpt2; s++)
		for (int64_t n = 0; n < gpt2[s].count; n++, row += gpt2[s].O * gpt2[s].I / 768) {
			struct kn_block block = {
			        (const char *)j->w + (size_t)(row * 768) * (j->mat.dtype == KN_F32 ? 4 : 2), gpt2[s].O};
			struct kn_mat m = {j->mat.dtype, gpt2[s].O, gpt2[s].I, 1, &block};
			k->matmul_fwd(k->ctx, j->y, j->x, &m, j->b, j->N);
		}
}

static void decode(void)
{
	int64_t rows = 0;
	for (size_t s = 0; s < sizeof gpt2 / sizeof *gpt2; s++)
		rows += gpt2[s].count * gpt2[s].O * gpt2[s].I / 768;
	struct job j = {.I = 768, .O = rows, .w = floats(rows * 768), .x = reals(64 * 3072), .y = reals(64 * 50257)};
	j.b = floats(50257);
	j.t[0] = floats(KN_MAX_THREADS * 16);
	int cuda = on_device();
	printf("decode, GPT-2 124M, weights of one step\n");
	if (k->real == KN_BF16)
		k->to_bf16(k->ctx, (uint16_t *)j.w, floats(rows * 768), rows * 768);
	enum kn_dtype last = k->real == KN_BF16 ? KN_BF16 : KN_F16;
	for (enum kn_dtype type = k->real; type <= last; type++)
		for (j.N = 1; j.N <= 64; j.N *= 8) {
			double a, b, bytes = (double)rows * 768 * (type == KN_F32 ? 4 : 2);
			j.mat.dtype = type;
			measure(&j, decode_all, cuda ? NULL : read_all, &a, &b);
			printf("  %-4s batch %2ld %8.2f ms %6.1f GB/s %7.1f tokens/s",
			       type == KN_F32    ? "f32"
			       : type == KN_BF16 ? "bf16"
			                         : "f16",
			       (long)j.N, 1e3 * a, 1e-9 * bytes / a, (double)j.N / a);
			double read = (double)rows * 768 * 4 / b;
			printf(cuda ? "\n" : "   plain reading %6.1f GB/s   ratio %.2f\n", 1e-9 * read,
			       bytes / a / read);
			fflush(stdout);
		}
	k->free(k->ctx, j.w);
}

/* ---- everything else, on 8x256 tokens of GPT-2 124M ---- */

#define TOKENS 2048
#define WIDTH 768
#define FEED 3072
#define VOCAB 50257

static void op_layernorm_fwd(struct job *j)
{
	k->layernorm_fwd(k->ctx, j->y, j->t[0], j->t[1], j->x, j->b, j->b, 1e-5f, TOKENS, WIDTH);
}

static void op_layernorm_bwd(struct job *j)
{
	k->layernorm_bwd(k->ctx, j->y, j->b, j->w, j->x, j->t[2], j->t[0], j->t[1], j->b, TOKENS, WIDTH);
}

static void op_rmsnorm_fwd(struct job *j)
{
	k->rmsnorm_fwd(k->ctx, j->y, j->t[1], j->x, j->b, 1e-5f, TOKENS, WIDTH);
}

static void op_gelu_fwd(struct job *j)
{
	k->act_fwd(k->ctx, j->y, j->x, KN_GELU_TANH, TOKENS * FEED);
}

static void op_gelu_bwd(struct job *j)
{
	k->act_bwd(k->ctx, j->y, j->x, j->x, KN_GELU_TANH, TOKENS * FEED);
}

static void op_swiglu_fwd(struct job *j)
{
	k->glu_fwd(k->ctx, j->y, j->x, j->w, KN_SILU, TOKENS * FEED);
}

static void op_erf_fwd(struct job *j)
{
	k->act_fwd(k->ctx, j->y, j->x, KN_GELU_ERF, TOKENS * FEED);
}

static void op_rope(struct job *j)
{
	k->rope(k->ctx, j->x, j->ids, j->b, TOKENS, 12, 64, WIDTH, 1);
}

static void op_attention_fwd(struct job *j)
{
	k->attention_fwd(k->ctx, j->y, j->t[0], j->x, at(j->x, WIDTH), at(j->x, 2 * WIDTH), &j->attn);
}

static void op_attention_bwd(struct job *j)
{
	k->attention_bwd(k->ctx, j->w, at(j->w, WIDTH), at(j->w, 2 * WIDTH), j->t[2], j->y, j->t[0], j->x,
	                 at(j->x, WIDTH), at(j->x, 2 * WIDTH), &j->attn, j->t[1]);
}

static void op_head_fwd(struct job *j)
{
	k->head_fwd(k->ctx, j->t[0], j->t[1], j->t[2], NULL, j->x, &j->mat, NULL, j->ids, j->t[4], 256, NULL, NULL,
	            j->scratch);
}

static void op_head_bwd(struct job *j)
{
	k->head_bwd(k->ctx, j->y, j->t[3], NULL, j->t[0], NULL, j->x, &j->mat, NULL, j->ids, j->t[4], j->t[1], NULL,
	            256, NULL, NULL, j->scratch);
}

/* Another model of the same size, the head's own matrix for its. */
static struct kn_reference reference(struct job *j)
{
	return (struct kn_reference){at(j->x, 256 * WIDTH), &j->mat, NULL, j->t[0], j->t[2], j->t[1], NULL};
}

static void op_head_fwd_kl(struct job *j)
{
	struct kn_reference ref = reference(j);
	k->head_fwd(k->ctx, NULL, j->t[4], NULL, NULL, j->x, &j->mat, NULL, NULL, NULL, 256, &ref, NULL, j->scratch);
}

static void op_head_bwd_kl(struct job *j)
{
	struct kn_reference ref = reference(j);
	k->head_bwd(k->ctx, j->y, j->t[3], NULL, j->t[0], NULL, j->x, &j->mat, NULL, j->ids, NULL, j->t[4], NULL, 256,
	            &ref, NULL, j->scratch);
}

static void op_logits_stats(struct job *j)
{
	k->logits_stats(k->ctx, j->t[0], j->t[1], j->t[2], (int32_t *)j->y, j->w, j->ids, NULL, 256, VOCAB);
}

static void op_adamw(struct job *j)
{
	struct kn_adamw a = {1e-5, 0.9, 0.999, 1e-8, 0.01, 1, 10};
	k->adamw(k->ctx, j->w, j->t[3], j->t[5], j->w, &a, VOCAB * WIDTH);
}

static void op_adamw8(struct job *j)
{
	struct kn_adamw a = {1e-5, 0.9, 0.999, 1e-8, 0.01, 1, 10};
	k->adamw8(k->ctx, j->w, &j->m8[0], &j->m8[1], j->w, &a, VOCAB * WIDTH);
}

static void op_sum_squares(struct job *j)
{
	j->reps += k->sum_squares(k->ctx, j->w, VOCAB * WIDTH) > 0;
}

static void op_count_nonfinite(struct job *j)
{
	j->reps += k->count_nonfinite(k->ctx, j->w, VOCAB * WIDTH) > 0;
}

#define ATTENTION_FLOP (8 * 12 * 64 * 4.0 * (256 * 257 / 2)) /* the causal half */

static const struct op {
	const char *name;
	job_fn *fn;
	double bytes, flop;
	int reals; /* the bytes are of activations, and half as many in bf16 */
} ops[] = {
        {"layernorm_fwd", op_layernorm_fwd, 8.0 * TOKENS *WIDTH, 0, 1},
        {"layernorm_bwd", op_layernorm_bwd, 16.0 * TOKENS *WIDTH, 0, 1},
        {"rmsnorm_fwd", op_rmsnorm_fwd, 8.0 * TOKENS *WIDTH, 0, 1},
        {"gelu tanh fwd", op_gelu_fwd, 8.0 * TOKENS *FEED, 0, 1},
        {"gelu tanh bwd", op_gelu_bwd, 12.0 * TOKENS *FEED, 0, 1},
        {"gelu erf fwd", op_erf_fwd, 8.0 * TOKENS *FEED, 0, 1},
        {"swiglu fwd", op_swiglu_fwd, 12.0 * TOKENS *FEED, 0, 1},
        {"rope", op_rope, 8.0 * TOKENS *WIDTH, 0, 1},
        {"attention_fwd", op_attention_fwd, 0, ATTENTION_FLOP},
        {"attention_bwd", op_attention_bwd, 0, 2.5 * ATTENTION_FLOP},
        {"head_fwd 256 rows", op_head_fwd, 0, 2.0 * 256 * WIDTH *VOCAB},
        {"head_bwd 256 rows", op_head_bwd, 0, 6.0 * 256 * WIDTH *VOCAB},
        {"the same with exact KL", op_head_fwd_kl, 0, 4.0 * 256 * WIDTH *VOCAB},
        {"the same with exact KL", op_head_bwd_kl, 0, 8.0 * 256 * WIDTH *VOCAB},
        {"logits_stats 256 rows", op_logits_stats, 4.0 * 256 * VOCAB, 0},
        {"adamw", op_adamw, 28.0 * VOCAB *WIDTH, 0},
        {"adamw8", op_adamw8, 16.0 * VOCAB *WIDTH, 0},
        {"sum_squares", op_sum_squares, 4.0 * VOCAB *WIDTH, 0},
        {"count_nonfinite", op_count_nonfinite, 4.0 * VOCAB *WIDTH, 0},
};

static void other_ops(void)
{
	static struct kn_seq seq[8];
	struct job j = {
	        .x = reals(TOKENS * FEED), .y = reals(TOKENS * FEED), .w = floats(VOCAB * WIDTH), .b = floats(FEED)};
	for (int i = 0; i < 6; i++)
		j.t[i] = floats(i == 3 || i == 5 ? VOCAB * WIDTH : TOKENS * WIDTH);
	j.ids = calloc(TOKENS, sizeof *j.ids);
	for (int i = 0; i < 8; i++)
		seq[i] = (struct kn_seq){.q_row = 256 * i, .n_q = 256, .own_row = 256 * i};
	j.attn = (struct kn_attn){12, 12, 64, 0, 0.125f, 3 * WIDTH, 3 * WIDTH, 8, seq};
	j.block = (struct kn_block){j.w, VOCAB};
	j.mat = (struct kn_mat){k->real, VOCAB, WIDTH, 1, &j.block};
	j.scratch = k->alloc(k->ctx, k->head_scratch(k->ctx, 256, VOCAB, WIDTH));
	for (int n = 0; n < TOKENS; n++)
		j.ids[n] = n;
	j.m8[0] = moment8(VOCAB * WIDTH, -1);
	j.m8[1] = moment8(VOCAB * WIDTH, 0);
	/* moments of AdamW are not negative */
	k->zero(k->ctx, j.t[5], VOCAB * WIDTH * sizeof(float));
	printf("other ops\n");
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		double t, none, bytes = ops[i].reals && k->real == KN_BF16 ? ops[i].bytes / 2 : ops[i].bytes;
		measure(&j, ops[i].fn, NULL, &t, &none);
		printf("  %-22s %8.3f ms", ops[i].name, 1e3 * t);
		printf(ops[i].bytes > 0 ? " %7.1f GB/s\n" : " %7.1f GFLOP/s\n", 1e-9 * (bytes + ops[i].flop) / t);
		fflush(stdout);
	}
}

static int chosen(const char *section, int argc, char **argv)
{
	for (int i = optind; i < argc; i++)
		if (!strcmp(section, argv[i]))
			return 1;
	return optind == argc;
}

static void their_threads(int threads)
{
	void (*set)(int);
	void *found = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
	memcpy(&set, &found, sizeof set);
	if (found)
		set(threads);
}

int main(int argc, char **argv)
{
	int threads = (int)sysconf(_SC_NPROCESSORS_ONLN), c;
	const char *table = NULL;
	char why[256] = "no such table on this machine";
	while ((c = getopt(argc, argv, "j:t:")) != -1)
		switch (c) {
		case 'j':
			threads = (int)strtol(optarg, NULL, 10);
			break;
		case 't':
			table = optarg;
			break;
		default:
			return 2;
		}
	if (threads < 1 || threads > KN_MAX_THREADS)
		return 2;
	pool_start(threads);
	their_threads(threads);
	struct kn_par par = {NULL, threads, pool_run};
#ifdef HAVE_KERNELS_CUDA
	struct kn_cuda cuda = {0, KN_F32, 0};
	cuda.real = table && !strncmp(table, "cuda-bf16", 9) ? KN_BF16 : KN_F32;
	cuda.batch_invariant = table && !strcmp(table, "cuda-bf16-invariant");
	if (table && (!strcmp(table, "cuda") || cuda.real == KN_BF16))
		k = kernels_cuda(&cuda, why, sizeof why);
	else
#endif
		k = kernels_cpu(&par, table);
	if (!k) {
		fprintf(stderr, "bench: %s\n", why);
		return 1;
	}
	printf("%s, %d threads\n", k->name, threads);
	if (chosen("matmul", argc, argv)) {
		matmul_tokens(4, 64);
		matmul_tokens(8, 256);
	}
	if (chosen("decode", argc, argv))
		decode();
	if (chosen("ops", argc, argv))
		other_ops();
	return 0;
}
