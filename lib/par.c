/* par - see par.h */
#include "lib/par.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/util.h"

/* Workers spin this many times before they sleep: ops of a decode step follow each other within microseconds. */
enum { SPINS = 4000, MAX_THREADS = 256 };

struct par {
	int threads; /* the caller's thread included */
	int started; /* extra threads that run */
	pthread_t thread[MAX_THREADS];
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic unsigned job; /* counts jobs; a change starts the workers */
	_Atomic int active;   /* workers still inside the current job */
	_Atomic int64_t next; /* next item to hand out */
	_Atomic bool stop;
	int64_t n;
	void (*fn)(void *arg, int64_t i, int worker);
	void *arg;
};

struct worker {
	struct par *p;
	int index;
};

static void drain(struct par *p, int worker)
{
	for (;;) {
		int64_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
		if (i >= p->n)
			return;
		p->fn(p->arg, i, worker);
	}
}

static void wait_for_job(struct par *p, unsigned seen)
{
	for (int i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&p->job, memory_order_acquire) != seen)
			return;
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load(&p->job) == seen)
		pthread_cond_wait(&p->wake, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg)
{
	struct worker w = *(struct worker *)arg;
	free(arg);
	for (unsigned seen = 0;;) {
		wait_for_job(w.p, seen);
		seen++;
		if (atomic_load(&w.p->stop))
			return NULL;
		drain(w.p, w.index);
		atomic_fetch_sub_explicit(&w.p->active, 1, memory_order_release);
	}
}

int par_usable(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set))
		return 1;
	return CPU_COUNT(&set);
}

struct par *par_new(int threads)
{
	struct par *p = xcalloc(1, sizeof *p);
	if (threads <= 0)
		threads = par_usable();
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	for (int i = 1; i < threads; i++) {
		struct worker *w = xmalloc(sizeof *w);
		*w = (struct worker){p, i};
		if (pthread_create(&p->thread[p->started], NULL, work, w)) {
			free(w);
			break;
		}
		p->started++;
	}
	p->threads = p->started + 1;
	return p;
}

static void start_job(struct par *p)
{
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add(&p->job, 1);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void par_free(struct par *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	start_job(p);
	for (int i = 0; i < p->started; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int par_threads(const struct par *p)
{
	return p->threads;
}

void par_run(void *pool, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
	struct par *p = pool;
	if (p->threads == 1 || n == 1) {
		for (int64_t i = 0; i < n; i++)
			fn(arg, i, 0);
		return;
	}
	p->n = n;
	p->fn = fn;
	p->arg = arg;
	atomic_store(&p->next, 0);
	atomic_store(&p->active, p->started);
	start_job(p);
	drain(p, 0);
	for (int i = 0; atomic_load_explicit(&p->active, memory_order_acquire); i++)
		if (i > SPINS)
			sched_yield();
}
