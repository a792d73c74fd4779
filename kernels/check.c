/*
 * check - every op of every table against the reference and the promises of
 * kernels.h.  TAP on stdout.
 *
 *   check [TABLE...]    only tables whose name contains one of these ("ref",
 *                       "cpu", "avx2", "plain", ...); cuda only when named
 */
#include "kernels/checks/check.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int results, failures;

void check_result(int ok, const char *fmt, ...)
{
	va_list ap;
	printf("%sok %d - ", ok ? "" : "not ", ++results);
	failures += !ok;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void check_skip(const char *fmt, ...)
{
	va_list ap;
	printf("ok %d # SKIP ", ++results);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

/* Threads: a run either starts `threads` of them, or does the items backwards on this one, as any order is allowed. */
struct pool {
	int threads, backwards;
	_Atomic int64_t next;
	int64_t n;
	void (*fn)(void *arg, int64_t i, int worker);
	void *arg;
};

struct worker {
	struct pool *pool;
	int index;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	for (int64_t i; (i = atomic_fetch_add(&w->pool->next, 1)) < w->pool->n;)
		w->pool->fn(w->pool->arg, i, w->index);
	return NULL;
}

static void pool_run(void *pool, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
	struct pool *p = pool;
	struct worker workers[KN_MAX_THREADS];
	pthread_t threads[KN_MAX_THREADS];
	if (p->backwards) {
		for (int64_t i = n; i-- > 0;)
			fn(arg, i, (int)(i % p->threads));
		return;
	}
	p->n = n;
	p->fn = fn;
	p->arg = arg;
	atomic_store(&p->next, 0);
	for (int i = 0; i < p->threads; i++) {
		workers[i] = (struct worker){p, i};
		if (pthread_create(&threads[i], NULL, worker_main, &workers[i]))
			abort();
	}
	for (int i = 0; i < p->threads; i++)
		pthread_join(threads[i], NULL);
}

static struct pool pools[CHECK_THREADS] = {{.threads = 1}, {.threads = 2}, {.threads = 3, .backwards = 1}};
static struct kn_par pars[CHECK_THREADS];

static void case_run(const struct check_tables *t, const struct check_case *c, struct kernels *ref,
                     struct kernels *other)
{
	const struct kernels *k = t->k[0];
	void *slot;
	memcpy(&slot, (const char *)k + c->slot, sizeof slot);
	if (!slot) {
		check_result(0, "%s %s is there", k->name, c->op);
		return;
	}
	double worst = 0;
	const char *why = NULL;
	int shapes = 0;
	for (const int64_t(*d)[CHECK_DIMS] = c->dims; (*d)[0] >= 0; d++, shapes++) {
		const char *reason = check_shape(t, c, *d, ref, other, &worst);
		if (reason)
			printf("# %s %s %lld %lld %lld %lld %lld %lld: %s (nmse %.2g)\n", k->name, c->op,
			       (long long)(*d)[0], (long long)(*d)[1], (long long)(*d)[2], (long long)(*d)[3],
			       (long long)(*d)[4], (long long)(*d)[5], reason, worst);
		why = reason ? reason : why;
	}
	check_result(!why, "%s %s: %d shapes, nmse %.1e, at most %.0e", k->name, c->op, shapes, worst,
	             k->real == KN_F32 || c->reals == 0 ? c->nmse : c->reals);
}

static int wanted(const char *name, int argc, char **argv)
{
	if (argc < 2)
		return strcmp(name, "cuda") != 0;
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]))
			return 1;
	return 0;
}

static void table_run(struct check_tables *t, struct kernels *ref, struct kernels *other)
{
	for (const struct check_case *c = check_cases; c->op; c++)
		case_run(t, c, ref, other);
	if (!strncmp(t->k[0]->name, "cpu", 3) || !strcmp(t->k[0]->name, "cuda") || strstr(t->k[0]->name, "invariant"))
		check_invariance(t->k[0]);
	else
		check_skip("%s: rows in batches: this table does not promise bits", t->k[0]->name);
	for (int i = 0; i < CHECK_THREADS; i++)
		kernels_free(t->k[i]);
}

static void cpu_run(const char *isa, struct kernels *ref, struct kernels *best, int argc, char **argv)
{
	struct check_tables t = {{0}};
	char name[32];
	snprintf(name, sizeof name, "cpu-%s", isa);
	if (!wanted(name, argc, argv))
		return;
	for (int i = 0; i < CHECK_THREADS; i++)
		t.k[i] = kernels_cpu(&pars[i], isa);
	if (t.k[0])
		table_run(&t, ref, strcmp(best->name, name) ? best : NULL);
	else
		check_skip("%s: not on this machine", name);
}

static void cuda_run(const struct kn_cuda *config, struct kernels *ref, struct kernels *best)
{
	char why[512];
	struct check_tables t = {{kernels_cuda(config, why, sizeof why)}};
	if (t.k[0])
		table_run(&t, ref, strcmp(t.k[0]->name, "cuda") ? NULL : best);
	else
		check_skip("cuda: %s", why);
}

int main(int argc, char **argv)
{
	static const char *const isas[] = {"avx512", "avx2", "neon", "plain"};
	static const struct kn_cuda cuda[] = {{0, KN_F32, 0}, {0, KN_BF16, 0}, {0, KN_BF16, 1}};
	for (int i = 0; i < CHECK_THREADS; i++)
		pars[i] = (struct kn_par){&pools[i], pools[i].threads, pool_run};
	struct kernels *ref = kernels_ref(&pars[0]), *best = kernels_cpu(&pars[0], NULL);
	if (!ref || !best)
		return 1;
	if (wanted("ref", argc, argv)) {
		struct check_tables t = {{kernels_ref(&pars[0])}};
		check_gradients();
		table_run(&t, ref, NULL);
	}
	for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
		cpu_run(isas[i], ref, best, argc, argv);
	if (wanted("cpu", argc, argv))
		check_math();
	if (wanted("cuda", argc, argv))
		for (size_t i = 0; i < sizeof cuda / sizeof *cuda; i++)
			cuda_run(&cuda[i], ref, best);
	kernels_free(best);
	kernels_free(ref);
	printf("1..%d\n", results);
	return failures != 0;
}
