/*
 * trainer_bench - what an update costs beside its passes; never part of a test.
 *
 *   trainer_bench [-j THREADS] [-n UPDATES] [DIRECTORY]      DIRECTORY: where the files go; by default the current one
 *
 * GPT-2 124M with a gradient that is made up: the gradient to zero, its norm and AdamW, the look for what is not
 * finite, the commit of weights and moments (1.5 GB); against writing as many bytes over those of a plain file, and
 * waiting for the disk once.  Both sides take turns, and a figure is the fastest of the rounds from the fourth on, when
 * the store has stopped growing.  CPU seconds are of all threads.
 */
#include "lib/decoder_test.h"

#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "lib/trainer.h"

static const char gpt2_124m[] =
        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2LMHeadModel\"],\"activation_function\":\"gelu_new\","
        "\"n_embd\":768,\"n_head\":12,\"n_layer\":12,\"n_positions\":1024,\"vocab_size\":50257,"
        "\"layer_norm_epsilon\":1e-5}";

enum { UPDATES = 8, GROWING = 3 };

static void fail(const struct err *e)
{
	fprintf(stderr, "trainer_bench: %s\n", e->msg);
	exit(1);
}

static void make_store(const char *path, const struct test_model *m)
{
	struct err e;
	struct store *s = store_open(path, STORE_CREATE, &e);
	struct store_update *u = s ? store_update_begin(s, &e) : NULL;
	int failed = !u;
	for (int i = 0; i < m->table.n && !failed; i++) {
		const struct tensor *t = &m->table.tensor[i];
		failed = store_put(u, "policy", 0, t->name, KN_F32, t->n_dims, t->shape, m->w.slab + t->offset, &e);
	}
	if (failed || store_put_blob(u, "policy", "file/config.json", gpt2_124m, strlen(gpt2_124m), &e) ||
	    store_put_current(u, "policy", 0, &e) || store_update_commit(u, &e))
		fail(&e);
	store_close(s);
}

struct clocks {
	double wall, cpu;
};

static struct clocks clocks_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (struct clocks){now_seconds(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

static struct clocks clocks_since(struct clocks start)
{
	struct clocks now = clocks_now();
	return (struct clocks){now.wall - start.wall, now.cpu - start.cpu};
}

enum part { ZERO, STEP, CHECK_FINITE, COMMIT, BAR, PARTS };
static const char *const part_name[PARTS] = {"zero", "norm and adamw", "finite", "commit", "plain file"};

static void commit(struct trainer *t, struct store *s)
{
	struct err e;
	struct store_update *u = store_update_begin(s, &e);
	if (!u || trainer_put(t, u, t->version + 1, &e) || store_update_commit(u, &e))
		fail(&e);
}

static void update(struct trainer *t, struct store *s, struct clocks part[PARTS])
{
	static const struct optim_config c = {
	        .kind = OPTIM_ADAMW, .max_grad_norm = 1, .beta1 = .9, .beta2 = .999, .eps = 1e-8};
	struct err e;
	double norm;
	struct clocks start = clocks_now();
	trainer_zero_gradient(t);
	part[ZERO] = clocks_since(start);
	for (int64_t i = 0; i < t->info.table.size; i++)
		t->g.slab[i] = (float)(i % 17 - 8) * 1e-3F;
	start = clocks_now();
	if (trainer_step(&t, 1, &c, 1e-6, 1e-6, &norm, &e))
		fail(&e);
	part[STEP] = clocks_since(start);
	start = clocks_now();
	if (optim_check_finite(&t->w, "tensor", &e) || optim_moment_check_finite(&t->v, "second moment", &e))
		fail(&e);
	part[CHECK_FINITE] = clocks_since(start);
	start = clocks_now();
	commit(t, s);
	part[COMMIT] = clocks_since(start);
}

/* As many bytes as a commit has, over those of a file. */
static struct clocks plain_file(int fd, const struct trainer *t)
{
	struct clocks start = clocks_now();
	lseek(fd, 0, SEEK_SET);
	for (int i = 0; i < 3; i++) /* weights and two moments */
		if (write_all(fd, t->w.slab, (size_t)t->info.table.count * sizeof(float)))
			exit(1);
	fdatasync(fd);
	return clocks_since(start);
}

static void rounds(struct trainer *t, struct store *s, int fd, int64_t updates)
{
	struct clocks best[PARTS];
	double all = 0;
	for (int i = 0; i < PARTS; i++)
		best[i] = (struct clocks){INFINITY, INFINITY};
	for (int64_t n = 0; n < updates; n++) {
		struct clocks part[PARTS];
		update(t, s, part);
		part[BAR] = plain_file(fd, t);
		printf("update %ld:", (long)n);
		for (int i = 0; i < PARTS; i++) {
			printf(" %s %.3f s (%.3f)%s", part_name[i], part[i].wall, part[i].cpu,
			       i + 1 < PARTS ? "," : "\n");
			if (n >= GROWING) {
				best[i].wall = fmin(best[i].wall, part[i].wall);
				best[i].cpu = fmin(best[i].cpu, part[i].cpu);
			}
		}
		fflush(stdout);
	}
	printf("beside the passes, GPT-2 124M:");
	for (int i = 0; i < BAR; i++) {
		printf(" %s %.3f s (CPU %.3f)%s", part_name[i], best[i].wall, best[i].cpu, i + 1 < BAR ? "," : "");
		all += best[i].wall;
	}
	printf(": %.3f s; a plain file %.3f s (CPU %.3f); ratio of the commit %.2f\n", all, best[BAR].wall,
	       best[BAR].cpu, best[BAR].wall / best[COMMIT].wall);
}

static void run(struct test_backend *b, const char *store, const char *plain, int64_t updates)
{
	struct test_model m;
	struct trainer t;
	struct err e;
	if (!test_model_random(&m, b->k, gpt2_124m, false))
		exit(1);
	make_store(store, &m);
	test_model_close(&m);
	struct store *s = store_open(store, STORE_WRITE, &e);
	struct store_view *v = s ? store_view_open(s, &e) : NULL;
	int fd = open(plain, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!v || fd < 0 || trainer_open(&t, b->k, v, "policy", NULL, false, OPTIM_ADAMW, &e))
		fail(&e);
	store_view_close(v);
	rounds(&t, s, fd, updates);
	trainer_close(&t);
	store_close(s);
	close(fd);
}

int main(int argc, char **argv)
{
	struct test_backend b;
	int64_t threads = 0, updates = UPDATES;
	char store[512], lock[520], plain[512];
	for (int opt; (opt = getopt(argc, argv, "j:n:")) != -1;)
		if (opt == '?' || !parse_i64(optarg, opt == 'j' ? &threads : &updates))
			return 2;
	const char *dir = optind < argc ? argv[optind] : ".";
	snprintf(store, sizeof store, "%s/trainer_bench.lmdb", dir);
	snprintf(lock, sizeof lock, "%s-lock", store);
	snprintf(plain, sizeof plain, "%s/trainer_bench.plain", dir);
	if (!test_backend_open(&b, "", (int)threads))
		return 1;
	printf("%s, %d threads\n", b.k->name, par_threads(b.par));
	run(&b, store, plain, updates);
	unlink(store);
	unlink(lock);
	unlink(plain);
	test_backend_close(&b);
	return 0;
}
