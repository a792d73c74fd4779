/*
 * graph - the launches between step_begin and step_end as one CUDA graph; see kernels.h and common.cuh.
 *
 * A launch of a small kernel costs the CPU more than it takes the GPU, and decoding a token is hundreds of them, the
 * same ones each time.  So within a step nothing is launched: calls are compared with those of the last step of the
 * same key.  At its end, after one copy of all host arrays, the graph of them is launched.  Calls that were the same
 * twice become a graph; calls that differ (other weights, other buffers) are made one by one, and are what the next
 * step is compared with.  So a graph is never launched for calls that are not its own.
 */
#include "kernels/cuda/common.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#define GRAPHS 64 /* keys that are remembered */
#define LEAST 256 /* bytes of a host array, which take a power of two: a table that grows seldom moves the next */
#define AREA_BYTES CU_SEGMENT

struct item {
	std::vector<char> what;
	std::function<void()> go;
};

struct step {
	int64_t key;
	uint64_t last; /* when it was used; 0: never */
	std::vector<struct item> items;
	cudaGraphExec_t graph; /* NULL: not yet */
};

struct array {
	const void *host;
	size_t bytes;
	const void *there;
};

struct cu_steps {
	int off;
	struct step step[GRAPHS];
	struct step *now; /* NULL outside of steps */
	size_t at;        /* its next item */
	int same;         /* all so far are those of the step before */
	uint64_t clock;
	char *host, *device; /* AREA_BYTES of pinned memory, and its mirror */
	size_t used;
	std::vector<struct array> arrays;
	cudaEvent_t sent; /* the copy of the last step */
};

int cu_graphs_off(int *off, char *why, size_t why_len)
{
	const char *name = getenv("RL_CUDA_GRAPHS");
	*off = name && !strcmp(name, "off");
	if (!name || !*name || !strcmp(name, "on") || *off)
		return 1;
	snprintf(why, why_len, "RL_CUDA_GRAPHS is '%s', but must be 'on' or 'off'", name);
	return 0;
}

int cu_steps_init(struct cuda *cu, int off)
{
	struct cu_steps *s = cu->steps = new struct cu_steps();
	void *host = NULL, *device = NULL;
	s->off = off;
	if (cu_failed(cu, cudaEventCreateWithFlags(&s->sent, cudaEventDisableTiming), "cudaEventCreate") ||
	    cu_failed(cu, cudaHostAlloc(&host, AREA_BYTES, cudaHostAllocDefault), "pinned memory"))
		return 0;
	s->host = (char *)host;
	if (!cu_take(cu, &device, AREA_BYTES, "device memory for staging"))
		return 0;
	s->device = (char *)device;
	return 1;
}

static void forget_graph(struct step *t)
{
	if (t->graph)
		cudaGraphExecDestroy(t->graph);
	t->graph = NULL;
}

void cu_steps_release(struct cuda *cu)
{
	struct cu_steps *s = cu->steps;
	if (!s)
		return;
	for (struct step &t : s->step)
		forget_graph(&t);
	cudaFreeHost(s->host);
	cudaFree(s->device);
	if (s->sent)
		cudaEventDestroy(s->sent);
	delete s;
	cu->steps = NULL;
}

/* ---- host arrays ---- */

int cu_step_now(const struct cuda *cu)
{
	return cu->steps->now != NULL;
}

int cu_step_holds(const struct cuda *cu, const void *taken)
{
	const struct cu_steps *s = cu->steps;
	return (const char *)taken >= s->host && (const char *)taken < s->host + AREA_BYTES;
}

const void *cu_step_mirror(const struct cuda *cu, const void *taken)
{
	return cu->steps->device + ((const char *)taken - cu->steps->host);
}

void *cu_step_take(struct cuda *cu, size_t bytes)
{
	struct cu_steps *s = cu->steps;
	size_t whole = LEAST;
	while (whole < bytes)
		whole *= 2;
	if (whole > AREA_BYTES - s->used)
		return NULL;
	void *taken = s->host + s->used;
	s->used += whole;
	return taken;
}

const void *cu_step_find(const struct cuda *cu, const void *host, size_t bytes)
{
	const struct cu_steps *s = cu->steps;
	for (size_t i = 0; s->now && i < s->arrays.size(); i++)
		if (s->arrays[i].host == host && s->arrays[i].bytes == bytes)
			return s->arrays[i].there;
	return NULL;
}

void cu_step_keep(struct cuda *cu, const void *host, size_t bytes, const void *there)
{
	if (cu->steps->now)
		cu->steps->arrays.push_back({host, bytes, there});
}

/* ---- calls ---- */

int cu_step_same(struct cuda *cu, const void *what, size_t bytes)
{
	struct cu_steps *s = cu->steps;
	std::vector<struct item> &items = s->now->items;
	if (!s->same || s->at == items.size() || items[s->at].what.size() != bytes ||
	    memcmp(items[s->at].what.data(), what, bytes) != 0)
		return 0;
	s->at++;
	return 1;
}

void cu_step_add(struct cuda *cu, const void *what, size_t bytes, const std::function<void()> &go)
{
	struct cu_steps *s = cu->steps;
	s->same = 0;
	s->now->items.resize(s->at++);
	s->now->items.push_back({std::vector<char>((const char *)what, (const char *)what + bytes), go});
}

static void send(struct cuda *cu)
{
	struct cu_steps *s = cu->steps;
	if (s->used)
		cu_failed(cu, cudaMemcpyAsync(s->device, s->host, s->used, cudaMemcpyHostToDevice, cu->stream),
		          "copy to the device");
	if (!cu->failed)
		cu_failed(cu, cudaEventRecord(s->sent, cu->stream), "cudaEventRecord");
}

static void go_all(struct cuda *cu, const struct step *t)
{
	for (size_t i = 0; i < t->items.size() && !cu->failed; i++)
		t->items[i].go();
}

static void make_graph(struct cuda *cu, struct step *t)
{
	cudaGraph_t graph = NULL;
	if (cu_failed(cu, cudaStreamBeginCapture(cu->stream, cudaStreamCaptureModeThreadLocal),
	              "cudaStreamBeginCapture"))
		return;
	go_all(cu, t);
	cu_failed(cu, cudaStreamEndCapture(cu->stream, &graph), "cudaStreamEndCapture");
	if (!cu->failed && cu_failed(cu, cudaGraphInstantiate(&t->graph, graph, 0), "cudaGraphInstantiate"))
		t->graph = NULL;
	if (graph)
		cudaGraphDestroy(graph);
}

/* Ends the step; what was called so far is made one by one unless `whole`. */
static void finish(struct cuda *cu, int whole)
{
	struct cu_steps *s = cu->steps;
	struct step *t = s->now;
	int same = s->same && whole && s->at == t->items.size();
	s->now = NULL;
	t->items.resize(s->at);
	if (cu->failed)
		return;
	send(cu);
	if (!same)
		forget_graph(t);
	else if (!t->graph)
		make_graph(cu, t);
	if (t->graph)
		cu_failed(cu, cudaGraphLaunch(t->graph, cu->stream), "cudaGraphLaunch");
	else
		go_all(cu, t);
}

void cu_step_flush(struct cuda *cu)
{
	if (cu->steps->now)
		finish(cu, 0);
}

/* ---- the ops ---- */

/* The one of this key, else the one that was not used for the longest time. */
static struct step *find_step(struct cu_steps *s, int64_t key)
{
	struct step *oldest = s->step;
	for (struct step &t : s->step) {
		if (t.last && t.key == key)
			return &t;
		if (t.last < oldest->last)
			oldest = &t;
	}
	forget_graph(oldest);
	oldest->items.clear();
	oldest->key = key;
	return oldest;
}

void cu_step_begin(void *ctx, int64_t key)
{
	struct cuda *cu = (struct cuda *)ctx;
	struct cu_steps *s = cu->steps;
	if (s->off || s->now || !cu_enter(cu) || cu_failed(cu, cudaEventSynchronize(s->sent), "cudaEventSynchronize"))
		return;
	s->now = find_step(s, key);
	s->now->last = ++s->clock;
	s->at = 0;
	s->same = 1;
	s->used = 0;
	s->arrays.clear();
}

void cu_step_end(void *ctx)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (cu->steps->now)
		finish(cu, 1);
}
