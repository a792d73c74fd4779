/*
 * block - runs the blocks of a launch, one after the other, and each block's threads as fibres.
 *
 * A fibre runs until it waits for others: at __syncthreads for the block, in a
 * primitive of the warp for the lanes of its mask.  Which fibre goes on is
 * random (EMU_SEED), so that threads that rely on an order nobody promised get
 * other numbers: a warp usually goes on as far as it can, so that some warps
 * are far ahead of others, and now and then another takes over.
 */
#include "kernels/cuda/emu/emu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "kernels/cuda/emu/fibre.h"

#define TAKE_OVER 16 /* one meeting in so many lets another warp go on */

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

enum state { FRESH, READY, AT_BARRIER, AT_WARP, DONE };

struct thread {
	enum state state;
	int stack;
	void *at; /* where it stopped */
	/* what it waits for */
	const char *what;
	int line;
	unsigned mask;
	void *mine;
};

static struct thread threads[EMU_MAX_THREADS];
static unsigned ready[EMU_WARP], waiting[EMU_WARP]; /* lanes of each warp that can run, that are AT_WARP */
static unsigned ready_warps;
static int n_threads, n_done, n_barrier, current, turn;
static void *host;
static char *dynamic_shared;
static const struct emu_kernel *running;
static std::vector<int> free_stacks;
static int n_stacks;
static uint64_t random_state;

const char *emu_running(void)
{
	return running ? running->name : NULL;
}

int emu_thread(void)
{
	return current;
}

void emu_abort(const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "emulated cuda: ");
	if (running)
		fprintf(stderr, "kernel '%s', block %u,%u,%u, thread %u,%u,%u: ", running->name, blockIdx.x, blockIdx.y,
		        blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* ---- chance ---- */

static uint64_t next_random(void)
{
	if (!random_state)
		random_state = (uint64_t)emu_setting("EMU_SEED", 1);
	uint64_t z = random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

unsigned emu_below(unsigned n)
{
	return (unsigned)((next_random() >> 32) * n >> 32);
}

/* One of the bits that are set: the first from a random place on. */
static int any_bit(unsigned bits)
{
	unsigned from = emu_below(32), turned = bits >> from | bits << ((32 - from) & 31);
	return (int)((from + (unsigned)__builtin_ctz(turned)) & 31);
}

/* ---- who goes on ---- */

static void make_ready(int i, enum state state)
{
	threads[i].state = state;
	ready[i / EMU_WARP] |= 1u << i % EMU_WARP;
	ready_warps |= 1u << i / EMU_WARP;
}

static void report_stuck(void)
{
	for (int i = 0; i < n_threads; i++)
		if (threads[i].state == AT_BARRIER || threads[i].state == AT_WARP) {
			int same = 0;
			for (int j = 0; j < n_threads; j++)
				same += threads[j].state == threads[i].state && threads[j].line == threads[i].line;
			emu_abort("thread %d waits at %s, line %d, with %d others; %d of %d threads have ended and the "
			          "rest wait elsewhere",
			          i, threads[i].what, threads[i].line, same - 1, n_done, n_threads);
		}
	emu_abort("no thread can go on");
}

/* Takes a thread that can run and makes it the current one; FRESH ones have no stack yet. */
static struct thread *next_thread(void)
{
	if (!ready_warps)
		report_stuck();
	if (!(ready_warps >> turn & 1) || emu_below(TAKE_OVER) == 0)
		turn = any_bit(ready_warps);
	int lane = any_bit(ready[turn]);
	ready[turn] &= ~(1u << lane);
	if (!ready[turn])
		ready_warps &= ~(1u << turn);
	current = turn * EMU_WARP + lane;
	unsigned i = (unsigned)current;
	threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
	return &threads[current];
}

/* The life of a stack: it runs the next thread after its own has ended, if that has no stack. */
static void stack_main(void)
{
	for (;;) {
		struct thread *t = &threads[current];
		int stack = t->stack;
		running->body();
		t->state = DONE;
		n_done++;
		struct thread *next = n_done < n_threads ? next_thread() : NULL;
		if (next && next->state == FRESH) {
			next->stack = stack;
			continue;
		}
		void *forgotten;
		free_stacks.push_back(stack);
		emu_switch(&forgotten, next ? next->at : host);
	}
}

static void start(struct thread *t)
{
	if (free_stacks.empty())
		free_stacks.push_back(n_stacks++);
	t->stack = free_stacks.back();
	free_stacks.pop_back();
	t->at = emu_stack(t->stack, stack_main);
}

/* The current thread stops until it is the current one again. */
static void wait(struct thread *self)
{
	struct thread *next = next_thread();
	if (next == self)
		return;
	if (next->state == FRESH)
		start(next);
	emu_switch(&self->at, next->at);
}

/* ---- meetings ---- */

void __syncthreads(int line)
{
	struct thread *self = &threads[current];
	if (!running)
		emu_abort("__syncthreads outside a kernel");
	self->state = AT_BARRIER;
	self->what = "__syncthreads";
	self->line = line;
	if (++n_barrier == n_threads) {
		for (int i = 0; i < n_threads; i++)
			if (threads[i].line != line)
				emu_abort("waits at __syncthreads, line %d, while thread %d waits at line %d", line, i,
				          threads[i].line);
		n_barrier = 0;
		for (int i = 0; i < n_threads; i++)
			make_ready(i, READY);
		turn = any_bit(ready_warps);
	}
	wait(self);
}

static void meeting_check(const struct thread *self, int first)
{
	for (unsigned left = self->mask; left; left &= left - 1) {
		int lane = __builtin_ctz(left);
		const struct thread *t = &threads[first + lane];
		if (t->mask != self->mask || t->line != self->line || strcmp(t->what, self->what))
			emu_abort("waits at %s, line %d, mask %#x, while lane %d waits at %s, line %d, mask %#x",
			          self->what, self->line, self->mask, lane, t->what, t->line, t->mask);
	}
}

static void meeting_mask_check(const struct thread *self, int first)
{
	if (!(self->mask >> (current - first) & 1))
		emu_abort("%s, line %d: lane %d is not in its own mask %#x", self->what, self->line, current - first,
		          self->mask);
	for (unsigned left = self->mask; left; left &= left - 1) {
		int i = first + __builtin_ctz(left);
		if (i >= n_threads || threads[i].state == DONE)
			emu_abort("%s, line %d: lane %d of the mask %#x %s", self->what, self->line, i - first,
			          self->mask, i < n_threads ? "has ended" : "is beyond the block");
	}
}

void emu_meet(unsigned mask, const char *what, int line, emu_act *act, void *mine)
{
	struct thread *self = &threads[current];
	int warp = current / EMU_WARP, first = warp * EMU_WARP;
	if (!running)
		emu_abort("%s outside a kernel", what);
	self->what = what;
	self->line = line;
	self->mask = mask;
	self->mine = mine;
	meeting_mask_check(self, first);
	self->state = AT_WARP;
	waiting[warp] |= 1u << (current - first);
	if ((waiting[warp] & mask) == mask) {
		void *lanes[EMU_WARP] = {};
		meeting_check(self, first);
		for (unsigned left = mask; left; left &= left - 1)
			lanes[__builtin_ctz(left)] = threads[first + __builtin_ctz(left)].mine;
		act(lanes, mask);
		waiting[warp] &= ~mask;
		for (unsigned left = mask; left; left &= left - 1)
			make_ready(first + __builtin_ctz(left), READY);
	}
	wait(self);
}

void emu_act_exchange(void **lanes, unsigned mask)
{
	for (unsigned left = mask; left; left &= left - 1) {
		struct emu_exchange *to = (struct emu_exchange *)lanes[__builtin_ctz(left)];
		if (!(mask >> to->source & 1))
			emu_abort("lane %d reads lane %d, which is not in the mask %#x", __builtin_ctz(left),
			          to->source, mask);
		to->out = ((struct emu_exchange *)lanes[to->source])->in;
	}
}

static void act_ballot(void **lanes, unsigned mask)
{
	unsigned votes = 0;
	for (unsigned left = mask; left; left &= left - 1)
		votes |= (*(unsigned *)lanes[__builtin_ctz(left)] != 0) << __builtin_ctz(left);
	for (unsigned left = mask; left; left &= left - 1)
		*(unsigned *)lanes[__builtin_ctz(left)] = votes;
}

unsigned __ballot_sync(unsigned mask, int predicate, int line)
{
	unsigned mine = predicate != 0;
	emu_meet(mask, "__ballot_sync", line, act_ballot, &mine);
	return mine;
}

/* ---- blocks ---- */

char *emu_dynamic_shared(void)
{
	return dynamic_shared;
}

static void run_block(const struct emu_kernel &k)
{
	emu_copies_forget();
	emu_static_shared_fill(k.address);
	dynamic_shared = emu_shared_block(k.shared);
	n_done = n_barrier = 0;
	for (int i = 0; i < n_threads; i++)
		make_ready(i, FRESH);
	struct thread *first = next_thread();
	start(first);
	emu_switch(&host, first->at);
}

void emu_run(const struct emu_kernel &k)
{
	if (running)
		emu_abort("a kernel launches '%s'", k.name);
	running = &k;
	gridDim = k.grid;
	blockDim = k.block;
	n_threads = (int)(k.block.x * k.block.y * k.block.z);
	uint64_t blocks = (uint64_t)k.grid.x * k.grid.y * k.grid.z, from = next_random() % blocks;
	/* blocks in an order nobody promised: from a random one on, upwards or downwards */
	int backwards = emu_below(2) == 0;
	for (uint64_t n = 0; n < blocks; n++) {
		uint64_t b = (backwards ? from + blocks - n : from + n) % blocks;
		blockIdx = {(unsigned)(b % k.grid.x), (unsigned)(b / k.grid.x % k.grid.y),
		            (unsigned)(b / k.grid.x / k.grid.y)};
		run_block(k);
	}
	running = NULL;
}
